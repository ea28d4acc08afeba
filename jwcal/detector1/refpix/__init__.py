"""Correct readout drifts with reference pixels."""

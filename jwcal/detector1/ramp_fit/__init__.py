"""Fit slopes to ramps."""

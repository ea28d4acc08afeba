"""Choosing reference files."""

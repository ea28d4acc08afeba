"""Associations: which exposures belong together, by rules that are data."""

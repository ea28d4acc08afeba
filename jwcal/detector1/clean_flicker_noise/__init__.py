"""Remove 1/f noise from ramps."""

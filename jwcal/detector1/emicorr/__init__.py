"""Remove electromagnetic interference of the MIRI detectors."""

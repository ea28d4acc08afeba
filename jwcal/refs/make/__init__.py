"""Making reference files from sets of exposures."""

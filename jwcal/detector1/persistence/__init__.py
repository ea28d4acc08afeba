"""Flag and correct what earlier exposures left in the detector."""

"""Steps for guide-star exposures."""

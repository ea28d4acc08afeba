"""Tables that define products, flags, keywords and detectors."""

"""What every command shares: FITS streams, products, flags, step declarations, the engine."""

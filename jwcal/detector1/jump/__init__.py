"""Find cosmic rays in ramps."""

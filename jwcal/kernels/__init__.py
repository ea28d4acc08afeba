"""Array kernels: compiled C where available, and for each the NumPy twin that defines it."""

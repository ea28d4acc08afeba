"""FITS files and streams: open one to read, create one to write."""

from jwcal.core.fits_read import HDU, FitsFile, open_fits, read_primary_header
from jwcal.core.fits_write import FitsOutput, Slot, create_fits
from jwcal.core.target import cleanup_all

__all__ = [
    "HDU",
    "FitsFile",
    "FitsOutput",
    "Slot",
    "cleanup_all",
    "create_fits",
    "open_fits",
    "read_primary_header",
]

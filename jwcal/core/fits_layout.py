"""What the structure keywords of a FITS HDU say: kind, shape, type and size of its data."""

import math
from typing import NamedTuple

import numpy as np

from jwcal.core.errors import InputError
from jwcal.kernels.swap import native_dtype

BITPIX = {8: "u1", 16: "i2", 32: "i4", 64: "i8", -32: "f4", -64: "f8"}
UNSIGNED_ZERO = {8: -128, 16: 1 << 15, 32: 1 << 31, 64: 1 << 63}
_STORED = {np.dtype(BITPIX[bitpix]): (bitpix, 0) for bitpix in BITPIX} | {
    np.dtype(name): (bitpix, UNSIGNED_ZERO[bitpix])
    for bitpix, name in ((8, "i1"), (16, "u2"), (32, "u4"), (64, "u8"))
}


class Layout(NamedTuple):
    """Data of one HDU as its header describes them.

    Attributes
    ----------
    kind : str
        "image", "table" (binary table) or "other".
    shape : tuple of int
        NumPy order; rows of a table; empty without data.
    bitpix : int
        BITPIX.
    bscale, bzero : float or int
        Linear scale of stored values; 1 and 0 if absent.
    blank : int or None
        Stored integer that means "no value".
    dtype : numpy.dtype
        Native type of the values: unsigned for the BZERO convention, floating for
        other scales.
    nbytes : int
        Size of the data without padding.
    """

    kind: str
    shape: tuple
    bitpix: int
    bscale: float
    bzero: float
    blank: int | None
    dtype: np.dtype
    nbytes: int

    @property
    def scaled(self):
        """Whether values differ from stored numbers by more than the BZERO of unsigned integers."""
        return self.bscale != 1 or (self.bzero != 0 and self.bzero != UNSIGNED_ZERO.get(self.bitpix))


def _integer(header, key, low, high, label):
    value = header[key]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{label}: {key} is {value!r}, not an integer from {low} to {high}")
    return value


def _number(header, key, default, label):
    value = header.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{label}: {key} is {value!r}, not a number")
    return value


def read_layout(header, label, primary):
    """Read the mandatory keywords of a header.

    Parameters
    ----------
    header : Header
        Header of the HDU.
    label : str
        File and HDU for messages.
    primary : bool
        Whether this is the first HDU.

    Returns
    -------
    Layout

    Raises
    ------
    InputError
        If a mandatory keyword is missing or makes no sense.
    """
    bitpix = _integer(header, "BITPIX", -64, 64, label)
    if bitpix not in BITPIX:
        raise InputError(f"{label}: BITPIX is {bitpix}, not one of {', '.join(map(str, BITPIX))}")
    naxis = _integer(header, "NAXIS", 0, 999, label)
    axes = [_integer(header, f"NAXIS{i}", 0, 1 << 62, label) for i in range(1, naxis + 1)]
    groups = naxis > 0 and axes[0] == 0 and header.get("GROUPS", False) is True
    pcount, gcount = 0, 1
    if groups or not primary:
        pcount = _integer(header, "PCOUNT", 0, 1 << 62, label)
        gcount = _integer(header, "GCOUNT", 0, 1 << 62, label)
    size = math.prod(axes[1:] if groups else axes) if naxis else 0
    nbytes = abs(bitpix) // 8 * gcount * (pcount + size)
    xtension = "IMAGE" if primary else header["XTENSION"]
    if groups or xtension not in ("IMAGE", "IUEIMAGE", "BINTABLE", "A3DTABLE"):
        return Layout("other", (), bitpix, 1, 0, None, np.dtype("u1"), nbytes)
    if xtension in ("BINTABLE", "A3DTABLE"):
        if naxis != 2 or bitpix != 8:
            raise InputError(f"{label}: a binary table needs BITPIX 8 and NAXIS 2")
        return Layout("table", (axes[1],), bitpix, 1, 0, None, np.dtype("u1"), nbytes)
    if pcount or gcount != 1:
        raise InputError(f"{label}: an image needs PCOUNT 0 and GCOUNT 1")
    bscale = _number(header, "BSCALE", 1, label)
    bzero = _number(header, "BZERO", 0, label)
    blank = header.get("BLANK") if bitpix > 0 else None
    shape = tuple(axes[::-1])
    layout = Layout("image", shape, bitpix, bscale, bzero, blank, np.dtype(BITPIX[bitpix]), nbytes)
    dtype = _scaled_dtype(bitpix) if layout.scaled else native_dtype(bitpix, bzero)
    return layout._replace(dtype=dtype)


def _scaled_dtype(bitpix):
    return np.dtype("f4" if bitpix in (8, 16, -32) else "f8")


def stored_type(dtype):
    """BITPIX and BZERO that store a native dtype exactly.

    Parameters
    ----------
    dtype : numpy.dtype or str

    Returns
    -------
    bitpix, bzero : int

    Raises
    ------
    ValueError
        If FITS images cannot hold the dtype.
    """
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype not in _STORED:
        raise ValueError(f"FITS images cannot hold {dtype}")
    return _STORED[dtype]

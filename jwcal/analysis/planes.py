"""Walk over the images of a FITS file in pieces, and count and name flags."""

import logging
import math

import numpy as np

from jwcal.core import dq
from jwcal.core.errors import InputError, ReferenceFileError

log = logging.getLogger(__name__)

PIECE = 1 << 22
FLAG_PLANES = ("DQ", "PIXELDQ", "GROUPDQ")


def pieces(shape, limit=PIECE):
    """Boxes and leading indices that cover an image, a few million pixels each.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    limit : int
        Pixels in a piece; a row is never split.

    Yields
    ------
    index : tuple
        Integers and slices on the leading axes.
    box : (y0, y1, x0, x1) or None
        Box on the last two axes; None is all of it.
    """
    if 0 in shape:
        return
    if len(shape) < 2:
        yield (), None
        return
    *lead, ny, nx = shape
    if lead and ny * nx <= limit:
        count = max(1, limit // (ny * nx))
        for index in np.ndindex(*lead[:-1]):
            for k in range(0, lead[-1], count):
                yield (*index, slice(k, min(k + count, lead[-1]))), None
        return
    rows = max(1, limit // nx)
    for index in np.ndindex(*lead):
        for y in range(0, ny, rows):
            yield index, (y, min(y + rows, ny), 0, nx)


def read_pieces(hdu, limit=PIECE):
    """Yield the pixels of an image HDU piece by piece (see `pieces`)."""
    for index, box in pieces(hdu.shape, limit):
        yield hdu.read(index=index or None, box=box)


def is_image(hdu):
    """Whether an HDU is an image with pixels."""
    return hdu.kind == "image" and len(hdu.shape) > 0 and 0 not in hdu.shape


def is_flags(hdu):
    """Whether an HDU is an image of flags: integers, and a name that ends in DQ."""
    return is_image(hdu) and hdu.name.endswith(FLAG_PLANES) and hdu.dtype.kind in "ui"


def flag_translation(fits, hdu):
    """Pairs that translate the flags of an HDU to the standard ones, or None.

    Parameters
    ----------
    fits : open FITS file
        Its DQ_DEF table, if there is one, names the bits of a reference file.
    hdu : HDU
        Image of flags.

    Returns
    -------
    list of (int, int) or None
        See `jwcal.core.dq.translation`.
    """
    table = fits.get("DQ_DEF")
    if hdu.name != "DQ" or table is None or table.kind != "table":
        return None
    try:
        return dq.translation(table.table())
    except (InputError, ReferenceFileError, LookupError, TypeError, ValueError) as exc:
        log.warning("%s: the DQ_DEF table cannot be used (%s); bits are named as usual", fits.label, exc)
        return None


def count_flags(hdu, pairs=None):
    """Count the pixels that carry each flag.

    Parameters
    ----------
    hdu : HDU
        Image of flags.
    pairs : list of (int, int) or None
        Translation to standard flags.

    Returns
    -------
    dict
        ``pixels``, ``good`` (no flag at all), and ``flags``: number of pixels by flag
        name, by rising bit; flags that nobody carries are left out.
    """
    total = good = 0
    by_bit: dict[int, int] = {}
    for raw in read_pieces(hdu):
        array = standard_flags(raw, pairs)
        total += array.size
        good += array.size - np.count_nonzero(array)
        seen = int(np.bitwise_or.reduce(array, axis=None))
        for bit in range(array.dtype.itemsize * 8):
            if seen >> bit & 1:
                number = int(np.count_nonzero(array & array.dtype.type(1 << bit)))
                by_bit[bit] = by_bit.get(bit, 0) + number
    flags = {}
    for bit in sorted(by_bit):
        name = (dq.names(1 << bit) or [f"bit {bit}"])[0]
        flags[name] = by_bit[bit]
    return {"pixels": int(total), "good": int(good), "flags": flags}


def standard_flags(array, pairs=None):
    """Return flags as unsigned integers with the standard bits.

    Parameters
    ----------
    array : (...) integer numpy.ndarray
        Flags as they are stored.
    pairs : list of (int, int) or None
        Translation to standard flags.

    Returns
    -------
    (...) unsigned numpy.ndarray
        uint32 if translated.
    """
    if array.dtype.kind == "i":
        array = array.view(f"u{array.dtype.itemsize}")
    # A narrow plane has no room for the standard bits.
    return array if pairs is None else dq.translate(array.astype(np.uint32), pairs)


def titles(fits):
    """Name of each HDU for people: EXTNAME, EXTVER unless 1, the number where that is not unique."""
    out = []
    for number, hdu in enumerate(fits.hdus):
        text = hdu.name or f"HDU {number}"
        text = text if hdu.ver == 1 else f"{text},{hdu.ver}"
        out.append(text if text not in out else f"{text} (HDU {number})")
    return out


class Summary:
    """Statistics of an image that is seen piece by piece.

    Parameters
    ----------
    size : int
        Pixels there will be.
    columns : int
        Length of a row; the sample for percentiles must not follow single columns.
    sample : int
        Pixels to keep for percentiles.
    """

    PERCENTILES = (1, 16, 50, 84, 99)

    def __init__(self, size, columns, sample=1 << 20):
        self.step = max(1, -(-size // sample))
        while self.step > 1 and math.gcd(self.step, max(columns, 1)) > 1:
            self.step += 1
        self.size = self.nan = self.infinite = 0
        self.low, self.high = math.inf, -math.inf
        self.sample = []

    def add(self, array):
        """Take in a piece (any shape; NaN and infinite values are counted, not used)."""
        flat = array.reshape(-1)
        first = -self.size % self.step
        self.size += flat.size
        part = flat[first :: self.step]
        if flat.dtype.kind == "f":
            usable = np.isfinite(flat)
            if not usable.all():
                nan = int(np.count_nonzero(np.isnan(flat)))
                self.nan += nan
                self.infinite += int(flat.size - np.count_nonzero(usable)) - nan
                flat = flat[usable]
            part = part[np.isfinite(part)]
        if flat.size:
            self.low = min(self.low, flat.min().item())
            self.high = max(self.high, flat.max().item())
        self.sample.append(np.array(part))

    def result(self):
        """Return the numbers as a dict; percentiles are None when no pixel is finite."""
        values = np.concatenate(self.sample) if self.sample else np.zeros(0)
        out = {"pixels": self.size, "nan": self.nan, "infinite": self.infinite, "sampled": self.step > 1}
        if math.isinf(self.low) and self.low > 0:
            return {**out, "min": None, "max": None, "percentiles": None}
        points = None
        if values.size:
            found = np.percentile(values.astype("f8"), self.PERCENTILES)
            points = {str(p): float(v) for p, v in zip(self.PERCENTILES, found, strict=True)}
        return {**out, "min": self.low, "max": self.high, "percentiles": points}


def summarise(hdu):
    """Statistics of an image HDU (see `Summary`)."""
    summary = Summary(math.prod(hdu.shape), hdu.shape[-1])
    for array in read_pieces(hdu):
        summary.add(array)
    return summary.result()


def choose_plane(fits, name=None, fallback=("SCI",)):
    """Return the image HDU of a name, or the first sensible one.

    Parameters
    ----------
    fits : open FITS file
        Where to look.
    name : str or None
        Extension name; None takes the first of `fallback` that is there, else the first
        image with pixels.
    fallback : sequence of str
        Names to try.

    Returns
    -------
    HDU

    Raises
    ------
    InputError
        If there is no such image.
    """
    images = [h for h in fits.hdus if is_image(h)]
    known = ", ".join(h.name or f"HDU {fits.hdus.index(h)}" for h in images) or "none"
    if name is not None:
        for hdu in images:
            if hdu.name == name.upper():
                return hdu
        raise InputError(f"{fits.label}: no image {name.upper()} (images: {known})")
    for wanted in fallback:
        for hdu in images:
            if hdu.name == wanted:
                return hdu
    if not images:
        raise InputError(f"{fits.label}: holds no image")
    return images[0]


def keyword(header, key, default=None):
    """Value of a keyword, or the default if it is missing or cannot be read."""
    try:
        return header.get(key, default)
    except InputError:
        return default

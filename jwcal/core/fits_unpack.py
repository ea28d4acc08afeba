"""Tile-compressed images (``.fz``) as plain FITS; the only place that needs cfitsio."""

import math
import re

import numpy as np

from jwcal.core.errors import InputError
from jwcal.core.fits_layout import BITPIX
from jwcal.core.fits_write import FitsOutput
from jwcal.core.source import Source
from jwcal.core.spool import CHUNK, Spool

_COMPRESSION = re.compile(
    r"(Z(IMAGE|SIMPLE|EXTEND|TENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|BLOCKED|TILE\d+|CMPTYPE|NAME\d+|VAL\d+|MASKCMP"
    r"|QUANTIZ|DITHER0|BLANK|HECKSUM|DATASUM|SCALE|ZERO)|FZ\w*)\Z"
)
_DEFAULT_NAME = "COMPRESSED_IMAGE"


class _SpoolTarget:
    """Lets `FitsOutput` write into memory that is read again."""

    def __init__(self, label):
        self.label = label
        self.spool = Spool()
        self.fd = self.spool.fd
        self.size = 0

    def reserve(self, size):
        self.spool.reserve(size)

    def finish(self, size):
        self.size = size

    def abort(self):
        if not self.size:
            self.spool.close()


def unpack(file, source):
    """Decompress the tile-compressed images of a file.

    Parameters
    ----------
    file : FitsFile
        File with at least one such image.
    source : Source
        Its bytes; closed when they are no longer needed.

    Returns
    -------
    Source
        The same HDUs, with plain images.

    Raises
    ------
    InputError
        If fitsio is not installed, or the data are damaged.
    """
    try:
        import fitsio
    except ImportError:
        raise InputError(
            f"{file.label}: tile-compressed; install fitsio to read it, or run funpack first"
        ) from None
    hdus = file.hdus
    for hdu in hdus:
        if _is_packed(hdu):
            _checked_shape(hdu.header, hdu.label)
    target = _SpoolTarget(file.label)
    output = FitsOutput(target)
    try:
        # The name given to cfitsio is free of characters that it would interpret.
        with fitsio.FITS(f"/dev/fd/{source.join()}") as packed:
            for number, hdu in enumerate(hdus):
                if _is_packed(hdu):
                    _unpack_image(output, packed[number], hdu)
                elif number or not _is_placeholder(hdus):
                    _copy(output, hdu)
        output.commit()
    except (OSError, ValueError) as exc:
        output.abort()
        raise InputError(f"{file.label}: cannot decompress: {str(exc).splitlines()[0]}") from None
    except BaseException:
        output.abort()
        raise
    source.close()
    return Source.whole(target.fd, target.size, file.label, stream=False, private=True)


def _is_packed(hdu):
    return hdu.kind == "table" and hdu.header.get("ZIMAGE") is True


def _is_placeholder(hdus):
    """Whether the primary only makes room for a compressed primary image."""
    return not hdus[0].nbytes and len(hdus) > 1 and hdus[1].header.get("ZSIMPLE") is True


def _copy(output, hdu):
    if hdu.header_bytes().startswith(b"SIMPLE"):
        slot = output.add(hdu.header, hdu.shape, hdu.dtype)
        if hdu.nbytes:
            slot.write(hdu.read())
        return
    output.add_hdu(hdu)


def _checked_shape(header, label):
    """Shape of a compressed image; cfitsio ends the process on numbers that make no sense."""

    def integer(key, low, high):
        value = header[key]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InputError(f"{label}: {key} is {value!r}, not an integer from {low} to {high}")
        return value

    if integer("ZBITPIX", -64, 64) not in BITPIX:
        raise InputError(f"{label}: ZBITPIX is {header['ZBITPIX']}")
    axes = [integer(f"ZNAXIS{i}", 1, 1 << 31) for i in range(1, integer("ZNAXIS", 1, 6) + 1)]
    tiles = 1
    for i, n in enumerate(axes, 1):
        size = integer(f"ZTILE{i}", 1, 1 << 31) if f"ZTILE{i}" in header else n if i == 1 else 1
        tiles *= -(-n // size)
    if tiles != header["NAXIS2"]:
        raise InputError(f"{label}: {header['NAXIS2']} compressed tiles, the header describes {tiles}")
    return tuple(axes[::-1])


def _unpack_image(output, packed, hdu):
    header, label = hdu.header, hdu.label
    shape = _checked_shape(header, label)
    plain = header.without(
        lambda key: _COMPRESSION.match(key) is not None or key.startswith(("NAXIS", "BITPIX"))
    )
    if plain.get("EXTNAME") == _DEFAULT_NAME:
        del plain["EXTNAME"]
    ny, nx = (1, *shape)[-2:]
    frames = math.prod(shape[:-2])
    rows = max(1, CHUNK // (nx * 8))
    slot = None
    for frame in range(frames):
        lead = np.unravel_index(frame, shape[:-2]) if shape[:-2] else ()
        for y in range(0, ny, rows):
            stop = min(y + rows, ny)
            cut = tuple(slice(int(i), int(i) + 1) for i in lead)
            cut += (slice(y, stop), slice(0, nx)) if len(shape) > 1 else (slice(0, nx),)
            piece = np.asarray(packed[cut]).reshape(stop - y, nx)
            piece = piece.astype(piece.dtype.newbyteorder("="), copy=False)
            if slot is None:
                slot = output.add(plain, shape, piece.dtype)
            slot.write_tile((y, stop, 0, nx), piece[(None,) * len(lead)], index=cut[: len(lead)] or None)

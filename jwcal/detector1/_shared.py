"""What several steps of the stage need."""

import numpy as np

from jwcal.core.errors import InputError, ReferenceFileError
from jwcal.core.stripes import IRS2_FRAME, IRS2_NORMAL, IRS2_REFERENCE, normal_rows


def is_irs2(exposure):
    """Whether an exposure still holds the interleaved reference pixels of the IRS2 readout.

    Parameters
    ----------
    exposure : Exposure
        The exposure; recognised, as usual, by a side longer than 2048 pixels.

    Returns
    -------
    bool
    """
    return max(exposure.frame) > IRS2_FRAME[1]


def is_reversed(exposure):
    """Whether the image of an IRS2 exposure is turned by half a circle against that of NRS1."""
    return exposure.meta["DETECTOR"] == "NRS2"


def irs2_rows(exposure, name):
    """Which image rows of an IRS2 exposure hold normal pixels.

    Parameters
    ----------
    exposure : Exposure
        The exposure; gives frame, DETECTOR, NRS_NORM, NRS_REF.
    name : str
        Step name for the messages.

    Returns
    -------
    (3200,) bool numpy.ndarray
        False for the reference output and for interleaved reference pixels.

    Raises
    ------
    InputError
        If detector, frame or readout are not those of IRS2.
    """
    meta = exposure.meta
    if exposure.frame != IRS2_FRAME or meta.get("DETECTOR") not in ("NRS1", "NRS2"):
        raise InputError(
            f"{exposure.label}: {name}: {exposure.frame[0]} x {exposure.frame[1]} pixels of detector"
            f" {meta.get('DETECTOR', 'unknown')}; only the IRS2 readout of NRS1 and NRS2 has more than 2048"
            f" rows, and it has {IRS2_FRAME[0]} x {IRS2_FRAME[1]}"
        )
    counts = meta.get("NRS_NORM", IRS2_NORMAL), meta.get("NRS_REF", IRS2_REFERENCE)
    if counts != (IRS2_NORMAL, IRS2_REFERENCE):
        raise InputError(
            f"{exposure.label}: {name}: NRS_NORM, NRS_REF = {counts[0]}, {counts[1]} is not supported; IRS2 has"
            f" {IRS2_NORMAL}, {IRS2_REFERENCE}"
        )
    return normal_rows(meta["DETECTOR"])


def irs2_halo(rows):
    """Image rows that `rows` normal rows and the interleaved ones between them take at most."""
    return rows + IRS2_REFERENCE * (rows // IRS2_NORMAL + 1) if rows else 0


def normal_box(normal, box):
    """Box, in the frame without interleaved rows, of the normal rows of a box of an IRS2 image."""
    before = int(np.count_nonzero(normal[: box[0]]))
    return (before, before + int(np.count_nonzero(normal[box[0] : box[1]])), *box[2:])


def flags_or_zero(tile, dq):
    """Return the flags of a reference, or zeros of the tile's shape when it has none.

    Parameters
    ----------
    tile : Tile
        With PIXELDQ.
    dq : (ny, nx) uint32 numpy.ndarray or None
        Flags.

    Returns
    -------
    (ny, nx) uint32 numpy.ndarray
    """
    return np.zeros(tile["PIXELDQ"].shape, np.uint32) if dq is None else dq


def require_values(ref, least):
    """Raise ReferenceFileError for a GAIN or READNOISE reference in which no pixel has a usable value.

    Parameters
    ----------
    ref : ReferenceFile
        With a SCI plane.
    least : float
        Usable values are finite and above this.
    """
    ny, nx = ref.frame
    # A row in the middle nearly always settles it.
    for rows in ((ny // 2, ny // 2 + 1), (0, ny)):
        values = ref.read("SCI", (*rows, 0, nx), dtype="f4")
        if (np.isfinite(values) & (values > least)).any():
            return
    raise ReferenceFileError(f"{ref.path}: no pixel of the exposure has a usable {ref.kind.upper()} value")

"""What several steps of the stage need."""

import numpy as np

from jwcal.core.errors import InputError, ReferenceFileError


def refuse_irs2(exposure, name):
    """Raise InputError for exposures in the interleaved readout of NIRSpec.

    Parameters
    ----------
    exposure : Exposure
        The exposure; recognised, as usual, by a side longer than 2048 pixels.
    name : str
        Step name for the message.
    """
    if max(exposure.frame) > 2048:
        raise InputError(f"{exposure.label}: {name}: IRS2 readout is not supported yet")


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

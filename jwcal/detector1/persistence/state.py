"""The charge in the traps of a detector at the end of an exposure, an ASDF file.

It lets the next exposure start where one ended, without another look at the exposures before: ``detector``,
``time`` (seconds since 1970), ``origin`` (row and column of the frame on the detector), ``release`` (time
constants, seconds), ``exposure`` and ``traps`` (family, row, column; electrons).
"""

import numpy as np

from jwcal.core.asdf_file import AsdfFile
from jwcal.core.errors import InputError
from jwcal.core.whole import Complete, asdf_writer


def read_state(path, exposure, model, start, slack):
    """Read trapped charge into the frame of an exposure.

    Parameters
    ----------
    path : str
        ASDF file.
    exposure : Exposure
        The exposure that follows.
    model : jwcal.kernels.persistence.Traps
        Families; those of the file must have the same release times.
    start : float
        Start of the exposure, seconds since 1970.
    slack : float
        Rounding of the times, seconds.

    Returns
    -------
    traps : (nfamily, ny, nx) float32 numpy.ndarray
        Electrons; 0 where the file has no pixel.
    time : float
        When, seconds since 1970.

    Raises
    ------
    InputError
        If the file is missing, no such state, of another detector or model, or later than the exposure.
    """
    tree = AsdfFile(path).tree
    try:
        detector, time = tree["detector"], float(tree["time"])
        (y, x), release = (int(v) for v in tree["origin"]), tuple(float(v) for v in tree["release"])
        stored = np.asarray(tree["traps"], np.float32)
        if stored.shape[0] != len(release) or stored.ndim != 3:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: not the trapped charge of a detector") from None
    if detector != exposure.meta["DETECTOR"]:
        raise InputError(
            f"{path}: is of detector {detector}, {exposure.label} of {exposure.meta['DETECTOR']}"
        )
    if release != tuple(float(v) for v in model.release):
        raise InputError(f"{path}: has other trap families than the model; begin anew from the history")
    if time > start + slack:
        raise InputError(f"{path}: not in order of time, it is later than the start of {exposure.label}")
    out = np.zeros((len(model), *exposure.frame), np.float32)
    dy, dx = exposure.substrt[0] - y, exposure.substrt[1] - x
    y0, x0 = max(dy, 0), max(dx, 0)
    y1, x1 = min(dy + out.shape[1], stored.shape[1]), min(dx + out.shape[2], stored.shape[2])
    if y1 > y0 and x1 > x0:
        out[:, y0 - dy : y1 - dy, x0 - dx : x1 - dx] = stored[:, y0:y1, x0:x1]
    return out, time


def write_state(path, overwrite, exposure, model, traps, time):
    """Write trapped charge.

    Parameters
    ----------
    path : str
        ASDF file.
    overwrite : bool
        Replace an existing file.
    exposure : Exposure
        The exposure that ended.
    model : jwcal.kernels.persistence.Traps
        Families.
    traps : (nfamily, ny, nx) float32 numpy.ndarray
        Electrons.
    time : float
        End of the exposure, seconds since 1970.

    Returns
    -------
    jwcal.core.whole.Complete
        The file, which waits for its name.

    Raises
    ------
    OutputError
        If it exists and may not be replaced, or cannot be written.
    """
    tree = {
        "detector": exposure.meta["DETECTOR"], "time": float(time), "origin": [int(v) for v in exposure.substrt],
        "release": [float(v) for v in model.release], "traps": traps,
        "exposure": str(exposure.meta.get("FILENAME", exposure.label)),
    }  # fmt: skip
    return Complete(path, overwrite, asdf_writer(path, tree, all_array_compression="zlib"))

"""The map of persistence windows that goes from exposure to exposure, an ASDF file.

For every detector it holds the pixels whose window is open (``rows``, ``cols``), the ends of the windows
(``vals``, seconds since 1970), their length (``pers_time``) and the exposure (``filename``), as the official
package writes it.
"""

import logging
import os
from pathlib import Path

import numpy as np

from jwcal.core.errors import InputError, OutputError

log = logging.getLogger(__name__)


def read_map(path, detector, length, shape):
    """Read the ends of the windows of a detector.

    Parameters
    ----------
    path : str
        ASDF file; one that does not exist holds no window.
    detector : str
        Name of the detector.
    length : float
        Length of a window, seconds; windows of another length are not used.
    shape : (int, int)
        Rows and columns of the frame.

    Returns
    -------
    (ny, nx) float64 numpy.ndarray
        End of the window of every pixel, seconds since 1970, 0 for none.

    Raises
    ------
    InputError
        If the file is not such a map, or does not fit the frame.
    """
    out = np.zeros(shape)
    if not Path(path).exists():
        log.info("%s: no persistence map there yet; a new one is begun", path)
        return out
    entry = _load(path).get(detector)
    if entry is None:
        log.info("%s: no windows of %s", path, detector)
        return out
    try:
        rows, columns, ends = (np.asarray(entry[k]) for k in ("rows", "cols", "vals"))
        if entry["pers_time"] != length:
            log.warning("%s: windows of %s s, not %s s, are not used", path, entry["pers_time"], length)
            return out
        if rows.size and (rows.min() < 0 or columns.min() < 0):
            raise IndexError
        out[rows, columns] = ends
    except IndexError:
        raise InputError(f"{path}: the map of {detector} is larger than the frame of {shape}") from None
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: the entry of {detector} is not a persistence map") from None
    return out


def _load(path):
    import asdf

    try:
        with asdf.open(path, lazy_load=False, memmap=False) as file:
            return {k: v for k, v in file.tree.items() if k not in ("asdf_library", "history")}
    except (OSError, ValueError, RuntimeError) as exc:
        raise InputError(f"{path}: not an ASDF file: {' '.join(str(exc).split())}") from None


def write_map(path, detector, length, ends, filename):
    """Put the open windows of a detector in a map, beside those of other detectors.

    Parameters
    ----------
    path : str
        ASDF file; the suffix becomes ``.asdf``.
    detector : str
        Name of the detector.
    length : float
        Length of a window, seconds.
    ends : (ny, nx) float64 numpy.ndarray
        End of the window of every pixel, seconds since 1970, 0 for none.
    filename : str
        The exposure.

    Raises
    ------
    InputError, OutputError
        If a file is there that is no map, or none can be written.
    """
    import asdf

    target = Path(path).with_suffix(".asdf")
    tree = _load(target) if target.exists() else {}
    rows, columns = np.nonzero(ends)
    tree[detector] = {
        "filename": filename, "rows": rows, "cols": columns, "vals": ends[rows, columns], "pers_time": length,
    }  # fmt: skip
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        asdf.AsdfFile(tree).write_to(part)
        os.replace(part, target)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise OutputError(f"{target}: {exc.strerror or exc}") from None

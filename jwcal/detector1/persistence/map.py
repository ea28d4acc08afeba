"""The map of persistence windows that goes from exposure to exposure, an ASDF file.

For every detector it holds the pixels whose window is open (``rows``, ``cols``), the ends of the windows
(``vals``, seconds since 1970), their length (``pers_time``) and the exposure (``filename``), as the official
package writes it.
"""

import contextlib
import logging
import os
from pathlib import Path

import numpy as np

from jwcal.core.asdf_file import AsdfFile
from jwcal.core.errors import InputError
from jwcal.core.whole import Complete, asdf_writer

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
    tree = {k: v for k, v in AsdfFile(path).tree.items() if k not in ("asdf_library", "history")}
    if not all(isinstance(entry, dict) and "vals" in entry for entry in tree.values()):
        raise InputError(f"{path}: is not a persistence map")
    return tree


def map_path(path):
    """Name under which a map is written: the suffix becomes ``.asdf``."""
    return Path(path).with_suffix(".asdf")


class MapUpdate:
    """The open windows of a detector for a map, beside those of other detectors that are there.

    A map is kept up by many runs, of several detectors at the same time; so a file that exists is not
    replaced but added to, without asking, and what others have added meanwhile is kept.

    Parameters
    ----------
    path : str
        ASDF file; see `map_path`.
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

    def __init__(self, path, detector, length, ends, filename):
        self.path = map_path(path)
        self.detector = detector
        rows, columns = np.nonzero(ends)
        self.entry = {
            "filename": filename, "rows": rows, "cols": columns, "vals": ends[rows, columns], "pers_time": length,
        }  # fmt: skip
        self._begin()

    def _begin(self):
        self.seen = self._state()
        tree = _load(self.path) if self.seen else {}
        tree[self.detector] = self.entry
        self.file = Complete(str(self.path), overwrite=True, write=asdf_writer(self.path, tree))

    def _state(self):
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def commit(self):
        """Give the map its name; added to anew if another run has been faster."""
        with _alone(self.path.parent):
            if self._state() != self.seen:
                self.abort()
                self._begin()
            self.file.commit()

    def abort(self):
        """Leave the map as it is."""
        self.file.abort()


@contextlib.contextmanager
def _alone(folder):
    """Keep other runs from giving a map of a folder its name."""
    import fcntl

    fd = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks for folders.
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)

"""What several templates share: dither points, detectors and their frames."""

import re
import tomllib
from functools import cache

from jwcal.core.packaged import text_of
from jwcal.planning.model import Detector, Dither
from jwcal.planning.templates import MOST, UnpredictableError


@cache
def _catalogue():
    return tomllib.loads(text_of("data", "detectors.toml"))


def frames():
    """Detectors and their subarrays: the table "detector" of data/detectors.toml (dict)."""
    return _catalogue()["detector"]


@cache
def table(name):
    """Read a table of data/planning (dict).

    Parameters
    ----------
    name : str
        File name without ".toml".
    """
    return tomllib.loads(text_of("data/planning", f"{name}.toml"))


def frame_of(name, subarray, more=None):
    """Size of the frame of a detector.

    Parameters
    ----------
    name : str
        Detector.
    subarray : str
        "FULL" or the name of a subarray.
    more : dict, optional
        Subarrays that data/detectors.toml does not have: name to [columns, rows].

    Returns
    -------
    tuple of int or None
        Rows and columns; None if the detector does not have this subarray.
    """
    if subarray == "FULL":
        own = frames()[name]
        own = _catalogue()["instrument"][own["instrument"]] | own
        return own["rows"], own["columns"]
    corner = frames()[name].get("subarrays", {}).get(subarray)
    if corner is not None:
        return corner[3], corner[2]
    size = (more or {}).get(subarray)
    return None if size is None else (size[1], size[0])


def count(cell, default=1):
    """Read the number of points that a cell means: the integer it starts with.

    "3TIGHT" and "3-POINT-WITH-MIRI-F770W" are 3, "NONE" and "" are `default`.
    """
    found = re.match(r"\d+", cell.strip())
    return int(found[0]) if found else default


def points(primary=1, subpixel=1, pattern="NONE", subpixel_pattern="NONE", size=""):
    """Points of a dither pattern in the order in which they are visited.

    The subpixel points are visited at every primary point.

    Parameters
    ----------
    primary, subpixel : int
        Number of primary and of subpixel points.
    pattern, subpixel_pattern, size : str
        As in model.Dither.

    Returns
    -------
    list of Dither

    Raises
    ------
    UnpredictableError
        If there are more points than exposures of a visit can be numbered.
    """
    if primary * subpixel > MOST:
        raise UnpredictableError(f"a dither pattern of {primary * subpixel} points, which no visit can hold")
    return [
        Dither(
            pattern=pattern or "NONE",
            points=primary * subpixel,
            point=i * subpixel + j + 1,
            primary_points=primary,
            primary=i + 1,
            subpixel_pattern=subpixel_pattern or "NONE",
            subpixel_points=subpixel,
            subpixel=j + 1,
            size="" if size == "DEFAULT" else size,
        )
        for i in range(primary)
        for j in range(subpixel)
    ]


def single_detector(name, subarray, filter_="", pupil="", more=None):
    """Make the one detector of an exposure of NIRISS or FGS (tuple of Detector).

    Raises
    ------
    UnpredictableError
        If the detector does not have the subarray.
    """
    frame = frame_of(name, subarray, more)
    if frame is None:
        raise UnpredictableError(f"the size of subarray {subarray} of {name} is not known")
    return (Detector(name, filter=filter_, pupil=pupil, rows=frame[0], columns=frame[1]),)


def split_filter(cell):
    """Pupil and filter of a cell such as "F162M+F150W2": (str, str); the pupil is "CLEAR" if not given."""
    pupil, plus, name = cell.partition("+")
    return (pupil.strip(), name.strip()) if plus else ("CLEAR", cell.strip())

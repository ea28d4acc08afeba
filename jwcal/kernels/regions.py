"""Regions of flagged pixels, found as runs of pixels, and the pixels of ellipses.

Every function comes as C and as a NumPy twin (``*_numpy``) that gives the same values, bit for bit.
"""

import ctypes
import math

import numpy as np

from jwcal.kernels._lib import native, plane, ptr
from jwcal.kernels.pixelwise import sizes

# Pixels `first` to `last` (half-open) of a row.
RUN = np.dtype([("row", "i4"), ("first", "i4"), ("last", "i4")])
# Box (half-open), place of the runs, number of pixels, and sums of their rows and columns in the box.
REGION = np.dtype(
    [(name, "i4") for name in ("top", "left", "bottom", "right", "first", "runs")]
    + [(name, "i8") for name in ("area", "rows", "columns")]
)
ROOM = 1 << 12


def find_runs(flags, mask, without=None):
    """Find the runs of flagged pixels of an image.

    Parameters
    ----------
    flags : (ny, nx) uint8 numpy.ndarray
        Flags.
    mask : int
        A pixel counts if it has one of these bits.
    without : (ny, nx) uint8 numpy.ndarray or None
        A pixel that has the same bits here does not.

    Returns
    -------
    (n,) numpy.ndarray of dtype `RUN`
        Row by row.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    _check(flags, without)
    lib = native()
    if lib is None:
        return find_runs_numpy(flags, mask, without)
    args = (ptr(flags), ptr(without), ctypes.c_uint8(mask), *sizes(*flags.shape))
    return _filled(lib.jw_find_runs, args)


def find_runs_numpy(flags, mask, without=None):
    """NumPy twin of `find_runs`."""
    found = (flags & mask) != 0
    if without is not None:
        found &= (without & mask) == 0
    edge = np.diff(np.pad(found, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, first = np.nonzero(edge == 1)
    runs = np.empty(row.size, RUN)
    runs["row"], runs["first"], runs["last"] = row, first, np.nonzero(edge == -1)[1]
    return runs


def keep_runs(runs, flags, mask, without=None):
    """Parts of runs whose pixels are flagged in an image.

    Parameters
    ----------
    runs : (n,) numpy.ndarray of dtype `RUN`
        Runs in the image.
    flags, mask, without
        As for `find_runs`.

    Returns
    -------
    (m,) numpy.ndarray of dtype `RUN`
        Row by row.
    """
    _check(flags, without)
    plane(runs, runs.shape, RUN, "runs")
    lib = native()
    if lib is None:
        return keep_runs_numpy(runs, flags, mask, without)
    args = (
        ptr(runs), *sizes(runs.size), ptr(flags), ptr(without), ctypes.c_uint8(mask), *sizes(flags.shape[1]),
    )  # fmt: skip
    return _filled(lib.jw_keep_runs, args, runs.size)


def keep_runs_numpy(runs, flags, mask, without=None):
    """NumPy twin of `keep_runs`."""
    parts = [np.empty(0, RUN)]
    for row, first, last in runs.tolist():
        here = np.s_[row : row + 1, first:last]
        part = find_runs_numpy(flags[here], mask, None if without is None else without[here])
        part["row"] += row
        part["first"] += first
        part["last"] += first
        parts.append(part)
    return np.concatenate(parts)


def clear_runs(runs, flags, mask, kept):
    """Take flags off the pixels of runs.

    Parameters
    ----------
    runs : (n,) numpy.ndarray of dtype `RUN`
        Runs in the image.
    flags : (ny, nx) uint8 numpy.ndarray
        Changed in place.
    mask : int
        Bits to take off.
    kept : (ny, nx) bool numpy.ndarray
        Pixels to leave as they are.
    """
    _check(flags, None)
    plane(kept, flags.shape, bool, "kept")
    plane(runs, runs.shape, RUN, "runs")
    lib = native()
    if lib is None:
        clear_runs_numpy(runs, flags, mask, kept)
        return
    lib.jw_clear_runs(
        ptr(runs), *sizes(runs.size), ptr(flags), ctypes.c_uint8(mask), ptr(kept), *sizes(flags.shape[1])
    )


def clear_runs_numpy(runs, flags, mask, kept):
    """NumPy twin of `clear_runs`."""
    for row, first, last in runs.tolist():
        here = np.s_[row, first:last]
        flags[here][~kept[here]] &= np.uint8(~mask & 0xFF)


def find_regions(runs, least):
    """Find the connected regions of runs; diagonal neighbours are connected.

    Parameters
    ----------
    runs : (n,) numpy.ndarray of dtype `RUN`
        Runs of an image, row by row.
    least : float
        Smallest area, holes included, pixels.

    Returns
    -------
    regions : (m,) numpy.ndarray of dtype `REGION`
        In the order of their first pixels.
    places : (n,) numpy.ndarray of dtype `RUN`
        The runs region by region, also those of small ones, counted from the corner of the region.

    Raises
    ------
    MemoryError
        If there is none.
    """
    plane(runs, runs.shape, RUN, "runs")
    lib = native()
    if lib is None:
        return find_regions_numpy(runs, least)
    places, regions = np.empty(runs.size, RUN), np.empty(runs.size, REGION)
    if not runs.size:
        return regions, places
    lib.jw_find_regions.restype = ctypes.c_ssize_t
    count = lib.jw_find_regions(
        ptr(runs), *sizes(runs.size), ctypes.c_double(least), ptr(places), ptr(regions)
    )
    if count < 0:
        raise MemoryError("regions")
    return regions[:count], places


def find_regions_numpy(runs, least):
    """NumPy twin of `find_regions`."""
    label = _connected(runs)
    order = np.argsort(label, kind="stable")
    places = runs[order]
    out = []
    start = 0
    for number in np.bincount(label).tolist() if label.size else ():
        part = places[start : start + number]
        top, left = part["row"].min(), part["first"].min()
        bottom, right = part["row"].max() + 1, part["last"].max()
        part["row"] -= top
        part["first"] -= left
        part["last"] -= left
        length = (part["last"] - part["first"]).astype(np.int64)
        rows, columns = (length * part["row"]).sum(), (length * (part["first"] + part["last"] - 1) // 2).sum()
        area = int(length.sum())
        box = int(bottom - top), int(right - left)
        if box[0] * box[1] >= least and (area >= least or area + _holes(part, box) >= least):
            out.append((top, left, bottom, right, start, number, area, rows, columns))
        start += number
    return np.array(out, REGION), places


def _connected(runs):
    """Find the number of the region of every run."""
    row, first, last = runs["row"].tolist(), runs["first"].tolist(), runs["last"].tolist()
    parent = list(range(runs.size))

    def root(k):
        while parent[k] != k:
            k = parent[k]
        return k

    starts = np.searchsorted(runs["row"], np.arange(max(row, default=0) + 2)).tolist()
    for k, y in enumerate(row):
        for j in range(starts[y - 1], starts[y]) if y else ():
            if first[j] <= last[k] and last[j] >= first[k]:
                a, b = root(j), root(k)
                parent[max(a, b)] = min(a, b)
    roots = np.array([root(k) for k in range(runs.size)], np.int64)
    return np.unique(roots, return_inverse=True)[1]


def _holes(part, shape):
    """Pixels a region encloses: what is not a hole hangs together with a frame around it."""
    outside = np.pad(1 - draw(part, shape), 1, constant_values=1)
    runs = find_runs_numpy(outside, 1)
    return int((runs["last"] - runs["first"])[_connected(runs) > 0].sum())


def draw(places, shape):
    """Image of a region.

    Parameters
    ----------
    places : (n,) numpy.ndarray of dtype `RUN`
        Its runs, from its corner.
    shape : (int, int)
        Rows and columns.

    Returns
    -------
    uint8 numpy.ndarray
        1 in its pixels.
    """
    image = np.zeros(shape, np.uint8)
    for row, first, last in places.tolist():
        image[row, first:last] = 1
    return image


def ellipse_inside(inside, centre, radii, direction):
    """Find the pixels of a box that lie in an ellipse.

    Parameters
    ----------
    inside : (ny, nx) bool numpy.ndarray
        Set in place; nothing is set before.
    centre : (int, int)
        Row and column.
    radii : (float, float)
        Half axes along the direction and across it; not 0.  Where one is negative nothing outside of
        the box of rows and columns they span is looked at.
    direction : (float, float)
        Cosine and sine of the angle between the rows and the first half axis.
    """
    plane(inside, inside.shape, bool, "inside")
    lib = native()
    if lib is None:
        ellipse_inside_numpy(inside, centre, radii, direction)
        return
    lib.jw_ellipse(ptr(inside), *sizes(*inside.shape, *centre), *map(ctypes.c_double, (*radii, *direction)))


def ellipse_inside_numpy(inside, centre, radii, direction):
    """NumPy twin of `ellipse_inside`."""
    cos, sin = direction
    reach = abs(radii[0] * cos) + radii[1] * sin, radii[0] * sin + abs(radii[1] * cos)
    low = [max(math.ceil(c - r), 0) for c, r in zip(centre, reach, strict=True)]
    high = [min(math.floor(c + r), n - 1) for c, r, n in zip(centre, reach, inside.shape, strict=True)]
    if high[0] < low[0] or high[1] < low[1]:
        return
    rows = np.arange(float(low[0]), high[0] + 1.0)[:, None] - centre[0]
    columns = np.arange(float(low[1]), high[1] + 1.0) - centre[1]
    along, across = (rows * cos + columns * sin) / radii[0], (rows * sin - columns * cos) / radii[1]
    inside[low[0] : high[0] + 1, low[1] : high[1] + 1] = along * along + across * across < 1


def _check(flags, without):
    plane(flags, flags.shape, np.uint8, "flags")
    if without is not None:
        plane(without, flags.shape, np.uint8, "without")


def _filled(function, args, room=0):
    """Get runs from a function that tells how many there are, and is called again if there was no room."""
    function.restype = ctypes.c_ssize_t
    room = max(room, ROOM)
    while True:
        runs = np.empty(room, RUN)
        count = function(*args, ptr(runs), *sizes(room))
        if count <= room:
            return runs[:count]
        room = count

"""Tiles: the boxes of an exposure that steps work on, and how a frame is divided into them."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

MIN_ROWS = 2
MIN_COLUMNS = 32
# Rows at the edge of a band are worked on twice; bands should be much taller than that.
BAND_ROWS = 128


def spread(function, items, jobs):
    """Call a function on each item, in so many threads; results come in the order of the items."""
    items = list(items)
    if jobs <= 1 or len(items) <= 1:
        return in_turn(function, items)
    with ThreadPoolExecutor(min(jobs, len(items))) as pool:
        return list(pool.map(function, items))


def in_turn(function, items):
    """Call a function on each item in this thread, as `Tile.spread` does in several."""
    return [function(item) for item in items]


class Buffers:
    """Arrays that live as long as a thread: fresh pages are the largest single cost of a tile."""

    def __init__(self):
        self._memory = {}

    def get(self, key, shape, dtype):
        """Array of a shape and dtype in the memory kept under a key; its values are not defined."""
        dtype = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        memory = self._memory.get(key)
        if memory is None or memory.size < nbytes:
            memory = self._memory[key] = np.empty(nbytes, np.uint8)
        return memory[:nbytes].view(dtype).reshape(shape)


class Tile:
    """A box of an exposure: planes as arrays, changed in place by the steps.

    Attributes
    ----------
    meta : Meta
        Keywords of the exposure.
    box : (int, int, int, int)
        y0, y1, x0, x1 of the arrays in the exposure's frame, half-open.
    core : (int, int, int, int)
        The part of the arrays that will be kept (the rest is halo).
    counted : (int, int, int, int)
        The fresh part of what will be kept, now or later.
    i0, i1 : int
        Integrations of the file held here, half-open.
    plan : object
        Plan of the step being run.
    all_dnu : (nint, ngroup) bool numpy.ndarray or None
        Groups that are DO_NOT_USE in the whole frame, for steps that asked for it.
    jobs : int
        Threads a step that has the whole frame may use.
    stripe : int or None
        Superstripe of the frame held here, if that is one; integrations are counted in frames then.
    fresh : int
        First row that the running step has not seen yet.
    ready : int
        Number of rows from the top that the running step has to finish.
    carry : dict
        For steps that carry what they must know of rows above the tile; empty at the top.
    """

    def __init__(self, planes, meta, box, core, ints):
        self.planes = planes
        self.meta = meta
        self.box, self.core = box, core
        self.i0, self.i1 = ints
        self.plan: Any = None
        self.all_dnu: Any = None
        self.jobs = 1
        self.stripe: Any = None
        self.fresh, self.ready = 0, box[1] - box[0]
        self.carry: dict = {}
        self.counted = core
        self._node: Any = None
        self._counts: Any = None

    def __getitem__(self, name):
        return self.planes[name]

    def __setitem__(self, name, array):
        self.planes[name] = array

    def __contains__(self, name):
        return name in self.planes

    def get(self, name, default=None):
        """Plane, or the default."""
        return self.planes.get(name, default)

    def count(self, name, number):
        """Add to a counter of the running step; totals reach its finish hook."""
        self._counts[name] += int(number)

    def spread(self, function, items):
        """Call a function on each item, in the threads of the run; results come in the order of the items."""
        return spread(function, items, self.jobs)

    def correction(self, integration):
        """Return what the step's solve hook gave for an integration of the file."""
        return self._node.corrections[integration]

    def bind(self, node, counts):
        """Make `node` the running step."""
        self._node, self._counts = node, counts
        self.plan, self.all_dnu = node.plan, node.all_dnu

    def of_stripe(self, stripe, count, has_ints):
        """Tile of one superstripe.

        Parameters
        ----------
        stripe, count : int
            Which, from 0, and how many a frame has.
        has_ints : callable
            Whether the first axis of a plane, by name, counts integrations and not stripes.

        Returns
        -------
        Tile
            Its planes are views.
        """
        planes = {n: a[stripe::count] if has_ints(n) else a[stripe] for n, a in self.planes.items()}
        part = Tile(planes, self.meta, self.box, self.core, (self.i0 // count, self.i1 // count))
        part.stripe = stripe
        part.fresh, part.ready, part.counted = self.fresh, self.ready, self.counted
        part.carry = self.carry.setdefault(stripe, {})
        return part

    def shrink(self, halo):
        """Drop the halo rows and columns beyond `halo`, and what a step carries of them."""
        self.carry = {}
        cy0, cy1, cx0, cx1 = self.core
        ny, nx = self.box[1] - self.box[0], self.box[3] - self.box[2]
        y0, y1 = max(cy0 - halo, 0), min(cy1 + halo, ny)
        x0, x1 = max(cx0 - halo, 0), min(cx1 + halo, nx)
        if (y0, y1, x0, x1) == (0, ny, 0, nx):
            return
        narrow = (x0, x1) != (0, nx)
        for name, array in self.planes.items():
            part = array[..., y0:y1, x0:x1]
            self.planes[name] = np.ascontiguousarray(part) if narrow else part
        by, bx = self.box[0], self.box[2]
        self.box = (by + y0, by + y1, bx + x0, bx + x1)
        self.core = self.counted = (cy0 - y0, cy1 - y0, cx0 - x0, cx1 - x0)
        self.ready = y1 - y0

    def kept(self, name):
        """Return the core part of a plane."""
        y0, y1, x0, x1 = self.core
        return self.planes[name][..., y0:y1, x0:x1]

    @property
    def rows_kept(self):
        """Number of rows of the core."""
        return self.core[1] - self.core[0]

    @property
    def core_box(self):
        """The core in the exposure's frame."""
        by, bx = self.box[0], self.box[2]
        y0, y1, x0, x1 = self.core
        return (by + y0, by + y1, bx + x0, bx + x1)


def plan_bands(pixels, frame, halo, jobs, kept):
    """Divide a frame into bands, each of which a window rolls down.

    Parameters
    ----------
    pixels : float
        Pixels a window may hold, the rows kept for the halo included.
    frame : (int, int)
        Rows and columns of the frame.
    halo : int
        Pixels around a row that its value depends on.
    jobs : int
        Threads.
    kept : float
        Rows kept from before, as a number of new ones that take as much memory.

    Returns
    -------
    rows : int
        New rows of a window.
    bands : list of (int, int, int, int)
        Boxes y0, y1, x0, x1 that cover the frame without overlap.
    """
    ny, nx = frame
    width = nx
    while width > MIN_COLUMNS and (width + 2 * halo * (width < nx)) * (MIN_ROWS + kept) > pixels:
        width = max(-(-width // 2), MIN_COLUMNS)
    rows = max(int(pixels / (width + 2 * halo * (width < nx)) - kept), 1)
    count = jobs * max(min(4, ny // (jobs * BAND_ROWS)), 1)
    rows = int(min(rows, -(-ny // count)))
    # Columns are divided at even places, so that pairs of neighbours stay together.
    xs = [x if x == nx else x // 2 * 2 for x in _edges(nx, -(-nx // width))]
    ys = _edges(ny, min(count, ny))
    return rows, [(*y, *x) for x in pairwise(xs) for y in pairwise(ys)]


def _edges(n, count):
    return [n * k // count for k in range(count + 1)]

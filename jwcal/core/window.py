"""The rows in memory while a band of the frame is worked on, and what neighbours need of them."""

from jwcal.core.tile import Tile


class Kept:
    """Rows a step with a halo must see again, and the first row it has not finished."""

    def __init__(self, start, number):
        self.rows: dict = {}
        self.number = number
        self.start = start
        self.begin = start
        self.next = None


class Window:
    """Rows of a band that are in memory, with room in front for rows kept from before."""

    def __init__(self, walk, planes, rows, margin, columns, inner, buffers):
        self.walk, self.margin, self.buffers = walk, margin, buffers
        self.columns, self.inner = columns, inner
        self.capacity = margin + rows
        self.base = {name: self._room(name) for name in planes}
        self.loaded = list(planes)
        self.present = list(planes)
        self.first = self.last = self.shift = 0
        self.views: dict = {}

    def _room(self, name, lead=None, dtype=None):
        walk = self.walk
        box = (0, self.capacity, *self.columns)
        if lead is None:
            return self.buffers.get(name, walk.shape_of(name, box), walk.dtype_of(name))
        return self.buffers.get(name, (*lead, self.capacity, self.columns[1] - self.columns[0]), dtype)

    def load(self, first, last):
        """Read new rows of the frame."""
        self.first, self.last = first, last
        self.shift = self.margin - first
        self.present = list(self.loaded)
        store = self.walk.exposure
        for name in self.loaded:
            out = self.base[name][..., self.margin : self.margin + last - first, :]
            if store.has(name):
                store.store.read(name, (first, last, *self.columns), index=self.walk.index_of(name), out=out)
            else:
                out[...] = 0

    def tile(self, first, last, wanted, keep=None):
        """Tile of the rows from `first` to `last`; of them those in `keep` and in `wanted` are its core."""
        walk = self.walk
        a, b = first + self.shift, last + self.shift
        self.views = {name: self.base[name][..., a:b, :] for name in self.present}
        k0, k1 = keep or (first, last)
        y0 = min(max(k0, wanted[0], first), last)
        y1 = max(min(k1, wanted[1], last), y0)
        nint = walk.exposure.shape[0] if len(walk.exposure.shape) > 2 else 1
        core = (y0 - first, y1 - first, *self.inner)
        return Tile(dict(self.views), walk.exposure.meta, (first, last, *self.columns), core, (0, nint))

    def with_halo(self, halo, kept, wanted):
        """Tile for a step with a halo: the rows kept from before, and the new ones."""
        height = self.last - self.first
        if kept.next is None:
            # At the edge of the frame there is nothing to wait for.
            kept.begin = self.first
            kept.next = self.first + (halo if self.first > 0 else 0)
        else:
            kept.begin = self.first - kept.height
            for name, rows in kept.rows.items():
                a = kept.begin + self.shift
                self.base[name][..., a : a + kept.height, :] = rows
        finished = self.last if self.last == self.walk.frame[0] else max(self.last - halo, kept.next)
        # What the next rows need: everything from `halo` rows before the first unfinished one.
        save = max(finished - halo, kept.begin)
        a, b = save + self.shift, self.last + self.shift
        kept.rows = {name: self._hold(kept.number, name, a, b) for name in self.present} if height else {}
        kept.height = self.last - save
        kept.done, kept.next = kept.next, finished
        return self.tile(kept.begin, self.last, wanted, (kept.done, finished))

    def _hold(self, number, name, first, last):
        """Copy rows to where those of the same step were before, which have been put back by now."""
        rows = self.base[name][..., first:last, :]
        held = self.buffers.get(("kept", number, name), rows.shape, rows.dtype)
        held[...] = rows
        return held

    def adopt(self, tile):
        """Take over planes that a step has replaced or made."""
        for name, array in tile.planes.items():
            if array is self.views.get(name):
                continue
            if name not in self.base or self.base[name].dtype != array.dtype:
                self.base[name] = self._room(("made", name), array.shape[:-2], array.dtype)
            a, b = tile.box[0] + self.shift, tile.box[1] + self.shift
            self.base[name][..., a:b, :] = array
            if name not in self.present:
                self.present.append(name)

    def finish(self, kept, limits):
        """Go on with the rows a step has finished; False if there are none."""
        self.first = max(kept.done, limits[0])
        self.last = min(kept.next, limits[1])
        return self.last > self.first

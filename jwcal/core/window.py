"""The rows in memory while a band of the frame is worked on, and what neighbours need of them."""

from jwcal.core.tile import Tile


class Kept:
    """What a step with a halo must see again, and the first row it has not finished.

    Attributes
    ----------
    halo : int
        Rows of neighbours.
    again : int
        Rows it has finished and must see again: none if it carries what it must know of them.
    margin : int
        Rows in front of new ones that it can come to see.
    in_place : bool
        Whether its unfinished rows can wait in the window; not behind a step that puts others in their place.
    """

    def __init__(self, node, number, delay, in_place):
        self.rows: dict = {}
        self.number = number
        self.halo, self.again = node.halo, 0 if node.carries else node.halo
        self.margin = delay + self.halo + self.again
        self.in_place = in_place and node.carries
        self.carry: dict = {}
        self.height = 0
        self.done = self.next = None


def keep_for(nodes):
    """One `Kept` for each step."""
    out, delay, in_place = [], 0, True
    for number, node in enumerate(nodes):
        out.append(Kept(node, number, delay, in_place))
        delay += node.halo
        in_place &= node.carries or not node.halo
    return out


def rows_kept(nodes):
    """Rows in memory beside the new ones of a window."""
    kept = keep_for(nodes)
    copies = sum(k.halo + k.again for k in kept if not k.in_place)
    return max((k.margin for k in kept), default=0) + copies


class Window:
    """Rows of a band that are in memory, with room in front for rows kept from before."""

    def __init__(self, walk, planes, rows, halos, columns, inner, buffers):
        self.walk, self.buffers = walk, buffers
        self.columns, self.inner = columns, inner
        self.margin = max((kept.margin for kept in halos), default=0)
        self.waiting = sum(kept.halo for kept in halos if kept.in_place)
        self.capacity = self.margin + rows
        self.base = {name: self._room(name) for name in planes}
        self.loaded = list(planes)
        self.present = list(planes)
        self.first = self.last = self.shift = self.height = 0
        self.views: dict = {}

    def _room(self, name, lead=None, dtype=None):
        walk = self.walk
        box = (0, self.capacity, *self.columns)
        if lead is None:
            return self.buffers.get(name, walk.shape_of(name, box), walk.dtype_of(name))
        return self.buffers.get(name, (*lead, self.capacity, self.columns[1] - self.columns[0]), dtype)

    def load(self, first, last):
        """Read new rows of the frame; those that wait for them come in front."""
        if self.height:
            for row in range(self.margin - self.waiting, self.margin):
                for array in self.base.values():
                    array[..., row, :] = array[..., row + self.height, :]
        self.height = last - first
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
        core = self.core(first, last, wanted, keep or (first, last))
        nint = walk.exposure.shape[0] if len(walk.exposure.shape) > 2 else 1
        return Tile(dict(self.views), walk.exposure.meta, (first, last, *self.columns), core, (0, nint))

    def core(self, first, last, wanted, keep):
        """Rows from `first` to `last` that are in `keep` and in `wanted`, from the first on, and columns."""
        y0 = min(max(keep[0], wanted[0], first), last)
        y1 = max(min(keep[1], wanted[1], last), y0)
        return (y0 - first, y1 - first, *self.inner)

    def with_halo(self, kept, wanted):
        """Tile for a step with a halo: the rows kept from before, and the new ones."""
        fresh = self.first
        if kept.next is None:
            # At the edge of the frame there is nothing to wait for.
            kept.next = fresh + (kept.halo if fresh > 0 else 0)
        begin = fresh - kept.height
        for name, rows in kept.rows.items():
            a = begin + self.shift
            self.base[name][..., a : a + kept.height, :] = rows
        ready = self.last if self.last == self.walk.frame[0] else max(self.last - kept.halo, begin)
        finished = max(ready, kept.next)
        # What the next rows need: the unfinished ones, and those before that must be seen again.
        kept.height = self.last - max(ready - kept.again, begin)
        kept.rows = self._hold(kept) if kept.again else {}
        kept.done, kept.next = kept.next, finished
        tile = self.tile(begin, self.last, wanted, (kept.done, finished))
        if not kept.again:
            tile.fresh, tile.ready, tile.carry = fresh - begin, ready - begin, kept.carry
            tile.counted = self.core(begin, self.last, wanted, (fresh, self.last))
        return tile

    def _hold(self, kept):
        """Copy rows to where those of the same step were before, which have been put back by now."""
        b = self.last + self.shift
        out = {}
        for name in self.present:
            rows = self.base[name][..., b - kept.height : b, :]
            out[name] = self.buffers.get(("kept", kept.number, name), rows.shape, rows.dtype)
            out[name][...] = rows
        return out

    def adopt(self, tile):
        """Take over planes that a step has replaced or made."""
        for name, array in tile.planes.items():
            if array is self.views.get(name):
                continue
            if name not in self.base or self.base[name].dtype != array.dtype:
                before = self.base.get(name)
                self.base[name] = self._room(("made", name), array.shape[:-2], array.dtype)
                if before is not None and before.shape == self.base[name].shape:
                    self.base[name][...] = before
            a, b = tile.box[0] + self.shift, tile.box[1] + self.shift
            self.base[name][..., a:b, :] = array
            if name not in self.present:
                self.present.append(name)

    def finish(self, kept, limits):
        """Go on with the rows a step has finished; False if there are none."""
        if not kept.again and not kept.in_place:
            kept.rows = self._hold(kept)
        self.first = max(kept.done, limits[0])
        self.last = min(kept.next, limits[1])
        return self.last > self.first

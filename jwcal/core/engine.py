"""The engine: walks a frame in tiles and runs the declared steps on each while it is hot.

A tile is a box of rows with all its integrations and groups, so every step that works on
single pixels, also one that compares integrations, runs on it; memory does not grow with the
number of integrations because the boxes get smaller.  Steps that need neighbours get a halo of
extra rows, computed again by each tile; steps that need the reference pixels of the frame see
strips of it first.  Results depend neither on the tile size nor on the number of threads.
"""

import logging
import os
import threading
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from types import SimpleNamespace

import numpy as np

from jwcal.core import lookahead, quality
from jwcal.core.errors import DataError, JwcalError
from jwcal.core.exposure import kind_of, products
from jwcal.core.step import Skip
from jwcal.core.tile import Buffers, Tile, plan_bands
from jwcal.core.window import Window, keep_for, rows_kept

log = logging.getLogger(__name__)

# Memory of a window, results included.  Larger ones are faster for time series, but then memory would grow
# with NINTS until they are full: with two threads this one is full from two integrations of 256x256 on.
TILE_BYTES = 5 << 20
# Bytes of both products of a slope fit, per pixel and (for one of them) per integration.
SLOPE_BYTES = 20


class Node:
    """A step with its parameters, references and plan for one exposure.

    Attributes
    ----------
    step : Step
        The step.
    p : types.SimpleNamespace
        Parameter values.
    refs : dict
        Open `ReferenceFile` (or None) by type.
    plan : object
        What the step's setup returned.
    halo : int
        Rows and columns of neighbours it needs.
    carries : bool
        Whether it sees every row once and carries what it must know of those it has finished.
    corrections : dict
        Integration number to what its solve hook returned.
    """

    def __init__(self, step, p, refs):
        self.step, self.p, self.refs = step, p, refs
        self.plan, self.halo, self.carries = None, 0, False
        self.corrections: dict = {}
        self.all_dnu = None
        self.counts: Counter = Counter()

    def prepare(self, exposure):
        """Run the setup hook; `Skip` passes through to the caller."""
        if self.step.setup_hook is not None:
            self.plan = self.step.setup_hook(exposure, self.refs, self.p)
        halo, carries = self.step.halo, self.step.carries
        self.halo = halo(self.plan) if callable(halo) else halo
        self.carries = self.halo > 0 and (carries(self.plan) if callable(carries) else carries)

    @property
    def has_frames(self):
        """Whether the step goes on with whole frames once its tiles are done."""
        return self.step.frames_hook is not None and self.step.frames_wanted(self.plan)


def worker_count(jobs=None):
    """Threads to use: the number asked for, or the processors this process may use."""
    if jobs:
        return jobs
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


class Pass:
    """One walk over the frame: a run of tile steps from one store to some sinks.

    Parameters
    ----------
    exposure : Exposure
        The input.
    nodes : list of Node
        Prepared steps, all of scope "tile".
    sinks : list of (int, sink)
        Number of steps after which the sink gets the tile, and the sink.
    jobs : int
        Threads.
    progress : callable or None
        Called with the fraction done.
    """

    def __init__(self, exposure, nodes, sinks, jobs=1, progress=None):
        self.exposure, self.nodes, self.sinks = exposure, nodes, sinks
        self.jobs, self.progress = jobs, progress
        self.local = threading.local()
        self.ended = False
        self.lock = threading.Lock()
        self.ramp = exposure.kind == "ramp"
        product = exposure.as_product(touched=True)
        self.spec = products()[product]["planes"]
        self.flags = [n for n, plane in self.spec.items() if plane["dtype"] in ("u1", "u4")]
        self.frame = exposure.frame
        # Leading groups to load; None is all.
        self.depth = None

    def run(self):
        """Walk the frame.

        Raises
        ------
        JwcalError
            The first failure of any thread.
        """
        self.get_ready()
        planes = self._planes(self.nodes, [s for _, s in self.sinks])
        rows, bands = self.bands(self.nodes, planes)
        self.map(lambda band: self.roll(band, rows, self.nodes, planes, self._deliver), bands)

    def walk(self, box, wants, deliver):
        """Run the steps on one box of the frame; any thread may, once `get_ready` has been called.

        Parameters
        ----------
        box : (y0, y1, x0, x1)
            Part of the frame.
        wants : collection of str
            Planes to load beside those the steps need.
        deliver : callable
            ``deliver(k, tile, products)`` is called after k steps, on finished rows from the top down.
        """
        planes = self.loadable({*wants, *self._planes(self.nodes, [])})
        rows, _ = self.bands(self.nodes, planes)
        self.roll(box, min(rows, box[1] - box[0]), self.nodes, planes, deliver)

    def get_ready(self):
        """Let the steps that look at more than a tile do so."""
        for k, node in enumerate(self.nodes):
            if node.step.needs_all_dnu and self.ramp:
                known = next((n.all_dnu for n in self.nodes[:k] if n.all_dnu is not None), None)
                node.all_dnu = lookahead.survey(self, k) if known is None else known
            if node.step.measure_hook is not None and getattr(node.plan, "measures", True):
                lookahead.measure(self, k)
            if node.step.probe_hook is not None:
                lookahead.probe(self, k)

    def _planes(self, nodes, sinks):
        wanted = set()
        for node in nodes:
            wanted |= set(node.step.uses) | set(node.step.changes)
        for sink in sinks:
            wanted |= set(sink.wants)
            if sink.meter is not None:
                wanted |= set(quality.PLANES)
        return self.loadable(wanted)

    def loadable(self, wanted):
        """Planes to have in a tile: stored ones, and the flags every ramp gets."""
        out = []
        for name in self.exposure.store.names():
            if name in wanted:
                out.append(name)
        out += [n for n in self.flags if n in wanted and n not in out]
        return out

    def shape_of(self, name, box, ints=None):
        """Shape of a box of a plane, over all integrations or those of `ints`."""
        rows, cols = box[1] - box[0], box[3] - box[2]
        if self.exposure.has(name):
            lead = list(self.exposure.store.shape(name)[:-2])
        elif self.has_ints(name):
            lead = list(self.exposure.shape[:-2])
        else:
            lead = [self.exposure.stripes] if self.exposure.stripes else []
        if lead and self.has_ints(name) and ints is not None:
            lead[0] = ints[1] - ints[0]
        if self.depth is not None and self.has_groups(name):
            lead[1] = self.depth
        return (*lead, rows, cols)

    def has_groups(self, name):
        """Whether the second axis of a plane counts groups."""
        return self.ramp and name in self.spec and "group" in self.spec[name]["axes"]

    def index_of(self, name):
        """Index of the stored plane that gives the groups to load."""
        return (slice(None), slice(self.depth)) if self.depth is not None and self.has_groups(name) else ()

    def has_ints(self, name):
        """Whether the first axis of a plane counts integrations."""
        axes = self.spec[name]["axes"] if name in self.spec else ("int",)
        return len(self.exposure.shape) > 2 and "int" in axes

    def dtype_of(self, name):
        """Dtype of a plane in a tile."""
        return self.spec[name]["dtype"] if name in self.spec else "f4"

    def _pixel_bytes(self, nodes, planes):
        """Bytes of a pixel in memory, and those of its products."""
        total = 0
        for name in planes:
            shape = self.shape_of(name, (0, 1, 0, 1), None)
            total += int(np.prod(shape, dtype=np.int64)) * np.dtype(self.dtype_of(name)).itemsize
        slopes = any(node.step.gives != node.step.takes for node in nodes)
        return max(total, 1), SLOPE_BYTES * (1 + self.exposure.shape[0]) if slopes else 0

    def bands(self, nodes, planes, least=0):
        """Rows of a window and bands of the frame; a window has at least `least` new rows of full width."""
        halo = sum(n.halo for n in nodes)
        size, made = self._pixel_bytes(nodes, planes)
        # There are no products of the rows kept from before.
        kept = rows_kept(nodes) * size / (size + made)
        pixels = max(TILE_BYTES / (size + made), self.frame[1] * (least + kept) if least else 0)
        return plan_bands(pixels, self.frame, halo, self.jobs, kept)

    def map(self, work, items):
        """Call a function on each item, in the threads of the run; the first failure ends it."""
        done = 0
        if self.jobs <= 1 or len(items) <= 1:
            for item in items:
                work(item)
                done += 1
                if self.progress:
                    self.progress(done / len(items))
            return
        with ThreadPoolExecutor(min(self.jobs, len(items))) as pool:
            futures = [pool.submit(work, item) for item in items]
            if self.progress:
                for future in futures:
                    future.add_done_callback(self._advance(len(items)))
            try:
                finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
            except BaseException:
                # A band may take long; its threads look at this before every window.
                self.ended = True
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _advance(self, total):
        state = SimpleNamespace(done=0)

        def callback(_future):
            with self.lock:
                state.done += 1
                self.progress(state.done / total)

        return callback

    def _buffers(self):
        if not hasattr(self.local, "buffers"):
            self.local.buffers = Buffers()
        return self.local.buffers

    def load(self, core, halo, planes, ints):
        """Read a tile.

        Parameters
        ----------
        core : (y0, y1, x0, x1)
            Box wanted.
        halo : int
            Extra rows and columns around it, where the frame has them.
        planes : list of str
            Planes to load; flags that are not stored start at zero.
        ints : (int, int) or None
            Integrations; None is all.

        Returns
        -------
        Tile
        """
        ny, nx = self.frame
        box = (
            max(core[0] - halo, 0),
            min(core[1] + halo, ny),
            max(core[2] - halo, 0),
            min(core[3] + halo, nx),
        )
        store = self.exposure.store
        arrays = {}
        for name in planes:
            shape, dtype = self.shape_of(name, box, ints), self.dtype_of(name)
            out = np.empty(shape, dtype)
            if self.exposure.has(name):
                index = (slice(*ints),) if ints is not None and self.has_ints(name) else ()
                store.read(name, box, index=index, out=out)
            else:
                out[...] = 0
            arrays[name] = out
        y0, x0 = core[0] - box[0], core[2] - box[2]
        inner = (y0, y0 + core[1] - core[0], x0, x0 + core[3] - core[2])
        nint = self.exposure.shape[0] if len(self.exposure.shape) > 2 else 1
        return Tile(arrays, self.exposure.meta, box, inner, ints or (0, nint))

    def references(self, node, tile, cache, buffers):
        """Get the reference arrays of a step on a tile; planes held in `cache` are not read again."""
        refs: dict = {}
        for ref in node.step.refs:
            file = node.refs.get(ref.kind)
            if file is None:
                refs[ref.kind] = None
            else:
                if tile.stripe is not None:
                    file = file.of_stripe(tile.stripe)
                loaded = ref.load(file, tile.box, node.plan) if ref.load is not None else None
                if loaded is None:
                    loaded = {
                        name: self._reference_plane(file, ref, name, dtype, tile.box, cache, buffers)
                        for name, dtype in ref.planes.items()
                    }
                refs[ref.kind] = loaded
        return refs

    @staticmethod
    def _reference_plane(file, ref, name, dtype, box, cache, buffers):
        if name not in file and name in ref.optional_planes:
            return None
        key = (file.path, name, file.number)
        held = cache.get(key)
        if held is not None:
            hbox, array = held
            if hbox[0] <= box[0] and hbox[1] >= box[1] and hbox[2:] == box[2:] and array.ndim == 2:
                return array[box[0] - hbox[0] : box[1] - hbox[0]]
            if hbox == box:
                return array
        shape = (*file.shape(name)[:-2], box[1] - box[0], box[3] - box[2])
        out = buffers.get(key, shape, dtype) if buffers and held is None else None
        array = file.read(name, box, dtype=dtype, out=out)
        if held is None:
            cache[key] = (box, array)
        return array

    def apply(self, node, tile, cache, buffers, counts, function=None, refs=None):
        """Call a step, or one of its hooks, on a tile; what goes wrong in it carries its name."""
        if self.exposure.stripes and function is None and refs is None:
            self._apply_striped(node, tile, cache, buffers, counts)
            return None
        tile.bind(node, counts)
        if refs is None:
            refs = self.references(node, tile, cache, buffers)
        return self.call(node, function or node.step.function, tile, refs, node.p)

    def _apply_striped(self, node, tile, cache, buffers, counts):
        """Call a step on each superstripe of the frame, which has references and flags of its own."""
        count = self.exposure.stripes
        for stripe in range(count):
            part = tile.of_stripe(stripe, count, self.has_ints)
            views = dict(part.planes)
            part.bind(node, counts)
            refs = self.references(node, part, cache, buffers)
            self.call(node, node.step.function, part, refs, node.p)
            for name, array in part.planes.items():
                if name not in views:
                    raise JwcalError(f"{node.step.name}: cannot make the plane {name} of superstripes")
                if array is not views[name]:
                    views[name][...] = array

    @staticmethod
    def call(node, function, *args):
        """Call a hook of a step; what goes wrong in it carries its name."""
        try:
            return function(*args)
        except Skip as exc:
            raise DataError(
                f"{node.step.name}: asked to be skipped in the middle of the data ({exc})"
            ) from None
        except JwcalError:
            raise
        except Exception as exc:
            message = f"step {node.step.name} failed: {type(exc).__name__}: {exc}"
            raise JwcalError(" ".join(message.split())) from exc

    def roll(self, band, rows, nodes, planes, deliver, stop=None):
        """Run steps on a band of the frame, a few new rows at a time.

        A step that needs neighbours lags behind by its halo: the rows it could not finish are
        kept and come in front of the next ones, with as many again, as they were before it, if it does
        not carry what it must know of them.

        Parameters
        ----------
        band : (y0, y1, x0, x1)
            Box to work on.
        rows : int
            New rows at a time.
        nodes : list of Node
            Steps.
        planes : list of str
            Planes to load.
        deliver : callable
            ``deliver(k, tile, products)`` is called after k steps, on finished rows.
        stop : callable or None
            Ends the walk when it returns True.
        """
        top, bottom, left, right = band
        ny, nx = self.frame
        reach = sum(n.halo for n in nodes)
        x0, x1 = max(left - reach, 0), min(right + reach, nx)
        counts: list[Counter] = [Counter() for _ in nodes]
        halos = keep_for(nodes)
        window = Window(self, planes, rows, halos, (x0, x1), (left - x0, right - x0), self._buffers())
        end = min(bottom + reach, ny)
        for start in range(max(top - reach, 0), end, rows):
            if self.ended or (stop is not None and stop()):
                return
            window.load(start, min(start + rows, end))
            self._steps(window, (top, bottom), nodes, halos, counts, deliver)
        with self.lock:
            for node, count in zip(nodes, counts, strict=True):
                node.counts.update(count)

    def _steps(self, window, wanted, nodes, halos, counts, deliver):
        cache: dict = {}
        products: dict | None = None
        reach = sum(n.halo for n in nodes)
        tile = window.tile(window.first, window.last, wanted)
        deliver(0, tile, products)
        for k, node in enumerate(nodes, 1):
            if products is not None:
                fit = [product for name, product in products.items() if kind_of(name) == node.step.takes]
                refs = None
                for product in fit:
                    if refs is None and not self.exposure.stripes:
                        refs = self.references(node, product, cache, window.buffers)
                    self.apply(node, product, cache, window.buffers, counts[k - 1], refs=refs)
                deliver(k, tile, products)
                continue
            if node.halo:
                reach -= node.halo
                tile = window.with_halo(halos[k - 1], wanted)
            made = self.apply(node, tile, cache, window.buffers, counts[k - 1])
            top = tile.box[0]
            window.adopt(tile)
            if node.halo and not window.finish(halos[k - 1], (wanted[0] - reach, wanted[1] + reach)):
                return
            tile = window.tile(window.first, window.last, wanted)
            if isinstance(made, dict):
                if not tile.rows_kept:
                    return
                rows = slice(window.first - top, window.last - top)
                products = {name: self._product_tile(tile, planes, rows) for name, planes in made.items()}
            deliver(k, tile, products)

    @staticmethod
    def _product_tile(tile, planes, rows):
        planes = {name: np.ascontiguousarray(plane[..., rows, :]) for name, plane in planes.items()}
        return Tile(planes, tile.meta, tile.box, tile.core, (tile.i0, tile.i1))

    def _deliver(self, k, tile, products):
        for position, sink in self.sinks:
            if position == k:
                source = tile if products is None else products.get(sink.product)
                if source is None or not source.rows_kept:
                    continue
                box = source.core_box
                for name in sink.wants:
                    if name in source:
                        sink.write(name, box, source.kept(name))
                if sink.meter is not None:
                    sink.meter.add(box, *(source.kept(name) for name in quality.PLANES))

"""Steps that see whole frames: they run in place on an exposure in memory, integration by integration."""

import math

from jwcal.core.engine import Pass
from jwcal.core.exposure import ArrayStore
from jwcal.core.tile import Tile


def run_frames(exposure, node, jobs=1, function=None):
    """Run a step that needs whole frames in place on an exposure in memory.

    A step may give planes of another frame, the same for all integrations; every plane of pixels
    must then be given anew.  Of superstripes it gets all those of a frame, and gives the frame.

    Parameters
    ----------
    exposure : Exposure
        With an `ArrayStore`.
    node : Node
        The prepared step.
    jobs : int
        Threads it may use by `Tile.spread`.
    function : callable or None
        Hook to call in place of the step's adapter.
    """
    ny, nx = exposure.frame
    box = (0, ny, 0, nx)
    walk = Pass(exposure, [node], [], jobs)
    store = exposure.store
    nint = exposure.shape[0] if len(exposure.shape) > 2 else 1
    each = exposure.stripes or 1
    batches = [(i, i + each) for i in range(0, nint, each)]
    if node.step.scope == "exposure":
        batches = [(0, nint)]

    def call(ints, hook):
        part = slice(*ints)
        arrays = {name: array[part] if walk.has_ints(name) else array for name, array in store.planes.items()}
        tile = Tile(dict(arrays), exposure.meta, box, box, ints)
        tile.jobs = jobs
        walk.apply(node, tile, {}, None, node.counts, hook)
        return {name: array for name, array in tile.planes.items() if array is not arrays.get(name)}

    if node.step.scan_hook is not None:
        for ints in batches:
            call(ints, node.step.scan_hook)
    reframed: dict = {}
    for ints in batches:
        part = slice(*ints)
        for name, array in call(ints, function).items():
            if array.shape[-2:] != (ny, nx) or exposure.stripes:
                if not walk.has_ints(name):
                    reframed[name] = array
                    continue
                if name not in reframed:
                    reframed[name] = _room(store, name, (nint // each, *array.shape[1:]), array.dtype)
                reframed[name][part.start // each : part.stop // each] = array
                continue
            if name not in store.planes:
                lead = store.shape("SCI")[: -array.ndim] if array.ndim < len(store.shape("SCI")) else ()
                shape = (nint, *array.shape[1:]) if walk.has_ints(name) else (*lead, *array.shape)
                store.create(name, shape, array.dtype)
            store.planes[name][part if walk.has_ints(name) else ...] = array
    if reframed:
        store.planes = reframed


def _room(store, name, shape, dtype):
    """Array for frames of another size: where the old ones are, if there is room.

    Integrations come in order, so what is overwritten has been used.
    """
    old = store.planes[name]
    if math.prod(shape) > old.size or old.dtype != dtype or not old.flags.c_contiguous:
        return ArrayStore(limit=store.limit).create(name, shape, dtype)
    return old.reshape(-1)[: math.prod(shape)].reshape(shape)

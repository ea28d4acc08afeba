"""Steps that see whole frames: they run in place on an exposure in memory, integration by integration."""

from jwcal.core.engine import Pass
from jwcal.core.tile import Tile


def run_frames(exposure, node, jobs=1, function=None):
    """Run a step that needs whole frames in place on an exposure in memory.

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
    batches = [(0, nint)] if node.step.scope == "exposure" else [(i, i + 1) for i in range(nint)]
    for ints in batches:
        part = slice(*ints)
        arrays = {name: array[part] if walk.has_ints(name) else array for name, array in store.planes.items()}
        tile = Tile(dict(arrays), exposure.meta, box, box, ints)
        tile.jobs = jobs
        walk.apply(node, tile, {}, None, node.counts, function)
        for name, array in tile.planes.items():
            if array is arrays.get(name):
                continue
            if name not in store.planes:
                lead = store.shape("SCI")[: -array.ndim] if array.ndim < len(store.shape("SCI")) else ()
                shape = (nint, *array.shape[1:]) if walk.has_ints(name) else (*lead, *array.shape)
                store.create(name, shape, array.dtype)
            store.planes[name][part if walk.has_ints(name) else ...] = array

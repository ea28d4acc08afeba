"""What steps learn of the frame before the first tile: groups nobody can use, sums over rows, strips.

Each looks at the data as the steps before leave them, so those run on what is looked at, and on the
tiles again: that costs less than keeping the frame in memory.
"""

import threading
from collections import Counter

import numpy as np

from jwcal.core.errors import JwcalError
from jwcal.core.tile import MIN_ROWS, Tile, spread

STRIP_BYTES = 2 << 20


def slice_for(nodes, needed):
    """Find the steps that planes depend on, going backwards.

    Parameters
    ----------
    nodes : list of Node
        Steps in order.
    needed : iterable of str
        Planes wanted after the last of them.

    Returns
    -------
    list of Node
        Those whose changes reach the wanted planes.
    set of str
        Planes that must be loaded; what those steps change beside is among them, but not right.
    """
    needed = set(needed)
    chosen = []
    for node in reversed(nodes):
        if needed & set(node.step.changes):
            chosen.append(node)
            needed |= set(node.step.uses)
    return chosen[::-1], needed.union(*(node.step.changes for node in chosen))


def depth_for(nodes, ngroup, wanted):
    """Leading groups that steps must have for the flags of the first `wanted` groups."""
    for node in reversed(nodes):
        if node.step.ahead is None:
            return ngroup
        wanted += node.step.ahead(node.plan) if callable(node.step.ahead) else node.step.ahead
    return min(wanted, ngroup)


def survey(walk, k):
    """Find the groups that are DO_NOT_USE in every pixel of the frame just before a step.

    Parameters
    ----------
    walk : engine.Pass
        The walk to come.
    k : int
        Number of steps before.

    Returns
    -------
    (nint, ngroup) bool numpy.ndarray
    """
    nodes, needed = slice_for(walk.nodes[:k], {"GROUPDQ"})
    planes = walk.loadable(needed)
    nint, ngroup = walk.exposure.shape[:2]
    unresolved = np.ones((nint, ngroup), bool)
    if "GROUPDQ" not in planes:
        return np.zeros((nint, ngroup), bool)
    certain = np.zeros((nint, ngroup), bool)
    for n, node in enumerate(nodes):
        if node.step.certain_hook is not None and all(x.step.ahead is not None for x in nodes[n + 1 :]):
            certain |= node.step.certain_hook(walk.exposure, node.plan)

    def look(done, tile, _products):
        if done == len(nodes) and tile.rows_kept:
            flags = tile.kept("GROUPDQ")
            for i, g in np.argwhere(unresolved[:, : flags.shape[1]] & ~certain[:, : flags.shape[1]]):
                if not (flags[i, g] & 1).all():
                    unresolved[i, g] = False

    def settled():
        return not (unresolved & ~certain).any()

    def visit(band, rows=None):
        walk.roll(band, rows or new_rows, nodes, planes, look, settled)

    new_rows, bands = walk.bands(nodes, planes)
    # A few rows in the middle of the frame nearly always tell which groups can be used.
    middle, nx = walk.frame[0] // 2, walk.frame[1]
    visit((middle, min(middle + MIN_ROWS, walk.frame[0]), 0, nx), MIN_ROWS)
    if not settled():
        last = int(np.flatnonzero((unresolved & ~certain).any(axis=0)).max())
        depth = depth_for(nodes, ngroup, last + 1)
        walk.depth = depth if depth < ngroup else None
        new_rows, bands = walk.bands(nodes, planes)
        walk.map(visit, bands)
        walk.depth = None
    for node in nodes:
        node.counts.clear()
    return unresolved


def measure(walk, k):
    """Let a step measure whole rows of the frame.

    Parameters
    ----------
    walk : engine.Pass
        The walk to come.
    k : int
        Number of steps before.
    """
    node = walk.nodes[k]
    nodes, needed = slice_for(walk.nodes[:k], node.step.uses)
    planes = walk.loadable(needed)
    # Sums must not depend on where a row is divided, so it never is.
    rows, bands = walk.bands(nodes, planes, MIN_ROWS)
    found: dict = {}

    def look(done, tile, _products):
        if done == len(nodes) and tile.rows_kept:
            core = Tile(
                {name: tile.kept(name) for name in tile.planes}, tile.meta, tile.core_box,
                (0, tile.rows_kept, 0, walk.frame[1]), (tile.i0, tile.i1),
            )  # fmt: skip
            found[core.box[0]] = walk.apply(node, core, {}, None, Counter(), node.step.measure_hook)

    again = True
    while again:
        found.clear()
        walk.map(lambda band: walk.roll(band, rows, nodes, planes, look), bands)
        parts = [found[y] for y in sorted(found)]
        measured = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        again = walk.call(node, node.step.settle_hook, measured, walk.exposure, node.plan, node.p)
    for before in nodes:
        before.counts.clear()


def probe(walk, k):
    """Let a step see strips of the frame, and solve for its corrections.

    Parameters
    ----------
    walk : engine.Pass
        The walk to come.
    k : int
        Number of steps before.
    """
    node = walk.nodes[k]
    boxes = walk.call(node, node.step.probe_hook, walk.exposure, node.plan)
    nodes, needed = slice_for(walk.nodes[:k], node.step.uses)
    for before in nodes:
        if before.step.span != "integration":
            raise JwcalError(f"{node.step.name} cannot come after {before.step.name}")
    planes = walk.loadable(needed)
    halo = sum(n.halo for n in nodes)
    nint = walk.exposure.shape[0]
    area = sum((b[1] - b[0] + 2 * halo) * (b[3] - b[2] + 2 * halo) for b in boxes)
    size = max(area * walk.exposure.shape[1] * 5, 1)
    batch = int(min(max(STRIP_BYTES // size, 1), -(-nint // walk.jobs)))
    caches: list[dict] = [{} for _ in boxes]
    lock = [threading.Lock() for _ in boxes]
    starts = range(0, nint, batch)

    # The strips of few integrations are what threads can share.
    threads = walk.jobs if len(starts) < walk.jobs else 1

    def strip_of(k, ints):
        tile = walk.load(boxes[k], halo, planes, ints=ints)
        left = halo
        for before in nodes:
            with lock[k]:
                if before not in caches[k]:
                    caches[k][before] = walk.references(before, tile, {}, None)
            walk.apply(before, tile, {}, None, Counter(), refs=caches[k][before])
            left -= before.halo
            if before.halo:
                tile.shrink(left)
        tile.shrink(0)
        return tile

    def run(start):
        ints = (start, min(start + batch, nint))
        strips = spread(lambda k: strip_of(k, ints), range(len(boxes)), threads)
        for i in range(*ints):
            one = [_one(walk, strip, i) for strip in strips]
            node.corrections[i] = walk.call(node, node.step.solve_hook, one, walk.exposure, node.plan, node.p)

    walk.map(run, list(starts))


def _one(walk, tile, i):
    """Tile of one integration."""
    planes = {
        name: array[i - tile.i0 : i - tile.i0 + 1] if walk.has_ints(name) else array
        for name, array in tile.planes.items()
    }
    part = Tile(planes, tile.meta, tile.box, tile.core, (i, i + 1))
    part.plan = tile.plan
    return part

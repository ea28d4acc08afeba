"""Snowballs: large events of the near-infrared detectors, masked with their halo and their saturated core.

Source: Regan 2023, JWST-STScI-008545 (snowballs and showers); the rules are those of the calibration
pipeline of the observatory, packages ``jwst`` 3.0 and ``stcal`` 1.20.
"""

from dataclasses import dataclass

import numpy as np

from jwcal.core.tile import in_turn
from jwcal.detector1.jump.shapes import Ellipse, Regions, ellipse_pixels, expanded
from jwcal.kernels.regions import clear_runs, find_runs, keep_runs

SATURATED, JUMP = 2, 4


@dataclass(frozen=True)
class SnowballRules:
    """How snowballs are found and masked; the names are those of the step's parameters.

    Attributes
    ----------
    min_jump_area, min_sat_area : float
        Smallest area of a region of jumps, and of newly saturated pixels, pixels.
    expand_factor : float
        Growth of the ellipse of a region of jumps.
    sat_required_snowball : bool
        A snowball has a saturated core, but near the edge of the frame.
    min_sat_radius_extend : float
        Only larger saturated cores are grown.
    sat_expand : int
        Pixels added to their radius.
    edge_size : int
        Width of the edge where no core is required.
    max_extended_radius : int
        Largest radius of a mask, pixels.
    groups_next : int
        Groups of the next integration that are masked at a core.
    """

    min_jump_area: float = 5.0
    min_sat_area: float = 1.0
    expand_factor: float = 2.0
    sat_required_snowball: bool = True
    min_sat_radius_extend: float = 2.5
    sat_expand: int = 2
    edge_size: int = 25
    max_extended_radius: int = 200
    groups_next: int = 0


class SingleHits:
    """Jumps of one integration that the search has found pixel by pixel, and which of them stay.

    Parameters
    ----------
    gdq : (ngroup, ny, nx) uint8 numpy.ndarray
        Group flags after the search for jumps.
    spread : callable or None
        ``spread(function, items)`` calls a function on items, perhaps in threads.

    Attributes
    ----------
    touched : (ny, nx) bool numpy.ndarray
        Pixels of grown ellipses and of cores, where jumps stay.
    """

    def __init__(self, gdq, spread=None):
        self.gdq, self.spread = gdq, spread or in_turn
        self.runs = self.spread(lambda group: find_runs(group, JUMP), gdq)
        self.touched = np.zeros(gdq.shape[1:], bool)

    def touch(self, events, rules):
        """Set the pixels of grown ellipses in the map."""
        for event in events:
            axes = expanded(event, rules.expand_factor, 2 * rules.max_extended_radius)
            box, inside = ellipse_pixels(event, axes, self.touched.shape)
            self.touched[box] |= inside

    def drop(self):
        """Take JUMP_DET off where it was from the beginning, but for the pixels of events."""
        self.spread(
            lambda pair: clear_runs(pair[0], pair[1], JUMP, self.touched),
            zip(self.runs, self.gdq, strict=True),
        )


def flag_snowballs(gdq, rules, cores=None, mask_halo=None, single=None, spread=None):
    """Mask the snowballs of one integration.

    Parameters
    ----------
    gdq : (ngroup, ny, nx) uint8 numpy.ndarray
        Group flags after the search for jumps; changed in place.  A halo gets JUMP_DET in the
        group of the event, a large core nothing but SATURATED from that group on.
    rules : SnowballRules
        What to find and how much to mask.
    cores : (ny, nx) bool numpy.ndarray or None
        Cores of the integration before; they get JUMP_DET in the groups after the first.
    mask_halo : callable or None
        ``mask_halo(group, events)`` masks the halos in place of the grown ellipses; other cores than
        those of the events are left alone then.
    single : SingleHits or None
        Gets the pixels that events touch.
    spread : callable or None
        ``spread(function, items)`` calls a function on items, perhaps in threads.

    Returns
    -------
    found : int
        Number of snowballs.
    cores : (ny, nx) bool numpy.ndarray
        Saturated cores of this integration.
    """
    ngroup, ny, nx = gdq.shape
    here = np.zeros((ny, nx), bool)
    found = 0
    largest = 2 * rules.max_extended_radius
    search = _Search(gdq, rules, None if single is None else single.runs, spread or in_turn)
    ahead = None
    before: list[Ellipse] = []
    for g in range(1, ngroup):
        now = search.cores(g) if ahead is None else ahead
        ahead = None
        if rules.sat_required_snowball:
            later = ahead = search.cores(g + 1) if g < ngroup - 1 else []
            events = _with_core(search.jumps(g), [*now, *later], rules.edge_size, ny)
            if mask_halo is not None:
                # Stars saturate as well; the core of a snowball may do so a group after its halo is seen.
                now = _of_events(now, [*events, *before])
                before = events
            if _grow_cores(gdq[g:], now, rules, here):
                ahead = None
        else:
            events = search.jumps(g).ellipses()
        if single is not None:
            single.touch([*events, *now], rules)
        found += len(events)
        if mask_halo is not None:
            mask_halo(g, events)
            continue
        for event in events:
            box, inside = ellipse_pixels(event, expanded(event, rules.expand_factor, largest), (ny, nx))
            flag_unsaturated(gdq[g], box, inside)
    if cores is not None and rules.groups_next >= 1:
        gdq[1 : min(rules.groups_next, ngroup), cores] |= JUMP
    return found, here


class _Search:
    """Regions of the groups, from flags that are looked through once and only taken off after."""

    def __init__(self, gdq, rules, jumps, spread):
        self.gdq, self.rules = gdq, rules
        ngroup = len(gdq)
        self._cores = spread(lambda g: find_runs(gdq[g], SATURATED, gdq[g - 1]), range(1, ngroup))
        self._jumps = (
            spread(lambda g: find_runs(gdq[g], JUMP), range(1, ngroup)) if jumps is None else jumps[1:]
        )

    def cores(self, g):
        """Ellipses of the regions that have become saturated in a group."""
        runs = keep_runs(self._cores[g - 1], self.gdq[g], SATURATED, self.gdq[g - 1])
        return Regions(runs, self.rules.min_sat_area).ellipses()

    def jumps(self, g):
        """`Regions` of jumps of a group."""
        return Regions(keep_runs(self._jumps[g - 1], self.gdq[g], JUMP), self.rules.min_jump_area)


def flag_unsaturated(group, box, inside):
    """Set JUMP_DET in the pixels `inside` of a box of a group that are not SATURATED; drop the others."""
    part = group[box]
    inside &= (part & SATURATED) == 0
    part[inside] |= JUMP


def _with_core(jumps, cores, edge, ny):
    """Ellipses of the regions of jumps near the edge of the frame, or with the centre of a core inside."""
    # The official test has one upper limit, from the rows, for both directions.
    high = max(0, ny - edge)
    at_edge = (jumps.x < edge) | (jumps.y < edge) | (jumps.x > high) | (jumps.y > high)
    cores = sorted(cores)
    x, y = np.array([c.x for c in cores]), np.array([c.y for c in cores])
    # Ellipses are dear, and few regions have a core near.
    first, last = np.searchsorted(x, (jumps.x - jumps.reach, jumps.x + jumps.reach))
    number = last - first
    region = np.repeat(np.arange(len(jumps)), number)
    core = np.arange(region.size) + (last - np.cumsum(number))[region]
    wanted = at_edge.copy()
    wanted[region[np.abs(y[core] - jumps.y[region]) <= jumps.reach[region]]] = True
    out = []
    for k in np.flatnonzero(wanted).tolist():
        jump = jumps.ellipse(k)
        near = slice(first[k], last[k])
        if at_edge[k] or jump.contains(x[near], y[near]).any():
            out.append(jump)
    return out


def _of_events(cores, events):
    """Those of the ellipses of cores that have their centre in the ellipse of an event."""
    x, y = np.array([c.x for c in cores]), np.array([c.y for c in cores])
    inside = np.zeros(len(cores), bool)
    for event in events:
        inside |= event.contains(x, y)
    return [core for core, of_event in zip(cores, inside.tolist(), strict=True) if of_event]


def _grow_cores(gdq, cores, rules, here):
    """Saturate large cores and their surroundings in all groups, and note them; whether there were any."""
    largest = 2 * rules.max_extended_radius
    grown = False
    for core in cores:
        if core.minor <= rules.min_sat_radius_extend:
            continue
        grown = True
        add = 2 * rules.sat_expand
        box, inside = ellipse_pixels(
            core, (min(core.minor + add, largest), min(core.major + add, largest)), gdq.shape[1:]
        )
        gdq[:, *box][:, inside] = SATURATED
        box, inside = ellipse_pixels(core, (core.minor, core.major), gdq.shape[1:])
        here[box] |= inside
    return grown

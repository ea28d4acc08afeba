"""Snowballs: large events of the near-infrared detectors, masked with their halo and their saturated core.

Source: Regan 2023, JWST-STScI-008545 (snowballs and showers); the rules are those of the calibration
pipeline of the observatory, packages ``jwst`` 3.0 and ``stcal`` 1.20.
"""

from dataclasses import dataclass

import numpy as np

from jwcal.detector1.jump.shapes import ellipse_pixels, expanded, find_ellipses

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


def flag_snowballs(gdq, rules, cores=None, mask_halo=None, touched=None):
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
        ``mask_halo(group, events)`` masks the halos in place of the grown ellipses.
    touched : (ny, nx) bool numpy.ndarray or None
        Pixels of grown ellipses and of cores are set here.

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
    ahead = None
    for g in range(1, ngroup):
        now = ahead if ahead is not None else find_ellipses(gdq[g], SATURATED, rules.min_sat_area, gdq[g - 1])
        ahead = None
        later = []
        if g < ngroup - 1:
            later = ahead = find_ellipses(gdq[g + 1], SATURATED, rules.min_sat_area, gdq[g])
        jumps = find_ellipses(gdq[g], JUMP, rules.min_jump_area)
        events = jumps
        if rules.sat_required_snowball:
            events = _with_core(jumps, [*now, *later], rules.edge_size, ny)
            if _grow_cores(gdq[g:], now, rules, here):
                ahead = None
        if touched is not None:
            touch(touched, [*events, *now], rules.expand_factor, largest)
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


def touch(touched, events, factor, largest):
    """Set the pixels of grown ellipses in a map."""
    for event in events:
        box, inside = ellipse_pixels(event, expanded(event, factor, largest), touched.shape)
        touched[box] |= inside


def flag_unsaturated(group, box, inside):
    """Set JUMP_DET in the pixels `inside` of a box of a group that are not SATURATED; drop the others."""
    part = group[box]
    inside &= (part & SATURATED) == 0
    part[inside] |= JUMP


def _with_core(jumps, cores, edge, ny):
    """Regions of jumps near the edge of the frame, or with the centre of a core inside."""
    # The official test has one upper limit, from the rows, for both directions.
    high = max(0, ny - edge)
    cores = sorted(cores)
    x, y = np.array([c.x for c in cores]), np.array([c.y for c in cores])

    def has_core(jump):
        # The test of points is dear, and few are near.
        reach = max(abs(jump.major), abs(jump.minor)) / 2 + 0.01
        near = slice(*np.searchsorted(x, (jump.x - reach, jump.x + reach)))
        return (np.abs(y[near] - jump.y) <= reach).any() and jump.contains(x[near], y[near]).any()

    return [
        j for j in jumps if j.x < edge or j.y < edge or j.x > high or j.y > high or (cores and has_core(j))
    ]


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
        for group in gdq:
            group[box][inside] = SATURATED
        box, inside = ellipse_pixels(core, (core.minor, core.major), gdq.shape[1:])
        here[box] |= inside
    return grown

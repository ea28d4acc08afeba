"""Parameters of snowballs and showers in the jump step, and what they mean for one exposure."""

import numpy as np

from jwcal.core.step import Param
from jwcal.detector1.jump.halo import Halos
from jwcal.detector1.jump.large_events import SnowballRules, flag_snowballs
from jwcal.detector1.jump.showers import ShowerRules, flag_showers

DO_NOT_USE = 1
# Showers are looked for from this number of differences on.
LEAST_DIFFERENCES = 10
HALO_THRESHOLD = {False: 0.45, True: 1.0}

PARAMS = (
    Param(
        "expand_large_events",
        bool,
        False,
        "Mask snowballs; with find_showers too, MIRI gets showers, the others snowballs.",
    ),
    Param("min_jump_area", float, 5.0, "Smallest region of jumps of a snowball.", unit="pixels", min=0),
    Param("min_sat_area", float, 1.0, "Smallest saturated core of a snowball.", unit="pixels", min=0),
    Param("expand_factor", float, 2.0, "Growth of the ellipse of a snowball.", min=0),
    Param("use_ellipses", bool, False, "Has no effect, as in the official package."),
    Param("sat_required_snowball", bool, True, "A snowball has a saturated core."),
    Param("min_sat_radius_extend", float, 2.5, "Larger saturated cores are grown.", unit="pixels", min=0),
    Param("sat_expand", int, 2, "Growth of the radius of saturated cores.", unit="pixels", min=0),
    Param("edge_size", int, 25, "Width of the edge where no core is required.", unit="pixels", min=0),
    Param("mask_snowball_core_next_int", bool, True, "Mask the cores in the next integration too."),
    Param(
        "snowball_time_masked_next_int",
        int,
        4000,
        "Time a core is masked in the next integration.",
        unit="s",
        min=0,
    ),
    Param(
        "snowball_halo",
        str,
        "ellipse",
        "Mask the grown ellipse; or as far as the profile shows a halo; or less, and subtract the rest.",
        choices=("ellipse", "profile", "subtract"),
    ),
    Param(
        "halo_threshold",
        float,
        None,
        "Smallest halo masked by its profile; 0.45, or 1 where the rest is subtracted.",
        unit="sigma",
        min=0,
    ),
    Param("find_showers", bool, False, "Mask showers (MIRI)."),
    Param(
        "max_shower_amplitude",
        float,
        6.0,
        "A shower changes a pixel by less (the official package takes 6 whatever is set).",
        unit="electron/s",
        min=0,
    ),
    Param("extend_snr_threshold", float, 1.2, "Smallest mean signal-to-noise ratio of a shower.", min=0),
    Param("extend_min_area", int, 90, "Smallest area of a shower.", unit="pixels", min=0),
    Param("extend_inner_radius", float, 1.0, "Inner radius of the smoothing ring.", unit="pixels", min=0),
    Param("extend_outer_radius", float, 2.6, "Width of the smoothing ring.", unit="pixels", min=0, max=50),
    Param("extend_ellipse_expand_ratio", float, 1.1, "Growth of the ellipse of a shower.", min=0),
    Param("time_masked_after_shower", float, 15.0, "Time masked after a shower.", unit="s", min=0),
    Param("max_extended_radius", int, 200, "Largest radius of a mask.", unit="pixels", min=0),
)


def plan_large_events(plan, exposure, p):
    """Put the rules of the events to look for on the plan of the jump step.

    Parameters
    ----------
    plan : types.SimpleNamespace
        Gets ``snowballs``, ``showers`` (rules or None), ``expected`` and ``cores``.
    exposure : Exposure
        Gives instrument, times and shape.
    p : types.SimpleNamespace
        Parameter values.
    """
    nint, ngroup, ny, nx = exposure.shape
    time = exposure.meta["TGROUP"]
    snowballs, showers = p.expand_large_events, p.find_showers
    if snowballs and showers:
        showers = exposure.meta["INSTRUME"] == "MIRI"
        snowballs = not showers
    plan.snowballs = plan.showers = plan.expected = plan.cores = None
    if snowballs:
        later = int(p.snowball_time_masked_next_int // time) if p.mask_snowball_core_next_int else 0
        plan.snowballs = SnowballRules(
            p.min_jump_area, p.min_sat_area, p.expand_factor, p.sat_required_snowball,
            p.min_sat_radius_extend, p.sat_expand, p.edge_size, p.max_extended_radius, later,
        )  # fmt: skip
    if showers:
        clip = nint >= p.minimum_sigclip_groups
        plan.showers = ShowerRules(
            p.extend_snr_threshold, p.extend_min_area, p.extend_inner_radius, p.extend_outer_radius,
            p.extend_ellipse_expand_ratio, int(p.time_masked_after_shower // time), p.max_extended_radius,
            p.max_shower_amplitude * time, exposure.meta["NFRAMES"], clip,
        )  # fmt: skip
        shape = (ngroup - 1 if clip else 1, ny, nx)
        plan.expected = np.zeros(shape, np.float32), np.zeros(shape, np.float32)


def mask_large_events(tile, refs, p, single=None):
    """Mask the snowballs and showers of one integration; they are counted on the tile.

    `SingleHits` learn which pixels the snowballs touch.
    """
    plan, i, gdq = tile.plan, tile.i0, tile["GROUPDQ"][0]
    plan.all_dnu = plan.all_dnu.copy()
    if plan.snowballs is not None:
        halos = None
        if p.snowball_halo != "ellipse":
            subtract = p.snowball_halo == "subtract"
            threshold = HALO_THRESHOLD[subtract] if p.halo_threshold is None else p.halo_threshold
            halos = Halos(tile["SCI"][0], gdq, plan.snowballs, threshold, subtract, tile.spread)
        found, cores = flag_snowballs(gdq, plan.snowballs, plan.cores, halos, single, tile.spread)
        plan.cores = cores if cores.any() else None
        tile.count("snowballs", found)
        # The mask of a core takes the place of all flags of a group.
        for g in np.flatnonzero(plan.all_dnu[i]):
            plan.all_dnu[i, g] = (gdq[g] & DO_NOT_USE).all()
    if plan.showers is not None:
        nint, ngroup = plan.all_dnu.shape
        if nint * (ngroup - 1) - int(plan.all_dnu.sum()) < LEAST_DIFFERENCES:
            return
        middle, noise = plan.expected
        found = flag_showers(
            tile["SCI"][0], gdq, tile["PIXELDQ"], refs["gain"]["SCI"], middle, noise, plan.showers, tile.spread
        )  # fmt: skip
        tile.count("showers", found)

"""Jumps: find the groups in which a cosmic ray hit a pixel.

Source: Anderson & Gordon 2011, PASP 123, 1237 (two-point differences); the rules are those of the
calibration pipeline of the observatory, packages ``jwst`` 3.0 and ``stcal`` 1.20.
"""

import logging
from types import SimpleNamespace

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import DataError
from jwcal.core.step import Param, Ref, Skip, step
from jwcal.detector1._shared import require_values
from jwcal.detector1.jump import large_events_setup
from jwcal.detector1.jump.large_events import SingleHits
from jwcal.detector1.jump.large_events_setup import mask_large_events, plan_large_events
from jwcal.detector1.jump.showers import expected
from jwcal.kernels.jump import JumpRules, choose_method, flag_jumps

log = logging.getLogger(__name__)


@step(
    "jump",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_JUMP",
    refs=[
        Ref("gain", planes={"SCI": "f4"}, missing="error"),
        Ref("readnoise", planes={"SCI": "f4"}, missing="error"),
    ],
    params=[
        Param(
            "rejection_threshold",
            float,
            4.0,
            "Threshold with four or more usable differences.",
            unit="sigma",
            min=0,
        ),
        Param(
            "four_group_rejection_threshold",
            float,
            5.0,
            "Threshold with three differences.",
            unit="sigma",
            min=0,
        ),
        Param(
            "three_group_rejection_threshold",
            float,
            6.0,
            "Threshold with two differences.",
            unit="sigma",
            min=0,
        ),
        Param("flag_4_neighbors", bool, True, "Flag the four neighbours of a jump too."),
        Param(
            "max_jump_to_flag_neighbors",
            float,
            1000.0,
            "Largest jump whose neighbours are flagged.",
            unit="sigma",
        ),
        Param(
            "min_jump_to_flag_neighbors",
            float,
            10.0,
            "Smallest jump whose neighbours are flagged.",
            unit="sigma",
        ),
        Param(
            "after_jump_flag_dn1",
            float,
            0.0,
            "First threshold for flagging groups after a jump.",
            unit="DN",
            min=0,
        ),
        Param("after_jump_flag_time1", float, 0.0, "Time to flag after such a jump.", unit="s", min=0),
        Param(
            "after_jump_flag_dn2",
            float,
            0.0,
            "Second threshold for flagging groups after a jump.",
            unit="DN",
            min=0,
        ),
        Param("after_jump_flag_time2", float, 0.0, "Time to flag after such a jump.", unit="s", min=0),
        Param(
            "min_diffs_single_pass",
            int,
            10,
            "From this many differences on all outliers are flagged at once.",
            min=1,
        ),
        Param("minimum_groups", int, 3, "Fewer usable groups than this are not searched.", min=2),
        Param("minimum_sigclip_groups", int, 100, "From this many on, differences are sigma-clipped.", min=1),
        Param(
            "only_use_ints", bool, True, "Sigma clipping compares the same group of all integrations only."
        ),
        Param(
            "keep_single_hits",
            bool,
            True,
            "Keep what the search finds pixel by pixel; without, only what large events add stays.",
        ),
        *large_events_setup.PARAMS,
    ],
    # Subtracted halos change SCI too, on whole frames in memory, of which every plane is written.
    changes=("GROUPDQ", "PIXELDQ"),
    uses=("SCI", "GROUPDQ", "PIXELDQ"),
    span="exposure",
    halo=lambda plan: 1 if plan.rules["neighbours"] else 0,
    carries=True,
    keywords=("S_JUMP", "PRIMECRS", "EXTNCRS"),
    needs_all_dnu=True,
)
def jump(tile, refs, p):
    """Flag groups hit by cosmic rays JUMP_DET, by two-point differences.

    Differences of successive groups are compared with their median over all groups and
    integrations of the pixel; the noise is that of the median signal and of the READNOISE reference
    (DN, of a pair of reads), in electrons by the GAIN reference.  Groups flagged DO_NOT_USE or
    SATURATED are not used.  Pixels whose gain is NaN, zero or negative get NO_GAIN_VALUE and
    DO_NOT_USE in PIXELDQ.  The keyword PRIMECRS gives the rate of jumps per 1000 pixels and second.

    With ``expand_large_events`` regions of jumps around a saturated core (snowballs) are masked in an
    ellipse, and the cores in the rest of the integration and in the next one; with ``find_showers``
    faint extended emission of MIRI is masked, for some time.  ``snowball_halo = profile`` masks the halo
    of a snowball only as far as its profile rises above the noise; ``subtract`` masks less and takes the
    rest of the profile out of SCI (DN) from the group of the event on.  EXTNCRS gives the rate of these
    events per million pixels and second.

    Without ``keep_single_hits`` the search serves large events only, for a fit that finds single hits itself.

    Skipped for one or two groups.
    """
    plan = tile.plan
    plan.all_dnu = tile.all_dnu
    method = choose_method(
        tile.all_dnu, p.minimum_groups, p.minimum_sigclip_groups, p.min_diffs_single_pass, p.only_use_ints
    )
    plan.method = method
    found = flag_jumps(
        tile["SCI"],
        tile["GROUPDQ"],
        tile["PIXELDQ"],
        refs["gain"]["SCI"],
        refs["readnoise"]["SCI"],
        JumpRules(method=method, **plan.rules),
        core=tile.counted,
        fresh=tile.fresh,
        ready=tile.ready,
        carry=tile.carry,
    )
    tile.count("jumps", found)
    if plan.showers is not None:
        y0, y1, x0, x1 = tile.core
        gain, rnoise = refs["gain"]["SCI"], refs["readnoise"]["SCI"]
        measured = expected(tile["SCI"], tile["GROUPDQ"], gain, rnoise, plan.showers)
        a, b, c, d = tile.core_box
        for whole, part in zip(plan.expected, measured, strict=True):
            whole[:, a:b, c:d] = part[:, y0:y1, x0:x1]


@jump.setup
def _(exposure, refs, p):
    ngroup = exposure.shape[1]
    if ngroup <= 2:
        raise Skip(f"{ngroup} group{'s' * (ngroup > 1)}; a jump needs at least three")
    refuse_uneven_reads(exposure, "jump")
    group_time = exposure.meta["TGROUP"]
    if group_time <= 0:
        raise DataError(f"{exposure.label}: TGROUP = {group_time}; groups need a time between them")
    require_values(refs["gain"], 0.0)
    require_values(refs["readnoise"], -1.0)
    after = []
    for dn, time in (
        (p.after_jump_flag_dn1, p.after_jump_flag_time1),
        (p.after_jump_flag_dn2, p.after_jump_flag_time2),
    ):
        groups = int(time // group_time)
        # In single precision, as the official step has it.
        electrons = np.float32(dn) * np.nanmedian(refs["gain"].read("SCI", dtype="f4")) if groups > 0 else 0.0
        after.append((float(electrons), groups))
    rules = {
        "nframes": exposure.meta["NFRAMES"],
        "limit": p.rejection_threshold,
        "limit_four": p.four_group_rejection_threshold,
        "limit_three": p.three_group_rejection_threshold,
        "neighbours": p.flag_4_neighbors,
        "min_ratio": p.min_jump_to_flag_neighbors,
        "max_ratio": p.max_jump_to_flag_neighbors,
        "after": tuple(after),
        "no_gain": DQ["NO_GAIN_VALUE"],
    }
    plan = SimpleNamespace(rules=rules, method=None, all_dnu=None)
    plan_large_events(plan, exposure, p)
    if not p.keep_single_hits and plan.snowballs is None and plan.showers is None:
        raise Skip("neither single hits nor large events are asked for")
    return plan


@jump.frames(lambda plan: plan.snowballs is not None or plan.showers is not None)
def _(tile, refs, p):
    """Mask the large events of one integration."""
    if p.keep_single_hits:
        mask_large_events(tile, refs, p)
        return
    single = SingleHits(tile["GROUPDQ"][0], tile.spread)
    mask_large_events(tile, refs, p, single)
    # Where a snowball leaves few groups a fit could not find its jump again.
    single.drop()


@jump.finish
def _(exposure, counts, plan, p):
    if plan.method is None:
        log.warning("jump: fewer than %d usable groups; nothing searched", p.minimum_groups)
        exposure.meta.set("S_JUMP", "SKIPPED")
        return
    nint, ngroup, ny, nx = exposure.shape
    differences = nint * ngroup - int(plan.all_dnu.sum()) - nint
    if differences >= 1:
        time = exposure.meta["TGROUP"] * differences
        exposure.meta.set("PRIMECRS", 1000 * counts["jumps"] / (time * ny * nx))
        # Showers, looked for last, are what is told.
        events = counts["showers"] if plan.showers is not None else counts["snowballs"]
        exposure.meta.set("EXTNCRS", 1e6 * events / (time * ny * nx))


def refuse_uneven_reads(exposure, name):
    """Raise DataError for ramps whose reads are not evenly spaced (they need the likelihood fit)."""
    for table in ("READTIMES", "READ_TIMES"):
        if any(hdu.name == table for hdu in exposure.extras):
            raise DataError(
                f"{exposure.label}: {name}: reads that are not evenly spaced are not supported yet"
            )

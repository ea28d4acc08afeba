"""First-frame flagging: the first group of a MIRI integration carries the transient of the reset.

The ``rscd`` step has taken over this task; the step is kept for exposures processed the old way.
"""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.step import Param, Skip, step

MIN_GROUPS = 4


def flag_first(groupdq, pixeldq, *, bright_use_group1):
    """Flag the first group of every integration DO_NOT_USE, in place.

    Parameters
    ----------
    groupdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Flags of the groups.
    pixeldq : (ny, nx) uint32 numpy.ndarray
        Flags of the pixels; FLUX_ESTIMATED is set where a first group is kept.
    bright_use_group1 : bool
        Keep the first group of pixels whose third group is saturated.

    Returns
    -------
    (ny, nx) bool numpy.ndarray
        Pixels that keep a first group.
    """
    unusable = groupdq.dtype.type(DQ["DO_NOT_USE"])
    if not bright_use_group1:
        groupdq[:, 0] |= unusable
        return np.zeros(pixeldq.shape, bool)
    bright = (groupdq[:, 2] & groupdq.dtype.type(DQ["SATURATED"])) != 0
    groupdq[:, 0] |= np.where(bright, groupdq.dtype.type(0), unusable)
    kept = bright.any(axis=0)
    pixeldq[kept] |= pixeldq.dtype.type(DQ["FLUX_ESTIMATED"])
    return kept


@step(
    "firstframe",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_FRSTFR",
    params=[Param("bright_use_group1", bool, True, "Keep the first group where the third is saturated.")],
    changes=("GROUPDQ", "PIXELDQ"),
    uses=("GROUPDQ", "PIXELDQ"),
    instruments=("MIRI",),
    default_skip=True,
)
def firstframe(tile, refs, p):
    """Flag the first group of MIRI integrations DO_NOT_USE.

    Done when an integration has at least four groups.  Off unless asked for, since the rscd
    step flags the first groups.  Pixels whose third group is saturated may keep theirs; they
    are marked FLUX_ESTIMATED.
    """
    kept = flag_first(tile["GROUPDQ"], tile["PIXELDQ"], bright_use_group1=p.bright_use_group1)
    y0, y1, x0, x1 = tile.core
    usable = (tile["PIXELDQ"] & np.uint32(DQ["DO_NOT_USE"])) == 0
    tile.count("usable pixels that keep their first group", (kept & usable)[y0:y1, x0:x1].sum())


@firstframe.setup
def _(exposure, refs, p):
    if exposure.shape[1] < MIN_GROUPS:
        raise Skip(f"fewer than {MIN_GROUPS} groups")

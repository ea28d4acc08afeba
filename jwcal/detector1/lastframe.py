"""Last-frame flagging: the final group of a MIRI integration is disturbed by the reset of the next row."""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.step import Skip, step

MIN_GROUPS = 3


def flag_last(groupdq):
    """Flag the last group of every integration DO_NOT_USE, in place.

    Parameters
    ----------
    groupdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Flags.
    """
    groupdq[:, -1] |= groupdq.dtype.type(DQ["DO_NOT_USE"])


@step(
    "lastframe",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_LASTFR",
    changes=("GROUPDQ",),
    uses=("GROUPDQ",),
    instruments=("MIRI",),
    ahead=1,
)
def lastframe(tile, refs, p):
    """Flag the last group of MIRI integrations DO_NOT_USE.

    Done when an integration has at least three groups.
    """
    flag_last(tile["GROUPDQ"])


@lastframe.setup
def _(exposure, refs, p):
    if exposure.shape[1] < MIN_GROUPS:
        raise Skip(f"fewer than {MIN_GROUPS} groups")


@lastframe.certain
def _(exposure, plan):
    nint, ngroup = exposure.shape[:2]
    return np.tile(np.arange(ngroup) == ngroup - 1, (nint, 1))

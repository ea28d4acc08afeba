"""Flag groups in which the signal of a pixel falls: a ramp can only rise, so data were lost."""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.step import Param, step


def find_falls(sci, groupdq, drop):
    """Flag every group that lies below the one before it.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 array
        Ramp [DN].  NaN compares as "does not fall".
    groupdq : (nint, ngroup, ny, nx) uint8 array
        Flags; DROPOUT and DO_NOT_USE are added.  Changed.
    drop : float
        Smallest fall that counts [DN].
    """
    falls = sci[:, 1:] < sci[:, :-1] - np.float32(drop)
    groupdq[:, 1:][falls] |= DQ["DROPOUT"] | DQ["DO_NOT_USE"]


@step(
    "flag_dropouts",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_DROPS",
    params=[
        Param("drop", float, 200.0, "Smallest fall between two groups that is flagged.", unit="DN", min=0.0)
    ],
    changes=("GROUPDQ",),
)
def flag_dropouts(tile, refs, p):
    """Flag groups in which the signal of a pixel falls.

    Groups lower than the one before by more than the parameter ``drop`` get DROPOUT and DO_NOT_USE.
    Pixel values are not changed.
    """
    find_falls(tile["SCI"], tile["GROUPDQ"], p.drop)

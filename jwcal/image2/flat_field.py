"""Flat field: divide by the response of the pixels."""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.step import Param, Ref, Skip, step

_BAD = np.uint32(DQ["DO_NOT_USE"] | DQ["NO_FLAT_FIELD"])


@step(
    "flat_field",
    stage="image2",
    takes="guider_cal",
    gives="guider_cal",
    status="S_FLAT",
    refs=[Ref("flat", planes={"SCI": "f4", "DQ": "u4", "ERR": "f4"}, optional_planes=("DQ", "ERR"))],
    params=[Param("inverse", bool, False, "Multiply by the flat instead, to undo the step.")],
    changes=("SCI", "ERR", "DQ"),
)
def flat_field(tile, refs, p):
    """Divide an image by the flat field.

    Pixels whose flat (FLAT reference, about 1) is NaN, zero or flagged NO_FLAT_FIELD get NO_FLAT_FIELD and
    DO_NOT_USE; those and all that the flat flags DO_NOT_USE are left as they are.  The flat's flags
    (uint32) are added to DQ.  ERR becomes the root of its square and of the variance of the flat,
    ``(SCI / flat * ERR of the flat)**2``.  Where SCI, ERR or that variance is NaN, SCI and ERR become NaN.
    So far for guide-star images.

    Skipped when the flat is smaller than the image.

    Source: calibration pipeline of the observatory, package ``jwst`` 3.0.
    """
    sci, err, dq = tile["SCI"], tile["ERR"], tile["DQ"]
    flat = refs["flat"]["SCI"].copy()
    flags = refs["flat"]["DQ"]
    flags = np.zeros(flat.shape, np.uint32) if flags is None else flags.copy()
    flags[np.isnan(flat) | (flat == 0)] |= _BAD
    flags[(flags & DQ["NO_FLAT_FIELD"]) != 0] |= np.uint32(DQ["DO_NOT_USE"])
    flat[(flags & DQ["DO_NOT_USE"]) != 0] = 1
    dq |= flags
    if p.inverse:
        sci *= flat
        bad = np.isnan(sci) | np.isnan(err)
    else:
        sci /= flat
        error = refs["flat"]["ERR"]
        error = np.zeros(flat.shape, np.float32) if error is None else error
        variance = sci**2 / (flat * flat) * error**2
        np.sqrt(err**2 + variance, out=err)
        bad = np.isnan(sci) | np.isnan(err)
    sci[bad] = np.nan
    err[bad] = np.nan


@flat_field.setup
def _(exposure, refs, p):
    ref = refs["flat"]
    shape = ref.shape("SCI")[-2:]
    if shape[0] < exposure.frame[0] or shape[1] < exposure.frame[1]:
        raise Skip(f"{ref.path}: {shape[0]} x {shape[1]} pixels are fewer than those of the image")

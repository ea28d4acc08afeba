"""Flag values above the range that can be calibrated, and values the converter cut off below."""

import logging
from types import SimpleNamespace

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.step import Param, Ref, step
from jwcal.detector1._shared import flags_or_zero, refuse_irs2
from jwcal.kernels.saturation import flag_saturation

log = logging.getLogger(__name__)


def _reach(plan):
    # A group before saturation is judged by its neighbours' flags, which have grown, and grows itself.
    return plan.grow * (2 if plan.nframe > 1 else 1)


@step(
    "saturation",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_SATURA",
    refs=[
        Ref("saturation", planes={"SCI": "f4", "DQ": "u4"}, optional_planes=("DQ",)),
        Ref("superbias", planes={"SCI": "f4"}, missing="optional"),
    ],
    params=[
        Param(
            "n_pix_grow_sat",
            int,
            1,
            "Neighbours of a saturated pixel to flag too.",
            unit="pixel",
            min=0,
            max=100,
        ),
        Param("use_readpatt", bool, True, "Look for saturation hidden in averaged groups."),
    ],
    changes=("GROUPDQ", "PIXELDQ", "ZEROFRAME"),
    uses=("SCI", "GROUPDQ", "PIXELDQ", "ZEROFRAME"),
    halo=_reach,
)
def saturation(tile, refs, p):
    """Flag saturated groups and values at the floor of the A/D converter.

    A value at or above the threshold of the SATURATION reference (DN) flags its group and all later
    groups of the integration SATURATED, together with the pixels within ``n_pix_grow_sat`` in x
    and y.  A value of zero or below flags its group AD_FLOOR and DO_NOT_USE.  Pixels whose threshold
    is NaN or flagged NO_SAT_CHECK are never flagged and get NO_SAT_CHECK in PIXELDQ.  NaN in SCI
    is not flagged.

    With ``use_readpatt``, groups that average NFRAMES frames are also judged by what a
    saturation in their last frames would leave: the group before a saturated one, and the second
    group, for which the SUPERBIAS reference is used when there is one.  Such groups get DO_NOT_USE.

    Zero-frame values that are saturated, near saturation or not positive become 0, which means invalid.

    Source: calibration pipeline of the observatory, packages ``jwst`` 3.0 and ``stcal`` 1.20.
    """
    limits, bias = refs["saturation"], refs["superbias"]
    flag_saturation(
        tile["SCI"],
        tile["GROUPDQ"],
        tile["PIXELDQ"],
        tile.get("ZEROFRAME"),
        limits["SCI"],
        flags_or_zero(tile, limits["DQ"]),
        bias=None if bias is None else bias["SCI"],
        nframe=tile.plan.nframe,
        grow=tile.plan.grow,
    )
    # Flags last to the end of an integration, so its last group shows every saturated pixel.
    last = tile.kept("GROUPDQ")[:, -1] & DQ["SATURATED"]
    tile.count("saturated pixels", np.count_nonzero(last.any(axis=0)))


@saturation.setup
def _(exposure, refs, p):
    refuse_irs2(exposure, "saturation")
    nframe = exposure.meta["NFRAMES"] if p.use_readpatt else 0
    return SimpleNamespace(nframe=nframe, grow=p.n_pix_grow_sat)

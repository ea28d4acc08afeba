"""Flag values above the range that can be calibrated, and values the converter cut off below."""

import logging
from types import SimpleNamespace

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.step import Param, Ref, step
from jwcal.core.stripes import IRS2_FRAME
from jwcal.detector1._shared import flags_or_zero, irs2_halo, irs2_rows, is_irs2, normal_box
from jwcal.kernels.saturation import flag_jumped, flag_saturation

log = logging.getLogger(__name__)


def _reach(plan):
    if plan.normal is not None:
        return irs2_halo(plan.grow)
    # A group before saturation is judged by its neighbours' flags, which have grown, and grows itself.
    return plan.grow * (2 if plan.nframe > 1 else 1)


def _limits(ref, box, plan):
    if plan.normal is None:
        return None
    box = normal_box(plan.normal, box)
    if box[0] == box[1]:
        return {"SCI": None, "DQ": None}
    dq = ref.read("DQ", box, dtype="u4") if "DQ" in ref else None
    return {"SCI": ref.read("SCI", box, dtype="f4"), "DQ": dq}


@step(
    "saturation",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_SATURA",
    refs=[
        Ref("saturation", planes={"SCI": "f4", "DQ": "u4"}, optional_planes=("DQ",), load=_limits),
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
    carries=lambda plan: plan.normal is None,
    ahead=2,
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

    In the interleaved readout of NIRSpec (IRS2) neither the reference output nor interleaved
    reference pixels are looked at, nor are they neighbours, and only the second group is judged by
    what comes after it; then it is SATURATED, with its neighbours.

    Source: calibration pipeline of the observatory, packages ``jwst`` 3.0 and ``stcal`` 1.20.
    """
    limits, bias = refs["saturation"], refs["superbias"]
    if tile.plan.normal is not None:
        _interleaved(tile, limits, None if bias is None else bias["SCI"])
        return
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
        fresh=tile.fresh,
        ready=tile.ready,
        carry=tile.carry,
    )
    # Flags last to the end of an integration, so its last group shows every saturated pixel.
    last = tile.kept("GROUPDQ")[:, -1] & DQ["SATURATED"]
    tile.count("saturated pixels", np.count_nonzero(last.any(axis=0)))


def _interleaved(tile, limits, bias):
    """Work on the normal rows alone, as if they were an image."""
    rows = np.flatnonzero(tile.plan.normal[tile.box[0] : tile.box[1]])
    if rows.size == 0:
        return
    sci, pixeldq = tile["SCI"].take(rows, axis=2), tile["PIXELDQ"][rows]
    zeroframe = tile["ZEROFRAME"].take(rows, axis=1) if "ZEROFRAME" in tile else None
    groupdq = np.zeros(sci.shape, np.uint8)
    dq = np.zeros(pixeldq.shape, np.uint32) if limits["DQ"] is None else limits["DQ"]
    grow, nframe = tile.plan.grow, tile.plan.nframe
    flag_saturation(sci, groupdq, pixeldq, zeroframe, limits["SCI"], dq, nframe=0, grow=grow)
    if nframe > 0:
        level = None if bias is None else bias[rows]
        flag_jumped(sci, groupdq, limits["SCI"], dq, bias=level, nframe=nframe, grow=grow)
    tile["GROUPDQ"][:, :, rows] |= groupdq
    tile["PIXELDQ"][rows] = pixeldq
    if zeroframe is not None:
        tile["ZEROFRAME"][:, rows] = zeroframe
    y0, y1, x0, x1 = tile.core
    last = groupdq[:, -1, (rows >= y0) & (rows < y1), x0:x1] & DQ["SATURATED"]
    tile.count("saturated pixels", np.count_nonzero(last.any(axis=0)))


@saturation.setup
def _(exposure, refs, p):
    normal = None
    if is_irs2(exposure):
        normal = irs2_rows(exposure, "saturation")
        # The thresholds are those of the normal pixels, whatever the readout.
        refs["saturation"].reframe((IRS2_FRAME[1], IRS2_FRAME[1]))
    nframe = exposure.meta["NFRAMES"] if p.use_readpatt else 0
    return SimpleNamespace(nframe=nframe, grow=p.n_pix_grow_sat, normal=normal)

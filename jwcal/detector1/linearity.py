"""Correct the detector's departure from a linear response."""

import logging

from jwcal.core.errors import ReferenceFileError
from jwcal.core.step import Param, Ref, step
from jwcal.detector1._shared import flags_or_zero
from jwcal.detector1.read_times import read_times
from jwcal.kernels.linearity import MAX_COEFFS, correct_linearity, correct_linearity_reads

log = logging.getLogger(__name__)


def _load(ref, box, reads):
    return {
        "COEFFS": ref.read("COEFFS", box, dtype="f4"),
        "INV_COEFFS": ref.read("INV_COEFFS", box, dtype="f4") if reads else None,
        "DQ": ref.read("DQ", box, dtype="u4") if "DQ" in ref else None,
    }


@step(
    "linearity",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_LINEAR",
    refs=[
        Ref(
            "linearity",
            planes={"COEFFS": "f4", "INV_COEFFS": "f4", "DQ": "u4"},
            optional_planes=("INV_COEFFS", "DQ"),
            load=_load,
        )
    ],
    params=[
        Param(
            "count_gaps",
            bool,
            False,
            "Correct averaged groups at the times of their reads; the official package leaves dropped frames out.",
        ),
    ],
    changes=("SCI", "ZEROFRAME", "PIXELDQ"),
    uses=("SCI", "GROUPDQ", "ZEROFRAME", "PIXELDQ"),
)
def linearity(tile, refs, p):
    """Apply the polynomial of the LINEARITY reference to unsaturated groups.

    The corrected value (float32, DN) is c0 + c1 x + c2 x^2 + ... by Horner's scheme.  Pixels that
    the reference flags NO_LIN_CORR, with a NaN coefficient or a linear term of 0 keep their
    values and get NO_LIN_CORR; all flags of the reference are added to PIXELDQ.  Zero-frame
    values of 0, which means invalid, stay 0.

    Where the reference has INV_COEFFS and groups average several frames, the frames behind
    each group are modelled, corrected one by one and averaged again, because the polynomial of
    an average is not the average of the polynomial.  Exposures of one group, in which no slope
    can be seen, and those whose groups have read times of their own are corrected group by group.
    Unless ``count_gaps`` is set the frames of successive groups are taken to follow each other without
    the dropped ones, as the official package has it, which makes the slope too steep.

    Errors: exit 4 when the reference has less than 2 or more than 16 coefficients.

    Source: calibration pipeline of the observatory, packages ``jwst`` 3.0 and ``stcal`` 1.20.
    """
    ref = refs["linearity"]
    arrays = (tile["SCI"], tile["GROUPDQ"], tile["PIXELDQ"], tile.get("ZEROFRAME"), ref["COEFFS"])
    dq = flags_or_zero(tile, ref["DQ"])
    if tile.plan:
        correct_linearity_reads(*arrays, ref["INV_COEFFS"], dq, *tile.plan)
    else:
        correct_linearity(*arrays, dq)


@linearity.setup
def _(exposure, refs, p):
    ref = refs["linearity"]
    for name in ("COEFFS", "INV_COEFFS"):
        if name == "INV_COEFFS" and name not in ref:
            continue
        shape = ref.shape(name)
        if len(shape) != 3 or not 2 <= shape[0] <= MAX_COEFFS:
            raise ReferenceFileError(
                f"{ref.path}: {name} has shape {shape}; need 2 to {MAX_COEFFS} coefficient planes"
            )
    if "INV_COEFFS" not in ref or exposure.shape[1] < 2:
        return None
    nframe = exposure.meta["NFRAMES"]
    if nframe < 2 or read_times(exposure) is not None:
        return None
    log.info("linearity: correcting the %d frames of each group", nframe)
    return nframe, nframe + (exposure.meta.get("GROUPGAP", 0) if p.count_gaps else 0)

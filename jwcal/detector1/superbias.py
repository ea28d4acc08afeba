"""Subtract the bias pattern of the detector."""

from jwcal.core.step import Ref, step
from jwcal.detector1._shared import flags_or_zero
from jwcal.kernels.pixelwise import subtract_bias


@step(
    "superbias",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_SUPERB",
    refs=[Ref("superbias", planes={"SCI": "f4", "DQ": "u4"}, optional_planes=("DQ",))],
    changes=("SCI", "ZEROFRAME", "PIXELDQ"),
    instruments=("NIRCAM", "NIRISS", "FGS", "NIRSPEC"),
)
def superbias(tile, refs, p):
    """Subtract the SUPERBIAS reference from every group and from the zero frame.

    The bias (float32, DN) counts as 0 where it is NaN.  Zero-frame values of 0, which means
    invalid, stay 0.  The flags of the reference are added to PIXELDQ; GROUPDQ is untouched.

    Source: calibration pipeline of the observatory, package ``jwst`` 3.0.
    """
    bias = refs["superbias"]
    subtract_bias(
        tile["SCI"], tile["PIXELDQ"], tile.get("ZEROFRAME"), bias["SCI"], flags_or_zero(tile, bias["DQ"])
    )

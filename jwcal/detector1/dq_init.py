"""Start the flags of an exposure from the mask of known bad pixels."""

import numpy as np

from jwcal.core.errors import InputError
from jwcal.core.step import Param, Ref, step
from jwcal.kernels.pixelwise import initialise_dq


@step(
    "dq_init",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    also=("guider_raw",),
    status="S_DQINIT",
    refs=[Ref("mask", planes={"DQ": "u4"})],
    params=[Param("user_supplied_dq", str, None, "FITS file of flags to add, in standard bits.")],
    changes=("PIXELDQ", "GROUPDQ", "DQ"),
    uses=("PIXELDQ", "GROUPDQ", "DQ"),
    ahead=0,
)
def dq_init(tile, refs, p):
    """Initialise PIXELDQ and GROUPDQ from the MASK reference.

    All flags of the mask (uint32, standard bits) are added to PIXELDQ; its DO_NOT_USE flag is also
    added to every group of GROUPDQ (uint8), so that no ramp is fitted to a bad pixel.
    ``user_supplied_dq`` names an image of the same shape as the exposure with flags to treat
    like those of the mask (of superstripes one for each).  SCI is untouched.  Guide-star exposures
    have one plane of flags, DQ.

    Errors: exit 3 when the user's image cannot be read or has another shape.

    Source: calibration pipeline of the observatory, package ``jwst`` 3.0.
    """
    mask = refs["mask"]["DQ"]
    if tile.plan is not None:
        y0, y1, x0, x1 = tile.box
        added = tile.plan if tile.stripe is None else tile.plan[tile.stripe]
        mask = np.ascontiguousarray(mask | added[y0:y1, x0:x1])
    if "DQ" in tile:
        tile["DQ"] |= mask
        return
    initialise_dq(tile["PIXELDQ"], tile["GROUPDQ"], mask)


@dq_init.setup
def _(exposure, refs, p):
    if p.user_supplied_dq is None:
        return None
    from jwcal.core.fits import open_fits

    shape = (exposure.stripes, *exposure.frame) if exposure.stripes else exposure.frame
    with open_fits(p.user_supplied_dq) as fits:
        hdu = next((h for h in fits.hdus if h.kind == "image" and h.shape), None)
        if hdu is None or hdu.shape != shape or hdu.dtype.kind not in "iu":
            found = "no image" if hdu is None else f"{hdu.dtype} of shape {hdu.shape}"
            raise InputError(
                f"{p.user_supplied_dq}: {found}; user_supplied_dq needs integers of shape {shape}"
            )
        return hdu.read().astype(np.uint32)

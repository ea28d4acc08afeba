"""Rescale slopes taken with another gain than the one the references were made for."""

import logging

from jwcal.core.errors import ReferenceFileError
from jwcal.core.step import Ref, Skip, step
from jwcal.kernels.pixelwise import scale_rates

log = logging.getLogger(__name__)


@step(
    "gain_scale",
    stage="detector1",
    takes="rate",
    gives="rate",
    status="S_GANSCL",
    refs=[Ref("gain", missing="optional")],
    changes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE"),
)
def gain_scale(tile, refs, p):
    """Multiply slopes and errors by the gain factor, variances by its square.

    The factor is the keyword GAINFACT of the exposure or, if it has none, of the GAIN reference;
    without either the step is skipped.  It applies to NIRSpec subarrays read with half the
    usual gain.  All planes are float32 in DN/s or its square; NaN stays NaN, DQ is untouched.

    Errors: exit 4 when GAINFACT of the reference is not a positive number.

    Source: calibration pipeline of the observatory, package ``jwst`` 3.0.
    """
    scale_rates(tile, tile.plan)


@gain_scale.setup
def _(exposure, refs, p):
    factor = exposure.meta.get("GAINFACT")
    ref = refs["gain"]
    if factor is None and ref is not None:
        factor = ref.get("GAINFACT")
        if factor is not None and not (isinstance(factor, (int, float)) and 0 < factor < float("inf")):
            raise ReferenceFileError(f"{ref.path}: keyword GAINFACT = {factor!r} must be a positive number")
    if factor is None:
        raise Skip("no GAINFACT in the exposure or the GAIN reference")
    log.info("gain_scale: factor %g", factor)
    exposure.meta.set("GAINFACT", float(factor))
    return float(factor)

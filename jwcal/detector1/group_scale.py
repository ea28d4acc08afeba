"""Rescale groups that were averaged on board with another divisor than their number of frames."""

import logging

import numpy as np

from jwcal.core.step import Skip, step

log = logging.getLogger(__name__)


@step("group_scale", stage="detector1", takes="ramp", gives="ramp", status="S_GRPSCL", changes=("SCI",))
def group_scale(tile, refs, p):
    """Correct on-board averages for their divisor.

    The flight software divides a sum of frames by a power of two.  Where the number of frames
    NFRAMES differs from that divisor, FRMDIVSR, all groups are multiplied by FRMDIVSR / NFRAMES
    (float32, DN).  NaN stays NaN; the zero frame, a single read, and the flags are untouched.

    Skipped when the two agree, or when FRMDIVSR is missing and NFRAMES is a power of two.
    For the MIRI patterns FASTGRPAVG, NFRAMES is first set to MIRNFRMS x FRMDIVSR, the number
    of frames that were really averaged.

    Source: calibration pipeline of the observatory, package ``jwst`` 3.0.
    """
    sci = tile["SCI"]
    sci *= tile.plan


@group_scale.setup
def _(exposure, refs, p):
    meta = exposure.meta
    _restore_miri_frames(meta)
    nframes, divisor = meta.get("NFRAMES"), meta.get("FRMDIVSR")
    if nframes is None:
        raise Skip("NFRAMES is not in the header")
    if divisor is None:
        power = nframes & (nframes - 1) == 0
        raise Skip("NFRAMES is a power of 2" if power else "FRMDIVSR is not in the header")
    if nframes == divisor:
        raise Skip("NFRAMES and FRMDIVSR are equal")
    log.info("group_scale: factor %d/%d", divisor, nframes)
    return np.float32(divisor / nframes)


def _restore_miri_frames(meta):
    if meta.get("INSTRUME") != "MIRI" or not str(meta.get("READPATT", "")).startswith("FASTGRPAVG"):
        return
    frames, divisor = meta.get("MIRNFRMS"), meta.get("FRMDIVSR")
    if frames and divisor and meta.get("NFRAMES") != frames * divisor:
        log.info("group_scale: NFRAMES set to MIRNFRMS x FRMDIVSR = %d", frames * divisor)
        meta.set("NFRAMES", frames * divisor)

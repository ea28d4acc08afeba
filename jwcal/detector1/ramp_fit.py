"""Ramp fit: the slope of every pixel, per integration and for the whole exposure.

Source: Fixsen et al. 2000, PASP 112, 1350 (weights); the rules are those of the calibration
pipeline of the observatory, packages ``jwst`` 3.0 and ``stcal`` 1.20.
"""

import logging
from types import SimpleNamespace

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import DataError, UsageError
from jwcal.core.step import Param, Ref, step
from jwcal.detector1._shared import require_values
from jwcal.detector1.jump import refuse_uneven_reads
from jwcal.kernels.ramp import RampTiming, fit_ramps, fit_segments

log = logging.getLogger(__name__)


@step(
    "ramp_fit",
    stage="detector1",
    takes="ramp",
    gives="rate",
    status="S_RAMP",
    refs=[
        Ref("gain", planes={"SCI": "f4"}, missing="error"),
        Ref("readnoise", planes={"SCI": "f4"}, missing="error"),
    ],
    params=[
        Param("algorithm", str, "OLS_C", "Fit; LIKELY is not supported yet.", choices=("OLS_C", "LIKELY")),
        Param("suppress_one_group", bool, True, "Treat ramps with one good group as having none."),
        Param(
            "save_opt", bool, False, "Compute the optional results (made whenever their file is asked for)."
        ),
        Param("firstgroup", int, None, "Ignore groups before this one (the first is 0).", min=0),
        Param("lastgroup", int, None, "Ignore groups after this one (the first is 0).", min=0),
    ],
    uses=("SCI", "GROUPDQ", "PIXELDQ", "ZEROFRAME", "AVDRKCUR"),
    span="exposure",
    needs_all_dnu=True,
)
def ramp_fit(tile, refs, p):
    """Fit a straight line to the ramp of every pixel, in segments between jumps.

    Makes the slope image (``rate``) and the slopes of each integration (``rateints``), in DN/s, with
    the Poisson and the read-noise variance and their sum as ERR.  Groups flagged DO_NOT_USE or
    SATURATED are not used, a JUMP_DET group starts a new segment.  Pixels without a slope are NaN
    and DO_NOT_USE.  READNOISE is the noise of a pair of reads (DN), GAIN in e-/DN; a gain that is NaN,
    zero or negative gives NO_GAIN_VALUE and DO_NOT_USE.

    Exit 6 when every pixel is saturated from the first group on, or no group can be used.
    """
    plan = tile.plan
    sci, gdq, all_dnu = tile["SCI"], tile["GROUPDQ"], tile.all_dnu
    if plan.window is not None:
        first, last = plan.window
        all_dnu = all_dnu.copy()
        all_dnu[:, :first] = all_dnu[:, last + 1 :] = True
        gdq[:, :first] |= np.uint8(DQ["DO_NOT_USE"])
        gdq[:, last + 1 :] |= np.uint8(DQ["DO_NOT_USE"])
    start, stop = plan.cut(all_dnu)
    sci, gdq = sci[:, start:stop], gdq[:, start:stop]
    lit = (gdq[:, 0] & DQ["SATURATED"]) == 0
    y0, y1, x0, x1 = tile.core
    tile.count("integrations that are not saturated", np.count_nonzero(lit[:, y0:y1, x0:x1]))
    timing = RampTiming(unjump_first=start > 0, **plan.timing)
    arrays = (sci, gdq, tile["PIXELDQ"], refs["gain"]["SCI"], refs["readnoise"]["SCI"], timing)
    dark, zero = tile.get("AVDRKCUR"), tile.get("ZEROFRAME")
    if not plan.optional:
        rate, rateints = fit_ramps(*arrays, dark, zero)
        return {"rate": rate, "rateints": rateints}
    rate, rateints, segments = fit_segments(*arrays, dark, zero)
    most = {"CRMAG": jump_limit(tile["SCI"].shape[1])}
    fitopt = {
        name: _padded(plane, most.get(name, segment_limit(tile["SCI"].shape[1])))
        for name, plane in segments.items()
    }
    return {"rate": rate, "rateints": rateints, "fitopt": fitopt}


def segment_limit(ngroup):
    """Return the number of segments a ramp of `ngroup` groups can have at most."""
    return ngroup // 2 + 1


def jump_limit(ngroup):
    """Return the number of jumps a ramp of `ngroup` groups can have at most, but not 0."""
    return max(ngroup - 1, 1)


def _padded(plane, length):
    """Lengthen the second axis of a plane of segments or jumps with zeros."""
    if plane.ndim == 3 or plane.shape[1] == length:
        return plane
    out = np.zeros((plane.shape[0], length, *plane.shape[2:]), plane.dtype)
    out[:, : plane.shape[1]] = plane
    return out


@ramp_fit.setup
def _(exposure, refs, p):
    if p.algorithm != "OLS_C":
        raise UsageError("ramp_fit: algorithm = LIKELY is not supported yet; use OLS_C")
    refuse_uneven_reads(exposure, "ramp_fit")
    require_values(refs["gain"], 0.0)
    require_values(refs["readnoise"], -1.0)
    meta = exposure.meta
    ngroup = exposure.shape[1]
    gain_factor = refs["gain"].get("GAINFACT")
    if gain_factor is not None:
        meta.set("GAINFACT", gain_factor)
    timing = {
        "group_time": meta["TGROUP"],
        "frame_time": meta["TFRAME"],
        "nframes": meta["NFRAMES"],
        "groupgap": meta.get("GROUPGAP", 0),
        "dropframes": meta.get("DRPFRMS1", 0),
        "suppress_one_group": p.suppress_one_group and ngroup > 1,
        "no_gain": DQ["NO_GAIN_VALUE"],
    }
    for name in ("group_time", "frame_time"):
        if timing[name] <= 0:
            raise DataError(
                f"{exposure.label}: {name.replace('_', ' ')} is {timing[name]} s; no slope can be fitted"
            )
    return SimpleNamespace(
        timing=timing,
        window=_window(p, ngroup),
        cut=_Cut(meta.get("INSTRUME") == "MIRI" and ngroup > 1, exposure.label),
        optional=p.save_opt or "fitopt" in exposure.wanted,
    )


def _window(p, ngroup):
    """First and last group to use, or None for all."""
    if p.firstgroup is None and p.lastgroup is None:
        return None
    first = p.firstgroup or 0
    last = ngroup - 1 if p.lastgroup is None else min(p.lastgroup, ngroup - 1)
    if first >= last:
        log.warning("ramp_fit: firstgroup %d is not before lastgroup %d; both are ignored", first, last)
        return None
    return first, last


class _Cut:
    """Range of groups to fit: MIRI ramps lose leading groups, and the last, that no pixel can use."""

    def __init__(self, wanted, label):
        self.wanted, self.label = wanted, label

    def __call__(self, all_dnu):
        ngroup = all_dnu.shape[1]
        if not self.wanted:
            return 0, ngroup
        everywhere = all_dnu.all(axis=0)
        start = int(np.argmin(everywhere)) if not everywhere.all() else ngroup
        stop = ngroup - 1 if start < ngroup and everywhere[-1] else ngroup
        if stop - start < 2:
            raise DataError(
                f"{self.label}: ramp_fit: fewer than two groups of this MIRI exposure can be used"
            )
        return start, stop


@ramp_fit.finish
def _(exposure, counts, plan, p):
    if not counts["integrations that are not saturated"]:
        raise DataError(f"{exposure.label}: ramp_fit: every pixel is saturated from the first group on")

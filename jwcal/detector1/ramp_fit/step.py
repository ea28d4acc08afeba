"""Ramp fit: the slope of every pixel, per integration and for the whole exposure.

Sources: Fixsen et al. 2000, PASP 112, 1350 (weights of OLS_C); Brandt 2024, PASP 136, 045004 and 045005
(LIKELY); the rules are those of the calibration pipeline of the observatory, packages ``jwst`` 3.0 and
``stcal`` 1.20.
"""

import logging
from types import SimpleNamespace

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import DataError, UsageError
from jwcal.core.step import Param, Ref, step
from jwcal.detector1._shared import require_values
from jwcal.detector1.jump.step import refuse_uneven_reads
from jwcal.detector1.ramp_fit import optimal
from jwcal.detector1.ramp_fit.likelihood import choose_algorithm, fit_tile, likely_times
from jwcal.detector1.read_times import read_times
from jwcal.kernels.ramp import RampTiming, fit_ramps, fit_segments

log = logging.getLogger(__name__)

CHISQ = "likely_chisq"


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
        Param(
            "algorithm",
            str,
            "OLS_C",
            "Least squares between jumps, or likelihood, which finds jumps of its own.",
            choices=("OLS_C", "LIKELY", "OPTIMAL"),
        ),
        Param("suppress_one_group", bool, True, "Treat ramps with one good group as having none (OLS_C)."),
        Param(
            "save_opt",
            bool,
            False,
            "Compute the optional results (made whenever their file is asked for); with LIKELY, write chi-square "
            "(..._likely_chisq.fits).",
        ),
        Param("firstgroup", int, None, "Ignore groups before this one (the first is 0).", min=0),
        Param("lastgroup", int, None, "Ignore groups after this one (the first is 0).", min=0),
        *optimal.PARAMS,
    ],
    uses=("SCI", "GROUPDQ", "PIXELDQ", "ZEROFRAME", "AVDRKCUR"),
    span="exposure",
    halo=lambda plan: optimal.halo(plan.optimal),
    needs_all_dnu=True,
)
def ramp_fit(tile, refs, p):
    """Fit a straight line to the ramp of every pixel.

    Makes the slope image (``rate``) and the slopes of each integration (``rateints``), in DN/s, with
    the Poisson and the read-noise variance and their sum as ERR.  READNOISE is the noise of a pair of
    reads (DN), GAIN in e-/DN.

    OLS_C: weighted least squares on the segments between jumps.  Groups flagged DO_NOT_USE or
    SATURATED are not used, a JUMP_DET group starts a new segment.  Pixels without a slope are NaN
    and DO_NOT_USE.  A gain that is NaN, zero or negative gives NO_GAIN_VALUE and DO_NOT_USE.

    LIKELY: the most likely slope for the covariance that photon and read noise give the
    differences of groups.  Differences to or from a group with any flag are not used; of the rest,
    one after the other is left out as long as chi-square gains 20.25 by it, or 23.8 by two
    neighbours around a group that is a mean of several frames; such pixels get JUMP_DET.  (The jump
    step comes before all the same; what it flags is not used either.)  The zero frame is a group of
    its own where the first group is a mean of which it is a part.  Integrations are weighted by
    their variance.  Pixels without a usable difference, or whose gain or read noise is no positive
    number, are NaN in SCI, ERR and the variances; DO_NOT_USE is set where every group is unusable.
    Exposures whose reads are not evenly spaced always get this fit, others with fewer than 4 groups
    OLS_C.

    OPTIMAL: generalised least squares with the whole covariance of the differences, which comes from
    the rate of all integrations together, and a search for jumps of its own, which also knows hits
    that averaging spreads over two differences and those next to another hit; found groups get
    JUMP_DET.  Integrations are weighted by their variance.  Every pixel without a slope is NaN and
    DO_NOT_USE, also where READNOISE has no value; a single reading counts unless
    suppress_one_group.  An exposure of one group gets OLS_C.

    Exit 6 when every pixel is saturated from the first group on, or no group can be used; exit 2
    for the optional results of LIKELY and OPTIMAL, which have none.  With ``save_opt`` LIKELY writes the
    sum of chi-square over the integrations beside the product.
    """
    plan = tile.plan
    sci, gdq, all_dnu = tile["SCI"], tile["GROUPDQ"], tile.all_dnu
    if plan.window is not None:
        first, last = plan.window
        all_dnu = all_dnu.copy()
        all_dnu[:, :first] = all_dnu[:, last + 1 :] = True
        gdq[:, :first] |= np.uint8(DQ["DO_NOT_USE"])
        gdq[:, last + 1 :] |= np.uint8(DQ["DO_NOT_USE"])
    start, stop = (0, sci.shape[1]) if plan.likely or plan.optimal else plan.cut(all_dnu)
    sci, gdq = sci[:, start:stop], gdq[:, start:stop]
    lit = (gdq[:, 0] & DQ["SATURATED"]) == 0
    y0, y1, x0, x1 = tile.core
    tile.count("integrations that are not saturated", np.count_nonzero(lit[:, y0:y1, x0:x1]))
    if plan.likely:
        rate, rateints = fit_tile(tile, refs, plan.likely, plan.chisq)
        return {"rate": rate, "rateints": rateints}
    if plan.optimal:
        return optimal.fit(tile, refs, p, plan)
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
    refuse_uneven_reads(exposure, "ramp_fit")
    require_values(refs["gain"], 0.0)
    require_values(refs["readnoise"], -1.0)
    meta = exposure.meta
    ngroup = exposure.shape[1]
    gain_factor = refs["gain"].get("GAINFACT")
    if gain_factor is not None:
        meta.set("GAINFACT", gain_factor)
    reads = read_times(exposure)
    if choose_algorithm(p.algorithm, ngroup, reads) == "LIKELY":
        if "fitopt" in exposure.wanted:
            raise UsageError("ramp_fit: the likelihood fit has no optional results; leave out --fitopt")
        chisq = None
        if p.save_opt:
            exposure.beside.path(meta, CHISQ)
            chisq = np.empty(exposure.frame, np.float32)
        times = likely_times(exposure, reads)
        return SimpleNamespace(likely=times, optimal=None, window=_window(p, ngroup), chisq=chisq)
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
    model = None
    if p.algorithm == "OPTIMAL" and ngroup > 1:
        model = optimal.ramp_model(exposure, p, DQ["NO_GAIN_VALUE"])
    return SimpleNamespace(
        likely=None,
        chisq=None,
        optimal=model,
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
    if plan.chisq is not None:
        exposure.beside.image(exposure.meta, CHISQ, plan.chisq, "ramp_fit")

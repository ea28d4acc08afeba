"""Guide-star exposures: the difference of their reads gives the count rate."""

from types import SimpleNamespace

import numpy as np

from jwcal.core.errors import DataError, InputError, ReferenceFileError
from jwcal.core.step import Ref, step

# Reads averaged at either end of a fine-guidance integration.
FINE_READS = 4


def _load(ref, box, plan):
    """SCI of a reference, or its mean where the strips of an ID stack have no place on the detector."""
    try:
        ref.offset("SCI")
    except ReferenceFileError:
        if not plan.stack:
            raise
        mean = ref.hdu("SCI").read().astype(np.float32).mean()
        return {"SCI": np.full((box[1] - box[0], box[3] - box[2]), mean, np.float32)}
    return {"SCI": ref.read("SCI", box, dtype="f4")}


@step(
    "guider_cds",
    stage="guider",
    takes="guider_raw",
    gives="guider_cal",
    status="S_GUICDS",
    refs=[
        Ref("gain", planes={"SCI": "f4"}, missing="error", load=_load),
        Ref("readnoise", planes={"SCI": "f4"}, missing="error", load=_load),
    ],
    uses=("SCI", "DQ"),
    span="exposure",
)
def guider_cds(tile, refs, p):
    """Compute count rates of guide stars from differences of reads.

    ACQ1, ACQ2 and TRACK: second group less first, one image per integration.  FINEGUIDE: mean of the
    last four groups less mean of the first four.  ID-STACK and ID-IMAGE: the smaller of the differences of
    the first two integrations, one image, which keeps cosmic rays out.  Rates are differences over the
    group time, float32 in DN/s.  ERR is the root of read variance (READNOISE reference, DN of a pair of
    reads, twice squared) and Poisson variance (GAIN reference, e-/DN; never negative), per group time.
    DQ is the image of flags of the mask.  NaN stays NaN.

    Errors: exit 3 when READPATT is of another mode than EXP_TYPE; exit 6 when the exposure has fewer
    groups or integrations than its mode is made of; exit 4 when a reference does not cover the frame (an
    ID stack takes the mean of such a reference).

    Source: calibration pipeline of the observatory, package ``jwst`` 3.0.
    """
    sci, plan = tile["SCI"], tile.plan
    if plan.fine:
        difference = sci[:, -FINE_READS:].mean(axis=1) - sci[:, :FINE_READS].mean(axis=1)
    else:
        difference = sci[:, 1] - sci[:, 0]
    if plan.identify:
        # A difference of the two integrations that is NaN stays so.
        difference = np.minimum(difference[1], difference[0])[np.newaxis]
    time = np.float32(plan.time)
    with np.errstate(divide="ignore", invalid="ignore"):
        read = np.float32(2) * (refs["readnoise"]["SCI"] / time) ** 2
        poisson = difference / (refs["gain"]["SCI"] * time)
    poisson[poisson < 0] = 0
    planes = {"SCI": difference / time, "ERR": np.sqrt(read + poisson), "DQ": tile["DQ"]}
    return {"guider_cal": planes}


@guider_cds.setup
def _(exposure, refs, p):
    kind, time = exposure.meta["EXP_TYPE"], exposure.meta["TGROUP"]
    nint, ngroup = exposure.shape[:2]
    fine = kind == "FGS_FINEGUIDE"
    identify = kind.startswith("FGS_ID")
    mode = "ID" if identify else kind.removeprefix("FGS_")
    said = str(exposure.meta.get("READPATT") or mode).strip().upper()
    if said != mode:
        raise InputError(
            f"{exposure.label}: READPATT {said} is not that of EXP_TYPE {kind}, {mode}; one of the two is wrong"
        )
    groups, ints = (2 * FINE_READS if fine else 2), (2 if identify else 1)
    if (ngroup < groups if fine else ngroup != groups) or nint < ints:
        raise DataError(
            f"{exposure.label}: {nint} integrations of {ngroup} groups; {kind} has {groups} groups"
            f" and at least {ints} integration{'s' * (ints > 1)}"
        )
    if time <= 0:
        raise DataError(f"{exposure.label}: TGROUP = {time}; rates need a time between groups")
    if identify:
        exposure.axes["int"] = 1
    return SimpleNamespace(fine=fine, identify=identify, stack=kind.endswith("STACK"), time=time)

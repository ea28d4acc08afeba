"""What it costs to make predicted products with the pipelines of this package, from measured rates."""

import tomllib
from functools import lru_cache

from jwcal.core.packaged import text_of


@lru_cache(maxsize=1)
def rates():
    """Table (dict) of measured rates, as in data/planning/cost.toml."""
    return tomllib.loads(text_of("data/planning", "cost.toml"))


def of_run(pipeline, raw):
    """Cost of a pipeline on one raw file.

    Parameters
    ----------
    pipeline : str
        Such as "detector1".
    raw : Raw
        What it is run on.

    Returns
    -------
    (float or None, int or None)
        CPU seconds and bytes of memory at most; None if it was not measured.
    """
    found = rates().get(pipeline, {}).get(_way(raw))
    if found is None:
        return None, None
    frame = raw.detector.rows * raw.detector.columns / 1e6
    groups = raw.ngroups
    seconds = _sum(found["seconds"], (1.0, frame, frame * groups * raw.nints))
    return round(seconds, 2), round(_sum(found["memory"], (1.0, frame, frame * groups, frame * raw.nints)))


def _sum(rates_of, parts):
    return sum(rate * part for rate, part in zip(rates_of, parts, strict=True))


def _way(raw):
    if raw.exposure.instrument == "MIRI":
        return "miri"
    return "irs2" if "IRS2" in raw.readpatt else "nir"

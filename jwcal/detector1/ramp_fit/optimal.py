"""Optimal ramp fit: its parameters, what it needs to know of an exposure, and its use on a tile.

Source: Brandt 2024, PASP 136, 045004 (fit) and 045005 (jumps); see `jwcal.kernels.optimal` for what is
done differently.
"""

import logging
import math

from jwcal.core.errors import UsageError
from jwcal.core.step import Param
from jwcal.kernels.optimal import RampModel, fit_optimal

log = logging.getLogger(__name__)

# From this many integrations on their common rate is better known than that of any one of them; weak
# single hits are found then, and pairs need less help.
MANY, PAIR_EXTRA = 5, 0.5
# A jump that averaging spreads over two differences can lie at more places.
SPLIT_EXTRA = 0.2

PARAMS = (
    Param("find_jumps", bool, True, "OPTIMAL: look for jumps (those already flagged are always used)."),
    Param("jump_threshold", float, 4.5, "OPTIMAL: significance of a jump.", unit="sigma", min=2.0),
    Param(
        "jump_threshold_split",
        float,
        None,
        f"OPTIMAL: the same for a jump that averaging splits; not set, {SPLIT_EXTRA} more.",
        unit="sigma",
        min=2.0,
    ),
    Param("jump_threshold_down", float, 6.0, "OPTIMAL: significance of a fall.", unit="sigma", min=2.0),
    Param(
        "search_neighbors",
        bool,
        True,
        "OPTIMAL: look closer where the eight neighbours have a jump in the same group, or nearly.",
    ),
    Param(
        "jump_threshold_neighbor",
        float,
        2.5,
        "OPTIMAL: significance of a jump next to one of 16 sigma; less next to a smaller one, 2 at least.",
        unit="sigma",
        min=1.0,
    ),
    Param(
        "jump_threshold_pair",
        float,
        4.5,
        f"OPTIMAL: root of the summed squares of the significance of two neighbours, 2 or more each; {PAIR_EXTRA} "
        f"more when {MANY} or more integrations share a rate.",
        unit="sigma",
        min=3.0,
        max=7.0,
    ),
    Param(
        "common_rate",
        bool,
        True,
        "OPTIMAL: one rate for all integrations of a pixel in the weights and in the search.",
    ),
    Param("quantization_noise", bool, True, "OPTIMAL: add the noise of rounding averages to whole DN."),
    Param("ipc_noise", bool, True, "OPTIMAL: read noise as the correction of IPC has left it (IPCVAR)."),
    Param("reset_noise", float, 0.0, "OPTIMAL: noise of the level after a reset.", unit="DN", min=0.0),
    Param("debias_search", bool, True, "OPTIMAL: add back what the search takes from ramps without jumps."),
    Param("small_count_errors", bool, True, "OPTIMAL: widen Poisson errors that rest on few counts."),
)


def ramp_model(exposure, p, no_gain):
    """Return the `RampModel` of an exposure.

    Parameters
    ----------
    exposure : Exposure
        With the keywords TGROUP, TFRAME, NFRAMES and GROUPGAP.
    p : object
        Values of `PARAMS` and of ``suppress_one_group``.
    no_gain : int
        Flag of pixels without a usable gain.

    Returns
    -------
    RampModel

    Raises
    ------
    UsageError
        For the optional results, which this fit has not.
    """
    if "fitopt" in exposure.wanted:
        raise UsageError("ramp_fit: the optimal fit has no optional results; leave out --fitopt")
    meta = exposure.meta
    limit = p.jump_threshold
    split = limit + SPLIT_EXTRA if p.jump_threshold_split is None else p.jump_threshold_split
    near, pair, down = p.jump_threshold_neighbor, p.jump_threshold_pair, p.jump_threshold_down
    if p.common_rate and exposure.shape[0] >= MANY:
        pair += PAIR_EXTRA
    if not p.search_neighbors:
        near = pair = math.inf
    if not p.find_jumps:
        limit = split = near = pair = down = math.inf
    return RampModel(
        group_time=meta["TGROUP"],
        frame_time=meta["TFRAME"],
        nframes=meta["NFRAMES"],
        groupgap=meta.get("GROUPGAP", 0),
        limit=limit,
        limit_split=split,
        limit_near=near,
        limit_pair=pair,
        limit_negative=down,
        common=p.common_rate,
        quantised=p.quantization_noise and meta["NFRAMES"] > 1,
        noise_factor=meta.get("IPCVAR", 1.0) if p.ipc_noise else 1.0,
        reset_noise=p.reset_noise,
        # Without a superbias the level of a single reading means nothing.
        suppress_one_group=p.suppress_one_group or meta.get("INSTRUME") == "MIRI",
        unbiased=p.debias_search,
        small_counts=p.small_count_errors,
        no_gain=no_gain,
    )


def halo(model):
    """Return how far the pixels are whose hits a fit looks at; `model` is a `RampModel` or None."""
    if model is None:
        return 0
    return int(math.isfinite(model.limit_near)) + int(math.isfinite(model.limit_pair))


def fit(tile, refs, p, plan):
    """Fit the ramps of a tile and flag the jumps found in its GROUPDQ.

    Parameters
    ----------
    tile : Tile
        With SCI, GROUPDQ, PIXELDQ, and ZEROFRAME and AVDRKCUR where there are such.
    refs : dict
        ``gain`` and ``readnoise``.
    p : object
        Parameters of the step; not used beyond `ramp_model`.
    plan : object
        ``optimal`` is the `RampModel`.

    Returns
    -------
    dict
        Planes of ``rate`` and ``rateints``, as from `fit_optimal`.
    """
    rate, rateints = fit_optimal(
        tile["SCI"],
        tile["GROUPDQ"],
        tile["PIXELDQ"],
        refs["gain"]["SCI"],
        refs["readnoise"]["SCI"],
        plan.optimal,
        tile.get("AVDRKCUR"),
        tile.get("ZEROFRAME"),
    )
    return {"rate": rate, "rateints": rateints}

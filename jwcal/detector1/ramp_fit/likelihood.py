"""Ramp fit by likelihood: what it needs to know of an exposure, and its use on a tile.

Source: Brandt 2024, PASP 136, 045004 (fit) and 045005 (jumps); the rules are those of the calibration
pipeline of the observatory, packages ``jwst`` 3.0 and ``stcal`` 1.20.
"""

import logging

from jwcal.core.errors import DataError
from jwcal.kernels.likely import LikelyTimes, even_reads, fit_likely

log = logging.getLogger(__name__)

# With fewer groups the official step fits by least squares.
MIN_GROUPS = 4


def choose_algorithm(wanted, ngroup, reads):
    """Return the fit that a ramp gets: "LIKELY" or "OLS_C".

    Parameters
    ----------
    wanted : str
        What was asked for.
    ngroup : int
        Groups of the ramp.
    reads : list or None
        Times of the reads of each group where they are uneven; only the likelihood fit knows them.

    Returns
    -------
    str
    """
    if reads is not None and ngroup > 1:
        if wanted != "LIKELY":
            log.warning("ramp_fit: the reads are not evenly spaced; LIKELY is used instead of %s", wanted)
        return "LIKELY"
    if wanted == "LIKELY" and ngroup < MIN_GROUPS:
        log.warning("ramp_fit: LIKELY needs %d groups, not %d; OLS_C is used", MIN_GROUPS, ngroup)
        return "OLS_C"
    return wanted


def likely_times(exposure, reads):
    """Return the `LikelyTimes` of an exposure.

    Parameters
    ----------
    exposure : Exposure
        With the keywords NFRAMES, GROUPGAP and TFRAME unless `reads` are given.  A ZEROFRAME plane
        becomes a resultant of its own where groups are means of several frames.
    reads : list or None
        Times of the reads of each group, seconds; None for evenly spaced ones.

    Returns
    -------
    LikelyTimes

    Raises
    ------
    DataError
        If the times do not increase.
    """
    meta = exposure.meta
    if reads is None:
        reads = even_reads(exposure.shape[1], meta["NFRAMES"], meta.get("GROUPGAP", 0), meta["TFRAME"])
    zero = exposure.has("ZEROFRAME")
    if zero and len(reads[0]) < 2:
        log.info("ramp_fit: the zero frame is the first group; it is not used again")
    try:
        return LikelyTimes.of(reads, zero)
    except ValueError as exc:
        raise DataError(f"{exposure.label}: ramp_fit: {exc}") from None


def fit_tile(tile, refs, times, chisq=None):
    """Fit the ramps of a tile; returns the planes of ``rate`` and ``rateints``.

    Parameters
    ----------
    tile : Tile
        With SCI, GROUPDQ, PIXELDQ, and ZEROFRAME and AVDRKCUR where there are such.
    refs : dict
        ``gain`` and ``readnoise``.
    times : LikelyTimes
        Of the exposure.
    chisq : (ny, nx) float32 numpy.ndarray or None
        Of the whole frame; receives chi-square in the box of the tile.

    Returns
    -------
    rate, rateints : dict
        As from `fit_likely`, without chi-square.
    """
    rate, rateints = fit_likely(
        tile["SCI"],
        tile["GROUPDQ"],
        tile["PIXELDQ"],
        refs["gain"]["SCI"],
        refs["readnoise"]["SCI"],
        times,
        tile.get("AVDRKCUR"),
        tile.get("ZEROFRAME"),
        chisq=chisq is not None,
    )
    if chisq is not None:
        y0, y1, x0, x1 = tile.box
        chisq[y0:y1, x0:x1] = rate.pop("CHISQ")
        del rateints["CHISQ"]
    return rate, rateints

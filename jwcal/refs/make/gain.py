"""Gain references: electrons per DN from the noise of light."""

import logging

import numpy as np

from jwcal.core.dq import DQ
from jwcal.kernels.stack import clipped_mean
from jwcal.refs.make.sets import UNUSABLE, Ramps, Recipe
from jwcal.refs.make.write import reference_header, write_planes

log = logging.getLogger(__name__)

RECIPE = Recipe(
    "gain", same=("READPATT", "NFRAMES", "GROUPGAP", "NGROUPS"), least=2, groups=3, needs=("saturation",)
)
_BAD = ("DO_NOT_USE", "DEAD", "HOT", "LOW_QE", "NO_SAT_CHECK", "NO_LIN_CORR", "UNRELIABLE_BIAS")
# Largest change of the lamp between the exposures of a pair.
_STEADY = 0.05
# Smallest slope of a line in units of its error.
_SIGNIFICANT = 5.0


def make_gain(request, block=64, sigma=4.0):
    """Make a GAIN reference from pairs of exposures to the same light.

    The photon transfer method on ramps: successive integrations form pairs.  In the difference of
    a pair the structure of the light cancels; half the variance of its increase over some
    groups, taken over the pixels of a block (clipped, and corrected for what clipping takes), is a straight
    line against the mean signal of these groups, of slope 1 / gain.  Increases over one group, two groups
    and so on, wherever they begin, are the points of the line, which is fitted with the inverse variances
    of the variances as weights; intervals in which a single step stands out (cosmic rays) are left out.
    SCI [electrons/DN] has one value for each block of `block` by `block` pixels, counted from the corner
    of the detector; blocks with too few good pixels or a line that does not rise get the median of the
    others.

    Charge that neighbours share (inter-pixel capacitance, brighter-fatter effect) lowers the variance
    and so makes the gain too high, by about 8 times the coupling to one neighbour.  Give an IPC
    reference and run the ipc step (``--set ipc.skip=false``) to take the first out.

    Parameters
    ----------
    request : Request
    block : int, optional
        Side of a block in pixels.
    sigma : float, optional
        Clipping limit in standard deviations.

    Returns
    -------
    dict
        What was measured: pairs, blocks fitted, median gain [electrons/DN], median of its relative
        standard error, median read noise of the groups from the line [DN].

    Raises
    ------
    UsageError
        For a single integration.
    InputError
        If the exposures differ in detector, subarray or sampling, or have fewer than three groups.
    DataError
        If no block has a line that rises.
    ReferenceFileError
        Without SATURATION reference.

    Notes
    -----
    Layout: jwst documentation, "GAIN Reference File".  Method: Janesick 2007, Photon Transfer (SPIE
    PM170); inter-pixel capacitance: Moore, Ning & Hancock 2006, Opt. Eng. 45, 076402.
    """
    from jwcal.core.errors import DataError, UsageError
    from jwcal.core.fits import create_fits

    if block < 2:
        raise UsageError(f"a block needs at least 2 x 2 pixels, not {block}")
    with create_fits(request.output, request.overwrite) as out, Ramps(request, RECIPE) as ramps:
        total = sum(ramps.nints)
        y0, x0 = ramps.exposures[0].substrt
        ny, nx = ramps.frame
        rows, columns = (np.arange(y0, y0 + ny) // block, np.arange(x0, x0 + nx) // block)
        rows, columns = rows - rows[0], columns - columns[0]
        gain = np.full((rows[-1] + 1, columns[-1] + 1), np.nan)
        error, noise = gain.copy(), gain.copy()
        intervals = pairs_of_groups(ramps.ngroups)
        drifts = []

        def work(box):
            sci, flags = ramps.read(box, UNUSABLE | DQ["DO_NOT_USE"])
            bad = (flags & sum(DQ[name] for name in _BAD)) != 0
            bad |= ramps.reference_pixels(box)
            sci[..., bad] = np.nan
            for band in np.unique(rows[box[0] : box[1]]):
                lines = rows[box[0] : box[1]] == band
                for column in np.unique(columns):
                    part = sci[:, :, lines][..., columns == column].reshape(*sci.shape[:2], -1)
                    gain[band, column], error[band, column], noise[band, column], drift = transfer(
                        part, intervals, sigma
                    )
                    drifts.append(drift)

        ramps.map(work, ramps.boxes(8 * total * ramps.ngroups, block))
        fine = np.isfinite(gain)
        if not fine.any():
            raise DataError(
                "no block of pixels has noise that grows with the signal; are these exposures to light?"
            )
        if np.nanmax(drifts, initial=0) > _STEADY:
            log.warning(
                "refs make gain: the light of a pair differs by up to %.0f %%", 100 * np.nanmax(drifts)
            )
        typical = float(np.median(gain[fine]))
        plane = np.where(fine, gain, typical)[rows][:, columns].astype(np.float32)
        spread = float(np.median(error[fine] / gain[fine]))
        notes = [
            f"Photon transfer in blocks of {block} x {block} pixels, {total // 2} pairs of integrations",
            f"Median relative standard error {spread:.4f}; {np.count_nonzero(~fine)} blocks have the median",
        ]
        extra = {"BUNIT": "electrons/DN"}
        if ramps.meta["INSTRUME"] == "MIRI":
            extra["FILTER"] = ramps.meta.get("FILTER")
        header = reference_header(request, "gain", ramps.exposures, extra, ramps.rows, notes)
        write_planes(out, header, {"SCI": plane}, units={"SCI": "electrons/DN"})
    return {
        "pairs": total // 2,
        "blocks fitted": int(fine.sum()),
        "median gain [electrons/DN]": typical,
        "median relative error": spread,
        "median noise of a group [DN]": float(np.median(noise[fine])),
    }


def pairs_of_groups(ngroups, most=6):
    """First and last groups of the intervals to look at, by length.

    Parameters
    ----------
    ngroups : int
    most : int, optional
        Intervals of one length.

    Returns
    -------
    dict of int to list of (int, int)
        Lengths grow by about half; intervals of a length are spread over the ramp.
    """
    lengths, length = [], 1
    while length < ngroups:
        lengths.append(length)
        length = max(length + 1, int(length * 1.5))
    out = {}
    for length in lengths:
        starts = np.unique(np.linspace(0, ngroups - 1 - length, most).round().astype(int))
        out[length] = [(int(a), int(a) + length) for a in starts]
    return out


def _hits(difference, sigma):
    """Count the outliers of every pixel among the steps up to a group, where cosmic rays stand out most."""
    step = np.diff(difference, axis=0)
    mean, scatter, _ = clipped_mean(np.ascontiguousarray(step.T), sigma)
    hits = np.zeros(difference.shape, np.int32)
    with np.errstate(invalid="ignore"):
        np.cumsum(np.abs(step - mean[:, None]) > sigma * scatter[:, None], axis=0, out=hits[1:])
    return hits


def transfer(sci, intervals, sigma):
    """Photon transfer line of the pixels of one block.

    Parameters
    ----------
    sci : (nramp, ngroup, npixel) float32 numpy.ndarray
        Signal [DN]; NaN does not count.  Ramps 0 and 1, 2 and 3 ... are pairs.
    intervals : dict of int to list of (int, int)
        From `pairs_of_groups`.
    sigma : float
        Clipping limit.

    Returns
    -------
    gain, error : float
        Electrons per DN and its standard error; NaN without a line that rises.
    noise : float
        Noise of one group from the line at no signal [DN].
    drift : float
        Largest relative difference of the signals of a pair.
    """
    npixel = sci.shape[-1]
    places = [(length, g, h) for length, starts in intervals.items() for g, h in starts]
    pairs = [(a, b, _hits(a - b, sigma)) for a, b in zip(sci[0::2], sci[1::2], strict=False)]
    # One column for every interval of every pair.
    apart = np.empty((npixel, len(places) * len(pairs)), np.float32)
    together = np.empty_like(apart)
    for column, (a, b, hits, g, h) in enumerate((*pair, g, h) for _, g, h in places for pair in pairs):
        up, other = a[h] - a[g], b[h] - b[g]
        hit = hits[h] != hits[g]
        up[hit] = np.nan
        apart[:, column], together[:, column] = up - other, up + other
    seen = np.isfinite(apart)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = 0.5 * np.where(seen, together, 0).sum(axis=0, dtype=float) / seen.sum(axis=0)
    mean, scatter, count = clipped_mean(apart, sigma)
    enough = count >= max(npixel // 4, 16)
    length = np.repeat([n for n, _, _ in places], len(pairs))
    longest = enough & (length == length.max())
    drift = float(np.max(np.abs(mean[longest]) / np.maximum(np.abs(level[longest]), 1), initial=0))
    points = []
    for n, starts in intervals.items():
        own = enough & (length == n)
        if own.any():
            weight = count[own].astype(float)
            # Intervals that overlap tell no more than as many as fit beside each other.
            independent = weight.sum() / len(starts) * min(len(starts), (sci.shape[1] - 1) / n)
            variance = np.average(scatter[own].astype(float) ** 2 / 2, weights=weight)
            points.append((np.average(level[own], weights=weight), variance, independent))
    if len(points) < 2:
        return np.nan, np.nan, np.nan, drift
    x, y, number = np.array(points).T
    if not (y > 0).all() or np.ptp(x) <= 0:
        return np.nan, np.nan, np.nan, drift
    model = y
    for _ in range(3):
        weight = number / (2 * model**2)
        total, centre = weight.sum(), (weight * x).sum() / weight.sum()
        square = (weight * (x - centre) ** 2).sum()
        slope = (weight * (x - centre) * y).sum() / square
        start = (weight * y).sum() / total - slope * centre
        model = np.maximum(start + slope * x, 1e-3 * y)
    if not slope > _SIGNIFICANT / np.sqrt(square):
        return np.nan, np.nan, np.nan, drift
    return 1 / slope, 1 / np.sqrt(square) / slope**2, np.sqrt(max(start, 0) / 2), drift

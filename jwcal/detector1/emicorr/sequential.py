"""Interference folded at its period from what is left of the ramps after a line and a fixed pattern."""

import warnings
from itertools import pairwise
from typing import Any

import numpy as np

from jwcal.kernels import emi

MOST_BINS = 500
CLIP, CLIPPINGS = 3.0, 5
# Clock cycles by which the last line is late if it holds reference pixels.
LATE = 3 + 2**32


class Sequential:
    """Finds and subtracts one wave, in one pass over the data.

    Parameters
    ----------
    plan : Plan
        Shape and timing of the exposure.
    wave : Wave
        Frequency and, if there is a reference, waveform.
    state : dict
        Number of integrations to fold, ``nints``, shared by all waves of the exposure.
    p : types.SimpleNamespace
        Parameters nbins, scale_reference, use_n_cycles.
    """

    def __init__(self, plan, wave, state, p):
        self.shape, self.timing, self.wave = plan.shape, plan.timing, wave
        self.p = p
        self.nline = self.shape[3] // emi.OUTPUTS
        self.folded: Any = None
        self.table: Any = None
        nint, ngroup, ny, _ = self.shape
        cycles, number = p.use_n_cycles, state["nints"]
        # The number found for one wave is kept for the next.
        if number is None and cycles == 0:
            number = nint
        elif number is None:
            number = int(np.ceil(cycles * self.wave.period / (self.timing.frame_clocks * ngroup)))
        elif cycles == 3:
            number = min(number, nint)
        state["nints"], self.nfold = number, min(number, nint)
        timing = self.timing
        frame = ny * timing.row + timing.skipped
        before = np.arange(nint)[:, None] * (ngroup * frame + timing.reset) + np.arange(ngroup) * frame
        self.starts = before[..., None] + np.arange(ny) * timing.row

    def subtract(self, tile):
        """Subtract the wave that was found."""
        y0, y1, x0, _ = tile.box
        emi.subtract_table(
            tile["SCI"],
            np.ascontiguousarray(self.starts[..., y0:y1], np.float64),
            self.timing.samples,
            LATE if self.timing.late_line else 0.0,
            self.nline,
            self.wave.period,
            self.table,
            x0,
        )

    def measure(self, tile):
        """Quad-averaged residuals of some rows of the integrations to fold."""
        rest = residuals(tile["SCI"][: self.nfold])
        return {"rest": np.ascontiguousarray(np.moveaxis(rest, 2, 0))}

    def settle(self, measured):
        """Fold the residuals and make the table of one period; never needs another pass."""
        rest = measured["rest"]
        rest -= np.median(rest, axis=(0, 3), keepdims=True)
        late = np.zeros(self.nline)
        if self.timing.late_line:
            late[-1] = LATE
        time = np.moveaxis(self.starts[: self.nfold], 2, 0)[..., None]
        time = time + np.arange(self.nline) * self.timing.samples + late
        period = self.wave.period
        nbins = int(period / 2.0) if self.p.nbins is None else self.p.nbins
        if nbins > MOST_BINS + 1:
            nbins = MOST_BINS
        self.folded = fold(rest.astype(np.float64), emi.phases(time, period), nbins)
        self.table = lookup(self.folded, self.wave.samples, period, self.p.scale_reference)
        return False

    def report(self):
        """Lines for the log."""
        yield f"{self.wave.frequency:g} Hz: peak to peak {np.ptp(self.table):.3g} DN"


def residuals(sci):
    """Residuals of ramps after a line and a fixed pattern, averaged over the four outputs.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN.  Line and pattern come from all groups but the first and the last.

    Returns
    -------
    (nint, ngroup, ny, nx // 4) float32 numpy.ndarray
        DN; lines 1 and 2, next to the reference pixels, are the mean of their neighbours.
    """
    nint, ngroup, ny, nx = sci.shape
    nline = nx // emi.OUTPUTS
    out = np.empty((nint, ngroup, ny, nline), np.float32)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for ramp, rest in zip(sci, out, strict=True):
            rate = slopes(ramp[1:-1])
            flat = np.empty(ramp.shape, np.float32)
            for g, group in enumerate(ramp):
                flat[g] = group - rate * g
            middle = flat[1:-1]
            if len(middle) <= 2:
                flat -= np.nanmin(middle, axis=0)
            else:
                flat -= (np.nanmedian if np.isnan(middle).any() else np.median)(middle, axis=0)
            quads = flat[..., : nline * emi.OUTPUTS].reshape(ngroup, ny, nline, emi.OUTPUTS)
            rest[...] = (quads[..., 0] + quads[..., 1] + quads[..., 2] + quads[..., 3]) / np.float32(4)
            if nline > 3:
                rest[..., 1] = rest[..., 2] = (rest[..., 0] + rest[..., 3]) / 2
    return out


def slopes(groups):
    """Slope of each pixel by unweighted least squares.

    Parameters
    ----------
    groups : (ngroup, ny, nx) float32 numpy.ndarray
        DN.

    Returns
    -------
    (ny, nx) float64 numpy.ndarray
        DN per group; NaN for one group.
    """
    n = len(groups)
    total, moment = np.zeros(groups.shape[1:]), np.zeros(groups.shape[1:])
    for g, group in enumerate(groups):
        moment += float(g) * group.astype(np.float64)
        total += group
    first, second = float(sum(range(n))), float(sum(g * g for g in range(n)))
    return (n * moment - first * total) / np.float64(n * second - first * first)


def fold(values, phase, nbins):
    """Clipped mean of values in equal bins of phase, less the median of the bins.

    Parameters
    ----------
    values, phase : float64 numpy.ndarray of one shape
        Values, and their phases from 0 to 1.  A bin has its upper edge, not its lower one.
    nbins : int
        Number of bins.

    Returns
    -------
    (nbins,) float64 numpy.ndarray
    """
    edges = np.arange(nbins + 1) / nbins
    at = np.searchsorted(edges, phase.ravel(), side="left") - 1
    order = np.argsort(at, kind="stable")
    bounds = np.searchsorted(at[order], np.arange(nbins + 1))
    ordered = values.ravel()[order]
    means = [clipped_mean(ordered[a:b]) for a, b in pairwise(bounds)]
    return means - np.median(means)


def clipped_mean(values):
    """Mean of the values within 3 standard deviations of the median, clipped 5 times."""
    values = kept = values[np.isfinite(values)]
    if len(values) == 0:
        return np.nan
    for _ in range(CLIPPINGS):
        middle, reach = np.median(kept), CLIP * np.std(kept)
        inside = kept[(kept >= middle - reach) & (kept <= middle + reach)]
        if len(inside) == len(kept):
            break
        kept = inside
    return np.mean(values[(values >= middle - reach) & (values <= middle + reach)])


def lookup(folded, reference, period, scale):
    """Table of one period, one entry for each clock cycle.

    Parameters
    ----------
    folded : (nbins,) float64 numpy.ndarray
        Folded residuals.
    reference : (n,) float64 numpy.ndarray or None
        Waveform to put in their place, at the shift at which they correlate best.
    period : float
        Clock cycles.
    scale : bool
        Fit the amplitude of the waveform.

    Returns
    -------
    float64 numpy.ndarray
        0 where nothing is known.
    """
    table = nearest(folded, period)
    if reference is not None:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            wanted = nearest(folded, len(reference))
            match = [np.corrcoef(np.roll(reference, k), wanted)[0, 1] for k in range(len(reference))]
            shifted = nearest(np.roll(reference, np.argmax(match)), period)
            if scale:
                known = np.isfinite(table).all()
                shifted = shifted * (np.polyfit(shifted, table, 1)[0] if known else np.nan)
        table = shifted
    return np.where(np.isfinite(table), table, 0.0)


def nearest(values, size):
    """Resample to a length, which may have a fraction, by the entry at or before each point."""
    stride = float(len(values)) / size
    number = int(np.ceil(len(values) / stride))
    return values[(np.arange(number) * stride).astype(np.int32)]

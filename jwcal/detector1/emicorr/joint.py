"""Interference of known waveform: its amplitude and phase make the ramps as straight as possible."""

from typing import Any

import numpy as np

from jwcal.kernels import emi

TRIAL_PHASES = 500
# The lines of four columns next to the reference pixels are not like the others.
BAD_LINES = (1, 2)
# Scatter of quiet pixels, in medians.
QUIET = 2
# Bits of a float32 dropped to find the median scatter roughly: brackets of 0.1 %.
BRACKET_BITS = 13
CHUNK = 16


class Joint:
    """Finds and subtracts one wave, in two passes over the data.

    The first finds the median scatter of the pixels, the second adds up the quiet ones by phase.

    Parameters
    ----------
    plan : Plan
        Shape and timing of the exposure.
    wave : Wave
        Frequency and waveform.
    separate : bool
        Whether each integration has its own amplitude and phase.
    """

    def __init__(self, plan, wave, separate):
        nint, ngroup, ny, nx = plan.shape
        timing = plan.timing
        self.lock, self.wave, self.separate = plan.lock, wave, separate
        self.nint, self.ngroup = nint, ngroup
        self.cubic = emi.cubic_pieces(wave.samples)
        self.nphase = len(wave.samples)
        self.timing, self.nline = timing, nx // emi.OUTPUTS
        frame = ny * timing.row + timing.skipped
        self.per_group = (frame / wave.period) % 1
        self.per_int = self.per_group * ngroup + timing.reset / wave.period
        self.step = self.per_group * np.arange(ngroup)
        self.histogram: Any = np.zeros(1 << (31 - BRACKET_BITS), np.int64)
        self.bracket: Any = None
        self.sums: Any = None
        self.counts: Any = None
        self.total = self.rank = 0
        self.doubtful: list = []
        self.inside: list = []
        self.phases = self.amplitudes = np.zeros(nint)

    def phase(self, y0, y1):
        """Phase of every line of some rows in the first group."""
        rows = np.arange(y0, y1)[:, None]
        time = rows * self.timing.row + np.arange(self.nline) * self.timing.samples
        return np.ascontiguousarray((time / self.wave.period) % 1)

    def subtract(self, tile):
        """Subtract the wave that was found."""
        y0, y1, x0, _ = tile.box
        emi.subtract_wave(
            tile["SCI"], self.phase(y0, y1), self.step, self.phases, self.amplitudes, self.cubic, x0
        )

    def measure(self, tile):
        """Add rows to what `settle` needs."""
        sci = tile["SCI"]
        spread = emi.scatter(sci)
        if self.bracket is None:
            keys = spread[np.isfinite(spread)].view(np.int32) >> BRACKET_BITS
            counted = np.bincount(keys)
            with self.lock:
                self.histogram[: len(counted)] += counted
        else:
            self._fold(tile, sci, spread)
        return {"rows": np.zeros(sci.shape[2])}

    def _fold(self, tile, sci, spread):
        y0, y1 = tile.box[:2]
        line = np.arange(sci.shape[3]) // emi.OUTPUTS
        usable = (tile["PIXELDQ"] == 0) & ~np.isin(line, BAD_LINES) & (line < self.nline)
        at = (self.phase(y0, y1) * self.nphase).astype(np.int32)
        bins = np.where(usable, at[:, np.minimum(line, self.nline - 1)], np.int32(-1))
        low, high = self.bracket
        least, most = np.float32(QUIET) * low, np.float32(QUIET) * high
        i, y, x = np.nonzero((spread >= least) & (spread <= most) & (bins >= 0))
        doubtful = (spread[i, y, x], i, bins[y, x], emi.in_units(sci[i, :, y, x]))
        inside = spread[(spread >= low) & (spread <= high)]
        with self.lock:
            emi.fold(sci, spread, bins, least, self.sums, self.counts)
            self.doubtful.append(doubtful)
            self.inside.append(inside)

    def settle(self, measured):
        """Go on to the second pass, or solve; True if another pass is needed."""
        if self.bracket is None:
            self._find_bracket()
            return self.bracket is not None
        limit = np.float32(QUIET) * self._median()
        for spread, i, at, values in self.doubtful:
            use = spread < limit
            np.add.at(self.counts, (i[use], at[use]), 1)
            for g in range(self.ngroup):
                np.add.at(self.sums[:, g], (i[use], at[use]), values[use, g])
        sums = np.ascontiguousarray((self.sums * emi.UNIT).transpose(0, 2, 1))
        self.doubtful, self.inside, self.sums = [], [], None
        self._solve(sums, self.counts.astype(np.float64))
        return False

    def _find_bracket(self):
        below = np.cumsum(self.histogram)
        self.total = int(below[-1])
        self.histogram = None
        if self.total == 0:
            return
        middle = np.searchsorted(below, [(self.total - 1) // 2, self.total // 2], side="right")
        self.rank = (self.total - 1) // 2 - int(below[middle[0] - 1] if middle[0] else 0)
        edges = np.array([middle[0], middle[1] + 1], np.int64) << BRACKET_BITS
        edges[1] -= 1
        self.bracket = edges.astype(np.int32).view(np.float32)
        self.sums = np.zeros((self.nint, self.ngroup, self.nphase), np.int64)
        self.counts = np.zeros((self.nint, self.nphase), np.int64)

    def _median(self):
        inside = np.sort(np.concatenate(self.inside))
        pair = inside[self.rank : self.rank + 1 + (self.total % 2 == 0)]
        return np.mean(pair)

    def _solve(self, sums, counts):
        fit = StraightnessFit(sums, counts, self.cubic, self.step, self.per_int)
        if self.separate:
            found = []
            for i in range(self.nint):
                best = fit.best_phase([i])
                found.append((best + i * self.per_int, fit.solve([best], [i])[1][0]))
            self.phases, self.amplitudes = (
                np.array(column, np.float64) for column in zip(*found, strict=True)
            )
            return
        every = range(self.nint)
        best = fit.best_phase(every)
        amplitude = fit.solve([best], every)[1][0]
        self.phases = (best + np.arange(self.nint) * self.per_int) % 1
        self.amplitudes = np.full(self.nint, amplitude, np.float64)

    def report(self):
        """Lines for the log."""
        size = np.ptp(self.wave.samples) * np.abs(self.amplitudes)
        yield f"{self.wave.frequency:g} Hz: peak to peak {np.mean(size):.3g} DN"


class StraightnessFit:
    """Chi-squared of straight lines through phase-binned ramps, as a function of the phase of a wave.

    A line is taken out of the wave of each ramp; what is left of it is fitted.

    Parameters
    ----------
    sums : (nint, nphase, ngroup) float64 numpy.ndarray
        Sums of ramps that begin at a phase.
    counts : (nint, nphase) float64 numpy.ndarray
        Number of ramps in them.
    cubic : (nphase + 1, 4) float64 numpy.ndarray
        Waveform.
    step : (ngroup,) float64 numpy.ndarray
        Phase of each group relative to the first.
    per_int : float
        Phase from one integration to the next.
    """

    def __init__(self, sums, counts, cubic, step, per_int):
        nint, nphase, ngroup = sums.shape
        self.counts, self.per_int = counts, per_int
        self.trial = np.arange(TRIAL_PHASES) * 1.0 / TRIAL_PHASES
        time = np.arange(ngroup) - (ngroup - 1) / 2
        start = ((np.arange(nphase) + 0.5) / nphase)[:, None]
        template = (start + step) % 1
        ramps = sums.reshape(nint, -1).T
        self.power = np.empty((TRIAL_PHASES, nphase))
        self.match = np.empty((TRIAL_PHASES, nint))
        for k in range(0, TRIAL_PHASES, CHUNK):
            part = slice(k, k + CHUNK)
            wave = emi.wave_at((template + self.trial[part, None, None]) % 1, cubic)
            wave -= wave.mean(axis=2, keepdims=True)
            wave -= (wave @ time / (time @ time))[..., None] * time
            self.power[part] = (wave**2).sum(axis=2)
            self.match[part] = wave.reshape(len(wave), -1) @ ramps

    def solve(self, phases, ints):
        """Best amplitude at each phase, and the chi-squared it gives, less that without a wave.

        Parameters
        ----------
        phases : sequence of float
            Phase of the wave in the first integration.
        ints : sequence of int
            Integrations to use.

        Returns
        -------
        chisq, amplitude : numpy.ndarray
            NaN and 0 where nothing can be fitted.
        """
        phases = np.asarray(phases, np.float64)
        power, match = np.zeros(len(phases)), np.zeros(len(phases))
        for i in ints:
            k = np.argmin((self.trial - phases[:, None] - self.per_int * i) % 1, axis=1)
            power += self.power[k] @ self.counts[i]
            match += self.match[k, i]
        usable = ~np.isclose(power, 0, atol=1e-8) & np.isfinite(power) & np.isfinite(match)
        amplitude = np.divide(match, power, out=np.zeros_like(power), where=usable)
        return np.where(usable, -amplitude * match, np.nan), amplitude

    def best_phase(self, ints):
        """Phase of smallest chi-squared, by a parabola through the best trial phase and its neighbours."""
        chisq, _ = self.solve(self.trial, ints)
        if not np.isfinite(chisq).any():
            return self.trial[0]
        best = int(np.nanargmin(chisq))
        three = [best - 1, best, (best + 1) % TRIAL_PHASES]
        if not np.isfinite(chisq[three]).all() or np.std(chisq[three]) == 0:
            return self.trial[best]
        a, b, _ = np.polyfit(self.trial[three], chisq[three], 2)
        return -b / (2 * a)

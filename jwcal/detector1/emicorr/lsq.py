"""Interference at several frequencies at once: one least-squares fit of sines and cosines.

Every pixel is a line of its own plus the same periodic signal, sampled at the time it is read.
The phase of a pixel is that of its row plus that of its column plus that of its group, so all
sums factorise and one pass over the data is enough, and one more for every correction of the
frequencies.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from jwcal.kernels import emi

BAD_LINES = (1, 2)
# Scatter of quiet pixels about a line, in medians of the row.
QUIET = 2
# Harmonics of a waveform below this part of its power are left out.
SMALL_POWER = 1e-4
MOST_HARMONICS = 12
UNKNOWN_HARMONICS = 4
# Where a harmonic departs from the reference by more than this many standard deviations it is free.
DEPARTURE = 5.0
# Eigenvalues of the normal matrix, scaled to a diagonal of ones, below this are signals no ramp can show.
HIDDEN = 1e-5
# A wave that keeps less than this part of its power once a line is taken out looks like curved ramps.
FLAT_POWER = 0.02
SAMPLES = 512
# Frequencies are corrected if the phase drifts by so many turns over the exposure, in at most so many passes.
SMALL_DRIFT, LARGE_DRIFT = 0.002, 0.5
MOST_PASSES = 4


class Simultaneous:
    """Finds and subtracts all waves.

    Parameters
    ----------
    plan : Plan
        Shape and timing of the exposure.
    waves : list of Wave
        Frequencies and, if there is a reference, waveforms.
    separate : bool
        Whether each integration has its own amplitudes and phases.
    """

    def __init__(self, plan, waves, separate):
        self.lock, self.separate, self.timing = plan.lock, separate, plan.timing
        self.shape = plan.shape
        _, ngroup, ny, nx = plan.shape
        self.nline = nx // emi.OUTPUTS
        self.frame = ny * plan.timing.row + plan.timing.skipped
        # Frames from the start of an integration to that of the next.
        self.cycle = ngroup + plan.timing.reset / self.frame
        self.owner, self.order, self.known = _terms(waves)
        self.signal: Any = None
        self.tables: list = []
        self.before: Any = None
        self.passes = 0
        self._begin(waves)

    def _begin(self, waves):
        """Get ready for a pass over the data with some frequencies."""
        nint, ngroup = self.shape[:2]
        self.waves = waves
        period = np.array([waves[k].period for k in self.owner])
        # Turns of each term for a clock cycle.
        self.turns = self.order / period
        group = _turn(self.turns, np.arange(ngroup) * self.frame)
        self.integration = _turn(self.turns, np.arange(nint) * self.cycle * self.frame)
        self.line = _turn(self.turns, np.arange(self.nline) * self.timing.samples)
        self.bent = _less_line(group)
        self.bent[:, (np.abs(self.bent) ** 2).mean(axis=0) < FLAT_POWER] = 0
        # For the derivative with respect to frequency.
        self.moment = _less_line(group * np.arange(ngroup)[:, None]) * (self.bent != 0).any(axis=0)
        terms = len(self.order)
        self.data = np.zeros((2, nint, terms, 2), np.int64)
        self.pairs = np.zeros((2, terms, terms, 2), np.int64)
        self.mean = np.zeros((terms, 2), np.int64)
        self.level = np.zeros((nint, ngroup), np.int64)
        self.used = np.zeros(nint, np.int64)

    def measure(self, tile):
        """Add rows to the normal equations."""
        sci = tile["SCI"]
        nint, ngroup, ny, _ = sci.shape
        column = np.arange(sci.shape[3]) // emi.OUTPUTS
        usable = (tile["PIXELDQ"] == 0) & ~np.isin(column, BAD_LINES) & (column < self.nline)
        rough = emi.roughness(sci)
        counts = np.zeros((nint, self.nline), np.int64)
        sums = np.zeros((nint, ngroup, self.nline), np.int64)
        noise = np.zeros((ny, 2))
        for y in range(ny):
            values = rough[:, y, usable[y]]
            values = values[np.isfinite(values)]
            if len(values) == 0:
                continue
            middle = np.median(values)
            counts[...], sums[...] = 0, 0
            bins = np.where(usable[y], column, -1).astype(np.int32)[None]
            spread = np.ascontiguousarray(rough[:, y : y + 1])
            emi.fold(sci[:, :, y : y + 1], spread, bins, QUIET * middle, sums, counts)
            noise[y] = middle**2, 1
            self._add_row(tile.box[0] + y, sums, counts)
        return {"noise": noise}

    def _add_row(self, row, sums, counts):
        at = _turn(self.turns, np.array([row * self.timing.row]))[0]
        values = sums * emi.UNIT
        # Real products are cheaper than a complex one.
        along = values @ self.line.real - 1j * (values @ self.line.imag)
        data = np.stack([(along * part.conj()).sum(axis=1) for part in (self.bent, self.moment)]) * at.conj()
        weight = counts.sum(axis=0).astype(np.float64)
        line = self.line * at
        weighted = line * weight[:, None]
        pairs = np.stack([line.conj().T @ weighted, line.T @ weighted])
        with self.lock:
            self.data += _whole(data)
            self.pairs += _whole(pairs)
            self.mean += _whole(weighted.sum(axis=0))
            self.level += sums.sum(axis=2)
            self.used += counts.sum(axis=1)

    def settle(self, measured):
        """Solve; True if another pass with better frequencies is needed."""
        noise, rows = measured["noise"].sum(axis=0)
        self.variance = noise / max(rows, 1)
        self.passes += 1
        parts = [self._equations(i) for i in range(self.shape[0])]
        n = len(self.order)
        if self.separate:
            found = [self._solve(*(_first(x, n) for x in part))[0] for part in parts]
            self.signal = np.array(found) * self.integration
        else:
            total = [sum(x) for x in zip(*parts, strict=True)]
            common, explained = self._solve(*(_first(x, n) for x in total))
            if self.before is not None and explained < self.before[0]:
                _, self.waves, self.signal = self.before
            else:
                self.signal = common * self.integration
                self.before = explained, self.waves, self.signal
                waves = self._refined(total)
                if waves is not None and self.passes < MOST_PASSES:
                    self._begin(waves)
                    return True
        self.tables = self._tables()
        return False

    def _equations(self, i):
        """Multiply terms and their derivatives with each other and with the data of an integration."""
        total = max(self.used.sum(), 1)
        share = self.used[i] / total
        middle = (self.shape[0] - 1) / 2 * self.cycle + (self.shape[1] - 1) / 2
        later = i * self.cycle - middle
        turn = np.tile(self.integration[i], 2)
        base = np.hstack([self.bent, self.moment + later * self.bent])
        pairs, mean = _numbers(self.pairs), np.tile(_numbers(self.mean), 2)
        # What all pixels of a group have in common (reset, last frame) may be anything.
        same = np.tile(pairs[0], (2, 2)) - np.outer(mean.conj(), mean) / total
        mixed = np.tile(pairs[1], (2, 2)) - np.outer(mean, mean) / total
        first, moment = _numbers(self.data[:, i])
        data = np.concatenate([first, moment + later * first])
        data -= (self.level[i] * emi.UNIT @ base.conj()) * mean.conj() / total
        return (
            same * (base.conj().T @ base) * np.outer(turn.conj(), turn) * share,
            mixed * (base.T @ base) * np.outer(turn, turn) * share,
            data * turn.conj(),
        )

    def _refined(self, equations):
        """Waves with corrected frequencies, or None if none needs it."""
        n = len(self.order)
        normal, other, data = equations
        found, _, sigma = _least_squares(normal, other, data, self.variance)
        amplitude, change = found[:n], found[n:]
        waves, moved = list(self.waves), False
        span = (self.shape[0] - 1) * self.cycle + self.shape[1]
        for k, wave in enumerate(self.waves):
            own = self.owner == k
            expected = 2j * np.pi * self.order[own] * amplitude[own]
            error = sigma[n:][own]
            weight = np.divide(1.0, error**2, out=np.zeros(len(error)), where=error > 0)
            size = (weight * np.abs(expected) ** 2).sum()
            if size == 0:
                continue
            shift = (weight * (expected.conj() * change[own]).real).sum() / size
            if abs(shift) > DEPARTURE / np.sqrt(size) and SMALL_DRIFT < abs(shift) * span < LARGE_DRIFT:
                waves[k] = replace(wave, frequency=wave.frequency * (1 + shift * wave.period / self.frame))
                moved = True
        return waves if moved else None

    def _solve(self, normal, other, data):
        """Amplitudes of the terms in the first integration, and the power they explain."""
        found, explained, sigma = _least_squares(normal, other, data, self.variance)
        return self._shaped(found, sigma, np.diag(normal).real), explained

    def _shaped(self, c, sigma, weight):
        """Put the reference waveform in place of what does not differ from it significantly."""
        out = c.copy()
        for k, wave in enumerate(self.waves):
            own = np.flatnonzero(self.owner == k)
            if wave.samples is None:
                out[own] = np.where(np.abs(c[own]) > DEPARTURE * sigma[own], c[own], 0)
                continue
            model = _aligned(c[own], self.known[own], self.order[own], weight[own])
            free = np.abs(c[own] - model) > DEPARTURE * sigma[own]
            out[own] = np.where(free, c[own], model)
        return out

    def _tables(self):
        """One period of each wave in each integration, as cubic pieces."""
        phase = (np.arange(SAMPLES) + 0.5) / SAMPLES
        tables = []
        for k in range(len(self.waves)):
            own = np.flatnonzero(self.owner == k)
            turn = np.exp(2j * np.pi * np.outer(self.order[own], phase))
            rows = (self.signal[:, own] @ turn).real
            tables.append([emi.cubic_pieces(row) for row in rows])
        return tables

    def subtract(self, tile):
        """Subtract the waves that were found."""
        y0, y1, x0, _ = tile.box
        timing = self.timing
        ngroup = self.shape[1]
        time = np.arange(y0, y1)[:, None] * timing.row + np.arange(self.nline) * timing.samples
        one = np.ones(1)
        for wave, tables in zip(self.waves, self.tables, strict=True):
            phase = np.ascontiguousarray((time / wave.period) % 1)
            step = (np.arange(ngroup) * self.frame / wave.period) % 1
            for i, cubic in enumerate(tables):
                emi.subtract_wave(tile["SCI"][i : i + 1], phase, step, np.zeros(1), one, cubic, x0)

    def report(self):
        """Lines for the log."""
        for k, wave in enumerate(self.waves):
            own = self.owner == k
            power = np.sqrt((np.abs(self.signal[:, own]) ** 2).sum(axis=1).mean() / 2)
            yield f"{wave.frequency:g} Hz: rms {power:.3g} DN, {int((self.signal[0, own] != 0).sum())} harmonics"


def _less_line(values):
    """Columns of values over the groups without their straight line."""
    time = np.arange(len(values)) - (len(values) - 1) / 2
    values = values - values.mean(axis=0)
    return values - time[:, None] * (time @ values) / (time @ time)


def _first(array, n):
    return array[tuple([slice(n)] * array.ndim)]


def _least_squares(normal, other, data, variance):
    """Complex amplitudes of terms whose real parts add up to the data.

    Parameters
    ----------
    normal, other : (n, n) complex numpy.ndarray
        Products of the terms with the conjugate of each, and with each.
    data : (n,) complex numpy.ndarray
        Products of the data with the conjugates of the terms.
    variance : float
        Of a reading.

    Returns
    -------
    amplitude : (n,) complex numpy.ndarray
        0 for what the data cannot show.
    explained : float
        Power they explain.
    sigma : (n,) float64 numpy.ndarray
        Standard deviations.
    """
    n = len(data)
    # The signal is Re sum c u; with c = a + ib its derivatives are Re u and -Im u.
    matrix = 0.5 * np.block([
        [(normal + other).real, -(normal + other).imag],
        [(normal - other).imag, (normal - other).real],
    ])  # fmt: skip
    matrix = (matrix + matrix.T) / 2
    scale = np.sqrt(np.maximum(np.diag(matrix), 0))
    scale[scale == 0] = np.inf
    right = np.concatenate([data.real, data.imag]) / scale
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    seen = values > HIDDEN
    values, vectors = values[seen], vectors[:, seen]
    scaled = (vectors.T @ right) / values
    found = vectors @ scaled / scale
    spread = vectors**2 @ (variance / values) / scale**2
    return found[:n] + 1j * found[n:], float(scaled @ (values * scaled)), np.sqrt(spread[:n] + spread[n:])


def _terms(waves):
    """Wave number, harmonic and coefficient in the reference waveform of all terms."""
    owner, order, known = [], [], []
    for k, wave in enumerate(waves):
        if wave.samples is None:
            harmonics, values = np.arange(1, UNKNOWN_HARMONICS + 1), np.zeros(UNKNOWN_HARMONICS)
        else:
            harmonics, values = harmonics_of(wave.samples)
        owner += [k] * len(harmonics)
        order += list(harmonics)
        known += list(values)
    return np.array(owner), np.array(order), np.array(known, complex)


def harmonics_of(samples):
    """Harmonics that make up a waveform.

    Parameters
    ----------
    samples : (n,) float64 numpy.ndarray
        One period, sampled in the middle of equal parts.

    Returns
    -------
    order : int numpy.ndarray
        From 1; at least the first.
    coefficient : complex numpy.ndarray
        The waveform is the real part of the sum of coefficient exp(2 pi i order phase).
    """
    n = len(samples)
    number = min(MOST_HARMONICS, (n - 1) // 2)
    order = np.arange(1, max(number, 1) + 1)
    phase = (np.arange(n) + 0.5) / n
    value = 2 / n * np.exp(-2j * np.pi * np.outer(order, phase)) @ samples
    power = np.abs(value) ** 2
    keep = power > SMALL_POWER * power.sum()
    keep[0] = True
    return order[keep], value[keep]


def _aligned(found, known, order, weight):
    """Amplitude and shift of the reference that come closest to the coefficients found."""
    shift = np.arange(SAMPLES) / SAMPLES
    size = (weight * np.abs(known) ** 2).sum()
    if size == 0:
        return np.zeros_like(found)

    def match(at):
        turned = known * np.exp(2j * np.pi * np.multiply.outer(at, order))
        return (weight * (turned.conj() * found).real).sum(axis=-1)

    best = shift[np.argmax(match(shift))]
    for width in 2.0 ** -np.arange(9, 27):
        near = best + width * np.array([-1, -0.5, 0, 0.5, 1])
        best = near[np.argmax(match(near))]
    return match(best) / size * known * np.exp(2j * np.pi * best * order)


def _turn(turns, time):
    return np.exp(2j * np.pi * ((np.asarray(time, np.float64)[:, None] * turns) % 1))


def _whole(values):
    """Complex numbers as pairs of whole numbers of UNIT: their sums do not depend on the order."""
    return np.rint(np.stack([values.real, values.imag], axis=-1) / emi.UNIT).astype(np.int64)


def _numbers(whole):
    return (whole[..., 0] + 1j * whole[..., 1]) * emi.UNIT

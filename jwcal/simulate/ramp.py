"""Up the ramp: charge, cosmic rays, non-linearity, saturation, offsets and noise, frame by frame."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from jwcal.simulate.pixels import delinearise, linearise

HIT = np.dtype(
    [
        ("INT", "i4"),
        ("GROUP", "i4"),
        ("FRAME", "i4"),
        ("Y", "i4"),
        ("X", "i4"),
        ("FRAC", "f4"),
        ("AMP_E", "f4"),
        ("AMP_DN", "f4"),
        ("PRIMARY", "i2"),
    ]
)
_BAND_PIXELS = 1 << 15
_ELECTRONICS, _COSMIC, _PIXEL = 2, 3, 4


@dataclass(frozen=True)
class Effects:
    """Strengths of what disturbs a ramp; zero switches an effect off.

    Attributes
    ----------
    cr_rate : float
        Fraction of the pixels hit by cosmic rays in one integration.
    one_over_f : float
        Line-correlated noise, DN rms.
    drift : float
        Step of the amplifier offsets between frames, DN rms.
    odd_even : float
        Offset between odd and even columns (rows in the mid infrared), DN rms.
    transients : bool
        First-frame, last-frame, reset and after-reset effects of the mid infrared.
    extra : tuple of jwcal.simulate.effects.Effect
        What else was asked for, in the order of the light's way to the file.
    """

    cr_rate: float = 0.01
    one_over_f: float = 0.0
    drift: float = 1.5
    odd_even: float = 0.8
    transients: bool = True
    extra: tuple = ()


@dataclass
class Integration:
    """One simulated integration.

    Attributes
    ----------
    index : int
        0-based number in the exposure.
    groups : numpy.ndarray
        uint16 (ngroup, ny, nx), DN.
    zeroframe : numpy.ndarray or None
        uint16 (ny, nx), DN.
    saturated : numpy.ndarray
        int16 (ny, nx): first group with a clipped frame, -1 if none.
    hits : numpy.ndarray
        Structured, one row per pixel hit: INT, GROUP, FRAME, Y, X (0-based), FRAC (part of the
        amplitude seen in GROUP, the whole in the next), AMP_E, AMP_DN, PRIMARY.
    """

    index: int
    groups: np.ndarray
    zeroframe: np.ndarray | None
    saturated: np.ndarray
    hits: np.ndarray


def pink(rng, n, sigma):
    """Noise with a power falling as 1/f.

    Parameters
    ----------
    rng : numpy.random.Generator
    n : int
        Number of samples.
    sigma : float
        Standard deviation of the result.

    Returns
    -------
    numpy.ndarray
        float32 (n,), mean zero.
    """
    if sigma <= 0 or n < 2:
        return np.zeros(n, np.float32)
    frequency = np.fft.rfftfreq(n)
    amplitude = np.zeros_like(frequency)
    amplitude[1:] = frequency[1:] ** -0.5
    spectrum = amplitude * (rng.standard_normal(frequency.size) + 1j * rng.standard_normal(frequency.size))
    noise = np.fft.irfft(spectrum, n)
    return (noise * (sigma / max(noise.std(), 1e-12))).astype(np.float32)


def cosmic_rays(rng, region, reference, total_frames, fraction):
    """Draw the pixels hit during an integration.

    Parameters
    ----------
    rng : numpy.random.Generator
    region : jwcal.simulate.detectors.Region
    reference : numpy.ndarray
        bool (ny, nx); reference pixels record nothing.
    total_frames : int
    fraction : float
        Pixels hit, as a fraction of all.

    Returns
    -------
    tuple of numpy.ndarray
        Frame, y, x (int), electrons (float32), primary (int16), sorted by frame, then position;
        every pixel at most once a frame.
    """
    ny, nx = region.shape
    count = rng.poisson(fraction * ny * nx / 1.98)
    frame = rng.integers(0, total_frames, count)
    y, x = rng.uniform(0, ny, count), rng.uniform(0, nx, count)
    charge = np.exp(rng.normal(math.log(900), 1.1, count)).clip(25, 1.5e5)
    length = rng.geometric(0.5, count).clip(max=7)
    angle = rng.uniform(0, 2 * np.pi, count)
    pieces = [(frame, y, x, charge, np.ones(count, np.int16))]
    for step in range(1, 7):
        longer = length > step
        pieces.append(
            (
                frame[longer],
                y[longer] + step * np.sin(angle[longer]),
                x[longer] + step * np.cos(angle[longer]),
                charge[longer] * rng.uniform(0.4, 1.3, longer.sum()),
                np.zeros(longer.sum(), np.int16),
            )
        )
    frame, y, x, charge, primary = (np.concatenate(part) for part in zip(*pieces, strict=True))
    y, x = np.floor(y).astype(int), np.floor(x).astype(int)
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    inside[inside] = ~reference[y[inside], x[inside]]
    key = ((frame * ny + y) * nx + x)[inside]
    unique, where = np.unique(key, return_inverse=True)
    total = np.bincount(where, charge[inside], unique.size).astype(np.float32)
    first = np.zeros(unique.size, np.int16)
    np.maximum.at(first, where, primary[inside])
    frame, pixel = np.divmod(unique, ny * nx)
    return frame, pixel // nx, pixel % nx, total, first


class RampMaker:
    """Simulates the integrations of one exposure.

    Parameters
    ----------
    region : jwcal.simulate.detectors.Region
    timing : jwcal.simulate.readout.Timing
    pixels : jwcal.simulate.pixels.Pixels
    light : numpy.ndarray
        float32 (ny, nx), electrons per second detected in every pixel.
    nints : int
    effects : Effects
    seed : int
        The same seed gives the same bits, for any number of threads.
    zeroframe : bool, optional
        Keep the first frame of every integration.
    threads : int, optional
    """

    def __init__(self, region, timing, pixels, light, nints, effects, seed, zeroframe=False, threads=2):
        self.region, self.timing, self.pixels = region, timing, pixels
        self.light, self.nints, self.effects = light, nints, effects
        self.seed, self.zeroframe, self.threads = seed, zeroframe, threads
        self._inverse_gain = 1 / pixels.gain
        self._read_noise = pixels.read_noise * self._inverse_gain
        self._limit = linearise(pixels.full_well, pixels.coefficients)
        self._rows = max(4, _BAND_PIXELS // region.nx)
        self._drift = self._walk()
        extra = effects.extra
        self._collecting = [e for e in extra if e.collects]
        self._coupling = [e for e in extra if e.couples]
        self._adding = [e for e in extra if e.adds]

    def _rng(self, *key):
        return np.random.Generator(np.random.SFC64([self.seed, *key]))

    def _walk(self):
        """Offsets of the four amplifiers for every frame of the exposure."""
        rng = self._rng(_ELECTRONICS)
        frames = self.nints * self.timing.total_frames
        kicks = rng.normal(0, self.effects.drift, (frames, 4))
        offset = rng.normal(0, 4 * self.effects.drift, 4)
        out = np.empty((frames, 4), np.float32)
        for k in range(frames):
            offset = 0.98 * offset + kicks[k]
            out[k] = offset
        return out

    def _electronics(self, i):
        """Per frame: offsets along the fast axis (or by row parity), and along the slow axis."""
        region, total = self.region, self.timing.total_frames
        rng = self._rng(_ELECTRONICS, i)
        drift = self._drift[i * total : (i + 1) * total]
        parity = rng.normal(0, self.effects.odd_even, (total, 4, 2)).astype(np.float32)
        amplifiers = region.amplifiers()
        slow = region.slow()
        if region.detector.is_miri:
            across = [drift[:, amplifiers] + parity[:, amplifiers, k] for k in (0, 1)]
        else:
            across = [drift[:, amplifiers] + parity[:, amplifiers, region.fast() % 2]]
        lines = pink(rng, slow.size * total, self.effects.one_over_f).reshape(total, slow.size)
        return across, lines[:, np.argsort(np.argsort(slow))]

    def integration(self, i, groups=None):
        """Simulate one integration.

        Parameters
        ----------
        i : int
            0-based number in the exposure.
        groups : numpy.ndarray, optional
            uint16 (ngroup, ny, nx) to fill.

        Returns
        -------
        Integration
        """
        region, timing = self.region, self.timing
        shape = region.shape
        if groups is None:
            groups = np.empty((timing.ngroups, *shape), np.uint16)
        zero = np.empty(shape, np.uint16) if self.zeroframe else None
        saturated = np.full(shape, -1, np.int16)
        hits = cosmic_rays(
            self._rng(_COSMIC, i), region, self.pixels.reference, timing.total_frames, self.effects.cr_rate
        )
        electronics = self._electronics(i)
        starts = range(0, region.ny, self._rows)
        for effect in self.effects.extra:
            effect.begin(i)
        whole = None
        if self._collecting or self._coupling:
            whole = np.zeros((2, *shape), np.float32)
        bands = [self._band(i, start, electronics, hits, groups, zero, saturated, whole) for start in starts]

        def to_the_end(band):
            for _ in band:
                pass

        with ThreadPoolExecutor(self.threads) as pool:
            run = pool.map if self.threads > 1 and len(starts) > 1 else map
            if whole is None:
                list(run(to_the_end, bands))
            else:
                self._in_step(i, bands, whole, run)
        for effect in self.effects.extra:
            effect.end(i)
        return Integration(i, groups, zero, saturated, self._hit_table(i, hits))

    def _in_step(self, i, bands, whole, run):
        """Run the bands in step; between them act what needs neighbours."""
        charge, signal = whole
        while True:
            reached = list(run(lambda band: next(band, None), bands))
            if reached[0] is None:
                return
            frame, frames = reached[0]
            if frames:
                for effect in self._collecting:
                    effect.collect(i, frame, frames * self.timing.tframe, charge)
            else:
                for effect in self._coupling:
                    effect.couple(signal)

    def _hit_table(self, i, hits):
        frame, y, x, charge, primary = hits
        period = self.timing.nframes + self.timing.groupgap
        group, within = np.divmod(frame, period)
        dropped = within >= self.timing.nframes
        table = np.zeros(frame.size, HIT)
        table["INT"], table["GROUP"], table["FRAME"] = i, group + dropped, frame
        table["Y"], table["X"], table["PRIMARY"] = y, x, primary
        table["FRAC"] = np.where(dropped, 1.0, (self.timing.nframes - within) / self.timing.nframes)
        table["AMP_E"], table["AMP_DN"] = charge, charge * self._inverse_gain[y, x]
        return table

    def _transients(self, i, g, rows, reference):
        """Mid-infrared offsets of a group [DN], or None."""
        if self.pixels.reset is None or not self.effects.transients:
            return None
        table = self.pixels.reset
        out = np.zeros(reference.shape, np.float32)
        if g < table.shape[1]:
            out += table[min(i, table.shape[0] - 1), g, rows]
        sensitive = np.float32(15 if g == 0 else 0)
        if i > 0:
            sensitive += np.float32(25 * math.exp(-g * (1 if self.timing.nsamples == 1 else 2)))
        out[~reference] += sensitive
        if g == self.timing.ngroups - 1:
            out[(-(rows.start + self.region.y0)) % 2 :: 2] -= 20
        return out

    def _band(self, i, start, electronics, hits, groups, zero, saturated, whole):
        """Simulate a band of rows of one integration, frame by frame.

        With `whole` (charge and signal of the frame) it waits, and yields, when all bands have
        collected the charge of a frame (frame, number of frames) and when all have turned it into
        a signal (frame, 0).
        """
        region, timing, pixels = self.region, self.timing, self.pixels
        rng = self._rng(_PIXEL, i, start)
        rows = slice(start, min(start + self._rows, region.ny))
        reference = pixels.reference[rows]
        bad_reference = pixels.bad_reference[rows]
        shape = reference.shape
        inverse_gain, read_noise = self._inverse_gain[rows], self._read_noise[rows]
        coefficients, limit = pixels.coefficients[:, rows], self._limit[rows]
        light = (self.light[rows] + pixels.dark[rows] * dark_factor(region.detector, i)) * timing.tframe
        light = light.astype(np.float32)
        pedestal = np.full(shape, region.detector["pedestal"], np.float32)
        if region.detector["ktc"]:
            sensitive = ~reference * np.float32(region.detector["ktc"])
            pedestal += rng.standard_normal(shape, dtype=np.float32) * sensitive
        across, lines = electronics
        parity = (np.arange(rows.start, rows.stop) + region.y0) % 2
        inside = (hits[1] >= rows.start) & (hits[1] < rows.stop)
        hit_frame, hit_y, hit_x = hits[0][inside], hits[1][inside] - rows.start, hits[2][inside]
        hit_charge = hits[3][inside]
        edges = np.searchsorted(hit_frame, np.arange(timing.total_frames + 1))
        charge = np.zeros(shape, np.float32) if whole is None else whole[0, rows]
        charge[:] = 0
        total = np.zeros(shape, np.float32)
        frame = 0
        for g in range(timing.ngroups):
            transient = self._transients(i, g, rows, reference)
            for k in range(timing.nframes):
                charge += rng.poisson(light)
                now = slice(edges[frame], edges[frame + 1])
                charge[hit_y[now], hit_x[now]] += hit_charge[now]
                if self._collecting:
                    yield frame, 1
                linear = charge * inverse_gain
                linear += pedestal
                clipped = linear >= limit
                signal = delinearise(linear, coefficients, limit)
                if clipped.any():
                    first = saturated[rows]
                    first[clipped & (first < 0)] = g
                if self._coupling:
                    whole[1, rows] = signal
                    yield frame, 0
                    signal[:] = whole[1, rows]
                signal += pixels.bias[rows]
                if region.detector.is_miri:
                    signal += np.where(parity[:, None] == 0, across[0][frame], across[1][frame])
                else:
                    offset = region.along_fast(across[0][frame])
                    signal += offset if region.fast_is_x else offset[rows]
                if self.effects.one_over_f > 0:
                    line = region.along_slow(lines[frame])
                    signal += line[rows] if region.fast_is_x else line
                if transient is not None:
                    signal += transient
                for effect in self._adding:
                    effect.add(i, frame, rows, signal)
                noise = rng.standard_normal(shape, dtype=np.float32)
                noise *= read_noise
                signal += noise
                if bad_reference.any():
                    signal[bad_reference] += rng.normal(0, 400, int(bad_reference.sum())).astype(np.float32)
                np.rint(signal, out=signal)
                np.clip(signal, 0, 65535, out=signal)
                if frame == 0 and zero is not None:
                    zero[rows] = signal
                if k == 0:
                    total[:] = signal
                else:
                    total += signal
                frame += 1
            if timing.divisor > 1:
                np.floor(total / np.float32(timing.divisor), out=total)
            groups[g, rows] = np.minimum(total, 65535)
            if timing.groupgap and g < timing.ngroups - 1:
                charge += rng.poisson(light * np.float32(timing.groupgap))
                for _ in range(timing.groupgap):
                    now = slice(edges[frame], edges[frame + 1])
                    charge[hit_y[now], hit_x[now]] += hit_charge[now]
                    frame += 1
                if self._collecting:
                    yield frame - 1, timing.groupgap


def dark_factor(detector, i):
    """Factor on the dark current of integration `i`: the mid infrared settles after the first."""
    return 1.05 if detector.is_miri and i > 0 else 1.0

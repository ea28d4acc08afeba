"""Slopes of ramps: least squares on the segments between flagged groups.

The fit comes as C and as a NumPy twin (``*_numpy``) with the same values, bit for bit; the
twin also gives the results of each segment.  Arithmetic is float64 on float32 input, in the
order of the public ``OLS_C`` fit, from which the weights, variances and flag rules are taken
(Fixsen et al. 2000, PASP 112, 1350).
"""

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jwcal.kernels._lib import native, plane, ramp_layout

DNU, SATURATED, JUMP, PERSISTENCE, CHARGELOSS = 1, 2, 4, 32, 128
PLANES = ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE")
SEGMENT_PLANES = ("SLOPE", "SIGSLOPE", "VAR_POISSON", "VAR_RNOISE", "YINT", "SIGYINT", "WEIGHTS")
POWERS = (0.0, 0.4, 1.0, 3.0, 6.0, 10.0)
SNR_STEPS = (5.0, 10.0, 20.0, 50.0, 100.0)
HUGE_VARIANCE = 1.0e6


@dataclass(frozen=True)
class RampTiming:
    """Times of a ramp, and how its special cases are treated.

    Attributes
    ----------
    group_time, frame_time : float
        Seconds from group to group, and to read one frame.
    nframes : int
        Averaged frames per group.
    groupgap, dropframes : int
        Frames dropped between groups and before the first; used for the pedestal only.
    suppress_one_group : bool
        Treat a ramp with one good group as having none.
    unjump_first : bool
        Ignore jump flags in the first group (leading groups of all pixels were cut off).
    no_gain : int
        Bit set, with DO_NOT_USE, where the gain is NaN, zero or negative.
    """

    group_time: float
    frame_time: float
    nframes: int = 1
    groupgap: int = 0
    dropframes: int = 0
    suppress_one_group: bool = True
    unjump_first: bool = False
    no_gain: int = 1 << 19

    @property
    def one_group_time(self):
        """Mean exposure time of a group that starts at the reset, seconds."""
        return float((np.float32(self.nframes) + 1.0) * np.float64(np.float32(self.frame_time)) / 2.0)

    @property
    def noise_scale(self):
        """What the noise of a pair of single reads is divided by."""
        return float(np.sqrt(2.0 * self.nframes))


class _Args(ctypes.Structure):
    _fields_ = [
        *[
            (name, ctypes.c_void_p)
            for name in ("sci", "gdq", "pdq", "gain", "rnoise", "dark", "zero", "weights")
        ],
        ("rate", ctypes.c_void_p * 4),
        ("rate_dq", ctypes.c_void_p),
        ("ints", ctypes.c_void_p * 4),
        ("ints_dq", ctypes.c_void_p),
        *[(name, ctypes.c_ssize_t) for name in ("sci_int", "sci_group", "gdq_int", "gdq_group", "zero_int")],
        *[(name, ctypes.c_ssize_t) for name in ("nint", "ngroup", "npix")],
        *[(name, ctypes.c_double) for name in ("group_time", "frame_time", "one_group_time", "noise_scale")],
        ("suppress", ctypes.c_int32),
        ("unjump_first", ctypes.c_int32),
        ("no_gain", ctypes.c_uint32),
    ]


@lru_cache(maxsize=4)
def weight_table(ngroup):
    """Relative weights of the groups of every segment length up to `ngroup`.

    Parameters
    ----------
    ngroup : int
        Largest length.

    Returns
    -------
    (3 * ngroup * (ngroup + 1) + 2,) float32 numpy.ndarray
        For length n, ``[n, 6]`` weights from ``6 * n * (n - 1) // 2`` on: the distance from the
        middle of the segment, 1 at its ends, to each of `POWERS`.  Two spare values at the end
        let the compiled fit read eight at a time.
    """
    table = np.ones(3 * ngroup * (ngroup + 1) + 2, np.float32)
    for n in range(2, ngroup + 1):
        middle = (n - 1) / 2.0
        x = np.abs((np.arange(n) - middle) * (1.0 / middle)).astype(np.float32).astype(np.float64)
        x2, x3 = x * x, x * x * x
        block = np.stack([np.ones(n), x ** float(np.float32(0.4)), x, x3, x3 * x3, x3 * x3 * x2 * x2], axis=1)
        table[3 * n * (n - 1) : 3 * n * (n + 1)] = block.ravel()
    table.flags.writeable = False
    return table


def fit_ramps(sci, gdq, pdq, gain, rnoise, timing, dark=None, zero=None):
    """Fit the slopes of a tile, per integration and of all integrations together.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.  A NaN that is not flagged counts as zero in the sums.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; not changed.
    pdq : (ny, nx) uint32 numpy.ndarray
        Pixel flags; not changed.
    gain : (ny, nx) float32 numpy.ndarray
        Gain, electrons per DN.
    rnoise : (ny, nx) float32 numpy.ndarray
        Read noise of a pair of reads, DN.
    timing : RampTiming
        Times and special cases.
    dark : (ny, nx) float32 numpy.ndarray or None
        Average dark current for the Poisson variance, electrons per second.
    zero : (nint, ny, nx) float32 numpy.ndarray or None
        Frame read before the first group, DN; 0 is no value.

    Returns
    -------
    rate, rateints : dict
        ``SCI`` DN/s, ``ERR``, ``VAR_POISSON``, ``VAR_RNOISE`` float32 and ``DQ`` uint32, of shape
        (ny, nx) and (nint, ny, nx).  SCI is NaN and the others are zero where DQ has DO_NOT_USE or
        where all groups are saturated.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    shape = _check(sci, gdq, pdq, gain, rnoise, dark, zero)
    if native() is None:
        return fit_ramps_numpy(sci, gdq, pdq, gain, rnoise, timing, dark, zero)
    nint, ngroup, ny, nx = shape
    rate = {name: np.empty((ny, nx), np.float32) for name in PLANES}
    ints = {name: np.empty((nint, ny, nx), np.float32) for name in PLANES}
    rate["DQ"], ints["DQ"] = np.empty((ny, nx), np.uint32), np.empty((nint, ny, nx), np.uint32)
    weights = weight_table(ngroup)

    def address(array):
        return None if array is None else array.ctypes.data

    def addresses(planes):
        return (ctypes.c_void_p * 4)(*(planes[name].ctypes.data for name in PLANES))

    args = _Args(
        *(address(array) for array in (sci, gdq, pdq, gain, rnoise, dark, zero, weights)),
        addresses(rate), address(rate["DQ"]), addresses(ints), address(ints["DQ"]),
        *ramp_layout(sci, np.float32, "sci"), *ramp_layout(gdq, np.uint8, "gdq"),
        0 if zero is None else zero.strides[0] // 4, nint, ngroup, ny * nx,
        np.float32(timing.group_time), np.float32(timing.frame_time), timing.one_group_time, timing.noise_scale,
        timing.suppress_one_group, timing.unjump_first, timing.no_gain,
    )  # fmt: skip
    if native().jw_fit_ramps(ctypes.byref(args)):
        raise MemoryError("ramp fit")
    return rate, ints


def _check(sci, gdq, pdq, gain, rnoise, dark, zero):
    nint, _, ny, nx = sci.shape
    ramp_layout(sci, np.float32, "sci")
    ramp_layout(gdq, np.uint8, "gdq")
    if gdq.shape != sci.shape:
        raise ValueError(f"gdq {gdq.shape} does not fit sci {sci.shape}")
    plane(pdq, (ny, nx), np.uint32, "pdq")
    plane(gain, (ny, nx), np.float32, "gain")
    plane(rnoise, (ny, nx), np.float32, "rnoise")
    if dark is not None:
        plane(dark, (ny, nx), np.float32, "dark")
    if zero is not None:
        if zero.shape != (nint, ny, nx):
            raise ValueError(f"zero {zero.shape} does not fit sci {sci.shape}")
        for frame in zero:
            plane(frame, (ny, nx), np.float32, "zero")
    return sci.shape


def fit_ramps_numpy(sci, gdq, pdq, gain, rnoise, timing, dark=None, zero=None):
    """NumPy twin of `fit_ramps`."""
    return _Fit(sci, gdq, pdq, gain, rnoise, timing, dark, zero).run()


def fit_segments(sci, gdq, pdq, gain, rnoise, timing, dark=None, zero=None):
    """Fit the slopes of a tile and keep the results of every segment.

    Parameters
    ----------
    sci, gdq, pdq, gain, rnoise, timing, dark, zero
        As for `fit_ramps`.

    Returns
    -------
    rate, rateints : dict
        As from `fit_ramps`.
    segments : dict
        ``SLOPE`` and its ``SIGSLOPE``, ``VAR_POISSON``, ``VAR_RNOISE``, ``YINT``, ``SIGYINT``,
        ``WEIGHTS``: (nint, nsegment, ny, nx) float32, zero beyond the segments of a pixel;
        ``PEDESTAL`` (nint, ny, nx) float32; ``CRMAG`` (nint, njump, ny, nx) float32, steps at
        jumps.  The second axis is as long as this tile needs; in the official product a pixel
        that has nothing but single good groups counts all of them, though only the first is
        fitted, and so it does here.
    """
    fit = _Fit(sci, gdq, pdq, gain, rnoise, timing, dark, zero, keep=True)
    rate, ints = fit.run()
    return rate, ints, fit.segments()


class _Fit:
    """The twin's fit of one tile, in float64 arrays of all its pixels."""

    def __init__(self, sci, gdq, pdq, gain, rnoise, timing, dark, zero, keep=False):
        self.shape = sci.shape
        nint, ngroup, ny, nx = sci.shape
        self.nint, self.ngroup, self.timing, self.keep = nint, ngroup, timing, keep
        self.group_time = float(np.float32(timing.group_time))
        self.frame_time = float(np.float32(timing.frame_time))
        self.weights = weight_table(ngroup)
        flat = (nint, ngroup, ny * nx)
        self.given = np.array(gdq).reshape(flat)
        self.flag = self.given.copy()
        self.data = np.where(self.flag & SATURATED, np.nan, sci.reshape(flat).astype(np.float64))
        self.gain = gain.ravel().astype(np.float64)
        with np.errstate(all="ignore"):
            noise = rnoise.ravel().astype(np.float64) * (self.gain / timing.noise_scale)
            self.noise = noise.astype(np.float32).astype(np.float64)
        self.dark = np.zeros(ny * nx) if dark is None else dark.ravel().astype(np.float64)
        self.zero = None if zero is None else zero.reshape(nint, -1).astype(np.float64)
        bad = ~(self.gain > 0)
        self.base = pdq.ravel() | np.where(bad, np.uint32(timing.no_gain | DNU), np.uint32(0))
        self.kept, self.pedestals, self.steps = [], [], []
        self.most = 1

    def run(self):
        """Fit; returns the planes of the two products."""
        with np.errstate(all="ignore"):
            self._prepare()
            self._median()
            return self._combine()

    def _prepare(self):
        """Treat lonely groups, and count flags as they stand then."""
        flag, timing = self.flag, self.timing
        if self.keep:
            self._jump_steps()
        if timing.suppress_one_group:
            lonely = (((flag & ~np.uint8(PERSISTENCE)) == 0).sum(axis=1) == 1)[:, None]
            flag |= np.where(lonely, np.uint8(DNU), np.uint8(0))
        if timing.unjump_first:
            flag[:, 0] &= np.uint8(0xFF ^ JUMP)
        self.seen = np.bitwise_or.reduce(flag, axis=1)
        good = (flag == 0).sum(axis=1)
        self.sat = ((flag & SATURATED) != 0).sum(axis=1)
        self.unusable = ((flag & (SATURATED | DNU)) != 0).sum(axis=1)
        self.time = np.full(good.shape, self.group_time)
        self.special = np.zeros(good.shape, bool)
        if timing.suppress_one_group:
            return
        zeroth = (good == 1) & (flag[:, 0] == 0)
        self.time[zeroth] = timing.one_group_time
        self.special |= zeroth
        if self.zero is not None:
            use = (good == 0) & (self.zero != 0)
            self.data[:, 0][use] = self.zero[use]
            flag[:, 0][use] = 0
            self.unusable[use] -= 1
            self.sat[use & (self.sat == self.ngroup)] -= 1
            self.time[use] = self.frame_time
            self.special |= use

    def _median(self):
        """Mean over the integrations of the median rate."""
        total = np.zeros(self.data.shape[2])
        for i in range(self.nint):
            if self.ngroup == 1:
                total += self.data[i, 0] / self.timing.one_group_time
                continue
            value = self.data[i] / self.group_time
            value[(self.flag[i] & DNU) != 0] = np.nan
            diff = value[1:] - value[:-1]
            diff[(self.flag[i, 1:] & JUMP) != 0] = np.nan
            count = (~np.isnan(diff)).sum(axis=0)
            diff[np.isnan(diff)] = np.inf
            diff.sort(axis=0)
            high = np.take_along_axis(diff, (count // 2).clip(max=len(diff) - 1)[None], axis=0)[0]
            low = np.take_along_axis(diff, (count // 2 - 1).clip(min=0)[None], axis=0)[0]
            rate = np.where(count % 2 == 1, high, (high + low) / 2.0)
            rate = np.where(count == 0, value[0], rate)
            rate = np.where(self.special[i], self.data[i, 0] / self.time[i], rate)
            total += np.where(np.isnan(rate), 0.0, rate)
        self.rate = total / float(self.nint)

    def _segments(self, flag):
        """First group and length of the segments to use: two (nsegment, npix) arrays, length 0 for none."""
        bare = flag & ~np.uint8(PERSISTENCE)
        good = bare == 0
        before = np.zeros_like(good)
        before[1:] = good[:-1]
        after_jump = np.zeros_like(good)
        after_jump[1:] = bare[:-1] == JUMP
        begin = good & ~before
        number = np.cumsum(begin, axis=0)
        starts, lengths = [], []
        for s in range(1, int(number.max(initial=0)) + 1):
            mine = begin & (number == s)
            first = np.argmax(mine, axis=0)
            has = mine.any(axis=0)
            count = (good & (number == s)).sum(axis=0)
            extra = (mine & after_jump).any(axis=0)
            starts.append(np.where(has, first - extra, 0))
            lengths.append(np.where(has, count + extra, 0))
        self.pieces = np.zeros(flag.shape[1], np.intp)
        if not starts:
            return np.zeros((0, flag.shape[1]), np.intp), np.zeros((0, flag.shape[1]), np.intp)
        first, count = np.array(starts), np.array(lengths)
        long = count.max(axis=0) > 1
        self.pieces = np.where(long, (count > 1).sum(axis=0), (count == 1).sum(axis=0))
        count[(count == 1) & long] = 0
        count[1:, ~long] = 0
        return first, count

    def _read_variance(self, length, time):
        r = self.noise / time
        rden = length * length * length - length
        return 12.0 * r * r / (rden * self.gain * self.gain)

    def _fit(self, i, start, length):
        """Fit one segment per pixel: slope, Poisson and read variance, and the optional values."""
        pixel = np.arange(len(start))
        first = self.data[i, start, pixel]
        last = self.data[i, np.maximum(start + length - 1, 0), pixel]
        rise = last - first
        den = self.noise * self.noise + rise * self.gain
        snr = rise * self.gain / np.sqrt(den)
        snr = np.where(snr < 0, 0.0, snr)
        snr = np.where((den <= 0) | (self.gain == 0), 0.0, snr)
        kind = sum((~(snr < step)).astype(np.intp) for step in SNR_STEPS)
        inverse = 1.0 / (self.noise * self.noise)
        offset = 3 * length * (length - 1) + kind
        sw, sx, sxx, sy, sxy = (np.zeros(len(start)) for _ in range(5))
        for g in range(int(length.max(initial=0))):
            inside = g < length
            weight = self.weights[np.where(inside, offset + 6 * g, 0)].astype(np.float64) * inverse
            x = (start + g).astype(np.float64)
            y = self.data[i, np.minimum(start + g, self.ngroup - 1), pixel]
            y = np.where(np.isnan(y), 0.0, y)
            xw = x * weight
            for total, term in ((sw, weight), (sx, xw), (sxx, x * xw), (sy, y * weight), (sxy, y * xw)):
                np.add(total, term, out=total, where=inside)
        den = 1.0 / (sw * sxx - sx * sx)
        slope = (sw * sxy - sx * sy) * den / self.group_time
        extra = [np.sqrt(sw * den), (sxx * sy - sx * sxy) * den, np.sqrt(sxx * den)]
        one, two = length == 1, length == 2
        time = np.where(one, self.time[i], self.group_time)
        slope = np.where(one, first / time, np.where(two, rise / self.group_time, slope))
        number = np.where(length > 2, length, 2).astype(np.float64)
        denominator = time * self.gain * np.where(length > 2, number - 1.0, 1.0)
        poisson = np.where(self.rate > 0, self.rate + self.dark, self.dark) / denominator
        read = self._read_variance(number, time)
        read = np.where((length > 2) & ~(self.gain > 0), 0.0, read)
        if self.keep:
            second = start + 1.0
            pair = [1.41421356 * self.noise, last * (1.0 - second) + first * second, 1.41421356 * self.noise]
            extra = [np.where(one, 0.0, np.where(two, p, e)) for p, e in zip(pair, extra, strict=True)]
        return slope, poisson, read, extra

    def _combine(self):
        npix = self.data.shape[2]
        sums = {name: np.zeros(npix) for name in ("slope", "poisson", "read", "kept")}
        ints = {name: np.zeros((self.nint, npix), np.float32) for name in PLANES}
        ints["DQ"] = np.zeros((self.nint, npix), np.uint32)
        passing = (JUMP | PERSISTENCE) & self.seen.astype(np.uint32)
        unusable = np.zeros(npix, np.intp)
        saturated = np.zeros(npix, np.intp)
        loss = np.zeros(npix, bool)
        for i in range(self.nint):
            dq = self.base | passing[i]
            first_sat = (self.flag[i, 0] & SATURATED) != 0
            dq[first_sat] |= np.uint32(DNU | SATURATED)
            gone = self.unusable[i] == self.ngroup
            dq[gone] |= np.uint32(DNU)
            dq[gone & (self.sat[i] == self.ngroup)] |= np.uint32(SATURATED)
            poisson, read, total, slope = (np.zeros(npix) for _ in range(4))
            starts, lengths = self._segments(self.flag[i])
            lengths[:, first_sat] = 0
            kept = []
            for start, length in zip(starts, lengths, strict=True):
                value, vp, vr, extra = self._fit(i, start, length)
                use = (length > 0) & ~gone
                np.add(poisson, 1.0 / vp, out=poisson, where=use & (vp > 0))
                np.add(read, 1.0 / vr, out=read, where=use)
                np.add(total, 1.0 / (vp + vr), out=total, where=use)
                np.add(slope, value / vr, out=slope, where=use)
                kept.append((length, gone, value, extra[0], vp, vr, extra[1], extra[2], 1.0 / vr))
            fitted = (lengths > 0).any(axis=0) & ~gone if len(lengths) else np.zeros(npix, bool)
            bad = (dq & (DNU | SATURATED)) != 0
            use = fitted & ~bad
            vp = _reasonable(np.where(poisson > 0, 1.0 / poisson, 0.0))
            vr = _reasonable(1.0 / read)
            ve = 1.0 / total
            err = np.where(ve > HUGE_VARIANCE, 0.0, np.sqrt(ve))
            value = np.where(bad, np.nan, np.where(use, slope * vr, 0.0))
            vr = np.where(use, vr, 0.0)
            for name, plane_ in zip(
                PLANES, (value, np.where(use, err, 0), np.where(use, vp, 0), vr), strict=True
            ):
                ints[name][i] = plane_
            for name, term in (("poisson", poisson), ("read", read), ("slope", slope)):
                sums[name] += np.where(fitted & ((name != "poisson") | (poisson > 0)), term, 0.0)
            if self.keep:
                self.most = max(self.most, int(np.where(first_sat, 0, self.pieces).max(initial=0)))
                self.kept.append(kept)
                self.pedestals.append(self._pedestal(i, dq, np.where((dq & DNU) != 0, np.nan, value)))
            unusable += (dq & DNU) != 0
            saturated += (dq & SATURATED) != 0
            dq[self.sat[i] > 0] |= np.uint32(SATURATED)
            ints["DQ"][i] = dq
            if (self.seen & CHARGELOSS).any():
                lost = (self.seen[i] & CHARGELOSS) != 0
                inverse = self._read_without_loss(i)
                ints["VAR_RNOISE"][i] = np.where(lost, _reasonable(1.0 / inverse), vr)
                sums["kept"] += np.where(lost, inverse, np.where(vr > 0, 1.0 / vr, 0.0))
                loss |= lost
        dq = self.base | np.bitwise_or.reduce(passing, axis=0)
        dq[unusable == self.nint] |= np.uint32(DNU)
        dq[saturated == self.nint] |= np.uint32(SATURATED)
        bad = (dq & (DNU | SATURATED)) != 0
        vp = np.where(sums["poisson"] > 0, 1.0 / sums["poisson"], sums["poisson"])
        vp = np.where((vp >= HUGE_VARIANCE) | (vp < 0), 0.0, vp)
        vr = _reasonable(np.where(sums["read"] > 0, 1.0 / sums["read"], sums["read"]))
        values = [np.where(bad, np.nan, sums["slope"] * vr)]
        values += [np.where(bad, 0.0, plane_) for plane_ in (np.sqrt(vp + vr), vp, vr)]
        values[3] = np.where(
            loss, _reasonable(np.where(sums["kept"] > 0, 1.0 / sums["kept"], values[3])), values[3]
        )
        dq[(self.sat > 0).any(axis=0)] |= np.uint32(SATURATED)
        rate = {name: v.astype(np.float32) for name, v in zip(PLANES, values, strict=True)}
        rate["DQ"] = dq
        frame = self.shape[2:]
        return (
            {name: v.reshape(frame) for name, v in rate.items()},
            {name: v.reshape(self.nint, *frame) for name, v in ints.items()},
        )

    def _read_without_loss(self, i):
        """Inverse read variance as if groups left out for charge migration had been used."""
        flag = self.given[i].copy()
        flag[(flag & CHARGELOSS) != 0] ^= np.uint8(CHARGELOSS | DNU)
        total = np.zeros(flag.shape[1])
        for _, length in zip(*self._segments(flag), strict=True):
            number = np.where(length > 2, length, 2).astype(np.float64)
            variance = self._read_variance(number, np.where(length == 1, self.time[i], self.group_time))
            variance = np.where((length > 2) & ~(self.gain > 0), 0.0, variance)
            np.add(total, 1.0 / variance, out=total, where=(length > 0) & (variance > 0))
        return total

    def _pedestal(self, i, dq, slope):
        t = self.timing
        frames = ((t.nframes + 1) / 2.0 + t.dropframes) / (t.nframes + t.groupgap)
        value = self.data[i, 0] - slope * frames
        return np.where(((dq & SATURATED) != 0) | np.isnan(value), 0.0, value)

    def _jump_steps(self):
        for i in range(self.nint):
            jump = (self.flag[i, 1:] & JUMP) != 0
            step = self.data[i, 1:] - self.data[i, :-1]
            rank = np.cumsum(jump, axis=0) - 1
            steps = np.zeros_like(step)
            g, p = np.nonzero(jump)
            steps[rank[g, p], p] = step[g, p]
            self.steps.append((int(jump.sum(axis=0).max(initial=0)), steps))

    def segments(self):
        """Planes of the segments, packed to the front, and what belongs to them."""
        frame = self.shape[2:]
        npix = self.data.shape[2]
        most, packed = self.most, []
        for kept in self.kept:
            planes = np.zeros((len(SEGMENT_PLANES), max(len(kept), 1), npix), np.float32)
            place = np.zeros(npix, np.intp)
            for length, gone, *values in kept:
                p = np.nonzero(length > 0)[0]
                for k, value in enumerate(values):
                    planes[k, place[p], p] = np.where(gone[p], 0.0, value[p])
                place[p] += 1
            packed.append(planes)
        out = {}
        for k, name in enumerate(SEGMENT_PLANES):
            stack = np.zeros((self.nint, most, npix), np.float32)
            for i, planes in enumerate(packed):
                n = min(most, planes.shape[1])
                stack[i, :n] = planes[k, :n]
            out[name] = stack.reshape(self.nint, most, *frame)
        out["PEDESTAL"] = np.array(self.pedestals, np.float32).reshape(self.nint, *frame)
        jumps = max(n for n, _ in self.steps)
        out["CRMAG"] = np.array([s[:jumps] for _, s in self.steps], np.float32).reshape(
            self.nint, jumps, *frame
        )
        return out


def _reasonable(variance):
    return np.where(variance >= HUGE_VARIANCE, 0.0, variance)

"""Slopes and jumps of ramps by likelihood.

The fit comes as C and as a NumPy twin (``*_numpy``) with the same values, bit for bit.
Arithmetic is float64 on float32 input, in the order of the public ``LIKELY`` fit, with its rules for
jumps and for the mean of the integrations (Brandt 2024, PASP 136, 045004 and 045005).
"""

import ctypes
import math
from dataclasses import dataclass

import numpy as np

from jwcal.kernels._lib import native, plane, ramp_layout

DNU, SATURATED, JUMP = 1, 2, 4
PLANES = ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "CHISQ")
LIMIT_ONE, LIMIT_TWO = 20.25, 23.8
LEAST_DIFFERENCES = 3
ROUNDING = 1e-9
SHORT = 16
NEARLY = 0.999


@dataclass(frozen=True)
class LikelyTimes:
    """Covariance of the differences of resultants, as it follows from the times of their reads.

    Attributes
    ----------
    step : (n,) float64 numpy.ndarray
        Seconds between the mean times of neighbouring resultants.
    photon, read : (n,) float64 numpy.ndarray
        Variance of a difference per photon rate and per squared read noise.
    photon2, read2 : (n - 1,) float64 numpy.ndarray
        Covariance of neighbouring differences, likewise.
    pair : (n - 1,) float64 numpy.ndarray
        1 where the resultant between two differences is a mean of several reads, so that a jump
        inside it spoils both; 0 elsewhere.
    split_zero : int
        Reads in the first group if its first is a resultant of its own (the zero frame), else 0.
    """

    step: np.ndarray
    photon: np.ndarray
    read: np.ndarray
    photon2: np.ndarray
    read2: np.ndarray
    pair: np.ndarray
    split_zero: int = 0

    @property
    def even(self):
        """Whether the differences are few and alike, so that a common scale keeps all products in range."""
        # Reads of neighbours that overlap may be of negative variance; those are not alike.
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = [np.abs(np.log2(v / v[0])).sum() for v in (self.photon, self.read)]
        return bool(len(self.step) <= 100 and max(spread) <= 500)

    @classmethod
    def of(cls, reads, split_zero=False):
        """Make the factors from the times of the reads.

        Parameters
        ----------
        reads : sequence of sequence of float
            Times of the reads averaged in each group, seconds.
        split_zero : bool
            The first read of the first group is known by itself; ignored if it is the only one.

        Returns
        -------
        LikelyTimes

        Raises
        ------
        ValueError
            If there are fewer than two resultants, or they do not follow each other in time.
        """
        groups = [np.asarray(times, np.float64) for times in reads]
        split = len(groups[0]) if split_zero and len(groups[0]) > 1 else 0
        if split:
            groups[:1] = [groups[0][:1], groups[0][1:]]
        count = np.array([len(times) for times in groups])
        mean = np.array([np.mean(times) for times in groups])
        tau = np.array(
            [
                np.sum((2 * n + 1 - 2 * np.arange(1, n + 1)) * t) / n**2
                for n, t in zip(count, groups, strict=True)
            ]
        )
        step = mean[1:] - mean[:-1]
        if len(step) < 1 or not (step > 0).all():
            raise ValueError("the mean times of the groups must increase")
        return cls(
            step=step,
            photon=(tau[:-1] + tau[1:] - 2 * mean[:-1]) / step**2,
            read=(1 / count[:-1] + 1 / count[1:]) / step**2,
            photon2=(mean[1:-1] - tau[1:-1]) / (step[1:] * step[:-1]),
            read2=-1 / (count[1:-1] * step[1:] * step[:-1]),
            pair=(count[1:-1] > 1).astype(np.float64),
            split_zero=split,
        )


def even_reads(ngroup, nframes, groupgap, frame_time):
    """Return the times of the reads of a ramp of equal groups, in seconds.

    Parameters
    ----------
    ngroup, nframes, groupgap : int
        Groups, frames averaged in each, and frames dropped between them.
    frame_time : float
        Seconds from frame to frame.

    Returns
    -------
    list of numpy.ndarray
    """
    frames = np.arange(1, nframes + 1)
    return [(frames + k * (nframes + groupgap)) * frame_time for k in range(ngroup)]


class _Times(ctypes.Structure):
    _fields_ = [
        ("n", ctypes.c_ssize_t),
        *[(name, ctypes.c_void_p) for name in ("step", "photon", "read", "photon2", "read2")],
        ("even", ctypes.c_int32),
    ]


class _Args(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("sci", "gdq", "pdq", "gain", "rnoise", "dark", "zero")],
        ("rate", ctypes.c_void_p * 5),
        ("rate_dq", ctypes.c_void_p),
        ("ints", ctypes.c_void_p * 5),
        ("ints_dq", ctypes.c_void_p),
        ("left_out", ctypes.c_void_p),
        *[(name, ctypes.c_ssize_t) for name in ("sci_int", "sci_group", "gdq_int", "gdq_group", "zero_int")],
        *[(name, ctypes.c_ssize_t) for name in ("nint", "ngroup", "npix", "nframes")],
        ("times", _Times),
        ("pair", ctypes.c_void_p),
        *[(name, ctypes.c_double) for name in ("limit_one", "limit_two")],
        ("some_pair", ctypes.c_int32),
    ]


def fit_likely(sci, gdq, pdq, gain, rnoise, times, dark=None, zero=None, left_out=None, chisq=False):
    """Find jumps and fit the slopes of a tile, per integration and of all together.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.  A NaN makes its pixel NaN, even where it is flagged.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; a difference to or from a group with any flag is not used.  Not changed.
    pdq : (ny, nx) uint32 numpy.ndarray
        Pixel flags; not changed.
    gain : (ny, nx) float32 numpy.ndarray
        Gain, electrons per DN.
    rnoise : (ny, nx) float32 numpy.ndarray
        Read noise of a pair of reads, DN.
    times : LikelyTimes
        Of these groups, and of the zero frame if it is split off.
    dark : (ny, nx) float32 numpy.ndarray or None
        Average dark current, added to the rate from which the covariance is made.
    zero : (nint, ny, nx) float32 numpy.ndarray or None
        First read of the first group, DN; used if `times` splits it off.
    left_out : (nint, n, ny, nx) uint8 numpy.ndarray or None
        Where to write 1 for each difference left out as a jump, 0 for others.
    chisq : bool
        Give chi-square too.

    Returns
    -------
    rate, rateints : dict
        ``SCI`` DN/s, ``ERR``, ``VAR_POISSON``, ``VAR_RNOISE``, with `chisq` ``CHISQ``, float32, and ``DQ``
        uint32, of shape (ny, nx) and (nint, ny, nx).  All but DQ are NaN where no difference can be used
        or the gain or the read noise is NaN.  DQ has DO_NOT_USE where every group of the integration
        (of all of them, in `rate`) is unusable, SATURATED and JUMP_DET where one is.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    shape, zero = _check(sci, gdq, pdq, gain, rnoise, times, dark, zero, left_out)
    if native() is None:
        return fit_likely_numpy(sci, gdq, pdq, gain, rnoise, times, dark, zero, left_out, chisq)
    nint, ngroup, ny, nx = shape
    names = PLANES[: 4 + chisq]
    rate = {name: np.empty((ny, nx), np.float32) for name in names}
    ints = {name: np.empty((nint, ny, nx), np.float32) for name in names}
    rate["DQ"], ints["DQ"] = np.empty((ny, nx), np.uint32), np.empty((nint, ny, nx), np.uint32)

    def address(array):
        return None if array is None else array.ctypes.data

    def addresses(planes):
        return (ctypes.c_void_p * 5)(*(planes[name].ctypes.data for name in names))

    factors = [
        np.ascontiguousarray(v) for v in (times.step, times.photon, times.read, times.photon2, times.read2)
    ]
    pair = np.ascontiguousarray(times.pair)
    args = _Args(
        *(address(array) for array in (sci, gdq, pdq, gain, rnoise, dark, zero)),
        addresses(rate), address(rate["DQ"]), addresses(ints), address(ints["DQ"]), address(left_out),
        *ramp_layout(sci, np.float32, "sci"), *ramp_layout(gdq, np.uint8, "gdq"),
        0 if zero is None else zero.strides[0] // 4, nint, ngroup, ny * nx, times.split_zero,
        _Times(len(times.step), *(address(v) for v in factors), times.even), address(pair), LIMIT_ONE, LIMIT_TWO,
        bool(pair.any()),
    )  # fmt: skip
    if native().jw_fit_likely(ctypes.byref(args)):
        raise MemoryError("likelihood fit")
    return rate, ints


def _check(sci, gdq, pdq, gain, rnoise, times, dark, zero, left_out):
    nint, ngroup, ny, nx = sci.shape
    ramp_layout(sci, np.float32, "sci")
    ramp_layout(gdq, np.uint8, "gdq")
    if gdq.shape != sci.shape:
        raise ValueError(f"gdq {gdq.shape} does not fit sci {sci.shape}")
    n = len(times.step)
    if n != ngroup - 1 + bool(times.split_zero):
        raise ValueError(f"{n} differences do not fit {ngroup} groups")
    plane(pdq, (ny, nx), np.uint32, "pdq")
    plane(gain, (ny, nx), np.float32, "gain")
    plane(rnoise, (ny, nx), np.float32, "rnoise")
    if dark is not None:
        plane(dark, (ny, nx), np.float32, "dark")
    if not times.split_zero:
        zero = None
    elif zero is None or zero.shape != (nint, ny, nx):
        raise ValueError(f"zero: need a frame for each integration of sci {sci.shape}")
    else:
        for frame in zero:
            plane(frame, (ny, nx), np.float32, "zero")
    if left_out is not None:
        plane(left_out, (nint, n, ny, nx), np.uint8, "left_out")
    return sci.shape, zero


def fit_likely_numpy(sci, gdq, pdq, gain, rnoise, times, dark=None, zero=None, left_out=None, chisq=False):
    """NumPy twin of `fit_likely`."""
    nint, ngroup, ny, nx = sci.shape
    npix = ny * nx
    ints = {name: np.empty((nint, npix), np.float32) for name in PLANES[: 4 + chisq]}
    ints["DQ"] = np.empty((nint, npix), np.uint32)
    gain64 = gain.ravel().astype(np.float64)
    dark64 = np.zeros(npix) if dark is None else dark.ravel().astype(np.float64)
    with np.errstate(all="ignore"):
        read2 = np.square(rnoise.ravel().astype(np.float64) / math.sqrt(2.0))
        for i in range(nint):
            data, flag = sci[i].reshape(ngroup, npix), gdq[i].reshape(ngroup, npix)
            if times.split_zero:
                data, flag = _split(data, flag, zero[i].ravel(), times.split_zero)
            d = (data[1:] - data[:-1]).astype(np.float64) / times.step[:, None]
            usable = (flag[1:] | flag[:-1]) == 0
            use, rate = _search(d, usable, times, gain64, read2)
            flux = (rate * (rate > 0) + dark64) / gain64
            fit = _Fit(d, use.astype(np.float64), times, flux, read2, quick=True)
            for name, values in zip(PLANES, fit.results(), strict=True):
                if name in ints:
                    ints[name][i] = values
            jumps = usable & ~use
            if left_out is not None:
                left_out[i] = jumps.reshape(-1, ny, nx)
            ints["DQ"][i] = _flags(pdq.ravel(), flag, jumps.any(axis=0))
        rate = _combine(ints)
    return (
        {name: v.reshape(ny, nx) for name, v in rate.items()},
        {name: v.reshape(nint, ny, nx) for name, v in ints.items()},
    )


def _split(data, flag, zero, nframes):
    """Take the zero frame out of the mean of the first group and put it before it."""
    first = (data[0] * np.float32(nframes) - zero) / np.float32(nframes - 1)
    return np.concatenate([zero[None], first[None], data[1:]]), np.concatenate([flag[:1], flag])


def _flags(pdq, flag, jumps):
    unusable = ((flag & (DNU | SATURATED)) != 0).all(axis=0)
    seen = np.bitwise_or.reduce(flag, axis=0) & np.uint8(SATURATED | JUMP)
    return pdq | seen | np.where(unusable, np.uint32(DNU), 0) | np.where(jumps, np.uint32(JUMP), 0)


def _total(rows):
    """Sum of the first axis, one row after the other."""
    out = np.array(rows[0]) if len(rows) else np.zeros(rows.shape[1:])
    for row in rows[1:]:
        out += row
    return out


def _root(value, degree):
    """Degree-th root by the C library, as compiled code has it; NaN of what is negative."""
    try:
        return math.pow(value, 1.0 / degree)
    except ValueError:
        return math.nan


_roots = np.frompyfunc(_root, 2, 1)


class _Fit:
    """One fit of many pixels: d, use (n, npix) float64; flux, read2 (npix,)."""

    def __init__(self, d, use, times, flux, read2, quick=False):
        self.d, self.use, self.times, self.flux, self.read2 = d * use, use, times, flux, read2
        self.n, self.quick = len(d), quick
        self.alpha = self._noise("photon", "read")
        self.beta = self._noise("photon2", "read2")
        self.scale = self._quick_scale() if quick and times.even else self._scale(slice(None))
        self.alpha /= self.scale
        self.beta = self.beta / self.scale * use[1:] * use[:-1]
        self._solve()

    def _noise(self, photon, read):
        a, b = getattr(self.times, photon)[:, None], getattr(self.times, read)[:, None]
        return self.flux * a + self.read2 * b

    def _quick_scale(self):
        """Power of two below the first variance, where the noise is ordinary."""
        first = self.alpha[0]
        odd = ~((self.flux >= 0) & (self.read2 > 0) & (first > 1e-100) & (first < 1e100))
        scale = np.ldexp(1.0, np.frexp(first)[1] - 1)
        scale[odd] = self._scale(odd)
        return scale

    def _scale(self, pixels):
        """Root of the determinant, found with a scale that keeps the minors in range."""
        alpha, beta = self.alpha[:, pixels], self.beta[:, pixels]
        older, old, scale = np.ones_like(alpha[0]), alpha[0], np.ones_like(alpha[0])
        for i in range(2, self.n + 1):
            now = alpha[i - 1] / scale * old - beta[i - 2] ** 2 / scale**2 * older
            if i % 10 == 0 or i == self.n:
                f = _roots(now, i).astype(np.float64)
                scale = scale * f
                old = old / (now / f)
                now = np.ones_like(now)
            older, old = old, now
        return scale

    def _solve(self):
        n, d, alpha, beta = self.n, self.d, self.alpha, self.beta
        sign = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
        shape = (n + 1, d.shape[1])
        theta, phi, theta_d = np.ones(shape), np.ones(shape), np.zeros(shape)
        big_theta, big_phi, phi_d = np.zeros_like(d), np.zeros_like(d), np.zeros_like(d)
        theta[1], big_theta[0], theta_d[1] = alpha[0], -1.0, -d[0]
        for i in range(1, n):
            theta[i + 1] = alpha[i] * theta[i] - beta[i - 1] ** 2 * theta[i - 1]
            big_theta[i] = big_theta[i - 1] * beta[i - 1] + sign[i] * theta[i]
            theta_d[i + 1] = beta[i - 1] * theta_d[i] + sign[i] * d[i] * theta[i]
        phi[n - 1] = alpha[n - 1]
        for i in range(n - 2, -1, -1):
            phi[i] = alpha[i] * phi[i + 1] - beta[i] ** 2 * phi[i + 2]
            big_phi[i] = big_phi[i + 1] * beta[i] + sign[i + 1] * beta[i] * phi[i + 2]
            phi_d[i] = (phi_d[i + 1] + sign[i + 1] * d[i + 1] * phi[i + 2]) * beta[i]
        end, inverse = theta[n], 1.0 / theta[n]
        self.theta, self.phi = theta, phi
        self.dc = sign * inverse * (phi[1:] * big_theta + theta[:-1] * big_phi) * self.use
        self.db = sign * inverse * (phi[1:] * theta_d[1:] + theta[:-1] * phi_d)
        # Where chi-square is only compared with a limit rounding does not matter, and dividing takes long.
        first, second = d * sign, d**2 * theta[:-1] * phi[1:]
        first, second = (first * inverse, second * inverse) if self.quick else (first / end, second / end)
        self.a = 2.0 * _total(first[1:] * beta * phi[2:] * theta_d[1:-1]) + _total(second)
        self.b, self.c = _total(d * self.dc), _total(self.dc)

    def fit(self):
        """Rate and chi-square."""
        return self.b * (1.0 / self.c), (self.a - self.b**2 / self.c) / self.scale

    def results(self):
        """Rate, error, Poisson and read variance, chi-square."""
        rate, chisq = self.fit()
        weight = self.dc / self.c
        both = weight[1:] * weight[:-1]
        t = self.times
        poisson = _total(weight**2 * (self.flux * t.photon[:, None]))
        poisson += 2.0 * _total(both * (self.flux * t.photon2[:, None]))
        read = _total(weight**2 * (self.read2 * t.read[:, None]))
        read += 2.0 * _total(both * (self.read2 * t.read2[:, None]))
        return rate, np.sqrt(self.scale / self.c), poisson, read, chisq

    def may_gain(self):
        """Whether leaving out one difference or two may gain enough, or too few are used to tell."""
        share, inverse, use = 1.0 / self.c, 1.0 / self.theta[self.n], self.use != 0
        r = self.db - self.b * share * self.dc
        m = self.theta[:-1] * self.phi[1:] * inverse - self.dc * self.dc * share
        wanted = ((r * r > NEARLY * LIMIT_ONE * self.scale * m) & use).any(axis=0)
        x = -(self.beta * self.theta[:-2] * self.phi[2:] * inverse) - self.dc[:-1] * self.dc[1:] * share
        gain = r[:-1] * r[:-1] * m[1:] - 2.0 * (r[:-1] * r[1:] * x) + r[1:] * r[1:] * m[:-1]
        two = gain > NEARLY * LIMIT_TWO * self.scale * (m[:-1] * m[1:] - x * x)
        wanted |= (two & use[1:] & use[:-1] & (self.times.pair[:, None] > 0)).any(axis=0)
        return wanted | (use.sum(axis=0) <= LEAST_DIFFERENCES)

    def omit(self):
        """Rate and chi-square without each difference, and without each two neighbours."""
        a, b, c, db, dc, use = self.a, self.b, self.c, self.db, self.dc, self.use
        end = self.theta[self.n]
        ci = self.theta[:-1] * self.phi[1:] / end * use
        co = -self.beta * self.theta[:-2] * self.phi[2:] / end
        rate, chisq = self.fit()
        x = (ci * b - db * dc) / (c * ci - dc**2)
        y = (db - x * dc) / ci
        one = a + x**2 * c - 2 * x * b + y**2 * ci - 2 * y * db + 2 * x * y * dc
        rate1 = np.where(use == 0, rate, x)
        one = np.where(use == 0, chisq, one / self.scale)

        dc0, dc1, db0, db1, ci0, ci1 = dc[:-1], dc[1:], db[:-1], db[1:], ci[:-1], ci[1:]
        p, q, r = dc0**2 - c * ci0, dc0 * dc1 - c * co, b * dc0 - db0 * c
        z = r / p - (b * dc1 - db1 * c) / q
        z = z / (q / p - (dc1**2 - c * ci1) / q)
        y = (r - z * q) / p
        x = (b - y * dc0 - z * dc1) / c
        two = a + x**2 * c + y**2 * ci0 + z**2 * ci1
        two -= 2 * x * b + 2 * y * db0 + 2 * z * db1
        two += 2 * x * y * dc0 + 2 * x * z * dc1 + 2 * y * z * co
        two /= self.scale
        first, second = use[:-1] == 0, use[1:] == 0
        rate2 = np.where(first, rate1[1:], np.where(second, rate1[:-1], x))
        two = np.where(first, one[1:], np.where(second, one[:-1], two))
        return rate, rate1, rate2, chisq - one, chisq - two


def _search(d, usable, times, gain, read2):
    """Leave out differences until nothing gains enough; returns what is used, and the rates."""
    n = len(d)
    use = usable.copy()
    ranked = np.sort(d, axis=0)
    guess = (ranked[(n - 1) // 2] + ranked[n // 2]) / 2.0 if n % 2 == 0 else ranked[n // 2]
    guess = np.where(np.isnan(d).any(axis=0), np.nan, guess)
    guess = guess * (guess > 0)
    first = _Fit(d, use.astype(np.float64), times, guess / gain, read2, quick=True)
    rates, chisq = first.fit()
    wanted = first.may_gain() if n > SHORT else chisq + ROUNDING * (first.a / first.scale) > LIMIT_ONE
    # Nor can be told what gains without a covariance.
    again = np.nonzero(wanted | ~((first.flux >= 0) & (read2 > 0)))[0]
    for number in range(n):
        if not len(again):
            break
        fit = _Fit(
            d[:, again], use[:, again].astype(np.float64), times, guess[again] / gain[again], read2[again]
        )
        rate, rate1, rate2, one, two = fit.omit()
        best1 = np.max(one, axis=0)
        best2 = np.max(two * times.pair[:, None], axis=0) if n > 1 else np.zeros_like(best1)
        single = best1 - LIMIT_ONE > best2 - LIMIT_TWO
        best = best1 * (best1 > LIMIT_ONE) * single + best2 * (best2 > LIMIT_TWO) * ~single
        best[best == 0] = np.nan
        drop1, drop2 = (one == best) & single, (two == best) & ~single
        any1, any2 = drop1.any(axis=0), drop2.any(axis=0)
        lost = any1 | any2
        fresh = np.where(any2, _total(rate2 * drop2), np.where(any1, _total(rate1 * drop1), 0.0))
        before = rate if number == 0 else rates[again]
        rates[again] = before * ~lost + fresh
        drop1[:-1] |= drop2
        drop1[1:] |= drop2
        use[:, again] &= ~drop1
        again = again[lost & (use[:, again].sum(axis=0) > LEAST_DIFFERENCES)]
    return use, rates


def _combine(ints):
    """Mean of the integrations, each weighted by the variance it would have with the common rate."""
    dq = ints["DQ"]
    if len(dq) == 1:
        return {name: v[0].copy() for name, v in ints.items()}
    data, poisson, read = ints["SCI"], ints["VAR_POISSON"], ints["VAR_RNOISE"]
    slope = _nan_median(data)
    for _ in range(2):
        ratio = slope / data
        ratio[~np.isfinite(ratio) | (ratio < 0)] = 0
        scaled = poisson * ratio
        weight = 1 / (scaled + read)
        weight /= _total(np.where(np.isnan(weight), np.float32(0), weight))
        slope = _nan_total(data * weight)
    out = {
        "SCI": slope,
        "VAR_POISSON": _nan_total(scaled * weight**2),
        "VAR_RNOISE": _nan_total(read * weight**2),
    }
    out["ERR"] = np.sqrt(out["VAR_POISSON"] + out["VAR_RNOISE"])
    if "CHISQ" in ints:
        out["CHISQ"] = _total(ints["CHISQ"])
    every = np.bitwise_and.reduce(dq, axis=0) & np.uint32(DNU)
    out["DQ"] = (np.bitwise_or.reduce(dq, axis=0) & ~np.uint32(DNU)) | every
    return out


def _nan_median(data):
    ranked = np.sort(data, axis=0)
    count = (~np.isnan(data)).sum(axis=0)
    low = np.take_along_axis(ranked, ((count - 1) // 2).clip(min=0)[None], axis=0)[0]
    high = np.take_along_axis(ranked, (count // 2).clip(max=len(data) - 1)[None], axis=0)[0]
    return (low + high) / np.float32(2)


def _nan_total(values):
    number = ~np.isnan(values)
    return np.where(number.any(axis=0), _total(np.where(number, values, np.float32(0))), np.float32(np.nan))

"""Clipped mean and scatter over many planes, pixel by pixel.

``clipped_mean_numpy`` is the definition; the compiled version gives the same bits.
"""

import ctypes
import math

import numpy as np

from jwcal.kernels._lib import native, ptr
from jwcal.kernels.pixelwise import sizes

_BLOCK = 64
# Croux & Rousseeuw 1992, "Time-efficient algorithms for two highly robust estimators of scale", table of b_n.
_SMALL = (1.0, 1.0, 1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107)


def deviation_units(n):
    """Find what stands for one standard deviation of m values whose median absolute deviation is 1.

    Parameters
    ----------
    n : int
        Largest m.

    Returns
    -------
    (n + 1,) float64 numpy.ndarray
        By m; 1.4826 for many values.  More for few, for which the median absolute deviation is too small,
        and by another 1 + 5/m because it scatters: of five normal values less than 1 % then are beyond
        four units, which would be 2.6 %.

    References
    ----------
    Croux & Rousseeuw 1992, COMPSTAT, 411: factors b_n.
    """
    m = np.arange(n + 1, dtype=float)
    factor = m / np.maximum(m - 0.8, 0.2)
    factor[: len(_SMALL)] = _SMALL[: n + 1]
    return 1.4826 * factor * (1 + 5 / np.maximum(m, 1))


def tail_loss(sigma):
    """Factor from the scatter of normal values within `sigma` standard deviations to that of all.

    Parameters
    ----------
    sigma : float
        Positive.

    Returns
    -------
    float
        Above 1; 1.0136 for 3.
    """
    inside = math.erf(sigma / math.sqrt(2))
    edge = math.exp(-0.5 * sigma * sigma) / math.sqrt(2 * math.pi)
    return 1 / math.sqrt(1 - 2 * sigma * edge / inside)


def clipped_mean(values, sigma=4.0, iterations=3):
    """Mean over planes without outliers.

    The first limits are `sigma` standard deviations about the median, as the median absolute
    deviation tells them; then those about the mean of what is between the limits.  A value may
    come back when the limits widen.  Where the deviation is zero nothing is clipped.

    Parameters
    ----------
    values : (n, ...) float32 numpy.ndarray
        C-contiguous.  What is not finite is left out.
    sigma : float, optional
        Clipping limit in standard deviations.
    iterations : int, optional
        How often the limits are found anew.

    Returns
    -------
    mean : (...) float32 numpy.ndarray
        NaN where there is no value.
    scatter : (...) float32 numpy.ndarray
        Standard deviation of one value, with n - 1 in the denominator, corrected for the tails that
        clipping takes from normal values; NaN where there are fewer than two.
    count : (...) int32 numpy.ndarray
        Number of values in the mean.

    Raises
    ------
    ValueError
        If dtype, layout or options are wrong.
    """
    if values.dtype != np.float32 or values.ndim < 1 or not values.flags.c_contiguous or len(values) == 0:
        raise ValueError(f"need at least one plane of contiguous float32, got {values.dtype} {values.shape}")
    if not sigma > 0 or iterations < 0:
        raise ValueError(f"cannot clip at {sigma} sigma, {iterations} times")
    n, shape = len(values), values.shape[1:]
    lib = native()
    if lib is None:
        return clipped_mean_numpy(values, sigma, iterations)
    mean, scatter, count = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.int32)
    work, key = np.empty(n * _BLOCK, np.float32), np.empty(n * _BLOCK, np.int32)
    units = deviation_units(n)
    lib.jw_clipped_mean(
        ptr(values), *sizes(n, mean.size, mean.size), ctypes.c_double(sigma), *sizes(iterations), ptr(units),
        ctypes.c_double(tail_loss(sigma)), ptr(mean), ptr(scatter), ptr(count), ptr(work), ptr(key),
    )  # fmt: skip
    return mean, scatter, count


def clipped_mean_numpy(values, sigma=4.0, iterations=3):
    """NumPy twin of `clipped_mean`."""
    n, shape = len(values), values.shape[1:]
    x = np.where(np.isfinite(values), values, np.float32(np.nan)).reshape(n, -1)
    number = np.count_nonzero(~np.isnan(x), axis=0)
    units, loss = deviation_units(n), tail_loss(sigma)
    with np.errstate(all="ignore"):
        centre = _median(np.sort(x, axis=0), number)
        deviation = _median(np.sort(np.abs(x - centre), axis=0), number)
        reach = sigma * (units[number] * deviation.astype(float))
        low = np.where(reach > 0, centre.astype(float) - reach, -np.inf)
        high = np.where(reach > 0, centre.astype(float) + reach, np.inf)
        for _ in range(iterations):
            mean, scatter, _ = _moments(x, low, high)
            reach = sigma * (scatter * loss)
            low = np.where(reach > 0, mean - reach, low)
            high = np.where(reach > 0, mean + reach, high)
        mean, scatter, kept = _moments(x, low, high)
        out = mean.astype(np.float32), (scatter * loss).astype(np.float32), kept.astype(np.int32)
    return tuple(part.reshape(shape) for part in out)


def _median(ordered, number):
    """Median of sorted columns, of which only the first `number` are values (float32)."""
    column = np.arange(ordered.shape[1])
    a = ordered[np.maximum(number - 1, 0) // 2, column].astype(float)
    b = ordered[np.minimum(number // 2, len(ordered) - 1), column].astype(float)
    return np.where(number > 0, (a + b) / 2, np.nan).astype(np.float32)


def _moments(x, low, high):
    """Mean, standard deviation and number of the values between limits, added up plane by plane."""
    total, number = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for plane in x:
        value = plane.astype(float)
        kept = (value >= low) & (value <= high)
        total += np.where(kept, value, 0.0)
        number += kept
    mean = total / number
    squares = np.zeros(x.shape[1])
    for plane in x:
        value = plane.astype(float)
        kept = (value >= low) & (value <= high)
        squares += np.where(kept, (value - mean) * (value - mean), 0.0)
    return mean, np.where(number > 1, np.sqrt(squares / (number - 1)), np.nan), number

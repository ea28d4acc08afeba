"""Samples of the interleaved readout (IRS2): image to time order and back, offsets, slopes, gaps.

Every image row is one sample of all lines, every image column one line.  All functions come as C
and as a NumPy twin (``*_numpy``) with the same result, bit for bit.
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr

_size = ctypes.c_ssize_t


def unfold(image, mean, rows, slots, series, *, mirrored=False):
    """Bring the samples of one output into the order in which they were read.

    Parameters
    ----------
    image : (nrow, nline) float32 numpy.ndarray
        One group; DN.
    mean : (nrow, nline) float64 numpy.ndarray
        Level of each pixel, subtracted; DN.
    rows : (nsample,) intp numpy.ndarray
        Image row of each sample of a line.
    slots : (nsample,) intp numpy.ndarray
        Place of each sample among the `nslot` time steps of a line.
    series : (nline, nslot) float32 numpy.ndarray
        Receives the samples; 0 where none was taken.
    mirrored : bool
        Lines follow each other from the last image column to the first.
    """
    nline = image.shape[1]
    _check(image.shape, nline, rows, slots, series)
    plane(image, image.shape, np.float32, "image")
    plane(mean, image.shape, np.float64, "mean")
    if native() is None:
        unfold_numpy(image, mean, rows, slots, series, mirrored=mirrored)
        return
    native().jw_irs2_unfold(
        ptr(image), ptr(mean), _size(nline), ptr(rows), ptr(slots), _size(len(rows)),
        _size(series.shape[1]), ctypes.c_int(bool(mirrored)), ptr(series),
    )  # fmt: skip


def unfold_numpy(image, mean, rows, slots, series, *, mirrored=False):
    """NumPy twin of `unfold`."""
    series[...] = 0
    with np.errstate(all="ignore"):
        samples = (image[rows].astype(np.float64) - mean[rows]).astype(np.float32)
    series[:, slots] = samples.T[::-1] if mirrored else samples.T


def fold(series, correction, mean, rows, targets, slots, image, *, mirrored=False):
    """Put samples back into an image, corrected and with their level.

    Parameters
    ----------
    series : (nline, nslot) float32 numpy.ndarray
        Samples in the order in which they were read; DN.
    correction : (nline, nslot) float32 numpy.ndarray or None
        Subtracted; DN.
    mean : (nrow, nline) float64 numpy.ndarray
        Level of each pixel of the raw image, added; DN.
    rows : (nsample,) intp numpy.ndarray
        Row of `mean` for each sample; below 0 nothing is added.
    targets : (nsample,) intp numpy.ndarray
        Row of `image` each sample goes to.
    slots : (nsample,) intp numpy.ndarray
        Place of each sample in a line.
    image : (n, nline) float32 numpy.ndarray
        Receives the rows in `targets`.
    mirrored : bool
        Lines follow each other from the last image column to the first.
    """
    nline = image.shape[1]
    _check(image.shape, nline, targets, slots, series)
    plane(image, image.shape, np.float32, "image")
    plane(mean, (len(mean), nline), np.float64, "mean")
    plane(rows, targets.shape, np.intp, "rows")
    if rows.size and rows.max() >= len(mean):
        raise ValueError("rows outside the raw image")
    if correction is not None:
        plane(correction, series.shape, np.float32, "correction")
    if native() is None:
        fold_numpy(series, correction, mean, rows, targets, slots, image, mirrored=mirrored)
        return
    native().jw_irs2_fold(
        ptr(series), ptr(correction), ptr(mean), _size(nline), ptr(rows), ptr(targets), ptr(slots),
        _size(len(rows)), _size(series.shape[1]), ctypes.c_int(bool(mirrored)), ptr(image),
    )  # fmt: skip


def fold_numpy(series, correction, mean, rows, targets, slots, image, *, mirrored=False):
    """NumPy twin of `fold`."""
    with np.errstate(all="ignore"):
        samples = series[:, slots]
        if correction is not None:
            samples = samples - correction[:, slots]
        samples = (samples[::-1] if mirrored else samples).T
        level = np.where((rows < 0)[:, None], 0.0, mean[rows])
        image[targets] = np.where((rows < 0)[:, None], samples, samples + level)


def detrend(series, intercept, slope):
    """Subtract, in place, a straight line in time from the samples that are not zero.

    Parameters
    ----------
    series : (n,) float32 numpy.ndarray
        Samples; 0 means none was taken; DN.
    intercept, slope : numpy.float32
        Value in the middle of the series, DN, and its change per sample.
    """
    plane(series, (series.size,), np.float32, "series")
    if native() is None:
        detrend_numpy(series, intercept, slope)
        return
    native().jw_irs2_detrend(
        ptr(series), _size(series.size), ctypes.c_float(intercept), ctypes.c_float(slope)
    )


def detrend_numpy(series, intercept, slope):
    """NumPy twin of `detrend`."""
    with np.errstate(all="ignore"):
        drift = np.float32(intercept) + times(series.size) * np.float32(slope)
        series -= drift * (series != 0).astype(np.float32)


def times(count):
    """Time steps of a series from its middle, (count,) float32."""
    return (np.arange(count) - (count - 1) / 2).astype(np.float32)


def bridge(series, weights, out):
    """Replace samples that are exactly zero by a weighted mean of their neighbours.

    Parameters
    ----------
    series : (n,) float32 numpy.ndarray
        Samples; the last is followed by the first; DN.
    weights : (2 * reach + 1,) float64 numpy.ndarray
        Weight by distance; fewer than `n`.
    out : (n,) float32 numpy.ndarray
        Receives the result; samples without a neighbour that is not zero stay zero.
    """
    plane(series, (series.size,), np.float32, "series")
    plane(out, series.shape, np.float32, "out")
    plane(weights, weights.shape, np.float64, "weights")
    if weights.ndim != 1 or weights.size % 2 == 0 or weights.size > series.size:
        raise ValueError("weights: need an odd number of them, no more than there are samples")
    if np.shares_memory(series, out):
        raise ValueError("out: need another array than the series")
    if native() is None:
        bridge_numpy(series, weights, out)
        return
    native().jw_irs2_bridge(ptr(series), _size(series.size), ptr(weights), _size(weights.size // 2), ptr(out))


def bridge_numpy(series, weights, out):
    """NumPy twin of `bridge`."""
    reach = weights.size // 2
    where = np.flatnonzero(series == 0)
    # The last comes first, as in the convolution of the official package.
    steps = [reach, *range(-reach, reach)]
    upper, lower = np.zeros(where.size), np.zeros(where.size)
    for step in steps:
        near = series[(where + step) % series.size]
        upper += near.astype(np.float64) * weights[step + reach]
        lower += (near != 0) * weights[step + reach]
    upper, lower = upper.astype(np.float32), lower.astype(np.float32)
    filled = np.where(lower == 0, np.float32(0), upper / np.where(lower == 0, np.float32(1), lower))
    out[:] = series
    out[where] += filled


def _check(shape, nline, rows, slots, series):
    plane(rows, rows.shape, np.intp, "rows")
    plane(slots, rows.shape, np.intp, "slots")
    plane(series, (nline, series.shape[1]), np.float32, "series")
    if rows.size and (rows.min() < 0 or rows.max() >= shape[0]):
        raise ValueError("rows outside the image")
    if rows.size and (slots.min() < 0 or slots.max() >= series.shape[1]):
        raise ValueError("slots outside a line")

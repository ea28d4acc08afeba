"""Reference-pixel signals: clipped means, running medians, and their subtraction in one pass.

All functions come as C and as a NumPy twin (``*_numpy``) with the same result, bit for bit.
Where a flag selects single precision, the arithmetic is that of float32 arrays throughout.
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr

_size = ctypes.c_ssize_t


def clipped_means(values, index, bounds, limit, single):
    """Sigma-clipped means of sets of pixels, in every group.

    Values beyond `limit` standard deviations of the mean are removed until none is left to
    remove.  NaN counts as absent.

    Parameters
    ----------
    values : (ngroup, npixel) float32 numpy.ndarray
        Pixels of each group, contiguous along the last axis; DN.
    index : (nindex,) int32 numpy.ndarray
        Positions in a group, set after set; the order decides the last bit of the sums.
    bounds : (nset + 1,) intp numpy.ndarray
        Set ``s`` is ``index[bounds[s]:bounds[s + 1]]``.
    limit : float
        Clipping limit in standard deviations.
    single : (ngroup,) uint8 numpy.ndarray
        Non-zero: float32 arithmetic, zero: float64.

    Returns
    -------
    means : (ngroup, nset) float64 numpy.ndarray
        NaN where a set holds no value.
    uniform : (ngroup, nset) uint8 numpy.ndarray
        1 where all values of a set are equal.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    ngroup, npixel = values.shape
    nset = len(bounds) - 1
    if values.dtype != np.float32 or (npixel > 1 and values.strides[1] != 4) or values.strides[0] % 4:
        raise ValueError("values: need float32 groups, contiguous along the last axis")
    plane(index, (index.size,), np.int32, "index")
    plane(bounds, (nset + 1,), np.intp, "bounds")
    plane(single, (ngroup,), np.uint8, "single")
    if index.size and (index.min() < 0 or index.max() >= npixel):
        raise ValueError("index points outside a group")
    if bounds[0] < 0 or bounds[-1] > index.size or (np.diff(bounds) < 0).any():
        raise ValueError("bounds do not divide the index")
    if native() is None:
        return clipped_means_numpy(values, index, bounds, limit, single)
    means = np.empty((ngroup, nset))
    uniform = np.empty((ngroup, nset), np.uint8)
    failed = native().jw_clipped_means(
        ptr(values),
        _size(ngroup),
        _size(values.strides[0] // 4),
        ptr(index),
        ptr(bounds),
        _size(nset),
        ctypes.c_double(limit),
        ptr(single),
        ptr(means),
        ptr(uniform),
    )
    if failed:
        raise MemoryError("clipped means")
    return means, uniform


def clipped_means_numpy(values, index, bounds, limit, single):
    """NumPy twin of `clipped_means`."""
    ngroup, nset = len(values), len(bounds) - 1
    means = np.full((ngroup, nset), np.nan)
    uniform = np.zeros((ngroup, nset), np.uint8)
    for g in range(ngroup):
        dtype = np.float32 if single[g] else np.float64
        for s in range(nset):
            sample = values[g, index[bounds[s] : bounds[s + 1]]].astype(dtype)
            sample = sample[~np.isnan(sample)]
            if sample.size == 0:
                continue
            if (sample == sample[0]).all():
                means[g, s], uniform[g, s] = sample[0], 1
            else:
                with np.errstate(all="ignore"):
                    means[g, s] = _clip(sample, dtype(limit))
    return means, uniform


def _clip(sample, limit):
    while True:
        count = sample.dtype.type(sample.size)
        mean = sample.sum() / count
        reach = np.sqrt(((sample - mean) ** 2).sum() / count) * limit
        kept = sample[(sample >= mean - reach) & (sample <= mean + reach)]
        if kept.size in {0, sample.size}:
            return mean
        sample = kept


def running_median(values, good, length, single, first=0, total=None):
    """Median over all columns in a window that runs along the rows, in every group.

    The window holds rows ``r - length // 2`` up to, not including, ``r - length // 2 + length``;
    at the ends of the detector it continues with the rows reflected about the outermost one.
    NaN counts as absent.

    Parameters
    ----------
    values : (ngroup, nrow, ncol) float64 numpy.ndarray
        Side reference pixels; DN.
    good : (nrow, ncol) uint8 numpy.ndarray
        Non-zero where a pixel may be used.
    length : int
        Rows in the window, 1 to ``2 * total - 1``.
    single : (ngroup,) uint8 numpy.ndarray
        Non-zero: the mean of the two middle values is rounded to float32.
    first : int
        Row of the detector at which the values start.
    total : int or None
        Rows of the whole detector; None means `nrow`.

    Returns
    -------
    (ngroup, nrow) float64 numpy.ndarray
        NaN where a window holds no value.

    Raises
    ------
    ValueError
        If a layout does not fit, or the window is too long to be reflected.
    """
    ngroup, nrow, ncol = values.shape
    total = nrow if total is None else total
    plane(values, (ngroup, nrow, ncol), np.float64, "values")
    plane(good, (nrow, ncol), np.uint8, "good")
    plane(single, (ngroup,), np.uint8, "single")
    if not 1 <= length < 2 * total or first < 0 or first + nrow > total:
        raise ValueError(f"a window of {length} rows does not fit {total} rows")
    if native() is None:
        return running_median_numpy(values, good, length, single, first, total)
    out = np.empty((ngroup, nrow))
    failed = native().jw_running_median(
        ptr(values),
        ptr(good),
        _size(ngroup),
        _size(nrow),
        _size(ncol),
        _size(first),
        _size(total),
        _size(length),
        ptr(single),
        ptr(out),
    )
    if failed:
        raise MemoryError("running median")
    return out


def running_median_numpy(values, good, length, single, first=0, total=None):
    """NumPy twin of `running_median`."""
    ngroup, nrow, _ = values.shape
    total = nrow if total is None else total
    used = np.where(good != 0, values, np.nan)
    out = np.full((ngroup, nrow), np.nan)
    for i in range(nrow):
        rows = np.abs(np.arange(length) + (first + i - length // 2))
        rows = np.where(rows >= total, 2 * (total - 1) - rows, rows) - first
        rows = rows[(rows >= 0) & (rows < nrow)]
        window = np.sort(used[:, rows].reshape(ngroup, -1), axis=1)
        for g in range(ngroup):
            n = window.shape[1] - int(np.isnan(window[g]).sum())
            if n == 0:
                continue
            low, high = window[g, (n - 1) // 2], window[g, n // 2]
            with np.errstate(invalid="ignore", over="ignore"):
                pair = np.float64(np.float32(low + high)) if single[g] else low + high
            out[g, i] = high if n % 2 else pair / 2
    return out


def subtract_profiles(sci, along_x, along_y, rounded, *, x_first, keep_zero=False):
    """Subtract, in place, one profile along x and one along y from every group.

    Computed in double precision.

    Parameters
    ----------
    sci : (ngroup, ny, nx) float32 numpy.ndarray
        Groups with contiguous rows; changed in place; DN.
    along_x : (ngroup, nx) float64 numpy.ndarray
        Profile subtracted from every row; may be a view with spaced groups.
    along_y : (ngroup, ny) float64 numpy.ndarray
        Profile subtracted from every column; may be a view with spaced groups.
    rounded : (ngroup,) uint8 numpy.ndarray
        Non-zero: round to float32 between the two subtractions.
    x_first : bool
        Which profile is subtracted first.
    keep_zero : bool
        Leave pixels that are exactly zero as they are ("no measurement" in a zero frame).

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    ngroup, ny, nx = sci.shape
    _groups(sci)
    for profile, n, name in ((along_x, nx, "along_x"), (along_y, ny, "along_y")):
        if profile.shape != (ngroup, n) or profile.dtype != np.float64 or (n > 1 and profile.strides[1] != 8):
            raise ValueError(f"{name}: need contiguous float64 profiles of shape {(ngroup, n)}")
    plane(rounded, (ngroup,), np.uint8, "rounded")
    if native() is None:
        subtract_profiles_numpy(sci, along_x, along_y, rounded, x_first=x_first, keep_zero=keep_zero)
        return
    native().jw_subtract_profiles(
        ptr(sci),
        _size(ngroup),
        _size(sci.strides[0] // 4),
        _size(ny),
        _size(nx),
        ptr(along_x),
        _size(along_x.strides[0] // 8),
        ptr(along_y),
        _size(along_y.strides[0] // 8),
        ptr(rounded),
        ctypes.c_int(bool(x_first)),
        ctypes.c_int(bool(keep_zero)),
    )


def subtract_profiles_numpy(sci, along_x, along_y, rounded, *, x_first, keep_zero=False):
    """NumPy twin of `subtract_profiles`."""
    for g, frame in enumerate(sci):
        profiles = [along_x[g][None, :], along_y[g][:, None]]
        first, second = profiles if x_first else profiles[::-1]
        with np.errstate(all="ignore"):
            step = frame.astype(np.float64) - first
            if rounded[g]:
                step = step.astype(np.float32).astype(np.float64)
            result = (step - second).astype(np.float32)
        if keep_zero:
            np.copyto(frame, result, where=frame != 0)
        else:
            frame[...] = result


def subtract_row_parity(sci, drift, y0=0):
    """Subtract, in place, a drift since the first group that differs for even and odd rows.

    The first group is taken off, the drift subtracted, and the first group added again, each
    rounded to float32; the first group itself stays.

    Parameters
    ----------
    sci : (ngroup, ny, nx) float32 numpy.ndarray
        Groups of one integration with contiguous rows; changed in place; DN.
    drift : (ngroup, 2, nx) float64 numpy.ndarray
        Drift of even and of odd rows of the frame; columns contiguous.
    y0 : int
        Row of the frame at which `sci` starts.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    ngroup, ny, nx = sci.shape
    _groups(sci)
    if drift.shape != (ngroup, 2, nx) or drift.dtype != np.float64 or (nx > 1 and drift.strides[2] != 8):
        raise ValueError(f"drift: need a float64 array of shape {(ngroup, 2, nx)} with contiguous columns")
    if native() is None:
        subtract_row_parity_numpy(sci, drift, y0)
        return
    native().jw_subtract_row_parity(
        ptr(sci),
        _size(ngroup),
        _size(sci.strides[0] // 4),
        _size(ny),
        _size(nx),
        ptr(drift),
        _size(drift.strides[0] // 8),
        _size(drift.strides[1] // 8),
        _size(y0),
    )


def subtract_row_parity_numpy(sci, drift, y0=0):
    """NumPy twin of `subtract_row_parity`."""
    parity = (y0 + np.arange(sci.shape[1])) % 2
    for g in range(1, len(sci)):
        with np.errstate(all="ignore"):
            since = (sci[g] - sci[0]).astype(np.float64) - drift[g][parity]
            sci[g] = since.astype(np.float32) + sci[0]


def _groups(sci):
    _, ny, nx = sci.shape
    if (
        sci.dtype != np.float32
        or (nx > 1 and sci.strides[2] != 4)
        or (ny > 1 and sci.strides[1] != 4 * nx)
        or sci.strides[0] % 4
    ):
        raise ValueError("sci: need float32 groups with contiguous rows")

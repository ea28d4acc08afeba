"""Periodic interference in MIRI ramps: scatter, sums by phase, subtraction of a waveform.

A "line" is four neighbouring columns, one of each output, which are read at the same time.
``*_numpy`` are the definitions; the compiled versions give the same bits.
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr, ramp_layout
from jwcal.kernels.pixelwise import sizes

OUTPUTS = 4
# Sums are kept in units of 2^-20 DN as whole numbers: they do not depend on the order of the pixels.
UNIT = 2.0**-20


def scatter(sci):
    """Return the standard deviation of every ramp over its groups, in single precision.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN.

    Returns
    -------
    (nint, ny, nx) float32 numpy.ndarray
        DN; NaN where a group is.
    """
    strides = ramp_layout(sci, "f4", "SCI")
    nint, ngroup, ny, nx = sci.shape
    lib = native()
    if lib is None:
        return scatter_numpy(sci)
    out = np.empty((nint, ny, nx), np.float32)
    lib.jw_emi_scatter(ptr(sci), *sizes(nint, ngroup, ny * nx, *strides), ptr(out))
    return out


def scatter_numpy(sci):
    """NumPy twin of `scatter`."""
    ngroup = np.float32(sci.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sci[:, 0].copy()
        for g in range(1, sci.shape[1]):
            mean += sci[:, g]
        mean /= ngroup
        total = np.square(sci[:, 0] - mean)
        for g in range(1, sci.shape[1]):
            total += np.square(sci[:, g] - mean)
        return np.sqrt(total / ngroup)


def roughness(sci):
    """Return the standard deviation of every ramp about a straight line.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps of at least three groups, DN.

    Returns
    -------
    (nint, ny, nx) float32 numpy.ndarray
        DN; NaN where a group is.
    """
    strides = ramp_layout(sci, "f4", "SCI")
    nint, ngroup, ny, nx = sci.shape
    if ngroup < 3:
        raise ValueError("three groups are needed for a scatter about a line")
    lib = native()
    if lib is None:
        return roughness_numpy(sci)
    out = np.empty((nint, ny, nx), np.float32)
    lib.jw_emi_roughness(
        ptr(sci), *sizes(nint, ngroup, ny * nx, *strides), ctypes.c_double(_moment(ngroup)), ptr(out)
    )
    return out


def roughness_numpy(sci):
    """NumPy twin of `roughness`."""
    ngroup = sci.shape[1]
    time = np.arange(ngroup) - 0.5 * (ngroup - 1)
    mean, slope, total = np.zeros((3, len(sci), *sci.shape[2:]))
    with np.errstate(over="ignore", invalid="ignore"):
        for g, t in enumerate(time):
            mean += sci[:, g]
            slope += t * sci[:, g].astype(np.float64)
        mean /= ngroup
        slope /= _moment(ngroup)
        for g, t in enumerate(time):
            total += np.square(sci[:, g] - mean - t * slope)
        return np.sqrt(total / (ngroup - 2)).astype(np.float32)


def _moment(ngroup):
    return ngroup * (ngroup * ngroup - 1) / 12


def fold(sci, spread, bins, limit, sums, counts):
    """Add the quiet ramps of each phase, group by group.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN.
    spread : (nint, ny, nx) float32 numpy.ndarray
        Their scatter, DN.
    bins : (ny, nx) int32 numpy.ndarray
        Phase of each pixel as a number from 0; negative for pixels that are not used.
    limit : float
        Pixels whose scatter is below this are used, DN.
    sums : (nint, ngroup, nphase) int64 numpy.ndarray
        Added to, in units of `UNIT` DN.
    counts : (nint, nphase) int64 numpy.ndarray
        Added to: pixels used.
    """
    strides = ramp_layout(sci, "f4", "SCI")
    nint, ngroup, ny, nx = sci.shape
    nphase = counts.shape[1]
    plane(spread, (nint, ny, nx), "f4", "scatter")
    plane(bins, (ny, nx), "i4", "phases")
    plane(sums, (nint, ngroup, nphase), "i8", "sums")
    plane(counts, (nint, nphase), "i8", "counts")
    lib = native()
    if lib is None:
        fold_numpy(sci, spread, bins, limit, sums, counts)
        return
    lib.jw_emi_fold(
        ptr(sci), *sizes(nint, ngroup, ny * nx, *strides), ptr(spread), ptr(bins), ctypes.c_float(limit),
        *sizes(nphase), ptr(sums), ptr(counts),
    )  # fmt: skip


def fold_numpy(sci, spread, bins, limit, sums, counts):
    """NumPy twin of `fold`."""
    for i, ramp in enumerate(sci):
        y, x = np.nonzero((bins >= 0) & (spread[i] < np.float32(limit)))
        at = bins[y, x]
        np.add.at(counts[i], at, 1)
        for g, group in enumerate(ramp):
            np.add.at(sums[i, g], at, in_units(group[y, x]))


def in_units(values):
    """Values as whole numbers of `UNIT`.

    Parameters
    ----------
    values : float32 numpy.ndarray
        DN.

    Returns
    -------
    int64 numpy.ndarray
    """
    return np.rint(values.astype(np.float64) / UNIT).astype(np.int64)


def cubic_pieces(wave):
    """Spline through one period of a waveform, as cubic pieces.

    The samples lie in the middle of equal parts of the period; one sample of the neighbouring periods
    is added at each end, and the spline has no knot next to them ("not-a-knot").

    Parameters
    ----------
    wave : (n,) array
        Samples, n of at least 2.

    Returns
    -------
    (n + 1, 4) float64 numpy.ndarray
        Coefficients of 1, t, t^2, t^3 for t from 0 to 1 between two samples.
    """
    wave = np.asarray(wave, np.float64)
    y = np.concatenate([wave[-1:], wave, wave[:1]])
    n = len(y)
    # Unknown: the second derivative at each sample.
    matrix = np.zeros((n, n))
    right = np.zeros(n)
    k = np.arange(1, n - 1)
    matrix[k, k - 1], matrix[k, k], matrix[k, k + 1] = 1, 4, 1
    right[1:-1] = 6 * (y[2:] - 2 * y[1:-1] + y[:-2])
    matrix[0, :3] = matrix[-1, -3:] = 1, -2, 1
    second = np.linalg.solve(matrix, right)
    left, after = second[:-1], second[1:]
    return np.ascontiguousarray(
        np.stack([y[:-1], y[1:] - y[:-1] - (2 * left + after) / 6, left / 2, (after - left) / 6], axis=1)
    )


def wave_at(phase, cubic):
    """Value of a waveform.

    Parameters
    ----------
    phase : float64 numpy.ndarray
        From 0 to 1, C-contiguous.
    cubic : (n + 1, 4) float64 numpy.ndarray
        From `cubic_pieces`.

    Returns
    -------
    float64 numpy.ndarray
        Of the shape of `phase`.
    """
    plane(phase, phase.shape, "f8", "phase")
    plane(cubic, (len(cubic), 4), "f8", "waveform")
    lib = native()
    if lib is None:
        return wave_at_numpy(phase, cubic)
    out = np.empty_like(phase)
    lib.jw_emi_wave(ptr(phase), *sizes(phase.size), ptr(cubic), *sizes(len(cubic) - 1), ptr(out))
    return out


def wave_at_numpy(phase, cubic):
    """NumPy twin of `wave_at`."""
    at = phase * float(len(cubic) - 1) + 0.5
    piece = at.astype(np.int64)
    t = at - piece
    c0, c1, c2, c3 = cubic.T
    return c0[piece] + t * (c1[piece] + t * (c2[piece] + t * c3[piece]))


def subtract_wave(sci, phase, step, shift, amplitude, cubic, x0=0):
    """Subtract a waveform whose phase is known for every pixel, group and integration.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN; changed in place.
    phase : (ny, nline) float64 numpy.ndarray
        Phase of each line in the first group.
    step : (ngroup,) float64 numpy.ndarray
        Added to it in each group.
    shift, amplitude : (nint,) float64 numpy.ndarray
        Added to it in each integration; factor of the waveform.
    cubic : (n + 1, 4) float64 numpy.ndarray
        From `cubic_pieces`.
    x0 : int
        Column of the frame at which `sci` begins.
    """
    strides = ramp_layout(sci, "f4", "SCI")
    nint, ngroup, ny, nx = sci.shape
    plane(phase, (ny, phase.shape[1]), "f8", "phase")
    plane(step, (ngroup,), "f8", "step")
    plane(shift, (nint,), "f8", "shift")
    plane(amplitude, (nint,), "f8", "amplitude")
    plane(cubic, (len(cubic), 4), "f8", "waveform")
    _check_lines(phase.shape[1], x0, nx)
    lib = native()
    if lib is None:
        subtract_wave_numpy(sci, phase, step, shift, amplitude, cubic, x0)
        return
    lib.jw_emi_subtract_wave(
        ptr(sci), *sizes(nint, ngroup, ny, nx, *strides, x0), ptr(phase), *sizes(phase.shape[1]), ptr(step),
        ptr(shift), ptr(amplitude), ptr(cubic), *sizes(len(cubic) - 1),
    )  # fmt: skip


def subtract_wave_numpy(sci, phase, step, shift, amplitude, cubic, x0=0):
    """NumPy twin of `subtract_wave`."""
    line = (x0 + np.arange(sci.shape[3])) // OUTPUTS
    for ramp, begin, factor in zip(sci, shift, amplitude, strict=True):
        for group, add in zip(ramp, step, strict=True):
            at = phase + add + begin
            noise = factor * wave_at_numpy(at - np.floor(at), cubic)
            group[...] = group - noise[:, line]


def subtract_table(sci, start, samples, last, nline, period, table, x0=0):
    """Subtract the entries of a table of one period, looked up by the time at which a pixel is read.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN; changed in place.
    start : (nint, ngroup, ny) float64 numpy.ndarray
        Time at which the first line of each row is read, clock cycles.
    samples : float
        Clock cycles from one line to the next.
    last : float
        Clock cycles by which the last line is late.
    nline : int
        Lines of the whole frame.
    period : float
        Clock cycles.
    table : (n,) float64 numpy.ndarray
        DN; entry k is for the k-th clock cycle of a period.
    x0 : int
        Column of the frame at which `sci` begins.
    """
    strides = ramp_layout(sci, "f4", "SCI")
    nint, ngroup, ny, nx = sci.shape
    plane(start, (nint, ngroup, ny), "f8", "start")
    plane(table, (len(table),), "f8", "table")
    _check_lines(nline, x0, nx)
    lib = native()
    if lib is None:
        subtract_table_numpy(sci, start, samples, last, nline, period, table, x0)
        return
    lib.jw_emi_subtract_table(
        ptr(sci), *sizes(nint, ngroup, ny, nx, *strides, x0), ptr(start), ctypes.c_double(samples),
        ctypes.c_double(last), *sizes(nline), ctypes.c_double(period), ptr(table), *sizes(len(table)),
    )  # fmt: skip


def subtract_table_numpy(sci, start, samples, last, nline, period, table, x0=0):
    """NumPy twin of `subtract_table`."""
    line = (x0 + np.arange(sci.shape[3])) // OUTPUTS
    late = np.where(line == nline - 1, last, 0.0)
    for ramp, begins in zip(sci, start, strict=True):
        for group, begin in zip(ramp, begins, strict=True):
            entry = (phases(begin[:, None] + line * samples + late, period) * period).astype(np.int64)
            group[...] = group - table[np.minimum(entry, len(table) - 1)]


def phases(time, period):
    """Phase from 0 to 1 of times in clock cycles."""
    turns = time / period
    return turns - np.floor(turns)


def _check_lines(nline, x0, nx):
    if (x0 + nx - 1) // OUTPUTS >= nline:
        raise ValueError(f"columns up to {x0 + nx} are beyond {nline} lines of {OUTPUTS}")

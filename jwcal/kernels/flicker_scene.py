"""Flicker noise against the mean scene: offsets of lines, smooth background, segments of lines.

The functions ending in ``_numpy`` are the definition; the compiled versions give the same bits.
A mean scene has its lines along the second axis.  Its background is given by medians of square
cells, between whose centres it changes linearly; boxes of `BOX` pixels hide sources.
"""

import ctypes
from dataclasses import dataclass

import numpy as np

from jwcal.kernels._lib import native, plane, ptr, ramp_layout
from jwcal.kernels.flicker import DNU, JUMP, SATURATED
from jwcal.kernels.pixelwise import sizes

BOX = 4
LANES = 16
SAMPLE = 128
LEAST_SAMPLE = 16
NOISE_SCALE = np.float32(1.4826 / 1.4142135623730951)


def line_scene(sci, gdq, weight, axis, parts=1, bright=10.0, lines=None, out=None):
    """Split the differences of groups, line by line, into a scene that stays and offsets that change.

    The scene is the weighted mean of the differences; the offset of a difference is the mean of its
    deviations from the scene, without bright pixels and without those beyond four sigma (median and
    median deviation, of 128 pixels at least where there are as many).  Differences with
    a DO_NOT_USE or SATURATED group, or that end in a JUMP_DET, are left out pixel by pixel.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags.
    weight : (nint * (ngroup - 1),) float64 numpy.ndarray
        Weight of each difference in the scene; 0 leaves it out.
    axis : int
        1: lines are rows; 0: columns.
    parts : int
        Every line is cut into this many equal parts.
    bright : float
        Pixels whose scene is further than this many sigma of a difference from the median of the line
        tell nothing about its offset.
    lines : (int, int) or None
        First line and the one after the last; None is all.
    out : tuple or None
        As returned; filled for these lines.

    Returns
    -------
    scene : (ny, nx) float32 numpy.ndarray
        DN per group, NaN where no difference is usable.
    offset, sigma : (nline, parts, nint * (ngroup - 1)) float32 numpy.ndarray
        Offset of each difference, and the standard deviation of its pixels, DN.
    count : int32 numpy.ndarray
        Pixels the offset is from.
    """
    nint, ngroup, ny, nx = sci.shape
    strides = (*ramp_layout(sci, np.float32, "sci"), *ramp_layout(gdq, np.uint8, "gdq"))
    nline, length = (ny, nx) if axis else (nx, ny)
    nd = nint * (ngroup - 1)
    if gdq.shape != sci.shape or length % parts:
        raise ValueError(f"gdq {gdq.shape} and {parts} parts do not fit sci {sci.shape}")
    plane(weight, (nd,), np.float64, "weight")
    first, last = lines or (0, nline)
    if out is None:
        out = scene_arrays(sci.shape, axis, parts)
    lib = native()
    if lib is None:
        line_scene_numpy(sci, gdq, weight, axis, parts, bright, (first, last), out)
        return out
    if lib.jw_line_scene(
        ptr(sci), *sizes(*strides[:2]), ptr(gdq), *sizes(*strides[2:], nint, ngroup, nx), ctypes.c_int(axis),
        *sizes(length // parts, parts), ptr(weight), ctypes.c_double(bright), *sizes(first, last),
        *(ptr(array) for array in out),
    ):  # fmt: skip
        raise MemoryError("scene of lines")
    return out


def scene_arrays(shape, axis, parts):
    """Arrays for the results of `line_scene` of ramps of a shape."""
    nint, ngroup, ny, nx = shape
    pieces = ((ny, nx)[1 - axis], parts, nint * (ngroup - 1))
    return (
        np.empty((ny, nx), np.float32), np.empty(pieces, np.float32), np.empty(pieces, np.float32),
        np.empty(pieces, np.int32),
    )  # fmt: skip


def line_scene_numpy(sci, gdq, weight, axis, parts, bright, lines, out):
    """NumPy twin of `line_scene`; fills `out`."""
    scene, offset, sigma, count = out
    nint, ngroup = sci.shape[:2]
    for line in range(*lines):
        take = (slice(None), slice(None), line) if axis else (Ellipsis, line)
        ramp, flags = sci[take], gdq[take]
        with np.errstate(all="ignore"):
            diff = (ramp[:, 1:] - ramp[:, :-1]).reshape(nint * (ngroup - 1), -1)
        bad = (flags[:, 1:] & (DNU | SATURATED | JUMP)) | (flags[:, :-1] & (DNU | SATURATED))
        use = (bad.reshape(diff.shape) == 0) & np.isfinite(diff) & (weight > 0)[:, None]
        diff = np.where(use, diff, np.float32(0))
        for part, piece in enumerate(np.split(np.arange(diff.shape[1]), parts)):
            found = _one_line(diff[:, piece], use[:, piece], weight, bright)
            at = (line, piece) if axis else (piece, line)
            scene[at], offset[line, part], sigma[line, part], count[line, part] = found


def _one_line(diff, use, weight, bright):
    length = diff.shape[1]
    step = max(length // SAMPLE, 1)
    offset = np.zeros(len(diff), np.float32)
    sigma, count = offset.copy(), np.zeros(len(diff), np.int32)
    scene = _mean_scene(diff, use, weight, offset)
    good = ~np.isnan(scene)
    level = _median(scene[good])
    for d, values in enumerate(diff):
        rest = values - scene
        usable = use[d] & good
        sample = rest[::step][usable[::step]]
        if sample.size < LEAST_SAMPLE and step > 1:
            sample = rest[usable]
        median = _median(sample)
        sigma[d] = np.float32(1.4826) * _median(np.abs(sample - median))
        offset[d], count[d] = _clipped_mean(rest, usable, median, np.float32(4) * sigma[d])
    scene = _mean_scene(diff, use, weight, offset)
    limit = np.float32(bright) * _median(sigma[count > 0])
    with np.errstate(invalid="ignore"):
        good = np.abs(scene - level) <= limit
    for d, values in enumerate(diff):
        found = _clipped_mean(values - scene, use[d] & good, offset[d], np.float32(4) * sigma[d])
        offset[d], count[d] = found
    return _mean_scene(diff, use, weight, offset), offset, sigma, count


def _clipped_mean(rest, usable, centre, limit):
    with np.errstate(invalid="ignore"):
        kept = usable & (np.abs(rest - centre) <= limit)
    padded = np.zeros((-(-rest.size // LANES) + 1, LANES), np.float32)
    padded[1:].reshape(-1)[: rest.size] = np.where(kept, rest, np.float32(0))
    # Added up one by one, as the compiled version does.
    lanes = np.cumsum(padded, axis=0)[-1]
    count = np.int32(kept.sum())
    return (np.cumsum(lanes.astype(np.float64))[-1] / count if count else np.float32(0)), count


def _mean_scene(diff, use, weight, offset):
    total, summed = (np.zeros(diff.shape[1], np.float32) for _ in range(2))
    for values, good, w, r in zip(diff, use, weight.astype(np.float32), offset, strict=True):
        wx = np.where(good, w, np.float32(0))
        summed += wx * (values - r)
        total += wx
    with np.errstate(all="ignore"):
        return np.where(total > 0, summed / total, np.float32(np.nan))


def _median(values):
    values = np.sort(values)
    n = values.size
    return (values[(n - 1) // 2] + values[n // 2]) / np.float32(2) if n else np.float32(0)


def cells_of(shape, size):
    """Count the square cells of an edge ``size`` down and across an image."""
    return -(-shape[0] // size), -(-shape[1] // size)


def cell_noise(image, use, size, rows=None, out=None):
    """Noise of pixels in square cells, from the differences of neighbours in every fourth row.

    Parameters
    ----------
    image : (nline, length) float32 numpy.ndarray
        Mean scene.
    use : (nline, length) uint8 numpy.ndarray
        1 where it may be used.
    size : int
        Edge of a cell, a multiple of 4.
    rows : (int, int) or None
        First row of cells and the one after the last; None is all.
    out : numpy.ndarray or None
        As returned; filled for these rows.

    Returns
    -------
    (rows, columns) float32 numpy.ndarray
        Standard deviation, NaN where less than a quarter of the pixels may be used.
    """
    plane(image, image.shape, np.float32, "image")
    plane(use, image.shape, np.uint8, "use")
    out = np.empty(cells_of(image.shape, size), np.float32) if out is None else out
    rows = rows or (0, len(out))
    lib = native()
    if lib is None:
        cell_noise_numpy(image, use, size, rows, out)
    elif lib.jw_cell_noise(ptr(image), ptr(use), *sizes(*image.shape, size, *rows), ptr(out)):
        raise MemoryError("noise of cells")
    return out


def cell_noise_numpy(image, use, size, rows, out):
    """NumPy twin of `cell_noise`; fills `out`."""
    with np.errstate(invalid="ignore"):
        steps = np.abs(np.diff(image, axis=1))
    pairs = (use[:, 1:] & use[:, :-1]).astype(bool)
    for i in range(*rows):
        for j in range(out.shape[1]):
            at = np.s_[i * size : (i + 1) * size : BOX, j * size : (j + 1) * size - 1]
            values = steps[at][pairs[at]]
            known = values.size and 4 * values.size >= pairs[at].size
            out[i, j] = NOISE_SCALE * _median(values) if known else np.nan


def cell_medians(image, use, hide, shift, size, rows=None, out=None):
    """Medians of square cells of a mean scene less the offsets of its lines.

    Parameters
    ----------
    image, use, size, rows, out
        As for `cell_noise`.
    hide : (boxes down, boxes across) uint8 numpy.ndarray
        Not 0 for boxes of 4 x 4 pixels that are not to be used.
    shift : (nline, parts) float32 numpy.ndarray
        Offsets of the equal parts of each line.

    Returns
    -------
    (rows, columns) float32 numpy.ndarray
        NaN where less than a quarter of the pixels may be used.
    """
    parts = shift.shape[1]
    _check(image, use, hide, parts, size)
    plane(shift, (len(image), parts), np.float32, "shift")
    out = np.empty(cells_of(image.shape, size), np.float32) if out is None else out
    rows = rows or (0, len(out))
    lib = native()
    if lib is None:
        cell_medians_numpy(image, use, hide, shift, size, rows, out)
    elif lib.jw_cell_medians(
        ptr(image), ptr(use), ptr(hide), ptr(shift), *sizes(*image.shape, parts, size, *rows), ptr(out)
    ):
        raise MemoryError("medians of cells")
    return out


def _check(image, use, hide, parts, size=BOX):
    plane(image, image.shape, np.float32, "image")
    plane(use, image.shape, np.uint8, "use")
    plane(hide, cells_of(image.shape, BOX), np.uint8, "hide")
    if image.shape[1] % parts or (parts > 1 and image.shape[1] // parts % size):
        raise ValueError(f"{parts} parts of whole cells of {size} do not fit {image.shape}")


def _shown(use, hide):
    lines = np.repeat(np.repeat(hide, BOX, axis=0), BOX, axis=1)[: use.shape[0], : use.shape[1]]
    return (use != 0) & (lines == 0)


def cell_medians_numpy(image, use, hide, shift, size, rows, out):
    """NumPy twin of `cell_medians`; fills `out`."""
    shown = _shown(use, hide)
    length = image.shape[1] // shift.shape[1]
    for i in range(*rows):
        for j in range(out.shape[1]):
            at = np.s_[i * size : (i + 1) * size, j * size : (j + 1) * size]
            away = shift[i * size : (i + 1) * size, j * size // length, None]
            values = (image[at] - away)[shown[at]]
            known = values.size and 4 * values.size >= shown[at].size
            out[i, j] = _median(values) if known else np.nan


@dataclass
class Field:
    """Background and noise of the pixels of an image by square cells.

    Attributes
    ----------
    cells, noise : (rows, columns) float32 numpy.ndarray
        Medians, between whose centres the background changes linearly; standard deviations.
    size, noise_size : int
        Edges of the cells of either.
    """

    cells: np.ndarray
    noise: np.ndarray
    size: int
    noise_size: int

    def check(self, shape):
        """Raise ValueError unless the cells fit an image of this shape."""
        plane(self.cells, cells_of(shape, self.size), np.float32, "cells")
        plane(self.noise, cells_of(shape, self.noise_size), np.float32, "noise")

    def row(self, y, length):
        """Background and noise of the pixels of line ``y``, (length,) float32."""
        top, part = _cell_before(np.array([y]), self.size, len(self.cells))
        first, second = self.cells[top[0]], self.cells[min(top[0] + 1, len(self.cells) - 1)]
        line = first + (second - first) * part[0]
        slope = np.append(np.diff(line), np.float32(0))
        left, along = _cell_before(np.arange(length), self.size, line.size)
        noise = np.repeat(self.noise[y // self.noise_size], self.noise_size)[:length]
        return line[left] + slope[left] * along, noise


def _cell_before(x, size, number):
    left = np.clip((x - size // 2) // size, 0, max(number - 2, 0))
    along = (x.astype(np.float32) + np.float32(0.5)) / np.float32(size) - np.float32(0.5)
    return left, along - left.astype(np.float32)


def scene_rest(image, use, hide, field, limit, threshold, shift, rows=None, out=None):
    """Find what lines have in common over the background, and which pixels are near it.

    Parameters
    ----------
    image, hide
        As for `cell_medians`.
    use : (nline, length) uint8 numpy.ndarray
        Pixels the lines are known from; on return those that are not 0 and near background and line.
    field : Field
        Background and noise, without NaN.
    limit : float
        Offsets of lines are cut here.
    threshold : float
        What is near, in units of the noise.
    shift : (nline, parts) float32 numpy.ndarray
        Receives the offsets.
    rows : (int, int) or None
        First line, a multiple of 4, and the one after the last; None is all.
    out : tuple or None
        As returned; filled for these lines.

    Returns
    -------
    number : int32 numpy.ndarray
        Pixels left of every box of 4 x 4.
    total : float32 numpy.ndarray
        Sum of what they are above background and line, in units of the noise.
    """
    parts = shift.shape[1]
    _check(image, use, hide, parts)
    field.check(image.shape)
    plane(shift, (len(image), parts), np.float32, "shift")
    if out is None:
        out = np.zeros(hide.shape, np.int32), np.zeros(hide.shape, np.float32)
    rows = rows or (0, len(image))
    lib = native()
    if lib is None:
        scene_rest_numpy(image, use, hide, field, limit, threshold, shift, rows, out)
    elif lib.jw_scene_rest(
        ptr(image), ptr(hide), ptr(field.cells), ptr(field.noise),
        *sizes(*image.shape, parts, field.size, field.noise_size),
        ctypes.c_float(limit), ctypes.c_float(threshold), *sizes(*rows), ptr(use), ptr(shift), *map(ptr, out),
    ):  # fmt: skip
        raise MemoryError("rest of scene")
    return out


def scene_rest_numpy(image, use, hide, field, limit, threshold, shift, rows, out):
    """NumPy twin of `scene_rest`; fills `out`, ``shift`` and ``use``."""
    number, total = out
    shown = _shown(use, hide)
    length = image.shape[1]
    limit, threshold = np.float32(limit), np.float32(threshold)
    padded = np.zeros((2, hide.shape[1] * BOX), np.float32)
    for y in range(rows[0], rows[1]):
        base, noise = field.row(y, length)
        away = image[y] - base
        for p, piece in enumerate(np.split(np.arange(length), shift.shape[1])):
            median = _median(away[piece][shown[y, piece]])
            shift[y, p] = max(min(median, limit), -limit)
        away = away - np.repeat(shift[y], length // shift.shape[1])
        with np.errstate(all="ignore"):
            use[y] = (np.abs(away) <= threshold * noise) & (image[y] != 0) & (noise > 0)
            padded[0, :length] = np.where(use[y], away / noise, np.float32(0))
        padded[1, :length] = use[y]
        r = padded[0].reshape(-1, BOX)
        box = y // BOX
        if y % BOX == 0:
            number[box], total[box] = 0, 0
        number[box] += padded[1].reshape(-1, BOX).sum(axis=1).astype(np.int32)
        total[box] += (r[:, 0] + r[:, 1]) + (r[:, 2] + r[:, 3])


def segment_means(image, use, hide, field, parts, width, rows=None, out=None):
    """Means of segments of lines, what is masked filled with the background.

    Parameters
    ----------
    image, use, hide, field, rows, out
        As for `scene_rest`.
    parts : int
        Equal parts of the lines; segments are within one.
    width : int
        Pixels of a segment.

    Returns
    -------
    mean, weight : (nline, segments) float64 numpy.ndarray
        Means, and their inverse variances; both 0 where less than a quarter of the pixels may be used.
    """
    _check(image, use, hide, parts)
    field.check(image.shape)
    nline, length = image.shape
    if out is None:
        out = tuple(np.empty((nline, parts * (length // parts // width))) for _ in range(2))
    rows = rows or (0, nline)
    lib = native()
    if lib is None:
        segment_means_numpy(image, use, hide, field, parts, width, rows, out)
    elif lib.jw_segment_means(
        ptr(image), ptr(use), ptr(hide), ptr(field.cells), ptr(field.noise),
        *sizes(nline, length, parts, field.size, field.noise_size, width, *rows), *map(ptr, out),
    ):  # fmt: skip
        raise MemoryError("means of segments")
    return out


def segment_means_numpy(image, use, hide, field, parts, width, rows, out):
    """NumPy twin of `segment_means`; fills `out`."""
    mean, weight = out
    shown = _shown(use, hide)
    length = image.shape[1]
    starts = np.concatenate(
        [np.arange(p, p + length // parts - width + 1, width) for p in range(0, length, length // parts)]
    )
    at = starts[:, None] + np.arange(width)
    for y in range(*rows):
        base, noise = field.row(y, length)
        with np.errstate(invalid="ignore"):
            away = np.where(shown[y], image[y] - base, np.float32(0)).astype(np.float64)
        variance = np.where(shown[y], noise.astype(np.float64) ** 2, 0.0)
        number = shown[y][at].sum(axis=1)
        # Added up one by one, as the compiled version does.
        away, variance, filled = (
            np.cumsum(a[at], axis=1)[:, -1] for a in (away, variance, base.astype(np.float64))
        )
        known = (4 * number >= width) & (variance > 0)
        with np.errstate(all="ignore"):
            mean[y] = np.where(known, away / number + filled / width, 0.0)
            weight[y] = np.where(known, number.astype(np.float64) * number / variance, 0.0)


@dataclass
class Spline:
    """Smooth functions of the lines, one per column: factors of the matrix to be solved.

    Attributes
    ----------
    pivot, first, second : (nline, columns) float64 numpy.ndarray
        Diagonal, and the two diagonals below it.
    """

    pivot: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def solve(self, values):
        """Solve for right sides (nline, columns) float64; the result is a new array."""
        values = np.array(values, np.float64, order="C")
        plane(values, self.pivot.shape, np.float64, "values")
        lib = native()
        if lib is None:
            return spline_solve_numpy(self, values)
        lib.jw_spline_solve(
            ptr(self.pivot), ptr(self.first), ptr(self.second), *sizes(*values.shape), ptr(values)
        )
        return values


def spline(weight, stiff):
    """Factor weights plus the penalty on second differences of every column.

    Parameters
    ----------
    weight : (nline, columns) float64 numpy.ndarray
        Inverse variances of the data, positive.
    stiff : (nline, columns) float64 numpy.ndarray
        Inverse variances of the second differences centred on each line; the first and last are not used.

    Returns
    -------
    Spline
        Solves ``(diag(weight) + D' diag(stiff) D) x = y``.
    """
    plane(weight, weight.shape, np.float64, "weight")
    plane(stiff, weight.shape, np.float64, "stiff")
    out = Spline(*(np.empty(weight.shape) for _ in range(3)))
    lib = native()
    if lib is None:
        spline_numpy(weight, stiff, out)
    else:
        lib.jw_spline_factor(
            ptr(weight), ptr(stiff), *sizes(*weight.shape), ptr(out.pivot), ptr(out.first), ptr(out.second)
        )
    return out


def spline_numpy(weight, stiff, out):
    """NumPy twin of `spline`; fills `out`."""
    d, e, f = out.pivot, out.first, out.second
    n = len(weight)
    none = np.zeros(weight.shape[1])
    for i in range(n):
        here = stiff[i] if 0 < i < n - 1 else none
        after = stiff[i + 1] if i + 2 < n else none
        before = stiff[i - 1] if i > 1 else none
        d[i] = weight[i] + before + 4.0 * here + after
        beside = -2.0 * (here + after)
        if i > 0:
            d[i] -= e[i - 1] * e[i - 1] * d[i - 1]
            beside = beside - d[i - 1] * f[i - 1] * e[i - 1]
        if i > 1:
            d[i] -= f[i - 2] * f[i - 2] * d[i - 2]
        e[i] = beside / d[i]
        f[i] = after / d[i]


def spline_solve_numpy(factors, values):
    """NumPy twin of `Spline.solve`; changes the values."""
    d, e, f = factors.pivot, factors.first, factors.second
    n = len(values)
    for i in range(1, n):
        values[i] -= e[i - 1] * values[i - 1]
        if i > 1:
            values[i] -= f[i - 2] * values[i - 2]
    values /= d
    for i in range(n - 2, -1, -1):
        values[i] -= e[i] * values[i + 1]
        if i + 2 < n:
            values[i] -= f[i] * values[i + 2]
    return values

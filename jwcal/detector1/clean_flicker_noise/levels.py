"""Offsets of the lines of a mean scene whose light varies smoothly but for masked sources.

In segments of lines the scene is a smooth function of the line, rougher where that shows; what all
segments of a line have in common beside it is noise, whose spectrum is known (smoothing splines:
Wahba 1990; linear prediction: Rybicki & Press 1992, ApJ 398, 169).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from jwcal.kernels import flicker_scene as kernel

CELL = 8
NOISE_CELL = 32
SEGMENT = 64
LEAST_SEGMENT = 16
THRESHOLD = 3.0
ROUNDS = 2
# Boxes with fewer pixels left than this fraction are taken for a source.
LEAST_LEFT = 0.625
# Levels beyond this many standard deviations of the noise of lines are a source along a line.
GATE = 5.0
# Cells next to known ones are guessed from them, over this many cells.
GROWTH = 16
SCALES = (8, 32, 128)
SMOOTHEST = 200.0
# Variance of a second difference of means over h lines, for roughness 1 and h = 1.
SECOND_DIFFERENCE = 0.55
OUTLIERS = 8.0
MOST_STEPS = 100
TOLERANCE = 1e-6


@dataclass
class Levels:
    """What segments of lines tell.

    Attributes
    ----------
    mean, weight : (nline, segments) float64 numpy.ndarray
        From `jwcal.kernels.flicker_scene.segment_means`.
    shift : (nline, parts) float64 numpy.ndarray
        First estimate of the offsets.
    cells, error : (rows, columns) float64 numpy.ndarray
        Medians of cells of `CELL` pixels with their lines as they are, NaN where unknown, and the noise of a
        pixel there.
    """

    mean: np.ndarray
    weight: np.ndarray
    shift: np.ndarray
    cells: np.ndarray
    error: np.ndarray


def measure_levels(image, variance, parts, spread=map):
    """Find the levels of segments of lines without the sources in them.

    A pixel is masked if it is away from a background that changes linearly between medians of cells,
    or in a box whose mean is.

    Parameters
    ----------
    image : (nline, length) float32 numpy.ndarray
        Mean difference, C-contiguous; NaN where there is none.
    variance : float
        Of the noise of lines.
    parts : int
        Equal parts of a line that have offsets of their own.
    spread : callable
        Applies a function to several items, like `map`.

    Returns
    -------
    Levels
        All weights are 0 if nothing can be used.
    """
    nline, length = image.shape
    rows = _bands(nline, NOISE_CELL)
    use = np.empty(image.shape, np.uint8)

    def begin(band):
        piece = image[slice(*band)]
        use[slice(*band)] = np.isfinite(piece) & (piece != 0)

    _each(spread, begin, rows)
    width = int(np.clip(length // parts // 8, min(LEAST_SEGMENT, length // parts), SEGMENT))
    shift = np.zeros((nline, parts), np.float32)
    hide = np.zeros(kernel.cells_of(image.shape, kernel.BOX), np.uint8)
    noise = np.empty(kernel.cells_of(image.shape, NOISE_CELL), np.float32)
    _each(spread, lambda r: kernel.cell_noise(image, use, NOISE_CELL, _scaled(r, NOISE_CELL), noise), rows)
    nothing = np.zeros((nline, parts * (length // parts // width)))
    if np.isnan(noise).all():
        return Levels(nothing, nothing, shift, noise, noise)
    noise = _filled(noise)
    cells = np.empty(kernel.cells_of(image.shape, CELL), np.float32)
    found = np.zeros(hide.shape, np.int32), np.zeros(hide.shape, np.float32)
    # The error of a median is 1.25 times that of a mean.
    limit = GATE * (variance + (1.25 * np.median(noise)) ** 2 * parts / length) ** 0.5

    def median(rows, hide):
        kernel.cell_medians(image, use, hide, shift, CELL, _scaled(rows, CELL), cells)

    def compare(rows, hide, field):
        kernel.scene_rest(image, use, hide, field, limit, THRESHOLD, shift, rows, found)

    for _ in range(ROUNDS):
        lines = binned(shift, CELL)
        _each(spread, partial(median, hide=hide), rows)
        if np.isnan(cells).all():
            return Levels(nothing, nothing, shift, cells, cells)
        field = kernel.Field(_filled(cells), noise, CELL, NOISE_CELL)
        _each(spread, partial(compare, hide=hide, field=field), rows)
        hide = _sources(*found)
    out = nothing, nothing.copy()
    _each(spread, lambda r: kernel.segment_means(image, use, hide, field, parts, width, r, out), rows)
    mean, weight = out
    odd = np.abs(shift) >= np.float32(limit)
    weight[np.repeat(odd, weight.shape[1] // parts, axis=1)] = 0.0
    sky = cells + np.repeat(lines, -(-length // CELL // parts), axis=1)[:, : cells.shape[1]]
    error = np.repeat(np.repeat(noise, NOISE_CELL // CELL, axis=0), NOISE_CELL // CELL, axis=1)
    return Levels(mean, weight, shift, sky, error[: cells.shape[0], : cells.shape[1]])


def binned(array, size):
    """Average lines in groups of ``size``, the last perhaps smaller; float64."""
    starts = np.arange(0, len(array), size)
    number = np.diff(np.append(starts, len(array)))
    return np.add.reduceat(array.astype(np.float64), starts, axis=0) / number[:, None]


def _bands(nline, size):
    """Ranges of lines, each of whole cells."""
    step = max(-(-nline // 16) // size, 1) * size
    return [(first, min(first + step, nline)) for first in range(0, nline, step)]


def _scaled(rows, size):
    return rows[0] // size, -(-rows[1] // size)


def _each(spread, function, items):
    for _ in spread(function, items):
        pass


def _filled(cells):
    """Cells with those that are NaN grown from their neighbours, or taken from the median of all."""
    out = cells
    for _ in range(GROWTH):
        known = np.isfinite(out)
        if known.all():
            return out
        number = _around(known.astype(np.float32))
        with np.errstate(all="ignore"):
            out = np.where(known, out, _around(np.where(known, out, np.float32(0))) / number)
    known = np.isfinite(out)
    return np.where(known, out, np.median(out[known]))


def _around(array):
    """Add up three by three."""
    padded = np.pad(array, 1)
    tall = padded[:-2] + padded[1:-1] + padded[2:]
    return tall[:, :-2] + tall[:, 1:-1] + tall[:, 2:]


def _pooled(array):
    """Add up two by two."""
    padded = np.pad(array, [(0, size % 2) for size in array.shape])
    return (padded[::2, ::2] + padded[1::2, ::2]) + (padded[::2, 1::2] + padded[1::2, 1::2])


def _sources(number, total):
    """Boxes whose mean stands out, those next to them, and larger ones that do; uint8."""
    area = kernel.BOX**2
    lit = (np.abs(total) > THRESHOLD * np.sqrt(number, dtype=np.float32)) | (number < LEAST_LEFT * area)
    grown = lit.copy()
    grown[1:] |= lit[:-1]
    grown[:-1] |= lit[1:]
    lit = grown.copy()
    lit[:, 1:] |= grown[:, :-1]
    lit[:, :-1] |= grown[:, 1:]
    number, total = (_pooled(np.where(lit, 0, array)) for array in (number, total))
    larger = (np.abs(total) > THRESHOLD * np.sqrt(number, dtype=np.float32)) | (number < 2 * area)
    lit |= np.repeat(np.repeat(larger, 2, axis=0), 2, axis=1)[: lit.shape[0], : lit.shape[1]]
    return lit.astype(np.uint8)


@dataclass
class Spectrum:
    """Power of the noise of lines on a circle of twice as many lines, and what is left of it.

    Attributes
    ----------
    power, left : (nline + 1,) float64 numpy.ndarray
        Before, and expected after the correction.
    by_scene : (nline + 1,) bool numpy.ndarray
        Where what is left is hidden by the scene rather than by the noise of pixels.
    """

    power: np.ndarray
    left: np.ndarray
    by_scene: np.ndarray


def common_offsets(mean, weight, shift, covariance):
    """Offsets that all segments of a line have in common, beside a smooth scene in each.

    Parameters
    ----------
    mean, weight : (nline, segments) float64 numpy.ndarray
        Levels of the segments of a line, and their inverse variances (0: unknown).
    shift : (nline,) float64 numpy.ndarray
        First estimate.
    covariance : (nline,) float64 numpy.ndarray
        Of the noise of lines by their distance.

    Returns
    -------
    offset : (nline,) float64 numpy.ndarray
        Mean zero.
    spectrum : Spectrum
        For `slow_offsets`.
    """
    nline = len(mean)
    size = 2 * nline
    power = np.maximum(np.fft.rfft(np.concatenate([covariance, [0.0], covariance[:0:-1]])).real, 0.0)
    power = np.maximum(power, 1e-9 * power.max())
    columns = (weight > 0).any(axis=0)
    mean, weight = np.ascontiguousarray(mean[:, columns]), np.ascontiguousarray(weight[:, columns])
    if nline < 3 or not columns.any():
        return np.zeros(nline), Spectrum(power, power.copy(), np.ones(power.shape, bool))
    root = np.sqrt(power)
    wave = 2.0 * np.sin(np.pi * np.arange(nline + 1) / size)
    wave[0] = wave[1] / 2.0
    least = 1e-9 * np.median(weight[weight > 0])
    trust = np.ones_like(weight)
    white = np.zeros(nline + 1, complex)
    offset = shift - shift.mean()
    for _ in range(ROUNDS):
        rough = roughness(mean - offset[:, None], weight * trust)
        used = weight * trust + least
        factors = kernel.spline(used, 1.0 / rough)

        def known(values, used=used, factors=factors):
            """Add up what the segments tell of values, apart from anything smooth."""
            scaled = used * values
            return (scaled - used * factors.solve(scaled)).sum(axis=1)

        def filtered(values, known=known):
            return values + root * np.fft.rfft(known(np.fft.irfft(root * values, size)[:nline, None]), size)

        typical, stiff = used.mean(axis=0), np.exp(np.log(rough).mean(axis=0))
        high = wave[:, None] ** 4
        told = (typical * high / (high + typical * stiff)).sum(axis=1)
        white = _solved(filtered, root * np.fft.rfft(known(mean), size), 1.0 / (1.0 + power * told), white)
        offset = np.fft.irfft(root * white, size)[:nline]
        rest = mean - offset[:, None]
        away = (rest - factors.solve(used * rest)) ** 2 * weight
        trust = (1.0 + 1.0 / OUTLIERS) / (1.0 + away / OUTLIERS)
    left = power / (1.0 + power * told)
    return offset - offset.mean(), Spectrum(power, left, told < 0.5 * typical.sum())


def _solved(operator, right, precondition, start):
    """Conjugate gradients on half-complex spectra."""

    def dot(a, b):
        product = (a.conj() * b).real
        return 2.0 * product.sum() - product[0] - product[-1]

    enough = TOLERANCE * dot(right, precondition * right)
    value = start
    rest = right - operator(value) if value.any() else right
    step = near = precondition * rest
    size = dot(rest, near)
    for _ in range(MOST_STEPS):
        if not size > enough:
            break
        moved = operator(step)
        length = size / dot(step, moved)
        value = value + length * step
        rest = rest - length * moved
        near = precondition * rest
        size, before = dot(rest, near), size
        step = near + size / before * step
    return value


def roughness(rest, weight):
    """Variance of the second difference of the scene per line, for each line and segment.

    It is what the second differences of means over 8, 32 or 128 lines show beyond their errors, on the
    shortest scale on which that is significant nearby.

    Parameters
    ----------
    rest, weight : (nline, segments) float64 numpy.ndarray
        Levels of segments without the noise of lines, and their inverse variances.

    Returns
    -------
    (nline, segments) float64 numpy.ndarray
        Positive.
    """
    nline = len(rest)
    typical = np.median(weight[weight > 0])
    out = np.full(rest.shape, 1.0 / (typical * SMOOTHEST**4))
    seen = np.zeros(rest.shape, bool)
    for size in SCALES:
        blocks = nline // size
        if blocks < 3:
            break
        piece = weight[: blocks * size].reshape(blocks, size, -1)
        total = piece.sum(axis=1)
        good = total > 0.25 * size * typical
        with np.errstate(all="ignore"):
            mean = (piece * rest[: blocks * size].reshape(piece.shape)).sum(axis=1) / total
            variance = 1.0 / total
            second = (mean[2:] - 2.0 * mean[1:-1] + mean[:-2]) ** 2
            expected = variance[2:] + 4.0 * variance[1:-1] + variance[:-2]
        good = good[2:] & good[1:-1] & good[:-2]
        number = _window(good.astype(np.float64))
        expected = _window(np.where(good, expected, 0.0))
        excess = _window(np.where(good, second, 0.0)) - expected
        scale = np.maximum(number, 1.0)
        found = np.where(excess > expected * 4.0 / np.sqrt(scale), excess / scale, 0.0)
        found = np.pad(found / (SECOND_DIFFERENCE * size**3), [(1, 1), (0, 0)], "edge")
        most = found.copy()
        most[1:] = np.maximum(most[1:], found[:-1])
        most[:-1] = np.maximum(most[:-1], found[1:])
        lines = np.repeat(most, size, axis=0)
        lines = np.pad(lines, [(0, nline - len(lines)), (0, 0)], "edge")
        out = np.where(seen, out, np.maximum(out, lines))
        seen |= lines > 0
    return out


def _window(array):
    """Add up five blocks of three segments."""
    padded = np.pad(array, [(2, 2), (1, 1)])
    rows, columns = array.shape
    tall = np.sum([padded[i : i + rows] for i in range(5)], axis=0)
    return np.sum([tall[:, j : j + columns] for j in range(3)], axis=0)

"""Flicker noise against the mean scene of all groups, with a measured prior.

What changes from group to group cannot be sky: the deviations of the differences from their mean show
the noise without any mask, and with it how large it is and how it is correlated from line to line.
What the lines have in common in the mean itself is told from the scene, which varies smoothly but for
masked sources, by what is known of the noise.
"""

import logging
from dataclasses import dataclass

import numpy as np

from jwcal.detector1.clean_flicker_noise.levels import CELL, binned, common_offsets, measure_levels
from jwcal.detector1.clean_flicker_noise.sky import sky_offsets
from jwcal.kernels import flicker_scene

log = logging.getLogger(__name__)

CHANNELS = 4
FULL_SIDE = 2048
BRIGHT = 10.0
PROBES = 16
# Where a smooth scene hides more of the noise of lines than this, and that is at least this share of its
# variance, the sky is looked at.
SLOW_LEFT = 0.3
SLOW_SHARE = 0.01
# Corrections that would leave more of the noise than this are not made.
WORTH = 0.9
# Below this the offset of a line is less than the error it is known with.
LEAST_EXCESS = 2.0**0.5


@dataclass
class Noise:
    """What the groups tell of the noise of lines.

    Attributes
    ----------
    variance : float
        Of the offset of a line in the mean difference, DN^2.
    correlation : (nline,) float64 numpy.ndarray
        Between lines by their distance; 1 at distance 0.
    excess : float
        Standard deviation of the offsets over that expected from the noise of the pixels.
    by_channel : bool
        Whether the amplifiers differ.
    """

    variance: float
    correlation: np.ndarray
    excess: float
    by_channel: bool


def clean_by_scene(tile, plan):
    """Take flicker noise off whole frames where that is worth it; changes SCI.

    Parameters
    ----------
    tile : Tile
        Whole frames, all integrations.
    plan : types.SimpleNamespace
        With ``axis`` and ``full``.

    Returns
    -------
    dict
        Keywords that report what was done.
    """
    sci, axis = tile["SCI"], plan.axis
    label = tile.meta.label
    weight = difference_weights(tile["GROUPDQ"])
    if (weight > 0).sum() < 2:
        log.warning(
            "%s: clean_flicker_noise: too few groups to tell noise from the scene; nothing done", label
        )
        return {"FLKMETH": "none"}
    parts = needed_parts(tile, plan, weight)
    nline = sci.shape[3 - axis]
    step = max(nline // (8 * max(tile.jobs, 1)), 1)
    scene, offset, sigma, count = split_lines(
        tile, axis, weight, parts, [(first, min(first + step, nline)) for first in range(0, nline, step)]
    )
    if not count.any():
        log.warning("%s: clean_flicker_noise: no pixel can be used; the data are unchanged", label)
        return {"FLKMETH": "none"}
    noise = measure_noise(offset, sigma, count, weight, sci.shape[:2])
    if not noise.by_channel:
        offset = _joined(offset, count)
    offset = centred(offset, count, weight)
    if noise.excess < LEAST_EXCESS:
        log.info(
            "%s: clean_flicker_noise: lines scatter %.2f times the expected; not corrected",
            label,
            noise.excess,
        )
        return {"FLKMETH": "none", "FLKEXCES": round(noise.excess, 4)}
    image = scene if axis else scene.T
    constant, left = constant_offsets(image, noise, offset.shape[1], tile.spread)
    report = {"FLKEXCES": round(noise.excess, 4), "FLKLEFT": round(left, 4)}
    if left > WORTH:
        log.info(
            "%s: clean_flicker_noise: lines scatter %.2f times the expected; a correction is not worth it",
            label, noise.excess,
        )  # fmt: skip
        return {"FLKMETH": "none", **report}
    total = offset + constant[:, :, None]
    remove_offsets(tile, total, axis)
    used = total[:, :, weight > 0]
    rms = float(np.sqrt(np.mean((used - used.mean(axis=0)) ** 2)))
    name = "scene by channel" if noise.by_channel else "scene"
    log.info(
        "%s: clean_flicker_noise: %s: lines scatter %.2f times the expected; %.3g DN rms removed per difference,"
        " %.0f%% of the noise of lines is left in the slopes",
        label, name, noise.excess, rms, 100 * left,
    )  # fmt: skip
    return {"FLKMETH": name, **report, "FLKDONE": round(rms, 5)}


def split_lines(tile, axis, weight, parts, ranges):
    """Scene and offsets of ranges of lines, as `jwcal.kernels.flicker_scene.line_scene` finds them.

    Parameters
    ----------
    tile : Tile
        Whole frames.
    axis : int
        1: lines are rows; 0: columns.
    weight : (ndifference,) float64 numpy.ndarray
        Of the differences in the scene.
    parts : int
        Equal parts of a line.
    ranges : list of (int, int)
        First lines, and those after the last; other lines are undefined in the results.

    Returns
    -------
    scene, offset, sigma, count : numpy.ndarray
    """
    sci, gdq = tile["SCI"], tile["GROUPDQ"]
    out = flicker_scene.scene_arrays(sci.shape, axis, parts)
    tile.spread(
        lambda lines: flicker_scene.line_scene(sci, gdq, weight, axis, parts, BRIGHT, lines, out), ranges
    )
    return out


def needed_parts(tile, plan, weight):
    """Count the parts of a line that have noise of their own, from an eighth of the lines."""
    sci = tile["SCI"]
    nline, length = sci.shape[3 - plan.axis], sci.shape[2 + plan.axis]
    if not plan.full or length != FULL_SIDE:
        return 1
    size = max(nline // (8 * PROBES), 1)
    ranges = [(first, min(first + size, nline)) for first in range(0, nline, 8 * size)]
    _, *found = split_lines(tile, plan.axis, weight, CHANNELS, ranges)
    probed = np.concatenate([np.arange(*lines) for lines in ranges])
    offset, sigma, count = (array[probed] for array in found)
    if not count.any():
        return 1
    return CHANNELS if measure_noise(offset, sigma, count, weight, sci.shape[:2]).by_channel else 1


def centred(offset, count, weight):
    """Offsets without what is common to a line in all differences, or to all lines in one difference.

    Deviations from a mean have none, but for what clipping takes from skewed noise.  What all lines
    have in common may be the detector's own, such as the decay after a reset; that is left alone.

    Parameters
    ----------
    offset : (nline, parts, ndifference) float32 numpy.ndarray
        Offsets of the differences of groups.
    count : (nline, ...) int32 numpy.ndarray
        Lines without a usable pixel do not count.
    weight : (ndifference,) float64 numpy.ndarray
        Weights of the differences in the mean scene.

    Returns
    -------
    (nline, parts, ndifference) float32 numpy.ndarray
    """
    seen = count.reshape(len(count), -1).any(axis=1)
    out = offset - offset[seen].mean(axis=0, dtype=np.float64)
    return (out - (out @ weight / weight.sum())[..., None]).astype(offset.dtype)


def difference_weights(gdq):
    """Weights of the differences of groups in the mean scene: those of an unweighted slope.

    Parameters
    ----------
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Groups that are DO_NOT_USE everywhere are left out.

    Returns
    -------
    (nint * (ngroup - 1),) float64 numpy.ndarray
        Sum 1, or all zero.
    """
    nint, ngroup = gdq.shape[:2]
    usable = np.array([[not (frame & 1).all() for frame in group] for group in gdq])
    weight = np.zeros((nint, ngroup - 1))
    for i in range(nint):
        good = np.flatnonzero(usable[i])
        if good.size > 1:
            first, last = good[0], good[-1]
            place = np.arange(first, last)
            weight[i, first:last] = (place - first + 1.0) * (last - place)
            weight[i] /= weight[i].sum()
    weight[:, :] *= (usable[:, 1:] & usable[:, :-1])[:, : ngroup - 1]
    total = weight.sum()
    return (weight / total if total > 0 else weight).ravel()


def _joined(offset, count):
    """Offsets of whole lines from those of their parts."""
    number = count.sum(axis=1, keepdims=True)
    return (offset * count).sum(axis=1, keepdims=True) / np.maximum(number, 1)


def _polynomials(n, most):
    """Orthonormal polynomials of degree 1 and more on n points, (degree, n)."""
    x = np.linspace(-1, 1, n)
    q, r = np.linalg.qr(np.vander(x, min(most, n - 1) + 1, increasing=True))
    return (q * np.sign(np.diag(r))).T[1:]


def measure_noise(offset, sigma, count, weight, shape):
    """Find how large the noise of lines is, and how it is correlated.

    Parameters
    ----------
    offset, sigma, count : (nline, parts, ndifference) numpy.ndarray
        From `jwcal.kernels.flicker_scene.line_scene`.
    weight : (ndifference,) float64 numpy.ndarray
        0 for unusable differences.
    shape : (int, int)
        Integrations and groups.

    Returns
    -------
    Noise
    """
    nint, ngroup = shape
    used = (weight.reshape(nint, ngroup - 1) > 0).any(axis=0)
    first, last = np.flatnonzero(used)[[0, -1]]
    n = int(last - first + 2)
    nline, parts = offset.shape[:2]
    jumps = offset.reshape(nline, parts, nint, ngroup - 1)[..., first : last + 1].astype(np.float64)
    frames = np.concatenate([np.zeros((*jumps.shape[:3], 1)), np.cumsum(jumps, axis=-1)], axis=-1)
    modes = np.einsum("dg,lpig->dlpi", _polynomials(n, 6), frames)
    modes -= modes.mean(axis=1, keepdims=True)
    good = count > 0
    expected = float(np.median((sigma[good].astype(np.float64) ** 2) / (2.0 * count[good])))
    joined = modes.mean(axis=2, keepdims=True)
    by_channel = False
    if parts > 1:
        sample = modes[1:] if modes.shape[0] > 1 else modes
        apart = float(np.mean((sample - sample.mean(axis=2, keepdims=True)) ** 2)) * parts / (parts - 1)
        by_channel = apart - expected > expected
    if not by_channel:
        modes, expected = joined, expected / parts
    power = (modes**2).mean(axis=(1, 2, 3))
    slope = _slope_power(power, expected, nint)
    per_group = n * (n * n - 1) / 12.0
    residual = modes[1:] if modes.shape[0] > 1 else modes
    correlation, _ = _correlation(residual, expected)
    excess = float(np.sqrt(power[1:].mean() / expected if power.size > 1 else power[0] / expected))
    return Noise(slope / per_group / nint, correlation, excess, by_channel)


def _slope_power(power, expected, nint):
    """Variance of the linear mode, which the mean scene hides: from integrations, or from higher modes."""
    real = np.maximum(power - expected, 0.0)
    if nint > 2:
        return real[0] * nint / (nint - 1)
    if power.size < 2:
        return real[0] * nint / max(nint - 1, 1)
    steepness = 0.0
    if power.size > 2 and real[2] > 0 and real[1] > 0:
        steepness = float(np.clip(np.log(real[1] / real[2]) / np.log(1.5), 0.0, 2.0))
    return real[1] * 2.0**steepness


def _correlation(modes, expected):
    """Correlation of lines by distance, from the spectrum of all realisations, noise of pixels taken off."""
    series = np.moveaxis(modes, 1, -1).reshape(-1, modes.shape[1])
    nline = series.shape[1]
    spectrum = (np.abs(np.fft.rfft(series, 2 * nline, axis=1)) ** 2).mean(axis=0) / nline
    edges = np.unique(np.round(2.0 ** np.arange(0, np.log2(nline) + 0.25, 0.25)).astype(int))
    edges = edges[edges < spectrum.size]
    smooth = np.empty_like(spectrum)
    smooth[0] = spectrum[:2].mean()
    for low, high in zip(edges, [*edges[1:], spectrum.size], strict=True):
        smooth[low:high] = spectrum[low:high].mean()
    smooth = np.maximum(smooth - expected, 0.0)
    covariance = np.fft.irfft(smooth)[:nline]
    if not covariance[0] > 0:
        return np.eye(1, nline)[0], 0.0
    return covariance / covariance[0], float(covariance[0])


def constant_offsets(image, noise, parts, spread=map):
    """Offsets of the lines of the mean scene.

    Parameters
    ----------
    image : (nline, length) float32 numpy.ndarray
        Mean difference, lines along the second axis; NaN where there is none.
    noise : Noise
        Of the offsets.
    parts : int
        Parts a line is fitted in.
    spread : callable
        Applies a function to several items, like `map`.

    Returns
    -------
    offset : (nline, parts) float64 numpy.ndarray
        DN per group.
    left : float
        Fraction of the noise of lines (rms) expected to be left.
    """
    if not noise.variance > 0:
        return np.zeros((len(image), parts)), 1.0
    image = np.ascontiguousarray(image)
    levels = measure_levels(image, noise.variance, parts, spread)
    if not levels.weight.any():
        return np.zeros((len(image), parts)), 1.0
    covariance = noise.variance * noise.correlation
    each = levels.weight.shape[1] // parts

    def fit(part):
        piece = slice(part * each, (part + 1) * each)
        return common_offsets(
            levels.mean[:, piece], levels.weight[:, piece], levels.shift[:, part], covariance
        )

    offsets, spectra = zip(*spread(fit, range(parts)), strict=True)
    offset = np.stack(offsets, axis=1)
    power, left = (np.mean([getattr(s, name) for s in spectra], axis=0) for name in ("power", "left"))
    hidden = np.all([s.by_scene for s in spectra], axis=0) & (left > SLOW_LEFT * power)
    slow = np.where(hidden, left, 0.0)
    total, rest = power.sum(), left.sum()
    if slow.sum() > SLOW_SHARE * total:
        about = np.fft.irfft(slow)[: len(image)]

        columns = levels.cells.shape[1] // parts
        found = np.repeat(binned(offset, CELL), columns, axis=1)

        def look(part):
            piece = np.s_[:, part * columns : (part + 1) * columns]
            # The error of a median is 1.25 times that of a mean.
            error = 1.25 / CELL * levels.error[piece]
            return sky_offsets(levels.cells[piece] - found[piece], error, about, len(image))

        more, kept = zip(*spread(look, range(parts)), strict=True)
        offset = offset + np.stack(more, axis=1)
        rest -= (1.0 - np.mean(np.square(kept))) * slow.sum()
    return offset, float(np.sqrt(rest / total))


def remove_offsets(tile, offset, axis):
    """Take the summed offsets of the differences off the groups; changes SCI.

    Parameters
    ----------
    tile : Tile
        Whole frames.
    offset : (nline, parts, ndifference) numpy.ndarray
        Of every difference, DN.
    axis : int
        1: lines are rows; 0: columns.
    """
    sci = tile["SCI"]
    nint, ngroup = sci.shape[:2]
    length = sci.shape[2 + axis]
    nline, parts = offset.shape[:2]
    steps = offset.reshape(nline, parts, nint, ngroup - 1)
    total = np.cumsum(steps, axis=-1, dtype=np.float64).astype(np.float32)

    def work(place):
        i, j = place
        lines = np.repeat(total[:, :, i, j], length // parts, axis=1) if parts > 1 else total[:, :, i, j]
        sci[i, j + 1] -= lines if axis else lines.T

    tile.spread(work, [(i, j) for i in range(nint) for j in range(ngroup - 1)])

"""Flicker noise against the mean scene of all groups, with a measured prior.

What changes from group to group cannot be sky: the deviations of the differences from their mean show
the noise without any mask, and with it how large it is and how it is correlated from line to line.
What the lines have in common in the mean itself is told from sources by the pixels that show background,
weighted by what is known of the noise (linear prediction: Rybicki & Press 1992, ApJ 398, 169).
"""

import logging
from dataclasses import dataclass

import numpy as np

from jwcal.detector1.clean_flicker_noise import background
from jwcal.kernels import flicker

log = logging.getLogger(__name__)

CHANNELS = 4
FULL_SIDE = 2048
SEGMENT = 64
LEAST_SEGMENT = 16
BRIGHT = 10.0
DETECTION = 3.0
BOXES = (8, 32)
LEAST_FILLED = 0.5
SHORTEST = 8.0
REACH = 17
GATE = 5.0
LIKELY_LINES = 256
# Scene left in the levels of lines, in units of the variance of the noise, and how much better it must fit.
EXTRA_SCENE = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
EVIDENCE = 2.0
LONGER = (1.0, 2.0, 4.0, 8.0, 16.0)
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
    sci, gdq, axis = tile["SCI"], tile["GROUPDQ"], plan.axis
    label = tile.meta.label
    weight = difference_weights(gdq)
    if (weight > 0).sum() < 2:
        log.warning(
            "%s: clean_flicker_noise: too few groups to tell noise from the scene; nothing done", label
        )
        return {"FLKMETH": "none"}
    nline, length = (sci.shape[2], sci.shape[3])[:: 1 if axis else -1]
    parts = CHANNELS if plan.full and length == FULL_SIDE else 1
    out = flicker.scene_arrays(sci.shape, axis, parts)
    step = max(nline // (8 * max(tile.jobs, 1)), 1)
    tile.spread(
        lambda first: flicker.line_scene(
            sci, gdq, weight, axis, parts, BRIGHT, (first, min(first + step, nline)), out
        ),
        range(0, nline, step),
    )
    scene, offset, sigma, count = out
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
        From `jwcal.kernels.flicker.line_scene`.
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
    use, sigma = background_pixels(image, noise, parts)
    length = image.shape[1]

    def fit(part):
        piece = slice(part * length // parts, (part + 1) * length // parts)
        level, white, scene, reach = line_levels(image[:, piece], use[:, piece], sigma)
        return predict(level, white, scene, noise, reach)

    offsets, kept = zip(*spread(fit, range(parts)), strict=True)
    return np.stack(offsets, axis=1), float(np.sqrt(np.mean(np.square(kept))))


def background_pixels(image, noise, parts):
    """Pixels of the mean scene without a source, and the noise of a pixel.

    Sources are found in the pixels and in two sizes of boxes, after the brightest ones and what the
    lines may have in common are taken off.

    Parameters
    ----------
    image, noise, parts
        As for `constant_offsets`.

    Returns
    -------
    use : (nline, length) bool numpy.ndarray
    sigma : float
        Standard deviation of a pixel, DN per group.
    """
    image = np.ascontiguousarray(image)
    step = np.abs(np.diff(image[:: max(image.shape[0] // 256, 1)], axis=1))
    sigma = float(np.nanmedian(step)) * 1.4826 / np.sqrt(2.0)
    mask = np.where(np.isfinite(image) & (image != 0), flicker.USABLE, flicker.MASKED).astype(np.uint8)
    values = np.where(mask == flicker.USABLE, image, np.float32(0))
    background.clip_to_background(values, mask, DETECTION, DETECTION, lower_half=True)
    medians = flicker.line_medians(values, mask, 1, parts)
    typical = np.median(medians, axis=0)
    limit = 4.0 * np.sqrt(noise.variance)
    away = np.clip(medians - typical, -limit, limit)
    rest = values - np.repeat(away + typical, image.shape[1] // parts, axis=1).astype(np.float32)
    usable = np.isfinite(image) & (image != 0)
    use = usable & (np.abs(rest) <= DETECTION * sigma)
    sky = use.copy()
    for size in BOXES:
        lit = _lit_boxes(rest, sky, sigma, size)
        if lit.mean() > 0.7:
            continue
        use &= ~np.repeat(np.repeat(lit, size, axis=0), size, axis=1)[: image.shape[0], : image.shape[1]]
    return use, sigma


def _box_sums(array, size):
    ny, nx = array.shape
    padded = np.zeros((-(-ny // size) * size, -(-nx // size) * size), array.dtype)
    padded[:ny, :nx] = array
    return padded.reshape(padded.shape[0] // size, size, -1, size).sum(axis=(1, 3), dtype=np.float64)


def _lit_boxes(rest, use, sigma, size):
    """Boxes whose mean stands out, and those next to them."""
    number = _box_sums(use, size)
    with np.errstate(all="ignore"):
        mean = _box_sums(np.where(use, rest, np.float32(0)), size) / number
        # Clipping at three sigma leaves 0.973 of the variance.
        lit = mean - np.nanmedian(mean) > DETECTION * sigma / np.sqrt(number)
    lit |= number < LEAST_FILLED * size * size
    grown = lit.copy()
    grown[1:] |= lit[:-1]
    grown[:-1] |= lit[1:]
    sides = grown.copy()
    sides[:, 1:] |= grown[:, :-1]
    sides[:, :-1] |= grown[:, 1:]
    return sides


def line_levels(image, use, sigma):
    """Level of every line from segments that agree, with two kinds of errors.

    Parameters
    ----------
    image : (nline, length) float32 numpy.ndarray
        Mean scene.
    use : (nline, length) bool numpy.ndarray
        Background.
    sigma : float
        Noise of a pixel.

    Returns
    -------
    level : (nline,) float64 numpy.ndarray
        0 where nothing is known.
    white, scene : (nline,) float64 numpy.ndarray
        Variances: of the noise of pixels (infinite where nothing is known), and of scene left, which is
        alike in neighbouring lines.
    reach : float
        Length over which it is, pixels.
    """
    nline, length = image.shape
    width = int(np.clip(length // 8, min(LEAST_SEGMENT, length), SEGMENT))
    count = length // width
    cut = np.where(use, image, np.float32(0))[:, : count * width].reshape(nline, count, width)
    number = use[:, : count * width].reshape(nline, count, width).sum(axis=2)
    with np.errstate(all="ignore"):
        mean = cut.sum(axis=2, dtype=np.float64) / number
    known = number >= width // 4
    mean[~known] = 0.0
    variance = np.where(known, sigma * sigma / np.maximum(number, 1), np.inf)
    excess = np.zeros_like(variance)
    base = np.zeros(count)
    level = np.zeros(nline)
    with np.errstate(all="ignore"):
        for _ in range(5):
            away = mean - level[:, None]
            base = np.array([_median(away[known[:, k], k]) for k in range(count)])
            rest = np.where(known, away - base, 0.0)
            pure = np.where(known, variance, 0.0)
            number_near = _near(known.astype(float))
            found = _near(rest * rest) / number_near - _near(pure) / number_near
            doubt = 2.0 * (_near(pure) / number_near) * np.sqrt(2.0 / number_near)
            excess = np.where(known & (found > doubt), found, 0.0)
            spread = variance + excess
            weight = np.where(known, 1.0 / spread / (1.0 + rest * rest / (5.0 * spread)), 0.0)
            total = weight.sum(axis=1)
            level = np.where(total > 0, (weight * (mean - base)).sum(axis=1) / total, 0.0)
        share = np.where(total[:, None] > 0, weight / total[:, None], 0.0)
        white = (share**2 * np.where(known, variance, 0.0)).sum(axis=1)
    reach = _scene_length(rest, np.where(known, variance, 0.0))
    alike = matern(np.abs(np.arange(count)[:, None] - np.arange(count)) * width / reach)
    part = share * np.sqrt(excess)
    # What all segments have in common does not show in how they differ.
    hidden = np.clip(np.einsum("lk,km,lm->l", share, alike, share), 0.0, 0.95)
    scene = np.einsum("lk,km,lm->l", part, alike, part) / (1.0 - hidden)
    return level, np.where(total > 0, white, np.inf), scene, reach


def matern(distance):
    """Correlation (Matern, 3/2) of what varies smoothly, by distance in units of its length."""
    scaled = np.sqrt(3.0) * distance
    return (1.0 + scaled) * np.exp(-scaled)


def _scene_length(rest, variance):
    """Distance over which deviations of segments are alike along the lines' index."""
    nline = rest.shape[0]
    power = np.abs(np.fft.rfft(rest, 2 * nline, axis=0)) ** 2
    covariance = np.fft.irfft(power.sum(axis=1))[:nline]
    total = covariance[0] - variance.sum()
    if not total > 0:
        return SHORTEST
    below = np.flatnonzero(covariance < total / np.e)
    lag = float(below[below > 0][0]) if (below > 0).any() else float(nline)
    return float(np.clip(0.807 * lag, SHORTEST, nline))


def _median(values):
    return float(np.median(values)) if values.size else 0.0


def _near(array):
    """Sum over the neighbouring lines."""
    padded = np.zeros((array.shape[0] + 1, *array.shape[1:]))
    np.cumsum(array, axis=0, out=padded[1:])
    half = REACH // 2
    at = np.arange(array.shape[0])
    return padded[np.minimum(at + half + 1, len(at))] - padded[np.maximum(at - half, 0)]


def predict(level, white, scene, noise, reach):
    """Offsets of lines from their levels and what is known of the noise.

    Parameters
    ----------
    level, white, scene : (nline,) float64 numpy.ndarray
        From `line_levels`.
    reach : float
        From there too.
    noise : Noise
        Variance and correlation.

    Returns
    -------
    offset : (nline,) float64 numpy.ndarray
        Mean zero.
    left : float
        Fraction of the noise (rms) expected to be left.
    """
    known = np.isfinite(white)
    if not known.any():
        return np.zeros_like(level), 1.0
    variance = noise.variance
    if variance <= 0:
        return np.zeros_like(level), 1.0
    nline = level.size
    scene, reach, variance = _likely_scene(level, white, scene, reach, variance, noise.correlation)
    covariance = variance * noise.correlation
    place = np.arange(nline)
    total = _joint_covariance(place, covariance, scene, reach)
    total[np.diag_indices(nline)] += _own_variance(level, white, scene, variance)
    probe = np.linspace(0, nline - 1, min(nline, 16)).astype(int)
    columns = covariance[np.abs(place[:, None] - probe[None, :])]
    solved = np.linalg.solve(total, np.column_stack([level, np.ones(nline), columns]))
    mean = solved[:, 0].sum() / solved[:, 1].sum()
    both_sides = np.concatenate([covariance[:0:-1], covariance])
    offset = np.convolve(both_sides, solved[:, 0] - mean * solved[:, 1], mode="valid")
    after = variance - (columns * solved[:, 2:]).sum(axis=0)
    left = float(np.sqrt(np.clip(np.mean(after) / variance, 0.0, 1.0)))
    return offset - offset.mean(), left


def _joint_covariance(place, covariance, scene, reach):
    """Covariance of the levels of lines at some places: noise, and scene left."""
    distance = np.abs(place[:, None] - place[None, :]).astype(np.int16)
    out = matern(np.arange(covariance.size) / reach)[distance]
    root = np.sqrt(scene)
    out *= root[:, None]
    out *= root[None, :]
    out += covariance[distance]
    return out


def _own_variance(level, white, scene, variance):
    """Variance of the level of each line alone; huge where it is unknown or cannot be noise."""
    known = np.isfinite(white)
    huge = 1e6 * (variance + np.median(white[known]))
    odd = (level - np.median(level[known])) ** 2 > GATE**2 * (variance + white + scene)
    return np.where(known & ~odd, np.where(known, white, 0.0), huge)


def _likely_scene(level, white, scene, reach, variance, correlation):
    """Variance and length of the scene left in the levels, and variance of the noise, that are most likely.

    What all segments of a line have in common cannot be seen from their differences; but levels that
    scatter more than the noise the groups show are not noise.
    """
    step = max(level.size // LIKELY_LINES, 1)
    level, white, part = level[::step], white[::step], scene[::step]
    place = np.arange(level.size) * step
    best = (np.inf, 0.0, 1.0, 1.0)
    # How large the noise is in the mean is extrapolated; a scene must explain the levels better.
    trials = [(0.0, 1.0, larger) for larger in (1.0, 2.0)]
    trials += [(extra, longer, 1.0) for extra in EXTRA_SCENE for longer in LONGER]
    for extra, longer, larger in trials:
        tried = part + extra * variance
        total = _joint_covariance(place, larger * variance * correlation, tried, reach * longer)
        total[np.diag_indices(level.size)] += _own_variance(level, white, tried, larger * variance)
        solved = np.linalg.solve(total, np.column_stack([level, np.ones(level.size)]))
        mean = solved[:, 0].sum() / solved[:, 1].sum()
        misfit = float((level - mean) @ (solved[:, 0] - mean * solved[:, 1]))
        unlikely = misfit + np.linalg.slogdet(total)[1] + (EVIDENCE if extra else 0.0)
        if unlikely < best[0]:
            best = unlikely, extra, longer, larger
    return scene + best[1] * variance, reach * best[2], variance * best[3]


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

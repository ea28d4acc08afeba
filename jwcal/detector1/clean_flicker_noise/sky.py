"""What the pixels of sky tell of offsets of lines that vary as slowly as a scene.

Levels of lines come from segments without a source that agree with each other; the offsets are
predicted from them with what is known of the noise (Rybicki & Press 1992, ApJ 398, 169).
"""

import numpy as np

from jwcal.detector1.clean_flicker_noise.levels import CELL

TOGETHER = 8
DETECTION = 3.0
# With less sky than this, or where its segments differ by more than this times the variance of the noise
# sought, the scene cannot be told from noise.
LEAST_SKY = 0.5
MOST_SCENE = 1.0
SHORTEST = 2.0
REACH = 5
GATE = 5.0
LIKELY_LINES = 128
# Scene left in the levels of lines, in units of the variance of the noise, and how much better it must fit.
EXTRA_SCENE = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
EVIDENCE = 2.0
LONGER = (1.0, 2.0, 4.0, 8.0, 16.0)


def sky_offsets(cells, error, covariance, nline):
    """Slow offsets of lines from what the cells of sky have in common.

    Parameters
    ----------
    cells, error : (rows, columns) float64 numpy.ndarray
        Medians of cells of `CELL` lines, less the offsets found so far, NaN where unknown, and their errors.
    covariance : (nline,) float64 numpy.ndarray
        Of the noise sought, by the distance of lines.
    nline : int
        Lines.

    Returns
    -------
    offset : (nline,) float64 numpy.ndarray
        DN per group.
    left : float
        Fraction of the noise (rms) expected to be left.
    """
    use = _sky_cells(cells, error)
    count = max(cells.shape[1] // TOGETHER, 1)
    size = cells.shape[1] // count

    def joined(array):
        return array[:, : count * size].reshape(len(cells), count, size).sum(axis=2)

    number = joined(use.astype(np.float64))
    known = number >= 0.25 * size
    if not known.any() or use.mean() < LEAST_SKY:
        return np.zeros(nline), 1.0
    with np.errstate(all="ignore"):
        mean = np.where(known, joined(np.where(use, cells, 0.0)) / number, 0.0)
        variance = np.where(known, joined(np.where(use, error, 0.0) ** 2) / number**2, np.inf)
    level, white, scene, reach, differ = line_levels(mean, variance, known, size)
    if differ > MOST_SCENE * covariance[0]:
        return np.zeros(nline), 1.0
    offset, left = predict(level, white, scene, covariance[np.arange(len(cells)) * CELL], reach)
    centres = (np.arange(len(cells)) + 0.5) * CELL - 0.5
    return np.interp(np.arange(nline), centres, offset), left


def _sky_cells(cells, error):
    """Cells near the level of the fainter half of all, and not beside a bright one."""
    use = np.isfinite(cells)
    for _ in range(3):
        if not use.any():
            break
        middle = np.median(cells[use])
        below = middle - cells[use & (cells <= middle)]
        spread = max(1.4826 * float(np.median(below)), float(np.median(error[use])))
        lit = np.isfinite(cells) & (cells > middle + DETECTION * spread)
        lit[1:] |= lit[:-1]
        lit[:-1] |= lit[1:]
        lit[:, 1:] |= lit[:, :-1]
        lit[:, :-1] |= lit[:, 1:]
        use = np.isfinite(cells) & ~lit & (cells > middle - DETECTION * spread)
    return use


def line_levels(mean, variance, known, apart):
    """Level of every line from segments that agree, with two kinds of errors.

    Parameters
    ----------
    mean, variance : (nline, segments) float64 numpy.ndarray
        Of segments; infinite variance where nothing is known.
    known : (nline, segments) bool numpy.ndarray
        Where there is something.
    apart : float
        Distance of segments, in lines.

    Returns
    -------
    level : (nline,) float64 numpy.ndarray
        0 where nothing is known.
    white, scene : (nline,) float64 numpy.ndarray
        Variances: of the noise of pixels (infinite where nothing is known), and of scene left, which is
        alike in neighbouring lines.
    reach : float
        Length over which it is, lines.
    differ : float
        Typical variance of a segment by the scene.
    """
    nline, count = mean.shape
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
    alike = matern(np.abs(np.arange(count)[:, None] - np.arange(count)) * apart / reach)
    part = share * np.sqrt(excess)
    # What all segments have in common does not show in how they differ.
    hidden = np.clip(np.einsum("lk,km,lm->l", share, alike, share), 0.0, 0.95)
    scene = np.einsum("lk,km,lm->l", part, alike, part) / (1.0 - hidden)
    return level, np.where(total > 0, white, np.inf), scene, reach, float(np.median(excess[known]))


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


def predict(level, white, scene, covariance, reach):
    """Offsets of lines from their levels and what is known of the noise.

    Parameters
    ----------
    level, white, scene : (nline,) float64 numpy.ndarray
        From `line_levels`.
    reach : float
        From there too.
    covariance : (nline,) float64 numpy.ndarray
        Of the noise, by the distance of lines.

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
    variance = covariance[0]
    if variance <= 0:
        return np.zeros_like(level), 1.0
    nline = level.size
    scene, reach, variance = _likely_scene(level, white, scene, reach, variance, covariance / covariance[0])
    covariance = covariance * (variance / covariance[0])
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

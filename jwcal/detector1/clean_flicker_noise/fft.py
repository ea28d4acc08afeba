"""Flicker noise of NIRSpec fitted in frequency space.

Source: Rauscher 2024, PASP 136, 015001; weights, filters and order of the arithmetic, which is partly
in single precision, are those of the calibration pipeline of the observatory, package ``jwst`` 3.0.
"""

from functools import lru_cache

import numpy as np

FULL = (2048, 2048)
EDGE = 4
HALF_POWER = 1 / 256
ROLL_OFF = HALF_POWER / 4
SMOOTHING = 1.5
FRAME_REJECTION = 3.0
DENSITY = 32
CLOCK = np.float32(10.0e-6)
LINE_OVERHEAD = 12
SECTION = 512
SECTION_REJECTION = 4
LEAST_COVERAGE = 0.05
BAND = (1061, 1211, 49943, 49957)
BANDS = {"ALLSLITS": (150, 200, 49943, 49957)}
LINES = 64


class FitError(Exception):
    """The pixels of the background do not determine the fit."""


def to_detector(array, detector):
    """View of an image with the fast axis along its rows, as the detector is read."""
    return array.T if detector == "NRS1" else array.T[::-1]


def from_detector(array, detector):
    """Undo `to_detector`."""
    return array.T if detector == "NRS1" else array[::-1].T


def fit_noise(image, mask, detector, subarray, spread):
    """Take the flicker noise off an image without background.

    Parameters
    ----------
    image : (ny, nx) float32 numpy.ndarray
        Difference of groups, 0 where there is no number.
    mask : (ny, nx) bool numpy.ndarray
        Pixels that show background.
    detector, subarray : str
        Their names.
    spread : callable
        ``spread(function, items)`` calls a function on each item.

    Returns
    -------
    (ny, nx) float32 or float64 numpy.ndarray
        The cleaned image; float32 for full frames.

    Raises
    ------
    FitError
        If there are no pixels to fit, or the fit is singular.
    """
    try:
        if image.shape == FULL:
            return _clean_frame(image, mask, detector, spread)
        return _clean_subarray(image, mask, detector, BANDS.get(subarray, BAND))
    except np.linalg.LinAlgError as exc:
        raise FitError(f"the fit in frequency space failed ({exc})") from None


@lru_cache(maxsize=1)
def _frame_filters(ny, nx):
    frequency = np.fft.rfftfreq(nx)
    roll = (1 + np.cos(np.pi * (frequency - HALF_POWER) / ROLL_OFF + np.pi / 2)) / 2
    low_pass = np.where(frequency <= HALF_POWER - ROLL_OFF / 2, 1, roll)
    low_pass = np.where(frequency <= HALF_POWER + ROLL_OFF / 2, low_pass, 0)
    count = int(np.sum(low_pass > 0))
    waves = np.exp(2 * np.pi * 1j * np.arange(nx)[:, None] * np.arange(count)[None, :] / nx)
    density = np.zeros((ny, nx), np.float32)
    off = np.arange(nx) - (nx // 2 + 1)
    density[ny // 2 + 1] = np.exp(-(off**2) / DENSITY**2 / 2) / DENSITY / np.sqrt(2 * np.pi)
    smooth = np.zeros((ny, nx), np.float32)
    off = np.arange(ny) - (nx // 2 + 1)
    smooth[:, nx // 2 + 1] = np.exp(-((off / SMOOTHING) ** 2) / 2) / SMOOTHING / np.sqrt(2 * np.pi)
    return (
        low_pass,
        waves,
        np.fft.rfft2(np.fft.ifftshift(density)),
        np.array(np.fft.rfft2(np.fft.ifftshift(smooth)), np.complex64),
    )


def _clean_frame(image, mask, detector, spread):
    data, use = to_detector(image, detector), to_detector(mask, detector)
    ny, nx = data.shape
    low_pass, waves, density, smooth = _frame_filters(ny, nx)
    with np.errstate(divide="ignore"):
        weight = 1 / np.fft.irfft2(np.fft.rfft2(np.array(use, np.float32)) * density, (ny, nx))
    weight = np.where(use, weight, 0.0)
    weight[~np.isfinite(weight)] = 0.0
    model = np.zeros((ny, nx), np.float32)

    def fit(first):
        for y in range(first, min(first + LINES, ny - EDGE)):
            if use[y].any():
                model[y] = _fit_line(data[y][use[y]], weight[y][use[y]], waves[use[y]], low_pass, nx)

    spread(fit, range(EDGE, ny - EDGE, LINES))
    model = np.fft.irfft2(np.fft.rfft2(model) * smooth, s=model.shape)
    data -= model
    return image


def _fit_line(values, weight, waves, low_pass, nx):
    median = np.median(values)
    sigma = 1.4826 * np.median(np.abs(values - median))
    reach = FRAME_REJECTION * sigma
    inside = (median - reach <= values) & (values <= median + reach)
    values = np.where(inside, values, median)
    basis = np.array(waves / values.size, np.complex64) * weight[:, None]
    adjoint = np.conjugate(basis.T)
    inverse = np.linalg.inv(adjoint @ basis) @ adjoint
    count = waves.shape[1]
    spectrum = np.zeros(nx // 2 + 1, np.complex64)
    spectrum[:count] = inverse @ (weight * values)
    spectrum *= nx / values.size
    spectrum[:count] *= low_pass[:count]
    return np.fft.irfft(spectrum, nx)


def _clean_subarray(image, mask, detector, band):
    data, use = to_detector(image, detector), to_detector(mask, detector)
    use = _without_outliers(data, use)
    lines = np.flatnonzero(use.any(axis=1))
    if lines.size == 0:
        raise FitError("no pixel shows background")
    total = np.concatenate([[0], np.cumsum(use.sum(axis=1))])
    first, last = int(lines[0]), int(lines[-1])
    model, weights = np.zeros(data.shape), np.zeros(data.shape)
    while first <= last:
        stop = last + 1
        if total[-1] - total[first] > 1.5 * SECTION:
            stop = min(int(np.searchsorted(total, total[first] + SECTION, "right")), stop)
        stop = max(stop, first + 1)
        rows = slice(first, stop)
        ramp = 1.001 - np.abs(np.linspace(-1, 1, stop - first))[:, None]
        if np.mean(use[rows]) > LEAST_COVERAGE:
            model[rows] += ramp * _fit_section(data[rows], use[rows], band)
        weights[rows] += ramp
        if stop == last + 1:
            break
        first += max(int(np.round((stop - first) / 2)), 1)
    weights[model == 0] = 1
    model /= weights
    return from_detector(data - model, detector)


def _without_outliers(data, use):
    """Leave out discrepant pixels and their four neighbours."""
    if not use.any():
        return use
    median = np.median(data[use])
    sigma = 1.4825 * np.median(np.abs((data - median)[use]))
    outlier = use & (np.abs(data - median) > SECTION_REJECTION * sigma)
    use = use & ~outlier
    use[1:] &= ~outlier[:-1]
    use[:-1] &= ~outlier[1:]
    use[:, 1:] &= ~outlier[:, :-1]
    use[:, :-1] &= ~outlier[:, 1:]
    return use


@lru_cache(maxsize=8)
def _section_filters(ticks, band):
    # The type of the number of ticks decides the precision of what it is multiplied with.
    frequency = np.array(np.fft.rfftfreq(np.int32(ticks), CLOCK), np.float32)
    edges = np.array(band, np.float32)
    gain = np.zeros(frequency.size, np.float32)
    gain[frequency < edges[0]] = 1.0
    for low, high, phase in ((edges[0], edges[1], 0.0), (edges[2], edges[3], np.pi)):
        here = (low <= frequency) & (frequency < high)
        gain[here] = 0.5 * (np.cos((np.pi / (high - low)) * (frequency[here] - low) + phase) + 1)
    gain[frequency >= edges[3]] = 1.0
    sigma = np.float32(1 / ((band[0] + band[1]) / 2) / CLOCK / 2 / 4)
    off = np.arange(ticks, dtype=np.float32) - np.float32(ticks // 2 + 1)
    density = np.exp(-(off**2) / sigma**2 / 2) / sigma / np.sqrt(2 * np.pi)
    return gain, np.fft.rfft(np.fft.ifftshift(density))


def _fit_section(data, use, band):
    """Weighted fit of the noise in the order in which the pixels of some lines were read."""
    data = np.array(data, np.float32)
    ny, nx = data.shape
    width = nx + LINE_OVERHEAD
    ticks = ny * width
    gain, density = _section_filters(ticks, band)
    clocked = np.zeros((ny, width), bool)
    clocked[:, :nx] = use
    clocked = clocked.ravel()
    ticked = np.flatnonzero(clocked)
    wanted = np.flatnonzero(gain > 0.0)
    waves = np.exp(2 * np.pi * 1j * ticked[:, None] * wanted[None, :] / np.int32(ticks)) / ticked.size
    with np.errstate(divide="ignore"):
        weight = 1 / np.fft.irfft(np.fft.rfft(np.array(clocked, np.float32)) * density, ticks)
    weight = weight[clocked]
    weight[~np.isfinite(weight)] = 0.0
    basis = weight[:, None] * np.array(waves, np.complex64)
    adjoint = np.conjugate(basis.T)
    inverse = np.linalg.inv(adjoint @ basis) @ adjoint
    spectrum = np.zeros(gain.size, np.complex64)
    spectrum[wanted] = (inverse * weight[None, :]) @ data[use]
    spectrum *= np.float64(ticks / ticked.size)
    return np.fft.irfft(spectrum * gain, ticks).reshape(ny, width)[:, :nx]

"""Choice of flat, background and channels for flicker noise of images, from the image itself.

The quantities, limits and rules are those of the calibration pipeline of the observatory, package
``jwst`` 3.0.
"""

import logging
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from jwcal.detector1 import scene_mask
from jwcal.detector1.clean_flicker_noise import background
from jwcal.kernels import flicker

log = logging.getLogger(__name__)

FULL_SIDE = 2048
CHANNEL = 512
MIDDLE = (Fraction(3, 8), Fraction(5, 8))
NEAR_TOP = (Fraction(10, 12), Fraction(11, 12))


@dataclass(frozen=True)
class Limits:
    """From where on a quantity of the image counts as large."""

    masked: float
    offset: float
    slope: float
    steep: float
    ratio: float
    scatter: float


LIMITS = {
    "NIS_IMAGE": Limits(masked=0.07, offset=0.07, slope=1e-5, steep=1e-4, ratio=5.0, scatter=0.02),
    "NRC_IMAGE": Limits(masked=0.1, offset=0.07, slope=1e-5, steep=1e-5, ratio=3.0, scatter=0.02),
}


@dataclass(frozen=True)
class Measured:
    """What the choice depends on: masked fraction, channel offset, slopes and scatter, DN/s."""

    masked: float
    offset: float
    slope: float
    ratio: float
    scatter: float


def choose_parameters(cleaner):
    """Set flat, background and channels of a cleaner for its exposure; other parameters are kept.

    Parameters
    ----------
    cleaner : jwcal.detector1.clean_flicker_noise.step.Cleaner
        Its settings are changed.
    """
    settings, kind = cleaner.set, cleaner.plan.kind
    settings.apply_flat_field = cleaner.all_flat is not None
    measured = measure(cleaner)
    settings.background_method, settings.fit_by_channel = decide(measured, LIMITS[kind])
    log.info(
        "clean_flicker_noise: chosen: %s flat field, %s background, channels fitted %s",
        "a" if settings.apply_flat_field else "no",
        settings.background_method,
        "alone" if settings.fit_by_channel else "together",
    )


def decide(m, limits):
    """Background method and whether to fit by channel.

    Parameters
    ----------
    m : Measured
        Of the image.
    limits : Limits
        Of the instrument.

    Returns
    -------
    method : str
        "median" or "model".
    by_channel : bool
    """
    crowded, stepped = m.masked >= limits.masked, m.offset >= limits.offset
    if stepped and not crowded:
        return "median", True
    if crowded:
        return ("model" if m.slope >= (limits.steep if stepped else limits.slope) else "median"), False
    tilted = m.slope >= limits.steep or (m.slope >= limits.slope and m.ratio < limits.ratio)
    return ("model" if tilted else "median"), m.offset > 0 and m.scatter >= limits.scatter


def measure(cleaner):
    """Measure the background of the draft slope image after a first cleaning.

    Parameters
    ----------
    cleaner : jwcal.detector1.clean_flicker_noise.step.Cleaner
        Gives exposure, references and flat.

    Returns
    -------
    Measured
    """
    refs = cleaner.refs
    image, _ = scene_mask.draft_rate(cleaner.tile, refs["gain"]["SCI"], refs["readnoise"]["SCI"])
    if cleaner.all_flat is not None:
        with np.errstate(all="ignore"):
            image /= cleaner.all_flat
    image, mask = _quickly_cleaned(image, cleaner.plan.axis)
    level, _ = background.background_level(image, mask, "model")
    sources = mask != flicker.USABLE
    image[sources] = level if np.ndim(level) == 0 else level[sources]
    columns, rows = _mean(image, 0, MIDDLE), _mean(image, 1, MIDDLE)
    by_column, scatter = _line(columns)
    by_row, _ = _line(rows)
    if cleaner.plan.kind == "NIS_IMAGE":
        # Its first channel, at the top, behaves unlike the others.
        _, scatter = _line(_mean(image, 0, NEAR_TOP))
    slopes = np.abs([by_row, by_column])
    with np.errstate(all="ignore"):
        ratio = slopes.max() / slopes.min()
    across = columns if cleaner.plan.kind == "NRC_IMAGE" else rows
    return Measured(float(sources.mean()), _largest_step(across), slopes.max(), ratio, scatter)


def _quickly_cleaned(image, axis):
    mask = np.ones(image.shape, np.uint8)
    background.clip_to_background(image, mask)
    empty = np.isnan(image)
    image[empty] = 0.0
    mask[empty] = flicker.MASKED
    level, _ = background.background_level(image, mask)
    image -= level
    background.clip_to_background(image, mask, lower_half=True)
    lines = flicker.line_medians(image, mask, axis)
    image = (image - lines) + level
    image[empty] = np.nan
    return image, mask


def _mean(image, axis, part):
    """Mean along an axis of the middle part of it."""
    size = image.shape[axis]
    start, stop = (round(fraction * size) for fraction in part)
    with np.errstate(all="ignore"):
        return np.nanmean(np.take(image, np.arange(start, stop), axis), axis=axis)


def _line(values):
    """Slope of a straight line through values, and the scatter around it."""
    good = np.isfinite(values)
    x = np.arange(values.size)
    fitted = np.polynomial.Polynomial.fit(x[good], values[good], deg=1)
    coefficients = fitted.convert().coef
    slope = coefficients[1] if coefficients.size > 1 else 0.0
    return slope, _stats(values[good] - fitted(x[good]), 10.0)[2]


def _stats(values, sigma):
    values = np.sort(values[np.isfinite(values)].astype(np.float32))
    return flicker.clipped_stats(values, sigma)


def _largest_step(values):
    """Largest difference of the levels of neighbouring channels; 0 unless the frame is full."""
    if values.size != FULL_SIDE:
        return 0.0
    levels = [_stats(values[start : start + CHANNEL], 3.0)[0] for start in range(0, FULL_SIDE, CHANNEL)]
    return float(np.max(np.abs(np.diff(levels))))

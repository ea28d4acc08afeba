"""Level of the background of an image, and which pixels show it: both by clipped statistics.

The rules are those of the calibration pipeline of the observatory, package ``jwst`` 3.0.
"""

import logging
import warnings
from bisect import bisect_left, bisect_right

import numpy as np

from jwcal.core.errors import UsageError
from jwcal.kernels import flicker

log = logging.getLogger(__name__)

CLIP = 3.0
BINS = 2000
BOX = 32


def clip_to_background(image, mask, low=CLIP, high=2.0, fit_histogram=False, lower_half=False, values=None):
    """Mask pixels that stand out from the background; `mask` is changed in place.

    Kept are values from ``center - low * sigma`` to ``center + high * sigma``: the median and standard
    deviation after clipping, or those of a Gaussian fitted to the histogram.

    Parameters
    ----------
    image : (ny, nx) float32 numpy.ndarray
        Values without NaN among the usable ones.
    mask : (ny, nx) uint8 numpy.ndarray
        `flicker.USABLE` where a pixel may be background.
    low, high : float
        Standard deviations to keep on either side.
    fit_histogram : bool
        Take center and sigma from the histogram.
    lower_half : bool
        Take them from the values below the median alone, mirrored.
    values : (n,) float32 numpy.ndarray or None
        The usable values in ascending order, if they are known already.

    Returns
    -------
    (n,) float32 numpy.ndarray
        The values that are still usable, ascending.
    """
    if values is None:
        values = flicker.sorted_values(image, mask)
    if values.size == 0:
        return values
    mean, median, sigma = flicker.clipped_stats(values, CLIP)
    center = mean if fit_histogram else median
    mirror = center if lower_half else None
    sample = values
    if lower_half:
        sample = values[: bisect_right(values, np.float64(center))]
        mean, median, sigma = flicker.clipped_stats(sample, CLIP, mirror=mirror)
        center = mean if fit_histogram else median
    if fit_histogram:
        data = sample.astype(np.float64) if mirror is None else flicker.mirrored(sample, mirror)
        center, sigma = _gaussian(data, center, sigma)
    floor, ceiling = np.float64(center - low * sigma), np.float64(center + high * sigma)
    flicker.restrict(image, mask, floor, ceiling)
    return values[bisect_left(values, floor) : bisect_right(values, ceiling)]


def _gaussian(data, center, sigma):
    """Center and sigma of a Gaussian fitted to the histogram, or those given where that fails."""
    try:
        from scipy.optimize import curve_fit
    except ImportError:
        raise UsageError(
            "fit_histogram needs scipy; install jwcal[flicker] or leave fit_histogram off"
        ) from None
    reach = 4.0 * sigma
    try:
        counts, edges = np.histogram(data, bins=BINS, range=(center - reach, center + reach))
    except ValueError:
        log.warning("no histogram of the background; its clipped median is used")
        return center, sigma
    middle = (edges[1:] + edges[:-1]) / 2.0
    peak = np.argmax(counts)

    def bell(x, height, place, width):
        return height * np.exp(-0.5 * ((x - place) / width) ** 2)

    bounds = [(0, middle[0], 0), (np.inf, middle[-1], middle[-1] - middle[0])]
    try:
        fitted, _ = curve_fit(bell, middle, counts, p0=(counts[peak], middle[peak], sigma), bounds=bounds)
    except (RuntimeError, ValueError):
        log.warning("the histogram of the background is no Gaussian; its clipped median is used")
        return center, sigma
    return fitted[1], fitted[2]


def box_size(shape, wanted=None):
    """Box of the two-dimensional background.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the image.
    wanted : (int, int) or None
        Used as it is; else the largest sides up to 32 that divide the image.

    Returns
    -------
    (int, int)
    """
    if wanted is not None:
        return tuple(wanted)
    return tuple(max(size for size in range(1, BOX + 1) if side % size == 0) for side in shape)


def background_level(image, mask, method="median", box=None, values=None):
    """Level of the background.

    Sources are masked first: pixels beyond three sigma, by the lower half of the distribution.

    Parameters
    ----------
    image : (ny, nx) float32 numpy.ndarray
        Values without NaN among the usable ones.
    mask : (ny, nx) uint8 numpy.ndarray
        `flicker.USABLE` where a pixel may be background; changed in place.
    method : str
        "median", "model" (smooth, from medians in boxes) or "none" (the level is 0).
    box : (int, int) or None
        Rows and columns of a box of the model.
    values : (n,) float32 numpy.ndarray or None
        The usable values in ascending order, if they are known already.

    Returns
    -------
    level : float32 or (ny, nx) float32 numpy.ndarray
        NaN when no pixel is usable.
    values : (n,) float32 numpy.ndarray or None
        The values that are still usable, ascending.

    Raises
    ------
    UsageError
        If the model is asked for and its library is missing.
    """
    if method == "none":
        return np.float32(0), values
    values = clip_to_background(image, mask, CLIP, CLIP, lower_half=True, values=values)
    if method == "model":
        smooth = _model(image, mask, box_size(image.shape, box))
        if smooth is not None:
            return smooth, values
    return middle(values), values


def middle(values):
    """Median of ascending values in their own precision; NaN for none."""
    n = values.size
    if n == 0:
        return np.float32(np.nan)
    return values[n // 2] if n % 2 else (values[n // 2 - 1] + values[n // 2]) / np.float32(2)


def require_model():
    """Raise UsageError where the library of the two-dimensional background is not installed."""
    try:
        import photutils.background  # noqa: F401
    except ImportError:
        raise UsageError(
            "the background model needs photutils and scipy; install jwcal[flicker] or use "
            "background_method = median"
        ) from None


def _model(image, mask, box):
    require_model()
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, MedianBackground

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Background2D(
                image,
                box_size=box,
                filter_size=(5, 5),
                mask=mask != flicker.USABLE,
                sigma_clip=SigmaClip(sigma=CLIP, maxiters=5),
                bkg_estimator=MedianBackground(),
            ).background
    except ValueError:
        log.warning("too few pixels show background for a model of it; their median is used")
        return None

"""What a NIRISS SOSS exposure shows in all of its integrations: background, and a light curve.

The median image of the flicker-noise correction is scaled by the light curve of the first spectral order,
once a template of the background is subtracted.  References: BKG has the templates, PASTASOSS the
trace, WAVELENGTHRANGE the range that is summed.  Rules, constants and order of the arithmetic are those
of the calibration pipeline of the observatory, package ``jwst`` 3.0.
"""

import logging

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import DataError, ReferenceFileError, UsageError
from jwcal.detector1.clean_flicker_noise import background, soss_traces

log = logging.getLogger(__name__)

SUBARRAYS = (
    "SUBSTRIP256", "SUBSTRIP96", "SUB17STRIPE_SOSS", "SUB60STRIPE_SOSS", "SUB204STRIPE_SOSS", "SUB680STRIPE_SOSS",
)  # fmt: skip
# Columns between which the background has its step, and the last one that templates are matched on.
STEP = (685, 725)
LAST_COLUMN = 950
SMOOTHING = 3
# Percentiles: brighter pixels are lit; ratios of these ranks tell the scale.
FAINT = 35.0
RANKS = (25.0, 50.0)
WIDTH = 15
STRIP_ROWS, STRIP96_ROWS = 256, 96


class Templates:
    """Templates of a BKG reference, cut to the rows of an exposure, one at a time.

    Parameters
    ----------
    ref : ReferenceFile
        Open file; SCI has templates, rows and columns.
    frame : (int, int)
        Rows and columns of the exposure.

    Raises
    ------
    ReferenceFileError
        If the columns are not those of the exposure.
    """

    def __init__(self, ref, frame):
        self.hdu = ref.hdu("SCI")
        shape = self.hdu.shape
        if len(shape) != 3 or shape[2] != frame[1]:
            raise ReferenceFileError(
                f"{ref.path}: SCI of shape {shape} has no templates of the background of {frame[1]} columns"
            )
        first = soss_traces.STRIP96_OFFSET if (shape[1], frame[0]) == (STRIP_ROWS, STRIP96_ROWS) else 0
        self.rows = slice(first, first + frame[0])
        self.count = shape[0] if first or shape[1] == frame[0] else 0
        if not self.count:
            log.warning("%s: has %d rows, the exposure %d; no background", ref.path, shape[1], frame[0])

    def __iter__(self):
        for k in range(self.count):
            image = self.hdu.read(index=(k,))
            yield np.ascontiguousarray(image.reshape(image.shape[-2:])[self.rows], np.float32)


def require_filter():
    """Return the module scipy.ndimage, or raise UsageError where it is not installed."""
    try:
        from scipy import ndimage
    except ImportError:
        raise UsageError(
            "the median image of SOSS needs scipy; install jwcal[flicker] or use background_method = median"
        ) from None
    return ndimage


def _halves(template, matching):
    """Pixels left and right of the step in a template; None if it is too narrow to have one."""
    smooth = require_filter().gaussian_filter(template, SMOOTHING)
    slope = np.gradient(smooth, axis=1)[:, STEP[0] : STEP[1]]
    if slope.shape[1] == 0:
        return None
    columns = np.arange(template.shape[1])
    right = columns >= (np.argmax(slope, axis=1) + STEP[0])[:, None]
    left = ~right
    if matching:
        right[:, LAST_COLUMN + 1 :] = False
    return left, right


def split_sky(rate, dq, templates):
    """Subtract from slopes the best template of the background, its two parts scaled.

    Parameters
    ----------
    rate : (nint, ny, nx) float32 numpy.ndarray
        Slopes, DN/s.
    dq : (nint, ny, nx) uint32 numpy.ndarray
        Flags.
    templates : iterable of (ny, nx) float32 numpy.ndarray
        Templates; may be empty.

    Returns
    -------
    sky, rest : (nint, ny, nx) float32 numpy.ndarray, or None
        DN/s: the background, smooth where slopes are missing and 0 where no template matches; what is left.
        None if there are no slopes in an integration, or the frame is too narrow for templates.
    """
    flagged = (dq & (DQ["DO_NOT_USE"] | DQ["REFERENCE_PIXEL"])) != 0
    finite = np.isfinite(rate) & ~flagged
    rest = rate.copy()
    best: tuple = np.inf, None, None
    if finite.any():
        faint = ~(finite & (rate >= np.nanpercentile(rate[finite], FAINT)) | flagged)
        for template in templates:
            halves = _halves(template, True)
            if halves is None:
                return None
            found = [_match(rate, template, half & faint) for half in halves]
            misfit = found[0][1] + found[1][1]
            if misfit < best[0]:
                best = misfit, template, [scale for scale, _ in found]
    _, template, scales = best
    if template is not None:
        for half, scale in zip(_halves(template, False), scales, strict=True):
            rest -= template * half * scale
    with np.errstate(invalid="ignore"):
        sky = rate - rest
    for image in sky:
        lost = ~np.isfinite(image)
        if lost.all():
            return None
        if lost.any():
            level, _ = background.background_level(image, (~lost).astype(np.uint8), "model")
            image[lost] = level if np.ndim(level) == 0 else level[lost]
    return sky, rest


def _match(rate, template, use):
    """Scale of a template and how badly it fits (rms); infinitely if nothing can be said."""
    data, model = rate[use], np.broadcast_to(template, rate.shape)[use]
    with np.errstate(all="ignore"):
        ratio = data / model
    finite = np.isfinite(ratio)
    if not finite.any():
        return np.float64(np.nan), np.inf
    low, high = np.nanpercentile(ratio[finite], RANKS)
    valid = finite & (ratio > low) & (ratio < high)
    if not valid.any():
        return np.float64(np.nan), np.inf
    scale = np.float64(np.median(ratio[valid]))
    return scale, np.sqrt(np.square(data[finite] - model[finite] * scale).mean())


def light_curve(rate, traces, position, subarray, limits):
    """Flux of the first spectral order in each integration.

    Parameters
    ----------
    rate : (nint, ny, nx) float32 numpy.ndarray
        Slopes without background, DN/s.
    traces : soss_traces.Traces
        From the PASTASOSS reference.
    position : float
        Of the pupil wheel (PWCPOS), degrees.
    subarray : str
        Name of the subarray.
    limits : (float, float)
        Range of wavelengths to sum, micrometres.

    Returns
    -------
    (nint,) float64 numpy.ndarray or None
        None if the frame or the reference is not one of the first order on a strip.
    """
    order = next((o for o in traces.orders if o.number == 1), None)
    ny, nx = rate.shape[1:]
    rows = traces.columns - traces.first_row
    if subarray == "SUBSTRIP96":
        rows = min(rows, STRIP96_ROWS)
    if order is None or (ny, nx) != (rows, traces.columns):
        return None
    # The official step takes the trace on the taller strip for all of them.
    x, y, _ = soss_traces.trace(traces, order, position, "SUBSTRIP256")
    if x.min() <= -1 or x.max() >= nx:
        raise DataError(f"{traces.path}: the trace of order 1 leaves the columns of the detector")
    weights = np.zeros((ny, nx))
    weights[:, x.astype(int)] = _box(y, ny)
    per_column = soss_traces.wavelengths(traces, order, position, subarray)
    known = np.arange(traces.first_row, traces.first_row + ny) >= traces.columns - traces.rows
    with np.errstate(all="ignore"):
        products = np.where(known[:, None], per_column * weights, np.nan)
        wavelength = np.nansum(products, axis=0) / weights.sum(axis=0)
    valid = np.isfinite(wavelength)
    inside = (wavelength[valid] >= limits[0]) & (wavelength[valid] <= limits[1])
    flux = np.array([np.nansum(image * weights, axis=0)[valid] for image in rate])
    return np.nansum(np.where(inside, flux, np.nan), axis=1)


def _box(centre, rows):
    """Fraction of each pixel of the columns that is within a box around a row."""
    row = np.arange(rows)[:, None]
    centre = np.broadcast_to(centre, (rows, len(centre)))
    half = WIDTH / 2
    whole = (row <= centre - 0.5 + half) & (centre + 0.5 - half <= row)
    out = whole.astype(np.float64)
    upper = (centre - 0.5 + half < row) & (row < centre + 0.5 + half)
    out[upper] = (centre + half - (row - 0.5))[upper]
    lower = (row < centre + 0.5 - half) & (centre - 0.5 - half < row)
    out[lower] = (row + 0.5 - (centre - half))[lower]
    return out


def read_limits(ref, filter_name):
    """Range of wavelengths of the first order.

    Parameters
    ----------
    ref : ReferenceFile or None
        WAVELENGTHRANGE reference; None sums all wavelengths.
    filter_name : str
        Name of the filter.

    Returns
    -------
    (float, float) or None
        None if the reference has not one such range.

    Raises
    ------
    ReferenceFileError
        If the reference is malformed.
    """
    if ref is None:
        return -1.0, 1.0e10
    table = ref.tree().get("wavelengthrange")
    try:
        found = [
            (float(low), float(high)) for order, name, low, high in table if (order, name) == (1, filter_name)
        ]
    except (TypeError, ValueError):
        raise ReferenceFileError(
            f"{ref.path}: wavelengthrange is no list of order, filter and two wavelengths"
        ) from None
    return found[0] if len(found) == 1 else None

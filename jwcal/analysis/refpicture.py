"""Picture of a new reference file beside the one it would replace."""

import numpy as np

from jwcal.analysis.preview import colour, fit_into, scale, zscale_limits
from jwcal.core.errors import DataError

_PLANES = ("SCI", "COEFFS", "DQ")
_GAP = 6
_SIZE = 480
_PAPER = (252, 252, 250)


def compare_picture(new, old):
    """Draw the first plane of two files and their difference side by side.

    Parameters
    ----------
    new, old : str
        FITS files.

    Returns
    -------
    rgb : (ny, nx, 3) uint8 numpy.ndarray
        New, old, difference from left to right, first row on top.
    title : str
        What is shown.

    Raises
    ------
    DataError
        If they have no image of the same frame in common.
    """
    from jwcal.core.fits import open_fits

    with open_fits(new) as a, open_fits(old) as b:
        for name in _PLANES:
            if name not in a or name not in b or len(a[name].shape) < 2:
                continue
            left, right = _frame(a[name]), _frame(b[name])
            if left.shape == right.shape:
                return _draw(left, right), f"{name}: new, old, difference"
    raise DataError(f"{new}: has no image of the frame of {old}, to draw beside it")


def _frame(hdu):
    lead = tuple(n - 1 for n in hdu.shape[:-2])
    return hdu.read(index=lead or None).astype("f4")


def _draw(new, old):
    panels = []
    with np.errstate(invalid="ignore"):
        gap = new - old
    finite = np.concatenate([v[np.isfinite(v)].ravel() for v in (new, old)])
    limits = (
        zscale_limits(finite[:: max(1, finite.size // 20000)].astype("f8")) if finite.size else (0.0, 1.0)
    )
    for image in (new, old):
        small, bad = fit_into(image, ~np.isfinite(image), _SIZE, _SIZE)
        low, high = limits if limits[1] > limits[0] else (limits[0], limits[0] + 1)
        levels = np.clip((np.nan_to_num(small, nan=low) - low) / (high - low), 0, 1).astype("f4")
        panels.append(colour(levels, bad)[::-1])
    small, bad = fit_into(gap, ~np.isfinite(gap), _SIZE, _SIZE)
    levels, _, _ = scale(small, "linear")
    panels.append(colour(levels, bad)[::-1])
    space = np.full((panels[0].shape[0], _GAP, 3), _PAPER, np.uint8)
    return np.concatenate([panels[0], space, panels[1], space, panels[2]], axis=1)

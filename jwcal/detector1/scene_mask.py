"""Which pixels of an exposure show background, from a draft of its slope image.

The rules are those of the calibration pipeline of the observatory, package ``jwst`` 3.0.
"""

from pathlib import Path

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import DataError, InputError
from jwcal.detector1.clean_flicker_noise.background import clip_to_background
from jwcal.kernels import flicker
from jwcal.kernels.ramp import RampTiming, fit_ramps

# Pixels of all integrations fitted in one piece.
PIECE = 1 << 19


def draft_rate(tile, gain, readnoise, integrations=False):
    """Slopes of the ramps of whole frames, as the ramp fit with its defaults makes them.

    Parameters
    ----------
    tile : Tile
        Whole frames, all integrations; nothing in it is changed.
    gain, readnoise : (ny, nx) float32 numpy.ndarray
        GAIN (electrons per DN) and READNOISE (DN, of a pair of reads).
    integrations : bool
        Of each integration, not of all together.

    Returns
    -------
    sci : (ny, nx) or (nint, ny, nx) float32 numpy.ndarray
        DN/s, NaN where there is none.
    dq : uint32 numpy.ndarray
        Flags, same shape.

    Raises
    ------
    DataError
        If the times of the groups make no sense, or fewer than two groups of a MIRI exposure are usable.
    """
    sci, gdq, meta = tile["SCI"], tile["GROUPDQ"], tile.meta
    nint, ngroup, ny, nx = sci.shape
    start, stop = _groups(gdq) if meta["INSTRUME"] == "MIRI" and ngroup > 1 else (0, ngroup)
    if stop - start < min(2, ngroup):
        raise DataError(f"{meta.label}: fewer than two groups of this MIRI exposure can be used")
    if meta["TGROUP"] <= 0 or meta["TFRAME"] <= 0:
        raise DataError(f"{meta.label}: TGROUP and TFRAME must be positive")
    timing = RampTiming(
        group_time=meta["TGROUP"],
        frame_time=meta["TFRAME"],
        nframes=meta["NFRAMES"],
        groupgap=meta.get("GROUPGAP", 0),
        dropframes=meta.get("DRPFRMS1", 0),
        suppress_one_group=ngroup > 1,
        unjump_first=start > 0,
        no_gain=DQ["NO_GAIN_VALUE"],
    )
    out = np.empty((nint, ny, nx) if integrations else (ny, nx), np.float32)
    dq = np.empty(out.shape, np.uint32)
    dark, zero = tile.get("AVDRKCUR"), tile.get("ZEROFRAME")

    def fit(y0):
        rows = slice(y0, y0 + step)
        zeros = None if zero is None else np.ascontiguousarray(zero[:, rows])
        products = fit_ramps(
            sci[:, start:stop, rows], gdq[:, start:stop, rows], tile["PIXELDQ"][rows], gain[rows],
            readnoise[rows], timing, None if dark is None else dark[rows], zeros,
        )  # fmt: skip
        made = products[1 if integrations else 0]
        out[..., rows, :], dq[..., rows, :] = made["SCI"], made["DQ"]

    step = max(PIECE // (nint * nx), 1)
    tile.spread(fit, range(0, ny, step))
    return out, dq


def _groups(gdq):
    """Range of groups that some pixel can use: leading ones may be lost, and the last."""
    lost = np.array([all((frame & 1).all() for frame in group) for group in gdq.swapaxes(0, 1)])
    start = lost.size if lost.all() else int(np.argmin(lost))
    return start, lost.size - bool(start < lost.size and lost[-1])


def scene_mask(rate, n_sigma=2.0, fit_histogram=False, hidden=None):
    """Find the pixels of a slope image that show background.

    Parameters
    ----------
    rate : (ny, nx) float32 numpy.ndarray
        Slopes; pixels that are NaN or exactly zero hold no data.
    n_sigma : float
        Brighter pixels than this many standard deviations show a source; 0 lets all pass.
    fit_histogram : bool
        Take the standard deviation from a Gaussian fitted to the histogram.
    hidden : (ny, nx) bool numpy.ndarray or None
        Pixels known to show something else than background.

    Returns
    -------
    (ny, nx) uint8 numpy.ndarray
        1 for background, 0 for everything else.
    """
    mask = np.full(rate.shape, flicker.USABLE, np.uint8)
    if hidden is not None:
        mask[hidden] = flicker.MASKED
    mask[np.isnan(rate) | (rate == 0)] = flicker.MASKED
    if n_sigma > 0:
        clip_to_background(rate, mask, high=n_sigma, fit_histogram=fit_histogram)
    return mask


def read_mask(path, exposure):
    """Read a mask made by the user.

    Parameters
    ----------
    path : str
        FITS file; its SCI extension, or else its first image, is not zero where there is background.
    exposure : Exposure
        Gives the shape.

    Returns
    -------
    (ny, nx) or (nint, ny, nx) uint8 numpy.ndarray

    Raises
    ------
    InputError
        If it is no FITS image, or not of the shape of the frame or of a frame per integration.
    """
    from jwcal.core.fits import open_fits

    if not Path(path).is_file():
        raise InputError(f"{path}: no such mask file")
    with open_fits(str(path)) as fits:
        images = [hdu for hdu in fits.hdus if hdu.kind == "image" and len(hdu.shape) > 0]
        hdu = fits["SCI"] if "SCI" in fits else next(iter(images), None)
        if hdu is None or hdu.kind != "image":
            raise InputError(f"{path}: the user mask holds no image")
        shapes = [exposure.frame, (exposure.shape[0], *exposure.frame)]
        if hdu.shape not in shapes:
            wanted = " or ".join(str(shape) for shape in shapes)
            raise InputError(f"{path}: the user mask has shape {hdu.shape}; the exposure needs {wanted}")
        return (hdu.read() != 0).astype(np.uint8)

"""Pixels of large events: median differences, and the mean of a ring around a pixel.

Every function comes as C and as a NumPy twin (``*_numpy``) that gives the same values, bit for bit.
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr, ramp_layout
from jwcal.kernels.pixelwise import sizes

# Flag values that make a group unusable for the median: DO_NOT_USE, SATURATED and JUMP_DET, alone or with
# DO_NOT_USE; a group that has another flag as well stays in, as in the public step.
LARGEST_UNUSABLE = 5


def median_differences(sci, gdq, gain):
    """Median of the differences of successive groups of a pixel, over all integrations.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; a group whose flags are 1 to 5 is not used.
    gain : (ny, nx) float32 numpy.ndarray
        Gain, electrons per DN.

    Returns
    -------
    (ny, nx) float32 numpy.ndarray
        Electrons per group; NaN where no difference can be used.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    nint, ngroup, ny, nx = sci.shape
    strides = ramp_layout(sci, np.float32, "sci") + ramp_layout(gdq, np.uint8, "gdq")
    if gdq.shape != sci.shape or ngroup < 2:
        raise ValueError(f"gdq {gdq.shape} and sci {sci.shape}: need equal shapes and two groups")
    plane(gain, (ny, nx), np.float32, "gain")
    lib = native()
    if lib is None:
        return median_differences_numpy(sci, gdq, gain)
    out = np.empty((ny, nx), np.float32)
    if lib.jw_median_differences(
        ptr(sci), ptr(gdq), ptr(gain), *sizes(*strides, nint, ngroup, ny * nx), ptr(out)
    ):
        raise MemoryError("median differences")
    return out


def median_differences_numpy(sci, gdq, gain):
    """NumPy twin of `median_differences`."""
    nint, ngroup, ny, nx = sci.shape
    with np.errstate(invalid="ignore", over="ignore"):
        steps = differences(sci, gdq, gain).reshape(nint * (ngroup - 1), ny, nx)
        steps = np.sort(steps, axis=0)
        count = (~np.isnan(steps)).sum(axis=0)
        low = np.take_along_axis(steps, np.maximum(count - 1, 0)[None] // 2, 0)[0]
        high = np.take_along_axis(steps, np.minimum(count // 2, len(steps) - 1)[None], 0)[0]
        return np.where(count % 2, low, (low + high) / np.float32(2)).astype(np.float32)


def differences(sci, gdq, gain):
    """Differences of successive groups in electrons; NaN where a group has flags of 1 to 5.

    Parameters
    ----------
    sci : (..., ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.
    gdq : (..., ngroup, ny, nx) uint8 numpy.ndarray
        Group flags.
    gain : (ny, nx) float32 numpy.ndarray
        Gain, electrons per DN.

    Returns
    -------
    (..., ngroup - 1, ny, nx) float32 numpy.ndarray
    """
    charge = sci * gain
    charge[(gdq > 0) & (gdq <= LARGEST_UNUSABLE)] = np.nan
    return np.diff(charge, axis=-3)


def ring_offsets(inner, outer):
    """Pixels of a ring around a pixel.

    Parameters
    ----------
    inner, outer : float
        Radii, both included, pixels.

    Returns
    -------
    (n, 2) int32 numpy.ndarray
        Row and column offsets.
    """
    reach = int(np.ceil(outer))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    square = y * y + x * x
    ring = (square >= inner**2) & (square <= outer**2)
    return np.stack([y[ring], x[ring]], axis=1).astype(np.int32)


def ring_exceeds(value, offsets, limit):
    """Find the pixels around which the mean of a ring exceeds a limit.

    Parameters
    ----------
    value : (ny, nx) float32 numpy.ndarray
        Image; what is not finite is left out of the means and never found.
    offsets : (n, 2) int32 numpy.ndarray
        The ring, see `ring_offsets`.  Beyond the frame it sees zeros.
    limit : float
        Smallest mean, excluded.

    Returns
    -------
    (ny, nx) uint8 numpy.ndarray
        1 where the mean is larger.
    """
    ny, nx = value.shape
    plane(value, (ny, nx), np.float32, "value")
    plane(offsets, (len(offsets), 2), np.int32, "offsets")
    lib = native()
    if lib is None:
        return ring_exceeds_numpy(value, offsets, limit)
    out, work = np.empty((ny, nx), np.uint8), np.empty(2 * nx)
    lib.jw_ring_exceeds(
        ptr(value),
        *sizes(ny, nx),
        ptr(offsets),
        *sizes(len(offsets)),
        ctypes.c_double(limit),
        ptr(work),
        ptr(out),
    )
    return out


def ring_exceeds_numpy(value, offsets, limit):
    """NumPy twin of `ring_exceeds`."""
    ny, nx = value.shape
    reach = int(np.abs(offsets).max(initial=0))
    good = np.isfinite(value)
    clean = np.pad(np.where(good, value, np.float32(0)).astype(np.float64), reach)
    absent = np.pad((~good).astype(np.float64), reach)
    total, missing = np.zeros((ny, nx)), np.zeros((ny, nx))
    for dy, dx in offsets:
        part = (slice(reach + dy, reach + dy + ny), slice(reach + dx, reach + dx + nx))
        total += clean[part]
        missing += absent[part]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / (len(offsets) - missing)
    return (good & (len(offsets) > missing) & (mean > limit)).astype(np.uint8)

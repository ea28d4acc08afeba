"""Corrections that treat every pixel alone: flag initialisation, bias, dark.

Each function changes its arrays in place.  ``*_numpy`` are the definitions; the
compiled versions give the same bits.
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr, ramp_layout

DO_NOT_USE = 1


def zeroframe_layout(zeroframe, shape):
    """Elements from one integration of the zero frame to the next.

    Parameters
    ----------
    zeroframe : (nint, ny, nx) float32 numpy.ndarray or None
        First reads; rows contiguous, integrations may be spaced.
    shape : tuple of int
        Shape (nint, ngroup, ny, nx) of the ramp.

    Returns
    -------
    int
        The stride; 0 when there is no zero frame.

    Raises
    ------
    ValueError
        If dtype, shape or layout do not fit.
    """
    if zeroframe is None:
        return 0
    if zeroframe.shape != (shape[0], *shape[2:]):
        raise ValueError(f"ZEROFRAME: shape {zeroframe.shape} does not fit a ramp of shape {shape}")
    return ramp_layout(zeroframe[:, None], "f4", "ZEROFRAME")[0]


def sizes(*values):
    """Convert to the integer type all kernels take for sizes."""
    return [ctypes.c_ssize_t(int(v)) for v in values]


def initialise_dq(pixeldq, groupdq, mask):
    """Merge a bad-pixel mask into the flags.

    Parameters
    ----------
    pixeldq : (ny, nx) uint32 numpy.ndarray
        Pixel flags; all bits of the mask are added.
    groupdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; the mask's DO_NOT_USE is added to every group.
    mask : (ny, nx) uint32 numpy.ndarray
        Mask in standard bits.
    """
    nint, ngroup, ny, nx = groupdq.shape
    strides = ramp_layout(groupdq, "u1", "GROUPDQ")
    plane(pixeldq, (ny, nx), "u4", "PIXELDQ")
    plane(mask, (ny, nx), "u4", "mask")
    lib = native()
    if lib is None:
        initialise_dq_numpy(pixeldq, groupdq, mask)
        return
    lib.jw_initialise_dq(ptr(pixeldq), ptr(groupdq), ptr(mask), *sizes(nint, ngroup, ny * nx, *strides))


def initialise_dq_numpy(pixeldq, groupdq, mask):
    """NumPy twin of `initialise_dq`."""
    pixeldq |= mask
    groupdq |= (mask & DO_NOT_USE).astype(np.uint8)


def subtract_bias(sci, pixeldq, zeroframe, bias, dq):
    """Subtract a bias image from every group and the zero frame.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN.
    pixeldq : (ny, nx) uint32 numpy.ndarray
        Receives the flags of the bias.
    zeroframe : (nint, ny, nx) float32 numpy.ndarray or None
        First reads, DN; 0 means invalid and stays 0.
    bias : (ny, nx) float32 numpy.ndarray
        Bias, DN; NaN counts as 0.
    dq : (ny, nx) uint32 numpy.ndarray
        Flags of the bias in standard bits.
    """
    nint, ngroup, ny, nx = sci.shape
    strides = ramp_layout(sci, "f4", "SCI")
    spacing = zeroframe_layout(zeroframe, sci.shape)
    plane(pixeldq, (ny, nx), "u4", "PIXELDQ")
    plane(bias, (ny, nx), "f4", "bias")
    plane(dq, (ny, nx), "u4", "bias DQ")
    lib = native()
    if lib is None:
        subtract_bias_numpy(sci, pixeldq, zeroframe, bias, dq)
        return
    lib.jw_subtract_bias(
        ptr(sci), *sizes(nint, ngroup, ny * nx, *strides), ptr(zeroframe), *sizes(spacing),
        ptr(pixeldq), ptr(bias), ptr(dq),
    )  # fmt: skip


def subtract_bias_numpy(sci, pixeldq, zeroframe, bias, dq):
    """NumPy twin of `subtract_bias`."""
    level = np.where(np.isnan(bias), np.float32(0), bias)
    pixeldq |= dq
    sci -= level
    if zeroframe is not None:
        zeroframe[...] = np.where(zeroframe == 0, np.float32(0), zeroframe - level)


def average_frames(frames, out):
    """Mean of consecutive frames, added first to last in single precision.

    Parameters
    ----------
    frames : (nframe, ny, nx) float32 numpy.ndarray
        Contiguous frames, DN; NaN counts as 0.
    out : (ny, nx) float32 numpy.ndarray
        Receives the mean.

    Returns
    -------
    numpy.ndarray
        `out`.
    """
    nframe, ny, nx = frames.shape
    plane(frames, frames.shape, "f4", "frames")
    plane(out, (ny, nx), "f4", "mean")
    lib = native()
    if lib is None:
        return average_frames_numpy(frames, out)
    lib.jw_average_frames(ptr(frames), *sizes(nframe, ny * nx, ny * nx), ptr(out))
    return out


def average_frames_numpy(frames, out):
    """NumPy twin of `average_frames`."""
    values = np.where(np.isnan(frames), np.float32(0), frames)
    out[...] = values[0]
    for frame in values[1:]:
        out += frame
    out /= np.float32(len(values))
    return out


def subtract_dark(sci, pixeldq, dark, which, dq):
    """Subtract a dark ramp from every integration.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN.
    pixeldq : (ny, nx) uint32 numpy.ndarray
        Receives the flags of the dark.
    dark : (ndark, ngroup, ny, nx) float32 or float64 numpy.ndarray
        Dark ramps, DN, rows contiguous; NaN counts as 0.  With float64 the
        difference is formed in double precision and rounded once.
    which : sequence of int
        For each integration the index of its dark.
    dq : (ny, nx) uint32 numpy.ndarray or None
        Flags of the dark in standard bits.
    """
    nint, ngroup, ny, nx = sci.shape
    strides = ramp_layout(sci, "f4", "SCI")
    if dark.shape[1:] != sci.shape[1:] or dark.dtype not in (np.float32, np.float64):
        raise ValueError(f"dark: {dark.dtype} {dark.shape} does not fit a ramp of shape {sci.shape}")
    spacing = ramp_layout(dark, dark.dtype, "dark")
    which = np.ascontiguousarray(which, np.int32)
    if which.shape != (nint,) or which.min() < 0 or which.max() >= len(dark):
        raise ValueError("which: need the index of a dark for each integration")
    plane(pixeldq, (ny, nx), "u4", "PIXELDQ")
    if dq is not None:
        plane(dq, (ny, nx), "u4", "dark DQ")
    lib = native()
    if lib is None:
        subtract_dark_numpy(sci, pixeldq, dark, which, dq)
        return
    if dq is not None:
        pixeldq |= dq
    function = lib.jw_subtract_dark if dark.dtype == np.float32 else lib.jw_subtract_dark64
    function(ptr(sci), *sizes(nint, ngroup, ny * nx, *strides), ptr(dark), *sizes(*spacing), ptr(which))


def subtract_dark_numpy(sci, pixeldq, dark, which, dq):
    """NumPy twin of `subtract_dark`."""
    if dq is not None:
        pixeldq |= dq
    for ramp, index in zip(sci, which, strict=True):
        level = dark[index]
        level = np.where(np.isnan(level), level.dtype.type(0), level)
        np.subtract(ramp, level, out=ramp, casting="same_kind")


def scale_rates(planes, factor):
    """Rescale fitted slopes, their errors and variances by a gain factor.

    Parameters
    ----------
    planes : mapping of str to float32 numpy.ndarray
        SCI, and where present ERR, VAR_POISSON and VAR_RNOISE; changed in place.
    factor : float
        Multiplies SCI and ERR; its square multiplies the variances.
    """
    for name, power in (("SCI", 1), ("ERR", 1), ("VAR_POISSON", 2), ("VAR_RNOISE", 2)):
        array = planes.get(name)
        if array is not None:
            array *= np.float32(factor**power)

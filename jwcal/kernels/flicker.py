"""Flicker noise: differences of groups, clipped statistics of sorted values, medians along lines.

The functions ending in ``_numpy`` are the definition; the compiled versions give the same bits.
Masks are uint8: MASKED pixels are not looked at, USABLE ones are background, EMPTY ones hold no
number (their image value is zero).
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr
from jwcal.kernels.pixelwise import sizes

MASKED, USABLE, EMPTY = 0, 1, 2
DNU, SATURATED, JUMP = 1, 2, 4


def _planes(shape, **arrays):
    for name, array in arrays.items():
        if array is not None:
            plane(array, shape, np.uint8 if name in ("mask", "scene", "flags") else np.float32, name)


def difference(now, before, scene, flags=None, flat=None):
    """Difference of two groups, and which of its pixels show background.

    Parameters
    ----------
    now, before : (ny, nx) float32 numpy.ndarray
        The later and the earlier group.
    scene : (ny, nx) uint8 numpy.ndarray
        USABLE where there is no source.
    flags : (ny, nx) uint8 numpy.ndarray or None
        Flags of the later group; DO_NOT_USE and JUMP_DET mask a pixel.
    flat : (ny, nx) float32 numpy.ndarray or None
        The difference is divided by it.

    Returns
    -------
    image : (ny, nx) float32 numpy.ndarray
        Difference, 0 where it is NaN.
    mask : (ny, nx) uint8 numpy.ndarray
        MASKED, USABLE or EMPTY.
    """
    shape = now.shape
    _planes(shape, now=now, before=before, scene=scene, flags=flags, flat=flat)
    lib = native()
    if lib is None:
        return difference_numpy(now, before, scene, flags, flat)
    image, mask = np.empty(shape, np.float32), np.empty(shape, np.uint8)
    lib.jw_flicker_difference(
        ptr(now), ptr(before), ptr(flat), ptr(scene), ptr(flags), ptr(image), ptr(mask), *sizes(now.size)
    )
    return image, mask


def difference_numpy(now, before, scene, flags=None, flat=None):
    """NumPy twin of `difference`."""
    with np.errstate(all="ignore"):
        image = now - before
        if flat is not None:
            image /= flat
    mask = scene.copy()
    if flags is not None:
        mask[(flags & (DNU | JUMP)) != 0] = MASKED
    empty = np.isnan(image)
    image[empty] = 0.0
    mask[empty] = EMPTY
    return image, mask


def restrict(image, mask, low, high):
    """Mask the usable pixels of an image below `low` or above `high` (float64); in place.

    Parameters
    ----------
    image : (ny, nx) float32 numpy.ndarray
        Values.
    mask : (ny, nx) uint8 numpy.ndarray
        Changed.
    low, high : float
        Range to keep; a NaN limit keeps all.
    """
    _planes(image.shape, image=image, mask=mask)
    lib = native()
    if lib is None:
        restrict_numpy(image, mask, low, high)
        return
    lib.jw_flicker_restrict(
        ptr(image), ptr(mask), ctypes.c_double(low), ctypes.c_double(high), *sizes(image.size)
    )


def restrict_numpy(image, mask, low, high):
    """NumPy twin of `restrict`."""
    out = (image < np.float64(low)) | (image > np.float64(high))
    mask[out & (mask == USABLE)] = MASKED


def sorted_values(image, mask):
    """Finite usable values of an image in ascending order.

    Parameters
    ----------
    image : (ny, nx) float32 numpy.ndarray
        Values.
    mask : (ny, nx) uint8 numpy.ndarray
        USABLE where they count.

    Returns
    -------
    (n,) float32 numpy.ndarray
    """
    _planes(image.shape, image=image, mask=mask)
    lib = native()
    if lib is None:
        return sorted_values_numpy(image, mask)
    out = np.empty(image.size + 1, np.float32)
    lib.jw_sorted_values.restype = ctypes.c_ssize_t
    count = lib.jw_sorted_values(ptr(image), ptr(mask), *sizes(image.size), ptr(out))
    if count < 0:
        raise MemoryError("sorting pixel values")
    return out[:count]


def sorted_values_numpy(image, mask):
    """NumPy twin of `sorted_values`."""
    values = image[mask == USABLE]
    # Adding zero makes minus zero zero, whose place in the order would be undefined.
    return np.sort(values[np.isfinite(values)] + np.float32(0))


def clipped_stats(values, sigma=3.0, rounds=5, mirror=None):
    """Mean, median and standard deviation after iterative clipping around the median.

    Parameters
    ----------
    values : (n,) float32 numpy.ndarray
        Finite, ascending.
    sigma : float
        Standard deviations to keep on either side.
    rounds : int
        Clip at most this often.
    mirror : float or None
        Clip the values, all of them at most this, together with their mirror image above it.

    Returns
    -------
    mean, median, deviation : float
        NaN for no values.
    """
    if values.ndim != 1 or values.dtype != np.float32 or not values.flags.c_contiguous:
        raise ValueError("values: need a contiguous 1-D float32 array")
    lib = native()
    if lib is None:
        return clipped_stats_numpy(values, sigma, rounds, mirror)
    stats = (ctypes.c_double * 3)()
    lib.jw_clipped_stats(
        ptr(values), *sizes(values.size), ctypes.c_int(mirror is not None), ctypes.c_double(mirror or 0.0),
        ctypes.c_double(sigma), ctypes.c_int32(rounds), stats,
    )  # fmt: skip
    return tuple(stats)


def clipped_stats_numpy(values, sigma=3.0, rounds=5, mirror=None):
    """NumPy twin of `clipped_stats`."""
    data = values.astype(np.float64) if mirror is None else mirrored(values, mirror)
    mean = median = deviation = np.nan
    for turn in range(rounds + 1):
        n = data.size
        if n == 0:
            break
        a, b = data[(n - 1) // 2], data[n // 2]
        median = b if n % 2 else (a + b) / 2.0
        mean = np.add.reduce(data) / n
        off = data - mean
        deviation = np.sqrt(np.add.reduce(off * off) / n)
        if turn == rounds:
            break
        low = np.searchsorted(data, median - deviation * sigma, "left")
        high = np.searchsorted(data, median + deviation * sigma, "right")
        if (low, high) == (0, n):
            break
        data = data[low:high]
    return float(mean), float(median), float(deviation)


def mirrored(values, center):
    """Ascending values up to `center` followed by their mirror image above it, float64."""
    below = values.astype(np.float64)
    return np.concatenate([(below - center) + center, ((center - below) + center)[::-1]])


def line_medians(image, mask, axis, parts=1):
    """Medians of the usable pixels along the lines of an image.

    Parameters
    ----------
    image : (ny, nx) float32 numpy.ndarray
        Values.
    mask : (ny, nx) uint8 numpy.ndarray
        USABLE where they count.
    axis : int
        1: along each row; 0: along each column.
    parts : int
        Every line is cut into this many equal parts.

    Returns
    -------
    (ny, parts) or (parts, nx) float32 numpy.ndarray
        0 for lines without a usable pixel.

    Raises
    ------
    ValueError
        If the lines cannot be cut so.
    """
    ny, nx = image.shape
    _planes(image.shape, image=image, mask=mask)
    if image.shape[axis] % parts:
        raise ValueError(f"lines of {image.shape[axis]} pixels cannot be cut into {parts}")
    lib = native()
    if lib is None:
        return line_medians_numpy(image, mask, axis, parts)
    out = np.empty((ny, parts) if axis else (parts, nx), np.float32)
    if lib.jw_line_medians(
        ptr(image), ptr(mask), *sizes(ny, nx), ctypes.c_int(axis), *sizes(parts), ptr(out)
    ):
        raise MemoryError("medians along lines")
    return out


def line_medians_numpy(image, mask, axis, parts=1):
    """NumPy twin of `line_medians`."""
    values = np.where(mask == USABLE, image + np.float32(0), np.float32(np.nan))
    pieces = np.split(values if axis else values.T, parts, axis=1)
    out = []
    for piece in pieces:
        ordered = np.sort(piece, axis=1)
        count = (~np.isnan(piece)).sum(axis=1)[:, None]
        low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0), axis=1)
        high = np.take_along_axis(ordered, np.minimum(count // 2, piece.shape[1] - 1), axis=1)
        out.append(np.where(count == 0, np.float32(0), (low + high) / np.float32(2)))
    medians = np.concatenate(out, axis=1)
    return medians if axis else np.ascontiguousarray(medians.T)


def apply(image, mask, medians, axis, background, before, out, flat=None):
    """Take the medians of the lines off an image and put the rest on top of a group.

    Parameters
    ----------
    image : (ny, nx) float32 numpy.ndarray
        Difference without its background.
    mask : (ny, nx) uint8 numpy.ndarray
        The result is NaN where it is EMPTY.
    medians : float32 numpy.ndarray
        As from `line_medians` for this `axis`.
    axis : int
        Axis of the lines.
    background : float or (ny, nx) float32 numpy.ndarray
        Put back.
    before : (ny, nx) float32 numpy.ndarray
        Group to add the cleaned difference to.
    out : (ny, nx) float32 numpy.ndarray
        Receives the sum.
    flat : (ny, nx) float32 numpy.ndarray or None
        Multiplied back.
    """
    ny, nx = image.shape
    parts = medians.shape[axis]
    plane(medians, (ny, parts) if axis else (parts, nx), np.float32, "medians")
    scalar = np.ndim(background) == 0
    _planes(image.shape, image=image, mask=mask, before=before, out=out, flat=flat)
    if not scalar:
        _planes(image.shape, background=background)
    lib = native()
    if lib is None:
        apply_numpy(image, mask, medians, axis, background, before, out, flat)
        return
    lib.jw_flicker_apply(
        ptr(image), ptr(mask), ptr(medians), ctypes.c_int(axis), *sizes(parts),
        None if scalar else ptr(background), ctypes.c_float(background if scalar else 0), ptr(flat),
        ptr(before), ptr(out), *sizes(ny, nx),
    )  # fmt: skip


def apply_numpy(image, mask, medians, axis, background, before, out, flat=None):
    """NumPy twin of `apply`."""
    value = image - np.repeat(medians, image.shape[axis] // medians.shape[axis], axis=axis)
    value += np.asarray(background, np.float32)
    with np.errstate(all="ignore"):
        if flat is not None:
            value *= flat
        value[mask == EMPTY] = np.nan
        out[...] = before + value

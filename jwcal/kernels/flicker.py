"""Flicker noise: differences of groups, clipped statistics of sorted values, medians along lines.

The functions ending in ``_numpy`` are the definition; the compiled versions give the same bits.
Masks are uint8: MASKED pixels are not looked at, USABLE ones are background, EMPTY ones hold no
number (their image value is zero).
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr, ramp_layout
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


def line_scene(sci, gdq, weight, axis, parts=1, bright=10.0, lines=None, out=None):
    """Split the differences of groups, line by line, into a scene that stays and offsets that change.

    The scene is the weighted mean of the differences; the offset of a difference is the mean of its
    deviations from the scene, without those beyond four sigma and without bright pixels.  Differences with
    a DO_NOT_USE or SATURATED group, or that end in a JUMP_DET, are left out pixel by pixel.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags.
    weight : (nint * (ngroup - 1),) float64 numpy.ndarray
        Weight of each difference in the scene; 0 leaves it out.
    axis : int
        1: lines are rows; 0: columns.
    parts : int
        Every line is cut into this many equal parts.
    bright : float
        Pixels whose scene is further than this many sigma of a difference from the median of the line
        tell nothing about its offset.
    lines : (int, int) or None
        First line and the one after the last; None is all.
    out : tuple or None
        As returned; filled for these lines.

    Returns
    -------
    scene : (ny, nx) float32 numpy.ndarray
        DN per group, NaN where no difference is usable.
    offset, sigma : (nline, parts, nint * (ngroup - 1)) float32 numpy.ndarray
        Offset of each difference, and the standard deviation of its pixels, DN.
    count : int32 numpy.ndarray
        Pixels the offset is from.
    """
    nint, ngroup, ny, nx = sci.shape
    strides = (*ramp_layout(sci, np.float32, "sci"), *ramp_layout(gdq, np.uint8, "gdq"))
    nline, length = (ny, nx) if axis else (nx, ny)
    nd = nint * (ngroup - 1)
    if gdq.shape != sci.shape or length % parts:
        raise ValueError(f"gdq {gdq.shape} and {parts} parts do not fit sci {sci.shape}")
    plane(weight, (nd,), np.float64, "weight")
    first, last = lines or (0, nline)
    if out is None:
        out = scene_arrays(sci.shape, axis, parts)
    lib = native()
    if lib is None:
        line_scene_numpy(sci, gdq, weight, axis, parts, bright, (first, last), out)
        return out
    if lib.jw_line_scene(
        ptr(sci), *sizes(*strides[:2]), ptr(gdq), *sizes(*strides[2:], nint, ngroup, nx), ctypes.c_int(axis),
        *sizes(length // parts, parts), ptr(weight), ctypes.c_double(bright), *sizes(first, last),
        *(ptr(array) for array in out),
    ):  # fmt: skip
        raise MemoryError("scene of lines")
    return out


def scene_arrays(shape, axis, parts):
    """Arrays for the results of `line_scene` of ramps of a shape."""
    nint, ngroup, ny, nx = shape
    pieces = ((ny, nx)[1 - axis], parts, nint * (ngroup - 1))
    return (
        np.empty((ny, nx), np.float32), np.empty(pieces, np.float32), np.empty(pieces, np.float32),
        np.empty(pieces, np.int32),
    )  # fmt: skip


def line_scene_numpy(sci, gdq, weight, axis, parts, bright, lines, out):
    """NumPy twin of `line_scene`; fills `out`."""
    scene, offset, sigma, count = out
    nint, ngroup = sci.shape[:2]
    for line in range(*lines):
        take = (slice(None), slice(None), line) if axis else (Ellipsis, line)
        ramp, flags = sci[take], gdq[take]
        with np.errstate(all="ignore"):
            diff = (ramp[:, 1:] - ramp[:, :-1]).reshape(nint * (ngroup - 1), -1)
        bad = (flags[:, 1:] & (DNU | SATURATED | JUMP)) | (flags[:, :-1] & (DNU | SATURATED))
        use = (bad.reshape(diff.shape) == 0) & np.isfinite(diff) & (weight > 0)[:, None]
        diff = np.where(use, diff, np.float32(0))
        for part, piece in enumerate(np.split(np.arange(diff.shape[1]), parts)):
            found = _one_line(diff[:, piece], use[:, piece], weight, bright)
            at = (line, piece) if axis else (piece, line)
            scene[at], offset[line, part], sigma[line, part], count[line, part] = found


def _one_line(diff, use, weight, bright):
    offset = np.zeros(len(diff), np.float32)
    sigma, count = offset.copy(), np.zeros(len(diff), np.int32)
    scene = _mean_scene(diff, use, weight, offset)
    good = ~np.isnan(scene)
    level = _median(scene[good])
    for turn in range(2):
        for d, values in enumerate(diff):
            rest = (values - scene)[use[d] & good]
            median = _median(rest)
            away = np.abs(rest - median)
            sigma[d] = np.float32(1.4826) * _median(away)
            kept = rest[away <= np.float32(4) * sigma[d]].astype(np.float64)
            count[d] = kept.size
            # Added up one by one, as the compiled version does.
            offset[d] = np.cumsum(kept)[-1] / kept.size if kept.size else 0.0
        scene = _mean_scene(diff, use, weight, offset)
        if turn == 0:
            limit = np.float32(bright) * _median(sigma[count > 0])
            with np.errstate(invalid="ignore"):
                good = np.abs(scene - level) <= limit
    return scene, offset, sigma, count


def _mean_scene(diff, use, weight, offset):
    total, summed = np.zeros(diff.shape[1]), np.zeros(diff.shape[1])
    for values, good, w, r in zip(diff, use, weight, offset, strict=True):
        wx = np.where(good, w, 0.0)
        summed += wx * (values - r).astype(np.float64)
        total += wx
    with np.errstate(all="ignore"):
        return np.where(total > 0, summed / total, np.nan).astype(np.float32)


def _median(values):
    values = np.sort(values)
    n = values.size
    return (values[(n - 1) // 2] + values[n // 2]) / np.float32(2) if n else np.float32(0)

"""Profiles of the halos of snowballs: C, and a NumPy twin that gives the same values, bit for bit."""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr, ramp_layout
from jwcal.kernels.pixelwise import sizes

# Centre, direction of the major axis against the rows, minor over major axis, largest half axis masked;
# box (half-open), number of rings, and place of the first of them.
HALO = np.dtype(
    [(name, "f8") for name in ("y", "x", "cosine", "sine", "ratio", "semi")]
    + [(name, "i4") for name in ("y0", "y1", "x0", "x1", "rings", "first")]
)
SATURATED, JUMP, DNU = 2, 4, 1
MAD = np.float32(1.4826)


def halo_profiles(sci, gdq, group, halos, inner, outer, least):
    """Profiles of the halos of one group along their ellipses.

    The difference of the group to the one before, less the median of the other differences of the pixel
    without jumps, is taken in rings one pixel wide of similar ellipses.

    Parameters
    ----------
    sci : (ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.
    gdq : (ngroup, ny, nx) uint8 numpy.ndarray
        Group flags.
    group : int
        The group, from 1.
    halos : (n,) numpy.ndarray of dtype `HALO`
        Where they are.
    inner, outer : float
        Noise and zero are those of pixels between these multiples of ``semi``; the profile ends at the
        first of them.
    least : int
        Pixels that must be there.

    Returns
    -------
    noise : (n,) float32 numpy.ndarray
        Standard deviation of a pixel, DN; NaN where the data show no profile.
    value : (nring,) float64 numpy.ndarray
        Medians of the rings, forced to fall outwards, DN; infinite inside of the first ring with a pixel.
        Not defined for a halo without noise.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    ngroup, ny, nx = sci.shape
    strides = ramp_layout(sci[None], np.float32, "sci")[1:] + ramp_layout(gdq[None], np.uint8, "gdq")[1:]
    plane(halos, (len(halos),), HALO, "halos")
    if gdq.shape != sci.shape or not 0 < group < ngroup:
        raise ValueError(
            f"gdq {gdq.shape}, sci {sci.shape}, group {group}: need equal shapes, a group before"
        )
    if (
        (halos["y0"] < 0).any()
        or (halos["x0"] < 0).any()
        or (halos["y1"] > ny).any()
        or (halos["x1"] > nx).any()
    ):
        raise ValueError("a box is not in the frame")
    noise = np.empty(len(halos), np.float32)
    value = np.empty(int((halos["first"] + halos["rings"]).max(initial=0)))
    lib = native()
    if lib is None:
        return halo_profiles_numpy(sci, gdq, group, halos, inner, outer, least)
    if lib.jw_halo_profiles(
        ptr(sci), ptr(gdq), *sizes(*strides, ngroup, nx, group), ptr(halos), *sizes(len(halos)),
        ctypes.c_double(inner), ctypes.c_double(outer), *sizes(least), ptr(noise), ptr(value),
    ):  # fmt: skip
        raise MemoryError("halos")
    return noise, value


def halo_profiles_numpy(sci, gdq, group, halos, inner, outer, least):
    """NumPy twin of `halo_profiles`."""
    noise = np.full(len(halos), np.nan, np.float32)
    value = np.empty(int((halos["first"] + halos["rings"]).max(initial=0)))
    for k, halo in enumerate(halos):
        box = np.s_[halo["y0"] : halo["y1"], halo["x0"] : halo["x1"]]
        excess = _excess(sci[:, *box], gdq[:, *box], group)
        semi, radius = halo["semi"], halo_radius(halo)
        good = np.isfinite(excess)
        around = good & (radius > inner * semi) & (radius <= outer * semi)
        if np.count_nonzero(around) < least:
            continue
        zero = np.median(excess[around])
        level = MAD * np.median(np.abs(excess[around] - zero))
        if not level > 0:
            continue
        noise[k] = level
        good &= radius < inner * semi
        rings = int(halo["rings"])
        value[halo["first"] : halo["first"] + rings] = _fall(radius[good], excess[good] - zero, rings)
    return noise, value


def halo_radius(halo):
    """Length of the major half axis of the similar ellipse through every pixel of the box of a halo.

    Parameters
    ----------
    halo : numpy.void of dtype `HALO`
        Where it is.

    Returns
    -------
    float64 numpy.ndarray
        Pixels.
    """
    y = np.arange(halo["y0"], halo["y1"])[:, None] - halo["y"]
    x = np.arange(halo["x0"], halo["x1"]) - halo["x"]
    along = y * halo["cosine"] + x * halo["sine"]
    across = y * halo["sine"] - x * halo["cosine"]
    return np.hypot(along, across / halo["ratio"])


def _excess(sci, flags, group):
    """Difference of the group less the usual one of every pixel; NaN where it cannot be told."""
    with np.errstate(invalid="ignore"):
        steps = np.diff(sci, axis=0)
    lost = (flags & (SATURATED | DNU)) != 0
    steps[lost[1:] | lost[:-1]] = np.nan
    here = steps[group - 1].copy()
    steps[group - 1] = np.nan
    steps[(flags[1:] & JUMP) != 0] = np.nan
    count = np.count_nonzero(~np.isnan(steps), axis=0)
    steps.sort(axis=0)
    low = np.take_along_axis(steps, np.maximum(count - 1, 0)[None] // 2, 0)[0]
    high = np.take_along_axis(steps, np.minimum(count // 2, len(steps) - 1)[None], 0)[0]
    with np.errstate(invalid="ignore", over="ignore"):
        return here - (low + high) / 2


def _fall(radius, value, count):
    """Medians in rings, forced to fall outwards; infinite inside of the first ring with a pixel."""
    index = np.minimum(radius.astype(int), count - 1)
    order = np.lexsort((value, index))
    index, value = index[order], value[order]
    starts = np.searchsorted(index, np.arange(count + 1))
    size = np.diff(starts)
    level = np.zeros(count)
    for k in np.flatnonzero(size):
        part = value[starts[k] : starts[k + 1]]
        level[k] = (part[(part.size - 1) // 2] + part[part.size // 2]) / 2
    return falling(level, size.astype(float))


def falling(level, weight):
    """Find the closest profile that does not rise outwards (pool adjacent violators).

    Parameters
    ----------
    level, weight : (n,) float64 numpy.ndarray
        Values and their weights; those without weight do not count.

    Returns
    -------
    (n,) float64 numpy.ndarray
        Infinite where there is no weight, but between pooled values.
    """
    out = np.full(level.size, np.inf)
    pools: list[list[float]] = []
    for k in range(level.size):
        if weight[k] == 0:
            continue
        pools.append([level[k], weight[k], k, k + 1])
        while len(pools) > 1 and pools[-1][0] > pools[-2][0]:
            b, a = pools.pop(), pools.pop()
            total = a[1] + b[1]
            pools.append([(a[0] * a[1] + b[0] * b[1]) / total, total, a[2], b[3]])
    for value, _, first, last in pools:
        out[int(first) : int(last)] = value
    return out

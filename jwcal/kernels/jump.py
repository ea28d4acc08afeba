"""Cosmic-ray jumps found by comparing two-point differences of a ramp with their median.

The search comes as C and as a NumPy twin (``*_numpy``) with the same flags, bit for bit.
Arithmetic follows the public two-point-difference step: the ramp in electrons and its
differences are float32, medians, noise and ratios float64.
"""

import ctypes
from dataclasses import dataclass

import numpy as np

from jwcal.kernels._lib import native, plane, ramp_layout

METHODS = ("iterative", "single-pass", "clip-integrations", "clip-all")
DNU, SATURATED, JUMP = 1, 2, 4


@dataclass(frozen=True)
class JumpRules:
    """What counts as a jump.

    Attributes
    ----------
    method : str or None
        One of `METHODS`; see `choose_method`.  Without a method only gain and contradictory
        flags are treated.
    nframes : int
        Averaged frames per group.
    limit, limit_four, limit_three : float
        Thresholds in standard deviations for pixels with at least four, three and two usable
        differences.
    neighbours : bool
        Also flag the four adjacent pixels of jumps between `min_ratio` and `max_ratio`.
    min_ratio, max_ratio : float
        Bounds, in standard deviations, for spreading to neighbours.
    after : tuple of (float, int)
        Two pairs of amplitude in electrons and number of groups to flag after a jump of at
        least that amplitude.
    no_gain : int
        Bit set in the pixel flags, with DO_NOT_USE, where the gain is NaN, zero or negative.
    """

    method: str | None = "iterative"
    nframes: int = 1
    limit: float = 4.0
    limit_four: float = 5.0
    limit_three: float = 6.0
    neighbours: bool = True
    min_ratio: float = 10.0
    max_ratio: float = 1000.0
    after: tuple = ((0.0, 0), (0.0, 0))
    no_gain: int = 1 << 19


class _Args(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("sci", "gdq", "pdq", "gain", "rnoise")],
        *[(name, ctypes.c_ssize_t) for name in ("sci_int", "sci_group", "gdq_int", "gdq_group")],
        *[(name, ctypes.c_ssize_t) for name in ("nint", "ngroup", "ny", "nx")],
        ("core", ctypes.c_ssize_t * 4),
        ("fresh", ctypes.c_ssize_t),
        ("ready", ctypes.c_ssize_t),
        ("strong", ctypes.c_void_p),
        ("method", ctypes.c_int32),
        ("neighbours", ctypes.c_int32),
        *[(name, ctypes.c_double) for name in ("nframes", "limit", "limit_four", "limit_three")],
        *[(name, ctypes.c_double) for name in ("min_ratio", "max_ratio", "after1", "after2")],
        ("after_n1", ctypes.c_ssize_t),
        ("after_n2", ctypes.c_ssize_t),
        ("no_gain", ctypes.c_uint32),
        ("primary", ctypes.c_int64),
    ]


def choose_method(
    all_dnu, minimum_groups=3, minimum_sigclip_groups=100, min_diffs_single_pass=10, only_use_ints=True
):
    """Choose the search from the number of usable groups of the whole exposure.

    Parameters
    ----------
    all_dnu : (nint, ngroup) bool numpy.ndarray
        Groups that are DO_NOT_USE in every pixel of the frame.
    minimum_groups : int
        Fewer usable groups per integration than this: no search.
    minimum_sigclip_groups : int
        From this number of integrations (or of groups, without `only_use_ints`) differences
        are sigma-clipped.
    min_diffs_single_pass : int
        From this number of usable differences per integration all outliers are flagged at
        once; below, one after the other.
    only_use_ints : bool
        Sigma clipping compares the same difference of all integrations, not all differences.

    Returns
    -------
    str or None
        One of `METHODS`; None when there are too few groups.
    """
    nint, ngroup = all_dnu.shape
    flagged = all_dnu.sum(axis=1)
    usable = ngroup - int(flagged.max())
    if only_use_ints and nint >= minimum_sigclip_groups:
        return "clip-integrations"
    if not only_use_ints and nint * ngroup - int(flagged.sum()) >= minimum_sigclip_groups:
        return "clip-all"
    if usable < minimum_groups:
        return None
    return "single-pass" if usable - 1 >= min_diffs_single_pass else "iterative"


def flag_jumps(sci, gdq, pdq, gain, rnoise, rules, core=None, *, fresh=0, ready=None, carry=None):
    """Flag jumps in a tile, in place.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.  NaN makes the differences with its neighbours unusable.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags.  DO_NOT_USE and SATURATED groups are not used; JUMP_DET is set, and
        removed where one of those two is set.
    pdq : (ny, nx) uint32 numpy.ndarray
        Pixel flags; see `JumpRules.no_gain`.
    gain : (ny, nx) float32 numpy.ndarray
        Gain, electrons per DN.  A pixel whose gain is NaN gets no jumps.
    rnoise : (ny, nx) float32 numpy.ndarray
        Read noise of a pair of reads, DN.  NaN, or a noise of zero, means no jumps.
    rules : JumpRules
        Thresholds and method.
    core : (int, int, int, int) or None
        y0, y1, x0, x1 of the part of the tile whose jumps are counted; None is all.
    fresh : int
        First row to search; those before, if any, were searched in the calls before.
    ready : int or None
        Number of rows to finish; the others, one or none, come again at the top of the next call.
        None is all.
    carry : dict or None
        What calls that go down a frame must know of the rows above; empty for the first.

    Returns
    -------
    int
        Jumps in the core before those of neighbours and of later groups are added, jumps
        already flagged on input included.

    Raises
    ------
    ValueError
        If a layout does not fit.

    Notes
    -----
    Sigma clipping sums the values of a pixel in rising order; the public code sums them as its
    selection leaves them, so that bounds may differ in the last bit of a float64.
    """
    nint, ngroup, ny, nx = sci.shape
    strides = (*ramp_layout(sci, np.float32, "sci"), *ramp_layout(gdq, np.uint8, "gdq"))
    if gdq.shape != sci.shape:
        raise ValueError(f"gdq {gdq.shape} does not fit sci {sci.shape}")
    plane(pdq, (ny, nx), np.uint32, "pdq")
    plane(gain, (ny, nx), np.float32, "gain")
    plane(rnoise, (ny, nx), np.float32, "rnoise")
    ready = ny if ready is None else ready
    if native() is None:
        return flag_jumps_numpy(
            sci, gdq, pdq, gain, rnoise, rules, core, fresh=fresh, ready=ready, carry=carry
        )
    strong = None if carry is None or not rules.neighbours else _strong(carry, nint * (ngroup - 1), nx)
    args = _Args(
        *(array.ctypes.data for array in (sci, gdq, pdq, gain, rnoise)), *strides, nint, ngroup, ny, nx,
        (ctypes.c_ssize_t * 4)(*(core or (0, ny, 0, nx))), fresh, ready,
        None if strong is None else strong.ctypes.data, METHODS.index(rules.method) if rules.method else len(METHODS), rules.neighbours,
        rules.nframes, rules.limit, rules.limit_four, rules.limit_three, rules.min_ratio, rules.max_ratio,
        rules.after[0][0], rules.after[1][0], rules.after[0][1], rules.after[1][1], rules.no_gain, 0,
    )  # fmt: skip
    if native().jw_jump(ctypes.byref(args)):
        raise MemoryError("jump")
    return args.primary


def _strong(carry, ndiff, nx):
    """Jumps of the last row seen that spread to the next one."""
    if "strong" not in carry:
        carry["strong"] = np.zeros((ndiff, nx), np.uint8)
    return carry["strong"]


def flag_jumps_numpy(sci, gdq, pdq, gain, rnoise, rules, core=None, *, fresh=0, ready=None, carry=None):
    """NumPy twin of `flag_jumps`."""
    nint, ngroup, ny, nx = sci.shape
    y0, y1, x0, x1 = core or (0, ny, 0, nx)
    with np.errstate(all="ignore"):
        pdq[fresh:][~(gain[fresh:] > 0)] |= np.uint32(rules.no_gain | DNU)
        diff = _differences(sci, gdq, gain)
        rn2 = ((rnoise * gain) ** 2).astype(np.float64)
        new = gdq[:, :, fresh:]
        if rules.method:
            found = _SEARCH[rules.method](diff[:, fresh:], nint, rn2[fresh:], rules)
            found = found.reshape(nint, ngroup - 1, ny - fresh, nx)
            new[:, 1:] |= np.where(found, np.uint8(JUMP), np.uint8(0))
        primary = int(np.count_nonzero(gdq[..., max(y0, fresh) : y1, x0:x1] & JUMP))
        new[((new & JUMP) != 0) & ((new & (DNU | SATURATED)) != 0)] &= np.uint8(0xFF ^ JUMP)
        if not rules.method:
            return primary
        if rules.neighbours or rules.after[0][1] or rules.after[1][1]:
            median = _median(np.sort(diff, axis=0), (~np.isnan(diff)).sum(axis=0))
            if rules.neighbours:
                before = None if carry is None else _strong(carry, len(diff), nx)
                _flag_neighbours(diff, gdq, median, _noise(median, rn2, rules), rules, fresh, before)
            done = slice(ready)
            _flag_after(diff[:, done], gdq[:, :, done], median[done], rules)
    return primary


def _differences(sci, gdq, gain):
    """Differences of groups in electrons, NaN where one is not usable; (nint * (ngroup - 1), ny, nx)."""
    data = sci * gain
    data[(gdq & (DNU | SATURATED)) != 0] = np.nan
    return np.diff(data, axis=1).reshape(-1, *sci.shape[2:])


def _noise(median, rn2, rules):
    sigma = np.sqrt(np.abs(median) + rn2 / float(rules.nframes))
    return np.where(sigma == 0, np.nan, sigma)


def _take(ordered, rank):
    index = np.clip(rank, 0, len(ordered) - 1)
    return np.take_along_axis(ordered, index[None], axis=0)[0].astype(np.float64)


def _median(ordered, count, start=0):
    """Median of `count` values from position `start` of each sorted column."""
    value = (_take(ordered, start + (count - 1) // 2) + _take(ordered, start + count // 2)) / 2.0
    return np.where(count > 0, value, np.nan)


def _iterative(diff, nint, rn2, rules):
    """Remove the worst difference of each pixel until none is beyond its threshold."""
    size = np.abs(diff).reshape(len(diff), -1)
    ordered = np.sort(size, axis=0)
    pixels = np.arange(size.shape[1])
    low = np.zeros(len(pixels), np.intp)
    high = (~np.isnan(size)).sum(axis=0)
    touched = np.zeros(len(pixels), bool)
    rn2 = rn2.ravel()
    rank = np.arange(len(ordered))[:, None]
    first = True
    while len(pixels):
        columns, lo, hi = ordered[:, pixels], low[pixels], high[pixels]
        count = hi - lo
        inside = (rank >= lo) & (rank < hi)
        largest = _take(columns, hi - 1)
        ties = (inside & (columns == largest)).sum(axis=0)
        rest = np.where(count >= 4, count - ties, np.where(count == 3, 3, 1))
        middle = np.where(count < 2, np.nan, _median(columns, rest, lo))
        if not first:
            middle = middle.astype(np.float32).astype(np.float64)
        limit = np.where(count >= 4, rules.limit, np.where(count == 3, rules.limit_four, rules.limit_three))
        sigma = _noise(middle, rn2[pixels], rules)
        excess = np.abs((columns - middle).astype(np.float32))
        excess[~inside] = -1
        worst = excess.max(axis=0)
        worst = np.where(np.isnan(worst), -1, worst)
        hit = (worst.astype(np.float64) / sigma > limit) & (count >= 2)
        columns, excess, worst = columns[:, hit], excess[:, hit], worst[hit]
        pixels = pixels[hit]
        removed = excess == worst
        below = removed & (columns < middle[hit])
        low[pixels] += below.sum(axis=0)
        high[pixels] -= (removed & ~below).sum(axis=0)
        touched[pixels] = True
        first = False
    least = np.where(low < high, _take(ordered, low), np.inf)
    most = np.where(low < high, _take(ordered, high - 1), -np.inf)
    return touched & ((size < least) | (size > most))


def _single_pass(diff, nint, rn2, rules):
    """Flag every difference beyond the threshold."""
    median = _median(np.sort(diff, axis=0), (~np.isnan(diff)).sum(axis=0))
    sigma = _noise(median, rn2, rules)
    return (np.abs(diff - median) / sigma > rules.limit) & np.isfinite(diff)


def _clip_integrations(diff, nint, rn2, rules):
    shaped = diff.reshape(nint, -1, *diff.shape[1:])
    return _clip(shaped, rules).reshape(diff.shape)


def _clip_all(diff, nint, rn2, rules):
    return _clip(diff, rules)


def _clip(values, rules):
    """Flag values outside the bounds of at most five rounds of clipping about the median."""
    ordered = np.sort(values, axis=0)
    rank = np.arange(len(ordered)).reshape(-1, *[1] * (values.ndim - 1))
    lo = (ordered == -np.inf).sum(axis=0)
    hi = (ordered < np.inf).sum(axis=0)
    is_open = hi > lo
    low = np.full(values.shape[1:], np.nan)
    high = low.copy()
    for _ in range(5):
        count = hi - lo
        total = np.zeros(values.shape[1:])
        for k in range(len(ordered)):
            total += np.where((k >= lo) & (k < hi), ordered[k].astype(np.float64), 0.0)
        mean = total / count
        total = np.zeros(values.shape[1:])
        for k in range(len(ordered)):
            total += np.where((k >= lo) & (k < hi), (ordered[k] - mean) ** 2, 0.0)
        std = np.sqrt(total / count)
        centre = 0.5 * (_take(ordered, lo + (count - 1) // 2) + _take(ordered, lo + count // 2))
        low = np.where(is_open, centre - rules.limit * std, low)
        high = np.where(is_open, centre + rules.limit * std, high)
        inside = (rank >= lo) & (rank < hi)
        below = (inside & ~(ordered >= low)).sum(axis=0)
        above = (inside & ~(ordered <= high)).sum(axis=0)
        changed = is_open & (below + above > 0) & (below + above < count)
        if not changed.any():
            break
        lo = np.where(changed, lo + below, lo)
        hi = np.where(changed, hi - above, hi)
        is_open = changed
    return np.isfinite(values) & ((values < low) | (values > high))


_SEARCH = dict(zip(METHODS, (_iterative, _single_pass, _clip_integrations, _clip_all), strict=True))


def _flag_neighbours(diff, gdq, median, sigma, rules, fresh, before):
    ngroup = gdq.shape[1]
    for k in range(len(diff)):
        dq = gdq[k // (ngroup - 1), k % (ngroup - 1) + 1]
        ratio = np.abs(diff[k] - median) / sigma
        strong = (ratio < rules.max_ratio) & (ratio > rules.min_ratio) & ((dq & JUMP) != 0)
        strong[:fresh] = False
        spread = strong.copy()
        spread[1:] |= strong[:-1]
        spread[:-1] |= strong[1:]
        spread[:, 1:] |= strong[:, :-1]
        spread[:, :-1] |= strong[:, 1:]
        if before is not None:
            if fresh:
                spread[fresh] |= before[k] != 0
            before[k] = strong[-1]
        dq[spread & ((dq & (DNU | SATURATED)) == 0)] |= np.uint8(JUMP)


def _flag_after(diff, gdq, median, rules):
    if not (rules.after[0][1] > 0 or rules.after[1][1] > 0):
        return
    nint, ngroup = gdq.shape[:2]
    for i in range(nint):
        jumps = (gdq[i] & JUMP) != 0
        until = np.zeros(gdq.shape[2:], np.intp)
        for g in range(1, ngroup):
            size = diff[i * (ngroup - 1) + g - 1] - median
            for bound, reach in rules.after:
                until = np.where(jumps[g] & (size >= bound), np.maximum(until, g + reach), until)
            usable = (gdq[i, g] & (DNU | SATURATED)) == 0
            gdq[i, g][usable & (until >= g)] |= np.uint8(JUMP)

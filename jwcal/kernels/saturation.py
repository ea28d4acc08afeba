"""Saturation and A/D floor flags.

``flag_saturation_numpy`` is the definition; the compiled version gives the same bits.
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr, ramp_layout
from jwcal.kernels.pixelwise import sizes, zeroframe_layout

DO_NOT_USE = 1
SATURATED = 2
AD_FLOOR = 64
NO_SAT_CHECK = 1 << 21
AD_LIMIT = 65535


def flag_saturation(
    sci, groupdq, pixeldq, zeroframe, threshold, dq, *,
    bias=None, nframe=0, grow=1, fresh=0, ready=None, carry=None,
):  # fmt: skip
    """Flag saturated groups and values at the floor of the A/D converter.

    A value at or above the threshold marks its group and all later ones SATURATED, and so
    its neighbours in the same groups.  A value of zero or below marks its group alone
    AD_FLOOR and DO_NOT_USE.  For averaged groups two more tests mark DO_NOT_USE:
    a group before a saturated one that exceeds the threshold diluted by the average,
    with its neighbours; and a second group that jumped while the first and the threshold
    say that the third, saturated, should not be.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN; NaN is never flagged.
    groupdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; changed in place.
    pixeldq : (ny, nx) uint32 numpy.ndarray
        Receives the flags of the reference, and NO_SAT_CHECK where its threshold is NaN.
    zeroframe : (nint, ny, nx) float32 numpy.ndarray or None
        First reads, DN; set to 0 (invalid) where saturated, next to that, or not positive.
    threshold : (ny, nx) float32 numpy.ndarray
        Saturation level, DN.  Pixels with NaN or NO_SAT_CHECK get a level above the converter's range.
    dq : (ny, nx) uint32 numpy.ndarray
        Flags of the reference in standard bits.
    bias : (ny, nx) float32 numpy.ndarray or None
        Bias, DN, for the test of the second group; None means 0, NaN passes no test.
    nframe : int
        Frames averaged in a group; 0 leaves out the tests for averaged groups.
    grow : int
        Neighbours of a saturated pixel are those in a box of ``2 * grow + 1`` pixels.
    fresh : int
        First row to look at; those before, if any, were looked at in the calls before.
    ready : int or None
        Number of rows to finish; the others come again at the top of the next call, and are `grow` rows,
        or twice as many for averaged groups (fewer while there are not as many).  None is all.
    carry : dict or None
        What calls that go down a frame must know of the rows above; empty for the first.
    """
    nint, ngroup, ny, nx = sci.shape
    ready = ny if ready is None else ready
    if groupdq.shape != sci.shape:
        raise ValueError(f"GROUPDQ: shape {groupdq.shape}, SCI has {sci.shape}")
    strides = (*ramp_layout(sci, "f4", "SCI"), *ramp_layout(groupdq, "u1", "GROUPDQ"))
    spacing = zeroframe_layout(zeroframe, sci.shape)
    plane(pixeldq, (ny, nx), "u4", "PIXELDQ")
    plane(threshold, (ny, nx), "f4", "threshold")
    plane(dq, (ny, nx), "u4", "saturation DQ")
    if bias is not None:
        plane(bias, (ny, nx), "f4", "bias")
    if grow < 0 or nframe < 0:
        raise ValueError("grow and nframe cannot be negative")
    lib = native()
    if lib is None:
        flag_saturation_numpy(
            sci, groupdq, pixeldq, zeroframe, threshold, dq,
            bias=bias, nframe=nframe, grow=grow, fresh=fresh, ready=ready, carry=carry,
        )  # fmt: skip
        return
    limit = np.empty((ny, nx), np.float32)
    work = np.empty(3 * ny * nx + ny + (grow + 1) * (nx + 3), np.uint8)
    above = (None, None, None) if ready == ny and not fresh else _above(carry, sci.shape, nframe, grow)
    lib.jw_saturation(
        ptr(sci), ptr(groupdq), ptr(pixeldq), ptr(zeroframe), *sizes(nint, ngroup, ny, nx, *strides, spacing),
        ptr(threshold), ptr(dq), ctypes.c_uint32(NO_SAT_CHECK), ptr(bias), *sizes(nframe, grow, fresh, ready),
        *(ptr(rows) for rows in above), ptr(limit), ptr(work),
    )  # fmt: skip


def _above(carry, shape, nframe, grow):
    """Return what is known of the rows above: saturated, hit as averaged groups are, first read too high."""
    if not carry:
        nint, ngroup, _, nx = shape
        carry["saturated"] = np.zeros((nint, ngroup, grow, nx), np.uint8)
        carry["hit"] = np.zeros((nint, ngroup, grow, nx), np.uint8) if nframe > 1 else None
        carry["first read"] = np.zeros((nint, grow, nx), np.uint8)
    return carry["saturated"], carry["hit"], carry["first read"]


def flag_saturation_numpy(
    sci, groupdq, pixeldq, zeroframe, threshold, dq, *,
    bias=None, nframe=0, grow=1, fresh=0, ready=None, carry=None,
):  # fmt: skip
    """NumPy twin of `flag_saturation`."""
    _, ngroup, ny, nx = sci.shape
    ready = ny if ready is None else ready
    saturations, hits, reads = _above({} if carry is None else carry, sci.shape, nframe, grow)
    first = max(fresh - grow, 0)
    last = ny if ready == ny else max(ny - grow, first)
    unchecked = np.isnan(threshold) | ((dq & NO_SAT_CHECK) != 0)
    limit = np.where(unchecked, np.float32(AD_LIMIT + 1), threshold)
    pixeldq |= dq
    pixeldq[unchecked] |= NO_SAT_CHECK
    done = slice(ready)
    for i, (ramp, flags) in enumerate(zip(sci, groupdq, strict=True)):
        saturated = np.zeros((ny - fresh, nx), bool)
        for values, flag, above in zip(ramp[:, fresh:], flags, saturations[i], strict=True):
            saturated |= values >= limit[fresh:]
            flag[fresh:][saturated] |= SATURATED
            flag[fresh:][values <= 0] |= AD_FLOOR | DO_NOT_USE
            full = (flag[first:] & SATURATED) != 0
            flag[first:last][_grown_below(full, above, last - first)] |= SATURATED
        if nframe > 1:
            _flag_diluted(
                ramp[:, :last], flags[:, :last], limit[:last], unchecked[:last], nframe, hits[i], ready
            )
        if nframe > 0 and ngroup > 2:
            level = np.zeros_like(limit) if bias is None else bias
            _flag_second_group(ramp[:, done], flags[:, done], limit[done], level[done], nframe)
    if zeroframe is not None:
        for frame, above in zip(zeroframe, reads, strict=True):
            frame[done][_grown_below(frame >= limit, above, ready) | (frame[done] <= 0)] = 0


def _grown_below(mask, above, ready):
    """Grow a mask and the rows above it into its first `ready` rows; `above` becomes those above the rest."""
    n = len(above)
    whole = np.concatenate([above != 0, mask])
    above[...] = whole[ready : ready + n]
    return _grown(whole, n)[n : n + ready]


def _flag_diluted(ramp, flags, limit, unchecked, nframe, above, ready):
    for group in range(len(ramp) - 2, -1, -1):
        dilution = (group * nframe + (nframe + 1) / 2) / ((group + 1) * nframe)
        level = limit.astype(np.float64) * np.where(unchecked, 1.0, dilution)
        hit = ramp[group] >= level
        hit &= (flags[group] & (SATURATED | DO_NOT_USE)) == 0
        hit &= (flags[group + 1] & SATURATED) != 0
        flags[group][:ready][_grown_below(hit, above[group], ready)] |= DO_NOT_USE


def _flag_second_group(ramp, flags, limit, bias, nframe):
    hit = _jumped(ramp, limit, bias, nframe)
    hit &= ((flags[2] & SATURATED) != 0) & ((flags[1] & SATURATED) == 0)
    flags[1][hit] |= DO_NOT_USE


def flag_jumped(sci, groupdq, threshold, dq, *, bias=None, nframe=1, grow=1):
    """Flag second groups that jumped towards a saturation the first does not explain, with their neighbours.

    The rule for interleaved readout: the third group is at or above the threshold, the first says it
    should not be, and the second has jumped by more than the range left to it allows one frame of
    the average.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN; fewer than three groups are never flagged.
    groupdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; the second groups receive SATURATED in place.
    threshold, dq, bias, grow
        As for `flag_saturation`.
    nframe : int
        Frames averaged in a group.
    """
    if sci.shape[1] < 3:
        return
    limit = np.where(np.isnan(threshold) | ((dq & NO_SAT_CHECK) != 0), np.float32(AD_LIMIT + 1), threshold)
    level = np.zeros_like(limit) if bias is None else bias
    for ramp, flags in zip(sci, groupdq, strict=True):
        hit = _jumped(ramp, limit, level, nframe) & (ramp[2] >= limit)
        flags[1][_grown(hit, grow)] |= SATURATED


def _jumped(ramp, limit, level, nframe):
    with np.errstate(over="ignore", invalid="ignore"):
        first = (ramp[0] - level).astype(np.float64)
        third = first / ((nframe + 1) / 2) * (3 * nframe) + level
        return (third < limit) & (ramp[1] - ramp[0] > (limit - ramp[0]) / np.float32(nframe))


def _grown(mask, n):
    if n == 0 or not mask.any():
        return mask
    wide = np.pad(mask, n)
    ny, nx = mask.shape
    rows = np.zeros((ny + 2 * n, nx), bool)
    for d in range(2 * n + 1):
        rows |= wide[:, d : d + nx]
    out = np.zeros_like(mask)
    for d in range(2 * n + 1):
        out |= rows[d : d + ny]
    return out

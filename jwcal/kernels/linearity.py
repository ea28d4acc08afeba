"""Polynomial correction of detector non-linearity.

``*_numpy`` are the definitions; the compiled versions give the same bits.
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr, ramp_layout
from jwcal.kernels.pixelwise import sizes, zeroframe_layout

SATURATED = 2
NO_LIN_CORR = 1 << 20
MAX_COEFFS = 16


def correct_linearity(sci, groupdq, pixeldq, zeroframe, coeffs, dq):
    """Replace unsaturated values by a polynomial of themselves.

    Horner's scheme from the highest coefficient, in single precision.  A pixel
    that the reference flags NO_LIN_CORR, with a NaN coefficient or a linear term
    of zero keeps its values and is flagged NO_LIN_CORR.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN; changed in place.
    groupdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; SATURATED values are left alone.
    pixeldq : (ny, nx) uint32 numpy.ndarray
        Receives the flags of the reference and NO_LIN_CORR.
    zeroframe : (nint, ny, nx) float32 numpy.ndarray or None
        First reads, DN; 0 means invalid and stays 0.
    coeffs : (ncoeff, ny, nx) float32 numpy.ndarray
        Coefficients c0, c1, ... (2 to 16 of them).
    dq : (ny, nx) uint32 numpy.ndarray
        Flags of the reference in standard bits.
    """
    strides, spacing = _check(sci, groupdq, pixeldq, zeroframe, dq)
    nint, ngroup, ny, nx = sci.shape
    ncoeff = _coefficients(coeffs, ny, nx, "coefficients")
    lib = native()
    if lib is None:
        correct_linearity_numpy(sci, groupdq, pixeldq, zeroframe, coeffs, dq)
        return
    lib.jw_linearity(
        ptr(sci), ptr(groupdq), *sizes(nint, ngroup, ny * nx, *strides), ptr(zeroframe), *sizes(spacing),
        ptr(pixeldq), ptr(coeffs), *sizes(ncoeff), ptr(dq), ctypes.c_uint32(NO_LIN_CORR),
    )  # fmt: skip


def correct_linearity_numpy(sci, groupdq, pixeldq, zeroframe, coeffs, dq):
    """NumPy twin of `correct_linearity`."""
    coeffs = _usable(coeffs, dq, pixeldq)
    with np.errstate(over="ignore", invalid="ignore"):
        for values, flags in zip(sci, groupdq, strict=True):
            np.copyto(values, _polynomial(coeffs, values), where=(flags & SATURATED) == 0)
        _zero(zeroframe, coeffs)


def correct_linearity_reads(sci, groupdq, pixeldq, zeroframe, coeffs, inverse, dq, nframe, spacing=None):
    """Correct averaged groups read by read.

    A straight line through the corrected first and last good group predicts the
    reads of each group.  The inverse polynomial turns them into measured counts, which
    are shifted so that their mean is the measured group, corrected one by one and
    averaged.  All in double precision but for the first and last group.

    Parameters
    ----------
    sci, groupdq, pixeldq, zeroframe, coeffs, dq
        As in `correct_linearity`; at least two groups.
    inverse : (ninverse, ny, nx) float32 numpy.ndarray
        Coefficients of the inverse polynomial.
    nframe : int
        Reads averaged in a group.
    spacing : int or None
        Reads from the start of a group to that of the next; None is `nframe`, no gaps.
    """
    spacing = nframe if spacing is None else spacing
    strides, zero_stride = _check(sci, groupdq, pixeldq, zeroframe, dq)
    nint, ngroup, ny, nx = sci.shape
    if ngroup < 2 or nframe < 1:
        raise ValueError("read-level correction needs two groups and at least one frame")
    ncoeff = _coefficients(coeffs, ny, nx, "coefficients")
    ninverse = _coefficients(inverse, ny, nx, "inverse coefficients")
    lib = native()
    if lib is None:
        correct_linearity_reads_numpy(sci, groupdq, pixeldq, zeroframe, coeffs, inverse, dq, nframe, spacing)
        return
    lib.jw_linearity_reads(
        ptr(sci), ptr(groupdq), *sizes(nint, ngroup, ny * nx, *strides), ptr(zeroframe), *sizes(zero_stride),
        ptr(pixeldq), ptr(coeffs), *sizes(ncoeff), ptr(inverse), *sizes(ninverse), ptr(dq),
        ctypes.c_uint32(NO_LIN_CORR), *sizes(nframe, spacing),
    )  # fmt: skip


def correct_linearity_reads_numpy(
    sci, groupdq, pixeldq, zeroframe, coeffs, inverse, dq, nframe, spacing=None
):
    """NumPy twin of `correct_linearity_reads`."""
    spacing = nframe if spacing is None else spacing
    coeffs = _usable(coeffs, dq, pixeldq)
    inverse = _usable(inverse, dq, pixeldq)
    middle = (nframe + 1) / 2
    with np.errstate(over="ignore", invalid="ignore"):
        for ramp, flags in zip(sci, groupdq, strict=True):
            saturated = (flags & SATURATED) != 0
            last = np.maximum((~saturated).sum(axis=0) - 2, 1)
            ends = []
            for index in (np.zeros_like(last), last):
                values = np.take_along_axis(ramp, index[None], 0)[0]
                raw = np.take_along_axis(saturated, index[None], 0)[0]
                ends.append(np.where(raw, values, _polynomial(coeffs, values)))
            rate = (ends[1] - ends[0]).astype(np.float64) / (last * float(spacing))
            for group, (values, raw) in enumerate(zip(ramp, saturated, strict=True)):
                reads = [
                    _polynomial(inverse, ends[0] + rate * (group * spacing + frame + 1 - middle))
                    for frame in range(nframe)
                ]
                offset = values - _mean(reads)
                corrected = _mean([_polynomial(coeffs, read + offset) for read in reads])
                np.copyto(values, corrected.astype(np.float32), where=~raw)
        _zero(zeroframe, coeffs)


def _mean(arrays):
    total = np.zeros_like(arrays[0])
    for array in arrays:
        total += array
    return total / len(arrays)


def _polynomial(coeffs, values):
    out = coeffs[-1] * values
    for c in coeffs[-2:0:-1]:
        out += c
        out *= values
    out += coeffs[0]
    return out


def _usable(coeffs, dq, pixeldq):
    bad = ((dq & NO_LIN_CORR) != 0) | np.isnan(coeffs).any(axis=0) | (coeffs[1] == 0)
    pixeldq |= dq
    pixeldq[bad] |= NO_LIN_CORR
    out = np.where(bad, np.float32(0), coeffs)
    out[1][bad] = 1
    return out


def _zero(zeroframe, coeffs):
    if zeroframe is not None:
        for frame in zeroframe:
            frame[...] = np.where(frame == 0, np.float32(0), _polynomial(coeffs, frame))


def _check(sci, groupdq, pixeldq, zeroframe, dq):
    ny, nx = sci.shape[2:]
    if groupdq.shape != sci.shape:
        raise ValueError(f"GROUPDQ: shape {groupdq.shape}, SCI has {sci.shape}")
    strides = (*ramp_layout(sci, "f4", "SCI"), *ramp_layout(groupdq, "u1", "GROUPDQ"))
    plane(pixeldq, (ny, nx), "u4", "PIXELDQ")
    plane(dq, (ny, nx), "u4", "linearity DQ")
    return strides, zeroframe_layout(zeroframe, sci.shape)


def _coefficients(coeffs, ny, nx, name):
    number = len(coeffs)
    if not 2 <= number <= MAX_COEFFS:
        raise ValueError(f"{name}: {number} terms, must be 2 to {MAX_COEFFS}")
    plane(coeffs, (number, ny, nx), "f4", name)
    return number

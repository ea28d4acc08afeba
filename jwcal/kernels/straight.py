"""Polynomials that make ramps straight lines: sums of the normal equations, and what is left over.

``add_equations_numpy`` and ``residual_numpy`` are the definitions; the compiled versions give the same bits.
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, plane, ptr
from jwcal.kernels.pixelwise import sizes

_BLOCK = 64
MAX_COEFFS = 16
_FAR = 1e6


def _check(ramp, coefficients, order):
    if ramp.ndim != 2:
        raise ValueError(f"need a ramp of groups and pixels, got {ramp.shape}")
    plane(ramp, ramp.shape, "f4", "ramp")
    if not 1 <= order <= MAX_COEFFS:
        raise ValueError(f"cannot fit {order} coefficients")
    if coefficients is not None:
        plane(coefficients, (order, ramp.shape[1]), "f8", "coefficients")


def add_equations(ramp, unit, coefficients, used, normal, right):
    """Add the normal equations of a ramp for the polynomial that makes it a line.

    The polynomial is x + c0 x^2 + c1 x^3 + ... of the signal x; a line in time, of any start and slope, is
    taken out of every power.

    Parameters
    ----------
    ramp : (ngroup, npixel) float32 numpy.ndarray
        Groups follow each other at equal times; what is not finite does not count.
    unit : float
        Divides the signal.
    coefficients : (order, npixel) float64 numpy.ndarray or None
        An earlier solution: the powers of the signals that it expects are then the instrumental
        variables.  None uses the powers of the signal itself (least squares).
    used : (npixel,) bool numpy.ndarray
        Pixels whose equations to add.
    normal : (order, order, npixel) float64 numpy.ndarray
        Changed.
    right : (order, npixel) float64 numpy.ndarray
        Changed.
    """
    order = len(right)
    _check(ramp, coefficients, order)
    ngroup, npixel = ramp.shape
    plane(used, (npixel,), "?", "used")
    plane(normal, (order, order, npixel), "f8", "normal")
    plane(right, (order, npixel), "f8", "right")
    lib = native()
    if lib is None:
        add_equations_numpy(ramp, unit, coefficients, used, normal, right)
        return
    work = np.empty((2 * order + 4) * ngroup * _BLOCK)
    lib.jw_straight_sums(
        ptr(ramp), *sizes(ngroup, npixel), ctypes.c_double(unit), ptr(coefficients), *sizes(order), ptr(used),
        ptr(normal), ptr(right), ptr(work),
    )  # fmt: skip


def residual(ramp, unit, coefficients):
    """Departure of a corrected ramp from a line.

    Parameters
    ----------
    ramp, unit, coefficients
        As for `add_equations`.

    Returns
    -------
    (npixel,) float64 numpy.ndarray
        Root mean square, with two degrees of freedom less, in units of `unit`; NaN with fewer than three
        values.
    """
    order = len(coefficients)
    _check(ramp, coefficients, order)
    ngroup, npixel = ramp.shape
    lib = native()
    if lib is None:
        return residual_numpy(ramp, unit, coefficients)
    out, work = np.empty(npixel), np.empty(3 * ngroup * _BLOCK)
    lib.jw_straight_rest(
        ptr(ramp),
        *sizes(ngroup, npixel),
        ctypes.c_double(unit),
        ptr(coefficients),
        *sizes(order),
        ptr(out),
        ptr(work),
    )
    return out


class _Line:
    """Values of a ramp, and lines in time through quantities derived from them."""

    def __init__(self, ramp, unit):
        self.kept = np.isfinite(ramp)
        self.x = np.where(self.kept, ramp, 0).astype(float) / unit
        self.number = _total(self.kept.astype(float))
        self.count = np.maximum(self.number, 1.0)
        time = np.arange(len(ramp), dtype=float)[:, None]
        self.time = time - _total(np.where(self.kept, time, 0.0)) / self.count
        self.square = np.maximum(_total(np.where(self.kept, self.time * self.time, 0.0)), 1e-30)

    def through(self, y):
        """Line through a quantity; 0 where the ramp has no value."""
        y = np.where(self.kept, y, 0.0)
        mean, slope = _total(y) / self.count, _total(y * self.time) / self.square
        return np.where(self.kept, mean + slope * self.time, 0.0)

    def rest(self, y):
        """Take its line out of a quantity."""
        return np.where(self.kept, y - self.through(y), 0.0)

    def powers(self, x, first, last):
        """Powers without their lines."""
        out, power = [], x
        for j in range(1, last + 1):
            power = x if j == 1 else power * x
            if j >= first:
                out.append(self.rest(power))
        return out


def _total(values):
    """Sum over groups, one after the other."""
    out = np.zeros(values.shape[1])
    for row in values:
        out += row
    return out


def polynomial(x, c):
    """Corrected signal x + c0 x^2 + c1 x^3 + ..., by Horner's scheme.

    Parameters
    ----------
    x : (..., npixel) float64 numpy.ndarray
    c : (order, npixel) float64 numpy.ndarray

    Returns
    -------
    (..., npixel) float64 numpy.ndarray
    """
    out = np.zeros_like(x)
    for row in c[::-1]:
        out = (out + row) * x
    return (out + 1.0) * x


def _derivative(x, c):
    out = np.zeros_like(x)
    for j in range(len(c) - 1, -1, -1):
        out = (out + (j + 2.0) * c[j]) * x
    return out + 1.0


def add_equations_numpy(ramp, unit, coefficients, used, normal, right):
    """NumPy twin of `add_equations`."""
    order = len(right)
    with np.errstate(all="ignore"):
        line = _Line(ramp, unit)
        powers = line.powers(line.x, 1, order + 1)
        tools = powers[1:]
        if coefficients is not None:
            model, x = line.through(polynomial(line.x, coefficients)), line.x
            for _ in range(4):
                x = x - (polynomial(x, coefficients) - model) / _derivative(x, coefficients)
            x = np.where(line.kept & (np.abs(x) <= _FAR), x, 0.0)
            tools = line.powers(x, 2, order + 1)
        for a, tool in enumerate(tools):
            right[a] += np.where(used, -_total(tool * powers[0]), 0.0)
            for b in range(order):
                normal[a, b] += np.where(used, _total(tool * powers[b + 1]), 0.0)


def residual_numpy(ramp, unit, coefficients):
    """NumPy twin of `residual`."""
    with np.errstate(all="ignore"):
        line = _Line(ramp, unit)
        off = line.rest(polynomial(line.x, coefficients))
        return np.where(line.number > 2, np.sqrt(_total(off * off) / (line.number - 2.0)), np.nan)

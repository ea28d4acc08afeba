"""Linearity references: the polynomial that makes ramps straight."""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.kernels.straight import add_equations, residual
from jwcal.refs.make.sets import UNUSABLE, Ramps, Recipe
from jwcal.refs.make.write import reference_header, write_planes

FLAGS = ("DO_NOT_USE", "NO_LIN_CORR")
RECIPE = Recipe(
    "linearity", skip=("linearity",), same=("READPATT", "NFRAMES", "GROUPGAP", "TFRAME"), least=1, groups=5,
    needs=("saturation", "superbias"), undone=("S_LINEAR",),
)  # fmt: skip
# Powers of signals in units of this stay near 1.
_UNIT = 32768.0
_PIXELS = 4096


def make_linearity(request, order=4, least_signal=10000.0, max_residual=0.01):
    """Make a LINEARITY reference from ramps of constant light.

    The ramps, corrected by the steps before linearity, are taken to be straight lines in time, each
    with a start and a slope of its own, seen through a polynomial c0 + c1 F + c2 F^2 + ... of the
    measured signal F [DN] that all ramps of a pixel share.  c0 is 0 and c1 is 1, so that the
    scale is that of small signals; the others are found by least squares over all usable groups.
    Because F is noisy they are then found again with the powers of the signal that the first
    solution expects as instrumental variables, without the ramps that do not fit (cosmic rays).

    Pixels get NO_LIN_CORR and coefficients 0, 1, 0 ... if their signal stays below `least_signal`,
    the groups are too few, the polynomial does not rise all over the range of the signal, or the
    ramps depart from lines by more than `max_residual` (rms) of that range.

    Parameters
    ----------
    request : Request
    order : int, optional
        Highest power, 2 to 8.
    least_signal : float, optional
        Signal [DN] a pixel must reach.
    max_residual : float, optional
        Largest rms residual, as a fraction of the largest signal.

    Returns
    -------
    dict
        What was measured: integrations, median largest signal [DN], median correction there
        (relative), median residual (relative), number of pixels not fitted.

    Raises
    ------
    UsageError
        If `order` is out of range.
    ReferenceFileError
        Without SATURATION, or where the instrument has one SUPERBIAS, reference.

    Notes
    -----
    Form of the polynomial: jwst documentation, "LINEARITY Reference File".  Instrumental variables:
    Fuller 1987, Measurement Error Models.
    """
    from jwcal.core.errors import UsageError
    from jwcal.core.fits import create_fits

    if not 2 <= order <= 8:
        raise UsageError(f"the order of the polynomial must be 2 to 8, not {order}")
    with create_fits(request.output, request.overwrite) as out, Ramps(request, RECIPE) as ramps:
        coefficients = np.zeros((order + 1, *ramps.frame), np.float32)
        measured = np.empty((3, *ramps.frame), np.float32)
        unusable = UNUSABLE | DQ["DO_NOT_USE"]

        def work(box):
            place = np.s_[..., box[0] : box[1], box[2] : box[3]]
            shape = box[1] - box[0], box[3] - box[2]
            sets = [ramp.reshape(len(ramp), -1) for sci in ramps.each(box, unusable) for ramp in sci]
            # What a few pixels need stays in the cache.
            parts = []
            for start in range(0, sets[0].shape[1], _PIXELS):
                part = [np.ascontiguousarray(ramp[:, start : start + _PIXELS]) for ramp in sets]
                parts.append(fit(part, order, least_signal, max_residual))
            c, *found = (np.concatenate(values, axis=-1) for values in zip(*parts, strict=True))
            coefficients[place] = c.reshape(-1, *shape)
            measured[place] = np.stack(found).reshape(-1, *shape)

        groups = sum(n * e.shape[1] for n, e in zip(ramps.nints, ramps.exposures, strict=True))
        ramps.map(work, ramps.boxes(5 * groups + 16 * order))
        top, rest, fine = measured
        reference = ramps.reference_pixels()
        bad = (fine == 0) & ~reference
        coefficients[2:, reference] = 0
        dq = np.where(bad, DQ["NO_LIN_CORR"], 0).astype(np.uint32)
        good = ~bad & ~reference
        notes = [
            f"Order {order}, {sum(ramps.nints)} integrations, signals up to {np.median(top[good]) if good.any() else 0:.0f} DN"
        ]
        extra = {"FILTER": ramps.meta.get("FILTER")} if ramps.meta["INSTRUME"] == "MIRI" else {}
        header = reference_header(request, "linearity", ramps.exposures, extra, ramps.rows, notes)
        write_planes(out, header, {"COEFFS": coefficients, "DQ": dq}, FLAGS)
    if not good.any():
        return {"integrations": sum(ramps.nints), "pixels not fitted": int(bad.sum())}
    powers = top[good].astype(float) ** np.arange(order + 1)[:, None]
    correction = (coefficients[:, good] * powers).sum(axis=0) / top[good] - 1
    return {
        "integrations": sum(ramps.nints),
        "median largest signal [DN]": float(np.median(top[good])),
        "median correction there": float(np.median(correction)),
        "median residual": float(np.median(rest[good])),
        "pixels not fitted": int(bad.sum()),
    }


def fit(ramps, order, least_signal, max_residual):
    """Fit the polynomials of some pixels.

    Parameters
    ----------
    ramps : list of (ngroup, npixel) float32 numpy.ndarray
        Signal above the bias [DN]; NaN does not count.  Groups follow each other at equal times.
    order, least_signal, max_residual
        As for `make_linearity`.

    Returns
    -------
    coefficients : (order + 1, npixel) float32 numpy.ndarray
    top : (npixel,) float64 numpy.ndarray
        Largest signal [DN].
    residual : (npixel,) float64 numpy.ndarray
        Root mean square departure from lines, relative to it.
    fine : (npixel,) bool numpy.ndarray
    """
    npixel, m = ramps[0].shape[1], order - 1
    top = np.max([np.nanmax(np.where(np.isfinite(r), r, -np.inf), axis=0) for r in ramps], axis=0).astype(
        float
    )
    points = sum(np.maximum(np.isfinite(r).sum(axis=0) - 2, 0) for r in ramps)
    c = _solve(ramps, None, np.ones((len(ramps), npixel), bool), m)
    weight = np.ones((len(ramps), npixel), bool)
    for _ in range(2):
        spread = np.stack([residual(r, _UNIT, c) for r in ramps])
        if len(ramps) > 2:
            ordered, number = np.sort(spread, axis=0), np.isfinite(spread).sum(axis=0)
            typical = ordered[np.maximum(number - 1, 0) // 2, np.arange(npixel)]
            weight = spread <= 3 * typical
        c = _solve(ramps, c, weight, m)
    spread = np.stack([residual(r, _UNIT, c) for r in ramps])
    spread[~weight] = np.nan
    with np.errstate(all="ignore"):
        number = np.isfinite(spread).sum(axis=0)
        left = np.sqrt(np.nansum(np.square(spread), axis=0) / number) * _UNIT / top
        nodes = np.linspace(0, 1, 17)[:, None] * (top / _UNIT)
        slope = 1 + sum((j + 2) * c[j] * nodes ** (j + 1) for j in range(m))
        fine = (
            np.isfinite(c).all(axis=0) & (top >= least_signal) & (points >= order + 2)
            & (slope > 0.2).all(axis=0) & (slope < 5).all(axis=0) & (left <= max_residual)
        )  # fmt: skip
    coefficients = np.zeros((order + 1, npixel), np.float32)
    coefficients[1] = 1
    for j in range(m):
        coefficients[j + 2] = np.where(fine, c[j] / _UNIT ** (j + 1), 0)
    return coefficients, top, np.where(np.isfinite(left), left, 0), fine


def _solve(ramps, before, weight, m):
    """Least squares, or with an earlier solution instrumental variables, for the upper coefficients."""
    npixel = ramps[0].shape[1]
    normal, right = np.zeros((m, m, npixel)), np.zeros((m, npixel))
    for ramp, used in zip(ramps, weight, strict=True):
        add_equations(ramp, _UNIT, before, np.ascontiguousarray(used), normal, right)
    normal, right = np.ascontiguousarray(np.moveaxis(normal, -1, 0)), np.ascontiguousarray(right.T)
    fine = np.isfinite(normal).all(axis=(1, 2)) & np.isfinite(right).all(axis=1)
    normal[~fine] = np.eye(m)
    right[~fine] = np.nan
    scale = np.maximum(np.abs(normal).max(axis=(1, 2)), 1e-300)
    # A ramp without signal has nothing to tell; so little does not change any that has.
    normal = normal / scale[:, None, None] + 1e-13 * np.eye(m)
    return np.ascontiguousarray(np.linalg.solve(normal, (right / scale[:, None])[..., None])[..., 0].T)

"""Saturation references: the raw signal from which a pixel cannot be calibrated."""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import UsageError
from jwcal.core.stripes import IRS2_FRAME
from jwcal.kernels.stack import clipped_mean
from jwcal.refs.make.sets import Ramps, Recipe
from jwcal.refs.make.write import reference_header, write_planes

FLAGS = ("DO_NOT_USE", "NO_SAT_CHECK")
# The threshold is compared with raw values, before anything else is done to them.
RECIPE = Recipe(
    "saturation",
    only=("group_scale",),
    same=("READPATT", "NFRAMES", "GROUPGAP"),
    least=1,
    groups=5,
    takes=("uncal",),
)
CONVERTER = 65535.0
_NEVER = 65535.0


def make_saturation(request, fraction=0.985, departure=None, flat=0.1, sigma=4.0):
    """Make a SATURATION reference from raw ramps driven into saturation.

    A ramp has ended where, up to its last group, no group rises by more than `flat` times the slope
    at its beginning; the mean of the groups after that is its hard limit.  SCI [DN, with
    bias] is the level at the beginning of the ramp plus `fraction` of the way to the clipped
    mean of the limits of all integrations.  With `departure` the threshold is lowered, where need be,
    to the level at which the slope has fallen by that fraction of the slope at the beginning.
    Pixels in which no ramp ended, and reference pixels, get the highest value there is and
    NO_SAT_CHECK.

    Parameters
    ----------
    request : Request
    fraction : float, optional
        Part of the range up to the hard limit that may be used.
    departure : float, optional
        Largest departure of the slope from that at the beginning.
    flat : float, optional
        Slope, relative to that at the beginning, below which a ramp has ended.
    sigma : float, optional
        Clipping limit of the mean over integrations.

    Returns
    -------
    dict
        What was measured: integrations, median threshold [DN], number of pixels without one.

    Raises
    ------
    UsageError
        For interleaved (IRS2) exposures.
    InputError
        If the exposures are not raw, differ in detector, subarray or readout, or have fewer than five
        groups.

    Notes
    -----
    Layout: jwst documentation, "SATURATION Reference File".
    """
    from jwcal.core.fits import create_fits

    with create_fits(request.output, request.overwrite) as out, Ramps(request, RECIPE) as ramps:
        if ramps.frame == IRS2_FRAME:
            raise UsageError(
                f"{ramps.exposures[0].label}: no saturation can be made of interleaved (IRS2) exposures;"
                " the thresholds are those of the traditional readout"
            )
        level = np.empty(ramps.frame, np.float32)
        total = sum(ramps.nints)

        def work(box):
            found = [ends(ramp, fraction, departure, flat) for sci in ramps.each(box) for ramp in sci]
            mean, _, _ = clipped_mean(np.stack(found), sigma)
            level[box[0] : box[1], box[2] : box[3]] = mean

        longest = max(e.shape[1] for e in ramps.exposures)
        ramps.map(work, ramps.boxes(8 * total + 40 * longest * max(ramps.nints)))
        level[ramps.reference_pixels()] = np.nan
        unknown = ~np.isfinite(level)
        level = np.minimum(level, np.float32(CONVERTER))
        level[unknown] = _NEVER
        dq = np.where(unknown, DQ["NO_SAT_CHECK"], 0).astype(np.uint32)
        notes = [
            f"{fraction:g} of the way from the beginning of the ramp to its hard limit; {total} integrations"
        ]
        if departure is not None:
            notes.append(f"at most where the slope has fallen by {departure:g}")
        header = reference_header(request, "saturation", ramps.exposures, {"BUNIT": "DN"}, ramps.rows, notes)
        write_planes(out, header, {"SCI": level, "DQ": dq}, FLAGS, {"SCI": "DN"})
    return {
        "integrations": total,
        "median threshold [DN]": float(np.median(level[~unknown])) if not unknown.all() else float("nan"),
        "pixels without a threshold": int(unknown.sum()),
    }


def ends(ramp, fraction, departure, flat):
    """Threshold of every pixel of one ramp.

    Parameters
    ----------
    ramp : (ngroup, ny, nx) float32 numpy.ndarray
        Raw signal [DN].
    fraction, departure, flat
        As for `make_saturation`.

    Returns
    -------
    (ny, nx) float32 numpy.ndarray
        NaN where the ramp does not end, or ends before its slope is known.
    """
    ramp = ramp.astype(float)
    step = np.diff(ramp, axis=0)
    first = step[: max(2, len(step) // 8)].max(axis=0)
    rising = step > flat * first
    # Groups up to the last that still rises, of which there must be some to know the slope.
    last = np.where(rising.any(axis=0), len(step) - np.argmax(rising[::-1], axis=0), 0)
    number = np.arange(len(ramp))[:, None, None]
    after = number > last
    count = after.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        limit = np.where(after, ramp, 0).sum(axis=0) / count
        start = ramp[0] - first
        level = start + fraction * (limit - start)
        if departure is not None:
            level = np.minimum(level, _departs(ramp, step, number[:-1] < last - 1, departure))
        level[(count < 2) | (last < 2) | (first <= 0) | (limit - start < 10 * first.clip(1, 50))] = np.nan
    return level.astype(np.float32)


def _departs(ramp, step, rising, departure):
    """Signal at which a parabola through slope against signal has fallen; infinite where it does not."""
    middle = 0.5 * (ramp[1:] + ramp[:-1]) - ramp[0]
    unit = np.maximum(np.where(rising, middle, 0).max(axis=0), 1)
    powers = [np.where(rising, (middle / unit) ** k, 0) for k in range(3)]
    normal = np.array([[(a * b).sum(axis=0) for b in powers] for a in powers])
    right = np.array([(a * np.where(rising, step, 0)).sum(axis=0) for a in powers])
    normal = np.moveaxis(normal, (0, 1), (-2, -1)) + 1e-12 * np.eye(3)
    s0, s1, s2 = np.moveaxis(np.linalg.solve(normal, np.moveaxis(right, 0, -1)[..., None])[..., 0], -1, 0)
    square = s1 * s1 - 4 * s2 * departure * s0
    # The root nearer to zero, in the form that also holds for a straight line.
    root = -2 * departure * s0 / (s1 - np.sqrt(square))
    return np.where((square >= 0) & (root > 0), ramp[0] + root * unit, np.inf)

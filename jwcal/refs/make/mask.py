"""Mask references: pixels that are bad in all exposures."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import DataError, InputError, UsageError
from jwcal.core.stripes import IRS2_FRAME
from jwcal.kernels.stack import clipped_mean
from jwcal.refs.make.sets import DETECTOR, SAMPLING, Ramps, Recipe, open_all
from jwcal.refs.make.write import reference_header, write_planes

FLAGS = (
    "DO_NOT_USE", "DEAD", "HOT", "LOW_QE", "RC", "OPEN", "ADJ_OPEN", "OTHER_BAD_PIXEL", "REFERENCE_PIXEL", "BAD_REF_PIXEL",
)  # fmt: skip
# What may get DO_NOT_USE.
KINDS = FLAGS[1:8]
RECIPE = Recipe("mask", skip=("dq_init", "linearity"), same=(*SAMPLING, "TFRAME"), least=2, groups=2)
_SIGNIFICANT = 5.0


def make_mask(
    request,
    hot=0.1,
    rc=3.0,
    dead=0.05,
    low_qe=0.5,
    adjacent=1.05,
    box=15,
    noisy=5.0,
    unusable=("DEAD", "OPEN", "RC"),
    sigma=4.0,
):
    """Make a MASK reference from exposures without and with even light.

    Exposures whose EXP_TYPE speaks of a dark are taken as darks, all others as flats; one kind alone
    makes a mask of what it shows.  Ramps are corrected up to the reference pixels, and of the slopes of
    each pixel the clipped mean over integrations is taken.

    From darks: HOT, a slope above `hot` and five times its error, or saturated at once; RC, a
    slope over the first two groups above `hot`, and above `rc` times that over the second half of the ramp,
    significantly; BAD_REF_PIXEL with DO_NOT_USE, a reference pixel whose groups scatter more than
    `noisy` times the median of all of them.

    From flats, after division by the mean of the good pixels in a box around each: DEAD below
    `dead`; LOW_QE below `low_qe`; OPEN instead of either where the mean of the four neighbours is
    above `adjacent`, and those neighbours ADJ_OPEN; OTHER_BAD_PIXEL without any slope.

    Reference pixels get REFERENCE_PIXEL.

    Parameters
    ----------
    request : Request
    hot : float, optional
        Slope without light [DN/s].
    rc : float, optional
        Ratio of early to late slope.
    dead, low_qe, adjacent : float, optional
        Response relative to the surroundings.
    box : int, optional
        Side of the surroundings in pixels, odd.
    noisy : float, optional
        Scatter of bad reference pixels in units of the median one.
    unusable : sequence of str, optional
        Flags that come with DO_NOT_USE.
    sigma : float, optional
        Clipping limit in standard deviations.

    Returns
    -------
    dict
        Number of darks and flats (integrations), and of pixels with each flag.

    Raises
    ------
    UsageError
        For fewer than two integrations of a kind, unknown flags or impossible thresholds.
    InputError
        If the exposures differ in detector or subarray, or those of a kind in sampling.
    DataError
        If the flats have no light.

    Notes
    -----
    Layout: jwst documentation, "MASK Reference File".  Definitions and default thresholds of DEAD, LOW_QE,
    OPEN and ADJ_OPEN: JWST reference file generation working group, 2019, as documented in
    ``jwst_reffiles.bad_pixel_mask``; RC after the early excess of ``badpix_from_darks`` there.
    """
    from jwcal.core.fits import create_fits

    unknown = [name for name in unusable if name not in KINDS]
    if unknown:
        raise UsageError(f"{unknown[0]} is no flag of a mask; choose from {', '.join(KINDS)}")
    if not 0 <= dead <= low_qe < adjacent or box < 3 or box % 2 == 0:
        raise UsageError("a mask needs 0 <= dead <= low-qe < adjacent, and an odd box of at least 3 pixels")
    with create_fits(request.output, request.overwrite) as out, ExitStack() as stack:
        opened = {}
        for name, files in _sorted(request.files).items():
            if files:
                opened[name] = open_all(replace(request, files=files), RECIPE)
                for exposure in opened[name]:
                    stack.callback(exposure.close)
        _check([exposures[0] for exposures in opened.values()])
        sets = {
            name: stack.enter_context(Ramps(request, RECIPE, exposures)) for name, exposures in opened.items()
        }
        first = next(iter(sets.values()))
        dq = np.zeros(first.frame, np.uint32)
        reference = first.reference_pixels()
        dq[reference] |= DQ["REFERENCE_PIXEL"]
        if "darks" in sets:
            dq |= _from_darks(sets["darks"], reference, hot, rc, noisy, sigma)
        if "flats" in sets:
            dq |= _from_flats(sets["flats"], dq, reference, dead, low_qe, adjacent, box, sigma)
        for name in unusable:
            dq[(dq & DQ[name]) != 0] |= DQ["DO_NOT_USE"]
        counts = {name: sum(ramps.nints) for name, ramps in sets.items()}
        notes = [
            f"From {' and '.join(f'{n} integrations of {name}' for name, n in counts.items())}",
            f"HOT from {hot:g} DN/s, RC ratio {rc:g}",
            f"DEAD below {dead:g}, LOW_QE below {low_qe:g}, OPEN with neighbours above {adjacent:g}; box {box} pixels",
        ]
        exposures = [exposure for ramps in sets.values() for exposure in ramps.exposures]
        header = reference_header(request, "mask", exposures, {}, first.rows, notes)
        write_planes(out, header, {"DQ": dq}, FLAGS)
    return {**counts, **{name: int(np.count_nonzero(dq & DQ[name])) for name in FLAGS}}


def _sorted(files):
    from jwcal.core.fits import read_primary_header

    out: dict = {"darks": [], "flats": []}
    for path in files:
        kind = str(read_primary_header(path).get("EXP_TYPE") or "")
        if not kind:
            raise InputError(f"{path}: header keyword EXP_TYPE is missing")
        out["darks" if "DARK" in kind.upper() else "flats"].append(path)
    if not files:
        raise UsageError("no exposures to make a mask of")
    return {name: tuple(part) for name, part in out.items()}


def _check(exposures):
    if exposures[0].frame == IRS2_FRAME:
        raise UsageError(f"{exposures[0].label}: no mask can be made of interleaved (IRS2) exposures")
    for key in DETECTOR:
        values = [exposure.meta[key] for exposure in exposures]
        if values[-1] != values[0]:
            raise InputError(
                f"{exposures[-1].label}: {key} is {values[-1]}, that of {exposures[0].label} {values[0]};"
                " make one mask of each"
            )


def slopes(sci, times):
    """Slopes of straight lines through ramps.

    Parameters
    ----------
    sci : (nramp, ngroup, ny, nx) float32 numpy.ndarray
        NaN does not count.
    times : (ngroup,) numpy.ndarray
        Seconds.

    Returns
    -------
    (nramp, ny, nx) float32 numpy.ndarray
        DN/s; NaN with fewer than two groups.
    """
    shape = (sci.shape[0], *sci.shape[2:])
    number, t1, t2, y1, ty = (np.zeros(shape) for _ in range(5))
    for g, t in enumerate(times - times.mean()):
        kept = np.isfinite(sci[:, g])
        value = np.where(kept, sci[:, g], 0)
        number += kept
        t1 += kept * t
        t2 += kept * (t * t)
        y1 += value
        ty += value * t
    with np.errstate(invalid="ignore", divide="ignore"):
        out = (number * ty - t1 * y1) / (number * t2 - t1 * t1)
    out[number < 2] = np.nan
    return out.astype(np.float32)


def _measure(values, sigma):
    mean, scatter, count = clipped_mean(values, sigma)
    return mean, scatter / np.sqrt(np.maximum(count, 1)).astype(np.float32)


def _from_darks(ramps, reference, hot, rc, noisy, sigma):
    dq = np.zeros(ramps.frame, np.uint32)
    noise = np.full(ramps.frame, np.nan, np.float32)
    times = ramps.group_times()
    half = ramps.ngroups // 2
    # Slope and error: of the ramp, of its first two groups, of its second half.
    measured = np.full((6 if half > 1 else 2, *ramps.frame), np.nan, np.float32)

    def work(box):
        place = np.s_[box[0] : box[1], box[2] : box[3]]
        sci, _ = ramps.read(box)
        each = slopes(sci, times)
        dq[place][np.isnan(each).mean(axis=0) > 0.5] |= DQ["HOT"]
        found = [*_measure(each, sigma)]
        if half > 1:
            found += [*_measure(slopes(sci[:, :2], times[:2]), sigma)]
            found += [*_measure(slopes(sci[:, half:], times[half:]), sigma)]
        measured[(slice(None), *place)] = found
        if reference[place].any():
            steps = np.ascontiguousarray(np.diff(sci[..., reference[place]], axis=1))
            noise[place][reference[place]] = clipped_mean(steps.reshape(-1, steps.shape[-1]), sigma)[1]

    ramps.map(work, ramps.boxes(12 * sum(ramps.nints) * ramps.ngroups))
    with np.errstate(invalid="ignore"):
        # The scatter of a few integrations is by chance much too small in some of many pixels.
        for error in measured[1::2]:
            np.fmax(error, np.median(error[np.isfinite(error)]) if np.isfinite(error).any() else 0, out=error)
        rate, error = measured[:2]
        dq[(rate > hot) & (rate > _SIGNIFICANT * error)] |= DQ["HOT"]
        if half > 1:
            early, early_error, late, late_error = measured[2:]
            excess = early - late > _SIGNIFICANT * np.hypot(early_error, late_error)
            dq[excess & (early > hot) & (early > rc * np.maximum(late, 0))] |= DQ["RC"]
        dq[reference] = 0
        if np.isfinite(noise).any():
            bad = noise > noisy * np.nanmedian(noise)
            dq[bad & reference] |= DQ["BAD_REF_PIXEL"] | DQ["DO_NOT_USE"]
    return dq


def _from_flats(ramps, known, reference, dead, low_qe, adjacent, box, sigma):
    rate, error = np.empty(ramps.frame, np.float32), np.empty(ramps.frame, np.float32)
    times = ramps.group_times()

    def work(place):
        sci, _ = ramps.read(place)
        own = np.s_[place[0] : place[1], place[2] : place[3]]
        rate[own], error[own] = _measure(slopes(sci, times), sigma)

    ramps.map(work, ramps.boxes(8 * sum(ramps.nints) * ramps.ngroups))
    seen = np.isfinite(rate) & np.isfinite(error) & ~reference
    level, typical = (float(np.median(a[seen])) if seen.any() else 0.0 for a in (rate, error))
    if not level > _SIGNIFICANT * typical:
        raise DataError(
            f"the median slope of the flats is {level:.3g} +- {typical:.2g} DN/s; a flat needs light"
        )
    response = relative(rate, (known == 0) & ~reference, box)
    dq = np.zeros(ramps.frame, np.uint32)
    active = ~reference
    with np.errstate(invalid="ignore"):
        low = active & (response < low_qe)
        around = neighbours(np.where(active, response, np.nan))
        is_open = low & (around > adjacent)
        dq[is_open] |= DQ["OPEN"]
        dq[low & ~is_open & (response < dead)] |= DQ["DEAD"]
        dq[low & ~is_open & (response >= dead)] |= DQ["LOW_QE"]
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        dq[shifted(is_open, dy, dx, fill=False) & active & ~is_open] |= DQ["ADJ_OPEN"]
    none = active & ~np.isfinite(response) & ((known & DQ["HOT"]) == 0)
    dq[none] |= DQ["OTHER_BAD_PIXEL"]
    return dq


def shifted(image, dy, dx, fill):
    """Image moved by whole pixels; what comes in is `fill`."""
    out = np.full_like(image, fill)
    ny, nx = image.shape
    out[max(dy, 0) : ny + min(dy, 0), max(dx, 0) : nx + min(dx, 0)] = image[
        max(-dy, 0) : ny + min(-dy, 0), max(-dx, 0) : nx + min(-dx, 0)
    ]
    return out


def neighbours(image):
    """Mean of the four neighbours of every pixel that are not NaN; NaN where there is none."""
    total, number = np.zeros(image.shape), np.zeros(image.shape)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        other = shifted(image, dy, dx, fill=np.nan)
        seen = np.isfinite(other)
        total += np.where(seen, other, 0)
        number += seen
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / number


def relative(rate, usable, box):
    """Response of every pixel relative to the mean of the good ones in a box around it.

    Parameters
    ----------
    rate : (ny, nx) float32 numpy.ndarray
    usable : (ny, nx) bool numpy.ndarray
        Pixels that may count in a mean; those far from the median of the image do not.
    box : int
        Side, odd; cut at the edges.

    Returns
    -------
    (ny, nx) float64 numpy.ndarray
        NaN without a rate.

    Raises
    ------
    DataError
        If there is no light.
    """
    usable = usable & np.isfinite(rate)
    level = float(np.median(rate[usable])) if usable.any() else 0.0
    if not level > 0:
        raise DataError(f"the median slope of the flats is {level:g} DN/s; a flat needs light")
    usable &= (rate > 0.5 * level) & (rate < 2 * level)
    total, number = (_box_sum(a, box) for a in (np.where(usable, rate, 0.0), usable.astype(float)))
    with np.errstate(invalid="ignore", divide="ignore"):
        around = np.where(number > 0, total / number, level)
        return rate / around


def _box_sum(image, box):
    half = box // 2
    for axis in (0, 1):
        n = image.shape[axis]
        sums = np.concatenate([np.zeros_like(image.take([0], axis)), np.cumsum(image, axis=axis)], axis=axis)
        last, first = np.minimum(np.arange(n) + half + 1, n), np.maximum(np.arange(n) - half, 0)
        image = sums.take(last, axis) - sums.take(first, axis)
    return image

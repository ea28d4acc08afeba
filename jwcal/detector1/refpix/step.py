"""Reference-pixel correction: follow the drifts of the readout electronics and take them off.

Pixels around the edge of a detector see no light.  What they read is subtracted from the pixels
read through the same amplifier.  The correction of a group is a profile along the fast and one
along the slow readout axis, which are image axes; the pixels are never turned or copied.

Source: Rauscher et al. 2017, PASP 129, 105003 (readout); the algorithm and its rounding are
those of the calibration pipeline of the observatory, package ``jwst`` 3.0.
"""

import logging
from dataclasses import dataclass

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.step import Param, Ref, step
from jwcal.core.tile import Tile
from jwcal.detector1._shared import is_irs2
from jwcal.detector1.refpix.irs2 import (
    BAD,
    Interleaved,
    correct,
    describe_irs2,
    find_bad,
    repair,
    subtract_means,
)
from jwcal.detector1.refpix.readout import (
    AMPLIFIER_WIDTH,
    MIRI_OUTPUTS,
    NIR_BORDER,
    NIR_SIZE,
    NO_REFERENCE_PIXELS,
    average_ends,
    describe,
)
from jwcal.detector1.refpix.sirs import read_kernels, side_templates, subtract_templates
from jwcal.detector1.superstripes import Superstripes, assemble, describe_superstripes, settle
from jwcal.kernels.refpix import clipped_means, running_median, subtract_profiles, subtract_row_parity

log = logging.getLogger(__name__)


@dataclass
class Profile:
    """Values along an image axis, of which few differ: what is kept must not grow with the frame.

    Attributes
    ----------
    values : (..., k) float64 numpy.ndarray
        The values that occur, DN.
    index : (n,) integer numpy.ndarray or None
        Which value holds at each position; None if there is one for each.
    """

    values: np.ndarray
    index: np.ndarray | None = None

    def cut(self, start, stop):
        """Return the values from one position to another, (..., stop - start), contiguous."""
        where = slice(start, stop) if self.index is None else self.index[start:stop]
        return np.ascontiguousarray(self.values[..., where])


@dataclass
class Correction:
    """What is subtracted from one integration; a zero frame counts as one more group.

    Attributes
    ----------
    along_x, along_y : Profile or None
        Of (n, ...) values: profiles along the image rows and columns, DN.
    rounded : (n,) uint8 numpy.ndarray
        Groups rounded to float32 between the two subtractions.
    x_first : bool
        Which profile is subtracted first.
    drift : Profile or None
        For MIRI, of (n, 2, ...) values: drift since the first group of even and odd rows; there
        are no other profiles then.
    templates : (n, 4, nline) float64 numpy.ndarray or None
        Signal of each line by output; stands for the profile along the slow axis; DN.
    """

    along_x: Profile | None = None
    along_y: Profile | None = None
    rounded: np.ndarray | None = None
    x_first: bool = True
    drift: Profile | None = None
    templates: np.ndarray | None = None


def _sort_by(keys, pixels, nset):
    """Group pixels by key, in their order; pixels of negative key are left out."""
    kept = keys >= 0
    keys, pixels = keys[kept], pixels[kept]
    order = np.argsort(keys, kind="stable")
    bounds = np.zeros(nset + 1, np.intp)
    np.cumsum(np.bincount(keys, minlength=nset), out=bounds[1:])
    return pixels[order].astype(np.int32), bounds


def _pixels(boxes):
    """Image row and column of the strips' pixels, strip after strip, row by row."""
    y = [np.repeat(np.arange(y0, y1), x1 - x0) for y0, y1, x0, x1 in boxes]
    x = [np.tile(np.arange(x0, x1), y1 - y0) for y0, y1, x0, x1 in boxes]
    return np.concatenate(y), np.concatenate(x)


def _flat(strips, name):
    return np.concatenate([s[name].reshape(*s[name].shape[:-2], -1) for s in strips], axis=-1)


def _sets(readout, strips, p):
    """Divide the pixels into sets to average; done once, for the flags do not change in an exposure."""
    dq = _flat(strips, "PIXELDQ")
    options = (p.odd_even_columns, p.odd_even_rows)
    cached = readout.cached
    if cached is not None and cached[0] == options and np.array_equal(cached[1], dq):
        return cached[2]
    y, x = _pixels([s.box for s in strips])
    fast, slow = (
        (readout.fast[x], readout.slow[y]) if readout.fast_is_x else (readout.fast[y], readout.slow[x])
    )
    usable = (dq & DQ["DO_NOT_USE"]) == 0
    sides = []
    if readout.mode == "amplifiers":
        sides = _sides(readout, fast, slow, usable)
        end = np.where(slow < NIR_BORDER, 0, np.where(slow >= NIR_SIZE - NIR_BORDER, 1, -1))
        parity = fast % 2 if p.odd_even_columns else 0
        keys, nset = (fast // AMPLIFIER_WIDTH * 2 + parity) * 2 + end, 16
        usable &= end >= 0
    elif readout.mode == "stripes":
        parity = fast % 2 if p.odd_even_columns else 0
        keys, nset = (fast + readout.shift) // AMPLIFIER_WIDTH * 2 + parity, 8
        usable &= (dq & DQ["REFERENCE_PIXEL"]) != 0
    elif readout.mode == "single":
        reference = (dq & DQ["REFERENCE_PIXEL"]) != 0
        if readout.edgeless:
            reference |= (x < NIR_BORDER) | (x >= readout.frame[1] - NIR_BORDER)
        keys, nset = fast % 2 if p.odd_even_columns else np.zeros_like(fast), 2
        usable &= reference
    else:
        parity = slow % 2 if p.odd_even_rows else 0
        keys, nset = (parity * MIRI_OUTPUTS + fast % MIRI_OUTPUTS) * 2 + (fast >= MIRI_OUTPUTS), 16
    order = np.argsort(slow * (2 * NIR_SIZE) + fast)
    index, bounds = _sort_by(np.where(usable, keys, -1)[order], order, nset)
    readout.cached = options, dq, (index, bounds, sides)
    return index, bounds, sides


def _sides(readout, fast, slow, good):
    """Positions, in the strips, of the reference pixels at both ends of each line along the fast axis."""
    first, count = int(readout.slow.min()), len(readout.slow)
    sides = []
    for start in (0, NIR_SIZE - NIR_BORDER):
        where = np.zeros((count, NIR_BORDER), np.intp)
        usable = np.zeros((count, NIR_BORDER), np.uint8)
        inside = np.flatnonzero((fast >= start) & (fast < start + NIR_BORDER))
        where[slow[inside] - first, fast[inside] - start] = inside
        usable[slow[inside] - first, fast[inside] - start] = good[inside]
        sides.append((start, where, usable))
    return sides


def _absent_is_zero(signal):
    return np.where(np.isnan(signal), 0.0, signal)


def _amplifier_levels(means, uniform, single, split):
    """Level per group and detector column; 0 where there is none."""
    level = average_ends(means, uniform, single, split)
    return np.tile(level[:, :, None, :], (1, 1, AMPLIFIER_WIDTH // 2, 1)).reshape(len(means), NIR_SIZE)


def _side_pixels(values, levels, sides, single):
    """Pixels of the left and the right side, without the level of their column; in time order of lines."""
    for start, where, usable in sides:
        pixels = values.take(where, axis=1).astype(np.float64) - levels[:, None, start : start + NIR_BORDER]
        rounded = single != 0
        pixels[rounded] = pixels[rounded].astype(np.float32)
        yield pixels, usable


def _side_signal(values, levels, sides, readout, single, p):
    """Signal per group and detector line from the side pixels; 0 where there is none."""
    first = int(readout.slow.min())
    left, right = (
        running_median(pixels, usable, p.side_smoothing_length, single, first, NIR_SIZE)
        for pixels, usable in _side_pixels(values, levels, sides, single)
    )
    both = np.where(np.isnan(left), right, np.where(np.isnan(right), left, 0.5 * (left + right)))
    return p.side_gain * _absent_is_zero(both)


def solve_near_infrared(values, strips, readout, p, single):
    """Correction of the groups of one integration of a near-infrared detector.

    Parameters
    ----------
    values : (ngroup, npixel) float32 numpy.ndarray
        Pixels of the strips, strip after strip; DN.
    strips : list of tile
        Give PIXELDQ and box.
    readout : Readout
        From `describe`.
    p : namespace
        Parameters of the step.
    single : (ngroup,) uint8 numpy.ndarray
        Groups whose signals are computed in float32 arithmetic.

    Returns
    -------
    Correction or None
        None if there is no valid reference pixel.
    """
    index, bounds, sides = _sets(readout, strips, p)
    means, uniform = clipped_means(values, index, bounds, p.siglimit, single)
    ngroup = len(values)
    across, templates = Profile(np.zeros((ngroup, 1)), np.zeros(len(readout.slow), np.intp)), None
    if readout.mode == "stripes":
        level = means.reshape(ngroup, 4, 2)
        if not p.odd_even_columns:
            level[:, :, 1] = level[:, :, 0]
        level[np.isnan(level).any(axis=2)] = 0.0
        output = (readout.fast + readout.shift) // AMPLIFIER_WIDTH
        along = Profile(level.reshape(ngroup, 8), output * 2 + readout.fast % 2)
    elif readout.mode == "amplifiers":
        if len(index) == 0 and not (p.use_side_ref_pixels and any(s[2].any() for s in sides)):
            return None
        levels = _amplifier_levels(means, uniform, single, p.odd_even_columns)
        if p.use_side_ref_pixels and readout.kernels is not None:
            (left, _), (right, _) = _side_pixels(values, levels, sides, single)
            templates = np.array(
                [side_templates(a, b, readout.kernels, p.sigreject) for a, b in zip(left, right, strict=True)]
            )
        elif p.use_side_ref_pixels:
            lines = _side_signal(values, levels, sides, readout, single, p)
            across = Profile(np.ascontiguousarray(lines[:, readout.slow - readout.slow.min()]))
        # One value for each output and parity, found in the first two columns of every output.
        columns = np.arange(0, NIR_SIZE, AMPLIFIER_WIDTH)[:, None] + np.arange(2)
        along = Profile(levels[:, columns.ravel()], readout.fast // AMPLIFIER_WIDTH * 2 + readout.fast % 2)
    else:
        if np.diff(bounds)[: 1 + bool(p.odd_even_columns)].min() == 0:
            return None
        if not p.odd_even_columns:
            means[:, 1] = means[:, 0]
        along = Profile(_absent_is_zero(means), readout.fast % 2)
    if readout.fast_is_x:
        return Correction(along, across, single, x_first=True, templates=templates)
    return Correction(across, along, single, x_first=False, templates=templates)


def solve_miri(values, strips, readout, p):
    """Correction of the groups of one integration of a MIRI detector.

    Parameters
    ----------
    values : (ngroup, npixel) float32 numpy.ndarray
        Pixels of the strips, strip after strip; DN.
    strips : list of tile
        Give PIXELDQ and box.
    readout : Readout
        From `describe`.
    p : namespace
        Parameters of the step.

    Returns
    -------
    Correction or None
        None if a set of reference pixels has no valid member.
    """
    index, bounds, _ = _sets(readout, strips, p)
    used = 16 if p.odd_even_rows else 8
    if np.diff(bounds)[:used].min() == 0:
        return None
    ngroup = len(values)
    with np.errstate(invalid="ignore", over="ignore"):
        since = values - values[0]
        means, uniform = clipped_means(since, index, bounds, p.siglimit, np.ones(ngroup, np.uint8))
        left, right = means.reshape(ngroup, 2, MIRI_OUTPUTS, 2).transpose(3, 0, 1, 2)
        total = left + right
        mixed = uniform.reshape(ngroup, 2, MIRI_OUTPUTS, 2).any(axis=3)
        level = 0.5 * np.where(mixed, total, total.astype(np.float32))
    if not p.odd_even_rows:
        level[:, 1] = level[:, 0]
    level[0] = 0.0
    return Correction(drift=Profile(_absent_is_zero(level), np.arange(readout.frame[1]) % MIRI_OUTPUTS))


def _is_interleaved(exposure, _p):
    return is_irs2(exposure)


def _uses_sirs(exposure, p):
    full = exposure.frame == (NIR_SIZE, NIR_SIZE) and "FULL" in str(exposure.meta.get("SUBARRAY", "FULL"))
    return p.refpix_algorithm == "sirs" and p.use_side_ref_pixels and full


@step(
    "refpix",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_REFPIX",
    refs=[
        Ref("refpix", missing="optional", when=_is_interleaved),
        Ref("sirskernel", missing="optional", keyword="R_SIRSKL", when=_uses_sirs),
    ],
    params=[
        Param("odd_even_columns", bool, True, "Treat odd and even columns apart (near infrared)."),
        Param("use_side_ref_pixels", bool, True, "Subtract the signal of the side pixels from each row."),
        Param(
            "side_smoothing_length", int, 11, "Window of the running median.", unit="pixel", min=1, max=4095
        ),
        Param("side_gain", float, 1.0, "Factor applied to the signal of the side pixels."),
        Param("odd_even_rows", bool, True, "Treat odd and even rows apart (MIRI)."),
        Param("siglimit", float, 3.0, "Clipping limit of the means.", unit="sigma", min=0.0),
        Param(
            "refpix_algorithm",
            str,
            "median",
            "How full near-infrared frames use the side pixels.",
            choices=("median", "sirs"),
        ),
        Param("sigreject", float, 4.0, "Outlier limit of the sirs algorithm.", unit="sigma", min=0.0),
        Param("gaussmooth", float, 1.0, "Width of the low-pass filter of the sirs algorithm.", min=0.0),
        Param("halfwidth", int, 30, "Half width of the sirs kernel.", unit="pixel", min=1),
        Param(
            "ovr_corr_mitigation_ftr",
            float,
            3.0,
            "Limit for bad interleaved pixels (IRS2).",
            unit="sigma",
            min=0.0,
        ),
        Param("preserve_irs2_refpix", bool, False, "Keep the interleaved reference pixels (IRS2)."),
        Param("irs2_mean_subtraction", bool, False, "Subtract clipped means before the IRS2 correction."),
    ],
    # Also the flags of interleaved exposures; but those are whole frames in memory by then.
    changes=("SCI", "ZEROFRAME"),
    uses=("SCI", "PIXELDQ", "ZEROFRAME"),
    keywords=("S_REFPIX",),
    joins=True,
)
def refpix(tile, refs, p):
    """Subtract readout drifts measured on reference pixels.

    Near infrared, four outputs: in every group, clipped means of the reference pixels at both
    ends of each output, for odd and even columns, are averaged and subtracted; then a running
    median of the side pixels is subtracted from each line.  One output: clipped means of all
    reference pixels.  MIRI: clipped means of the left and right reference columns, for each
    output and for odd and even rows, of the difference to the first group.  Multistripe readout:
    clipped means of the reference pixels of each output, for odd and even columns.  Reference pixels
    flagged DO_NOT_USE and NaN are not used.  Zero frames are corrected like a group; their
    zeros stay.

    Full near-infrared frames with ``refpix_algorithm = sirs``: the side pixels are filtered with
    the kernels of the SIRSKERNEL reference instead.

    Interleaved readout of NIRSpec (IRS2): pixels with BAD_REF_PIXEL, others that differ from those
    of their output by more than ``ovr_corr_mitigation_ftr`` standard deviations, and those listed in
    the REFPIX reference are replaced by their neighbours; rows of the former two get BAD_REF_PIXEL and
    DO_NOT_USE.  Then the interleaved pixels and the reference output, weighted by frequency with that
    reference, are subtracted, and the frame of 3200 rows becomes one of 2048 by 2048 normal pixels
    (unless ``preserve_irs2_refpix``).  Exit 4 without the reference.

    Superstripes: each is corrected like a multistripe subarray, with the flags of the first stripe of its
    frame, as in the official package.  Then those of a frame are put together into one integration, and
    lines read several times in a group become groups (with their read times in the ASDF extension); lines
    nobody read are NaN and REFERENCE_PIXEL.  INT_TIMES becomes that of the frames, what it was
    INT_TIMES_STRIPE, and GROUP is left out.
    """
    if isinstance(tile.plan, Interleaved | Superstripes):
        return
    y0, y1, x0, x1 = tile.box
    sci, zeroframe = tile["SCI"], tile.get("ZEROFRAME")
    for k, i in enumerate(range(tile.i0, tile.i1)):
        c = tile.correction(i)
        if c is None:
            tile.count("integrations left uncorrected", int(y0 == 0))
            continue
        if c.drift is not None:
            subtract_row_parity(sci[k], c.drift.cut(x0, x1), y0)
            continue
        along_x, along_y = c.along_x.cut(x0, x1), c.along_y.cut(y0, y1)
        n = sci.shape[1]
        if c.templates is not None:
            groups = [*sci[k], *([] if zeroframe is None else zeroframe[k : k + 1])]
            level = along_x if c.x_first else along_y
            for g, group in enumerate(groups):
                subtract_templates(
                    group,
                    level[g],
                    c.templates[g],
                    tile.plan,
                    tile.box,
                    rounded=c.rounded[g],
                    keep_zero=g >= n,
                )
            continue
        subtract_profiles(sci[k], along_x[:n], along_y[:n], c.rounded[:n], x_first=c.x_first)
        if zeroframe is not None:
            subtract_profiles(
                zeroframe[k : k + 1],
                along_x[n:],
                along_y[n:],
                c.rounded[n:],
                x_first=c.x_first,
                keep_zero=True,
            )


@refpix.setup
def _(exposure, refs, p):
    if is_irs2(exposure):
        return describe_irs2(exposure, refs["refpix"], p)
    if exposure.stripes:
        return describe_superstripes(exposure)
    readout = describe(exposure.meta, exposure.frame, exposure.substrt)
    if refs["sirskernel"] is not None and readout.mode == "amplifiers":
        readout.kernels = read_kernels(
            refs["sirskernel"], exposure.meta["DETECTOR"], p.halfwidth, p.gaussmooth
        )
    elif p.refpix_algorithm == "sirs":
        why = "there is no SIRSKERNEL reference" if _uses_sirs(exposure, p) else "it is for full frames"
        log.warning("refpix: refpix_algorithm = sirs not used, %s", why)
    return readout


@refpix.probe
def _(exposure, readout):
    return [] if isinstance(readout, Interleaved | Superstripes) else readout.boxes()


@refpix.solve
def _(strips, exposure, readout, p):
    if isinstance(readout, Interleaved | Superstripes):
        return None
    values = _flat(strips, "SCI")[0]
    if readout.mode == "rows":
        return solve_miri(values, strips, readout, p)
    if "ZEROFRAME" in strips[0]:
        values = np.concatenate([values, _flat(strips, "ZEROFRAME")])
    # The official package holds the first group of a file in float32 and, because the side signal
    # is float64, every later one in float64; without side signal all stay float32.
    sided = readout.mode == "amplifiers" and p.use_side_ref_pixels
    single = np.full(len(values), not sided, np.uint8)
    if strips[0].i0 == 0:
        single[0] = 1
    return solve_near_infrared(values, strips, readout, p, single)


@refpix.scan
def _(tile, refs, p):
    if isinstance(tile.plan, Superstripes):
        return
    known = ((tile["PIXELDQ"] & DQ["BAD_REF_PIXEL"]) != 0).any(axis=1)
    tile.plan.bad |= known
    for ramp in tile["SCI"]:
        tile.plan.bad |= find_bad(ramp, known, p.ovr_corr_mitigation_ftr, tile.spread)


def _subtract_from_stripe(tile, number, p):
    readout, pixels, zeroframe = tile.plan.readout, tile["SCI"][number], tile.get("ZEROFRAME")
    values = pixels.reshape(len(pixels), -1)
    if zeroframe is not None:
        values = np.concatenate([values, zeroframe[number].reshape(1, -1)])
    # The official package takes the flags of the first stripe for all of them.
    flags = Tile({"PIXELDQ": tile["PIXELDQ"][0]}, tile.meta, tile.box, tile.core, (0, 1))
    c = solve_near_infrared(values, [flags], readout, p, np.ones(len(values), np.uint8))
    (ny, nx), n = readout.frame, len(pixels)
    along_x, along_y = c.along_x.cut(0, nx), c.along_y.cut(0, ny)
    subtract_profiles(pixels, along_x[:n], along_y[:n], c.rounded[:n], x_first=c.x_first)
    if zeroframe is not None:
        subtract_profiles(
            zeroframe[number : number + 1], along_x[n:], along_y[n:], c.rounded[n:], x_first=c.x_first,
            keep_zero=True,
        )  # fmt: skip


@refpix.frames(lambda plan: isinstance(plan, Interleaved | Superstripes))
def _(tile, refs, p):
    if isinstance(tile.plan, Superstripes):
        tile.spread(lambda number: _subtract_from_stripe(tile, number, p), range(len(tile.plan.places)))
        tile.planes.update(assemble(tile, tile.plan))
        return
    layout, ramp, pixeldq = tile.plan, tile["SCI"][0], tile["PIXELDQ"]
    pixeldq[layout.bad] |= np.uint32(BAD)
    if p.irs2_mean_subtraction:
        subtract_means(ramp, pixeldq, layout, p)
    repair(ramp, pixeldq, layout)
    tile["SCI"] = correct(ramp, layout, tile.spread)[None]
    if not layout.preserve:
        tile["PIXELDQ"] = pixeldq[layout.normal]
        tile["GROUPDQ"] = tile["GROUPDQ"][:, :, layout.normal]


@refpix.finish
def _(exposure, counts, readout, p):
    if isinstance(readout, Superstripes):
        log.info("refpix: frames put together from %d superstripes", len(readout.places))
        settle(exposure, readout)
        return
    if isinstance(readout, Interleaved):
        log.info("refpix: %d rows of bad reference pixels replaced", np.count_nonzero(readout.bad))
        if not readout.preserve and exposure.meta.get("SUBSIZE2") is not None:
            exposure.meta.set("SUBSIZE2", exposure.frame[0])
        return
    if counts["integrations left uncorrected"]:
        log.warning("refpix: %s; pixels left as they are", NO_REFERENCE_PIXELS)
        exposure.meta.set("S_REFPIX", "SKIPPED")

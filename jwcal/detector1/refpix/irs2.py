"""Reference-pixel correction of the interleaved readout of NIRSpec (IRS2).

Every output steps out to four reference pixels after each sixteen normal ones, and a fifth output
reads reference pixels all the time.  In the order in which they were read, with the pauses, both are
filtered in Fourier space with the weights of the REFPIX reference and taken off the normal pixels.

Source: Moseley et al. 2010, Proc. SPIE 7742, 77421B; Rauscher et al. 2012, Proc. SPIE 8453, 84531F;
the algorithm and its rounding are those of the calibration pipeline of the observatory, package
``jwst`` 3.0.
"""

import logging
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import InputError, ReferenceFileError
from jwcal.core.stripes import IRS2_FRAME, IRS2_NORMAL, IRS2_REFERENCE
from jwcal.detector1._shared import irs2_rows, is_reversed
from jwcal.detector1.refpix.readout import average_ends
from jwcal.kernels.irs2 import bridge, detrend, fold, unfold
from jwcal.kernels.refpix import clipped_means

log = logging.getLogger(__name__)

LINES = 2048
OUTPUTS = 5
SAMPLES = IRS2_FRAME[0] // OUTPUTS
WIDTH = LINES // (OUTPUTS - 1)
BLOCKS = WIDTH // IRS2_NORMAL
# A jump to reference pixels and one back take a time step each, a new line eight.
SLOTS = BLOCKS * (IRS2_NORMAL + IRS2_REFERENCE + 2) + 8
EDGE = 4
EDGE_LINES = np.r_[0:EDGE, LINES - EDGE : LINES]
# Time steps of those lines from the middle of the group.
EDGE_TIMES = EDGE_LINES[:, None] * SLOTS + np.arange(SLOTS) - (LINES * SLOTS - 1) / 2
EDGE_TIMES = EDGE_TIMES.astype(np.float32)
BRIDGE_STEPS = 32
FILTER_ROUNDS = 3
BAD = DQ["BAD_REF_PIXEL"] | DQ["DO_NOT_USE"]


@dataclass
class Weights:
    """Contents of a REFPIX reference.

    Attributes
    ----------
    alpha, beta : (4, 2048 * 712) complex64 numpy.ndarray
        Weights of the reference output and of the interleaved pixels, by output and frequency.
    bad : list of (int, list of int)
        Output, and detector columns of its interleaved pixels that must not be used; one entry
        for each row of the table.
    """

    alpha: np.ndarray
    beta: np.ndarray
    bad: list = field(default_factory=list)


@dataclass
class Interleaved:
    """How an exposure in this readout is arranged, and what is done with it.

    Attributes
    ----------
    normal : (3200,) bool numpy.ndarray
        Image rows of normal pixels.
    reversed : bool
        Whether the image is turned by half a circle against NRS1.
    weights : Weights
        Reference.
    preserve : bool
        Keep the interleaved rows in the result.
    bad : (3200,) bool numpy.ndarray
        Image rows found to hold bad reference pixels.
    """

    normal: np.ndarray
    reversed: bool
    weights: Weights
    preserve: bool
    bad: np.ndarray = field(default_factory=lambda: np.zeros(IRS2_FRAME[0], bool))

    def rows(self, columns):
        """Image rows of detector columns (and the other way round)."""
        return IRS2_FRAME[0] - 1 - columns if self.reversed else columns


def describe_irs2(exposure, ref, p):
    """Work out how an interleaved exposure is corrected.

    Parameters
    ----------
    exposure : Exposure
        The exposure.
    ref : ReferenceFile or None
        REFPIX reference.
    p : namespace
        Parameters of the step.

    Returns
    -------
    Interleaved

    Raises
    ------
    InputError
        If the frame is not that of the readout, or there is a zero frame, which this readout has not.
    ReferenceFileError
        If the reference is missing or not made for this readout.
    """
    normal = irs2_rows(exposure, "refpix")
    if exposure.has("ZEROFRAME"):
        raise InputError(f"{exposure.label}: refpix: an IRS2 exposure cannot have a ZEROFRAME")
    if ref is None:
        raise ReferenceFileError(
            f"{exposure.label}: refpix: IRS2 exposures need a REFPIX reference; give --ref-refpix FILE"
            " or --refs DIR, or leave the step out with --skip refpix"
        )
    return Interleaved(normal, is_reversed(exposure), read_weights(ref), p.preserve_irs2_refpix)


def read_weights(ref):
    """Read a REFPIX reference.

    Parameters
    ----------
    ref : ReferenceFile
        With the table IRS2 (ALPHA_0 ... BETA_3: real and imaginary parts in turn) and, optionally,
        the table DQ (OUTPUT, ODD_EVEN, MASK).

    Returns
    -------
    Weights

    Raises
    ------
    ReferenceFileError
        If a table is missing or has another form.
    """
    table = ref.table("IRS2")
    if table is None:
        raise ReferenceFileError(f"{ref.path}: no IRS2 table; not a REFPIX reference of the IRS2 readout")
    names = {name.lower(): name for name in table.dtype.names}
    weights = np.ones((2, OUTPUTS - 1, LINES * SLOTS), np.complex64)
    for k, kind in enumerate(("alpha", "beta")):
        for output in range(OUTPUTS - 1):
            column = f"{kind}_{output}"
            if column not in names:
                raise ReferenceFileError(f"{ref.path}: the IRS2 table has no column {column.upper()}")
            if len(table) != 2 * LINES * SLOTS:
                raise ReferenceFileError(
                    f"{ref.path}: the IRS2 table has {len(table)} rows instead of {2 * LINES * SLOTS}"
                )
            weights[k, output].view(np.float32)[:] = table[names[column]]
    return Weights(weights[0], weights[1], _bad_columns(ref))


def _bad_columns(ref):
    """Detector columns of bad interleaved pixels from the DQ table, by row of the table."""
    table = ref.table("DQ")
    if table is None:
        log.warning("%s: no DQ table; no interleaved pixel is taken to be bad", ref.path)
        return []
    names = {name.upper(): name for name in table.dtype.names}
    missing = {"OUTPUT", "ODD_EVEN", "MASK"} - set(names)
    if missing:
        raise ReferenceFileError(f"{ref.path}: the DQ table has no column {', '.join(sorted(missing))}")
    bad = []
    for output, parity, mask in zip(*(table[names[n]] for n in ("OUTPUT", "ODD_EVEN", "MASK")), strict=True):
        if not 1 <= output < OUTPUTS or parity not in (1, 2):
            raise ReferenceFileError(f"{ref.path}: DQ table: OUTPUT {output}, ODD_EVEN {parity} do not exist")
        # Every second output is read from its other end, where the second pair comes first.
        pair = (2 - int(parity)) if output % 2 == 0 else int(parity) - 1
        blocks = [k for k in range(BLOCKS) if int(mask) >> k & 1]
        first = int(output) * SAMPLES + IRS2_NORMAL // 2 + 2 * pair
        columns = [first + k * (IRS2_NORMAL + IRS2_REFERENCE) + i for k in blocks for i in (0, 1)]
        bad.append((int(output), columns))
    return bad


def pairs(output):
    """Image rows at which the pairs of reference pixels of an output start, (64,) intp."""
    starts = np.arange(IRS2_NORMAL // 2, SAMPLES, IRS2_NORMAL + IRS2_REFERENCE)
    return (output * SAMPLES + starts[:, None] + np.arange(0, IRS2_REFERENCE, 2)).ravel()


def find_bad(ramp, known, factor, spread=map):
    """Find image rows of reference pixels that behave unlike the others of their output.

    The mean difference of the two reads of a pixel, their mean and their standard deviation are
    each compared with those of the other pixels of the output, clipped at `factor`.

    Parameters
    ----------
    ramp : (ngroup, 3200, 2048) float32 numpy.ndarray
        One integration; DN.
    known : (3200,) bool numpy.ndarray
        Rows known to be bad, left out of the comparison.
    factor : float
        Limit in standard deviations.
    spread : callable
        Like `Tile.spread`.

    Returns
    -------
    (3200,) bool numpy.ndarray
        Rows found.
    """
    found = np.zeros(known.shape, bool)

    def judge(output):
        rows = np.array([r for r in pairs(output) if not known[r : r + 2].any()], np.intp)
        values = np.empty((3, len(rows)), np.float32)
        with np.errstate(all="ignore"):
            for k, r in enumerate(rows):
                values[0, k] = np.mean(np.abs(ramp[:, r + 1] - ramp[:, r]))
                values[1, k] = np.mean(ramp[:, r : r + 2])
                values[2, k] = np.std(ramp[:, r : r + 2])
            for one in values:
                mean, width = _clipped(one, factor)
                high = rows[(one - mean) > factor * width]
                found[high] = found[high + 1] = True

    list(spread(judge, range(OUTPUTS)))
    return found


def _clipped(values, factor):
    """Mean and standard deviation within `factor` deviations of the median, in five rounds at most."""
    values = values[np.isfinite(values)]
    for _ in range(5):
        if not values.size:
            return np.float32(np.nan), np.float32(np.nan)
        middle, reach = np.nanmedian(values), np.nanstd(values) * factor
        kept = values[(values >= middle - reach) & (values <= middle + reach)]
        if kept.size == values.size:
            break
        values = kept
    return (np.nanmean(values), np.nanstd(values)) if values.size else (np.float32(np.nan),) * 2


def replace_bad(ramp, bad, rows, limits):
    """Replace, in place, image rows of bad reference pixels by good ones near them.

    Taken are, in this order: the mean of the same pixel of the blocks before and after, that of one
    of them, the other pair of the block, zero (which is interpolated over later).

    Parameters
    ----------
    ramp : (ngroup, 3200, 2048) float32 numpy.ndarray
        One integration; DN.
    bad : (3200,) bool numpy.ndarray
        Rows not to take values from.
    rows : iterable of int
        Rows to replace.
    limits : (int, int)
        Rows of their output, half-open.
    """
    low, high = limits
    period = IRS2_NORMAL + IRS2_REFERENCE
    interleaved = np.isin(np.arange(low, high) % period, np.arange(8, 8 + IRS2_REFERENCE))
    for row in rows:
        near = [r for r in (row - period, row + period) if low <= r < high and not bad[r]]
        beside = [r for r in (row - 2, row + 2) if low <= r < high and interleaved[r - low] and not bad[r]]
        if len(near) == 2:
            with np.errstate(all="ignore"):
                ramp[:, row] = (ramp[:, near[0]] + ramp[:, near[1]]) / np.float32(2)
        elif near or beside:
            ramp[:, row] = ramp[:, (near or beside)[0]]
        else:
            ramp[:, row] = 0.0


def repair(ramp, pixeldq, layout):
    """Replace, in place, the bad reference pixels of one integration.

    Parameters
    ----------
    ramp : (ngroup, 3200, 2048) float32 numpy.ndarray
        DN.
    pixeldq : (3200, 2048) uint32 numpy.ndarray
        A BAD_REF_PIXEL marks its whole row.
    layout : Interleaved
        Gives the pixels the reference says are bad.
    """
    bad = ((pixeldq & DQ["BAD_REF_PIXEL"]) != 0).any(axis=1)
    for output in range(OUTPUTS):
        limits = output * SAMPLES, (output + 1) * SAMPLES
        replace_bad(ramp, bad, np.flatnonzero(bad[slice(*limits)]) + limits[0], limits)
    for output, columns in layout.weights.bad:
        rows = [int(r) for r in layout.rows(np.array(columns, np.intp)) if not bad[r]]
        bad[rows] = True
        ends = layout.rows(np.array([output * SAMPLES, (output + 1) * SAMPLES - 1]))
        replace_bad(ramp, bad, rows, (int(ends.min()), int(ends.max()) + 1))


def subtract_means(ramp, pixeldq, layout, p):
    """Subtract, in place, clipped means of the pixels at both ends of each output.

    Normal pixels and interleaved ones of a parity share a mean.

    Parameters
    ----------
    ramp : (ngroup, 3200, 2048) float32 numpy.ndarray
        One integration; DN.
    pixeldq : (3200, 2048) uint32 numpy.ndarray
        Pixels with DO_NOT_USE are not used.
    layout : Interleaved
        Gives the orientation.
    p : namespace
        With odd_even_columns and siglimit.
    """
    column = np.arange(IRS2_FRAME[0])
    interleaved = ~layout.normal[layout.rows(column)]
    interleaved[:SAMPLES] = interleaved[SAMPLES : 2 * SAMPLES]
    even = np.where(interleaved, column % 4 // 2, column % 2)
    if not p.odd_even_columns:
        even[:] = 0
    output = column // SAMPLES
    index, bounds = [], [0]
    usable = (pixeldq & DQ["DO_NOT_USE"]) == 0
    for k in range(OUTPUTS):
        for parity in (0, 1):
            columns = np.flatnonzero((output == k) & (even == parity))
            for lines in (np.arange(EDGE), np.arange(LINES - EDGE, LINES)):
                x = (LINES - 1 - lines if layout.reversed else lines)[:, None]
                y = layout.rows(columns)[None, :]
                where = (y * LINES + x)[usable[y, x]]
                index.append(where.astype(np.int32))
                bounds.append(bounds[-1] + len(where))
    ngroup = len(ramp)
    single = np.ones(ngroup, np.uint8)
    values = ramp.reshape(ngroup, -1)
    means, uniform = clipped_means(
        values, np.concatenate(index), np.array(bounds, np.intp), p.siglimit, single
    )
    levels = average_ends(means, uniform, single, p.odd_even_columns)
    by_row = levels[:, output, even][:, layout.rows(column)]
    with np.errstate(all="ignore"):
        for group, level in enumerate(by_row):
            ramp[group] -= level[:, None]


@dataclass(frozen=True)
class _Order:
    """Where samples, of one output, are among the time steps of a line."""

    normal: np.ndarray
    reference: np.ndarray
    targets: np.ndarray
    sources: np.ndarray
    slots: np.ndarray


def _order():
    n, r = np.arange(WIDTH), np.arange(BLOCKS * IRS2_REFERENCE)
    jumps = (n + IRS2_NORMAL // 2) // IRS2_NORMAL
    block = r // IRS2_REFERENCE
    slots = np.empty(SAMPLES, np.intp)
    slots[n + IRS2_REFERENCE * jumps] = n + (IRS2_REFERENCE + 2) * jumps
    inside = IRS2_NORMAL // 2
    slots[r + IRS2_NORMAL * block + inside] = r + (IRS2_NORMAL + 2) * block + inside + 1
    normal = np.ones(SAMPLES, bool)
    normal[r + IRS2_NORMAL * block + inside] = False
    # Both reads of a pixel stand for it; each pair is spread over four steps around the pause.
    start = np.arange(BLOCKS)[:, None] * (IRS2_NORMAL + IRS2_REFERENCE + 2) + inside + 1
    targets = start + np.arange(-IRS2_REFERENCE // 2, IRS2_REFERENCE + IRS2_REFERENCE // 2)
    sources = start + np.array([0, 2, 0, 2, 1, 3, 1, 3])
    return _Order(np.flatnonzero(normal), np.flatnonzero(~normal), targets.ravel(), sources.ravel(), slots)


ORDER = _order()


def _rows(layout, output):
    """Image row of each sample of a line of an output; every second output is read backwards."""
    sample = np.arange(SAMPLES)
    column = output * SAMPLES + (SAMPLES - 1 - sample if output % 2 == 0 else sample)
    return np.ascontiguousarray(layout.rows(column), np.intp)


def _read_out(image, mean, layout, output, series):
    """Fill in the samples of an output in order of time, without their trend."""
    unfold(image, mean, _rows(layout, output), ORDER.slots, series, mirrored=layout.reversed)
    intercept, slope = _line(series[EDGE_LINES])
    detrend(series.reshape(-1), intercept, slope)


def _line(edge):
    """Straight line through the samples of the outermost lines, in float32 like the official package."""
    used = edge != 0
    time, values = EDGE_TIMES[used], edge[used]
    if not values.size:
        return np.float32(0), np.float32(0)
    count = float(values.size)
    with np.errstate(all="ignore"):
        middle, level = time.mean(), values.mean()
        slope = ((time * values).sum() - count * middle * level) / ((time**2).sum() - count * middle**2)
        return np.float32(level - slope * middle), np.float32(slope)


def low_pass():
    """Filter for the gaps of the reference output: ranges of frequencies that are damped, and by how much.

    Returns
    -------
    list of (slice, numpy.ndarray or None)
        None: removed.
    """
    count = LINES * SLOTS
    taper = 110000 // (IRS2_NORMAL + IRS2_REFERENCE + 2)
    kept = SLOTS // (IRS2_NORMAL + IRS2_REFERENCE + 2) * LINES // 2 - taper // 2
    fall = (np.cos(np.arange(taper, dtype=np.float64) * np.pi / float(taper)) + 1.0) / 2.0
    half = np.concatenate(
        (np.ones(kept), fall, np.zeros(count // 2 - 2 * (kept + taper)), fall[::-1], np.ones(kept))
    )
    whole = np.concatenate((half, np.roll(half, -1)[::-1]))
    parts = []
    damped = np.concatenate(([0], (whole == 0) * 2 + ((whole > 0) & (whole < 1)), [0]))
    edges = np.flatnonzero(np.diff(damped))
    for a, b in pairwise(edges):
        kind = damped[a + 1]
        if kind:
            parts.append((slice(int(a), int(b)), whole[a:b] if kind == 1 else None))
    return parts


def _fill(series, parts, filled, spectrum):
    """Replace the gaps of the reference output, and what is read between, by a low-pass of the rest."""
    weights = np.sin(np.arange(1, BRIDGE_STEPS, dtype=np.float32) / np.float32(BRIDGE_STEPS) * np.pi)
    bridge(series.reshape(-1), np.ascontiguousarray(weights[::-1], np.float64), filled.reshape(-1))
    slots = ORDER.slots[ORDER.normal]
    kept = filled[:, slots]
    for _ in range(FILTER_ROUNDS):
        _transform(filled, spectrum)
        for where, factor in parts:
            spectrum[where] = 0.0 if factor is None else spectrum[where] * factor
        filled.reshape(-1)[:] = np.fft.ifft(spectrum).real
        filled[:, slots] = kept


def _transform(series, spectrum):
    """Transform a series in time to all its frequencies, negative ones included."""
    half = np.fft.rfft(series.reshape(-1))
    spectrum[: half.size] = half
    np.conj(half[-2:0:-1], out=spectrum[half.size :])


def _normalise(spectrum):
    # The official package divides complex numbers, which multiplies by a rounded reciprocal.
    spectrum.view(np.float32)[:] *= np.float32(1) / np.float32(spectrum.size)


def correct(ramp, layout, spread):
    """Correct one integration with its interleaved reference pixels and the reference output.

    Parameters
    ----------
    ramp : (ngroup, 3200, 2048) float32 numpy.ndarray
        DN; bad reference pixels replaced.
    layout : Interleaved
        From `describe_irs2`.
    spread : callable
        Like `Tile.spread`.

    Returns
    -------
    (ngroup, 2048 or 3200, 2048) float32 numpy.ndarray
        DN.
    """
    ngroup = len(ramp)
    mean = np.empty(IRS2_FRAME)

    def average(rows):
        part = mean[rows]
        part[...] = ramp[0, rows]
        for group in ramp[1:, rows]:
            part += group
        part /= float(ngroup)

    with np.errstate(all="ignore"):
        spread(average, [slice(y, y + 64) for y in range(0, IRS2_FRAME[0], 64)])
    out = np.empty((ngroup, IRS2_FRAME[0] if layout.preserve else LINES, LINES), np.float32)
    parts = low_pass()

    def one(group):
        with np.errstate(all="ignore"):
            _correct_group(ramp[group], mean, layout, parts, out[group])

    spread(one, range(ngroup))
    return out


def _correct_group(image, mean, layout, parts, out):
    # Fresh memory costs as much as the arithmetic, so all outputs share what there is.
    series, signal = np.empty((2, LINES, SLOTS), np.float32)
    common, drift, product = np.empty((3, LINES * SLOTS), np.complex64)
    _read_out(image, mean, layout, 0, series)
    _fill(series, parts, signal, common)
    if layout.preserve:
        rows = _rows(layout, 0)
        fold(signal, None, mean, rows, rows, ORDER.slots, out, mirrored=layout.reversed)
    _transform(signal, common)
    _normalise(common)
    for k in range(1, OUTPUTS):
        _read_out(image, mean, layout, k, series)
        signal[...] = 0
        signal[:, ORDER.targets] = series[:, ORDER.sources]
        _transform(signal, drift)
        _normalise(drift)
        drift *= layout.weights.beta[k - 1]
        drift += np.multiply(layout.weights.alpha[k - 1], common, out=product)
        signal.reshape(-1)[:] = np.fft.ifft(drift).real * np.float32(drift.size)
        rows = _rows(layout, k)
        if layout.preserve:
            level = np.where(layout.normal[rows], rows, -1)
            samples, targets = np.arange(SAMPLES), rows
        else:
            samples = ORDER.normal
            level = rows = rows[samples]
            # Rows of the image without the interleaved ones, in their order.
            targets = np.ascontiguousarray((np.cumsum(layout.normal) - 1)[rows], np.intp)
        fold(series, signal, mean, level, targets, ORDER.slots[samples], out, mirrored=layout.reversed)

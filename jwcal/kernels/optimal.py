"""Slopes of ramps by generalised least squares, with their own search for jumps.

The noise of the differences between successive groups has a tridiagonal covariance: Poisson noise
shared by averaged reads, and the read noise of the group two differences have in common (Brandt 2024,
PASP 136, 045004).  A jump is a difference, or two in a row, whose size is left free; it is looked for by
the fall of chi-square (Brandt 2024, PASP 136, 045005), at every place, against templates of a hit in
one of the averaged reads.  The covariance uses one rate for all integrations of a pixel, so that
the weight of an integration does not depend on its own noise.

The fit comes as C and as a NumPy twin (``*_numpy``) with the same values, bit for bit.
"""

import ctypes
import math
from dataclasses import dataclass, field

import numpy as np

from jwcal.kernels._lib import native, plane, ramp_layout
from jwcal.kernels.optimal_twin import CLASSES, LEAST, PLANES, STEPS, Fit, pair_tail, scale, tail

MOST_FRACTIONS = 3


@dataclass(frozen=True)
class RampModel:
    """How the groups of a ramp come about, and what is looked for in them.

    Attributes
    ----------
    group_time, frame_time : float
        Seconds from group to group, and to read one frame.
    nframes, groupgap : int
        Averaged frames per group, and frames dropped between groups.
    limit, limit_split, limit_near, limit_negative : float
        Significance, in sigma, from which a difference is a jump; the same for a jump that averaging
        spreads over two differences, next to a jump of 16 sigma of a neighbour in the same group, and
        downwards.  A limit of ``inf`` switches the search off.
    limit_pair : float
        The same for the root of the sum of squares of two neighbours in the same group, each of
        2 sigma or more.
    common : bool
        Use one rate for all integrations in the covariance and, allowing for what they vary, in the
        search.
    quantised : bool
        Add the variance of rounding the average of frames down to whole DN.
    noise_factor : float
        Factor of the variance of read noise and rounding, by what was done to pixels after they were read.
    reset_noise : float
        Noise of the level after a reset, DN; for ramps with a single reading.
    suppress_one_group : bool
        Give ramps with one reading no slope.
    unbiased : bool
        Add back what the search takes from a ramp without jumps on average.
    small_counts : bool
        Widen the Poisson variance by what an estimate of it from the same few counts lacks.
    no_gain : int
        Bit set, with DO_NOT_USE, where the gain is NaN, zero or negative.
    """

    group_time: float
    frame_time: float
    nframes: int = 1
    groupgap: int = 0
    limit: float = 4.5
    limit_split: float = 4.7
    limit_near: float = 2.5
    limit_negative: float = 6.0
    limit_pair: float = 4.5
    common: bool = True
    quantised: bool = True
    noise_factor: float = 1.0
    reset_noise: float = 0.0
    suppress_one_group: bool = False
    unbiased: bool = True
    small_counts: bool = True
    no_gain: int = 1 << 19
    fractions: tuple = field(init=False)

    def __post_init__(self):
        n = self.nframes
        steps = sorted({round(k * n / (MOST_FRACTIONS + 1)) for k in range(1, MOST_FRACTIONS + 1)})
        parts = tuple((n - q) / n for q in steps if 0 < q < n)
        object.__setattr__(self, "fractions", parts)

    @property
    def shared(self):
        """Poisson covariance of successive differences, in units of the signal of a group time."""
        n = self.nframes
        return (n * n - 1.0) / (6.0 * n) / (n + self.groupgap)

    @property
    def rounding(self):
        """Variance of rounding an average down, DN squared."""
        return (1.0 - 1.0 / self.nframes**2) / 12.0 if self.quantised else 0.0

    @property
    def near_limits(self):
        """Limits by what neighbours say: one of a pair, then octaves of the size of their jump from 4 sigma.

        Tracks leave charges of one order of magnitude: next to a jump any smaller one is as probable as
        another, so that the odds of a given size fall with the size of the jump.
        """
        least = math.sqrt(LEAST / STEPS)
        if math.isinf(self.limit_near):
            return (least, *[math.inf] * (CLASSES - 1))
        octave = 2.0 * math.log(2.0)
        limits = (
            math.sqrt(max(self.limit_near**2 + octave * (k - 2.5), least**2)) for k in range(1, CLASSES)
        )
        return (least, *(min(x, max(self.limit, self.limit_near)) for x in limits))

    @property
    def pair_bytes(self):
        """Sum of two bytes from which they are a pair; each has lost half a step on average."""
        return 0 if math.isinf(self.limit_pair) else round(self.limit_pair**2 * STEPS) - 1

    @property
    def tails(self):
        """What the search takes on average from a difference far from jumps, whole or split."""
        return tuple(tail(x) + pair_tail(x, self.limit_pair) for x in (self.limit, self.limit_split))

    @property
    def first_time(self):
        """Mean time of the first group since the reset, in group times."""
        return (self.nframes + 1.0) / 2.0 * self.frame_time / self.group_time

    @property
    def first_variance(self):
        """Poisson variance of the first group, in units of the signal of a group time."""
        n = self.nframes
        return (n + 1.0) * (2.0 * n + 1.0) / (6.0 * n) * self.frame_time / self.group_time


class _Args(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("sci", "gdq", "pdq", "gain", "rnoise", "dark", "zero")],
        ("rate", ctypes.c_void_p * 4),
        ("rate_dq", ctypes.c_void_p),
        ("ints", ctypes.c_void_p * 4),
        ("ints_dq", ctypes.c_void_p),
        *[(name, ctypes.c_ssize_t) for name in ("sci_int", "sci_group", "gdq_int", "gdq_group", "zero_int")],
        *[(name, ctypes.c_ssize_t) for name in ("nint", "ngroup", "ny", "nx", "nparts")],
        *[
            (name, ctypes.c_double)
            for name in (
                "group_time", "nframes", "shared", "rounding", "noise_factor", "reset_noise", "first_time",
                "first_variance", "frame_time", "limit", "scale_up", "scale_down", "scale_split", "tail_up", "tail_down",
                "tail_split",
            )
        ],
        ("scale_near", ctypes.c_double * CLASSES),
        ("tail_near", ctypes.c_double * CLASSES),
        ("parts", ctypes.c_double * (MOST_FRACTIONS + 1)),
        *[(name, ctypes.c_int32) for name in ("common", "suppress", "unbiased", "small_counts", "near", "pair")],
        ("no_gain", ctypes.c_uint32),
    ]  # fmt: skip


def fit_optimal(sci, gdq, pdq, gain, rnoise, model, dark=None, zero=None):
    """Fit the slopes of a tile, per integration and of all together, and flag the jumps found.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN; at least two groups.  A group that is not finite is not used.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags.  DO_NOT_USE, SATURATED and every other flag but PERSISTENCE leave a group out,
        JUMP_DET the difference to the group before.  JUMP_DET is set where a jump is found.
    pdq : (ny, nx) uint32 numpy.ndarray
        Pixel flags; not changed.  Pixels with DO_NOT_USE get no slope.
    gain : (ny, nx) float32 numpy.ndarray
        Gain, electrons per DN.
    rnoise : (ny, nx) float32 numpy.ndarray
        Read noise of a pair of reads, DN.  A pixel where it is NaN or infinite gets no slope.
    model : RampModel
        Times, noise terms and limits.
    dark : (ny, nx) float32 numpy.ndarray or None
        Average dark current for the Poisson variance, electrons per second.
    zero : (nint, ny, nx) float32 numpy.ndarray or None
        Frame read before the first group, DN; 0 is no value.  The only reading of ramps that
        saturate in the first group.

    Returns
    -------
    rate, rateints : dict
        ``SCI`` DN/s, ``ERR``, ``VAR_POISSON``, ``VAR_RNOISE`` float32 and ``DQ`` uint32, of shape
        (ny, nx) and (nint, ny, nx).  Without a slope SCI is NaN, the others are zero and DQ has
        DO_NOT_USE.  SATURATED and JUMP_DET say that there is such a group.

    Raises
    ------
    ValueError
        If a layout does not fit, or there are fewer than two groups.
    """
    nint, ngroup, ny, nx = _check(sci, gdq, pdq, gain, rnoise, dark, zero)
    if native() is None:
        return fit_optimal_numpy(sci, gdq, pdq, gain, rnoise, model, dark, zero)
    rate = {name: np.empty((ny, nx), np.float32) for name in PLANES}
    ints = {name: np.empty((nint, ny, nx), np.float32) for name in PLANES}
    rate["DQ"], ints["DQ"] = np.empty((ny, nx), np.uint32), np.empty((nint, ny, nx), np.uint32)

    def address(array):
        return None if array is None else array.ctypes.data

    def addresses(planes):
        return (ctypes.c_void_p * 4)(*(planes[name].ctypes.data for name in PLANES))

    def table(function):
        return (ctypes.c_double * CLASSES)(*(function(x) for x in model.near_limits))

    up, split = model.tails
    args = _Args(
        *(address(array) for array in (sci, gdq, pdq, gain, rnoise, dark, zero)),
        addresses(rate), address(rate["DQ"]), addresses(ints), address(ints["DQ"]),
        *ramp_layout(sci, np.float32, "sci"), *ramp_layout(gdq, np.uint8, "gdq"),
        0 if zero is None else zero.strides[0] // 4, nint, ngroup, ny, nx, 1 + len(model.fractions),
        model.group_time, model.nframes, model.shared, model.rounding, model.noise_factor,
        model.reset_noise, model.first_time, model.first_variance, model.frame_time / model.group_time,
        model.limit, scale(model.limit), scale(model.limit_negative), scale(model.limit_split),
        up, tail(model.limit_negative), split, table(scale), table(tail), (1.0, *model.fractions),
        nint > 1 and model.common, model.suppress_one_group, model.unbiased, model.small_counts,
        math.isfinite(model.limit_near), model.pair_bytes, model.no_gain,
    )  # fmt: skip
    if native().jw_fit_optimal(ctypes.byref(args)):
        raise MemoryError("ramp fit")
    return rate, ints


def _check(sci, gdq, pdq, gain, rnoise, dark, zero):
    ramp_layout(sci, np.float32, "sci")
    ramp_layout(gdq, np.uint8, "gdq")
    if gdq.shape != sci.shape:
        raise ValueError(f"gdq {gdq.shape} does not fit sci {sci.shape}")
    nint, ngroup, ny, nx = sci.shape
    if ngroup < 2:
        raise ValueError("a ramp needs two groups")
    plane(pdq, (ny, nx), np.uint32, "pdq")
    plane(gain, (ny, nx), np.float32, "gain")
    plane(rnoise, (ny, nx), np.float32, "rnoise")
    if dark is not None:
        plane(dark, (ny, nx), np.float32, "dark")
    if zero is not None:
        if zero.shape != (nint, ny, nx):
            raise ValueError(f"zero {zero.shape} does not fit sci {sci.shape}")
        for frame in zero:
            plane(frame, (ny, nx), np.float32, "zero")
    return sci.shape


def fit_optimal_numpy(sci, gdq, pdq, gain, rnoise, model, dark=None, zero=None):
    """NumPy twin of `fit_optimal`."""
    with np.errstate(all="ignore"):
        return Fit(sci, gdq, pdq, gain, rnoise, model, dark, zero).run()

"""Persistence: windows after saturation, and traps that fill with signal and release it later.

Every function comes as C and as a NumPy twin (``*_numpy``) that gives the same values, bit for bit.
A family of traps relaxes to the charge it can hold at the present signal, ``amplitude`` times the signal
above ``threshold``: with its capture time while that is more than it holds, with its release time while it is
less.
"""

import ctypes
from dataclasses import dataclass

import numpy as np

from jwcal.kernels._lib import native, plane, ptr, ramp_layout
from jwcal.kernels.pixelwise import sizes

SATURATED = 2
STEPS = 8


@dataclass(frozen=True)
class Traps:
    """Trap families of a detector.

    Attributes
    ----------
    full_well : float
        Signal above which no more traps are reached, electrons.
    release, capture : tuple of float
        Time constants of each family, seconds.
    amplitude : tuple of float
        Charge a family can hold, per electron of signal above the threshold.
    threshold : tuple of float
        Least signal that reaches the family, electrons.
    """

    full_well: float
    release: tuple
    capture: tuple
    amplitude: tuple
    threshold: tuple

    def __len__(self):
        return len(self.release)

    def factors(self, seconds):
        """Return what remains of a deviation after some times: release and capture, (n, len(seconds))."""
        with np.errstate(divide="ignore"):
            out = [np.exp(-np.asarray(seconds) / np.array(t)[:, None]) for t in (self.release, self.capture)]
        return [np.ascontiguousarray(x, np.float32) for x in out]

    def levels(self):
        """Return amplitudes and thresholds as arrays."""
        return np.array(self.amplitude, "f4"), np.array(self.threshold, "f4")


def flag_windows(sci, gdq, times, length, limit, flag, end):
    """Flag the groups within a time after a pixel was saturated, or above a signal.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; `flag` is set in place.
    times : (nint, ngroup) float64 numpy.ndarray
        Time of every group, seconds.
    length : float
        Length of a window, seconds.
    limit : float or None
        A signal above this, DN, opens a window too.
    flag : int
        Bits to set.
    end : (ny, nx) float64 numpy.ndarray
        End of the window of every pixel on the same clock, 0 for none; brought up to date.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    nint, ngroup, ny, nx = sci.shape
    strides = ramp_layout(sci, "f4", "sci") + ramp_layout(gdq, "u1", "gdq")
    if gdq.shape != sci.shape:
        raise ValueError(f"gdq {gdq.shape} does not fit sci {sci.shape}")
    plane(times, (nint, ngroup), np.float64, "times")
    plane(end, (ny, nx), np.float64, "end")
    lib = native()
    if lib is None:
        flag_windows_numpy(sci, gdq, times, length, limit, flag, end)
        return
    work = np.empty((ny, nx), np.int32)
    lib.jw_flag_windows(
        ptr(sci), ptr(gdq), *sizes(nint, ngroup, ny * nx, *strides), ptr(times), ctypes.c_double(length),
        ctypes.c_float(np.inf if limit is None else limit), ctypes.c_uint8(flag), ptr(end), ptr(work),
    )  # fmt: skip


def flag_windows_numpy(sci, gdq, times, length, limit, flag, end):
    """NumPy twin of `flag_windows`."""
    limit = np.float32(np.inf if limit is None else limit)
    for ramp, flags, clock in zip(sci, gdq, times, strict=True):
        saturated = np.zeros(end.shape, np.int32)
        for group, bits, now in zip(ramp, flags, clock, strict=True):
            until = now + length
            end[end < now] = 0
            saturated += (bits & SATURATED) != 0
            end[saturated == 1] = until
            end[(group > limit) & ~(end > 0)] = until
            end[(end != 0) & (end - until > 0)] = 0
            bits[end > 0] |= np.uint8(flag)


def fill_traps(traps, rate, seconds, model):
    """Carry traps through an integration of a constant rate, from its reset to its end, in place.

    Parameters
    ----------
    traps : (nfamily, ny, nx) float32 numpy.ndarray
        Trapped charge, electrons.
    rate : (ny, nx) float32 numpy.ndarray or None
        Electrons per second; None is darkness, for any time.
    seconds : float
        Length of the integration.
    model : Traps
        The families.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    plane(traps, (len(model), *traps.shape[1:]), np.float32, "traps")
    if rate is None:
        traps *= model.factors([seconds])[0][:, :, None]
        return
    plane(rate, traps.shape[1:], np.float32, "rate")
    lib = native()
    if lib is None:
        fill_traps_numpy(traps, rate, seconds, model)
        return
    release, capture = model.factors([seconds / STEPS])
    middle = ((np.arange(STEPS) + 0.5) * (seconds / STEPS)).astype(np.float32)
    amplitude, threshold = model.levels()
    lib.jw_fill_traps(
        ptr(traps), *sizes(len(model), rate.size), ptr(rate), ctypes.c_float(model.full_well), ptr(amplitude),
        ptr(threshold), ptr(release), ptr(capture), ptr(middle), *sizes(STEPS),
    )  # fmt: skip


def fill_traps_numpy(traps, rate, seconds, model):
    """NumPy twin of `fill_traps`."""
    release, capture = (x[:, 0] for x in model.factors([seconds / STEPS]))
    middle = ((np.arange(STEPS) + 0.5) * (seconds / STEPS)).astype(np.float32)
    amplitude, threshold = model.levels()
    with np.errstate(invalid="ignore", over="ignore"):
        for k, n in enumerate(traps):
            for time in middle:
                level = rate * time
                level = np.where(level < np.float32(model.full_well), level, np.float32(model.full_well))
                _relax(n, level, amplitude[k], threshold[k], release[k], capture[k])


def _relax(n, level, amplitude, threshold, release, capture):
    """Bring one family nearer to what it can hold at a signal."""
    above = level - threshold
    full = amplitude * np.where(above > 0, above, np.float32(0))
    n[...] = full + (n - full) * np.where(full > n, capture, release)


def release_traps(traps, sci, gdq, gain, first, step, model):
    """Charge that traps release during an integration, up to every group.

    Parameters
    ----------
    traps : (nfamily, ny, nx) float32 numpy.ndarray
        Trapped charge at the reset, electrons; carried on to the last group in place.
    sci : (ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.
    gdq : (ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; a SATURATED group has the full well.
    gain : (ny, nx) float32 numpy.ndarray
        Gain, electrons per DN.
    first, step : float
        Seconds from the reset to the first group, and from group to group.
    model : Traps
        The families.

    Returns
    -------
    (nfamily, ngroup, ny, nx) float32 numpy.ndarray
        Electrons released since the reset.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    ngroup, ny, nx = sci.shape
    sg, qg = ramp_layout(sci[None], "f4", "sci")[1], ramp_layout(gdq[None], "u1", "gdq")[1]
    plane(traps, (len(model), ny, nx), np.float32, "traps")
    plane(gain, (ny, nx), np.float32, "gain")
    lib = native()
    if lib is None:
        return release_traps_numpy(traps, sci, gdq, gain, first, step, model)
    release, capture = model.factors([first, step])
    amplitude, threshold = model.levels()
    out = np.empty((len(model), ngroup, ny, nx), np.float32)
    lib.jw_release_traps(
        ptr(traps), *sizes(len(model), ny * nx), ptr(sci), *sizes(sg), ptr(gdq), *sizes(qg), ptr(gain),
        *sizes(ngroup), ctypes.c_float(model.full_well), ptr(amplitude), ptr(threshold), ptr(release),
        ptr(capture), ptr(out),
    )  # fmt: skip
    return out


def release_traps_numpy(traps, sci, gdq, gain, first, step, model):
    """NumPy twin of `release_traps`."""
    release, capture = model.factors([first, step])
    amplitude, threshold = model.levels()
    half, full_well = np.float32(0.5), np.float32(model.full_well)
    out = np.empty((len(model), *sci.shape), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for k, n in enumerate(traps):
            total = np.zeros(n.shape, np.float32)
            for g in range(len(sci)):
                later = int(g > 0)
                level = (half * sci[g] + np.float32(0.5 * later) * sci[max(g - 1, 0)]) * gain
                level = np.where(level < full_well, level, full_well)
                level = np.where(gdq[g] & SATURATED, full_well, level)
                before = n.copy()
                _relax(n, level, amplitude[k], threshold[k], release[k, later], capture[k, later])
                gone = before - n
                total = total + np.where(gone > 0, gone, np.float32(0))
                out[k, g] = total
    return out

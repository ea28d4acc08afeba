"""Earlier exposures of a detector, and the charge they left in its traps."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jwcal.core.errors import InputError, JwcalError
from jwcal.kernels.persistence import fill_traps

log = logging.getLogger(__name__)

DAY = 86400.0
UNIX = 40587.0
SATURATED, DNU = 2, 1
# Rounding of the times in headers, seconds.
SLACK = 0.05
_RANK = {"rateints": 0, "rate": 1, "ramp": 2}


def seconds(mjd):
    """Seconds since 1970 of a modified Julian date (or dates)."""
    return (mjd - UNIX) * DAY


def clock(exposure, names=("int_start_MJD_UTC",)):
    """Start of every integration of a file, seconds since 1970.

    From the rows of INT_TIMES that have the numbers of its integrations; without them from the
    start of the exposure and the time of an integration.

    Parameters
    ----------
    exposure : Exposure
        A ramp, rate or rateints product.
    names : tuple of str
        Columns wanted of INT_TIMES.

    Returns
    -------
    (nint,) float64 numpy.ndarray
    """
    meta = exposure.meta
    first = meta.get("INTSTART") or 1
    nint = _integrations(exposure)
    table = exposure.table("INT_TIMES")
    if table is not None and table.dtype.names and names[0] in table.dtype.names:
        rows = np.arange(nint)
        if "integration_number" in table.dtype.names:
            number = table["integration_number"]
            rows = np.searchsorted(number, np.arange(first, first + nint))
            rows = (
                rows if rows.size and rows[-1] < len(number) and number[rows[0]] == first else np.arange(nint)
            )
        if len(table) > rows[-1]:
            return seconds(table[names[0]][rows].astype(np.float64))
    return seconds(meta["EXPSTART"]) + (first - 1 + np.arange(nint)) * meta["EFFINTTM"]


def _integrations(exposure):
    shape = exposure.shape
    if len(shape) > 2:
        return shape[0]
    first, last = exposure.meta.get("INTSTART"), exposure.meta.get("INTEND")
    return last - first + 1 if first and last and last >= first else exposure.meta.get("NINTS") or 1


@dataclass
class Earlier:
    """An earlier exposure.

    Attributes
    ----------
    exposure : Exposure
        Its product.
    starts : (nint,) float64 numpy.ndarray
        Start of every integration, seconds since 1970.
    length : float
        Time from reset to the last read, seconds.
    """

    exposure: Any
    starts: Any
    length: float

    @property
    def end(self):
        """End of the last integration, seconds since 1970."""
        return float(self.starts[-1]) + self.length

    def rate(self, i, box, gain, full_well):
        """Signal rate of integration `i` in a box of this exposure's frame.

        Parameters
        ----------
        i : int
            Number in the file.
        box : (int, int, int, int)
            y0, y1, x0, x1.
        gain : (ny, nx) float32 numpy.ndarray
            Electrons per DN in that box.
        full_well : float
            Electrons; a pixel that was saturated from the first group on has ten times that at once.

        Returns
        -------
        (ny, nx) float32 numpy.ndarray
            Electrons per second, not negative; 0 where nothing is known.
        """
        store = self.exposure.store
        if self.exposure.product == "ramp":
            rate, saturated = self._from_ramp(i, box)
        else:
            index = (i,) if len(self.exposure.shape) == 3 else ()
            rate = np.array(store.read("SCI", box, index=index), np.float32)
            saturated = (store.read("DQ", box, index=index) & SATURATED) != 0
            if self.exposure.meta.get("S_GANSCL") == "COMPLETE":
                rate /= np.float32(self.exposure.meta.get("GAINFACT") or 1.0)
        with np.errstate(invalid="ignore"):
            rate = rate * gain
            at_once = np.float32(10 * full_well / self.length)
            rate = _fill_lost(rate, saturated & ~np.isfinite(rate), at_once)
            return np.where(rate > 0, rate, np.float32(0)).astype(np.float32)

    def _from_ramp(self, i, box):
        """Rate [DN/s] up to the last good group, else to the first one, and what was ever saturated."""
        meta, store = self.exposure.meta, self.exposure.store
        sci = store.read("SCI", box, index=(slice(i, i + 1),))[0]
        flags = store.read("GROUPDQ", box, index=(slice(i, i + 1),))[0]
        usable = ((flags & DNU) == 0) & np.isfinite(sci)
        good = usable & ((flags & SATURATED) == 0)
        last = np.where(
            good.any(axis=0), len(sci) - 1 - np.argmax(good[::-1], axis=0), np.argmax(usable, axis=0)
        )
        level = np.take_along_axis(sci, last[None], 0)[0]
        time = first_read(meta) + last * np.float32(meta["TGROUP"])
        rate = np.where(usable.any(axis=0), level / time, np.nan).astype(np.float32)
        return rate, ((flags & SATURATED) != 0).any(axis=0)


def _fill_lost(rate, lost, at_once):
    """Rates of pixels lost to saturation in the first group.

    Saturation is flagged in the neighbours of a saturated pixel too: a lost pixel beside one with a rate
    is taken for such a neighbour, half way (in magnitudes) from the largest rate around to that of the
    others, which were saturated at once.
    """
    if not lost.any():
        return rate
    around = np.pad(np.where(np.isfinite(rate), rate, -np.inf), 1, constant_values=-np.inf)
    ny, nx = rate.shape
    best = np.full(rate.shape, -np.inf, np.float32)
    for dy in range(3):
        for dx in range(3):
            np.maximum(best, around[dy : dy + ny, dx : dx + nx], out=best)
    beside = np.sqrt(np.maximum(best, 0) * at_once)
    return np.where(lost, np.where(np.isfinite(best), beside, at_once), rate)


def first_read(meta):
    """Seconds from the reset to the mean time of the first group."""
    return meta["TFRAME"] * ((meta.get("DRPFRMS1") or 0) + (meta["NFRAMES"] + 1) / 2)


def find_history(text, exposure, start, reach):
    """Earlier exposures of the same detector, in the order of time.

    Parameters
    ----------
    text : str
        A folder, of which all that fits is taken, or names of files separated by commas, in the
        order of time.
    exposure : Exposure
        The exposure that follows.
    start : float
        Its start, seconds since 1970.
    reach : float
        Exposures that ended longer before than this do not count, seconds.

    Returns
    -------
    list of Earlier

    Raises
    ------
    InputError
        If files are missing, of another detector, not in order or not before the exposure.
    """
    folder = Path(text)
    if folder.is_dir():
        out = _from_folder(folder, exposure, start)
    else:
        out = [_open(name.strip(), exposure) for name in text.split(",") if name.strip()]
        if not out:
            raise InputError("persistence: history names no file")
    previous = None
    for item in out:
        label = item.exposure.label
        if previous is not None and item.starts[0] < previous.end - SLACK:
            raise InputError(
                f"{label}: not in order of time, it does not follow {previous.exposure.label}; list the history from old to new"
            )
        if item.end > start + SLACK:
            raise InputError(f"{label}: not in order of time, it ends after {exposure.label} starts")
        previous = item
    recent = [item for item in out if start - item.end <= reach]
    for item in out:
        if item not in recent:
            item.exposure.close()
    return recent


def _open(name, exposure):
    from jwcal.core.exposure import open_exposure

    if not Path(name).exists():
        raise InputError(f"{name}: no such file (persistence history)")
    other = open_exposure(name)
    mine, theirs = exposure.meta["DETECTOR"], other.meta.get("DETECTOR")
    if theirs != mine:
        other.close()
        raise InputError(f"{name}: is of detector {theirs}, {exposure.label} of {mine}")
    if other.product not in _RANK:
        other.close()
        raise InputError(
            f"{name}: a raw {other.product} has no signal to go by; give a rateints, rate or ramp"
        )
    starts = clock(other)
    if len(other.shape) == 2 and starts.size > 1 and other.meta.get("EXPEND"):
        cycle = (seconds(other.meta["EXPEND"]) - starts[0]) / starts.size
        starts = starts[0] + np.arange(starts.size) * max(cycle, other.meta["EFFINTTM"])
    return Earlier(other, starts, float(other.meta["EFFINTTM"]))


def _from_folder(folder, exposure, start):
    """Products of the detector in a folder that end before the exposure starts; of each exposure the best."""
    found: dict = {}
    for path in sorted(folder.glob("*.fits")):
        try:
            item = _open(str(path), exposure)
        except JwcalError:
            continue
        if item.end > start + SLACK:
            item.exposure.close()
            continue
        key = round(float(item.starts[0]), 1), item.exposure.frame
        best = found.get(key)
        if best is None or _RANK[item.exposure.product] < _RANK[best.exposure.product]:
            found[key], item = item, best
        if item is not None:
            item.exposure.close()
    if not found:
        raise InputError(f"{folder}: no earlier rateints, rate or ramp of {exposure.meta['DETECTOR']} there")
    return sorted(found.values(), key=lambda item: item.starts[0])


def carry(traps, history, exposure, gain, model, begun, start):
    """Carry traps through earlier exposures to the start of an exposure, in place.

    Parameters
    ----------
    traps : (nfamily, ny, nx) float32 numpy.ndarray
        Trapped charge [electrons] at the time `begun`, in the frame of `exposure`.
    history : list of Earlier
        In the order of time.
    exposure : Exposure
        Gives the frame and its place on the detector.
    gain : (ny, nx) float32 numpy.ndarray
        Electrons per DN.
    model : jwcal.kernels.persistence.Traps
        The families.
    begun, start : float
        Seconds since 1970; `begun` None is the start of the first earlier exposure.
    """
    now = begun
    for item in history:
        places = _overlap(item.exposure, exposure)
        if places is None:
            log.warning("%s: no pixel in common with %s", item.exposure.label, exposure.label)
            continue
        box, (y0, y1, x0, x1) = places
        whole = (y0, y1, x0, x1) == (0, traps.shape[1], 0, traps.shape[2])
        part = traps if whole else np.ascontiguousarray(traps[:, y0:y1, x0:x1])
        here = np.ascontiguousarray(gain[y0:y1, x0:x1])
        mine = now
        rate = None
        for i, begin in enumerate(item.starts):
            if mine is not None and begin > mine:
                fill_traps(part, None, begin - mine, model)
            if rate is None or len(item.exposure.shape) > 2:
                rate = item.rate(i, box, here, model.full_well)
            fill_traps(part, rate, item.length, model)
            mine = float(begin) + item.length
        if not whole:
            fill_traps(traps, None, mine - (now if now is not None else mine), model)
            traps[:, y0:y1, x0:x1] = part
        now = mine
        item.exposure.close()
    if now is not None and start > now:
        fill_traps(traps, None, start - now, model)


def _overlap(earlier, exposure):
    """Find the common pixels: a box in the earlier frame and one in that of the exposure, or None."""
    spans = []
    for side in (0, 1):
        a, b = earlier.substrt[side], exposure.substrt[side]
        low = max(a, b)
        high = min(a + earlier.frame[side], b + exposure.frame[side])
        if high <= low:
            return None
        spans.append(((low - a, high - a), (low - b, high - b)))
    return (*spans[0][0], *spans[1][0]), (*spans[0][1], *spans[1][1])

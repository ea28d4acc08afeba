"""Subtract the signal a detector collects without light."""

import logging
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jwcal.core.errors import ReferenceFileError
from jwcal.core.step import Param, Ref, Skip, step
from jwcal.kernels.pixelwise import average_frames, subtract_dark

log = logging.getLogger(__name__)

# Darks up to the first size, such as those of the strips of reference pixels, are read once and kept;
# larger ones are read anew, by pieces of the second size.
KEPT_BYTES = 2 << 20
PIECE_BYTES = 1 << 19


@dataclass
class DarkPlan:
    """How the frames of the reference become the groups of the exposure.

    Attributes
    ----------
    ngroup : int
        Groups of the exposure.
    nframe, step : int
        Frames to average for a group, and from one group to the next.
    average : bool
        False when frames of the reference are groups of the exposure.
    stored : int
        Groups in the reference.
    used : tuple of int or None
        Integrations of the reference that are needed; None when it has no such axis.
    which : (nint,) int32 numpy.ndarray
        For each integration of the exposure the position in `used`.
    current : float or None
        Average dark current in e-/s to hand on, None for no plane.
    """

    ngroup: int
    nframe: int
    step: int
    average: bool
    stored: int
    used: tuple | None
    which: np.ndarray
    current: float | None

    @property
    def needed(self):
        """Number of frames of the reference that are needed."""
        return (self.ngroup - 1) * self.step + self.nframe


class _Frames:
    """Dark ramps of a box, read a few groups at a time so that they are subtracted while in the cache.

    Parameters
    ----------
    ref : ReferenceFile
        The dark.
    box : (int, int, int, int)
        Rows and columns, in the exposure's frame.
    plan : DarkPlan
        Which frames make a group.
    """

    def __init__(self, ref, box, plan):
        self.ref, self.box, self.plan = ref, box, plan
        self.kept: dict = {}

    def pieces(self, position):
        """Yield first group and (ngroup, ny, nx) values of the pieces of one dark ramp."""
        plan, ny, nx = self.plan, self.box[1] - self.box[0], self.box[3] - self.box[2]
        index = () if plan.used is None else (plan.used[position],)
        if position not in self.kept:
            as_stored = not plan.average and plan.needed <= plan.stored
            size = 4 * ny * nx
            if as_stored and plan.ngroup * size > KEPT_BYTES:
                step = max(PIECE_BYTES // size, 1)
                room = np.empty((min(step, plan.ngroup), ny, nx), np.float32)
                for first in range(0, plan.ngroup, step):
                    part = room[: min(step, plan.ngroup - first)]
                    groups = slice(first, first + len(part))
                    yield first, self.ref.read("SCI", self.box, index=(*index, groups), out=part)
                return
            self.kept[position] = self._whole(index, ny, nx, as_stored)
        yield 0, self.kept[position]

    def _whole(self, index, ny, nx, as_stored):
        plan = self.plan
        extrapolate = plan.needed > plan.stored
        out = np.empty((plan.ngroup, ny, nx), np.float64 if extrapolate and not plan.average else np.float32)
        take = (*index, slice(0, min(plan.needed, plan.stored)))
        if as_stored:
            return self.ref.read("SCI", self.box, index=take, out=out)
        frames = self.ref.read("SCI", self.box, index=take, dtype="f4")
        if extrapolate:
            frames = _extrapolated(frames, plan.needed)
        _regroup(frames, plan, out)
        return out


def _load(ref, box, plan):
    return {"SCI": _Frames(ref, box, plan), "DQ": _flags(ref, box)}


def _extrapolated(frames, needed):
    """Frames in double precision, continued by the difference of the last two."""
    stored = len(frames)
    out = np.empty((needed, *frames.shape[1:]))
    out[:stored] = frames
    rate = (frames[-1] - frames[-2]).astype(np.float64)
    for k in range(stored, needed):
        out[k] = (k - stored + 1) * rate + out[stored - 1]
    return out


def _regroup(frames, plan, out):
    if not plan.average:
        out[...] = frames
        return
    for group, target in enumerate(out):
        part = frames[group * plan.step : group * plan.step + plan.nframe]
        if part.dtype == np.float32:
            average_frames(part, target)
        else:
            total = np.zeros(target.shape)
            for frame in part:
                total += np.where(np.isnan(frame), 0.0, frame)
            target[...] = total / plan.nframe


def _flags(ref, box):
    if "DQ" not in ref:
        return np.zeros((box[1] - box[0], box[3] - box[2]), np.uint32)
    dq = ref.read("DQ", box, dtype="u4")
    if dq.ndim == 4:
        dq = dq[:, 0]
    return np.bitwise_or.reduce(dq, axis=0) if dq.ndim == 3 else dq


@step(
    "dark_current",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_DARK",
    refs=[Ref("dark", planes={"SCI": "f4", "DQ": "u4"}, optional_planes=("DQ",), load=_load)],
    params=[
        Param(
            "average_dark_current", float, None, "Dark current for its Poisson noise.", unit="e-/s", min=0.0
        )
    ],
    changes=("SCI", "PIXELDQ", "AVDRKCUR"),
    uses=("SCI", "PIXELDQ"),
)
def dark_current(tile, refs, p):
    """Subtract the DARK reference group by group.

    Frames of the reference are averaged and skipped as NFRAMES and GROUPGAP of the exposure say.
    A reference that is too short is continued by the difference of its last two groups.  NaN
    counts as 0.  MIRI darks differ by integration: the first integrations of an exposure (not of a
    later segment) get their own, all others the last one.  The flags of the reference are added
    to PIXELDQ.

    The average dark current (parameter, else keyword AVDRKCUR of the reference, else 0) goes into the
    plane AVDRKCUR (float32, e-/s), from which ramp fitting takes its Poisson noise.

    Skipped when the reference averages or skips more frames than the exposure.  Errors: exit 4
    when its frames cannot be regrouped, a reference of one group would have to be continued, or
    one of it and the exposure is of the IRS2 readout.

    Source: calibration pipeline of the observatory, packages ``jwst`` 3.0 and ``stcal`` 1.20.
    """
    dark, plan = refs["dark"], tile.plan
    sci, flags = tile["SCI"], dark["DQ"]
    which = plan.which[tile.i0 : tile.i1]
    edges = [0, *(np.flatnonzero(np.diff(which)) + 1), len(which)]
    for start, stop in pairwise(edges):
        same = np.zeros(stop - start, np.int32)
        for first, part in dark["SCI"].pieces(which[start]):
            subtract_dark(
                sci[start:stop, first : first + len(part)], tile["PIXELDQ"], part[None], same, flags
            )
            flags = None
    if plan.current is not None:
        tile["AVDRKCUR"] = np.full(tile["PIXELDQ"].shape, plan.current, np.float32)


@dark_current.setup
def _(exposure, refs, p):
    ref, meta = refs["dark"], exposure.meta
    nint, ngroup = exposure.shape[:2]
    nframe, gap = meta["NFRAMES"], meta["GROUPGAP"]
    shape = ref.shape("SCI")
    if len(shape) not in (3, 4):
        raise ReferenceFileError(f"{ref.path}: SCI has shape {shape}; a dark needs groups, rows and columns")
    stored = shape[-3]
    _check_readout(ref, meta)
    dark_frames, dark_gap = _count(ref, "NFRAMES", 1), _count(ref, "GROUPGAP", 0)
    if dark_frames > nframe or dark_gap > gap:
        raise Skip(f"{ref.path}: NFRAMES {dark_frames} or GROUPGAP {dark_gap} is above that of the exposure")
    average = (dark_frames, dark_gap) != (nframe, gap)
    if average and (dark_frames, dark_gap) != (1, 0):
        raise ReferenceFileError(
            f"{ref.path}: groups of NFRAMES {dark_frames} and GROUPGAP {dark_gap}"
            f" cannot be regrouped to {nframe} and {gap}"
        )
    used, which = _integrations(shape, nint, meta.get("INTSTART", 1))
    plan = DarkPlan(
        ngroup=ngroup,
        nframe=nframe if average else 1,
        step=nframe + gap if average else 1,
        average=average,
        stored=stored,
        used=used,
        which=which,
        current=_average_current(ref, p.average_dark_current),
    )
    if plan.needed > stored:
        if stored < 2:
            raise ReferenceFileError(f"{ref.path}: a dark of one group cannot be continued to {plan.needed}")
        log.warning("dark_current: %s extrapolated from %d to %d groups", ref.path, stored, plan.needed)
    return plan


def _check_readout(ref, meta):
    """Refuse a dark of the other readout, whose frames may have the same shape: IRS2 and traditional."""
    mine, theirs = str(ref.get("READPATT") or "").strip().upper(), str(meta.get("READPATT", ""))
    if mine.startswith("NRS") and theirs.startswith("NRS") and ("IRS2" in mine) != ("IRS2" in theirs):
        raise ReferenceFileError(f"{ref.path}: is for READPATT {mine}; {meta.label} is {theirs}")


def _count(ref, key, least):
    value = ref.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ReferenceFileError(
            f"{ref.path}: header keyword {key} = {value!r}; need a whole number from {least}"
        )
    return value


def _integrations(shape, nint, first):
    if len(shape) == 3:
        return None, np.zeros(nint, np.int32)
    last = shape[0] - 1
    wanted = np.minimum(np.arange(nint), last) if first == 1 else np.full(nint, last)
    used = np.unique(wanted)
    return tuple(int(i) for i in used), np.searchsorted(used, wanted).astype(np.int32)


def _average_current(ref, value):
    if value is not None:
        return value
    if "AVDRKCUR" in ref and ref.hdu("AVDRKCUR").read().sum() != 0:
        log.warning("dark_current: the AVDRKCUR image of %s is not used", ref.path)
        return None
    scalar = ref.get("AVDRKCUR", 0.0)
    if not isinstance(scalar, (int, float)) or isinstance(scalar, bool):
        raise ReferenceFileError(f"{ref.path}: header keyword AVDRKCUR = {scalar!r} should be a number")
    return float(scalar)

"""Reset-anomaly correction: the first groups of a MIRI integration lie off the ramp."""

from dataclasses import dataclass

import numpy as np

from jwcal.core.errors import ReferenceFileError
from jwcal.core.step import Ref, step


@dataclass(frozen=True)
class Frames:
    """Which frames of the reference an exposure needs.

    Attributes
    ----------
    first : int
        0-based number, in the exposure, of the file's first integration.
    nint : int
        Integrations the reference describes; the last stands for all later ones.
    ngroup : int
        Groups to correct in each integration.
    low, high : int
        Range of integrations of the reference to read, half-open.
    """

    first: int
    nint: int
    ngroup: int
    low: int
    high: int


def plan_frames(shape, first, reference_shape, nint=None, ngroup=None):
    """Choose the frames of a reset reference for a file.

    Parameters
    ----------
    shape : (int, int, ...)
        Integrations and groups of the file.
    first : int
        0-based number, in the exposure, of its first integration.
    reference_shape : (int, int, ...)
        Integrations and groups stored in the reference.
    nint, ngroup : int or None
        Those the reference declares valid; None means all stored.

    Returns
    -------
    Frames

    Raises
    ------
    ValueError
        If the reference declares more than it stores, or nothing.
    """
    nint = reference_shape[0] if nint is None else nint
    ngroup = reference_shape[1] if ngroup is None else ngroup
    if not (1 <= nint <= reference_shape[0] and 1 <= ngroup <= reference_shape[1]):
        raise ValueError(
            f"NINTS = {nint} and NGROUPS = {ngroup} do not fit {reference_shape[0]} x {reference_shape[1]} frames"
        )
    low, high = min(first, nint - 1), min(first + shape[0] - 1, nint - 1) + 1
    return Frames(first, nint, min(ngroup, shape[1]), low, high)


def subtract_reset(sci, pixeldq, anomaly, dq, frames, start=0):
    """Subtract the reset anomaly, in place.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Groups; DN.
    pixeldq : (ny, nx) uint32 numpy.ndarray
        Flags of the pixels; those of the reference are added.
    anomaly : (high - low, n, ny, nx) float32 numpy.ndarray
        Frames of the reference without NaN; DN.
    dq : (ny, nx) uint32 numpy.ndarray or None
        Flags of the reference.
    frames : Frames
        From `plan_frames`.
    start : int
        0-based number, in the file, of the first integration of `sci`.
    """
    if dq is not None:
        pixeldq |= dq
    for k in range(len(sci)):
        source = min(frames.first + start + k, frames.nint - 1) - frames.low
        sci[k, : frames.ngroup] -= anomaly[source]


def _load(ref, box, frames):
    index = (slice(frames.low, frames.high), slice(0, frames.ngroup))
    anomaly = ref.read("SCI", box, index=index, dtype="f4")
    np.copyto(anomaly, 0, where=np.isnan(anomaly))
    return {"SCI": anomaly, "DQ": ref.read("DQ", box, dtype="u4") if "DQ" in ref else None}


@step(
    "reset",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_RESET",
    refs=[Ref("reset", planes={"SCI": "f4", "DQ": "u4"}, missing="skip", load=_load)],
    changes=("SCI", "PIXELDQ"),
    uses=("SCI", "PIXELDQ"),
    instruments=("MIRI",),
)
def reset(tile, refs, p):
    """Subtract the reset anomaly from the first groups of MIRI integrations.

    Each integration of an exposure has its own correction as far as the reference goes; the
    last one serves all later integrations.  NaN in the reference counts as zero.  The flags of
    the reference are added to PIXELDQ.
    """
    subtract_reset(
        tile["SCI"], tile["PIXELDQ"], refs["reset"]["SCI"], refs["reset"]["DQ"], tile.plan, tile.i0
    )


@reset.setup
def _(exposure, refs, p):
    ref = refs["reset"]
    shape = ref.shape("SCI")
    if len(shape) != 4:
        raise ReferenceFileError(f"{ref.path}: SCI of a RESET reference has 4 axes, not {len(shape)}")
    if "DQ" in ref and len(ref.shape("DQ")) != 2:
        raise ReferenceFileError(
            f"{ref.path}: DQ of a RESET reference has 2 axes, not {len(ref.shape('DQ'))}"
        )
    first = exposure.meta.get("INTSTART", 1) - 1
    try:
        return plan_frames(exposure.shape, first, shape, ref.get("NINTS"), ref.get("NGROUPS"))
    except ValueError as exc:
        raise ReferenceFileError(f"{ref.path}: {exc}") from None

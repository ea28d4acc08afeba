"""Readouts whose lines are not those of the detector one after the other: multistripe and interleaved.

The image of the interleaved readout of NIRSpec (IRS2) has, on top of the normal rows, those of the
reference output and, between the normal ones, rows of reference pixels.  A multistripe subarray is
put together from stripes along the slow axis: a few lines at its start (reference pixels), then one
stripe after the other, each perhaps behind those first lines again.

Source: keyword dictionary of the observatory (MSTR_..., SSTR_...); the meaning of the keywords is that
of the calibration pipeline of the observatory, package ``jwst`` 3.0.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from jwcal.core.errors import InputError

DETECTOR_SIZE = 2048

# Rows and columns of the image in the interleaved readout; normal and reference samples in turn.
IRS2_FRAME = (3200, 2048)
IRS2_NORMAL = 16
IRS2_REFERENCE = 4


def normal_rows(detector):
    """Which image rows of the interleaved readout hold normal pixels.

    Parameters
    ----------
    detector : str
        NRS1, or NRS2, whose image is turned by half a circle against that of NRS1.

    Returns
    -------
    (3200,) bool numpy.ndarray
        False for the reference output and for interleaved reference pixels.
    """
    row = np.arange(IRS2_FRAME[0])
    place, half = row % (IRS2_NORMAL + IRS2_REFERENCE), IRS2_NORMAL // 2
    normal = (place < half) | (place >= half + IRS2_REFERENCE)
    normal[: IRS2_FRAME[0] // 5] = False
    return normal[::-1].copy() if detector == "NRS2" else normal


def lines_of(exposure, number=0):
    """Where the lines of an exposure are in references of the whole readout.

    Parameters
    ----------
    exposure : Exposure
        Multistripe, or interleaved after its reference pixels were taken out, or an ordinary one.
    number : int
        Which superstripe, from 0.

    Returns
    -------
    (int, (n,) intp numpy.ndarray, int) or None
        Axis of the image, row or column of each line in such a reference, and how many of them
        such a reference has; None for an ordinary exposure.
    """
    stripes = stripe_lines(exposure.meta, exposure.frame, number)
    if stripes is not None:
        return (*stripes, DETECTOR_SIZE)
    square = exposure.frame == (DETECTOR_SIZE, DETECTOR_SIZE)
    if square and "IRS2" in str(exposure.meta.get("READPATT", "")).upper():
        return 0, np.flatnonzero(normal_rows(exposure.meta.get("DETECTOR"))), IRS2_FRAME[0]
    return None


def stripe_lines(meta, frame, number=0):
    """Where the lines of a multistripe subarray lie on the detector.

    Parameters
    ----------
    meta : mapping
        Keywords MSTR_RD1, MSTR_SK1, MSTR_RD2, MSTR_SK2, MSTR_RPT, MSTR_ILV, SSTR_NST, SSTR_STP, SLOWAXIS,
        SUBSTRT1, SUBSTRT2, SUBARRAY.
    frame : (int, int)
        Rows and columns of the subarray.
    number : int
        Which superstripe, from 0.

    Returns
    -------
    (int, (n,) intp numpy.ndarray) or None
        Axis of the image (0: rows, 1: columns), and the 0-based row or column of the whole detector
        for each of the subarray; None if the readout is an ordinary one.

    Raises
    ------
    InputError
        If the keywords do not describe the frame.
    """
    found = stripe_reads(meta, frame, number)
    if found is None:
        return None
    axis, reads = found
    lines = np.concatenate([np.arange(read.line, read.line + read.number) for read in reads])
    return axis, (DETECTOR_SIZE - 1 - lines)[::-1].copy() if meta["SLOWAXIS"] < 0 else lines


class Read(NamedTuple):
    """Lines read one after the other.

    Attributes
    ----------
    line, number : int
        Number of the first on the detector, in reading order, and how many.
    first : bool
        Whether they are the lines at the start of the subarray, which come again with every repetition.
    """

    line: int
    number: int
    first: bool


def stripe_reads(meta, frame, number=0):
    """How the lines of a multistripe subarray were read; see `stripe_lines`.

    Returns
    -------
    (int, list of Read) or None
        Slow axis of the image (0: along the rows, 1: along the columns), and what was read in order.
    """
    if meta.get("MSTR_RD1") is None and not meta.get("SSTR_NST"):
        return None
    superstripes = (meta.get("SSTR_NST") or 0) > 0
    needed = ("MSTR_RD1", "MSTR_SK1", "MSTR_RD2", "MSTR_SK2", *(("SSTR_STP",) if superstripes else ()))
    missing = [key for key in needed if meta.get(key) is None]
    if missing:
        raise InputError(f"multistripe readout: header keyword {', '.join(missing)} is missing")
    slow = meta.get("SLOWAXIS")
    if slow not in (-2, -1, 1, 2):
        raise InputError("multistripe readout (MSTR_RD1) needs the keyword SLOWAXIS")
    axis = 0 if abs(slow) == 2 else 1
    count = frame[axis]
    start = meta.get("SUBSTRT2" if axis == 0 else "SUBSTRT1", 1)
    # Early exposures count the start from the wrong end; those of the DHS always begin at the edge.
    if "DHS" in str(meta.get("SUBARRAY", "")).upper() or (slow < 0 and start == 1):
        start = 0
    else:
        start = DETECTOR_SIZE - start if slow < 0 else start - 1
    advance = meta["SSTR_STP"] if superstripes else 0
    reads = _in_order(start, count, meta, advance, number)
    ends = [read.line + read.number for read in reads]
    inside = min(read.line for read in reads) >= 0 and max(ends) <= DETECTOR_SIZE
    if sum(read.number for read in reads) != count or not inside:
        raise InputError(
            f"multistripe readout: MSTR_RD1, MSTR_SK1, MSTR_RD2, MSTR_SK2{', SSTR_STP' if superstripes else ''}"
            f" do not give the {count} {'rows' if axis == 0 else 'columns'} of the subarray"
        )
    return axis, reads


def _in_order(start, count, meta, advance, number):
    """Give the reads in order, until there are `count` lines or more."""
    first, skip, stripe, gap = (meta[key] for key in ("MSTR_RD1", "MSTR_SK1", "MSTR_RD2", "MSTR_SK2"))
    repeats, advances = (meta.get("MSTR_RPT") or 0) > 0, bool(meta.get("MSTR_ILV"))
    # Superstripes that do not say how much of each position is read leave out nothing.
    stripe = stripe if stripe > 0 else advance
    if stripe <= 0:
        raise InputError(f"multistripe readout: MSTR_RD2 = {stripe} must be above 0")
    reads: list[Read] = []
    at, done, repeat = start, 0, 0
    while done < count:
        if not repeat or repeats:
            if first > 0:
                reads.append(Read(start, first, first=True))
                done += first
            # As in the official package, of stripes that advance only the first follows the superstripe.
            shift = repeat * (stripe + gap) if advances and repeat else advance * number
            at = start + max(first, 0) + skip + shift
        reads.append(Read(at, stripe, first=False))
        done += stripe
        at += stripe + gap
        repeat += 1
    return reads


def runs(lines):
    """Ranges of positions over which lines follow each other without a gap.

    Parameters
    ----------
    lines : (n,) intp numpy.ndarray
        From `stripe_lines`.

    Returns
    -------
    list of (int, int)
        Half-open.
    """
    edges = np.flatnonzero(np.diff(lines) != 1) + 1
    bounds = [0, *edges.tolist(), len(lines)]
    return list(pairwise(bounds))

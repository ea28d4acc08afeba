"""Readouts whose lines are not those of the detector one after the other: multistripe and interleaved.

The image of the interleaved readout of NIRSpec (IRS2) has, on top of the normal rows, those of the
reference output and, between the normal ones, rows of reference pixels.  A multistripe subarray is
put together from stripes along the slow axis: a few lines at its start (reference pixels), then one
stripe after the other, each perhaps behind those first lines again.

Source: keyword dictionary of the observatory (MSTR_..., SSTR_...); the meaning of the keywords is that
of the calibration pipeline of the observatory, package ``jwst`` 3.0.
"""

from itertools import pairwise

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


def lines_of(exposure):
    """Where the lines of an exposure are in references of the whole readout.

    Parameters
    ----------
    exposure : Exposure
        Multistripe, or interleaved after its reference pixels were taken out, or an ordinary one.

    Returns
    -------
    (int, (n,) intp numpy.ndarray, int) or None
        Axis of the image, row or column of each line in such a reference, and how many of them
        such a reference has; None for an ordinary exposure.
    """
    stripes = stripe_lines(exposure.meta, exposure.frame)
    if stripes is not None:
        return (*stripes, DETECTOR_SIZE)
    square = exposure.frame == (DETECTOR_SIZE, DETECTOR_SIZE)
    if square and "IRS2" in str(exposure.meta.get("READPATT", "")).upper():
        return 0, np.flatnonzero(normal_rows(exposure.meta.get("DETECTOR"))), IRS2_FRAME[0]
    return None


def stripe_lines(meta, frame):
    """Where the lines of a multistripe subarray lie on the detector.

    Parameters
    ----------
    meta : mapping
        Keywords MSTR_RD1, MSTR_SK1, MSTR_RD2, MSTR_SK2, MSTR_RPT, MSTR_ILV, SSTR_NST, SLOWAXIS, SUBSTRT1,
        SUBSTRT2, SUBARRAY.
    frame : (int, int)
        Rows and columns of the subarray.

    Returns
    -------
    (int, (n,) intp numpy.ndarray) or None
        Axis of the image (0: rows, 1: columns), and the 0-based row or column of the whole detector
        for each of the subarray; None if the readout is an ordinary one.

    Raises
    ------
    InputError
        If the keywords do not describe the frame, or several positions of the stripes are to be put
        together (superstripes).
    """
    first = meta.get("MSTR_RD1")
    if first is None:
        return None
    positions = meta.get("SSTR_NST") or 0
    if positions > 0:
        raise InputError(
            f"superstripe exposures (SSTR_NST = {positions}) are not supported: their integrations are parts of"
            " a frame that has to be put together first"
        )
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
    lines = _in_order(first, start, count, meta)
    if len(lines) != count or lines.min() < 0 or lines.max() >= DETECTOR_SIZE:
        raise InputError(
            f"multistripe readout: MSTR_RD1, MSTR_SK1, MSTR_RD2, MSTR_SK2 do not give the {count}"
            f" {'rows' if axis == 0 else 'columns'} of the subarray"
        )
    return axis, (DETECTOR_SIZE - 1 - lines)[::-1].copy() if slow < 0 else lines


def _in_order(first, start, count, meta):
    """Detector lines in the order in which they are read, until there are `count` or more."""
    skip, stripe, gap = meta["MSTR_SK1"], meta["MSTR_RD2"], meta["MSTR_SK2"]
    repeats, advances = (meta.get("MSTR_RPT") or 0) > 0, bool(meta.get("MSTR_ILV"))
    if stripe <= 0:
        raise InputError(f"multistripe readout: MSTR_RD2 = {stripe} must be above 0")
    lines: list = []
    at, shift = start, skip
    while len(lines) < count:
        if not lines or repeats:
            lines += range(start, start + first)
            at = start + first + shift
            if advances:
                shift += gap + stripe
        lines += range(at, at + stripe)
        at += stripe + gap
    return np.array(lines, np.intp)


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

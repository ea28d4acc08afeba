"""Put the superstripes of an exposure together: frames, flags, times and keywords.

A superstripe exposure reads a frame stripe by stripe, each stripe in an integration of its own: lines at
the start of the subarray (reference pixels), then lines of the stripe, both perhaps several times in a
group.  Once the reference pixels have been used, the stripes of a frame become one integration, and what
was read several times in a group as many groups.

Source: the meaning of the keywords, the frames, the read times and the tables are those of the
calibration pipeline of the observatory, package ``jwst`` 3.0.
"""

import logging
from dataclasses import dataclass

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import InputError
from jwcal.core.stripes import DETECTOR_SIZE, stripe_reads
from jwcal.detector1.read_times import asdf_table
from jwcal.detector1.refpix.readout import Readout, describe

log = logging.getLogger(__name__)

# Subarrays whose frames have all lines of the detector along the slow axis.
_WHOLE = ("SUB17STRIPE_SOSS", "SUB60STRIPE_SOSS", "SUB204STRIPE_SOSS", "SUB680STRIPE_SOSS")
_KEYWORDS = (
    "MSTR_RD1", "MSTR_SK1", "MSTR_RD2", "MSTR_SK2", "MSTR_RPT", "MSTR_ILV", "SSTR_NST", "SSTR_STP",
)  # fmt: skip
_TIMES = [f"int_{part}_{scale}" for scale in ("MJD_UTC", "BJD_TDB") for part in ("start", "mid", "end")]
# Clock ticks between lines, and of a pixel in seconds.
_LINE_PAD = 12
_TICK = 10.0e-6


@dataclass
class Superstripes:
    """Where the lines of superstripes go.

    Attributes
    ----------
    readout : Readout
        How one of them was read.
    axis : int
        Slow axis of the image: 0 along the rows, 1 along the columns.
    places : list of list of (slice, slice)
        For each stripe and each time its lines are read: lines in its image, and in that of the frame.
    size : int
        Lines of the frame.
    start : int
        1-based place of the first image line of the frame on the detector.
    """

    readout: Readout
    axis: int
    places: list
    size: int
    start: int

    @property
    def repeats(self):
        """How often lines of a stripe are read in a group."""
        return len(self.places[0])


def describe_superstripes(exposure):
    """Work out how the superstripes of an exposure make up its frames.

    Parameters
    ----------
    exposure : Exposure
        Of superstripes.

    Returns
    -------
    Superstripes

    Raises
    ------
    InputError
        If keywords or counts do not describe the exposure.
    """
    meta, frame, stripes = exposure.meta, exposure.frame, exposure.stripes
    if exposure.shape[0] % stripes:
        raise InputError(f"{exposure.shape[0]} integrations are no whole frames of {stripes} superstripes")
    found = []
    for number in range(stripes):
        axis, reads = stripe_reads(meta, frame, number)
        ends = np.cumsum([read.number for read in reads])
        found.append(
            [
                (int(end) - read.number, read.line, read.number)
                for read, end in zip(reads, ends, strict=True)
                if not read.first
            ]
        )
    if len({line for _, line, _ in found[0]}) > 1:
        if not meta.get("MSTR_RPT"):
            raise InputError(
                "superstripes of several regions that are not repeated (MSTR_RPT = 0) are not supported"
            )
        log.warning(
            "refpix: superstripes of several regions: each group is made one group per region, as in the official"
            " package"
        )
    lines = [(line, line + count) for stripe in found for _, line, count in stripe]
    first, last = min(a for a, _ in lines), max(b for _, b in lines)
    if meta.get("SUBARRAY") in _WHOLE:
        first, last = 0, DETECTOR_SIZE
    backwards, size = meta["SLOWAXIS"] < 0, last - first

    def place(at, count, length):
        return slice(length - at - count, length - at) if backwards else slice(at, at + count)

    places = [
        [(place(at, n, frame[axis]), place(line - first, n, size)) for at, line, n in stripe]
        for stripe in found
    ]
    start = DETECTOR_SIZE - last + 1 if backwards else first + 1
    return Superstripes(describe(meta, frame, exposure.substrt), axis, places, size, start)


def assemble(planes, layout):
    """Put the stripes of one frame together.

    Parameters
    ----------
    planes : mapping
        SCI and GROUPDQ (nstripe, ngroup, ny, nx), PIXELDQ (nstripe, ny, nx), perhaps ZEROFRAME like PIXELDQ.
    layout : Superstripes
        From `describe_superstripes`.

    Returns
    -------
    dict of str to numpy.ndarray
        SCI and GROUPDQ (1, ngroup * repeats, ny, nx), PIXELDQ (ny, nx), ZEROFRAME (1, ny, nx).  Where no
        stripe reads, SCI and ZEROFRAME are NaN and PIXELDQ is REFERENCE_PIXEL.  Where stripes overlap the
        last counts; of lines read several times PIXELDQ and ZEROFRAME are those of the last.
    """
    sci, repeats = planes["SCI"], layout.repeats
    frame = list(sci.shape[-2:])
    frame[layout.axis] = layout.size
    lead = (1, sci.shape[1] * repeats)
    out = {
        "SCI": np.full((*lead, *frame), np.nan, np.float32),
        "GROUPDQ": np.zeros((*lead, *frame), np.uint8),
        "PIXELDQ": np.full(frame, DQ["REFERENCE_PIXEL"], np.uint32),
    }
    if "ZEROFRAME" in planes:
        out["ZEROFRAME"] = np.full((1, *frame), np.nan, np.float32)
    every = slice(None)
    for repeat in range(repeats):
        for stripe, places in enumerate(layout.places):
            source, target = places[repeat]
            here, there = ((part, every) if layout.axis == 0 else (every, part) for part in (source, target))
            for name in ("SCI", "GROUPDQ"):
                out[name][0, repeat::repeats, *there] = planes[name][stripe, :, *here]
            for name in out.keys() & {"PIXELDQ", "ZEROFRAME"}:
                out[name][..., *there] = planes[name][stripe, *here]
    return out


def settle(exposure, layout):
    """Make keywords and tables those of the frames; the planes are already.

    Parameters
    ----------
    exposure : Exposure
        Changed in place; becomes an ordinary ramp.
    layout : Superstripes
        From `describe_superstripes`.
    """
    meta, stripes = exposure.meta, exposure.stripes
    replaced = {"GROUP", "INT_TIMES", "INT_TIMES_STRIPE"}
    tables = _integration_times(exposure, stripes)
    if layout.repeats > 1:
        times = read_times(meta, exposure.frame, layout)
        tables.append(("ASDF", asdf_table(times)))
        replaced.add("ASDF")
    counted = meta.get("NINTS", exposure.shape[0] * stripes)
    first, last = meta.get("INTSTART", 1), meta.get("INTEND", counted)
    for key, value in {"NINTS": counted, "INTSTART": first, "INTEND": last}.items():
        meta.set(key, -(-value // stripes))
    meta.set("NGROUPS", exposure.shape[1])
    meta.set("SUBSIZE2", exposure.frame[0])
    meta.set("SUBSIZE1", exposure.frame[1])
    meta.set("SUBSTRT2" if layout.axis == 0 else "SUBSTRT1", layout.start)
    exposure.product = "ramp"
    for header in (meta.primary, meta.sci):
        for key in _KEYWORDS:
            if key in header:
                del header[key]
    exposure.extras = [hdu for hdu in exposure.extras if hdu.name not in replaced]
    exposure.tables = [table for table in exposure.tables if table[0] not in replaced] + tables


def _integration_times(exposure, stripes):
    """INT_TIMES of the frames, and what it was for the stripes."""
    old = exposure.table("INT_TIMES")
    if old is None or len(old) == 0:
        return []
    if len(old) % stripes:
        raise InputError(f"INT_TIMES of {len(old)} rows is not for whole frames of {stripes} superstripes")
    missing = [name for name in _TIMES if name not in old.dtype.names]
    if missing:
        raise InputError(f"INT_TIMES has no column {', '.join(missing)}")
    number = np.arange(len(old) // stripes) + -(-exposure.meta.get("INTSTART", 1) // stripes)
    columns = [(name, "f8") for name in _TIMES]
    single = np.zeros(len(old), [("integration_number", "i4"), ("stripe_number", "i4"), *columns])
    frames = np.zeros(len(number), [("integration_number", "i4"), *columns])
    single["integration_number"], frames["integration_number"] = np.repeat(number, stripes), number
    single["stripe_number"] = np.arange(len(old)) % stripes + 1
    for name in _TIMES:
        single[name] = old[name]
    for scale in ("MJD_UTC", "BJD_TDB"):
        start, end = old[f"int_start_{scale}"][::stripes], old[f"int_end_{scale}"][stripes - 1 :: stripes]
        frames[f"int_start_{scale}"], frames[f"int_end_{scale}"] = start, end
        frames[f"int_mid_{scale}"] = (end - start) / 2.0 + start
    return [("INT_TIMES", frames), ("INT_TIMES_STRIPE", single)]


def read_times(meta, frame, layout):
    """Return when the lines of a stripe are read, if they are several times in a group.

    Parameters
    ----------
    meta : mapping
        Keywords NFRAMES, GROUPGAP, NGROUPS, NOUTPUTS, MSTR_RD1, MSTR_RD2, before they are changed.
    frame : (int, int)
        Rows and columns of the frame.
    layout : Superstripes
        From `describe_superstripes`.

    Returns
    -------
    list of list of float
        For each group of the frame the time of each read averaged in it, in seconds.
    """
    nframes, gap, outputs = meta["NFRAMES"], meta["GROUPGAP"], meta["NOUTPUTS"]
    columns, lines = frame[1 - layout.axis], layout.readout.frame[layout.axis]
    more_lines, more_ticks = (1, 1) if outputs == 4 else (2 if outputs == 1 and columns >= 9 else 3, 0)

    def duration(lines, ticks=0):
        return ((columns / outputs + _LINE_PAD) * lines + ticks) * _TICK

    read = meta["MSTR_RD1"] + max(meta["MSTR_RD2"], 0)
    whole, again = duration(lines + more_lines, more_ticks), duration(read)
    # The first read of a group comes after a reset of as many lines as it takes.
    steps = [duration(read + more_lines, more_ticks)] + [again] * (lines // read - 1)
    times, elapsed = [], 0.0
    for _ in range(meta["NGROUPS"]):
        for step in steps:
            times.append([elapsed + step + k * whole for k in range(nframes)])
            elapsed += step
        elapsed += whole * (nframes - 1 + gap)
    return times

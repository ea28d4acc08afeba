"""Writing reference files in the official formats."""

import logging
from pathlib import Path

import numpy as np

from jwcal import __version__
from jwcal.core.dq import DQ, MEANING
from jwcal.core.errors import InputError, UsageError
from jwcal.core.header import Header

log = logging.getLogger(__name__)

MODELS = {
    "dark": "DarkModel",
    "superbias": "SuperBiasModel",
    "readnoise": "ReadnoiseModel",
    "gain": "GainModel",
    "mask": "MaskModel",
    "saturation": "SaturationModel",
    "linearity": "LinearityModel",
    "flat": "FlatModel",
}
_COPIED = ("CHANNEL", "MODULE", "BAND", "SUBARRAY", "SUBSTRT1", "SUBSTRT2")
_COMMENTS = {
    "REFTYPE": "Kind of reference file",
    "DESCRIP": "Description of the reference file",
    "AUTHOR": "Author of the reference file",
    "PEDIGREE": "Origin of the reference file",
    "USEAFTER": "Use after date of the reference file",
    "BUNIT": "Physical units of the array values",
}


def dq_definition(names):
    """Table that says which flag is which bit, in the standard bits.

    Parameters
    ----------
    names : iterable of str
        Flags a reference file uses.

    Returns
    -------
    numpy.ndarray
        Structured: BIT, VALUE, NAME, DESCRIPTION; by rising bit.
    """
    rows = sorted((DQ[name], name) for name in names)
    table = np.zeros(len(rows), [("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")])
    for k, (value, name) in enumerate(rows):
        table[k] = (value.bit_length() - 1, value, name, MEANING[name])
    return table


def taken(exposure):
    """Start of an exposure, as `datetime.datetime`; a missing or wrong date is an InputError."""
    import datetime as dt

    date, time = exposure.meta["DATE-OBS"], exposure.meta.get("TIME-OBS") or "00:00:00"
    try:
        return dt.datetime.fromisoformat(f"{str(date).strip()}T{str(time).strip()}")
    except ValueError:
        raise InputError(
            f"{exposure.label}: header keywords DATE-OBS, TIME-OBS = {date!r}, {time!r} are no time"
        ) from None


def _labels(request, kind, exposures):
    times = sorted(taken(exposure) for exposure in exposures)
    simulated = str(exposures[0].meta.get("ORIGIN", "")).strip().upper() == "SIMULATED"
    pedigree = "SIMULATION" if simulated else f"INFLIGHT {times[0]:%Y-%m-%d} {times[-1]:%Y-%m-%d}"
    meta = exposures[0].meta
    return {
        "DESCRIP": request.description
        or f"{kind} of {meta['DETECTOR']} {meta['SUBARRAY']} from {len(exposures)} exposures",
        "AUTHOR": request.author or "jwcal refs make",
        "PEDIGREE": request.pedigree or pedigree,
        "USEAFTER": useafter(request.useafter) if request.useafter else f"{times[0]:%Y-%m-%dT%H:%M:%S}",
    }


def useafter(text):
    """Official form of a date and time; a text that is none is a UsageError."""
    import datetime as dt

    try:
        return f"{dt.datetime.fromisoformat(text.strip()):%Y-%m-%dT%H:%M:%S}"
    except ValueError:
        raise UsageError(f"{text!r} is no time of the form 2024-01-31T12:00:00") from None


def reference_header(request, kind, exposures, extra, rows=(), notes=()):
    """Primary header of a reference file.

    Parameters
    ----------
    request : Request
    kind : str
        One of `MODELS`.
    exposures : list of Exposure
        The inputs.
    extra : dict
        Keywords this kind has beside the common ones; None values are left out.
    rows : list of dict
        What ran before (`jwcal.core.provenance.record`).
    notes : iterable of str
        Lines of HISTORY about how it was made and what came of it.

    Returns
    -------
    Header

    Raises
    ------
    InputError
        If an exposure lacks a keyword it must have.
    """
    from jwcal.core.exposure import keywords
    from jwcal.core.output import stamp

    known = keywords()
    first = exposures[0]
    meta = first.meta
    miri = meta["INSTRUME"] == "MIRI"
    ny, nx = first.frame
    values = {
        "TELESCOP": str(meta.get("TELESCOP", "JWST")),
        "INSTRUME": meta["INSTRUME"],
        "DETECTOR": meta["DETECTOR"],
        **{key: meta.get(key) for key in _COPIED},
        "SUBSIZE1": meta.get("SUBSIZE1", nx),
        "SUBSIZE2": meta.get("SUBSIZE2", ny),
        "FASTAXIS": meta["FASTAXIS"],
        "SLOWAXIS": meta["SLOWAXIS"],
        "REFTYPE": kind.upper(),
        "DATAMODL": "DarkMIRIModel" if kind == "dark" and miri else MODELS[kind],
        "FILENAME": f"{kind}.fits" if request.output == "-" else Path(request.output).name,
        **_labels(request, kind, exposures),
        "ORIGIN": meta.get("ORIGIN"),
        **extra,
    }
    header = Header()
    for key, value in values.items():
        if value is not None:
            header.set(key, value, known.get(key, {}).get("comment") or _COMMENTS.get(key))
    stamp(header)
    header.add_history(f"Made by jwcal {__version__}, refs make {kind}")
    for line in (*notes, *request.history):
        header.add_history(line)
    done = ", ".join(row["STEP"] for row in rows if row["STATUS"] == "COMPLETE")
    if done:
        header.add_history(f"Steps run before: {done}")
    for exposure in exposures:
        header.add_history(f"Input: {Path(exposure.label).name}")
    return header


def add_images(out, header, planes, flags=()):
    """Lay out a reference file.

    Parameters
    ----------
    out : writer of `jwcal.core.fits.create_fits`
    header : Header
        Primary.
    planes : dict of str to (shape, dtype, unit)
        In the order of the file.
    flags : iterable of str
        Flags of the DQ_DEF table; none leaves it out.

    Returns
    -------
    dict of str to slot
    """
    out.add(header)
    slots = {}
    for name, (shape, dtype, unit) in planes.items():
        own = Header()
        own.set("EXTNAME", name, "Name of the extension")
        if unit:
            own.set("BUNIT", unit, "Physical units of the array values")
        slots[name] = out.add(own, shape, np.dtype(dtype))
    if flags:
        out.add_table("DQ_DEF", dq_definition(flags))
    return slots


def write_planes(out, header, planes, flags=(), units=None):
    """Write a reference file whose planes are in memory.

    Parameters
    ----------
    out : writer of `jwcal.core.fits.create_fits`
    header : Header
    planes : dict of str to numpy.ndarray
    flags : iterable of str
        Flags of the DQ_DEF table.
    units : dict of str to str, optional
        BUNIT by plane.
    """
    units = units or {}
    slots = add_images(
        out, header, {name: (a.shape, a.dtype, units.get(name)) for name, a in planes.items()}, flags
    )
    for name, array in planes.items():
        slots[name].write(np.ascontiguousarray(array))
    out.commit()

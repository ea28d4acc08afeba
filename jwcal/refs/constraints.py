"""What is asked of a reference file's header: keywords, values, times, frame."""

import re
import tomllib
from functools import cache

from jwcal.core.packaged import text_of
from jwcal.refs.values import parse_time

_USEAFTER = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\Z", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)
# Rows of a NIRSpec frame with the interleaved reference pixels of IRS2.
INTERLEAVED = 3200


@cache
def table():
    """Rules for reference files (``data/certify.toml``)."""
    return tomllib.loads(text_of("data", "certify.toml"))


@cache
def detectors():
    """Detectors and subarrays (``data/detectors.toml``)."""
    return tomllib.loads(text_of("data", "detectors.toml"))


def rules_of(kind, instrument):
    """Rules for a type, those of the instrument put over the general ones.

    Parameters
    ----------
    kind : str
        Reference type in lower case.
    instrument : str
        Name in upper case.

    Returns
    -------
    dict or None
        None for a type without rules.
    """
    rules = table()["type"].get(kind)
    if rules is None:
        return None
    return {**rules, **rules.get("instrument", {}).get(instrument, {})}


def word(header, key):
    """Value of a keyword as text in upper case without blanks, "" if it is absent."""
    value = header.get(key)
    if isinstance(value, bool):
        return "T" if value else "F"
    return "" if value is None or isinstance(value, list) else str(value).strip().upper()


def is_wild(value):
    """Whether a value stands for any or for none."""
    return value in table()["header"]["wild"]


def options(header, key):
    """Values that a file is for: of its pattern keyword (``P_...``) if it has one, else of the keyword.

    Returns
    -------
    list of str
        Upper case, without those that stand for any.
    """
    text = word(header, "P_" + key[:6]) or word(header, key)
    return [o for o in (p.strip() for p in text.split("|")) if o and not is_wild(o)]


def check_header(report, header):
    """Check the keywords that all reference files share.

    Parameters
    ----------
    report : jwcal.refs.certify.Report
        Takes the findings.
    header : mapping
        Values by FITS keyword; HISTORY is a list.
    """
    general = table()["header"]
    for key in general["required"]:
        if not (header.get(key) if key == "HISTORY" else word(header, key)):
            report.error("keyword", key, "is missing")
    for key in general["wanted"]:
        if not word(header, key) and not report.kind.startswith("pars-"):
            report.warning("keyword", key, "is missing")
    _check_values(report, header)
    if word(header, "USEAFTER"):
        check_useafter(report, str(header.get("USEAFTER")).strip())
    if word(header, "PEDIGREE"):
        _check_pedigree(report, str(header.get("PEDIGREE")))


def check_useafter(report, text):
    """Check the time from which a file is to be used."""
    try:
        parse_time(text.replace("T", " ") if _USEAFTER.match(text) else text)
    except ValueError:
        report.error("useafter", "USEAFTER", f"{text!r} is no time; YYYY-MM-DDTHH:MM:SS is")
        return
    if not _USEAFTER.match(text):
        report.warning("useafter", "USEAFTER", f"{text!r} is not in the form YYYY-MM-DDTHH:MM:SS")


def _check_pedigree(report, text):
    words = text.upper().split()
    known = table()["header"]["pedigree"]
    if words[0] not in known:
        report.error("pedigree", "PEDIGREE", f"{text!r} does not begin with one of {', '.join(known)}")
        return
    if words[0] == "INFLIGHT" or len(words) > 1:
        days = [d for d in words[1:] if d != "-"]
        if len(days) != 2 or not all(_DAY.match(d) and _is_day(d) for d in days):
            report.error(
                "pedigree", "PEDIGREE", f"{text!r} is not of the form {words[0]} YYYY-MM-DD YYYY-MM-DD"
            )
        elif days[0] > days[1]:
            report.error("pedigree", "PEDIGREE", f"{text!r} ends before it begins")


def _is_day(text):
    try:
        parse_time(text.replace("-", "/"))
    except ValueError:
        return False
    return True


def _check_values(report, header):
    allowed = {**table()["values"], **table()["instrument"].get(report.instrument, {}).get("values", {})}
    for key, values in allowed.items():
        for value in options(header, key):
            if value not in values:
                hint = ""
                if key == "DETECTOR" and report.instrument:
                    hint = f"; {report.instrument} has {', '.join(values)}"
                report.error("value", key, f"{value!r} is not an allowed value{hint}")


def check_frame(report, header, rules):
    """Check subarray, its corner and size, and the axes of readout.

    Returns
    -------
    tuple of (int, int) or None
        Rows and columns that the planes should have, None if the header does not say.
    """
    missing = [key for key in table()["header"]["frame"] if header.get(key) is None]
    if missing:
        # The jwst rules ask for them in all modes of MIRI, and in imaging modes of the others.
        add = report.error if report.instrument == "MIRI" else report.warning
        add("frame", ",".join(missing), "missing: subarray or readout axes are not told")
    subarray = word(header, "SUBARRAY")
    if rules.get("not_generic") and subarray in ("GENERIC", "N/A"):
        report.error("frame", "SUBARRAY", f"{subarray!r}: a {report.kind.upper()} is for one subarray")
    numbers = {}
    for key in ("SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2"):
        value = header.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            report.error("frame", key, f"{value!r} is not a number of pixels")
        else:
            numbers[key] = value
    _check_axes(report, header)
    corner, size = (
        tuple(numbers[key + axis] for axis in "12" if key + axis in numbers) for key in ("SUBSTRT", "SUBSIZE")
    )
    if len(numbers) == 4:
        _check_corner(report, word(header, "DETECTOR"), subarray, corner, size)
    return size[::-1] if len(size) == 2 else None


def detector_size(instrument):
    """Rows and columns of a detector, None for an unknown instrument."""
    entry = detectors()["instrument"].get(instrument.lower())
    return entry and (entry["rows"], entry["columns"])


def _check_corner(report, detector, subarray, corner, size):
    whole = detector_size(report.instrument)
    if whole is None:
        return
    for axis, pixels in ((0, whole[1]), (1, whole[0])):
        longest = INTERLEAVED if report.instrument == "NIRSPEC" else pixels
        if corner[axis] + size[axis] - 1 > longest:
            report.error(
                "frame",
                f"SUBSTRT{axis + 1}",
                f"{corner[axis]} + SUBSIZE{axis + 1} {size[axis]} goes beyond the {pixels} pixels of the detector",
            )
    if subarray == "FULL" and report.instrument != "NIRSPEC" and (corner, size) != ((1, 1), whole[::-1]):
        report.error(
            "frame",
            "SUBARRAY",
            f"FULL is {whole[1]} x {whole[0]} at (1, 1), not {size[0]} x {size[1]} at {corner}",
        )
    known = detectors()["detector"].get(detector, {}).get("subarrays", {}).get(subarray)
    if known and (tuple(known[:2]), tuple(known[2:4])) != (corner, size):
        report.warning(
            "frame",
            "SUBARRAY",
            f"{subarray} of {detector} is {known[2]} x {known[3]} at ({known[0]}, {known[1]}),"
            f" not {size[0]} x {size[1]} at {corner}",
        )


def _check_axes(report, header):
    detector = word(header, "DETECTOR")
    known = detectors()["detector"].get(detector)
    if known is None:
        return
    for key in ("FASTAXIS", "SLOWAXIS"):
        value = header.get(key)
        if value is not None and value != known[key.lower()]:
            report.error("frame", key, f"{value!r} is wrong for {detector}, which has {known[key.lower()]}")

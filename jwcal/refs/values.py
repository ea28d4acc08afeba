"""Values and times of headers in the form in which the rules of the reference system compare them."""

import datetime as dt
import re

UNDEFINED = "UNDEFINED"
# What stands for no file, and for no answer.
NA_VALUES = frozenset(("N/A", "TEMP_N/A", "n/a", "temp_n/a"))
OMIT_VALUES = frozenset(("OMIT", "TEMP_OMIT", "omit", "temp_n/a"))
SPECIAL_VALUES = NA_VALUES | OMIT_VALUES

_NUMBER = re.compile(r"(?:[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?|[+-]?[0-9]+\.)\Z")
_ANYTHING = re.compile(r"-2147483648.0|\(\)|N/A|NOT APPLICABLE|NOT_APPLICABLE\Z")
_RENAMED = {"ANY": "*", "4294967295.0": "-1.0", "TRUE": "T", "FALSE": "F"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d(?:\.\d*)?)\Z", re.ASCII)
_WITH_T = re.compile(r"\d{4}[-/]\d\d[-/]\d\dT\d\d(?::\d\d){1,2}(?:\.\d{1,6})?$")
_LETTERS = re.compile(r"[A-Za-z]{3,10}")
_DATES = (
    (re.compile(r"(?P<m>\d\d)/(?P<d>\d\d)/(?P<y>\d{4})$"), ""),
    (re.compile(r"(?P<y>\d{4})/(?P<m>\d\d)/(?P<d>\d\d)$"), ""),
    (re.compile(r"(?P<d>\d\d)/(?P<m>\d\d)/(?P<y>9\d)$"), "19"),
    (re.compile(r"(?P<d>\d\d)/(?P<m>\d\d)/(?P<y>[0-3]\d)$"), "20"),
)
_VERSION = re.compile(r"(\d{1,8}(?:\.\d{1,8}(?:\.\d{1,8})?)?)[a-zA-Z0-9_\+\-\.]{0,128}$", re.ASCII)
_COMPACT = re.compile(r"\d{8}:\d{6}$")

_KNOWN: dict = {}


def condition(value):
    """Value as the rules compare it: upper case, numbers as floats, N/A and * for their synonyms.

    Parameters
    ----------
    value : str, int, float or bool
        Value of a header keyword, or one field of a rule.

    Returns
    -------
    str
    """
    if type(value) is not str:
        value = str(value)
    found = _KNOWN.get(value)
    if found is None:
        found = _condition(value)
        if len(_KNOWN) > 20000:
            _KNOWN.clear()
        _KNOWN[value] = found
    return found


def _condition(value):
    value = value.strip().upper()
    if _NUMBER.match(value):
        value = str(float(value))
    if _ANYTHING.match(value):
        value = "N/A"
    return _RENAMED.get(value, value)


def parse_time(text):
    """Time in any of the forms the reference system takes.

    Parameters
    ----------
    text : str
        Date and time, such as "2022-07-01 12:00:00", "12/21/1999 05:42", "Feb 08 2006 01:02AM".

    Returns
    -------
    datetime.datetime
        Without a zone, whole microseconds.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    found = _ISO.match(text)
    if found:
        year, month, day, hour, minute, second = found.groups()
        return _datetime(year, month, day, int(hour), int(minute), float(second))
    if UNDEFINED in text:
        raise ValueError("date or time is UNDEFINED")
    text = text.removesuffix(" UT")
    if _WITH_T.match(text):
        text = text.replace("T", " ")
    return _with_month_name(text) if _LETTERS.search(text) else _numerical(text)


def format_time(text):
    """Time as "YYYY-MM-DD HH:MM:SS", with microseconds if there are any; see `parse_time`."""
    return parse_time(text).isoformat(" ")


def _datetime(year, month, day, hour, minute, second):
    whole = int(second)
    micro = int((second - whole) * 10**6)
    return dt.datetime(int(year), int(month), int(day), hour, minute, whole, micro)  # noqa: DTZ001 - all are UTC


def _clock(text):
    """Hour, minute and second of a time of day, with or without AM and PM."""
    text = text.strip()
    half = text[-2:].upper()
    if half in ("AM", "PM"):
        text = text[:-2]
    parts = text.split(":")
    if not 2 <= len(parts) <= 4:
        raise ValueError(f"{text!r} is no time of day")
    hour, minute = int(parts[0]), int(parts[1])
    second = float(parts[2]) if len(parts) > 2 else 0.0
    if half == "PM" and hour < 12:
        hour += 12
    elif half == "AM" and hour == 12:
        hour = 0
    return hour, minute, second


def _numerical(text):
    words = text.replace("-", "/").split()
    if not words:
        raise ValueError("no date")
    date = words[0]
    clock = _clock(" ".join(words[1:]) if len(words) > 1 else "00:00:00")
    for pattern, century in _DATES:
        found = pattern.match(date)
        if found:
            return _datetime(century + found["y"], found["m"], found["d"], *clock)
    if _COMPACT.match(date):
        return _datetime(date[:4], date[4:6], date[6:8], int(date[9:11]), int(date[11:13]), int(date[13:15]))
    raise ValueError(f"{text!r} is no date")


def _with_month_name(text):
    for half in (" am", " pm"):
        while text.lower().endswith(half):
            text = text.lower().replace(half, half.strip())
    words = text.replace("-", " ").replace("/", " ").split()
    if len(words) == 3:
        words.append("00:00AM")
    if len(words) != 4:
        raise ValueError(f"{text!r} is no date")
    first, second, year, clock = words
    second = second.removesuffix(",")
    month, day = (first, second) if _month(first) and second.lstrip("+-").isdigit() else (second, first)
    if not _month(month):
        raise ValueError(f"{text!r} has no month")
    return _datetime(year, _month(month), day, *_clock(clock))


def _month(word):
    word = word[:3].capitalize()
    return _MONTHS.index(word) + 1 if word in _MONTHS else 0


def version_key(text):
    """First three numbers of a version, None if it is none."""
    found = _VERSION.match(text)
    if found is None:
        return None
    parts = tuple(int(part) for part in found[1].split("."))
    return parts + (0,) * (3 - len(parts))


def key_names():
    """FITS keyword by data-model name, both in upper case.

    Returns
    -------
    dict of str to str
    """
    import tomllib
    from importlib.resources import files

    return tomllib.loads(files("jwcal.data").joinpath("metanames.toml").read_text())["fits"]

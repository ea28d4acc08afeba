"""Values and times as the rules compare them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwcal.refs.values import condition, format_time, key_names, version_key


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("any", "*"),
        (" nrca1 ", "NRCA1"),
        (12, "12.0"),
        ("12", "12.0"),
        ("1e3", "1000.0"),
        ("7.", "7.0"),
        (True, "T"),
        ("false", "F"),
        ("N/A", "N/A"),
        ("N/A|FULL", "N/A"),
        ("not applicable", "N/A"),
        ("()", "N/A"),
        ("-2147483648", "N/A"),
        ("4294967295", "-1.0"),
        ("2022-07-01", "2022-07-01"),
        ("", ""),
        ("1_0", "1_0"),
    ],
)
def test_conditioning(value, found):
    assert condition(value) == found


@given(st.text(max_size=12))
def test_conditioning_twice_changes_nothing_more(value):
    once = condition(value)
    assert condition(once) == once


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2022-07-01 12:00:00", "2022-07-01 12:00:00"),
        ("2022-07-01 12:00:00.5", "2022-07-01 12:00:00.500000"),
        ("2022-07-01T12:00:00.125", "2022-07-01 12:00:00.125000"),
        ("2022-07-01", "2022-07-01 00:00:00"),
        ("12/21/1999 05:42", "1999-12-21 05:42:00"),
        ("21/12/99 05:42:00 PM", "1999-12-21 17:42:00"),
        ("21/12/15", "2015-12-21 00:00:00"),
        ("19970114:053714", "1997-01-14 05:37:14"),
        ("Feb 08 2006 01:02AM", "2006-02-08 01:02:00"),
        ("03-Jan-2013", "2013-01-03 00:00:00"),
        ("July 27, 1999 12:00:00 am", "1999-07-27 00:00:00"),
        ("Dec 01 1993 00:00:00 UT", "1993-12-01 00:00:00"),
    ],
)
def test_times(text, found):
    assert format_time(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2022-13-01 00:00:00",
        "2022-02-30",
        "UNDEFINED",
        "2022-07-01 24:00:00",
        "soon",
        "Foo 01 2022",
        "1 2 3 4:5",
    ],
)
def test_no_times(text):
    with pytest.raises(ValueError, match=r".+"):
        format_time(text)


def test_versions():
    assert version_key("1.14") == (1, 14, 0)
    assert version_key("0.13.2a.dev185+gdb49aea9") == (0, 13, 2)
    assert version_key("0.foo") == (0, 0, 0)
    assert version_key("1.2|1.3") is None
    assert version_key("v1") is None


def test_every_keyword_has_one_name():
    names = key_names()
    assert names["META.INSTRUMENT.DETECTOR"] == "DETECTOR"
    assert len(set(names.values())) == len(names)

"""Matching: fields, weights, ties, dates, versions, distances, conditions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwcal.core.errors import ReferenceFileError
from jwcal.refs.compile import compile_rules
from jwcal.refs.mapping import Selector
from jwcal.refs.patterns import matcher
from jwcal.refs.rules import Rules
from jwcal.refs.values import condition
from tests.refs.conftest import DETECTOR, FILTER, WHEN, dated, rmap

DATED = {"META.OBSERVATION.DATE": "2022-07-01", "META.OBSERVATION.TIME": "12:00:00"}


def rules(parkey, selector, **header):
    compiled = compile_rules(rmap("dark", parkey, selector, **header))
    return Rules(json.loads(json.dumps(compiled)), None)


def ask(found, **values):
    """Answer as text: a file, n/a, omitted, or refused."""
    names = {"det": DETECTOR, "fil": FILTER, "exp": "META.EXPOSURE.TYPE", "ver": "VERSION", "num": "NUMBER"}
    header = dict.fromkeys(found.keys, "UNDEFINED") | DATED
    header |= {names.get(k, k): condition(v) for k, v in values.items()}
    answer = found.answer(header)
    return answer.files if answer.state == "file" else answer.state


@pytest.mark.parametrize(
    ("field", "yes", "maybe", "no"),
    [
        ("A", ["A", "*"], ["N/A"], ["B", "", "UNDEFINED"]),
        ("N/A", [], ["A", "N/A", "*"], []),
        ("*", ["A", "", "*"], ["N/A"], []),
        ("A|B", ["A", "B", "*"], ["N/A"], ["C", "A|B"]),
        ("A*|B?", ["A", "AB", "B1"], ["N/A"], ["B", "C"]),
        ("(A[12])", ["A1", "A2X"], ["N/A"], ["A3", "B"]),
        ("{A|B}", ["A|B", "*"], ["N/A"], ["A"]),
        ("NOT A|B", ["C"], ["N/A"], ["A", "*"]),
        ("BETWEEN 3 5", ["3.0", "4.9"], ["N/A"], ["5.0", "2.9", "X"]),
        ("NOT BETWEEN 3 5", ["5.0"], ["N/A"], ["3.0"]),
        ("# >1 AND <=20 #", ["4", "20"], ["N/A"], ["21", "-1", "X"]),
        ("#>20 OR <5#", ["4", "21"], ["N/A"], ["5", "20"]),
        (">=2.5E0", ["2.5", "3"], ["N/A"], ["2", "X"]),
    ],
)
def test_fields(field, yes, maybe, no):
    match = matcher(field)
    assert [match(v) for v in (*yes, *maybe, *no)] == [1] * len(yes) + [0] * len(maybe) + [-1] * len(no)


@pytest.mark.parametrize("field", ["(A", "BETWEEN 5 3", "BETWEEN 1", ">x", "#<#", "NOT BETWEEN A B", "([)"])
def test_fields_without_sense_are_refused_when_compiled(field):
    if field == "(A":
        assert matcher(field)("(A") == 1
        return
    with pytest.raises(ReferenceFileError, match=r"jwst_nircam_dark_0001.rmap: .+"):
        rules(((DETECTOR,),), Selector("Match", {(field,): "x.fits"}))


def test_more_matching_fields_win_and_do_not_care_counts_nothing():
    found = rules(
        ((DETECTOR, FILTER),),
        Selector("Match", {("A", "N/A"): "one.fits", ("A", "F"): "two.fits", ("A", "ANY"): "any.fits", ("N/A", "N/A"): "none.fits"}),
    )  # fmt: skip
    assert ask(found, det="A", fil="G") == "any.fits"
    assert ask(found, det="A", fil="F") == ["any.fits", "two.fits"]
    assert ask(found, det="A", fil="N/A") == ["any.fits", "two.fits", "one.fits"]
    assert ask(found, det="B", fil="F") == "none.fits"


def test_ties_merge_dates_and_the_greater_name_wins():
    tie = {
        ("A", "N/A"): dated(d2010="a.fits", d2020="b.fits"),
        ("N/A", "F"): dated(d2020="c.fits", d2021="0.fits"),
    }
    found = rules(((DETECTOR, FILTER), WHEN), Selector("Match", tie))
    date = "META.OBSERVATION.DATE"
    assert ask(found, det="A", fil="F") == "0.fits"
    assert ask(found, det="A", fil="F", **{date: "2020-06-01"}) == "c.fits"
    assert ask(found, det="A", fil="F", **{date: "2019-06-01"}) == "a.fits"
    strict = rules(((DETECTOR, FILTER), WHEN), Selector("Match", tie), merge_overlaps="False")
    assert ask(strict, det="A", fil="F") == "refused"
    assert ask(strict, det="A", fil="G") == "b.fits"


def test_lighter_rules_are_tried_when_the_date_is_too_early():
    found = rules(
        ((DETECTOR, FILTER), WHEN),
        Selector("Match", {("A", "F"): dated(d2030="late.fits"), ("A", "N/A"): dated(d2000="early.fits")}),
    )
    assert ask(found, det="A", fil="F") == "early.fits"
    assert ask(found, det="A", fil="F", **{"META.OBSERVATION.DATE": "2031-01-01"}) == "late.fits"
    assert ask(found, det="A", fil="F", **{"META.OBSERVATION.DATE": "1999-01-01"}) == "refused"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (
            {"rmap_relevance": "(META.EXPOSURE.TYPE != 'NRC_IMAGE')", "extra_keys": ("META.EXPOSURE.TYPE",)},
            "n/a",
        ),
        ({"rmap_relevance": "(META_NOWHERE != 'x')"}, "x.fits"),
        ({"rmap_relevance": "ALWAYS"}, "x.fits"),
        ({"rmap_omit": "(META.INSTRUMENT.DETECTOR == 'A')"}, "omitted"),
        ({"parkey_relevance": {DETECTOR.lower(): "(META.INSTRUMENT.DETECTOR != 'A')"}}, "x.fits"),
        ({"substitutions": {DETECTOR: {"B": "A"}}}, "x.fits"),
    ],
)
def test_conditions_in_the_header(header, found):
    assert (
        ask(rules(((DETECTOR,),), Selector("Match", {("A",): "x.fits"}), **header), det="A", exp="NRC_IMAGE")
        == found
    )


def test_reference_that_is_not_required():
    selector = Selector("Match", {("A",): "x.fits"})
    assert ask(rules(((DETECTOR,),), selector), det="B") == "refused"
    assert ask(rules(((DETECTOR,),), selector, reffile_required="NO"), det="B") == "n/a"


def test_substitution_may_replace_another_rule():
    found = rules(
        (("META.SUBARRAY.NAME",),), Selector("Match", {("N/A",): "na.fits", ("GENERIC",): "generic.fits"})
    )
    assert ask(found, **{"META.SUBARRAY.NAME": "FULL"}) == "generic.fits"


@pytest.mark.parametrize("value", ["NOT" * 500 + "A", "B"])
def test_values_that_go_in_circles_are_refused(value):
    found = rules(
        ((DETECTOR,),), Selector("Match", {("A",): "x.fits"}), substitutions={DETECTOR: {"B": "C", "C": "B"}}
    )
    assert ask(found, det=value) == "refused"


def test_selectors_by_version_and_distance():
    version = rules((("VERSION",),), Selector("SelectVersion", {"<3.1": "a", "<5": "b", "default": "c"}))
    assert [ask(version, ver=v) for v in ("2.0", "3.1", "4.5", "5", "99", "x")] == [
        "a",
        "b",
        "b",
        "c",
        "c",
        "refused",
    ]
    after = rules((("VERSION",),), Selector("VersionAfter", {"0.7.8": "a", "1.10": "b", "2": "c"}))
    assert [ask(after, ver=v) for v in ("0.7.7", "1.9.9", "1.10.1", "2.0.0rc1", "x")] == [
        "refused",
        "a",
        "b",
        "c",
        "refused",
    ]
    nearest = rules((("NUMBER",),), Selector("GeometricallyNearest", {1.2: "a", 1.5: "b", 5.0: "c"}))
    assert [ask(nearest, num=v) for v in ("1", "1.4", "3.25", "3.26", "9", "x")] == [
        "a",
        "b",
        "b",
        "c",
        "c",
        "refused",
    ]
    bracket = rules((("NUMBER",),), Selector("Bracket", {1.2: "a", 1.5: "b", 5.0: "c"}))
    assert [ask(bracket, num=v) for v in ("1", "1.25", "1.5", "9")] == [
        ["a", "a"],
        ["a", "b"],
        ["b", "b"],
        ["c", "c"],
    ]
    closest = rules(
        (WHEN,), Selector("ClosestTime", {"2020-01-01 00:00:00": "a", "2023-01-01 00:00:00": "b"})
    )
    assert ask(closest) == "b"


@pytest.mark.parametrize(
    ("parkey", "selector", "says"),
    [
        (((DETECTOR,),), Selector("Match", {("A", "B"): "x"}), "fields"),
        (((DETECTOR,),), Selector("Match", {"a": "x", "A": "y"}), "given twice"),
        (((DETECTOR,),), Selector("Match", {"A": None}), "no file name"),
        (((DETECTOR,),), Selector("Match", {"A": dated(d2000="x")}), "no keywords for UseAfter"),
        ("DETECTOR", Selector("Match", {"A": "x"}), "no tuple"),
        (("DETECTOR",), Selector("Match", {"A": "x"}), "no keywords for Match"),
        ((WHEN,), Selector("UseAfter", {5: "x"}), "no date"),
        ((("V",),), Selector("VersionAfter", {"v1": "x"}), "no version"),
        ((("V",),), Selector("SelectVersion", {"<": "x"}), "mapping|relation"),
        ((("V",),), Selector("Bracket", {"a": "x"}), "no number"),
    ],
)
def test_rules_without_sense_are_refused(parkey, selector, says):
    with pytest.raises(ReferenceFileError, match=says) as caught:
        rules(parkey, selector)
    assert "jwst_nircam_dark_0001.rmap" in str(caught.value)


fields = st.sampled_from(["A", "B", "A|B", "ANY", "N/A", "NOT A", "(A.*)", "AB"])


@given(
    st.dictionaries(st.tuples(fields, fields), st.text("xyz", min_size=1, max_size=3), max_size=6),
    st.lists(
        st.tuples(st.sampled_from(["A", "B", "AB", "N/A", "C"]), st.sampled_from(["A", "B", "C"])), max_size=5
    ),
)
def test_an_answer_does_not_depend_on_what_was_asked_before(entries, asked):
    selector = Selector("Match", entries)
    once = rules(((DETECTOR, FILTER),), selector)
    for det, fil in [*asked, *asked]:
        fresh = rules(((DETECTOR, FILTER),), selector)
        assert ask(once, det=det, fil=fil) == ask(fresh, det=det, fil=fil)

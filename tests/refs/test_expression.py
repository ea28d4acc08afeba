"""Conditions are compared, never run."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwcal.core.errors import ReferenceFileError
from jwcal.refs.conditions import parse
from jwcal.refs.expression import UnknownNameError, evaluate, names

VALUES = {"A": "NRC_IMAGE", "B": "5.0", "C": ""}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("(A == 'NRC_IMAGE')", True),
        ("(A not in ('X', 'Y') and not B == '4.0')", True),
        ("A in ('NRC_IMAGE',) or NOWHERE == 'x'", True),
        ("'IMAGE' in A", True),
        ("not C", True),
        ("C or A", "NRC_IMAGE"),
        ("C and NOWHERE", ""),
        ("1 < 2 < 3 != 4", True),
        ("3 < 2 < NOWHERE", False),
        ("A != 'X' if B == '5.0' else False", True),
        ("True", True),
        ("-1 < 0 <= 0.5", True),
        ("A in ['NRC_IMAGE']", True),
        ("not A == 'NRC_IMAGE' or C", ""),
    ],
)
def test_truth(source, found):
    tree = parse(source, "rules")
    assert evaluate(tree, VALUES) == found
    assert evaluate(json.loads(json.dumps(tree)), VALUES) == found


@pytest.mark.parametrize(
    "source",
    ["open('x')", "A.upper()", "A[0]", "lambda: 1", "A +", "A if B", "(A", "A == 'x' B", "in A", "A not B", "{A}", "", "A = 'x'",
     "(" * 200 + "A" + ")" * 200],
)  # fmt: skip
def test_anything_else_is_refused(source):
    with pytest.raises(ReferenceFileError, match="rules: condition"):
        parse(source, "rules")


def test_names_and_unknown_names():
    tree = parse("(A == 'x' and (B in ('C', D) or not E)) if F else G", "rules")
    assert names(tree) == set("ABDEFG")
    with pytest.raises(UnknownNameError, match="NOWHERE"):
        evaluate(parse("NOWHERE == 'x'", "rules"), VALUES)
    with pytest.raises(TypeError):
        evaluate(parse("A < 5", "rules"), VALUES)


atoms = st.sampled_from(["A == 'NRC_IMAGE'", "B > '4'", "C", "A in ('X', 'Y')", "1 < 2", "True", "not A"])
sources = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({}) and ({})".format, inner, inner),
        st.builds("{} or {}".format, inner, inner),
        st.builds("not ({})".format, inner),
        st.builds("({}) if ({}) else ({})".format, inner, inner, inner),
    ),
    max_leaves=8,
)


@given(sources)
def test_same_truth_as_python(source):
    assert bool(evaluate(parse(source, "rules"), VALUES)) == bool(eval(source, {"__builtins__": {}}, VALUES))

"""Mapping files are read as data, checked, and written back byte by byte."""

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwcal.core.errors import ReferenceFileError
from jwcal.refs.mapping import Mapping, Selector, checksum, literal, parse_mapping, read_mapping
from tests.refs.conftest import dated, rmap

SHARED = Path(os.environ.get("JWCAL_SHARED") or Path(__file__).parents[3] / "shared") / "data" / "crds"


def stamped(text):
    """Text with the right checksum in place of SUM."""
    return text.replace(
        "SUM", checksum("".join(line for line in text.splitlines(True) if "sha1sum" not in line))
    )


def small(selector="Match({\n    'A' : 'x.fits',\n})", extra=""):
    return stamped(
        "header = {\n    'derived_from' : 'x',\n    'filekind' : 'DARK',\n    'instrument' : 'MIRI',\n"
        "    'mapping' : 'REFERENCE',\n    'name' : 'a.rmap',\n    'observatory' : 'JWST',\n"
        f"    'parkey' : (('DETECTOR',),),\n    'sha1sum' : 'SUM',\n{extra}}}\n\nselector = {selector}\n"
    )


@pytest.mark.parametrize("archive", ["mappings_jwst_0061.tar.gz", "specs_rmap.tar.gz"])
def test_real_files_keep_their_bytes(archive):
    if not (SHARED / archive).exists():
        pytest.skip(f"no {archive} in {SHARED}: set JWCAL_SHARED")
    seen = 0
    with tarfile.open(SHARED / archive) as tar:
        for member in tar.getmembers():
            if member.name.endswith("map"):
                text = tar.extractfile(member).read().decode()
                mapping = parse_mapping(text, member.name, verify="0061" in archive)
                assert mapping.format() == text, member.name
                if "0061" in archive:
                    assert mapping.copy().stamp() == text, member.name
                seen += 1
    assert seen > 60


def test_comment_numbers_and_nesting_survive():
    mapping = rmap(
        "dark",
        (("A", "B"), ("C",)),
        Selector("Match", {("x", 1.5): dated(d2014="it's.fits"), -2: ("a", "b")}),
    )
    mapping.comment = "\nSays who.\n"
    mapping.header["substitutions"] = {"A": {"x": ["y", "z"]}}
    text = mapping.stamp()
    again = parse_mapping(text)
    assert (again.header, again.selector, again.comment) == (
        mapping.header,
        mapping.selector,
        mapping.comment,
    )
    assert again.format() == text


keys = st.one_of(
    st.text(max_size=6),
    st.integers(-9, 9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.tuples(st.text(max_size=3)),
)
choices = st.recursive(
    st.text(max_size=8) | st.tuples(st.text(max_size=3)),
    lambda inner: st.builds(
        Selector, st.sampled_from(["Match", "UseAfter", "Bracket"]), st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(keys, choices, max_size=4))
def test_what_is_written_is_read_back(entries):
    mapping = rmap("dark", (("A",),), Selector("Match", entries))
    text = mapping.stamp()
    again = parse_mapping(text)
    assert again.selector == mapping.selector
    assert again.format() == text


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ("Match({'A' : open('x')})", "open"),
        ("__import__('os')", "__import__"),
        ("Match({'A' : 'x' + 'y'})", "cannot be read"),
        ("Match({'A' : [x for x in ()]})", "'x'"),
        ("Match({'A' : 'x.fits'", "the end"),
        ("Match({'A' 'x.fits'})", "':' belongs"),
        ("Match(" * 50 + "{}" + ")" * 50, "belongs"),
        ("(" * 100 + ")" * 100, "too deeply"),
        ("Nearest({'A' : 'x'})", "Nearest"),
        ("{'A' : 'x.fits'}", "selector of a rmap"),
        ("Match({['A'] : 'x'})", "as a key"),
        ("Match({'A' : 'x\\", "line"),
        ("Match({'A' : $})", "cannot be read"),
        ("Match({'A' : 007})", "007"),
    ],
)
def test_anything_but_data_is_refused(selector, says):
    with pytest.raises(ReferenceFileError, match=r"rmap|valid") as caught:
        parse_mapping(small(selector), "a.rmap")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=80))
def test_no_text_does_anything_but_be_refused(text):
    with pytest.raises(ReferenceFileError):
        parse_mapping(text)


def test_every_damaged_byte_is_noticed(tmp_path):
    text = small()
    path = tmp_path / "a.rmap"
    for place in range(0, len(text), 3):
        changed = text[:place] + ("~" if text[place] != "~" else "!") + text[place + 1 :]
        path.write_text(changed)
        if changed != text:
            with pytest.raises(ReferenceFileError):
                read_mapping(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.replace("x.fits", "y.fits"), "wrong checksum"),
        (lambda t: "".join(x for x in t.splitlines(True) if "sha1sum" not in x), "'sha1sum' is missing"),
        (lambda t: stamped(t.replace("    'derived_from' : 'x',\n", "").replace(literal(t.split("'sha1sum' : ")[1].split(",")[0]), "SUM")), "'derived_from' is missing"),
        (lambda t: t + "selector = {}\n", "each once"),
        (lambda t: t.replace("header", "footer"), "footer"),
    ],
)  # fmt: skip
def test_damage_is_told_in_words(change, says):
    with pytest.raises(ReferenceFileError, match=says):
        parse_mapping(change(small()), "a.rmap")


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(ReferenceFileError, match="no such mapping"):
        read_mapping(tmp_path / "none.rmap")
    (tmp_path / "b.rmap").write_bytes(b"\xff\xfe")
    with pytest.raises(ReferenceFileError, match="no text"):
        read_mapping(tmp_path / "b.rmap")
    with pytest.raises(ReferenceFileError, match="cannot be read"):
        read_mapping(tmp_path)


def test_names_of_mappings_cannot_lead_elsewhere():
    header = {
        "mapping": "PIPELINE",
        "parkey": ("A",),
        "name": "a.pmap",
        "derived_from": "x",
        "observatory": "JWST",
    }
    for name in ("../../etc/x.imap", "x.rmap", "x.pmap", 7):
        with pytest.raises(ReferenceFileError, match=r"not the name of an imap|names no mapping"):
            Mapping(header, {"MIRI": name}).check()


def test_carriage_returns_do_not_count(tmp_path):
    (tmp_path / "a.rmap").write_bytes(small().replace("\n", "\r\n").encode())
    assert read_mapping(tmp_path / "a.rmap").references() == ["x.fits"]


def test_rules_given_twice_are_noted():
    mapping = parse_mapping(small("Match({\n    'A' : 'x.fits',\n    'A' : 'y.fits',\n})"))
    assert mapping.selector.entries == {"A": "y.fits"}
    assert mapping.duplicates == ["line 14: 'A'"]


def test_escapes_and_adjacent_text():
    assert literal(r"'a\n' 'b\''") == "a\nb'"
    assert literal("r'a\\d'") == "a\\d"
    assert literal("(1, -2.5, 'x', None, True, [1_0], {'a': ()},)") == (
        1,
        -2.5,
        "x",
        None,
        True,
        [10],
        {"a": ()},
    )
    assert literal("('x')") == "x"

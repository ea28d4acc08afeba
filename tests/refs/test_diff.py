"""What changed from one context to another."""

import json

import pytest

from jwcal.refs.mapping import Selector
from tests.refs.conftest import DETECTOR, FILTER, WHEN, dated, rmap


def changed(made):
    """Write a second context: dark changed, gain gone, mask new, flat as before."""
    dark = Selector(
        "Match",
        {
            ("NRCA1", "N/A"): dated(d2014="dark_1.fits", d2022="dark_7.fits"),
            ("NRCA1", "F200W"): dated(d2023="dark_3.fits"),
            ("NRCB2", "N/A"): "N/A",
            ("NRCB4", "N/A"): dated(d2014="dark_8.fits"),
        },
    )
    flat = Selector("Match", {"NRC_IMAGE": "flat_1.fits"})
    relevance = '(META.EXPOSURE.TYPE not in ("NRC_DARK",))'
    made.context(
        rmap("dark", ((DETECTOR, FILTER), WHEN), dark, serial=2, reffile_required="NO"),
        rmap("flat", (("META.EXPOSURE.TYPE",),), flat, rmap_relevance=relevance),
        rmap("mask", ((DETECTOR,),), Selector("Match", {("NRCA1",): "mask_1.fits"}), serial=2),
        serial=2,
        special={"REGIONS": "N/A"},
    )


def test_every_change_is_told(made, invoke):
    changed(made)
    done = invoke("refs", "diff", "jwst_0001.pmap", "jwst_0002.pmap", "--json", "--cache", made.root)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["files"] == {
        "added": ["dark_7.fits", "dark_8.fits", "mask_1.fits"],
        "removed": ["dark_2.fits", "dark_4.fits", "gain_1.fits"],
    }
    mappings = {(m["instrument"], m["type"]): m["change"] for m in found["mappings"]}
    assert mappings == {
        ("nircam", ""): "replaced", ("nircam", "camera"): "removed", ("nircam", "dark"): "replaced",
        ("nircam", "gain"): "removed", ("nircam", "mask"): "added", ("nircam", "omitted"): "removed",
    }  # fmt: skip
    assert [(h["type"], h["key"], h["new"]) for h in found["headers"]] == [("dark", "reffile_required", "NO")]
    rules = {(r["type"], json.dumps(r["keys"])): (r["change"], r["old"], r["new"]) for r in found["rules"]}
    assert rules["dark", '[["NRCA1", "N/A"], "2022-01-01 00:00:00"]'] == (
        "replaced",
        "dark_2.fits",
        "dark_7.fits",
    )
    assert rules["dark", '[["NRCB4", "N/A"], "2014-01-01 00:00:00"]'] == ("added", None, "dark_8.fits")
    assert rules["gain", '[["NRCA1"]]'] == ("removed", "gain_1.fits", None)
    assert not any(kind == "flat" for kind, _ in rules)


def test_text_and_the_same_context(made, invoke):
    changed(made)
    text = invoke("refs", "diff", "jwst_0001.pmap", "jwst_0002.pmap", "--cache", made.root).out.decode()
    assert (
        "rule    replaced nircam dark [NRCA1 N/A; 2022-01-01 00:00:00]: dark_2.fits -> dark_7.fits\n" in text
    )
    assert "file    added    mask_1.fits\n" in text
    same = invoke("refs", "diff", "jwst_0001.pmap", "jwst_0001.pmap", "--cache", made.root)
    assert same.out == b"jwst_0001.pmap and jwst_0001.pmap have the same rules\n"


@pytest.mark.parametrize(
    ("two", "code", "says"),
    [
        ("jwst_0009.pmap", 4, "jwst_0009.pmap: not in the cache"),
        ("jwst_nircam_dark_0001.rmap", 4, "cannot be compared"),
        ("../x.pmap", 3, "no such mapping"),
    ],
)
def test_what_cannot_be_compared(made, invoke, two, code, says):
    found = invoke("refs", "diff", "jwst_0001.pmap", two, "--cache", made.root)
    assert (found.code, says in found.err) == (code, True), found.err

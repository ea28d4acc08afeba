"""Certification: what is right passes, what is wrong fails for its own reason."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jwcal.refs.certify import certify
from jwcal.refs.constraints import detectors, rules_of, table
from jwcal.simulate.expose import expose
from tests.refs.cachekit import Draft, make_cache

KINDS = (
    "gain",
    "readnoise",
    "mask",
    "linearity",
    "dark",
    "superbias",
    "saturation",
    "flat",
    "ipc",
    "rscd",
    "photom",
)


def detector_of(kind):
    return "MIRIMAGE" if kind == "rscd" else "NRCA1"


def wrong(report):
    return {(f["check"], f["where"]) for f in report.findings if f["level"] == "error"}


SIMULATED = {
    "nircam": {"subarray": "SUB160"},
    "persistence": {"instrument": "niriss", "subarray": "SUB64", "effects": "persistence,ipc"},
    "miri": {"instrument": "miri", "subarray": "SUB64", "effects": "emi,ipc", "inverse": True},
    "fgs": {"instrument": "fgs", "gain_factor": 2.0},
    "nirspec": {"instrument": "nirspec", "subarray": "SUB32"},
    "guider": {"exp_type": "FGS_ACQ1"},
    "longer": {"detector": "NRCA3", "subarray": "SUB64P", "readpatt": "SHALLOW4", "full_references": False},
}


@pytest.mark.parametrize("case", SIMULATED)
def test_simulated_references_are_certified(tmp_path, case):
    expose(tmp_path, ngroups=4, **SIMULATED[case]) if case != "guider" else expose(
        tmp_path, **SIMULATED[case]
    )
    files = sorted((tmp_path / "refs").iterdir())
    assert files
    reports = [certify(path) for path in files]
    assert [r.render() for r in reports if r.errors] == []
    # The official rules ask for ERR of a RESET; the simulator has none.
    assert {r.kind for r in reports if r.warnings} <= {"reset"}


@pytest.mark.parametrize("kind", KINDS)
def test_made_references_are_certified(tmp_path, kind):
    report = certify(Draft(kind, detector_of(kind)).write(tmp_path / "a.fits"))
    assert report.findings == []
    assert report.kind == kind


def header(key, value):
    return lambda draft: draft.header.update({key: value})


def poke(plane, value):
    def change(draft):
        draft.planes[plane] = draft.planes[plane].copy()
        draft.planes[plane][(0,) * draft.planes[plane].ndim] = value

    return change


def edit_dq_def(column, value, row=0):
    def change(draft):
        draft.tables["DQ_DEF"] = draft.tables["DQ_DEF"].copy()
        draft.tables["DQ_DEF"][column][row] = value

    return change


def replace(plane, function):
    return lambda draft: draft.planes.update({plane: function(draft.planes[plane])})


HEADERS = {
    **{
        f"no {key}": (header(key, None), ("keyword", key))
        for key in ("TELESCOP", "USEAFTER", "PEDIGREE", "AUTHOR", "DESCRIP")
    },
    "no HISTORY": (lambda d: d.header.pop("HISTORY"), ("keyword", "HISTORY")),
    "telescope": (header("TELESCOP", "HST"), ("value", "TELESCOP")),
    "detector": (header("DETECTOR", "GUIDER1"), ("value", "DETECTOR")),
    "subarray": (header("SUBARRAY", "SUB7"), ("value", "SUBARRAY")),
    "pattern": (header("P_READPA", "FASTR1|OFTEN|"), ("value", "READPATT")),
    "useafter": (header("USEAFTER", "soon"), ("useafter", "USEAFTER")),
    "no such day": (header("USEAFTER", "2023-02-30T00:00:00"), ("useafter", "USEAFTER")),
    "pedigree": (header("PEDIGREE", "GUESS"), ("pedigree", "PEDIGREE")),
    "inflight without dates": (header("PEDIGREE", "INFLIGHT"), ("pedigree", "PEDIGREE")),
    "ends before it begins": (header("PEDIGREE", "INFLIGHT 2024-02-01 2024-01-01"), ("pedigree", "PEDIGREE")),
}
FRAMES = {
    "axis": (header("FASTAXIS", 2), ("frame", "FASTAXIS")),
    "corner": (header("SUBSTRT1", 2047), ("frame", "SUBSTRT1")),
    "corner is no number": (header("SUBSTRT2", 0), ("frame", "SUBSTRT2")),
}
BY_KIND = {
    "gain": {
        "no plane": (lambda d: d.planes.pop("SCI"), ("plane", "SCI")),
        "infinite": (poke("SCI", np.inf), ("finite", "SCI")),
        "nothing": (replace("SCI", lambda a: np.full_like(a, np.nan)), ("finite", "SCI")),
        "no signal": (replace("SCI", np.zeros_like), ("range", "SCI")),
        "cube": (replace("SCI", lambda a: a[None]), ("shape", "SCI")),
        "cut": (replace("SCI", lambda a: a[:-1].copy()), ("shape", "SCI")),
        "unit": (lambda d: d.units.update({"SCI": "DN/electron"}), ("unit", "SCI")),
    },
    "superbias": {
        "error": (poke("ERR", -1), ("range", "ERR")),
        "planes differ": (replace("ERR", lambda a: a[:, :-1].copy()), ("shape", "SCI,ERR,DQ")),
        "unknown flag": (poke("DQ", 1 << 29), ("dq", "DQ")),
        "bit": (edit_dq_def("BIT", 9), ("dq", "DQ_DEF")),
        "twice": (lambda d: d.tables.update({"DQ_DEF": d.tables["DQ_DEF"][[0, 0]]}), ("dq", "DQ_DEF")),
    },
    "dark": {
        "groups": (header("NGROUPS", 4), ("shape", "NGROUPS")),
        "no groups": (header("NGROUPS", None), ("keyword", "NGROUPS")),
        "generic": (header("SUBARRAY", "GENERIC"), ("frame", "SUBARRAY")),
        "integers": (replace("SCI", lambda a: a.astype("i4")), ("dtype", "SCI")),
    },
    "linearity": {
        "one coefficient": (replace("COEFFS", lambda a: a[:1].copy()), ("shape", "COEFFS")),
        "columns": (lambda d: d.tables.update({"DQ_DEF": d.tables["DQ_DEF"][["BIT", "NAME", "DESCRIPTION"]]}), ("table", "DQ_DEF")),
    },
    "ipc": {
        "sum": (replace("SCI", lambda a: a * np.float32(1.001)), ("kernel", "SCI")),
        "even": (replace("SCI", lambda a: a[:2].copy()), ("kernel", "SCI")),
        "hole": (poke("SCI", np.nan), ("finite", "SCI")),
    },
    "rscd": {
        "twice": (lambda d: d.tables.update(RSCD_GROUP_SKIP=d.tables["RSCD_GROUP_SKIP"][[0, 0]]), ("table", "RSCD_GROUP_SKIP")),
        "column": (lambda d: d.tables.update(RSCD_GROUP_SKIP=d.tables["RSCD_GROUP_SKIP"][["subarray", "readpatt"]]), ("table", "RSCD_GROUP_SKIP")),
        "rows": (lambda d: d.tables.update(RSCD_GROUP_SKIP=d.tables["RSCD_GROUP_SKIP"][:0]), ("table", "RSCD_GROUP_SKIP")),
        "instrument": (lambda d: d.header.update(INSTRUME="NIRISS", DETECTOR="NIS"), ("type", "REFTYPE")),
    },
    "photom": {
        "order": (lambda d: d.tables["PHOTOM"]["wavelength"].__setitem__((1, 2), 9), ("monotonic", "PHOTOM")),
        "too long": (lambda d: d.tables["PHOTOM"]["nelem"].__setitem__(0, 6), ("table", "PHOTOM")),
    },
}  # fmt: skip
EVERY = [
    (kind, name)
    for kind, found in BY_KIND.items()
    for name in (*found, *HEADERS, *(FRAMES if rules_of(kind, "NIRCAM").get("frame") else ()))
]


def mutation(kind, name):
    return {**BY_KIND[kind], **HEADERS, **FRAMES}[name]


def test_a_wrong_corner_hides_no_wrong_shape(tmp_path):
    draft = Draft("gain", detector_of("gain"))
    for name in ("cut", "corner is no number"):
        mutation("gain", name)[0](draft)
    assert wrong(certify(draft.write(tmp_path / "a.fits"))) == {("shape", "SCI"), ("frame", "SUBSTRT2")}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(sorted(BY_KIND)), seed=st.integers(0, 99))
def test_each_fault_is_found_among_others(tmp_path, data, kind, seed):
    frame = bool(rules_of(kind, "NIRCAM").get("frame"))
    header_faults = data.draw(
        st.lists(st.sampled_from([*HEADERS, *(FRAMES if frame else ())]), unique=True, max_size=2)
    )
    own = data.draw(st.sampled_from(sorted(BY_KIND[kind])))
    draft = Draft(kind, detector_of(kind), seed=seed)
    faults = [own, *header_faults]
    keys = {}
    for name in faults:
        change, expected = mutation(kind, name)
        if expected[1] in keys or (kind == "rscd" and own == "instrument" and name == "detector"):
            continue
        if {"corner", "corner is no number"} <= {*faults}:
            faults.remove("corner")
            continue
        keys[expected[1]] = expected
        change(draft)
    assert set(keys.values()) <= wrong(certify(draft.write(tmp_path / "a.fits")))


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_single_fault_is_the_only_one(tmp_path, kind, name):
    change, expected = mutation(kind, name)
    draft = Draft(kind, detector_of(kind))
    change(draft)
    found = wrong(certify(draft.write(tmp_path / "a.fits")))
    assert expected in found
    # A detector of another instrument has other axes, and a lost extension or axis other frames.
    assert len(found) == 1 or name in ("detector", "instrument", "cube", "cut", "planes differ", "integers")


def test_truncated_file(tmp_path):
    path = Draft("flat", size=64).write(tmp_path / "a.fits")
    data = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(data[:-8640])
    report = certify(path)
    assert wrong(report) == {("file", "file")}


@pytest.mark.parametrize("content", [b"", b"hello", b"#ASDF 1.0.0\n--- !core/asdf-1.1.0\n{unclosed\n...\n"])
def test_no_reference_file(tmp_path, content):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    assert wrong(certify(path)) == {("file", "file")}
    assert wrong(certify(tmp_path / "none.fits")) == {("file", "file")}


def test_missing_match_keyword(tmp_path):
    path = Draft("gain").write(tmp_path / "a.fits")
    assert wrong(certify(path, keys=("DETECTOR", "BAND"))) == {("match", "BAND")}


def test_asdf(tmp_path):
    asdf = pytest.importorskip("asdf")
    meta = {
        "telescope": "JWST",
        "instrument": {"name": "MIRI", "detector": "MIRIMAGE"},
        "reftype": "emicorr",
        "useafter": "2024-01-01T00:00:00",
        "pedigree": "GROUND",
        "author": "test",
        "description": "test",
        "model_type": "EmiModel",
        "history": "made by a test",
    }
    path = tmp_path / "a.asdf"
    asdf.AsdfFile({"meta": meta, "frequencies": {"a": {"frequency": 1.0}}}).write_to(path)
    assert certify(path).findings == []
    asdf.AsdfFile({"meta": meta}).write_to(path)
    assert wrong(certify(path)) == {("tree", "frequencies")}
    del meta["author"]
    asdf.AsdfFile({"meta": meta, "frequencies": {"a": np.array([np.inf])}}).write_to(path)
    assert wrong(certify(path)) == {("keyword", "AUTHOR"), ("finite", "frequencies.a")}


def test_comparison(tmp_path, invoke):
    old, new = Draft("superbias", seed=1), Draft("superbias", seed=1)
    new.planes["SCI"] += np.float32(2.0)
    new.planes["DQ"][0, :3] = 1
    old.planes["DQ"][1, 1] = 2
    a, b = old.write(tmp_path / "old.fits"), new.write(tmp_path / "new.fits")
    picture = tmp_path / "a.png"
    done = invoke("refs", "certify", b, "--against", a, "--json", "--picture", str(picture))
    assert done.code == 0
    found = json.loads(done.out)[0]["comparison"]
    assert found["planes"]["SCI"]["changed"] == 64
    assert found["planes"]["SCI"]["difference"]["median"] == pytest.approx(2, abs=1e-5)
    assert found["planes"]["SCI"]["difference"]["spread"] < 1e-5
    assert found["flags"]["DQ"] == {"DO_NOT_USE": {"got": 3, "lost": 0}, "SATURATED": {"got": 0, "lost": 1}}
    assert found["planes"]["ERR"]["changed"] == 0
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    again = invoke("refs", "certify", b, "--against", a, "--picture", str(picture))
    assert (again.code, "--overwrite" in again.err) == (5, True)


def test_command(tmp_path, invoke):
    cache = make_cache(tmp_path / "cache")
    good = Draft("gain").write(tmp_path / "good.fits")
    draft = Draft("dark")
    draft.header["READPATT"] = None
    bad = draft.write(tmp_path / "bad.fits")
    assert invoke("refs", "certify", good, bad).code == 0
    done = invoke("refs", "certify", good, bad, "--cache", str(cache))
    assert done.code == 4
    assert b"certified" in done.out
    assert b"REJECTED" in done.out
    assert "1 of 2 files rejected" in done.err
    assert len(done.err.strip().splitlines()) == 1
    soft = Draft("superbias")
    del soft.planes["ERR"]
    path = soft.write(tmp_path / "soft.fits")
    assert invoke("refs", "certify", path).code == 0
    assert invoke("refs", "certify", path, "--strict").code == 4


def test_tables_agree_with_the_detectors():
    for name, entry in detectors()["detector"].items():
        values = table()["instrument"][entry["instrument"].upper()]["values"]
        assert name in values["DETECTOR"]
        assert set(entry.get("subarrays", ())) <= set(values["SUBARRAY"])

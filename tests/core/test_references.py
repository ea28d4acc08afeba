"""Reference files: choice by header, checks, cut-outs, flags."""

import numpy as np
import pytest

from jwcal.core.errors import ReferenceFileError, UsageError
from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.fits import create_fits
from jwcal.core.header import Header
from jwcal.core.reference import ReferenceFile
from jwcal.refs.select import ReferenceSource


def header(**cards):
    out = Header()
    for key, value in cards.items():
        out.set(key.replace("_OBS", "-OBS") if key.endswith("_OBS") else key, value)
    return out


def write(path, planes, table=None, **cards):
    out = create_fits(str(path), overwrite=True)
    out.add(header(**cards))
    slots = {name: out.add(None, a.shape, a.dtype, name=name) for name, a in planes.items()}
    if table is not None:
        out.add_table("DQ_DEF", table)
    for name, slot in slots.items():
        slot.write(planes[name])
    out.commit()
    return path


def exposure(shape=(8, 8), **cards):
    keys = {
        "INSTRUME": "NIRCAM",
        "DETECTOR": "NRCA1",
        "SUBARRAY": "SUB8",
        "SUBSTRT1": 5,
        "SUBSTRT2": 3,
        **cards,
    }
    sci = np.zeros((1, 2, *shape), "f4")
    return Exposure(
        "uncal", header(**keys), {"SCI": Header()}, ArrayStore({"SCI": sci}), label="x_uncal.fits"
    )


FULL = {
    "INSTRUME": "NIRCAM",
    "DETECTOR": "NRCA1",
    "SUBARRAY": "FULL",
    "SUBSTRT1": 1,
    "SUBSTRT2": 1,
    "REFTYPE": "GAIN",
}


def test_full_frame_reference_is_cut_to_the_subarray(tmp_path):
    sci = np.arange(32 * 32, dtype="f4").reshape(32, 32)
    ref = ReferenceFile("gain", write(tmp_path / "g.fits", {"SCI": sci}, **FULL), exposure())
    assert np.array_equal(ref.read("SCI"), sci[2:10, 4:12])
    assert np.array_equal(ref.read("SCI", (1, 3, 0, 8)), sci[3:5, 4:12])


def test_flags_are_translated(tmp_path):
    table = np.array(
        [(0, 1, b"DO_NOT_USE"), (1, 2, b"HOT")], dtype=[("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40")]
    )
    dq = np.array([[0, 1], [2, 3]], "u4")
    path = write(tmp_path / "m.fits", {"DQ": dq}, table)
    ref = ReferenceFile("mask", path)
    assert np.array_equal(ref.read("DQ", dtype="u4"), [[0, 1], [2048, 2049]])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"REFTYPE": "DARK"}, "is a DARK reference, not GAIN"),
        ({"DETECTOR": "NRCB4"}, "is for DETECTOR NRCB4"),
        ({"INSTRUME": "MIRI"}, "is for INSTRUME MIRI"),
        ({"SUBSTRT1": 17}, "does not cover"),
    ],
)
def test_wrong_references_are_refused(tmp_path, change, text):
    path = write(tmp_path / "g.fits", {"SCI": np.zeros((32, 32), "f4")}, **{**FULL, **change})
    with pytest.raises(ReferenceFileError, match=text):
        ReferenceFile("gain", path, exposure()).read("SCI")


def test_reference_of_another_size_is_refused(tmp_path):
    path = write(tmp_path / "g.fits", {"SCI": np.zeros((4, 4), "f4")}, REFTYPE="GAIN")
    with pytest.raises(ReferenceFileError, match="does not cover"):
        ReferenceFile("gain", path, exposure()).read("SCI")


def test_unreadable_reference_has_the_reference_exit_code(tmp_path):
    (tmp_path / "g.fits").write_text("no FITS at all")
    with pytest.raises(ReferenceFileError, match="GAIN reference"):
        ReferenceFile("gain", tmp_path / "g.fits", exposure())


def names(directory, kind, meta):
    path, _ = ReferenceSource(None, directory).find(kind, meta)
    return path and path.rsplit("/", 1)[1]


def test_best_file_is_chosen_by_header(tmp_path):
    plane = {"SCI": np.zeros((4, 4), "f4")}
    base = {"REFTYPE": "SUPERBIAS", "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1"}
    write(
        tmp_path / "a_full.fits",
        plane,
        **base,
        SUBARRAY="FULL",
        READPATT="RAPID",
        USEAFTER="2022-01-01T00:00:00",
    )
    write(
        tmp_path / "b_sub.fits",
        plane,
        **base,
        SUBARRAY="SUB8",
        READPATT="RAPID",
        USEAFTER="2022-01-01T00:00:00",
    )
    write(
        tmp_path / "c_new.fits",
        plane,
        **base,
        SUBARRAY="SUB8",
        READPATT="RAPID",
        USEAFTER="2024-01-01T00:00:00",
    )
    write(
        tmp_path / "d_any.fits",
        plane,
        **base,
        SUBARRAY="GENERIC",
        P_READPA="DEEP8|BRIGHT1|",
        READPATT="DEEP8",
    )
    write(
        tmp_path / "e_other.fits", plane, **{**base, "DETECTOR": "NRCB1"}, SUBARRAY="SUB8", READPATT="RAPID"
    )
    meta = {
        "INSTRUME": "NIRCAM",
        "DETECTOR": "NRCA1",
        "SUBARRAY": "SUB8",
        "READPATT": "RAPID",
        "DATE-OBS": "2023-05-01",
    }
    assert names(tmp_path, "superbias", meta) == "b_sub.fits"
    assert names(tmp_path, "superbias", {**meta, "DATE-OBS": "2024-05-01"}) == "c_new.fits"
    assert names(tmp_path, "superbias", {**meta, "SUBARRAY": "SUB320"}) == "a_full.fits"
    assert names(tmp_path, "superbias", {**meta, "READPATT": "BRIGHT1"}) == "d_any.fits"
    assert names(tmp_path, "superbias", {**meta, "READPATT": "SHALLOW4"}) is None
    assert names(tmp_path, "superbias", {**meta, "DATE-OBS": "2021-05-01"}) is None
    assert names(tmp_path, "dark", meta) is None


def test_named_files_win_and_must_exist(tmp_path):
    assert ReferenceSource({"gain": "N/A"}).find("gain", {})[0] is None
    with pytest.raises(ReferenceFileError, match="no such GAIN"):
        ReferenceSource({"gain": str(tmp_path / "none.fits")}).find("gain", {})
    with pytest.raises(UsageError, match="not a directory"):
        ReferenceSource(None, str(tmp_path / "none"))


def test_parameter_references_are_found_by_name(tmp_path):
    from jwcal.core.registry import find_step

    for name in (
        "jwst_nircam_pars-jumpstep_0001.asdf",
        "jwst_miri_pars-jumpstep_0002.asdf",
        "pars-rampfitstep.asdf",
    ):
        (tmp_path / name).write_text("")
    steps = [find_step("superbias")[0], find_step("jump")[0], find_step("ramp-fit")[0]]
    found = ReferenceSource(None, str(tmp_path)).find_pars(steps, {"INSTRUME": "NIRCAM"})
    assert [f.rsplit("/", 1)[1] for f in found] == [
        "jwst_nircam_pars-jumpstep_0001.asdf",
        "pars-rampfitstep.asdf",
    ]


def test_flag_table_without_names_is_refused(tmp_path):
    table = np.array([(0, 1)], dtype=[("BIT", "i4"), ("VALUE", "u4")])
    path = write(tmp_path / "m.fits", {"DQ": np.zeros((2, 2), "u4")}, table)
    with pytest.raises(ReferenceFileError, match=r"m\.fits: the DQ_DEF table has no column NAME"):
        ReferenceFile("mask", path).read("DQ", dtype="u4")

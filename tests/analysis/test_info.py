"""jwcal info: what it tells is what is in the file, for any FITS file."""

import json

import numpy as np
import pytest

from tests.analysis.conftest import RATE_HEADER, rate_planes, write


def facts(invoke, *args):
    done = invoke("info", "--json", *args)
    return done, [json.loads(line) for line in done.out.decode().splitlines()]


def test_raw_exposure(invoke, exposure):
    done, (found,) = facts(invoke, exposure.uncal)
    assert done.code == 0
    assert found["product"] == "uncal"
    assert found["instrument"]["DETECTOR"] == "NRCA1"
    assert found["readout"]["NGROUPS"] == 6
    assert found["next"] == "jwcal run detector1"
    sci = next(e for e in found["extensions"] if e["name"] == "SCI")
    assert sci == {"name": "SCI", "kind": "image", "shape": [2, 6, 24, 40], "dtype": "uint16", "unit": "DN"}
    assert found["flags"] == {}
    assert found["statistics"]["last_group_median"] > found["statistics"]["first_group_median"]


def test_flags_statistics_steps_and_references(invoke, rate):
    _, (found,) = facts(invoke, rate)
    assert found["flags"]["DQ"] == {
        "pixels": 600,
        "good": 596,
        "flags": {"DO_NOT_USE": 1, "SATURATED": 1, "JUMP_DET": 2, "REFERENCE_PIXEL": 1},
    }
    sci = rate_planes()["SCI"]
    stats = found["statistics"]
    assert (stats["min"], stats["max"]) == (0, pytest.approx(59.9))
    assert stats["nan"] == 1
    assert stats["percentiles"]["50"] == pytest.approx(np.nanmedian(sci))
    assert found["steps"] == {"S_DQINIT": "COMPLETE", "S_IPC": "SKIPPED"}
    assert found["references"] == {"R_MASK": "crds://mask.fits"}
    assert "image2" in found["note"]


def test_text_says_the_same(invoke, rate):
    text = invoke("info", rate).out.decode()
    for word in (
        "rate",
        "NIRCAM NRCA1",
        "F200W",
        "RAPID",
        "SATURATED 1",
        "dqinit COMPLETE",
        "crds://mask.fits",
    ):
        assert word in text


def test_stream(jwcal, exposure):
    done = jwcal("info", stdin=exposure.uncal.read_bytes())
    assert done.code == 0
    assert done.out.startswith(b"standard input\n")


def test_reference_file_flags_are_read_by_its_own_table(invoke, tmp_path):
    rows = np.array(
        [(0, 1, "DEAD"), (1, 2, "UNRELIABLE_BIAS")], [("BIT", "i4"), ("VALUE", "i4"), ("NAME", "S20")]
    )
    dq = np.zeros((4, 4), "u1")
    dq[0, 0], dq[1, 1:3] = 1, 2
    path = write(
        tmp_path / "mask.fits", {"DQ": dq}, {"REFTYPE": "MASK", "INSTRUME": "NIRCAM"}, {"DQ_DEF": rows}
    )
    _, (found,) = facts(invoke, path)
    assert found["reference"] == "MASK"
    assert found["flags"]["DQ"]["flags"] == {"DEAD": 1, "UNRELIABLE_BIAS": 2}


def test_flag_table_without_its_columns(invoke, tmp_path):
    rows = np.array([(0, 1)], [("BIT", "i4"), ("SIZE", "i4")])
    dq = np.ones((4, 4), "u1")
    done, (found,) = facts(invoke, write(tmp_path / "m.fits", {"DQ": dq}, tables={"DQ_DEF": rows}))
    assert found["flags"]["DQ"]["flags"] == {"DO_NOT_USE": 16}
    assert "DQ_DEF" in done.err


@pytest.mark.parametrize(
    "planes",
    [{}, {"SCI": np.zeros(5, "f4")}, {"SCI": np.full((3, 3), np.nan, "f4")}, {"SCI": np.zeros((2, 2, 2, 2, 2), "i2")},
     {"A": np.zeros((2, 3), "i8"), "DQ": np.full((2, 3), -1, "i2")}, {"SCI": np.full((4, 4), np.inf, "f8")}],
    ids=["empty", "one-axis", "nan", "five-axes", "signed-flags", "infinite"],
)  # fmt: skip
def test_any_file(invoke, tmp_path, planes):
    path = write(tmp_path / "any.fits", planes)
    done, (found,) = facts(invoke, path)
    assert done.code == 0
    assert found["product"] is None
    assert invoke("info", path).code == 0
    if "DQ" in planes:
        assert found["flags"]["DQ"]["flags"]["NON_SCIENCE"] == 6


def test_guide_star(invoke, tmp_path):
    header = RATE_HEADER | {"EXP_TYPE": "FGS_ACQ1", "INSTRUME": "FGS", "NINTS": 1, "NGROUPS": 2}
    _, (found,) = facts(invoke, write(tmp_path / "g.fits", {"SCI": np.ones((1, 2, 20, 30), "u2")}, header))
    assert found["product"] == "guider_uncal"
    assert found["next"] == "jwcal run guider"


def test_contradiction_is_told(invoke, tmp_path):
    path = write(tmp_path / "x.fits", {"SCI": np.ones((2, 3, 20, 30), "u2")}, RATE_HEADER)
    _, (found,) = facts(invoke, path)
    assert found["product"] is None
    assert "NGROUPS" in found["note"]


def test_keywords_of_a_wrong_type(invoke, tmp_path):
    path = write(
        tmp_path / "x.fits", rate_planes(), RATE_HEADER | {"NINTS": "many", "SUBSTRT1": "one", "TGROUP": "x"}
    )
    assert invoke("info", path).code == 0


def test_incomplete_file_tells_its_header_and_fails(invoke, exposure, tmp_path):
    path = tmp_path / "cut.fits"
    path.write_bytes(exposure.uncal.read_bytes()[:10000])
    done = invoke("info", path)
    assert done.code == 3
    assert b"NRCA1" in done.out
    assert b"truncated" in done.out


@pytest.mark.parametrize("content", [b"", b"hello", b"SIMPLE  =                    T" + b" " * 50])
def test_not_fits(invoke, tmp_path, content):
    path = tmp_path / "x.fits"
    path.write_bytes(content)
    done = invoke("info", path)
    assert done.code == 3
    assert done.out == b""
    assert done.err.count("\n") == 1


def test_one_bad_file_does_not_stop_the_others(invoke, exposure, rate, tmp_path):
    done = invoke("info", tmp_path / "none.fits", exposure.uncal, rate)
    assert done.code == 3
    assert "none.fits" in done.err
    assert b"x_uncal.fits" in done.out
    assert b"y_rate.fits" in done.out


def test_shared_files(invoke, shared):
    paths = sorted(p for p in (shared / "data").rglob("*.fits*") if p.stat().st_size < 3_000_000)
    for path in paths:
        done = invoke("info", path)
        assert done.code in (0, 3), f"{path}: {done.err}"
        assert "internal error" not in done.err, f"{path}: {done.err}"

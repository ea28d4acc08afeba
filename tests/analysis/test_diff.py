"""jwcal diff: finds each planted difference, and nothing else."""

import json

import numpy as np
import pytest

from jwcal.core.dq import DQ
from tests.analysis.conftest import RATE_HEADER, rate_planes, write

ROWS = np.array([(1, 0.5, "a"), (2, 1.5, "b")], [("N", "i4"), ("T", "f8"), ("NAME", "S4")])


@pytest.fixture
def pair(tmp_path):
    """Write two files, the second changed by the caller."""

    def make(change=None, header=None, rows=ROWS):
        planes = rate_planes()
        left = write(tmp_path / "left.fits", planes, RATE_HEADER, {"TIMES": ROWS})
        planes = {k: v.copy() for k, v in planes.items()}
        if change:
            change(planes)
        right = write(tmp_path / "right.fits", planes, RATE_HEADER | (header or {}), {"TIMES": rows})
        return left, right

    return make


def compare(invoke, *args):
    done = invoke("diff", "--json", *args)
    result = json.loads(done.out)
    assert done.code == (0 if result["same"] else 1)
    assert result["same"] == (not result["differences"])
    return result["differences"]


def test_equal_files(invoke, pair):
    left, right = pair()
    assert compare(invoke, left, right) == []
    assert b"agree" in invoke("diff", left, right).out
    assert invoke("diff", "-q", left, right).out == b""


def test_values(invoke, pair):
    def change(planes):
        planes["SCI"][10, 10] += 0.5
        planes["SCI"][11, 11] *= 1 + 1e-5

    left, right = pair(change)
    (found,) = compare(invoke, left, right)
    assert (found["where"], found["kind"], found["differing"]) == ("SCI", "values", 2)
    assert found["max_abs"] == pytest.approx(0.5)
    (found,) = compare(invoke, left, right, "--rtol", "1e-4")
    assert found["differing"] == 1
    assert compare(invoke, left, right, "--atol", "0.6") == []
    assert compare(invoke, left, right, "--ignore", "sci") == []


def test_nan_pattern(invoke, pair):
    def change(planes):
        planes["SCI"][2, 3] = 1
        planes["SCI"][7, 7:9] = np.nan

    (found,) = compare(invoke, *pair(change), "--atol", "1e9")
    assert (found["differing"], found["nan_only_left"], found["nan_only_right"]) == (3, 1, 2)


def test_infinity(invoke, pair):
    def change(planes):
        planes["ERR"][1, 1] = np.inf

    left, right = pair(change)
    (found,) = compare(invoke, left, right, "--rtol", "0.5")
    assert (found["differing"], found["max_abs"]) == (1, None)
    assert b"infinite" in invoke("diff", left, right).out
    assert compare(invoke, right, right) == []


def test_flags_by_name(invoke, pair):
    def change(planes):
        planes["DQ"][4, 5] = DQ["SATURATED"]
        planes["DQ"][9, 9] = DQ["HOT"]

    left, right = pair(change)
    (found,) = compare(invoke, left, right, "--atol", "1e12")
    assert found["differing"] == 2
    assert found["flags"] == {
        "SATURATED": {"only_left": 0, "only_right": 1},
        "JUMP_DET": {"only_left": 1, "only_right": 0},
        "HOT": {"only_left": 0, "only_right": 1},
    }
    assert b"JUMP_DET: 1 only left" in invoke("diff", left, right).out


def test_keywords(invoke, pair):
    left, right = pair(header={"FILTER": "F090W", "TGROUP": 1.5 * (1 + 1e-9), "CAL_VER": "2", "NEWKEY": 1})
    found = {d["keyword"]: d for d in compare(invoke, left, right)}
    assert set(found) == {"FILTER", "TGROUP", "NEWKEY"}
    assert (found["FILTER"]["left"], found["FILTER"]["right"]) == ("F200W", "F090W")
    assert "left" not in found["NEWKEY"]
    assert {d["keyword"] for d in compare(invoke, left, right, "--rtol", "1e-6")} == {"FILTER", "NEWKEY"}
    assert compare(invoke, left, right, "--no-keywords") == []
    assert compare(invoke, left, right, "--ignore", "FILTER,newkey", "--ignore", "TGROUP") == []


def test_true_is_not_one(invoke, pair):
    (found,) = compare(invoke, *pair(header={"NINTS": True}), "--rtol", "1", "--atol", "5")
    assert found["keyword"] == "NINTS"


def test_tables(invoke, pair):
    rows = ROWS.copy()
    rows["T"][1] = 2
    rows["NAME"][0] = "z"
    left, right = pair(rows=rows)
    found = {d["column"]: d for d in compare(invoke, left, right)}
    assert found["T"]["max_abs"] == 0.5
    assert found["NAME"]["differing"] == 1
    assert invoke("diff", left, right).code == 1
    (found,) = compare(invoke, *pair(rows=ROWS[:1]))
    assert "rows" in found["text"]
    (found,) = compare(invoke, *pair(rows=ROWS[["N", "NAME"]].copy()))
    assert found["column"] == "T"


def test_columns_of_variable_length(invoke, tmp_path):
    from astropy.io import fits

    paths = []
    for k in (1, 2):
        column = fits.Column(
            "V", "PD()", array=np.array([np.array([1.0, 2]), np.array([float(k)])], dtype=object)
        )
        paths.append(tmp_path / f"{k}.fits")
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column], name="T")]).writeto(
            paths[-1]
        )
    (found,) = compare(invoke, *paths)
    assert "variable length" in found["text"]
    assert compare(invoke, paths[0], paths[0]) == []


def test_shape_type_and_missing(invoke, pair):
    def change(planes):
        planes["SCI"] = planes["SCI"][:, :20]
        planes["ERR"] = planes["ERR"].astype("f8")
        planes["EXTRA"] = planes.pop("VAR_RNOISE")

    found = {d["where"]: d for d in compare(invoke, *pair(change)) if d["kind"] != "keyword"}
    assert {k: d["kind"] for k, d in found.items()} == {
        "SCI": "shape", "ERR": "type", "EXTRA": "missing", "VAR_RNOISE": "missing",
    }  # fmt: skip
    assert "right.fits" in found["EXTRA"]["text"]


def test_provenance_and_asdf_are_left_out(invoke, tmp_path):
    paths = [tmp_path / "a.fits", tmp_path / "b.fits"]
    for path in paths:
        rows = np.array([(str(path),)], [("CODE", "S200")])
        write(path, {}, {"FILENAME": path.name, "DATE": str(path)[-20:]}, {"PROVENANCE": rows, "ASDF": rows})
    assert compare(invoke, *paths) == []


def test_stream(jwcal, pair):
    left, right = pair()
    assert jwcal("diff", left, "-", stdin=right.read_bytes()).code == 0
    assert jwcal("diff", "-", "-", stdin=right.read_bytes()).code == 2


def test_bad_input(invoke, pair, tmp_path):
    left, right = pair()
    cut = tmp_path / "cut.fits"
    cut.write_bytes(right.read_bytes()[:-4000])
    for other in (cut, tmp_path / "none.fits"):
        done = invoke("diff", left, other)
        assert done.code == 3
        assert done.err.count("\n") == 1
    assert invoke("diff", left).code == 2
    assert invoke("diff", left, right, "--rtol", "-1").code == 2

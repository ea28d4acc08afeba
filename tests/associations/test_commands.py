"""The commands of ``jwcal asn``."""

import json
import os
import subprocess

import numpy as np
import pytest

from jwcal.associations.pool import Pool, pool_text, read_pool
from tests.associations.conftest import COLUMNS, pool_of, row
from tests.conftest import PROGRAM


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "jw01234_pool.csv"
    rows = [row(n, patt_num=str(n), numdthpt="4") for n in (1, 2)]
    rows += [row(3, exp_type="nrc_dark", targetid="null", asn_candidate="[]")]
    path.write_text(pool_text(pool_of(rows)))
    return path


def asn(*words, cwd=None, given=None, code=0):
    done = subprocess.run(
        [*PROGRAM, "asn", *map(str, words)], cwd=cwd, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def test_files_are_official(pool, tmp_path):
    asn("generate", pool, "-o", "out", "--version-id", "20260101t000000", "--save-orphans", cwd=tmp_path)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.json"))
    assert names == [
        "jw01234-o001_20260101t000000_image2_00001_asn.json",
        "jw01234-o001_20260101t000000_image2_00002_asn.json",
        "jw01234-o001_20260101t000000_image3_00001_asn.json",
    ]
    data = json.loads((tmp_path / "out" / names[2]).read_text())
    assert list(data)[:5] == ["asn_type", "asn_rule", "version_id", "code_version", "degraded_status"]
    assert data["asn_rule"] == "candidate_Asn_Lv3Image"
    assert data["asn_pool"] == "jw01234_pool.csv"
    assert data["products"][0]["members"][0] == {
        "expname": "jw01234001001_02101_00001_nrca1_cal.fits", "exptype": "science", "exposerr": "null",
        "asn_candidate": "[('o001', 'observation')]",
    }  # fmt: skip
    assert read_pool(tmp_path / "out" / "orphaned.csv").cells("exp_type") == ["nrc_dark"]
    again = asn("generate", pool, "-o", "out", "--version-id", "20260101t000000", cwd=tmp_path, code=5)
    assert "exists" in again.stderr
    asn("check", *sorted((tmp_path / "out").glob("*.json")))
    assert not asn("diff", "out", "out", cwd=tmp_path).stdout


def test_streams_and_choices(pool, tmp_path):
    text = pool.read_text()
    lines = asn("generate", "-", "-o", "-", "--level", "2", given=text).stdout.splitlines()
    assert [json.loads(line)["asn_type"] for line in lines] == ["image2", "image2"]
    merged = asn("generate", "-", "-o", "-", "--level", "2", "--merge", given=text).stdout.splitlines()
    assert [len(json.loads(line)["products"]) for line in merged] == [2]
    dry = asn("generate", pool, "--dry-run", cwd=tmp_path).stdout
    assert len(dry.splitlines()) == 3
    assert [path.name for path in tmp_path.iterdir()] == [pool.name]
    assert "c1000 is not in" in asn("generate", pool, "-i", "c1000", "--dry-run").stderr
    assert "exclude each other" in asn("generate", pool, "-i", "o001", "--discover", code=2).stderr


def test_explain_says_why(pool):
    said = asn("generate", pool, "--explain", "00002_nrca1").stdout
    assert "in jw01234-o001_image3_00001_asn.json as science" in said
    said = asn("generate", pool, "--explain", "00003_nrca1").stdout
    assert "by itself dark" in said
    psf = pool_text(pool_of([row(1, exp_type="mir_4qpm", instrume="miri", detector="mirimage", grating="x")]))
    said = asn("generate", "-", "--explain", "2", given=psf).stdout
    assert "Asn_Lv3MIRCoron: its group of 1 has no exposure of a reference star" in said
    assert "Asn_Lv2ImageSpecial: no: bkgdtarg or is_psf given" in said
    assert "NIR" not in said
    assert "3 rows fit" in asn("generate", pool, "--explain", "nrca1", code=2).stderr


def states(*words, given=None):
    lines = asn("status", *words, "--json", given=given).stdout.splitlines()
    return {entry["product"]: entry for entry in map(json.loads, lines)}


def test_status_of_files(pool, tmp_path):
    lines = asn("status", pool, "--level", "3", "--waiting").stdout.splitlines()
    assert [line.split("\t") for line in lines] == [[
        "waiting", "o001", "image3", "Asn_Lv3Image", "2", "jw01234-o001_image3_00001_asn.json", "-",
        "1, nrca1: dither position 3 to 4 of 4 has not come"]]  # fmt: skip
    rate = tmp_path / "jw01234001001_02101_00001_nrca1_rate.fits"
    rate.touch()
    os.utime(rate, (0, 86400))
    found = states(pool, "--level", "2", "--files", tmp_path)
    assert found["jw01234001001_02101_00001_nrca1"]["state"] == "complete"
    assert found["jw01234001001_02101_00001_nrca1"]["since"] == 86400
    assert found["jw01234001001_02101_00002_nrca1"]["lacks"] == [
        "jw01234001001_02101_00002_nrca1_rate.fits has not come"]  # fmt: skip
    assert "1970-01-02T00:00:00Z" in asn("status", pool, "--level", "2", "--files", tmp_path).stdout
    rate.rename(tmp_path / "jw01234001001_02101_00002_nrca1_uncal.fits")
    found = states(pool, "--level", "2", "--raw", tmp_path)
    assert found["jw01234001001_02101_00002_nrca1"]["state"] == "complete"
    assert found["jw01234001001_02101_00001_nrca1"]["state"] == "waiting"
    assert "cannot be read" in asn("status", pool, "--raw", tmp_path / "none", code=3).stderr


def test_status_of_visits():
    """Planned exposures, detectors and segments that have not come."""
    columns = [*COLUMNS, "nexposur", "exsegtot"]

    def text(rows):
        cells = [tuple(cells.get(column, "null") for column in columns) for cells in rows]
        return pool_text(Pool(columns, cells))

    rows = [
        row(n, nexposur="3", detector=d, filename=f"jw01234001001_02101_{n:05d}_{d}_uncal.fits")
        for n in (1, 2, 3) for d in ("nrca1", "nrca2")
    ]  # fmt: skip
    image = "jw01234-o001_t001_nircam_clear-f200w"
    assert states("-", "--level", "3", given=text(rows))[image]["state"] == "complete"
    assert states("-", "--level", "3", given=text(rows[:-1]))[image]["lacks"] == [
        "jw01234001001_02101_00003: no nrca2"]  # fmt: skip
    assert states("-", "--level", "3", given=text(rows[:-2]))[image]["lacks"] == [
        "visit 01234001001: 2 of 3 planned exposures have come"]  # fmt: skip
    assert (
        states("-", "--level", "2", given=text(rows[:-2]))["jw01234001001_02101_00001_nrca1"]["lacks"] == []
    )
    parts = [
        row(1, exp_type="nis_soss", instrume="niriss", detector="nis", tsovisit="t", exsegtot="4",
            filename=f"jw01234001001_04101_00001-seg00{n}_nis_uncal.fits")
        for n in (1, 4)
    ]  # fmt: skip
    (found,) = states("-", "--level", "3", given=text(parts)).values()
    assert found["lacks"] == ["jw01234001001_04101_00001_nis: segment 2 to 3 of 4 has not come"]


def test_status_of_roles_errors_and_duplicates():
    group = "[('o001', 'observation'), ('c1001', 'coronagraphy')]"
    cells = {"exp_type": "mir_4qpm", "instrume": "miri", "detector": "mirimage", "asn_candidate": group}
    alone = [row(1, exposerr="pointing", **cells)]
    star = row(2, is_psf="t", targetid="9", **{**cells, "asn_candidate": group.replace("o001", "o002")})
    text = pool_text(pool_of([*alone, *alone]))
    found = states("-", "--level", "3", given=text)
    assert [each["lacks"] for each in found.values()] == [["has no exposure of a reference star"]] * 2
    assert [each["file"] for each in found.values()] == [None] * 2
    assert {tuple(each["errors"].values()) for each in found.values()} == {("pointing",)}
    assert "lines 2, 3: jw01234001001_02101_00001_nrca1_uncal.fits is there 2 times" in asn(
        "status", "-", given=text).stderr  # fmt: skip
    found = states("-", "--level", "3", given=pool_text(pool_of([*alone, star])))
    assert [(each["candidate"], each["state"]) for each in found.values()] == [("c1001", "complete")]


def test_list_check_diff(tmp_path):
    asn("from-list", "--product-name", "m", "-o", "a.json", "x_cal.fits", "y_cal.fits", cwd=tmp_path)
    asn(
        "from-list",
        "--product-name",
        "m",
        "-o",
        "b.json",
        "y_cal.fits",
        "x_cal.fits:background",
        cwd=tmp_path,
    )
    asn("check", "a.json", cwd=tmp_path)
    assert "x_cal.fits is not there" in asn("check", "a.json", "--members", ".", cwd=tmp_path, code=3).stdout
    said = asn("diff", "a.json", "b.json", cwd=tmp_path, code=1).stdout
    assert "- x_cal.fits (science) in m" in said
    two = json.loads(asn("from-list", "--level", "2", "x_rate.fits", "y_rate.fits:background").stdout)
    assert [product["name"] for product in two["products"]] == ["x"]
    assert "needs --product-name" in asn("from-list", "x_cal.fits", code=2).stderr
    assert "none of" in asn("from-list", "--product-name", "m", "x.fits:sience", code=2).stderr
    bad = json.loads((tmp_path / "a.json").read_text())
    bad["products"][0]["members"] = [{"expname": "d/x.fits", "exptype": "sience"}]
    (tmp_path / "a.json").write_text(json.dumps(bad))
    said = asn("check", "a.json", cwd=tmp_path, code=3).stdout
    assert all(text in said for text in ("no science member", "sience is not known", "folder in its name"))
    (tmp_path / "a.json").write_text("{")
    assert "line 1, column 2: not JSON" in asn("check", "a.json", cwd=tmp_path, code=3).stdout


def test_pool_of_files(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    for number, target in ((1, "M-33"), (2, "O'BRIEN"), (3, "M-33")):
        header = fits.Header({"OBSERVTN": "007", "PROGRAM": "01234", "EXP_TYPE": "NRC_IMAGE", "INSTRUME": "NIRCAM",
                              "DETECTOR": "NRCA1", "FILTER": "F200W", "PUPIL": "CLEAR", "SUBARRAY": "FULL",
                              "TARGNAME": target, "TSOVISIT": False})  # fmt: skip
        hdus = fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(np.zeros((4, 4)))])
        hdus.writeto(tmp_path / f"jw01234007001_02101_{number:05d}_nrca1_uncal.fits")
    files = sorted(path.name for path in tmp_path.glob("*.fits"))
    asn("make-pool", "-", "-o", "pool.csv", given="\n".join(files), cwd=tmp_path)
    pool = read_pool(tmp_path / "pool.csv")
    assert pool.cells("targetid") == ["1", "2", "1"]
    assert pool.cells("targname")[1] == "o'brien"
    assert pool.cells("asn_candidate") == ["[('o007', 'observation')]"] * 3
    assert pool.cells("tsovisit") == ["f"] * 3
    found = asn("generate", "pool.csv", "--dry-run", "--level", "3", cwd=tmp_path).stdout
    assert "jw01234-o007_t001_nircam_clear-f200w" in found
    (tmp_path / "no.fits").write_bytes(b"nothing")
    assert "no.fits: not FITS" in asn("make-pool", "no.fits", cwd=tmp_path, code=3).stderr


def test_rules(tmp_path):
    assert len(asn("rules").stdout.splitlines()) > 40
    said = asn("rules", "Asn_Lv3Image").stdout
    assert "exp_type like nrc_image" in said
    assert "nothing wrong" in asn("rules", "--lint").stdout
    assert "no rule None" in asn("rules", "None", code=2).stderr
    (tmp_path / "bad.toml").write_text("[rule.X]\nlevel = 3\n")
    assert (
        "rule X: key title is missing" in asn("rules", "--lint", "-r", tmp_path / "bad.toml", code=2).stderr
    )


def test_edit_and_gather(tmp_path):
    asn("from-list", "--product-name", "m", "-o", "a.json", "x_cal.fits", "y_cal.fits", cwd=tmp_path)
    asn("from-list", "--product-name", "n", "-o", "b.json", "z_cal.fits", cwd=tmp_path)
    said = asn(
        "edit", "a.json", "--remove", "x_rate.fits", "--ignore-suffix", "--add", "w.fits:psf", cwd=tmp_path
    )
    members = json.loads(said.stdout)["products"][0]["members"]
    assert [(m["expname"], m["exptype"]) for m in members] == [("y_cal.fits", "science"), ("w.fits", "psf")]
    assert (
        "x_rate.fits is no member"
        in asn("edit", "a.json", "--remove", "x_rate.fits", cwd=tmp_path, code=2).stderr
    )
    assert (
        "member of product m already"
        in asn("edit", "a.json", "--add", "x_cal.fits", cwd=tmp_path, code=2).stderr
    )
    asn("edit", "a.json", "b.json", "-o", "both.json", cwd=tmp_path)
    asn("edit", "both.json", "--split", "-o", "apart", cwd=tmp_path)
    assert not asn("diff", "apart/jwnoprogram-o999_image3_00002_asn.json", "b.json", cwd=tmp_path).stdout
    (tmp_path / "x_cal.fits").write_text("x")
    said = asn("gather", "a.json", "-o", "work", cwd=tmp_path, code=3)
    assert "y_cal.fits: is not there (1 of 2" in said.stderr
    assert not (tmp_path / "work").exists()
    (tmp_path / "y_cal.fits").write_text("y")
    asn("gather", "a.json", "-o", "work", "--link", cwd=tmp_path)
    asn("check", "work/a.json", "--members", "work", cwd=tmp_path)
    assert (tmp_path / "work" / "y_cal.fits").read_text() == "y"

import csv
import gzip
import io
import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.conftest import PROGRAM, ROOT
from tests.planning.programs import observation, program

BLOCKS = re.findall(
    r"^```sh\n(.*?)^```", (ROOT / "docs" / "prediction.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "program.xml"
    found.write_text(program(observation(1), observation(2)))
    return found


def test_summary(path, invoke):
    done = invoke("predict", path)
    text = done.out.decode()
    assert done.code == 0
    assert text.startswith("Program 01234: A & B\nAda Lovelace, GO, cycle 2\n")
    raws = next(line.split() for line in text.splitlines() if " raw files " in line)
    assert raws[3:6] == ["120", "12", ">"]
    assert "bytes are at least: " in text
    assert "cpu_s and memory are at least: " in text


def test_sums_say_what_they_leave_out(path, invoke):
    found = json.loads(invoke("predict", path, "--format", "json").out)
    for stage in found["stages"]:
        mine = [each for each in found["products_list"] if each["stage"] == stage["stage"]]
        assert stage["bytes"] == sum(each["bytes"] or 0 for each in mine)
        assert stage["estimated_bytes"] == sum(each["bytes"] or 0 for each in mine if each["size_note"])
        assert stage["of_unknown_size"] == sum(each["bytes"] is None for each in mine)
        assert stage["memory_bytes"] == (max((each["memory_bytes"] or 0 for each in mine), default=0) or None)


@pytest.mark.parametrize(
    "name", ["visits", "exposures", "raw", "pool", "associations", "products", "problems"]
)
def test_lists_are_the_same_in_every_form(name, path, invoke):
    rows = {
        form: invoke("predict", path, "--list", name, "--format", form) for form in ("text", "csv", "json")
    }
    assert {done.code for done in rows.values()} == {0}
    listed = json.loads(rows["json"].out)
    table = list(csv.DictReader(io.StringIO(rows["csv"].out.decode())))
    assert len(table) == len(listed) == len(rows["text"].out.splitlines()) - 1
    for ours, theirs in zip(listed, table, strict=True):
        assert {key: "" if value is None else str(value) for key, value in ours.items()} == theirs


def test_everything_as_json(path, invoke):
    found = json.loads(invoke("predict", path, "--format", "json").out)
    assert found["program"] == "01234"
    assert len(found["raw_list"]) == 120
    assert sum(stage["number"] for stage in found["stages"][1:]) == sum(
        1 for each in found["products_list"] if each["stage"] and each["number"]
    )
    assert found["stages"][0]["bytes"] == sum(each["bytes"] for each in found["raw_list"])
    assert found["stages"][1]["cpu_s"] == pytest.approx(
        sum(each["cpu_s"] or 0 for each in found["products_list"]), abs=0.1
    )


def test_output_is_not_replaced(path, invoke, tmp_path):
    out = tmp_path / "out.csv"
    words = ("predict", path, "--list", "raw", "--format", "csv", "-o", out)
    assert invoke(*words).code == 0
    first = out.read_bytes()
    again = invoke(*words)
    assert (again.code, "--overwrite" in again.err) == (5, True)
    assert invoke(*words, "--overwrite").code == 0
    assert out.read_bytes() == first
    assert invoke("predict", path, "-o", tmp_path / "no" / "where").code == 5


def test_standard_input(path, jwcal):
    done = jwcal("predict", "-", "--list", "visits", stdin=path.read_bytes())
    assert (done.code, len(done.out.splitlines())) == (0, 3)
    both = jwcal("predict", "-", "--against", "-")
    assert (both.code, both.err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 3),
        (b"not XML", 3),
        (b"<Other/>", 3),
        (program().encode()[:900], 3),
        (b"PK\x03\x04cut short", 3),
        (gzip.compress(program().encode())[:400] + bytes(200), 3),
        (program().replace("?>\n", "?><!DOCTYPE a>", 1).replace("UTF-8", "UTF-16").encode("utf-16"), 3),
        (gzip.compress(bytes(200_000_001), 1), 3),
        (re.sub("<Observation>.*</Observation>", "", program(), flags=re.DOTALL).encode(), 3),
    ],
    ids=[
        "empty",
        "text",
        "other XML",
        "truncated",
        "damaged archive",
        "damaged gzip",
        "document type",
        "too large",
        "no visits",
    ],
)
def test_what_is_no_program(content, code, tmp_path, jwcal):
    wrong = tmp_path / "wrong.xml"
    wrong.write_bytes(content)
    done = jwcal("predict", wrong)
    assert (done.code, done.out) == (code, b"")
    assert done.err.count("\n") == 1
    assert "wrong.xml" in done.err


def test_wrong_use(path, invoke, tmp_path):
    assert invoke("predict", path, "--format", "yaml").code == 2
    assert invoke("predict", path, "--against", tmp_path, "--list", "raw").code == 2
    assert invoke("predict", path, "--against", tmp_path / "absent").code == 3
    assert invoke("predict", path, "--msa", path).code == 3


def test_exit_codes_of_a_comparison(path, invoke, tmp_path):
    pool = tmp_path / "pool.csv"
    lines = invoke("predict", path, "--list", "pool").out.decode().splitlines(keepends=True)
    pool.write_text("".join(lines))
    assert invoke("predict", path, "--against", pool).code == 0
    pool.write_text("".join(lines[:-3]))
    late = invoke("predict", path, "--against", pool, "--format", "json")
    assert late.code == 75
    assert json.loads(late.out)["counts"]["missing"] == 3
    pool.write_text(
        "".join(lines).replace("jw01234001001_02101_00001_nrcb1", "jw01234001009_02101_00001_nrcb1")
    )
    assert invoke("predict", path, "--against", pool).code == 1


def test_sources_of_the_msa(tmp_path):
    import numpy as np
    from astropy.io import fits

    from jwcal.core.errors import InputError
    from jwcal.planning.msa import read_sources

    rows = np.array(
        [(1, 1, 5, "N", 1), (1, 1, 5, "Y", 1), (2, 1, 0, "N", 1), (3, 1, -7, "Y", 1), (1, 1, 5, "Y", 2)],
        [("slitlet_id", "i2"), ("msa_metadata_id", "i2"), ("source_id", "i4"), ("primary_source", "S1"), ("dither_point_index", "i2")],
    )  # fmt: skip
    path = tmp_path / "jw01234007001_01_msa.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(rows, name="SHUTTER_INFO")]).writeto(path)
    assert read_sources([path]) == {7: ["b000000002", "s000000005", "v000000007"]}
    fits.HDUList([fits.PrimaryHDU()]).writeto(path, overwrite=True)
    with pytest.raises(InputError, match="SHUTTER_INFO"):
        read_sources([path])


def test_rehearsal_with_a_real_program(shared, tmp_path, jwcal):
    real = shared / "data" / "planning" / "apt" / "misc__01071__1071.xml"
    incoming = tmp_path / "incoming"
    subprocess.run(
        [sys.executable, ROOT / "examples" / "arrival.py", real, incoming], check=True, cwd=ROOT, timeout=60
    )
    done = jwcal("predict", real, "--against", incoming, "--format", "json")
    assert done.code == 1
    found = json.loads(done.out)
    assert found["counts"] == {
        "arrived": 107,
        "different": 1,
        "missing": 2,
        "unexpected": 1,
        "unpredicted": 0,
    }
    told = [each for each in found["files"] if each["state"] != "arrived"]
    assert [each["detail"] for each in told if each["state"] == "different"] == ["FILTER f999w, not f115w"]


def test_predictions_of_all_shared_programs(shared, jwcal):
    programs = sorted((shared / "data" / "planning" / "apt").glob("*.xml"))
    assert programs
    whole = [each for each in programs if "SUR-OTE04" not in each.name]
    from jwcal.planning.prediction import predict

    for each in whole:
        found = predict(each)
        assert found.raws
        assert len({raw.name for raw in found.raws}) == len(found.raws), each.name
        known = {raw.name for raw in found.raws}
        assert all(
            set(product.made_of) & known for product in found.products if product.stage < 2 and product.count
        )
        assert all(product.size or product.size_note for product in found.products)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_commands_of_the_documentation(number, path, tmp_path):
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "jwcal"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    wrapper.chmod(0o755)
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("user_step"))
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", BLOCKS[number]], cwd=tmp_path, check=False, timeout=120,
        capture_output=True, text=True,
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]


def test_help_loads_nothing_heavy():
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, jwcal.planning.commands; print(*sys.modules)"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout.split()  # fmt: skip
    assert not {"numpy", "jwcal.planning.apt", "xml.etree.ElementTree"} & set(imported)

"""Makefiles of associations: what they say, and what make does with them."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from jwcal.associations.makefile import makefile, plan, stage_commands
from jwcal.associations.tools import from_list
from jwcal.core.errors import InputError, UsageError
from tests.associations.test_commands import asn
from tests.conftest import PROGRAM

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
STAND_IN = """
import json, os, sys
association, *endings = sys.argv[1:]
for product in json.load(open(association))["products"]:
    absent = [member["expname"] for member in product["members"] if not os.path.exists(member["expname"])]
    assert not absent, absent
    for ending in endings:
        open(f"{product['name']}_{ending}", "w").close()
"""


def level2(product, *members, kind="image2"):
    return {**from_list(list(members), level=2, kind=kind), "products": [
        {"name": product, "members": from_list(list(members), product="x")["products"][0]["members"]}]}  # fmt: skip


def level3(product, *members, kind="image3"):
    return from_list(list(members), product=product, kind=kind)


def write(folder, **associations):
    folder.mkdir(exist_ok=True)
    for name, data in associations.items():
        (folder / f"{name}_asn.json").write_text(json.dumps(data, indent=1))


def make(folder, *words, code=0):
    given = {**os.environ, "MAKEFLAGS": ""}
    jwcal = f"JWCAL={shlex.join(PROGRAM)}"
    done = subprocess.run(
        ["make", "-C", str(folder), "-j3", jwcal, *words],
        capture_output=True,
        text=True,
        check=False,
        env=given,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_raw_exposures_become_rates(tmp_path):
    for number in (1, 2):
        words = ["sim", "expose", "--shape", "16", "32", "--ngroups", "4", "--nints", "2", "-j", "1"]
        out = tmp_path / f"x{number}"
        subprocess.run(
            [*PROGRAM, *words, "--exposure", str(number), str(out)], check=True, capture_output=True
        )
        shutil.copytree(out / "refs", tmp_path / "refs", dirs_exist_ok=True)
    stems = [f"jw01234001001_02101_{number:05d}_nrcb1" for number in (1, 2)]
    write(
        tmp_path / "asn",
        a=level2(stems[0], f"{stems[0]}_rate.fits"),
        b=level2(stems[1], f"{stems[1]}_rateints.fits", kind="tso-image2"),
    )
    (tmp_path / "raw").mkdir()
    for number, stem in enumerate(stems, 1):
        (tmp_path / f"x{number}" / f"{stem}_uncal.fits").rename(tmp_path / "raw" / f"{stem}_uncal.fits")
    asn("make", "asn", "--raw", "raw", "--to", "rate", "-o", "out/Makefile", cwd=tmp_path)
    make(tmp_path / "out", "DETECTOR1FLAGS=--refs ../refs -q")
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.fits")}
    assert sorted(made) == [f"{stems[0]}_rate.fits", f"{stems[1]}_rate.fits", f"{stems[1]}_rateints.fits"]
    assert "Nothing to be done" in make(tmp_path / "out").stdout
    (tmp_path / "out" / f"{stems[1]}_rateints.fits").unlink()
    make(tmp_path / "out", "DETECTOR1FLAGS=--refs ../refs -q")
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.fits")}
    assert {name for name in made if made[name] != again[name]} == {
        f"{stems[1]}_rate.fits", f"{stems[1]}_rateints.fits"}  # fmt: skip


@pytest.fixture
def chain(tmp_path):
    """Associations from rates to a spectrum that needs the catalogue of the combined image."""
    write(
        tmp_path / "asn",
        i1=level2("a1", "a1_rate.fits"),
        i2=level2("a2", "a2_rate.fits"),
        comb=level3("m", "a1_cal.fits", "a2_cal.fits"),
        s=level2("g", "g_rate.fits", "m_i2d.fits:direct_image", "m_cat.ecsv:sourcecat", "m_segm.fits:segmap",
                 kind="spec2"),
        sp=level3("sources", "g_cal.fits", "g_x1d.fits:background", kind="spec3"),
    )  # fmt: skip
    (tmp_path / "out").mkdir()
    for name in ("a1", "a2", "g"):
        (tmp_path / "out" / f"{name}_rate.fits").touch()
    return tmp_path


def write_makefile(folder, **stages):
    script = folder / "stand_in.py"
    script.write_text(STAND_IN)
    program = f"{sys.executable} {script} {{asn}}"
    given = {
        "level2": f"{program} cal.fits x1d.fits",
        "level3": f"{program} i2d.fits segm.fits cat.ecsv",
        **stages,
    }
    words = [f"--command={name}={text}" for name, text in given.items()]
    asn("make", "asn", "--from", "rate", *words, "-o", "out/Makefile", "--overwrite", cwd=folder)


def test_products_of_level_2_and_3(chain):
    write_makefile(chain)
    out = chain / "out"
    make(out)
    names = {path.name for path in out.iterdir()}
    assert {
        "a1_cal.fits",
        "m_i2d.fits",
        "m_cat.ecsv",
        "g_cal.fits",
        "g_x1d.fits",
        "sources_i2d.fits",
    } <= names
    assert sorted(path.name for path in (out / "done").iterdir()) == ["comb_asn", "sp_asn"]
    assert list((out / "work").iterdir()) == []
    assert "Nothing to be done" in make(out).stdout
    (out / "a2_rate.fits").touch()
    again = make(out).stdout
    assert "work/i2_asn" in again
    assert "work/sp_asn" in again
    assert "work/i1_asn" not in again


def test_what_fails_is_made_again(chain):
    out = chain / "out"
    write_makefile(chain, spec2="touch g_cal.fits; ls {asn}; exit 3")
    said = make(out, "-k", code=2)
    assert "Error 3" in said.stderr
    assert (out / "work" / "s_asn" / "g_cal.fits").exists()
    assert not (out / "g_cal.fits").exists()
    assert (out / "m_i2d.fits").exists()
    write_makefile(chain, spec2="touch g_cal.fits; ls {asn}")
    assert "work/s_asn: g_x1d.fits was not made" in make(out, code=2).stderr
    write_makefile(chain)
    make(out)
    assert (out / "sources_i2d.fits").exists()


def test_what_is_missing_is_told(chain):
    (chain / "asn" / "i2_asn.json").unlink()
    said = asn("make", "asn", "--from", "rate", "--strun", cwd=chain)
    assert "not in .: a2_cal.fits, a1_rate.fits, g_rate.fits" in said.stderr
    assert "run-spec2 = strun calwebb_spec2 $(1)" in said.stdout
    said = asn("make", "asn", cwd=chain, code=2)
    assert "no program for image2, image3, spec2, spec3" in said.stderr
    said = asn("make", "asn", "--to", "rate", cwd=chain)
    assert "a1_rate.fits: $(RAW)/a1_uncal.fits" in said.stdout


def test_dollars_and_hashes_reach_the_shell(tmp_path):
    write(tmp_path / "asn", a=level2("a", "a_rate.fits"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_rate.fits").touch()
    command = 'image2=f={asn}; echo "${f%.json} # $(echo two)" > a_cal.fits'
    asn("make", "asn", "--from", "rate", "--command", command, "-o", "out/Makefile", cwd=tmp_path)
    make(tmp_path / "out")
    assert (tmp_path / "out" / "a_cal.fits").read_text() == "a_asn # two\n"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"a": level2("a", "a b_rate.fits")}, UsageError, "'a b_rate.fits' cannot be in a Makefile"),
        ({"a": level2("a$b", "a_rate.fits")}, UsageError, r"'a\$b' cannot be in a Makefile"),
        ({"a": level2("a", "../a_rate.fits")}, UsageError, "cannot be in a Makefile"),
        ({"a": level2("a", "a_rate.fits"), "b": level2("a", "c_rate.fits")}, UsageError, "a and b both make a_cal.fits"),
        ({"x/a": level2("a", "a_rate.fits"), "y/a": level2("b", "b_rate.fits")}, UsageError, "two associations of one name"),
        ({"a": level2("a", "b_cal.fits"), "b": level2("b", "a_cal.fits")}, InputError, "circle: a needs b needs a"),
        ({"a": level2("a", "a_rate.fits", kind="dark")}, UsageError, "asn_type dark is neither"),
    ],
)  # fmt: skip
def test_what_cannot_be(given, error, message):
    with pytest.raises(error, match=message):
        plan(given)


def test_commands_that_cannot_be():
    jobs, _ = plan({"a": level2("a", "a_rate.fits")})
    for name, text, message in (
        ("imgae2", "p {asn}", "no such stage"),
        ("image2", "p", "one line with {asn}"),
        ("detector1", "p {asn}", "one line with {raw}"),
    ):
        with pytest.raises(UsageError, match=message):
            stage_commands(jobs, [("image2", "p {asn}"), (name, text)])
    with pytest.raises(UsageError, match="cannot be in a Makefile"):
        makefile(jobs, {}, "raw data")

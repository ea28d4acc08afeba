"""Every command that README and examples show does what is shown."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import PROGRAM, ROOT
from tests.planning.programs import program

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# What these blocks show is run by .ci/run, on a fresh clone.
BY_CI = {"console"}
NIGHT = ("jw01234001001_02101_00001_nrca1", "jw01234001001_02101_00002_nrca1")


def blocks(language):
    return [text for name, text in BLOCKS if name == language]


@pytest.fixture
def place(tmp_path, exposure):
    """Folder as the README supposes it: an exposure, its references, and jwcal on the PATH."""
    (tmp_path / "bin").mkdir()
    jwcal = tmp_path / "bin" / "jwcal"
    jwcal.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    jwcal.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(exposure.uncal, folder / "x_uncal.fits")
    shutil.copytree(exposure.refs, folder / "refs")
    (folder / "program.xml").write_text(program())
    return folder


def environment(place, **more):
    path = f"{place.parent / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **more}


def run(command, place, **more):
    done = subprocess.run(
        command,
        cwd=place,
        env=environment(place, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done


def test_every_block_is_of_a_kind_that_is_run():
    assert {name for name, _ in BLOCKS} == {"sh", "make", "python"} | BY_CI


@pytest.mark.parametrize("number", range(len(blocks("sh"))))
def test_shell(number, place):
    run(["bash", "-euo", "pipefail", "-c", blocks("sh")[number]], place)
    made = [
        *place.glob("x_rate.fits"),
        *place.glob("star/*_cal.fits"),
        *place.glob("asn/*_image3_*_asn.json"),
    ]
    assert len(made) == 1
    assert made[0].stat().st_size > 0


@pytest.mark.parametrize("number", range(len(blocks("make"))))
def test_make(number, place):
    (place / "Makefile").write_text(blocks("make")[number])
    run(["make"], place)
    assert (place / "x_rate.fits").exists()
    assert "Nothing to be done" in run(["make"], place).stdout


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python(number, place):
    out = run([sys.executable, "-c", blocks("python")[number]], place).stdout
    assert float(out) > 0


def test_commands_for_a_fresh_clone_are_those_of_ci():
    shown = re.findall(r"^\$ (\S+)", "".join(blocks("console")), re.MULTILINE)
    ci = (ROOT / ".ci" / "run").read_text()
    assert shown
    for command in shown:
        assert os.access(ROOT / command, os.X_OK)
        assert re.search(rf"^{re.escape(command)} \|\|", ci, re.MULTILINE)


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_night_makefile(place):
    (place / "raw").mkdir()
    for name in NIGHT:
        shutil.copy(place / "x_uncal.fits", place / "raw" / f"{name}_uncal.fits")
    make = ["make", "-f", str(ROOT / "examples" / "night.mk"), "-j2", "RAW=raw", "REFS=refs", "OUT=out"]
    run(make, place)
    assert sorted(p.name for p in (place / "out").iterdir()) == sorted(
        f"{name}_{end}" for name in NIGHT for end in ("rate.fits", "rateints.fits", "rate.png")
    )
    assert "Nothing to be done" in run(make, place).stdout


def test_nircam_script(place):
    run([str(ROOT / "examples" / "nircam.sh"), "x_uncal.fits", "refs", "y_rate.fits"], place)
    assert (place / "y_rate.fits").exists()
    assert (place / "y_rateints.fits").exists()


def test_crontab(place):
    lines = (ROOT / "examples" / "crontab").read_text().splitlines()
    (entry,) = [line for line in lines if line.startswith("*")]
    (place / "raw").mkdir()
    shutil.copy(ROOT / "examples" / "night.mk", place)
    raw = place / "raw" / f"{NIGHT[0]}_uncal.fits"
    shutil.copy(place / "x_uncal.fits", raw)
    half = place / "raw" / f"{NIGHT[1]}_uncal.fits"
    half.write_bytes(raw.read_bytes()[:9000])
    command, rate = ["bash", "-c", entry.split(None, 5)[5]], place / "rate" / f"{NIGHT[0]}_rate.fits"
    subprocess.run(command, cwd=place, env=environment(place, DATA=str(place)), check=False, timeout=200)
    done = rate.stat().st_mtime_ns
    assert "truncated" in (place / "jwcal.log").read_text()
    half.write_bytes(raw.read_bytes())
    run(command, place, DATA=str(place))
    assert (place / "rate" / f"{NIGHT[1]}_rate.fits").exists()
    assert rate.stat().st_mtime_ns == done


def test_condor_arguments(place):
    text = (ROOT / "examples" / "condor.sub").read_text()
    arguments = re.search(r'^arguments = "(.*)"$', text, re.MULTILINE).group(1)
    assert re.search(r"^executable = /usr/bin/env$", text, re.MULTILINE)
    line = arguments.replace("$(name)", "x").replace("$(request_cpus)", "2")
    run(["/usr/bin/env", *shlex.split(line)], place)
    assert (place / "x_rateints.fits").exists()


@pytest.mark.skipif(
    int(version("setuptools").split(".")[0]) < 77, reason="setuptools 77 builds without the network"
)
def test_plug_in(place, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "examples" / "user_step", source)
    site = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--target",
    ]
    run([*pip, str(site), str(source)], place)
    path = os.pathsep.join([str(site), str(ROOT)])
    run(["jwcal", "run", str(ROOT / "examples" / "pipeline.toml"), "x_uncal.fits", "-o", "x_rate.fits", "--refs", "refs"],
        place, PYTHONPATH=path)  # fmt: skip
    from astropy.io import fits

    assert fits.getheader(place / "x_rate.fits")["S_DROPS"] == "COMPLETE"
    assert "Smallest fall" in run(["jwcal", "flag-dropouts", "--help"], place, PYTHONPATH=path).stdout


def test_plug_in_by_file(place):
    step = ROOT / "examples" / "user_step" / "jwcal_dropouts.py"
    run(["jwcal", "run", "detector1", "x_uncal.fits", "-o", "x_rate.fits", "--refs", "refs",
         "--after", f"linearity={step}:flag_dropouts"], place)  # fmt: skip
    assert (place / "x_rate.fits").exists()


def test_rehearsal_refuses_a_folder_of_the_user(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("all of it")
    done = subprocess.run(
        [str(ROOT / "bin" / "rehearse"), str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 5
    assert [p.name for p in folder.iterdir()] == ["thesis.txt"]


def test_rehearsal(tmp_path):
    if not Path(sys.prefix, ".jwcal-installed").exists():
        pytest.skip("this environment was not made by bin/environment")
    folder = tmp_path / "rehearsal"
    for _ in range(2):
        done = subprocess.run(
            [str(ROOT / "bin" / "rehearse"), str(folder)],
            env={**os.environ, "JWCAL_ENV": sys.prefix}, capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        made = {p.name for p in folder.rglob("*")}
        assert {"truth.fits", "refs"} <= made
        assert any(name.endswith("_rate.fits") for name in made)
        assert any(name.endswith(".png") for name in made)
        assert str(folder) in done.stdout

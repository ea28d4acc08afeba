"""Many exposures in one command: a bad one stops no other, and the end of the command ends all."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time

import pytest

from tests.cli.spoil import edit, keyword, pixels, refuse, snapshot
from tests.cli.test_user_steps import same
from tests.conftest import PROGRAM

SLOW = """
import time
from jwcal.core.step import step

@step("waits", stage="detector1", takes="ramp", gives="ramp", changes=("SCI",))
def waits(tile, refs, p):
    \"\"\"Wait.\"\"\"
    time.sleep(3)
"""


@pytest.fixture
def many(exposure, tmp_path):
    """Four exposures, of which the second is cut short and the last has no route."""
    paths = []
    for k in range(4):
        path = tmp_path / f"e{k}_uncal.fits"
        shutil.copy(exposure.uncal, path)
        paths.append(path)
    paths[1].write_bytes(paths[1].read_bytes()[:9000])
    edit(paths[3], keyword("EXP_TYPE", "FGS_TRACK"))
    (tmp_path / "out").mkdir()
    return paths


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_a_bad_file_does_not_stop_the_others(jobs, many, exposure, jwcal, invoke, tmp_path):
    assert invoke("run", "detector1", *exposure.args, "-o", tmp_path / "good.fits").code == 0
    done = jwcal(
        "run", "auto", *many, "--refs", exposure.refs, "--output-dir", tmp_path / "out", "-j", jobs
    )  # fmt: skip
    assert done.code == 3
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "e0_rate.fits", "e0_rateints.fits", "e2_rate.fits", "e2_rateints.fits",
    ]  # fmt: skip
    for k in (0, 2):
        assert same(pixels(tmp_path / "out" / f"e{k}_rate.fits"), pixels(tmp_path / "good.fits"))
    *lines, last = done.err.splitlines()
    cut, guider = sorted(lines)
    assert "e1_uncal.fits" in cut
    assert "truncated" in cut
    assert "e3_uncal.fits" in guider
    assert "'guider'" in guider
    assert last.endswith("2 of 4 files failed")


def test_many_files_refused(many, exposure, invoke, tmp_path):
    start = ("run", "detector1", many[0], many[2], "--refs", exposure.refs)
    refuse(invoke, 2, "--output-dir", tmp_path, *start, "-o", tmp_path / "y.fits")
    refuse(invoke, 2, "--output-dir", tmp_path, *start)
    refuse(
        invoke,
        2,
        "--save-after",
        tmp_path,
        *start,
        "--output-dir",
        tmp_path / "out",
        "--save-after",
        "jump:j.fits",
    )
    refuse(invoke, 2, "standard input", tmp_path, *start, "-", "--output-dir", tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(many[0], other / many[0].name)
    refuse(
        invoke, 2, "both be written", tmp_path, *start, other / many[0].name, "--output-dir", tmp_path / "out"
    )
    refuse(
        invoke, 2, "names the products itself", tmp_path, "run", "detector1", many[0], "--output-dir", tmp_path / "out",
        "--rateints", tmp_path / "y.fits",
    )  # fmt: skip


def test_many_files_say_which_failed_for_any_reason(many, exposure, invoke, tmp_path):
    done = invoke(
        "run",
        "detector1",
        many[0],
        many[2],
        "--refs",
        exposure.refs,
        "--ref-gain",
        "N/A",
        "--output-dir",
        tmp_path / "out",
    )
    assert done.code == 4
    lines = sorted(done.err.splitlines()[:2])
    assert "e0_uncal.fits" in lines[0]
    assert "e2_uncal.fits" in lines[1]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_process_that_dies_does_not_stop_the_others(many, exposure, jwcal, tmp_path):
    (tmp_path / "dies.py").write_text(
        "import os, signal\n"
        + SLOW.replace("time.sleep(3)", "'e0' in tile.meta['FILENAME'] and os.kill(os.getpid(), 9)")
    )
    edit(many[0], keyword("FILENAME", "e0"))
    done = jwcal(
        "run", "detector1", many[0], many[2], "--refs", exposure.refs, "--output-dir", tmp_path / "out", "--after",
        f"linearity={tmp_path}/dies.py:waits", "-j", 2,
    )  # fmt: skip
    assert done.code == 1
    assert "e0_uncal.fits: its process ended with status -9" in done.err
    assert (tmp_path / "out" / "e2_rate.fits").exists()
    assert not (tmp_path / "out" / "e0_rate.fits").exists()


@pytest.mark.parametrize("count", [1, 3])
def test_terminated_half_way(count, exposure, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    out = tmp_path / "out"
    out.mkdir()
    paths = [tmp_path / f"e{k}_uncal.fits" for k in range(count)]
    for path in paths:
        shutil.copy(exposure.uncal, path)
    before = snapshot(tmp_path)
    process = subprocess.Popen(
        [*PROGRAM, "run", "detector1", *map(str, paths), "--refs", str(exposure.refs), "--output-dir", str(out), "-j", "2",
         "--after", f"linearity={tmp_path}/slow.py:waits"], stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while not list(out.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(out.iterdir()), "nothing was begun"
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=15)
    assert process.returncode == 143
    assert told.splitlines() == ["jwcal run: terminated"]
    while list(out.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert snapshot(tmp_path) == before

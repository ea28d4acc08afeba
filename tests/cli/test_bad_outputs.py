"""Bad outputs: one line, the documented exit code, nothing left behind, nothing touched."""

from __future__ import annotations

import os

import pytest

from tests.cli.spoil import refuse, snapshot


def test_outputs_that_cannot_be(case, invoke, tmp_path):
    uncal, none = case.uncal, tmp_path / "none"
    start = ("run", "detector1", *case.args)
    (tmp_path / "old.fits").write_text("old")
    refuse(invoke, 5, "none", tmp_path, *start, "-o", none / "y.fits")
    refuse(invoke, 5, "none", tmp_path, *start, "--output-dir", none)
    refuse(invoke, 5, "folder", tmp_path, *start, "-o", tmp_path, "--overwrite")
    refuse(invoke, 5, ("old.fits", "--overwrite"), tmp_path, *start, "-o", tmp_path / "old.fits")
    refuse(
        invoke, 5, ("old.fits", "--overwrite"), tmp_path, *start, "-o", tmp_path / "y.fits", "--rateints",
        tmp_path / "old.fits",
    )  # fmt: skip
    refuse(
        invoke, 5, ("old.fits", "--overwrite"), tmp_path, *start, "-o", tmp_path / "y.fits", "--save-after",
        f"jump:{tmp_path}/old.fits",
    )  # fmt: skip
    for more in (("--rateints", tmp_path / "y.fits"), ("--save-after", f"jump:{tmp_path}/y.fits")):
        refuse(invoke, 2, "two products", tmp_path, *start, "-o", tmp_path / "y.fits", *more)
    (tmp_path / "link").symlink_to(tmp_path)
    refuse(
        invoke,
        2,
        "two products",
        tmp_path,
        *start,
        "-o",
        tmp_path / "y.fits",
        "--fitopt",
        tmp_path / "link" / "y.fits",
    )
    refuse(invoke, 2, "x_uncal.fits: is read by this run", tmp_path, *start, "-o", uncal, "--overwrite")
    refuse(invoke, 2, "is read", tmp_path, *start, "-o", tmp_path / "link" / "x_uncal.fits", "--overwrite")
    refuse(invoke, 2, "is read", tmp_path, "dq-init", *case.args, "-o", uncal, "--overwrite")
    gain = case.refs / "gain.fits"
    refuse(invoke, 2, "gain.fits: is read by this run", tmp_path, *start, "-o", gain, "--overwrite")
    refuse(
        invoke,
        2,
        "is read",
        tmp_path,
        *start,
        "-o",
        tmp_path / "y.fits",
        "--save-after",
        f"jump:{gain}",
        "--overwrite",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(case, invoke, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    refuse(
        invoke, 5, "locked", tmp_path, "run", "detector1", *case.args, "-o", tmp_path / "locked" / "y.fits"
    )


def test_output_over_standard_input(case, jwcal, tmp_path):
    import subprocess

    from tests.conftest import PROGRAM

    before = snapshot(tmp_path)
    with case.uncal.open("rb") as stdin:
        done = subprocess.run(
            [*PROGRAM, "dq-init", "--refs", str(case.refs), "-o", str(case.uncal), "--overwrite"],
            stdin=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "is read by this run" in done.stderr
    assert snapshot(tmp_path) == before


def test_terminal_refused(exposure):
    import pty
    import subprocess

    from tests.conftest import PROGRAM

    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [*PROGRAM, "dq-init", *exposure.args], stdout=slave, stdin=slave, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "terminal" in done.stderr
        assert "-o FILE" in done.stderr
        assert done.stderr.count("\n") == 1
        done = subprocess.run(
            [*PROGRAM, "dq-init"],
            stdin=slave,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "no input" in done.stderr
    finally:
        os.close(master)
        os.close(slave)

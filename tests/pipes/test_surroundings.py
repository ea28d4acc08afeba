"""What a command finds around it: closed streams, named pipes, devices, variables that are not set."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from tests.conftest import PROGRAM

JWCAL = shlex.join(PROGRAM)


def shell(line):
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("closed", "code", "said"),
    [
        (">&-", 5, "jwcal dq-init: standard output: cannot write"),
        ("<&-", 141, ""),
        ("<&- >&- 2>&-", 5, ""),
    ],
)
def test_closed_streams_of_a_pipe(closed, code, said, exposure):
    done = shell(f"{{ {JWCAL} dq-init {shlex.join(exposure.args)} {closed}; echo $? >&2; }} | true")
    told, number = done.stderr.rstrip().rpartition("\n")[::2]
    assert int(number) == code
    assert told.startswith(said)
    assert told.count("\n") == 0


def test_no_stream_is_open(exposure, tmp_path):
    """As of a daemon: the product is that of any other run, and messages do not end up in it."""
    for name, closed in (("a", ""), ("b", "<&- >&- 2>&-")):
        args = shlex.join([*exposure.args, "-o", str(tmp_path / f"{name}.fits"), "-v"])
        assert shell(f"SOURCE_DATE_EPOCH=0 {JWCAL} dq-init {args} {closed}").returncode == 0
    a, b = ((tmp_path / f"{name}.fits").read_bytes() for name in "ab")
    assert a.replace(b"a.fits", b"b.fits") == b


def test_closed_standard_input_is_told(exposure, tmp_path):
    done = shell(f"{JWCAL} dq-init --refs {exposure.refs} -o {tmp_path}/y.fits <&-")
    assert done.returncode == 3
    assert "standard input: no input" in done.stderr
    assert os.listdir(tmp_path) == []


def test_named_pipe(exposure, jwcal, tmp_path):
    pipe, target = tmp_path / "pipe", tmp_path / "y.fits"
    os.mkfifo(pipe)
    first = subprocess.Popen([*PROGRAM, "dq-init", *exposure.args, "-o", str(pipe)])
    done = jwcal("saturation", pipe, "--refs", exposure.refs, "-o", target)
    assert (done.code, done.err, first.wait(timeout=60)) == (0, "", 0)
    assert target.exists()
    assert pipe.is_fifo()


def test_device_needs_no_overwrite(exposure, invoke, tmp_path):
    target = tmp_path / "y.fits"
    done = invoke("run", "detector1", *exposure.args, "-o", "/dev/null", "--rateints", target)
    assert done.code == 0, done.err
    assert target.exists()


@pytest.mark.parametrize("option", ["-o", "--refs", "--ref-mask", "-p", "--crds"])
def test_variable_that_is_not_set(option, exposure, invoke):
    done = invoke("dq-init", exposure.uncal, option, "")
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
    assert f"{option}" in done.err
    assert "it is empty" in done.err


def test_date_that_is_none(exposure, invoke, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    done = invoke("dq-init", *exposure.args)
    assert (done.code, done.out) == (2, b"")
    assert "SOURCE_DATE_EPOCH = today" in done.err

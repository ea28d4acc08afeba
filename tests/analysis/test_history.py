"""jwcal history: the record is told, and its pipe makes the product again bit for bit."""

import json
import os
import shlex
import subprocess

import numpy as np
import pytest

from jwcal.core.provenance import COLUMNS, to_table
from tests.analysis.conftest import RATE_HEADER, rate_planes, write
from tests.conftest import PROGRAM, make_exposure

EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}


def replay(script, folder, *args):
    """Run a script of jwcal commands as a user would."""
    program = folder / "bin" / "jwcal"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, **EPOCH, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    (folder / "again.sh").write_text(script)
    return subprocess.run(
        ["bash", folder / "again.sh", *map(str, args)], env=env, capture_output=True, check=False
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return make_exposure(tmp_path_factory.mktemp("raw"), nint=2, ngroup=4)


@pytest.fixture
def chain(jwcal, raw, tmp_path):
    """A ramp made by a pipe with given, missing, refused and switched-off things."""
    refs = str(raw.refs)
    calls = [
        ["group-scale", str(raw.uncal)],
        ["dq-init", "--refs", refs],
        [
            "saturation",
            "--refs",
            refs,
            "--n-pix-grow-sat",
            "3",
            "--no-use-readpatt",
            "--ref-superbias",
            "N/A",
        ],
        ["ipc"],
        ["superbias"],
        ["reset", "--refs", refs],
        ["linearity", "--skip"],
    ]
    data = b""
    for call in calls:
        done = jwcal(*call, stdin=data, env=EPOCH)
        assert done.code == 0, done.err
        data = done.out
    path = tmp_path / "made" / "x_ramp.fits"
    path.parent.mkdir()
    path.write_bytes(data)
    return path


def test_record(invoke, chain):
    record = json.loads(invoke("history", chain, "--as", "json").out)
    assert record["complete"]
    steps = {s["step"]: s for s in record["steps"]}
    assert [*steps] == ["group_scale", "dq_init", "saturation", "ipc", "superbias", "reset", "linearity"]
    assert steps["saturation"]["params"]["n_pix_grow_sat"] == {"value": 3, "origin": "command line"}
    assert steps["dq_init"]["refs"]["mask"]["path"].endswith("refs/mask.fits")
    assert steps["linearity"]["reason"] == "switched off"
    text = invoke("history", chain).out.decode()
    assert "n_pix_grow_sat = 3 (command line)" in text
    assert "mask.fits (sha256 " in text
    assert "does not apply to NIRCAM" in text


def test_pipe_makes_the_same_bytes(invoke, chain, raw, tmp_path):
    done = invoke("history", chain, "--as", "shell")
    assert done.code == 0
    assert done.err == ""
    script = done.out.decode()
    assert '"$1"' in script
    assert "--n-pix-grow-sat 3" in script
    again = replay(script, tmp_path, raw.uncal)
    assert again.returncode == 0, again.stderr
    assert again.stdout == chain.read_bytes()


def test_pipe_with_names(invoke, chain, raw, tmp_path):
    out = tmp_path / "new" / "a name.fits"
    out.parent.mkdir()
    done = invoke("history", chain, "--as", "shell", "--input", raw.uncal, "-o", out)
    assert replay(done.out.decode(), tmp_path).returncode == 0
    assert invoke("diff", chain, out).code == 0


@pytest.mark.parametrize("product", ["rate", "rateints"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "streams"])
@pytest.mark.parametrize("whole", [True, False], ids=["pipeline", "ending-in-the-fit"])
def test_slopes_again(invoke, jwcal, raw, tmp_path, product, named, whole):
    made = {"rate": tmp_path / "x_rate.fits", "rateints": tmp_path / "x_rateints.fits"}
    outputs = ["-o", made["rate"], "--rateints", made["rateints"]]
    if whole:
        done = jwcal("run", "detector1", *raw.args, *outputs, env=EPOCH)
    else:
        before = jwcal("dq-init", *raw.args, env=EPOCH)
        done = jwcal("ramp-fit", "--refs", raw.refs, *outputs, stdin=before.out, env=EPOCH)
    assert done.code == 0, done.err
    path = made[product]
    target = tmp_path / "again" / path.name
    target.parent.mkdir()
    args = ["--input", raw.uncal, "-o", target] if named else []
    shell = invoke("history", path, "--as", "shell", *args)
    assert shell.code == 0, shell.err
    again = replay(shell.out.decode(), tmp_path, *([] if named else [raw.uncal]))
    assert again.returncode == 0, again.stderr
    if not named:
        target.write_bytes(again.stdout)
    assert invoke("diff", path, target).code == 0
    if named:
        assert again.stdout == b""
        assert target.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("ngroup", [1, 2])
def test_steps_that_decline_the_data_decline_again(invoke, jwcal, tmp_path, ngroup):
    raw = make_exposure(tmp_path / "short", nint=1, ngroup=ngroup)
    made = tmp_path / "made" / "x_rate.fits"
    made.parent.mkdir()
    done = jwcal("run", "detector1", *raw.args, "-o", made, env=EPOCH)
    assert done.code == 0, done.err
    steps = {s["step"]: s for s in json.loads(invoke("history", made, "--as", "json").out)["steps"]}
    assert "at least three" in steps["jump"]["reason"]
    target = tmp_path / "again" / "x_rate.fits"
    target.parent.mkdir()
    shell = invoke("history", made, "--as", "shell", "--input", raw.uncal, "-o", target)
    again = replay(shell.out.decode(), tmp_path)
    assert again.returncode == 0, again.stderr
    assert target.read_bytes() == made.read_bytes()


def test_changed_and_missing_references_are_told(invoke, raw, tmp_path):
    mask = tmp_path / "mask.fits"
    mask.write_bytes((raw.refs / "mask.fits").read_bytes())
    out = tmp_path / "x_ramp.fits"
    assert invoke("dq-init", raw.uncal, "--ref-mask", mask, "-o", out).code == 0
    assert invoke("history", out, "--as", "shell").err == ""
    data = bytearray(mask.read_bytes())
    data[-2000] ^= 1
    mask.write_bytes(data)
    assert "changed" in invoke("history", out, "--as", "shell").err
    mask.unlink()
    done = invoke("history", out, "--as", "shell")
    assert done.code == 0
    assert "not there any more" in done.err


def test_other_programs(invoke, rate):
    record = json.loads(invoke("history", rate, "--as", "json").out)
    assert not record["complete"]
    assert [(s["keyword"], s["status"]) for s in record["steps"]] == [
        ("S_DQINIT", "COMPLETE"),
        ("S_IPC", "SKIPPED"),
    ]
    assert "crds://mask.fits" in invoke("history", rate).out.decode()
    done = invoke("history", rate, "--as", "shell")
    assert done.code == 3
    assert "1.20.0" in done.err
    assert done.out == b""


def test_raw_file_has_no_history(invoke, raw):
    assert b"no processing" in invoke("history", raw.uncal).out
    assert invoke("history", raw.uncal, "--as", "shell").code == 3


def recorded(path, **columns):
    row = {
        **dict.fromkeys(COLUMNS, ""),
        "STEP": "dq_init",
        "STATUS": "COMPLETE",
        "PARAMS": "{}",
        "REFS": "{}",
        **columns,
    }
    return write(path, rate_planes(), RATE_HEADER, {"PROVENANCE": to_table([row])})


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"STEP": "no_such_step"}, "no_such_step"),
        ({"CODE": "my_step.py sha256:00"}, "my_step.py"),
        ({"STEP": "destripe", "CODE": "./destripe --fast"}, "destripe"),
        ({"CODE": "lab.steps:dq lab-1.0"}, "lab.steps"),
        ({"PARAMS": '{"no_such_param": [1, "default"]}'}, "no_such_param"),
        ({"PARAMS": "{"}, "damaged"),
        ({"REFS": '{"mask": 5}'}, "damaged"),
        ({"PARAMS": "[1]"}, "damaged"),
    ],
)
def test_records_that_cannot_be_replayed(invoke, tmp_path, columns, word):
    done = invoke("history", recorded(tmp_path / "x.fits", **columns), "--as", "shell")
    assert done.code == 3
    assert word in done.err
    assert done.err.count("\n") == 1
    assert done.out == b""


def test_another_version_is_told(invoke, tmp_path):
    done = invoke("history", recorded(tmp_path / "x.fits", VERSION="0.0.1"), "--as", "shell")
    assert done.code == 0
    assert "0.0.1" in done.err


def test_a_default_that_has_changed_is_written_out(invoke, tmp_path):
    path = recorded(tmp_path / "x.fits", STEP="saturation", PARAMS='{"n_pix_grow_sat": [7, "default"]}')
    assert b"--n-pix-grow-sat 7" in invoke("history", path, "--as", "shell").out


def test_product_that_no_pipe_makes(invoke, tmp_path):
    rows = to_table([{**dict.fromkeys(COLUMNS, "{}"), "STEP": "dq_init", "STATUS": "COMPLETE"}])
    path = write(
        tmp_path / "x_fitopt.fits", {"SLOPE": np.zeros((1, 1, 4, 4), "f4")}, {}, {"PROVENANCE": rows}
    )
    assert invoke("history", path).code == 0
    assert invoke("history", path, "--as", "shell").code == 3


def test_usage(invoke, chain):
    assert invoke("history", chain, "--input", "x").code == 2
    assert invoke("history", chain, "--as", "make").code == 2

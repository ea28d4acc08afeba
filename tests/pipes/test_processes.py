"""Real processes: pipes, full disks and races."""

from __future__ import annotations

import hashlib
import os
import resource
import shlex
import signal
import subprocess

import pytest

from tests.conftest import PROGRAM, make_exposure

JWCAL = shlex.join(PROGRAM)
NIR = "group-scale dq-init saturation superbias refpix linearity dark-current jump".split()
MIRI = "group-scale dq-init saturation firstframe lastframe reset linearity rscd dark-current refpix jump".split()


def pixels(path):
    """Digest of every plane and table, and the step status keywords."""
    from astropy.io import fits

    out = {}
    with fits.open(path, memmap=False) as hdus:
        out["status"] = {k: v for k, v in hdus[0].header.items() if k.startswith(("S_", "R_"))}
        for hdu in hdus[1:]:
            if hdu.name not in {"PROVENANCE", "ASDF"}:
                out[hdu.name] = (hdu.data.shape, hashlib.sha256(hdu.data.tobytes()).hexdigest())
    return out


def shell(line, **more):
    """Run a bash line with pipefail."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        **more,
    )


def chain(exposure, steps, folder):
    """Shell pipe of single commands."""
    refs = f"--refs {exposure.refs}"
    links = [f"{JWCAL} {steps[0]} {exposure.uncal} {refs}"] + [f"{JWCAL} {s} {refs}" for s in steps[1:]]
    links.append(f"{JWCAL} ramp-fit {refs} --rateints {folder}/p_rateints.fits -o {folder}/p_rate.fits")
    return " | ".join(links)


@pytest.mark.parametrize("instrument", ["NIRCAM", "MIRI", "NIRISS"])
def test_pipe_gives_the_bits_of_the_fused_run(instrument, tmp_path, jwcal):
    exposure = make_exposure(tmp_path / "in", instrument=instrument, nint=3, ngroup=7, shape=(40, 72))
    done = shell(chain(exposure, MIRI if instrument == "MIRI" else NIR, tmp_path))
    assert done.returncode == 0, done.stderr
    for jobs in (1, 3):
        fused = jwcal("run", "detector1", *exposure.args, "-o", tmp_path / "f_rate.fits", "--rateints",
                      tmp_path / "f_rateints.fits", "--overwrite", "-j", jobs, "--skip", "gain-scale",
                      "--skip", "ipc")  # fmt: skip
        assert fused.code == 0, fused.err
        for product in ("rate", "rateints"):
            piped, whole = pixels(tmp_path / f"p_{product}.fits"), pixels(tmp_path / f"f_{product}.fits")
            status = piped.pop("status")
            assert {k: v for k, v in whole.pop("status").items() if k in status} == status
            assert piped == whole


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_closed_pipe(exposure, unbuffered, tmp_path):
    big = make_exposure(tmp_path / "in", shape=(256, 256), ngroup=10)
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    line = f"{{ {JWCAL} dq-init {big.uncal} --refs {big.refs}; echo $? >&2; }} | head -c 1000 >/dev/null"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, env=env, timeout=60
    )
    assert done.stderr == "141\n"


def test_reader_that_never_reads(exposure, tmp_path):
    big = make_exposure(tmp_path / "in", shape=(256, 256), ngroup=10)
    line = f"{{ {JWCAL} dq-init {big.uncal} --refs {big.refs}; echo $? >&2; }} | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == "141\n"


@pytest.mark.parametrize("keep", ["hdu", "block", "byte"])
def test_truncated_stream(exposure, jwcal, keep, tmp_path):
    whole = jwcal("dq-init", *exposure.args)
    assert whole.code == 0, whole.err
    from astropy.io import fits

    path = tmp_path / "whole.fits"
    path.write_bytes(whole.out)
    with fits.open(path) as hdus:
        last = hdus[-1]
        end = {"hdu": last._header_offset, "block": len(whole.out) - 2880, "byte": len(whole.out) - 1001}[
            keep
        ]
    done = jwcal("saturation", "--refs", exposure.refs, stdin=whole.out[:end])
    assert done.code == 3, done.err
    assert done.out == b""


def test_failed_upstream_command(exposure, tmp_path):
    line = f"{JWCAL} dq-init {tmp_path}/none.fits | {JWCAL} saturation --refs {exposure.refs} -o {tmp_path}/o.fits"
    done = shell(line)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 2
    assert os.listdir(tmp_path) == []


def test_two_processes_write_the_same_output(exposure, tmp_path):
    target = tmp_path / "y_rate.fits"
    command = [*PROGRAM, "run", "detector1", *exposure.args, "-o", str(target)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    codes = sorted(p.wait(timeout=60) for p in both)
    for p in both:
        p.stderr.close()
    assert codes == [0, 5]
    assert os.listdir(tmp_path) == ["y_rate.fits"]
    assert pixels(target)


def test_existing_output_is_kept(exposure, jwcal, tmp_path):
    target = tmp_path / "y_rate.fits"
    target.write_text("precious")
    done = jwcal("run", "detector1", *exposure.args, "-o", target)
    assert done.code == 5
    assert target.read_text() == "precious"
    assert os.listdir(tmp_path) == ["y_rate.fits"]


def test_input_is_not_overwritten_by_itself(exposure, jwcal, tmp_path):
    source = tmp_path / "x_uncal.fits"
    source.write_bytes(exposure.uncal.read_bytes())
    done = jwcal("dq-init", source, "--refs", exposure.refs, "-o", source, "--overwrite")
    if done.code == 0:
        assert pixels(source)["SCI"]
    else:
        assert source.read_bytes() == exposure.uncal.read_bytes()


@pytest.mark.parametrize("place", ["missing", "file", "readonly"])
def test_output_folder_that_cannot_be_used(place, exposure, jwcal, tmp_path):
    folder = tmp_path / place
    if place == "file":
        folder.write_text("")
    if place == "readonly":
        folder.mkdir(mode=0o555)
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write into read-only folders")
    done = jwcal("run", "detector1", *exposure.args, "-o", folder / "y_rate.fits")
    assert done.code == 5, done.err
    assert done.err.count("\n") == 1
    assert str(folder) in done.err


def test_read_only_file_system(exposure, jwcal):
    if not os.path.isdir("/proc/self"):
        pytest.skip("no /proc")
    done = jwcal("run", "detector1", *exposure.args, "-o", "/proc/self/y_rate.fits")
    assert done.code == 5, done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("limit", [1, 50_000, 200_000])
def test_file_size_limit(exposure, jwcal, tmp_path, limit):
    def restrict():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    big = make_exposure(tmp_path / "in", shape=(128, 128))
    out = tmp_path / "out"
    out.mkdir()
    done = jwcal("run", "detector1", *big.args, "-o", out / "y_rate.fits", preexec_fn=restrict)
    assert done.code == 5, done.err
    assert done.err.count("\n") == 1
    assert os.listdir(out) == []


@pytest.fixture
def full_disk(tmp_path):
    """Folder on a file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], check=False, capture_output=True
    ).returncode == 0  # fmt: skip
    if not mounted:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(full_disk, tmp_path, jwcal):
    big = make_exposure(tmp_path / "in", shape=(256, 256))
    done = jwcal("run", "detector1", *big.args, "-o", full_disk / "y_rate.fits")
    assert done.code == 5, done.err
    assert done.err.count("\n") == 1
    assert os.listdir(full_disk) == []


@pytest.mark.parametrize("command", ["dq-init", "info", "history", "preview", "steps", "--help"])
def test_full_disk_at_the_end_of_a_pipe(command, exposure):
    more = {"dq-init": exposure.args, "steps": [], "--help": []}.get(command, [str(exposure.uncal)])
    with open("/dev/full", "wb") as sink:
        done = subprocess.run(
            [*PROGRAM, command, *more], stdout=sink, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert done.returncode == 5, done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", ["preview -o", "qa --html"])
def test_file_size_limit_of_a_picture(command, exposure, jwcal, tmp_path):
    def restrict():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    rate = tmp_path / "x_rate.fits"
    assert jwcal("run", "detector1", *exposure.args, "-o", rate).code == 0
    out = tmp_path / "out"
    out.mkdir()
    name, option = command.split()
    done = jwcal(name, rate, option, out / "page", preexec_fn=restrict)
    assert (done.code, done.err) == (5, f"jwcal {name}: {out}/page: cannot write: File too large\n")
    assert os.listdir(out) == []


def test_terminal_is_refused_as_output(exposure):
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    try:
        done = subprocess.run(
            [*PROGRAM, "dq-init", *exposure.args],
            stdout=follower,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(leader)
        os.close(follower)
    assert done.returncode == 2
    assert b"-o" in done.stderr


def test_results_do_not_depend_on_the_environment(exposure, jwcal, tmp_path):
    for name, env in (
        ("a", {"PYTHONUNBUFFERED": "1", "LC_ALL": "C"}),
        ("b", {"OMP_NUM_THREADS": "1", "TZ": "Asia/Tokyo"}),
    ):
        done = jwcal("run", "detector1", *exposure.args, "-o", tmp_path / f"{name}.fits", env=env)
        assert done.code == 0, done.err
    assert pixels(tmp_path / "a.fits") == pixels(tmp_path / "b.fits")


def test_one_bad_file_among_many(exposure, jwcal, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    good = [source / f"jw01234001001_02101_0000{i}_nrca1_uncal.fits" for i in (1, 2)]
    for path in good:
        path.write_bytes(exposure.uncal.read_bytes())
    bad = source / "jw01234001001_02101_00003_nrca1_uncal.fits"
    bad.write_bytes(exposure.uncal.read_bytes()[:9000])
    out = tmp_path / "out"
    out.mkdir()
    done = jwcal("run", "auto", bad, *good, "--refs", exposure.refs, "--output-dir", out, "-j", "2")
    assert done.code == 3, done.err
    assert sorted(p.name for p in out.glob("*_rate.fits")) == [p.name.replace("uncal", "rate") for p in good]
    assert bad.name in done.err

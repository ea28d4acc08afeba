"""Signals: whenever one comes, outputs are all there or none is, and nothing half-made is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import PROGRAM, make_exposure

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
CODE = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
WORD = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "terminated"}
BOTH = ["y_rate.fits", "y_rateints.fits"]

SLOW = '''
"""A step that tells when it works, and takes its time."""
import os
import time
from jwcal.core.step import step


@step("slow", stage="detector1", takes="ramp", gives="ramp", changes=("SCI",))
def slow(tile, refs, p):
    """Wait."""
    open(os.environ["MARK"], "w").close()
    time.sleep(float(os.environ["SECONDS"]))
'''

# A signal while the first of two outputs gets its name.
WHILE_NAMED = """
import os, sys
from jwcal.core import target

finish = target.FileTarget.finish

def finish_signalled(self, size):
    os.kill(os.getpid(), int(os.environ["NUMBER"]))
    finish(self, size)

target.FileTarget.finish = finish_signalled
from jwcal.cli.main import main
main()
"""


def hear():
    """Undo what a shell does to jobs in the background, and nohup."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


class Run:
    """A run of detector1 with two outputs in a folder of their own."""

    def __init__(self, folder, shape=(64, 64)):
        self.folder = folder
        self.exposure = make_exposure(folder / "in", shape=shape, ngroup=8)
        self.out = folder / "out"
        self.out.mkdir()
        self.mark = folder / "mark"
        (folder / "slow.py").write_text(SLOW)

    def start(self, *more, program=PROGRAM, source=None, seconds=0, number=0, **options):
        args = ["run", "detector1", source or str(self.exposure.uncal), "--refs", str(self.exposure.refs),
                "-o", str(self.out / BOTH[0]), "--rateints", str(self.out / BOTH[1]), *more]  # fmt: skip
        env = {**os.environ, "MARK": str(self.mark), "SECONDS": str(seconds), "NUMBER": str(int(number))}
        options.setdefault("preexec_fn", hear)
        return subprocess.Popen([*program, *args], stderr=subprocess.PIPE, env=env, **options)

    def start_slow(self, seconds, **options):
        """Start, and return when the slow step is at work."""
        process = self.start(
            "--after", f"dark-current={self.folder}/slow.py:slow", "-j2", seconds=seconds, **options
        )
        until(lambda: self.mark.exists() or process.poll() is not None)
        return process

    def made(self):
        return sorted(os.listdir(self.out))


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.mark.parametrize("number", SIGNALS)
def test_while_it_reads(number, tmp_path):
    run = Run(tmp_path, shape=(512, 512))
    process = run.start(source="-", stdin=subprocess.PIPE)
    # More than a pipe holds: once it is written the process reads.
    process.stdin.write(run.exposure.uncal.read_bytes()[: 4 << 20])
    process.send_signal(number)
    process.wait(timeout=60)
    _, err = process.communicate()
    assert process.returncode == CODE[number]
    assert err.decode() == f"jwcal run: {WORD[number]}\n"
    assert run.made() == []


@pytest.mark.parametrize("number", SIGNALS)
def test_while_it_works(number, run):
    process = run.start_slow(0.2)
    # Both outputs have been begun, and there is something to leave behind.
    until(lambda: len(run.made()) == 2 or process.poll() is not None)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == CODE[number]
    assert err.decode() == f"jwcal run: {WORD[number]}\n"
    assert run.made() == []


def test_second_signal_does_not_wait(run):
    process = run.start_slow(100)
    until(lambda: len(run.made()) == 2 or process.poll() is not None)
    start = time.monotonic()
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert time.monotonic() - start < 60
    process.communicate()
    assert process.returncode == 130
    assert run.made() == []


@pytest.mark.parametrize("number", SIGNALS)
def test_while_outputs_get_their_names(number, run):
    process = run.start(program=[sys.executable, "-c", WHILE_NAMED], number=number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == CODE[number], err
    assert run.made() == BOTH


def test_ignored_signal_stays_ignored(run):
    """As after nohup."""
    process = run.start_slow(0.2, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert run.made() == BOTH


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_any_time(number, tmp_path):
    run = Run(tmp_path, shape=(512, 512))
    before = run.exposure.uncal.read_bytes()
    start = time.monotonic()
    whole = run.start("--overwrite")
    whole.communicate(timeout=60)
    assert whole.returncode == 0
    longest = time.monotonic() - start
    for share in (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1):
        for name in run.made():
            (run.out / name).unlink()
        process = run.start("--overwrite")
        time.sleep(share * longest)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        # Before the program listens the interpreter decides: killed, or 1 in its own start.
        assert process.returncode in {0, CODE[number], -number, 1}
        assert not re.search(rb'main.py", line [0-9]+, in main', err)
        assert run.made() in ([], BOTH), f"after {share * longest} s"
        assert run.made() == BOTH or process.returncode != 0
    assert run.exposure.uncal.read_bytes() == before

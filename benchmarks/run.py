"""Measure jwcal against the official pipeline on the same cases, in one run.

    python benchmarks/run.py [--rows ROW,...] [--repeat N] [--peer PYTHON] [--work DIR] [--record]

Rows: nircam, tso, miri (whole commands, alternating with the official pipeline), likely (likelihood fit
of both), optimal (our best recipe, their default), memory (growth from 2 to 60 integrations), help
(start-up), pipe (single commands against the fused one).  Cases are made by ../shared/bench/make_case.py
into DIR (default: a jwcal folder in the user's cache) and kept there.  Every figure is of a whole
process: wall clock, CPU of it and of its children, peak resident memory of the largest process.  With
--record the table is put on top of benchmarks/results.md.

Only the standard library is used here.
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SHARED = Path(os.environ.get("JWCAL_SHARED") or ROOT.parent / "shared")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jwcal"

CASES = {
    "nircam": ("NIRCam 2048x2048, 10 groups", "--instrument nircam --nints 1 --ngroups 10 --seed 1"),
    "tso": (
        "NIRCam 256x256, 10 groups, 50 integrations",
        "--instrument nircam --shape 256 256 --nints 50 --ngroups 10 --seed 2",
    ),
    "miri": (
        "MIRI 1032x1024, 40 groups, 2 integrations",
        "--instrument miri --nints 2 --ngroups 40 --seed 1",
    ),
}
GROWTH = "--instrument nircam --shape {n} {n} --nints {nints} --ngroups 10 --seed 4 --cr-fraction 0.005"
# Other ways to run the first case: options of ours, options of the official one, and the aim.
WAYS = {
    "likely": ("likelihood fit", ["--set", "ramp_fit.algorithm=LIKELY"], ["--fit", "LIKELY"], "20x; 40x"),
    "optimal": ("--recipe optimal, official default", ["--recipe", "optimal"], [], "8x; 15x"),
}
NIR_STEPS = "dq-init saturation superbias refpix linearity dark-current jump".split()


def measure(command, *, stdout=subprocess.DEVNULL, env=None):
    """Run a command; return its wall clock [s], CPU [s] and peak memory [MB].

    Parameters
    ----------
    command : list of str
        Program and arguments.
    stdout : int or file
        Where its output goes.
    env : dict or None
        Environment.

    Raises
    ------
    SystemExit
        If it fails: a number from a failed run is worth nothing.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode} from: {shlex.join(command)}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024}


def middle(runs):
    """Median of each figure over repeated runs."""
    return {k: statistics.median(r[k] for r in runs) for k in runs[0]}


class Bench:
    """The programs to compare and the folder they work in.

    Parameters
    ----------
    jwcal, peer : list of str, str
        Command of jwcal, and interpreter of the official package's environment.
    work : pathlib.Path
        Folder for cases and outputs.
    repeat : int
        Runs of jwcal for each one of the official pipeline; the median counts.
    """

    def __init__(self, jwcal, peer, work, repeat):
        self.jwcal, self.peer, self.work, self.repeat = jwcal, peer, work, repeat
        self.rows = []

    def case(self, name, arguments):
        """Make a case once and return its folder."""
        folder = self.work / name
        stamp = folder / "arguments"
        if not stamp.exists() or stamp.read_text() != arguments:
            say(f"making {name}")
            maker = [self.peer or sys.executable, str(SHARED / "bench" / "make_case.py"), str(folder)]
            subprocess.run([*maker, *arguments.split()], check=True, stdout=subprocess.DEVNULL)
            stamp.write_text(arguments)
        return folder

    def fused(self, folder, name="jwcal", extra=()):
        """Arguments of the whole command on a case, both outputs."""
        info = json.loads((folder / "case.json").read_text())
        out = self.work / "out"
        out.mkdir(exist_ok=True)
        files = ["-o", str(out / f"{name}_rate.fits"), "--rateints", str(out / f"{name}_rateints.fits")]
        run = [*self.jwcal, "run", "detector1", str(folder / info["uncal"]), *files]
        return [*run, "--refs", str(folder / "refs"), "--overwrite", "--no-progress", *extra]

    def against(self, row):
        """Alternate jwcal and the official pipeline on one case."""
        title, arguments = CASES["nircam" if row in WAYS else row]
        folder = self.case("nircam" if row in WAYS else row, arguments)
        way, mine_too, theirs_too, aim = WAYS.get(row, ("", [], [], ""))
        title += f", {way}" if way else ""
        command = self.fused(folder, extra=mine_too)
        mine, theirs = [], []
        measure(command)
        official = [
            self.peer,
            str(SHARED / "bench" / "run_peer.py"),
            str(folder),
            str(self.work / "out" / "peer"),
            *theirs_too,
        ]
        for turn in range(max(1, self.repeat // 3)):
            say(f"{row}, turn {turn + 1}")
            mine += [measure(command) for _ in range(3)]
            if self.peer:
                theirs.append(measure(official))
        a, b = middle(mine), middle(theirs) if theirs else None
        unit = {"wall": "s", "cpu": "s", "rss": "MB"}
        for key, label in (("wall", "wall clock"), ("cpu", "CPU"), ("rss", "peak memory")):
            form = "{:.0f}" if key == "rss" else "{:.2f}"
            ours = f"{form.format(a[key])} {unit[key]}"
            other = f"{form.format(b[key])} {unit[key]}" if b else "-"
            ratio = f"{b[key] / a[key]:.1f}x less" if b else "-"
            goal = {"wall": aim or "20x; 30x", "cpu": "14x; 25x", "rss": "700; 400 MB"}[key]
            self.add(
                f"{title}: {label}", ours, other, ratio, goal if row == "nircam" or key == "wall" else ""
            )

    def memory(self):
        """Peak memory with 2 and with 60 integrations."""
        for n in (512, 256):
            peaks = {}
            for nints in (2, 60):
                folder = self.case(f"growth{n}x{nints}", GROWTH.format(n=n, nints=nints))
                peaks[nints] = middle([measure(self.fused(folder)) for _ in range(3)])["rss"]
            growth = 100 * (peaks[60] / peaks[2] - 1)
            self.add(
                f"peak memory, 2 to 60 integrations of {n}x{n}x10",
                f"{peaks[2]:.0f} to {peaks[60]:.0f} MB", "-", f"{growth:+.1f} %", "< 5 %; none",
            )  # fmt: skip

    def help(self):
        """CPU seconds of the help pages, and of NumPy's import for comparison."""
        python = [sys.executable, "-c"]
        commands = {
            "python -c pass": ([*python, "pass"], ""),
            "python -c 'import numpy'": ([*python, "import numpy"], ""),
            "jwcal --help": ([*self.jwcal, "--help"], "< 0.15 s"),
            "jwcal superbias --help": ([*self.jwcal, "superbias", "--help"], "< 0.30 s"),
        }
        for name, (command, goal) in commands.items():
            cpu = min(measure(command)["cpu"] for _ in range(max(9, self.repeat)))
            self.add(f"{name}: CPU, best of {max(9, self.repeat)}", f"{cpu:.3f} s", "-", "-", goal)

    def pipe(self):
        """Whole chain as a shell pipe against the fused command."""
        folder = self.case("nircam", CASES["nircam"][1])
        info = json.loads((folder / "case.json").read_text())
        refs = f"--refs {shlex.quote(str(folder / 'refs'))}"
        program = shlex.join(self.jwcal)
        uncal = shlex.quote(str(folder / info["uncal"]))
        out = self.work / "out"
        links = [f"{program} group-scale {uncal} {refs}"] + [f"{program} {s} {refs}" for s in NIR_STEPS]
        ends = f"-o {out / 'pipe_rate.fits'} --rateints {out / 'pipe_rateints.fits'} --overwrite"
        links.append(f"{program} ramp-fit {refs} {ends}")
        chain = ["bash", "-o", "pipefail", "-c", " | ".join(links)]
        piped = middle([measure(chain) for _ in range(self.repeat)])
        fused = middle([measure(self.fused(folder)) for _ in range(self.repeat)])
        for key, label in (("wall", "wall clock"), ("cpu", "CPU")):
            self.add(
                f"shell pipe of {len(links)} commands, NIRCam 2048x2048x10: {label}",
                f"{piped[key]:.2f} s", f"fused {fused[key]:.2f} s",
                f"{piped[key] / fused[key]:.2f}x", "< 5x; < 3x" if key == "wall" else "",
            )  # fmt: skip

    def add(self, *row):
        """Append a row and print it."""
        self.rows.append(row)
        print(" | ".join(row), flush=True)


def say(text):
    """Tell on standard error what is going on."""
    print(f"benchmarks/run.py: {text}", file=sys.stderr, flush=True)


def machine():
    """One line about this machine."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, AttributeError):
        model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text()).group(1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def table(bench):
    """Markdown of one run."""
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    lines = [
        f"## {dt.datetime.now(dt.UTC):%Y-%m-%d}, {machine()}",
        "",
        f"Load averages at the end: {load}.",
        "",
        "| what | jwcal | official or other | ratio | at least; aim |",
        "|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in bench.rows]
    return "\n".join(lines) + "\n"


def record(text, path):
    """Put a run on top of the results file, below its head."""
    old = path.read_text()
    head, mark, rest = old.partition("\n## ")
    path.write_text(head.rstrip() + "\n\n" + text + (mark + rest if mark else ""))


def main(argv=None):
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="nircam,tso,miri,likely,optimal,memory,help,pipe")
    parser.add_argument("--repeat", type=int, default=6)
    parser.add_argument("--jwcal", default=str(Path(sys.executable).with_name("jwcal")), help="the program")
    parser.add_argument("--peer", help="interpreter with the official package; 'none' leaves it out")
    parser.add_argument("--work", type=Path, default=CACHE / "bench")
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args(argv)
    peer = given.peer
    if peer is None:
        env = os.environ.get("JWCAL_PEER_ENV") or CACHE / "peer-jwst-3.0.0"
        peer = str(Path(env) / "bin" / "python")
    if peer != "none" and not Path(peer).exists():
        parser.error(f"no {peer}: run tests/parity/make_peer_env, or say --peer none")
    if not (SHARED / "bench" / "make_case.py").exists():
        parser.error(f"no case maker in {SHARED}/bench: set JWCAL_SHARED")
    given.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(shlex.split(given.jwcal), None if peer == "none" else peer, given.work, given.repeat)
    for row in given.rows.split(","):
        if row in CASES or row in WAYS:
            bench.against(row)
        elif row in {"memory", "help", "pipe"}:
            getattr(bench, row)()
        else:
            parser.error(f"no row {row!r}")
    text = table(bench)
    print("\n" + text)
    if given.record:
        record(text, HERE / "results.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())

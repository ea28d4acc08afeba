"""Fixtures of the parity suite: both packages have calibrated every selected case once."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.parity.cases import BUILT, CASES, PROGRAM, build

PRODUCTS = ("rate", "rateints")
HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# Opening takes a fifth of a second a product; intermediate ones are opened for these.
OPENED_WHOLE = {"nircam", "zeroframe", "miri", "sim-niriss-segment", "sim-nirspec"}
LINES: dict[tuple[str, str], tuple[str, float, float]] = {}


def pytest_collection_modifyitems(items):
    """Give the first parity test the time that the official package needs for all cases."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))


def _cache():
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jwcal"


def _shared():
    return Path(os.environ.get("JWCAL_SHARED") or ROOT.parent / "shared")


@pytest.fixture(scope="session")
def peer_python():
    """Interpreter of the official package's environment."""
    folder = Path(os.environ.get("JWCAL_PEER_ENV") or _cache() / "peer-jwst-3.0.0")
    python = folder / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no official package in {folder}: run tests/parity/make_peer_env")
    return python


@pytest.fixture(scope="session")
def make_case():
    """The neutral case maker."""
    path = _shared() / "bench" / "make_case.py"
    if not path.exists():
        pytest.skip(f"no case maker at {path}: set JWCAL_SHARED to the folder that holds bench/make_case.py")
    return path


def _selected(request):
    ours = (item for item in request.session.items if HERE in item.path.parents and "case" in _params(item))
    names = {item.callspec.params["case"] for item in ours}
    return [c for c in CASES if c.name in names]


def _params(item):
    return getattr(getattr(item, "callspec", None), "params", {})


def _job(case, folder):
    info = json.loads((folder / "case.json").read_text())
    return {
        "uncal": str(folder / info["uncal"]),
        "refs": {k: str(folder / v) for k, v in info["refs"].items()},
        "out": str(folder / "peer"),
        "set": case.set,
        "save": list(case.steps),
    }


@pytest.fixture(scope="session")
def official(request, peer_python, make_case):
    """Folder of every selected case, with the official products in ``peer/``.

    Cases are kept in the user's cache folder under the hash of all that defines them.
    """
    base = _cache() / "parity"
    folders, todo = {}, []
    common = make_case.read_bytes() + (HERE / "peer.py").read_bytes() + inspect.getsource(build).encode()
    simulator = b"".join(p.read_bytes() for p in sorted((ROOT / "jwcal" / "simulate").rglob("*.py")))
    selected = _selected(request)
    for case in selected:
        maker = common + (simulator if case.make.startswith("sim ") else b"")
        for seed, name in ((case.irs2, "irs2"), (case.sirs, "sirs"), (case.stripes or None, "stripes")):
            maker += b"" if seed is None else b"%d " % seed + (HERE / f"{name}.py").read_bytes()
        if case.soss:
            maker += (HERE / "soss.py").read_bytes()
        if case.events:
            maker += (HERE / "events.py").read_bytes()
        digest = hashlib.sha256(maker + repr(case).encode()).hexdigest()[:16]
        folder = folders[case.name] = base / f"{case.name}-{digest}"
        if not _is_done(folder):
            for old in base.glob(f"{case.name}-{'[0-9a-f]' * 16}"):
                shutil.rmtree(old)
            todo.append((case, folder))
    if todo:
        _calibrate(todo, peer_python, make_case)
    return folders


def _is_done(folder):
    done = folder / "peer" / "done.json"
    return done.exists() and "failed" not in json.loads(done.read_text())


def _calibrate(todo, peer_python, make_case):
    """Make the cases and run the official package on them, two processes at a time."""
    workers = min(2, os.cpu_count() or 1, len(todo))

    def share(part):
        for case, folder in part:
            folder.mkdir(parents=True)
            build(case, folder, make_case)
        jobs = part[0][1] / "jobs.json"
        jobs.write_text(json.dumps([_job(case, folder) for case, folder in part]))
        log = part[0][1] / "peer.log"
        with log.open("wb") as stream:
            subprocess.run(
                [str(peer_python), str(HERE / "peer.py"), str(jobs)], check=True, stdout=stream, stderr=stream
            )

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(share, [todo[i::workers] for i in range(workers)]))


@pytest.fixture(scope="session")
def ours(tmp_path_factory):
    """Function that calibrates a case with jwcal, once, and returns the folder of products."""
    done = {}

    def calibrate(case, folder):
        if case.name not in done:
            out = tmp_path_factory.mktemp(case.name)
            info = json.loads((folder / "case.json").read_text())
            command = [
                *PROGRAM,
                "run",
                "detector1",
                str(folder / info["uncal"]),
                "--refs",
                str(folder / "refs"),
            ]
            command += [
                "-o",
                str(out / "rate.fits"),
                "--rateints",
                str(out / "rateints.fits"),
                "--no-progress",
            ]
            for key, value in case.set.items():
                command += ["--set", f"{key}={value}"]
            for step in compared(case, folder):
                command += ["--save-after", f"{step.replace('_', '-')}:{out / step}.fits"]
            result = subprocess.run(command, check=False, capture_output=True, text=True)
            done[case.name] = out, result
        out, result = done[case.name]
        assert result.returncode == 0, f"jwcal ended with {result.returncode}: {result.stderr[-2000:]}"
        return out

    return calibrate


def product_stem(folder):
    """First part of the product names of a case."""
    return json.loads((folder / "case.json").read_text())["uncal"].removesuffix("_uncal.fits")


def compared(case, folder):
    """Steps the official pipeline completed on a case, of those that are compared."""
    done = json.loads((folder / "peer" / "done.json").read_text())
    renamed = {"dark_current": "dark_sub"}
    return [s for s in case.steps if s in BUILT and done.get(renamed.get(s, s)) == "COMPLETE"]


def open_with_peer(python, pairs, folder):
    """Open pairs of products with the official data models; return what it complains about."""
    listing = folder / "pairs.json"
    listing.write_text(json.dumps(pairs))
    command = [str(python), str(HERE / "open_products.py"), str(listing)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def complaints(request, official, ours, peer_python, tmp_path_factory):
    """What the official data models complain about, by case; one process opens all."""
    out, pairs = {}, []
    for case in _selected(request):
        folder = official[case.name]
        products = ["rate", "rateints", *(compared(case, folder) if case.name in OPENED_WHOLE else ())]
        out[case.name] = []
        try:
            made = ours(case, folder)
        except AssertionError as failed:
            out[case.name].append(str(failed))
            continue
        pairs += [
            (case.name, str(made / f"{p}.fits"), str(folder / "peer" / f"{product_stem(folder)}_{p}.fits"))
            for p in products
        ]
    for name, text in open_with_peer(peer_python, pairs, tmp_path_factory.mktemp("opened")):
        out[name].append(text)
    return out


@pytest.fixture
def note():
    """Function that records a line of the report: case, step or product, text, largest difference."""

    def record(case, what, text, largest, equal):
        LINES[case, what] = text, largest, equal

    return record


def pytest_terminal_summary(terminalreporter):
    """Print the report in short, and all of it to the file that ``JWCAL_PARITY_REPORT`` names."""
    if not LINES:
        return
    terminalreporter.section("parity with the official package: largest differences, fraction of equal flags")
    cases = list(dict.fromkeys(case for case, _ in LINES))
    for case in cases:
        parts = []
        for what in ("steps", *PRODUCTS):
            rows = [
                v for (c, w), v in LINES.items() if c == case and what == (w if w in PRODUCTS else "steps")
            ]
            if rows:
                name = f"{len(rows)} steps" if what == "steps" else what
                parts.append(f"{name} {max(r[1] for r in rows):.1e} {min(r[2] for r in rows):.6f}")
        terminalreporter.write_line(f"{case:19s} " + "  ".join(f"{p:28s}" for p in parts))
    target = os.environ.get("JWCAL_PARITY_REPORT")
    if target:
        rows = [f"{case:19s} {what:13s} {text}" for (case, what), (text, *_) in LINES.items()]
        Path(target).write_text("\n".join(rows) + "\n")

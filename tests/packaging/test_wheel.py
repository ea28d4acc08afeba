"""What is installed: complete, and usable without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(
    int(version("setuptools").split(".")[0]) < 77,
    reason="setuptools 77 is needed to build without the network",
)
SOURCES = ("setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGES",
           "CITATION.cff", ".ruff.toml", "jwcal", "man", "bin", "examples")  # fmt: skip


def build(kind, source, out, **env):
    """Build a wheel or an sdist without the network."""
    hook = f"from setuptools import build_meta as b; b.build_{kind}({str(out)!r})"
    done = subprocess.run(
        [sys.executable, "-c", hook],
        cwd=source,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = out.iterdir()
    return made


@pytest.fixture
def source(tmp_path_factory):
    """Copy of the sources, without anything built."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        elif path.exists():
            shutil.copy(path, folder / name)
    return folder


def run_installed(folder, code, *args):
    """Run Python code with an unpacked wheel in front of the path and the checkout out of it."""
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("compiler", [None, "false"], ids=["compiled", "no compiler"])
def test_wheel(compiler, source, tmp_path, exposure):
    wheel = build("wheel", source, tmp_path, **({"CC": compiler} if compiler else {}))
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        names = archive.namelist()
    for path in (ROOT / "jwcal").rglob("*"):
        if path.suffix in {".py", ".toml"} and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names
    assert any(n.endswith("licenses/LICENSE") for n in names)
    for page in (ROOT / "man").glob("*.1"):
        assert any(n.endswith(f"share/man/man1/{page.name}") for n in names)
    assert not any(n.startswith(("tests/", "examples/", "benchmarks/")) for n in names)
    code = (
        "import sys, jwcal.kernels._lib as lib; from jwcal.cli.main import main\n"
        "print(lib.__file__, bool(lib.native()), flush=True); main()"
    )
    out = run_installed(folder, code, "run", "detector1", *exposure.args, "-o", str(tmp_path / "rate.fits"))
    where, native = out.split()
    assert where.startswith(str(folder))
    assert native == str(compiler is None)
    assert (tmp_path / "rate.fits").stat().st_size > 0


def test_sdist_builds_a_wheel(source, tmp_path):
    (tmp_path / "sdist").mkdir()
    sdist = build("sdist", source, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    (tmp_path / "wheel").mkdir()
    wheel = build("wheel", folder, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        assert any(n.startswith("jwcal/kernels/_native") for n in archive.namelist())

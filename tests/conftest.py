"""Factories shared by the tests: a small exposure with its references, and ways to run commands."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, "-c", "from jwcal.cli.main import main; main()"]

ORIENTATION = {"NIRCAM": ("NRCA1", -1, 2, "NRC_IMAGE", "RAPID"), "MIRI": ("MIRIMAGE", 1, 2, "MIR_IMAGE", "FASTR1"),
               "NIRISS": ("NIS", -2, -1, "NIS_IMAGE", "NISRAPID")}  # fmt: skip


@dataclass
class Result:
    """What a command did: exit code, bytes on standard output, text on standard error."""

    code: int
    out: bytes
    err: str


@dataclass
class Exposure:
    """A raw exposure on disk and the folder of its references."""

    uncal: Path
    refs: Path

    @property
    def args(self):
        """Input and references as command-line arguments."""
        return [str(self.uncal), "--refs", str(self.refs)]


def make_exposure(folder, *, instrument="NIRCAM", nint=2, ngroup=6, shape=(24, 40), seed=1, keys=None):
    """Write a small raw subarray exposure and all references that detector1 needs.

    Parameters
    ----------
    folder : pathlib.Path
        Where to write ``x_uncal.fits`` and ``refs/``.
    instrument : str
        NIRCAM, NIRISS or MIRI.
    nint, ngroup : int
        Size of the ramp.
    shape : tuple of int
        Rows and columns; the subarray starts at the detector's corner, so it has reference pixels.
    seed : int
        Seed of the pixel values.
    keys : dict or None
        More keywords of the primary header.

    Returns
    -------
    Exposure
    """
    from astropy.io import fits

    rng = np.random.default_rng(seed)
    ny, nx = shape
    detector, fast, slow, kind, pattern = ORIENTATION[instrument]
    common = {
        "TELESCOP": "JWST", "INSTRUME": instrument, "DETECTOR": detector, "SUBARRAY": "GENERIC",
        "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": nx, "SUBSIZE2": ny, "FASTAXIS": fast, "SLOWAXIS": slow,
    }  # fmt: skip
    refs = folder / "refs"
    refs.mkdir(parents=True)

    def reference(name, hdus, **more):
        header = fits.Header({**common, "REFTYPE": name.upper(), "USEAFTER": "2020-01-01T00:00:00",
                              "DESCRIP": "synthetic", "AUTHOR": "synthetic", "PEDIGREE": "GROUND", **more})  # fmt: skip
        fits.HDUList([fits.PrimaryHDU(header=header), *hdus]).writeto(refs / f"{name}.fits")

    def plane(array, name="SCI", dtype=np.float32):
        return fits.ImageHDU(np.ascontiguousarray(array, dtype=dtype), name=name)

    zero = plane(np.zeros(shape), "DQ", np.uint32)
    mask = np.zeros(shape, np.uint32)
    mask[:4] = mask[:, :4] = 1 << 31
    mask[10, 10:12] = 1 | 1 << 10
    bias = rng.normal(9500, 50, shape) if instrument != "MIRI" else np.zeros(shape)
    coefficients = np.zeros((4, *shape))
    coefficients[1], coefficients[2] = 1, 5e-7
    dark = np.broadcast_to(0.01 * np.arange(1, ngroup + 1)[:, None, None], (ngroup, *shape))
    reference("mask", [plane(mask, "DQ", np.uint32)])
    reference("saturation", [plane(np.full(shape, 60000)), zero])
    reference("linearity", [plane(coefficients, "COEFFS"), zero])
    reference("gain", [plane(np.full(shape, 2.0))], BUNIT="electrons/DN")
    reference("readnoise", [plane(np.full(shape, 6.0))], READPATT=pattern)
    frames = {"READPATT": pattern, "NFRAMES": 1, "NGROUPS": ngroup, "GROUPGAP": 0}
    if instrument == "MIRI":
        double = plane(np.zeros((2, 1, *shape)), "DQ", np.uint32)
        reference("dark", [plane(np.stack([dark, dark])), double], NINTS=2, **frames)
        reference("reset", [plane(np.ones((2, 3, *shape))), zero], **(frames | {"NGROUPS": 3}), NINTS=2)
        rows = np.array([("GENERIC", pattern, 1, 2)], [("subarray", "S17"), ("readpatt", "S12"),
                                                       ("group_skip1", "i4"), ("group_skip", "i4")])  # fmt: skip
        reference("rscd", [fits.BinTableHDU(rows, name="RSCD_GROUP_SKIP")])
    else:
        reference("dark", [plane(dark), zero], **frames)
        reference("superbias", [plane(bias), plane(np.ones(shape), "ERR"), zero], READPATT=pattern)

    slope = rng.uniform(5, 400, shape)
    slope[20, 20] = 2e4
    slope[:4] = slope[:, :4] = 0
    ramp = bias + 300 + slope * np.arange(1, ngroup + 1)[:, None, None] + np.zeros((nint, 1, 1, 1))
    ramp += rng.normal(0, 5, ramp.shape)
    ramp[0, ngroup // 2 :, 15, 15] += 3000
    times = np.zeros(nint, [("integration_number", "i4"), *(
        (f"int_{a}_{b}", "f8") for b in ("MJD_UTC", "BJD_TDB") for a in ("start", "mid", "end"))])  # fmt: skip
    times["integration_number"] = np.arange(nint) + 1
    primary = fits.Header({
        **common, "EXP_TYPE": kind, "READPATT": pattern, "NINTS": nint, "NGROUPS": ngroup, "NFRAMES": 1,
        "FRMDIVSR": 1, "GROUPGAP": 0, "NSAMPLES": 1, "TFRAME": 1.0, "TGROUP": 1.0, "NRESETS": 1, "INTSTART": 1,
        "INTEND": nint, "NOUTPUTS": 1, "ZEROFRAM": False, "DATE-OBS": "2024-03-01", "TIME-OBS": "00:00:00.000",
        "EFFINTTM": float(ngroup), "EFFEXPTM": float(nint * ngroup), "DURATION": float(nint * ngroup),
        "EXPSTART": 60370.0, "EXPEND": 60370.01, "TSOVISIT": False, "FILTER": "F200W", "PUPIL": "CLEAR",
        "DATAMODL": "Level1bModel", "FILENAME": "x_uncal.fits", **(keys or {}),
    })  # fmt: skip
    science = fits.ImageHDU(np.clip(np.rint(ramp), 0, 65535).astype(np.uint16), name="SCI")
    science.header["BUNIT"] = "DN"
    hdus = [fits.PrimaryHDU(header=primary), science, fits.BinTableHDU(times, name="INT_TIMES")]
    fits.HDUList(hdus).writeto(folder / "x_uncal.fits")
    return Exposure(folder / "x_uncal.fits", refs)


@pytest.fixture(scope="session")
def exposure(tmp_path_factory):
    """Small NIRCam exposure; do not change its files."""
    return make_exposure(tmp_path_factory.mktemp("nircam"))


@pytest.fixture(scope="session")
def miri(tmp_path_factory):
    """Small MIRI exposure; do not change its files."""
    return make_exposure(tmp_path_factory.mktemp("miri"), instrument="MIRI", ngroup=8)


@pytest.fixture
def invoke(capfdbinary):
    """Run a jwcal command in this process: ``invoke("info", path)`` gives a Result."""
    from jwcal.cli.main import root
    from jwcal.cli.runner import run

    def call(*args):
        capfdbinary.readouterr()
        code = run(root, [str(a) for a in args])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Result(code, out, err.decode(errors="replace"))

    return call


@pytest.fixture
def jwcal():
    """Run a jwcal command as a process of its own: ``jwcal("info", path, stdin=b"…")``."""

    def call(*args, stdin=b"", timeout=120, env=None, **more):
        done = subprocess.run(
            [*PROGRAM, *map(str, args)], input=stdin, capture_output=True, timeout=timeout, check=False,
            env={**os.environ, **(env or {})}, **more,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    return call


@pytest.fixture(scope="session")
def shared():
    """Folder of data beside the checkout, ``$JWCAL_SHARED`` or ``../shared``."""
    folder = Path(os.environ.get("JWCAL_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set JWCAL_SHARED")
    return folder

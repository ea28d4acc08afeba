"""The pipelines for guide stars and for darks against the official package on the same input."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from tests.parity.cases import CASES, PROGRAM, build
from tests.parity.conftest import HERE, _shared, open_with_peer

FLIGHT = "level1b/jw01019001001_gs-acq1_2022117003102_uncal.fits"
# Shape (integrations, groups) and keywords of the modes made of the pixels of the flight exposure.
MODES = {
    "acq1": None,
    "acq2": ((5, 2), {"EXP_TYPE": "FGS_ACQ2", "READPATT": "ACQ2", "TGROUP": 0.05016}),
    "track": ((6, 2), {"EXP_TYPE": "FGS_TRACK", "READPATT": "TRACK", "TGROUP": 0.02508}),
    "fineguide": ((1, 12), {"EXP_TYPE": "FGS_FINEGUIDE", "READPATT": "FINEGUIDE", "TGROUP": 0.05418}),
    "id-image": ((2, 2), {"EXP_TYPE": "FGS_ID-IMAGE", "READPATT": "ID", "TGROUP": 0.3406}),
}
DARKS = ("nircam", "miri")


@pytest.fixture(scope="session")
def flight():
    """The raw guide-star exposure of the shared data."""
    path = _shared() / "data" / FLIGHT
    if not path.exists():
        pytest.skip(f"no flight exposure at {path}: set JWCAL_SHARED to the folder that holds data/")
    return path


def guide_references(folder, header):
    """References around the frame of the flight exposure, with the values that make trouble."""
    from astropy.io import fits

    rng = np.random.default_rng(3)
    n, corner = 200, (header["SUBSTRT1"] - 40, header["SUBSTRT2"] - 30)
    shape = (n, n)
    gain = rng.normal(1.8, 0.05, shape)
    gain[60:63, 70] = 0, np.nan, -1
    noise = rng.normal(12, 1, shape)
    noise[66, 70] = np.nan
    flat, error = rng.normal(1, 0.02, shape), rng.uniform(0, 0.01, shape)
    flat[80, 80:82] = 0, np.nan
    error[90, 90] = np.nan
    flags = (rng.random(shape) < 0.01) * 4 + (rng.random(shape) < 0.005) * 1
    mask = (rng.random(shape) < 0.01) * 1 + (rng.random(shape) < 0.02) * 2
    table = np.array(
        [(0, 1, "DO_NOT_USE", ""), (1, 2, "HOT", ""), (2, 4, "NO_FLAT_FIELD", "")],
        dtype=[("BIT", "i4"), ("VALUE", "i4"), ("NAME", "S40"), ("DESCRIPTION", "S80")],
    )
    contents = {
        "mask": {"DQ": mask.astype("u4")},
        "gain": {"SCI": gain},
        "readnoise": {"SCI": noise},
        "flat": {"SCI": flat, "ERR": error, "DQ": flags.astype("u4")},
    }
    paths = {}
    for kind, planes in contents.items():
        primary = fits.PrimaryHDU()
        primary.header.update({
            "TELESCOP": "JWST", "REFTYPE": kind.upper(), "INSTRUME": "FGS", "DETECTOR": header["DETECTOR"],
            "SUBARRAY": "GENERIC", "SUBSTRT1": corner[0], "SUBSTRT2": corner[1], "SUBSIZE1": n, "SUBSIZE2": n,
            "FASTAXIS": header["FASTAXIS"], "SLOWAXIS": header["SLOWAXIS"], "DATAMODL": f"{kind.title()}Model",
            "PEDIGREE": "GROUND", "DESCRIP": "test", "AUTHOR": "test", "USEAFTER": "2020-01-01T00:00:00",
        })  # fmt: skip
        hdus = [primary]
        hdus += [
            fits.ImageHDU(a if a.dtype.kind == "u" else a.astype("f4"), name=k) for k, a in planes.items()
        ]
        if "DQ" in planes:
            hdus.append(fits.BinTableHDU(table, name="DQ_DEF"))
        paths[kind] = folder / f"{kind}.fits"
        fits.HDUList(hdus).writeto(paths[kind])
    return paths


@pytest.fixture(scope="session")
def guided(flight, peer_python, tmp_path_factory):
    """Exposures of all guider modes, and what the official pipeline makes of them."""
    from astropy.io import fits

    folder = tmp_path_factory.mktemp("guider")
    (folder / "refs").mkdir()
    refs = guide_references(folder / "refs", fits.getheader(flight))
    jobs = []
    for mode, change in MODES.items():
        path = folder / f"{mode}_uncal.fits"
        with fits.open(flight) as hdus:
            if change is not None:
                shape, keys = change
                count = shape[0] * shape[1]
                data = hdus["SCI"].data.reshape(-1, *hdus["SCI"].data.shape[-2:])[:count]
                hdus["SCI"].data = data.reshape(*shape, *data.shape[-2:])
                hdus[0].header.update(keys | {"NINTS": shape[0], "NGROUPS": shape[1]})
            hdus.writeto(path)
        jobs.append({
            "uncal": str(path), "pipeline": "GuiderPipeline", "out": str(folder / "peer"),
            "refs": {k: str(v) for k, v in refs.items()}, "save": ["dq_init", "guider_cds"],
        })  # fmt: skip
    run_peer(peer_python, jobs, folder)
    return folder


def run_peer(python, jobs, folder):
    listing = folder / "jobs.json"
    listing.write_text(json.dumps(jobs))
    subprocess.run([str(python), str(HERE / "peer.py"), str(listing)], check=True, capture_output=True)


def run_ours(*words):
    done = subprocess.run(
        [*PROGRAM, *map(str, words), "--no-progress"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def assert_same(theirs, mine, names):
    from astropy.io import fits

    with fits.open(theirs) as a, fits.open(mine) as b:
        for name in names:
            assert a[name].data.dtype == b[name].data.dtype, name
            np.testing.assert_array_equal(a[name].data, b[name].data, name)


@pytest.mark.parametrize("mode", MODES)
def test_guider(mode, guided, peer_python, tmp_path):
    source, peer = guided / f"{mode}_uncal.fits", guided / "peer"
    made = tmp_path / f"{mode}_cal.fits"
    saves = [f"--save-after={s}:{tmp_path / s}.fits" for s in ("dq-init", "guider-cds")]
    run_ours("run", "auto", source, "--refs", guided / "refs", "--output-dir", tmp_path, *saves)
    assert_same(peer / f"{mode}_dq_init.fits", tmp_path / "dq-init.fits", ("SCI", "DQ"))
    assert_same(peer / f"{mode}_guider_cds.fits", tmp_path / "guider-cds.fits", ("SCI", "ERR", "DQ"))
    assert_same(peer / f"{mode}_cal.fits", made, ("SCI", "ERR", "DQ"))
    assert open_with_peer(peer_python, [[mode, str(made), str(peer / f"{mode}_cal.fits")]], tmp_path) == []


@pytest.fixture(scope="session")
def darkened(peer_python, make_case, tmp_path_factory):
    """Cases of the detector pipeline, sent through that for darks."""
    out, jobs = {}, []
    for case in (c for c in CASES if c.name in DARKS):
        folder = out[case.name] = tmp_path_factory.mktemp(f"dark-{case.name}")
        build(case, folder, make_case)
        info = json.loads((folder / "case.json").read_text())
        jobs.append({
            "uncal": str(folder / info["uncal"]), "pipeline": "DarkPipeline", "out": str(folder / "peer"),
            "refs": {k: str(folder / v) for k, v in info["refs"].items()},
        })  # fmt: skip
    run_peer(peer_python, jobs, out[DARKS[0]])
    return out


@pytest.mark.parametrize("case", DARKS)
def test_dark(case, darkened, tmp_path):
    folder = darkened[case]
    source = folder / json.loads((folder / "case.json").read_text())["uncal"]
    run_ours("run", "dark", source, "--refs", folder / "refs", "--output-dir", tmp_path)
    stem = source.name.removesuffix("_uncal.fits")
    (theirs,) = (p for p in (folder / "peer").glob("*.fits"))
    assert_same(theirs, tmp_path / f"{stem}_dark.fits", ("SCI", "PIXELDQ", "GROUPDQ"))

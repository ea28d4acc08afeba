"""What the correction of flicker noise gains and costs, on ramps whose noise of lines is known.

    python benchmarks/flicker.py [--shape NY NX] [--groups N] [--lines DN] [--seeds N] [--peer PYTHON]

Every ramp is made twice, with and without noise of lines (1/f; what the reference pixels of a full frame
would take out is left out, unless --raw).  For each scene and method are printed: the rms of the means of
lines in the slope image that is left, as a fraction of the original; the flux that extended
sources lose (-) or gain (mean over sources and rms, %); seconds.  With the interpreter of an environment that
holds the official package its time for the same correction is added; its pixels are those of "median".
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# As in the commands: its idle threads spin.  It must be said before the import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np

READ, GAIN, SKY = 8.0, 2.0, 2.0
SCENES = ("blank", "field", "galaxies", "nebula")
METHODS = {
    "median": {"fit_method": "median"},
    "median, model": {"fit_method": "median", "background_method": "model"},
    "scene": {"fit_method": "scene"},
}
PEER = """
import logging, sys, time
from unittest import mock
sys.path.insert(0, sys.argv[1])
import peer, tempfile
with tempfile.TemporaryDirectory() as cache:
    peer.without_server(cache)
    logging.disable(logging.CRITICAL)
    from stpipe import Step
    from jwst.clean_flicker_noise import CleanFlickerNoiseStep
    from stdatamodels.jwst.datamodels import RampModel
    refs = dict(gain=sys.argv[3], readnoise=sys.argv[4])
    with mock.patch.object(Step, "get_ref_override", lambda step, kind: refs.get(kind, "N/A")):
        ramp = RampModel(sys.argv[2])
        start = time.perf_counter()
        CleanFlickerNoiseStep(skip=False).run(ramp)
        print(time.perf_counter() - start)
"""


def stars(shape, rng):
    """Stars, DN per group."""
    image = np.zeros(shape, np.float32)
    grid = np.arange(-12, 13)
    profile = (1 + (grid[:, None] ** 2 + grid[None, :] ** 2) / 1.5) ** -2.0
    profile /= profile.sum()
    for _ in range(int(image.size * 6e-4)):
        y, x = (rng.integers(13, size - 13) for size in shape)
        image[y - 12 : y + 13, x - 12 : x + 13] += 10 ** rng.uniform(2, 5) * profile
    return image


def galaxies(shape, rng, number, radius):
    """Exponential discs, DN per group, and an aperture for each."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    image, apertures = np.zeros(shape, np.float32), []
    for _ in range(number):
        cy, cx = (rng.uniform(0.1, 0.9) * size for size in shape)
        scale, flat, angle = radius * rng.uniform(0.6, 1.6), rng.uniform(0.4, 1), rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        image += 30 * rng.uniform(0.3, 2) * np.exp(-1.68 * np.hypot(u, v / flat) / scale)
        apertures.append((y - cy) ** 2 + (x - cx) ** 2 < 9 * scale * scale)
    return image, apertures


def make(args, scene, seed):
    """Ramp without noise of lines, that noise, the light of extended sources, apertures."""
    from jwcal.simulate.ramp import pink

    rng = np.random.default_rng(seed)
    shape = tuple(args.shape)
    light, apertures = np.zeros(shape, np.float32), []
    if scene in ("galaxies", "nebula"):
        number, radius = (6, 0.04) if scene == "galaxies" else (4, 0.2)
        light, apertures = galaxies(shape, rng, number, radius * min(shape))
    rate = light + SKY + (stars(shape, rng) if scene != "blank" else 0)
    ramp = np.empty((1, args.groups, *shape), np.float32)
    electrons = np.zeros(shape)
    for group in ramp[0]:
        electrons += rng.poisson(rate * GAIN)
        group[...] = electrons / GAIN + rng.normal(0, READ, shape)
    lines = pink(rng, args.groups * shape[0], 1.0).reshape(args.groups, shape[0])
    if not args.raw:
        # Side reference pixels follow the noise over eleven lines.
        near = np.ones(11) / 11
        lines = np.array([line - np.convolve(np.pad(line, 5, "reflect"), near, "valid") for line in lines])
    lines *= args.lines / lines.std()
    return ramp, lines[None, :, :, None].astype(np.float32), light, apertures


def exposure(ramp):
    """Exposure in memory."""
    from jwcal.core.exposure import ArrayStore, Exposure
    from jwcal.core.header import Header

    nint, ngroup, ny, nx = ramp.shape
    name = "FULL" if (ny, nx) == (2048, 2048) else "SUB160"
    header = Header()
    keys = {
        "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "EXP_TYPE": "NRC_IMAGE", "SUBARRAY": name,
        "FASTAXIS": -1, "SLOWAXIS": 2, "NINTS": nint, "NGROUPS": ngroup, "NFRAMES": 1, "GROUPGAP": 0, "TFRAME": 1.0,
        "TGROUP": 1.0, "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": nx, "SUBSIZE2": ny, "READPATT": "RAPID",
        "DATAMODL": "RampModel", "FILENAME": "ramp.fits",
    }  # fmt: skip
    for key, value in keys.items():
        header.set(key, value)
    planes = {
        "SCI": ramp.copy(), "PIXELDQ": np.zeros((ny, nx), np.uint32),
        "GROUPDQ": np.zeros(ramp.shape, np.uint8),
    }  # fmt: skip
    return Exposure("ramp", header, {name: Header() for name in planes}, ArrayStore(planes), (), "ramp")


def references(folder, shape):
    """Write GAIN and READNOISE; return their paths by type."""
    from jwcal.core.fits import create_fits
    from jwcal.core.header import Header

    paths = {}
    for kind, value in (("gain", GAIN), ("readnoise", READ * np.sqrt(2))):
        header = Header()
        keys = {
            "TELESCOP": "JWST", "REFTYPE": kind.upper(), "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "SUBSTRT1": 1,
            "SUBSTRT2": 1, "SUBSIZE1": shape[1], "SUBSIZE2": shape[0], "FASTAXIS": -1, "SLOWAXIS": 2,
            "DATAMODL": "GainModel" if kind == "gain" else "ReadnoiseModel",
        }  # fmt: skip
        for key, entry in keys.items():
            header.set(key, entry)
        paths[kind] = str(Path(folder) / f"{kind}.fits")
        with create_fits(paths[kind]) as out:
            out.add(header)
            out.add(None, shape, np.float32, name="SCI").write(np.full(shape, value, np.float32))
            out.commit()
    return paths


def line_rms(image):
    """Scatter of the means of lines."""
    means = np.nanmean(image, axis=1)
    return float((means - means.mean()).std())


def lost(change, light, apertures):
    """Relative change of the flux in each aperture."""
    change = change - np.nanmedian(change)
    return [float(np.nansum(change[a]) / light[a].sum()) for a in apertures]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs=2, default=(512, 512), metavar=("NY", "NX"))
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--lines", type=float, default=4.0, help="rms of the noise of lines, DN")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=SCENES)
    parser.add_argument("--raw", action="store_true", help="keep what reference pixels would take out")
    parser.add_argument("--peer", help="Python that has the official package")
    args = parser.parse_args()

    from jwcal.detector1.clean_flicker_noise.step import clean_flicker_noise
    from jwcal.detector1.ramp_fit.step import ramp_fit

    with tempfile.TemporaryDirectory() as folder:
        refs = references(folder, tuple(args.shape))

        def slopes(product):
            return np.asarray(ramp_fit(product, refs=refs)["rate"]["SCI"], float)

        for scene in args.scenes:
            table = {name: [] for name in ("nothing", *METHODS, "official")}
            for seed in range(args.seeds):
                ramp, lines, light, apertures = make(args, scene, seed)
                clean = slopes(exposure(ramp))
                noisy = slopes(exposure(ramp + lines)) - clean
                table["nothing"].append((1.0, lost(noisy, light, apertures), 0.0))
                for name, values in METHODS.items():
                    start = time.perf_counter()
                    product = clean_flicker_noise(exposure(ramp + lines), refs=refs, skip=False, **values)
                    seconds = time.perf_counter() - start
                    change = slopes(product) - clean
                    left = line_rms(change) / line_rms(noisy)
                    table[name].append((left, lost(change, light, apertures), seconds))
                if args.peer and seed == 0:
                    path = Path(folder) / "ramp.fits"
                    exposure(ramp + lines).write(str(path), overwrite=True)
                    here = Path(__file__).parent.parent / "tests" / "parity"
                    command = [args.peer, "-c", PEER, str(here), str(path), refs["gain"], refs["readnoise"]]
                    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                    table["official"].append((np.nan, [], float(done.stdout.split()[-1])))
            print(
                f"{scene}: {args.shape[0]} x {args.shape[1]}, {args.groups} groups, lines {args.lines:g} DN rms"
            )
            for name, rows in table.items():
                if rows:
                    left = np.sqrt(np.mean([r[0] ** 2 for r in rows]))
                    flux = 100 * np.array([f for r in rows for f in r[1]])
                    text = f"{flux.mean():+7.3f} {np.sqrt((flux**2).mean()):7.3f}" if flux.size else " " * 15
                    print(
                        f"  {name:14s} left {left:6.3f}  flux % {text}  {np.mean([r[2] for r in rows]):6.2f} s"
                    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

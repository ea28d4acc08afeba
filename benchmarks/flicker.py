"""What the correction of flicker noise gains and costs, on ramps whose noise of lines is known.

    python benchmarks/flicker.py [--shape NY NX] [--groups N] [--lines DN] [--seeds N] [--peer PYTHON]

Every ramp is made twice, with and without noise of lines (1/f; what the reference pixels of a full frame
would take out is left out, unless --raw).  For each scene and method are printed: the rms of the means of
lines in the slope image that is left, as a fraction of the original; the flux that extended sources lose (-)
or gain, above the mean change of the image (mean over sources with its error, and rms, %); seconds.

Before them comes what any method has to leave, given the noise of photons and reading, if it tells the noise
of lines in the slopes from the pixels of these slopes and knows its spectrum: with the scene known perfectly,
or unknown but smooth (pixels where a star is above the noise are lost, the rest is any bicubic spline with
knots every 32 pixels, in 512 columns at a time).

With the interpreter of an environment that holds the official package its time for the same correction is
added; its pixels are those of "median".
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


def lines_of(args, rng):
    """Noise of lines of all groups, DN, (groups, lines)."""
    from jwcal.simulate.ramp import pink

    ny = args.shape[0]
    lines = pink(rng, args.groups * ny, 1.0).reshape(args.groups, ny)
    if not args.raw:
        # Side reference pixels follow the noise over eleven lines.
        near = np.ones(11) / 11
        lines = np.array([line - np.convolve(np.pad(line, 5, "reflect"), near, "valid") for line in lines])
    return lines * (args.lines / lines.std())


def make(args, scene, seed):
    """Ramp without noise of lines, that noise, light of extended sources and of stars, apertures."""
    rng = np.random.default_rng(seed)
    shape = tuple(args.shape)
    light, apertures = np.zeros(shape, np.float32), []
    if scene in ("galaxies", "nebula"):
        number, radius = (6, 0.04) if scene == "galaxies" else (4, 0.2)
        light, apertures = galaxies(shape, rng, number, radius * min(shape))
    points = stars(shape, rng) if scene != "blank" else np.zeros(shape, np.float32)
    rate = light + SKY + points
    ramp = np.empty((1, args.groups, *shape), np.float32)
    electrons = np.zeros(shape)
    for group in ramp[0]:
        electrons += rng.poisson(rate * GAIN)
        group[...] = electrons / GAIN + rng.normal(0, READ, shape)
    lines = lines_of(args, rng)
    return ramp, lines[None, :, :, None].astype(np.float32), light, points, apertures


def slope_variance(rate, groups):
    """Least variance of a slope, (DN per group)^2, at a rate in DN per group."""
    grid = np.concatenate([[0.0], np.geomspace(1e-2, 1e6, 200)])
    n = groups - 1
    read = READ**2 * (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1))
    least = [1 / np.linalg.solve(read + r / GAIN * np.eye(n), np.ones(n)).sum() for r in grid]
    return np.interp(rate, grid, least)


def line_covariance(args, many=200):
    """Covariance of the noise of lines in unweighted slopes, (lines, lines)."""
    rng, ny = np.random.default_rng(99), args.shape[0]
    time_ = np.arange(args.groups) - (args.groups - 1) / 2
    slopes = [time_ @ lines_of(args, rng) / (time_ @ time_) for _ in range(many)]
    power = np.mean([np.abs(np.fft.fft(slope, 2 * ny)) ** 2 for slope in slopes], axis=0)
    covariance = np.fft.ifft(power).real[:ny] / ny
    return covariance[np.abs(np.subtract.outer(np.arange(ny), np.arange(ny)))]


def splines(n, step=32):
    """Cubic B-splines with knots every ``step`` pixels, (n, splines)."""
    away = np.abs(np.arange(n)[:, None] / step - np.arange(-1, -(-(n - 1) // step) + 2))
    inner, outer = 2 / 3 - away**2 + away**3 / 2, (2 - away) ** 3 / 6
    return np.where(away < 1, inner, np.where(away < 2, outer, 0.0))


def limits(args, light, points):
    """Find what must be left of the noise of lines: scene known, and unknown but smooth."""
    covariance = line_covariance(args)
    ny, nx = light.shape
    weight = 1 / slope_variance(light + points + SKY, args.groups)

    def left(information):
        root = np.linalg.cholesky(covariance + 1e-9 * covariance[0, 0] * np.eye(ny))
        after = root @ np.linalg.solve(np.eye(ny) + root.T @ information @ root, root.T)
        return float(np.sqrt(np.trace(after) / np.trace(covariance)))

    known = left(np.diag(weight.sum(axis=1)))
    weight = np.where(points > weight**-0.5, 0.0, weight)
    told = np.diag(weight.sum(axis=1))
    down = splines(ny)
    for first in range(0, nx, 512):
        piece = weight[:, first : first + 512]
        across = splines(piece.shape[1])
        size = down.shape[1], across.shape[1]
        pairs = (down[:, :, None] * down[:, None, :]).reshape(ny, -1)
        squares = np.stack([across.T @ (w[:, None] * across) for w in piece]).reshape(ny, -1)
        matrix = (pairs.T @ squares).reshape(size[0], size[0], size[1], size[1]).transpose(0, 2, 1, 3)
        matrix = matrix.reshape(size[0] * size[1], -1)
        mixed = (down[:, :, None] * (piece @ across)[:, None, :]).reshape(ny, -1)
        # Splines of which no pixel is left are not in the way.
        matrix[np.diag_indices(len(matrix))] += 1e-9 * np.trace(matrix) / len(matrix)
        told -= mixed @ np.linalg.solve(matrix, mixed.T)
    return known, left(told)


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
    """Relative change of the flux in each aperture, above that of the whole image."""
    change = change - np.nanmean(change)
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
                ramp, lines, light, points, apertures = make(args, scene, seed)
                if seed == 0:
                    known, smooth = limits(args, light, points)
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
            print(
                f"  limit          left {known:6.3f} with the scene known, {smooth:.3f} if it is only smooth"
            )
            for name, rows in table.items():
                if rows:
                    left = np.sqrt(np.mean([r[0] ** 2 for r in rows]))
                    flux = 100 * np.array([r[1] for r in rows])
                    text = " " * 24
                    if flux.size:
                        error = flux.mean(axis=1).std() / max(len(flux) - 1, 1) ** 0.5
                        text = f"{flux.mean():+7.3f} +- {error:5.3f} {np.sqrt((flux**2).mean()):7.3f}"
                    print(
                        f"  {name:14s} left {left:6.3f}  flux % {text}  {np.mean([r[2] for r in rows]):6.2f} s"
                    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

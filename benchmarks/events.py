"""Measure what snowball masks and the persistence correction gain, on simulated truth.

    python benchmarks/events.py [persistence] [snowballs] [--seed N] [--keep DIR]

persistence: five exposures of a small detector whose traps obey another law than the correction assumes
(many families, more than proportional to the signal).  The trap families of the correction are fitted to a
dark exposure after a bright one, and then predict the latent images in exposures of other fields.

snowballs: ramps with snowballs whose halos fall off each in its way; area masked beside the saturated
cores, and what is left of the halos outside of the masks, in units of the noise of a pixel.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header

SIZE = 128
GAIN, NOISE, WELL = 2.0, 9.0, 8.0e4
GROUPS, GROUP_TIME = 12, 10.0
SATURATED, JUMP = 2, 4
MJD = 60400.0


def exposure(sci, gdq, start, nint, name):
    """Calibrated ramp in memory; `start` is in seconds."""
    header = Header()
    length = nint * sci.shape[1] * GROUP_TIME
    for key, value in {
        "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "NFRAMES": 1, "FRMDIVSR": 1, "GROUPGAP": 0, "SUBSTRT1": 101,
        "NGROUPS": sci.shape[1], "NINTS": nint, "SUBSTRT2": 51, "SUBSIZE1": sci.shape[3], "SUBSIZE2": sci.shape[2],
        "READPATT": "RAPID", "TGROUP": GROUP_TIME, "TFRAME": GROUP_TIME, "FILENAME": name,
        "EXPSTART": MJD + start / 86400, "EXPEND": MJD + (start + length) / 86400,
        "EFFINTTM": sci.shape[1] * GROUP_TIME,
    }.items():  # fmt: skip
        header.set(key, value)
    planes = {
        "SCI": np.asarray(sci, np.float32),
        "PIXELDQ": np.zeros(sci.shape[2:], np.uint32),
        "GROUPDQ": np.asarray(gdq, np.uint8),
    }
    return Exposure("ramp", header, {k: Header() for k in planes}, ArrayStore(planes), (), name)


def references(folder, shape):
    """Gain and read noise files."""
    from jwcal.core.fits import create_fits

    out = {}
    for kind, value in (("gain", GAIN), ("readnoise", NOISE / GAIN * np.sqrt(2))):
        header = Header()
        for key, text in {
            "REFTYPE": kind.upper(), "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "SUBSTRT1": 101, "SUBSTRT2": 51,
            "SUBSIZE1": shape[1], "SUBSIZE2": shape[0],
        }.items():  # fmt: skip
            header.set(key, text)
        out[kind] = str(folder / f"{kind}.fits")
        file = create_fits(out[kind], overwrite=True)
        file.add(header)
        plane = Header()
        plane.set("EXTNAME", "SCI")
        file.add(plane, shape, np.dtype("f4")).write(np.full(shape, value, np.float32))
        file.commit()
    return out


def field(rng, stars, brightest):
    """Rates of a field of stars, electrons per second; the brightest saturate early."""
    y, x = np.mgrid[:SIZE, :SIZE]
    out = np.full((SIZE, SIZE), 0.3)
    for _ in range(stars):
        cy, cx = rng.uniform(0, SIZE, 2)
        out += 10 ** rng.uniform(1.5, np.log10(brightest)) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 8)
    return out


class Detector:
    """A detector whose traps release over a wide range of times: nearly a power law."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.release = np.geomspace(8, 2e4, 9)[:, None, None]
        self.amplitude = 3e-4 * self.rng.uniform(0.6, 1.6, 9)[:, None, None]
        self.capture = 1 + self.release / 8
        self.traps = np.zeros((9, SIZE, SIZE))
        self.now = 0.0

    def _step(self, charge, seconds):
        full = self.amplitude * charge * (0.7 + 0.3 * charge / WELL)
        time = np.where(full > self.traps, self.capture, self.release)
        change = (full - self.traps) * (1 - np.exp(-seconds / time))
        self.traps += change
        return np.where(change < 0, -change, 0).sum(axis=0)

    def wait(self, seconds):
        """Darkness without an exposure."""
        self._step(np.zeros((SIZE, SIZE)), seconds)
        self.now += seconds

    def expose(self, rate, nint, name):
        """Take an exposure.

        Returns
        -------
        Exposure, numpy.ndarray
            The calibrated ramp, and the charge released up to each group, (nint, ngroup, ny, nx).
        """
        start = self.now
        sci = np.zeros((nint, GROUPS, SIZE, SIZE))
        latent = np.zeros(sci.shape)
        for i in range(nint):
            charge, released = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
            for g in range(GROUPS):
                for _ in range(5):
                    given = self._step(np.minimum(charge, WELL), GROUP_TIME / 5)
                    released += given
                    charge += self.rng.poisson(rate * GROUP_TIME / 5) + given
                sci[i, g], latent[i, g] = charge, released
        self.now += nint * GROUPS * GROUP_TIME
        gdq = np.where(np.minimum(sci, WELL * 2) >= WELL, SATURATED, 0)
        noisy = (np.minimum(sci, WELL) + self.rng.normal(0, NOISE, sci.shape)) / GAIN
        return exposure(noisy, gdq, start, nint, name), latent


def persistence_gain(folder, seed):
    """Print how well latents are predicted, with the families as fitted to a dark and as declared."""
    from jwcal.detector1.persistence.step import persistence
    from jwcal.detector1.ramp_fit.step import ramp_fit

    detector = Detector(seed)
    refs = references(folder, (SIZE, SIZE))
    model = folder / "traps.toml"
    history: list[str] = []
    fields = [field(detector.rng, 40, 6e3) for _ in range(3)]
    dark = np.zeros((SIZE, SIZE))
    plan = [
        ("bright 1", fields[0], 2, 30.0), ("dark", dark, 12, 60.0), ("bright 2", fields[1], 2, 60.0),
        ("next field, 40 s later", fields[2], 2, 40.0), ("sky, 10 min later", dark + 0.3, 2, 600.0),
    ]  # fmt: skip
    for number, (name, rate, nint, wait) in enumerate(plan):
        detector.wait(wait)
        ramp, truth = detector.expose(rate, nint, name)
        if history:
            before = ramp["SCI"].copy()
            options = {"history": ",".join(history), "model": str(model) if model.exists() else None}
            if name == "dark":
                options |= {"fit": "blank", "save_model": str(model)}
            fits = ("scale", "families") if name.startswith("next") else ()
            out = persistence(ramp, refs=refs, skip=False, **options)
            told(name, before - out["SCI"], truth, rate)
            for how in fits:
                tried = persistence(ramp, refs=refs, skip=False, history=options["history"], fit=how)
                told(f"same, only fit={how}", before - tried["SCI"], truth, rate)
        products = ramp_fit(ramp, refs=refs)
        history.append(str(folder / f"{number}_rateints.fits"))
        products["rateints"].write(history[-1], overwrite=True)


def told(name, predicted, truth, rate):
    """Compare the predicted with the true latent at the last group, in pixels of some strength."""
    time = truth.shape[1] * GROUP_TIME
    true, got = truth[:, -1].mean(axis=0) / time, predicted[:, -1].mean(axis=0) * GAIN / time
    for low, high in ((0.01, 0.03), (0.03, 0.1), (0.1, 0.3), (0.3, 99.0)):
        part = (true > low) & (true <= high) & (rate < 20)
        if part.sum() < 20:
            continue
        error = np.abs(got[part] / true[part] - 1)
        print(
            f"persistence  {name:24s} latent {low:4.2f}-{high:5.2f} e/s  {part.sum():5d} pixels"
            f"  total predicted/true {got[part].sum() / true[part].sum():.3f}"
            f"  error of a pixel: median {np.median(error):.3f}, 90 % within {np.quantile(error, 0.9):.3f}"
            f"  left {np.mean(true[part] - got[part]):+.4f} e/s"
        )


BALLS, SKY = 512, 1.5


def snowball_ramp(seed, count, groups=10):
    """Ramp with snowballs on a field of stars, the true halo of every group and the saturated pixels.

    The core is flat to a radius; the halo outside falls off exponentially or as a power, on ellipses.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:BALLS, :BALLS].astype(np.float32)
    rate = np.full((BALLS, BALLS), SKY)
    for _ in range(150):
        cy, cx = rng.uniform(0, BALLS, 2)
        rate += 10 ** rng.uniform(0.5, 3) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 4)
    halo = np.zeros((groups, BALLS, BALLS), np.float32)
    for _ in range(count):
        group, (cy, cx) = rng.integers(1, groups), rng.uniform(40, BALLS - 40, 2)
        core, angle, axis = rng.uniform(2.5, 6), rng.uniform(0, np.pi), rng.uniform(0.75, 1)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        beyond = np.maximum(np.hypot(along, across / axis) - core, 0)
        if rng.random() < 0.5:
            fall = np.exp(-beyond / rng.uniform(1.0, 3.0))
        else:
            fall = (1 + beyond / rng.uniform(2.0, 4.0)) ** -rng.uniform(3.5, 5.0)
        halo[group] += np.where(beyond > 0, rng.uniform(1.5e3, 6e3) * fall, 2e5)
    charge = np.cumsum(rng.poisson(rate * GROUP_TIME, (groups, BALLS, BALLS)) + halo, axis=0)
    for _ in range(groups * 120):
        group, cy, cx = rng.integers(0, groups), rng.integers(0, BALLS), rng.integers(0, BALLS)
        charge[group:, cy, cx] += rng.exponential(2e3)
    saturated = charge >= WELL
    noisy = (np.minimum(charge, WELL) + rng.normal(0, NOISE, charge.shape)) / GAIN
    noise = np.sqrt(rate * GROUP_TIME + 2 * NOISE**2)
    return noisy[None], np.where(saturated, SATURATED, 0)[None], halo, noise


def snowball_gain(folder, seed):
    """Print the area masked and the halo left, with the grown ellipse and with the profile."""
    from scipy.ndimage import distance_transform_edt

    from jwcal.detector1.jump.step import jump

    refs = references(folder, (BALLS, BALLS))
    total = {}
    for k in range(4):
        sci, gdq, halo, noise = snowball_ramp(seed + k, 14)
        plain = jump(exposure(sci, gdq, 0.0, 1, "snowballs"), refs=refs)["GROUPDQ"]
        ways = {"grown ellipse": {}, "profile": {"snowball_halo": "profile"}}
        ways["profile, 0.2 sigma"] = {"snowball_halo": "profile", "halo_threshold": 0.2}
        ways["subtract"] = {"snowball_halo": "subtract"}
        ways["subtract, 2 sigma"] = {"snowball_halo": "subtract", "halo_threshold": 2.0}
        for way, options in ways.items():
            ramp = exposure(sci, gdq, 0.0, 1, "snowballs")
            done = jump(ramp, refs=refs, expand_large_events=True, edge_size=0, **options)
            out, taken = done["GROUPDQ"][0], (sci - done["SCI"])[0] * GAIN
            sums = total.setdefault(way, np.zeros(7))
            for g in range(1, len(halo)):
                here = taken[g] - taken[g - 1]
                event = (halo[g] > 0.02 * noise) | (np.abs(here) > 0.02 * noise)
                masked = (out[g] & (JUMP | SATURATED)) != 0
                # Saturated cores are grown alike in all ways and are no halo; hits elsewhere are none either.
                area = masked & ((out[g] & SATURATED) == 0) & (event | ((plain[0, g] & JUMP) == 0))
                left = np.where(masked | ~event, 0, (halo[g] - here) / noise)
                ring = event & ~masked & (distance_transform_edt(~(masked & event)) <= 2)
                sums += [
                    area.sum(), left[ring].sum(), ring.sum(), (np.abs(left) > 0.5).sum(), left.sum(),
                    (left**2).sum(), np.count_nonzero(left),
                ]  # fmt: skip
    base = total["grown ellipse"][0]
    for way, (area, edge, ring, over, left, square, count) in total.items():
        print(
            f"snowballs  {way:20s} area {area:8.0f} pixels ({area / base:.2f} of the grown ellipse)"
            f"  halo left [sigma of a difference]: just outside {edge / max(ring, 1):+.3f}"
            f"  mean {left / max(count, 1):+.4f}  rms {np.sqrt(square / max(count, 1)):.3f}"
            f"  pixels above 0.5 {over:5.0f}"
        )


def rate_gain(folder, seed):
    """Print what the treatment of halos does to the slopes of faint pixels, by the halo they got."""
    from jwcal.detector1.jump.step import jump
    from jwcal.detector1.ramp_fit.step import ramp_fit

    refs = references(folder, (BALLS, BALLS))
    ways = {"not treated": {}} | {
        way: {"expand_large_events": True, "edge_size": 0, "snowball_halo": way}
        for way in ("ellipse", "profile", "subtract")
    }
    bins = ((0.05, 0.2), (0.2, 0.5), (0.5, 2.0), (2.0, 20.0))
    found = {way: [[] for _ in bins] for way in ways}
    for k in range(4):
        sci, gdq, halo, noise = snowball_ramp(seed + k, 14)
        worst = halo.max(axis=0) / noise
        faint = noise < np.sqrt(1.13 * SKY * GROUP_TIME + 2 * NOISE**2)
        for way, options in ways.items():
            ramp = jump(exposure(sci, gdq, 0.0, 1, "snowballs"), refs=refs, **options)
            rate = ramp_fit(ramp, refs=refs)["rate"]["SCI"]
            good = faint & np.isfinite(rate)
            usual = rate[good & (worst < 1e-3)]
            middle = np.median(usual)
            sigma = 1.4826 * np.median(np.abs(usual - middle))
            for values, (low, high) in zip(found[way], bins, strict=True):
                part = good & (worst > low) & (worst <= high)
                values.extend(((rate[part] - middle) / sigma).tolist())
    for way, all_values in found.items():
        for values, (low, high) in zip(all_values, bins, strict=True):
            scatter = 1.4826 * np.median(np.abs(values - np.median(values)))
            print(
                f"rates  {way:12s} halo {low:4.2f}-{high:5.2f} sigma of a difference  {len(values):6d} pixels"
                f"  bias {np.clip(values, -8, 8).mean():+.3f}  scatter {scatter:.3f} sigma of an unhit pixel"
            )


def main(argv=None):
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="*", default=["persistence", "snowballs"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="folder for the files made")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if "persistence" in args.part:
            persistence_gain(folder, args.seed)
        if "snowballs" in args.part:
            snowball_gain(folder, args.seed)
            rate_gain(folder, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())

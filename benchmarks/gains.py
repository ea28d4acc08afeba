"""Measure what the optimal ramp fit gains over the official pipeline, on exposures with known truth.

    python benchmarks/gains.py [--cases CASE,...] [--recipe NAME] [--peer PYTHON] [--work DIR]
                               [--parts] [--ramps] [--ipc]

Cases: nircam (2048x2048, 10 groups, 1 integration), averaged (BRIGHT2, 1024x1024, 6 groups, 2 integrations,
many cosmic rays), tso (256x256, 10 groups, 50 integrations), miri (256x256, 12 groups, 3 integrations).
They are made by ../shared/bench/make_case.py into DIR and kept there with the official products; scores are
those of ../shared/bench/compare.py, and of pixels without any cosmic ray and without saturation unless said.

--recipe   the products are those of a whole recipe, not of the fit alone
--parts    leave out one part of the fit after the other
--ramps    bias and pulls on plain Poisson and Gaussian ramps, without a detector
--ipc      pulls of exposures with inter-pixel capacitance, made by jwcal sim

NumPy and astropy are needed, and the package itself.
"""

import argparse
import importlib.util
import json
import math
import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.io import fits
from run import CACHE, CASES, SHARED, Bench, say

from jwcal.detector1.ramp_fit.optimal import MANY, PAIR_EXTRA
from jwcal.kernels.optimal import RampModel, fit_optimal

ROOT = Path(__file__).resolve().parent.parent
MAKE = {
    "nircam": CASES["nircam"],
    "averaged": (
        "BRIGHT2 1024x1024, 6 groups, 2 integrations",
        "--instrument nircam --shape 1024 1024 --nints 2 --ngroups 6 --readpatt BRIGHT2 --seed 8 --cr-fraction 0.05",
    ),
    "tso": CASES["tso"],
    "miri": (
        "MIRI 256x256, 12 groups, 3 integrations",
        "--instrument miri --shape 256 256 --nints 3 --ngroups 12 --seed 3 --cr-fraction 0.05",
    ),
}
QUANTILES = [0, 0.5, 0.9, 0.99, 0.999, 1]
RAYS = ("3-4", "4-5", "5-6")
OPTIMAL = [
    "--set",
    "ramp_fit.algorithm=OPTIMAL",
    "--set",
    "ramp_fit.suppress_one_group=false",
    "--skip",
    "jump",
]
OFF = math.inf
NO_SEARCH = {
    "limit": OFF,
    "limit_split": OFF,
    "limit_near": OFF,
    "limit_pair": OFF,
    "limit_negative": OFF,
    "unbiased": False,
}
PARTS = {
    "all": {},
    "without hits split by averaging": {"limit_split": OFF},
    "without weak pairs": {"limit_pair": OFF},
    "without looking at neighbours": {"limit_near": OFF, "limit_pair": OFF},
    "without common rate": {"common": False},
    "jump_threshold 3.75": {"limit": 3.75, "limit_split": 3.95},
    "without adding back what the search takes": {"unbiased": False},
    "without small-count errors": {"small_counts": False},
    "without rounding noise": {"quantised": False},
}


def compare():
    """Return the scoring program of the bench as a module."""
    spec = importlib.util.spec_from_file_location("compare", SHARED / "bench" / "compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Case:
    """One exposure: truth, official products, and the ramp that the fit gets.

    Parameters
    ----------
    bench : Bench
        Makes cases and knows the programs.
    name : str
        One of `MAKE`.
    options : list of str
        Options of the command.
    """

    def __init__(self, bench, name, options):
        self.options = options
        self.name, (self.title, arguments) = name, MAKE[name]
        self.folder = bench.case(name, arguments)
        self.score = compare()
        self.truth = self.score.Truth(self.folder / "truth.fits")
        self.official = self._official(bench.peer)
        self.products = self._ours(bench)
        self._ramp()
        usable = self.truth.good & ~self.truth.sat_any
        self.clean, self.hit = usable & ~self.truth.hit.any(axis=0), usable & self.truth.hit.any(axis=0)

    def _official(self, peer):
        out = self.folder / "peer"
        if not list(out.glob("*_jump.fits")):
            say(f"official pipeline on {self.name}")
            program = [peer, str(SHARED / "bench" / "run_peer.py"), str(self.folder), str(out)]
            subprocess.run([*program, "--save-steps", "jump"], check=True, stdout=subprocess.DEVNULL)
        return planes(out)

    def _ours(self, bench):
        out = self.folder / "optimal"
        out.mkdir(exist_ok=True)
        self.ramp_file = out / "x_dark_current.fits"
        info = json.loads((self.folder / "case.json").read_text())
        command = [
            *bench.jwcal, "run", "detector1", str(self.folder / info["uncal"]), "--refs", str(self.folder / "refs"),
            "-o", str(out / "x_rate.fits"), "--rateints", str(out / "x_rateints.fits"),
            "--save-after", f"dark_current:{self.ramp_file}", "--overwrite", "--no-progress", "-q", *self.options,
        ]  # fmt: skip
        if info["instrument"] == "miri":
            command[command.index("--save-after") + 1] = f"refpix:{self.ramp_file}"
        subprocess.run(command, check=True)
        return planes(out)

    def _ramp(self):
        with fits.open(self.ramp_file, memmap=False) as f:
            self.sci = f["SCI"].data.astype(np.float32)
            self.gdq, self.pdq = np.array(f["GROUPDQ"].data), f["PIXELDQ"].data.astype(np.uint32)
            head = f[0].header
        self.gain, self.noise = (
            np.ascontiguousarray(fits.getdata(self.folder / "refs" / f"{k}.fits").astype(np.float32))
            for k in ("gain", "readnoise")
        )
        from jwcal.detector1.ramp_fit.optimal import PARAMS, ramp_model

        values = argparse.Namespace(**{p.name: p.default for p in PARAMS}, suppress_one_group=False)
        exposure = argparse.Namespace(wanted=(), meta=head, shape=self.sci.shape)
        self.model = ramp_model(exposure, values, 1 << 19)

    def fit(self, model: RampModel, gdq=None):
        """Fit the ramp; returns rate, rateints, group flags and seconds of one thread."""
        gdq = (self.gdq if gdq is None else gdq).copy()
        best = math.inf
        for _ in range(3):
            flags = gdq.copy()
            start = time.process_time()
            rate, ints = fit_optimal(self.sci, flags, self.pdq, self.gain, self.noise, model)
            best = min(best, time.process_time() - start)
        return rate, ints, flags, best

    def told(self):
        """Leave out the true hits and nothing else: what no search can do better."""
        rays, last = self.truth.crs, self.sci.shape[1] - 1
        split = rays[rays["FRAC"] < 0.999]
        flags = (self.gdq & ~np.uint8(4)).astype(np.uint8)
        for some, later in ((rays, 0), (split, 1)):
            flags[some["INT"], np.minimum(some["GROUP"] + later, last), some["Y"], some["X"]] |= 4
        return self.fit(replace(self.model, **NO_SEARCH), flags)

    def likely(self):
        """Fit with the rules of the official likelihood fit; returns the same as `fit`."""
        from jwcal.kernels.likely import LikelyTimes, even_reads, fit_likely

        m, (nint, ngroup, ny, nx) = self.model, self.sci.shape
        times = LikelyTimes.of(even_reads(ngroup, m.nframes, m.groupgap, m.frame_time))
        left_out = np.zeros((nint, ngroup - 1, ny, nx), np.uint8)
        start = time.process_time()
        arrays = (self.sci, self.gdq, self.pdq, self.gain, self.noise)
        rate, ints = fit_likely(*arrays, times, left_out=left_out)
        seconds = time.process_time() - start
        flags = self.gdq.copy()
        flags[:, 1:] |= np.where(left_out > 0, np.uint8(4), np.uint8(0))
        return rate, ints, flags, seconds

    def plain(self):
        """Unweighted least-squares slope of all integrations: noisier, but without bias on clean pixels."""
        ramp = self.sci.astype(np.float64)
        x = np.arange(ramp.shape[1]) - (ramp.shape[1] - 1) / 2
        return np.tensordot(x, ramp, axes=(0, 1)).mean(axis=0) / (x**2).sum() / self.model.group_time

    def pulls(self, rate, where):
        """Errors in units of ERR, and a mask of where there are any."""
        ok = where & np.isfinite(rate["SCI"]) & (rate["ERR"] > 0)
        value = np.zeros(ok.shape)
        value[ok] = (rate["SCI"][ok].astype(np.float64) - self._true(ok)) / rate["ERR"][ok]
        return value, ok

    def bins(self):
        """Masks of the flux bins of the clean pixels."""
        flux = self.truth.rate
        edges = np.quantile(flux[self.clean], QUANTILES)
        return [self.clean & (flux >= a) & (flux <= b) for a, b in pairwise(edges)]

    def scatter(self, mine, theirs, where):
        """Ratio of the standard deviations of errors, both in units of the official ERR, and its error."""
        ok = where & np.isfinite(mine["SCI"]) & np.isfinite(theirs["SCI"]) & (theirs["ERR"] > 0)
        a, b = (
            (x["SCI"][ok].astype(np.float64) - self._true(ok)) / theirs["ERR"][ok] for x in (mine, theirs)
        )
        ratio = a.std() / b.std()
        return ratio, 0.5 * ratio * np.std(a**2 / a.var() - b**2 / b.var()) / math.sqrt(a.size)

    def _true(self, ok):
        return np.broadcast_to(self.truth.rate, ok.shape)[ok]

    def rays(self, gdq):
        """Cosmic rays found by significance, and false flags away from and anywhere near hits, per group."""
        scores = self.score.jumps_groups(self.truth, gdq)
        found = scores["completeness_by_snr"]
        rates = [found[k][1] if k in found else math.nan for k in RAYS]
        return rates, scores["false_positive_per_group_away_from_hits"], scores["false_positive_per_group"]

    def hit_ints(self):
        """Clean and hit integrations of pixels that are good."""
        good = self.truth.good & (self.truth.satgrp < 0)
        return good & self.truth.hit


def planes(folder):
    """Read what a run has made: rate, rateints, and group flags where saved."""
    out = {}
    for kind in ("rate", "rateints"):
        with fits.open(next(folder.glob(f"*_{kind}.fits")), memmap=False) as f:
            out[kind] = {n: np.array(f[n].data) for n in ("SCI", "ERR", "DQ")}
    for path in folder.glob("*_jump.fits"):
        out["gdq"] = fits.getdata(path, "GROUPDQ")
    return out


def table(case):
    """Rows of the main table for one case."""
    model = case.model
    flags = case.fit(model)[2]
    ours, theirs = case.products, case.official
    yield f"**{case.title}**", "", "", ""
    for number, mask in enumerate(case.bins()):
        stds = []
        for rate in (ours["rate"], theirs["rate"]):
            pull, ok = case.pulls(rate, mask)
            stds.append(pull[ok].std())
        share = f"{100 * QUANTILES[number]:g}-{100 * QUANTILES[number + 1]:g} %"
        error = 1 / math.sqrt(2 * max(mask.sum(), 1))
        yield (
            f"pull, standard deviation, flux {share} (+-{error:.3f})",
            *(f"{s:.3f}" for s in stds),
            ".98-1.02; .99-1.01",
        )
    faint = case.bins()[0]
    means, moved = [], []
    plain = case.plain() if case.name != "miri" else None
    for rate in (ours["rate"], theirs["rate"]):
        pull, ok = case.pulls(rate, faint)
        means.append(pull[ok].mean())
        if plain is not None:
            moved.append(((rate["SCI"] - plain)[ok] / ours["rate"]["ERR"][ok]).mean())
    goal = "< .03; < .01" if case.name == "tso" else ""
    yield "mean error at low signal, in ERR", *(f"{m:+.3f}" for m in means), goal
    if moved:
        yield "the same against an unweighted fit of the same ramps", *(f"{m:+.3f}" for m in moved), goal
    (found, far, near), (found0, far0, near0) = case.rays(flags), case.rays(theirs["gdq"])
    goal = "+.10; +.20" if case.name == "averaged" else "+.05; +.10"
    for label, a, b in zip(RAYS, found, found0, strict=True):
        yield f"cosmic rays of {label} sigma found", f"{a:.3f}", f"{b:.3f}", goal
    yield "false flags per group, no hit within a pixel", f"{far:.2e}", f"{far0:.2e}", "official"
    yield "false flags per group, anywhere", f"{near:.2e}", f"{near0:.2e}", ""
    for label, kind, where, goal in (
        ("scatter on pixels with a hit", "rate", case.hit, "<= .97; <= .93"),
        ("the same for each integration with a hit", "rateints", case.hit_ints(), "<= .97; <= .93"),
        ("scatter on clean pixels", "rate", case.clean, ""),
    ):
        ratio, error = case.scatter(ours[kind], theirs[kind], where)
        yield f"{label} (+-{error:.4f})", f"{ratio:.3f}", "1", goal
    burnt = case.truth.good & (case.truth.satgrp >= 0)
    counts, spreads = [], []
    for product in (ours["rateints"], theirs["rateints"]):
        pull, ok = case.pulls(product, burnt & (product["DQ"] & 1 == 0))
        counts.append(f"{100 * ok.sum() / max(burnt.sum(), 1):.0f} %")
        spreads.append(f"{pull[ok].std():.2f}" if ok.any() else "-")
    yield "integrations that saturate and have a slope", *counts, ""
    yield "their pull, standard deviation", *spreads, ""
    nan = [int((~np.isfinite(x["rate"]["SCI"]) & (x["rate"]["DQ"] & 1 == 0)).sum()) for x in (ours, theirs)]
    yield "pixels that are NaN without DO_NOT_USE", *map(str, nan), ""


def parts(case):
    """Rows of the table of parts: what is lost when one of them is left out."""
    theirs = case.official
    rows = {"official": (theirs["rate"], theirs["rateints"], theirs["gdq"], math.nan)}
    known = (case.gdq | (theirs["gdq"] & np.uint8(4))).astype(np.uint8)
    basic = replace(case.model, **NO_SEARCH, common=False, small_counts=False, quantised=False)
    rows["official likelihood fit"] = case.likely()
    rows["whole covariance, official jumps"] = case.fit(basic, known)
    model, idle = case.model, set()
    if model.nframes == 1:
        idle |= {"limit_split", "quantised"}
    if len(case.sci) == 1:
        idle.add("common")
    for name, change in PARTS.items():
        if not change or set(change) - idle:
            rows[name] = case.fit(replace(model, **change))
    rows["told every hit"] = case.told()
    faint = case.bins()[0]
    for name, (rate, ints, gdq, seconds) in rows.items():
        pull, ok = case.pulls(rate, faint)
        found, far, near = case.rays(gdq)
        yield (
            name, f"{pull[ok].std():.3f}", f"{pull[ok].mean():+.3f}",
            f"{case.scatter(rate, theirs['rate'], case.clean)[0]:.3f}",
            f"{case.scatter(ints, theirs['rateints'], case.hit_ints())[0]:.3f}",
            " ".join(f"{x:.2f}" for x in found), f"{far:.1e}", f"{near:.1e}",
            "-" if math.isnan(seconds) else f"{seconds:.2f}",
        )  # fmt: skip


def ramps(seed=1, side=128):
    """Give the pulls of plain ramps without hits (read noise 7.9 e-); the official fit is the built-in."""
    from jwcal.kernels.jump import JumpRules, choose_method, flag_jumps
    from jwcal.kernels.ramp import RampTiming, fit_ramps

    rng, gain, read = np.random.default_rng(seed), 2.05, 7.9
    maps = [np.full((side, side), v, np.float32) for v in (gain, read * math.sqrt(2) / gain)]
    for nint, runs in ((1, 40), (50, 6)):
        model = RampModel(group_time=1.0, frame_time=1.0)
        if nint >= MANY:
            model = replace(model, limit_pair=model.limit_pair + PAIR_EXTRA)
        rules = JumpRules(
            method=choose_method(np.zeros((nint, 10), bool)), nframes=1, limit=4.0, limit_four=5.0, limit_three=6.0,
            neighbours=True, min_ratio=10.0, max_ratio=1000.0, after=((0.0, 0), (0.0, 0)), no_gain=1 << 19,
        )  # fmt: skip
        for signal in (0, 1, 3, 11, 100, 1000):
            errors, sizes = {"optimal": [], "official": []}, {"optimal": [], "official": []}
            for _ in range(runs):
                counts = np.cumsum(rng.poisson(signal, (nint, 10, side, side)), axis=1)
                sci = ((counts + rng.normal(0, read, counts.shape)) / gain).astype(np.float32)
                pdq = np.zeros((side, side), np.uint32)
                gdq = np.zeros(sci.shape, np.uint8)
                flag_jumps(sci, gdq, pdq, *maps, rules)
                fits = {
                    "optimal": fit_optimal(sci, np.zeros(sci.shape, np.uint8), pdq, *maps, model)[0],
                    "official": fit_ramps(sci, gdq, pdq, *maps, RampTiming(1.0, 1.0))[0],
                }
                for name, rate in fits.items():
                    errors[name].append(rate["SCI"].astype(np.float64) - signal / gain)
                    sizes[name].append(rate["ERR"])
            means = [f"{np.nanmean(errors[n]) / np.nanmean(sizes[n]):+.3f}" for n in errors]
            stds = [f"{np.nanstd(np.array(errors[n]) / np.array(sizes[n])):.3f}" for n in errors]
            error = 1 / math.sqrt(runs * side * side)
            yield f"{nint} x 10 groups, {signal} e-/group", *means, f"{error:.3f}", *stds


CORRECTION = {
    "none": [],
    "corrected, ipc_noise=false": ["--set", "ipc.skip=false", "--set", "ramp_fit.ipc_noise=false"],
    "corrected": ["--set", "ipc.skip=false"],
}


def capacitance(jwcal, work):
    """Give the pulls of the recipe where pixels share signal, away from hits and borders."""
    for strength in ("0.5", "1.5"):
        folder = work / f"ipc{strength}"
        if not folder.exists():
            effects = [f"--effects=ipc={strength}", "--one-over-f=0", "--drift=0"]
            command = [*jwcal, "sim", "expose", str(folder), "--shape", "600", "600", "--nints=2", "--seed=3"]
            subprocess.run([*command, *effects], check=True, stdout=subprocess.DEVNULL)
        with fits.open(folder / "truth.fits", memmap=False) as f:
            rate, rays = f["RATE"].data, f["CRS"].data
            good = (f["BAD"].data == 0) & (f["SATGRP"].data < 0).all(axis=0)
        hit = np.zeros(rate.shape, bool)
        hit[rays["Y"], rays["X"]] = True
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            good &= ~np.roll(hit, shift, axis)
        inner = np.zeros(rate.shape, bool)
        inner[8:-8, 8:-8] = True
        raw, out = next(folder.glob("*_uncal.fits")), folder / "x_rate.fits"
        for name, options in CORRECTION.items():
            command = [*jwcal, "run", "detector1", str(raw), "--refs", str(folder / "refs"), "-o", str(out)]
            command += ["--recipe", "optimal", "--overwrite", "--no-progress", "-q", *options]
            subprocess.run(command, check=True)
            with fits.open(out, memmap=False) as f:
                sci, err, factor = f["SCI"].data, f["ERR"].data, f[0].header.get("IPCVAR", "-")
                ok = good & inner & ~hit & (f["DQ"].data & 1 == 0) & (err > 0)
            pull = np.where(ok, sci.astype(np.float64) - rate, 0) / np.where(ok, err, 1)
            edges = np.quantile(rate[ok], QUANTILES[:4])
            stds = [pull[ok & (rate >= a) & (rate <= b)].std() for a, b in pairwise(edges)]
            faint = ok & (rate <= edges[1])
            away = pull - pull[faint].mean()
            both = faint[:, 1:] & faint[:, :-1]
            shared = (away[:, 1:] * away[:, :-1])[both].mean() / pull[faint].var()
            yield f"{strength} %, {name}", *(f"{s:.3f}" for s in stds), f"{shared:+.3f}", f"{factor}"


def markdown(head, rows):
    """Rows as a table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def main(argv=None):
    """Run the chosen tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="nircam,averaged,tso")
    parser.add_argument("--jwcal", default=f"{sys.executable} -m jwcal")
    parser.add_argument(
        "--peer", default=os.environ.get("JWCAL_PEER_PYTHON"), help="interpreter of the official package"
    )
    parser.add_argument("--work", type=Path, default=CACHE / "bench")
    parser.add_argument("--recipe")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--ramps", action="store_true")
    parser.add_argument("--ipc", action="store_true")
    given = parser.parse_args(argv)
    if given.ramps:
        head = ("ramps", "bias / ERR, optimal", "official", "+-", "pull, optimal", "official")
        print(markdown(head, ramps()))
        return 0
    if given.ipc:
        head = ("IPC, correction", "pull, flux 0-50 %", "50-90 %", "90-99 %", "correlation in x", "IPCVAR")
        print(markdown(head, capacitance(shlex.split(given.jwcal), given.work.absolute())))
        return 0
    bench = Bench(shlex.split(given.jwcal), given.peer, given.work.absolute(), 1)
    for name in given.cases.split(","):
        case = Case(bench, name, ["--recipe", given.recipe] if given.recipe else OPTIMAL)
        if given.parts:
            head = (
                case.title, "pull", "mean", "clean scatter", "hit scatter", "found " + " ".join(RAYS),
                "false far", "false all", "CPU s",
            )  # fmt: skip
            print(markdown(head, parts(case)))
        else:
            print(markdown(("what", "optimal", "official", "at least; aim"), table(case)))
        print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

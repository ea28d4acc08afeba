"""Making a raw exposure with known truth and matching reference files."""

from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np

from jwcal.core.errors import UsageError
from jwcal.simulate import write
from jwcal.simulate.case import make_folders, write_json
from jwcal.simulate.detectors import catalogue, choose_detector
from jwcal.simulate.detectors import region as find_region
from jwcal.simulate.effects import Setting, build, check, parse
from jwcal.simulate.guider import MODES as GUIDING
from jwcal.simulate.guider_case import expose_guider
from jwcal.simulate.headers import MJD_START, Plan
from jwcal.simulate.pixels import pixels as draw_pixels
from jwcal.simulate.ramp import Effects, RampMaker
from jwcal.simulate.readout import timing as find_timing
from jwcal.simulate.references import kinds as kinds_of
from jwcal.simulate.scene import make_scene


def _exposure_type(det, name, tso):
    known = catalogue()["exp_type"]
    if name is None and tso and not det.name.startswith("MIRIFU"):
        name = {
            "nircam": "NRC_TSIMAGE",
            "niriss": "NIS_SOSS",
            "nirspec": "NRS_BRIGHTOBJ",
            "miri": "MIR_LRS-SLITLESS",
        }.get(det.instrument)
    name = (name or det["exp_type"]).upper()
    prefix = {"nircam": "NRC_", "niriss": "NIS_", "nirspec": "NRS_", "miri": "MIR_", "fgs": "FGS_"}[
        det.instrument
    ]
    mine = [key for key in known if key.startswith(prefix)]
    if name not in mine:
        raise UsageError(
            f"exposure type {name} is not simulated for {det.instrument}; one of: {', '.join(mine)}"
        )
    return name, known[name]


def segment_bounds(nints, segments):
    """Split integrations into segments as evenly as possible.

    Parameters
    ----------
    nints, segments : int

    Returns
    -------
    list of tuple of int
        First and last integration (1-based, inclusive) of every segment.

    Raises
    ------
    UsageError
        If there are more segments than integrations.
    """
    if not 1 <= segments <= nints:
        raise UsageError(f"{nints} integrations cannot be split into {segments} segments")
    edges = [nints * k // segments for k in range(segments + 1)]
    return [(a + 1, b) for a, b in pairwise(edges)]


def _has_reference_lines(region, pixels):
    """Whether the reference pixels can remove offsets of the amplifiers."""
    if region.detector.is_miri:
        return region.is_full
    reference = pixels.reference
    return bool((reference.all(axis=1) if region.fast_is_x else reference.all(axis=0)).any())


def expose(
    out,
    instrument=None,
    detector=None,
    subarray=None,
    shape=None,
    corner=None,
    readpatt=None,
    nints=None,
    ngroups=None,
    segments=1,
    zeroframe=False,
    tso=False,
    exp_type=None,
    seed=1,
    cr_rate=None,
    one_over_f=None,
    drift=None,
    brightness=None,
    star_density=6e-4,
    dither=(0.0, 0.0),
    exposure=1,
    frame_divisor=None,
    gain_factor=1.0,
    scene_seed=7,
    detector_seed=11,
    references=True,
    full_references=False,
    overwrite=False,
    threads=2,
    effects="",
    inverse=False,
    history=None,
    begin=None,
):
    """Simulate a raw exposure, its reference files and its truth.

    Parameters
    ----------
    out : str or pathlib.Path
        Folder for the files; made if it does not exist.
    instrument, detector : str, optional
        NIRCam's NRCB1 if neither is given.
    subarray : str, optional
        Official name; the default is quick to make and differs between instruments.
    shape : tuple of int, optional
        Rows and columns of a region without a name.
    corner : tuple of int, optional
        1-based x and y of its first pixel.
    readpatt : str, optional
        Official readout pattern; the fastest by default.
    nints, ngroups : int, optional
        1 and 10, if the exposure type does not fix them.
    segments : int, optional
        Number of files the integrations are split into.
    zeroframe : bool, optional
        Also write the first frame of every integration.
    tso : bool, optional
        Set TSOVISIT and choose a time-series exposure type.
    exp_type : str, optional
    seed : int, optional
        Noise, cosmic rays and drifts; the sky has `scene_seed`, the pixels `detector_seed`.
    cr_rate : float, optional
        Fraction of the pixels hit in one integration; 0.01, for guide-star functions 1e-4.
    one_over_f : float, optional
        Line-correlated noise, DN rms; small by default, zero without reference pixels.
    drift : float, optional
        Random step of the amplifier offsets between frames, DN rms; 1.5 by default, 0.05 where
        the region has no reference pixels to remove it.
    brightness : float, optional
        Factor on the whole scene; by default chosen so that short ramps have signal.
    star_density : float, optional
        Stars per pixel.
    dither : tuple of float, optional
        Shift of the pointing, pixels.
    exposure : int, optional
        Exposure number in the file name; also advances the clock.
    frame_divisor : int, optional
        FRMDIVSR, if it differs from NFRAMES.
    gain_factor : float, optional
        GAINFACT of the gain reference; the truth is in the rescaled units.
    scene_seed, detector_seed : int, optional
    references : bool, optional
        Whether to write reference files.
    full_references : bool, optional
        Write those that the official steps cut out for the whole detector, although only a part
        is read.
    overwrite : bool, optional
        Replace files of an earlier case.
    threads : int, optional
        The result does not depend on it.
    effects : str, optional
        Further effects, see `jwcal.simulate.effects.parse`.
    inverse : bool, optional
        The linearity reference also holds the inverse polynomials.
    history : dict, optional
        What the exposure before left behind in the detector; changed.
    begin : float, optional
        Start, seconds after that of the first exposure; by default exposures follow each other
        every 1728 s.

    Returns
    -------
    dict
        Contents of ``case.json``: file names relative to `out` and what was simulated.

    Raises
    ------
    UsageError
        If the request contradicts itself.
    OutputError
        If a file cannot be written.
    """
    out = Path(out)
    if cr_rate is not None and not 0 <= cr_rate <= 1:
        raise UsageError(f"the cosmic-ray rate is a fraction of the pixels, between 0 and 1, not {cr_rate}")
    asked = parse(effects)
    if (exp_type or "").upper() in GUIDING:
        refused = {
            "effects": asked or inverse,
            "a subarray name": subarray,
            "segments": segments > 1,
            "a zero frame": zeroframe,
            "a time series": tso,
            "line noise": one_over_f is not None,
            "a drift": drift is not None,
            "a dither": any(dither),
            "a frame divisor": frame_divisor,
            "a gain factor": gain_factor != 1,
        }
        return expose_guider(
            out,
            exp_type,
            [name for name, value in refused.items() if value],
            {"instrument": instrument, "detector": detector},
            {
                "nints": nints,
                "ngroups": ngroups,
                "readpatt": readpatt,
                "shape": shape,
                "corner": corner,
                "seed": seed,
                "scene_seed": scene_seed,
                "detector_seed": detector_seed,
                "cr_rate": cr_rate,
                "brightness": brightness,
                "star_density": star_density,
            },
            references,
            full_references,
            overwrite,
        )
    nints, ngroups = 1 if nints is None else nints, 10 if ngroups is None else ngroups
    cr_rate = 0.01 if cr_rate is None else cr_rate
    det = choose_detector(instrument, detector)
    check(asked, det.instrument)
    type_name, mode = _exposure_type(det, exp_type, tso)
    if subarray is None and shape is None and "IRS2" in (readpatt or "").upper():
        subarray = "FULL"
    region = find_region(det, subarray, shape, corner)
    timing = find_timing(region, readpatt, ngroups, frame_divisor)
    interleaved = timing.is_interleaved
    if interleaved and (zeroframe or one_over_f is not None or drift is not None):
        raise UsageError(f"{timing.pattern} has noise of its own (--effects flicker), and no zero frame")
    if interleaved and not region.is_full:
        raise UsageError(f"{timing.pattern} reads the whole detector, not {region.name}")
    if nints < 1:
        raise UsageError(f"an exposure needs at least one integration, not {nints}")
    bounds = segment_bounds(nints, segments)
    elements = {key.upper(): mode.get(key, det.get(key)) for key in ("filter", "pupil", "grating")}
    plan = Plan(
        region,
        timing,
        nints,
        exposure,
        type_name,
        elements,
        tso or mode.get("tso", False),
        zeroframe,
        tuple(dither),
        begin,
    )

    pixels = draw_pixels(region, detector_seed)
    if interleaved:
        pixels.bad_reference[:] = False
    if brightness is None:
        brightness = max(1.0, 50.0 / timing.integration_time)
    scene = make_scene(
        region, mode["scene"], mode.get("axis", "x"), brightness, star_density, scene_seed, plan.dither
    )
    usable = _has_reference_lines(region, pixels)
    light = scene.rate * pixels.efficiency
    setting = Setting(
        region,
        timing,
        pixels,
        light,
        nints,
        seed,
        (plan.start - MJD_START) * 86400,
        plan.cycle,
        {} if history is None else history,
    )
    extra = build(
        {name: value for name, value in asked.items() if not (interleaved and name == "flicker")}, setting
    )
    readout = None
    if interleaved:
        from jwcal.simulate.irs2 import Interleaved

        readout = Interleaved(setting, asked.get("flicker", 1.0))
        extra += (readout,)
        drift, usable = 0.0, False
    strengths = Effects(
        cr_rate=cr_rate,
        one_over_f=one_over_f
        if one_over_f is not None
        else (1.0 if region.is_full and not det.is_miri and not interleaved else 0.0),
        drift=drift if drift is not None else (1.5 if usable else 0.05),
        odd_even=0.8 if usable else 0.0,
        extra=extra,
    )
    maker = RampMaker(region, timing, pixels, light, nints, strengths, seed, zeroframe, threads)
    names = [plan.file_name(k + 1 if segments > 1 else None) for k in range(segments)]
    make_folders(out, segments, references)
    counts = _write_ramps(
        out, plan, maker, bounds, names, scene, light, gain_factor, seed, overwrite, readout
    )
    paths = {}
    if references:
        whole = pixels_of_whole = None
        if full_references and not region.is_full:
            whole = find_region(det, "FULL")
            pixels_of_whole = draw_pixels(whole, detector_seed)
        made = {}
        for kind in kinds_of(region):
            # Official darks and resets are made per subarray; the official step does not cut them.
            small = whole is None or kind in {"dark", "reset", "rscd"}
            made[kind] = write.write_reference(
                out / "refs",
                kind,
                region if small else whole,
                timing,
                pixels if small else pixels_of_whole,
                gain_factor,
                overwrite,
                inverse,
                readout,
            )
        for effect in strengths.extra:
            for kind, make in effect.references():
                made[kind] = make(out / "refs", overwrite)
        paths = {kind: f"refs/{name}" for kind, name in made.items()}
    case = {
        "uncal": names[0],
        "truth": "truth.fits",
        "refs": paths,
        "instrument": det.instrument,
        "detector": det.name,
        "subarray": region.name,
        "exp_type": type_name,
        "shape": list(region.shape),
        "nints": nints,
        "ngroups": ngroups,
        "readpatt": timing.pattern,
        "seed": seed,
        "rate_scale": brightness,
        "crs": counts[0],
        "saturated": counts[1],
    }
    if asked:
        case["effects"] = asked
    if history is not None:
        case["start"], case["seconds"] = plan.start, plan.duration
    if segments > 1:
        case["segments"] = [
            {"uncal": name, "truth": f"seg{k + 1:03d}/truth.fits", "intstart": a, "intend": b}
            for k, (name, (a, b)) in enumerate(zip(names, bounds, strict=True))
        ]
        for k, (a, b) in enumerate(bounds):
            own = {
                **case,
                "uncal": f"../{names[k]}",
                "nints": b - a + 1,
                "refs": {kind: f"../{name}" for kind, name in paths.items()},
            }
            own.pop("segments")
            write_json(out / f"seg{k + 1:03d}" / "case.json", own)
    write_json(out / "case.json", case)
    return case


def _write_ramps(out, plan, maker, bounds, names, scene, light, gain_factor, seed, overwrite, readout):
    """Write raw files and truth, integration by integration; return numbers of hits and clipped pixels."""
    pixels = maker.pixels
    gain = (pixels.gain / np.float32(gain_factor)).astype(np.float32)
    rate = (light / gain).astype(np.float32)
    hits = saturated = 0
    segmented = len(bounds) > 1
    with ExitStack() as stack:

        def truth_file(path, first, last):
            handle = stack.enter_context(write.new_file(path, overwrite))
            return write.TruthFile(handle, plan, first, last, rate, gain, pixels, scene.stars, seed)

        whole = truth_file(out / "truth.fits", 1, plan.nints)
        raw, truths = [], [whole]
        for k, (first, last) in enumerate(bounds):
            handle = stack.enter_context(write.new_file(out / names[k], overwrite))
            segment = (k + 1, len(bounds)) if segmented else None
            raw.append(write.RawFile(handle, plan, first, last, segment, readout))
            if segmented:
                truths.append(truth_file(out / f"seg{k + 1:03d}" / "truth.fits", first, last))
        groups = np.empty((plan.timing.ngroups, *plan.region.shape), np.uint16)
        for k, (first, last) in enumerate(bounds):
            for i in range(first - 1, last):
                integration = maker.integration(i, groups)
                raw[k].write(integration)
                whole.write(integration)
                if segmented:
                    truths[k + 1].write(integration)
                hits += integration.hits.size
                saturated += int((integration.saturated >= 0).sum())
        for truth in truths:
            truth.finish(maker.effects.extra)
    return hits, saturated

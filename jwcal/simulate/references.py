"""Reference files, in the official formats, of a simulated detector."""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.simulate.pixels import linearise
from jwcal.simulate.ramp import dark_factor

_FLAGS = (
    "DO_NOT_USE",
    "SATURATED",
    "JUMP_DET",
    "AD_FLOOR",
    "DEAD",
    "HOT",
    "WARM",
    "LOW_QE",
    "NO_FLAT_FIELD",
    "NO_GAIN_VALUE",
    "NO_LIN_CORR",
    "NO_SAT_CHECK",
    "UNRELIABLE_BIAS",
    "UNRELIABLE_DARK",
    "BAD_REF_PIXEL",
    "REFERENCE_PIXEL",
)
# Beyond this many values the dark is stored per group instead of per frame.
DARK_FRAME_LIMIT = 1 << 26

KINDS = {
    "mask": "MaskModel",
    "saturation": "SaturationModel",
    "superbias": "SuperBiasModel",
    "linearity": "LinearityModel",
    "dark": "DarkModel",
    "gain": "GainModel",
    "readnoise": "ReadnoiseModel",
    "flat": "FlatModel",
    "reset": "ResetModel",
    "rscd": "RSCDModel",
}


def dq_definition():
    """Table that names the flags of a reference file.

    Returns
    -------
    numpy.ndarray
        Structured: BIT, VALUE, NAME, DESCRIPTION; standard bits.
    """
    from jwcal.refs.make.write import dq_definition as definition

    return definition(_FLAGS)


def rscd_table(region, timing):
    """List the groups to drop at the start of integrations, by subarray and pattern.

    Returns
    -------
    numpy.ndarray
        Structured: subarray, readpatt, group_skip1 (first integration), group_skip (later ones).
    """
    rows = [
        ("FULL", "FASTR1", 1, 4),
        ("FULL", "SLOWR1", 1, 2),
        ("FULL", "FAST", 1, 4),
        ("FULL", "SLOW", 1, 2),
    ]
    if (region.name, timing.pattern) not in {row[:2] for row in rows}:
        rows.append((region.name, timing.pattern, 1, groups_to_skip(timing)[1]))
    return np.array(
        rows, [("subarray", "S17"), ("readpatt", "S12"), ("group_skip1", "i4"), ("group_skip", "i4")]
    )


def groups_to_skip(timing):
    """Count the groups no mid-infrared fit may use.

    Returns
    -------
    tuple of int
        At the start of the first integration, at the start of later ones.
    """
    return 1, (2 if timing.nsamples > 1 else 4)


def dark_frames(region, timing):
    """How the dark is sampled.

    Returns
    -------
    tuple of int
        Number of planes, frames averaged into each, frames dropped between them.
    """
    total = timing.total_frames
    plain = timing.nframes + timing.groupgap == 1
    if region.detector.is_miri or plain or total * region.ny * region.nx > DARK_FRAME_LIMIT:
        return timing.ngroups, timing.nframes, timing.groupgap
    return total, 1, 0


def dark_planes(region, timing, pixels):
    """Mean dark signal, plane by plane.

    Yields
    ------
    tuple
        Index (integration, plane) and float32 (ny, nx) in DN.
    """
    count, nframes, gap = dark_frames(region, timing)
    rate = pixels.dark / pixels.gain
    rate[pixels.undefined["dark"]] = np.nan
    for i in range(2 if region.detector.is_miri else 1):
        for k in range(count):
            seconds = (
                (k * (nframes + gap) + (nframes + 1) / 2) * timing.tframe * dark_factor(region.detector, i)
            )
            yield (i, k), rate * np.float32(seconds)


def planes(kind, region, timing, pixels):
    """Planes of a reference file, except those of the dark's SCI.

    Parameters
    ----------
    kind : str
        One of `KINDS` other than rscd.
    region : jwcal.simulate.detectors.Region
    timing : jwcal.simulate.readout.Timing
    pixels : jwcal.simulate.pixels.Pixels

    Returns
    -------
    dict
        Name to array, in the order of the file.
    """
    none = np.zeros(region.shape, np.uint32)

    def holes(array, name):
        out = np.array(array, np.float32)
        out[..., pixels.undefined[name]] = np.nan
        return out

    def flags(name, flag):
        return np.where(pixels.undefined[name], DQ[flag], 0).astype(np.uint32)

    if kind == "mask":
        mask = none
        mask[pixels.reference] |= DQ["REFERENCE_PIXEL"]
        mask[pixels.dead] |= DQ["DEAD"] | DQ["DO_NOT_USE"]
        mask[pixels.hot] |= DQ["HOT"]
        mask[pixels.bad_reference] |= DQ["BAD_REF_PIXEL"] | DQ["DO_NOT_USE"]
        return {"DQ": mask}
    if kind == "saturation":
        level = np.minimum(0.985 * pixels.full_well + pixels.bias, 65000)
        return {"SCI": holes(level, "saturation"), "DQ": flags("saturation", "NO_SAT_CHECK")}
    if kind == "superbias":
        return {
            "SCI": holes(pixels.bias, "superbias"),
            "ERR": np.full(region.shape, 0.3, np.float32),
            "DQ": flags("superbias", "UNRELIABLE_BIAS"),
        }
    if kind == "linearity":
        return {"COEFFS": holes(pixels.coefficients, "linearity"), "DQ": flags("linearity", "NO_LIN_CORR")}
    if kind == "dark":
        dq = flags("dark", "UNRELIABLE_DARK")
        return {"DQ": np.stack([dq, dq])[:, None] if region.detector.is_miri else dq}
    if kind == "gain":
        return {"SCI": holes(pixels.gain, "gain")}
    if kind == "readnoise":
        return {"SCI": holes(pixels.read_noise / pixels.gain * np.sqrt(2), "readnoise")}
    if kind == "flat":
        blind = pixels.reference | pixels.dead
        return {
            "SCI": np.where(blind, 1, pixels.efficiency).astype(np.float32),
            "ERR": np.full(region.shape, 0.001, np.float32),
            "DQ": np.where(blind, DQ["NO_FLAT_FIELD"] | DQ["DO_NOT_USE"], 0).astype(np.uint32),
        }
    if kind == "reset":
        return {"SCI": pixels.reset, "DQ": none}
    raise ValueError(f"no reference file of kind {kind!r}")


def inverse(pixels, order=6):
    """Polynomials from linear to measured signal.

    Parameters
    ----------
    pixels : jwcal.simulate.pixels.Pixels
    order : int, optional
        Highest power.

    Returns
    -------
    numpy.ndarray
        float32 (order + 1, ny, nx): the INV_COEFFS of a linearity file.  Least squares over the
        range of every pixel, good to a few hundredths of a DN.
    """
    c, well = pixels.coefficients.astype(float), pixels.full_well.astype(float)
    nodes = 0.5 * (1 - np.cos(np.pi * (np.arange(24) + 0.5) / 24))
    top = linearise(well, c)
    out = np.zeros((order + 1, *well.shape))
    normal = np.zeros((*well.shape, order, order))
    right = np.zeros((*well.shape, order))
    powers = np.arange(1, order + 1)
    for node in nodes:
        measured = node * well
        x = (linearise(measured, c) / top)[..., None] ** powers
        normal += x[..., :, None] * x[..., None, :]
        right += x * measured[..., None]
    solution = np.linalg.solve(normal, right[..., None])[..., 0]
    out[1:] = np.moveaxis(solution / top[..., None] ** powers, -1, 0)
    out[2:, pixels.reference] = 0
    out[1, pixels.reference] = 1
    out[:, pixels.undefined["linearity"]] = np.nan
    return out.astype(np.float32)


def extra_keywords(kind, region, timing, gain_factor=1.0):
    """Keywords a kind of reference file needs beyond the common ones.

    Returns
    -------
    dict
        Keyword to value.
    """
    det = region.detector
    if kind == "dark":
        count, nframes, gap = dark_frames(region, timing)
        out = {
            "READPATT": timing.pattern if count == timing.ngroups else det["readpatt"],
            "NFRAMES": nframes,
            "NGROUPS": count,
            "GROUPGAP": gap,
            "NOUTPUTS": region.outputs,
        }
        if det.is_miri:
            out["NINTS"] = 2
        return out
    if kind == "reset":
        return {"READPATT": timing.pattern, "NGROUPS": 12, "NINTS": 4, "BUNIT": "DN"}
    if kind in {"superbias", "readnoise"}:
        return {"READPATT": timing.pattern, "NOUTPUTS": region.outputs, "BUNIT": "DN"}
    if kind == "saturation":
        return {"BUNIT": "DN"}
    if kind == "gain":
        out = {"BUNIT": "electrons/DN"}
        return {**out, "GAINFACT": gain_factor} if gain_factor != 1 else out
    if kind == "flat":
        return {key.upper(): det[key] for key in ("filter", "pupil", "grating") if det.get(key)}
    return {}


def kinds(region):
    """Kinds of reference files a detector has.

    Returns
    -------
    tuple of str
    """
    common = ["mask", "saturation", "linearity", "dark", "gain", "readnoise", "flat"]
    return tuple(common + (["reset", "rscd"] if region.detector.is_miri else ["superbias"]))

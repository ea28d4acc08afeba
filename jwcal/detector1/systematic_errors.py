"""Errors that a product shares with all others calibrated with the same reference files."""

from types import SimpleNamespace

import numpy as np

from jwcal.core.errors import ReferenceFileError
from jwcal.core.step import Param, Ref, Skip, step

# Plane, keyword that identifies what is shared, and reference it comes from.
TERMS = {
    "VAR_DARK": ("DARKID", "dark"),
    "VAR_BIAS": ("BIASID", "superbias"),
    "VAR_LINEARITY": ("LINID", "linearity"),
    "VAR_GAIN": ("GAINID", "gain"),
}


def _dark_errors(ref, box, plan):
    """Errors of the dark in its first and last frame used."""
    return {"ERR": np.stack([_read(ref, "ERR", box, index) for index in plan.dark])} if plan.dark else {}


def _bias_error(ref, box, plan):
    return {"ERR": _read(ref, "ERR", box)} if plan.bias else {}


def _gain(ref, box, plan):
    return {n: _read(ref, n, box) for n in (("SCI", "ERR") if plan.gain else ())}


def _linearity(ref, box, plan):
    return {"COEFFS": _read(ref, "COEFFS", box)} if plan.linearity else {}


def _read(ref, name, box, index=()):
    values = ref.read(name, box, index=index, dtype="f4")
    return np.where(np.isfinite(values), values, np.float32(0))


@step(
    "systematic_errors",
    stage="detector1",
    takes="rate",
    gives="rate",
    refs=[
        Ref("dark", missing="optional", load=_dark_errors),
        Ref("superbias", missing="optional", load=_bias_error),
        Ref("linearity", missing="optional", load=_linearity),
        Ref("gain", missing="optional", load=_gain),
    ],
    params=[
        Param(
            "linearity_error",
            float,
            0.02,
            "Error of the linearity correction, as a fraction of the correction.",
            min=0.0,
            max=1.0,
        ),
    ],
    changes=tuple(TERMS),
    uses=("SCI",),
    default_skip=True,
    keywords=tuple(key for key, _ in TERMS.values()),
)
def systematic_errors(tile, refs, p):
    """Add planes with the errors shared by all products of the same references.

    Such errors do not become smaller when exposures are averaged that were calibrated with the same
    file.  They are kept apart from ERR, which stays that of the noise, as variances in DN2/s2 (float32):
    VAR_DARK, of the dark's rate, from its ERR in the first and the last group; VAR_BIAS, of the bias in
    exposures of one group (it cancels in a slope); VAR_LINEARITY, a fraction of the linearity correction at
    the level the pixel ends at (that of the fourth power and lower terms of the COEFFS); VAR_GAIN, of the
    gain's scale, for those who go from DN to electrons.  A term whose reference has no errors, or is
    not given, is 0.  The keywords DARKID, BIASID, LINID and GAINID name what is shared ("NONE" where nothing
    is known): products with the same value have this error in common, those with others have not.
    NaN of the slope stays NaN.  The slopes of each integration get none of these planes, since they share
    those of the exposure.

    Source: the structure is that of common error terms (nuisance parameters shared by exposures), see
    for example Hogg, Bovy and Lang 2010, arXiv 1008.4686, section 7.
    """
    sci, plan = tile["SCI"], tile.plan
    if sci.ndim > 2:
        return
    zero = np.zeros(sci.shape[-2:], np.float32)
    variance = (refs["dark"]["ERR"] ** 2).sum(axis=0) / plan.time**2 if plan.dark else zero
    tile["VAR_DARK"] = _like(sci, variance)
    bias = refs["superbias"]["ERR"] ** 2 / plan.time**2 if plan.bias else zero
    tile["VAR_BIAS"] = _like(sci, bias)
    fraction = (
        _correction(sci * np.float32(plan.level), refs["linearity"]["COEFFS"]) if plan.linearity else zero
    )
    tile["VAR_LINEARITY"] = _like(sci, (np.float32(p.linearity_error) * fraction * sci) ** 2)
    relative = zero
    if plan.gain:
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = refs["gain"]["ERR"] / refs["gain"]["SCI"]
        relative = np.where(np.isfinite(relative), relative, np.float32(0))
    tile["VAR_GAIN"] = _like(sci, (relative * sci) ** 2)


def _like(sci, variance):
    """Variance in the shape of the slopes, NaN where they are."""
    out = np.broadcast_to(variance, sci.shape).astype(np.float32)
    out[np.isnan(sci)] = np.nan
    return out


def _correction(level, coefficients):
    """How much of a level the linearity correction has made, as a fraction.

    The polynomial takes measured to true values; at the level asked for, true, the measured one is found
    to first order, which is enough for an error.
    """
    corrected = np.zeros(np.broadcast_shapes(level.shape, coefficients.shape[1:]), np.float32)
    for c in coefficients[::-1]:
        corrected = corrected * level + c
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = (corrected - level) / level
    return np.where(np.isfinite(fraction), fraction, np.float32(0))


@systematic_errors.setup
def _(exposure, refs, p):
    if exposure.product == "rateints":
        raise Skip("made for the slopes of the exposure, not of each integration")
    meta = exposure.meta
    ngroup, group_time = meta["NGROUPS"], meta["TGROUP"]
    span = max(ngroup - 1, 1) * group_time
    plan = SimpleNamespace(
        time=np.float32(span),
        level=ngroup * group_time,
        dark=_frames(refs["dark"], meta) if _has(refs["dark"], "ERR") else None,
        bias=ngroup == 1 and _has(refs["superbias"], "ERR"),
        linearity=_has(refs["linearity"], "COEFFS") and p.linearity_error > 0,
        gain=_has(refs["gain"], "ERR"),
    )
    used = {"dark": plan.dark, "superbias": plan.bias, "linearity": plan.linearity, "gain": plan.gain}
    if not any(used.values()):
        raise Skip("no reference with errors was given")
    for key, kind in TERMS.values():
        meta.set(key, _identity(refs[kind]) if used[kind] else "NONE")
    return plan


def _has(ref, name):
    return ref is not None and name in ref


def _identity(ref):
    from pathlib import Path

    return Path(ref.path).name


def _frames(ref, meta):
    """Index of the dark's frames whose errors enter: of the first and the last group."""
    shape = ref.shape("ERR")
    if len(shape) not in (3, 4):
        raise ReferenceFileError(f"{ref.path}: ERR has shape {shape}; a dark needs groups, rows and columns")
    stride = 1 if ref.get("NFRAMES", 1) == meta["NFRAMES"] else meta["NFRAMES"] + meta["GROUPGAP"]
    last = min((meta["NGROUPS"] - 1) * stride, shape[-3] - 1)
    lead = () if len(shape) == 3 else (shape[0] - 1,)
    return [(*lead, 0), (*lead, last)] if last else [(*lead, 0)]

"""The frame of thermal origin around full NIRSpec images, whose level drifts during an exposure."""

import logging
from types import SimpleNamespace

import numpy as np

from jwcal.core.errors import ReferenceFileError, UsageError
from jwcal.core.step import Param, Ref, Skip, step
from jwcal.detector1 import scene_mask

log = logging.getLogger(__name__)

# Rows and columns that hold the frame, and those inside of it; the border has reference pixels.
LOWER_EDGE, CENTRE, UPPER_EDGE = (4, 75), (76, 1984), (1985, 2043)
NONE = ("", "none")
SUFFIXES = {"save_mask": "pctfrm_mask", "save_correction": "pctfrm_correction"}


@step(
    "picture_frame",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_PCTFRM",
    refs=[
        Ref("pictureframe", planes={"SCI": "f4"}),
        Ref("gain", planes={"SCI": "f4"}, missing="optional"),
        Ref("readnoise", planes={"SCI": "f4"}, missing="optional"),
    ],
    params=[
        Param("mask_science_regions", bool, True, "Mask the slits and open shutters (needs user_mask)."),
        Param("n_sigma", float, 2.0, "Mask pixels brighter than this; 0 masks none.", unit="sigma", min=0),
        Param("user_mask", str, None, "Image that is not zero where there is background."),
        Param("save_mask", bool, False, "Write the mask (..._pctfrm_mask.fits)."),
        Param("save_correction", bool, False, "Write what was subtracted (..._pctfrm_correction.fits)."),
    ],
    changes=("SCI",),
    uses=("SCI", "GROUPDQ", "PIXELDQ", "ZEROFRAME", "AVDRKCUR"),
    instruments=("NIRSPEC",),
    default_skip=True,
    scope="exposure",
    keywords=("S_PCTFRM",),
)
def picture_frame(tile, refs, p):
    """Subtract the thermal picture frame, scaled to each group.

    A draft of the slope image tells background from sources.  Of each group less the first, the medians
    of the background in the centre and at the edges give the scale and the level of the PICTUREFRAME
    image.  SCI is float32 in DN, changed in place; the first group and the flags stay.  Pixels that are
    NaN in the reference become NaN; groups without a background level stay as they are.

    Where slits lie on the detector follows from an instrument model that this package does not have yet:
    give a ``user_mask``, or say ``mask_science_regions = false`` and let the clipping find what is lit.
    Off unless asked for (``skip = false``); only for full frames of at least two groups.

    Errors: exit 2 if science regions are to be masked without a mask, exit 3 for a mask of another
    shape, exit 4 for a reference of another shape or without contrast between centre and edge.

    Source: calibration pipeline of the observatory, package ``jwst`` 3.0.
    """
    plan, sci = tile.plan, tile["SCI"]
    mask = plan.user
    if mask is None:
        rate, _ = scene_mask.draft_rate(tile, refs["gain"]["SCI"], refs["readnoise"]["SCI"])
        mask = scene_mask.scene_mask(rate, p.n_sigma)
    mask = mask.reshape(-1, *mask.shape[-2:]).all(axis=0)
    if p.save_mask:
        plan.beside.image(tile.meta, SUFFIXES["save_mask"], mask, "picture_frame")
    centre, edge = regions(mask)
    if not centre.any() or not edge.any():
        log.warning("%s: picture_frame: no background in the centre or at the edges", tile.meta.label)
        plan.done = False
        return
    before = sci.copy() if p.save_correction else None
    image = refs["pictureframe"]["SCI"]
    contrast = _median(image[centre]) - (edge_level := _median(image[edge]))
    if not np.isfinite(contrast) or contrast == 0:
        raise ReferenceFileError(f"{plan.path}: the background has no level, or the same in centre and edge")
    pattern = image - edge_level

    def correct(place):
        i, g = place
        zero, group = first[i], sci[i, g]
        with np.errstate(invalid="ignore"):
            rest = group - zero
            inner, outer = _median(rest[centre]), _median(rest[edge])
            scale = (inner - outer) / contrast
            if np.isfinite(scale):
                group[...] = rest + (zero - (scale * pattern + outer))
        return float(scale)

    first = sci[:, 0]
    nint, ngroup = sci.shape[:2]
    scales = np.array(tile.spread(correct, [(i, g) for i in range(nint) for g in range(1, ngroup)]))
    lost = int((~np.isfinite(scales)).sum())
    if lost:
        log.warning("%s: picture_frame: %d groups have no level and stay", tile.meta.label, lost)
    if before is not None:
        plan.beside.image(tile.meta, SUFFIXES["save_correction"], sci - before, "picture_frame")


@picture_frame.setup
def _(exposure, refs, p):
    meta = exposure.meta
    subarray = str(meta["SUBARRAY"]).upper()
    if subarray != "FULL":
        raise Skip(f"only for full frames, not {subarray}")
    if exposure.shape[1] < 2:
        raise Skip("needs two groups")
    plan = SimpleNamespace(user=None, done=True, path=refs["pictureframe"].path, beside=exposure.beside)
    for name, suffix in SUFFIXES.items():
        if getattr(p, name):
            exposure.beside.path(meta, suffix)
    refs["pictureframe"].offset("SCI")
    if p.user_mask is not None and p.user_mask.lower() not in NONE:
        plan.user = scene_mask.read_mask(p.user_mask, exposure)
        return plan
    if p.mask_science_regions:
        raise UsageError(
            f"picture_frame: the slits of {meta['EXP_TYPE']} cannot be masked yet;"
            " give a user_mask or mask_science_regions = false"
        )
    for name in ("gain", "readnoise"):
        if refs[name] is None:
            raise ReferenceFileError(
                f"picture_frame: {exposure.label}: no {name.upper()} reference;"
                f" give --ref-{name} FILE, --refs DIR, or a user_mask"
            )
    return plan


@picture_frame.finish
def _(exposure, counts, plan, p):
    if not plan.done:
        exposure.meta.set("S_PCTFRM", "SKIPPED")


def regions(background):
    """Divide the background into what lies inside the picture frame and on it.

    Parameters
    ----------
    background : (ny, nx) bool numpy.ndarray
        True for background.

    Returns
    -------
    centre, edge : (ny, nx) bool numpy.ndarray
        Reference pixels are in neither.
    """
    ny, nx = background.shape
    centre, edge = np.zeros((2, ny, nx), bool)
    inside, valid = slice(*CENTRE), slice(LOWER_EDGE[0], UPPER_EDGE[1])
    centre[inside, inside] = background[inside, inside]
    for part in (LOWER_EDGE, UPPER_EDGE):
        edge[slice(*part), valid] = background[slice(*part), valid]
        edge[valid, slice(*part)] = background[valid, slice(*part)]
    return centre, edge


def _median(values):
    """Median of the values that are not NaN; NaN if there is none."""
    if np.isnan(values).any():
        values = values[~np.isnan(values)]
    return np.median(values) if len(values) else np.float32(np.nan)

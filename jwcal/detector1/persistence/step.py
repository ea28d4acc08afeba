"""Persistence: latent images of what a detector saw before.

Windows after saturation are flagged by the rules of the calibration pipeline of the observatory, package
``jwst`` 3.0.  The correction follows families of traps through the earlier exposures: Smith et al. 2008,
SPIE 7021, 70210J; Leisenring et al. 2016, SPIE 9915, 99152N.
"""

import logging
import os
from types import SimpleNamespace

import numpy as np

from jwcal.core.asdf_file import require_asdf
from jwcal.core.dq import DQ
from jwcal.core.errors import OutputError, ReferenceFileError, UsageError
from jwcal.core.step import Param, Ref, step
from jwcal.detector1.persistence.history import SLACK, carry, clock, find_history, first_read
from jwcal.detector1.persistence.map import MapUpdate, map_path, read_map
from jwcal.detector1.persistence.model import read_model, solve, sums, write_model
from jwcal.detector1.persistence.state import read_state, write_state
from jwcal.kernels.persistence import fill_traps, flag_windows, release_traps

log = logging.getLogger(__name__)

LIFETIMES = 6.0
# Noise of a group where no READNOISE reference is given, electrons.
USUAL_NOISE = 10.0


@step(
    "persistence",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_PERSIS",
    refs=[
        Ref("gain", planes={"SCI": "f4"}, missing="optional"),
        Ref("readnoise", planes={"SCI": "f4"}, missing="optional"),
        Ref("trapdensity", planes={"SCI": "f4"}, missing="optional", keyword="R_TRPDEN"),
        Ref("persat", planes={"SCI": "f4"}, missing="optional", keyword="R_PERSAT"),
    ],
    params=[
        Param("persistence_time", int, None, "Time to flag after saturation.", unit="s", min=1),
        Param("dn_threshold", float, None, "A signal above this opens a window too.", unit="DN"),
        Param("persistence_array_file", str, None, "ASDF map of the windows open before this exposure."),
        Param("save_persistence", str, None, "ASDF map to put the windows open after it into."),
        Param("persistence_dnu", bool, False, "Flag the windows DO_NOT_USE too."),
        Param("history", str, None, "Earlier exposures: a folder, or files separated by commas, old to new."),
        Param("traps_file", str, None, "ASDF file of the charge trapped at the end of an earlier exposure."),
        Param("save_traps", str, None, "ASDF file for the charge trapped at the end of this exposure."),
        Param("model", str, None, "TOML file of trap families; else those of the package."),
        Param(
            "fit",
            str,
            "none",
            "Fit the amplitudes to this exposure: all alike, each, or each where there is no light.",
            choices=("none", "scale", "families", "blank"),
        ),
        Param("save_model", str, None, "TOML file for the trap families as fitted."),
    ],
    changes=("SCI", "GROUPDQ"),
    uses=("SCI", "GROUPDQ", "PIXELDQ"),
    span="exposure",
    default_skip=True,
)
def persistence(tile, refs, p):
    """Flag persistence, and subtract what earlier exposures left.

    With ``persistence_time`` a pixel gets PERSISTENCE in GROUPDQ for that time from its first saturated
    group on, over the integrations; the windows still open go into an ASDF map, from which the next
    exposure starts.  The time of an integration is that of its number in INT_TIMES.

    With ``history`` traps are followed through earlier products (rateints, rate or ramp) of the same
    detector, in the order of time: they fill with signal and release it later.  What they release
    during this exposure is subtracted from SCI (DN, float32), group by group; pixels without a
    gain are not changed.  The amplitudes of the trap families, declared in a TOML file, may
    be fitted to the curvature of the ramps of this exposure.  TRAPDENSITY and PERSAT references, if there
    are any, tell how many traps a pixel has, and how deep it is, relative to the others.  The charge
    trapped at the end of the exposure may be saved and given to the next one in place of the history.

    Off unless asked for (``skip = false``).  Errors: exit 2 without anything to do or for a model
    that is not valid, 3 for a history that is missing, of another detector or not in order of time,
    4 without GAIN for the correction, 5 for a file that is there already; the map is added to.
    """
    plan = tile.plan
    y0, y1, x0, x1 = tile.box
    inner = tuple(slice(a, b) for a, b in (tile.core[:2], tile.core[2:]))
    a, b, c, d = tile.core_box
    if plan.ends is not None:
        ends = np.ascontiguousarray(plan.ends[y0:y1, x0:x1])
        flag_windows(
            tile["SCI"],
            tile["GROUPDQ"],
            plan.times,
            float(p.persistence_time),
            p.dn_threshold,
            plan.flag,
            ends,
        )
        plan.ends_after[a:b, c:d] = ends[inner]
    if plan.traps is not None:
        gain = refs["gain"]["SCI"]
        usable = np.isfinite(gain) & (gain > 0)
        usable &= np.isfinite(density := _density(refs, gain.shape))
        for i, released, traps in _walk(tile, gain * _depth(refs, plan, gain.shape)):
            total = np.einsum("k,kgyx->gyx", plan.scale, released) * density
            with np.errstate(divide="ignore", invalid="ignore"):
                tile["SCI"][i] -= np.where(usable, total / gain, np.float32(0))
            if plan.traps_after is not None and i == len(tile["SCI"]) - 1:
                plan.traps_after[:, a:b, c:d] = plan.scale[:, None, None] * traps[:, *inner]


def _density(refs, shape):
    """Traps of every pixel relative to the mean."""
    if refs["trapdensity"] is None:
        return np.ones(shape, np.float32)
    return refs["trapdensity"]["SCI"]


def _depth(refs, plan, shape):
    """Factor on the signal of every pixel that makes up for its full well."""
    if refs["persat"] is None:
        return np.ones(shape, np.float32)
    return relative(refs["persat"]["SCI"], plan.well)


def relative(well, usual):
    """Usual value over that of every pixel; 1 where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(well > 0, np.float32(usual) / well, np.float32(1)).astype(np.float32)


def _walk(tile, gain):
    """Give for every integration what the traps release up to each group, and what they hold in the end."""
    plan = tile.plan
    y0, y1, x0, x1 = tile.box
    traps = np.array(plan.traps[:, y0:y1, x0:x1])
    sci, gdq = tile["SCI"], tile["GROUPDQ"]
    last = plan.first + (sci.shape[1] - 1) * plan.group_time
    for i in range(len(sci)):
        out = release_traps(traps, sci[i], gdq[i], gain, plan.first, plan.group_time, plan.model)
        yield i, out, traps
        if i + 1 < len(sci):
            fill_traps(traps, None, max(plan.starts[i + 1] - plan.starts[i] - last, 0.0), plan.model)


@persistence.setup
def _(exposure, refs, p):
    corrects = p.history is not None or p.traps_file is not None
    if p.persistence_time is None and not corrects:
        raise UsageError(
            "persistence: give persistence_time to flag windows, or history or traps_file to correct"
        )
    if p.persistence_time is None and (p.save_persistence or p.persistence_array_file):
        raise UsageError("persistence: a map of windows needs persistence_time")
    if not corrects and (p.fit != "none" or p.save_model or p.save_traps):
        raise UsageError("persistence: fit, save_model and save_traps need history or traps_file")
    _refuse_outputs(p, exposure)
    meta = exposure.meta
    plan = SimpleNamespace(
        ends=None, traps=None, measures=False, group_time=meta["TGROUP"], first=first_read(meta)
    )
    plan.starts = clock(exposure)
    if p.persistence_time is not None:
        plan.flag = DQ["PERSISTENCE"] | (DQ["DO_NOT_USE"] if p.persistence_dnu else 0)
        plan.times = _group_times(plan.starts, exposure.shape[1], plan.group_time)
        plan.ends = np.zeros(exposure.frame)
        if p.persistence_array_file:
            plan.ends = read_map(
                p.persistence_array_file, meta["DETECTOR"], p.persistence_time, exposure.frame
            )
        plan.ends_after = np.zeros(exposure.frame)
    if corrects:
        _follow(plan, exposure, refs, p)
    return plan


def _goes_on(p):
    """Whether the charge goes back to the file it came from, which asks for its replacement."""
    return p.traps_file is not None and os.path.realpath(p.save_traps) == os.path.realpath(p.traps_file)


def _refuse_outputs(p, exposure):
    """Refuse files that could not be written in the end, or are read, before any work."""
    reads = [exposure.label, *(p.history or "").split(",")]
    overwrite = exposure.beside.overwrite
    for path, replace in (
        (p.save_persistence and str(map_path(p.save_persistence)), True),
        (p.save_traps, p.save_traps and _goes_on(p)),
        (p.save_model, False),
    ):
        if not path:
            continue
        if path != p.save_model:
            require_asdf(path)
        if os.path.lexists(path) and not (replace or overwrite):
            raise OutputError(f"{path}: exists already; --overwrite replaces it")
        if any(os.path.realpath(path) == os.path.realpath(name.strip()) for name in reads):
            raise UsageError(f"{path}: is read by this run; give the output another name")
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise OutputError(f"{path}: the folder {folder} does not exist")


def _group_times(starts, ngroup, step):
    """Time of every group, added up as the official step does."""
    times = np.empty((len(starts), ngroup))
    for i, start in enumerate(starts):
        now = start
        for g in range(ngroup):
            now = now + step
            times[i, g] = now
    return times


def _follow(plan, exposure, refs, p):
    """Carry the traps through the history."""
    meta = exposure.meta
    if refs["gain"] is None:
        raise ReferenceFileError(
            f"persistence: {exposure.label}: no GAIN reference; give --ref-gain FILE or --refs DIR"
        )
    plan.model = read_model(p.model, meta["INSTRUME"], meta["DETECTOR"])
    start = float(plan.starts[0])
    begun, history = None, []
    plan.traps = np.zeros((len(plan.model), *exposure.frame), np.float32)
    if p.traps_file is not None:
        plan.traps, begun = read_state(p.traps_file, exposure, plan.model, start, SLACK)
    if p.history is not None:
        history = find_history(p.history, exposure, start, LIFETIMES * max(plan.model.release))
    if begun is not None:
        # What the file knows already does not fill the traps again.
        history = [item for item in history if item.starts[0] >= begun - SLACK]
    names = ", ".join(item.exposure.label for item in history) or "none that counts"
    gain = np.ascontiguousarray(refs["gain"].read("SCI", dtype="f4"))
    gain = np.where(np.isfinite(gain) & (gain > 0), gain, 0).astype(np.float32)
    plan.well = 1.0
    if refs["persat"] is not None:
        wells = refs["persat"].read("SCI", dtype="f4")
        plan.well = float(np.median(wells[np.isfinite(wells) & (wells > 0)])) if (wells > 0).any() else 1.0
        gain *= relative(wells, plan.well)
    carry(plan.traps, history, exposure, gain, plan.model, begun, start)
    plan.traps_after = np.zeros_like(plan.traps) if p.save_traps else None
    plan.scale = np.ones(len(plan.model), np.float32)
    plan.measures = p.fit != "none"
    log.info(
        "persistence: %s: history %s; %.3g electrons trapped in the worst pixel",
        exposure.label,
        names,
        plan.traps.sum(axis=0).max(),
    )


@persistence.measure
def _(tile, refs, p):
    """Sum what the fit of the amplitudes needs."""
    plan = tile.plan
    gain = refs["gain"]["SCI"]
    if refs["readnoise"] is None:
        noise = np.full(gain.shape, USUAL_NOISE, np.float32)
    else:
        noise = refs["readnoise"]["SCI"] * gain / np.float32(np.sqrt(2.0 * tile.meta["NFRAMES"]))
    density = _density(refs, gain.shape)
    known = np.isfinite(density)
    density = np.where(known, density, np.float32(0))
    released = np.stack([r for _, r, _ in _walk(tile, gain * _depth(refs, plan, gain.shape))]) * density
    bad = ((tile["PIXELDQ"] & DQ["DO_NOT_USE"]) != 0) | ~known
    return {
        "equations": sums(
            tile["SCI"], tile["GROUPDQ"], bad, gain, noise, released, plan.model.full_well, p.fit == "blank"
        )
    }


@persistence.settle
def _(measured, exposure, plan, p):
    scale, error = solve(measured["equations"].sum(axis=0), plan.model, p.fit)
    plan.scale = scale.astype(np.float32)
    if (scale == 1).all():
        log.warning(
            "persistence: %s: the ramps do not tell the amplitudes of the traps; they stay as declared",
            exposure.label,
        )
        return
    factors = " ".join(f"{s:.3g}" for s in scale)
    log.info("persistence: %s: amplitudes times %s (common factor to %.2g)", exposure.label, factors, error)


@persistence.finish
def _(exposure, counts, plan, p):
    beside = exposure.beside
    if p.save_persistence:
        name = exposure.meta.get("FILENAME", exposure.label)
        update = MapUpdate(
            p.save_persistence, exposure.meta["DETECTOR"], p.persistence_time, plan.ends_after, name
        )
        beside.waiting.append(update)
    if p.save_traps:
        end = plan.starts[-1] + plan.first + (exposure.shape[1] - 1) * plan.group_time
        replace = beside.overwrite or _goes_on(p)
        beside.waiting.append(write_state(p.save_traps, replace, exposure, plan.model, plan.traps_after, end))
    if p.save_model:
        beside.waiting.append(
            write_model(p.save_model, beside.overwrite, plan.model, plan.scale, exposure.label)
        )

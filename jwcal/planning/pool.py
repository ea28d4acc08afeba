"""The association pool of a program, before its exposures are taken."""

import re

from jwcal.associations.pool import Pool

# Columns of the pools that the archive makes, in their order.
COLUMNS = (
    "filename", "obs_id", "program", "obs_num", "visit", "visit_id", "visitgrp", "visitype", "seq_id", "act_id",
    "exposure", "exp_type", "nexposur", "expcount", "instrume", "detector", "channel", "targetid", "targprop",
    "targname", "targtype", "template", "pntgtype", "pntg_seq", "targordn", "expspcin", "dithptin", "mostilno",
    "module", "filter", "pupil", "ditherid", "patttype", "pattstrt", "numdthpt", "pattsize", "subpxpts", "patt_num",
    "subpixel", "apername", "sdp_ver", "subarray", "grating", "fxd_slit", "band", "gwa_xtil", "gwa_ytil",
    "asn_candidate", "exposerr", "is_psf", "is_imprt", "bkgdtarg", "tsovisit", "msastate", "msametfl", "opmode",
    "lamp", "spec_num", "spat_num", "nints", "dms_note", "exsegtot",
)  # fmt: skip
_FIRST = 1000
_PSF_KINDS = {
    "nis_ami": "ami",
    "nrc_coron": "coronagraphy",
    "mir_4qpm": "coronagraphy",
    "mir_lyot": "coronagraphy",
}
# Exposures with PATTTYPE "none" where there is no pattern; others have none at all.  Sources: JWST Keyword
# Dictionary of the archive (default of the mode), pools of ground tests for NRC_CORON and MIR_IMAGE; NRS_IFU
# is taken to be like the other modes of NIRSpec.
_SAY_NONE = frozenset((
    "NRC_IMAGE", "NRC_FLAT", "NRC_WFSS", "NRC_CORON", "NIS_IMAGE", "NIS_WFSS", "NIS_AMI", "NIS_EXTCAL", "MIR_IMAGE",
    "MIR_LYOT", "MIR_4QPM", "NRS_IFU", "NRS_FIXEDSLIT", "NRS_MSASPEC",
))  # fmt: skip


def make_pool(program, raws):
    """Pool of the raw files that are expected.

    Parameters
    ----------
    program : Program
        With visits and exposures.
    raws : list of Raw
        Its raw files: one row for each, in this order.

    Returns
    -------
    Pool
        With the columns of official pools; "null" for what a program cannot know.
    """
    named = candidates(program)
    counts = _counts(raws)
    rows = []
    for raw in raws:
        cells = _cells(program, raw)
        cells["asn_candidate"] = str(
            [(f"o{raw.observation.number:03d}", "observation"), *named[raw.observation.number]]
        )
        cells.update(counts[id(raw.exposure)])
        rows.append(tuple([_text(cells.get(column)) for column in COLUMNS]))
    return Pool(COLUMNS, rows, None, f"jw{program.number}_pool.csv")


def candidates(program):
    """Candidates that join observations: with their backgrounds, with their reference stars.

    Parameters
    ----------
    program : Program

    Returns
    -------
    dict of int to list of (str, str)
        Identifiers and kinds, by observation.  The archive numbers candidates from c1000 on in an order
        that programs do not tell: the numbers are estimates, the observations that belong together are not.
    """
    found: dict[int, list] = {observation.number: [] for observation in program.observations}
    taken = {observation.number: observation for observation in program.observations if observation.visits}
    made: set[tuple] = set()
    number = _FIRST
    for observation in taken.values():
        for others, kind in (
            (observation.backgrounds, "background"),
            (observation.psf_references, _psf_kind(observation)),
        ):
            members = tuple(sorted({observation.number, *(other for other in others if other in taken)}))
            if len(members) < 2 or (kind, members) in made:
                continue
            made.add((kind, members))
            for each in members:
                found[each].append((f"c{number}", kind))
            number += 1
    return found


def _psf_kind(observation):
    types = {exposure.exp_type.lower() for visit in observation.visits for exposure in visit.exposures}
    return next((kind for name, kind in _PSF_KINDS.items() if name in types), "group")


def _counts(raws):
    """Numbers of exposures in a visit and of this one among them, by exposure."""
    order: dict[tuple, dict[int, None]] = {}
    for raw in raws:
        key = raw.observation.number, raw.visit.number
        order.setdefault(key, {})[id(raw.exposure)] = None
    return {
        identity: {"nexposur": len(exposures), "expcount": place, "pntg_seq": place}
        for exposures in order.values()
        for place, identity in enumerate(exposures, 1)
    }


def _cells(program, raw):
    observation, visit, exposure, detector = raw.observation, raw.visit, raw.exposure, raw.detector
    target = program.targets.get(exposure.target)
    visit_id = f"{program.number}{observation.number:03d}{visit.number:03d}"
    place = f"{exposure.group}{exposure.sequence}{exposure.activity}"
    dither = exposure.dither
    many = dither.points > 1
    moving = exposure.moving or (target is not None and target.kind == "moving")
    return {
        "filename": raw.name,
        "obs_id": f"v{visit_id}p00000000{place}",
        "program": program.number,
        "obs_num": observation.number,
        "visit": visit.number,
        "visit_id": visit_id,
        "visitgrp": int(exposure.group),
        "visitype": _visit_type(observation, exposure, moving),
        "seq_id": exposure.sequence,
        "act_id": exposure.activity,
        "exposure": exposure.number,
        "exp_type": raw.exp_type,
        "instrume": exposure.instrument,
        "detector": detector.name,
        "channel": detector.channel,
        "targetid": exposure.target or 1,
        "targprop": target.name if target else "unknown",
        "targname": target.archive_name if target else "",
        "targtype": target.kind if target and target.kind != "internal" else "fixed",
        "template": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", exposure.template),
        "pntgtype": "target_acquisition" if exposure.acquisition else "science",
        "targordn": 1,
        "expspcin": exposure.config,
        "dithptin": dither.point,
        "mostilno": exposure.tile,
        "module": detector.module,
        "filter": detector.filter,
        "pupil": detector.pupil,
        "patttype": _pattern(raw),
        "pattstrt": dither.start if many else 0,
        "numdthpt": dither.points if many else 0,
        "pattsize": dither.size,
        "subpxpts": dither.subpixel_points if many else 0,
        "patt_num": dither.point if many else 0,
        "subpixel": dither.subpixel_pattern,
        "apername": detector.aperture,
        "subarray": exposure.subarray,
        "grating": detector.grating,
        "fxd_slit": exposure.fxd_slit,
        "band": detector.band,
        "is_psf": exposure.is_psf or observation.is_psf,
        "is_imprt": exposure.is_imprint,
        "bkgdtarg": exposure.bkgdtarg,
        "tsovisit": exposure.tso,
        **_shutters(raw),
        "opmode": exposure.opmode,
        "lamp": exposure.lamp,
        "nints": raw.all_nints,
        "exsegtot": raw.segments if raw.segments > 1 else "",
    }


def _shutters(raw):
    """State of the shutters of a NIRSpec MOS exposure, and whether a file says which are open."""
    if raw.exp_type != "NRS_MSASPEC" and not raw.exposure.msa_config:
        return {}
    name = raw.exposure.msa_config.upper().replace("_", "").replace(" ", "")
    state = next((state for state in ("ALLOPEN", "ALLCLOSED") if state in name), "CONFIG")
    return {"msastate": f"primarypark_{state}", "msametfl": "f" if state == "ALLOPEN" else "t"}


def _pattern(raw):
    """PATTTYPE of a raw file."""
    dither = raw.exposure.dither
    found = (raw.exposure.instrument == "NIRSPEC" and dither.nod_type) or dither.pattern
    return "" if found == "NONE" and raw.exp_type not in _SAY_NONE else found


def _visit_type(observation, exposure, moving):
    template = observation.template.lower()
    if template.startswith("wfsc"):
        return "prime_wfsc_routine" if "routine" in template else "prime_wfsc_sensing_control"
    if exposure.parallel == "pure":
        return "parallel_pure"
    if not observation.target:
        return "prime_untargeted"
    return f"prime_targeted_{'moving' if moving else 'fixed'}"


def _text(value):
    if isinstance(value, bool):
        return "t" if value else "f"
    text = "" if value is None else str(value).strip().lower()
    return text or "null"

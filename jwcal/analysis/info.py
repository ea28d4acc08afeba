"""What a file is: product, instrument, mode, readout, sizes, flags, history and next pipeline."""

import os

from jwcal.analysis import planes
from jwcal.core.errors import InputError, JwcalError

FACTS = {
    "instrument": ("TELESCOP", "INSTRUME", "DETECTOR", "MODULE", "CHANNEL", "BAND"),
    "mode": (
        "EXP_TYPE", "FILTER", "PUPIL", "GRATING", "SUBARRAY", "SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2",
        "FASTAXIS", "SLOWAXIS", "TSOVISIT",
    ),
    "readout": (
        "READPATT", "NINTS", "NGROUPS", "NFRAMES", "GROUPGAP", "FRMDIVSR", "NOUTPUTS", "EXSEGNUM", "EXSEGTOT",
        "INTSTART", "INTEND",
    ),
    "times": ("TFRAME", "TGROUP", "EFFINTTM", "EFFEXPTM", "DURATION"),
    "observation": ("PROGRAM", "OBSERVTN", "VISIT", "TARGPROP", "TARGNAME", "TITLE", "DATE-OBS", "TIME-OBS"),
}  # fmt: skip
_STEP_STATES = {"COMPLETE", "SKIPPED"}


def describe(path):
    """Facts about a FITS file.

    Parameters
    ----------
    path : str
        File name, or "-" for standard input.

    Returns
    -------
    dict
        JSON-ready; ``error`` is set when the file is incomplete and only its primary
        header could be read.

    Raises
    ------
    JwcalError
        If there is no such file or it is not FITS.
    """
    from jwcal.core.fits import open_fits, read_primary_header

    try:
        fits = open_fits(path)
    except InputError as exc:
        if path == "-" or not os.path.isfile(path):
            raise
        try:
            header = read_primary_header(path)
        except InputError:
            raise exc from None
        facts = {"file": path, "bytes": os.path.getsize(path), **header_facts(header, None)}
        return {**facts, "error": str(exc)}
    with fits:
        return _describe(fits, path)


def _describe(fits, path):
    size = os.path.getsize(path) if path != "-" else None
    header = fits.primary.header
    sci = fits["SCI"].header if "SCI" in fits else None
    facts = {"file": fits.label, "bytes": size, **header_facts(header, sci)}
    facts.update(_product(fits, header))
    named = list(zip(planes.titles(fits), fits.hdus, strict=True))
    facts["extensions"] = [_extension(title, hdu) for title, hdu in named]
    facts["flags"] = {
        title: planes.count_flags(hdu, planes.flag_translation(fits, hdu))
        for title, hdu in named
        if planes.is_flags(hdu)
    }
    facts["statistics"] = _statistics(fits)
    return facts


def header_facts(primary, sci):
    """Keywords that say what the data are, by subject.

    Parameters
    ----------
    primary : Header
        Primary header.
    sci : Header or None
        Header of the SCI extension.

    Returns
    -------
    dict
    """
    facts = {}
    for subject, keys in FACTS.items():
        found = {}
        for key in keys:
            value = planes.keyword(primary, key)
            if value is None and sci is not None:
                value = planes.keyword(sci, key)
            if value is not None and value != "":
                found[key] = value
        facts[subject] = found
    facts["software"] = {
        k: v for k in ("CAL_VER", "CRDS_CTX", "DATE") if (v := planes.keyword(primary, k)) not in (None, "")
    }
    facts["steps"], facts["references"] = recorded(primary)
    return facts


def recorded(primary):
    """Step states and reference files that the header names.

    Parameters
    ----------
    primary : Header
        Primary header.

    Returns
    -------
    steps : dict of str to str
        State by ``S_`` keyword.
    references : dict of str to str
        File by ``R_`` keyword; those that are not applicable are left out.
    """
    steps, references = {}, {}
    for key, value in primary.items():
        if not isinstance(value, str):
            continue
        if key.startswith("S_") and value.strip().upper() in _STEP_STATES:
            steps[key] = value.strip().upper()
        elif key.startswith("R_") and value.strip().upper() not in ("", "N/A"):
            references[key] = value.strip()
    return steps, references


def _product(fits, header):
    from jwcal.core.exposure import exposure_of

    model = planes.keyword(header, "DATAMODL")
    kind = str(planes.keyword(header, "REFTYPE", "") or "").strip()
    out = {"model": model, "reference": kind.upper() or None, "product": None, "next": None, "note": None}
    if kind:
        return out
    try:
        exposure = exposure_of(fits)
    except JwcalError as exc:
        out["note"] = str(exc).removeprefix(f"{fits.label}: ")
        return out
    out["product"] = exposure.product
    out["next"], out["note"] = _next(exposure)
    return out


def _next(exposure):
    from jwcal.core import pipeline, routing

    try:
        name = routing.route(exposure)
    except JwcalError as exc:
        return None, str(exc).removeprefix(f"{exposure.label}: ")
    if name not in pipeline.names():
        return None, f"goes to the pipeline {name}, which is not part of jwcal yet"
    return f"jwcal run {name}", None


def _extension(title, hdu):
    out = {"name": title, "kind": hdu.kind, "shape": list(hdu.shape)}
    if hdu.kind == "image":
        out["dtype"] = hdu.dtype.name if hdu.shape else None
        out["unit"] = planes.keyword(hdu.header, "BUNIT")
    elif hdu.kind == "table":
        count = planes.keyword(hdu.header, "TFIELDS", 0)
        count = count if isinstance(count, int) else 0
        names = [planes.keyword(hdu.header, f"TTYPE{k}", f"col{k}") for k in range(1, min(count, 999) + 1)]
        out["columns"] = [str(name) for name in names]
    else:
        out["type"] = planes.keyword(hdu.header, "XTENSION")
    return out


def _statistics(fits):
    """Statistics of the main image; of ramps also the level of the first and last group."""
    if not any(planes.is_image(h) for h in fits.hdus):
        return None
    hdu = planes.choose_plane(fits)
    if planes.is_flags(hdu):
        return None
    out = {"plane": planes.titles(fits)[fits.hdus.index(hdu)], "unit": planes.keyword(hdu.header, "BUNIT")}
    out.update(planes.summarise(hdu))
    if len(hdu.shape) == 4:
        import numpy as np

        medians = []
        for group in (0, hdu.shape[1] - 1):
            frame = hdu.read(index=(0, group))
            frame = frame[np.isfinite(frame)] if frame.dtype.kind == "f" else frame
            medians.append(float(np.median(frame)) if frame.size else None)
        out["first_group_median"], out["last_group_median"] = medians
    return out


def render(facts):
    """Facts as text for people.

    Parameters
    ----------
    facts : dict
        From `describe`.

    Returns
    -------
    str
        Lines, the last one ended.
    """
    lines = [facts["file"]]

    def say(title, text):
        if text:
            lines.append(f"  {title:<11} {text}")

    if "product" in facts:
        say("product", _product_text(facts))
    say(
        "instrument",
        " ".join(str(facts["instrument"][k]) for k in FACTS["instrument"][1:] if k in facts["instrument"]),
    )
    say("mode", _mode_text(facts["mode"]))
    say("readout", _readout_text(facts["readout"]))
    say("times", _times_text(facts["times"]))
    say("observed", _observation_text(facts["observation"]))
    say(
        "made by",
        ", ".join(str(facts["software"][k]) for k in ("CAL_VER", "CRDS_CTX") if k in facts["software"]),
    )
    extensions = facts.get("extensions", ())
    width = max([len(e["name"]) for e in extensions], default=0)
    for number, ext in enumerate(extensions):
        say("" if number else "extensions", _extension_text(number, ext, width))
    say("statistics", _statistics_text(facts.get("statistics")))
    for name, flags in facts.get("flags", {}).items():
        for k, text in enumerate(flag_lines(flags)):
            say(name if k == 0 else "", text)
    for k, chunk in enumerate(_wrapped(f"{n[2:].lower()} {v}" for n, v in facts["steps"].items())):
        say("steps" if k == 0 else "", chunk)
    for k, chunk in enumerate(_wrapped(f"{n[2:].lower()} {v}" for n, v in facts["references"].items())):
        say("references" if k == 0 else "", chunk)
    say("next", facts.get("next"))
    say("note", facts.get("note"))
    say("incomplete", facts.get("error"))
    return "\n".join(lines) + "\n"


def _product_text(facts):
    from jwcal.core.exposure import products

    if facts["reference"]:
        text = f"{facts['reference']} reference file"
    elif facts["product"]:
        text = f"{facts['product']}: {products()[facts['product']]['words']}"
    else:
        text = "not a product that jwcal calibrates"
    if facts["model"]:
        text += f" ({facts['model']})"
    if facts["bytes"] is not None:
        text += f", {size_text(facts['bytes'])}"
    return text


def _mode_text(mode):
    parts = [str(mode[k]) for k in ("EXP_TYPE", "FILTER", "PUPIL", "GRATING") if k in mode]
    if mode.get("TSOVISIT") is True:
        parts.append("time series")
    if "SUBARRAY" in mode:
        text = f"subarray {mode['SUBARRAY']}"
        if "SUBSIZE1" in mode and "SUBSIZE2" in mode:
            text += f" {mode['SUBSIZE1']} x {mode['SUBSIZE2']}"
        if "SUBSTRT1" in mode and "SUBSTRT2" in mode:
            text += f" at ({mode['SUBSTRT1']}, {mode['SUBSTRT2']})"
        parts.append(text)
    if "FASTAXIS" in mode and "SLOWAXIS" in mode:
        parts.append(f"axes fast {mode['FASTAXIS']} slow {mode['SLOWAXIS']}")
    return ", ".join(parts)


def _readout_text(readout):
    parts = [str(readout[k]) for k in ("READPATT",) if k in readout]
    if "NINTS" in readout:
        parts.append(_count(readout["NINTS"], "integration"))
    if "NGROUPS" in readout:
        text = _count(readout["NGROUPS"], "group")
        if "NFRAMES" in readout:
            text += f" of {_count(readout['NFRAMES'], 'frame')}"
        if readout.get("GROUPGAP"):
            text += f", {readout['GROUPGAP']} dropped between"
        parts.append(text)
    if readout.get("EXSEGTOT", 1) != 1 and "EXSEGNUM" in readout:
        text = f"segment {readout['EXSEGNUM']} of {readout['EXSEGTOT']}"
        if "INTSTART" in readout and "INTEND" in readout:
            text += f" (integrations {readout['INTSTART']} to {readout['INTEND']})"
        parts.append(text)
    return ", ".join(parts)


def _count(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _times_text(times):
    words = {
        "TFRAME": "frame",
        "TGROUP": "group",
        "EFFINTTM": "integration",
        "EFFEXPTM": "exposure",
        "DURATION": "duration",
    }
    return ", ".join(
        f"{words[k]} {number_text(v)} s" for k, v in times.items() if isinstance(v, (int, float))
    )


def _observation_text(facts):
    parts = []
    if "PROGRAM" in facts:
        text = f"program {facts['PROGRAM']}"
        if "OBSERVTN" in facts:
            text += f" observation {facts['OBSERVTN']}"
        parts.append(text)
    target = facts.get("TARGPROP") or facts.get("TARGNAME")
    if target:
        parts.append(str(target))
    if "DATE-OBS" in facts:
        parts.append(f"{facts['DATE-OBS']} {facts.get('TIME-OBS', '')}".strip())
    return ", ".join(parts)


def _extension_text(number, ext, width):
    shape = " x ".join(map(str, ext["shape"]))
    kind = "header" if ext["kind"] == "image" and not shape else ext["kind"]
    head = f"{number:>2}  {ext['name']:<{width}} {kind:<6}"
    if ext["kind"] == "table":
        columns = ", ".join(ext["columns"][:5]) + (", ..." if len(ext["columns"]) > 5 else "")
        return f"{head} {shape} rows: {columns}"
    if ext["kind"] == "image":
        return f"{head} {shape} {ext['dtype'] or ''} {ext['unit'] or ''}".rstrip()
    return f"{head} {ext['type'] or ''}".rstrip()


def _statistics_text(stats):
    if not stats:
        return ""
    head = f"{stats['plane']} [{stats['unit']}]" if stats["unit"] else stats["plane"]
    if stats["min"] is None:
        return f"{head}: no finite value in {stats['pixels']}"
    points = stats["percentiles"]
    text = f"{head}: {number_text(stats['min'])} to {number_text(stats['max'])}"
    if points:
        text += f"; median {number_text(points['50'])}, 16-84 % {number_text(points['16'])} to {number_text(points['84'])}"
    if stats["nan"] or stats["infinite"]:
        text += f"; NaN {stats['nan']}, infinite {stats['infinite']}"
    if stats.get("first_group_median") is not None and stats.get("last_group_median") is not None:
        text += f"; first group {number_text(stats['first_group_median'])}, last {number_text(stats['last_group_median'])}"
    return text


def flag_lines(flags):
    """Write counts of flags as short lines of text.

    Parameters
    ----------
    flags : dict
        From `jwcal.analysis.planes.count_flags`.

    Returns
    -------
    list of str
    """
    total = max(flags["pixels"], 1)
    parts = [f"no flag {flags['good']} ({flags['good'] / total:.2%})"]
    parts += [f"{name} {n} ({n / total:.2%})" for name, n in flags["flags"].items()]
    return _wrapped(parts)


def _wrapped(items, width=96):
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 2 <= width:
            lines[-1] += f", {item}"
        else:
            lines[-1:] = [f"{lines[-1]},", item] if lines else [item]
    return lines


def size_text(number):
    """Bytes as text with a unit."""
    value = float(number)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def number_text(value):
    """Write a number in at most six significant figures."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)

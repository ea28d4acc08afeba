"""How a product was made: steps, parameters and references, also as a pipe that makes it again."""

import json
import logging
import re
from pathlib import Path

from jwcal import __version__
from jwcal.analysis import planes
from jwcal.analysis.info import recorded
from jwcal.core import provenance
from jwcal.core.errors import InputError, UsageError

log = logging.getLogger(__name__)

_INPUT = "jwcal-input-placeholder"


def read(path):
    """Read the processing that a product records.

    Parameters
    ----------
    path : str
        File name, or "-" for standard input.

    Returns
    -------
    dict
        ``file``, ``software``, ``context``, ``product`` (None if not a known product),
        ``complete`` (whether parameters were recorded), and ``steps``, a list of dicts
        with ``step``, ``status``, ``reason``, ``version``, ``params`` (name to value and
        origin), ``refs`` (type to path and SHA-256), ``code``.  Of files made by other
        programs only the states of the steps are known, and ``references`` lists what
        the header names.

    Raises
    ------
    JwcalError
        If the file cannot be read, or its record is damaged.
    """
    from jwcal.core.exposure import exposure_of
    from jwcal.core.fits import open_fits

    with open_fits(path) as fits:
        header = fits.primary.header
        states, references = recorded(header)
        out = {
            "file": fits.label,
            "software": planes.keyword(header, "CAL_VER"),
            "context": planes.keyword(header, "CRDS_CTX"),
            "product": None,
        }
        try:
            exposure = exposure_of(fits)
            out["product"] = exposure.product
            out["instrument"] = exposure.meta.get("INSTRUME")
        except InputError:
            out["instrument"] = planes.keyword(header, "INSTRUME")
        table = fits.get(provenance.TABLE)
        if table is None or table.kind != "table":
            steps = [
                {"keyword": key, "step": header.comment(key) or key, "status": state}
                for key, state in states.items()
            ]
            return {**out, "complete": False, "steps": steps, "references": references}
        rows = provenance.from_table(table.table())
        return {
            **out,
            "complete": True,
            "steps": [_entry(row, fits.label) for row in rows],
            "references": references,
        }


def _entry(row, label):
    try:
        params, refs = json.loads(row["PARAMS"] or "{}"), json.loads(row["REFS"] or "{}")
        params = {str(k): {"value": v[0], "origin": str(v[1])} for k, v in params.items()}
        refs = {str(k): {"path": str(v[0]), "sha256": str(v[1])} for k, v in refs.items()}
    except (ValueError, TypeError, AttributeError, LookupError):
        raise InputError(
            f"{label}: the {provenance.TABLE} table is damaged at step {row['STEP']!r}"
        ) from None
    return {
        "step": row["STEP"],
        "status": row["STATUS"],
        "reason": row["REASON"],
        "version": row["VERSION"],
        "params": params,
        "refs": refs,
        "code": row["CODE"],
    }


def render(record):
    """Render a record as text for people.

    Parameters
    ----------
    record : dict
        From `read`.

    Returns
    -------
    str
        Lines, the last one ended.
    """
    made = ", ".join(str(record[k]) for k in ("software", "context") if record[k])
    lines = [f"{record['file']}: {made}" if made else record["file"]]
    if not record["steps"]:
        lines.append("  no processing is recorded")
    width = max([len(s["step"]) for s in record["steps"]], default=0)
    for number, entry in enumerate(record["steps"], start=1):
        text = f"  {number:>2} {entry['step']:<{width}} {entry['status']}"
        if entry.get("reason"):
            text += f", {entry['reason']}"
        if entry.get("code"):
            text += f"; code: {entry['code']}"
        lines.append(text)
        for name, given in entry.get("params", {}).items():
            if given["origin"] != "default":
                lines.append(f"       {name} = {_value_text(given['value'])} ({given['origin']})")
        for kind, file in entry.get("refs", {}).items():
            lines.append(f"       {kind}: {file['path']} (sha256 {file['sha256'][:12]})")
    if not record["complete"]:
        for key, value in record["references"].items():
            lines.append(f"     {key}: {value}")
    return "\n".join(lines) + "\n"


def _value_text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def shell(record, source=None, output=None):
    """Shell pipe of single commands that makes the product again.

    Parameters
    ----------
    record : dict
        From `read`.
    source : str or None
        Input file; None writes the placeholder ``"$1"``.
    output : str or None
        Output file; None leaves the product on standard output.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If the record does not say enough.
    """
    from jwcal.cli.render import shell_pipe

    label = record["file"]
    if not record["complete"]:
        raise InputError(
            f"{label}: made by {record['software'] or 'another program'}; its parameters are not recorded"
        )
    if not record["steps"]:
        raise InputError(f"{label}: no processing is recorded")
    if record["product"] is None:
        raise InputError(f"{label}: only ramps and rates can be made again by a pipe")
    steps = [_step_of(entry, label) for entry in record["steps"]]
    commands = [_words(entry, step, record) for entry, step in zip(record["steps"], steps, strict=True)]
    after = ""
    if record["product"] == "rateints":
        fit = _slope_fit(record, steps)
        if fit == len(commands) - 1 and output is not None:
            commands[fit] += ["--rateints", output]
            output, after = None, " > /dev/null"
        else:
            commands[fit] += ["-o", "/dev/null", "--overwrite", "--rateints", "-"]
    text = shell_pipe(commands, _INPUT if source is None else source, output).rstrip("\n") + after + "\n"
    return text if source is not None else text.replace(_INPUT, '"$1"')


def _step_of(entry, label):
    from jwcal.core.registry import find_step

    name = entry["step"]
    foreign = f"{label}: step {name} ran {entry['code']}, which is not a jwcal command here; a plug-in of that name would be"
    if " sha256:" in entry["code"]:
        raise InputError(foreign)
    try:
        step, code = find_step(name)
    except UsageError as exc:
        raise InputError(foreign if entry["code"] else f"{label}: {exc}") from None
    if bool(code) != bool(entry["code"]):
        raise InputError(
            foreign if entry["code"] else f"{label}: step {name} is now {code}; the built-in one is hidden"
        )
    if entry["version"] not in ("", __version__):
        log.warning(
            "%s: step %s was made by version %s, this is %s", label, name, entry["version"], __version__
        )
    return step


def _slope_fit(record, steps):
    for k, (entry, step) in enumerate(zip(record["steps"], steps, strict=True)):
        if entry["status"] == "COMPLETE" and step.takes == "ramp" and step.gives == "rate":
            return k
    raise InputError(f"{record['file']}: the fit of the slopes is not recorded")


def _words(entry, step, record):
    """Command of one recorded step."""
    words = ["jwcal", step.command]
    if entry["status"] == "COMPLETE":
        return [*words, *(["--no-skip"] if step.default_skip else []), *_settings(entry, step, record)]
    reason = entry["reason"]
    off = [] if step.default_skip else ["--skip"]
    if reason == "switched off":
        return words + off
    missing = re.fullmatch(r"no (\S+) reference \((.*)\)", reason)
    if missing:
        return words + _why_missing(*missing.groups())
    if (
        not reason.startswith("does not apply")
        and any(r.missing != "optional" for r in step.refs)
        and not entry["refs"]
    ):
        # The step looked at its references and then declined; without them it cannot decide again.
        return words + off
    return [*words, *_settings(entry, step, record)]


def _why_missing(kind, why):
    folder = re.fullmatch(r"none in (.*?) fits(?:: .*)?", why)
    if folder and Path(folder.group(1)).is_dir():
        return ["--refs", folder.group(1)]
    return ["--ref-" + kind.lower(), "N/A"] if folder or why == "N/A given" else []


def _settings(entry, step, record):
    """Options for parameters that were given or whose default has changed, and for references."""
    from jwcal.cli.render import option_words

    words = []
    for name, given in entry["params"].items():
        try:
            param = step.param(name)
            value = param.convert(given["value"], record["file"])
        except UsageError as exc:
            raise InputError(f"{record['file']}: {exc}; this version cannot make it again") from None
        if value is None:
            continue
        if given["origin"] != "default" or value != param.default_for(record["instrument"]):
            words += option_words(param, value)
    for kind, file in entry["refs"].items():
        _check_reference(kind, file)
        words += [f"--ref-{kind}", file["path"]]
    return words


def _check_reference(kind, file):
    path = Path(file["path"])
    if not path.is_file():
        log.warning("%s: the %s reference is not there any more", path, kind.upper())
    elif provenance.digest(path) != file["sha256"]:
        log.warning("%s: the %s reference has changed since", path, kind.upper())

"""Reports of a prediction and of its comparison with arrivals: text, CSV, JSON."""

import csv
import io
import json

from jwcal.associations.names import file_name
from jwcal.planning.products import NUMBER_IS_ESTIMATE

LISTS = ("visits", "exposures", "raw", "pool", "associations", "products", "problems")
FORMATS = ("text", "csv", "json")
_STAGES = {0: "raw files", 1: "slopes", 2: "calibrated exposures", 3: "combined"}


# -- tables: names of columns, rows


def visits(prediction):
    """Table of visits."""
    rows = []
    by_visit: dict[int, list] = {}
    for each in prediction.raws:
        by_visit.setdefault(id(each.visit), []).append(each)
    sized = _raw_sizes(prediction)
    for observation in prediction.program.observations:
        for visit in observation.visits:
            raws = by_visit.get(id(visit), [])
            rows.append((
                observation.number, visit.number, observation.template, len(visit.exposures), len(raws),
                sum(sized[each.name] for each in raws), _span(raws),
            ))  # fmt: skip
    return ("observation", "visit", "template", "exposures", "raw_files", "bytes", "files"), rows


def _raw_sizes(prediction):
    return {product.name: product.size for product in prediction.products if product.stage == 0}


def _span(raws):
    if not raws:
        return ""
    first, last = raws[0].name, raws[-1].name
    return first if first == last else f"{first} to {last}"


def exposures(prediction):
    """Table of exposures."""
    columns = (
        "observation", "visit", "exposure", "exp_type", "instrument", "detectors", "filter", "pupil_or_grating",
        "subarray", "readpatt", "ngroups", "nints", "target", "tile", "dither", "parallel", "note",
    )  # fmt: skip
    rows = []
    for observation, visit, exposure in prediction.program.exposures():
        optics = [
            ",".join(dict.fromkeys(value for value in values if value))
            for values in (
                [detector.filter for detector in exposure.detectors],
                [detector.pupil or detector.grating or detector.band for detector in exposure.detectors],
            )
        ]
        rows.append((
            observation.number, visit.number,
            f"{exposure.group}{exposure.sequence}{exposure.activity}_{exposure.number:05d}", exposure.exp_type,
            exposure.instrument, ",".join(detector.name for detector in exposure.detectors), *optics,
            exposure.subarray, exposure.readpatt, exposure.ngroups, exposure.nints, exposure.target, exposure.tile,
            f"{exposure.dither.point}/{exposure.dither.points}", exposure.parallel, exposure.sure,
        ))  # fmt: skip
    return columns, rows


def raw(prediction):
    """Table of raw files."""
    sized = _raw_sizes(prediction)
    rows = [
        (each.name, each.exp_type, each.nints, each.ngroups, each.rows, each.detector.columns, sized[each.name],
         each.sure)
        for each in prediction.raws
    ]  # fmt: skip
    return ("name", "exp_type", "nints", "ngroups", "rows", "columns", "bytes", "note"), rows


def pool(prediction):
    """Association pool."""
    return prediction.pool.columns, prediction.pool.rows


def associations(prediction):
    """Table of associations."""
    rows = [
        (file_name(each), each.type, each.rule.rule, sum(len(members) for _, members in each.products), each.name,
         NUMBER_IS_ESTIMATE if each.candidate.startswith("c") else "")
        for each in prediction.associations
    ]  # fmt: skip
    return ("file", "type", "rule", "members", "product", "note"), rows


def products(prediction):
    """Table of products."""
    columns = (
        "name", "stage", "type", "pipeline", "number", "bytes", "cpu_s", "memory_bytes", "observations", "made_of",
        "with", "size_note", "note",
    )  # fmt: skip
    rows = [
        (each.name, each.stage, each.suffix, each.pipeline, each.count, each.size,
         *((each.cpu, each.memory) if each.stage and not each.run else ("", "")),
         ",".join(map(str, each.observations)), ",".join(each.made_of), each.run, each.size_note, each.note)
        for each in prediction.products
    ]  # fmt: skip
    return columns, rows


def problems(prediction):
    """Table of what could not be predicted."""
    return ("observation", "text"), [(each.observation, each.text) for each in prediction.program.problems]


def listing(prediction, name, form):
    """One table as text (str) in a format.

    Parameters
    ----------
    prediction : Prediction
    name : str
        One of `LISTS`.
    form : str
        One of `FORMATS`.

    Returns
    -------
    str
    """
    if name == "pool" and form == "text":
        from jwcal.associations.pool import pool_text

        return pool_text(prediction.pool)
    columns, rows = globals()[name](prediction)
    return table_text(columns, rows, form)


def table_text(columns, rows, form):
    """Write a table as text (str) in one of `FORMATS`."""
    if form == "json":
        return json.dumps([_object(columns, row) for row in rows], indent=1) + "\n"
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
        return out.getvalue()
    return _aligned(columns, rows)


def _object(columns, row):
    """Row as a JSON object; a number that does not apply is null, as one that is unknown."""
    numbers = ("cpu_s", "memory_bytes")
    return {
        name: None if name in numbers and cell == "" else cell
        for name, cell in zip(columns, row, strict=True)
    }


def _aligned(columns, rows):
    cells = [list(columns)] + [
        [
            size_text(cell) if "bytes" in name and not isinstance(cell, str) else _cell(cell)
            for name, cell in zip(columns, row, strict=True)
        ]
        for row in rows
    ]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    right = [all(_is_number(row[place]) for row in rows) for place in range(len(columns))]
    return "".join(
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for row in cells
    )


def _is_number(cell):
    return isinstance(cell, int | float | None) or cell in ("", "?") or cell.startswith("> ")


def _cell(value):
    return "?" if value is None else str(value)


def size_text(count):
    """Bytes (int or None) as people write them, such as "83.9 MB"; "?" for None."""
    if count is None:
        return "?"
    number, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


# -- summaries


def summary(prediction):
    """Summarise in numbers what a program gives (dict that JSON can hold)."""
    program = prediction.program
    stages = []
    for stage, words in _STAGES.items():
        mine = [each for each in prediction.products if each.stage == stage]
        runs = [each for each in mine if not each.run and each.stage]
        stages.append({
            "stage": stage, "products": words, "number": sum(each.count or 0 for each in mine),
            "patterns": sum(each.count is None for each in mine),
            "bytes": sum(each.size or 0 for each in mine),
            "estimated_bytes": sum(each.size or 0 for each in mine if each.size_note),
            "of_unknown_size": sum(each.size is None for each in mine),
            "cpu_s": round(sum(each.cpu or 0 for each in runs), 1),
            "memory_bytes": max((each.memory or 0 for each in runs), default=0) or None,
            "runs": len(runs), "of_unknown_cost": sum(each.cpu is None for each in runs),
        })  # fmt: skip
    return {
        "program": program.number, "title": program.title, "pi": program.pi, "category": program.category,
        "cycle": program.cycle, "observations": _observations(prediction), "stages": stages,
        "associations": len(prediction.associations),
        "estimated_names": sum(bool(raw.sure) for raw in prediction.raws),
        "problems": [{"observation": each.observation, "text": each.text} for each in program.problems],
    }  # fmt: skip


def _observations(prediction):
    program = prediction.program
    by_number: dict[int, list] = {}
    for each in prediction.products:
        numbers = each.observations
        by_number.setdefault(numbers[0] if len(numbers) == 1 else 0, []).append(each)
    out = []
    for observation in program.observations:
        target = program.targets.get(observation.target)
        out.append({
            "observation": observation.number, "label": observation.label, "template": observation.template,
            "target": target.name if target else "", "visits": len(observation.visits),
            "exposures": sum(len(visit.exposures) for visit in observation.visits),
            **_sums(by_number.get(observation.number, [])), "skipped": observation.skipped,
        })  # fmt: skip
    if 0 in by_number:
        out.append({
            "observation": 0, "label": "of several observations", "template": "", "target": "", "visits": 0,
            "exposures": 0, **_sums(by_number[0]), "skipped": "",
        })  # fmt: skip
    return out


def _sums(products):
    raws = [each for each in products if each.stage == 0 and each.count]
    others = [each for each in products if each.stage]
    return {
        "raw_files": len(raws), "raw_bytes": sum(each.size or 0 for each in raws),
        "products": sum(each.count or 0 for each in others),
        "product_bytes": sum(each.size or 0 for each in others),
        "cpu_s": round(sum(each.cpu or 0 for each in others), 1),
    }  # fmt: skip


def report(prediction, form):
    """Whole report as text (str): a summary; for JSON with every list, for CSV the observations."""
    found = summary(prediction)
    if form == "json":
        for name in LISTS[:-1]:
            columns, rows = globals()[name](prediction)
            found[f"{name}_list"] = [_object(columns, row) for row in rows]
        return json.dumps(found, indent=1) + "\n"
    columns = (
        "observation", "label", "template", "target", "visits", "exposures", "raw_files", "raw_bytes", "products",
        "product_bytes", "cpu_s",
    )  # fmt: skip
    rows = [tuple(each[column] for column in columns) for each in found["observations"]]
    if form == "csv":
        return table_text(columns, rows, form)
    return _report_text(found, columns, rows)


def _report_text(found, columns, rows):
    head = f"Program {found['program']}: {found['title']}".rstrip(": ")
    who = ", ".join(
        filter(None, (found["pi"], found["category"], f"cycle {found['cycle']}" if found["cycle"] else ""))
    )
    headings = (
        "stage", "products", "number", "patterns", "bytes", "estimated_bytes", "of_unknown_size", "runs", "cpu_s",
        "memory_bytes", "of_unknown_cost",
    )  # fmt: skip
    stages = [tuple(_bounded(each)[name] for name in headings) for each in found["stages"]]
    parts = [
        head + "\n" + (who + "\n" if who else ""),
        _aligned(
            tuple("obs" if name == "observation" else name for name in columns), [_short(row) for row in rows]
        ),
        _aligned(headings, stages),
    ]
    notes = [f"{found['associations']} associations", *_bounds(found["stages"])]
    if found["estimated_names"]:
        notes.append(f"{found['estimated_names']} raw files have estimated names (--list raw says why)")
    skipped = [each for each in found["observations"] if each["skipped"]]
    notes += [f"observation {each['observation']}: not taken: {each['skipped']}" for each in skipped]
    notes += [
        (f"observation {each['observation']}: " if each["observation"] else "program: ") + each["text"]
        for each in found["problems"]
    ]
    return "\n".join([*parts, "\n".join(notes) + "\n"])


def _bounded(stage):
    """Row of a stage: ">" before sums that leave something out, "?" for a sum of nothing that is known."""
    shown = dict(stage)
    if stage["of_unknown_size"]:
        shown["bytes"] = f"> {size_text(stage['bytes'])}" if stage["bytes"] else "?"
    if not stage["runs"]:
        shown["cpu_s"] = shown["memory_bytes"] = ""
    elif stage["of_unknown_cost"]:
        shown["cpu_s"] = f"> {stage['cpu_s']}" if stage["cpu_s"] else "?"
    return shown


def _bounds(stages):
    """Say what the sums leave out (list of str)."""
    sizes, costs, runs = (
        sum(each[name] for each in stages) for name in ("of_unknown_size", "of_unknown_cost", "runs")
    )
    told = []
    if sizes:
        told.append(
            f"bytes are at least: {sizes} products or patterns of unknown size are not counted (--list products)"
        )
    if costs:
        told.append(
            f"cpu_s and memory are at least: {costs} of {runs} runs are of pipelines that jwcal does not have"
        )
    return told


def _short(row):
    return tuple(cell[:29] + "…" if isinstance(cell, str) and len(cell) > 30 else cell for cell in row)


# -- comparison


_ENTRY = ("state", "stage", "observation", "visit", "name", "expected", "detail")


def comparison(found, form, name=None):
    """Comparison with arrivals as text (str).

    Parameters
    ----------
    found : Reconciliation
    form : str
        One of `FORMATS`.
    name : str, optional
        "visits" for the state of visits alone.

    Returns
    -------
    str
    """
    table = found.visits()
    columns = tuple(table[0]) if table else ("observation", "visit", "state")
    rows = [tuple(each.values()) for each in table]
    if name == "visits":
        return table_text(columns, rows, form)
    entries = [tuple(getattr(entry, column) for column in _ENTRY) for entry in found.entries]
    if form == "csv":
        return table_text(_ENTRY, entries, form)
    if form == "json":
        whole = {
            "program": found.prediction.program.number, "counts": found.counts(), "visits": table,
            "files": [dict(zip(_ENTRY, entry, strict=True)) for entry in entries],
        }  # fmt: skip
        return json.dumps(whole, indent=1) + "\n"
    told = [(*entry[:5], entry[6] or (f"predicted as {entry[5]}" if entry[5] else "")) for entry in entries
            if entry[0] != "arrived"]  # fmt: skip
    counts = ", ".join(f"{number} {state}" for state, number in found.counts().items())
    parts = [f"Program {found.prediction.program.number}: {counts}\n", _aligned(columns, rows)]
    if told:
        parts.append(_aligned((*_ENTRY[:5], "detail"), told))
    return "\n".join(parts)

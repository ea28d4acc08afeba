"""Steps and pipelines as data and as text: what there is, what it takes, which parameters it has."""

from jwcal.core import pipeline
from jwcal.core.errors import JwcalError, UsageError
from jwcal.core.suggest import instead


def listing():
    """All steps, pipelines and plug-ins, without loading the built-in steps.

    Returns
    -------
    dict
        ``steps`` (name, command, group, summary, off_by_default), ``pipelines`` (name, summary, steps
        by branch), ``plugins`` (name, code, and summary or the reason why it is broken).
    """
    from jwcal.cli.index import OFF, STEPS

    steps = [
        {
            "name": command.replace("-", "_"),
            "command": command,
            "group": entry[2],
            "summary": entry[3],
            "off_by_default": command in OFF,
        }
        for command, entry in STEPS.items()
    ]
    return {
        "steps": steps,
        "pipelines": [describe_pipeline(n) for n in pipeline.names()],
        "plugins": _plugins(),
    }


def _plugins():
    from jwcal.core.registry import find_step, plugins

    out = []
    for entry in plugins():
        found = {"name": entry.name, "code": entry.value, "summary": None, "broken": None}
        try:
            found["summary"] = find_step(entry.name)[0].summary
        except JwcalError as exc:
            found["broken"] = " ".join(str(exc).split())
        out.append(found)
    return out


def describe(name):
    """Facts about a step or a pipeline.

    Parameters
    ----------
    name : str
        Name of a step (or ``file.py:object``) or of a pipeline.

    Returns
    -------
    dict
        ``kind`` is "step" or "pipeline".

    Raises
    ------
    UsageError
        If there is neither.
    """
    from jwcal.cli.index import STEPS
    from jwcal.core.registry import find_step

    if name in pipeline.names() or name.endswith(".toml"):
        return describe_pipeline(name)
    try:
        step, code = find_step(name)
    except UsageError as exc:
        if str(exc).startswith("no step"):
            known = [*STEPS, *pipeline.names()]
            raise UsageError(f"no step and no pipeline {name!r} ({instead(name, known)})") from None
        raise
    return describe_step(step, code)


def describe_pipeline(name):
    """Facts about a pipeline: dict with ``name``, ``summary``, ``branches``."""
    tree = pipeline.definition(name)
    return {
        "kind": "pipeline",
        "name": tree.get("name", name),
        "summary": tree.get("summary", ""),
        "takes": tree.get("takes"),
        "gives": tree.get("gives"),
        "branches": [{"instruments": b.get("instruments"), "steps": b["steps"]} for b in tree["branch"]],
    }


def describe_step(step, code=""):
    """Return the declaration of a step as JSON-ready data.

    Parameters
    ----------
    step : Step
        The step.
    code : str
        Origin, if it is not part of the package.

    Returns
    -------
    dict
    """
    import inspect

    return {
        "kind": "step",
        "name": step.name,
        "command": step.command,
        "summary": step.summary,
        "description": inspect.cleandoc(step.__doc__ or ""),
        "stage": step.stage,
        "takes": step.takes,
        "gives": step.gives,
        "status": step.status,
        "instruments": list(step.instruments) if step.instruments else None,
        "off_by_default": step.default_skip,
        "scope": step.scope,
        "reads": list(step.uses),
        "changes": list(step.changes),
        "keywords": list(step.keywords),
        "code": code or step.__module__,
        "parameters": [
            {
                "name": p.name,
                "option": f"--{p.option}",
                "type": p.type.__name__,
                "unit": p.unit,
                "default": p.default,
                "per_instrument": dict(p.per or {}),
                "min": p.min,
                "max": p.max,
                "choices": list(p.choices) if p.choices else None,
                "help": p.help,
            }
            for p in step.params
        ],
        "references": [
            {
                "kind": r.kind,
                "option": f"--ref-{r.kind}",
                "keyword": r.header_keyword,
                "planes": list(r.planes),
                "optional_planes": list(r.optional_planes),
                "missing": r.missing,
            }
            for r in step.refs
        ],
    }


def render_listing(facts):
    """Render the listing as text (see `listing`)."""
    lines = []
    group = None
    width = max([len(s["command"]) for s in facts["steps"]], default=0)
    for entry in facts["steps"]:
        if entry["group"] != group:
            group = entry["group"]
            lines.append(f"{group}:")
        lines.append(f"  {entry['command']:<{width}}  {entry['summary']}")
    lines.append("Pipelines (steps in parentheses are off unless asked for):")
    for entry in facts["pipelines"]:
        lines += _pipeline_lines(entry)
    if facts["plugins"]:
        lines.append("Plug-ins:")
        for entry in facts["plugins"]:
            what = f"BROKEN: {entry['broken']}" if entry["broken"] else entry["summary"]
            lines.append(f"  {entry['name']:<{width}}  {what} ({entry['code']})")
    return "\n".join(lines) + "\n"


def _pipeline_lines(entry):
    from jwcal.cli.index import OFF

    lines = [f"  {entry['name']}  {entry['summary']}"]
    for branch in entry["branches"]:
        who = ", ".join(branch["instruments"] or ["all instruments"])
        words = [
            s
            if isinstance(s, str)
            else str(s.get("step") or s.get("name") or " ".join(map(str, s.get("exec", ()))))
            for s in branch["steps"]
        ]
        words = [w.replace("_", "-") for w in words]
        lines += [f"    {who}:", f"      {' '.join(f'({w})' if w in OFF else w for w in words)}"]
    return lines


def render(facts):
    """Facts about one step or pipeline as text (see `describe`)."""
    if facts["kind"] == "pipeline":
        return "\n".join(_pipeline_lines(facts)) + "\n"
    lines = [facts["command"], *(f"  {line}".rstrip() for line in facts["description"].split("\n")), ""]
    product = f"{facts['takes']} to {facts['gives']}"
    who = ", ".join(facts["instruments"] or ["all instruments"])
    lines += [
        f"  product     {product}",
        f"  for         {who}{'; off unless asked for' if facts['off_by_default'] else ''}",
        f"  reads       {' '.join(facts['reads'])}",
        f"  changes     {' '.join(facts['changes']) or 'nothing'}",
        f"  keywords    {' '.join(k for k in (facts['status'], *facts['keywords']) if k)}",
        f"  code        {facts['code']}",
    ]
    if facts["references"]:
        lines.append("  references")
        for ref in facts["references"]:
            held = ", ".join(ref["planes"])
            lines.append(
                f"    {ref['option']:<20} {missing_text(ref['missing'])}{'; ' + held if held else ''} ({ref['keyword']})"
            )
    lines.append("  parameters")
    for p in facts["parameters"]:
        lines.append(f"    {p['option']:<32} {p['help']} [{parameter_notes(p)}]")
    return "\n".join(lines) + "\n"


def missing_text(missing):
    """Say what happens when a reference is missing."""
    return {"skip": "skipped without it", "error": "required", "optional": "used if given"}[missing]


def parameter_notes(p):
    """Type, unit, range, choices and defaults of a described parameter in one line."""
    words = [p["type"]]
    if p["unit"]:
        words.append(p["unit"])
    if p["choices"]:
        words.append(" | ".join(map(str, p["choices"])))
    if p["min"] is not None or p["max"] is not None:
        low = "" if p["min"] is None else f"{p['min']:g}"
        high = "" if p["max"] is None else f"{p['max']:g}"
        words.append(f"{low}..{high}")
    words.append(f"default {value_text(p['default'])}")
    words += [f"{who} {value_text(value)}" for who, value in p["per_instrument"].items()]
    return ", ".join(words)


def value_text(value):
    """Write a default as people do."""
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else str(value)

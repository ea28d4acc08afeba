"""Write a run as a shell pipe, as make rules or as JSON."""

import json
import shlex
from pathlib import Path

from jwcal.core.step import Skip


def stages(items, layers, refs, exposure):
    """Command words of each active step.

    Parameters
    ----------
    items : list of Item
        Steps in order.
    layers : Layers
        Parameter values.
    refs : ReferenceSource
        Chooses the reference files.
    exposure : Exposure
        Its header decides.

    Returns
    -------
    list of list of str
        One command per step, without input and output.
    """
    out = []
    for item in items:
        if item.command is not None:
            out.append(list(item.command))
            continue
        step = item.step
        instrument = exposure.meta.get("INSTRUME")
        values, origins = layers.resolve(step, instrument)
        try:
            paths = _paths(step, values, refs, exposure)
        except Skip:
            continue
        words = ["jwcal", step.command]
        for p in step.params:
            if origins[p.name] != "default":
                words += option_words(p, getattr(values, p.name))
        for kind, path in paths.items():
            if path:
                words += [f"--ref-{kind}", str(path)]
        out.append(words)
    return out


def option_words(param, value):
    """Command-line words that give a parameter a value."""
    if param.type is bool:
        return [f"--{param.option}" if value else f"--no-{param.option}"]
    return [f"--{param.option}", str(value)]


def _paths(step, values, refs, exposure):
    if values.skip or (step.instruments and exposure.meta.get("INSTRUME") not in step.instruments):
        raise Skip("off")
    paths = {}
    for ref in step.refs:
        path, _ = refs.find(ref.kind, exposure.meta)
        if path is None and ref.missing == "skip":
            raise Skip("no reference")
        paths[ref.kind] = path
    return paths


def render(kind, items, layers, refs, exposure, source, output):
    """Text of a run.

    Parameters
    ----------
    kind : str
        "shell", "make" or "json".
    items, layers, refs, exposure
        See `stages`.
    source : str
        Input file, "-" for standard input.
    output : str or None
        Output file.

    Returns
    -------
    str
    """
    commands = stages(items, layers, refs, exposure)
    if kind == "json":
        return json.dumps({"input": source, "output": output, "steps": commands}, indent=1) + "\n"
    if kind == "shell":
        return shell_pipe(commands, source, output)
    return make_rules(commands, source, output)


def shell_pipe(commands, source, output):
    """Write a pipe of commands that reads `source` and writes `output`."""
    words = [list(c) for c in commands]
    if not words:
        return ""
    if source != "-":
        words[0].insert(2, source)
    if output and output != "-":
        words[-1] += ["-o", output]
    return "set -o pipefail\n" + " \\\n  | ".join(shlex.join(w) for w in words) + "\n"


def make_rules(commands, source, output):
    """Rules with one intermediate file per step."""
    stem = Path(source).name.removesuffix(".fits") if source != "-" else "input"
    lines = ["SHELL = bash", ".SHELLFLAGS = -o pipefail -ec", ".DELETE_ON_ERROR:", ""]
    names = []
    before = source
    for k, words in enumerate(commands):
        last = k == len(commands) - 1
        name = (
            output
            if last and output and output != "-"
            else f"{stem}.{k + 1:02d}-{words[1] if len(words) > 1 else words[0]}.fits"
        )
        call = (
            [words[0], words[1], before, *words[2:], "-o", name, "--overwrite"]
            if words[0] == "jwcal"
            else None
        )
        body = (
            shlex.join(call) if call else f"{shlex.join(words)} < {shlex.quote(before)} > {shlex.quote(name)}"
        )
        names.append(f"{name}: {before}\n\t{body.replace('$', '$$')}\n")
        before = name
    return "\n".join([*lines, f"all: {before}", "", *names])

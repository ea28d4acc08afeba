"""Write a run as a shell pipe, as make rules or as JSON."""

import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from jwcal.core.errors import UsageError


@dataclass
class Stage:
    """One command of a run.

    Attributes
    ----------
    words : list of str
        Program and options, without input and output.
    makes_rate : bool
        It turns a ramp into slopes, and can write further products.
    takes_rate : bool
        It works on slopes.
    save : str or None
        File to keep of what it gives.
    """

    words: list
    makes_rate: bool = False
    takes_rate: bool = False
    save: str | None = None

    @property
    def name(self):
        """Short name for intermediate files."""
        word = self.words[1] if len(self.words) > 1 else self.words[0]
        return word.rsplit(":", 1)[-1].rsplit("/", 1)[-1]


@dataclass
class Files:
    """Where a run reads and writes.

    Attributes
    ----------
    source : str
        Input file, "-" for standard input.
    output : str or None
        Main product.
    more : dict of str to str
        Further products of the fit of slopes.
    overwrite : bool
        Replace existing files.
    """

    source: str
    output: str | None = None
    more: dict = field(default_factory=dict)
    overwrite: bool = False


def stages(items, layers, refs, exposure, given=None, saves=()):
    """Commands of a run, one for each step.

    A step that is left out is a command too, since the product tells of it.

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
    given : dict or None
        Options of the command that concern every step: params_file, pars, strict.
    saves : sequence of (int, str)
        Position of a step, and file to save after it.

    Returns
    -------
    list of Stage
    """
    given = given or {}
    out = []
    for place, item in enumerate(items):
        stage = Stage(list(item.command or ()))
        if item.step is not None:
            step = item.step
            # A plug-in or a file is called as it was named, since that is how it is found.
            stage.words = [
                "jwcal",
                (item.entry or step.name).replace("_", "-") if not item.code else item.entry,
            ]
            stage.words += _parameters(step, layers, refs, exposure, given)
            stage.words += _references(step, refs, exposure)
            stage.words += ["--strict"] if given.get("strict") else []
            stage.takes_rate = step.takes == "rate"
            stage.makes_rate = step.gives == "rate" and not stage.takes_rate
        files = [path for where, path in saves if where == place]
        if len(files) > 1 or (files and place == len(items) - 1):
            raise UsageError(
                f"--save-after {item.name}: a pipe of commands cannot write its product to two files; copy one"
            )
        stage.save = files[0] if files else None
        out.append(stage)
    return out


def _parameters(step, layers, refs, exposure, given):
    """Options that give the parameters their values from where they came."""
    values, origins = layers.resolve(step, exposure.meta.get("INSTRUME"))
    used = set(origins.values())
    words = []
    for path in [*refs.find_pars([step], exposure.meta), *given.get("pars", ())]:
        if f"reference {Path(path).name}" in used:
            words += ["--pars", str(path)]
    file = given.get("params_file")
    if file and file in used:
        words += ["-p", file]
    for p in step.params:
        if origins[p.name] == "command line" or origins[p.name].startswith("recipe "):
            words += option_words(p, getattr(values, p.name))
    return words


def _references(step, refs, exposure):
    words = []
    searched = False
    for ref in step.refs:
        path, _ = refs.find(ref.kind, exposure.meta)
        if path is not None:
            words += [f"--ref-{ref.kind}", str(path)]
        elif ref.kind in refs.named:
            words += [f"--ref-{ref.kind}", "N/A"]
        elif refs.directory is not None and not searched:
            words += ["--refs", str(refs.directory)]
            searched = True
    return words


def option_words(param, value):
    """Command-line words that give a parameter a value."""
    if param.type is bool:
        return [f"--{param.option}" if value else f"--no-{param.option}"]
    return [f"--{param.option}", str(value)]


def render(kind, commands, files):
    """Text of a run.

    Parameters
    ----------
    kind : str
        "shell", "make" or "json".
    commands : list of Stage
        See `stages`.
    files : Files
        Input and outputs.

    Returns
    -------
    str
    """
    if kind == "json":
        steps = [{"command": c.words, **({"save": c.save} if c.save else {})} for c in commands]
        tree = {"input": files.source, "output": files.output, **files.more, "steps": steps}
        return json.dumps(tree, indent=1) + "\n"
    if kind == "shell":
        return shell_script(commands, files)
    return make_rules(commands, files)


def _site():
    """Line that sets the site file, which every command reads."""
    site = os.environ.get("JWCAL_CONFIG")
    return f"export JWCAL_CONFIG={shlex.quote(site)}\n" if site else ""


def _beside(path, name):
    """Name of an intermediate file beside a product."""
    return str(Path(path).with_name(f"{Path(path).name.removesuffix('.fits')}.{name}.fits"))


@dataclass
class _Row:
    """One command of a run with its files.

    Attributes
    ----------
    stage : Stage
        The command.
    source, target : str or None
        Files; None is the command before, and the one after.
    more : dict of str to str
        Further products it makes, and their files.
    ends : bool
        Nothing follows in the same pipe.
    scratch : str or None
        Intermediate file that is not needed any more.
    """

    stage: Stage
    source: str | None
    target: str | None
    more: dict = field(default_factory=dict)
    ends: bool = False
    scratch: str | None = None


def _rows(commands, files, named):
    """Put the commands of a run between their files.

    Further products of the fit are taken through the steps after it once more, from a file of their own.

    Parameters
    ----------
    commands : list of Stage
        See `stages`.
    files : Files
        Input and outputs.
    named : callable
        Gets the product (None for the main one), number and stage of a command; gives the name of the
        intermediate file after it, or None where there is none.

    Returns
    -------
    list of _Row
    """
    fits = [k for k, c in enumerate(commands) if c.makes_rate]
    tail = commands[fits[-1] + 1 :] if fits else []
    redone = {p: _beside(path, "fit") for p, path in files.more.items() if p == "rateints" and tail}
    output = files.output if files.output not in (None, "-") else None
    rows = _chain(None, commands, files.source, output, named)
    for row in rows:
        if row.stage.makes_rate:
            row.more = files.more | redone
    for product, made in redone.items():
        again = _chain(files.more[product], tail, made, files.more[product], named)
        again[-1].scratch = made
        rows += again
    return rows


def _chain(product, commands, source, output, named):
    rows = []
    for k, stage in enumerate(commands):
        last = k == len(commands) - 1
        target = output if last and output else (product is None and stage.save) or named(product, k, stage)
        rows.append(_Row(stage, source, target, ends=last or target is not None))
        source = target
    return rows


def shell_script(commands, files):
    """Write a run as pipes: one, and more where a product in between is kept.

    Parameters
    ----------
    commands : list of Stage
        See `stages`.
    files : Files
        Input and outputs.

    Returns
    -------
    str
    """
    force = ["--overwrite"] if files.overwrite else []
    lines = []
    pipe: list = []
    for row in _rows(commands, files, lambda *_: None):
        if not pipe:
            source = row.source
        words = list(row.stage.words)
        for product, path in row.more.items():
            words += [f"--{product}", path, *force]
        if row.target and words[0] == "jwcal":
            words += ["-o", row.target, *force]
        pipe.append(words)
        if row.ends:
            lines.append(_pipe(pipe, source, row.target))
            pipe = []
        if row.scratch:
            lines.append(f"rm -f {shlex.quote(row.scratch)}")
    return "set -o pipefail\n" + _site() + " &&\n".join(lines) + "\n" if lines else ""


def _pipe(words, source, target):
    """One pipe; a first or last program that is not jwcal is fed and kept by the shell."""
    first, last = list(words[0]), words[-1]
    before = after = ""
    if source not in (None, "-"):
        if first[0] == "jwcal":
            first.insert(2, source)
        else:
            before = f"< {shlex.quote(source)} "
    if target and last[0] != "jwcal":
        after = f" > {shlex.quote(target)}"
    return before + " \\\n  | ".join(shlex.join(w) for w in [first, *words[1:]]) + after


def shell_pipe(commands, source, output):
    """Write a pipe of commands (lists of words) that reads `source` and writes `output`."""
    return shell_script([Stage(list(c)) for c in commands], Files(source, output))


def make_rules(commands, files):
    """Rules with one intermediate file per step.

    Parameters and result are those of `shell_script`.
    """
    stem = Path(files.source).name.removesuffix(".fits") if files.source != "-" else "input"

    def named(product, k, stage):
        name = f"{k + 1:02d}-{stage.name}"
        return _beside(product, name) if product else f"{stem}.{name}.fits"

    head = ["SHELL = bash", ".SHELLFLAGS = -o pipefail -ec", ".DELETE_ON_ERROR:"]
    if _site():
        head.append(_site().strip().replace("$", "$$"))
    rows = _rows(commands, files, named)
    rules = []
    for row in rows:
        more = [word for product, path in row.more.items() for word in (f"--{product}", path)]
        call = _call(row.stage, row.source, row.target, more)
        rules.append(_rule([row.target, *row.more.values()], row.source, call))
    wanted = [rows[len(commands) - 1].target if commands else files.source, *files.more.values()]
    targets = " ".join(_target(w) for w in wanted)
    return "\n".join([*head, "", f"all: {targets}", "", *rules])


def _call(command, source, target, extra):
    words = command.words
    if words[0] != "jwcal":
        return f"{shlex.join(words)} < {shlex.quote(source)} > {shlex.quote(target)}"
    return shlex.join([*words[:2], source, *words[2:], *extra, "-o", target, "--overwrite"])


def _target(path):
    return path.replace("$", "$$").replace(" ", "\\ ")


def _rule(made, source, call):
    # Several targets of one recipe are grouped, or make would run it for each.
    between = " &: " if len(made) > 1 else ": "
    return f"{' '.join(_target(m) for m in made)}{between}{_target(source)}\n\t{call.replace('$', '$$')}\n"

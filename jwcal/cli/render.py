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
        if len(files) > 1:
            raise UsageError(f"{item.name}: saved to two files, which a pipe of commands cannot do")
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


def _tail(commands):
    """Return the steps after the one that makes slopes."""
    fits = [k for k, c in enumerate(commands) if c.makes_rate]
    return commands[fits[-1] + 1 :] if fits else []


def _beside(path, name):
    """Name of an intermediate file beside a product."""
    return str(Path(path).with_name(f"{Path(path).name.removesuffix('.fits')}.{name}.fits"))


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
    if not commands:
        return ""
    force = ["--overwrite"] if files.overwrite else []
    lines = []
    pipe: list = []
    source = files.source
    later = _later_products(commands, files)
    for k, command in enumerate(commands):
        words = list(command.words)
        if command.makes_rate:
            for product, (made, _) in later.items():
                words += [f"--{product}", made, *force]
        if k == len(commands) - 1:
            target = files.output if files.output != "-" else None
        else:
            target = command.save
        if target:
            words += ["-o", target, *force] if words[0] == "jwcal" else []
        pipe.append(words)
        if target or k == len(commands) - 1:
            lines.append(_pipe(pipe, source, target))
            pipe, source = [], target
    for made, wanted in later.values():
        if made != wanted:
            rest = [list(c.words) for c in _tail(commands)]
            rest[-1] += ["-o", wanted, *force]
            lines += [_pipe(rest, made, wanted), f"rm -f {shlex.quote(made)}"]
    return "set -o pipefail\n" + _site() + " &&\n".join(lines) + "\n"


def _later_products(commands, files):
    """File the fit writes and file that is wanted, for each further product."""
    out = {}
    for product, path in files.more.items():
        direct = product != "rateints" or not _tail(commands)
        out[product] = (path if direct else _beside(path, "fit"), path)
    return out


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
    stem = Path(files.source).name.removesuffix(".fits") if files.source != "-" else "input"
    head = ["SHELL = bash", ".SHELLFLAGS = -o pipefail -ec", ".DELETE_ON_ERROR:"]
    if _site():
        head.append(_site().strip().replace("$", "$$"))
    rules = []
    before = files.source
    later = _later_products(commands, files)
    for k, command in enumerate(commands):
        last = k == len(commands) - 1
        name = command.save or f"{stem}.{k + 1:02d}-{command.name}.fits"
        if last and files.output not in (None, "-"):
            name = files.output
        extra, made = [], [name]
        if command.makes_rate:
            for product, (path, _) in later.items():
                extra += [f"--{product}", path]
                made.append(path)
        rules.append(_rule(made, before, _call(command, before, name, extra)))
        before = name
    wanted = [before]
    for made, path in later.values():
        wanted.append(path)
        if made != path:
            source = made
            tail = _tail(commands)
            for k, command in enumerate(tail):
                name = path if k == len(tail) - 1 else _beside(path, f"{k + 1:02d}-{command.name}")
                rules.append(_rule([name], source, _call(command, source, name, [])))
                source = name
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

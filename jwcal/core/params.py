"""Parameter values: typed, with their origin, from command line, files and defaults."""

import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

from jwcal.core.errors import UsageError
from jwcal.core.suggest import instead
from jwcal.core.toml_file import read_user_toml

log = logging.getLogger(__name__)

# Parameters of the official package that say how it runs, not what it computes.
_FOREIGN = {
    "maximum_cores", "save_results", "save_calibrated_ramp", "pre_hooks", "post_hooks", "output_file", "output_dir",
    "output_ext", "output_use_model", "output_use_index", "suffix", "search_output_file", "input_dir", "int_name",
    "opt_name", "update_hdr", "use_ellipses",
}  # fmt: skip


class Layers:
    """Values by step and parameter in layers of rising precedence.

    The order is: default, parameter reference file, site file, recipe, ``-p`` file, command line.
    """

    def __init__(self):
        self.layers = []

    def add(self, origin, values):
        """Add a layer that wins over those before.

        Parameters
        ----------
        origin : str
            Where the values come from, as printed.
        values : dict of str to dict
            Values by step and parameter.
        """
        if values:
            self.layers.append((origin, values))

    def resolve(self, step, instrument=None):
        """Values of a step's parameters.

        Parameters
        ----------
        step : Step
            The step.
        instrument : str or None
            Selects per-instrument defaults.

        Returns
        -------
        values : types.SimpleNamespace
            Typed values.
        origins : dict of str to str
            Origin of each.

        Raises
        ------
        UsageError
            For an unknown name or a value that does not fit.
        """
        values = {p.name: p.default_for(instrument) for p in step.params}
        origins = dict.fromkeys(values, "default")
        for origin, table in self.layers:
            for name, value in table.get(step.name, {}).items():
                try:
                    param = step.param(name)
                except UsageError as exc:
                    raise UsageError(f"{origin}: {exc}") from None
                values[param.name] = param.convert(value, f"{step.name} ({origin})")
                origins[param.name] = origin
        return SimpleNamespace(**values), origins

    def check_steps(self, names):
        """Raise UsageError if a layer names a step that is neither among `names` nor built in.

        A file may serve several instruments, whose pipelines have different steps.
        """
        from jwcal.cli.index import STEPS

        for origin, table in self.layers:
            for name in table:
                if name not in names and name.replace("_", "-") not in STEPS:
                    raise UsageError(f"{origin}: no step {name!r} here ({instead(name, names)})")


def read_toml(path, step=None):
    """Read a parameter file.

    Parameters
    ----------
    path : str
        TOML file with one table per step; bare keys belong to `step`.
    step : str or None
        Step of a single-step command.

    Returns
    -------
    dict of str to dict

    Raises
    ------
    UsageError
        If the file cannot be read or is not TOML.
    """
    tree = read_user_toml(path, "a parameter file")
    out: dict = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            out.setdefault(key.replace("-", "_"), {}).update(value)
        elif step is not None:
            out.setdefault(step, {})[key] = value
        else:
            raise UsageError(f"{path}: {key} stands outside of a [step] table")
    return out


def read_pars(path):
    """Read an official parameter reference file (``pars-*.asdf``).

    Such files are plain YAML in an ASDF frame; only the tree is read.

    Parameters
    ----------
    path : str
        File name.

    Returns
    -------
    dict of str to dict
        Values by step; "none" values and parameters about running are left out.

    Raises
    ------
    UsageError
        If it is not such a file.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror or exc}") from None
    if not text.startswith(b"#ASDF"):
        raise UsageError(f"{path}: not an ASDF file")
    tree = plain_tree(text, path, UsageError)
    if not isinstance(tree, dict) or "parameters" not in tree:
        raise UsageError(f"{path}: not a parameter reference file")
    out: dict = {}
    _collect(tree, out)
    return out


def _collect(node, out):
    name = _step_name(str(node.get("class", "")), str(node.get("name", "")))
    values = {
        key: value
        for key, value in (node.get("parameters") or {}).items()
        if key not in _FOREIGN and str(value).lower() not in {"none", ""}
    }
    if values:
        out.setdefault(name, {}).update(values)
    for child in node.get("steps") or ():
        _collect(child, out)


def _step_name(dotted, name):
    last = dotted.rsplit(".", 1)[-1] or name
    last = re.sub(r"(Step|Pipeline)$", "", last)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).lower().replace("rscd_", "rscd")


# The official class name does not always give the step's name.
STEP_ALIASES = {
    "ref_pix": "refpix",
    "super_bias": "superbias",
    "last_frame": "lastframe",
    "first_frame": "firstframe",
}


def known_only(values, steps, origin):
    """Keep the values that steps here declare, saying what was left out.

    Parameters
    ----------
    values : dict of str to dict
        From `read_pars`.
    steps : iterable of Step
        Steps of this run.
    origin : str
        Name of the file.

    Returns
    -------
    dict of str to dict
    """
    by_name = {s.name: s for s in steps}
    out: dict = {}
    for name, table in values.items():
        step = by_name.get(STEP_ALIASES.get(name, name))
        if step is None:
            continue
        declared = {p.name for p in step.params}
        for key in table.keys() - declared:
            log.warning("%s: parameter %s of %s is not known here and was ignored", origin, key, step.name)
        kept = {key: value for key, value in table.items() if key in declared}
        if kept:
            out[step.name] = kept
    return out


def dump(step, values, origins):
    """Write values as TOML that can be fed back, with unit and origin as comments.

    Parameters
    ----------
    step : Step
        The step.
    values : types.SimpleNamespace
        Its values.
    origins : dict of str to str
        Their origins.

    Returns
    -------
    str
    """
    lines = [f"[{step.name}]"]
    for p in step.params:
        value = getattr(values, p.name)
        note = ", ".join(t for t in (p.unit, origins[p.name]) if t)
        if value is None:
            lines.append(f"# {p.name} is not set  # {note}")
            continue
        text = (
            str(value).lower()
            if isinstance(value, bool)
            else repr(value)
            if not isinstance(value, str)
            else json.dumps(value)
        )
        lines.append(f"{p.name} = {text}  # {note}")
    return "\n".join(lines) + "\n"


def plain_tree(text, label, error):
    """Read the YAML tree at the beginning of an ASDF file, with its tags ignored.

    Parameters
    ----------
    text : bytes
        The file, or as much of it as holds the tree.
    label : str
        Name for messages.
    error : type
        What to raise if the tree cannot be read.

    Returns
    -------
    object
        Dicts, lists, numbers and text.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def plain(loader, _suffix, node):
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Loader.add_multi_constructor("", plain)
    end = text.find(b"\n...")
    try:
        return yaml.load(text[: end if end > 0 else None].decode("utf-8"), Loader)  # noqa: S506 - a SafeLoader
    except (UnicodeDecodeError, yaml.YAMLError) as exc:
        raise error(f"{label}: {' '.join(str(exc).split())}") from None

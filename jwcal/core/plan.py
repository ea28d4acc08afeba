"""Which steps a pipeline has, from its definition and what the user changes in it."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jwcal.core.errors import UsageError
from jwcal.core.packaged import names_in, text_of
from jwcal.core.registry import find_step
from jwcal.core.suggest import instead
from jwcal.core.toml_file import read_user_toml


@dataclass
class Item:
    """One place in a run: a step, or an external program that filters FITS.

    Attributes
    ----------
    name : str
        Name used by --skip, --set, --save-after.
    step : Step or None
        The step.
    command : tuple of str or None
        The program and its arguments.
    code : str
        Origin of code that is not part of the package, for the provenance.
    entry : str
        What the step was asked for by.
    """

    name: str
    step: object = None
    command: tuple | None = None
    code: str = ""
    entry: str = ""


@cache
def _built_in(name):
    return tomllib.loads(text_of("pipelines", f"{name}.toml"))


def definition(name, above=()):
    """Pipeline definition by name, or from a TOML file by path.

    Parameters
    ----------
    name : str
        Name, or path of a file that ends in ".toml".
    above : tuple of str
        Files that build on this one.

    Returns
    -------
    dict
        With "branch", and perhaps "replace", "add", "name", "summary".

    Raises
    ------
    UsageError
        If there is none, or it is not valid.
    """
    if not name.endswith(".toml"):
        if name not in names():
            raise UsageError(f"no pipeline {name!r} ({instead(name, names(), ', or a .toml file')})")
        return _built_in(name)
    if name in above:
        raise UsageError(f"{name}: is its own base")
    tree = read_user_toml(name, "a pipeline")
    _check(tree, name)
    if "base" in tree:
        base = definition(tree.pop("base"), (*above, name))
        tree = {
            **base,
            **tree,
            "replace": {**base.get("replace", {}), **tree.get("replace", {})},
            "add": [*base.get("add", ()), *tree.get("add", ())],
        }
    return tree


def _check(tree, name):
    """Raise UsageError if the parts of a definition are not what they must be."""
    base, branches = tree.get("base"), tree.get("branch")
    if base is None and not branches:
        raise UsageError(f"{name}: a pipeline needs a base, or [[branch]] tables with steps")
    if not isinstance(base, str | None):
        raise UsageError(f"{name}: base = {base!r} is not a name")
    for branch in _tables(tree, "branch", name):
        steps = branch.get("steps")
        if not isinstance(steps, list) or not steps:
            raise UsageError(f"{name}: every [[branch]] needs a list of steps")
        for entry in steps:
            _check_entry(entry, name)
        if not isinstance(branch.get("instruments", []), list):
            raise UsageError(f"{name}: instruments of a [[branch]] is a list of names")
    for entry in _tables(tree, "add", name):
        if not isinstance(entry.get("after"), str):
            raise UsageError(f'{name}: every [[add]] needs after = "STEP"')
        _check_entry(entry, name)
    replace = tree.get("replace", {})
    if not isinstance(replace, dict):
        raise UsageError(f'{name}: [replace] is a table of STEP = "OTHER"')
    for entry in replace.values():
        _check_entry(entry, name)


def _tables(tree, key, name):
    tables = tree.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise UsageError(f"{name}: write {key} as [[{key}]] tables")
    return tables


def _check_entry(entry, name):
    if isinstance(entry, str):
        return
    good = isinstance(entry, dict) and isinstance(entry.get("name", ""), str)
    if good and "exec" in entry:
        words = entry["exec"]
        good = isinstance(words, list) and bool(words) and all(isinstance(w, str) for w in words)
    elif good:
        good = isinstance(entry.get("step"), str)
    if not good:
        raise UsageError(f'{name}: {entry!r} is neither a step nor exec = ["PROGRAM", "ARGUMENT"]')


def names():
    """Names of the pipelines that come with the package."""
    return names_in("pipelines", ".toml")


def plan_items(name, instrument, replace=(), add=()):
    """Items of a pipeline for an instrument.

    Parameters
    ----------
    name : str
        Pipeline name or TOML file.
    instrument : str
        Value of INSTRUME.
    replace : iterable of (str, str)
        Step name and what takes its place.
    add : iterable of (str, str)
        Step name and what to run after it.

    Returns
    -------
    list of Item

    Raises
    ------
    UsageError
        For names that do not exist or replacements that do not fit.
    """
    tree = definition(name)
    branch = next((b for b in tree["branch"] if instrument in b.get("instruments", [instrument])), None)
    if branch is None:
        raise UsageError(f"pipeline {name} is not for {instrument}")
    items = [make_item(entry) for entry in branch["steps"]]
    replace = list(tree.get("replace", {}).items()) + list(replace)
    add = [(a["after"], a) for a in tree.get("add", ())] + list(add)
    for old, new in replace:
        place = place_of(items, old, name)
        item = make_item(new)
        fits_in(items[place], item)
        item.name = items[place].name
        items[place] = item
    for after, new in add:
        items.insert(place_of(items, after, name) + 1, make_item(new))
    return items


def place_of(items, wanted, where):
    """Position of a step by name; UsageError if it is not there."""
    wanted = wanted.replace("-", "_")
    for k, item in enumerate(items):
        if item.name == wanted:
            return k
    raise UsageError(f"{where}: no step {wanted!r} here ({instead(wanted, [i.name for i in items])})")


def make_item(entry):
    """Item from a step name, a path ``file.py:object``, or a TOML table with step or exec."""
    if isinstance(entry, dict):
        if "exec" in entry:
            command = tuple(entry["exec"])
            return Item(entry.get("name", Path(command[0]).stem).replace("-", "_"), command=command)
        entry = entry["step"]
    step, code = find_step(entry)
    return Item(step.name, step=step, code=code, entry=entry)


def fits_in(old, new):
    """Refuse a replacement that takes or gives another product than the step it replaces."""
    if old.step is None or new.step is None:
        return
    for what in ("takes", "gives"):
        mine, theirs = getattr(new.step, what), getattr(old.step, what)
        if mine != theirs:
            raise UsageError(
                f"{new.name} {what} {mine!r}, but {old.name}, which it replaces, {what} {theirs!r}"
            )

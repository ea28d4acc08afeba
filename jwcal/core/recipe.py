"""Recipes: sets of parameter values for a whole pipeline, by name."""

import tomllib
from importlib.resources import files

from jwcal.core.errors import UsageError
from jwcal.core.params import read_toml

BASELINE = "baseline"
INSTRUMENTS = ("NIRCAM", "NIRISS", "FGS", "NIRSPEC", "MIRI")


def names():
    """Names of the recipes that come with the package; "baseline" is all defaults."""
    folder = files("jwcal.data").joinpath("recipes")
    return [BASELINE, *sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))]


def read_recipe(name, instrument):
    """Parameter values of a recipe for an instrument.

    Parameters
    ----------
    name : str
        Name, or a TOML file: tables by step, and tables of an instrument with tables by step, which win.
    instrument : str or None
        Value of INSTRUME.

    Returns
    -------
    dict of str to dict
        Values by step and parameter.

    Raises
    ------
    UsageError
        If there is no such recipe, or the file is none.
    """
    if name == BASELINE:
        return {}
    if name.endswith(".toml"):
        tree = read_toml(name)
    elif name in names():
        text = files("jwcal.data").joinpath("recipes", f"{name}.toml").read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    else:
        raise UsageError(f"no recipe {name!r} (known: {', '.join(names())}, or a .toml file)")
    out = {step: dict(values) for step, values in tree.items() if step not in INSTRUMENTS}
    for step, values in tree.get(instrument, {}).items():
        if not isinstance(values, dict):
            raise UsageError(f"{name}: [{instrument}] needs tables by step, not {step} = {values!r}")
        out.setdefault(step, {}).update(values)
    return out

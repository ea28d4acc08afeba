"""Recipes: sets of parameter values for a whole pipeline, by name."""

import tomllib

from jwcal.core.errors import UsageError
from jwcal.core.packaged import names_in, text_of
from jwcal.core.params import read_toml
from jwcal.core.suggest import instead

BASELINE = "baseline"
INSTRUMENTS = ("NIRCAM", "NIRISS", "FGS", "NIRSPEC", "MIRI")


def names():
    """Names of the recipes that come with the package; "baseline" is all defaults."""
    return [BASELINE, *names_in("data/recipes", ".toml")]


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
        text = text_of("data/recipes", f"{name}.toml")
        tree = tomllib.loads(text)
    else:
        raise UsageError(f"no recipe {name!r} ({instead(name, names(), ', or a .toml file')})")
    out = {step: dict(values) for step, values in tree.items() if step not in INSTRUMENTS}
    for step, values in tree.get(instrument, {}).items():
        if not isinstance(values, dict):
            raise UsageError(f"{name}: [{instrument}] needs tables by step, not {step} = {values!r}")
        out.setdefault(step, {}).update(values)
    return out

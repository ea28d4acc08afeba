"""Which pipeline an exposure goes to."""

import tomllib
from functools import cache
from importlib.resources import files

from jwcal.core import plan
from jwcal.core.errors import InputError

_STAGE = {"uncal": "stage1", "ramp": "stage1", "rate": "stage2", "rateints": "stage2"}


@cache
def table():
    """Routing by EXP_TYPE (``data/routing.toml``)."""
    return tomllib.loads(files("jwcal.data").joinpath("routing.toml").read_text())


def route(exposure):
    """Name of the pipeline for an exposure.

    Parameters
    ----------
    exposure : Exposure
        Anything `open_exposure` returns.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If EXP_TYPE is not known, or nothing follows this product.
    """
    kind = exposure.meta["EXP_TYPE"]
    entry = table().get(kind)
    if entry is None:
        raise InputError(f"{exposure.label}: EXP_TYPE {kind!r} is not known")
    stage = _STAGE[exposure.product]
    name = entry[stage]
    if exposure.meta.get("TSOVISIT"):
        name = entry.get(stage + "_tso", name)
    if not name:
        raise InputError(f"{exposure.label}: no pipeline follows a {exposure.product} of EXP_TYPE {kind}")
    return name


def choose(name, exposure):
    """Name of the pipeline to run: the one asked for, or for "auto" the one of `route`.

    Parameters
    ----------
    name : str
        Pipeline name, TOML file, or "auto".
    exposure : Exposure
        Anything `open_exposure` returns.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If the pipeline for this exposure is not built yet, or guide-star data are to go to another.
    """
    chosen = route(exposure) if name == "auto" else name
    kind = exposure.meta.get("EXP_TYPE")
    entry = table().get(kind)
    raw = entry is not None and exposure.product in ("uncal", "ramp")
    if chosen != "guider" and raw and entry["stage1"] == "guider":
        # Guide-star data look like ramps, but their groups are something else.
        chosen = "guider" if plan.definition(chosen).get("name") == "detector1" else chosen
    if chosen not in plan.names() and chosen != name:
        raise InputError(
            f"{exposure.label}: EXP_TYPE {kind} needs the pipeline {chosen!r}, which is not built yet"
        )
    return chosen

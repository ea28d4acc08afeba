"""Which pipeline an exposure goes to."""

import tomllib
from functools import cache

from jwcal.core import plan
from jwcal.core.errors import InputError
from jwcal.core.packaged import text_of

_STAGE = {"ramp": "stage1", "guider_raw": "stage1", "rate": "stage2"}


@cache
def table():
    """Routing by EXP_TYPE (``data/routing.toml``)."""
    return tomllib.loads(text_of("data", "routing.toml"))


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
    stage = _STAGE.get(exposure.kind)
    name = entry[stage] if stage else ""
    if stage and exposure.meta.get("TSOVISIT"):
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
        If the pipeline for this exposure is not built yet, or is for other products or instruments.
    """
    chosen = route(exposure) if name == "auto" else name
    kind = exposure.meta.get("EXP_TYPE")
    if chosen not in plan.names() and chosen != name:
        raise InputError(
            f"{exposure.label}: EXP_TYPE {kind} needs the pipeline {chosen!r}, which is not built yet"
        )
    tree = plan.definition(chosen)
    if tree.get("takes", exposure.kind) != exposure.kind:
        raise InputError(
            f"{exposure.label}: is a {exposure.product} of EXP_TYPE {kind}, and pipeline {chosen} takes a"
            f" {tree['takes']}; `jwcal run auto` finds the one for it"
        )
    instrument = exposure.meta.get("INSTRUME")
    if chosen != name and not any(instrument in b.get("instruments", [instrument]) for b in tree["branch"]):
        raise InputError(
            f"{exposure.label}: EXP_TYPE {kind} needs the pipeline {chosen!r}, which is not for {instrument}"
        )
    return chosen

"""Which pipeline an exposure goes to."""

import tomllib
from functools import cache
from importlib.resources import files

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

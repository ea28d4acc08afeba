"""Official file names: the suffix tells the product."""

import re

# Suffixes that a new product's suffix replaces.  Source: jwst documentation, "Data product types".
_SUFFIXES = (
    "uncal", "ramp", "rate", "rateints", "fitopt", "trapsfilled", "dark", "group_scale", "dq_init", "saturation", "ipc",
    "superbias", "refpix", "reset", "linearity", "rscd", "dark_current", "jump", "firstframe", "lastframe",
    "gain_scale", "gain_scaleints", "cal", "calints",
)  # fmt: skip
_KNOWN = re.compile(r"_(" + "|".join(sorted(_SUFFIXES, key=len, reverse=True)) + r")\Z")


def with_suffix(name, suffix):
    """Name of the product of a suffix made from a file.

    Parameters
    ----------
    name : str
        File name without folders, such as ``jw..._nrca1_uncal.fits``.
    suffix : str
        New product suffix, such as "rate".

    Returns
    -------
    str
    """
    base = re.sub(r"\.fits(\.gz|\.fz)?\Z", "", name)
    return f"{_KNOWN.sub('', base)}_{suffix}.fits"

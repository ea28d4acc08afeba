"""Sources of NIRSpec MOS observations, from MSA metadata files."""

import re
from pathlib import Path

from jwcal.core.errors import InputError

_NAME = re.compile(r"jw(\d{5})(\d{3})(\d{3})_\d+_msa\.fits")


def read_sources(paths):
    """Read identifiers of sources, as names of products have them.

    Parameters
    ----------
    paths : iterable of str or Path
        Files jwPPPPPOOOVVV_NN_msa.fits.

    Returns
    -------
    dict of int to list of str
        By number of the observation: "s" and 9 digits for a source, "b" for a slitlet that sees background
        only, "v" for a virtual source.

    Raises
    ------
    InputError
        If a file has another name, or no table of shutters.
    """
    found: dict[int, dict[str, None]] = {}
    for path in paths:
        told = _NAME.match(Path(path).name)
        if not told:
            raise InputError(f"{path}: the name of an MSA metadata file is jwPPPPPOOOVVV_NN_msa.fits")
        found.setdefault(int(told[2]), {}).update(dict.fromkeys(_sources(path)))
    return {number: sorted(sources) for number, sources in found.items()}


def _sources(path):
    from jwcal.core.fits import open_fits

    with open_fits(path) as file:
        if "SHUTTER_INFO" not in file:
            raise InputError(f"{path}: no table SHUTTER_INFO: not an MSA metadata file")
        table = file["SHUTTER_INFO"].table()
    missing = {"slitlet_id", "source_id", "primary_source"} - set(table.dtype.names)
    if missing:
        raise InputError(f"{path}: no column {', '.join(sorted(missing))}: not an MSA metadata file")
    keys = [
        name for name in ("msa_metadata_id", "dither_point_index", "fixed_slit") if name in table.dtype.names
    ]
    slitlets: dict[tuple, list] = {}
    for row in table:
        slitlets.setdefault((int(row["slitlet_id"]), *(_text(row[name]) for name in keys)), []).append(row)
    for key, rows in slitlets.items():
        main = [int(row["source_id"]) for row in rows if _text(row["primary_source"]) == "Y"]
        # A slitlet without a source sees background; it is named after itself.
        for number in main or [key[0]]:
            letter = "b" if not main else "v" if number < 0 else "s"
            yield f"{letter}{abs(number):09d}"


def _text(value):
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip().upper()

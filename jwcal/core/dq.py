"""Data-quality flags by name: bit values, and the translation of a reference file's own bits."""

import tomllib

from jwcal.core.errors import ReferenceFileError
from jwcal.core.packaged import text_of

_FLAGS = tomllib.loads(text_of("data", "dq.toml"))["flag"]

DQ = {flag["name"]: 1 << flag["bit"] for flag in _FLAGS}
MEANING = {flag["name"]: flag["meaning"] for flag in _FLAGS}
# 2.0 and older files call bit 8 RESERVED.
DQ["RESERVED"] = DQ["UNRELIABLE_ERROR"]
GROUP_FLAGS = tuple(flag["name"] for flag in _FLAGS if flag["bit"] < 8)


def names(value):
    """Names of the flags set in a value.

    Parameters
    ----------
    value : int
        A DQ value.

    Returns
    -------
    list of str
        Names by rising bit.
    """
    return [flag["name"] for flag in _FLAGS if int(value) >> flag["bit"] & 1]


def translation(dq_def):
    """Pairs of (bit value in a reference file, standard bit value).

    Reference files number their flags freely and name them in a ``DQ_DEF`` table.

    Parameters
    ----------
    dq_def : numpy.ndarray or None
        Structured array with columns VALUE and NAME; None means standard bits.

    Returns
    -------
    list of (int, int) or None
        None when nothing has to be translated.  Names that are not flags are dropped.

    Raises
    ------
    ReferenceFileError
        If the table lacks a column.
    """
    if dq_def is None or len(dq_def) == 0:
        return None
    columns = {name.upper(): name for name in dq_def.dtype.names}
    for needed in ("VALUE", "NAME"):
        if needed not in columns:
            raise ReferenceFileError(f"the DQ_DEF table has no column {needed}")
    pairs = []
    for row in dq_def:
        name = row[columns["NAME"]]
        name = (name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)).strip().upper()
        value = int(row[columns["VALUE"]]) & 0xFFFFFFFF
        if name in DQ and value:
            pairs.append((value, DQ[name]))
    return pairs


def translate(dq, pairs):
    """Apply a translation to an array of flags.

    Parameters
    ----------
    dq : (...) uint32 numpy.ndarray
        Flags as the file numbers them.
    pairs : list of (int, int) or None
        From `translation`; None returns the input.

    Returns
    -------
    (...) uint32 numpy.ndarray
        Standard flags; the input itself where that is the same.
    """
    if pairs is None:
        return dq
    keep = 0
    moves = []
    for source, target in pairs:
        if source == target:
            keep |= source
        else:
            moves.append((source, target))
    out = dq & dq.dtype.type(keep)
    for source, target in moves:
        out[(dq & dq.dtype.type(source)) != 0] |= dq.dtype.type(target)
    return out

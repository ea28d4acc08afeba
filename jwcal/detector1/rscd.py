"""Reset-switch charge decay: flag the groups of MIRI integrations that bend after a reset.

Source: the effect, Morrison et al. 2023, PASP 135, 075004; the rules, the calibration pipeline
of the observatory, package ``jwst`` 3.0.
"""

import logging
from dataclasses import dataclass

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import ReferenceFileError
from jwcal.core.step import Ref, Skip, step

log = logging.getLogger(__name__)

MIN_GROUPS = 3
FEW_GROUPS = 5
TABLE = "RSCD_GROUP_SKIP"


@dataclass(frozen=True)
class Flagging:
    """Groups to flag in one file.

    Attributes
    ----------
    first : int or None
        Groups to flag in the first integration of the exposure; None if it is not in the file.
    later : int or None
        Groups to flag in every later integration; None if the exposure has no other.
    """

    first: int | None
    later: int | None


def flag_groups(groupdq, skip):
    """Flag the first groups of integrations DO_NOT_USE, in place.

    A pixel that would keep fewer than two unsaturated groups is flagged in fewer groups, down
    to none.  One that is saturated from the first group on cannot gain and is flagged in full.

    Parameters
    ----------
    groupdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Flags; once SATURATED, a pixel is so in all later groups.
    skip : int
        Groups to flag; at most ``ngroup - 2``.

    Returns
    -------
    flagged : (nint, ny, nx) int64 numpy.ndarray or None
        Groups flagged in each pixel; None if it is `skip` everywhere and no pixel is short of
        unsaturated groups.
    """
    saturated, unusable = groupdq.dtype.type(DQ["SATURATED"]), groupdq.dtype.type(DQ["DO_NOT_USE"])
    short = (groupdq[:, skip + 1] & saturated) > (groupdq[:, 0] & saturated)
    if not short.any():
        groupdq[:, :skip] |= unusable
        return None
    flagged = np.full(short.shape, skip, np.int64)
    for group in range(skip, 0, -1):
        flagged[short] -= 1
        short &= (groupdq[:, group] & saturated) != 0
    for group in range(skip):
        groupdq[:, group] |= np.where(flagged > group, unusable, groupdq.dtype.type(0))
    return flagged


def plan_flagging(ngroup, nint, first_integration, skip1, skip2):
    """Apply the rules for few groups to the numbers of the reference.

    Parameters
    ----------
    ngroup : int
        Groups in an integration.
    nint : int
        Integrations in the exposure.
    first_integration : int
        1-based number, in the exposure, of the file's first integration.
    skip1, skip2 : int
        Groups to flag in the first and in later integrations; negative `skip1` is unknown.

    Returns
    -------
    Flagging

    Raises
    ------
    Skip
        If there are too few groups.
    ValueError
        If `skip2` is negative.
    """
    if ngroup < MIN_GROUPS:
        raise Skip(f"fewer than {MIN_GROUPS} groups")
    if skip1 < 0:
        log.warning("rscd: the reference has no number for the first integration; one group is flagged there")
        skip1 = 1
    if ngroup <= FEW_GROUPS:
        skip1 = skip2 = 1
    if skip2 < 0:
        raise ValueError(f"group_skip = {skip2} is negative")
    most = ngroup - MIN_GROUPS
    first = min(skip1, most) if first_integration == 1 else None
    later = min(skip2, most) if nint > 1 else None
    return Flagging(first, later)


def _text(value):
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip()


def look_up(table, subarray, readpatt):
    """Find the numbers of groups to flag.

    Parameters
    ----------
    table : structured numpy.ndarray
        Columns ``subarray``, ``readpatt``, ``group_skip`` and, in newer files, ``group_skip1``.
    subarray, readpatt : str
        Keywords SUBARRAY and READPATT of the exposure.

    Returns
    -------
    (int, int) or None
        For the first and for later integrations; the first is -1 in a file without that column.
        None if the table has no such row.

    Raises
    ------
    KeyError
        If a column is missing.
    """
    columns = {name.lower(): name for name in table.dtype.names}
    wanted = ("SLITLESSPRISM" if subarray.upper() == "SUBPRISM" else subarray), readpatt
    for row in table:
        if (_text(row[columns["subarray"]]), _text(row[columns["readpatt"]])) == wanted:
            skip1 = int(row[columns["group_skip1"]]) if "group_skip1" in columns else -1
            return skip1, int(row[columns["group_skip"]])
    return None


@step(
    "rscd",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_RSCD",
    refs=[Ref("rscd", missing="skip")],
    changes=("GROUPDQ", "PIXELDQ"),
    uses=("GROUPDQ",),
    instruments=("MIRI",),
    # The flags before the last group that is flagged decide, and those of the one behind it.
    ahead=lambda plan: max(plan.first or 0, plan.later or 0) + 2,
    keywords=("INT1SKIP", "INT1UGP1", "INT1BORS", "INT2SKIP", "INT2UGP1", "INT2BORS"),
)
def rscd(tile, refs, p):
    """Flag the first groups of MIRI integrations, where the ramp still bends.

    The reference gives the number of groups by subarray and readout pattern, for the first and
    for later integrations; it is lowered so that three groups stay, and is one for up to five
    groups.  Pixels that saturate too early keep more groups and are marked FLUX_ESTIMATED.
    """
    groupdq, plan = tile["GROUPDQ"], tile.plan
    first = 1 if plan.first is not None and tile.i0 == 0 else 0
    for name, flags, skip in (("int1", groupdq[:first], plan.first), ("int2", groupdq[first:], plan.later)):
        if skip is None or len(flags) == 0:
            continue
        flagged = flag_groups(flags, skip)
        if flagged is None:
            continue
        backed_off = (flagged < skip).any(axis=0)
        tile["PIXELDQ"][backed_off] |= np.uint32(DQ["FLUX_ESTIMATED"])
        y0, y1, x0, x1 = tile.core
        tile.count(f"{name} backed off", backed_off[y0:y1, x0:x1].sum())
        tile.count(f"{name} all groups kept", (flagged == 0).any(axis=0)[y0:y1, x0:x1].sum())
        tile.count(f"{name} tiles with early saturation", 1)


@rscd.setup
def _(exposure, refs, p):
    ref, meta = refs["rscd"], exposure.meta
    table = ref.table(TABLE)
    if table is None:
        raise ReferenceFileError(f"{ref.path}: no {TABLE} table in this RSCD reference")
    subarray, readpatt = str(meta["SUBARRAY"]).strip(), str(meta["READPATT"]).strip()
    try:
        found = look_up(table, subarray, readpatt)
    except KeyError as exc:
        raise ReferenceFileError(f"{ref.path}: no column {exc.args[0]} in table {TABLE}") from None
    if found is None:
        raise Skip(f"the reference has no row for {subarray} with {readpatt}")
    nint = meta.get("NINTS", exposure.shape[0])
    try:
        return plan_flagging(exposure.shape[1], nint, meta.get("INTSTART", 1), *found)
    except ValueError as exc:
        raise ReferenceFileError(f"{ref.path}: {exc}") from None


@rscd.finish
def _(exposure, counts, plan, p):
    ny, nx = exposure.frame
    for key, skip in (("1", plan.first), ("2", plan.later)):
        if skip is None:
            continue
        backed_off, kept = counts[f"int{key} backed off"], counts[f"int{key} all groups kept"]
        if skip == 0:
            # Nothing was flagged to begin with: the official count then takes in every pixel.
            kept = ny * nx if counts[f"int{key} tiles with early saturation"] else 0
        exposure.meta.set(f"INT{key}SKIP", skip)
        exposure.meta.set(f"INT{key}UGP1", int(kept))
        exposure.meta.set(f"INT{key}BORS", int(backed_off))

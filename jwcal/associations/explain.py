"""Why an exposure is, or is not, in an association."""

from jwcal.associations.groups import Group
from jwcal.associations.names import file_name
from jwcal.core.errors import UsageError

_TESTS = {
    "nrs_fixed_slit_path": "light of its slit falls on the detector",
    "nrs_ifu_path": "light of the integral-field unit falls on the detector",
    "nrs_lamp_path": "light of its lamp falls on the detector",
    "nrc_coron_detector": "the detector sees the occulted source",
    "nis_soss_filter": "the filter is calibrated",
}


def find_row(pool, given):
    """Row of a pool (int) by file name, part of a file name, or line number.

    Parameters
    ----------
    pool : Pool
        The exposures.
    given : str
        What to look for.

    Returns
    -------
    int

    Raises
    ------
    UsageError
        If no row, or more than one, fits.
    """
    names = pool.cells("filename")
    found = [i for i, name in enumerate(names) if name == given.lower()]
    found = found or [i for i, name in enumerate(names) if given.lower() in name]
    if given.isdigit() and len(found) != 1:
        found = [i for i in range(len(pool)) if pool.lines[i] == int(given)] or found
    if len(found) != 1:
        what = f"{len(found)} rows fit" if found else "no row fits"
        raise UsageError(f"{pool.name}: {what} {given!r}; give a whole file name or a line number")
    return found[0]


def explain(generator, associations, index):
    """Lines that say what became of a row.

    Parameters
    ----------
    generator : Generator
        What made the associations.
    associations : list of Association
        All of the pool.
    index : int
        The row.

    Yields
    ------
    str
    """
    pool, number = generator.pool, generator.number
    row = pool.rows[index]
    full = (*row, row[generator.own_candidate], index)
    yield f"{row[pool.at['filename']]}: {row[pool.at['exp_type']]}, by itself {generator.roles.base(full)}"
    inside = set()
    for association in associations:
        for name, members in association.products:
            for member in members:
                if member.row is not None and member.row[number] == index:
                    inside.add((association.rule.rule, association.candidate))
                    yield f"  in {file_name(association)} as {member.role}, product {name}"
    candidates = [(key, rows) for key, rows in generator.candidates().items() if index in rows]
    for candidate, rows in [*candidates, (None, range(len(pool)))]:
        groups = generator.groups(rows, candidate)
        label = "beyond candidates" if candidate is None else f"candidate {candidate[0]} ({candidate[1]})"
        for compiled in generator.compiled:
            rule = compiled.rule
            if (rule.rule, "a3001" if candidate is None else candidate[0]) in inside:
                continue
            reason = _reason(generator, compiled, full, candidate, groups, index)
            if reason:
                yield f"  {label}: {rule.rule}: {reason}"


def _reason(generator, compiled, row, candidate, groups, index):
    """Why a rule made no association with a row, or None where it is too far from it to be told."""
    kind = "discovered" if candidate is None else candidate[1]
    if not compiled.rule.takes(kind):
        return None
    if candidate is not None:
        text = f"[('{candidate[0]}', '{candidate[1]}')]"
        row = (*row[:-2], text, index)
    mine = [
        group
        for group in groups
        if group.rule is compiled.rule
        and any(member.row[generator.number] == index for member in group.members)
    ]
    for group in mine:
        lacks = generator.finisher.missing(group)
        if lacks:
            return f"its group of {len(group.members)} {lacks}"
    if mine:
        return "the same as, or part of, another association"
    failed = _failed(compiled.condition, row, Group(compiled, kind))
    if any(_other_type(each, row, Group(compiled, kind)) for each in failed):
        return None
    return f"no: {describe(failed[0].table, generator.rules.blocks)}" if failed else "agrees with no group"


def _failed(condition, row, group):
    """Conditions (list) without parts that a row does not meet as the first of a group."""
    out: list = []
    # Of the ways into a level-3 group that of the rule tells more than that of acquisitions.
    parts = [part for part in condition.parts if part.ours] or condition.parts
    for part in parts:
        if not part.test(row, group):
            out += _failed(part, row, group) or [part]
    return out


def _other_type(condition, row, group):
    """Whether a condition that is not met asks for other exposure types, whichever way it is read."""
    if condition.ways:
        return all(
            any(_other_type(each, row, group) for each in _failed(way, row, group) or [way])
            for way in condition.ways
        )
    table = condition.table
    return "acquisition" in table or "exp_type" in (table.get("same"), table.get("has"))


def describe(table, blocks=None):
    """Put a condition of a rule into words.

    Parameters
    ----------
    table : dict
        The condition.
    blocks : dict, optional
        Blocks that it may use.

    Returns
    -------
    str
    """
    if "use" in table and blocks:
        return describe(blocks[table["use"]], blocks)
    like = table.get("like")
    values = "" if like is None else f" like {like if isinstance(like, str) else ' or '.join(like)}"
    if "same" in table or "has" in table:
        columns = table.get("same", table.get("has"))
        name = columns if isinstance(columns, str) else " or ".join(columns)
        text = f"{name}{values}" if values else f"{name} given"
        text += ", the same in all members" if "same" in table else ""
        return text + (", or not given" if table.get("optional") else "")
    if "check" in table:
        text = _TESTS.get(table["check"], table["check"])
        return text if table.get("is", True) else f"not: {text}"
    words = {"any": " or ", "all": " and ", "none": " or ", "not_all": " and "}
    for verb, joint in words.items():
        if verb in table:
            text = joint.join(describe(part, blocks) for part in table[verb])
            text = f"({text})" if len(table[verb]) > 1 else text
            return f"not {text}" if verb in ("none", "not_all") else text
    simple = {
        "lacks": "{} not given", "role": "role {}", "role_not": "role other than {}", "use": "{}",
        "one_science": "the one science exposure", "acquisition": "a target acquisition",
        "one_of_noted": "{} that the group has", "differs": "{} other than that of the science exposure",
        "stays_free": "free to start groups too", "candidate_not": "candidate that is not {}",
        "last_role_not": "not after {}", "constant": "anything", "rule": "the rule",
    }  # fmt: skip
    for verb, text in simple.items():
        if verb in table:
            return text.format(table[verb])
    return str(table)

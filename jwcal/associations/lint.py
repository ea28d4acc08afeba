"""What is wrong with a rule: types, names, patterns, circles, contradictions."""

import re

from jwcal.associations.constraints import VERBS
from jwcal.associations.roles import CHECKS, MEMBERS

WAYS = ("level2", "special", "direct", "nod", "level3", "science")
FINISH = ("imprints", "nods", "catalogue", "nod spectra")
NAMES = ("optics", "no optics", "sources", "slits", "field", "pair", "coronagraphic image")
NEEDS = ("psf", "two members")
# Keys of a rule and what they may be: a type, one of some values, or a list of some values.
KEYS = {
    "title": str, "level": (2, 3), "type": str, "when": list, "roles": WAYS, "frame": str, "name": NAMES,
    "finish": [FINISH], "needs": [NEEDS], "not_candidates": [None], "integrations": ("by exposure type", "not for coronagraphs"),
    "closest": ("next in time", "long"), "several_observations": bool, "off": bool, "base": str,
}  # fmt: skip
_LISTS = ("all", "any", "none", "not_all")
_TEXTS: dict[str, tuple | None] = {
    "use": None, "lacks": None, "differs": None, "one_of_noted": None, "constant": None, "candidate_not": None,
    "role": MEMBERS, "role_not": MEMBERS, "last_role_not": MEMBERS, "check": CHECKS,
}  # fmt: skip
_COLUMNS = ("same", "has")
_OPTIONS = {
    "name": str, "optional": bool, "is": bool, "unless_role": str, "only_role": str, "like": object,
    "again": ("members", "last"),
}  # fmt: skip


def rule_problems(table):
    """Find keys of a rule that are not known, or not of the type they have to be.

    Parameters
    ----------
    table : dict
        The rule as it stands in its file.

    Yields
    ------
    str
    """
    for key, value in table.items():
        if key == "candidates":
            if value != "any" and not _texts(value):
                yield 'candidates is neither "any" nor a list of kinds'
        elif key not in KEYS:
            yield f"unknown key {key}"
        else:
            yield from _value_problems(key, value, KEYS[key])


def _value_problems(key, value, allowed):
    if isinstance(allowed, type):
        if not isinstance(value, allowed):
            yield f"{key} = {value!r} is not {_WORDS[allowed]}"
    elif isinstance(allowed, list):
        if not _texts(value, empty=True):
            yield f"{key} = {value!r} is not a list of texts"
        elif allowed[0]:
            for each in value:
                yield from _value_problems(key, each, allowed[0])
    elif isinstance(value, bool) or value not in allowed:
        yield f"{key} = {value!r} is none of {', '.join(map(str, allowed))}"


_WORDS = {str: "a text", bool: "true or false", list: "a list"}


def _texts(value, empty=False):
    return isinstance(value, list) and (empty or value) and all(isinstance(each, str) for each in value)


def problems(rule, blocks):
    """Find what is wrong with the conditions of a rule.

    Parameters
    ----------
    rule : Rule
        The rule.
    blocks : dict
        Blocks it may use.

    Yields
    ------
    str
    """
    if rule.frame and rule.frame not in blocks:
        yield f"frame {rule.frame!r}: no such block"
        return
    if not rule.when:
        yield "when is empty: no exposure can match"
    for condition in rule.when:
        yield from _problems(condition, blocks, ())
    if rule.frame:
        yield from _problems(blocks[rule.frame], blocks, (rule.frame,), framed=True)
    seen: set[str] = set()
    frame = [blocks[rule.frame]] if rule.frame else rule.when
    yield from _unnamed(frame, rule.when, blocks, seen)
    yield from _contradictions(rule.when, blocks)


def _problems(condition, blocks, inside, framed=False):
    if not isinstance(condition, dict):
        yield f"condition {condition!r} is not a table"
        return
    verbs = [word for word in condition if word in VERBS]
    if len(verbs) != 1:
        yield f"condition {_brief(condition)} needs exactly one of {', '.join(VERBS)}"
        return
    verb = verbs[0]
    for key, value in condition.items():
        if key in _OPTIONS:
            for text in _value_problems(key, value, _OPTIONS[key]):
                yield f"condition {_brief(condition)}: {text}"
        elif key != verb:
            yield f"condition {_brief(condition)}: unknown key {key}"
    if "like" in condition:
        yield from _bad_pattern(condition)
    value = condition[verb]
    if verb in _LISTS:
        if not isinstance(value, list) or not value:
            yield f"condition {_brief(condition)}: {verb} is not a list of conditions"
            return
        for part in value:
            yield from _problems(part, blocks, inside, framed)
    elif verb in _COLUMNS:
        if not isinstance(value, str) and not _texts(value):
            yield f"condition {_brief(condition)}: {verb} is neither a column nor a list of columns"
    elif verb == "rule" and not framed:
        yield f"condition {_brief(condition)} is for the block named by frame"
    elif verb not in _TEXTS:
        if value is not True:
            yield f"condition {_brief(condition)}: {verb} can only be true"
    elif not isinstance(value, str):
        yield f"condition {_brief(condition)}: {verb} = {value!r} is not a text"
    elif verb == "use":
        yield from _block_problems(value, blocks, inside, framed)
    else:
        allowed = _TEXTS[verb]
        if allowed and value not in allowed:
            yield f"condition {_brief(condition)}: {verb} is none of {', '.join(allowed)}"


def _block_problems(name, blocks, inside, framed):
    if name not in blocks:
        yield f"no block {name}"
    elif name in inside:
        yield f"block {name} uses itself: {' uses '.join((*inside[inside.index(name) :], name))}"
    else:
        for text in _problems(blocks[name], blocks, (*inside, name), framed):
            yield text if text.startswith("block ") else f"block {name}: {text}"


def _bad_pattern(condition):
    given = condition["like"]
    if not isinstance(given, str) and not _texts(given):
        yield f"condition {_brief(condition)}: like is neither a pattern nor a list of patterns"
        return
    for text in [given] if isinstance(given, str) else given:
        try:
            re.compile(text)
        except re.error as exc:
            yield f"condition {_brief(condition)}: pattern {text!r}: {exc}"


def _unnamed(conditions, body, blocks, seen):
    """Conditions that look at a value which no condition before them has named."""
    for condition in conditions:
        if not isinstance(condition, dict):
            continue
        for verb in _COLUMNS:
            value = condition.get(verb)
            if isinstance(value, str | list) and value:
                seen.add(condition.get("name", value if isinstance(value, str) else value[0]))
        for verb in ("differs", "one_of_noted"):
            if verb in condition and condition[verb] not in seen:
                yield f"condition {_brief(condition)}: no same or has of that name comes before it"
        for verb in _LISTS:
            if isinstance(condition.get(verb), list):
                yield from _unnamed(condition[verb], body, blocks, seen)
        name = condition.get("use")
        if isinstance(name, str) and name in blocks:
            rest = {key: value for key, value in blocks.items() if key != name}
            yield from _unnamed([blocks[name]], body, rest, seen)
        if "rule" in condition:
            yield from _unnamed(body, (), blocks, seen)


def _contradictions(conditions, blocks):
    """Conditions that cannot hold together."""
    values: dict[str, set] = {}
    given, absent = set(), set()
    said: dict[tuple, object] = {}
    for condition in _flat(conditions, blocks, 0):
        column = condition.get("same", condition.get("has"))
        if isinstance(column, str) and not condition.keys() & {"optional", "unless_role", "only_role"}:
            given.add(column)
            mine = _plain(condition.get("like"))
            if mine and column in values and not values[column] & mine:
                both = " and ".join("|".join(sorted(each)) for each in (values[column], mine))
                yield f"no exposure can match: {column} has to be {both}"
            if mine:
                values[column] = values.get(column, mine) & mine or mine
        if "lacks" in condition:
            absent.add(condition["lacks"])
        absent.update(_refused(condition))
        for key, value in (
            (("role",), condition.get("role")),
            (("check", condition.get("check")), condition.get("is", True) if "check" in condition else None),
        ):
            if value is not None and said.setdefault(key, value) != value:
                yield f"no exposure can match: {' '.join(key)} has to be {said[key]} and {value}"
        if "role_not" in condition and condition["role_not"] == said.get(("role",)):
            yield f"no exposure can match: role has to be {condition['role_not']} and not to be"
    for column in sorted(given & absent):
        yield f"no exposure can match: {column} has to be given and not to be"


def _plain(like):
    """Values (set of str) of patterns that are plain texts, or None."""
    if not isinstance(like, str) and not _texts(like):
        return None
    values = {text.lower() for text in ([like] if isinstance(like, str) else like)}
    return values if all(re.fullmatch(r"[\w-]+", text) for text in values) else None


def _refused(condition):
    """Columns that must not be given, by a condition on none of some."""
    for part in condition.get("none", ()):
        if isinstance(part, dict) and not part.keys() - {"same", "has", "name"}:
            column = part.get("same", part.get("has"))
            if isinstance(column, str):
                yield column


def _flat(conditions, blocks, depth):
    """Conditions that all have to hold."""
    for condition in conditions:
        if not isinstance(condition, dict) or depth > 20:
            continue
        if isinstance(condition.get("use"), str) and condition["use"] in blocks:
            yield from _flat([blocks[condition["use"]]], blocks, depth + 1)
        elif isinstance(condition.get("all"), list):
            yield from _flat(condition["all"], blocks, depth + 1)
        else:
            yield condition


def _brief(condition):
    text = ", ".join(f"{key} = {value!r}" for key, value in condition.items())
    return "{" + (text if len(text) < 80 else text[:77] + "...") + "}"

"""Fields of rules: lists of values, wildcards, relations, ranges, regular expressions, negations."""

import fnmatch
import re
from functools import lru_cache

from jwcal.core.errors import ReferenceFileError
from jwcal.refs.values import condition

_INEQUALITY = re.compile(r"([><]=?)\s*([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)")


def condition_field(field):
    """One field of a rule of Match in the form in which it is compared."""
    if isinstance(field, tuple | list):
        return "|".join(condition(value) for value in field)
    if not isinstance(field, str):
        return condition(field)
    if (field[:1], field[-1:]) in (("{", "}"), ("(", ")")):
        return field
    if "|" in field:
        return "|".join(condition(value) for value in alternatives(field))
    return condition(field)


def is_special(text):
    """Whether a field is an expression: literal, regular expression, relation, range or negation."""
    text = text.upper()
    return (text.startswith(("{", "(", "#")) and text.endswith(("}", ")", "#"))) or text.startswith(
        ("BETWEEN", "NOT")
    )


def alternatives(text):
    """Values of a field such as "A|B", sorted; an expression is its own only value."""
    if "|" in text and not is_special(text):
        return sorted(part.strip() for part in text.split("|") if part.strip())
    return [text]


@lru_cache(maxsize=65536)
def matcher(pattern):
    """Return a function of a value: 1 for a match, 0 for do not care, -1 for none."""
    upper = pattern.upper()
    if pattern.startswith("(") and pattern.endswith(")"):
        return _regular(pattern[1:-1], pattern[1:-1])
    if pattern.startswith("{") and pattern.endswith("}"):
        return _plain(pattern[1:-1])
    if pattern.startswith("#") and pattern.endswith("#"):
        if " AND " in upper:
            return _both(upper, "AND")
        return _both(upper, "OR") if " OR " in upper else matcher(upper[1:-1])
    if upper.startswith("BETWEEN"):
        return _range(pattern)
    if upper.startswith("NOT "):
        inner = matcher(pattern[4:].strip())
        return lambda value: -inner(value)
    if "|" in pattern or "*" in pattern:
        return _any_of(alternatives(pattern))
    if pattern == "N/A":
        return lambda _: 0
    if pattern.startswith((">", "<")):
        return _inequality(pattern)
    return _plain(pattern)


def _wild(literal_text, test):
    """Matcher for which a value of * always matches and one of N/A never matters."""

    def match(value):
        if value in (literal_text, "*"):
            return 1
        if value == "N/A":
            return 0
        return 1 if test(value) else -1

    return match


def _plain(text):
    return _wild(text, lambda _: False)


def _regular(source, text):
    try:
        pattern = re.compile(source)
    except re.error as exc:
        raise ReferenceFileError(f"rule field ({source}) is no regular expression: {exc}") from None
    return _wild(text, pattern.match)


def _any_of(parts):
    if not any(c in part for part in parts for c in "*?["):
        return _wild(None, frozenset(parts).__contains__)
    source = "^(" + "|".join(fnmatch.translate(part) for part in parts) + ")$"
    return _regular(source, source)


def _inequality(text):
    found = _INEQUALITY.match(text)
    if found is None:
        raise ReferenceFileError(f"rule field {text!r} is no relation")
    operator, limit = found[1], float(found[2])

    def test(value):
        try:
            number = float(value)
        except ValueError:
            return False
        if operator == ">":
            return number > limit
        if operator == "<":
            return number < limit
        return number >= limit if operator == ">=" else number <= limit

    return _wild(text, test)


def _both(text, operator):
    inner = text.strip()[1:-1] if text.strip().startswith("#") else text
    first, second, *_ = (matcher(part.strip()) for part in inner.split(operator))

    def test(value):
        value = value.upper()
        if operator == "AND":
            return first(value) == 1 and second(value) == 1
        return first(value) == 1 or second(value) == 1

    found = _wild(text, test)
    return lambda value: found(value.upper())


def _range(text):
    parts = text.split()
    try:
        if len(parts) != 3 or not float(parts[1]) <= float(parts[2]):
            raise ValueError
    except ValueError:
        raise ReferenceFileError(f"rule field {text!r} should be 'between lower_bound upper_bound'") from None
    return _both(f">={parts[1]} AND <{parts[2]}", "AND")

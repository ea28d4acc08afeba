"""Match a header with compiled rules: wildcards, precedence, ties, dates and versions."""

import bisect
import math
import struct
from functools import lru_cache

from jwcal.core.errors import ReferenceFileError
from jwcal.refs import expression
from jwcal.refs.patterns import alternatives, is_special, matcher
from jwcal.refs.values import (
    NA_VALUES,
    OMIT_VALUES,
    UNDEFINED,
    condition,
    format_time,
    parse_time,
    version_key,
)

FILE, NOT_APPLICABLE, OMITTED, REFUSED = "file", "n/a", "omitted", "refused"

_REMEMBERED = 4096
# Negations and substitutions of a value one after the other; those that go on for ever give no value.
_LONGEST_CHAIN = 100


class NoMatchError(LookupError):
    """No rule fits; rules of less weight may."""


class RefusedError(ValueError):
    """The header cannot be judged by these rules."""


class Answer:
    """What the rules say about one reference type.

    Attributes
    ----------
    state : str
        "file", "n/a", "omitted" or "refused".
    files : str, list or dict or None
        Name of the file; several where the rules choose several.
    reason : str
        Why, if it is no file.
    """

    __slots__ = ("files", "reason", "state")

    def __init__(self, state, files=None, reason=""):
        self.state, self.files, self.reason = state, files, reason

    def __repr__(self):
        return f"Answer({self.state!r}, {self.files!r}, {self.reason!r})"


class Rules:
    """Compiled rules of one reference type.

    Parameters
    ----------
    compiled : dict
        What `jwcal.refs.compile.compile_rules` gives.
    keys : sequence of str
        Keywords of all headers that will come: those of all types of the instrument.
    """

    def __init__(self, compiled, keys=None):
        self.kind = compiled["kind"]
        self.label = compiled["label"]
        self.keys = compiled["keys"]
        self.required = compiled["required"]
        self.merge = compiled["merge"]
        self.substitutions = compiled["substitutions"]
        self.relevance, self.omit = compiled["relevance"], compiled["omit"]
        self.parkey_relevance = compiled["parkey_relevance"]
        self.texts = compiled["texts"]
        self.root = Node(compiled["selector"], self)
        self._seen: dict = {}
        conditions = [self.relevance, self.omit, *(tree for _, tree in self.parkey_relevance)]
        self.names = sorted(set().union(*(expression.names(tree) for tree in conditions)))
        matched = self.root.parameters if self.root.name == "Match" else ()
        self._first = [
            k
            for k in dict.fromkeys([*self.keys, *(keys or ())])
            if k in matched or k in self.names or k.replace(".", "_") in self.names
        ]

    def answer(self, header):
        """Return what the rules say about a header.

        Parameters
        ----------
        header : dict
            Conditioned values by keyword of the rules; a keyword that is missing is UNDEFINED.

        Returns
        -------
        Answer
        """
        key = tuple([header.get(k, UNDEFINED) for k in self._first])
        plan = self._seen.get(key)
        if plan is None:
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            plan = self._seen[key] = self._plan(header)
        if type(plan) is Answer:
            return plan
        groups, irrelevant = plan
        if irrelevant:
            header = {**header, **dict.fromkeys(irrelevant, "N/A")}
        try:
            found = self.root.choose_from(groups, header)
        except (NoMatchError, RefusedError) as exc:
            return self._refused(exc)
        return _answer_of(found)

    def _refused(self, exc):
        if self.required:
            return Answer(REFUSED, reason=str(exc))
        return Answer(NOT_APPLICABLE, reason=f"not required, and {exc}")

    def _plan(self, header):
        """Everything that does not depend on dates: an answer, or the rules that fit by weight."""
        state = self.relevant(header)
        if state is not None:
            return state
        try:
            irrelevant = self.irrelevant(header)
        except (ValueError, TypeError) as exc:
            return Answer(REFUSED, reason=f"condition of a keyword: {exc}")
        if irrelevant:
            header = {**header, **dict.fromkeys(irrelevant, "N/A")}
        if self.root.name != "Match":
            return (), irrelevant
        try:
            groups = self.root.candidates(header)
        except RefusedError as exc:
            return self._refused(exc)
        return groups, irrelevant

    def relevant(self, header):
        """Answer of the conditions on the whole type; None if it applies."""
        values = dotless(header)
        if self.truth(self.omit, values, otherwise=False):
            return Answer(OMITTED, reason="rmap_omit applies")
        if not self.truth(self.relevance, values, otherwise=True):
            return Answer(NOT_APPLICABLE, reason="rmap_relevance does not apply")
        return None

    @staticmethod
    def truth(tree, values, otherwise):
        """Truth of a condition; one that cannot be evaluated counts as it does officially."""
        try:
            return bool(expression.evaluate(tree, values))
        except (ValueError, TypeError):
            return otherwise

    def irrelevant(self, header):
        """Keywords that do not matter for this header."""
        if not self.parkey_relevance:
            return ()
        values = dotless({**dict.fromkeys(self.keys, UNDEFINED), **header})
        return tuple(k for k, tree in self.parkey_relevance if not expression.evaluate(tree, values))


def dotless(header):
    """Header with underscores for the dots of its keywords, beside those with dots."""
    return {**header, **{k.replace(".", "_"): v for k, v in header.items()}}


def _answer_of(found):
    if isinstance(found, str):
        if found in NA_VALUES:
            return Answer(NOT_APPLICABLE, reason="the rule says so")
        if found in OMIT_VALUES:
            return Answer(OMITTED, reason="the rule says so")
    return Answer(FILE, found)


class Node:
    """One compiled selector.

    Parameters
    ----------
    compiled : list
        Name, keywords, keys, choices and, for Match, valid values.
    rules : Rules
        What it belongs to.
    """

    def __init__(self, compiled, rules):
        self.name, self.parameters, self.keys, choices = compiled[:4]
        self.rules = rules
        self.valid = compiled[4] if self.name == "Match" else ()
        self._raw = choices
        if self.name == "VersionAfter":
            self.keys = [tuple(key) for key in self.keys]

    def choice(self, place):
        """Choice of one key: a Node, a file name, or a list or dictionary of them."""
        found = self._raw[place]
        if type(found) is list:
            found = self._raw[place] = Node(found, self.rules)
        return found["files"] if type(found) is dict else found

    def choices(self):
        """All choices in the order of the keys."""
        return [self.choice(place) for place in range(len(self.keys))]

    def choose(self, header):
        """Find the choice for a header, all levels down.

        Raises
        ------
        NoMatchError, RefusedError
        """
        if self.name == "Match":
            return self.choose_from(self.candidates(header), header)
        if self.name == "Bracket":
            below, above = self.bracket(header)
            first = self._descend(self.choice(below), header)
            return [first, first if above == below else self._descend(self.choice(above), header)]
        return self._descend(self.choice(self.place(header)), header)

    def place(self, header):
        """Place of the one key that holds for a header; not for Match and Bracket."""
        if self.name in ("UseAfter", "VersionAfter"):
            when = self.time(header) if self.name == "UseAfter" else self._version(header)
            place = bisect.bisect_right(self.keys, when) - 1
            if place < 0:
                raise NoMatchError(f"nothing to use at {_written(when)}")
            return place
        if self.name == "ClosestTime":
            return self._closest(self.time(header))
        if self.name == "GeometricallyNearest":
            return self._nearest(self._number(header))
        return self._relation(header)

    def _descend(self, choice, header):
        if type(choice) is not Node:
            return choice
        try:
            return choice.choose(header)
        except NoMatchError as exc:
            raise NoMatchError(f"all rules fail, last: {exc}") from None

    # -- Match

    def candidates(self, header):
        """Rules that fit, as lists of places of equal weight, the heaviest first."""
        values = [header.get(name, UNDEFINED) for name in self.parameters]
        for name, value, valid in zip(self.parameters, values, self.valid, strict=True):
            self.check(name, value, valid)
        remaining = list(range(len(self.keys)))
        weights = [0] * len(self.keys)
        for column, value in enumerate(values):
            known: dict = {}
            kept = []
            for place in remaining:
                pattern = self.keys[place][column]
                status = known.get(pattern)
                if status is None:
                    status = known[pattern] = matcher(pattern)(value)
                if status >= 0:
                    weights[place] += status
                    kept.append(place)
            remaining = kept
            if not remaining:
                return []
        groups: dict = {}
        for place in remaining:
            groups.setdefault(weights[place], []).append(place)
        return [_Group(self, groups[weight], weight) for weight in sorted(groups, reverse=True)]

    def check(self, name, value, valid):
        """Raise RefusedError if the value of a keyword is none the rules could mean."""
        given = value
        for _ in range(_LONGEST_CHAIN):
            if not valid or value in valid or condition(value) in valid or "*" in valid or "N/A" in valid:
                return
            if value.startswith("NOT"):
                value = value[3:].strip()
                continue
            if is_special(value) or value in ("*", "ANY", "N/A"):
                return
            if len(valid) == 1 and ":" in valid[0]:
                if _inside(value, valid[0]):
                    return
                break
            value = self.rules.substitutions.get(name, {}).get(value)
            if not isinstance(value, str):
                break
        shown = ", ".join(valid[:8]) + (", ..." if len(valid) > 8 else "")
        raise RefusedError(f"{name} is {given}, the rules know {shown}")

    def choose_from(self, groups, header):
        """Choice of the first of the groups of equal weight that has one."""
        if self.name != "Match":
            return self.choose(header)
        for group in groups:
            choice = group.choice()
            if type(choice) is not Node:
                return choice
            try:
                return choice.choose(header)
            except NoMatchError:
                continue
        raise NoMatchError("no rule matches")

    # -- values of the header

    def _value(self, header):
        if not self.parameters:
            raise RefusedError(f"{self.name} has no keyword")
        return header.get(self.parameters[0], UNDEFINED)

    def _number(self, header):
        value = self._value(header)
        try:
            return float(value)
        except ValueError:
            raise RefusedError(f"{self.parameters[0]} is {value}, no number") from None

    def time(self, header):
        """Return the time of the header, as the keys are written."""
        parts = []
        for name in self.parameters:
            value = header.get(name, UNDEFINED).strip()
            if value == UNDEFINED:
                raise RefusedError(f"{name} is {UNDEFINED}")
            parts.append(value)
        return _formatted(" ".join(parts).strip())

    def _version(self, header):
        text = ".".join(header.get(name, UNDEFINED) for name in self.parameters)
        version = version_key("|".join(alternatives(text)))
        if version is None:
            raise RefusedError(f"{', '.join(self.parameters)} is {text}, no version")
        return version

    # -- selectors by distance and by relation

    def _closest(self, when):
        try:
            times = [parse_time(key) for key in self.keys]
            now = parse_time(when)
        except ValueError as exc:
            raise RefusedError(str(exc)) from None
        return _least([_single(abs((now - time).total_seconds())) for time in times])

    def _nearest(self, number):
        try:
            keys = [_single(float(key)) for key in self.keys]
        except ValueError:
            raise RefusedError(f"keys of {self.name} are no numbers") from None
        here = _single(number)
        return _least([abs(_single(key - here)) for key in keys])

    def _relation(self, header):
        from jwcal.refs.mapping import literal

        value = self._value(header)
        if value.replace("=", "").strip() != "default":
            self._number(header)
        try:
            version = literal(value)
        except ReferenceFileError:
            raise RefusedError(f"{self.parameters[0]} is {value}, no version") from None
        for place, (relation, key) in enumerate(self.keys):
            if not isinstance(key, int | float):
                raise RefusedError(f"{self.parameters[0]} is {value}, the rules compare {key}")
            if not (key, relation) < (version, "="):
                return place
        raise RefusedError(f"{self.parameters[0]} is {value}, beyond all versions of the rules")

    def bracket(self, header):
        """Places of the keys below and above the number in the header; the same place twice for a hit."""
        number = self._number(header)
        if not self.keys:
            raise RefusedError(f"{self.name} has no rules")
        place = 0
        while place < len(self.keys) and number > self.keys[place]:
            place += 1
        if place == len(self.keys):
            return place - 1, place - 1
        if place == 0 or number == self.keys[place]:
            return place, place
        return place - 1, place


def _inside(value, limits):
    """Whether a value is a number within limits such as "1:20"."""
    try:
        low, high = (float(limit) for limit in limits.split(":"))
        return low <= float(value) <= high
    except ValueError:
        return False


class _Group:
    """Rules of equal weight, merged when they are needed."""

    __slots__ = ("_merged", "node", "places", "weight")

    def __init__(self, node, places, weight):
        self.node, self.places, self.weight = node, places, weight
        self._merged = None

    def choice(self):
        """Return what the rules choose together."""
        if self._merged is None:
            self._merged = self._merge()
        return self._merged

    def _merge(self):
        node = self.node
        choices = [node.choice(place) for place in self.places]
        if len(choices) == 1:
            return choices[0]
        if not node.rules.merge:
            raise RefusedError("more than one rule matches")
        if type(choices[0]) is not Node:
            if any(type(choice) is Node for choice in choices):
                raise RefusedError("rules of equal weight choose files and further rules")
            return choices
        first = choices[0]
        if first.name not in ("UseAfter", "ClosestTime", "VersionAfter"):
            raise RefusedError(f"more than one rule matches, and {first.name} cannot be merged")
        merged: dict = {}
        for choice in choices:
            if type(choice) is not Node or (choice.name == "VersionAfter") != (first.name == "VersionAfter"):
                raise RefusedError("rules of equal weight cannot be merged")
            for key, value in zip(choice.keys, choice.choices(), strict=True):
                if key not in merged:
                    merged[key] = value
                elif type(merged[key]) is not str or type(value) is not str:
                    raise RefusedError("rules of equal weight cannot be merged")
                elif value > merged[key]:
                    merged[key] = value
        keys = sorted(merged)
        chosen = [{"files": c} if type(c) in (list, dict) else c for c in map(merged.get, keys)]
        return Node([first.name, first.parameters, keys, chosen], node.rules)


@lru_cache(maxsize=65536)
def _formatted_or_none(text):
    try:
        return format_time(text)
    except (ValueError, OverflowError):
        return None


def _formatted(text):
    found = _formatted_or_none(text)
    if found is None:
        raise RefusedError(f"{text!r} is no date and time")
    return found


def _single(value):
    """Value rounded to 32 bits, in which the official client takes differences."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _least(distances):
    """Place of the first least distance; one that is no number comes before all."""
    if not distances:
        raise RefusedError("there are no rules")
    for place, distance in enumerate(distances):
        if math.isnan(distance):
            return place
    return distances.index(min(distances))


def _written(when):
    return ".".join(map(str, when)) if isinstance(when, tuple) else when

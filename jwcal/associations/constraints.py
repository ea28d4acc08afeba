"""Conditions of a rule, turned from tables into functions of a row and a group.

Every condition has three faces.  ``test(row, group)`` decides and records what the group is now bound
to.  ``always(row, closed)`` decides without a group where that is possible: True, False, or None for
"depends on the group"; `closed` says that the group has its science exposure.  ``keys(row, out)`` lists
the columns in which the row has to agree with a group, so that groups are found by hashing.  Where the type
of an exposure, and of its pointing, rule it out, ``never(row)`` says so without looking at anything else.
"""

import re

from jwcal.associations.pool import EMPTY

_OPEN = lambda _row, _closed: None  # noqa: E731
_NO_KEYS = lambda _row, _out: None  # noqa: E731
_EVER = lambda _row: False  # noqa: E731


class Condition:
    """A compiled condition; see the module."""

    def __init__(self, test, always=_OPEN, keys=_NO_KEYS, never=_EVER):
        self.test = test
        self.always = always
        self.keys = keys
        self.never = never
        self.table: dict = {}
        self.parts: list[Condition] = []
        self.ways: list[Condition] = []
        self.ours = False


def _all(parts):
    tests = [part.test for part in parts]

    def test(row, group):
        mark = len(group.again)
        for each in tests:
            if not each(row, group):
                del group.again[mark:]
                return False
        return bool(tests)

    def always(row, closed):
        found: bool | None = True
        for part in parts:
            value = part.always(row, closed)
            if value is False:
                return False
            if value is None:
                found = None
        return found

    def keys(row, out):
        for part in parts:
            part.keys(row, out)

    made = Condition(test, always, keys, lambda row: any(part.never(row) for part in parts))
    made.parts = parts
    made.ours = any(part.ours for part in parts)
    return made


def _any(parts):
    tests = [part.test for part in parts]

    def test(row, group):
        return any(each(row, group) for each in tests)

    def always(row, closed):
        found: bool | None = False
        for part in parts:
            value = part.always(row, closed)
            if value is True:
                return True
            if value is None:
                found = None
        return found

    def keys(row, out):
        left = [part for part in parts if part.always(row, False) is not False]
        if len(left) == 1:
            left[0].keys(row, out)

    made = Condition(test, always, keys, lambda row: all(part.never(row) for part in parts))
    # For explanations an alternative is one thing, but for that which holds the rule itself.
    made.parts = [part for part in parts if part.ours]
    made.ways = parts
    return made


def _not(part):
    def test(row, group):
        return not part.test(row, group)

    def always(row, closed):
        value = part.always(row, closed)
        return None if value is None else not value

    return Condition(test, always)


class Compiler:
    """Turns the conditions of a rule into functions, for pools with given columns.

    Parameters
    ----------
    tables : dict
        Tables of `rules/tables.toml`.
    blocks : dict
        Conditions that rules share, by name.
    at : dict of str to int
        Position of each column in a row.
    roles : Roles
        How exposures get their role.
    """

    def __init__(self, tables, blocks, at, roles):
        self.tables = tables
        self.blocks = blocks
        self.at = at
        self.roles = roles
        self.valued = set(roles.columns)
        self.present = set()
        self.candidate_patterns = {}

    def compile(self, rule):
        """Compile a rule: sets its condition, the number of its slots, and the slots by name."""
        self.rule = rule
        self.slots = 0
        self.named: dict[str, list[int]] = {}
        self.remembers = False
        self.body = rule.conditions
        frame = self.blocks[rule.frame] if rule.frame else {"rule": True}
        condition = self.condition(frame)
        return condition, self.slots, self.named

    def _slot(self, name):
        slot = self.slots
        self.slots += 1
        if name:
            self.named.setdefault(name, []).append(slot)
        return slot

    def _list(self, items):
        return [self.condition(item) for item in items]

    def condition(self, table):
        """Compile one condition."""
        verb = next(word for word in VERBS if word in table)
        made = getattr(self, f"_do_{verb}")(table)
        again = table.get("again")
        if again and verb in ("any", "all"):
            _and_again(made, again)
        if verb != "use":
            made.table = table
        return made

    def _do_all(self, table):
        return _all(self._list(table["all"]))

    def _do_any(self, table):
        return _any(self._list(table["any"]))

    def _do_none(self, table):
        return _not(_any(self._list(table["none"])))

    def _do_not_all(self, table):
        return _not(_all(self._list(table["not_all"])))

    def _do_use(self, table):
        return self.condition(self.blocks[table["use"]])

    def _do_rule(self, _):
        made = _all(self._list(self.body))
        made.ours = True
        return made

    def _do_lacks(self, table):
        column = self.at.get(table["lacks"])
        self.present.update(() if column is None else (column,))
        if column is None:
            return Condition(lambda _row, _group: True, lambda _row, _closed: True)

        def test(row, group):
            return row[column] in EMPTY

        return Condition(test, lambda row, _closed: row[column] in EMPTY)

    def _do_has(self, table):
        return self._attribute(table, _columns(table["has"]), bind=False)

    def _do_same(self, table):
        return self._attribute(table, _columns(table["same"]), bind=True)

    def _attribute(self, table, sources, bind):
        columns = [self.at[name] for name in sources if name in self.at]
        slot = self._slot(table.get("name", sources[0]))
        optional = table.get("optional", False)
        again = table.get("again")
        pattern = table.get("like")
        matches = _matcher(pattern) if pattern is not None else None
        (self.present if pattern is None else self.valued).update(columns)
        if sources == ["asn_candidate"] and matches:
            self.candidate_patterns[str(pattern)] = matches
        literal = pattern is not None and isinstance(pattern, str) and re.fullmatch(r"[\w-]+", pattern)
        skips = self._skips(table)

        def first(row):
            for column in columns:
                if row[column] not in EMPTY:
                    return column
            return None

        def test(row, group):
            if skips is not None and skips(row):
                _offer(group, again)
                return True
            value = None
            for column in columns if group.source[slot] is None else (group.source[slot],):
                if row[column] not in EMPTY:
                    value = row[column]
                    break
            if value is None:
                return optional
            bound = group.bound[slot]
            if bound is not None:
                if bound != value:
                    return False
            else:
                if matches is not None and not matches(value):
                    return False
                if bind:
                    group.bind(slot, value, column)
                else:
                    group.note(slot, value)
            _offer(group, again)
            return True

        def always(row, closed):
            if skips is not None and skips(row):
                return True
            column = first(row)
            if column is None:
                return optional
            if matches is None:
                return None if bind else True
            if len(columns) > 1:
                return None
            if not matches(row[column]):
                return False
            return True if literal or not bind else None

        def keys(row, out):
            if bind and columns and not (skips and skips(row)) and row[columns[0]] not in EMPTY:
                out.append((slot, columns[0]))

        if sources != ["exp_type"] or matches is None or optional or skips is not None or not columns:
            return Condition(test, always, keys)
        kind = columns[0]
        return Condition(test, always, keys, lambda row: row[kind] in EMPTY or not matches(row[kind]))

    def _skips(self, table):
        role = self.roles.of(self.rule)
        if "unless_role" in table:
            return lambda row: role(row, None) == table["unless_role"]
        if "only_role" in table:
            return lambda row: role(row, None) != table["only_role"]
        return None

    def _do_check(self, table):
        check = self.roles.checks[table["check"]]
        wanted = table.get("is", True)
        return Condition(lambda row, _group: check(row) == wanted, lambda row, _closed: check(row) == wanted)

    def _do_role(self, table):
        wanted, role = table["role"], self.roles.of(self.rule)
        if not self.roles.fixed(self.rule):
            return Condition(lambda row, group: role(row, group) == wanted)
        return Condition(
            lambda row, group: role(row, group) == wanted, lambda row, _closed: role(row, None) == wanted
        )

    def _do_role_not(self, table):
        return _not(self._do_role({"role": table["role_not"]}))

    def _do_acquisition(self, _):
        base = self.roles.base
        return Condition(
            lambda row, _group: base(row) == "target_acquisition",
            lambda row, _closed: base(row) == "target_acquisition",
            never=lambda row: base(row) != "target_acquisition",
        )

    def _do_one_science(self, table):
        role = self.roles.of(self.rule)
        fixed = self.roles.fixed(self.rule)
        again = table.get("again")

        def test(row, group):
            if role(row, group) == "science" and not group.science:
                _offer(group, again and again + "*")
                return True
            return False

        def always(row, closed):
            if closed or (fixed and role(row, None) != "science"):
                return False
            return None

        return Condition(test, always)

    def _do_last_role_not(self, table):
        wanted = table["last_role_not"]
        self.remembers = True
        return Condition(lambda _row, group: group.last_role != wanted)

    def _do_constant(self, table):
        slot = self._slot(table.get("name"))
        value = table["constant"]

        def test(row, group):
            if group.bound[slot] is None:
                group.bind(slot, value, None)
            return True

        return Condition(test, lambda _row, _closed: True)

    def _do_one_of_noted(self, table):
        slots = self.named[table["one_of_noted"]]
        column = self.at.get(table["one_of_noted"])
        if column is None:
            return Condition(lambda _row, _group: False, lambda _row, _closed: False)

        def test(row, group):
            value = row[column]
            return value not in EMPTY and value in group.noted.get(slots[0], ())

        # A slot below zero stands for the values noted in it.
        return Condition(test, keys=lambda _row, out: out.append((~slots[0], column)))

    def _do_differs(self, table):
        other = self.named[table["differs"]][0]
        column = self.at.get(table["differs"])
        slot = self._slot(None)
        self.named["differs"] = [slot]
        if column is None:
            return Condition(lambda _row, _group: False, lambda _row, _closed: False)

        def test(row, group):
            value = row[column]
            bound = group.bound[slot]
            if value in EMPTY:
                passed = False
            elif bound is None:
                # Containing the text counts as the same: position 11 does not differ from position 1.
                passed = str(group.bound[other] or "none") not in value
            else:
                passed = bound == value
            group.flag(passed)
            if passed and bound is None:
                group.bind(slot, value, column)
            return passed

        return Condition(test)

    def _do_stays_free(self, _):
        def test(row, group):
            group.release()
            return True

        return Condition(test)

    def _do_candidate_not(self, table):
        wanted = table["candidate_not"]
        return Condition(lambda _row, group: not group.named or group.kind != wanted)


VERBS = tuple(name[4:] for name in vars(Compiler) if name.startswith("_do_"))


def _columns(given):
    return [given] if isinstance(given, str) else list(given)


def _matcher(pattern):
    """Match of official patterns: alternatives between ``^`` and ``$``, upper case equal to lower."""
    text = pattern if isinstance(pattern, str) else "|".join(pattern)
    match = re.compile(f"^{text}$", re.IGNORECASE).match
    known: dict[str, bool] = {}

    def matches(value):
        found = known.get(value)
        if found is None:
            if len(known) > 10000:
                known.clear()
            found = known[value] = match(value) is not None
        return found

    return matches


def _offer(group, again):
    if again:
        group.again.append(again)


def _and_again(made, again):
    inner = made.test

    def test(row, group):
        if not inner(row, group):
            return False
        # Marked: such rows queue apart from those that a single condition asks for.
        group.again.append(f"{again}*")
        return True

    made.test = test

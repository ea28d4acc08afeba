"""Exposures that a rule has put together so far, and how rows find them."""

from jwcal.associations.names import member_file
from jwcal.associations.pool import EMPTY


class Member:
    """One file of an association.

    Attributes
    ----------
    file : str
        Its name.
    role : str
        Such as "science".
    row : tuple of str or None
        The exposure it comes from; None for products of other associations.
    """

    __slots__ = ("file", "role", "row")

    def __init__(self, file, role, row=None):
        self.file = file
        self.role = role
        self.row = row


class Group:
    """What a rule has put together, and the values its members have to share.

    Attributes
    ----------
    bound, source : list
        By slot of the rule: the value all members share, and the column it came from.
    noted : dict of int to dict
        By slot: values seen where members need not agree.
    members : list of Member
        In the order in which they joined.
    science : bool
        Whether a science exposure is among them.
    """

    __slots__ = (
        "again", "bound", "candidate", "files", "flagged", "free", "kind", "last_role", "log", "members", "named",
        "names", "noted", "program", "rule", "science", "source",
    )  # fmt: skip

    def __init__(self, compiled, kind):
        self.rule = compiled.rule
        self.names = compiled.named
        self.bound = [None] * compiled.slots
        self.source = [None] * compiled.slots
        self.noted = {}
        self.members = []
        self.files = set()
        self.again = []
        self.log = []
        self.science = False
        self.named = False
        self.flagged = False
        self.free = False
        self.last_role = None
        self.kind = kind
        self.candidate = None
        self.program = None

    def bind(self, slot, value, column):
        """Bind a slot to a value from a column."""
        self.log.append((0, slot, self.bound[slot], self.source[slot]))
        self.bound[slot] = value
        self.source[slot] = column

    def note(self, slot, value):
        """Remember a value seen in a slot."""
        seen = self.noted.setdefault(slot, {})
        if value not in seen:
            seen[value] = None
            self.log.append((1, slot, value, None))

    def flag(self, state):
        """Remember that the row differs from the group's science exposure."""
        self.log.append((2, self.flagged, None, None))
        self.flagged = state

    def release(self):
        """Let the members of this group start groups of their own."""
        self.log.append((3, self.free, None, None))
        self.free = True

    def undo(self):
        """Forget what the last test recorded."""
        for what, first, second, third in reversed(self.log):
            if what == 0:
                self.bound[first], self.source[first] = second, third
            elif what == 1:
                del self.noted[first][second]
            elif what == 2:
                self.flagged = first
            else:
                self.free = first

    def common(self, name):
        """Value (str) of the first slot of a name that has one, or None."""
        for slot in self.names.get(name, ()):
            if self.bound[slot] is not None:
                return self.bound[slot]
        return None

    def values(self, name):
        """Values (list of str) of the first slot of a name."""
        for slot in self.names.get(name, ())[:1]:
            return [self.bound[slot]] if self.bound[slot] is not None else list(self.noted.get(slot, ()))
        return []

    def of_role(self, role):
        """Members (list) of a role."""
        return [member for member in self.members if member.role == role]


class RuleRun:
    """Groups that one rule makes of the rows of one candidate.

    Parameters
    ----------
    compiled : CompiledRule
        The rule.
    maker : Maker
        Gives members their names.
    kind : str
        Kind of the candidate.
    """

    def __init__(self, compiled, maker, kind):
        self.compiled = compiled
        self.maker = maker
        self.kind = kind
        self.groups: list[Group] = []
        self.open: list[Group] = []
        self.files: set[str] = set()
        self.indices: dict[tuple, tuple[dict[tuple, list], list]] = {}
        self.tracked: set[int] = set()
        self.again: dict[str, list] = {}
        self.late: dict[str, list] = {}

    def visit(self, row, keys, closed_too, create):
        """Offer a row to the groups it may belong to, and let it start one if it belongs to none.

        Parameters
        ----------
        row : tuple of str
            The exposure.
        keys : tuple of (int, int)
            Slots and columns in which it has to agree with a group.
        closed_too : bool
            Groups that have their science exposure may take it.
        create : bool
            It may start a group.

        Returns
        -------
        Group or None
            The group it started.
        """
        name = row[self.maker.file_column]
        found = name in self.files
        if closed_too:
            for group in self._near(row, keys):
                if name not in group.files and self._add(row, group):
                    found = True
        elif self.open:
            self.open = [group for group in self.open if not group.science]
            for group in self.open:
                if name not in group.files and self._add(row, group):
                    found = True
        if found or not create:
            if found:
                self.files.add(name)
            return None
        group = Group(self.compiled, self.kind)
        if not self._add(row, group, new=True):
            return None
        self.files.add(name)
        self.groups.append(group)
        if not group.science:
            self.open.append(group)
        for keys_of_index, index in self.indices.items():
            self._file(keys_of_index, index, group)
        return group

    def _near(self, row, keys):
        index = self.indices.get(keys)
        if index is None:
            index = self.indices[keys] = ({}, [])
            self.tracked.update(~slot for slot, _ in keys if slot < 0)
            for group in self.groups:
                self._file(keys, index, group)
        exact = index[0].get(tuple([row[column] for _, column in keys]))
        if exact is None:
            return index[1]
        return exact + index[1] if index[1] else exact

    @staticmethod
    def _file(keys, index, group, only=None):
        bound, source = group.bound, group.source
        values: list[tuple] = [()]
        for slot, column in keys:
            if slot < 0:
                seen = group.noted.get(~slot, ()) if only is None else (only,)
                values = [(*each, value) for each in values for value in seen]
            elif source[slot] == column:
                values = [(*each, bound[slot]) for each in values]
            else:
                if only is None:
                    index[1].append(group)
                return
        for each in values:
            index[0].setdefault(each, []).append(group)

    def _add(self, row, group, new=False):
        group.log.clear()
        group.again.clear()
        if not self.compiled.test(row, group):
            group.undo()
            return False
        group.named = True
        for again in group.again:
            queue = self.late if again.startswith("last") else self.again
            queue.setdefault(again, []).append(row)
        self.maker.add(row, group)
        if self.tracked and not new:
            self._follow(group)
        return not group.free

    def _follow(self, group):
        """File a group under the values it has noted just now."""
        for what, slot, value, _ in group.log:
            if what == 1 and slot in self.tracked:
                for keys, index in self.indices.items():
                    if any(each == ~slot for each, _ in keys):
                        self._file(keys, index, group, value)


class Maker:
    """Makes members of rows.

    Parameters
    ----------
    roles : Roles
        Roles and properties of exposures.
    at : dict of str to int
        Position of each column in a row.
    """

    def __init__(self, roles, at):
        self.roles = roles
        self.at = at
        self.file_column = at["filename"]
        self._program = at["program"]

    def add(self, row, group):
        """Make a row a member of a group, under the name and role it has there."""
        roles, rule = self.roles, group.rule
        role = roles.of(rule)(row, group)
        series = rule.level == 2 and group.common("is_tso") == "t"
        apart = roles.keeps_integrations(row, series, rule.integrations == "by exposure type")
        raw = row[self.file_column]
        if rule.level == 2:
            ending = "rateints" if apart else "rate"
        else:
            ending = "x1d" if role == "background" else ("cal" if roles.has_cal(row) else "rate")
            ending += "ints" if apart else ""
        file = member_file(raw, ending)
        if group.program is None:
            group.program = f"{row[self._program]:0>5s}"
        if raw in group.files:
            return
        group.files.add(raw)
        group.members.append(Member(file, role, row))
        if role == "science":
            group.science = True

    def value(self, row, column):
        """Cell (str) of a row, or None if the pool has no such column."""
        at = self.at.get(column)
        return None if at is None else row[at]

    def number(self, row, *columns):
        """First of some columns that is a whole number (int), or None."""
        for column in columns:
            at = self.at.get(column)
            if at is not None:
                try:
                    return int(row[at])
                except ValueError:
                    continue
        return None

    def given(self, row, *columns):
        """First of some cells that is not empty (str), or None."""
        for column in columns:
            at = self.at.get(column)
            if at is not None and row[at] not in EMPTY:
                return row[at]
        return None

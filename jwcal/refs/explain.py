"""Tell why the rules chose a reference file, and why not another."""

from jwcal.refs.patterns import matcher
from jwcal.refs.rules import FILE, Node, NoMatchError, RefusedError
from jwcal.refs.values import UNDEFINED

SHOWN = 3


def explain(instrument, kind, header, full=False):
    """Explain the answer for one type.

    Parameters
    ----------
    instrument : Instrument
        Rules.
    kind : str
        Reference type in lower case.
    header : dict
        What ``instrument.header`` gave.
    full : bool
        Also tell of what was not chosen.

    Returns
    -------
    dict
        Entries: type, state, file (name, list or None), reason, and where rules were matched: rmap,
        rule (field by FITS keyword), weight, use (key by selector below), and with `full` values
        (what the header says), others (file, rule and why not, the nearest first).
    """
    answer = instrument.answer(kind, header)
    out = {"type": kind, "state": answer.state, "file": answer.files, "reason": answer.reason}
    if instrument.types.get(kind) != "rules":
        return out
    rules = instrument.rules(kind)
    out["rmap"] = rules.label
    told = _Teller(instrument, rules, header)
    if rules.relevant(header) is None:
        told.find()
    out.update(told.found if answer.state == FILE or told.found else {})
    if full:
        out["values"] = told.values()
        out["conditions"] = dict(rules.texts)
        out["others"] = told.others()
    return out


def rule_text(told):
    """One line for the rule that matched, or for why there is no file."""
    if told["state"] != FILE:
        return told["reason"]
    fields = " ".join(f"{k}={v}" for k, v in told.get("rule", {}).items())
    uses = " ".join(f"{_SINCE.get(name, name)} {key}" for name, key in told.get("use", ()))
    return " ".join(part for part in (fields, uses) if part) or "the only rule"


_SINCE = {"UseAfter": "from", "ClosestTime": "nearest", "VersionAfter": "from version"}


class _Teller:
    """Follows the rules once more, taking notes."""

    def __init__(self, instrument, rules, header):
        self.instrument, self.rules = instrument, rules
        self.header = header
        self.found: dict = {}
        self.groups: list = []
        self.taken = None
        self.dated: list = []

    def find(self):
        """Follow the rules down to the choice."""
        try:
            irrelevant = self.rules.irrelevant(self.header)
            self.header = {**self.header, **dict.fromkeys(irrelevant, "N/A")}
            if self.rules.root.name == "Match":
                self.groups = self.rules.root.candidates(self.header)
                self._first_group()
            else:
                self.found["use"] = self._down(self.rules.root)
        except (NoMatchError, RefusedError, TypeError, ValueError):
            return

    def _first_group(self):
        for number, group in enumerate(self.groups):
            choice = group.choice()
            uses = []
            if isinstance(choice, Node):
                try:
                    uses = self._down(choice)
                except NoMatchError:
                    continue
            self.taken = number
            self.found = {"rule": self._fields(group.places[0]), "weight": group.weight, "use": uses}
            if len(group.places) > 1:
                self.found["merged"] = [self._fields(place) for place in group.places]
            return

    def _down(self, node):
        """Keys taken below a rule."""
        if node.name == "Match":
            node.choose(self.header)
            return [["Match", "a rule within"]]
        if node.name == "Bracket":
            keys = [node.keys[place] for place in node.bracket(self.header)]
            return [["Bracket", " to ".join(map(str, keys))]]
        place = node.place(self.header)
        key = node.keys[place]
        written = ".".join(map(str, key)) if isinstance(key, tuple) else _relation(key)
        if node.name == "UseAfter":
            self.dated.append((node, place))
        choice = node.choice(place)
        return [[node.name, written], *(self._down(choice) if isinstance(choice, Node) else ())]

    def _fields(self, place):
        root = self.rules.root
        return {self.name(k): v for k, v in zip(root.parameters, root.keys[place], strict=True)}

    def name(self, key):
        """FITS keyword of a keyword of the rules."""
        return self.instrument.fits_name(key)

    def values(self):
        """Return what the header says for the keywords of the rules."""
        return {self.name(k): self.header.get(k, UNDEFINED) for k in dict.fromkeys(self.rules.keys)}

    def others(self):
        """Files that were not chosen, the nearest first."""
        out = []
        for node, place in self.dated:
            when = node.time(self.header)
            if place + 1 < len(node.keys):
                out.append(
                    _other(node, place + 1, f"for exposures from {node.keys[place + 1]}, this is of {when}")
                )
            if place > 0:
                out.append(_other(node, place - 1, f"from {node.keys[place - 1]}, older than the one taken"))
        if self.rules.root.name == "Match":
            out += self._lighter() + self._rejected()
        return [other for other in out if other["file"]][: 2 * SHOWN]

    def _lighter(self):
        out = []
        for number, group in enumerate(self.groups):
            if self.taken is not None and number > self.taken:
                why = f"fits too, but only {group.weight} of its fields count, not {self.groups[self.taken].weight}"
            elif number != self.taken:
                why = "fits better, but has nothing for this date"
            else:
                continue
            out.append({"file": _names(group.choice()), "rule": self._fields(group.places[0]), "why": why})
        return out[:SHOWN]

    def _rejected(self):
        root = self.rules.root
        values = [self.header.get(name, UNDEFINED) for name in root.parameters]
        rows = []
        for place, fields in enumerate(root.keys):
            wrong = [i for i, field in enumerate(fields) if matcher(field)(values[i]) < 0]
            if wrong:
                rows.append((len(wrong), place, wrong))
        rows.sort()
        out = []
        for _, place, wrong in rows[:SHOWN]:
            why = ", ".join(
                f"{self.name(root.parameters[i])} {root.keys[place][i]}, not {values[i]}" for i in wrong
            )
            out.append({"file": _names(root.choice(place)), "rule": self._fields(place), "why": f"for {why}"})
        return out


def _relation(key):
    return f"{key[1]} {key[0]}" if isinstance(key, list) else str(key)


def _other(node, place, why):
    return {"file": _names(node.choice(place)), "rule": {}, "why": why}


def _names(choice):
    """Name of the file that a choice leads to; the newest where there are several."""
    while isinstance(choice, Node):
        if not choice.keys:
            return None
        choice = choice.choice(len(choice.keys) - 1)
    return choice

"""Associations of a pool: its candidates one after the other, then what goes beyond them."""

import ast
import re

from jwcal.associations.constraints import Compiler
from jwcal.associations.finish import Finisher
from jwcal.associations.groups import Maker, RuleRun
from jwcal.associations.names import Endings
from jwcal.associations.pool import EMPTY
from jwcal.associations.prune import prune
from jwcal.associations.roles import Roles
from jwcal.core.errors import InputError

DISCOVERED = "a3001"
_PLAIN = re.compile(r"[a-z]\d{3,6}")


class CompiledRule:
    """A rule ready for pools with given columns."""

    def __init__(self, rule, compiler):
        self.rule = rule
        self.condition, self.slots, self.named = compiler.compile(rule)
        self.test = self.condition.test
        self.remembers = compiler.remembers


class Generator:
    """Makes associations of the rows of a pool.

    Parameters
    ----------
    pool : Pool
        The exposures.
    rules : RuleSet
        The rules.

    keep_going : bool
        Leave out rows that cannot be used, and say so in `pool.problems`.

    Raises
    ------
    InputError
        If an exposure has no EXP_TYPE, one that is not known, or candidates that cannot be read.
    """

    def __init__(self, pool, rules, keep_going=False):
        pool = _sound(pool, frozenset(rules.tables["exposure_types"]["known"]), keep_going)
        self.pool = pool
        self.rules = rules
        # A row here is the pool's row, then the candidate it is seen under, then its number.
        self.at = dict(pool.at)
        width = len(pool.columns)
        self.own_candidate = pool.at["asn_candidate"]
        self.at["asn_candidate"] = width
        self.number = width + 1
        self.roles = Roles(rules.tables, self.at)
        compiler = Compiler(rules.tables, rules.blocks, self.at, self.roles)
        self.compiled = [CompiledRule(rule, compiler) for rule in rules.rules]
        self._valued = sorted(compiler.valued - {width})
        self._present = sorted(compiler.present - compiler.valued - {width})
        self._direct = list(compiler.candidate_patterns.values())
        self.maker = Maker(self.roles, self.at)
        self.endings = Endings(rules.tables["names"]["endings"])
        self.finisher = Finisher(self.maker, self.endings)
        self._plans: dict[tuple, list] = {}
        self._by_type: dict[tuple, list] = {}
        self._signs: dict[tuple, int] = {}
        self._signed = self._sign()

    def _sign(self):
        """Give rows numbers; rules see rows of one number differ in shared values only."""
        signs, out = self._signs, []
        valued, present = self._valued, self._present
        for row in self.pool.rows:
            key = (tuple([row[c] for c in valued]), tuple([row[c] in EMPTY for c in present]))
            out.append(signs.setdefault(key, len(signs)))
        return out

    # -- candidates

    def candidates(self):
        """Candidates of the pool.

        Returns
        -------
        dict of (str, str) to list of int
            By identifier and kind, kinds in the order in which they appear: the rows that name the
            identifier.
        """
        kinds: dict[str, dict[str, None]] = {}
        texts: dict[str, list[int]] = {}
        for index, row in enumerate(self.pool.rows):
            texts.setdefault(row[self.own_candidate], []).append(index)
        parsed = {text: list(_parsed(text)) for text in texts}
        for text in texts:
            for name, kind in parsed[text]:
                kinds.setdefault(kind, {})[name] = None
        rows: dict[str, list[list[int]]] = {}
        names = {name for found in kinds.values() for name in found}
        for text, inside in _inside(parsed, names):
            for name in inside:
                rows.setdefault(name, []).append(texts[text])
        return {
            (name, kind): sorted(index for part in rows[name] for index in part)
            for kind, found in kinds.items()
            for name in found
        }

    def chosen(self, identifiers=None):
        """Candidates, all or those of some identifiers; with it the identifiers that are not in the pool."""
        found = self.candidates()
        if identifiers is None:
            return found, []
        by_name: dict[str, tuple] = {}
        for key in found:
            by_name.setdefault(key[0], key)
        wanted = [name.lower() for name in identifiers]
        return {by_name[n]: found[by_name[n]] for n in wanted if n in by_name}, [
            n for n in wanted if n not in by_name
        ]

    # -- one candidate

    def groups(self, indices, candidate=None):
        """Group rows, under a candidate or, without one, by what they have in common themselves.

        Parameters
        ----------
        indices : iterable of int
            Rows.
        candidate : (str, str), optional
            Identifier and kind.

        Returns
        -------
        list of Group
            In the order in which they were started; complete or not.
        """
        kind = "discovered" if candidate is None else candidate[1]
        text = None if candidate is None else f"[('{candidate[0]}', '{candidate[1]}')]"
        runs: dict[int, RuleRun] = {}
        made: list = []
        seen: dict[int, tuple] = {}
        late_all: list = []
        for index in indices:
            row = self.pool.rows[index]
            row = (*row, row[self.own_candidate] if text is None else text, index)
            plan = self._plan(row, index, kind)
            seen[index] = plan
            for number, keys, closed_too in plan:
                run = runs.get(number)
                if run is None:
                    run = runs[number] = RuleRun(self.compiled[number], self.maker, kind)
                group = run.visit(row, keys, closed_too, True)
                if group is not None:
                    made.append(group)
            if self.roles.base(row) == "target_acquisition":
                late_all.append(row)
        for number, run in runs.items():
            self._again(number, run, seen, late_all)
        name = DISCOVERED if candidate is None else candidate[0]
        for group in made:
            group.candidate = name
        return made

    def _again(self, number, run, seen, acquisitions):
        """Offer rows again to the groups there are now."""
        queues, own = list(run.again.values()), list(run.late.values())
        run.again, run.late = {}, {}
        if acquisitions:
            first = acquisitions[0][self.number]
            queues += [rows for rows in own if rows[0][self.number] <= first]
            queues.append(acquisitions)
            queues += [rows for rows in own if rows[0][self.number] > first]
        else:
            queues += own
        for rows in queues:
            for row in rows:
                for which, keys, closed_too in seen[row[self.number]]:
                    if which == number:
                        run.visit(row, keys, closed_too, False)

    def _plan(self, row, index, kind):
        """Rules that may take a row: their numbers, the columns to share, whether full groups count."""
        flags = tuple([match(row[self.at["asn_candidate"]]) for match in self._direct])
        key = (self._signed[index], flags, kind)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = []
            for number, compiled in self._possible(row, kind):
                if compiled.condition.always(row, False) is False:
                    continue
                keys: list = []
                compiled.condition.keys(row, keys)
                closed_too = compiled.remembers or compiled.condition.always(row, True) is not False
                plan.append((number, tuple(dict.fromkeys(keys)), closed_too))
        return plan

    def _possible(self, row, kind):
        """Rules that may take exposures of a type, and their numbers."""
        key = (row[self.at["exp_type"]], row[self.at["pntgtype"]], kind)
        found = self._by_type.get(key)
        if found is None:
            found = self._by_type[key] = [
                (number, compiled)
                for number, compiled in enumerate(self.compiled)
                if compiled.rule.takes(kind) and not compiled.condition.never(row)
            ]
        return found

    # -- all of it

    def associations(self, identifiers=None, all_candidates=None, discover=None, incomplete=None):
        """Associations of the pool, in the order of their running numbers.

        Parameters
        ----------
        identifiers : list of str, optional
            Candidates to take; all if not given.
        all_candidates, discover : bool, optional
            Keep associations of candidates; look for others.  Without any of the three, both.
        incomplete : list, optional
            Gets the groups of candidates that have science but lack something else.

        Returns
        -------
        list of Association
        """
        if identifiers is None and not all_candidates and not discover:
            all_candidates = discover = True
        keep = all_candidates or not discover
        found: list = []
        if discover:
            groups = self.groups(range(len(self.pool)))
            for group in groups:
                found += self.finisher.finish(group, "discover")
        if keep:
            for candidate, indices in self.chosen(identifiers)[0].items():
                for group in self.groups(indices, candidate):
                    made = self.finisher.finish(group, "candidate")
                    found += made
                    # Without science nothing is awaited: most images never meet a slitless spectrum.
                    if incomplete is not None and not made and group.science and group.rule.takes(group.kind):
                        incomplete.append(group)
        out: list = []
        for level in (2, 3):
            out += prune([each for each in found if each.rule.level == level], self.endings)
        resequence(out)
        return out

    def orphans(self, associations):
        """Rows (list of int) that are in no association."""
        used = {
            member.row[self.number]
            for association in associations
            for _, members in association.products
            for member in members
            if member.row is not None
        }
        return [index for index in range(len(self.pool)) if index not in used]


def _sound(pool, known, keep_going):
    """Take out rows that are no exposures of a known type, or whose candidates cannot be read."""
    kind, pointing, name = pool.at["exp_type"], pool.at["pntgtype"], pool.at["filename"]
    candidates = pool.at["asn_candidate"]
    texts: dict[str, str | None] = {}
    wrong = []
    for index, row in enumerate(pool.rows):
        # A header that is repeated among the rows is no exposure.
        if row[kind] == "exp_type":
            continue
        text = row[candidates]
        if text not in texts:
            texts[text] = _candidate_problem(text)
        known_type = row[kind] in known
        if not known_type:
            known_type = row[kind] in EMPTY and row[pointing] not in EMPTY and row[pointing] != "science"
        if known_type and texts[text] is None:
            continue
        if known_type:
            column, what = "asn_candidate", texts[text]
        else:
            column = "exp_type"
            what = "no value" if row[kind] in EMPTY else f"{row[kind]} is no exposure type"
        text = f"{pool.where(index, column)}: {what} ({row[name]})"
        if not keep_going:
            raise InputError(f"{text}; --keep-going leaves it out")
        wrong.append(index)
        pool.problems.append(text)
    if not wrong:
        return pool
    gone = set(wrong)
    return pool.take(index for index in range(len(pool)) if index not in gone)


def _candidate_problem(text):
    """Say what is wrong with the candidates of an exposure (str), or None."""
    # Cells of official test pools before 2016, which were computed by a mark of that time, name none.
    if text in EMPTY or text.isdecimal() or text.startswith("#!"):
        return None
    try:
        pairs = ast.literal_eval(text)
        good = isinstance(pairs, list) and all(
            isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
            for pair in pairs
        )
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        good = False
    if not good:
        return f"{text} is no list of pairs (identifier, kind)"
    kinds: dict[str, str] = {}
    for name, kind in pairs:
        if kinds.setdefault(name, kind) != kind:
            return f"{name} is there as {kinds[name]} and as {kind}"
    return None


def resequence(associations):
    """Give running numbers, by candidate and type."""
    counts: dict[tuple, int] = {}
    for association in associations:
        key = (association.candidate, association.type, association.rule.level)
        counts[key] = counts.get(key, 0) + 1
        association.sequence = counts[key]


def merged(associations):
    """Level-2 associations of one candidate and type as one with several products."""
    out, by_key = [], {}
    for association in associations:
        key = (association.type, association.candidate)
        if association.rule.level != 2:
            out.append(association)
        elif key not in by_key:
            by_key[key] = association
            out.append(association)
        else:
            _merge_into(by_key[key], association)
    return out


def _merge_into(first, other):
    for name, members in other.products:
        for own_name, own_members in first.products:
            if own_name == name:
                files = {member.file for member in own_members}
                own_members += [member for member in members if member.file not in files]
                break
        else:
            first.products.append((name, members))


def _parsed(text):
    """Yield identifier and kind of every candidate a cell names, as far as the cell can be read."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError):
        return
    if isinstance(value, int):
        yield str(value), "unknown"
        return
    try:
        for name, kind in value:
            yield str(name), str(kind)
    except (TypeError, ValueError):
        return


def _inside(parsed, names):
    """Yield cells with the identifiers whose text is in them, as official candidates are found."""
    plain = {name for name in names if _PLAIN.fullmatch(name)}
    lengths = sorted({len(name) for name in plain})
    odd = names - plain
    for text, pairs in parsed.items():
        inside = {name for name, _ in pairs} | {name for name in odd if name in text}
        for name, _ in pairs:
            inside.update(
                name[:length] for length in lengths if length < len(name) and name[:length] in plain
            )
        yield text, inside

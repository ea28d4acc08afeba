"""Find the data sets whose best references differ between two contexts, and where to start again.

Only the types whose rules differ are looked at, and headers that agree in what these rules
look at, times being compared by the interval between the times that the rules name, are
judged once.
"""

import datetime as dt
import itertools
import json
import re
import signal
from bisect import bisect_right
from collections import deque
from functools import cache
from multiprocessing import get_context

from jwcal.core import plan
from jwcal.core.errors import InputError, JwcalError
from jwcal.core.registry import find_step
from jwcal.core.routing import table as routes
from jwcal.refs import expression, index
from jwcal.refs.best import Context
from jwcal.refs.rules import FILE, NOT_APPLICABLE
from jwcal.refs.values import format_time

_DATE, _TIME = "META.OBSERVATION.DATE", "META.OBSERVATION.TIME"
_DAY = re.compile(r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(\d\d)\Z", re.ASCII)
_CLOCK = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?\Z", re.ASCII)
_WHOLE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z", re.ASCII)
_LABELS = ("DATASET", "META.FILENAME", "FILENAME", "OBS_ID")
_INSTRUMENTS = ("INSTRUME", "META.INSTRUMENT.NAME")
_ROUTE = ("EXP_TYPE", "META.EXPOSURE.TYPE", "TSOVISIT", "META.VISIT.TSOVISIT")
# What is remembered is bounded, so that memory does not grow with the number of headers.
_REMEMBERED = 200_000
_PIECE = 1 << 22


class Affected:
    """Compares two contexts header by header.

    Parameters
    ----------
    root : str or None
        Folder of the cache.
    left, right : str
        The context that data were calibrated with, and the new one.
    off : bool
        Count steps that are off by default, too.

    Attributes
    ----------
    seen, changed, evaluated, failed : int
        Headers looked at, headers affected, headers for which rules were evaluated, headers that
        cannot be judged.
    steps, types : dict of str to int
        Number of data sets by the first step that changes, and by type.
    """

    def __init__(self, root, left, right, *, off=False):
        self.left, self.right = Context(root, left), Context(root, right)
        self._contexts = (left, right)
        self.off = off
        self.seen = self.changed = self.evaluated = self.failed = 0
        self.steps: dict = {}
        self.types: dict = {}
        self._pairs: dict = {}
        self._shapes: dict = {}

    def judge(self, raw):
        """Compare the best references of one header.

        Parameters
        ----------
        raw : dict
            Values by FITS keyword or data-model name.

        Returns
        -------
        dict or None
            None if nothing changes.  Entries: ``types`` (old and new file by type, None for none), ``step``
            (the first that changes, None if no step here uses the types), ``pipeline`` (its pipeline).

        Raises
        ------
        InputError
            If the header names no instrument, or one that a context does not know.
        """
        self.seen += 1
        names = tuple(raw)
        shape = self._shapes.get(names)
        if shape is None:
            if len(self._shapes) > 1000:
                self._shapes.clear()
            shape = self._shapes[names] = _Shape(names)
        instrument = raw.get(shape.instrument)
        pair = self._pairs.get(instrument)
        if pair is None:
            pair = self._pairs[instrument] = _Pair(self.left, self.right, raw, self.off)
        if not pair.kinds:
            return None
        wanted = shape.wanted.get(instrument)
        if wanted is None:
            wanted = shape.wanted[instrument] = pair.wanted(names)
        values = [raw[name] if name is not None else None for name in wanted.matter]
        key = (
            wanted.repeated,
            pair.interval(raw, wanted.date, wanted.time),
            *[v if type(v) is str else _coded(v) for v in values],
        )
        found = pair.memory.get(key, False)
        if found is False:
            self.evaluated += 1
            found = pair.compare(raw)
            if len(pair.memory) >= _REMEMBERED:
                pair.memory.clear()
            pair.memory[key] = found
        if found is not None:
            self.changed += 1
            step = found["step"] or "(none here)"
            self.steps[step] = self.steps.get(step, 0) + 1
            for kind in found["types"]:
                self.types[kind] = self.types.get(kind, 0) + 1
        return found

    def numbers(self):
        """Return the counts as a dictionary."""
        return {
            "seen": self.seen,
            "affected": self.changed,
            "failed": self.failed,
            "steps": dict(sorted(self.steps.items(), key=lambda item: -item[1])),
            "types": dict(sorted(self.types.items(), key=lambda item: -item[1])),
        }

    def summary(self):
        """Yield lines of text that tell the counts."""
        told = self.numbers()
        yield f"{self.changed} of {self.seen} data sets affected ({self.left.name} -> {self.right.name})"
        for name in ("steps", "types"):
            if told[name]:
                counts = ", ".join(f"{key} {count}" for key, count in told[name].items())
                yield f"  {'first step' if name == 'steps' else 'by type'}: {counts}"

    def catalog(self, stream, form, label, jobs=1):
        """Judge the headers of a catalogue; see `lines`.

        Parameters
        ----------
        stream : binary file
            Lines.
        form : callable
            A function of this module, such as `as_text`.
        label : str
            Name of the stream for messages.
        jobs : int
            Processes; more than one are only started for more than a few megabytes.

        Yields
        ------
        str
            In the order of the headers, whatever the number of processes.
        """
        if jobs < 2:
            yield from self.lines(stream, form, label)
            return
        blocks = _blocks(stream)
        first = next(blocks, None)
        second = next(blocks, None)
        if second is None:
            yield from self.lines((first or b"").split(b"\n"), form, label)
            return
        setup = (str(self.left.cache.root), self._contexts, self.off, form, label)
        with get_context("fork").Pool(jobs, _start_worker, setup) as pool:
            waiting: deque = deque()
            number = 1
            for block in itertools.chain((first, second), blocks):
                if len(waiting) > 2 * jobs:
                    yield from self._add(*waiting.popleft().get())
                waiting.append(pool.apply_async(_judge_block, (block, number)))
                number += block.count(b"\n")
            while waiting:
                yield from self._add(*waiting.popleft().get())
            # Workers that end by themselves cannot be caught by a signal at a bad moment.
            pool.close()
            pool.join()

    def _add(self, lines, counts):
        """Take in what another process has found."""
        for name in ("seen", "changed", "evaluated", "failed"):
            setattr(self, name, getattr(self, name) + counts[name])
        for mine, theirs in ((self.steps, counts["steps"]), (self.types, counts["types"])):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        return lines

    def lines(self, stream, form, label, first=1):
        """Judge headers, one in a line as JSON.

        Parameters
        ----------
        stream : iterable of bytes
            Lines.
        form : callable
            Makes output of a name and of what `judge` gave.
        label : str
            Name of the stream for messages.
        first : int
            Number of the first line.

        Yields
        ------
        str
            One for each data set that is affected, or that cannot be judged.
        """
        loads = json.loads
        for number, line in enumerate(stream, first):
            if not line.strip():
                continue
            try:
                raw = loads(line)
                if type(raw) is not dict:
                    raise ValueError
            except (ValueError, RecursionError):
                self.seen += 1
                self.failed += 1
                yield form(f"{label}:{number}", {"error": "is no JSON object"})
                continue
            try:
                found = self.judge(raw)
            except InputError as exc:
                self.failed += 1
                found = {"error": str(exc)}
            if found is not None:
                yield form(name_of(raw) or f"{label}:{number}", found)


_WORKER: list = []


def _start_worker(root, contexts, off, form, label):
    # The handlers of the command line are those of its own process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _WORKER[:] = [Affected(root, *contexts, off=off), form, label]


def _judge_block(block, number):
    """Judge some lines in a process that was started for it."""
    found, form, label = _WORKER
    found.seen = found.changed = found.evaluated = found.failed = 0
    found.steps, found.types = {}, {}
    lines = list(found.lines(block.split(b"\n"), form, label, number))
    return lines, {**found.numbers(), "changed": found.changed, "evaluated": found.evaluated}


def _blocks(stream):
    """Pieces of a stream that end with a line."""
    rest = b""
    while part := stream.read(_PIECE):
        end = part.rfind(b"\n") + 1
        if not end:
            rest += part
            continue
        yield rest + part[:end]
        rest = part[end:]
    if rest:
        yield rest


class _Shape:
    """What follows from the keywords that a header has."""

    def __init__(self, names):
        upper = {name.upper(): name for name in names}
        self.instrument = next((upper[k] for k in _INSTRUMENTS if k in upper), None)
        self.wanted: dict = {}


class _Wanted:
    """Names, in a header of some shape, of what matters to a pair of rules, in a fixed order."""

    __slots__ = ("date", "matter", "repeated", "time")

    def __init__(self, matter, date, time, repeated=None):
        self.matter, self.date, self.time, self.repeated = matter, date, time, repeated


class _Pair:
    """Rules of one instrument under two contexts."""

    def __init__(self, left, right, raw, off):
        self.old, self.new = left.instrument(raw), right.instrument(raw)
        self.off = off
        self.kinds, self._accepted = _differing(left, right, self.old.name)
        self.memory: dict = {}
        self.breaks: list | None = []
        self._keys: set = set()
        for kind in self.kinds:
            for instrument in (self.old, self.new):
                if instrument.types.get(kind) == "rules":
                    self._look(instrument, kind)
        if self.breaks is not None:
            self.breaks = sorted(set(self.breaks))

    def _look(self, instrument, kind):
        """Note the keywords that rules look at, and the times they name."""
        rules = instrument.rules(kind)
        conditions = [rules.relevance, rules.omit, *(tree for _, tree in rules.parkey_relevance)]
        names = set().union(*(expression.names(tree) for tree in conditions))
        used = {k for k in instrument.keys if k in names or k.replace(".", "_") in names}
        self._keys |= {*rules.keys, *used}
        times = _times(rules.root)
        if times is None or used & {_DATE, _TIME}:
            self.breaks = None
        elif self.breaks is not None:
            self.breaks += times

    def wanted(self, names):
        """Names in a header that matter."""
        found: dict = {}
        repeated = False
        for name in names:
            key = self._accepted.get(name) or self._accepted.get(name.upper())
            if key in self._keys:
                repeated |= key in found
                found[key] = name
        date, time = found.pop(_DATE, None), found.pop(_TIME, None)
        upper = {name.upper(): name for name in names}
        if repeated:
            # Which of two names for the same counts depends on their order.
            return _Wanted(names, None, None, names)
        return _Wanted(
            [*(found.get(key) for key in sorted(self._keys)), *(upper.get(key) for key in _ROUTE)], date, time
        )

    def interval(self, raw, date_name, time_name):
        """Date and time as far as they matter."""
        date, time = raw.get(date_name), raw.get(time_name)
        if self.breaks is None or type(date) is not str or type(time) is not str:
            return _coded(date), _coded(time)
        found = _DAY.match(date)
        if found is None or _CLOCK.match(time) is None:
            return date, time
        if found[1] > "28" or found[1] < "01":
            try:
                dt.date.fromisoformat(date)
            except ValueError:
                return date, time
        return bisect_right(self.breaks, f"{date} {time}")

    def compare(self, raw):
        """Return the changed types of a header; None if there are none."""
        before, after = self.old.header(raw), self.new.header(raw)
        types = {}
        for kind in self.kinds:
            one = _chosen(self.old, kind, before)
            two = _chosen(self.new, kind, after)
            if one != two:
                types[kind] = [one, two]
        if not types:
            return None
        step, pipeline = first_step(self.old.name.upper(), _route(raw), frozenset(types), self.off)
        return {"types": types, "step": step, "pipeline": pipeline}


def _differing(left, right, instrument):
    """Types whose rules differ in more than their name."""
    one, two = index.load(left.cache, left.name, instrument), index.load(right.cache, right.name, instrument)
    states = [{**head["types"]} for head, _ in (one, two)]
    out = []
    for kind in {**states[0], **states[1]}:
        if states[0].get(kind) != states[1].get(kind):
            out.append(kind)
        elif states[0][kind] == "rules" and one[1][kind] != two[1][kind]:
            a, b = (json.loads(texts[kind]) for _, texts in (one, two))
            if {**a, "label": ""} != {**b, "label": ""}:
                out.append(kind)
    return sorted(out), {**one[0]["wanted"], **two[0]["wanted"]}


def _coded(value):
    """Value that tells what JSON calls equal apart: 1, 1.0 and true."""
    return None if value is None else (type(value).__name__, str(value))


def _times(node):
    """Return the times that selectors name; None if they choose by time in another way."""
    if node.name == "UseAfter":
        if list(node.parameters) != [_DATE, _TIME]:
            return None
        try:
            times = [format_time(key) for key in node.keys]
        except (ValueError, OverflowError):
            return None
        if not all(map(_WHOLE.match, times)):
            return None
    elif node.name == "Match" and not {_DATE, _TIME} & set(node.parameters):
        times = []
    else:
        return None
    for choice in node.choices():
        if hasattr(choice, "parameters"):
            below = _times(choice)
            if below is None:
                return None
            times += below
    return times


def _chosen(instrument, kind, header):
    """File that a context chooses; None for none; a text in brackets if it refuses."""
    if kind not in instrument.types:
        return None
    answer = instrument.answer(kind, header)
    if answer.state == FILE:
        return answer.files
    return None if answer.state == NOT_APPLICABLE else f"({answer.state})"


def _route(raw):
    kind, tso = "", False
    for key, value in raw.items():
        name = key.upper()
        if name in ("EXP_TYPE", "META.EXPOSURE.TYPE"):
            kind = str(value).strip().upper()
        elif name in ("TSOVISIT", "META.VISIT.TSOVISIT"):
            tso = value is True or str(value).strip().upper() in ("T", "TRUE")
    return kind, tso


@cache
def first_step(instrument, route, kinds, off=False):
    """First step whose result changes when references of some types change.

    Parameters
    ----------
    instrument : str
        In upper case.
    route : (str, bool)
        Exposure type, and whether it is a time series.
    kinds : frozenset of str
        Reference types.
    off : bool
        Whether steps that are off by default count.

    Returns
    -------
    step, pipeline : str or None
        None where no step of the pipelines that are built uses them.
    """
    entry = routes().get(route[0], {})
    for stage in ("stage1", "stage2", "stage3"):
        name = (entry.get(f"{stage}_tso") if route[1] else None) or entry.get(stage)
        if not name or name not in plan.names():
            continue
        for branch in plan.definition(name)["branch"]:
            if instrument not in branch.get("instruments", [instrument]):
                continue
            if f"pars-{name.replace('-', '')}pipeline" in kinds:
                return branch["steps"][0], name
            for step_name in branch["steps"]:
                if _uses(step_name, instrument, kinds, off):
                    return step_name, name
    return None, None


def _uses(name, instrument, kinds, off):
    try:
        step, _ = find_step(name)
    except JwcalError:
        return False
    if step.instruments and instrument not in step.instruments:
        return False
    plain = name.replace("_", "")
    if any(kind.startswith(f"pars-{plain}step") for kind in kinds):
        return True
    if not off and step.default_skip:
        return False
    return any(ref.kind in kinds for ref in step.refs)


def name_of(raw):
    """Name that a header gives its data set, or None."""
    for key, value in raw.items():
        if key.upper() in _LABELS:
            return str(value)
    return None


def as_text(name, found):
    """One line for a data set."""
    if "error" in found:
        return f"{name}  cannot be judged: {found['error']}"
    changes = ", ".join(
        f"{kind} {old or 'n/a'} -> {new or 'n/a'}" for kind, (old, new) in found["types"].items()
    )
    where = f"{found['pipeline']}:{found['step']}" if found["step"] else "-"
    return f"{name}  {where}  {changes}"


def as_json(name, found):
    """One line of JSON for a data set."""
    return json.dumps({"dataset": name, **found} if name else found, separators=(",", ":"))

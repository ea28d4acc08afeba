"""State of a pool: which associations are complete, and what the others wait for."""

import os
import re
from collections import defaultdict

from jwcal.associations.names import file_name, product_name
from jwcal.associations.pool import EMPTY
from jwcal.core.errors import InputError

_EXPOSURE = re.compile(
    r"(?P<visit>jw\d{11})_(?P<activity>\w{5})_(?P<number>\d{5})(?:-seg(?P<segment>\d{3}))?_(?P<detector>[a-z0-9]+)_"
)


def states(generator, folder=None, level=None, raw=False):
    """State of every association of a pool, and of those that its candidates are on the way to.

    Parameters
    ----------
    generator : Generator
        Of the pool.
    folder : str or Path, optional
        Where files are looked for.
    level : int, optional
        Associations of this level only.
    raw : bool
        The folder holds the raw files, not those that associations name.

    Yields
    ------
    dict
        state ("complete" or "waiting"), candidate, type, rule, level, file (of the association, None if there
        is none yet), product, members (list of str), lacks (list of str), errors (dict of str to str, by
        member), since (seconds of the epoch at which the newest file came, or None).

    Raises
    ------
    InputError
        If the folder cannot be read.
    """
    incomplete: list = []
    found = generator.associations(incomplete=incomplete)
    there = None if folder is None else _times(folder)
    visits = _Visits(generator.pool)
    covered = defaultdict(set)
    for number, association in enumerate(found):
        for member in association.members:
            if member.role == "science":
                covered[association.type, member.file].add(number)
        if level in (None, association.rule.level):
            state = {"file": file_name(association), "product": association.name, "lacks": []}
            yield state | _rest(generator, association, state["lacks"], visits, there, raw)
    for group in incomplete:
        # What another association has already does not wait for anything.
        mine = [covered[group.rule.type, member.file] for member in group.of_role("science")]
        if level in (None, group.rule.level) and not set.intersection(*mine):
            science = group.of_role("science")[0].file
            product = (
                generator.endings.product(science)
                if group.rule.level == 2
                else product_name(group.rule, group)
            )
            state = {"file": None, "product": product, "lacks": [generator.finisher.missing(group)]}
            yield state | _rest(generator, group, state["lacks"], visits, there, raw)


def _rest(generator, made, lacks, visits, there, raw):
    """Entries (dict) of an association or of a group; adds to what it lacks."""
    maker, rule, members = generator.maker, made.rule, made.members
    lacks += _positions(maker, rule, members)
    if rule.level == 3 or any(member.role == "background" for member in members):
        lacks += visits.lacks(maker, members)
    since = None
    if there is not None:
        names = [maker.value(m.row, "filename") if raw else m.file for m in members if m.row or not raw]
        lacks += [f"{name} has not come" for name in names if name not in there]
        since = max((there[name] for name in names if name in there), default=None)
    errors = {m.file: maker.value(m.row, "exposerr") for m in members if m.row}
    return {
        "state": "waiting" if lacks else "complete",
        "candidate": made.candidate,
        "type": rule.type,
        "rule": rule.rule,
        "level": rule.level,
        "members": [member.file for member in members],
        "errors": {name: text for name, text in errors.items() if text not in EMPTY},
        "since": since,
    }


def _times(folder):
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_mtime for entry in entries if entry.is_file()}
    except OSError as exc:
        raise InputError(f"{folder}: cannot be read: {exc.strerror}") from exc


def _positions(maker, rule, members):
    """Dither positions that the pattern has and no exposure does, by detector and target."""
    if rule.level != 3 or "two members" in rule.needs:
        return []
    seen: dict[tuple, set] = {}
    total: dict[tuple, int] = {}
    for member in members:
        # Direct images of slitless spectra take a part of the pattern only.
        if member.role != "science" or "slitless" in (maker.value(member.row, "template") or ""):
            continue
        count, place = maker.number(member.row, "numdthpt"), maker.number(member.row, "patt_num")
        if count is None or place is None or not 1 < count <= 1000:
            continue
        key = tuple(maker.value(member.row, name) for name in ("obs_num", "detector", "targetid", "mostilno"))
        seen.setdefault(key, set()).add(place)
        total[key] = max(total.get(key, 0), count)
    out = []
    for key, places in seen.items():
        absent = sorted(set(range(1, total[key] + 1)) - places)
        if absent and max(places) <= total[key]:
            where = ", ".join(str(part) for part in key[:2] if part not in (None, "null"))
            out.append(f"{where}: dither position {_ranges(absent)} of {total[key]} has not come")
    return out


class _Visits:
    """What of the visits of a pool has not come: planned exposures, detectors, segments.

    Parameters
    ----------
    pool : Pool
        The exposures.
    """

    def __init__(self, pool):
        exposures: dict[str, dict] = defaultdict(dict)
        planned: dict[str, int] = defaultdict(int)
        detectors: dict[tuple, set] = defaultdict(set)
        segments: dict[str, set] = defaultdict(set)
        totals: dict[str, int] = {}
        columns = (pool.cells(name) for name in ("filename", "nexposur", "exsegtot"))
        for name, count, parts in zip(*columns, strict=True):
            found = _EXPOSURE.match(name)
            if not found:
                continue
            visit, activity, number = found["visit"], found["activity"], found["number"]
            exposures[visit].setdefault((activity, number), set()).add(found["detector"])
            detectors[visit, activity].add(found["detector"])
            planned[visit] = max(planned[visit], int(count) if count.isdecimal() else 0)
            if found["segment"] and parts.isdecimal():
                label = f"{visit}_{activity}_{number}_{found['detector']}"
                segments[label].add(int(found["segment"]))
                totals[label] = int(parts)
        self._lacks: dict[str, list] = defaultdict(list)
        for visit, there in exposures.items():
            if len(there) < planned[visit]:
                text = f"visit {visit[2:]}: {len(there)} of {planned[visit]} planned exposures have come"
                self._lacks[visit].append(text)
            for (activity, number), mine in there.items():
                absent = sorted(detectors[visit, activity] - mine)
                if absent:
                    self._lacks[visit].append(f"{visit}_{activity}_{number}: no {', '.join(absent)}")
        for label, mine in segments.items():
            absent = sorted(set(range(1, totals[label] + 1)) - mine)
            if absent:
                text = f"{label}: segment {_ranges(absent)} of {totals[label]} has not come"
                self._lacks[label[:13]].append(text)

    def lacks(self, maker, members):
        """Texts (list of str) on the visits of some members."""
        names = {maker.value(member.row, "filename")[:13] for member in members if member.row}
        return [text for name in sorted(names) for text in self._lacks.get(name, ())]


def _ranges(numbers):
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in parts)


def repeated(pool):
    """Files that are in more than one row.

    Parameters
    ----------
    pool : Pool
        The exposures.

    Yields
    ------
    str
        One line a file.
    """
    lines = defaultdict(list)
    for row, (name, kind) in enumerate(zip(pool.cells("filename"), pool.cells("exp_type"), strict=True)):
        if kind not in EMPTY and kind != "exp_type":
            lines[name].append(str(pool.lines[row]))
    for name, where in lines.items():
        if len(where) > 1:
            yield f"{pool.name}: lines {', '.join(where)}: {name} is there {len(where)} times"

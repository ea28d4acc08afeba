"""Leave out associations that say the same as another one."""

import re
from collections import Counter


def prune(associations, endings):
    """Associations without duplicates.

    Of several with the same members the one of the highest candidate identifier stays: observations
    before candidates before discovered ones.  Of several that would make a product of the same name
    and of which one is a part of the other, the larger one stays.

    Parameters
    ----------
    associations : list of Association
        Of one level, each with one product.
    endings : Endings
        Takes endings off member names.

    Returns
    -------
    list of Association
    """
    return _one_of_a_name(_one_of_members(associations), endings)


def _members(association):
    """Members as a set (frozenset of (file, role)), or None if a file is in it twice."""
    found = frozenset((member.file, member.role) for member in association.members)
    return found if len({member.file for member in association.members}) == len(association.members) else None


def _one_of_members(associations):
    seen = set()
    kept = []
    ordered = sorted(associations, key=lambda each: each.candidate)
    ordered.reverse()
    for association in ordered:
        members = _members(association)
        if members is not None:
            if members in seen:
                continue
            seen.add(members)
        kept.append(association)
    return kept


class _Entry:
    """An association with what is needed to compare it."""

    def __init__(self, association, endings):
        self.association = association
        self.roles = {member.file: member.role for member in association.members}
        self.twice = len(self.roles) != len(association.members)
        self.length = len(association.members)
        exposures: dict[str, list] = {}
        for member in association.members:
            exposures.setdefault(endings.stem(member.file), []).append(member.role)
        self.key = (
            association.type,
            association.candidate[:1],
            frozenset(re.split("[_-]", association.name)),
            frozenset((name, tuple(roles)) for name, roles in exposures.items()),
        )

    def same(self, other):
        """Whether both stand for the same processing, whatever the endings of file names."""
        return self is other or (not self.twice and not other.twice and self.key == other.key)


def _one_of_a_name(associations, endings):
    counts = Counter(association.name for association in associations)
    if len(counts) == len(associations):
        return associations
    ordered = sorted(associations, key=lambda each: each.candidate)
    groups: dict[str, list] = {}
    for association in ordered:
        if counts[association.name] > 1:
            groups.setdefault(association.name, []).append(_Entry(association, endings))
    dropped: set[int] = set()
    for name in (name for name, count in counts.items() if count > 1):
        dropped |= _dropped(groups[name])
    return [association for association in ordered if id(association) not in dropped]


def _dropped(entries):
    left = list(entries)
    gone: list[_Entry] = []
    for first in entries:
        if any(first.same(each) for each in gone):
            continue
        entry, leave = first, []
        for other in left:
            if other.same(entry):
                continue
            smaller = _smaller(entry, other)
            if smaller is entry:
                entry = other
            if smaller is not None:
                leave.append(smaller)
        gone += leave
        for each in leave:
            place = next((i for i, one in enumerate(left) if one.same(each)), None)
            if place is not None:
                left.pop(place)
    return {id(entry.association) for entry in gone}


def _smaller(entry, other):
    """Choose the one to leave out of two of the same name; None if they contradict each other."""
    if entry.twice or other.twice:
        return None
    common = entry.roles.keys() & other.roles.keys()
    if any(entry.roles[file] != other.roles[file] for file in common):
        return None
    if entry.length == other.length:
        return other if len(common) == entry.length else None
    return entry if other.length > entry.length else other

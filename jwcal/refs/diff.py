"""What changed from one context to another: mappings, header entries, rules, files."""

from jwcal.core.errors import ReferenceFileError
from jwcal.refs.mapping import SPECIAL_VALUES

# Entries that differ in every new version.
_ALWAYS = {"name", "derived_from", "sha1sum"}


def difference(cache_a, context_a, cache_b, context_b):
    """Compare two contexts.

    Parameters
    ----------
    cache_a, cache_b : Cache
        Where the mappings are.
    context_a, context_b : str
        Names of two .pmap, two .imap or two .rmap.

    Returns
    -------
    dict
        contexts; mappings, headers and rules: lists of changes, each with instrument, type, change
        ("added", "removed" or "replaced"), old and new, and for rules the keys by which they
        are found; files: names added and removed.

    Raises
    ------
    ReferenceFileError
        If a mapping is missing or damaged, or the two are not of one kind.
    """
    a, b = cache_a.read(context_a), cache_b.read(context_b)
    if a.kind != b.kind:
        raise ReferenceFileError(
            f"{context_a} is a {a.kind} and {context_b} a {b.kind}: they cannot be compared"
        )
    found = _Difference(cache_a, cache_b)
    found.mappings_of(a, b)
    return {
        "contexts": [context_a, context_b],
        "mappings": found.mappings,
        "headers": found.headers,
        "rules": found.rules,
        "files": {
            "added": sorted(found.files[1] - found.files[0]),
            "removed": sorted(found.files[0] - found.files[1]),
        },
    }


class _Difference:
    def __init__(self, cache_a, cache_b):
        self.caches = cache_a, cache_b
        self.mappings: list = []
        self.headers: list = []
        self.rules: list = []
        self.files: tuple[set, set] = set(), set()

    def mappings_of(self, a, b):
        """Compare two mappings of one kind; None stands for one that is not there."""
        here = a or b
        at = {"instrument": here.instrument, "type": here.filekind}
        if a and b:
            for key in sorted({*a.header, *b.header} - _ALWAYS):
                self._note(self.headers, {**at, "key": key}, a.header.get(key), b.header.get(key))
        if here.kind == "rmap":
            self._rules_of(at, a, b)
            return
        sides = [{k.lower(): v for k, v in m.selector.items()} if m else {} for m in (a, b)]
        for key in sorted({*sides[0], *sides[1]}):
            old, new = sides[0].get(key), sides[1].get(key)
            where = {"instrument": key, "type": ""} if here.kind == "pmap" else {**at, "type": key}
            if a and b:
                self._note(self.mappings, where, old, new)
            if old == new and self.caches[0].root == self.caches[1].root:
                continue
            below = [
                None if name is None or name in SPECIAL_VALUES else cache.read(name)
                for cache, name in zip(self.caches, (old, new), strict=True)
            ]
            if any(below):
                self.mappings_of(*below)

    def _rules_of(self, at, a, b):
        flat = []
        for files, mapping in zip(self.files, (a, b), strict=True):
            flat.append(dict(mapping.selector.walk()) if mapping else {})
            files.update(mapping.references() if mapping else ())
        for keys in sorted({*flat[0], *flat[1]}, key=str):
            self._note(self.rules, {**at, "keys": list(keys)}, flat[0].get(keys), flat[1].get(keys))

    @staticmethod
    def _note(notes, where, old, new):
        if old != new:
            change = "added" if old is None else "removed" if new is None else "replaced"
            notes.append({**where, "change": change, "old": old, "new": new})


def as_text(found):
    """Lines for people."""
    lines = []
    for note in found["mappings"]:
        place = " ".join(part for part in (note["instrument"], note["type"]) if part)
        lines.append(f"mapping {note['change']:8s} {place}: {_change(note)}")
    for note in found["headers"]:
        place = " ".join(part for part in (note["instrument"], note["type"]) if part)
        lines.append(f"header  {note['change']:8s} {place} {note['key']}: {_change(note)}")
    for note in found["rules"]:
        keys = "; ".join(" ".join(map(str, k)) if isinstance(k, tuple) else str(k) for k in note["keys"])
        lines.append(
            f"rule    {note['change']:8s} {note['instrument']} {note['type']} [{keys}]: {_change(note)}"
        )
    for change in ("added", "removed"):
        lines += [f"file    {change:8s} {name}" for name in found["files"][change]]
    return "\n".join(lines)


def _change(note):
    if note["change"] == "replaced":
        return f"{note['old']} -> {note['new']}"
    return str(note["new"] if note["change"] == "added" else note["old"])

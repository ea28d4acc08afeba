"""Deliver reference files: certified, put into new mappings, and made the operational context.

The new .pmap is the last mapping to appear, and the pointer to the operational context is moved
after it: whoever reads meanwhile sees the old context or the new one.
"""

import datetime as dt
import hashlib
import os
import re
from pathlib import Path

from jwcal.core.errors import InputError, ReferenceFileError, UsageError
from jwcal.refs.cache import find_context
from jwcal.refs.certify import certify
from jwcal.refs.compile import compile_rules
from jwcal.refs.insert import fits_keys, insert, keywords_of
from jwcal.refs.mapping import parse_mapping, read_mapping
from jwcal.refs.store import Store

_SERIAL = re.compile(r"(.*)_(\d{4,})(\.[a-z]+)\Z")
_BLOCK = 1 << 20


class Place:
    """Where reference files would go under a context.

    Parameters
    ----------
    root, context : str or None
        See `jwcal.refs.cache.find_context`.
    """

    def __init__(self, root, context):
        self.cache, self.name, _ = find_context(root, context)
        self.pmap = self.cache.read(self.name)

    def look(self, path):
        """Return what the rules of a file ask of it.

        Parameters
        ----------
        path : str
            Reference file.

        Returns
        -------
        keys : tuple of str
            Keywords by which the rules choose.
        old : str or None
            File whose place it would take, if the cache has it.
        """
        try:
            keywords = keywords_of(path)
        except InputError:
            return (), None
        instrument, kind = (keywords.get(k, "").lower() for k in ("INSTRUME", "REFTYPE"))
        imap = self.pmap if self.pmap.kind == "imap" else self.pmap.children().get(instrument)
        if isinstance(imap, str):
            imap = self.cache.read(imap)
        name = imap.children().get(kind) if imap else None
        if name is None:
            return (), None
        rmap = self.cache.read(name)
        try:
            _, change = insert(rmap, keywords, Path(path).name)
        except ReferenceFileError:
            return tuple(fits_keys(rmap)), None
        found = change.replaced or change.before
        old = found and self.cache.reference_path(found, instrument)
        return tuple(fits_keys(rmap)), old and str(old)


class Delivery:
    """New reference files and the mappings that choose them; nothing is written by making one.

    Parameters
    ----------
    store : jwcal.refs.store.Store
        Cache to deliver to.
    base : str
        Context (.pmap) that the new one is derived from.
    paths : sequence of str
        Reference files.
    reason : str
        Why; kept in the log.

    Attributes
    ----------
    reports : list of jwcal.refs.certify.Report
        One for each file.
    changes : list of (str, jwcal.refs.insert.Change)
        Name of the new rules and what the file changes in them, in the order of the files.
    mappings : dict of str to str
        Text of the new mappings by name, the .pmap last; empty while a file is rejected.
    context : str or None
        Name of the new context.
    points : bool
        Whether the new context becomes, or became, operational.

    Raises
    ------
    ReferenceFileError
        If a mapping is missing or damaged, or has no place for a file.
    """

    def __init__(self, store, base, paths, reason):
        self.store, self.base, self.reason = store, base, reason
        self.paths = [str(p) for p in paths]
        self.changes: list = []
        self.mappings: dict = {}
        self.context = None
        self.points = False
        self._names: dict = {}
        self._taken: dict = {}
        self.pmap = store.cache.read(base)
        if self.pmap.kind != "pmap":
            raise UsageError(f"{base}: is no .pmap; a delivery is made to one")
        store.cache.derivation(base)
        self._rules: dict = {}
        self._brought = [p for p in self.paths if p.endswith(".rmap")]
        self.paths = [p for p in self.paths if not p.endswith(".rmap")]
        for path in self._brought:
            self._bring_rules(path)
        rules = [self._rules_for(path) for path in self.paths]
        self.reports = [
            certify(path, keys=() if found is None else fits_keys(found[1]))
            for path, found in zip(self.paths, rules, strict=True)
        ]
        if not self.rejected:
            self._insert(rules)

    @property
    def rejected(self):
        """Reports of the files that were not certified."""
        return [report for report in self.reports if report.errors]

    def _rules_for(self, path):
        """Imap name and rules that a file goes into; None if its header does not say which."""
        try:
            keywords = keywords_of(path)
        except InputError:
            return None
        instrument, kind = (keywords.get(k, "").lower() for k in ("INSTRUME", "REFTYPE"))
        if not instrument or not kind:
            return None
        imap_name = self.pmap.children().get(instrument)
        if imap_name is None:
            raise ReferenceFileError(f"{path}: {self.base} has no instrument {instrument.upper()}")
        brought = self._rules.get((instrument, kind))
        if brought is not None:
            return imap_name, brought
        rmap_name = self.store.cache.read(imap_name).children().get(kind)
        if rmap_name is None:
            raise ReferenceFileError(
                f"{path}: {imap_name} has no rules for {kind.upper()}; deliver an .rmap for it first"
            )
        return imap_name, self.store.cache.read(rmap_name)

    def _bring_rules(self, path):
        """Take rules from a file, in place of those that the context has for their type, if any."""
        mapping = read_mapping(path)
        if mapping.kind != "rmap":
            raise UsageError(f"{path}: is no .rmap")
        instrument, kind = mapping.instrument, mapping.filekind
        if instrument not in self.pmap.children():
            raise ReferenceFileError(f"{path}: {self.base} has no instrument {instrument.upper()}")
        if (instrument, kind) in self._rules:
            raise UsageError(f"{path}: is for {instrument.upper()} {kind.upper()}, as another file is")
        compile_rules(mapping)
        mapping = mapping.copy()
        old = self.store.cache.read(self.pmap.children()[instrument]).children().get(kind)
        mapping.header["name"] = old or f"jwst_{instrument}_{kind}_0000.rmap"
        self._rules[instrument, kind] = mapping

    def _insert(self, rules):
        updated = {
            mapping.name: (self.pmap.children()[instrument], mapping)
            for (instrument, _), mapping in self._rules.items()
        }
        for path, (imap_name, rmap) in zip(self.paths, rules, strict=True):
            self._refuse_copy(path, rmap)
            name = self._new_name(path, rmap)
            current = updated.get(rmap.name, (imap_name, rmap))[1]
            new, change = insert(current, keywords_of(path), name)
            own = {n for n, _ in self._names.values()} - {name}
            if change.replaced in own:
                raise ReferenceFileError(
                    f"{path}: is for the same rule and time as another file of this delivery"
                )
            updated[rmap.name] = (imap_name, new)
            self.changes.append((rmap.name, change))
        imaps: dict = {}
        for old, (imap_name, mapping) in updated.items():
            renamed = self._derive(mapping, old)
            imaps.setdefault(imap_name, {})[mapping.filekind] = renamed
            self.changes = [(renamed if rules == old else rules, change) for rules, change in self.changes]
        pmap = self.pmap.copy()
        for imap_name, kinds in imaps.items():
            imap = self.store.cache.read(imap_name).copy()
            _replace(imap.selector, kinds)
            _replace(pmap.selector, {imap.instrument: self._derive(imap, imap_name)})
        self.context = self._derive(pmap, self.base)

    def _derive(self, mapping, old):
        """Name a changed mapping, stamp it, and check that it can be read back."""
        name = self.store.next_mapping(old, self.mappings)
        mapping.header["name"], mapping.header["derived_from"] = name, old
        text = mapping.stamp()
        again = parse_mapping(text, name)
        if again.kind == "rmap":
            compile_rules(again)
        self.mappings[name] = text
        return name

    def _new_name(self, path, rmap):
        suffix = ".asdf" if path.endswith(".asdf") else ".fits"
        stem = f"jwst_{rmap.instrument}_{rmap.filekind}"
        taken = self._taken.get(stem)
        if taken is None:
            taken = max(
                (_serial(name) for name in (*rmap.references(), *self.store.references(stem))), default=0
            )
        self._taken[stem] = taken + 1
        name = f"{stem}_{taken + 1:04d}{suffix}"
        self._names[path] = (name, rmap.instrument)
        return name

    def _refuse_copy(self, path, rmap):
        """Refuse a file that is there already, and one that is given twice."""
        size = os.stat(path).st_size
        for other in self._names:
            if os.stat(other).st_size == size and digest(other) == digest(path):
                raise UsageError(f"{path}: is a copy of {other}")
        for name in rmap.references():
            found = self.store.cache.reference_path(name, rmap.instrument)
            if found is not None and found.stat().st_size == size and digest(found) == digest(path):
                raise UsageError(f"{path}: is {name}, delivered already")

    def compare(self):
        """Compare each file with the one whose place it takes, where the cache has that."""
        from jwcal.refs.compare import compare_files

        for path, report, (_, change) in zip(self.paths, self.reports, self.changes, strict=True):
            old = change.replaced or change.before
            found = old and self.store.cache.reference_path(old, report.instrument.lower())
            if found:
                report.comparison = compare_files(path, str(found))

    def as_dict(self):
        """Return the record of the delivery as a dictionary of plain values."""
        return {
            "context": self.context,
            "derived_from": self.base,
            "reason": self.reason,
            "rules": self._brought,
            "files": [
                {"source": path, "rules": rules, **change.as_dict()}
                for path, (rules, change) in zip(self.paths, self.changes, strict=True)
            ],
            "mappings": list(self.mappings),
        }

    def commit(self, *, point=True):
        """Write all of it; the lock of the store must be held.

        Parameters
        ----------
        point : bool
            Make the new context the operational one.

        Raises
        ------
        OutputError
            If something cannot be written; nothing that is in force has changed then.
        """
        record = {**self.as_dict(), **signature(), "operational": point}
        for entry, path in zip(record["files"], self.paths, strict=True):
            name, instrument = self._names[path]
            entry["sha1"] = self.store.add_reference(path, name, instrument)
            entry["size"] = os.stat(path).st_size
        *below, context = self.mappings
        for name in below:
            self.store.add_mapping(name, self.mappings[name])
        self.store.add_record(context, record)
        self.store.add_mapping(context, self.mappings[context])
        if point:
            self.store.cache.point(context)
        return record


def deliver(root, paths, reason, *, context=None, wait=60.0, dry_run=False, compare=False):
    """Deliver files to a cache.

    Parameters
    ----------
    root : str or None
        Folder of the cache; None takes ``CRDS_PATH``.
    paths : sequence of str
        Reference files.
    reason : str
        Why.
    context : str or None
        Context to derive from; None takes the operational one as it is once the lock is held.  Only
        a context derived from the operational one becomes operational.
    wait : float
        Seconds to wait for another delivery to end.
    dry_run : bool
        Write nothing.
    compare : bool
        Also compare each file with the one it replaces.

    Returns
    -------
    Delivery
        Without mappings if a file was rejected; nothing was written then.

    Raises
    ------
    UsageError
        If there is no context to derive from, or a file is there already.
    TemporaryError
        If another delivery does not end.
    OutputError
        If the cache is read-only or full.
    """
    store = Store(root)
    if dry_run:
        return _prepare(store, paths, reason, context, compare)
    with store.locked(wait):
        delivery = _prepare(store, paths, reason, context, compare)
        if not delivery.rejected:
            delivery.commit(point=delivery.points)
        return delivery


def _prepare(store, paths, reason, context, compare):
    operational, _ = store.cache.operational()
    base = context or operational
    if base is None:
        have = store.cache.contexts()
        raise UsageError(
            f"{store.cache.root}: no operational context; give --context NAME"
            + (f" (it has {', '.join(have[-3:])})" if have else "")
        )
    delivery = Delivery(store, base, paths, reason)
    delivery.points = base == operational
    if compare and not delivery.rejected:
        delivery.compare()
    return delivery


def rollback(root, reason, *, to=None, wait=60.0):
    """Make an earlier context the operational one again; nothing is deleted.

    Parameters
    ----------
    root : str or None
        Folder of the cache.
    reason : str
        Why; kept in the log.
    to : str or None
        Context to go back to, one that the operational one is derived from; None takes the last.
    wait : float
        Seconds to wait for a delivery to end.

    Returns
    -------
    dict
        The record: context and what was operational before.

    Raises
    ------
    UsageError
        If there is no such context.
    """
    store = Store(root)
    with store.locked(wait):
        now, _ = store.cache.operational()
        if now is None:
            raise UsageError(f"{store.cache.root}: no operational context to roll back")
        chain = [name for name in store.cache.derivation(now) if store.cache.mapping_path(name).is_file()]
        target = to or (chain[0] if chain else None)
        if target is None:
            raise UsageError(
                f"{now}: the cache does not have what it was derived from; nothing to go back to"
            )
        if target not in chain:
            raise UsageError(
                f"{target}: {now} is not derived from it (it is from {', '.join(chain[:5]) or 'nothing'})"
            )
        record = {"context": target, "rolled_back": now, "reason": reason, **signature()}
        store.add_record(f"{target}-rollback", record)
        store.cache.point(target)
    return record


def signature():
    """Who does this, where and when."""
    import getpass
    import platform

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"who": user, "host": platform.node(), "when": now}


def digest(path):
    """SHA-1 of a file, as the official system names files by."""
    total = hashlib.sha1(usedforsecurity=False)
    try:
        with Path(path).open("rb") as stream:
            while block := stream.read(_BLOCK):
                total.update(block)
    except OSError as exc:
        raise InputError(f"{path}: {exc.strerror or exc}") from None
    return total.hexdigest()


def _serial(name):
    found = _SERIAL.match(name)
    return int(found[2]) if found else 0


def _replace(selector, names):
    """Put names in place of others under keys that are written in any case; new ones are in capitals."""
    left = dict(names)
    for key in list(selector):
        if key.lower() in names:
            selector[key] = left.pop(key.lower(), selector[key])
    selector.update({key.upper(): name for key, name in left.items()})

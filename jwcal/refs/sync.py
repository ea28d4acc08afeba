"""Bring mappings and reference files into a cache: from a folder, an archive file or a mirror.

Nothing is brought that was not asked for, and nothing appears under its name before it is
there as a whole and, where its checksum is known, right.
"""

import contextlib
import hashlib
import os
import re
import shutil
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any

from jwcal.core.errors import InputError, OutputError, ReferenceFileError, TemporaryError, UsageError
from jwcal.refs.cache import OBSERVATORY, POINTER
from jwcal.refs.mapping import parse_mapping
from jwcal.refs.store import Store, sync_folder

_BLOCK = 1 << 18
_TRIES = 4
_TIMEOUT = 30
_PAUSE = 1.0
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


class FolderSource:
    """Files of a folder in the official layout, or of one that just holds files.

    Parameters
    ----------
    path : str
        The folder.
    """

    def __init__(self, path):
        self.root = Path(path)
        self.label = str(path)

    def _find(self, name, instrument=""):
        part = "mappings" if name.endswith("map") else "references"
        base = self.root / part / OBSERVATORY
        for folder in (base / instrument, base, self.root / part, self.root / instrument, self.root):
            if (folder / name).is_file():
                return folder / name
        return None

    def fetch(self, name, instrument, target, _report):
        """Copy a file; False if there is none."""
        found = self._find(name, instrument)
        if found is None:
            return False
        try:
            shutil.copyfile(found, target)
        except OSError as exc:
            if os.access(found, os.R_OK):
                raise OutputError(f"{target}: cannot be written: {exc.strerror or exc}") from None
            raise InputError(f"{found}: {exc.strerror or exc}") from None
        return True

    def sums(self):
        """SHA-1 by name, as far as the source tells."""
        found = self.root / "sha1sums"
        return _sums(found.read_text("utf-8", "replace")) if found.is_file() else {}


class ArchiveSource:
    """Files of a tar or zip archive, wherever in it they are.

    Parameters
    ----------
    path : str
        The archive.
    """

    def __init__(self, path):
        self.label = str(path)
        self._lock = threading.Lock()
        self._archive: Any
        try:
            if zipfile.is_zipfile(path):
                self._archive = zipfile.ZipFile(path)
                members = [(i.filename, i) for i in self._archive.infolist() if not i.is_dir()]
                self._open = self._archive.open
            else:
                self._archive = tarfile.open(path)  # noqa: SIM115 - open as long as the source
                members = [(m.name, m) for m in self._archive.getmembers() if m.isfile()]
                self._open = self._archive.extractfile
        except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as exc:
            raise InputError(f"{path}: is no readable tar or zip archive: {exc}") from None
        self._members = {PurePosixPath(name).name: member for name, member in members}

    def fetch(self, name, _instrument, target, _report):
        """Unpack a file; False if there is none."""
        member = self._members.get(name)
        if member is None:
            return False
        try:
            with self._lock, self._open(member) as stream, open(target, "wb") as out:
                shutil.copyfileobj(stream, out, _BLOCK)
        except (EOFError, tarfile.TarError, zipfile.BadZipFile) as exc:
            raise InputError(f"{self.label}: {name} cannot be unpacked: {exc}") from None
        return True

    def close(self):
        """Close the archive."""
        self._archive.close()

    def sums(self):
        """SHA-1 by name, as far as the source tells."""
        member = self._members.get("sha1sums")
        if member is None:
            return {}
        with self._lock, self._open(member) as stream:
            return _sums(stream.read().decode("utf-8", "replace"))


class MirrorSource:
    """Files of an HTTP or HTTPS server with the official layout below an address.

    A transfer that breaks goes on where it stopped, if the server knows ranges.

    Parameters
    ----------
    url : str
        The address.
    """

    def __init__(self, url):
        self.url = url.rstrip("/")
        self.label = self.url

    def _addresses(self, name, instrument):
        part = "mappings" if name.endswith("map") else "references"
        base = f"{self.url}/{part}/{OBSERVATORY}"
        name = urllib.parse.quote(name)
        return [f"{base}/{name}"] + (
            [f"{base}/{instrument}/{name}"] if instrument and part == "references" else []
        )

    def fetch(self, name, instrument, target, report):
        """Get a file; False if there is none."""
        return any(self._get(address, target, report) for address in self._addresses(name, instrument))

    def _get(self, address, target, report):
        problem = ""
        for turn in range(_TRIES):
            if turn:
                time.sleep(_PAUSE * turn)
            try:
                return self._try(address, target, report)
            except urllib.error.HTTPError as exc:
                if exc.code in (404, 410):
                    return False
                if exc.code == 416:
                    with contextlib.suppress(OSError):
                        os.unlink(target)
                elif exc.code < 500 and exc.code != 429:
                    raise InputError(f"{address}: the mirror refuses: {exc.code} {exc.reason}") from None
                problem = f"{exc.code} {exc.reason}"
            except (
                urllib.error.URLError,
                TimeoutError,
                ConnectionError,
                HTTPException,
                _CutShortError,
            ) as exc:
                problem = str(getattr(exc, "reason", exc))
        raise TemporaryError(f"{address}: cannot be had: {problem}; tried {_TRIES} times")

    @staticmethod
    def _try(address, target, report):
        have = os.path.getsize(target) if os.path.exists(target) else 0
        request = urllib.request.Request(address)  # noqa: S310 - http and https only, see open_source
        if have:
            request.add_header("Range", f"bytes={have}-")
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 - as above
            goes_on = answer.status == 206
            left = answer.headers.get("Content-Length")
            with open(target, "ab" if goes_on else "wb") as out:
                got = 0
                while block := answer.read(_BLOCK):
                    out.write(block)
                    got += len(block)
                    report(len(block))
            if left is not None and got < int(left):
                raise _CutShortError(f"ended after {got} of {left} bytes")
        return True

    def sums(self):
        """SHA-1 by name, as far as the mirror tells."""
        try:
            with urllib.request.urlopen(f"{self.url}/sha1sums", timeout=_TIMEOUT) as answer:  # noqa: S310 - as above
                return _sums(answer.read().decode("utf-8", "replace"))
        except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException):
            return {}


class _CutShortError(Exception):
    """A transfer ended before its end."""


def open_source(where):
    """Source of files: a folder, an archive file, or the address of a mirror.

    Raises
    ------
    UsageError
        If it is none of them.
    """
    if where.startswith(("http://", "https://")):
        return MirrorSource(where)
    if Path(where).is_dir():
        return FolderSource(where)
    if Path(where).is_file():
        return ArchiveSource(where)
    raise UsageError(f"{where}: is no folder, no archive file and no http(s) address")


def _sums(text):
    """SHA-1 by name of lines as sha1sum(1) writes them."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and re.fullmatch(r"[0-9a-f]{40}", words[0]):
            found[PurePosixPath(words[1].lstrip("*")).name] = words[0]
    return found


class Sync:
    """Brings files into a cache.

    Parameters
    ----------
    root : str
        Folder of the cache.
    source : FolderSource, ArchiveSource or MirrorSource
    jobs : int
        Files that are brought at the same time.
    report : callable or None
        Called with (name, bytes so far of all files) as files come in.

    Attributes
    ----------
    brought, present : list of str
        Names of files that were brought, and that were there already.
    bytes : int
        Size of what was brought.
    """

    def __init__(self, root, source, *, jobs=4, report=None):
        self.store, self.source, self.jobs = Store(root), source, jobs
        self.report = report
        self.brought: list = []
        self.present: list = []
        self.bytes = 0
        self._lock = threading.Lock()
        self._known: dict | None = None

    def context(self, name):
        """Bring a mapping and all mappings below it.

        Returns
        -------
        list of jwcal.refs.mapping.Mapping
            All of them, the first the one of the name.

        Raises
        ------
        ReferenceFileError
            If one is damaged.
        InputError
            If the source does not have it.
        """
        out = [self._mapping(name)]
        with ThreadPoolExecutor(self.jobs) as pool:
            below = list(out)
            while below:
                names = sorted({child for mapping in below for child in mapping.children().values()})
                below = list(pool.map(self._mapping, names))
                out += below
        return out

    def _mapping(self, name):
        path = self.store.cache.mapping_path(name)
        if path.is_file():
            with contextlib.suppress(ReferenceFileError):
                mapping = self.store.cache.read(name)
                self._note(name, 0, present=True)
                return mapping
        self._bring(name, "", path, _check_mapping)
        return self.store.cache.read(name)

    def references(self, wanted):
        """Bring reference files.

        Parameters
        ----------
        wanted : iterable of (str, str)
            Name and instrument (lower case) of each.

        Raises
        ------
        InputError
            If the source lacks one; the others are brought.
        """
        if self._known is None:
            self._known = self.source.sums()
        missing: list = []
        with ThreadPoolExecutor(self.jobs) as pool:
            jobs = [pool.submit(self._reference, *one) for one in dict.fromkeys(wanted)]
            for job in jobs:
                try:
                    job.result()
                except InputError as exc:
                    missing.append(str(exc))
        if missing:
            rest = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InputError(f"{missing[0]}{rest}")

    def _reference(self, name, instrument):
        if not _SAFE.match(name):
            raise ReferenceFileError(f"{name!r} is not the name of a reference file")
        if self.store.cache.reference_path(name, instrument) is not None:
            self._note(name, 0, present=True)
            return
        expected = (self._known or {}).get(name)

        def check(path):
            problem = _wrong(path, expected, name)
            if problem:
                raise ReferenceFileError(f"{name}: {problem}: {self.source.label} has it damaged")

        self._bring(name, instrument, self.store.reference_folder(instrument) / name, check)

    def _bring(self, name, instrument, path, check):
        scratch = path.with_name(f".{name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"{path.parent}: cannot be written: {exc.strerror}") from None
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"{path.parent}: read-only; sync has to write here")
        try:
            if not self.source.fetch(name, instrument, scratch, lambda n: self._progress(name, n)):
                raise InputError(f"{name}: not at {self.source.label}")
            try:
                check(scratch)
            except ReferenceFileError:
                scratch.unlink(missing_ok=True)
                raise
            size = scratch.stat().st_size
            with scratch.open("rb") as stream:
                os.fsync(stream.fileno())
            scratch.replace(path)
            sync_folder(path.parent)
        except OSError as exc:
            raise OutputError(f"{path}: cannot be written: {exc.strerror or exc}") from None
        self._note(name, size)

    def _progress(self, name, count):
        with self._lock:
            self.bytes += count
            if self.report:
                self.report(name, self.bytes)

    def _note(self, name, size, *, present=False):
        with self._lock:
            (self.present if present else self.brought).append(name)
            if not isinstance(self.source, MirrorSource):
                self.bytes += size
            if self.report and not present:
                self.report(name, self.bytes)


def _check_mapping(path):
    name = path.name[1 : -len(".part")]
    try:
        parse_mapping(path.read_text("utf-8"), name)
    except UnicodeDecodeError:
        raise ReferenceFileError(f"{name}: is no text, hence no mapping") from None


def _digest(path):
    total = hashlib.sha1(usedforsecurity=False)
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


# -- looking after a cache


def verify(root, *, context=None, references=True):
    """Check what a cache holds.

    Parameters
    ----------
    root : str or None
        Folder of the cache; None takes ``CRDS_PATH``.
    context : str or None
        Only what this context names, and that it is there; None is all that the cache holds.
    references : bool
        Check reference files too: that they can be read, and against the checksums noted when
        they were delivered.

    Yields
    ------
    name : str
        Each file that was checked.
    problem : str
        Empty if it is sound.
    """
    store = Store(root)
    cache = store.cache
    names = (
        _mappings_of(cache, context) if context else sorted(p.name for p in cache.mappings.glob("*.[pir]map"))
    )
    chosen: dict = {}
    for name in names:
        problem = ""
        try:
            mapping = cache.read(name)
            cache.derivation(name)
            if mapping.name != name:
                problem = f"its header calls it {mapping.name}"
            chosen.update(dict.fromkeys(mapping.references(), mapping.instrument))
        except ReferenceFileError as exc:
            problem = str(exc)
        yield name, problem
    if not references:
        return
    noted = {e["file"]: e["sha1"] for record in store.log() for e in record.get("files", ()) if "sha1" in e}
    there = {p.name: p for p in cache.references.rglob("*") if p.is_file() and not p.name.startswith(".")}
    for name in sorted(chosen if context else there):
        path = there.get(name)
        if path is None:
            yield name, "not in the cache"
        else:
            yield name, _wrong(path, noted.get(name))


def _wrong(path, expected, name=None):
    """Return what is wrong with a reference file, "" if nothing is."""
    from jwcal.core.asdf_file import is_asdf
    from jwcal.core.fits import open_fits

    if expected is not None and _digest(path) != expected:
        return "wrong checksum"
    name = name or path.name
    try:
        if name.endswith((".fits", ".fits.gz")):
            with open_fits(str(path)) as fits:
                fits.check_sums()
        elif name.endswith(".asdf") and not is_asdf(str(path)):
            return "is no ASDF file"
    except InputError as exc:
        return str(exc).removeprefix(f"{path}: ")
    return ""


def _mappings_of(cache, context):
    """Names of a context and of all mappings below it, as far as they can be read."""
    out, below = [], [context]
    while below:
        name = below.pop()
        out.append(name)
        with contextlib.suppress(ReferenceFileError):
            below += cache.read(name, verify=False).children().values()
    return sorted(set(out))


def collect_garbage(root, *, keep=(), dry_run=True, wait=60.0):
    """Find, and delete, what no context to be kept uses.

    Parameters
    ----------
    root : str or None
        Folder of the cache.
    keep : sequence of str
        Contexts to keep beside the operational one; empty keeps all contexts.
    dry_run : bool
        Delete nothing.
    wait : float
        Seconds to wait for a delivery to end.

    Returns
    -------
    list of (str, int)
        Path and size of each file.

    Raises
    ------
    UsageError
        If a context to keep is not there.
    ReferenceFileError
        If a context to keep cannot be read, so that it is not known what it uses.
    """
    store = Store(root)
    cache = store.cache
    with contextlib.ExitStack() as locks:
        if not dry_run:
            locks.enter_context(store.locked(wait))
            locks.enter_context(store.locked(wait, "sync"))
        operational, _ = cache.operational()
        kept = [*keep, *([operational] if operational else [])] if keep else cache.contexts()
        if operational and operational not in kept:
            kept.append(operational)
        if not kept:
            raise UsageError(f"{cache.root}: has no context; nothing says what to keep")
        used: set = set()
        for context in kept:
            if not cache.mapping_path(context).is_file():
                raise UsageError(f"{context}: not in the cache {cache.root}")
            for name in _mappings_of(cache, context):
                mapping = cache.read(name)
                used |= {name, *mapping.references()}
        there = [p for p in cache.mappings.glob("*.[pir]map") if p.name not in used]
        there += [p for p in cache.references.rglob("jwst_*") if p.name not in used]
        # What a process that died has left.
        there += [
            p for folder in (cache.mappings, cache.references, cache.config) for p in folder.rglob(".*.part")
        ]
        there += cache.config.glob(f".{POINTER}.*")
        found = [(str(p), p.stat().st_size) for p in sorted(there) if p.is_file() and not p.is_symlink()]
        if not dry_run:
            for path, _ in found:
                try:
                    os.unlink(path)
                except OSError as exc:
                    raise OutputError(f"{path}: cannot be deleted: {exc.strerror}") from None
    return found

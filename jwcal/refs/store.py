"""A cache that is written to: lock, names, files that appear whole or not at all."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from functools import cached_property

from jwcal.core.errors import InputError, OutputError, TemporaryError
from jwcal.refs.cache import Cache

RECORDS = "deliveries"
_BLOCK = 1 << 20
_NAMED = re.compile(r"(?P<stem>.+?)_(?P<serial>\d{4,})(?P<suffix>\.[pir]map)\Z")
_SERIAL = re.compile(r"_(\d{4,})\.")


class Store:
    """The writing side of a cache.

    Parameters
    ----------
    root : str or None
        Folder of the cache; None takes ``CRDS_PATH``.

    Attributes
    ----------
    cache : jwcal.refs.cache.Cache
        The reading side.
    """

    def __init__(self, root=None):
        self.cache = Cache(root)
        self.records = self.cache.config / RECORDS

    @contextlib.contextmanager
    def locked(self, wait, what="delivery"):
        """Hold the lock of the cache, which a process that dies gives back.

        Parameters
        ----------
        wait : float
            Seconds to wait for another process.
        what : str
            "delivery" or "sync": each has a lock of its own.

        Raises
        ------
        TemporaryError
            If another process holds it for longer.
        OutputError
            If the cache cannot be written.
        """
        path = self.cache.config / f"{what}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as exc:
            raise OutputError(
                f"{self.cache.root}: cannot be written ({exc.strerror}); a {what} has to write here"
            ) from None
        try:
            limit = time.monotonic() + wait
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= limit:
                        raise TemporaryError(
                            f"{self.cache.root}: another {what} holds the lock; tried for {wait:g} s"
                        ) from None
                    time.sleep(0.05)
            if self.cache.mappings.is_dir() and not os.access(self.cache.mappings, os.W_OK):
                raise OutputError(f"{self.cache.mappings}: read-only; a {what} has to write here")
            yield
        finally:
            os.close(handle)

    # -- names

    def next_mapping(self, old, taken=()):
        """Return an unused name for what is derived from a mapping.

        Parameters
        ----------
        old : str
            Name of the mapping.
        taken : collection of str
            More names that are used.
        """
        found = _NAMED.match(old)
        stem, suffix = (found["stem"], found["suffix"]) if found else old.rsplit(".", 1)
        suffix = suffix if suffix.startswith(".") else "." + suffix
        pattern = re.compile(re.escape(stem) + r"_(\d{4,})" + re.escape(suffix) + r"\Z")
        names = [p.name for p in self.cache.mappings.glob(f"{stem}_*{suffix}")]
        names += self.recorded
        serials = [int(m[1]) for m in map(pattern.match, (*names, *taken, old)) if m]
        return f"{stem}_{max(serials, default=0) + 1:04d}{suffix}"

    def references(self, stem):
        """Names of the reference files in the cache that begin like this, up to the serial number."""
        found = set()
        for folder in (self.cache.references, *self._folders()):
            found |= {p.name for p in folder.glob(f"{stem}_*") if _SERIAL.search(p.name)}
        return found | {name for name in self.recorded if name.startswith(f"{stem}_")}

    @cached_property
    def recorded(self):
        """Names that deliveries have given, also to what was deleted since: none is given twice."""
        names: set = set()
        for path in self.records.glob("*.json"):
            try:
                entry = json.loads(path.read_text("utf-8"))
                names |= {*entry.get("mappings", ()), *(file["file"] for file in entry.get("files", ()))}
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
        return names

    def _folders(self):
        with contextlib.suppress(OSError):
            return [p for p in self.cache.references.iterdir() if p.is_dir()]
        return []

    def reference_folder(self, instrument):
        """Folder for the reference files of an instrument, by the layout that the cache has."""
        mode = ""
        with contextlib.suppress(OSError):
            mode = (self.cache.config / "ref_cache_subdir_mode").read_text("utf-8").strip()
        nested = mode == "instrument" or (mode != "flat" and (self.cache.references / instrument).is_dir())
        return self.cache.references / instrument if nested else self.cache.references

    # -- writing

    def add_reference(self, source, name, instrument):
        """Copy a reference file into the cache.

        Returns
        -------
        str
            SHA-1 of what was copied.

        Raises
        ------
        OutputError
            If it cannot be written, or the name is used.
        InputError
            If the source cannot be read.
        """
        total = hashlib.sha1(usedforsecurity=False)
        folder = self.reference_folder(instrument)
        if not os.access(source, os.R_OK):
            raise InputError(f"{source}: cannot be read")
        with open(source, "rb") as stream, self._new(folder / name) as out:
            while block := stream.read(_BLOCK):
                total.update(block)
                out.write(block)
        return total.hexdigest()

    def add_mapping(self, name, text):
        """Write a mapping; see `add_reference`."""
        with self._new(self.cache.mapping_path(name)) as out:
            out.write(text.encode("utf-8"))

    def add_record(self, name, record):
        """Write an entry of the log."""
        stamp = record["when"].replace(":", "").replace("-", "")
        path = self.records / f"{stamp}-{name}.json"
        count = 1
        while path.exists():
            count += 1
            path = self.records / f"{stamp}-{name}.{count}.json"
        with self._new(path) as out:
            out.write((json.dumps(record, indent=1) + "\n").encode("utf-8"))

    @contextlib.contextmanager
    def _new(self, path):
        """File that appears under its name, on disk, when the block has ended well."""
        scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                raise OutputError(f"{path}: exists already")
            try:
                with scratch.open("wb") as out:
                    yield out
                    out.flush()
                    os.fsync(out.fileno())
                scratch.replace(path)
                sync_folder(path.parent)
            except BaseException:
                scratch.unlink(missing_ok=True)
                raise
        except OSError as exc:
            raise OutputError(f"{path}: cannot be written: {exc.strerror or exc}") from None

    # -- the log

    def log(self):
        """Entries of the log, the oldest first; of deliveries only those whose context exists."""
        out = []
        for path in sorted(self.records.glob("*.json")):
            try:
                entry = json.loads(path.read_text("utf-8"))
                if self.cache.mapping_path(entry["context"]).is_file():
                    out.append(entry)
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return out


def sync_folder(path):
    """Make the names in a folder survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

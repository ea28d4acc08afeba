"""Where mappings and reference files are kept, and which context holds.

The layout is that of the official client: ``mappings/jwst``, ``references/jwst`` (flat, or a
folder for each instrument) and ``config/jwst`` below ``CRDS_PATH``.  Nothing is ever fetched.
"""

import contextlib
import os
import re
from pathlib import Path

from jwcal.core.errors import InputError, OutputError, ReferenceFileError, UsageError

OBSERVATORY = "jwst"
POINTER = "operational"
# What the official client calls the context in force.
SYMBOLIC = "jwst-operational"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_CHAINED = 10000


class Cache:
    """A cache of mappings and reference files.

    Parameters
    ----------
    root : str, os.PathLike or None
        Its folder; None takes the environment variable ``CRDS_PATH``.  A folder of bare mapping files
        will do for selecting.

    Raises
    ------
    UsageError
        If there is no such folder, or none is named.
    """

    def __init__(self, root=None):
        asked = root or os.environ.get("CRDS_PATH")
        if not asked:
            raise UsageError("no reference cache: give --cache DIR, or set CRDS_PATH")
        self.root = Path(asked)
        if not self.root.is_dir():
            raise UsageError(f"{self.root}: no such reference cache (a directory is needed)")
        layout = self.root / "mappings" / OBSERVATORY
        self.mappings = layout if layout.is_dir() or not any(self.root.glob("*.[pir]map")) else self.root
        self.references = self.root / "references" / OBSERVATORY
        self.config = self.root / "config" / OBSERVATORY

    def mapping_path(self, name):
        """Path of a mapping, which need not exist."""
        if not _NAME.match(name):
            raise ReferenceFileError(f"{name!r} is not the name of a mapping")
        return self.mappings / name

    def read(self, name, *, verify=True):
        """Read a mapping by name; see `jwcal.refs.mapping.read_mapping`."""
        from jwcal.refs.mapping import read_mapping

        path = self.mapping_path(name)
        if not path.is_file():
            raise ReferenceFileError(f"{name}: not in the cache {self.root}: sync the context first")
        return read_mapping(path, verify=verify)

    def contexts(self):
        """Names of the contexts in the cache, the newest last."""
        return sorted(p.name for p in self.mappings.glob("*.pmap"))

    def reference_path(self, name, instrument=""):
        """Path of a reference file in the cache.

        Parameters
        ----------
        name : str
            Name of the file.
        instrument : str
            Its instrument in lower case.

        Returns
        -------
        Path or None
            None if the cache does not have it.
        """
        if not _NAME.match(name):
            raise ReferenceFileError(f"{name!r} is not the name of a reference file")
        for path in (self.references / instrument / name, self.references / name):
            if path.is_file():
                return path
        return None

    # -- the context in force

    def operational(self):
        """Return name of the operational context and where it stands.

        ``config/jwst/operational`` holds the name.  Without it the settings that the official client
        left in ``config/jwst/server_config`` count.

        Returns
        -------
        name : str or None
            None if nothing says which.
        origin : str
            File that says so.
        """
        pointer = self.config / POINTER
        try:
            return _named(pointer.read_text("utf-8").strip(), pointer), str(pointer)
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError) as exc:
            raise ReferenceFileError(f"{pointer}: cannot be read: {exc}") from None
        name = self._settings().get("operational_context")
        path = self.config / "server_config"
        return (None, "") if name is None else (_named(str(name), path), str(path))

    def bad_files(self):
        """Names of files that the official settings call invalid."""
        settings = self._settings()
        named = settings.get("bad_files_list") or settings.get("bad_files_set") or ()
        return frozenset(named.split() if isinstance(named, str) else map(str, named))

    def _settings(self):
        from jwcal.refs.mapping import literal

        path = self.config / "server_config"
        try:
            settings = literal(path.read_text("utf-8"), str(path))
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as exc:
            raise ReferenceFileError(f"{path}: cannot be read: {exc}") from None
        return settings if isinstance(settings, dict) else {}

    def point(self, name):
        """Make a context the operational one; the file is replaced at once or not at all.

        Parameters
        ----------
        name : str
            A .pmap of the cache.

        Raises
        ------
        ReferenceFileError
            If the cache does not have it.
        OutputError
            If the cache cannot be written.
        """
        if not self.mapping_path(name).is_file():
            raise ReferenceFileError(f"{name}: not in the cache {self.root}")
        target = self.config / POINTER
        scratch = target.with_name(f".{POINTER}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with scratch.open("w", encoding="utf-8") as stream:
                stream.write(name + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            scratch.replace(target)
        except OSError as exc:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise OutputError(f"{target}: cannot be written: {exc.strerror}") from None

    # -- derivation

    def derivation(self, name):
        """Return names a mapping was derived from, the nearest first, as far as the cache has them.

        Raises
        ------
        ReferenceFileError
            If a mapping is derived from itself, through others or at once.
        """
        chain = [name]
        while len(chain) < _CHAINED and self.mapping_path(chain[-1]).is_file():
            before = str(self.read(chain[-1], verify=False).value("derived_from"))
            if not re.fullmatch(r"[\w.-]+\.[pir]map", before):
                break
            if before in chain:
                raise ReferenceFileError(f"{name}: circular derivation: {' from '.join([*chain, before])}")
            chain.append(before)
        return chain[1:]


def find_context(root=None, context=None):
    """Cache and name of the context to use.

    Parameters
    ----------
    root : str or None
        Folder of the cache; None takes ``CRDS_PATH``.
    context : str or None
        Name of a .pmap or .imap, or path to one among its mappings.  None takes ``CRDS_CONTEXT``,
        then the operational context of the cache.

    Returns
    -------
    cache : Cache
    name : str
    origin : str
        What decided: "--context", "CRDS_CONTEXT" or the file that names it.
    """
    if context and os.sep in context:
        cache, name = locate(root, context)
        return cache, _checked(name, context), "--context"
    cache = Cache(root)
    name, origin = context, "--context"
    if not name:
        name, origin = os.environ.get("CRDS_CONTEXT"), "CRDS_CONTEXT"
    if not name or name == SYMBOLIC:
        name, origin = cache.operational()
    if not name:
        have = cache.contexts()
        hint = f"; it has {', '.join(have[-3:])}" if have else "; it has none"
        raise UsageError(f"{cache.root}: no operational context{hint}: give --context NAME")
    if not cache.mapping_path(_checked(name, origin)).is_file():
        raise ReferenceFileError(f"{name}: not in the cache {cache.root} ({origin})")
    return cache, name, origin


def locate(root, mapping):
    """Cache and name of a mapping given by name or path.

    Parameters
    ----------
    root : str or None
        Folder of the cache; None takes ``CRDS_PATH``, or that of the path.
    mapping : str
        Name of a mapping, or path to one.

    Returns
    -------
    cache : Cache
    name : str
    """
    if os.sep not in mapping:
        return Cache(root), mapping
    path = Path(mapping)
    if not path.is_file():
        raise InputError(f"{mapping}: no such mapping")
    cache = Cache(root) if root else _around(path)
    cache.mappings = path.parent
    return cache, path.name


def _around(path):
    """Cache that a mapping file lies in."""
    folder = path.resolve().parent
    return Cache(folder.parents[1] if folder.parts[-2:] == ("mappings", OBSERVATORY) else folder)


def _checked(name, origin):
    if not name.endswith((".pmap", ".imap")):
        raise UsageError(f"{name}: a context is a .pmap or .imap in the cache ({origin})")
    return name


def _named(name, path):
    if not _NAME.match(name):
        raise ReferenceFileError(f"{path}: holds {name[:60]!r}, not the name of a context")
    return name

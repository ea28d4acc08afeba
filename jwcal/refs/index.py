"""Index of compiled rules: one file for each context and instrument in the user's cache folder.

The first line tells what the index was made from, the others are the rules of one reference
type each, as JSON.  An index is taken only if its checksum is right and the mappings are
still the files, by size and time of change, whose checksums were verified when it was made.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from jwcal.core.errors import InputError, ReferenceFileError

FORMAT = "jwcal-rules-2"


def load(cache, context, instrument):
    """Compiled rules of an instrument.

    Parameters
    ----------
    cache : Cache
        Where the mappings are.
    context : str
        Name of a .pmap or .imap.
    instrument : str
        In lower case.

    Returns
    -------
    head : dict
        Entries: context, instrument, files (name, path, size, time, inode, SHA-1 each), keys, wanted
        (keyword of the rules by any name of it), types (in order: compiled, "N/A" or "OMIT"), digest.
    types : dict of str to str
        JSON text of the compiled rules by type.

    Raises
    ------
    ReferenceFileError
        If a mapping is missing, damaged or makes no sense.
    InputError
        If the context does not know the instrument.
    """
    target = _place(cache, context, instrument)
    found = _read(target)
    if found is None:
        found = build(cache, context, instrument)
        _write(target, *found)
    return found


def build(cache, context, instrument):
    """Compile the rules from the mappings, whose checksums are verified; see `load`."""
    from jwcal.refs.compile import EVERYWHERE, compile_rules
    from jwcal.refs.values import NA_VALUES, SPECIAL_VALUES

    files: list = []
    top = _read_mapping(cache, context, files)
    imap = top
    if top.kind == "pmap":
        below = {k.lower(): v for k, v in top.selector.items()}
        if instrument not in below:
            known = ", ".join(sorted(k.upper() for k in below))
            raise InputError(f"instrument {instrument.upper()}: {context} knows {known}")
        if below[instrument] in SPECIAL_VALUES:
            raise InputError(f"instrument {instrument.upper()}: {below[instrument]} in {context}")
        imap = _read_mapping(cache, below[instrument], files)
    elif top.instrument != instrument:
        raise InputError(f"instrument {instrument.upper()}: {context} is for {top.instrument.upper()}")
    states, types, keys = {}, {}, {"META.INSTRUMENT.NAME"}
    keys |= {*_keywords(top), *_keywords(imap), *EVERYWHERE}
    for kind, name in imap.selector.items():
        if name in SPECIAL_VALUES:
            states[kind.lower()] = "N/A" if name in NA_VALUES else "OMIT"
            continue
        compiled = compile_rules(_read_mapping(cache, name, files))
        keys |= set(compiled["keys"])
        states[kind.lower()] = "rules"
        types[kind.lower()] = json.dumps(compiled, separators=(",", ":"))
    head = {
        "format": FORMAT,
        "context": context,
        "instrument": instrument,
        "files": files,
        "keys": sorted(keys),
        "wanted": _names_of(keys),
        "types": states,
        "digest": hashlib.sha256("".join(f"{f[0]} {f[5]}\n" for f in sorted(files)).encode()).hexdigest(),
    }
    return head, types


def _keywords(mapping):
    return [
        k for k in (*mapping.header["parkey"], *mapping.header.get("extra_keys", ())) if isinstance(k, str)
    ]


def _names_of(keys):
    """Keyword of the rules by every name, in upper case, under which a header may give it."""
    from jwcal.refs.values import key_names

    fits = key_names()
    translated = set(fits.values())
    wanted = {}
    for key in sorted(keys):
        name = key.upper()
        # The official client turns FITS keywords into names of the data model before it looks.
        if name not in translated:
            wanted[name] = key
        if name in fits:
            wanted[fits[name]] = key
    return wanted


def _read_mapping(cache, name, files):
    mapping = cache.read(name)
    if mapping.name != name.lower():
        _log().warning("%s: its header says %s", name, mapping.name)
    if mapping.duplicates:
        _log().warning("%s: rule given twice, the last holds: %s", name, mapping.duplicates[0])
    path = cache.mapping_path(name)
    files.append([name, str(path), *_stamp(path), mapping.sha1sum])
    return mapping


def _log():
    # Logging is not cheap to import, and there is hardly ever anything to say.
    import logging

    return logging.getLogger(__name__)


def _stamp(path):
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _place(cache, context, instrument):
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jwcal" / "rules"
    path = cache.mapping_path(context).resolve()
    key = hashlib.sha256(f"{FORMAT}\0{path}\0{instrument}".encode("utf-8", "backslashreplace")).hexdigest()[
        :24
    ]
    return base / f"{Path(context).stem}-{key}.index"


def _read(target):
    """Contents of an index; None if there is none that holds."""
    try:
        raw = target.read_bytes()
        told, _, body = raw.partition(b"\n")
        if told.decode("ascii") != hashlib.sha256(body).hexdigest():
            return None
        first, *lines = body.decode("ascii").rstrip("\n").split("\n")
        head = json.loads(first)
        if head["format"] != FORMAT:
            return None
        for _, path, *stamp, _ in head["files"]:
            if _stamp(path) != stamp:
                return None
        kinds = [kind for kind, state in head["types"].items() if state == "rules"]
        return head, dict(zip(kinds, lines, strict=True))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(target, head, types):
    """Keep an index; where that cannot be done the next run compiles again."""
    body = "\n".join([json.dumps(head, separators=(",", ":")), *types.values()]) + "\n"
    raw = body.encode("ascii")
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(hashlib.sha256(raw).hexdigest().encode("ascii") + b"\n" + raw)
        scratch.replace(target)
    except OSError as exc:
        _log().info("%s: index not kept: %s", target, exc.strerror)
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def types_of(cache, context):
    """Return the reference types of all instruments of a context.

    Returns
    -------
    set of str
        In lower case; instruments whose mapping cannot be read are left out.
    """
    top = cache.read(context, verify=False)
    found: set = set()
    for name in top.children().values() if top.kind == "pmap" else (context,):
        try:
            found |= {kind.lower() for kind in cache.read(name, verify=False).selector}
        except ReferenceFileError:
            continue
    return found

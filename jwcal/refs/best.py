"""Best references of headers under a context."""

import json

from jwcal.core.errors import InputError, ReferenceFileError, UsageError
from jwcal.refs import index
from jwcal.refs.cache import find_context
from jwcal.refs.rules import FILE, NOT_APPLICABLE, OMITTED, REFUSED, Answer, Rules
from jwcal.refs.values import UNDEFINED, condition, parse_time

NOT_FOUND = "NOT FOUND "
_SIMPLE = (str, int, float, bool)


class Instrument:
    """Rules of all reference types of one instrument.

    Attributes
    ----------
    name : str
        In lower case.
    keys : list of str
        Keywords that any of its types needs.
    types : dict of str to str
        "rules", "N/A" or "OMIT" by reference type.
    digest : str
        SHA-256 over the names and checksums of all its mappings.
    """

    def __init__(self, head, texts):
        self.name = head["instrument"]
        self.keys, self.types, self.digest = head["keys"], head["types"], head["digest"]
        self.files = {f[0]: f for f in head["files"]}
        self._wanted = head["wanted"]
        self._texts = texts
        self._rules: dict = {}
        self._fits: dict = {}

    def rules(self, kind):
        """Return the rules of a type that has some."""
        found = self._rules.get(kind)
        if found is None:
            found = self._rules[kind] = Rules(json.loads(self._texts[kind]), self.keys)
        return found

    def fits_name(self, key):
        """Return the FITS keyword of a keyword of the rules, or itself where it has none."""
        if not self._fits:
            self._fits = {v: k for k, v in self._wanted.items() if not k.startswith("META.")}
        return self._fits.get(key, key)

    def fits_names(self):
        """Return the FITS keywords that the rules look at."""
        return [name for name in self._wanted if not name.startswith("META.")]

    def header(self, raw, when=None):
        """Return the values that matter, conditioned, by keyword of the rules.

        Parameters
        ----------
        raw : mapping
            Values by FITS keyword or data-model name, in any case; of two names for the same
            the last counts.
        when : tuple of str or None
            Date and time to use instead of those of the header.
        """
        header = dict.fromkeys(self.keys, UNDEFINED)
        wanted = self._wanted
        for key, value in raw.items():
            name = wanted.get(key) or wanted.get(key.upper())
            if name is not None and type(value) in _SIMPLE:
                header[name] = condition(value)
        if when is not None:
            header["META.OBSERVATION.DATE"], header["META.OBSERVATION.TIME"] = when
        return header

    def answer(self, kind, header):
        """Return the answer for one type and a header made by `header`."""
        state = self.types.get(kind)
        if state == "rules":
            return self.rules(kind).answer(header)
        if state is None:
            return Answer(REFUSED, reason=f"unknown reference type {kind!r}")
        if state == "N/A":
            return Answer(NOT_APPLICABLE, reason=f"not applicable to {self.name.upper()}")
        return Answer(OMITTED, reason=f"omitted for {self.name.upper()}")


class Context:
    """Rules of a context, instrument by instrument as they are needed.

    Parameters
    ----------
    root : str or None
        Folder of the cache; None takes ``CRDS_PATH``.
    context : str or None
        Context; None takes ``CRDS_CONTEXT``, then the operational one of the cache.

    Attributes
    ----------
    cache : Cache
    name, origin : str
        The context and what decided on it.
    """

    def __init__(self, root=None, context=None):
        self.cache, self.name, self.origin = find_context(root, context)
        self._instruments: dict = {}

    def instrument(self, raw):
        """Return the Instrument whose name a header gives."""
        value = None
        for key, found in raw.items():
            if key.upper() in ("INSTRUME", "META.INSTRUMENT.NAME") and type(found) in _SIMPLE:
                value = found
        name = UNDEFINED if value is None else condition(value)
        if name == UNDEFINED:
            raise InputError("no INSTRUME (META.INSTRUMENT.NAME) in the header")
        return self.named(name)

    def named(self, name):
        """Return the Instrument of a name."""
        name = name.lower()
        found = self._instruments.get(name)
        if found is None:
            found = self._instruments[name] = Instrument(*index.load(self.cache, self.name, name))
        return found

    def best(self, raw, types=None, when=None):
        """Best references of one header.

        Parameters
        ----------
        raw : mapping
            Values by FITS keyword or data-model name.
        types : sequence of str or None
            Reference types in lower case; None is all of the instrument.
        when : tuple of str or None
            Date and time instead of those of the header.

        Returns
        -------
        dict of str to Answer

        Raises
        ------
        InputError
            If the header names no instrument that the context knows.
        ReferenceFileError
            If a mapping is missing or damaged.
        """
        instrument = self.instrument(raw)
        header = instrument.header(raw, when)
        return {kind: instrument.answer(kind, header) for kind in types or instrument.types}

    def check_types(self, types):
        """Raise UsageError if no instrument has one of some types."""
        if types:
            known = index.types_of(self.cache, self.name)
            unknown = [kind for kind in types if kind not in known]
            if unknown:
                from difflib import get_close_matches

                near = get_close_matches(unknown[0], sorted(known), 3)
                hint = f" (near: {', '.join(near)})" if near else ""
                raise UsageError(f"--types {unknown[0]}: {self.name} has no such reference type{hint}")


def as_json(answers):
    """Answers as plain values: a file name, "n/a", or "NOT FOUND" with the reason; omitted types left out."""
    out = {}
    for kind, answer in answers.items():
        if answer.state == FILE:
            out[kind] = answer.files
        elif answer.state == NOT_APPLICABLE:
            out[kind] = "n/a"
        elif answer.state == REFUSED:
            out[kind] = NOT_FOUND + answer.reason
    return out


def moment(text):
    """Date and time of an option as the header would give them.

    Parameters
    ----------
    text : str or None
        Such as "2022-07-01", "2022-07-01T12:00:00".

    Returns
    -------
    tuple of str or None

    Raises
    ------
    UsageError
        If it is no time.
    """
    if text is None:
        return None
    try:
        date, time = parse_time(text.strip()).isoformat(" ").split(" ")
    except (ValueError, OverflowError):
        raise UsageError(f"--date {text}: must look like 2022-07-01 or 2022-07-01T12:00:00") from None
    return date, time


def read_header(path):
    """Keywords of a file by name.

    Parameters
    ----------
    path : str
        FITS (also compressed), ASDF or JSON file; "-" is FITS or JSON on standard input.

    Returns
    -------
    dict
        Values by keyword; cards without a value left out.

    Raises
    ------
    InputError
        If it is missing or none of these.
    """
    if path.endswith(".asdf"):
        from jwcal.core.asdf_file import header as asdf_header

        return dict(asdf_header(path))
    try:
        stream = _opened(path)
    except OSError as exc:
        raise InputError(f"{path}: {exc.strerror or exc}") from None
    with stream:
        try:
            start = stream.read(2880)
            if start[:9] == b"SIMPLE  =":
                return _fits_keywords(stream, start, path)
            text = (start + stream.read(1 << 24)).decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{path}: is neither FITS nor JSON") from None
        except (OSError, EOFError) as exc:
            raise InputError(f"{path}: cannot be read: {exc}") from None
    return parse_line(text, path)


def parse_line(text, label):
    """Header from JSON text; InputError naming what is wrong."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{label}: is no JSON object") from None
    if not isinstance(found, dict):
        raise InputError(f"{label}: is no JSON object")
    return found


def _opened(path):
    import sys

    if path == "-":
        return open(sys.stdin.fileno(), "rb", closefd=False)
    if path.endswith(".gz"):
        import gzip

        return gzip.open(path)
    return open(path, "rb")


def _fits_keywords(stream, start, path):
    from jwcal.core.header import Header

    data = bytearray(start)
    while not any(data[k : k + 8] == b"END     " for k in range(len(data) - 2880, len(data), 80)):
        block = stream.read(2880)
        if len(block) < 2880 or len(data) > 1 << 24:
            raise InputError(f"{path}: truncated FITS header")
        data += block
    header = Header.from_bytes(bytes(data), path)
    return {key: value for key, value in header.items() if isinstance(value, _SIMPLE)}


def path_of(context, answer, instrument):
    """Path of the one file of an answer.

    Raises
    ------
    ReferenceFileError
        If the cache does not have it, or the rules choose several.
    """
    if not isinstance(answer.files, str):
        raise ReferenceFileError(f"{context.name} chooses several files: {answer.files}")
    path = context.cache.reference_path(answer.files, instrument)
    if path is None:
        raise ReferenceFileError(
            f"{answer.files}: chosen by {context.name}, but not in the cache {context.cache.root}: sync it first"
        )
    return path

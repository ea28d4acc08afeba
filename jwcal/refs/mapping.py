"""Mapping files of the reference system (.pmap, .imap, .rmap): read safely, check, write back.

A mapping file looks like Python, and is read here as data: a small grammar of literals,
dictionaries, tuples and named selectors, with nothing evaluated.  Formatting and checksum
follow the official files, so that a file that is read and written back keeps its bytes.
"""

import hashlib
import re
from pathlib import Path

from jwcal.core.errors import ReferenceFileError
from jwcal.refs.values import SPECIAL_VALUES

SELECTORS = frozenset(
    ("Match", "UseAfter", "VersionAfter", "SelectVersion", "ClosestTime", "GeometricallyNearest", "Bracket")
)

_KINDS = {"pipeline": "pmap", "instrument": "imap", "reference": "rmap"}
_REQUIRED = {
    "pmap": ("mapping", "parkey", "name", "derived_from", "observatory"),
    "imap": ("mapping", "parkey", "name", "derived_from", "observatory", "instrument"),
    "rmap": ("mapping", "parkey", "name", "derived_from", "observatory", "instrument", "filekind"),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_DEEPEST = 40
_LONGEST = 1 << 26
_TOKEN = re.compile(
    r"""(?:[ \t\f\n]+|\\\n|\#[^\n]*)*+(?:
    (?P<string>[rRuU]?(?:'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"
        |'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)
    |(?P<op>==|!=|<=|>=|[-{}()\[\]:,=<>.])
    |(?P<end>\Z))""",
    re.VERBOSE | re.DOTALL,
)
_CONSTANTS = {"None": None, "True": True, "False": False}


class Selector:
    """One level of the rules of a reference type.

    Attributes
    ----------
    name : str
        Match, UseAfter, VersionAfter, SelectVersion, ClosestTime, GeometricallyNearest or Bracket.
    entries : dict
        Key as written in the file (text, number or tuple) to choice: a file name, "N/A", "OMIT",
        a tuple or dictionary of file names, or another Selector.
    """

    __slots__ = ("entries", "name")

    def __init__(self, name, entries=None):
        self.name = name
        self.entries = {} if entries is None else entries

    def __eq__(self, other):
        return isinstance(other, Selector) and (self.name, self.entries) == (other.name, other.entries)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self):
        return f"Selector({self.name!r}, {self.entries!r})"

    def sorted_entries(self):
        """Keys and choices in the order of the official files."""
        return sorted(self.entries.items(), key=lambda item: _order(item[0]))

    def walk(self, above=()):
        """Yield (keys from the top, choice) of every choice that is no selector."""
        for key, choice in self.sorted_entries():
            if isinstance(choice, Selector):
                yield from choice.walk((*above, key))
            else:
                yield (*above, key), choice

    def copy(self):
        """Deep copy; file names are shared."""
        return Selector(
            self.name, {k: c.copy() if isinstance(c, Selector) else c for k, c in self.entries.items()}
        )

    def format(self, indent=0):
        """Text of the selector as the official files have it."""
        lines = [self.name + "({"]
        for key, choice in self.sorted_entries():
            text = choice.format(indent + 1) if isinstance(choice, Selector) else repr(choice)
            lines.append("    " * (indent + 1) + f"{key!r} : {text},")
        lines.append("    " * indent + "})")
        return "\n".join(lines)


class Mapping:
    """One mapping file.

    Attributes
    ----------
    header : dict
        Header as written.
    selector : dict or Selector
        Names by instrument (.pmap) or reference type (.imap); rules (.rmap).
    comment : str or None
        The comment section.
    label : str
        Name for messages.
    duplicates : list of str
        Keys that the file gives more than once; the last one holds, as in the official client.
    """

    def __init__(self, header, selector, comment=None, label="(mapping)", duplicates=()):
        self.header = header
        self.selector = selector
        self.comment = comment
        self.label = label
        self.duplicates = list(duplicates)

    @property
    def kind(self):
        """Return pmap, imap or rmap."""
        kind = _KINDS.get(str(self.header.get("mapping", "")).lower())
        if kind is None:
            raise ReferenceFileError(f"{self.label}: header 'mapping' is {self.header.get('mapping')!r}")
        return kind

    def value(self, key, default=None):
        """Header value with text in lower case, but expressions in parentheses as they are."""
        found = self.header.get(key, default)
        if key in self.header and isinstance(found, str) and not (found[:1] == "(" and found[-1:] == ")"):
            return found.lower()
        return found

    @property
    def name(self):
        """Name in the header, in lower case."""
        return str(self.value("name"))

    @property
    def instrument(self):
        """Instrument in lower case."""
        return str(self.value("instrument", "")).lower()

    @property
    def filekind(self):
        """Reference type in lower case."""
        return str(self.value("filekind", "")).lower()

    @property
    def sha1sum(self):
        """Checksum in the header, None if there is none."""
        found = self.value("sha1sum")
        return None if found is None else str(found)

    def children(self):
        """Names of the mappings it names, by instrument or type in lower case; special values left out."""
        if isinstance(self.selector, Selector):
            return {}
        return {k.lower(): v for k, v in self.selector.items() if v not in SPECIAL_VALUES}

    def references(self):
        """Sorted names of the reference files it names itself."""
        found = set()
        if isinstance(self.selector, Selector):
            for _, choice in self.selector.walk():
                names = choice.values() if isinstance(choice, dict) else choice
                found |= {names} if isinstance(names, str) else set(names)
        return sorted(found - SPECIAL_VALUES)

    def copy(self):
        """Return a copy that can be changed freely."""
        selector = self.selector.copy() if isinstance(self.selector, Selector) else dict(self.selector)
        header = {k: dict(v) if isinstance(v, dict) else v for k, v in self.header.items()}
        return Mapping(header, selector, self.comment, self.label)

    def format(self):
        """Text of the file in official formatting, with the checksum that the header has.

        Comments after "#" are lost, the comment section is kept.
        """
        body = self.selector.format() if isinstance(self.selector, Selector) else _dictionary(self.selector)
        comment = f'comment = """{self.comment}"""\n\n' if self.comment else ""
        return f"header = {_dictionary(self.header)}\n\n{comment}selector = {body}\n"

    def stamp(self):
        """Put the right checksum into the header, and return the text of the file."""
        self.header["sha1sum"] = checksum(self.format())
        return self.format()

    def check(self):
        """Raise ReferenceFileError unless header and selector are those of a mapping."""
        kind = self.kind
        missing = [key for key in _REQUIRED[kind] if key not in self.header]
        if missing:
            raise ReferenceFileError(f"{self.label}: header {missing[0]!r} is missing")
        if (kind == "rmap") != isinstance(self.selector, Selector):
            raise ReferenceFileError(f"{self.label}: selector of a {kind} expected")
        if kind == "rmap":
            return
        below = ".imap" if kind == "pmap" else ".rmap"
        for key, child in self.selector.items():
            if not isinstance(key, str) or not isinstance(child, str):
                raise ReferenceFileError(f"{self.label}: {key!r} names no mapping")
            if child not in SPECIAL_VALUES and not (_NAME.match(child) and child.endswith(below)):
                raise ReferenceFileError(f"{self.label}: {key} : {child!r} is not the name of an {below[1:]}")


def checksum(text):
    """SHA-1 of a mapping's text without the lines that hold the checksum itself."""
    kept = "".join(line for line in text.splitlines(True) if "sha1sum" not in line)
    return hashlib.sha1(kept.encode("utf-8"), usedforsecurity=False).hexdigest()


def read_mapping(path, *, verify=True):
    """Read a mapping file.

    Parameters
    ----------
    path : str or os.PathLike
        Name of the file.
    verify : bool
        Compare the checksum in the header with the text.

    Returns
    -------
    Mapping

    Raises
    ------
    ReferenceFileError
        If it is missing, no mapping, or its checksum is wrong.
    """
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise ReferenceFileError(f"{path}: no such mapping") from None
    except OSError as exc:
        raise ReferenceFileError(f"{path}: cannot be read: {exc.strerror}") from None
    try:
        text = raw.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise ReferenceFileError(f"{path}: is no text, hence no mapping") from None
    return parse_mapping(text, str(path), verify=verify)


def parse_mapping(text, label="(mapping)", *, verify=True):
    """Parse the text of a mapping; see `read_mapping`."""
    if len(text) > _LONGEST:
        raise ReferenceFileError(f"{label}: longer than any mapping")
    mapping = Parser(text, label).mapping()
    mapping.check()
    if verify:
        if mapping.sha1sum is None:
            raise ReferenceFileError(f"{label}: header 'sha1sum' is missing")
        if mapping.sha1sum != checksum(text):
            raise ReferenceFileError(
                f"{label}: wrong checksum: the file was changed or damaged; get it again, or restamp it"
            )
    return mapping


def literal(text, label="(value)"):
    """Value of one literal: text, number, constant, tuple, list or dictionary."""
    parser = Parser(text, label)
    value = parser.value()
    parser.expect("end")
    return value


class Parser:
    """Reader of the grammar of mapping files, one token at a time.

    Parameters
    ----------
    text : str
        What to read, lines ended by newlines.
    label : str
        Name for messages.
    """

    def __init__(self, text, label):
        self.source, self.label = text, label
        self.duplicates = []
        self.place = 0
        self.deep = 0
        self.next()

    def next(self):
        """Go to the next token: `kind`, `text` and `start` describe it."""
        found = _TOKEN.match(self.source, self.place)
        if found is None:
            raise self.wrong("cannot be read", self.place)
        self.kind = str(found.lastgroup)
        self.text = found.group(self.kind)
        self.start, self.place = found.span(self.kind)

    def wrong(self, what, place=None):
        """Error that names the line."""
        line = self.source.count("\n", 0, self.start if place is None else place) + 1
        return ReferenceFileError(f"{self.label}: not a valid mapping: line {line} {what}")

    def at(self, *operators):
        """Whether the token is one of some operators."""
        return self.kind == "op" and self.text in operators

    def take(self, operator):
        """Whether the token is an operator, which is then passed."""
        if self.kind == "op" and self.text == operator:
            self.next()
            return True
        return False

    def expect(self, what):
        """Pass an operator, or raise; "end" is the end of the text."""
        if what == "end" and self.kind == "end":
            return
        if not self.take(what):
            found = repr(self.text) if self.text else "the end"
            raise self.wrong(f"has {found} where {what if what == 'end' else repr(what)} belongs")

    def mapping(self):
        """Read a whole file."""
        parts = {}
        while self.kind != "end":
            name = self.text
            if self.kind != "name" or name not in ("header", "comment", "selector") or name in parts:
                raise self.wrong(f"has {name!r}, not one of header, comment, selector, each once")
            self.next()
            self.expect("=")
            parts[name] = self.value()
        header, selector, comment = parts.get("header"), parts.get("selector"), parts.get("comment")
        if not isinstance(header, dict) or not isinstance(selector, dict | Selector):
            raise ReferenceFileError(f"{self.label}: not a valid mapping: it needs a header and a selector")
        if comment is not None and not isinstance(comment, str):
            raise ReferenceFileError(f"{self.label}: not a valid mapping: its comment is no text")
        return Mapping(header, selector, comment, self.label, self.duplicates)

    def value(self):
        """Read one value."""
        kind, text = self.kind, self.text
        if kind == "string":
            return self.string()
        if kind == "number":
            self.next()
            return self.number(text)
        if kind == "name":
            self.next()
            if text in _CONSTANTS:
                return _CONSTANTS[text]
            if text in SELECTORS and self.at("("):
                return self.selector(text)
            raise self.wrong(f"has the name {text!r}, which means nothing in a mapping")
        if self.at("-"):
            self.next()
            text = self.text
            if self.kind != "number":
                raise self.wrong("has a minus sign without a number")
            self.next()
            return -self.number(text)
        return self.collection()

    def string(self):
        """Read text; adjacent pieces belong together."""
        parts = []
        while self.kind == "string":
            text = self.text
            if "\\" in text:
                parts.append(self.unescape(text))
            else:
                text = text.lstrip("rRuU")
                parts.append(text[3:-3] if text[:3] in ("'''", '"""') else text[1:-1])
            self.next()
        return "".join(parts)

    def unescape(self, text):
        """Text of a literal with backslashes."""
        from ast import literal_eval

        try:
            return literal_eval(text)
        except (SyntaxError, ValueError):
            raise self.wrong("has text with a wrong backslash") from None

    def number(self, text):
        """Value of a number."""
        try:
            digits = text.replace("_", "")
            if not digits.isdigit():
                return float(text)
            if len(digits) > 1 and digits[0] == "0" and digits.strip("0"):
                raise ValueError
            return int(text)
        except ValueError:
            raise self.wrong(f"has the number {text}") from None

    def collection(self):
        """Read a dictionary, list, tuple or value in parentheses."""
        self.deep += 1
        if self.deep > _DEEPEST:
            raise self.wrong("is nested too deeply")
        try:
            if self.take("{"):
                return self.entries()
            if self.take("["):
                return self.items("]")[0]
            self.expect("(")
            items, comma = self.items(")")
            return items[0] if len(items) == 1 and not comma else tuple(items)
        finally:
            self.deep -= 1

    def items(self, end):
        """Read values up to the closing bracket; also whether a comma was among them."""
        items, comma = [], False
        while not self.take(end):
            items.append(self.value())
            if not self.take(","):
                self.expect(end)
                break
            comma = True
        return items, comma

    def entries(self):
        """Read the rest of a dictionary."""
        out: dict = {}
        while not self.take("}"):
            start = self.start
            key = self.value()
            self.expect(":")
            value = self.value()
            try:
                if key in out:
                    self.duplicates.append(f"line {self.source.count(chr(10), 0, start) + 1}: {key!r}")
                out[key] = value
            except TypeError:
                raise self.wrong(f"has {key!r} as a key", start) from None
            if not self.take(","):
                self.expect("}")
                break
        return out

    def selector(self, name):
        """Read the argument of a selector."""
        self.expect("(")
        self.deep += 1
        if self.deep > _DEEPEST:
            raise self.wrong("is nested too deeply")
        self.expect("{")
        entries = self.entries()
        self.expect(")")
        self.deep -= 1
        return Selector(name, entries)


def _order(key):
    return tuple(str(field) for field in key) if isinstance(key, tuple) else (str(key),)


def _dictionary(entries, indent=0):
    """Text of a dictionary, sorted, as the official files have it."""
    inner = "    " * (indent + 1)
    lines = ["{"]
    for key, value in sorted(entries.items(), key=lambda item: item[0]):
        text = _dictionary(value, indent + 1) if isinstance(value, dict) else repr(value)
        lines.append(f"{inner}{key!r} : {text},")
    lines.append("    " * indent + "}")
    return "\n".join(lines)

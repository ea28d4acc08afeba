"""FITS headers: 80-column cards, indexed at once, parsed only when asked for."""

import math
import re

from jwcal.core.errors import InputError, OutputError

CARD = 80
BLOCK = 2880

_COMMENTARY = {"COMMENT", "HISTORY", ""}
_RESERVED = {"END", "CONTINUE", "HIERARCH"}
_STANDARD_KEY = re.compile(r"[A-Z0-9_-]{1,8}\Z")
_STRING = re.compile(r"\s*'((?:[^']|'')*)'\s*(?:/(.*))?\Z", re.DOTALL)
_INTEGER = re.compile(r"[+-]?\d+\Z")
_REAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?\Z")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class _Malformed:
    """Value of a card that has one but cannot be read."""


_MALFORMED = _Malformed()


class _Card:
    """One keyword with its image; cards are replaced, never changed."""

    __slots__ = ("_parsed", "image", "key")

    def __init__(self, key, image, parsed=None):
        self.key = key
        self.image = image
        self._parsed = parsed

    def parsed(self):
        """Value and comment; `_MALFORMED` stands for a value that cannot be read."""
        if self._parsed is None:
            self._parsed = _parse(self.key, self.image)
        return self._parsed

    @property
    def has_value(self):
        return self.key not in _COMMENTARY and (
            self.image[8:10] == "= " or (self.image.startswith("HIERARCH ") and "=" in self.image)
        )


class Header:
    """Ordered FITS header that writes unchanged cards back byte for byte.

    Keywords are looked up without regard to case.  Of a repeated keyword the first
    card counts.  Values are ``bool``, ``int``, ``float``, ``complex``, ``str`` or
    None (a card whose value is undefined).

    Parameters
    ----------
    label : str, optional
        Name of the file and HDU, put in front of messages.
    """

    def __init__(self, label=""):
        self.label = label
        self._cards = []
        self._index = {}

    @classmethod
    def from_bytes(cls, data, label=""):
        """Read the cards up to END.

        Parameters
        ----------
        data : bytes
            Header blocks, or bare 80-byte cards; what follows END is ignored.
        label : str, optional
            Name put in front of messages.

        Returns
        -------
        Header

        Notes
        -----
        Cards that break the standard are kept as they are; asking for the value of
        such a card raises `InputError`.
        """
        header = cls(label)
        text = bytes(data).decode("latin-1")
        cards = header._cards
        for start in range(0, len(text) - len(text) % CARD, CARD):
            image = text[start : start + CARD]
            key = image[:8].rstrip()
            if key == "END" and image[8:10] != "= ":
                break
            if key == "HIERARCH":
                key = _hierarch_key(image)
            elif key == "CONTINUE" and cards and _continues(cards[-1]):
                last = cards[-1]
                cards[-1] = _Card(last.key, last.image + image)
                continue
            cards.append(_Card(key, image))
        header._reindex()
        return header

    def _reindex(self):
        index: dict[str, int] = {}
        for position, card in enumerate(self._cards):
            index.setdefault(card.key, position)
        self._index = index

    def __contains__(self, key):
        return key.upper() in self._index

    def __len__(self):
        """Count the 80-byte cards, END aside."""
        return sum(len(card.image) for card in self._cards) // CARD

    def __iter__(self):
        return (card.key for card in self._cards if card.has_value)

    def __getitem__(self, key):
        """Value of a keyword; for COMMENT, HISTORY and blank the list of texts.

        Raises
        ------
        InputError
            If the keyword is missing or its value cannot be read.
        """
        key = key.upper()
        if key in _COMMENTARY:
            return [card.image[8:].rstrip() for card in self._cards if card.key == key]
        position = self._index.get(key)
        if position is None:
            raise InputError(self._message(f"keyword {key} is missing"))
        card = self._cards[position]
        value = card.parsed()[0]
        if value is _MALFORMED:
            raise InputError(self._message(f"keyword {key} cannot be read: {card.image[:CARD].strip()!r}"))
        return value

    def __setitem__(self, key, value):
        self.set(key, value)

    def __delitem__(self, key):
        """Remove all cards of a keyword; a missing keyword is not an error."""
        key = key.upper()
        if key in self._index:
            self._cards = [card for card in self._cards if card.key != key]
            self._reindex()

    def _message(self, text):
        return f"{self.label}: {text}" if self.label else text

    def get(self, key, default=None):
        """Value of a keyword, or `default` if it is missing or undefined.

        Raises
        ------
        InputError
            If the keyword is there but its value cannot be read.
        """
        if key.upper() not in self._index:
            return default
        value = self[key]
        return default if value is None else value

    def set(self, key, value, comment=None, after=None):
        """Give a keyword a value; a new one goes to the end of the header.

        Parameters
        ----------
        key : str
            Up to 8 of ``A-Z 0-9 _ -``; anything else becomes a HIERARCH card.
        value : bool, int, float, complex, str, numpy scalar or None
            None and NaN, which FITS headers cannot hold, give an undefined value.
            A string too long for one card is continued.  Trailing blanks of a
            string are not significant and are dropped.
        comment : str, optional
            None keeps the comment of an existing card.  What does not fit behind
            the value is cut off.
        after : str, optional
            Put a new card behind this keyword, if the header has it.

        Raises
        ------
        OutputError
            If a text holds characters that FITS does not allow, or does not fit.
        """
        key = key.upper()
        if key in _COMMENTARY or key in _RESERVED:
            raise ValueError(f"{key!r} is not a keyword that takes a value")
        value = _plain(value)
        position = self._index.get(key)
        if position is not None:
            old_value, old_comment = self._cards[position].parsed()
            if comment is None:
                comment = old_comment
            if comment == old_comment and _same(value, old_value):
                return
        comment = comment or ""
        try:
            image = _format(key, value, comment)
        except ValueError as exc:
            raise OutputError(self._message(f"keyword {key}: {exc}")) from None
        card = _Card(key, image)
        if len(image) > CARD and "LONGSTRN" not in self._index:
            self.announce_long_strings(before=key)
            position = self._index.get(key)
        if position is not None:
            self._cards[position] = card
        elif after is not None and after.upper() in self._index:
            self._cards.insert(self._index[after.upper()] + 1, card)
            self._reindex()
        else:
            self._index[key] = len(self._cards)
            self._cards.append(card)

    def blank(self, key):
        """Replace the cards of a keyword by blank ones, which keeps the length of the header."""
        key = key.upper()
        if key in self._index:
            self._cards = [_Card("", " " * CARD) if card.key == key else card for card in self._cards]
            self._reindex()

    def announce_long_strings(self, before=None):
        """Add the LONGSTRN card that readers of continued strings look for.

        Parameters
        ----------
        before : str, optional
            Keyword to put it in front of; else, or if there is none, the end.
            Without it nothing is added unless the header has continued strings.
        """
        if before is None and not any(len(card.image) > CARD for card in self._cards):
            return
        if "LONGSTRN" not in self._index:
            image = _format("LONGSTRN", "OGIP 1.0", "long strings are continued")
            self._cards.insert(self._index.get(before, len(self._cards)), _Card("LONGSTRN", image))
            self._reindex()

    def comment(self, key):
        """Comment of a keyword, empty if there is none or no such keyword."""
        position = self._index.get(key.upper())
        return "" if position is None else self._cards[position].parsed()[1]

    def add_history(self, text):
        """Add text as HISTORY cards, behind those that are there."""
        self._add_text("HISTORY", text)

    def add_comment(self, text):
        """Add text as COMMENT cards, behind those that are there."""
        self._add_text("COMMENT", text)

    def _add_text(self, key, text):
        lines = _wrap(text, CARD - 8)
        for line in lines:
            if _UNPRINTABLE.search(line):
                raise OutputError(self._message(f"{key}: {_unprintable(line)}"))
        position = len(self._cards)
        while position and key in self._index and self._cards[position - 1].key != key:
            position -= 1
        self._cards[position:position] = [_Card(key, f"{key:<8}{line:<72}") for line in lines]
        self._reindex()

    def items(self):
        """Iterate over ``(key, value)`` of all cards that have a value.

        A value that cannot be read is given as the text of its card.
        """
        for card in self._cards:
            if card.has_value:
                value = card.parsed()[0]
                yield card.key, card.image[10:].strip() if value is _MALFORMED else value

    def cards(self):
        """Iterate over ``(key, value, comment)`` of all cards, commentary included.

        Of commentary and of cards that cannot be read the value is their text.
        """
        for card in self._cards:
            value, comment = card.parsed()
            if not card.has_value or value is _MALFORMED:
                value = card.image[8:].rstrip()
            yield card.key, value, comment

    def copy(self, label=None):
        """Independent copy of the header."""
        other = Header(self.label if label is None else label)
        other._cards = list(self._cards)
        other._index = dict(self._index)
        return other

    def without(self, drop):
        """Copy that leaves out every card for whose keyword ``drop(key)`` is true."""
        other = Header(self.label)
        other._cards = [card for card in self._cards if not drop(card.key)]
        other._reindex()
        return other

    def prepend(self, entries):
        """Put mandatory cards first, in the given order, and remove repetitions.

        Parameters
        ----------
        entries : list of (str, object, str)
            Keyword, value, comment.  A card that already has this value is kept as
            it is, with its own comment.
        """
        first = []
        for key, value, comment in entries:
            position = self._index.get(key)
            old = None if position is None else self._cards[position]
            if old is not None and len(old.image) == CARD and _same(value, old.parsed()[0]):
                first.append(old)
            else:
                first.append(_Card(key, _format(key, value, comment)))
        keys = {key for key, _, _ in entries}
        self._cards = first + [card for card in self._cards if card.key not in keys]
        self._reindex()

    def extend(self, other):
        """Append all cards of another header as they are."""
        self._cards.extend(other._cards)  # noqa: SLF001 - of the same class
        self._reindex()

    def to_bytes(self, minimum=0):
        """Header blocks: cards, END and padding.

        Parameters
        ----------
        minimum : int, optional
            Smallest size [bytes]; blank cards in front of END fill it.

        Returns
        -------
        bytes
            Length a multiple of 2880.
        """
        text = "".join([card.image for card in self._cards])
        size = max(-(-(len(text) + CARD) // BLOCK) * BLOCK, minimum)
        if size - len(text) > BLOCK:
            text += " " * (size - BLOCK - len(text))
        return (text + "END").ljust(size).encode("latin-1")


def _hierarch_key(image):
    equals = image.find("=")
    return image[9:equals].strip().upper() if equals > 9 else "HIERARCH"


def _continues(card):
    """Whether the string of this card goes on in a CONTINUE card."""
    if not card.has_value:
        return False
    tail = card.image[-CARD:]
    start = 8 if tail.startswith("CONTINUE") else tail.index("=") + 1
    match = _STRING.match(tail[start:])
    return match is not None and match.group(1).rstrip().endswith("&")


def _parse(key, image):
    if key in _COMMENTARY or key in _RESERVED:
        return None, ""
    if image.startswith("HIERARCH ") and image[8:10] != "= ":
        field = image[image.index("=") + 1 : CARD]
    elif image[8:10] == "= ":
        field = image[10:CARD]
    else:
        return _MALFORMED, ""
    match = _STRING.match(field)
    if match:
        return _parse_string(match, image)
    text, _, comment = field.partition("/")
    return _parse_number(text.strip()), comment.strip()


def _parse_string(match, image):
    text = match.group(1).replace("''", "'")
    comments = [(match.group(2) or "").strip()]
    for start in range(CARD, len(image), CARD):
        match = _STRING.match(image[start + 8 : start + CARD])
        if not match:
            return _MALFORMED, ""
        text = text.rstrip()[:-1] + match.group(1).replace("''", "'")
        comments.append((match.group(2) or "").strip())
    return text.rstrip(), " ".join(part for part in comments if part)


def _parse_number(text):
    if text == "":
        return None
    if text in ("T", "F"):
        return text == "T"
    if _INTEGER.match(text):
        return int(text)
    if _REAL.match(text):
        return _real(text)
    if text.startswith("(") and text.endswith(")"):
        parts = [part.strip() for part in text[1:-1].split(",")]
        if len(parts) == 2 and all(_REAL.match(part) for part in parts):
            numbers = [_real(part) for part in parts]
            if _MALFORMED not in numbers:
                return complex(*numbers)
    return _MALFORMED


def _real(text):
    value = float(text.upper().replace("D", "E"))
    return value if math.isfinite(value) else _MALFORMED


def _plain(value):
    """Python scalar of a NumPy one; NaN becomes None, blanks at the end go."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        return value.rstrip(" ")
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _same(new, old):
    """Equal in type, value and sign of zero."""
    if type(new) is not type(old) or new != old:
        return False
    return not isinstance(new, float) or math.copysign(1, new) == math.copysign(1, old)


def _unprintable(text):
    bad = "".join(sorted(set(_UNPRINTABLE.findall(text))))
    return f"FITS headers take printable ASCII only, not {bad!r}"


def _format(key, value, comment):
    if _UNPRINTABLE.search(key) or _UNPRINTABLE.search(comment):
        raise ValueError(_unprintable(key + comment))
    if _STANDARD_KEY.match(key):
        head = f"{key:<8}= "
    elif not key.strip() or key != key.strip() or "=" in key:
        raise ValueError("not a keyword that FITS can hold")
    else:
        head = f"HIERARCH {key} = "
    if isinstance(value, str):
        if _UNPRINTABLE.search(value):
            raise ValueError(_unprintable(value))
        return _format_string(head, value, comment)
    text = head + _number(value).rjust(20)
    if len(text) > CARD:
        text = head + _number(value)
    if len(text) > CARD:
        raise ValueError("keyword and value do not fit into one card")
    return _with_comment(text, comment)


def _with_comment(text, comment):
    if comment and len(text) + 4 <= CARD:
        text = f"{text} / {comment}"
    return text[:CARD].ljust(CARD)


def _number(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _real_text(value)
    if isinstance(value, complex):
        return f"({_real_text(value.real)}, {_real_text(value.imag)})"
    raise ValueError(f"a value of type {type(value).__name__} cannot be put into a FITS header")


def _real_text(value):
    """Shortest text that reads back to the same double, with a decimal point."""
    if not math.isfinite(value):
        raise ValueError("FITS headers cannot hold infinity")
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    return f"{mantissa}E{exponent}" if mark else mantissa


def _format_string(head, value, comment):
    quoted = value.replace("'", "''")
    whole = f"{head}'{quoted:<8}'"
    if len(whole) <= CARD:
        return _with_comment(f"{whole:<30}", comment)
    if len(head) > CARD - 8:
        raise ValueError("keyword and value do not fit into one card")
    images = []
    lead = head
    while True:
        room = CARD - len(lead) - 2
        if len(quoted) <= room:
            images.append(_with_comment(f"{lead}'{quoted}'", comment))
            return "".join(images)
        cut = room - 1
        # A quote is written as two; a cut between them would end the string.
        if (len(quoted[:cut]) - len(quoted[:cut].rstrip("'"))) % 2:
            cut -= 1
        images.append(f"{lead}'{quoted[:cut]}&'".ljust(CARD))
        quoted = quoted[cut:]
        lead = "CONTINUE  "


def _wrap(text, width):
    """Lines of at most `width` characters, broken at blanks where there are any."""
    lines = []
    for paragraph in text.split("\n"):
        line = paragraph.rstrip()
        while len(line) > width:
            cut = line.rfind(" ", 1, width + 1)
            if cut < width // 2:
                cut = width
            lines.append(line[:cut])
            line = line[cut:].lstrip(" ")
        lines.append(line)
    return lines

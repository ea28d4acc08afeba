"""Compare two products: planes with tolerance and flags by name, keywords, tables."""

import math
import os

import numpy as np

from jwcal.analysis import planes
from jwcal.core import dq
from jwcal.core.errors import InputError

# They tell when and by which program a file was written, or how its bytes are laid out.
IGNORED_KEYWORDS = (
    "DATE", "FILENAME", "CAL_VER", "CAL_VCS", "CHECKSUM", "DATASUM", "NEXTEND", "HISTORY", "COMMENT", "",
)  # fmt: skip
# ASDF repeats the headers, with their dates; PROVENANCE tells paths and the origin of parameters.
IGNORED_EXTENSIONS = ("ASDF", "PROVENANCE")
_STRUCTURE = ("SIMPLE", "XTENSION", "BITPIX", "EXTEND", "PCOUNT", "GCOUNT", "TFIELDS", "BZERO", "BSCALE")
_TABLE_STRUCTURE = ("TTYPE", "TFORM", "TZERO", "TSCAL", "TDIM", "TNULL", "TDISP")
_RAW_STEP = 1 << 24


def compare(left, right, *, rtol=0.0, atol=0.0, keywords=True, ignore=()):
    """Differences of two FITS files.

    Parameters
    ----------
    left, right : str
        File names; one may be "-" for standard input.
    rtol, atol : float
        Two numbers agree if ``|left - right| <= atol + rtol * |right|``, if they are
        equal, or if both are NaN.  Flags must be equal.
    keywords : bool
        Whether to compare header keywords.
    ignore : sequence of str
        More keywords or extension names to leave out.

    Returns
    -------
    dict
        ``same`` (bool) and ``differences``, a list of dicts with ``where`` (extension),
        ``kind`` ("missing", "type", "shape", "values", "flags", "keyword", "table",
        "bytes") and numbers by kind.

    Raises
    ------
    JwcalError
        If a file cannot be read.
    """
    from jwcal.core.fits import open_fits

    ignore = {word.strip().upper() for word in ignore if word.strip()}
    with open_fits(left) as a, open_fits(right) as b:
        mine, theirs = _by_title(a, ignore), _by_title(b, ignore)
        found = []
        for title in [*mine, *(t for t in theirs if t not in mine)]:
            if title not in mine or title not in theirs:
                where = a.label if title in mine else b.label
                found.append({"where": title, "kind": "missing", "text": f"only in {where}"})
                continue
            one, two = mine[title], theirs[title]
            if keywords:
                found += _keywords(title, one.header, two.header, ignore, rtol, atol)
            found += _data(title, one, two, rtol, atol)
    return {"left": a.label, "right": b.label, "same": not found, "differences": found}


def _by_title(fits, ignore):
    return {
        title: hdu
        for title, hdu in zip(planes.titles(fits), fits.hdus, strict=True)
        if hdu.name not in IGNORED_EXTENSIONS and hdu.name not in ignore
    }


# -- keywords


def _left_out(key, ignore):
    if key in IGNORED_KEYWORDS or key in ignore or key in _STRUCTURE:
        return True
    return key.startswith("NAXIS") or key.rstrip("0123456789") in _TABLE_STRUCTURE


def _keywords(title, one, two, ignore, rtol, atol):
    mine = {k: v for k, v in one.items() if not _left_out(k, ignore)}
    theirs = {k: v for k, v in two.items() if not _left_out(k, ignore)}
    found = []
    for key in [*mine, *(k for k in theirs if k not in mine)]:
        left, right = mine.get(key), theirs.get(key)
        present = key in mine and key in theirs
        if not present or not _agree(left, right, rtol, atol):
            entry = {"where": title, "kind": "keyword", "keyword": key}
            if key in mine:
                entry["left"] = _plain(left)
            if key in theirs:
                entry["right"] = _plain(right)
            found.append(entry)
    return found


def _agree(left, right, rtol, atol):
    numbers = (int, float)
    if (
        isinstance(left, bool)
        or isinstance(right, bool)
        or not isinstance(left, numbers)
        or not isinstance(right, numbers)
    ):
        return type(left) is type(right) and left == right
    return left == right or abs(left - right) <= atol + rtol * abs(right)


def _plain(value):
    return str(value) if isinstance(value, complex) else value


# -- data


def _data(title, one, two, rtol, atol):
    if one.kind != two.kind:
        return [{"where": title, "kind": "type", "text": f"{one.kind} and {two.kind}"}]
    if one.kind == "table":
        return _tables(title, one, two, rtol, atol)
    if one.kind == "other":
        same = one.nbytes == two.nbytes and _same_bytes(one, two, 0, one.nbytes)
        return [] if same else [{"where": title, "kind": "bytes", "text": "the data differ"}]
    if one.shape != two.shape:
        shapes = [" x ".join(map(str, h.shape)) or "no data" for h in (one, two)]
        return [{"where": title, "kind": "shape", "text": f"{shapes[0]} and {shapes[1]}"}]
    found = []
    if one.shape and one.dtype != two.dtype:
        found.append({"where": title, "kind": "type", "text": f"{one.dtype.name} and {two.dtype.name}"})
    if one.shape and 0 not in one.shape:
        if planes.is_flags(one) and planes.is_flags(two):
            found += _flags(title, one, two)
        else:
            found += _values(title, one, two, rtol, atol)
    return found


def _values(title, one, two, rtol, atol):
    total = Differences(rtol, atol)
    for index, box in planes.pieces(one.shape):
        total.add(one.read(index=index or None, box=box), two.read(index=index or None, box=box))
    return [{"where": title, "kind": "values", **total.result()}] if total.count else []


class Differences:
    """Differences of two images that are seen piece by piece.

    Parameters
    ----------
    rtol, atol : float
        Tolerances, see `compare`.
    """

    def __init__(self, rtol=0.0, atol=0.0):
        self.rtol, self.atol = rtol, atol
        self.pixels = self.count = self.only_left = self.only_right = 0
        self.absolute = self.relative = 0.0

    def add(self, left, right):
        """Take in a piece of each (same shape, any numeric dtypes)."""
        self.pixels += left.size
        if left.dtype == right.dtype and np.array_equal(left, right):
            return
        differs = left != right
        nan_left, nan_right = _nan(left), _nan(right)
        differs &= ~(nan_left & nan_right)
        if not differs.any():
            return
        a, b = left[differs].astype("f8"), right[differs].astype("f8")
        lost = np.isnan(a) | np.isnan(b)
        self.only_left += int(np.count_nonzero(np.isnan(a)))
        self.only_right += int(np.count_nonzero(np.isnan(b)))
        a, b = a[~lost], b[~lost]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            gap = np.abs(a - b)
            beyond = ~(gap <= self.atol + self.rtol * np.abs(b)) | np.isinf(gap)
            ratio = gap / np.maximum(np.abs(a), np.abs(b))
        self.count += int(np.count_nonzero(beyond)) + int(np.count_nonzero(lost))
        if gap.size:
            self.absolute = max(self.absolute, float(gap.max()))
            self.relative = max(self.relative, float(np.nanmax(ratio, initial=0.0)))

    def result(self):
        """Return the numbers as a dict (JSON has no infinity: it is None there)."""
        return {
            "pixels": self.pixels,
            "differing": self.count,
            "max_abs": self.absolute if math.isfinite(self.absolute) else None,
            "max_rel": self.relative if math.isfinite(self.absolute) else None,
            "nan_only_left": self.only_left,
            "nan_only_right": self.only_right,
        }


def _nan(array):
    return np.isnan(array) if array.dtype.kind in "fc" else np.zeros(array.shape, bool)


def _flags(title, one, two):
    pixels = differing = 0
    by_bit: dict[int, list[int]] = {}
    for index, box in planes.pieces(one.shape):
        left = planes.standard_flags(one.read(index=index or None, box=box)).astype("u8", copy=False)
        right = planes.standard_flags(two.read(index=index or None, box=box)).astype("u8", copy=False)
        pixels += left.size
        changed = left ^ right
        differing += int(np.count_nonzero(changed))
        seen = int(np.bitwise_or.reduce(changed, axis=None))
        for bit in range(64):
            if seen >> bit & 1:
                mask = np.uint64(1 << bit)
                entry = by_bit.setdefault(bit, [0, 0])
                entry[0] += int(np.count_nonzero(changed & left & mask))
                entry[1] += int(np.count_nonzero(changed & right & mask))
    if not differing:
        return []
    flags = {
        (dq.names(1 << bit) or [f"bit {bit}"])[0]: {"only_left": n[0], "only_right": n[1]}
        for bit, n in sorted(by_bit.items())
    }
    return [{"where": title, "kind": "flags", "pixels": pixels, "differing": differing, "flags": flags}]


# -- tables


def _tables(title, one, two, rtol, atol):
    left, right = one.table(), two.table()
    found = []
    names = [n for n in left.dtype.names or () if n in (right.dtype.names or ())]
    for name in (*(left.dtype.names or ()), *(right.dtype.names or ())):
        if name not in names:
            where = "left" if name in (left.dtype.names or ()) else "right"
            found.append(
                {"where": title, "kind": "table", "column": name, "text": f"only in the {where} file"}
            )
    if len(left) != len(right):
        return [*found, {"where": title, "kind": "table", "text": f"{len(left)} and {len(right)} rows"}]
    for name in names:
        found += _column(title, name, left[name], right[name], rtol, atol)
    if one.nbytes == two.nbytes:
        start = _number(one.header, "NAXIS1") * len(left)
        same = _same_bytes(one, two, start, one.nbytes)
    else:
        same = not (_number(one.header, "PCOUNT") or _number(two.header, "PCOUNT"))
    if not same:
        found.append({"where": title, "kind": "table", "text": "the columns of variable length differ"})
    return found


def _number(header, key):
    value = planes.keyword(header, key, 0)
    return value if isinstance(value, int) else 0


def _column(title, name, left, right, rtol, atol):
    entry = {"where": title, "kind": "table", "column": name}
    if left.shape != right.shape:
        return [{**entry, "text": f"cells of shape {left.shape[1:]} and {right.shape[1:]}"}]
    numeric = left.dtype.kind in "uif" and right.dtype.kind in "uif"
    if not numeric:
        if left.dtype.kind != right.dtype.kind:
            return [{**entry, "text": f"types {left.dtype} and {right.dtype}"}]
        count = int(np.count_nonzero(left != right))
        return [{**entry, "differing": count}] if count else []
    total = Differences(rtol, atol)
    total.add(left, right)
    return [{**entry, **total.result()}] if total.count else []


def _same_bytes(one, two, start, stop):
    while start < stop:
        count = min(_RAW_STEP, stop - start)
        left = os.pread(one.fd, count, one.offset + start)
        if not left:
            raise InputError(f"{one.label}: the file has become shorter while it was read")
        if left != os.pread(two.fd, len(left), two.offset + start):
            return False
        start += len(left)
    return True


# -- text


def render(result):
    """Differences as text for people.

    Parameters
    ----------
    result : dict
        From `compare`.

    Returns
    -------
    str
        Lines, the last one ended.
    """
    if result["same"]:
        return f"{result['left']} and {result['right']} agree\n"
    lines = [f"{result['left']} and {result['right']} differ"]
    for entry in result["differences"]:
        lines.append(f"  {entry['where']:<12} {_entry_text(entry)}")
        for name, n in entry.get("flags", {}).items():
            lines.append(f"  {'':<12}   {name}: {n['only_left']} only left, {n['only_right']} only right")
    return "\n".join(lines) + "\n"


def _entry_text(entry):
    if entry["kind"] == "keyword":
        sides = [repr(entry[side]) if side in entry else "absent" for side in ("left", "right")]
        return f"{entry['keyword']}: {sides[0]} and {sides[1]}"
    text = f"column {entry['column']}: " if "column" in entry else ""
    if "text" in entry:
        return text + entry["text"]
    text += f"{entry['differing']}"
    if "pixels" in entry:
        text += f" of {entry['pixels']} ({entry['differing'] / max(entry['pixels'], 1):.3%})"
    text += " differ"
    if "max_abs" in entry:
        gap = [("infinite" if entry[k] is None else f"{entry[k]:.3g}") for k in ("max_abs", "max_rel")]
        text += f", at most {gap[0]} absolute, {gap[1]} relative"
        if entry["nan_only_left"] or entry["nan_only_right"]:
            text += f"; NaN only left {entry['nan_only_left']}, only right {entry['nan_only_right']}"
    return text

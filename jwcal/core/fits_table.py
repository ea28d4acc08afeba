"""Binary tables of FITS files as NumPy structured arrays, and back."""

import math
import re
from typing import NamedTuple

import numpy as np

from jwcal.core.errors import InputError, OutputError
from jwcal.core.fits_layout import UNSIGNED_ZERO

_FORM = re.compile(r"(\d*)([LXBIJKAEDCMPQ])(.*)\Z")
_DIM = re.compile(r"\((\d+(?:,\d+)*)\)\Z")
_CODES = {
    "L": "S1",
    "B": "u1",
    "I": ">i2",
    "J": ">i4",
    "K": ">i8",
    "E": ">f4",
    "D": ">f8",
    "C": ">c8",
    "M": ">c16",
}
_DESCRIPTORS = {"P": ">i4", "Q": ">i8"}
_FORMS = {
    "b1": ("L", 0), "u1": ("B", 0), "i1": ("B", -128), "i2": ("I", 0), "u2": ("I", 1 << 15), "i4": ("J", 0),
    "u4": ("J", 1 << 31), "i8": ("K", 0), "u8": ("K", 1 << 63), "f4": ("E", 0), "f8": ("D", 0), "c8": ("C", 0),
    "c16": ("M", 0),
}  # fmt: skip


def read_table(raw, header, label):
    """Make a structured array of the rows of a binary table.

    Parameters
    ----------
    raw : bytes-like
        Table rows, without heap.
    header : Header
        Header of the extension.
    label : str
        File and HDU for messages.

    Returns
    -------
    (nrows,) numpy.ndarray
        Native structured array.  Text loses its trailing blanks, logical columns are
        bool, bit columns stay packed bytes, columns of variable length hold their
        heap descriptors (count, offset).  TZERO of unsigned integers gives
        unsigned columns, other TSCAL and TZERO float64; TNULL is not interpreted.

    Raises
    ------
    InputError
        If the column keywords are wrong.
    """
    columns = _columns(header, label)
    width = header["NAXIS1"]
    offsets, used = [], 0
    for column in columns:
        offsets.append(used)
        used += np.dtype(column.stored).itemsize
    if used > width:
        raise InputError(f"{label}: the columns need {used} bytes, the rows have {width}")
    names = [column.name for column in columns]
    if not width:
        return np.empty(header["NAXIS2"], [])
    formats = [column.stored for column in columns]
    rows = np.frombuffer(
        raw, np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": width})
    )
    fields = [_native(rows[column.name], column) for column in columns]
    out = np.empty(len(rows), [(n, f.dtype, f.shape[1:]) for n, f in zip(names, fields, strict=True)])
    for name, field in zip(names, fields, strict=True):
        out[name] = field
    return out


class _Column(NamedTuple):
    name: str
    code: str
    stored: str | tuple
    scale: float
    zero: float


def _columns(header, label):
    count = header["TFIELDS"]
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 999:
        raise InputError(f"{label}: TFIELDS is {count!r}, not an integer from 0 to 999")
    columns, names = [], set()
    for i in range(1, count + 1):
        name = str(header.get(f"TTYPE{i}") or f"col{i}").strip()
        while name in names:
            name += "_"
        names.add(name)
        try:
            code, stored = _stored(str(header[f"TFORM{i}"]).strip(), header.get(f"TDIM{i}"))
        except (ValueError, OverflowError):
            raise InputError(f"{label}: column {i} has no valid TFORM: {header[f'TFORM{i}']!r}") from None
        scale, zero = header.get(f"TSCAL{i}", 1), header.get(f"TZERO{i}", 0)
        if not all(isinstance(v, (int, float)) for v in (scale, zero)):
            raise InputError(f"{label}: TSCAL{i} or TZERO{i} is not a number")
        columns.append(_Column(name, code, stored, scale, zero))
    return columns


def _stored(form, dim):
    """Type letter and stored dtype of a TFORM."""
    match = _FORM.match(form)
    if not match:
        raise ValueError(form)
    repeat = int(match.group(1) or 1)
    code = match.group(2)
    if repeat > 1 << 31 or (code in _DESCRIPTORS and repeat > 1):
        raise ValueError(form)
    if code in _DESCRIPTORS:
        return code, (_DESCRIPTORS[code], (2 * repeat,))
    shape = _shape(dim, repeat)
    if code == "X":
        return code, ("u1", (-(-repeat // 8),))
    if code != "A":
        return code, (_CODES[code], shape or (repeat,)) if shape or repeat != 1 else _CODES[code]
    if shape:
        return code, (f"S{shape[-1]}", shape[:-1])
    unit = match.group(3).strip()
    if unit.isdigit() and 0 < int(unit) < repeat:
        return code, (f"S{unit}", (repeat // int(unit),))
    return code, f"S{repeat}" if repeat else ("S1", (0,))


def _shape(dim, repeat):
    match = _DIM.match(dim.replace(" ", "")) if isinstance(dim, str) else None
    if not match:
        return ()
    shape = tuple(int(n) for n in match.group(1).split(","))[::-1]
    return shape if 0 < math.prod(shape) == repeat else ()


def _native(field, column):
    if column.code == "L":
        return field == b"T"
    if column.code == "A":
        return np.char.rstrip(field).astype(field.dtype) if field.size else field
    native = field.astype(field.dtype.newbyteorder("="))
    scale, zero = column.scale, column.zero
    if (scale == 1 and zero == 0) or column.code in _DESCRIPTORS or column.code == "X":
        return native
    size = field.dtype.itemsize
    if native.dtype.kind in "iu" and scale == 1 and zero == UNSIGNED_ZERO.get(8 * size):
        flipped = native.view(f"u{size}") ^ np.array(1 << (8 * size - 1), f"u{size}")
        return flipped.view("i1") if size == 1 else flipped
    return native * float(scale) + float(zero)


def table_columns(dtype):
    """Column keywords that describe a structured dtype.

    Parameters
    ----------
    dtype : numpy.dtype
        Structured dtype; text columns as ``S`` or ``U``.

    Returns
    -------
    stored : numpy.dtype
        Packed big-endian dtype of the rows in the file.
    entries : list of list of (str, object)
        For each column its keywords (TTYPE, TFORM, TDIM, TZERO), without number.

    Raises
    ------
    OutputError
        If a column is of a type that FITS tables do not have.
    """
    fields, entries = [], []
    for name in dtype.names:
        base, shape = dtype[name].base, dtype[name].shape
        if base.kind in "SU":
            width = max(base.itemsize // (4 if base.kind == "U" else 1), 1)
            form, zero, stored = "A", 0, f"S{width}"
            dims = (*shape, width)
        elif base.str[1:] in _FORMS:
            form, zero = _FORMS[base.str[1:]]
            stored, dims = _CODES[form], shape
        else:
            raise OutputError(f"column {name}: FITS tables cannot hold {base}")
        fields.append((name, stored, shape))
        column = [("TTYPE", name), ("TFORM", f"{math.prod(dims) if dims else 1}{form}")]
        if len(dims) > 1:
            column.append(("TDIM", "(" + ",".join(str(n) for n in dims[::-1]) + ")"))
        if zero:
            column += [("TSCAL", 1), ("TZERO", zero)]
        entries.append(column)
    return np.dtype(fields), entries


def pack_table(rows, stored):
    """Rows as the bytes of a binary table.

    Parameters
    ----------
    rows : (nrows,) numpy.ndarray
        Structured array.
    stored : numpy.dtype
        Row dtype of `table_columns`.

    Returns
    -------
    numpy.ndarray
        Structured array of dtype `stored`.

    Raises
    ------
    OutputError
        If a text is not ASCII.
    """
    out = np.zeros(len(rows), stored)
    for name in stored.names:
        field = rows[name]
        kind, size = field.dtype.kind, field.dtype.itemsize
        if kind == "b":
            out[name] = np.where(field, b"T", b"F")
        elif kind == "u" and size > 1:
            out[name] = (field ^ np.array(1 << (8 * size - 1), field.dtype)).view(f"i{size}")
        elif kind == "i" and size == 1:
            out[name] = np.ascontiguousarray(field).view("u1") ^ np.uint8(128)
        elif kind == "U":
            try:
                out[name] = np.char.encode(field, "ascii") if field.size else b""
            except UnicodeEncodeError as exc:
                raise OutputError(
                    f"column {name}: FITS tables hold ASCII text only: {exc.object!r}"
                ) from None
        else:
            out[name] = field
    return out

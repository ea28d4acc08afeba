"""Association pools: one row of text for every exposure that may be grouped."""

import csv
import io
import re
import sys
from pathlib import Path

from jwcal.core.errors import InputError, UsageError

# Cells that mean "not given".  Source: official pools; the flags of a pool are "t" or one of these.
EMPTY = frozenset((None, "", "null", "--", "n", "f", "false", "n/a"))
REQUIRED = ("filename", "program", "targetid", "exp_type", "pntgtype", "asn_candidate")
_DELIMITERS = {"comma": ",", "pipe": "|", "tab": "\t", "space": " "}


class Pool:
    """Exposures of a pool, in their order.

    Attributes
    ----------
    columns : tuple of str
        Lower-case names.
    rows : list of tuple of str
        Lower-case cells, "null" where a cell is empty.
    lines : list of int
        Line (or table row) of the source that each row was read from.
    name : str
        File name without folders, kept in every association made from the pool.
    problems : list of str
        What was passed over in reading.
    """

    def __init__(self, columns, rows, lines=None, name="in-memory", problems=()):
        self.columns = tuple(columns)
        self.rows = rows
        self.lines = lines if lines is not None else range(1, len(rows) + 1)
        self.name = name
        self.problems = list(problems)
        self.at = {column: i for i, column in enumerate(self.columns)}

    def __len__(self):
        return len(self.rows)

    def cells(self, column):
        """Cells of one column (list of str); "null" for a column that the pool does not have."""
        at = self.at.get(column)
        return ["null"] * len(self.rows) if at is None else [row[at] for row in self.rows]

    def where(self, row, column=None):
        """Text that names a row, and a column, for messages."""
        place = f"{self.name}: line {self.lines[row]}"
        return place if column is None else f"{place}, column {column}"

    def take(self, indices):
        """Pool of some of the rows, in the order given."""
        indices = list(indices)
        return Pool(
            self.columns,
            [self.rows[i] for i in indices],
            [self.lines[i] for i in indices],
            self.name,
            self.problems,
        )


def read_pool(path, delimiter=None, kind=None, keep_going=False):
    """Read a pool.

    Parameters
    ----------
    path : str or Path
        File, or "-" for standard input.
    delimiter : str, optional
        Character between cells, or one of comma, pipe, tab, space; found from the header line if not given.
    kind : {"text", "ecsv", "fits"}, optional
        Format; found from the first bytes if not given.
    keep_going : bool
        Pass over lines that cannot be read, and say so in `problems`.

    Returns
    -------
    Pool

    Raises
    ------
    InputError
        If the file is missing, is not a table in UTF-8, lacks a column every rule needs, or a line
        has more or fewer cells than the header.
    UsageError
        If the delimiter is not one character.
    """
    delimiter = _DELIMITERS.get(delimiter, delimiter)
    if delimiter is not None and len(delimiter) != 1:
        raise UsageError(f"delimiter {delimiter!r} is not one character")
    path = str(path)
    name = "standard input" if path == "-" else Path(path).name
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as exc:
        raise InputError(f"{path}: cannot be read: {exc.strerror}") from exc
    if kind == "fits" or (kind is None and data.startswith(b"SIMPLE  =")):
        pool = _from_fits(path, data, name)
    else:
        pool = _from_text(data, name, delimiter, keep_going)
    missing = [column for column in REQUIRED if column not in pool.at]
    if missing:
        raise InputError(f"{name}: no column {', '.join(missing)}: not an association pool")
    return pool


def _decoded(data, name, problems):
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = data[: exc.start]
        line = before.count(b"\n") + 1
        column = len(before) - before.rfind(b"\n")
        text = f"{name}: line {line}, byte {column}: not UTF-8; convert it with iconv"
        if problems is None:
            raise InputError(text) from exc
        problems.append(text)
        return data.decode("utf-8-sig", "replace")


def _from_text(data, name, delimiter, keep_going=False):
    problems: list[str] = []
    lines = [
        (number, line)
        for number, line in enumerate(_decoded(data, name, problems if keep_going else None).split("\n"), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise InputError(f"{name}: empty: not an association pool")
    head_line, head = lines[0]
    if "\0" in head:
        raise InputError(f"{name}: binary data: not an association pool")
    if delimiter is None:
        delimiter = _guess(data, head)
    columns = [cell.lower() for cell in _split(head, delimiter) or ()]
    if not columns:
        raise InputError(f"{name}: line {head_line}: quotes that do not end")
    twice = {column for column in columns if columns.count(column) > 1}
    if twice:
        raise InputError(f"{name}: line {head_line}: column {', '.join(sorted(twice))} twice")
    share: dict[str, str] = {}
    rows, numbers = [], []
    width = len(columns)
    for number, line in lines[1:]:
        parts = _split(line, delimiter)
        cells = [cell.lower() or "null" for cell in parts or ()]
        if len(cells) != width:
            what = (
                "quotes that do not end"
                if parts is None
                else f"{len(cells)} cells, but the header has {width} columns"
            )
            text = f"{name}: line {number}: {what}"
            if not keep_going:
                raise InputError(text)
            problems.append(text)
            continue
        rows.append(tuple([share.setdefault(cell, cell) for cell in cells]))
        numbers.append(number)
    if any(cell.startswith("@!") for row in rows for cell in row):
        from jwcal.associations.templates import expand

        rows = expand(rows, lambda row, column: f"{name}: line {numbers[row]}, column {columns[column]}")
    return Pool(columns, rows, numbers, name, problems)


def _guess(data, head):
    if data.startswith(b"# %ECSV"):
        told = re.search(rb"^# delimiter: *'?(.)'?", data, re.MULTILINE)
        return told.group(1).decode() if told else " "
    return max("|,\t", key=head.count) if any(mark in head for mark in "|,\t") else " "


def _split(line, delimiter):
    """Cells (list of str) of a line, or None if its quotes do not end."""
    if '"' not in line and delimiter != " ":
        return [cell.strip() for cell in line.split(delimiter)]
    try:
        cells = next(csv.reader([line.strip()], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        return None
    return [cell.strip() for cell in cells]


def _from_fits(path, data, name):
    from jwcal.core.fits import open_fits

    if path == "-":
        import tempfile

        with tempfile.NamedTemporaryFile(suffix=".fits") as spool:
            spool.write(data)
            spool.flush()
            return _from_fits(spool.name, data, name)
    with open_fits(path) as file:
        tables = [hdu for hdu in file.hdus if hdu.kind == "table"]
        if not tables:
            raise InputError(f"{name}: no table: not an association pool")
        table = tables[0].table()
    columns = [column.lower() for column in table.dtype.names]
    rows = [tuple(_text(cell) for cell in row) for row in table]
    return Pool(columns, rows, None, name)


def _text(cell):
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "replace")
    text = str(cell).strip().lower()
    return {"true": "t", "false": "f"}.get(text, text) or "null"


def pool_text(pool, delimiter="|"):
    """Write a pool as text (str), header first, as official pools are."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(pool.columns)
    writer.writerows(pool.rows)
    return out.getvalue()

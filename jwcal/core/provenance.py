"""What was done to a product, by which version, with which parameters and references."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from jwcal import __version__

TABLE = "PROVENANCE"
COLUMNS = ("STEP", "VERSION", "STATUS", "REASON", "PARAMS", "REFS", "CODE")


def record(step, status, reason="", values=None, origins=None, refs=None, code=""):
    """One row of the provenance table.

    Parameters
    ----------
    step : str
        Step name.
    status : str
        COMPLETE or SKIPPED.
    reason : str
        Why it was skipped.
    values, origins : namespace and dict
        Parameter values and where they come from.
    refs : dict of str to str
        Reference files by type.
    code : str
        File and SHA-256 of a step that is not part of the package.

    Returns
    -------
    dict of str to str
    """
    params = {} if values is None else {k: [v, origins[k]] for k, v in vars(values).items() if k != "skip"}
    files = {k: [str(Path(v).resolve()), digest(v)] for k, v in (refs or {}).items() if v}
    return {
        "STEP": step,
        "VERSION": __version__,
        "STATUS": status,
        "REASON": reason,
        "PARAMS": json.dumps(params, sort_keys=True, separators=(",", ":")),
        "REFS": json.dumps(files, sort_keys=True, separators=(",", ":")),
        "CODE": code,
    }


def to_table(rows):
    """Structured array of provenance rows (text columns as wide as needed)."""
    widths = {c: max([1] + [len(r[c].encode("utf-8")) for r in rows]) for c in COLUMNS}
    out = np.zeros(len(rows), dtype=[(c, f"S{widths[c]}") for c in COLUMNS])
    for k, row in enumerate(rows):
        for c in COLUMNS:
            out[k][c] = row[c].encode("utf-8")
    return out


def from_table(table):
    """Rows of a provenance table as dicts of text; None gives an empty list."""
    if table is None:
        return []
    rows = []
    for row in table:
        rows.append(
            {
                c: (bytes(row[c]).decode("utf-8", "replace") if c in table.dtype.names else "").rstrip("\0 ")
                for c in COLUMNS
            }
        )
    return rows


def history_text(row):
    """Short line for a HISTORY card: step, version, what differs from the defaults."""
    text = f"{row['STEP']} ({row['VERSION']}): {row['STATUS']}"
    if row["REASON"]:
        text += f", {row['REASON']}"
    changed = [f"{k}={v[0]}" for k, v in json.loads(row["PARAMS"]).items() if v[1] != "default"]
    return text + ("; " + " ".join(changed) if changed else "")


def digest(path):
    """SHA-256 of a file, remembered by its path, size and time of change.

    Parameters
    ----------
    path : str
        File name.

    Returns
    -------
    str
        Hexadecimal digest.
    """
    path = Path(path).resolve()
    stat = path.stat()
    key = hashlib.sha256(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}".encode()).hexdigest()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jwcal" / "sha256"
    cached = base / key[:2] / key
    try:
        text = cached.read_text()
        if len(text) == 64:
            return text
    except OSError:
        pass
    with path.open("rb") as stream:
        text = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        scratch = cached.with_name(f"{key}.{os.getpid()}")
        scratch.write_text(text)
        scratch.replace(cached)
    except OSError:
        pass
    return text

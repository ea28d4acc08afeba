"""Compare a reference file with the one it would replace: statistics, flags, rows, keywords."""

import math

import numpy as np

from jwcal.core import dq
from jwcal.core.errors import InputError, ReferenceFileError

# They differ between any two deliveries.
_OWN = {
    "DATE", "FILENAME", "HISTORY", "COMMENT", "", "CHECKSUM", "DATASUM", "NEXTEND", "DESCRIP", "AUTHOR", "CAL_VER",
    "CAL_VCS", "EXTEND", "SIMPLE", "BITPIX", "NAXIS",
}  # fmt: skip
_SAMPLE = 1 << 20


def compare_files(new, old):
    """Compare a new reference file with an old one.

    Parameters
    ----------
    new, old : str
        FITS or ASDF files.

    Returns
    -------
    dict
        ``against`` (name of the old file), ``keywords`` (changed: old and new value), ``planes`` (by name:
        shapes, or pixels, changed, statistics of new, old and difference), ``flags`` (by flag: pixels that
        got it and that lost it), ``tables`` (rows lost, added, doubled); for ASDF ``tree``: changed places.

    Raises
    ------
    ReferenceFileError
        If the old file cannot be read.
    InputError
        If the new file cannot be read.
    """
    from jwcal.core.asdf_file import is_asdf

    out: dict = {"against": str(old), "keywords": {}, "planes": {}, "flags": {}, "tables": {}}
    if is_asdf(new) or is_asdf(old):
        if not (is_asdf(new) and is_asdf(old)):
            return {**out, "format": "one of them is ASDF, the other FITS"}
        return _compare_trees(new, old, out)
    from jwcal.core.fits import open_fits

    with open_fits(new) as mine:
        try:
            theirs = open_fits(old)
        except InputError as exc:
            raise ReferenceFileError(str(exc)) from None
        with theirs:
            out["keywords"] = _keywords(mine.primary.header, theirs.primary.header)
            for hdu in [*mine.hdus[1:], *(h for h in theirs.hdus[1:] if h.name not in mine)]:
                a, b = mine.get(hdu.name), theirs.get(hdu.name)
                if a is None or b is None:
                    out["planes"][hdu.name] = {"only": "new" if b is None else "old"}
                elif a.kind == b.kind == "image":
                    _planes(hdu.name, mine, theirs, out)
                elif a.kind == b.kind == "table" and hdu.name not in ("ASDF", "DQ_DEF"):
                    out["tables"][hdu.name] = _tables(a.table(), b.table())
    return out


def _keywords(new, old):
    changed = {}
    for key in dict.fromkeys([*old, *new]):
        if key in _OWN:
            continue
        a, b = new.get(key), old.get(key)
        if a != b:
            changed[key] = {"old": b, "new": a}
    return changed


def _planes(name, mine, theirs, out):
    a, b = mine[name], theirs[name]
    if a.shape != b.shape:
        out["planes"][name] = {"new_shape": list(a.shape), "old_shape": list(b.shape)}
        return
    if not a.shape:
        return
    if name.endswith("DQ"):
        flags, changed = _flags(a, _pairs(mine), b, _pairs(theirs))
        out["planes"][name] = {"pixels": math.prod(a.shape), "changed": changed}
        out["flags"][name] = flags
        return
    out["planes"][name] = _statistics(a, b)


def _pairs(fits):
    table = fits["DQ_DEF"].table() if "DQ_DEF" in fits else None
    return dq.translation(table)


def _flags(a, pairs_a, b, pairs_b):
    counts: dict[str, list[int]] = {}
    changed = 0
    for index in np.ndindex(a.shape[:-2]):
        new = dq.translate(a.read(index=index or None).astype(np.uint32), pairs_a)
        old = dq.translate(b.read(index=index or None).astype(np.uint32), pairs_b)
        moved = new ^ old
        changed += int(np.count_nonzero(moved))
        seen = int(np.bitwise_or.reduce(moved, axis=None))
        for bit in range(32):
            if seen >> bit & 1:
                mask = np.uint32(1 << bit)
                entry = counts.setdefault((dq.names(1 << bit) or [f"bit {bit}"])[0], [0, 0])
                entry[0] += int(np.count_nonzero(moved & new & mask))
                entry[1] += int(np.count_nonzero(moved & old & mask))
    return {flag: {"got": n[0], "lost": n[1]} for flag, n in counts.items()}, changed


def _statistics(a, b):
    """Numbers of two planes of the same shape; exact counts, medians from an even sample."""
    size = math.prod(a.shape)
    step = max(1, size // _SAMPLE)
    changed = only_new = only_old = 0
    largest = 0.0
    kept: dict = {"new": [], "old": [], "difference": []}
    for index in np.ndindex(a.shape[:-2]):
        new, old = (h.read(index=index or None).astype("f8").ravel() for h in (a, b))
        nan_new, nan_old = ~np.isfinite(new), ~np.isfinite(old)
        only_new += int(np.count_nonzero(nan_new & ~nan_old))
        only_old += int(np.count_nonzero(nan_old & ~nan_new))
        both = ~(nan_new | nan_old)
        with np.errstate(invalid="ignore"):
            gap = new - old
        changed += int(np.count_nonzero(gap[both])) + int(np.count_nonzero(nan_new != nan_old))
        if both.any():
            largest = max(largest, float(np.max(np.abs(gap[both]))))
        for name, values, good in (("new", new, ~nan_new), ("old", old, ~nan_old), ("difference", gap, both)):
            part = values[::step]
            kept[name].append(part[good[::step]])
    out: dict = {"pixels": size, "changed": changed, "nan_only_new": only_new, "nan_only_old": only_old}
    for name, parts in kept.items():
        values = np.concatenate(parts)
        out[name] = _summary(values)
    out["difference"]["largest"] = largest
    return out


def _summary(values):
    if not values.size:
        return {"median": None, "mean": None, "spread": None}
    low, median, high = np.percentile(values, (15.865, 50, 84.135))
    return {"median": float(median), "mean": float(values.mean()), "spread": float((high - low) / 2)}


def _tables(new, old):
    left, right = _columns(new), _columns(old)
    shared = [c for c in left if c in right]
    out: dict = {
        "rows": len(new),
        "old_rows": len(old),
        "columns_added": [c for c in left if c not in right],
        "columns_lost": [c for c in right if c not in left],
    }
    mine, theirs = _rows(new, [left[c] for c in shared]), _rows(old, [right[c] for c in shared])
    out["rows_added"] = sum(row not in theirs for row in mine)
    out["rows_lost"] = sum(row not in mine for row in theirs)
    out["rows_doubled"] = len(new) - len(mine)
    return out


def _columns(table):
    return {name.upper(): name for name in table.dtype.names}


def _rows(table, columns):
    return {tuple(_plain(row[c]) for c in columns) for row in table}


def _plain(value):
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ")
    return "NaN" if isinstance(value, float | np.floating) and np.isnan(value) else value


def _compare_trees(new, old, out):
    from jwcal.core.asdf_file import AsdfFile

    tree = AsdfFile(new).tree
    try:
        before = AsdfFile(old).tree
    except InputError as exc:
        raise ReferenceFileError(str(exc)) from None
    a, b = dict(_leaves(tree)), dict(_leaves(before))
    skipped = ("history", "asdf_library")
    out["tree"] = {
        "added": sorted(k for k in a if k not in b and not k.startswith(skipped)),
        "lost": sorted(k for k in b if k not in a and not k.startswith(skipped)),
        "changed": sorted(k for k in a if k in b and not k.startswith(skipped) and not _equal(a[k], b[k])),
    }
    return out


def _leaves(tree, where=""):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        place = f"{where}.{key}" if where else str(key)
        if isinstance(value, dict | list):
            yield from _leaves(value, place)
        else:
            yield place, value


def _equal(a, b):
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and np.array_equal(
            a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc"
        )
    return a == b


def render_comparison(found):
    """Lines of text for what `compare_files` found."""
    lines = [f"against {found['against']}:"]
    if "format" in found:
        lines.append(f"  {found['format']}")
    for key, values in found["keywords"].items():
        lines.append(f"  {key}: {_shown(values['old'])} -> {_shown(values['new'])}")
    for name, plane in found["planes"].items():
        lines.append(f"  {name}: {_plane_text(plane)}")
        for flag, n in found["flags"].get(name, {}).items():
            lines.append(f"    {flag}: {n['got']} pixels got it, {n['lost']} lost it")
    for name, t in found["tables"].items():
        text = f"{t['rows']} rows (before {t['old_rows']}): {t['rows_added']} added, {t['rows_lost']} lost"
        text += f", {t['rows_doubled']} doubled" if t["rows_doubled"] else ""
        for what in ("added", "lost"):
            if t[f"columns_{what}"]:
                text += f"; columns {what}: {', '.join(t[f'columns_{what}'])}"
        lines.append(f"  {name}: {text}")
    for what, places in found.get("tree", {}).items():
        if places:
            lines.append(f"  {what}: {', '.join(places[:8])}{' ...' if len(places) > 8 else ''}")
    if len(lines) == 1:
        lines.append("  no difference")
    return lines


def _shown(value):
    return "(none)" if value is None else str(value)


def _plane_text(plane):
    if "only" in plane:
        return f"only in the {plane['only']} file"
    if "new_shape" in plane:
        return f"shape {tuple(plane['old_shape'])} -> {tuple(plane['new_shape'])}"
    text = f"{plane['changed']} of {plane['pixels']} values changed"
    if "difference" in plane and plane["changed"]:
        new, old, gap = plane["new"], plane["old"], plane["difference"]
        text += (
            f"; median {_number(old['median'])} -> {_number(new['median'])},"
            f" difference {_number(gap['median'])} +- {_number(gap['spread'])}, largest {_number(gap['largest'])}"
        )
        if plane["nan_only_new"] or plane["nan_only_old"]:
            text += (
                f"; NaN only in the new file {plane['nan_only_new']}, only in the old {plane['nan_only_old']}"
            )
    return text


def _number(value):
    return "none" if value is None else f"{value:.5g}"

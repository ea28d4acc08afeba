"""What is asked of the data of a reference file: planes, flags, tables, trees."""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import InputError
from jwcal.refs.constraints import INTERLEAVED, detector_size, table, word

_KINDS = {"f": "floating-point", "i": "integer", "n": "numerical", "s": "text"}
_NUMPY = {"f": "f", "i": "iu", "n": "fiu", "s": "SU"}
_DQ_DEF = {"BIT": "i", "VALUE": "i", "NAME": "s", "DESCRIPTION": "s"}
# A kernel that keeps the signal has this sum, to the precision of its numbers.
_KERNEL_TOLERANCE = 1e-5


def check_planes(report, fits, rules, frame):
    """Check the image planes of a FITS file.

    Parameters
    ----------
    report : jwcal.refs.certify.Report
        Takes the findings.
    fits : jwcal.core.fits_read.FitsFile
        The file.
    rules : dict
        Rules of the type.
    frame : (int, int) or None
        Rows and columns that the header tells.
    """
    found = {}
    for name, wanted in rules.get("planes", {}).items():
        hdu = fits.get(name)
        if hdu is None or hdu.kind != "image" or not hdu.shape:
            add = {"required": report.error, "wanted": report.warning}.get(wanted.get("presence", "required"))
            if add:
                add("plane", name, "is missing")
            continue
        if _check_layout(report, hdu, wanted):
            found[name] = hdu
    for hdu in fits.hdus:
        if hdu.kind == "image" and hdu.shape and hdu.name not in rules.get("planes", {}) and hdu.name:
            found[hdu.name] = hdu
    if rules.get("frame"):
        _check_frames(report, {n: h for n, h in found.items() if n in rules["planes"]}, frame)
    _check_lengths(report, fits.primary.header, found, rules)
    flags = _flags(report, fits, found, rules)
    for name, hdu in found.items():
        if hdu.dtype.kind == "f":
            _check_values(report, hdu, rules.get("planes", {}).get(name, {}), flags)
    if rules.get("kernel") in found:
        _check_kernel(report, found[rules["kernel"]])


def _check_layout(report, hdu, wanted):
    name, good = hdu.name, True
    if hdu.dtype.kind not in _NUMPY[wanted["dtype"]]:
        report.error("dtype", name, f"is {hdu.dtype}; {_KINDS[wanted['dtype']]} numbers are needed")
        good = False
    if len(hdu.shape) not in wanted["axes"]:
        needed = " or ".join(str(n) for n in wanted["axes"])
        report.error("shape", name, f"has shape {hdu.shape}; {needed} axes are needed")
        good = False
    elif 0 in hdu.shape:
        report.error("shape", name, f"has shape {hdu.shape}: no pixels")
        good = False
    elif hdu.shape[0] < wanted.get("least", 1):
        report.error("shape", name, f"has shape {hdu.shape}; at least {wanted['least']} planes are needed")
        good = False
    unit = word(hdu.header, "BUNIT")
    if unit and "unit" in wanted and unit not in wanted["unit"]:
        report.error("unit", name, f"BUNIT {unit!r} is not {' or '.join(wanted['unit'])}")
    return good


def _check_frames(report, found, frame):
    shapes = {name: hdu.shape[-2:] for name, hdu in found.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape[0]} x {shape[1]}" for name, shape in shapes.items())
        report.error("shape", ",".join(shapes), f"planes differ in rows x columns: {told}")
        return
    if not shapes:
        return
    name, shape = next(iter(shapes.items()))
    whole = detector_size(report.instrument)
    interleaved = report.instrument == "NIRSPEC" and INTERLEAVED in shape
    if frame is not None and shape != frame and not interleaved:
        report.error(
            "shape",
            name,
            f"is {shape[0]} x {shape[1]} pixels; SUBSIZE2 x SUBSIZE1 say {frame[0]} x {frame[1]}",
        )
    elif whole and not interleaved and (shape[0] > whole[0] or shape[1] > whole[1]):
        report.error(
            "shape", name, f"is {shape[0]} x {shape[1]} pixels; the detector has {whole[0]} x {whole[1]}"
        )


def _check_lengths(report, header, found, rules):
    for key in rules.get("keywords", ()):
        if header.get(key) is None:
            report.error("keyword", key, f"is missing; a {report.kind.upper()} needs it")
    for key, (plane, axis) in rules.get("lengths", {}).items():
        value, hdu = header.get(key), found.get(plane)
        if value is not None and hdu is not None and len(hdu.shape) >= -axis and hdu.shape[axis] != value:
            report.error("shape", key, f"is {value}, but {plane} has shape {hdu.shape}")


def _flags(report, fits, found, rules):
    """Check DQ against DQ_DEF; union of the flags along the leading axes, or None."""
    defined = _check_dq_def(report, fits, rules)
    hdu = found.get("DQ")
    if hdu is None or hdu.dtype.kind not in "iu":
        return None
    union = np.zeros(hdu.shape[-2:], np.uint32)
    for index in np.ndindex(hdu.shape[:-2]):
        union |= hdu.read(index=index or None).astype(np.uint32)
    used = int(np.bitwise_or.reduce(union, axis=None))
    if defined is not None and used & ~defined:
        bits = [str(bit) for bit in range(32) if used & ~defined & (1 << bit)]
        report.error("dq", "DQ", f"bits {', '.join(bits)} are set, which DQ_DEF does not define")
    return union


def _check_dq_def(report, fits, rules):
    """Bits that DQ_DEF defines, or None without a usable table."""
    hdu = fits.get("DQ_DEF")
    if hdu is None:
        if "dq_def" in rules and "DQ" in fits:
            report.warning("dq", "DQ_DEF", "is missing; the flags are taken as the standard ones")
        return None
    rows = _table(report, hdu)
    if rows is None or not _check_columns(report, "DQ_DEF", rows, _DQ_DEF):
        return None
    names = {name.upper(): name for name in rows.dtype.names}
    defined, seen = 0, set()
    for number, row in enumerate(rows, 1):
        bit, value = int(row[names["BIT"]]), int(row[names["VALUE"]]) & 0xFFFFFFFF
        name = _text(row[names["NAME"]]).strip().upper()
        if not 0 <= bit < 32 or value != 1 << bit:
            report.error("dq", "DQ_DEF", f"row {number}: VALUE {value} is not 2 to the BIT {bit}")
        elif defined & value:
            report.error("dq", "DQ_DEF", f"row {number}: bit {bit} is defined twice")
        if name in seen:
            report.error("dq", "DQ_DEF", f"row {number}: {name} is defined twice")
        elif name not in DQ:
            report.warning("dq", "DQ_DEF", f"row {number}: {name!r} is no standard flag, and has no effect")
        defined |= value
        seen.add(name)
    return defined


def _check_values(report, hdu, wanted, flags):
    size = int(np.prod(hdu.shape))
    nan = infinite = low = unflagged = 0
    same = flags is not None and flags.shape == hdu.shape[-2:] and hdu.name != "ERR"
    bound = wanted.get("minimum", wanted.get("above"))
    for index in np.ndindex(hdu.shape[:-2]) if len(hdu.shape) > 2 else [()]:
        plane = hdu.read(index=index or None)
        missing = np.isnan(plane)
        nan += int(np.count_nonzero(missing))
        infinite += int(np.count_nonzero(np.isinf(plane)))
        if same:
            unflagged += int(np.count_nonzero(missing & (flags == 0)))
        if bound is not None:
            below = plane <= bound if "above" in wanted else plane < bound
            low += int(np.count_nonzero(below))
    if infinite:
        report.error("finite", hdu.name, f"{infinite} of {size} values are infinite")
    if nan == size:
        report.error("finite", hdu.name, "no value is finite")
    elif nan and wanted.get("finite"):
        report.error("finite", hdu.name, f"{nan} of {size} values are NaN")
    elif unflagged:
        report.warning("finite", hdu.name, f"{unflagged} of {size} values are NaN where DQ has no flag")
    if low == size:
        report.error("range", hdu.name, f"no value is {'above' if 'above' in wanted else 'at least'} {bound}")
    elif low:
        if hdu.name == "ERR":
            report.error("range", hdu.name, f"{low} of {size} errors are negative")
        else:
            what = "not above" if "above" in wanted else "below"
            report.warning("range", hdu.name, f"{low} of {size} values are {what} {bound}")


def _check_kernel(report, hdu):
    ny, nx = hdu.shape[:2]
    if ny % 2 == 0 or nx % 2 == 0:
        report.error("kernel", hdu.name, f"has {ny} x {nx} elements; odd numbers are needed")
        return
    total = np.zeros(hdu.shape[2:])
    for y in range(ny):
        total = total + (
            hdu.read().astype(float)[y].sum()
            if len(hdu.shape) == 2
            else sum(hdu.read(index=(y, x)).astype(float) for x in range(nx))
        )
    worst = float(np.max(np.abs(total - 1)))
    if worst > _KERNEL_TOLERANCE:
        report.error("kernel", hdu.name, f"the sum of its elements is off 1 by {worst:.2g}")


def check_tables(report, fits, rules):
    """Check the table extensions of a FITS file."""
    for name, wanted in rules.get("tables", {}).items():
        hdu = fits.get(name)
        if hdu is None:
            report.error("table", name, "is missing")
            continue
        rows = _table(report, hdu)
        if rows is None or not _check_columns(report, name, rows, wanted.get("columns", {})):
            continue
        if not len(rows):
            report.error("table", name, "has no rows")
        columns = {column.upper(): column for column in rows.dtype.names}
        _check_unique(report, name, rows, [columns.get(key) for key in wanted.get("unique", ())])
        for key, count in wanted.get("monotonic", {}).items():
            if key in columns and count in columns:
                _check_rising_rows(report, name, rows, columns[key], columns[count])
        for key in wanted.get("rising", ()):
            if key in columns and not np.all(np.diff(rows[columns[key]].astype(float)) > 0):
                report.error("monotonic", name, f"{key} does not rise from row to row")
    named = set(rules.get("tables", {})) | {"DQ_DEF", "ASDF"}
    for hdu in fits.hdus:
        if hdu.kind == "table" and hdu.name not in named:
            _table(report, hdu)


def _check_columns(report, name, rows, wanted):
    columns = {column.upper(): column for column in rows.dtype.names}
    missing = [column for column in wanted if column not in columns]
    if missing:
        report.error("table", name, f"has no column {', '.join(missing)}")
    wrong = [
        f"{column} ({_KINDS[kind]} needed)"
        for column, kind in wanted.items()
        if column in columns and rows.dtype[columns[column]].base.kind not in _NUMPY[kind]
    ]
    if wrong:
        report.error("dtype", name, f"wrong type of column {', '.join(wrong)}")
    for column, field in columns.items():
        kind = rows.dtype[field].base.kind
        if kind == "f" and column in wanted and not np.all(np.isfinite(rows[field])):
            report.error("finite", name, f"column {column} has values that are not finite")
    return not missing and not wrong


def _check_unique(report, name, rows, columns):
    if not columns or None in columns:
        return
    seen = set()
    for row in rows:
        key = tuple(_text(row[c]).strip().upper() for c in columns)
        if key in seen:
            report.error("table", name, f"two rows are for {', '.join(key)}")
        seen.add(key)


def _check_rising_rows(report, name, rows, column, count):
    for number, row in enumerate(rows, 1):
        used = int(row[count])
        values = np.atleast_1d(row[column]).astype(float)
        if used > values.size:
            report.error(
                "table", name, f"row {number}: {count} is {used}, {column} has {values.size} elements"
            )
        elif used > 1:
            steps = np.diff(values[:used])
            if not (np.all(steps > 0) or np.all(steps < 0)):
                report.error("monotonic", name, f"row {number}: {column} neither rises nor falls throughout")
                return


def check_tree(report, tree, rules):
    """Check the tree of an ASDF file."""
    for name in rules.get("trees", ()):
        if not tree.get(name):
            report.error("tree", name, "is missing")
    for where, array in _arrays(tree):
        if array.dtype.kind in "fc" and np.any(np.isinf(array)):
            report.error("finite", where, "has infinite values")
    if report.kind == "sirskernel":
        for detector in (
            table()["instrument"].get(report.instrument, {}).get("values", {}).get("DETECTOR", ())
        ):
            entry = tree.get(detector) or tree.get(detector.lower())
            if entry is not None and not {"gamma", "zeta"} <= set(entry):
                report.error("tree", detector, "lacks gamma or zeta")


def _arrays(tree, where=""):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        place = f"{where}.{key}" if where else str(key)
        if isinstance(value, dict | list):
            yield from _arrays(value, place)
        elif isinstance(value, np.ndarray):
            yield place, value


def _table(report, hdu):
    try:
        return hdu.table()
    except (InputError, ValueError) as exc:
        report.error("table", hdu.name, f"cannot be read: {exc}")
        return None


def _text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)

"""Certify reference files: check that a file is what its type must be."""

from pathlib import Path

from jwcal.core.errors import InputError
from jwcal.refs import constraints

# Place in an ASDF tree's "meta" of keywords that certification asks for.
_META = {
    "TELESCOP": "telescope",
    "AUTHOR": "author",
    "PEDIGREE": "pedigree",
    "DESCRIP": "description",
    "DATAMODL": "model_type",
}


class Report:
    """Findings about one file.

    Attributes
    ----------
    path : str
        The file.
    kind : str
        Reference type in lower case, "" if it is not known.
    instrument, detector : str
        Names in upper case, "" if not known.
    findings : list of dict
        ``level`` ("error" or "warning"), ``check``, ``where`` (keyword or extension), ``text``.
    comparison : dict or None
        What `jwcal.refs.compare.compare_files` found against the file it would replace.
    """

    def __init__(self, path):
        self.path = str(path)
        self.kind = self.instrument = self.detector = ""
        self.findings = []
        self.comparison = None

    def _add(self, level, check, where, text):
        self.findings.append({"level": level, "check": check, "where": where, "text": text})

    def error(self, check, where, text):
        """Note something with which the file cannot be used."""
        self._add("error", check, where, text)

    def warning(self, check, where, text):
        """Note something that should be looked at."""
        self._add("warning", check, where, text)

    @property
    def errors(self):
        """Number of errors."""
        return sum(f["level"] == "error" for f in self.findings)

    @property
    def warnings(self):
        """Number of warnings."""
        return len(self.findings) - self.errors

    def first_error(self):
        """Text of the first error, "" without one."""
        return next((f"{f['where']}: {f['text']}" for f in self.findings if f["level"] == "error"), "")

    def as_dict(self):
        """Return all of it as a dictionary of plain values."""
        out = {
            "file": self.path,
            "type": self.kind,
            "instrument": self.instrument,
            "detector": self.detector,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": self.findings,
        }
        return out if self.comparison is None else {**out, "comparison": self.comparison}

    def render(self):
        """Text of the report: a line for the file, one for each finding."""
        what = " ".join(w for w in (self.kind.upper(), self.instrument, self.detector) if w)
        result = "certified" if not self.errors else f"REJECTED, {_count(self.errors, 'error')}"
        if self.warnings:
            result += f", {_count(self.warnings, 'warning')}"
        lines = [f"{self.path}: {what + ': ' if what else ''}{result}"]
        lines += [f"  {f['level']:7s}  {f['where']}: {f['text']}" for f in self.findings]
        if self.comparison is not None:
            from jwcal.refs.compare import render_comparison

            lines += ["  " + line for line in render_comparison(self.comparison)]
        return "\n".join(lines)


def _count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def certify(path, *, keys=(), against=None):
    """Check one reference file.

    Parameters
    ----------
    path : str
        FITS or ASDF file.
    keys : sequence of str
        Keywords by which the rules choose among files of this type; each must have a value.
    against : str or None
        File that it would replace, to compare with.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        If an ASDF file is given and the package asdf is not installed.
    """
    from jwcal.core.asdf_file import is_asdf

    report = Report(path)
    if not Path(path).is_file():
        report.error("file", "file", "no such file")
        return report
    try:
        (_certify_asdf if is_asdf(path) else _certify_fits)(report, keys)
    except InputError as exc:
        report.error("file", "file", str(exc).removeprefix(f"{path}: "))
        return report
    if against is not None:
        from jwcal.refs.compare import compare_files

        report.comparison = compare_files(str(path), str(against))
    return report


def _start(report, header, keys, form):
    """Check the header, and return the rules of the type."""
    report.kind = constraints.word(header, "REFTYPE").lower()
    report.instrument = constraints.word(header, "INSTRUME")
    report.detector = constraints.word(header, "DETECTOR")
    constraints.check_header(report, header)
    for key in keys:
        if not (constraints.word(header, key) or constraints.word(header, "P_" + key[:6])):
            report.error("match", key, "is missing; the rules choose by it")
    rules = constraints.rules_of(report.kind, report.instrument)
    if rules is None:
        if report.kind and not report.kind.startswith("pars-"):
            report.warning(
                "type", "REFTYPE", f"{report.kind.upper()} has no rules here; only the header is checked"
            )
        return {}
    instruments = rules.get("instruments")
    if instruments and report.instrument and report.instrument not in instruments:
        report.error("type", "REFTYPE", f"{report.instrument} has no {report.kind.upper()} references")
    needed = rules.get("format", "fits")
    if needed not in ("any", form):
        report.error(
            "format", "file", f"is {form.upper()}; {report.kind.upper()} references are {needed.upper()}"
        )
        return {}
    for key, part in rules.get("pattern", {}).items():
        if part not in constraints.word(header, key):
            report.error("value", key, f"{constraints.word(header, key)!r} does not name {part}")
    return rules


def _certify_fits(report, keys):
    from jwcal.core.fits import open_fits

    with open_fits(report.path) as fits:
        fits.check_sums()
        header = fits.primary.header
        rules = _start(report, header, keys, "fits")
        if report.findings and not report.kind:
            return
        from jwcal.refs import constraints_data as data

        frame = constraints.check_frame(report, header, rules) if rules.get("frame") else None
        _check_unit(report, fits, rules)
        data.check_planes(report, fits, rules, frame)
        data.check_tables(report, fits, rules)


def _check_unit(report, fits, rules):
    """Check the unit in the primary header, where old files have it."""
    unit = constraints.word(fits.primary.header, "BUNIT")
    allowed = rules.get("planes", {}).get("SCI", {}).get("unit")
    if unit and allowed and unit not in allowed:
        report.error("unit", "BUNIT", f"{unit!r} is not {' or '.join(allowed)}")
    elif allowed and not unit and "SCI" in fits and not constraints.word(fits["SCI"].header, "BUNIT"):
        report.warning("unit", "BUNIT", f"is missing; {' or '.join(allowed)} is assumed")


def _certify_asdf(report, keys):
    from jwcal.core.asdf_file import AsdfFile

    file = AsdfFile(report.path)
    tree = file.tree
    meta = tree.get("meta") if isinstance(tree.get("meta"), dict) else {}
    header = dict(file.primary.header)
    header.update({key: meta[name] for key, name in _META.items() if meta.get(name) is not None})
    header["HISTORY"] = meta.get("history") or (tree.get("history") or {})
    rules = _start(report, header, keys, "asdf")
    if report.kind.startswith("pars-"):
        _check_parameters(report)
        return
    from jwcal.refs.constraints_data import check_tree

    check_tree(report, tree, rules)


def _check_parameters(report):
    from jwcal.core.errors import UsageError
    from jwcal.core.params import read_pars

    try:
        read_pars(report.path)
    except UsageError as exc:
        report.error("parameters", "file", str(exc).removeprefix(f"{report.path}: "))

"""Put a reference file into the rules of its type, where its own header says."""

from jwcal.core.errors import InputError, ReferenceFileError
from jwcal.refs import expression
from jwcal.refs.compile import compile_rules
from jwcal.refs.mapping import SPECIAL_VALUES, Selector
from jwcal.refs.patterns import alternatives, condition_field, is_special
from jwcal.refs.rules import dotless
from jwcal.refs.values import UNDEFINED, condition, format_time, key_names

# Keyword of a reference file that holds the pattern of values it is for, by the keyword it is for.
_PATTERNS = {
    key: "P_" + key[:6]
    for key in (
        "EXP_TYPE", "BAND", "DETECTOR", "CHANNEL", "FILTER", "PUPIL", "MODULE", "SUBARRAY", "GRATING", "READPATT",
        "CORONMSK",
    )
}  # fmt: skip
_ASDF_PATTERNS = {
    "P_EXP_TY": ("exposure", "p_exptype"),
    "P_READPA": ("exposure", "p_readpatt"),
    "P_SUBARR": ("subarray", "p_subarray"),
    **{
        "P_" + name.upper()[:6]: ("instrument", "p_" + name)
        for name in ("band", "detector", "channel", "filter", "pupil", "module", "grating")
    },
}
_TIME = ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME")
_LEVELS = ("Match", "UseAfter")


class Change:
    """What an insertion does to the rules.

    Attributes
    ----------
    file : str
        Name of the file that was put in.
    rule : tuple of str
        Fields of the rule.
    useafter : str or None
        Time from which it holds; None for rules without times.
    action : str
        "adds a rule", "adds a time" or "replaces".
    replaced : str or None
        File that the rule chose for this very time until now.
    before : str or None
        File that the rule chooses for earlier times and chose for later ones too.
    """

    def __init__(self, file, rule, useafter, action, replaced=None, before=None):
        self.file, self.rule, self.useafter = file, rule, useafter
        self.action, self.replaced, self.before = action, replaced, before

    def text(self):
        """Return it in words."""
        when = f" from {self.useafter}" if self.useafter else ""
        what = {"adds a rule": "new rule", "adds a time": "rule", "replaces": "rule"}[self.action]
        told = f"{what} {', '.join(self.rule)}{when}"
        if self.replaced:
            return f"{told}, in place of {self.replaced}"
        return f"{told}, after {self.before}" if self.before else told

    def as_dict(self):
        """Return it as a dictionary of plain values."""
        return {
            "file": self.file,
            "rule": list(self.rule),
            "useafter": self.useafter,
            "action": self.action,
            "replaced": self.replaced,
            "before": self.before,
        }


def keywords_of(path):
    """Keywords of a reference file by FITS name, patterns included.

    Parameters
    ----------
    path : str
        FITS or ASDF file.

    Returns
    -------
    dict of str to str

    Raises
    ------
    InputError
        If it cannot be read.
    """
    from jwcal.core.asdf_file import AsdfFile, is_asdf

    if is_asdf(path):
        file = AsdfFile(path)
        meta = file.tree.get("meta") if isinstance(file.tree.get("meta"), dict) else {}
        found = dict(file.primary.header)
        for key, (part, name) in _ASDF_PATTERNS.items():
            value = (meta.get(part) or {}).get(name) if isinstance(meta.get(part), dict) else None
            if value is not None:
                found[key] = value
    else:
        from jwcal.core.fits import read_primary_header

        header = read_primary_header(path)
        found = {key: value for key, value in header.items() if not isinstance(value, list)}
    return {key: str(value).strip() for key, value in found.items() if value is not None}


def fits_keys(mapping):
    """FITS keywords by which rules choose, those of times left out.

    Parameters
    ----------
    mapping : jwcal.refs.mapping.Mapping
        An .rmap.
    """
    names = key_names()
    extra = set(mapping.header.get("extra_keys") or ())
    found = []
    for level in mapping.header["parkey"]:
        for key in level if isinstance(level, tuple | list) else (level,):
            if key not in _TIME and key not in ("DATE-OBS", "TIME-OBS") and key not in extra:
                found.append(names.get(key, key))
    return found


def insert(mapping, keywords, name):
    """Put a file into rules.

    Parameters
    ----------
    mapping : jwcal.refs.mapping.Mapping
        Rules of its type (.rmap); left as they are.
    keywords : dict of str to str
        What `keywords_of` gave.
    name : str
        Name of the file in the rules.

    Returns
    -------
    new : jwcal.refs.mapping.Mapping
        Rules with the file.
    change : Change

    Raises
    ------
    ReferenceFileError
        If a keyword is missing, the rules are of a kind that cannot be extended, or the file's
        rule would be a special case, of equal weight, of one that is there.
    """
    new = mapping.copy()
    levels = [tuple(p) if isinstance(p, tuple | list) else (p,) for p in mapping.header["parkey"]]
    classes = tuple(mapping.header.get("classes") or _LEVELS[: len(levels)])
    if classes != _LEVELS[: len(levels)] or new.selector.name != "Match":
        raise ReferenceFileError(f"{mapping.name}: rules of {' of '.join(classes)} cannot be extended here")
    compiled = compile_rules(mapping)
    header = _as_data_set(mapping, keywords, compiled)
    missing = [key for level in levels for key in level if header.get(key, UNDEFINED) == UNDEFINED]
    if missing:
        fits = key_names().get(missing[0], missing[0])
        what = "USEAFTER" if missing[0] in _TIME else fits
        raise ReferenceFileError(f"{name}: no {what}; the rules {mapping.name} choose by it")
    rule = tuple("|".join(alternatives(header[key])) for key in levels[0])
    found = _same(new.selector, rule)
    _check_special_case(mapping, compiled["selector"][2], rule, name)
    key = rule if len(rule) > 1 else rule[0]
    if len(levels) == 1:
        before = None if found is None else new.selector.entries.pop(found)
        new.selector.entries[key if found is None else found] = name
        action = "adds a rule" if found is None else "replaces"
        return new, Change(name, rule, None, action, _file(before))
    when = " ".join(header[k] for k in levels[1])
    times = None if found is None else new.selector.entries[found]
    if not isinstance(times, Selector):
        replaced = _file(times)
        new.selector.entries[key if found is None else found] = Selector("UseAfter", {when: name})
        action = "adds a rule" if found is None else "replaces"
        return new, Change(name, rule, when, action, replaced)
    if times.name != "UseAfter":
        raise ReferenceFileError(
            f"{mapping.name}: rule {found!r} holds a {times.name}, which cannot be extended"
        )
    replaced = _file(times.entries.get(when))
    earlier = max((t for t in times.entries if t < when), default=None)
    action = "adds a time" if when not in times.entries else "replaces"
    times.entries[when] = name
    return new, Change(name, rule, when, action, replaced, _file(times.entries.get(earlier)))


def remove(mapping, name):
    """Rules without a file; rules that are left empty go too.

    Raises
    ------
    InputError
        If they do not choose it.
    """
    new = mapping.copy()
    if not _drop(new.selector, name):
        raise InputError(f"{name}: {mapping.name} does not choose it")
    return new


def _drop(selector, name):
    dropped = False
    for key, choice in list(selector.entries.items()):
        if isinstance(choice, Selector):
            dropped |= _drop(choice, name)
            if not choice.entries:
                del selector.entries[key]
        elif choice == name:
            del selector.entries[key]
            dropped = True
    return dropped


def _file(choice):
    return choice if isinstance(choice, str) and choice not in SPECIAL_VALUES else None


def _as_data_set(mapping, keywords, compiled):
    """Header of the data sets that the file is for, by keyword of the rules, values as written."""
    names = key_names()
    header = {}
    for level in mapping.header["parkey"]:
        for key in level if isinstance(level, tuple | list) else (level,):
            fits = names.get(key, key)
            pattern = keywords.get(_PATTERNS.get(fits, ""), "")
            header[key] = pattern if pattern not in ("", UNDEFINED) else keywords.get(fits, UNDEFINED)
    for reference, data_set in dict(mapping.header.get("reference_to_dataset") or {}).items():
        value = keywords.get(names.get(reference.upper(), reference.upper()))
        if value not in (None, UNDEFINED):
            header[data_set.upper()] = value
    if keywords.get("USEAFTER"):
        try:
            date, time = format_time(keywords["USEAFTER"]).split(" ")
        except (ValueError, OverflowError):
            raise ReferenceFileError(f"USEAFTER {keywords['USEAFTER']!r} is no time") from None
        header.update({_TIME[0]: date, _TIME[1]: time, "DATE-OBS": date, "TIME-OBS": time})
    values = {names_key: condition(keywords[fits]) for names_key, fits in names.items() if fits in keywords}
    values = dotless({**dict.fromkeys(compiled["keys"], UNDEFINED), **values, **_conditioned(header)})
    comments = {str(k).lower() for k in mapping.header.get("comment_parkeys") or ()}
    for key, tree in compiled["parkey_relevance"]:
        if key.lower() not in comments and not expression.evaluate(tree, values):
            header[key] = "N/A"
    switch = str(mapping.value("reffile_switch", "NONE")).upper()
    for key in [*(mapping.header.get("extra_keys") or ()), *([] if switch == "NONE" else [switch])]:
        header[key] = "N/A"
    return header


def _conditioned(header):
    return {key: condition(value) for key, value in header.items()}


def _fields(key):
    return tuple(condition_field(field) for field in (key if isinstance(key, tuple) else (key,)))


def _same(selector, rule):
    """Key of the rule that has the same fields; None if there is none."""
    wanted = _fields(rule)
    return next((key for key in selector.entries if _fields(key) == wanted), None)


def _check_special_case(mapping, keys, rule, name):
    fields = _fields(rule)
    for other in map(tuple, keys):
        if other == fields or not all(map(_covers, other, fields)):
            continue
        mine = sum(f == "N/A" and g != "N/A" for f, g in zip(fields, other, strict=True))
        theirs = sum(g == "N/A" and f != "N/A" for f, g in zip(fields, other, strict=True))
        if mine == theirs:
            raise ReferenceFileError(
                f"{name}: its rule {rule} is a special case, of equal weight, of the rule {other} of"
                f" {mapping.name}; give it the keywords of that rule"
            )


def _covers(wide, narrow):
    """Whether a field matches whatever another one matches."""
    if wide in (narrow, "*") or narrow == "N/A" or (wide, narrow) == ("N/A", "*"):
        return True
    if is_special(wide) or is_special(narrow):
        return False
    return set(alternatives(narrow)) <= set(alternatives(wide))

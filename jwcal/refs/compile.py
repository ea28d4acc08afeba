"""Turn the rules of a reference type into the form that is matched and kept in the index.

The compiled form is made of dictionaries, lists, text and numbers only, so that JSON keeps
it.  Fields of rules are conditioned, substitutions applied and keys sorted, as the official
client does when it loads a mapping.
"""

import re
import sys

from jwcal.core.errors import ReferenceFileError
from jwcal.refs.conditions import parse
from jwcal.refs.mapping import Selector, literal
from jwcal.refs.patterns import alternatives, condition_field, is_special, matcher
from jwcal.refs.values import condition, version_key

# Keywords that every type may use in its conditions, whether its rules name them or not.
EVERYWHERE = ("META.VISIT.TSOVISIT", "META.INSTRUMENT.LAMP_STATE")
_SUBSTITUTIONS = {"META.SUBARRAY.NAME": {"GENERIC": "N/A"}, "SUBARRAY": {"GENERIC": "N/A"}}
_RELATION = re.compile(r"([<=]=?|default)(.*)$")


def compile_rules(mapping):
    """Compile the rules of one reference type.

    Parameters
    ----------
    mapping : Mapping
        An .rmap.

    Returns
    -------
    dict
        Entries: kind, instrument, label, keys (keywords it needs), relevance, omit and
        parkey_relevance (parsed conditions), texts (conditions as written), required, merge, substitutions,
        selector.  A selector is a list: name, keywords, keys, choices, and for Match the values
        by keyword that are valid.  A choice is a file name, another such list, or
        ``{"files": ...}`` for several.

    Raises
    ------
    ReferenceFileError
        If the rules cannot be used.
    """
    return _Compiler(mapping).compile()


class _Compiler:
    def __init__(self, mapping):
        self.mapping = mapping
        self.label = mapping.label
        substitutions = mapping.header.get("substitutions", {})
        if not isinstance(substitutions, dict):
            raise self.wrong("substitutions are no dictionary")
        self.substitutions = {**_SUBSTITUTIONS, **substitutions}

    def wrong(self, what):
        return ReferenceFileError(f"{self.label}: {what}")

    def compile(self):
        mapping, value = self.mapping, self.mapping.value
        parkey = mapping.header["parkey"]
        if not isinstance(parkey, tuple | list):
            raise self.wrong("header 'parkey' is no tuple")
        flat = [k for level in parkey for k in (level if isinstance(level, tuple | list) else (level,))]
        switch = str(value("reffile_switch", "NONE")).upper()
        extra = [*([] if switch == "NONE" else [switch]), *mapping.header.get("extra_keys", ())]
        keys = [*flat, *extra, *EVERYWHERE]
        if not all(isinstance(k, str) for k in keys):
            raise self.wrong("header 'parkey' or 'extra_keys' holds what is no keyword")
        comments = [str(name).lower() for name in mapping.header.get("comment_parkeys", ())]
        relevant = {str(k).lower(): v for k, v in dict(mapping.header.get("parkey_relevance", {})).items()}
        conditions = {k: self.condition(v, keys) for k, v in relevant.items() if k not in comments}
        conditions.update({name: ["value", False] for name in comments})
        merge = str(mapping.header.get("merge_overlaps", True)).upper() in ("TRUE", "1")
        return {
            "kind": mapping.filekind,
            "instrument": mapping.instrument,
            "label": mapping.label.rsplit("/", 1)[-1],
            "keys": keys,
            "relevance": self.condition(
                str(value("rmap_relevance", "always")).replace("always", "True"), keys
            ),
            "omit": self.condition(str(value("rmap_omit", "False")), keys),
            "parkey_relevance": [[k, conditions[k.lower()]] for k in keys if k.lower() in conditions],
            "texts": {k: v for k in ("rmap_relevance", "rmap_omit") if (v := value(k)) is not None},
            "required": str(value("reffile_required", "NONE")).upper() in ("YES", "NONE"),
            "merge": merge,
            "substitutions": {
                k: {str(a): b for a, b in v.items()}
                for k, v in self.substitutions.items()
                if k in flat and isinstance(v, dict)
            },
            "selector": self.level(mapping.selector, list(parkey)),
        }

    def condition(self, source, keys):
        """Parse a condition, in which keywords have underscores for their dots."""
        if not isinstance(source, str):
            raise self.wrong(f"condition {source!r} is no text")
        for key in keys:
            source = source.replace(key, key.replace(".", "_"))
        return parse(source, self.label)

    def level(self, selector, parkeys):
        """Compile one selector and those in it."""
        if not parkeys or not isinstance(parkeys[0], tuple | list):
            raise self.wrong(f"header 'parkey' has no keywords for {selector.name}")
        parameters = list(parkeys[0])
        raw = {
            key: self.level(choice, parkeys[1:]) if isinstance(choice, Selector) else self.choice(choice)
            for key, choice in selector.entries.items()
        }
        raw = self.substituted(raw, parameters)
        keyed = [(self.key(selector.name, key), choice) for key, choice in raw.items()]
        if selector.name == "Match":
            for key, _ in keyed:
                if len(key) != len(parameters):
                    raise self.wrong(f"rule {key} has not as many fields as there are keywords {parameters}")
                for field in key:
                    self.field(field)
        ordered = self.ordered(selector.name, keyed)
        keys, choices = [k for k, _ in ordered], [c for _, c in ordered]
        if selector.name == "SelectVersion":
            keys = [[relation, version] for version, relation in keys]
        node = [selector.name, parameters, keys, choices]
        if selector.name == "Match":
            node.append([self.valid(keys, i) for i in range(len(parameters))])
        return node

    def field(self, field):
        """Check that a field can be matched."""
        try:
            matcher(field)
        except ReferenceFileError as exc:
            raise self.wrong(exc) from None

    def choice(self, choice):
        """Check what a rule chooses."""
        if isinstance(choice, str):
            return choice
        if isinstance(choice, tuple | dict):
            return {"files": choice if isinstance(choice, dict) else list(choice)}
        raise self.wrong(f"a rule chooses {choice!r}, which is no file name")

    def substituted(self, entries, parameters):
        """Replace values in keys; the order and what overwrites what are those of the official client."""
        for column, keyword in enumerate(parameters):
            table = self.substitutions.get(keyword)
            if not table:
                continue
            for key in list(entries):
                fields = list(key) if isinstance(key, tuple) else [key]
                place = column if isinstance(key, tuple) else 0
                if place >= len(fields):
                    raise self.wrong(f"rule {key} has not as many fields as there are keywords {parameters}")
                if fields[place] not in table:
                    continue
                new = table[fields[place]]
                fields[place] = tuple(new) if isinstance(new, list) else new
                entries[tuple(fields) if isinstance(key, tuple) else fields[0]] = entries.pop(key)
        return entries

    def key(self, name, key):
        """Key in the form in which it is compared."""
        if name == "Match":
            fields = key if isinstance(key, tuple) else (key,)
            return tuple(condition_field(field) for field in fields)
        if name == "VersionAfter":
            version = version_key(key) if isinstance(key, str) else None
            if version is None:
                raise self.wrong(f"{key!r} is no version")
            return version
        if name == "SelectVersion":
            return self.relation(key)
        if name == "GeometricallyNearest":
            return condition(key)
        if name == "Bracket":
            if not isinstance(key, int | float):
                raise self.wrong(f"Bracket key {key!r} is no number")
            return key
        if not isinstance(key, str):
            raise self.wrong(f"{name} key {key!r} is no date")
        return key

    def relation(self, key):
        """Version and operator of a key such as "< 5"."""
        text = str(key)
        if text.replace("=", "").strip() == "default":
            return sys.maxsize, "="
        if not text.startswith(("<", "=")):
            text = "=" + text
        found = _RELATION.match(text)
        if found is None:
            raise self.wrong(f"{key!r} is no version relation")
        version = literal(found[2].strip(), self.label)
        if not isinstance(version, int | float | str | tuple):
            raise self.wrong(f"{key!r} is no version relation")
        return version, found[1].replace("==", "=")

    def ordered(self, name, keyed):
        """Sort keys and choices; two keys that became equal are an error."""
        keys = [key for key, _ in keyed]
        try:
            if len(set(keys)) != len(keys):
                twice = next(k for i, k in enumerate(keys) if k in keys[:i])
                raise self.wrong(f"rule {twice!r} is given twice")
            return sorted(keyed, key=lambda item: item[0])
        except TypeError:
            raise self.wrong(f"{name} keys cannot be compared with each other") from None

    @staticmethod
    def valid(keys, place):
        """Values that the rules name for a keyword; none if any of them is more than a list of values."""
        found: set = set()
        for key in keys:
            if is_special(key[place]):
                return []
            found |= set(alternatives(key[place]))
        return sorted(found)

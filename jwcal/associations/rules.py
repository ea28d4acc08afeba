"""Rules of associations: tables read from TOML files, the package's own and the user's."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from jwcal.associations.constraints import VERBS
from jwcal.core.errors import UsageError
from jwcal.core.packaged import ROOT

FOLDER = ROOT / "associations" / "rules"
ROLES = ("level2", "special", "direct", "nod", "level3", "science")
FINISH = ("imprints", "nods", "catalogue", "nod spectra")
NAMES = ("optics", "no optics", "sources", "slits", "field", "pair", "coronagraphic image")
NEEDS = ("psf", "two members")
_OPTIONS = {"name", "like", "optional", "again", "unless_role", "only_role", "is"}
_AGAIN = ("members", "last")


@dataclass
class Rule:
    """One rule; the fields are the keys of its table, explained in jwcal-rules(5)."""

    rule: str
    title: str
    level: int
    type: str
    when: list
    roles: str = ""
    frame: str = ""
    name: str = "optics"
    finish: list = field(default_factory=list)
    needs: list = field(default_factory=list)
    candidates: list | str | None = None
    not_candidates: list = field(default_factory=list)
    integrations: str = "by exposure type"
    closest: str = "next in time"
    several_observations: bool = True
    source: str = ""

    def __post_init__(self):
        self.roles = self.roles or ("level2" if self.level == 2 else "level3")
        self.conditions = self.when
        if self.candidates is None:
            self.candidates = ["observation", "background"] if self.level == 2 else "any"

    def takes(self, kind):
        """Whether associations of a kind of candidate ("discovered" too) can come of the rule."""
        return (
            self.candidates == "any" or kind in (self.candidates or ())
        ) and kind not in self.not_candidates


@dataclass
class RuleSet:
    """Rules in the order in which they are tried, with the blocks and tables they use."""

    rules: list
    blocks: dict
    tables: dict


def load_rules(files=(), default=True):
    """Rules of the package, then those of files, which add rules or replace those of the same name.

    Parameters
    ----------
    files : iterable of str or Path
        TOML files; see jwcal-rules(5).
    default : bool
        Start from the rules of the package.  Tables and blocks of the package are there in any case.

    Returns
    -------
    RuleSet

    Raises
    ------
    UsageError
        If a file cannot be read or a rule is wrong; the message names file, rule and condition.
    """
    tables = _read(FOLDER / "tables.toml")
    blocks: dict[str, dict] = {}
    found: dict[str, Rule] = {}
    own = [FOLDER / "level2.toml", FOLDER / "level3.toml"]
    for path in [*own, *map(Path, files)]:
        content = _read(path)
        unknown = set(content) - {"block", "rule", "tables"}
        if unknown:
            raise UsageError(f"{path}: [{min(unknown)}] is neither block, rule nor tables")
        blocks.update(content.get("block", {}))
        for name, table in content.get("tables", {}).items():
            tables.setdefault(name, {}).update(table)
        if path in own and not default:
            continue
        for name, table in content.get("rule", {}).items():
            if table.get("off"):
                found.pop(name, None)
                continue
            found[name] = _rule(name, table, path)
    for rule in found.values():
        problem = next(problems(rule, blocks), None)
        if problem:
            raise UsageError(f"{rule.source}: rule {rule.rule}: {problem}")
    if not found:
        raise UsageError("no rules: give a rule file, or leave out --ignore-default")
    # Level 2 first, then by name: which of two equal associations stays depends on it.
    return RuleSet(sorted(found.values(), key=lambda rule: (rule.level, rule.rule)), blocks, tables)


def _read(path):
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: not TOML: {exc}") from exc


def _rule(name, table, path):
    known = set(Rule.__dataclass_fields__) - {"rule", "source"}
    for key in table:
        if key not in known:
            raise UsageError(f"{path}: rule {name}: unknown key {key}")
    for key in ("title", "level", "type", "when"):
        if key not in table:
            raise UsageError(f"{path}: rule {name}: key {key} is missing")
    return Rule(rule=name, source=str(path), **table)


def problems(rule, blocks):
    """Find what is wrong with a rule.

    Parameters
    ----------
    rule : Rule
        The rule.
    blocks : dict
        Blocks it may use.

    Yields
    ------
    str
    """
    if rule.level not in (2, 3):
        yield f"level {rule.level!r} is neither 2 nor 3"
    for key, allowed in (("roles", ROLES), ("name", NAMES)):
        if getattr(rule, key) not in allowed:
            yield f"{key} {getattr(rule, key)!r} is none of {', '.join(allowed)}"
    for key, values in (("finish", FINISH), ("needs", NEEDS)):
        for value in getattr(rule, key):
            if value not in values:
                yield f"{key} {value!r} is none of {', '.join(values)}"
    if rule.frame and rule.frame not in blocks:
        yield f"frame {rule.frame!r}: no such block"
    if not rule.when:
        yield "when is empty: no exposure can match"
    for condition in rule.when:
        yield from _problems(condition, blocks, ())
    yield from _contradictions(rule.when, blocks)


def _problems(condition, blocks, inside):
    if not isinstance(condition, dict):
        yield f"condition {condition!r} is not a table"
        return
    verbs = [word for word in condition if word in VERBS]
    if len(verbs) != 1 and not set(verbs) >= {"check", "is"}:
        yield f"condition {_brief(condition)} needs exactly one of {', '.join(VERBS)}"
        return
    verb = verbs[0]
    for key in set(condition) - _OPTIONS - {verb}:
        yield f"condition {_brief(condition)}: unknown key {key}"
    if condition.get("again", "last") not in _AGAIN:
        yield f"condition {_brief(condition)}: again is none of {', '.join(_AGAIN)}"
    if "like" in condition:
        yield from _bad_pattern(condition)
    if verb == "use":
        name = condition["use"]
        if name not in blocks:
            yield f"no block {name}"
        elif name in inside:
            yield f"block {name} uses itself"
        else:
            yield from _problems(blocks[name], blocks, (*inside, name))
    elif verb in ("all", "any", "none", "not_all"):
        if not condition[verb]:
            yield f"condition {_brief(condition)} is empty"
        for part in condition[verb]:
            yield from _problems(part, blocks, inside)


def _bad_pattern(condition):
    import re

    given = condition["like"]
    for text in [given] if isinstance(given, str) else given:
        try:
            re.compile(text)
        except re.error as exc:
            yield f"condition {_brief(condition)}: pattern {text!r}: {exc}"


def _contradictions(conditions, blocks):
    """Two plain patterns for one column that share no value."""
    plain: dict[str, set] = {}
    for condition in _flat(conditions, blocks, 0):
        column = condition.get("same", condition.get("has"))
        given = condition.get("like")
        if not isinstance(column, str) or given is None or condition.get("optional"):
            continue
        values = {text.lower() for text in ([given] if isinstance(given, str) else given)}
        if any(not text.replace("-", "").replace("_", "").isalnum() for text in values):
            continue
        if column in plain and not plain[column] & values:
            yield f"no exposure can match: {column} has to be {'|'.join(sorted(plain[column]))} and {'|'.join(sorted(values))}"
        plain[column] = plain.get(column, values) & values or values


def _flat(conditions, blocks, depth):
    for condition in conditions:
        if not isinstance(condition, dict) or depth > 20:
            continue
        if "use" in condition and condition["use"] in blocks:
            yield from _flat([blocks[condition["use"]]], blocks, depth + 1)
        elif "all" in condition:
            yield from _flat(condition["all"], blocks, depth + 1)
        else:
            yield condition


def _brief(condition):
    text = ", ".join(f"{key} = {value!r}" for key, value in condition.items())
    return "{" + (text if len(text) < 80 else text[:77] + "...") + "}"

"""Rules of associations: tables read from TOML files, the package's own and the user's."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from jwcal.associations.lint import problems, rule_problems
from jwcal.core.errors import UsageError
from jwcal.core.packaged import ROOT

FOLDER = ROOT / "associations" / "rules"


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
    """Rules in the order in which they are tried, with the blocks and tables they use.

    Attributes
    ----------
    rules : list of Rule
    blocks, tables : dict
        By name.
    changes : list of str
        What rule files of the user change: one line a rule.
    """

    rules: list
    blocks: dict
    tables: dict
    changes: list = field(default_factory=list)


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
    raw: dict[str, dict] = {}
    found: dict[str, Rule] = {}
    changes = []
    own = [FOLDER / "level2.toml", FOLDER / "level3.toml"]
    for path in [*own, *map(Path, files)]:
        content = _read(path)
        _check_file(path, content, tables)
        blocks.update(content.get("block", {}))
        for name, table in content.get("tables", {}).items():
            tables[name].update(table)
        for name, given in content.get("rule", {}).items():
            if path not in own:
                what = "taken out" if given.get("off") else ("replaced" if name in found else "added")
                changes.append(f"{name}: {what} by {path}")
            if given.get("off"):
                if name not in raw:
                    raise UsageError(f"{path}: rule {name}: off, but there is no such rule")
                found.pop(name, None)
                continue
            raw[name] = _with_base(name, given, raw, path)
            if default or path not in own:
                found[name] = _rule(name, raw[name], path)
    for rule in found.values():
        problem = next(problems(rule, blocks), None)
        if problem:
            raise UsageError(f"{rule.source}: rule {rule.rule}: {problem}")
    if not found:
        raise UsageError("no rules: give a rule file, or leave out --ignore-default")
    # Level 2 first, then by name: which of two equal associations stays depends on it.
    ordered = sorted(found.values(), key=lambda rule: (rule.level, rule.rule))
    return RuleSet(ordered, blocks, tables, changes)


def _check_file(path, content, tables):
    unknown = set(content) - {"block", "rule", "tables"}
    if unknown:
        raise UsageError(f"{path}: [{min(unknown)}] is neither block, rule nor tables")
    for kind, parts in content.items():
        if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
            raise UsageError(f"{path}: {kind} has to have tables, such as [{kind}.NAME]")
    for name, table in content.get("tables", {}).items():
        if name not in tables:
            raise UsageError(f"{path}: no table {name}; there are {', '.join(tables)}")
        example = next(iter(tables[name].values()))
        for key, value in table.items():
            if not isinstance(value, type(tables[name].get(key, example))):
                raise UsageError(f"{path}: tables.{name}: {key} is not a {type(example).__name__}")


def _with_base(name, given, raw, path):
    """Complete a rule by what it does not say itself and the rule it rests on does."""
    problem = next(rule_problems(given), None)
    if problem:
        raise UsageError(f"{path}: rule {name}: {problem}")
    base = given.get("base")
    if base is None:
        return given
    if base not in raw:
        raise UsageError(f"{path}: rule {name}: base {base}: no such rule before it")
    return {key: value for key, value in {**raw[base], **given}.items() if key != "base"}


def _read(path):
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: not TOML: {exc}") from exc


def _rule(name, table, path):
    for key in ("title", "level", "type", "when"):
        if key not in table:
            raise UsageError(f"{path}: rule {name}: key {key} is missing")
    return Rule(rule=name, source=str(path), **{key: value for key, value in table.items() if key != "off"})

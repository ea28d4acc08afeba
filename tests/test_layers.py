"""Imports point downwards only: kernels, core, steps, tools, command line."""

import ast
from pathlib import Path

import pytest

import jwcal

ROOT = Path(jwcal.__file__).parent
RANK = {
    "kernels": 0,
    "data": 0,
    "pipelines": 0,
    "core": 1,
    "refs": 1,
    "detector1": 2,
    "guider": 2,
    "image2": 2,
    "associations": 2,
    "planning": 4,
    "simulate": 4,
    "analysis": 4,
    "cli": 4,
}
# The table of commands is looked up by name, when a step is asked for by name.
ALLOWED = {("core/registry.py", "jwcal.cli.index"), ("core/params.py", "jwcal.cli.index")}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_from_above(path):
    where = path.relative_to(ROOT)
    if len(where.parts) == 1:
        return
    for module in imports(path):
        parts = module.split(".")
        if (
            parts[0] == "jwcal"
            and len(parts) > 1
            and parts[1] in RANK
            and (str(where), module) not in ALLOWED
        ):
            # Commands of a package are part of the command line, wherever they lie.
            mine = RANK["cli"] if where.name.startswith("commands") else RANK[where.parts[0]]
            assert RANK[parts[1]] <= mine, f"{where} imports {module}"


def test_every_folder_has_a_rank():
    assert {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()} == set(RANK)

"""Generated files are those of the declarations; pages and index are complete."""

import re
import shutil
import subprocess

import click
import pytest

from jwcal.cli import docs, index, troff
from jwcal.cli.steps import param_option
from jwcal.core import pipeline
from jwcal.core.errors import EXIT_CODES, JwcalError, UsageError
from tests.conftest import ROOT

NAMES = [*index.COMMANDS, *index.STEPS]


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the generator reads and writes."""
    for name in ("setup.cfg", "jwcal/cli/index.py", "docs/parameters.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "man", tmp_path / "man")
    return tmp_path


@pytest.mark.parametrize("what", ["index", "man", "params"])
def test_generated_files_are_up_to_date(what):
    assert docs.update(what, ROOT, check=True) == [], f"run `jwcal docs {what}`"


def test_check_names_what_differs_and_writing_mends_it(invoke, checkout):
    page = checkout / "man" / "jwcal-superbias.1"
    good = page.read_text()
    page.write_text(good + "x\n")
    (checkout / "man" / "jwcal-none.1").write_text("old")
    (checkout / "docs" / "parameters.md").unlink()
    done = invoke("docs", "all", "--check", "--root", checkout)
    assert done.code == 1
    assert [line.split(":")[0] for line in done.out.decode().splitlines()] == [
        "man/jwcal-superbias.1",
        "man/jwcal-none.1",
        "docs/parameters.md",
    ]
    assert not (checkout / "docs" / "parameters.md").exists()
    assert invoke("docs", "all", "--root", checkout).code == 0
    assert page.read_text() == good
    assert not (checkout / "man" / "jwcal-none.1").exists()
    done = invoke("docs", "all", "--check", "--root", checkout)
    assert (done.code, done.out) == (0, b"")


def test_refuses_what_is_no_checkout(invoke, tmp_path):
    done = invoke("docs", "index", "--root", tmp_path)
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_a_module_that_cannot_be_imported_stops_the_index(monkeypatch, tmp_path):
    package = tmp_path / "stage_x"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "wrong.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(docs.STAGES, "stage_x", "Other steps")
    with pytest.raises(JwcalError, match=r"stage_x\.wrong: cannot be imported: .*no_such_module_at_all"):
        docs.index_text()


def test_a_step_that_only_a_pipeline_knows_stops_the_index(monkeypatch):
    order = docs.pipeline_order()
    monkeypatch.setattr(docs, "pipeline_order", lambda: [*order, "frobnicate"])
    with pytest.raises(JwcalError, match="frobnicate"):
        docs.index_text()


def test_a_command_that_is_no_command_stops_the_index(monkeypatch):
    monkeypatch.setitem(docs.COMMANDS, "wrong", ("jwcal.cli.docs", "declared_steps", "Tools"))
    with pytest.raises(JwcalError, match="declared_steps"):
        docs.loaded_commands()


def test_order_agrees_with_every_branch_as_far_as_they_agree():
    order = docs.pipeline_order()
    assert len(order) == len(set(order))
    for name in pipeline.names():
        branches = [b["steps"] for b in pipeline.definition(name)["branch"]]
        first = [s for s in branches[0] if isinstance(s, str)]
        assert [s for s in order if s in first] == first
        for steps in branches:
            assert set(steps) <= set(order)


def test_index_is_python_that_says_where_everything_is():
    space = {}
    exec(compile(docs.index_text(), "index", "exec"), space)
    assert space["STEPS"] == index.STEPS
    assert space["COMMANDS"] == index.COMMANDS
    assert all(
        entry[3] and len(entry[3]) <= 79
        for table in (index.STEPS, index.COMMANDS)
        for entry in table.values()
    )


def test_every_command_has_a_page():
    pages = {p.name for p in (ROOT / "man").glob("*.1")}
    assert pages == {"jwcal.1", *(f"jwcal-{name}.1" for name in NAMES)}
    assert {p.name for p in (ROOT / "man").iterdir()} - pages == {
        "jwcal-pipes.7",
        "jwcal-fits.5",
        "jwcal-rules.5",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_page_tells_every_option_and_exit_code(name):
    text = (ROOT / "man" / f"jwcal-{name}.1").read_text().replace("\\-", "-")
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", '"EXIT STATUS"', '"SEE ALSO"'):
        assert f".SH {heading}\n" in text
    command = docs.loaded_commands()[name]
    context = click.Context(command)
    parts = [command]
    if isinstance(command, click.Group):
        parts = [command.get_command(context, c) for c in command.list_commands(context)]
    for part in parts:
        for option in part.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[0] in text, option.opts[0]
    for code in EXIT_CODES:
        assert f"\\fB{code}\\fR" in text


def test_pages_refer_to_pages_that_exist():
    here = {p.name for p in (ROOT / "man").iterdir()}
    for page in (ROOT / "man").iterdir():
        text = page.read_text().replace("\\-", "-")
        for name, section in re.findall(r"(jwcal(?:-[a-z0-9-]+)?)(?:\\fR)? ?\((\d)\)", text):
            assert f"{name}.{section}" in here, f"{page.name}: {name}({section})"


def test_pipes_page_has_the_exit_codes():
    text = (ROOT / "man" / "jwcal-pipes.7").read_text()
    part = text.split(".SH EXIT STATUS")[1].split(".SH")[0]
    assert [int(c) for c in re.findall(r"^\.B (\d+)$", part, re.MULTILINE)] == list(EXIT_CODES)


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_pages_are_good_troff():
    for page in sorted((ROOT / "man").iterdir()):
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z", str(page)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), page.name


def test_parameter_reference_has_every_parameter():
    text = docs.parameters_text()
    for step, _, _ in docs.declared_steps().values():
        part = text.split(f"\n## {step.command}\n")[1].split("\n## ")[0]
        assert all(f"`{p.name}`" in part for p in step.params)
        assert all(r.kind.upper() in part for r in step.refs)


def test_every_parameter_says_what_it_is():
    for step, _, _ in docs.declared_steps().values():
        for p in step.params:
            assert p.help.endswith("."), f"{step.name}.{p.name}"
            assert param_option(p).help


def test_first_lines_are_short():
    for step, _, _ in docs.declared_steps().values():
        assert 0 < len(step.summary) <= 79, step.name
        assert step.summary.endswith("."), step.name


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (".TH", "\\&.TH"),
        ("'x", "\\&'x"),
        ("a\\b-c", "a\\eb\\-c"),
        ("use ``--set a.b=1`` now", "use \\fB\\-\\-set a.b=1\\fR now"),
        ("`x`", "\\fBx\\fR"),
        ("give --as shell", "give \\fB\\-\\-as\\fR shell"),
    ],
)
def test_troff_marks(text, want):
    assert troff.marked(text) == want


def test_troff_paragraphs():
    text = "One\nline.\n\nNotes\n-----\nText.\n\n- a\n  b\n- c\n\n\b\nkeep  this\nas is\n"
    assert troff.paragraphs(text) == [
        ".PP", "One line.", ".SS Notes", ".PP", "Text.", ".IP \\(bu 2", "a b", ".IP \\(bu 2", "c",
        ".PP", ".EX", "keep  this", "as is", ".EE",
    ]  # fmt: skip


def test_checkout_of_this_package():
    assert docs.checkout() == ROOT
    with pytest.raises(UsageError):
        docs.checkout("/")


def test_page_without_marks_is_refused(checkout):
    path = checkout / "man" / "jwcal-fits.5"
    path.write_text(path.read_text().replace('.\\" begin flags\n', ""))
    with pytest.raises(JwcalError, match="begin flags"):
        docs.man_pages(checkout)

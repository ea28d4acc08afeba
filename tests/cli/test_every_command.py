"""Every command: help without heavy imports, a summary, documented exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jwcal.cli import index
from jwcal.core.errors import EXIT_CODES
from tests.conftest import PROGRAM

COMMANDS = {**index.COMMANDS, **index.STEPS}
HEAVY = ("numpy", "astropy", "scipy", "rich", "asdf", "fitsio", "matplotlib")


def loaded_by(*args):
    """Top-level modules a command leaves in sys.modules."""
    code = (
        "import sys\n"
        "from jwcal.cli.main import root\n"
        "from jwcal.cli.runner import run\n"
        "code = run(root, sys.argv[1:])\n"
        "print('\\n' + ' '.join(sorted({m.partition('.')[0] for m in sys.modules})), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split()), done.stdout


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("sim", "--help"), ("run", "--help"), ("info", "--help")],
                         ids=" ".join)  # fmt: skip
def test_help_is_light(args):
    modules, _ = loaded_by(*args)
    assert not modules & set(HEAVY)


@pytest.mark.parametrize("name", sorted(index.STEPS))
def test_help_of_a_step_needs_numpy_at_most(name):
    modules, out = loaded_by(name, "--help")
    assert not modules & (set(HEAVY) - {"numpy"})
    assert "--overwrite" in out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help(name, invoke):
    done = invoke(name, "--help")
    assert done.code == 0, done.err
    text = done.out.decode()
    assert text.startswith(f"Usage: jwcal {name}")
    assert len(text.splitlines()) > 5


def test_root_help_lists_every_command_with_a_summary(invoke):
    text = invoke("--help").out.decode()
    for name, entry in COMMANDS.items():
        rows = [row for row in text.splitlines() if row.strip().startswith(f"{name} ")]
        assert rows, f"{name} is not listed"
        assert entry[3], f"{name} has no summary"


@pytest.mark.parametrize("name", sorted(index.STEPS))
def test_missing_input(name, invoke, tmp_path):
    done = invoke(name, tmp_path / "none.fits", "-o", tmp_path / "out.fits")
    assert done.code == 3
    assert done.err.count("\n") == 1
    assert "none.fits" in done.err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_unknown_option(name, invoke):
    done = invoke(name, "--no-such-option")
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_unknown_command(invoke):
    done = invoke("no-such-command")
    assert done.code == 2
    assert "no-such-command" in done.err


def test_options_are_not_abbreviated(invoke, exposure, tmp_path):
    assert invoke("dq-init", *exposure.args, "--over", "-o", tmp_path / "a.fits").code == 2


@pytest.mark.parametrize("name", sorted(index.STEPS))
def test_empty_standard_input(name, jwcal, exposure):
    done = jwcal(name, "--refs", exposure.refs)
    assert done.code == 3, done.err
    assert done.out == b""
    assert done.err.count("\n") == 1


def test_exit_codes_are_the_documented_ones():
    assert set(EXIT_CODES) == {0, 1, 2, 3, 4, 5, 6, 75, 130, 141, 143}


def test_version():
    from jwcal import __version__

    done = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"jwcal {__version__}\n"

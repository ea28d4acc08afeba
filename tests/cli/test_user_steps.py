"""Steps of users: by file, as a plug-in, as a program; good ones and those that fail."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys

import numpy as np
import pytest

from tests.cli.spoil import pixels, refuse

STEPS = '''
"""Steps for the tests."""
import logging
import numpy as np
from jwcal.core.step import Param, Ref, Skip, step

DECLARED = dict(stage="detector1", takes="ramp", gives="ramp")


@step("my_jump", **DECLARED, status="S_JUMP", refs=[Ref("gain", planes={"SCI": "f4"}, missing="error")],
      params=[Param("nsigma", float, 4.5, "Threshold.", unit="sigma", min=0)], changes=("GROUPDQ",))
def my_jump(tile, refs, p):
    """Flag every group whose signal rises by more than a limit."""
    limit = p.nsigma * 100 / refs["gain"]["SCI"]
    tile["GROUPDQ"][:, 1:] |= np.where(np.diff(tile["SCI"], axis=1) > limit, 4, 0).astype(np.uint8)


@step("double", stage="detector1", takes="rate", gives="rate", changes=("SCI",))
def double(tile, refs, p):
    """Double the slopes."""
    tile["SCI"] *= 2


@step("level", **DECLARED, changes=("SCI",), scope="integration")
def level(tile, refs, p):
    """Subtract the median of each frame."""
    tile["SCI"] -= np.median(tile["SCI"], axis=(-2, -1), keepdims=True)


@step("mean_level", **DECLARED, changes=("SCI",), scope="exposure")
def mean_level(tile, refs, p):
    """Subtract the median of each group over all integrations."""
    tile["SCI"] -= np.median(tile["SCI"], axis=(0, 2, 3), keepdims=True)


@step("raises", **DECLARED, changes=("SCI",))
def raises(tile, refs, p):
    """Fail on a tile."""
    raise ValueError("several\\nlines")


@step("raises_frame", **DECLARED, changes=("SCI",), scope="integration")
def raises_frame(tile, refs, p):
    """Fail on a frame."""
    raise OSError(5, "broken")


@step("raises_setup", **DECLARED, changes=("SCI",))
def raises_setup(tile, refs, p):
    """Fail before any pixel."""


@raises_setup.setup
def _(exposure, refs, p):
    raise KeyError("x")


@step("raises_finish", **DECLARED, changes=("SCI",))
def raises_finish(tile, refs, p):
    """Fail after all pixels."""


@raises_finish.finish
def _(exposure, counts, plan, p):
    raise ZeroDivisionError("x")


@step("exits", **DECLARED, changes=("SCI",))
def exits(tile, refs, p):
    """End the program."""
    raise SystemExit(0)


@step("reshapes", **DECLARED, changes=("SCI",))
def reshapes(tile, refs, p):
    """Cut the plane."""
    tile["SCI"] = tile["SCI"][..., :3, :3].copy()


@step("retypes", **DECLARED, changes=("SCI",))
def retypes(tile, refs, p):
    """Leave another type."""
    tile["SCI"] = tile["SCI"].astype("f8")


@step("returns", **DECLARED, changes=("SCI",))
def returns(tile, refs, p):
    """Return planes."""
    return {"rate": {"SCI": np.zeros(3)}}


@step("skips_late", **DECLARED, changes=("SCI",))
def skips_late(tile, refs, p):
    """Ask to be skipped when it is too late."""
    raise Skip("no")


@step("skips", **DECLARED, changes=("SCI",), status="S_MINE")
def skips(tile, refs, p):
    """Be skipped."""


@skips.setup
def _(exposure, refs, p):
    raise Skip("nothing to do")


@step("needs_flat", **DECLARED, refs=[Ref("flat", planes={"SCI": "f4"}, missing="error")], changes=("SCI",))
def needs_flat(tile, refs, p):
    """Need a reference nobody has."""


not_a_step = 5
'''


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """File of user steps."""
    path = tmp_path_factory.mktemp("steps") / "lab.py"
    path.write_text(STEPS)
    return path


@pytest.fixture(scope="module")
def plain(exposure, tmp_path_factory):
    """Planes of the run without user steps."""
    from jwcal.cli.main import root
    from jwcal.cli.runner import run

    path = tmp_path_factory.mktemp("plain") / "x_rate.fits"
    assert run(root, ["run", "detector1", *exposure.args, "-o", str(path), "-q"]) == 0
    return pixels(path)


def same(a, b):
    """Whether all planes are equal bit for bit."""
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


def provenance(path):
    """Rows of the provenance table by step."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        table = hdus["PROVENANCE"].data
        return {row["STEP"]: {n: row[n] for n in table.names} for row in table}


def test_replacement_by_file(steps, plain, exposure, invoke, tmp_path):
    start = ("run", "detector1", *exposure.args, "--with", f"jump={steps}:my_jump")
    products = []
    (tmp_path / "own.toml").write_text("[my_jump]\nnsigma = 9\n")
    (tmp_path / "place.toml").write_text("[jump]\nnsigma = 9\n")
    for k, more in enumerate(
        ([], ["--set", "jump.nsigma=9"], ["-p", tmp_path / "own.toml"], ["-p", tmp_path / "place.toml"])
    ):
        done = invoke(*start, *more, "-o", tmp_path / f"{k}.fits")
        assert done.code == 0, done.err
        products.append(pixels(tmp_path / f"{k}.fits"))
    assert not same(products[0], plain)
    assert not same(products[0], products[1])
    assert same(products[1], products[2])
    assert same(products[1], products[3])
    row = provenance(tmp_path / "1.fits")["my_jump"]
    assert row["CODE"] == f"lab.py sha256:{hashlib.sha256(steps.read_bytes()).hexdigest()}"
    assert json.loads(row["PARAMS"]) == {"nsigma": [9.0, "command line"]}
    assert json.loads(provenance(tmp_path / "3.fits")["my_jump"]["PARAMS"]) == {
        "nsigma": [9.0, str(tmp_path / "place.toml")]
    }
    refuse(invoke, 2, "at least 0", tmp_path, *start, "--set", "jump.nsigma=-1", "-o", tmp_path / "y.fits")
    (tmp_path / "place.toml").write_text("[jump]\nrejection_threshold = 9\n")
    refuse(
        invoke, 2, ("place.toml", "rejection_threshold"), tmp_path, *start, "-p", tmp_path / "place.toml", "-o",
        tmp_path / "y.fits",
    )  # fmt: skip


def test_replaced_step_can_be_left_out(steps, exposure, invoke, tmp_path):
    done = invoke(
        "run",
        "detector1",
        *exposure.args,
        "--with",
        f"jump={steps}:my_jump",
        "--skip",
        "jump",
        "-o",
        tmp_path / "a.fits",
    )
    assert done.code == 0, done.err
    assert provenance(tmp_path / "a.fits")["my_jump"]["STATUS"] == "SKIPPED"
    done = invoke("run", "detector1", *exposure.args, "--skip", "jump", "-o", tmp_path / "b.fits")
    assert done.code == 0
    assert same(pixels(tmp_path / "a.fits"), pixels(tmp_path / "b.fits"))


def test_added_after_the_fit(steps, plain, exposure, invoke, tmp_path):
    done = invoke(
        "run", "detector1", *exposure.args, "--after", f"ramp-fit={steps}:double", "-o", tmp_path / "a.fits", "--rateints",
        tmp_path / "b.fits",
    )  # fmt: skip
    assert done.code == 0, done.err
    np.testing.assert_array_equal(pixels(tmp_path / "a.fits")["SCI"], 2 * plain["SCI"])
    assert pixels(tmp_path / "b.fits")["SCI"].ndim == 3


@pytest.mark.parametrize("name", ["level", "mean_level"])
def test_step_that_sees_whole_frames(name, steps, exposure, invoke, tmp_path):
    done = invoke(
        "run", "detector1", *exposure.args, "--after", f"linearity={steps}:{name}", "--save-after",
        f"linearity:{tmp_path}/before.fits", "--save-after", f"{name}:{tmp_path}/after.fits", "-o", tmp_path / "a.fits",
    )  # fmt: skip
    assert done.code == 0, done.err
    import jwcal

    before, after = (np.array(jwcal.open(str(tmp_path / f"{w}.fits"))["SCI"]) for w in ("before", "after"))
    axes = (-2, -1) if name == "level" else (0, 2, 3)
    np.testing.assert_array_equal(after, before - np.median(before, axis=axes, keepdims=True))


def test_step_that_is_skipped_is_told(steps, plain, exposure, invoke, tmp_path):
    done = invoke(
        "run",
        "detector1",
        *exposure.args,
        "--after",
        f"linearity={steps}:skips",
        "-o",
        tmp_path / "a.fits",
        "-v",
    )
    assert done.code == 0
    assert "skips: skipped, nothing to do" in done.err
    assert same(pixels(tmp_path / "a.fits"), plain)
    assert provenance(tmp_path / "a.fits")["skips"]["REASON"] == "nothing to do"


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("raises", 1, ("x_uncal.fits", "step raises failed: ValueError: several lines")),
        ("raises_frame", 1, ("x_uncal.fits", "step raises_frame failed")),
        ("raises_setup", 1, ("x_uncal.fits", "step raises_setup failed: KeyError")),
        ("raises_finish", 1, ("x_uncal.fits", "step raises_finish failed: ZeroDivisionError")),
        ("exits", 1, ("x_uncal.fits", "end the program")),
        ("reshapes", 1, ("step reshapes failed", "SCI")),
        ("retypes", 1, ("step retypes failed", "float64")),
        ("returns", 1, ("step returns failed", "changed in place")),
        ("skips_late", 6, ("x_uncal.fits", "skips_late")),
        ("needs_flat", 4, ("x_uncal.fits", "no FLAT reference")),
        ("double", 3, ("takes a rate, and this is a",)),
        ("not_a_step", 2, ("lab.py:not_a_step is not a step",)),
        ("nothing", 2, ("lab.py: has no nothing",)),
    ],
)
@pytest.mark.parametrize("jobs", [1, 3])
def test_step_that_fails(jobs, name, code, words, steps, exposure, invoke, tmp_path):
    refuse(
        invoke, code, words, tmp_path, "run", "detector1", *exposure.args, "--after", f"linearity={steps}:{name}", "-o",
        tmp_path / "y.fits", "--save-after", f"saturation:{tmp_path}/z.fits", "-j", jobs,
    )  # fmt: skip


def test_traceback_only_when_asked_for(steps, exposure, invoke, tmp_path):
    done = invoke(
        "run",
        "detector1",
        *exposure.args,
        "--after",
        f"linearity={steps}:raises",
        "-o",
        tmp_path / "y.fits",
        "-vv",
    )
    assert done.code == 1
    assert "Traceback" in done.err
    assert "lab.py" in done.err


def test_replacement_must_fit(steps, exposure, invoke, tmp_path):
    refuse(
        invoke, 2, "takes 'rate', but jump, which it replaces, takes 'ramp'", tmp_path, "run", "detector1", *exposure.args,
        "--with", f"jump={steps}:double", "-o", tmp_path / "y.fits",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("syntax error here(", "SyntaxError"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("import no_such_module_anywhere", "no_such_module_anywhere"),
        ("raise Exception('a\\nb')", "Exception: a b"),
        ("", "has no x"),
    ],
)
def test_file_that_cannot_be_loaded(text, words, exposure, invoke, tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(text)
    args = ("run", "detector1", *exposure.args, "-o", tmp_path / "y.fits", "--with")
    refuse(invoke, 2, ("bad.py", words), tmp_path, *args, f"jump={path}:x")
    refuse(invoke, 2, "none.py: no such file", tmp_path, *args, f"jump={tmp_path}/none.py:x")


@pytest.fixture
def installed(tmp_path, monkeypatch, steps):
    """A folder on the path with a distribution that registers a good and a broken plug-in."""
    site = tmp_path / "site"
    info = site / "lab-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[jwcal.steps]\nmy-jump = lab_for_tests:my_jump\nbroken = no_such_module_anywhere:x\n"
    )
    (site / "lab_for_tests.py").write_text(steps.read_text())
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("lab_for_tests", None)


@pytest.mark.usefixtures("installed")
def test_plug_in(steps, exposure, invoke, tmp_path):
    done = invoke("run", "detector1", *exposure.args, "--with", "jump=my-jump", "-o", tmp_path / "a.fits")
    assert done.code == 0, done.err
    assert provenance(tmp_path / "a.fits")["my_jump"]["CODE"] == "lab_for_tests:my_jump lab-1.2"
    done = invoke(
        "run", "detector1", *exposure.args, "--with", f"jump={steps}:my_jump", "-o", tmp_path / "b.fits"
    )
    assert done.code == 0
    assert same(pixels(tmp_path / "a.fits"), pixels(tmp_path / "b.fits"))
    assert b"--nsigma" in invoke("my-jump", "--help").out
    assert invoke("my-jump", *exposure.args, "--nsigma", 9, "-o", tmp_path / "c.fits").code == 0
    before = sorted(p.name for p in tmp_path.iterdir())
    done = invoke("run", "detector1", *exposure.args, "--with", "jump=broken", "-o", tmp_path / "d.fits")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "broken: cannot be loaded: ModuleNotFoundError" in done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    done = invoke("steps")
    assert done.code == 0
    assert b"broken" in done.out


PROGRAM = """
import sys
from jwcal.core.fits import open_fits
from astropy.io import fits
import io
hdus = fits.open(io.BytesIO(sys.stdin.buffer.read()))
hdus["SCI"].data = hdus["SCI"].data + float(sys.argv[1])
out = io.BytesIO()
hdus.writeto(out)
sys.stdout.buffer.write(out.getvalue())
"""


def pipeline(tmp_path, words, where='after = "linearity"'):
    """A pipeline file with a program in it."""
    path = tmp_path / "own.toml"
    path.write_text(f'base = "detector1"\n[[add]]\n{where}\nname = "shift"\nexec = {json.dumps(words)}\n')
    return path


def test_program_as_a_step(plain, exposure, invoke, tmp_path):
    (tmp_path / "shift.py").write_text(PROGRAM)
    file = pipeline(tmp_path, [sys.executable, str(tmp_path / "shift.py"), "100"])
    done = invoke(
        "run", file, *exposure.args, "-o", tmp_path / "a.fits", "--save-after", f"linearity:{tmp_path}/before.fits",
        "--save-after", f"shift:{tmp_path}/after.fits",
    )  # fmt: skip
    assert done.code == 0, done.err
    import jwcal

    before, after = (np.array(jwcal.open(str(tmp_path / f"{w}.fits"))["SCI"]) for w in ("before", "after"))
    np.testing.assert_array_equal(after, before + np.float32(100))
    row = provenance(tmp_path / "a.fits")["shift"]
    assert "shift.py 100" in row["CODE"] or "sha256:" in row["CODE"]
    done = invoke("run", file, *exposure.args, "--skip", "shift", "-o", tmp_path / "b.fits")
    assert done.code == 0, done.err
    assert same(pixels(tmp_path / "b.fits"), plain)


def test_program_that_changes_nothing(plain, exposure, invoke, tmp_path):
    for pipe, name in ((pipeline(tmp_path, ["cat"]), "a"), ("detector1", "b")):
        done = invoke(
            "run",
            pipe,
            *exposure.args,
            "-o",
            tmp_path / f"{name}.fits",
            "--fitopt",
            tmp_path / f"{name}_fitopt.fits",
        )
        assert done.code == 0, done.err
    done = invoke("diff", tmp_path / "a_fitopt.fits", tmp_path / "b_fitopt.fits")
    assert done.code == 0, done.out
    assert same(pixels(tmp_path / "a.fits"), plain)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("false", 1, "ended with status 1"),
        ("sh -c 'kill -9 $$'", 1, "signal 9"),
        ("echo hello", 1, "not a FITS file"),
        ("true", 1, "empty"),
        ("head -c 5000", 1, "truncated"),
        ("/no/such/program", 2, "cannot run"),
    ],
)
def test_program_that_fails(line, code, words, exposure, invoke, tmp_path, monkeypatch):
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    file = pipeline(tmp_path, shlex.split(line))
    refuse(invoke, code, ("shift", words), tmp_path, "run", file, *exposure.args, "-o", tmp_path / "y.fits")
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("branch = 5", "[[branch]]"),
        ("x = 1", "needs a base"),
        ("not toml", "not a pipeline in TOML"),
        ('base = "foo"', "no pipeline 'foo'"),
        ('base = "own.toml"', "its own base"),
        ('base = "detector1"\nreplace = 5', "[replace]"),
        ('base = "detector1"\n[replace]\njump = 5', "neither a step"),
        ('base = "detector1"\nadd = 5', "[[add]]"),
        ('base = "detector1"\n[[add]]\nstep = "jump"', 'after = "STEP"'),
        ('base = "detector1"\n[[add]]\nafter = "jump"', "neither a step"),
        ('base = "detector1"\n[[add]]\nafter = "foo"\nstep = "jump"', "no step 'foo'"),
        ('base = "detector1"\n[[add]]\nafter = "jump"\nexec = []', "neither a step"),
        ('base = "detector1"\n[[add]]\nafter = "jump"\nexec = "cat"', "neither a step"),
        ("[[branch]]\nsteps = 5", "list of steps"),
        ("[[branch]]\nsteps = []", "list of steps"),
        ('[[branch]]\nsteps = ["foo"]', "no step 'foo'"),
        ('[[branch]]\ninstruments = ["MIRI"]\nsteps = ["jump"]', "not for NIRCAM"),
    ],
)
def test_pipeline_file_refused(text, words, exposure, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(text)
    refuse(invoke, 2, words, tmp_path, "run", "own.toml", *exposure.args, "-o", tmp_path / "y.fits")
    if words == "needs a base":
        (tmp_path / "own.toml").write_text('[[branch]]\nsteps = ["superbias"]')
        assert invoke("run", "own.toml", *exposure.args, "-o", tmp_path / "y.fits").code == 0

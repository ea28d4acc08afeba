"""Whole runs: parameters, references, provenance, routing, many files, and the same bits by every way."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib

import numpy as np
import pytest

from tests.cli.spoil import edit, keyword, pixels, refuse, snapshot
from tests.cli.test_user_steps import STEPS, provenance, same
from tests.conftest import make_exposure


@pytest.fixture(autouse=True)
def fixed_date(monkeypatch):
    """Runs of any time give the same files."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


@pytest.fixture
def run(invoke, exposure, tmp_path):
    """Run detector1 into a folder of its own: ``run("a", "--skip", "ipc")`` returns the folder."""

    def call(name, *more, source=exposure):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        done = invoke(
            "run", "detector1", *source.args, "-o", folder / "y_rate.fits", "--rateints", folder / "y_rateints.fits",
            *more,
        )  # fmt: skip
        assert done.code == 0, done.err
        return folder

    return call


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A jwcal on PATH, as a printed script expects it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "jwcal"
    program.write_text(f"#!{sys.executable}\nfrom jwcal.cli.main import main\nmain()\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))


def keywords(path):
    """Primary header as a dict, and HISTORY as a list."""
    from astropy.io import fits

    header = fits.getheader(path)
    return dict(header), [str(line) for line in header.get("HISTORY", [])]


# -- parameters


PARS = """#ASDF 1.0.0
#ASDF_STANDARD 1.5.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
class: jwst.jump.jump_step.JumpStep
meta: {instrument: {name: NIRCAM}}
name: jump
parameters: {rejection_threshold: 5.5, flag_4_neighbors: false, save_results: false, skip: false}
...
"""


def printed(invoke, *args):
    """Values and origins of --print-params."""
    done = invoke(*args, "--print-params")
    assert done.code == 0, done.err
    text = done.out.decode()
    values = tomllib.loads(text)
    origins = {}
    step = None
    for line in text.splitlines():
        if line.startswith("["):
            step = line.strip("[]")
        elif line.strip():
            left, _, note = line.removeprefix("# ").partition("  # ")
            origins[step, left.split(" ")[0]] = note.split(", ")[-1]
    return values, origins


def test_precedence_of_parameters(exposure, invoke, tmp_path, monkeypatch):
    refs = tmp_path / "refs"
    shutil.copytree(exposure.refs, refs)
    args = ["run", "detector1", exposure.uncal, "--refs", refs]
    key = "jump", "rejection_threshold"

    def now():
        values, origins = printed(invoke, *args)
        return values["jump"]["rejection_threshold"], origins[key]

    assert now() == (4.0, "default")
    (refs / "jwst_nircam_pars-jumpstep_0001.asdf").write_text(PARS)
    assert now() == (5.5, "reference jwst_nircam_pars-jumpstep_0001.asdf")
    (refs / "jwst_miri_pars-jumpstep_0009.asdf").write_text(PARS.replace("5.5", "9.9"))
    assert now()[0] == 5.5
    site = tmp_path / "site.toml"
    site.write_text("[jump]\nrejection_threshold = 6.5\n[rscd]\nskip = true\n")
    monkeypatch.setenv("JWCAL_CONFIG", str(site))
    assert now() == (6.5, f"site {site}")
    own = tmp_path / "own.toml"
    own.write_text("[jump]\nrejection_threshold = 7.5\n[rscd]\nskip = true\n")
    args += ["-p", own]
    assert now() == (7.5, str(own))
    args += ["--set", "jump.rejection_threshold=8.5"]
    assert now() == (8.5, "command line")
    values, origins = printed(invoke, *args)
    # What no later layer says stays as the earlier one has it.
    assert values["jump"]["flag_4_neighbors"] is False
    assert origins["jump", "flag_4_neighbors"].startswith("reference")
    done = invoke(*args, "-o", tmp_path / "a.fits")
    assert done.code == 0, done.err
    used = json.loads(provenance(tmp_path / "a.fits")["jump"]["PARAMS"])
    assert used["rejection_threshold"] == [8.5, "command line"]
    assert used["flag_4_neighbors"] == [False, "reference jwst_nircam_pars-jumpstep_0001.asdf"]
    assert used["minimum_groups"] == [3, "default"]
    assert any(
        "jump" in line and "rejection_threshold=8.5" in line
        for line in " ".join(keywords(tmp_path / "a.fits")[1]).split("jwcal ")
    )


def test_parameter_reference_named(exposure, invoke, tmp_path):
    path = tmp_path / "jwst_nircam_pars-jumpstep_0001.asdf"
    path.write_text(PARS)
    values, origins = printed(invoke, "jump", *exposure.args, "--pars", path)
    assert values["jump"]["rejection_threshold"] == 5.5
    assert origins["jump", "rejection_threshold"] == f"reference {path.name}"


def test_single_step_parameters(exposure, invoke, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("rejection_threshold = 7.5\n")
    assert printed(invoke, "jump", "-p", own)[0]["jump"]["rejection_threshold"] == 7.5
    assert (
        printed(invoke, "jump", "-p", own, "--rejection-threshold", 3)[0]["jump"]["rejection_threshold"] == 3
    )
    own.write_text("[jump]\nrejection_threshold = 7.5\n[linearity]\nskip = true\n")
    assert printed(invoke, "jump", "-p", own)[0]["jump"]["rejection_threshold"] == 7.5


def test_printed_parameters_can_be_fed_back(exposure, invoke, run, tmp_path):
    changes = (
        "--set",
        "jump.rejection_threshold=5",
        "--set",
        "refpix.side_gain=0.5",
        "--skip",
        "dark-current",
    )
    done = invoke("run", "detector1", *exposure.args, *changes, "--print-params")
    assert done.code == 0
    (tmp_path / "p.toml").write_bytes(done.out)
    a, b = run("a", *changes), run("b", "-p", tmp_path / "p.toml")
    for name in ("y_rate.fits", "y_rateints.fits"):
        assert same(pixels(a / name), pixels(b / name))
    assert not same(pixels(a / "y_rate.fits"), pixels(run("c") / "y_rate.fits"))
    again = invoke("run", "detector1", *exposure.args, "-p", tmp_path / "p.toml", "--print-params")
    assert tomllib.loads(again.out.decode()) == tomllib.loads(done.out.decode())


def test_text_parameter_with_quotes(invoke, tmp_path):
    odd = 'a "b" \\ c'
    done = invoke("dq-init", "--user-supplied-dq", odd, "--print-params")
    assert tomllib.loads(done.out.decode())["dq_init"]["user_supplied_dq"] == odd


# -- switching off, saving


@pytest.mark.parametrize(
    "step", ["dq_init", "saturation", "superbias", "linearity", "dark-current", "jump", "refpix"]
)
def test_skip(step, run):
    folder = run("a", "--skip", step)
    row = provenance(folder / "y_rate.fits")[step.replace("-", "_")]
    assert (row["STATUS"], row["REASON"]) == ("SKIPPED", "switched off")
    assert same(
        pixels(folder / "y_rate.fits"), pixels(run("b", "--set", f"{step}.skip=true") / "y_rate.fits")
    )
    assert not same(pixels(folder / "y_rate.fits"), pixels(run("c") / "y_rate.fits"))


def test_fit_left_out_gives_a_ramp(exposure, invoke, tmp_path):
    import jwcal

    done = invoke("run", "detector1", *exposure.args, "--skip", "ramp-fit", "-o", tmp_path / "a.fits")
    assert done.code == 0, done.err
    assert jwcal.open(str(tmp_path / "a.fits")).product == "ramp"
    done = invoke("run", "detector1", *exposure.args, "--skip", "ramp-fit", "--output-dir", tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "x_ramp.fits").exists()
    done = invoke("ramp-fit", tmp_path / "a.fits", "--refs", exposure.refs, "-o", tmp_path / "b.fits")
    assert done.code == 0, done.err
    done = invoke("run", "detector1", *exposure.args, "-o", tmp_path / "c.fits")
    assert same(pixels(tmp_path / "b.fits"), pixels(tmp_path / "c.fits"))


def test_save_after_several_steps(exposure, run, invoke, tmp_path):
    import jwcal

    names = ("dq_init", "superbias", "linearity", "jump")
    saves = [w for name in names for w in ("--save-after", f"{name}:{tmp_path}/{name}.fits")]
    folder = run("a", *saves, "--save-after", f"jump:{tmp_path}/again.fits")
    assert snapshot(run("b")) == snapshot(folder)
    for k, name in enumerate(names):
        saved = jwcal.open(str(tmp_path / f"{name}.fits"))
        assert saved.product == "ramp"
        assert saved["SCI"].dtype == np.float32
        done = [s for s, row in provenance(tmp_path / f"{name}.fits").items() if row["STATUS"] == "COMPLETE"]
        assert done[-1] == name
        status = saved.primary.get("S_LINEAR")
        assert status == ("COMPLETE" if k >= 2 else None)
        saved.close()
    assert (tmp_path / "again.fits").stat().st_size == (tmp_path / "jump.fits").stat().st_size
    # Going on from a saved product ends in the same bits.
    steps = ("dark-current", "jump")
    last = tmp_path / "linearity.fits"
    for step in steps:
        done = invoke(step, last, "--refs", exposure.refs, "-o", tmp_path / f"next_{step}.fits")
        assert done.code == 0, done.err
        last = tmp_path / f"next_{step}.fits"
    a, b = jwcal.open(str(last)), jwcal.open(str(tmp_path / "jump.fits"))
    for name in ("SCI", "PIXELDQ", "GROUPDQ"):
        assert np.array(a[name]).tobytes() == np.array(b[name]).tobytes()


# -- the same bits by every way


@pytest.mark.parametrize("instrument", ["NIRCAM", "MIRI"])
def test_printed_pipe_makes_the_same_files(instrument, invoke, programs, tmp_path, monkeypatch):
    source = make_exposure(tmp_path / "in", instrument=instrument, ngroup=7)
    site, own = tmp_path / "site.toml", tmp_path / "own.toml"
    site.write_text("[jump]\nminimum_groups = 4\n[saturation]\nn_pix_grow_sat = 2\n")
    own.write_text("[jump]\nmin_jump_to_flag_neighbors = 8.0\n")
    monkeypatch.setenv("JWCAL_CONFIG", str(site))
    (source.refs / "jwst_nircam_pars-jumpstep_0001.asdf").write_text(PARS)
    (source.refs / "linearity.fits").unlink()
    (tmp_path / "lab.py").write_text(STEPS)
    more = (
        "-p", own, "--set", "jump.max_jump_to_flag_neighbors=500", "--skip", "refpix", "--save-after", "saturation:s.fits",
        "--rateints", "ri.fits", "--fitopt", "o.fits", "--ref-mask", "N/A", "--after", f"superbias={tmp_path}/lab.py:level",
    ) if instrument == "NIRCAM" else ("--rateints", "ri.fits", "--fitopt", "o.fits")  # fmt: skip
    args = ("run", "detector1", *source.args, "-o", "r.fits", *more)
    for name in ("whole", "piped", "made"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    done = invoke(*args, "-q")
    assert done.code == 0, done.err
    script = invoke(*args, "--as", "shell").out.decode()
    rules = invoke(*args, "--as", "make").out.decode()
    tree = json.loads(invoke(*args, "--as", "json").out)
    # The script sets the site file itself.
    monkeypatch.delenv("JWCAL_CONFIG")
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "piped",
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert snapshot(tmp_path / "piped") == snapshot(tmp_path / "whole")
    assert tree["output"] == "r.fits"
    assert len(tree["steps"]) == len(provenance(tmp_path / "whole" / "r.fits"))
    if shutil.which("make"):
        (tmp_path / "made" / "Makefile").write_text(rules)
        done = subprocess.run(
            ["make", "-s", "-C", tmp_path / "made", "-j2"],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        made = snapshot(tmp_path / "made")
        for name, digest in snapshot(tmp_path / "whole").items():
            assert made[name] == digest, name


def test_history_reproduces_the_file(run, invoke, exposure, programs, tmp_path):
    folder = run("a", "--set", "jump.rejection_threshold=5")
    for name in ("y_rate.fits", "y_rateints.fits"):
        script = invoke("history", folder / name, "--as", "shell", "--input", exposure.uncal, "-o", name).out
        again = tmp_path / "again"
        again.mkdir(exist_ok=True)
        done = subprocess.run(
            ["bash", "-c", script.decode()],
            capture_output=True,
            text=True,
            check=False,
            cwd=again,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_threads_and_kernels_do_not_show(run, monkeypatch, exposure, jwcal, tmp_path):
    one = snapshot(run("one", "-j", 1))
    assert snapshot(run("four", "-j", 4)) == one
    twin = tmp_path / "twin"
    twin.mkdir()
    done = jwcal(
        "run", "detector1", *exposure.args, "-o", twin / "y_rate.fits", "--rateints", twin / "y_rateints.fits",
        env={"JWCAL_NATIVE": "0"},
    )  # fmt: skip
    assert done.code == 0, done.err
    assert snapshot(twin) == one


def test_python_gives_the_bits_of_the_files(run, exposure, tmp_path):
    import jwcal

    folder = run("a", "--set", "jump.rejection_threshold=5")
    made = jwcal.run(
        "detector1", str(exposure.uncal), refs=str(exposure.refs), params={"jump": {"rejection_threshold": 5}}
    )
    assert set(made) == {"rate", "rateints"}
    for product in made:
        planes = pixels(folder / f"y_{product}.fits")
        for name, plane in planes.items():
            assert np.array(made[product][name]).tobytes() == plane.tobytes()
        made[product].write(str(tmp_path / f"{product}.fits"))
        assert same(pixels(tmp_path / f"{product}.fits"), planes)
    data = jwcal.open(str(exposure.uncal))
    for name in (
        "group_scale", "dq_init", "saturation", "superbias", "refpix", "linearity", "dark_current", "jump",
    ):  # fmt: skip
        more = {"rejection_threshold": 5} if name == "jump" else {}
        data = getattr(jwcal.steps, name)(data, refs=str(exposure.refs), **more)
    data = jwcal.steps.ramp_fit(data, refs=str(exposure.refs))
    for product in ("rate", "rateints"):
        for name, plane in pixels(folder / f"y_{product}.fits").items():
            assert np.array(data[product][name]).tobytes() == plane.tobytes()
    with pytest.raises(TypeError, match="unexpected parameter 'threshold'"):
        jwcal.steps.jump(str(exposure.uncal), refs=str(exposure.refs), threshold=5)


def test_python_leaves_what_it_was_given(exposure):
    import jwcal

    data = jwcal.open(str(exposure.uncal))
    data = jwcal.steps.dq_init(data, refs=str(exposure.refs))
    before = {name: np.array(data[name]).tobytes() for name in ("SCI", "PIXELDQ", "GROUPDQ")}
    header = data.primary.to_bytes()
    for name in ("superbias", "linearity", "refpix", "jump"):
        getattr(jwcal.steps, name)(data, refs=str(exposure.refs))
    assert {name: np.array(data[name]).tobytes() for name in before} == before
    assert data.primary.to_bytes() == header


def test_segments_are_the_parts_of_the_whole(tmp_path, invoke):
    from astropy.io import fits

    long = make_exposure(tmp_path / "in", nint=5)
    with fits.open(long.uncal) as hdus:
        raw = [hdu.copy() for hdu in hdus]
    for number, (first, last) in enumerate(((1, 2), (3, 5)), 1):
        primary = raw[0].header.copy()
        primary.update(INTSTART=first, INTEND=last, EXSEGNUM=number, EXSEGTOT=2)
        science = fits.ImageHDU(raw[1].data[first - 1 : last], name="SCI")
        path = tmp_path / f"s{number}_uncal.fits"
        fits.HDUList([fits.PrimaryHDU(header=primary), science]).writeto(path)
        done = invoke(
            "run", "detector1", path, "--refs", long.refs, "-o", tmp_path / f"s{number}.fits", "--rateints",
            tmp_path / f"i{number}.fits", "--skip", "jump",
        )  # fmt: skip
        assert done.code == 0, done.err
    done = invoke(
        "run",
        "detector1",
        *long.args,
        "-o",
        tmp_path / "r.fits",
        "--rateints",
        tmp_path / "all.fits",
        "--skip",
        "jump",
    )
    assert done.code == 0, done.err
    whole = pixels(tmp_path / "all.fits")
    for number, (first, last) in enumerate(((1, 2), (3, 5)), 1):
        part = pixels(tmp_path / f"i{number}.fits")
        head, _ = keywords(tmp_path / f"i{number}.fits")
        assert (head["INTSTART"], head["INTEND"], head["EXSEGNUM"]) == (first, last, number)
        # The Poisson noise is that of the mean slope of the file.
        for name in ("SCI", "DQ", "VAR_RNOISE"):
            assert part[name].tobytes() == whole[name][first - 1 : last].tobytes(), name


# -- provenance and products


def test_provenance(run, exposure):
    from jwcal import __version__
    from jwcal.core.plan import definition

    before = {
        p: hashlib.sha256(p.read_bytes()).hexdigest() for p in [exposure.uncal, *exposure.refs.iterdir()]
    }
    folder = run("a", "--set", "jump.rejection_threshold=5")
    for product in ("y_rate.fits", "y_rateints.fits"):
        head, history = keywords(folder / product)
        assert head["CAL_VER"] == f"jwcal {__version__}"
        assert head["DATE"] == "2023-11-14T22:13:20.000"
        assert head["FILENAME"] == product
        assert head["DATAMODL"] == ("ImageModel" if product == "y_rate.fits" else "CubeModel")
        for key, name in (("R_MASK", "mask"), ("R_SUPERB", "superbias"), ("R_GAIN", "gain"), ("R_READNO", "readnoise"),
                          ("R_LINEAR", "linearity"), ("R_DARK", "dark"), ("R_SATURA", "saturation")):  # fmt: skip
            assert head[key] == f"{name}.fits"
        for key in ("S_DQINIT", "S_SATURA", "S_SUPERB", "S_REFPIX", "S_LINEAR", "S_DARK", "S_JUMP", "S_RAMP"):
            assert head[key] == "COMPLETE"
        for key in ("S_GRPSCL", "S_IPC", "S_GANSCL"):
            assert head[key] == "SKIPPED"
        rows = provenance(folder / product)
        (nir,) = (b for b in definition("detector1")["branch"] if "NIRCAM" in b["instruments"])
        assert list(rows) == nir["steps"]
        assert sum(line.startswith("jwcal ") for line in history) == len(rows)
        for row in rows.values():
            assert row["VERSION"] == __version__
            for kind, (path, digest) in json.loads(row["REFS"] or "{}").items():
                assert path == str(exposure.refs / f"{kind}.fits")
                assert digest == before[exposure.refs / f"{kind}.fits"]
        assert set(json.loads(rows["jump"]["REFS"])) == {"gain", "readnoise"}
    assert {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in before} == before


def test_reference_that_was_changed_gets_another_digest(exposure, invoke, tmp_path):
    refs = tmp_path / "refs"
    shutil.copytree(exposure.refs, refs)
    digests = []
    for k in range(2):
        assert invoke("superbias", exposure.uncal, "--refs", refs, "-o", tmp_path / f"{k}.fits").code == 0
        digests.append(json.loads(provenance(tmp_path / f"{k}.fits")["superbias"]["REFS"])["superbias"][1])
        edit(refs / "superbias.fits", keyword("AUTHOR", "somebody else"))
    assert digests[0] != digests[1]


@pytest.mark.skipif(shutil.which("fitsverify") is None, reason="fitsverify is not installed")
@pytest.mark.parametrize("instrument", ["NIRCAM", "MIRI", "NIRISS"])
def test_products_are_valid_fits(instrument, tmp_path, invoke):
    source = make_exposure(tmp_path / "in", instrument=instrument)
    done = invoke(
        "run", "detector1", *source.args, "-o", tmp_path / "r.fits", "--rateints", tmp_path / "ri.fits", "--fitopt",
        tmp_path / "o.fits", "--save-after", f"jump:{tmp_path}/jump.fits", "--save-after", f"dq_init:{tmp_path}/dq.fits",
    )  # fmt: skip
    assert done.code == 0, done.err
    for name in ("r", "ri", "o", "jump", "dq"):
        done = subprocess.run(
            ["fitsverify", str(tmp_path / f"{name}.fits")], capture_output=True, text=True, check=False
        )
        assert "0 warning(s) and 0 error(s)" in done.stdout, done.stdout[-2000:]


# -- routing


def test_every_exposure_type_has_a_route(exposure, invoke, tmp_path):
    from jwcal.core import pipeline
    from jwcal.core.routing import table

    last = {"detector1": b"[ramp_fit]", "dark": b"[linearity]", "guider": b"[guider_cds]"}
    owners = {"FGS": "FGS", "MIR": "MIRI", "NIS": "NIRISS", "NRC": "NIRCAM", "NRS": "NIRSPEC"}
    source = tmp_path / "x_uncal.fits"
    shutil.copy(exposure.uncal, source)
    edit(source, keyword("EXP_TYPE", "?" * 24))
    edit(source, keyword("INSTRUME", "!" * 8))
    data = source.read_bytes()
    built = pipeline.names()
    assert len(table()) > 60
    for kind, entry in table().items():
        header = data.replace(b"?" * 24, kind.ljust(24).encode())
        source.write_bytes(header.replace(b"!" * 8, owners[kind[:3]].ljust(8).encode()))
        args = ("run", "auto", source, "--refs", exposure.refs, "--print-params")
        if entry["stage1"] in built:
            done = invoke(*args)
            assert done.code == 0, (kind, done.err)
            assert last[entry["stage1"]] in done.out
        else:
            words = entry["stage1"] or f"no pipeline follows a uncal of EXP_TYPE {kind}"
            done = refuse(invoke, 3, ("x_uncal.fits", words, kind), tmp_path, *args)
    source.write_bytes(data)
    refuse(invoke, 3, "is not known", tmp_path, "run", "auto", source, "-o", tmp_path / "y.fits")
    edit(source, keyword("EXP_TYPE", None))
    refuse(invoke, 3, "EXP_TYPE is missing", tmp_path, "run", "auto", source, "-o", tmp_path / "y.fits")


@pytest.mark.parametrize(("kind", "follows"), [("NRC_IMAGE", "image2"), ("NRC_TSIMAGE", "tso-image2")])
def test_auto_is_the_pipeline_it_names(kind, follows, exposure, invoke, run, tmp_path):
    folder = run("a")
    source = tmp_path / "x_uncal.fits"
    shutil.copy(exposure.uncal, source)
    edit(source, keyword("EXP_TYPE", kind))
    out = tmp_path / "b"
    out.mkdir()
    done = invoke("run", "auto", source, "--refs", exposure.refs, "--output-dir", out, "-v")
    assert done.code == 0, done.err
    assert "goes to detector1" in done.err
    assert sorted(p.name for p in out.iterdir()) == ["x_rate.fits", "x_rateints.fits"]
    assert same(pixels(out / "x_rate.fits"), pixels(folder / "y_rate.fits"))
    refuse(
        invoke, 3, ("x_rate.fits", f"'{follows}'", "not built yet"), tmp_path, "run", "auto",
        out / "x_rate.fits", "-o", tmp_path / "cal.fits",
    )  # fmt: skip


# -- what is said


def test_quiet_says_nothing(run, exposure, invoke, tmp_path):
    done = invoke("run", "detector1", *exposure.args, "--ref-mask", "N/A", "-o", tmp_path / "a.fits", "-q")
    assert (done.code, done.err, done.out) == (0, "", b"")
    done = invoke("run", "detector1", *exposure.args, "-o", tmp_path / "b.fits")
    assert (done.code, done.err) == (0, "")


def test_verbose_has_a_line_for_every_step(exposure, invoke, tmp_path):
    done = invoke("run", "detector1", *exposure.args, "-o", tmp_path / "a.fits", "-v")
    assert done.code == 0
    for name in provenance(tmp_path / "a.fits"):
        lines = [line for line in done.err.splitlines() if f"x_uncal.fits: {name}: " in line]
        assert len(lines) == 1, done.err
        assert ": skipped, " in lines[0] or re.search(r" \d+\.\d+ s$", lines[0]), lines[0]
    assert all(line.startswith("jwcal run") for line in done.err.splitlines())


def test_log_json(exposure, invoke, tmp_path):
    args = ("run", "detector1", *exposure.args, "--ref-mask", "N/A", "--log-json")
    done = invoke(*args, "-v", "-o", tmp_path / "a.fits")
    assert done.code == 0
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert {"time", "level", "message"} <= set(lines[0])
    assert any(line["level"] == "WARNING" and "MASK" in line["message"] for line in lines)
    done = invoke(*args, "-o", tmp_path / "no" / "a.fits")
    assert done.code == 5
    last = json.loads(done.err.splitlines()[-1])
    assert last["level"] == "ERROR"
    assert "does not exist" in last["message"]


def test_python_refuses_what_the_command_refuses(exposure, tmp_path):
    import jwcal
    from jwcal.core.errors import InputError, UsageError

    refs = str(exposure.refs)
    made = jwcal.run("auto", str(exposure.uncal), refs=refs, params={"ramp_fit": {"skip": True}})
    assert list(made) == ["ramp"]
    source = tmp_path / "x_uncal.fits"
    shutil.copy(exposure.uncal, source)
    edit(source, keyword("EXP_TYPE", "FGS_TRACK"))
    for name, words in (("auto", "'guider', which is not for NIRCAM"), ("detector1", "takes a ramp")):
        with pytest.raises(InputError, match=words):
            jwcal.run(name, str(source), refs=refs)
    with pytest.raises(UsageError, match="no step 'jmp'"):
        jwcal.run("detector1", str(exposure.uncal), refs=refs, params={"jmp": {"skip": True}})
    with pytest.raises(UsageError, match="is read by this run"):
        jwcal.run("detector1", str(exposure.uncal), refs=refs, output=str(exposure.uncal), overwrite=True)


def test_step_that_does_nothing_says_so_where_it_was_asked_for(exposure, invoke, tmp_path):
    def said(*args):
        done = invoke(*args, "-o", tmp_path / "y.fits", "--overwrite")
        assert done.code == 0
        return done.err

    assert "ipc: skipped, off by default" in said("ipc", *exposure.args)
    assert said("ipc", *exposure.args, "--skip") == ""
    assert "emicorr: skipped, does not apply to NIRCAM" in said("emicorr", *exposure.args, "--no-skip")
    assert said("reset", *exposure.args) == ""
    assert said("run", "detector1", *exposure.args) == ""
    wanted = ("--set", "ipc.skip=false")
    assert "no IPC reference" in said("run", "detector1", *exposure.args, *wanted)
    assert "emicorr" not in said("run", "detector1", *exposure.args, "--recipe", "optimal")

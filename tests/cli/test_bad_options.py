"""Bad parameters and options: one line, the documented exit code, nothing left behind, nothing touched."""

from __future__ import annotations

import pytest

from tests.cli.spoil import refuse, run


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("foo.x=1", "no step 'foo'"),
        ("rscd.skip=true", "no step 'rscd'"),
        ("jump.foo=1", "no parameter 'foo'"),
        ("jump=4", "NAME.VALUE"),
        ("jump.rejection_threshold=", "NAME=VALUE"),
        ("jump.rejection_threshold=-1", "at least 0"),
        ("jump.rejection_threshold=abc", "must be a number"),
        ("jump.rejection_threshold=nan", "must be a number"),
        ("refpix.side_gain=nan", "must be a number"),
        ("jump.minimum_groups=2.5", "whole number"),
        ("jump.flag_4_neighbors=maybe", "true or false"),
        ("refpix.refpix_algorithm=zzz", "choose one of"),
    ],
)
def test_set_refused(assignment, words, case, invoke, tmp_path):
    refuse(invoke, 2, words, tmp_path, *run(case, "--set", assignment))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[jump\n", "not a parameter file"),
        ("x = 1\n", "outside of a [step] table"),
        ("[foo]\nx = 1\n", "no step 'foo'"),
        ("[jump]\nfoo = 1\n", "no parameter 'foo'"),
        ("[jump]\nrejection_threshold = -3\n", "at least 0"),
        ('[jump]\nrejection_threshold = "a"\n', "must be a number"),
        ("[jump]\nrejection_threshold = [1]\n", "must be a number"),
        ("\udcff\udcfe", "not a parameter file"),
    ],
)
def test_parameter_file_refused(text, words, case, invoke, tmp_path, monkeypatch):
    path = tmp_path / "p.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    refuse(invoke, 2, ("p.toml", words), tmp_path, *run(case, "-p", path))
    if words != "no step 'foo'":
        monkeypatch.setenv("JWCAL_CONFIG", str(path))
        refuse(invoke, 2, ("p.toml", words), tmp_path, *run(case))


def test_parameter_file_that_is_not_there(case, invoke, tmp_path, monkeypatch):
    refuse(invoke, 2, ("none.toml: No such file",), tmp_path, *run(case, "-p", tmp_path / "none.toml"))
    refuse(invoke, 2, "Is a directory", tmp_path, *run(case, "-p", tmp_path))
    refuse(invoke, 2, ("none.asdf: No such file",), tmp_path, *run(case, "--pars", tmp_path / "none.asdf"))
    monkeypatch.setenv("JWCAL_CONFIG", str(tmp_path / "none.toml"))
    refuse(invoke, 2, "none.toml", tmp_path, *run(case))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--skip", "foo"), "--skip: no step 'foo' here (known: group_scale"),
        (("--skip", "jmp"), "--skip: no step 'jmp' here (did you mean jump?)"),
        (("--set", "jmp.skip=true"), "did you mean jump?"),
        (("--set", "jump.rejection_treshold=5"), "did you mean rejection_threshold or"),
        (("--recipe", "optimum"), "did you mean optimal?"),
        (("--save-after", "darkcurrent:y.fits"), "did you mean dark_current?"),
        (("--save-after", "foo:y.fits"), "no step 'foo'"),
        (("--save-after", "jump"), "NAME:VALUE"),
        (("--with", "jump"), "NAME=VALUE"),
        (("--with", "jump=foo"), "no step 'foo'"),
        (("--with", "foo=jump"), "no step 'foo'"),
        (("--skip", "ramp-fit"), "not a rateints"),
        (("--set", "ramp_fit.algorithm=LIKELY", "--fitopt", "f.fits"), "no optional results"),
        (("-j", "0"), "-j"),
    ],
)
def test_options_refused(more, words, case, invoke, tmp_path):
    refuse(invoke, 2, words, tmp_path, *run(case, *more))


def test_pipeline_refused(case, invoke, tmp_path):
    tail = (*case.args, "-o", tmp_path / "y.fits")
    refuse(invoke, 2, "no pipeline 'foo'", tmp_path, "run", "foo", *tail)
    refuse(invoke, 2, "none.toml: No such file", tmp_path, "run", tmp_path / "none.toml", *tail)


def test_input_in_place_of_the_pipeline(case, invoke, tmp_path):
    refuse(invoke, 2, "is a file, not a pipeline", tmp_path, "run", case.uncal, "-o", tmp_path / "y.fits")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dq-inti", "x.fits"], "jwcal: no command 'dq-inti'; did you mean dq-init?"),
        (["xyzzy"], "jwcal: no command 'xyzzy' (see"),
        (["steps", "jmp"], "no step and no pipeline 'jmp' (did you mean jump?)"),
    ],
)
def test_command_misspelt(words, said, invoke):
    done = invoke(*words)
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
    assert said in done.err

"""Bad input: one line, the documented exit code, nothing left behind, nothing touched."""

from __future__ import annotations

import hashlib
import os
import shutil

import numpy as np
import pytest

from tests.conftest import make_exposure

KINDS = ("mask", "saturation", "superbias", "linearity", "dark", "gain", "readnoise")


@pytest.fixture
def case(exposure, tmp_path):
    """A copy of the exposure and its references that a test may spoil."""
    shutil.copytree(exposure.refs, tmp_path / "refs")
    shutil.copy(exposure.uncal, tmp_path / "x_uncal.fits")
    return type(exposure)(tmp_path / "x_uncal.fits", tmp_path / "refs")


def edit(path, change):
    """Change a FITS file in place: ``change(hdus)``."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as old:
        hdus = fits.HDUList([hdu.copy() for hdu in old])
    change(hdus)
    hdus.writeto(path, overwrite=True, output_verify="ignore")


def keyword(key, value):
    """Change of a primary keyword; None takes it away."""

    def change(hdus):
        if value is None:
            del hdus[0].header[key]
        else:
            hdus[0].header[key] = value

    return change


def values(function, name=1):
    """Change of the values of an extension."""

    def change(hdus):
        hdus[name].data = function(hdus[name].data)

    return change


def snapshot(folder):
    """Digest of every file below a folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def refuse(invoke, code, words, folder, *args):
    """Run a command that must fail with a code and one error line, and leave the folder as it was."""
    before = snapshot(folder)
    done = invoke(*args)
    assert done.code == code, done.err
    lines = done.err.splitlines()
    assert lines, "nothing was said"
    errors = [line for line in lines if ": skipped, " not in line and "ignored:" not in line]
    assert len(errors) == 1, done.err
    assert errors[0].startswith("jwcal ")
    for word in [words] if isinstance(words, str) else words:
        assert word in errors[0]
    assert done.out == b""
    assert snapshot(folder) == before
    return done


def run(case, *more):
    """Arguments of a whole run."""
    out = case.uncal.parent
    return (
        "run",
        "detector1",
        *case.args,
        "-o",
        out / "y_rate.fits",
        "--rateints",
        out / "y_rateints.fits",
        *more,
    )


# -- the input file


@pytest.mark.parametrize("keep", [1000, 2880, 2880 * 3, 2880 * 5, -2880, -1])
def test_truncated(keep, case, invoke, tmp_path):
    data = case.uncal.read_bytes()
    case.uncal.write_bytes(data[:keep])
    refuse(invoke, 3, ("x_uncal.fits", "truncated"), tmp_path, *run(case))


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"hello world\n" * 500, "not a FITS file"), (b"", "empty"), (bytes(5000), "not a FITS")],
)
def test_not_fits(data, words, case, invoke, tmp_path):
    case.uncal.write_bytes(data)
    refuse(invoke, 3, ("x_uncal.fits", words), tmp_path, *run(case))


def test_folder_and_missing_file(case, invoke, tmp_path):
    refuse(invoke, 3, "folder", tmp_path, "run", "detector1", tmp_path, "-o", tmp_path / "y.fits")
    refuse(invoke, 3, "no such file", tmp_path, "dq-init", tmp_path / "none.fits", "-o", tmp_path / "y.fits")


def test_empty_standard_input_names_it(exposure, jwcal):
    done = jwcal("run", "detector1", "--refs", exposure.refs)
    assert (done.code, done.out) == (3, b"")
    assert done.err.count("\n") == 1
    assert "standard input" in done.err


def test_no_science_extension(case, invoke, tmp_path):
    edit(case.uncal, lambda hdus: hdus.pop(1))
    refuse(invoke, 3, "no SCI extension", tmp_path, *run(case))


def test_empty_science_extension(case, invoke, tmp_path):
    edit(case.uncal, lambda hdus: setattr(hdus[1], "data", None))
    refuse(invoke, 3, ("x_uncal.fits", "SCI"), tmp_path, *run(case))


@pytest.fixture(scope="session")
def rate(exposure, tmp_path_factory):
    """A rate product."""
    from jwcal.cli.main import root
    from jwcal.cli.runner import run as call

    path = tmp_path_factory.mktemp("rate") / "x_rate.fits"
    assert call(root, ["run", "detector1", *exposure.args, "-o", str(path), "-q"]) == 0
    return path


def test_wrong_product(rate, case, invoke, tmp_path):
    refs = ("--refs", case.refs, "-o", tmp_path / "y.fits")
    shutil.copy(rate, tmp_path / "x_rate.fits")
    refuse(
        invoke,
        3,
        "pipeline detector1 takes a ramp",
        tmp_path,
        "run",
        "detector1",
        tmp_path / "x_rate.fits",
        *refs,
    )
    refuse(
        invoke,
        3,
        "superbias takes a ramp, and this is a rate",
        tmp_path,
        "superbias",
        tmp_path / "x_rate.fits",
        *refs,
    )
    refuse(invoke, 3, "takes a rate, and this is a", tmp_path, "gain-scale", case.uncal, *refs)
    edit(tmp_path / "x_rate.fits", keyword("S_PHOTOM", "COMPLETE"))
    edit(tmp_path / "x_rate.fits", keyword("DATAMODL", "ImageModel"))
    for command in (("run", "detector1"), ("gain-scale",)):
        refuse(invoke, 3, ("later stage", "ImageModel"), tmp_path, *command, tmp_path / "x_rate.fits", *refs)
    refuse(invoke, 3, "DARK reference file", tmp_path, "run", "detector1", case.refs / "dark.fits", *refs)


# -- keywords


@pytest.mark.parametrize(
    "key", ["INSTRUME", "NFRAMES", "GROUPGAP", "TGROUP", "TFRAME", "SUBSTRT1", "SUBSTRT2"]
)
def test_keyword_missing(key, case, invoke, tmp_path):
    edit(case.uncal, keyword(key, None))
    refuse(invoke, 3, ("x_uncal.fits", f"{key} is missing"), tmp_path, *run(case))


@pytest.mark.parametrize(
    "key",
    [
        "FASTAXIS",
        "SLOWAXIS",
        "NGROUPS",
        "NINTS",
        "FRMDIVSR",
        "NOUTPUTS",
        "EXP_TYPE",
        "TSOVISIT",
        "DATE-OBS",
        "FILTER",
    ],
)
def test_keyword_that_can_be_done_without(key, case, invoke, tmp_path):
    assert invoke(*run(case)).code == 0
    edit(case.uncal, keyword(key, None))
    done = invoke("run", "detector1", *case.args, "-o", tmp_path / "z_rate.fits")
    assert done.code == 0, done.err
    a, b = (pixels(tmp_path / name) for name in ("y_rate.fits", "z_rate.fits"))
    for name, plane in a.items():
        np.testing.assert_array_equal(plane, b[name])


def pixels(path):
    """Planes by name."""
    import jwcal

    product = jwcal.open(str(path))
    out = {name: np.array(product[name]) for name in ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE")}
    product.close()
    return out


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("INSTRUME", 5, "type str"),
        ("INSTRUME", "HST", "not one of NIRCAM"),
        ("DETECTOR", 3.5, "type str"),
        ("EXP_TYPE", 7, "type str"),
        ("READPATT", 3, "type str"),
        ("SUBARRAY", 1, "type str"),
        ("NGROUPS", "six", "type int"),
        ("NGROUPS", 5, "SCI has 6 groups"),
        ("NINTS", -1, "below 1"),
        ("NFRAMES", 1.5, "type int"),
        ("NFRAMES", 0, "below 1"),
        ("GROUPGAP", "x", "type int"),
        ("TGROUP", "1.0", "type float"),
        ("TGROUP", -1.0, "below 0"),
        ("FASTAXIS", 7, "not one of"),
        ("FASTAXIS", -2, "do not name two axes"),
        ("SLOWAXIS", "x", "type int"),
        ("SUBSTRT1", "a", "type int"),
        ("SUBSTRT2", 0, "below 1"),
        ("SUBSIZE1", 64, "SUBSIZE"),
        ("INTEND", 9, "SCI has 2 integrations"),
        ("INTSTART", 5, "SCI has 2 integrations"),
        ("DATE-OBS", "yesterday", "yesterday"),
        ("EXP_TYPE", "FGS_FINEGUIDE", "takes a ramp"),
    ],
)
def test_keyword_wrong(key, value, words, case, invoke, tmp_path):
    edit(case.uncal, keyword(key, value))
    refuse(invoke, 3, ("x_uncal.fits", key if key != "SUBSIZE1" else "SUBSIZE", words), tmp_path, *run(case))


@pytest.mark.parametrize("key", ["TGROUP", "TFRAME"])
def test_no_time_between_groups(key, case, invoke, tmp_path):
    edit(case.uncal, keyword(key, 0.0))
    refuse(invoke, 6, "x_uncal.fits", tmp_path, *run(case))


# -- the data


@pytest.mark.parametrize("ngroup", [1, 2])
def test_short_ramps(ngroup, tmp_path, invoke):
    short = make_exposure(tmp_path / "in", ngroup=ngroup)
    done = invoke(
        "run", "detector1", *short.args, "-o", tmp_path / "r.fits", "--rateints", tmp_path / "ri.fits"
    )
    assert done.code == 0, done.err
    science = pixels(tmp_path / "r.fits")
    slope = science["SCI"][8:20, 8:]
    assert np.isfinite(slope).mean() > 0.9
    # A signal of 300 DN above the bias and at most 400 DN/s.
    assert np.nanmedian(slope) > 100


@pytest.mark.parametrize("value", [65535, 0])
def test_no_usable_pixel(value, case, invoke, tmp_path):
    edit(case.uncal, values(lambda d: np.full_like(d, value), "SCI"))
    done = invoke(*run(case))
    if value:
        assert done.code == 6, done.err
        assert "x_uncal.fits: ramp_fit: every pixel is saturated" in done.err
        assert not list(tmp_path.glob("y_*"))
    else:
        # The floor of the converter: flagged, not a failure of the run.
        assert done.code == 0, done.err
        assert (pixels(tmp_path / "y_rate.fits")["DQ"] & 1).all()


# -- references


@pytest.mark.parametrize("kind", ["gain", "readnoise"])
@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_reference_without_a_value(kind, value, case, invoke, tmp_path):
    edit(case.refs / f"{kind}.fits", values(lambda d: np.full_like(d, value)))
    refuse(invoke, 4, (f"{kind}.fits", kind.upper()), tmp_path, *run(case))


def test_gain_of_zero(case, invoke, tmp_path):
    edit(case.refs / "gain.fits", values(np.zeros_like))
    refuse(invoke, 4, "gain.fits", tmp_path, *run(case))
    for step in ("jump", "ramp-fit"):
        refuse(invoke, 4, "gain.fits", tmp_path, step, *case.args, "-o", tmp_path / "y.fits")


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0])
def test_gain_bad_in_part(value, case, invoke, tmp_path):
    def spoil(d):
        d = d.copy()
        d[6:9, 5:30] = value
        return d

    assert invoke(*run(case)).code == 0
    good = pixels(tmp_path / "y_rate.fits")
    edit(case.refs / "gain.fits", values(spoil))
    done = invoke(*run(case, "--overwrite"))
    assert done.code == 0, done.err
    got = pixels(tmp_path / "y_rate.fits")
    assert (got["DQ"][6:9, 5:30] & (1 | 1 << 19) == (1 | 1 << 19)).all()
    assert np.isnan(got["SCI"][6:9, 5:30]).all()
    far = np.ones(got["SCI"].shape, bool)
    # Neighbours of a jump are flagged across the border of the bad area.
    far[5:10, 4:31] = False
    for name, plane in got.items():
        np.testing.assert_array_equal(plane[far], good[name][far])


@pytest.mark.parametrize("kind", KINDS)
def test_reference_that_does_not_fit(kind, case, invoke, tmp_path):
    path = case.refs / f"{kind}.fits"
    original = path.read_bytes()
    name = f"{kind}.fits"

    def spoiled(change, words):
        path.write_bytes(original)
        edit(path, change)
        refuse(invoke, 4, words, tmp_path, *run(case, f"--ref-{kind}", path))

    spoiled(values(lambda d: d[..., :20, :30].copy()), (name, "does not cover"))
    spoiled(keyword("SUBSTRT1", 100), (name, "does not cover"))
    spoiled(keyword("DETECTOR", "NRCA2"), (name, "NRCA2"))
    spoiled(keyword("INSTRUME", "MIRI"), (name, "MIRI"))
    spoiled(keyword("REFTYPE", "AREA"), (name, "AREA"))
    spoiled(lambda hdus: setattr(hdus[1], "name", "OTHER"), (name, "extension"))
    if kind != "dark":
        spoiled(values(lambda d: d[None]), (name, "shape"))
    path.write_bytes(original[:-2880])
    refuse(invoke, 4, (name, "truncated"), tmp_path, *run(case, f"--ref-{kind}", path))
    path.write_bytes(b"nonsense")
    refuse(invoke, 4, (name, "not a FITS"), tmp_path, *run(case, f"--ref-{kind}", path))
    refuse(invoke, 4, "none.fits", tmp_path, *run(case, f"--ref-{kind}", tmp_path / "none.fits"))


def test_reference_of_another_type_that_is_in_use(case, invoke, tmp_path):
    done = refuse(
        invoke,
        4,
        "is a GAIN reference, not READNOISE",
        tmp_path,
        *run(case, "--ref-readnoise", case.refs / "gain.fits"),
    )
    assert "gain.fits" in done.err


@pytest.mark.parametrize("kind", KINDS)
def test_reference_missing(kind, case, invoke, tmp_path):
    (case.refs / f"{kind}.fits").unlink()
    required = kind in {"gain", "readnoise"}
    words = ("x_uncal.fits", f"no {kind.upper()} reference")
    refuse(invoke, 4, words, tmp_path, *run(case, "--strict"))
    if required:
        refuse(invoke, 4, words, tmp_path, *run(case))
        return
    done = invoke(*run(case))
    assert done.code == 0
    assert f"no {kind.upper()} reference" in done.err
    assert "x_uncal.fits" in done.err


def test_the_message_says_why_no_reference_fits(case, invoke, tmp_path):
    edit(case.refs / "gain.fits", keyword("DETECTOR", "NRCB4"))
    refuse(invoke, 4, "gain.fits is for DETECTOR NRCB4, not NRCA1", tmp_path, *run(case))
    edit(case.refs / "gain.fits", keyword("DETECTOR", "NRCA1"))
    edit(case.refs / "gain.fits", keyword("USEAFTER", "2030-01-01T00:00:00"))
    refuse(invoke, 4, "exposures after 2030-01-01", tmp_path, *run(case))


def test_references_are_no_folder(case, invoke, tmp_path):
    refuse(invoke, 2, "not a directory", tmp_path, *run(case, "--refs", tmp_path / "none"))


# -- outputs


def test_outputs_that_cannot_be(case, invoke, tmp_path):
    uncal, none = case.uncal, tmp_path / "none"
    start = ("run", "detector1", *case.args)
    (tmp_path / "old.fits").write_text("old")
    refuse(invoke, 5, "none", tmp_path, *start, "-o", none / "y.fits")
    refuse(invoke, 5, "none", tmp_path, *start, "--output-dir", none)
    refuse(invoke, 5, "folder", tmp_path, *start, "-o", tmp_path, "--overwrite")
    refuse(invoke, 5, ("old.fits", "--overwrite"), tmp_path, *start, "-o", tmp_path / "old.fits")
    refuse(
        invoke, 5, ("old.fits", "--overwrite"), tmp_path, *start, "-o", tmp_path / "y.fits", "--rateints",
        tmp_path / "old.fits",
    )  # fmt: skip
    refuse(
        invoke, 5, ("old.fits", "--overwrite"), tmp_path, *start, "-o", tmp_path / "y.fits", "--save-after",
        f"jump:{tmp_path}/old.fits",
    )  # fmt: skip
    for more in (("--rateints", tmp_path / "y.fits"), ("--save-after", f"jump:{tmp_path}/y.fits")):
        refuse(invoke, 2, "two products", tmp_path, *start, "-o", tmp_path / "y.fits", *more)
    (tmp_path / "link").symlink_to(tmp_path)
    refuse(
        invoke,
        2,
        "two products",
        tmp_path,
        *start,
        "-o",
        tmp_path / "y.fits",
        "--fitopt",
        tmp_path / "link" / "y.fits",
    )
    refuse(invoke, 2, "x_uncal.fits: is read by this run", tmp_path, *start, "-o", uncal, "--overwrite")
    refuse(invoke, 2, "is read", tmp_path, *start, "-o", tmp_path / "link" / "x_uncal.fits", "--overwrite")
    refuse(invoke, 2, "is read", tmp_path, "dq-init", *case.args, "-o", uncal, "--overwrite")
    gain = case.refs / "gain.fits"
    refuse(invoke, 2, "gain.fits: is read by this run", tmp_path, *start, "-o", gain, "--overwrite")
    refuse(
        invoke,
        2,
        "is read",
        tmp_path,
        *start,
        "-o",
        tmp_path / "y.fits",
        "--save-after",
        f"jump:{gain}",
        "--overwrite",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(case, invoke, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    refuse(
        invoke, 5, "locked", tmp_path, "run", "detector1", *case.args, "-o", tmp_path / "locked" / "y.fits"
    )


def test_output_over_standard_input(case, jwcal, tmp_path):
    import subprocess

    from tests.conftest import PROGRAM

    before = snapshot(tmp_path)
    with case.uncal.open("rb") as stdin:
        done = subprocess.run(
            [*PROGRAM, "dq-init", "--refs", str(case.refs), "-o", str(case.uncal), "--overwrite"],
            stdin=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "is read by this run" in done.stderr
    assert snapshot(tmp_path) == before


def test_terminal_refused(exposure):
    import pty
    import subprocess

    from tests.conftest import PROGRAM

    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [*PROGRAM, "dq-init", *exposure.args], stdout=slave, stdin=slave, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "terminal" in done.stderr
        assert "-o FILE" in done.stderr
        assert done.stderr.count("\n") == 1
        done = subprocess.run(
            [*PROGRAM, "dq-init"],
            stdin=slave,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "no input" in done.stderr
    finally:
        os.close(master)
        os.close(slave)


# -- parameters


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
        (("--skip", "foo"), "--skip foo"),
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


# -- modes that are not built


def test_irs2_multistripe_uneven(tmp_path, invoke, case):
    from astropy.io import fits

    edit(case.uncal, keyword("MSTR_RD1", 4))
    refuse(invoke, 3, ("x_uncal.fits", "multistripe"), tmp_path, *run(case))
    edit(case.uncal, keyword("MSTR_RD1", None))
    table = fits.BinTableHDU(np.zeros(3, [("a", "f4")]), name="READTIMES")
    edit(case.uncal, lambda hdus: hdus.append(table))
    refuse(invoke, 6, ("x_uncal.fits", "not evenly spaced"), tmp_path, *run(case))


def test_interleaved_readout_needs_its_weights(tmp_path, invoke, exposure):
    from astropy.io import fits

    with fits.open(exposure.uncal) as hdus:
        primary = hdus[0].header
    primary.update(
        INSTRUME="NIRSPEC", DETECTOR="NRS1", EXP_TYPE="NRS_IFU", READPATT="NRSIRS2RAPID", NGROUPS=1, NINTS=1
    )
    primary.update(SUBARRAY="FULL", SUBSIZE1=2048, SUBSIZE2=3200, FASTAXIS=2, SLOWAXIS=1, INTEND=1)
    science = fits.ImageHDU(np.zeros((1, 1, 3200, 2048), np.uint16), name="SCI")
    fits.HDUList([fits.PrimaryHDU(header=primary), science]).writeto(tmp_path / "x_uncal.fits")
    refuse(invoke, 4, ("x_uncal.fits", "IRS2", "REFPIX"), tmp_path, "run", "detector1", "-q",
           tmp_path / "x_uncal.fits", "-o", tmp_path / "y.fits")  # fmt: skip

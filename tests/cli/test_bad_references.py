"""Bad references: one line, the documented exit code, nothing left behind, nothing touched."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cli.spoil import edit, keyword, pixels, refuse, run, values

KINDS = ("mask", "saturation", "superbias", "linearity", "dark", "gain", "readnoise")


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

"""Bad keywords and values: one line, the documented exit code, nothing left behind, nothing touched."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cli.spoil import edit, keyword, pixels, refuse, run, values
from tests.conftest import make_exposure


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

"""Errors that products of the same references share."""

import numpy as np
import pytest

from jwcal.core.errors import ReferenceFileError
from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from jwcal.detector1.systematic_errors import TERMS, systematic_errors


@pytest.fixture
def rate():
    """Give a factory of slope products in memory."""

    def make(sci, **keys):
        sci = np.asarray(sci, np.float32)
        primary = Header()
        values = {
            "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "SUBSTRT1": 101, "SUBSTRT2": 51, "NGROUPS": 5, "TGROUP": 2.0,
            "NFRAMES": 1, "GROUPGAP": 0,
        }  # fmt: skip
        for key, value in (values | keys).items():
            primary.set(key, value)
        planes = {n: np.ones(sci.shape, np.float32) for n in ("ERR", "VAR_POISSON", "VAR_RNOISE")}
        planes = {"SCI": sci, **planes, "DQ": np.zeros(sci.shape, np.uint32)}
        product = "rate" if sci.ndim == 2 else "rateints"
        return Exposure(product, primary, {n: Header() for n in planes}, ArrayStore(planes), (), "test")

    return make


def run(exposure, refs, **params):
    """Run the step, which is off by default."""
    return systematic_errors(exposure, refs=refs, skip=False, **params)


def test_slopes_of_integrations_get_none(rate, reference):
    gain = reference("gain", SCI=np.ones((2, 2)), ERR=np.ones((2, 2)))
    out = run(rate(np.ones((3, 2, 2))), {"gain": gain})
    assert not set(TERMS) & set(out.store.names())


def test_dark_is_that_of_the_first_and_last_group(rate, reference):
    error = np.arange(1, 8, dtype="f4")[:, None, None] * np.ones((2, 2))
    dark = reference("dark", {"NFRAMES": 1, "GROUPGAP": 0}, SCI=np.zeros((7, 2, 2)), ERR=error)
    out = run(rate(np.full((2, 2), 10.0)), {"dark": dark})
    np.testing.assert_allclose(out["VAR_DARK"], (1 + 25) / (4 * 2.0) ** 2, rtol=1e-6)
    assert out.meta["DARKID"] == "dark.fits"
    assert out.meta["GAINID"] == "NONE"
    assert not out["VAR_GAIN"].any()
    assert np.all(out["ERR"] == 1)


def test_averaged_groups_take_every_so_manyth_frame(rate, reference):
    error = np.arange(1, 101, dtype="f4")[:, None, None] * np.ones((2, 2))
    dark = reference("dark", {"NFRAMES": 1, "GROUPGAP": 0}, SCI=np.zeros((100, 2, 2)), ERR=error)
    out = run(rate(np.ones((2, 2)), NFRAMES=4, GROUPGAP=1), {"dark": dark})
    np.testing.assert_allclose(out["VAR_DARK"], (1 + 21**2) / 8.0**2, rtol=1e-6)


def test_bias_matters_only_without_a_slope(rate, reference):
    bias = reference("superbias", SCI=np.zeros((2, 2)), ERR=np.full((2, 2), 3.0))
    gain = reference("gain", SCI=np.full((2, 2), 2.0), ERR=np.full((2, 2), 0.1))
    many = run(rate(np.ones((2, 2))), {"superbias": bias, "gain": gain})
    assert not many["VAR_BIAS"].any()
    assert many.meta["BIASID"] == "NONE"
    one = run(rate(np.ones((2, 2)), NGROUPS=1), {"superbias": bias, "gain": gain})
    np.testing.assert_allclose(one["VAR_BIAS"], 9 / 4, rtol=1e-6)
    np.testing.assert_allclose(one["VAR_GAIN"], 0.05**2, rtol=1e-5)


def test_linearity_is_a_fraction_of_the_correction(rate, reference):
    coefficients = np.array([0.0, 1.0, 1e-5])[:, None, None] * np.ones((2, 2))
    linearity = reference("linearity", COEFFS=coefficients)
    out = run(rate(np.full((2, 2), 1000.0)), {"linearity": linearity}, linearity_error=0.1)
    # 1000 DN/s over five groups of 2 s end at 10000 DN, of which a tenth is the correction.
    np.testing.assert_allclose(np.sqrt(out["VAR_LINEARITY"]), 0.1 * 0.1 * 1000, rtol=1e-4)
    assert run(rate(np.ones((2, 2))), {"linearity": linearity}, linearity_error=0.0).product == "rate"


def test_predicts_what_a_wrong_reference_does(rate, reference):
    """A dark with errors shifts the slopes by as much as its plane says, in all exposures alike."""
    rng = np.random.default_rng(5)
    size, ngroup, time = 60, 5, 2.0
    sigma = rng.uniform(1, 3, (ngroup, size, size))
    wrong = rng.normal(0, sigma)
    dark = reference("dark", {"NFRAMES": 1, "GROUPGAP": 0}, SCI=np.zeros(sigma.shape), ERR=sigma)
    shift = (wrong[-1] - wrong[0]) / ((ngroup - 1) * time)
    out = run(rate(100 + shift), {"dark": dark})
    pull = shift / np.sqrt(out["VAR_DARK"])
    assert np.std(pull) == pytest.approx(1, abs=0.04)


def test_nan_and_bad_references(rate, reference):
    dark = reference("dark", {"NFRAMES": 1, "GROUPGAP": 0}, SCI=np.zeros((5, 2, 2)),
                     ERR=np.where(np.eye(2) == 1, np.nan, 1.0) * np.ones((5, 1, 1)))  # fmt: skip
    gain = reference("gain", SCI=np.zeros((2, 2)), ERR=np.ones((2, 2)))
    out = run(rate([[np.nan, 1.0], [1.0, 1.0]]), {"dark": dark, "gain": gain})
    assert np.isnan(out["VAR_DARK"]).tolist() == [[True, False], [False, False]]
    assert out["VAR_DARK"][1, 1] == 0
    assert out["VAR_GAIN"][1, 1] == 0
    flat = reference("dark", {"NFRAMES": 1, "GROUPGAP": 0}, SCI=np.zeros((2, 2)), ERR=np.ones((2, 2)))
    with pytest.raises(ReferenceFileError, match="ERR has shape"):
        run(rate(np.ones((2, 2))), {"dark": flat})


def test_off_and_without_references(rate, reference):
    gain = reference("gain", SCI=np.ones((2, 2)), ERR=np.ones((2, 2)))
    for out in (
        systematic_errors(rate(np.ones((2, 2))), refs={"gain": gain}),
        run(rate(np.ones((2, 2))), {}),
    ):
        assert not set(TERMS) & set(out.store.names())


def test_in_files_of_the_pipeline(tmp_path, invoke, exposure):
    from astropy.io import fits

    with fits.open(exposure.refs / "dark.fits", mode="update") as hdus:
        hdus.append(fits.ImageHDU(np.full(hdus["SCI"].shape, 2, "f4"), name="ERR"))
    args = ["run", "detector1", *exposure.args, "--set", "systematic_errors.skip=false"]
    rate, ints = tmp_path / "r.fits", tmp_path / "ri.fits"
    assert invoke(*args, "-o", rate, "--rateints", ints).code == 0
    plain = tmp_path / "p.fits"
    assert invoke(*args[:-2], "-o", plain).code == 0
    with fits.open(rate) as made, fits.open(ints) as each, fits.open(plain) as without:
        assert np.nanmax(made["VAR_DARK"].data) > 0
        assert "VAR_DARK" not in each
        assert made[0].header["DARKID"] == "dark.fits"
        assert "VAR_DARK" not in without
        for name in ("SCI", "ERR", "DQ"):
            assert np.array_equal(made[name].data, without[name].data, equal_nan=name != "DQ")

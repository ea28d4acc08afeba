"""The ramp-fit step: groups used, products, keywords, and data that cannot be fitted."""

import numpy as np
import pytest

from jwcal.core.errors import DataError, UsageError
from jwcal.detector1.ramp_fit import jump_limit, ramp_fit, segment_limit

TIMES = {"TGROUP": 10.0, "TFRAME": 10.0}


def lines(nint=1, ngroup=8, ny=4, nx=5):
    return np.broadcast_to(20.0 * np.arange(ngroup)[:, None, None], (nint, ngroup, ny, nx)).copy()


@pytest.fixture
def refs(reference):
    return {
        "gain": reference("gain", SCI=np.full((4, 5), 2.0), keys={"GAINFACT": 1.5}),
        "readnoise": reference("readnoise", SCI=np.full((4, 5), 10.0)),
    }


def test_products_and_keywords(ramp, refs):
    out = ramp_fit(ramp(lines(nint=3), **TIMES), refs=refs)
    rate, rateints = out["rate"], out["rateints"]
    assert rate.shape == (4, 5)
    assert rateints.shape == (3, 4, 5)
    for product in (rate, rateints):
        np.testing.assert_allclose(product["SCI"], 2.0, rtol=1e-6)
        assert product.meta["S_RAMP"] == "COMPLETE"
        assert product.meta["GAINFACT"] == 1.5
    np.testing.assert_allclose(
        rateints["VAR_RNOISE"], 3 * rate["VAR_RNOISE"][None] * np.ones((3, 1, 1)), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("limits", "used"),
    [({"firstgroup": 3}, 5), ({"lastgroup": 4}, 5), ({"firstgroup": 2, "lastgroup": 5}, 4), ({"firstgroup": 5, "lastgroup": 2}, 8),
     ({"lastgroup": 99}, 8)],
)  # fmt: skip
def test_first_and_last_group(ramp, refs, limits, used):
    sci = lines()
    sci[0, : limits.get("firstgroup", 0)] += 5000 if used < 8 else 0
    out = ramp_fit(ramp(sci, **TIMES), refs=refs, **limits)["rate"]
    np.testing.assert_allclose(out["SCI"], 2.0, rtol=1e-6)
    np.testing.assert_allclose(out["VAR_RNOISE"], 12 * 50 / ((used**3 - used) * 100), rtol=1e-6)


def test_miri_drops_leading_groups_with_the_jump_after_them(ramp, refs):
    gdq = np.zeros((1, 8, 4, 5), np.uint8)
    gdq[:, :2] = 1
    gdq[:, 7] = 1
    gdq[0, 2, 1, 1] = 4
    exposure = ramp(lines(), groupdq=gdq, INSTRUME="MIRI", DETECTOR="NRCA1", **TIMES)
    for path in refs.values():
        from astropy.io import fits

        fits.setval(path, "INSTRUME", value="MIRI")
    out = ramp_fit(exposure, refs=refs)["rate"]
    assert not out["DQ"].any()
    np.testing.assert_allclose(out["VAR_RNOISE"], 12 * 50 / ((5**3 - 5) * 100), rtol=1e-6)


def test_zero_frame_needs_one_group_ramps(ramp, refs):
    gdq = np.full((1, 8, 4, 5), 2, np.uint8)
    gdq[0, 0, 0, 0] = 0
    zero = np.full((1, 4, 5), 30.0)
    exposure = {"groupdq": gdq, "zeroframe": zero, **TIMES}
    out = ramp_fit(ramp(lines(), **exposure), refs=refs, suppress_one_group=False)["rate"]
    np.testing.assert_allclose(out["SCI"][1:], 3.0)
    out = ramp_fit(ramp(lines(), **exposure), refs=refs)["rate"]
    assert np.isnan(out["SCI"]).all()


def test_optional_results_have_room_for_every_segment(ramp, refs):
    sci = lines()
    sci[0, 4:, 1, 1] += 300
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[0, 4, 1, 1] = 4
    out = ramp_fit(ramp(sci, groupdq=gdq, **TIMES), refs=refs)["rate"]
    assert out["DQ"][1, 1] == 4
    assert (segment_limit(8), jump_limit(8), jump_limit(1)) == (5, 7, 1)


def test_nothing_to_fit_is_an_error(ramp, refs):
    with pytest.raises(DataError, match="saturated"):
        ramp_fit(ramp(lines(), groupdq=np.full((1, 8, 4, 5), 2), **TIMES), refs=refs)


def test_likelihood_fit_is_refused(ramp, refs):
    with pytest.raises(UsageError, match="LIKELY"):
        ramp_fit(ramp(lines(), **TIMES), refs=refs, algorithm="LIKELY")

"""Non-linearity correction, as a step."""

import numpy as np
import pytest

from jwcal.core.errors import ReferenceFileError
from jwcal.detector1.linearity import linearity


def column(*values):
    return np.array(values, float)[:, None, None]


def test_polynomial_where_not_saturated(ramp, reference):
    path = reference("linearity", COEFFS=column(1, 1, 0.001), DQ=np.zeros((1, 1)))
    out = linearity(ramp([100, 200], groupdq=column(0, 2)[None], zeroframe=[[[0]]]), refs={"linearity": path})
    assert out["SCI"].ravel().tolist() == [111, 200]
    assert out["ZEROFRAME"].item() == 0
    assert out.meta["S_LINEAR"] == "COMPLETE"


def test_frames_are_corrected_one_by_one_with_an_inverse(ramp, reference):
    inverse = {"INV_COEFFS": column(0, 1, -1e-5)}
    coeffs = column(0, 1, 1e-5, 2e-10)
    sci = [3000, 9000, 15000]
    plain = linearity(ramp(sci, NFRAMES=8), refs={"linearity": reference("linearity", COEFFS=coeffs)})
    averaged = linearity(
        ramp(sci, NFRAMES=8), refs={"linearity": reference("linearity", COEFFS=coeffs, **inverse)}
    )
    single = linearity(
        ramp(sci, NFRAMES=1), refs={"linearity": reference("linearity", COEFFS=coeffs, **inverse)}
    )
    assert (averaged["SCI"] > plain["SCI"]).all()
    np.testing.assert_array_equal(single["SCI"], plain["SCI"])


def test_one_averaged_group_is_corrected_as_a_group(ramp, reference):
    path = reference("linearity", COEFFS=column(0, 2), INV_COEFFS=column(0, 0.5))
    assert linearity(ramp([100], NFRAMES=4), refs={"linearity": path})["SCI"].item() == 200


@pytest.mark.parametrize("coeffs", [column(1), np.ones((17, 1, 1)), np.ones((1, 1))])
def test_odd_references_are_refused(ramp, reference, coeffs):
    with pytest.raises(ReferenceFileError, match="coefficient planes"):
        linearity(ramp([100]), refs={"linearity": reference("linearity", COEFFS=coeffs)})

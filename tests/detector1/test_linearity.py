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


def test_dropped_frames_count_if_asked_for(ramp, reference):
    """Groups of 4 frames and a gap of 6, of a ramp that is straight before the detector bends it."""
    coeffs = np.array([0, 1, 5e-6, 0.0])
    measured = np.linspace(0, 60000, 4000)
    inverse = np.polynomial.Polynomial.fit(np.polyval(coeffs[::-1], measured), measured, 6).convert().coef
    true = 60 * (np.arange(1, 61).reshape(6, 10)[:, :4])
    groups = np.polyval(inverse[::-1], true * 15.0).mean(axis=1)
    path = reference("linearity", COEFFS=column(*coeffs), INV_COEFFS=column(*inverse))
    keys = {"NFRAMES": 4, "GROUPGAP": 6}
    error = {}
    for counted in (False, True):
        out = linearity(ramp(groups, **keys), refs={"linearity": path}, count_gaps=counted)
        error[counted] = np.abs(out["SCI"].ravel() - true.mean(axis=1) * 15).max()
    assert error[True] < 0.2
    assert error[False] > 10


def test_groups_with_read_times_of_their_own_are_corrected_as_groups(ramp, reference, monkeypatch):
    path = reference("linearity", COEFFS=column(0, 1, 1e-5), INV_COEFFS=column(0, 1, -1e-5))
    plain = linearity(ramp([3000, 9000], NFRAMES=1), refs={"linearity": path})
    monkeypatch.setattr("jwcal.detector1.linearity.read_times", lambda _: [[1.0, 2.0], [4.0, 5.0]])
    out = linearity(ramp([3000, 9000], NFRAMES=4), refs={"linearity": path})
    np.testing.assert_array_equal(out["SCI"], plain["SCI"])

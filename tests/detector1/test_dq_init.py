"""First flags."""

import numpy as np
import pytest

from jwcal.core.errors import InputError
from jwcal.detector1.dq_init import dq_init

MASK = np.array([[0, 1025, 2**31], [2048, 1, 0]], np.uint32)


def test_mask_goes_to_the_pixels_and_do_not_use_to_the_groups(ramp, reference):
    out = dq_init(ramp(np.ones((2, 3, 2, 3))), refs={"mask": reference("mask", DQ=MASK)})
    np.testing.assert_array_equal(out["PIXELDQ"], MASK)
    np.testing.assert_array_equal(out["GROUPDQ"], np.broadcast_to(MASK & 1, (2, 3, 2, 3)))
    assert out.meta["S_DQINIT"] == "COMPLETE"
    assert out.meta["R_MASK"] == "mask.fits"


def test_subarray_is_cut_from_a_larger_mask(ramp, reference):
    large = np.zeros((6, 8), np.uint32)
    large[2:4, 3:6] = MASK
    path = reference("mask", keys={"SUBSTRT1": 98, "SUBSTRT2": 49}, DQ=large)
    out = dq_init(ramp(np.ones((1, 1, 2, 3))), refs={"mask": path})
    np.testing.assert_array_equal(out["PIXELDQ"], MASK)


def test_flags_of_the_user_are_added(ramp, reference, tmp_path):
    from astropy.io import fits

    mine = tmp_path / "mine.fits"
    fits.writeto(mine, np.array([[5, 0, 0], [0, 0, 1]], np.int32))
    out = dq_init(
        ramp(np.ones((1, 2, 2, 3))), refs={"mask": reference("mask", DQ=MASK)}, user_supplied_dq=str(mine)
    )
    assert out["PIXELDQ"].tolist() == [[5, 1025, 2**31], [2048, 1, 1]]
    assert out["GROUPDQ"][0, 1].tolist() == [[1, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("image", [np.zeros((3, 2), np.int32), np.zeros((2, 3), np.float32)])
def test_flags_of_the_user_must_fit(ramp, reference, tmp_path, image):
    from astropy.io import fits

    mine = tmp_path / "mine.fits"
    fits.writeto(mine, image)
    with pytest.raises(InputError, match="user_supplied_dq"):
        dq_init(
            ramp(np.ones((1, 1, 2, 3))), refs={"mask": reference("mask", DQ=MASK)}, user_supplied_dq=str(mine)
        )


def test_no_mask_is_a_skip(ramp):
    out = dq_init(ramp(np.ones((1, 1, 2, 3))), refs={})
    assert out.meta["S_DQINIT"] == "SKIPPED"

"""Groups falsified by charge that moved: which are flagged, and equal bits of C and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwcal.kernels.charge_loss import flag_charge_loss, flag_charge_loss_numpy


def test_from_the_first_group_on_with_neighbours():
    sci = np.zeros((1, 5, 5, 6), np.float32)
    sci[0, 2, 2, 3] = 101
    gdq = np.zeros(sci.shape, np.uint8)
    flag_charge_loss(sci, gdq, 100.0, 129)
    cross = np.zeros((5, 6), np.uint8)
    cross[1:4, 3] = cross[2, 2:5] = 129
    for g in range(5):
        np.testing.assert_array_equal(gdq[0, g], cross if g >= 2 else 0)


def test_only_do_not_use_alone_is_left_out():
    sci = np.full((1, 3, 1, 3), 5e4, np.float32)
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[0, :, 0, 0] = 1
    gdq[0, 0, 0, 1] = 3
    gdq[0, :, 0, 2] = 1
    flag_charge_loss(sci, gdq, 100.0, 129)
    np.testing.assert_array_equal(gdq[0, :, 0], [[129, 131, 129]] + 2 * [[129, 129, 129]])
    alone = np.ones((1, 3, 1, 3), np.uint8)
    flag_charge_loss(sci, alone, 100.0, 129)
    assert (alone == 1).all()


@given(
    arrays(np.float32, (2, 4, 3, 9), elements=st.sampled_from(np.float32([0, 99, 100, 101, np.nan]))),
    arrays(np.uint8, (2, 4, 3, 9), elements=st.sampled_from([0, 1, 2, 5])),
)
@settings(max_examples=80, deadline=None)
def test_equal_bits_and_no_group_is_freed(sci, gdq):
    a, b = gdq.copy(), gdq.copy()
    flag_charge_loss(sci, a, 100.0, 129)
    flag_charge_loss_numpy(sci, b, 100.0, 129)
    np.testing.assert_array_equal(a, b)
    lost = (a & 128) != 0
    assert (np.maximum.accumulate(lost, axis=1) == lost).all()
    assert ((a & gdq) == gdq).all()
    assert (a[lost] & 1).all()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="fit"):
        flag_charge_loss(np.zeros((1, 2, 2, 2), np.float32), np.zeros((1, 3, 2, 2), np.uint8), 1.0, 1)

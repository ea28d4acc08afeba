"""Windows and traps: values against closed forms, and equal bits of C and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwcal.kernels import persistence as kernel
from jwcal.kernels.persistence import Traps

ONE = Traps(1e5, (100.0,), (10.0,), (0.01,), (0.0,))
THREE = Traps(8e4, (30.0, 300.0, 3000.0), (0.0, 60.0, 300.0), (1e-3, 5e-4, 2e-4), (0.0, 100.0, 4e4))


def test_a_window_opens_at_the_first_saturated_group_and_closes():
    sci = np.zeros((1, 6, 1, 2), np.float32)
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[0, 2:, 0, 0] = 2
    end = np.zeros((1, 2))
    times = 1000 + 10.0 * np.arange(6)[None]
    kernel.flag_windows(sci, gdq, times, 15.0, None, 32, end)
    np.testing.assert_array_equal(gdq[0, :, 0, 0], [0, 0, 34, 34, 2, 2])
    assert not gdq[..., 1].any()
    assert not end.any()


def test_a_window_goes_on_in_the_next_integration_and_the_map():
    sci = np.zeros((2, 2, 1, 1), np.float32)
    sci[0, 1] = 500
    gdq = np.zeros(sci.shape, np.uint8)
    end = np.zeros((1, 1))
    kernel.flag_windows(sci, gdq, np.array([[10.0, 20.0], [30.0, 40.0]]), 100.0, 400.0, 33, end)
    np.testing.assert_array_equal(gdq.ravel(), [0, 33, 33, 33])
    assert end[0, 0] == 120


def test_a_window_that_begins_later_is_none():
    gdq = np.zeros((1, 1, 1, 1), np.uint8)
    end = np.array([[500.0]])
    kernel.flag_windows(np.zeros(gdq.shape, np.float32), gdq, np.array([[100.0]]), 50.0, None, 32, end)
    assert gdq[0, 0, 0, 0] == 0
    assert end[0, 0] == 0


@given(
    arrays(np.float32, (2, 5, 2, 7), elements=st.sampled_from(np.float32([0, 99, 101, np.nan]))),
    arrays(np.uint8, (2, 5, 2, 7), elements=st.sampled_from([0, 0, 2, 3])),
    arrays(np.float64, (2, 7), elements=st.sampled_from([0.0, 3.0, 12.0, 90.0])),
)
@settings(max_examples=80, deadline=None)
def test_windows_have_equal_bits(sci, gdq, end):
    times = np.cumsum(np.full((2, 5), 4.0)).reshape(2, 5)
    a, b, x, y = gdq.copy(), gdq.copy(), end.copy(), end.copy()
    kernel.flag_windows(sci, a, times, 9.0, 100.0, 32, x)
    kernel.flag_windows_numpy(sci, b, times, 9.0, 100.0, 32, y)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(x, y)


def test_darkness_empties_traps_exponentially():
    traps = np.full((1, 2, 3), 50, np.float32)
    kernel.fill_traps(traps, None, 100.0, ONE)
    np.testing.assert_allclose(traps, 50 / np.e, rtol=1e-6)


def test_constant_light_fills_what_a_ramp_can_reach():
    """Linear ramp to C in T with capture time t: C (1 - t/T (1 - exp(-T/t)))."""
    traps = np.zeros((1, 1, 1), np.float32)
    kernel.fill_traps(traps, np.full((1, 1), 100, np.float32), 40.0, ONE)
    want = 0.01 * 4000 * (1 - 10 / 40 * (1 - np.exp(-4)))
    np.testing.assert_allclose(traps[0, 0, 0], want, rtol=0.03)
    kernel.fill_traps(traps, np.full((1, 1), 1e9, np.float32), 1e4, ONE)
    np.testing.assert_allclose(traps[0, 0, 0], 1000, rtol=1e-3)


def test_release_is_what_the_traps_lose():
    traps = np.full((1, 1, 2), 80, np.float32)
    sci = np.zeros((4, 1, 2), np.float32)
    out = kernel.release_traps(
        traps, sci, np.zeros(sci.shape, np.uint8), np.ones((1, 2), np.float32), 5.0, 20.0, ONE
    )
    want = 80 * (1 - np.exp(-(5 + 20 * np.arange(4)) / 100))
    np.testing.assert_allclose(out[0, :, 0, 0], want, rtol=1e-5)
    np.testing.assert_allclose(traps, 80 - want[-1], rtol=1e-5)


def test_nothing_is_released_under_a_bright_source():
    traps = np.full((1, 1, 2), 80, np.float32)
    sci = np.full((3, 1, 2), 5e4, np.float32)
    sci[:, 0, 1] = 0
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[:, 0, 1] = 2
    out = kernel.release_traps(traps, sci, gdq, np.ones((1, 2), np.float32), 5.0, 20.0, ONE)
    assert not out.any()
    assert (traps > 80).all()


@given(
    arrays(np.float32, (3, 2, 9), elements=st.floats(0, 200, width=32)),
    arrays(np.float32, (2, 9), elements=st.floats(0, 1e4, width=32)),
    arrays(np.float32, (4, 2, 9), elements=st.floats(-50, 1e5, width=32) | st.just(np.float32(np.nan))),
    arrays(np.uint8, (4, 2, 9), elements=st.sampled_from([0, 0, 2, 1])),
)
@settings(max_examples=80, deadline=None)
def test_traps_have_equal_bits_and_never_go_below_zero(traps, rate, sci, gdq):
    a, b = traps.copy(), traps.copy()
    kernel.fill_traps(a, rate, 50.0, THREE)
    kernel.fill_traps_numpy(b, rate, 50.0, THREE)
    np.testing.assert_array_equal(a, b)
    gain = np.full((2, 9), 1.8, np.float32)
    x = kernel.release_traps(a, sci, gdq, gain, 3.0, 11.0, THREE)
    y = kernel.release_traps_numpy(b, sci, gdq, gain, 3.0, 11.0, THREE)
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(a, b)
    assert (a >= 0).all()
    assert (np.diff(x, axis=1) >= 0).all()


def test_layouts_are_checked():
    with pytest.raises(ValueError, match="traps"):
        kernel.fill_traps(np.zeros((2, 1, 1), np.float32), None, 1.0, ONE)

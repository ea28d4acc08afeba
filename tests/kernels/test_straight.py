"""Straight ramps: solutions of known cases, and equal bits of C and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwcal.kernels import straight

RAMPS = arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 70)),
    elements=st.floats(-100, 6e4, width=32) | st.sampled_from([np.nan, np.inf, 0.0]),
)


def equations(function, ramp, unit, c, order, used):
    normal, right = np.ones((order, order, ramp.shape[1])), np.ones((order, ramp.shape[1]))
    function(ramp, unit, c, used, normal, right)
    return normal, right


@given(RAMPS, st.integers(1, 5), st.booleans(), st.integers(0, 1000))
@settings(max_examples=120, deadline=None)
def test_compiled_and_numpy_give_the_same_bits(ramp, order, again, seed):
    rng = np.random.default_rng(seed)
    c = rng.normal(0, 0.1, (order, ramp.shape[1]))
    used = rng.random(ramp.shape[1]) < 0.8
    before = c if again else None
    for a, b in zip(
        equations(straight.add_equations, ramp, 32768.0, before, order, used),
        equations(straight.add_equations_numpy, ramp, 32768.0, before, order, used),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        straight.residual(ramp, 32768.0, c), straight.residual_numpy(ramp, 32768.0, c)
    )


@pytest.mark.parametrize("again", [False, True])
def test_the_polynomial_of_a_bent_line(again):
    wanted = np.array([[0.03], [0.01]])
    line = np.linspace(0.01, 1.2, 20)[:, None]
    x = line.copy()
    for _ in range(30):
        x -= (straight.polynomial(x, wanted) - line) / 1.1
    ramp = (x * 32768).astype(np.float32)
    c = wanted * 1.2 if again else None
    normal, right = np.zeros((2, 2, 1)), np.zeros((2, 1))
    straight.add_equations(ramp, 32768.0, c, np.ones(1, bool), normal, right)
    found = np.linalg.solve(normal[..., 0], right[:, 0])
    np.testing.assert_allclose(found, wanted[:, 0], rtol=1e-3)
    assert straight.residual(ramp, 32768.0, wanted)[0] < 1e-6
    assert straight.residual(ramp, 32768.0, wanted * 0)[0] > 1e-3


def test_pixels_left_out_and_too_few_values():
    ramp = np.float32([[1, 1, np.nan], [2, 2, np.nan], [4, 4, 3]])
    normal, _ = equations(straight.add_equations, ramp, 1.0, None, 2, np.array([True, False, True]))
    assert (normal[..., 1] == 1).all()
    assert (normal[..., 0] != 1).all()
    assert np.isnan(straight.residual(ramp, 1.0, np.zeros((2, 3)))).tolist() == [False, False, True]


def test_wrong_calls():
    with pytest.raises(ValueError, match="contiguous float32"):
        straight.residual(np.zeros((3, 4)), 1.0, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="cannot fit"):
        straight.residual(np.zeros((3, 4), np.float32), 1.0, np.zeros((0, 4)))

"""Clipped means: what they give, and equal bits of C and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwcal.kernels import stack

VALUES = st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, -0.0, 5.0, 3e38, np.nan, np.inf, -np.inf])
STACKS = arrays(np.float32, st.tuples(st.integers(1, 23), st.integers(1, 130)), elements=VALUES)


def same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@given(STACKS, st.sampled_from([1.5, 3.0, 4.0]), st.integers(0, 4))
@settings(max_examples=150, deadline=None)
def test_compiled_and_numpy_give_the_same_bits(values, sigma, iterations):
    same(stack.clipped_mean(values, sigma, iterations), stack.clipped_mean_numpy(values, sigma, iterations))


def test_normal_values():
    values = np.random.default_rng(1).normal(7, 3, (40, 5000)).astype(np.float32)
    mean, scatter, count = stack.clipped_mean(values, 3.0)
    assert abs(mean.mean() - 7) < 4 * 3 / np.sqrt(values.size)
    # The tails are made up for: the mean variance is that of the values, not the 3 % less of clipped ones.
    assert abs(np.mean(scatter.astype(float) ** 2) / 9 - 1) < 0.015
    assert 0.98 < count.mean() / 40 < 0.9999
    mean, scatter, count = stack.clipped_mean(values, 4.0)
    assert abs(np.mean((mean - 7.0) ** 2) / np.mean(scatter**2 / count) - 1) < 0.06


@pytest.mark.parametrize("n", [5, 10, 30])
def test_outliers_do_not_count(n):
    values = np.random.default_rng(2).normal(0, 1, (n, 4000)).astype(np.float32)
    values[1] += 500
    values[2, ::2] = np.nan
    mean, scatter, count = stack.clipped_mean(values)
    left = n - 1 - (np.arange(4000) % 2 == 0)
    assert (count <= left).all()
    assert np.abs(mean).max() < 6 / np.sqrt(2)
    assert np.sqrt(np.mean(scatter[left > 3] ** 2)) < 1.2
    assert np.median(count) >= left.min()


def test_too_little_to_tell():
    values = np.array([[1, np.nan, 3, 2], [1, np.nan, np.nan, 4], [1, np.inf, np.nan, 3]], np.float32)
    mean, scatter, count = stack.clipped_mean(values)
    np.testing.assert_array_equal(mean, np.float32([1, np.nan, 3, 3]))
    np.testing.assert_array_equal(scatter[:3], np.float32([0, np.nan, np.nan]))
    np.testing.assert_array_equal(count, [3, 0, 1, 3])


@pytest.mark.parametrize(
    ("values", "sigma"),
    [(np.zeros((2, 3)), 4.0), (np.zeros((0, 3), np.float32), 4.0), (np.zeros((2, 3), np.float32), 0.0)],
)
def test_wrong_calls(values, sigma):
    with pytest.raises(ValueError, match=r"need|clip"):
        stack.clipped_mean(values, sigma)


def test_planes_may_have_any_shape():
    values = np.random.default_rng(3).normal(size=(6, 2, 3, 7)).astype(np.float32)
    same(stack.clipped_mean(values), [p.reshape(2, 3, 7) for p in stack.clipped_mean(values.reshape(6, 42))])

"""Kernels of the interleaved readout: compiled and NumPy versions, bit for bit, and what they mean."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.kernels import irs2
from jwcal.kernels._lib import native

pytestmark = pytest.mark.skipif(native() is None, reason="kernels not built")


def same(a, b):
    return np.array_equal(a.view(np.uint32), b.view(np.uint32))


@st.composite
def frames(draw):
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    nrow, nline = draw(st.integers(1, 80)), draw(st.integers(1, 80))
    nsample = draw(st.integers(1, nrow))
    nslot = nsample + draw(st.integers(0, 40))
    image = rng.normal(0, 1e4, (nrow, nline)).astype(np.float32)
    image[rng.random(image.shape) < 0.05] = draw(st.sampled_from([0.0, np.nan, np.inf]))
    rows = rng.choice(nrow, nsample, replace=False).astype(np.intp)
    slots = rng.choice(nslot, nsample, replace=False).astype(np.intp)
    return image, rng.normal(0, 1e4, image.shape), rows, slots, nslot, draw(st.booleans()), rng


@given(frames())
@settings(max_examples=80, deadline=None)
def test_unfold_and_fold(frame):
    image, mean, rows, slots, nslot, mirrored, rng = frame
    one, two = np.full((2, image.shape[1], nslot), 7, np.float32)
    irs2.unfold(image, mean, rows, slots, one, mirrored=mirrored)
    irs2.unfold_numpy(image, mean, rows, slots, two, mirrored=mirrored)
    assert same(one, two)
    correction = rng.normal(0, 100, one.shape).astype(np.float32)
    level = np.where(rng.random(len(rows)) < 0.2, -1, rows).astype(np.intp)
    for given_correction in (correction, None):
        a, b = np.zeros((2, *image.shape), np.float32)
        irs2.fold(one, given_correction, mean, level, rows, slots, a, mirrored=mirrored)
        irs2.fold_numpy(one, given_correction, mean, level, rows, slots, b, mirrored=mirrored)
        assert same(a, b)


@pytest.mark.parametrize("mirrored", [False, True])
def test_fold_undoes_unfold(mirrored):
    image = np.arange(70 * 45, dtype=np.float32).reshape(70, 45)
    mean = np.full(image.shape, 3.0)
    rows, slots = np.arange(70)[::-1].astype(np.intp).copy(), np.arange(5, 75)
    series = np.empty((45, 80), np.float32)
    irs2.unfold(image, mean, rows, slots, series, mirrored=mirrored)
    assert (series[:, :5] == 0).all()
    np.testing.assert_array_equal(series[-1 if mirrored else 0, slots], image[::-1, 0] - 3)
    out = np.empty_like(image)
    irs2.fold(series, None, mean, rows, rows, slots, out, mirrored=mirrored)
    np.testing.assert_array_equal(out, image)


@given(st.integers(31, 400), st.integers(0, 99), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_detrend_and_bridge(count, seed, empty):
    rng = np.random.default_rng(seed)
    series = rng.normal(100, 5, count).astype(np.float32)
    series[rng.random(count) < empty] = 0
    one, two = series.copy(), series.copy()
    irs2.detrend(one, np.float32(3.3), np.float32(-0.01))
    irs2.detrend_numpy(two, np.float32(3.3), np.float32(-0.01))
    assert same(one, two)
    assert ((one == 0) >= (series == 0)).all()
    weights = rng.uniform(0.1, 1, 2 * int(rng.integers(0, 16)) + 1)
    irs2.bridge(series, weights, one)
    irs2.bridge_numpy(series, weights, two)
    assert same(one, two)
    np.testing.assert_array_equal(one[series != 0], series[series != 0])


def test_a_line_comes_off_and_a_gap_is_bridged_by_the_convolution():
    from scipy.ndimage import convolve1d

    count = 5000
    series = (4 + 0.25 * irs2.times(count)).astype(np.float32)
    irs2.detrend(series, np.float32(4), np.float32(0.25))
    assert np.abs(series).max() < 1e-3
    rng = np.random.default_rng(0)
    series = rng.normal(50, 3, count).astype(np.float32)
    series[::7] = series[100:200] = series[:3] = series[-3:] = 0
    weights = np.sin(np.arange(1, 32) / 32 * np.pi)
    weights[4] = 0.5
    out = np.empty_like(series)
    irs2.bridge(series, weights[::-1].copy(), out)
    known = convolve1d((series != 0).astype(float), weights, mode="wrap")
    smooth = convolve1d(series.astype(float), weights, mode="wrap") / np.where(known == 0, 1, known)
    np.testing.assert_allclose(out, np.where(series == 0, smooth, series), rtol=1e-6)
    assert (out[116:184] == 0).all()
    assert (out[:3] != 0).all()


def test_arrays_that_do_not_fit_are_refused():
    image, mean = np.zeros((6, 4), np.float32), np.zeros((6, 4))
    rows, slots, series = np.arange(6), np.arange(6), np.zeros((4, 6), np.float32)
    with pytest.raises(ValueError, match="slots"):
        irs2.unfold(image, mean, rows, slots + 1, series)
    with pytest.raises(ValueError, match="rows"):
        irs2.unfold(image, mean, rows + 1, slots, series)
    with pytest.raises(ValueError, match="raw image"):
        irs2.fold(series, None, mean, rows + 1, rows, slots, image)
    with pytest.raises(ValueError, match="weights"):
        irs2.bridge(series.reshape(-1), np.ones(2), np.zeros(24, np.float32))
    with pytest.raises(ValueError, match="out"):
        irs2.bridge(series.reshape(-1), np.ones(3), series.reshape(-1))

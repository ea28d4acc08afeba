"""Kernels of the flicker-noise correction: compiled and NumPy versions, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwcal.kernels import flicker

FLOATS = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf])


def images():
    return st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
        lambda shape: st.tuples(
            arrays(np.float32, shape, elements=FLOATS),
            arrays(np.uint8, shape, elements=st.integers(0, 2)),
        )
    )


def noise(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 10, shape).astype(np.float32), (rng.random(shape) < 0.8).astype(np.uint8)


def same(a, b):
    return a.dtype == b.dtype and np.array_equal(a.view(np.uint32), b.view(np.uint32))


@given(images(), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_difference(pair, flagged, flat_fielded):
    now, scene = pair
    rng = np.random.default_rng(1)
    before = rng.normal(size=now.shape).astype(np.float32)
    flags = rng.integers(0, 8, now.shape).astype(np.uint8) if flagged else None
    flat = rng.uniform(0.5, 2, now.shape).astype(np.float32) if flat_fielded else None
    scene = np.minimum(scene, 1)
    a = flicker.difference(now, before, scene, flags, flat)
    b = flicker.difference_numpy(now, before, scene, flags, flat)
    assert same(a[0], b[0])
    assert np.array_equal(a[1], b[1])
    assert not np.isnan(a[0]).any()
    assert np.array_equal(a[1] == flicker.EMPTY, np.isnan(now - before))


@given(images(), st.floats(-1e5, 0), st.floats(0, 1e5) | st.just(np.nan))
@settings(max_examples=60, deadline=None)
def test_restrict(pair, low, high):
    image, mask = pair
    a, b = mask.copy(), mask.copy()
    flicker.restrict(image, a, low, high)
    flicker.restrict_numpy(image, b, low, high)
    assert np.array_equal(a, b)
    kept = image[a == flicker.USABLE]
    assert not (kept < low).any()
    assert not (kept > high).any()


@given(images())
@settings(max_examples=80, deadline=None)
def test_sorted_values(pair):
    image, mask = pair
    a, b = flicker.sorted_values(image, mask), flicker.sorted_values_numpy(image, mask)
    assert same(a, b)
    assert np.array_equal(a, np.sort(image[(mask == 1) & np.isfinite(image)]))


def test_sorted_values_of_a_large_image():
    image, mask = noise((300, 700))
    assert same(flicker.sorted_values(image, mask), flicker.sorted_values_numpy(image, mask))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 127, 128, 129, 1000, 20011])
@pytest.mark.parametrize("rounds", [0, 1, 5])
def test_clipped_stats(size, rounds):
    values = np.random.default_rng(size).standard_cauchy(size).astype(np.float32)
    values.sort()
    assert flicker.clipped_stats(values, rounds=rounds) == pytest.approx(
        flicker.clipped_stats_numpy(values, rounds=rounds), rel=0, abs=0, nan_ok=True
    )
    lower = values[: (size + 1) // 2]
    center = float(values[size // 2]) if size else 0.0
    assert flicker.clipped_stats(lower, rounds=rounds, mirror=center) == pytest.approx(
        flicker.clipped_stats_numpy(lower, rounds=rounds, mirror=center), rel=0, abs=0, nan_ok=True
    )


def test_clipped_stats_are_those_of_astropy():
    stats = pytest.importorskip("astropy.stats")
    values = np.random.default_rng(5).standard_t(2, 5000).astype(np.float32)
    ours = flicker.clipped_stats(np.sort(values))
    assert ours == pytest.approx(stats.sigma_clipped_stats(values.astype(float), sigma=3.0), rel=1e-13)
    assert ours[2] < values.std()


@given(images(), st.integers(0, 1))
@settings(max_examples=80, deadline=None)
def test_line_medians(pair, axis):
    image, mask = pair
    image[~np.isfinite(image)] = 0
    a = flicker.line_medians(image, mask, axis)
    assert same(a, flicker.line_medians_numpy(image, mask, axis))
    masked = np.ma.array(image, mask=mask != flicker.USABLE)
    official = np.ma.filled(np.ma.median(masked, axis=axis, keepdims=True), 0.0)
    assert np.array_equal(a, official)


@pytest.mark.parametrize("axis", [0, 1])
def test_line_medians_in_parts(axis):
    image, mask = noise((96, 64))
    mask[:, 5] = mask[7] = 0
    a = flicker.line_medians(image, mask, axis, 4)
    assert same(a, flicker.line_medians_numpy(image, mask, axis, 4))
    halves = np.split(np.arange(image.shape[axis]), 4)
    piece = np.take(image, halves[1], axis), np.take(mask, halves[1], axis)
    one = flicker.line_medians(*(np.ascontiguousarray(x) for x in piece), axis)
    assert np.array_equal(np.take(a, [1], axis), one)
    with pytest.raises(ValueError, match="cannot be cut"):
        flicker.line_medians(image, mask, axis, 5)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("plane", [False, True])
@pytest.mark.parametrize("flat_fielded", [False, True])
def test_apply(axis, plane, flat_fielded):
    image, mask = noise((40, 24))
    mask[3, 4] = flicker.EMPTY
    background = noise(image.shape, 2)[0] if plane else np.float32(3.25)
    flat = np.abs(noise(image.shape, 3)[0]) + 1 if flat_fielded else None
    before = noise(image.shape, 4)[0]
    lines = flicker.line_medians(image, mask, axis, 2)
    a, b = np.empty_like(image), np.empty_like(image)
    flicker.apply(image, mask, lines, axis, background, before, a, flat)
    flicker.apply_numpy(image, mask, lines, axis, background, before, b, flat)
    assert same(a, b)
    assert np.isnan(a[3, 4])
    assert np.isnan(a).sum() == 1


def test_layouts_are_checked():
    image, mask = noise((8, 8))
    with pytest.raises(ValueError, match="mask"):
        flicker.line_medians(image, mask.astype(bool).astype(np.int32), 1)
    with pytest.raises(ValueError, match="image"):
        flicker.sorted_values(image.T[::2], mask)
    with pytest.raises(ValueError, match="values"):
        flicker.clipped_stats(image)

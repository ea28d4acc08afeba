"""Pixels and scene: the same detector and sky in every subarray; the response and its inverse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.simulate.detectors import detector, region
from jwcal.simulate.pixels import delinearise, linearise, pixels
from jwcal.simulate.scene import make_scene, point_spread


@pytest.mark.parametrize("name", ["NRCA1", "NIS", "MIRIMAGE"])
def test_a_subarray_shows_the_pixels_of_the_detector(name):
    det = detector(name)
    large = region(det, shape=(200, 180), corner=(3, 40))
    small = region(det, shape=(70, 90), corner=(50, 100))
    cut = slice(60, 130), slice(47, 137)
    a, b = pixels(large, 5), pixels(small, 5)
    for plane in (
        "reference",
        "dead",
        "hot",
        "gain",
        "read_noise",
        "efficiency",
        "dark",
        "bias",
        "full_well",
    ):
        assert np.array_equal(getattr(a, plane)[cut], getattr(b, plane)), plane
    assert np.array_equal(a.coefficients[(slice(None), *cut)], b.coefficients)
    assert not np.array_equal(pixels(small, 6).gain, b.gain)


def test_the_sky_does_not_depend_on_the_subarray():
    det = detector("NRCA1")
    large = make_scene(region(det, shape=(300, 300), corner=(1, 1)), "field", seed=3)
    small = make_scene(region(det, shape=(40, 60), corner=(101, 201)), "field", seed=3)
    # A star outside both may reach into the larger one only by its far wings.
    np.testing.assert_allclose(small.rate, large.rate[200:240, 100:160], rtol=0.02)
    assert small.stars.size <= large.stars.size


@pytest.mark.parametrize(
    ("kind", "axis"),
    [("field", "x"), ("star", "x"), ("trace", "x"), ("trace", "y"), ("spectra", "x"), ("slices", "y")],
)
@pytest.mark.parametrize("shape", [(1, 1), (7, 200), (200, 7), (64, 64)])
def test_scenes_are_finite_and_not_negative(kind, axis, shape):
    scene = make_scene(region(detector("NRCA1"), shape=shape), kind, axis)
    assert scene.rate.shape == shape
    assert scene.rate.dtype == np.float32
    assert np.isfinite(scene.rate).all()
    assert (scene.rate >= 0).all()


def test_point_spread_is_normalised_and_centred():
    psf = point_spread(2e-6, 0.031)
    assert psf.sum() == pytest.approx(1, abs=1e-3)
    rows = np.arange(psf.shape[0])
    assert (psf.sum(axis=0) * rows).sum() == pytest.approx(psf.shape[0] // 2, abs=0.05)


@given(level=st.floats(0, 60000), seed=st.integers(0, 20))
@settings(max_examples=50, deadline=None)
def test_delinearise_is_the_inverse(level, seed):
    p = pixels(region(detector("NRCB1"), shape=(16, 16), corner=(200, 200)), seed)
    limit = linearise(p.full_well, p.coefficients)
    linear = np.full((16, 16), level, np.float32)
    measured = delinearise(linear, p.coefficients, limit)
    expected = np.minimum(linear, limit)
    np.testing.assert_allclose(linearise(measured, p.coefficients), expected, atol=0.05)
    assert (measured <= p.full_well + 0.05).all()

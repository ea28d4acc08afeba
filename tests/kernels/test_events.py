"""Median differences and ring means: values, and equal bits of C and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwcal.kernels import events


@given(
    arrays(np.float32, (2, 4, 3, 5), elements=st.floats(-1e4, 1e4, width=32) | st.just(np.float32(np.nan))),
    arrays(np.uint8, (2, 4, 3, 5), elements=st.sampled_from([0, 0, 0, 1, 2, 4, 5, 34, 255])),
    arrays(np.float32, (3, 5), elements=st.floats(0.5, 4, width=32) | st.just(np.float32(np.nan))),
)
@settings(max_examples=80, deadline=None)
def test_median_of_usable_differences(sci, gdq, gain):
    got = events.median_differences(sci, gdq, gain)
    np.testing.assert_array_equal(got, events.median_differences_numpy(sci, gdq, gain))
    steps = events.differences(sci, gdq, gain)
    with (
        np.errstate(all="ignore"),
        pytest.warns(RuntimeWarning) if np.isnan(steps).all((0, 1)).any() else _quiet(),
    ):
        want = np.nanmedian(steps, axis=(0, 1))
    np.testing.assert_array_equal(got, want)


class _quiet:  # noqa: N801
    def __enter__(self):
        return self

    def __exit__(self, *args):
        return False


def test_many_differences_take_the_narrow_path():
    rng = np.random.default_rng(1)
    sci = rng.normal(0, 100, (5, 30, 3, 7)).astype(np.float32)
    gdq = rng.choice([0, 0, 4], sci.shape).astype(np.uint8)
    gain = np.full((3, 7), 2, np.float32)
    np.testing.assert_array_equal(
        events.median_differences(sci, gdq, gain), events.median_differences_numpy(sci, gdq, gain)
    )


def test_ring_is_that_of_the_astropy_kernel():
    kernels = pytest.importorskip("astropy.convolution")
    for inner, width in ((1.0, 2.6), (2.0, 1.5), (0.0, 1.0)):
        kernel = kernels.Ring2DKernel(inner, width).array
        half = kernel.shape[0] // 2
        want = {(y - half, x - half) for y, x in np.argwhere(kernel > 0)}
        assert {tuple(o) for o in events.ring_offsets(inner, inner + width)} == want


@given(
    arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 20)),
           elements=st.floats(0, 5, width=32) | st.sampled_from([np.float32(np.nan), np.float32(np.inf)])),
    st.floats(0.1, 3),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_ring_means(value, limit):
    offsets = events.ring_offsets(1.0, 3.6)
    got = events.ring_exceeds(value, offsets, limit)
    np.testing.assert_array_equal(got, events.ring_exceeds_numpy(value, offsets, limit))
    assert not got[~np.isfinite(value)].any()
    ny, nx = value.shape
    y, x = ny // 2, nx // 2
    inside = [(y + a, x + b) for a, b in offsets if 0 <= y + a < ny and 0 <= x + b < nx]
    seen = [float(value[p]) for p in inside if np.isfinite(value[p])]
    absent = len(inside) - len(seen)
    if np.isfinite(value[y, x]) and len(offsets) > absent:
        assert got[y, x] == (sum(seen) / (len(offsets) - absent) > limit)


def test_layouts_are_checked():
    with pytest.raises(ValueError, match="gdq"):
        events.median_differences(
            np.zeros((1, 3, 2, 2), np.float32), np.zeros((1, 2, 2, 2), np.uint8), np.ones((2, 2), np.float32)
        )

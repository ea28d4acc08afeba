"""Regions, median differences and ring means: values, and equal bits of C and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwcal.kernels import events

FLAGS = arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 40)), elements=st.sampled_from([0, 0, 1, 4, 5])
)


def test_diagonal_neighbours_are_one_region():
    flags = np.zeros((5, 30), np.uint8)
    flags[0, 3] = flags[1, 4] = flags[2, 3] = flags[4, 29] = flags[0, 20:25] = 4
    runs = events.label_runs(flags, 4)
    assert [tuple(r) for r in runs] == [
        (0, 3, 4, 0),
        (0, 20, 25, 1),
        (1, 4, 5, 0),
        (2, 3, 4, 0),
        (4, 29, 30, 2),
    ]
    assert events.label_runs(flags, 2).size == 0


def test_pixels_to_leave_out():
    flags = np.full((1, 5), 2, np.uint8)
    without = np.array([[0, 2, 1, 0, 3]], np.uint8)
    assert [tuple(r) for r in events.label_runs(flags, 2, without)] == [(0, 0, 1, 0), (0, 2, 4, 1)]


@given(FLAGS, FLAGS)
@settings(max_examples=150, deadline=None)
def test_regions_are_connected_and_alike_in_both(flags, other):
    without = None if other.shape != flags.shape else other
    runs = events.label_runs(flags, 4, without)
    np.testing.assert_array_equal(runs, events.label_runs_numpy(flags, 4, without))
    label = np.zeros(flags.shape, int)
    for row, first, last, k in runs:
        label[row, first:last] = k + 1
    wanted = (flags & 4) != 0
    if without is not None:
        wanted &= (without & 4) == 0
    np.testing.assert_array_equal(label > 0, wanted)
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = label[: label.shape[0] - dy, max(-dx, 0) : label.shape[1] - max(dx, 0)]
        b = label[dy:, max(dx, 0) : label.shape[1] + min(dx, 0)]
        both = (a > 0) & (b > 0)
        np.testing.assert_array_equal(a[both], b[both])
    order = list(dict.fromkeys(runs["label"].tolist()))
    assert order == sorted(order)


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
    with pytest.raises(ValueError, match="flags"):
        events.label_runs(np.zeros((4, 4), np.uint16), 1)
    with pytest.raises(ValueError, match="gdq"):
        events.median_differences(
            np.zeros((1, 3, 2, 2), np.float32), np.zeros((1, 2, 2, 2), np.uint8), np.ones((2, 2), np.float32)
        )

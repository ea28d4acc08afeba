"""Runs, regions and ellipses: values, and equal bits of C and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwcal.kernels import regions

FLAGS = arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 40)), elements=st.sampled_from([0, 0, 1, 4, 5])
)


def image_of(runs, shape):
    out = np.zeros(shape, int)
    for row, first, last in runs:
        out[row, first:last] += 1
    return out


def label_of(flags, mask):
    """Number of the region of every pixel, from 1, and what `find_regions` tells of all regions."""
    found, places = regions.find_regions(regions.find_runs(flags, mask), 0)
    label = np.zeros(flags.shape, int)
    for k, region in enumerate(found, 1):
        part = places[region["first"] : region["first"] + region["runs"]]
        label[region["top"] :, region["left"] :] += k * image_of(
            part, (flags.shape[0] - region["top"], flags.shape[1] - region["left"])
        )
    return label, found


def test_diagonal_neighbours_are_one_region():
    flags = np.zeros((5, 30), np.uint8)
    flags[0, 3] = flags[1, 4] = flags[2, 3] = flags[4, 29] = flags[0, 20:25] = 4
    runs = regions.find_runs(flags, 4)
    assert [tuple(r) for r in runs] == [(0, 3, 4), (0, 20, 25), (1, 4, 5), (2, 3, 4), (4, 29, 30)]
    found, places = regions.find_regions(runs, 2)
    assert [tuple(r) for r in found] == [(0, 3, 3, 5, 0, 3, 3, 3, 1), (0, 20, 1, 25, 3, 1, 5, 0, 10)]
    assert [tuple(r) for r in places] == [(0, 0, 1), (1, 1, 2), (2, 0, 1), (0, 0, 5), (0, 0, 1)]
    assert regions.find_runs(flags, 2).size == 0
    assert regions.find_regions(regions.find_runs(flags, 2), 1)[0].size == 0


def test_pixels_to_leave_out():
    flags = np.full((1, 5), 2, np.uint8)
    without = np.array([[0, 2, 1, 0, 3]], np.uint8)
    assert [tuple(r) for r in regions.find_runs(flags, 2, without)] == [(0, 0, 1), (0, 2, 4)]


def test_wide_images_are_searched_in_words():
    rng = np.random.default_rng(2)
    flags = np.where(rng.random((7, 333)) < 0.03, 4, 0).astype(np.uint8)
    without = np.where(rng.random((7, 333)) < 0.5, flags, 1).astype(np.uint8)
    for other in (None, without):
        np.testing.assert_array_equal(
            regions.find_runs(flags, 4, other), regions.find_runs_numpy(flags, 4, other)
        )


def test_more_runs_than_there_is_room_for_at_first():
    flags = np.tile(np.array([4, 0], np.uint8), (100, 60))
    runs = regions.find_runs(flags, 4)
    assert runs.size == 6000 > regions.ROOM
    np.testing.assert_array_equal(runs, regions.find_runs_numpy(flags, 4))


@given(FLAGS, FLAGS)
@settings(max_examples=100, deadline=None)
def test_runs_are_alike_in_both(flags, other):
    without = None if other.shape != flags.shape else other
    runs = regions.find_runs(flags, 4, without)
    np.testing.assert_array_equal(runs, regions.find_runs_numpy(flags, 4, without))
    wanted = (flags & 4) != 0
    if without is not None:
        wanted &= (without & 4) == 0
    np.testing.assert_array_equal(image_of(runs, flags.shape), wanted)


@given(FLAGS, st.data())
@settings(max_examples=100, deadline=None)
def test_runs_are_kept_and_cleared_pixel_by_pixel(flags, data):
    runs = regions.find_runs(flags, 4)
    later = flags & data.draw(arrays(np.uint8, flags.shape, elements=st.sampled_from([0, 255])))
    kept = regions.keep_runs(runs, later, 4, None)
    np.testing.assert_array_equal(kept, regions.find_runs_numpy(later, 4))
    np.testing.assert_array_equal(kept, regions.keep_runs_numpy(runs, later, 4, None))
    without = regions.keep_runs(runs, flags, 4, later)
    np.testing.assert_array_equal(without, regions.find_runs_numpy(flags, 4, later))
    touched = data.draw(arrays(bool, flags.shape))
    got, twin = flags.copy(), flags.copy()
    regions.clear_runs(runs, got, 4, touched)
    regions.clear_runs_numpy(runs, twin, 4, touched)
    np.testing.assert_array_equal(got, np.where(touched, flags, flags & 0xFB))
    np.testing.assert_array_equal(got, twin)


@given(FLAGS)
@settings(max_examples=100, deadline=None)
def test_regions_are_connected(flags):
    label, found = label_of(flags, 4)
    np.testing.assert_array_equal(label > 0, (flags & 4) != 0)
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = label[: label.shape[0] - dy, max(-dx, 0) : label.shape[1] - max(dx, 0)]
        b = label[dy:, max(dx, 0) : label.shape[1] + min(dx, 0)]
        both = (a > 0) & (b > 0)
        np.testing.assert_array_equal(a[both], b[both])
    order = list(dict.fromkeys(label[label > 0].tolist()))
    assert order == sorted(order)
    for k, region in enumerate(found, 1):
        y, x = np.nonzero(label == k)
        assert (y.min(), x.min(), y.max() + 1, x.max() + 1) == tuple(region)[:4]
        sums = y.size, (y - y.min()).sum(), (x - x.min()).sum()
        assert sums == (region["area"], region["rows"], region["columns"])


@given(FLAGS, st.floats(0, 40))
@settings(max_examples=150, deadline=None)
def test_large_regions_are_alike_in_both(flags, least):
    runs = regions.find_runs((flags > 0).astype(np.uint8), 1)
    for got, want in zip(
        regions.find_regions(runs, least), regions.find_regions_numpy(runs, least), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_holes_count_but_not_what_leaves_by_a_corner():
    flags = np.ones((5, 12), np.uint8)
    flags[1:4, 1:4] = 0
    flags[:, 5:7] = 0
    flags[1:4, 8:11] = 0
    flags[0, 7] = 0
    runs = regions.find_runs(flags, 1)
    found, _ = regions.find_regions(runs, 25)
    assert found["left"].tolist() == [0]
    assert regions.find_regions(runs, 16)[0]["left"].tolist() == [0]
    assert regions.find_regions(runs, 15)[0]["left"].tolist() == [0, 7]


@given(
    st.integers(-3, 12), st.integers(-3, 18), st.integers(-3, 9).filter(bool), st.floats(0.5, 9), st.floats(0, np.pi)
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_ellipses(y, x, along, across, angle):
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    got, twin = np.zeros((10, 15), bool), np.zeros((10, 15), bool)
    args = (y, x), (along, across), (cos, sin)
    regions.ellipse_inside(got, *args)
    regions.ellipse_inside_numpy(twin, *args)
    np.testing.assert_array_equal(got, twin)
    rows, columns = np.mgrid[:10, :15]
    dy, dx = rows - y, columns - x
    far = ((dy * cos + dx * sin) / along) ** 2 + ((dy * sin - dx * cos) / across) ** 2
    assert not got[far > 1 + 1e-9].any()
    if along > 0:
        assert got[far < 1 - 1e-9].all()


def test_layouts_are_checked():
    with pytest.raises(ValueError, match="flags"):
        regions.find_runs(np.zeros((4, 4), np.uint16), 1)
    with pytest.raises(ValueError, match="runs"):
        regions.find_regions(np.zeros(4, np.int32), 1)
    with pytest.raises(ValueError, match="inside"):
        regions.ellipse_inside(np.zeros((3, 3), np.int64), (1, 1), (1.0, 1.0), (1.0, 0.0))

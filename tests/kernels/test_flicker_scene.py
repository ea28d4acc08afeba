"""Kernels of the flicker noise against the mean scene: compiled and NumPy versions, bit for bit."""

import numpy as np
import pytest

from jwcal.kernels import flicker_scene as kernel

SHAPES = [(24, 32), (37, 50), (8, 7), (70, 128)]


def same(a, b):
    kind = np.uint64 if a.dtype.itemsize == 8 else np.uint32
    return a.dtype == b.dtype and np.array_equal(a.view(kind), b.view(kind))


def frame(shape, seed=0):
    """Image with a source, a bad pixel, and a mask that leaves some cells empty."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = (rng.normal(0, 1, shape) + 0.1 * y + 30 * np.exp(-((y - 5) ** 2 + (x - 4) ** 2) / 8)).astype("f4")
    image[3, 2], image[1, 1] = np.nan, 0
    use = (np.isfinite(image) & (image != 0) & (rng.random(shape) < 0.9)).astype(np.uint8)
    use[:8, -8:] = 0
    hide = (rng.random(kernel.cells_of(shape, kernel.BOX)) < 0.1).astype(np.uint8)
    return image, use, hide


def background(shape, seed=0):
    rng = np.random.default_rng(seed)
    cells = rng.normal(3, 1, kernel.cells_of(shape, 8)).astype(np.float32)
    noise = rng.uniform(0.5, 1.5, kernel.cells_of(shape, 32)).astype(np.float32)
    return kernel.Field(cells, noise, 8, 32)


def ramp_of(shape, axis):
    rng = np.random.default_rng(3)
    lines = rng.normal(0, 20, (*shape[:2], shape[2], 1) if axis else (*shape[:2], 1, shape[3]))
    scene = rng.gamma(1, 300, shape[2:])
    steps = np.arange(shape[1])[None, :, None, None]
    return (scene * steps + lines + rng.normal(0, 5, shape)).astype(np.float32), rng


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    "shape", [(1, 2, 6, 8), (2, 6, 24, 36), (1, 9, 12, 20), (1, 5, 12, 600), (1, 3, 300, 4)]
)
def test_line_scene(axis, parts, shape):
    ramp, rng = ramp_of(shape, axis)
    flags = np.where(rng.random(shape) < 0.05, rng.integers(0, 8, shape), 0).astype(np.uint8)
    ramp[0, 1, 2, 3] = np.nan
    flags[:, :, 4, 2] = 1
    # So few pixels are left of the sample that all are taken.
    flags[:, :, 5, ::2] |= 2
    weight = rng.random(shape[0] * (shape[1] - 1))
    weight[-1] *= len(weight) == 1
    a = kernel.line_scene(ramp, flags, weight, axis, parts)
    b = kernel.scene_arrays(shape, axis, parts)
    kernel.line_scene_numpy(ramp, flags, weight, axis, parts, 10.0, (0, shape[3 - axis]), b)
    for mine, twin in zip(a, b, strict=True):
        assert same(mine, twin)
    assert np.isnan(a[0][4, 2])


def test_line_scene_finds_the_offsets():
    rng = np.random.default_rng(4)
    offsets = rng.normal(0, 20, (1, 8, 16, 1))
    scene = rng.gamma(1, 300, (16, 400))
    steps = np.arange(8)[None, :, None, None]
    ramp = (scene * steps + offsets + rng.normal(0, 3, (1, 8, 16, 400))).astype("f4")
    weight = np.ones(7)
    found, offset, sigma, count = kernel.line_scene(ramp, np.zeros(ramp.shape, np.uint8), weight, 1)
    true = np.diff(offsets[0, :, :, 0], axis=0).T
    assert np.abs(offset[:, 0] - (true - true.mean(axis=1)[:, None])).max() < 1.5
    assert np.median(sigma) == pytest.approx(3 * np.sqrt(2), rel=0.1)
    assert count.min() > 40
    assert np.abs(found - scene - true.mean(axis=1)[:, None]).std() < 2


@pytest.mark.parametrize("shape", SHAPES)
def test_cells(shape):
    image, use, hide = frame(shape)
    parts = 2 if shape[1] % 16 == 0 else 1
    shift = np.random.default_rng(1).normal(0, 1, (shape[0], parts)).astype(np.float32)
    size = 8
    a = kernel.cell_medians(image, use, hide, shift, size)
    b = np.empty_like(a)
    kernel.cell_medians_numpy(image, use, hide, shift, size, (0, len(b)), b)
    assert same(a, b)
    noise = kernel.cell_noise(image, use, 16)
    twin = np.empty_like(noise)
    kernel.cell_noise_numpy(image, use, 16, (0, len(twin)), twin)
    assert same(noise, twin)
    if min(shape) > 16:
        assert np.isnan(a[0, -1])
        assert np.nanmedian(noise) == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("shape", SHAPES)
def test_scene_rest(shape):
    image, use, hide = frame(shape)
    parts = 2 if shape[1] % 16 == 0 else 1
    field = background(shape)
    found = []
    for function in (kernel.scene_rest, kernel.scene_rest_numpy):
        left, shift = use.copy(), np.zeros((shape[0], parts), np.float32)
        out = np.zeros(hide.shape, np.int32), np.zeros(hide.shape, np.float32)
        for rows in ((0, 8), (8, shape[0])):
            function(image, left, hide, field, 2.0, 3.0, shift, rows, out)
        found.append((left, shift, *out))
    for a, b in zip(*found, strict=True):
        assert np.array_equal(a, b)
    assert same(found[0][1], found[1][1])
    assert same(found[0][3], found[1][3])
    left, shift, number, _ = found[0]
    assert np.abs(shift).max() <= 2
    assert number.sum() == left.sum()
    assert not left[~np.isfinite(image) | (image == 0)].any()


@pytest.mark.parametrize("shape", SHAPES)
def test_segment_means(shape):
    image, use, hide = frame(shape)
    parts = 2 if shape[1] % 16 == 0 else 1
    field = background(shape)
    width = min(16, shape[1] // parts)
    a = kernel.segment_means(image, use, hide, field, parts, width)
    b = tuple(np.empty_like(array) for array in a)
    kernel.segment_means_numpy(image, use, hide, field, parts, width, (0, shape[0]), b)
    for mine, twin in zip(a, b, strict=True):
        assert same(mine, twin)


def test_segments_do_not_depend_on_what_is_masked():
    shape = (16, 64)
    slope = np.tile(np.arange(64, dtype=np.float32), (16, 1))
    cells = np.tile(np.arange(8, dtype=np.float32) * 8 + 3.5, (2, 1))
    field = kernel.Field(cells, np.ones((1, 2), np.float32), 8, 32)
    use = np.ones(shape, np.uint8)
    use[3, :20] = 0
    mean, weight = kernel.segment_means(slope, use, np.zeros((4, 16), np.uint8), field, 1, 64)
    assert mean == pytest.approx(31.5, abs=1e-4)
    assert weight[3, 0] == pytest.approx(44)


@pytest.mark.parametrize("shape", [(3, 1), (7, 3), (64, 5)])
def test_spline(shape):
    rng = np.random.default_rng(2)
    weight, stiff = rng.uniform(0.1, 2, shape), rng.uniform(0.1, 50, shape)
    values = rng.normal(size=shape)
    a = kernel.spline(weight, stiff)
    b = kernel.Spline(*(np.empty(shape) for _ in range(3)))
    kernel.spline_numpy(weight, stiff, b)
    for name in ("pivot", "first", "second"):
        assert same(getattr(a, name), getattr(b, name))
    solved = a.solve(values)
    assert same(solved, kernel.spline_solve_numpy(b, values.copy()))
    differences = np.diff(np.eye(shape[0]), 2, axis=0)
    for k in range(shape[1]):
        matrix = np.diag(weight[:, k]) + differences.T @ (stiff[1:-1, k, None] * differences)
        assert solved[:, k] == pytest.approx(np.linalg.solve(matrix, values[:, k]), abs=1e-9)


def test_layouts_are_checked():
    image, use, hide = frame((24, 32))
    with pytest.raises(ValueError, match="hide"):
        kernel.cell_medians(image, use, hide[:-1], np.zeros((24, 1), np.float32), 8)
    with pytest.raises(ValueError, match="use"):
        kernel.cell_noise(image, use.astype(bool), 32)
    with pytest.raises(ValueError, match="parts"):
        kernel.cell_medians(image, use, hide, np.zeros((24, 3), np.float32), 8)
    with pytest.raises(ValueError, match="cells"):
        kernel.segment_means(image, use, hide, background((48, 32)), 1, 16)

"""Reference-pixel kernels: C against the NumPy twins bit for bit, and both against plain SciPy and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.kernels import refpix
from jwcal.kernels._lib import native, use_native

needs_native = pytest.mark.skipif(native() is None, reason="compiled kernels are not built")


@pytest.fixture(params=["native", "numpy"])
def backend(request):
    """Run a test with the C kernels and with the NumPy twins."""
    wanted = request.param == "native"
    have = use_native(wanted)
    if wanted and not have:
        use_native(True)
        pytest.skip("compiled kernels are not built")
    yield request.param
    use_native(True)


def same(a, b):
    """Whether two arrays hold the same bits, any NaN equal to any other."""
    view = f"u{a.dtype.itemsize}"
    return a.shape == b.shape and bool(((a.view(view) == b.view(view)) | (np.isnan(a) & np.isnan(b))).all())


def noisy(rng, shape, outliers=0.02):
    values = rng.normal(100, 5, shape)
    values[rng.random(shape) < outliers] += 500
    return values.astype(np.float32)


def sets_of(rng, npixel, sizes):
    index = np.concatenate([rng.permutation(npixel)[:n] for n in sizes] or [[]]).astype(np.int32)
    return index, np.concatenate(([0], np.cumsum(sizes))).astype(np.intp)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("limit", [3.0, 1.5])
def test_clipped_mean_is_that_of_scipy(backend, single, limit):
    from scipy.stats import sigmaclip

    rng = np.random.default_rng(1)
    values = noisy(rng, (3, 3000))
    index, bounds = sets_of(rng, 3000, [1, 2, 7, 8, 9, 127, 128, 129, 1024, 3000])
    means, uniform = refpix.clipped_means(values, index, bounds, limit, np.full(3, single, np.uint8))
    dtype = np.float32 if single else np.float64
    for g in range(3):
        for s in range(len(bounds) - 1):
            sample = values[g, index[bounds[s] : bounds[s + 1]]].astype(dtype)
            assert means[g, s] == sigmaclip(sample, limit, limit)[0].mean()
    assert uniform[:, 0].all()
    assert not uniform[:, 1:].any()


def test_clipped_mean_without_values_and_with_equal_values(backend):
    values = np.full((1, 30), np.nan, np.float32)
    values[0, 10:20] = 0.1
    index, bounds = np.arange(30, dtype=np.int32), np.array([0, 10, 20, 20, 30], np.intp)
    means, uniform = refpix.clipped_means(values, index, bounds, 3.0, np.ones(1, np.uint8))
    assert np.isnan(means[0, [0, 2, 3]]).all()
    assert means[0, 1] == np.float32(0.1)
    assert uniform.tolist() == [[0, 1, 0, 0]]


def test_clipping_never_removes_everything(backend):
    values = np.array([[1, 3]], np.float32)
    index, bounds = np.arange(2, dtype=np.int32), np.array([0, 2], np.intp)
    means, _ = refpix.clipped_means(values, index, bounds, 0.5, np.zeros(1, np.uint8))
    assert means[0, 0] == 2


@needs_native
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=5),
    nan=st.sampled_from([0.0, 0.1, 1.0]),
    spread=st.sampled_from([0.0, 1e-3, 10.0, 1e30]),
    limit=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_clipped_means_native_is_twin(seed, sizes, nan, spread, limit):
    rng = np.random.default_rng(seed)
    values = (1000 + spread * rng.standard_t(2, (4, 320))).astype(np.float32)[:, :301]
    values[rng.random(values.shape) < nan] = np.nan
    index, bounds = sets_of(rng, 301, sizes)
    single = np.array([0, 1, 1, 0], np.uint8)
    args = values, index, bounds, limit, single
    for a, b in zip(refpix.clipped_means(*args), refpix.clipped_means_numpy(*args), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("length", [1, 3, 10, 11, 40])
def test_running_median_of_a_reflected_column(backend, length):
    rng = np.random.default_rng(2)
    values = rng.normal(0, 5, (2, 50, 4))
    got = refpix.running_median(values, np.ones((50, 4), np.uint8), length, np.zeros(2, np.uint8))
    pad = np.pad(values, ((0, 0), (length, length), (0, 0)), mode="reflect")
    for i in range(50):
        start = i + length - length // 2
        np.testing.assert_array_equal(
            got[:, i], np.median(pad[:, start : start + length].reshape(2, -1), axis=1)
        )


def test_running_median_leaves_out_bad_pixels_and_missing_rows(backend):
    values = np.arange(40.0).reshape(1, 10, 4)
    good = np.ones((10, 4), np.uint8)
    good[4:] = 0
    values[0, 1] = np.nan
    got = refpix.running_median(values, good, 3, np.zeros(1, np.uint8), first=5, total=20)[0]
    assert got[0] == np.median(values[0, 0])
    assert got[2] == np.median(values[0, 2:4])
    assert got[4] == np.median(values[0, 3])
    assert np.isnan(got[5:]).all()


@needs_native
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    nrow=st.integers(1, 40),
    ends=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    length=st.integers(1, 25),
    bad=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_running_median_native_is_twin(seed, nrow, ends, length, bad):
    rng = np.random.default_rng(seed)
    total = ends[0] + nrow + ends[1]
    values = np.round(rng.normal(0, 3, (3, nrow, 4)), 1) + 1e6
    values[rng.random(values.shape) < 0.05] = np.nan
    good = (rng.random((nrow, 4)) >= bad).astype(np.uint8)
    args = values, good, min(length, 2 * total - 1), np.array([1, 0, 1], np.uint8), ends[0], total
    np.testing.assert_array_equal(refpix.running_median(*args), refpix.running_median_numpy(*args))


@pytest.mark.parametrize("x_first", [True, False])
def test_profiles_are_subtracted_in_order_with_rounding(backend, x_first):
    rng = np.random.default_rng(3)
    sci = noisy(rng, (2, 6, 70))
    along_x, along_y = rng.normal(0, 1e3, (2, 70)), rng.normal(0, 1e3, (2, 6))
    want = []
    for g in range(2):
        first, second = along_x[g][None, :], along_y[g][:, None]
        if not x_first:
            first, second = second, first
        step = sci[g] - first
        want.append(((np.float32(step) if g == 0 else step) - second).astype(np.float32))
    refpix.subtract_profiles(sci, along_x, along_y, np.array([1, 0], np.uint8), x_first=x_first)
    assert same(sci, np.stack(want))


def test_zeros_of_a_zero_frame_stay(backend):
    sci = np.array([[[0, 5, np.nan, -0.0]]], np.float32)
    refpix.subtract_profiles(
        sci, np.ones((1, 4)), np.ones((1, 1)), np.zeros(1, np.uint8), x_first=True, keep_zero=True
    )
    np.testing.assert_array_equal(sci[0, 0], [0, 3, np.nan, 0])


@needs_native
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 70)),
    x_first=st.booleans(),
    keep_zero=st.booleans(),
    special=st.sampled_from([0.0, np.nan, np.inf, 3e38]),
)
def test_subtractions_native_is_twin(seed, shape, x_first, keep_zero, special):
    rng = np.random.default_rng(seed)
    ngroup, ny, nx = shape
    sci = rng.normal(1000, 300, (ngroup + 1, ny + 2, nx)).astype(np.float32)[:ngroup, 1 : ny + 1]
    sci[rng.random(shape) < 0.1] = special
    x, y = rng.normal(0, 10, (ngroup, nx + 3))[:, 2 : nx + 2], rng.normal(0, 10, (ngroup, ny + 1))[:, 1:]
    rounded = rng.integers(0, 2, ngroup).astype(np.uint8)
    got, want = np.array(sci), np.array(sci)
    refpix.subtract_profiles(got, x, y, rounded, x_first=x_first, keep_zero=keep_zero)
    refpix.subtract_profiles_numpy(want, x, y, rounded, x_first=x_first, keep_zero=keep_zero)
    assert same(got, want)
    drift = rng.normal(0, 10, (ngroup, 2, nx + 2))[:, :, 1 : nx + 1]
    got, want = np.array(sci), np.array(sci)
    refpix.subtract_row_parity(got, drift, 3)
    refpix.subtract_row_parity_numpy(want, drift, 3)
    assert same(got, want)


def test_row_parity_keeps_the_first_group_and_takes_the_drift_off(backend):
    drift = np.zeros((3, 2, 5))
    drift[1:, 0], drift[1:, 1] = [[4], [8]], [[-2], [-4]]
    base = np.arange(20, dtype=np.float32).reshape(4, 5)
    sci = np.stack([base + drift[g, (np.arange(4) + 1) % 2].astype(np.float32) for g in range(3)])
    refpix.subtract_row_parity(sci, drift, y0=1)
    for group in sci:
        np.testing.assert_array_equal(group, base)


def test_layouts_are_checked():
    values, ones = np.zeros((1, 8), np.float32), np.ones(1, np.uint8)
    index, bounds = np.arange(8, dtype=np.int32), np.array([0, 8], np.intp)
    with pytest.raises(ValueError, match="outside"):
        refpix.clipped_means(values, index + 1, bounds, 3.0, ones)
    with pytest.raises(ValueError, match="bounds"):
        refpix.clipped_means(values, index, bounds + 1, 3.0, ones)
    with pytest.raises(ValueError, match="float32"):
        refpix.clipped_means(values.astype(float), index, bounds, 3.0, ones)
    with pytest.raises(ValueError, match="window"):
        refpix.running_median(np.zeros((1, 4, 4)), np.ones((4, 4), np.uint8), 8, ones)
    sci = np.zeros((1, 4, 6), np.float32)
    with pytest.raises(ValueError, match="contiguous rows"):
        refpix.subtract_profiles(sci[:, :, ::2], np.zeros((1, 3)), np.zeros((1, 4)), ones, x_first=True)
    with pytest.raises(ValueError, match="along_x"):
        refpix.subtract_profiles(sci, np.zeros((1, 5)), np.zeros((1, 4)), ones, x_first=True)
    with pytest.raises(ValueError, match="drift"):
        refpix.subtract_row_parity(sci, np.zeros((1, 2, 5)))

"""Ramp fit: C against the NumPy twin, bit for bit, and slopes and variances known beforehand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.kernels._lib import native
from jwcal.kernels.ramp import RampTiming, fit_ramps, fit_ramps_numpy, fit_segments, weight_table

needs_native = pytest.mark.skipif(native() is None, reason="compiled kernels are not built")
DNU, SAT, JUMP, PERS, LOSS = 1, 2, 4, 32, 128
TIMING = RampTiming(group_time=10.0, frame_time=2.5)
BOTH = pytest.mark.parametrize("function", [fit_ramps, fit_ramps_numpy])


def noisy(seed, shape, flags=0.1, *, loss=False):
    """Ramps of every brightness with every flag, and references with odd values."""
    rng = np.random.default_rng(seed)
    nint, ngroup, ny, nx = shape
    rate = rng.lognormal(2, 3, (ny, nx)) * rng.choice([1, 1, 1, -1], (ny, nx))
    sci = np.cumsum(np.broadcast_to(rate, shape), axis=1) + rng.normal(0, 5, shape)
    gdq = rng.choice(np.array([JUMP, DNU, PERS, JUMP | PERS, JUMP | DNU], np.uint8), shape)
    gdq[rng.random(shape) > flags] = 0
    full = rng.integers(0, 3 * ngroup + 1, (nint, 1, ny, nx))
    groups = np.arange(ngroup)[:, None, None]
    gdq[groups >= full] |= SAT
    if loss:
        gdq[groups >= rng.integers(1, 2 * ngroup + 1, (nint, 1, ny, nx))] |= LOSS | DNU
    sci = sci.astype(np.float32)
    sci[rng.random(shape) < 0.01] = np.nan
    gain = rng.uniform(1.5, 2.2, (ny, nx)).astype(np.float32)
    rnoise = rng.uniform(8, 12, (ny, nx)).astype(np.float32)
    for array, values in ((gain, (np.nan, 0, -1)), (rnoise, (0, np.nan, 1e9))):
        spots = rng.integers(0, ny * nx, len(values) if ny * nx > 20 else 0)
        array.flat[spots] = values[: len(spots)]
    pdq = rng.choice(np.array([0] * 20 + [1, 2, 1 << 11], np.uint32), (ny, nx))
    zero = rng.normal(3, 2, (nint, ny, nx)).astype(np.float32)
    zero[rng.random(zero.shape) < 0.3] = 0
    dark = rng.uniform(0, 0.1, (ny, nx)).astype(np.float32)
    return (sci, gdq, pdq, gain, rnoise), dark, zero


def assert_same(got, want):
    for mine, theirs in zip(got, want, strict=True):
        assert mine.keys() == theirs.keys()
        for name, plane in mine.items():
            assert plane.dtype == theirs[name].dtype
            np.testing.assert_array_equal(plane, theirs[name], err_msg=name)
            if plane.dtype.kind == "f":
                number = ~np.isnan(plane)
                np.testing.assert_array_equal(
                    np.signbit(plane[number]), np.signbit(theirs[name][number]), err_msg=name
                )


@needs_native
@pytest.mark.parametrize("loss", [False, True])
@pytest.mark.parametrize("suppress", [False, True])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 3, 5), (2, 2, 1, 1), (1, 3, 5, 13), (3, 5, 4, 17), (1, 10, 2, 64), (2, 30, 3, 50), (2, 70, 2, 9)],
)
def test_native_is_twin(shape, suppress, loss):
    arrays, dark, zero = noisy(shape[1], shape, loss=loss)
    before = [a.copy() for a in arrays]
    timing = RampTiming(10.73676, 2.68419, nframes=4, suppress_one_group=suppress and shape[1] > 1)
    for extra in ((None, None), (dark, zero)):
        assert_same(fit_ramps(*arrays, timing, *extra), fit_ramps_numpy(*arrays, timing, *extra))
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


@needs_native
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1 << 30), st.integers(1, 3), st.integers(1, 12), st.integers(1, 3), st.integers(1, 70),
    st.floats(0, 0.9), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_native_is_twin_anywhere(seed, nint, ngroup, ny, nx, flags, suppress, unjump, loss):
    arrays, dark, zero = noisy(seed, (nint, ngroup, ny, nx), flags, loss=loss)
    timing = RampTiming(
        3.7, 1.2, 1 + seed % 5, suppress_one_group=suppress and ngroup > 1, unjump_first=unjump
    )
    assert_same(fit_ramps(*arrays, timing, dark, zero), fit_ramps_numpy(*arrays, timing, dark, zero))


@needs_native
def test_blocks_of_pixels_do_not_matter():
    """A pixel gives the same bits alone, in a row, and cut out of a larger buffer."""
    (sci, gdq, *rest), dark, zero = noisy(3, (2, 12, 3, 150))
    rate, ints = fit_ramps(sci, gdq, *rest, TIMING, dark, zero)
    for x in (0, 63, 64, 149):
        one = [np.ascontiguousarray(a[..., 1:2, x : x + 1]) for a in (sci, gdq, *rest)]
        extra = [np.ascontiguousarray(a[..., 1:2, x : x + 1]) for a in (dark, zero)]
        alone, alone_ints = fit_ramps(*one, TIMING, *extra)
        for name in rate:
            np.testing.assert_array_equal(alone[name][0, 0], rate[name][1, x])
            np.testing.assert_array_equal(alone_ints[name][:, 0, 0], ints[name][:, 1, x])
    wide = np.zeros((2, 15, 5, 150), np.float32)
    wide[:, 2:14, 1:4] = sci
    assert_same(fit_ramps(wide[:, 2:14, 1:4], gdq, *rest, TIMING, dark, zero), (rate, ints))


def straight(ngroup, slope=5.0, nint=1, gain=2.0, noise=10.0, npix=3):
    """Ramps of `slope` DN/s in groups of 10 s, without noise, with flags to be set by the test."""
    sci = np.broadcast_to((100 + 10.0 * slope * np.arange(ngroup))[:, None, None], (nint, ngroup, 1, npix))
    ones = np.ones((1, npix), np.float32)
    flags = np.zeros(sci.shape, np.uint8)
    return [sci.astype(np.float32), flags, np.zeros((1, npix), np.uint32), gain * ones, noise * ones]


def variances(n, slope=5.0, gain=2.0, noise=10.0):
    """Poisson and read variance of a segment of n groups of 10 s (DN/s)**2."""
    single = noise / np.sqrt(2)
    n = max(n, 2)
    return slope / (10 * gain * (n - 1)), 12 * single**2 / ((n**3 - n) * 100)


@BOTH
@pytest.mark.parametrize("slope", [0.0, 0.5, 5.0, 500.0, -3.0])
@pytest.mark.parametrize("ngroup", [2, 3, 10])
def test_straight_ramp(function, slope, ngroup):
    rate, ints = function(*straight(ngroup, slope, nint=2), TIMING)
    poisson, read = variances(ngroup, max(slope, 0))
    for planes, share in ((ints, 1), (rate, 2)):
        np.testing.assert_allclose(planes["SCI"], slope, rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(planes["VAR_POISSON"], poisson / share, rtol=1e-6)
        np.testing.assert_allclose(planes["VAR_RNOISE"], read / share, rtol=1e-6)
        np.testing.assert_allclose(planes["ERR"], np.sqrt((poisson + read) / share), rtol=1e-6)
        assert not planes["DQ"].any()


@BOTH
def test_jump_splits_and_read_noise_weighs(function):
    arrays = straight(10)
    arrays[0][0, 6:] += 1000
    arrays[1][0, 6] = JUMP
    rate, _ = function(*arrays, TIMING)
    read = 1 / (1 / variances(6)[1] + 1 / variances(4)[1])
    np.testing.assert_allclose(rate["SCI"], 5.0, rtol=1e-6)
    np.testing.assert_allclose(rate["VAR_RNOISE"], read, rtol=1e-6)
    assert (rate["DQ"] == JUMP).all()


@BOTH
def test_segments_of_one_group_count_only_alone(function):
    arrays = straight(7)
    sci, gdq, *_ = arrays
    gdq[0, :, 0, 0] = [0, DNU, 0, 0, 0, DNU, 0]
    sci[0, [0, 6], 0, 0] = 9e4
    gdq[0, :, 0, 1] = [DNU, DNU, 0, DNU, DNU, 0, DNU]
    rate, _ = function(*arrays, RampTiming(10.0, 2.5, suppress_one_group=False))
    np.testing.assert_allclose(rate["SCI"][0], [5, sci[0, 2, 0, 1] / 10, 5], rtol=1e-6)
    np.testing.assert_allclose(
        rate["VAR_RNOISE"][0], [variances(3)[1], variances(1)[1], variances(7)[1]], rtol=1e-6
    )


@BOTH
def test_one_good_group_and_the_frame_before_it(function):
    arrays = straight(4)
    gdq = arrays[1]
    gdq[0, 1:, 0, 0] = SAT
    gdq[0, :, 0, 1] = SAT
    gdq[0, :, 0, 2] = SAT
    zero = np.array([[[0, 50, 0]]], np.float32)
    timing = RampTiming(10.0, 2.5, nframes=3, suppress_one_group=False)
    rate, _ = function(*arrays, timing, None, zero)
    np.testing.assert_allclose(rate["SCI"][0], [100 / (4 * 2.5 / 2), 50 / 2.5, np.nan], rtol=1e-6)
    np.testing.assert_array_equal(rate["DQ"][0], [SAT, SAT, SAT | DNU])
    rate, _ = function(*arrays, RampTiming(10.0, 2.5, nframes=3), None, zero)
    assert np.isnan(rate["SCI"]).all()
    np.testing.assert_array_equal(rate["DQ"][0], [SAT | DNU] * 3)
    np.testing.assert_array_equal(rate["ERR"], 0)


@BOTH
def test_flags_of_rate_and_of_integrations(function):
    arrays = straight(5, nint=2)
    _, gdq, pdq, gain, _ = arrays
    gdq[0, :, 0, 0] = DNU
    gdq[1, 3:, 0, 0] = SAT
    gdq[1, 2, 0, 1] = JUMP | PERS
    pdq[0, 1] = 1 << 11
    gain[0, 2] = np.nan
    rate, ints = function(*arrays, TIMING)
    bad = DNU | 1 << 19
    np.testing.assert_array_equal(rate["DQ"][0], [SAT, JUMP | PERS | 1 << 11, bad])
    np.testing.assert_array_equal(ints["DQ"][:, 0], [[DNU, 1 << 11, bad], [SAT, JUMP | PERS | 1 << 11, bad]])
    np.testing.assert_array_equal(np.isnan(rate["SCI"][0]), [False, False, True])
    np.testing.assert_array_equal(np.isnan(ints["SCI"][:, 0]), [[True, False, True], [False, False, True]])
    assert (rate["VAR_RNOISE"][0, 2], rate["VAR_POISSON"][0, 2]) == (0, 0)


@BOTH
def test_charge_loss_keeps_the_read_variance_of_the_whole_ramp(function):
    arrays = straight(8)
    arrays[1][0, 5:, 0, 0] = LOSS | DNU
    rate, ints = function(*arrays, TIMING)
    for planes in (rate, {k: v[0] for k, v in ints.items()}):
        np.testing.assert_allclose(planes["VAR_RNOISE"][0], variances(8)[1], rtol=1e-6)
        np.testing.assert_allclose(planes["VAR_POISSON"][0, 0], variances(5)[0], rtol=1e-6)


@BOTH
def test_average_dark_current_adds_poisson_noise(function):
    dark = np.full((1, 3), 0.5, np.float32)
    rate, _ = function(*straight(6), TIMING, dark)
    np.testing.assert_allclose(rate["VAR_POISSON"], variances(6, 5.5)[0], rtol=1e-6)


def test_weights_follow_the_published_powers():
    table = weight_table(9)
    start = 3 * 9 * 8
    weights = table[start : start + 54].reshape(9, 6)
    x = np.abs(np.arange(9) - 4) / 4
    for column, power in enumerate((0, 0.4, 1, 3, 6, 10)):
        np.testing.assert_allclose(weights[:, column], x**power, rtol=1e-6)


def test_segments_agree_with_the_slopes():
    arrays = straight(10, nint=2)
    sci, gdq, *_ = arrays
    sci[1, 6:] += 1000
    gdq[1, 6] = JUMP
    rate, ints, segments = fit_segments(*arrays, TIMING)
    assert_same((rate, ints), fit_ramps_numpy(*arrays, TIMING))
    assert segments["SLOPE"].shape == (2, 2, 1, 3)
    np.testing.assert_allclose(segments["SLOPE"][0, :, 0, 0], [5, 0], rtol=1e-6)
    np.testing.assert_allclose(segments["SLOPE"][1], 5, rtol=1e-6)
    np.testing.assert_allclose(
        segments["VAR_RNOISE"][1, :, 0, 0], [variances(6)[1], variances(4)[1]], rtol=1e-6
    )
    np.testing.assert_allclose(segments["YINT"][1, :, 0, 0], [100, 1100], rtol=1e-5)
    np.testing.assert_allclose(segments["CRMAG"], [[[[0] * 3]], [[[1050] * 3]]], rtol=1e-6)
    np.testing.assert_allclose(segments["PEDESTAL"], 100 - 5.0, rtol=1e-5)


@pytest.mark.parametrize("bad", ["gdq shape", "pdq dtype", "rnoise shape", "zero shape", "dark dtype"])
def test_layouts_are_checked(bad):
    sci, gdq, pdq, gain, rnoise = straight(4)
    dark = zero = None
    if bad == "gdq shape":
        gdq = gdq[:, 1:]
    elif bad == "pdq dtype":
        pdq = pdq.astype(np.int64)
    elif bad == "rnoise shape":
        rnoise = rnoise[:, 1:]
    elif bad == "zero shape":
        zero = np.zeros((2, 1, 3), np.float32)
    else:
        dark = np.zeros((1, 3))
    with pytest.raises(ValueError, match=r"need|fit"):
        fit_ramps(sci, gdq, pdq, gain, rnoise, TIMING, dark, zero)

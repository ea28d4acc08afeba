"""Flag, bias and dark kernels: C against the NumPy twin, bit for bit, and against hand-made cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.kernels import ipc, linearity, pixelwise, saturation
from jwcal.kernels._lib import native

needs_native = pytest.mark.skipif(native() is None, reason="compiled kernels are not built")
SHAPES = [(1, 1, 1, 1), (2, 1, 3, 5), (1, 2, 2, 300), (2, 6, 5, 67), (3, 3, 2, 1031)]


def ramps(rng, shape, special=True):
    nint, ngroup, ny, nx = shape
    step = rng.uniform(0, 20000, (nint, 1, ny, nx))
    sci = (step * np.arange(1, ngroup + 1)[:, None, None] + rng.normal(0, 50, shape)).astype(np.float32)
    if special:
        pick = rng.random(shape)
        sci[pick < 0.03] = np.nan
        sci[(pick > 0.03) & (pick < 0.05)] = 0
        sci[(pick > 0.05) & (pick < 0.06)] = -3
        sci[(pick > 0.06) & (pick < 0.065)] = np.inf
        sci[(pick > 0.065) & (pick < 0.07)] = -0.0
    return sci


def flags(rng, shape, bits, dtype):
    return rng.choice(np.array([0, 0, 0, 0, 0, *bits], dtype), shape)


def zeroframes(rng, shape):
    zero = rng.uniform(0, 70000, (shape[0], *shape[2:])).astype(np.float32)
    zero[rng.random(zero.shape) < 0.2] = 0
    return zero


def spaced(array):
    """Return a copy with the same values whose integrations and groups are not contiguous."""
    room = np.zeros((array.shape[0], array.shape[1] + 1, array.shape[2] + 3, array.shape[3]), array.dtype)
    view = room[:, :-1, 1:-2]
    view[...] = array
    return view


def same_bits(a, b):
    """Compare bits; which of the many NaN patterns an operation gives is not defined."""

    def bits(array):
        if array is None:
            return b""
        return (np.where(np.isnan(array), np.nan, array) if array.dtype.kind == "f" else array).tobytes()

    return all(bits(x) == bits(y) for x, y in zip(a, b, strict=True))


def both(function, twin, arrays, *rest, **options):
    """Run both versions on copies and compare every changed array."""
    first = [None if a is None else (spaced(a) if a.ndim == 4 else a.copy()) for a in arrays]
    second = [None if a is None else a.copy() for a in arrays]
    function(*first, *rest, **options)
    twin(*second, *rest, **options)
    assert same_bits(first, second)
    return second


@needs_native
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_zero", [True, False])
@pytest.mark.parametrize("seed", range(3))
class TestTwins:
    def data(self, shape, with_zero, seed):
        rng = np.random.default_rng(seed)
        frame = shape[2:]
        sci = ramps(rng, shape)
        gdq = flags(rng, shape, [1, 2, 4, 65], np.uint8)
        pdq = flags(rng, frame, [1, 2**10 + 1, 2**31], np.uint32)
        dq = flags(rng, frame, [1, 2**20, 2**21, 2**22 + 5], np.uint32)
        return rng, sci, gdq, pdq, dq, zeroframes(rng, shape) if with_zero else None

    def test_initialise_dq(self, shape, with_zero, seed):
        _, _, gdq, pdq, dq, _ = self.data(shape, with_zero, seed)
        both(
            lambda p, g: pixelwise.initialise_dq(p, g, dq),
            lambda p, g: pixelwise.initialise_dq_numpy(p, g, dq),
            [pdq, gdq],
        )

    def test_subtract_bias(self, shape, with_zero, seed):
        rng, sci, _, pdq, dq, zero = self.data(shape, with_zero, seed)
        bias = rng.normal(10000, 300, shape[2:]).astype(np.float32)
        bias[rng.random(bias.shape) < 0.2] = np.nan
        both(pixelwise.subtract_bias, pixelwise.subtract_bias_numpy, [sci, pdq, zero], bias, dq)

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    def test_subtract_dark(self, shape, with_zero, seed, dtype):
        rng, sci, _, pdq, dq, _ = self.data(shape, with_zero, seed)
        dark = rng.normal(0, 3, (2, *shape[1:])).astype(dtype)
        dark[rng.random(dark.shape) < 0.1] = np.nan
        which = rng.integers(0, 2, shape[0])
        both(pixelwise.subtract_dark, pixelwise.subtract_dark_numpy, [sci, pdq], dark, which, dq)

    def test_average_frames(self, shape, with_zero, seed):
        _, sci, *_ = self.data(shape, with_zero, seed)
        frames = np.ascontiguousarray(sci[0])
        out = [np.empty(shape[2:], np.float32) for _ in range(2)]
        pixelwise.average_frames(frames, out[0])
        pixelwise.average_frames_numpy(frames, out[1])
        assert out[0].tobytes() == out[1].tobytes()

    @pytest.mark.parametrize("ncoeff", [2, 5, 7, 9])
    def test_linearity(self, shape, with_zero, seed, ncoeff):
        rng, sci, gdq, pdq, dq, zero = self.data(shape, with_zero, seed)
        coeffs = coefficients(rng, ncoeff, shape[2:])
        both(
            lambda s, g, p, z: linearity.correct_linearity(s, g, p, z, coeffs, dq),
            lambda s, g, p, z: linearity.correct_linearity_numpy(s, g, p, z, coeffs, dq),
            [sci, gdq, pdq, zero],
        )

    @pytest.mark.parametrize("nframe", [1, 2, 5])
    def test_linearity_of_reads(self, shape, with_zero, seed, nframe):
        if shape[1] < 2:
            pytest.skip("needs two groups")
        rng, sci, gdq, pdq, dq, zero = self.data(shape, with_zero, seed)
        coeffs, inverse = (coefficients(rng, n, shape[2:]) for n in (5, 4))
        both(
            lambda s, g, p, z: linearity.correct_linearity_reads(s, g, p, z, coeffs, inverse, dq, nframe),
            lambda s, g, p, z: linearity.correct_linearity_reads_numpy(
                s, g, p, z, coeffs, inverse, dq, nframe
            ),
            [sci, gdq, pdq, zero],
        )

    @pytest.mark.parametrize("grow", [0, 1, 2])
    @pytest.mark.parametrize("nframe", [0, 1, 4])
    @pytest.mark.parametrize("with_bias", [True, False])
    def test_saturation(self, shape, with_zero, seed, grow, nframe, with_bias):
        rng, sci, gdq, pdq, dq, zero = self.data(shape, with_zero, seed)
        threshold = rng.uniform(30000, 66000, shape[2:]).astype(np.float32)
        threshold[rng.random(threshold.shape) < 0.05] = np.nan
        bias = np.full(shape[2:], 3000, np.float32) if with_bias else None
        options = {"bias": bias, "nframe": nframe, "grow": grow}
        both(
            lambda s, g, p, z: saturation.flag_saturation(s, g, p, z, threshold, dq, **options),
            lambda s, g, p, z: saturation.flag_saturation_numpy(s, g, p, z, threshold, dq, **options),
            [sci, gdq, pdq, zero],
        )

    @pytest.mark.parametrize("form", ["3x3", "5x3", "2x4", "4-D"])
    def test_convolve(self, shape, with_zero, seed, form):
        rng, sci, *_ = self.data(shape, with_zero, seed)
        ny, nx = shape[2:]
        size = {"3x3": (3, 3), "5x3": (5, 3), "2x4": (2, 4), "4-D": (3, 3, ny, nx)}[form]
        kernel = rng.normal(0, 0.01, size).astype(np.float32)
        region = (min(1, ny - 1), ny, 0, max(1, nx - 4))
        both(ipc.convolve, ipc.convolve_numpy, [sci], kernel, region)


def coefficients(rng, number, frame):
    scale = 10.0 ** -(4.8 * np.arange(number))[:, None, None]
    coeffs = (rng.normal(0, 0.05, (number, *frame)) * scale * 1e4).astype(np.float32)
    coeffs[1] = rng.normal(1, 0.01, frame)
    pick = rng.random(frame)
    coeffs[1][pick < 0.1] = 0
    coeffs[-1][pick > 0.9] = np.nan
    return coeffs


@needs_native
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_saturation_twins_on_arbitrary_small_frames(data):
    nint, ngroup = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 5))
    ny, nx = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    shape = (nint, ngroup, ny, nx)
    levels = np.array([-5, 0, 100, 39000, 40000, 52000, 65535, 70000, np.nan], np.float32)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sci = rng.choice(levels, shape)
    gdq = flags(rng, shape, [1, 2], np.uint8)
    pdq = np.zeros((ny, nx), np.uint32)
    threshold = rng.choice(np.array([40000, 60000, 65536, np.nan], np.float32), (ny, nx))
    dq = flags(rng, (ny, nx), [2**21], np.uint32)
    options = {"nframe": data.draw(st.integers(0, 9)), "grow": data.draw(st.integers(0, 4))}
    both(
        lambda s, g, p, z: saturation.flag_saturation(s, g, p, z, threshold, dq, **options),
        lambda s, g, p, z: saturation.flag_saturation_numpy(s, g, p, z, threshold, dq, **options),
        [sci, gdq, pdq, sci[:, 0].copy()],
    )


@pytest.mark.parametrize("function", [saturation.flag_saturation, saturation.flag_saturation_numpy])
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_saturation_from_the_top_down_is_that_of_the_whole_frame(function, data):
    shape = tuple(data.draw(st.integers(1, n)) for n in (2, 5, 12, 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    levels = np.array([-5, 100, 39000, 40000, 70000, np.nan], np.float32)
    sci = rng.choice(levels, shape, p=[0.05, 0.6, 0.2, 0.05, 0.05, 0.05])
    gdq = flags(rng, shape, [1, 2], np.uint8) * (rng.random(shape) < 0.05).astype(np.uint8)
    pdq = np.zeros(shape[2:], np.uint32)
    threshold = rng.choice(np.array([40000, 60000, np.nan], np.float32), shape[2:], p=[0.8, 0.1, 0.1])
    dq = flags(rng, shape[2:], [2**21], np.uint32) * (rng.random(shape[2:]) < 0.1).astype(np.uint32)
    zero = sci[:, 0].copy() if data.draw(st.booleans()) else None
    nframe, grow = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 3))
    want = [None if a is None else a.copy() for a in (gdq, pdq, zero)]
    function(sci, *want, threshold, dq, nframe=nframe, grow=grow)
    halo = grow * (2 if nframe > 1 else 1)
    start = seen = 0
    carry = {}
    while seen < shape[2]:
        stop = min(seen + data.draw(st.integers(1, 5)), shape[2])
        ready = stop - start if stop == shape[2] else max(stop - start - halo, 0)
        rows = slice(start, stop)
        function(
            sci[:, :, rows], gdq[:, :, rows], pdq[rows], None if zero is None else zero[:, rows], threshold[rows],
            dq[rows], nframe=nframe, grow=grow, fresh=seen - start, ready=ready, carry=carry,
        )  # fmt: skip
        start, seen = start + ready, stop
    for got, expected in zip((gdq, pdq, zero), want, strict=True):
        np.testing.assert_array_equal(got, expected)


def one(values, dtype=np.float32):
    return np.array(values, dtype)[None, :, None, None] * np.ones((1, 1, 1, 1), dtype)


def test_bias_nan_counts_as_zero_and_invalid_zero_frame_stays_zero():
    sci = np.full((1, 2, 1, 3), 100, np.float32)
    pdq = np.zeros((1, 3), np.uint32)
    zero = np.array([[[0, 50, 60]]], np.float32)
    bias = np.array([[10, np.nan, 20]], np.float32)
    pixelwise.subtract_bias(sci, pdq, zero, bias, np.array([[0, 4, 0]], np.uint32))
    assert sci[0, 1, 0].tolist() == [90, 100, 80]
    assert zero[0, 0].tolist() == [0, 50, 40]
    assert pdq[0].tolist() == [0, 4, 0]


def test_each_integration_gets_its_own_dark():
    sci = np.zeros((3, 1, 1, 1), np.float32)
    dark = np.array([1, 2], np.float32)[:, None, None, None]
    pixelwise.subtract_dark(sci, np.zeros((1, 1), np.uint32), dark, [0, 1, 1], np.zeros((1, 1), np.uint32))
    assert sci.ravel().tolist() == [-1, -2, -2]


def test_dark_index_out_of_range_is_refused():
    dark = np.zeros((1, 1, 1, 1), np.float32)
    sci, pdq = np.zeros((2, 1, 1, 1), np.float32), np.zeros((1, 1), np.uint32)
    with pytest.raises(ValueError, match="which"):
        pixelwise.subtract_dark(sci, pdq, dark, [0, 1], pdq)


def test_saturation_stays_to_the_end_and_low_values_do_not():
    sci = one([100, 0, 50000, 100, 100])
    gdq = np.zeros(sci.shape, np.uint8)
    pdq = np.zeros((1, 1), np.uint32)
    saturation.flag_saturation(sci, gdq, pdq, None, np.full((1, 1), 40000, np.float32), pdq.copy(), grow=0)
    assert gdq.ravel().tolist() == [0, 65, 2, 2, 2]


def test_saturation_grows_over_neighbours_in_the_same_groups_once():
    sci = np.full((1, 3, 5, 7), 100, np.float32)
    sci[0, 1, 2, 3] = 50000
    gdq = np.zeros(sci.shape, np.uint8)
    pdq = np.zeros((5, 7), np.uint32)
    saturation.flag_saturation(sci, gdq, pdq, None, np.full((5, 7), 40000, np.float32), pdq.copy(), grow=1)
    expected = np.zeros((3, 5, 7), np.uint8)
    expected[1:, 1:4, 2:5] = 2
    np.testing.assert_array_equal(gdq[0], expected)


def test_unchecked_pixels_are_not_flagged_and_are_marked():
    sci = np.full((1, 1, 1, 3), 65535, np.float32)
    gdq = np.zeros(sci.shape, np.uint8)
    pdq = np.zeros((1, 3), np.uint32)
    threshold = np.array([[40000, np.nan, 40000]], np.float32)
    dq = np.array([[0, 0, 2**21]], np.uint32)
    saturation.flag_saturation(sci, gdq, pdq, None, threshold, dq, grow=0)
    assert gdq.ravel().tolist() == [2, 0, 0]
    assert pdq.ravel().tolist() == [0, 2**21, 2**21]


def test_averaged_group_before_saturation_is_unusable():
    sci = one([10000, 32000, 60000])
    gdq = np.zeros(sci.shape, np.uint8)
    pdq = np.zeros((1, 1), np.uint32)
    level = np.full((1, 1), 40000, np.float32)
    saturation.flag_saturation(sci, gdq, pdq, None, level, pdq.copy(), nframe=8, grow=0)
    assert gdq.ravel().tolist() == [0, 1, 2]
    gdq[...] = 0
    saturation.flag_saturation(sci, gdq, pdq, None, level, pdq.copy(), nframe=0, grow=0)
    assert gdq.ravel().tolist() == [0, 0, 2]


def test_second_group_hit_in_its_last_frame_is_unusable():
    sci = one([1000, 12000, 60000])
    gdq = np.zeros(sci.shape, np.uint8)
    pdq = np.zeros((1, 1), np.uint32)
    level = np.full((1, 1), 40000, np.float32)
    saturation.flag_saturation(sci, gdq, pdq, None, level, pdq.copy(), nframe=4, grow=0)
    assert gdq.ravel().tolist() == [0, 1, 2]


def test_linearity_leaves_saturated_and_uncorrectable_values():
    sci = np.full((1, 2, 1, 4), 100, np.float32)
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[0, 1] = 2
    pdq = np.zeros((1, 4), np.uint32)
    coeffs = np.zeros((3, 1, 4), np.float32)
    coeffs[1], coeffs[2] = 1, 0.001
    coeffs[1, 0, 1], coeffs[2, 0, 2] = 0, np.nan
    dq = np.array([[0, 0, 0, 2**20]], np.uint32)
    linearity.correct_linearity(sci, gdq, pdq, None, coeffs, dq)
    assert sci[0, 0, 0].tolist() == [110, 100, 100, 100]
    assert sci[0, 1, 0].tolist() == [100] * 4
    assert pdq[0].tolist() == [0, 2**20, 2**20, 2**20]


def test_read_level_linearity_recovers_a_straight_line_better():
    nframe, ngroup, rate = 8, 4, 1000.0
    reads = rate * np.arange(1, nframe * ngroup + 1)
    measured = reads - 1e-5 * reads**2
    groups = measured.reshape(ngroup, nframe).mean(1).astype(np.float32)
    truth = reads.reshape(ngroup, nframe).mean(1)
    x = np.linspace(0, 33000, 400)
    coeffs = np.polynomial.polynomial.polyfit(x - 1e-5 * x**2, x, 8).astype(np.float32)[:, None, None]
    inverse = np.array([0, 1, -1e-5], np.float32)[:, None, None]
    gdq, dq = np.zeros((1, ngroup, 1, 1), np.uint8), np.zeros((1, 1), np.uint32)
    plain, by_read = one(groups), one(groups)
    linearity.correct_linearity(plain, gdq, dq.copy(), None, coeffs, dq)
    linearity.correct_linearity_reads(by_read, gdq, dq.copy(), None, coeffs, inverse, dq, nframe)
    error = [np.abs(a.ravel() - truth).max() for a in (plain, by_read)]
    assert error[1] < 0.2 * error[0]


def test_convolution_conserves_flux_inside_and_ignores_reference_pixels():
    sci = np.zeros((1, 1, 9, 9), np.float32)
    sci[0, 0, 4, 4] = 1000
    sci[0, 0, :, 8] = 777
    kernel = np.full((3, 3), -0.005, np.float32)
    kernel[1, 1] = 1.04
    ipc.convolve(sci, kernel, (0, 9, 0, 8))
    assert sci[0, 0, :, 8].tolist() == [777] * 9
    np.testing.assert_allclose(sci[0, 0, :, :8].sum(), 1000, rtol=1e-6)
    assert sci[0, 0, 4, 4] == np.float32(1040)
    assert np.count_nonzero(sci[0, 0, :, 7]) == 0


def test_kernel_is_applied_as_a_convolution():
    sci = np.zeros((1, 1, 5, 5), np.float32)
    sci[0, 0, 2, 2] = 1
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3)
    ipc.convolve(sci, kernel, (0, 5, 0, 5))
    np.testing.assert_array_equal(sci[0, 0, 1:4, 1:4], kernel)


def test_gain_factor_scales_rates_linearly_and_variances_quadratically():
    planes = {name: np.ones((2, 2), np.float32) for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE")}
    pixelwise.scale_rates(planes, 3.0)
    assert [planes[name][0, 0] for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE")] == [3, 3, 9, 9]


def test_wrong_layouts_are_refused():
    sci = np.zeros((1, 2, 3, 4), np.float32)
    frame = np.zeros((3, 4), np.uint32)
    with pytest.raises(ValueError, match="SCI"):
        pixelwise.subtract_bias(sci.transpose(0, 1, 3, 2), frame, None, frame.view("f4"), frame)
    with pytest.raises(ValueError, match="bias"):
        pixelwise.subtract_bias(sci, frame, None, np.zeros((3, 5), np.float32), frame)
    with pytest.raises(ValueError, match="ZEROFRAME"):
        pixelwise.subtract_bias(sci, frame, np.zeros((2, 3, 4), np.float32), frame.view("f4"), frame)
    with pytest.raises(ValueError, match="terms"):
        linearity.correct_linearity(
            sci, sci.astype("u1"), frame, None, np.zeros((1, 3, 4), np.float32), frame
        )

"""Kernels for periodic interference: C against the NumPy twin, bit for bit, and against other code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d

from jwcal.kernels import emi
from jwcal.kernels._lib import native

needs_native = pytest.mark.skipif(native() is None, reason="compiled kernels are not built")
SHAPES = [(1, 3, 1, 4), (2, 4, 3, 8), (1, 9, 5, 67), (3, 5, 2, 132)]


def ramps(rng, shape, special=True):
    sci = np.cumsum(rng.normal(300, 40, shape), axis=1) + 9000
    if special:
        pick = rng.random(shape)
        sci[pick < 0.01] = np.nan
        sci[(pick > 0.01) & (pick < 0.015)] = np.inf
    room = np.zeros((shape[0], shape[1] + 1, shape[2] + 2, shape[3]), np.float32)
    view = room[:, :-1, 1:-1]
    view[...] = sci
    return view


def same_bits(a, b):
    return np.array_equal(np.where(np.isnan(a), 0, a), np.where(np.isnan(b), 0, b)) and np.array_equal(
        np.isnan(a), np.isnan(b)
    )


@needs_native
class TestTwins:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("seed", range(3))
    def test_scatter_and_roughness(self, shape, seed):
        sci = ramps(np.random.default_rng(seed), shape)
        assert same_bits(emi.scatter(sci), emi.scatter_numpy(sci))
        assert same_bits(emi.roughness(sci), emi.roughness_numpy(sci))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_fold(self, shape):
        rng = np.random.default_rng(4)
        sci = ramps(rng, shape, special=False)
        nint, ngroup, ny, nx = shape
        spread = rng.uniform(0, 2, (nint, ny, nx)).astype(np.float32)
        spread[0, 0, 0] = np.nan
        bins = rng.integers(-1, 7, (ny, nx)).astype(np.int32)
        made = []
        for function in (emi.fold, emi.fold_numpy):
            sums, counts = np.zeros((nint, ngroup, 7), np.int64), np.zeros((nint, 7), np.int64)
            function(sci, spread, bins, 1.25, sums, counts)
            made.append((sums, counts))
        np.testing.assert_array_equal(made[0][0], made[1][0])
        np.testing.assert_array_equal(made[0][1], made[1][1])
        assert made[0][1].sum() == ((spread < 1.25) & (bins >= 0)).sum()

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("x0", [0, 3])
    def test_subtractions(self, shape, x0):
        rng = np.random.default_rng(5)
        nint, ngroup, ny, nx = shape
        nline = (x0 + nx + 3) // 4
        cubic = emi.cubic_pieces(rng.normal(0, 5, 20))
        wave = (
            rng.random((ny, nline)), rng.random(ngroup), rng.uniform(-2, 2, nint), rng.normal(size=nint), cubic, x0,
        )  # fmt: skip
        table = (
            rng.integers(0, 10**7, (nint, ngroup, ny)).astype(float), 9, 3.0 + 2**32, nline, 98.7,
            rng.normal(size=99), x0,
        )  # fmt: skip
        pairs = [
            (emi.subtract_wave, emi.subtract_wave_numpy, wave),
            (emi.subtract_table, emi.subtract_table_numpy, table),
        ]
        for function, twin, arguments in pairs:
            one = ramps(rng, shape)
            two = one.copy()
            function(one, *arguments)
            twin(two, *arguments)
            assert same_bits(one, two)

    @given(st.integers(2, 60), st.integers(0, 2**31))
    @settings(max_examples=25, deadline=None)
    def test_waves(self, number, seed):
        rng = np.random.default_rng(seed)
        cubic = emi.cubic_pieces(rng.normal(size=number))
        phase = np.concatenate([rng.random(50), [0.0, 0.5 / number, np.nextafter(1, 0)]])
        assert same_bits(emi.wave_at(phase, cubic), emi.wave_at_numpy(phase, cubic))


def test_scatter_is_the_standard_deviation_in_single_precision():
    sci = np.ascontiguousarray(ramps(np.random.default_rng(6), (2, 11, 7, 40), special=False))
    np.testing.assert_array_equal(emi.scatter(sci), np.std(sci, axis=1))


@pytest.mark.parametrize("number", [2, 3, 17, 256])
def test_spline_is_the_usual_cubic_one(number):
    rng = np.random.default_rng(number)
    wave = rng.normal(size=number)
    extended = np.concatenate([wave[-1:], wave, wave[:1]])
    usual = interp1d((np.arange(number + 2) - 0.5) / number, extended, kind="cubic")
    phase = rng.random(500)
    np.testing.assert_allclose(emi.wave_at(phase, emi.cubic_pieces(wave)), usual(phase), atol=1e-12)


def test_roughness_does_not_see_a_slope():
    ramp = (np.arange(6) * 500.0)[None, :, None, None] + np.zeros((1, 6, 2, 4))
    assert (emi.roughness(ramp.astype(np.float32)) < 1e-3).all()
    with pytest.raises(ValueError, match="three groups"):
        emi.roughness(np.zeros((1, 2, 1, 4), np.float32))


def test_columns_beyond_the_lines_are_a_mistake():
    with pytest.raises(ValueError, match="beyond"):
        emi.subtract_wave(
            np.zeros((1, 3, 1, 8), np.float32), np.zeros((1, 1)), np.zeros(3), np.zeros(1), np.zeros(1),
            emi.cubic_pieces(np.ones(4)),
        )  # fmt: skip

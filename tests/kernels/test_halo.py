"""Profiles of halos: values, and equal bits of C and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwcal.kernels.halo import HALO, falling, halo_profiles, halo_profiles_numpy

NGROUP, SIZE = 7, 40


def halo(y=20.0, x=19.0, ratio=1.0, semi=8.0, angle=0.0, box=(4, 37, 3, 36), first=0):
    out = np.zeros(1, HALO)
    out[0] = (
        y, x, np.cos(angle), np.sin(angle), ratio, semi, *box, int(np.ceil(1.15 * semi)), first
    )  # fmt: skip
    return out


def ramp(rng, amplitude=300.0, scale=3.0):
    y, x = np.mgrid[:SIZE, :SIZE]
    sci = np.cumsum(rng.poisson(20, (NGROUP, SIZE, SIZE)), axis=0) + rng.normal(0, 5, (NGROUP, SIZE, SIZE))
    sci[3:] += amplitude * np.exp(-np.hypot(y - 20, x - 19) / scale)
    return sci.astype(np.float32)


def test_profile_is_that_of_the_halo():
    sci = ramp(np.random.default_rng(1))
    gdq = np.zeros(sci.shape, np.uint8)
    noise, value = halo_profiles(sci, gdq, 3, halo(), 1.15, 1.7, 12)
    assert noise[0] == pytest.approx(np.sqrt(20 + 2 * 25), rel=0.25)
    middle = np.arange(value.size) + 0.5
    np.testing.assert_allclose(value, 300 * np.exp(-middle / 3), atol=25)
    assert (np.diff(value) <= 0).all()
    # In another group there is nothing.
    _, value = halo_profiles(sci, gdq, 5, halo(), 1.15, 1.7, 12)
    assert np.abs(value[2:]).max() < 12


def test_no_profile_without_surroundings_or_noise():
    sci = ramp(np.random.default_rng(2))
    gdq = np.zeros(sci.shape, np.uint8)
    for least, ramps in ((2000, sci), (12, np.zeros_like(sci)), (12, np.full_like(sci, np.nan))):
        for function in (halo_profiles, halo_profiles_numpy):
            assert np.isnan(function(ramps, gdq, 3, halo(), 1.15, 1.7, least)[0]).all()


@given(
    arrays(np.float32, (NGROUP, SIZE, SIZE), elements=st.floats(-1e3, 1e3, width=32), fill=st.just(7.0)),
    st.integers(1, NGROUP - 1), st.floats(0.05, 1), st.floats(1, 12), st.floats(-3, 3), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_c_and_numpy_give_the_same(sci, group, ratio, semi, angle, seed):
    rng = np.random.default_rng(seed)
    sci = sci + np.rint(rng.normal(0, 9, sci.shape)).astype(np.float32)
    gdq = rng.choice([0, 0, 0, 0, 4, 2, 1, 16], sci.shape).astype(np.uint8)
    sci[rng.random(sci.shape) < 0.01] = np.nan
    first = halo(ratio=ratio, semi=semi, angle=angle)
    halos = np.concatenate(
        [first, halo(3.4, 30.2, box=(0, 20, 12, 40), first=int(first["rings"][0]), angle=angle)]
    )
    got = halo_profiles(sci, gdq, group, halos, 1.15, 1.7, 12)
    want = halo_profiles_numpy(sci, gdq, group, halos, 1.15, 1.7, 12)
    np.testing.assert_array_equal(got[0], want[0])
    for one, noise in zip(halos, got[0], strict=True):
        part = slice(one["first"], one["first"] + one["rings"])
        if noise > 0:
            np.testing.assert_array_equal(got[1][part], want[1][part])


@given(
    arrays(np.float64, 12, elements=st.floats(-5, 5)),
    arrays(np.float64, 12, elements=st.integers(1, 9).map(float)),
)
@settings(max_examples=80, deadline=None)
def test_falling_profile_keeps_the_sum(level, weight):
    out = falling(level, weight)
    assert (np.diff(out) <= 1e-9).all()
    assert (out * weight).sum() == pytest.approx((level * weight).sum(), abs=1e-6)


def test_layouts_are_checked():
    sci = np.zeros((3, 40, 40), np.float32)
    with pytest.raises(ValueError, match="gdq"):
        halo_profiles(sci, np.zeros((2, 40, 40), np.uint8), 1, halo(), 1.15, 1.7, 12)
    with pytest.raises(ValueError, match="frame"):
        halo_profiles(sci, np.zeros(sci.shape, np.uint8), 1, halo(box=(0, 41, 0, 9)), 1.15, 1.7, 12)

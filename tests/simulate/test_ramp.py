"""Ramps: deterministic, consistent with the truth, effects where they belong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.simulate.detectors import detector, region
from jwcal.simulate.pixels import linearise, pixels
from jwcal.simulate.ramp import Effects, RampMaker, cosmic_rays, pink
from jwcal.simulate.readout import timing

QUIET = Effects(cr_rate=0.0, one_over_f=0.0, drift=0.0, odd_even=0.0, transients=False)


def maker(
    name="NRCB1",
    shape=(48, 56),
    corner=(1, 1),
    pattern=None,
    ngroups=6,
    nints=2,
    effects=None,
    rate=30.0,
    seed=4,
    **kwargs,
):
    r = region(detector(name), shape=shape, corner=corner)
    p = pixels(r)
    light = rate * p.efficiency
    return RampMaker(r, timing(r, pattern, ngroups), p, light, nints, effects or Effects(), seed, **kwargs)


@given(seed=st.integers(0, 2**31), name=st.sampled_from(["NRCA1", "NRS2", "GUIDER2", "MIRIMAGE"]))
@settings(max_examples=8, deadline=None)
def test_same_seed_same_bits_for_any_number_of_threads(seed, name):
    shape = (40, 1032) if name == "MIRIMAGE" else (40, 2048)
    one = maker(name, shape, seed=seed, ngroups=2, threads=1, zeroframe=True).integration(1)
    many = maker(name, shape, seed=seed, ngroups=2, threads=3, zeroframe=True).integration(1)
    assert np.array_equal(one.groups, many.groups)
    assert np.array_equal(one.zeroframe, many.zeroframe)
    assert np.array_equal(one.saturated, many.saturated)
    assert np.array_equal(one.hits, many.hits)
    other = maker(name, shape, seed=seed + 1, ngroups=2).integration(1)
    assert not np.array_equal(one.groups, other.groups)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("NRCB1", "RAPID"),
        ("NRCA3", "SHALLOW4"),
        ("NIS", "NIS"),
        ("NRS1", "NRSRAPIDD2"),
        ("MIRIMAGE", "FASTR1"),
    ],
)
def test_mean_ramp_agrees_with_the_truth(name, pattern):
    rate = 2.0e4
    m = maker(name, (64, 64), (100, 100), pattern, ngroups=4, nints=1, effects=QUIET, rate=rate)
    p, t = m.pixels, m.timing
    groups = m.integration(0).groups.astype(float)
    good = p.bad == 0
    linear = linearise(np.float32(groups - p.bias), p.coefficients)
    slope = (linear[3] - linear[0]) / (3 * t.tgroup)
    expected = (m.light + p.dark) / p.gain
    ratio = (slope / expected)[good]
    signal = rate * 3 * t.tgroup
    noise = np.sqrt(signal + 2 * m.pixels.read_noise.mean() ** 2) / signal / np.sqrt(good.sum())
    # Averaging frames before the non-linear correction costs a little more than the noise.
    assert ratio.mean() == pytest.approx(1, abs=5 * noise + 1e-3 * (t.nframes > 1))


def test_noise_of_one_frame():
    m = maker("NRCB1", (64, 64), (100, 100), ngroups=2, nints=1, effects=QUIET, rate=0.0)
    groups = m.integration(0).groups.astype(float)
    difference = (groups[1] - groups[0])[m.pixels.bad == 0]
    electrons = m.pixels.read_noise[m.pixels.bad == 0] / m.pixels.gain[m.pixels.bad == 0]
    expected = np.sqrt(2 * (electrons**2).mean() + 1 / 6)
    assert difference.std() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["NRCA1", "NRCA2", "NIS", "GUIDER1", "GUIDER2", "NRS1", "NRS2"])
def test_reference_pixels_do_not_see_light_in_any_orientation(name):
    m = maker(name, (2048, 64), (1, 1), ngroups=2, nints=1, effects=QUIET, rate=3000.0)
    signal = np.diff(m.integration(0).groups.astype(int), axis=0)[0]
    reference = m.region.reference_pixels()
    assert reference[:4].all()
    assert reference[-4:].all()
    assert reference[:, :4].all()
    assert not reference[4:-4, 4:].any()
    assert abs(np.median(signal[reference])) < 3
    assert np.median(signal[~reference]) > 1000


@pytest.mark.parametrize("name", ["NRCA1", "NRCB1", "NIS", "GUIDER2", "NRS1"])
def test_lines_of_one_over_f_noise_run_along_the_fast_direction(name):
    effects = Effects(cr_rate=0, one_over_f=40.0, drift=0, odd_even=0)
    m = maker(name, (64, 64), (300, 300), ngroups=2, nints=1, effects=effects, rate=0.0)
    signal = np.diff(m.integration(0).groups.astype(float), axis=0)[0]
    signal[m.pixels.bad != 0] = np.nan
    along_x, along_y = np.nanmedian(signal, axis=1).std(), np.nanmedian(signal, axis=0).std()
    assert (along_x > 5 * along_y) if m.region.fast_is_x else (along_y > 5 * along_x)


@pytest.mark.parametrize("name", ["NRCA1", "NRCB1", "NIS", "NRS1"])
def test_drift_is_common_to_an_amplifier(name):
    effects = Effects(cr_rate=0, drift=60.0, odd_even=0)
    det = detector(name)
    r = region(det, "FULL")
    strip = (16, 2048) if r.fast_is_x else (2048, 16)
    sub = region(det, shape=strip, corner=(1, 1))
    part = type(sub)(det, "GENERIC", 0, 0, *strip, 4)
    p = pixels(part)
    m = RampMaker(part, timing(part, None, 2), p, np.zeros(strip, np.float32), 1, effects, 9)
    signal = np.diff(m.integration(0).groups.astype(float), axis=0)[0]
    signal[p.bad & ~np.uint8(1) != 0] = np.nan
    profile = np.nanmedian(signal, axis=0 if part.fast_is_x else 1)
    amplifiers = part.amplifiers()
    levels = [np.median(profile[amplifiers == k]) for k in range(4)]
    assert np.ptp(levels) > 20
    for k in range(4):
        assert profile[amplifiers == k].std() < 12


def test_saturation_is_noted_in_the_group_where_it_begins():
    m = maker("NRCB1", (32, 32), (100, 100), ngroups=8, nints=1, effects=QUIET, rate=8.0e4)
    filled = m.pixels.full_well.mean() * m.pixels.gain.mean() / m.timing.integration_time
    m.light[:] = np.linspace(0.2, 6, 32 * 32).reshape(32, 32) * filled
    out = m.integration(0)
    ceiling = m.pixels.full_well + m.pixels.bias
    clipped = out.saturated >= 0
    assert clipped.any()
    assert not clipped.all()
    y, x = np.nonzero(clipped)
    first = out.saturated[y, x]
    assert (np.abs(out.groups[first, y, x] - ceiling[y, x]) < 60).all()
    before = first > 0
    assert (out.groups[first[before] - 1, y[before], x[before]] < ceiling[y[before], x[before]] + 60).all()
    assert (out.groups[-1][~clipped] < ceiling[~clipped] + 60).all()


def test_hits_step_the_ramp_where_the_truth_says():
    m = maker(
        "NRCB1",
        (64, 64),
        (100, 100),
        "SHALLOW4",
        ngroups=5,
        nints=1,
        rate=0.0,
        effects=Effects(cr_rate=0.2, drift=0, odd_even=0),
    )
    out = m.integration(0)
    hits = out.hits[(out.hits["AMP_DN"] > 3000) & (out.hits["GROUP"] > 0)]
    where = np.stack([out.hits["Y"], out.hits["X"]])
    _, index, count = np.unique(where, axis=1, return_index=True, return_counts=True)
    alone = set(zip(out.hits["Y"][index[count == 1]], out.hits["X"][index[count == 1]], strict=True))
    checked = 0
    for hit in hits:
        y, x, g = hit["Y"], hit["X"], hit["GROUP"]
        if (y, x) not in alone or out.saturated[y, x] >= 0 or m.pixels.bad[y, x]:
            continue
        linear = linearise(
            np.float32(out.groups[:, y, x] - m.pixels.bias[y, x]), m.pixels.coefficients[:, y, x]
        )
        step = linear[g] - linear[g - 1]
        assert step == pytest.approx(hit["FRAC"] * hit["AMP_DN"], rel=0.03, abs=40)
        checked += 1
    assert checked > 5


@given(fraction=st.floats(0, 0.3), frames=st.integers(1, 20), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_cosmic_rays_are_inside_sorted_and_unique(fraction, frames, seed):
    r = region(detector("NRCA1"), shape=(40, 30))
    reference = r.reference_pixels()
    frame, y, x, charge, primary = cosmic_rays(np.random.default_rng(seed), r, reference, frames, fraction)
    key = (frame * 40 + y) * 30 + x
    assert (np.diff(key) > 0).all()
    assert not reference[y, x].any()
    assert ((frame >= 0) & (frame < frames)).all()
    assert (charge > 0).all()
    assert set(primary) <= {0, 1}


def test_cosmic_ray_rate():
    r = region(detector("NRCA1"), shape=(500, 500), corner=(100, 100))
    hits = cosmic_rays(np.random.default_rng(0), r, r.reference_pixels(), 10, 0.02)
    assert hits[0].size == pytest.approx(0.02 * 500 * 500, rel=0.06)


@given(n=st.integers(0, 500), sigma=st.floats(0, 100))
@settings(max_examples=30, deadline=None)
def test_pink_noise_has_the_asked_deviation(n, sigma):
    noise = pink(np.random.default_rng(1), n, sigma)
    assert noise.shape == (n,)
    if n >= 2:
        assert noise.std() == pytest.approx(sigma, rel=1e-3, abs=1e-6)

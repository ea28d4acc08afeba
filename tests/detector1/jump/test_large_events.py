"""Snowballs and showers: what is masked, where, and for how long."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jwcal.detector1.jump.halo import Halos
from jwcal.detector1.jump.large_events import SingleHits, SnowballRules, flag_snowballs
from jwcal.detector1.jump.shapes import Ellipse, ellipse_pixels, expanded, find_ellipses
from jwcal.detector1.jump.step import jump
from jwcal.kernels._lib import use_native

SAT, JUMP = 2, 4
SIZE = 80


@pytest.fixture
def refs(reference):
    def make(shape=(SIZE, SIZE), gain=2.0, noise=8.0):
        return {
            "gain": reference("gain", SCI=np.full(shape, gain)),
            "readnoise": reference("readnoise", SCI=np.full(shape, noise)),
        }

    return make


def disc(ny, nx, y, x, radius):
    rows, columns = np.mgrid[:ny, :nx]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def flags(core=4, radius=9, group=3, nint=1, ngroup=6):
    gdq = np.zeros((ngroup, SIZE, SIZE), np.uint8)
    gdq[group, disc(SIZE, SIZE, 40, 41, radius)] = JUMP
    gdq[group:, disc(SIZE, SIZE, 40, 41, core)] = SAT
    return gdq


def test_halo_in_the_group_and_core_from_it_on():
    gdq = flags()
    found, cores = flag_snowballs(gdq, SnowballRules())
    assert found == 1
    jumps = (gdq & JUMP) != 0
    assert not jumps[[0, 1, 2, 4, 5]].any()
    assert (jumps[3] | (gdq[3] & SAT != 0))[disc(SIZE, SIZE, 40, 41, 16)].all()
    assert not (jumps[3] & ~disc(SIZE, SIZE, 40, 41, 20)).any()
    assert (gdq[3:, disc(SIZE, SIZE, 40, 41, 4.9)] == SAT).all()
    np.testing.assert_array_equal(cores, cores & disc(SIZE, SIZE, 40, 41, 5))
    assert cores.sum() > 20


@pytest.mark.parametrize("late", [0, 1])
def test_with_a_halo_of_their_own_only_cores_of_snowballs_grow(late):
    gdq = flags()
    gdq[3 : 3 + late, disc(SIZE, SIZE, 40, 41, 4)] = 0
    star = disc(SIZE, SIZE, 60, 15, 4)
    gdq[3:, star] = SAT
    official, own = gdq.copy(), gdq.copy()
    flag_snowballs(official, SnowballRules())
    masked = []
    flag_snowballs(own, SnowballRules(), mask_halo=lambda _group, events: masked.extend(events))
    assert len(masked) == 1
    for group in range(3, 6):
        assert ((official[group, 50:, :30] == SAT) > star[50:, :30]).any()
        np.testing.assert_array_equal(own[group, 50:, :30] == SAT, star[50:, :30])
    assert (own[3 + late :, disc(SIZE, SIZE, 40, 41, 4.9)] == SAT).all()


def test_no_core_no_snowball_but_at_the_edge():
    gdq = np.zeros((6, SIZE, SIZE), np.uint8)
    gdq[3, disc(SIZE, SIZE, 40, 41, 6)] = JUMP
    gdq[2, disc(SIZE, SIZE, 10, 41, 6)] = JUMP
    before = gdq.copy()
    found, cores = flag_snowballs(gdq, SnowballRules())
    assert found == 1
    assert not cores.any()
    np.testing.assert_array_equal(gdq[3], before[3])
    assert (gdq[2] != before[2]).sum() > 100
    found, _ = flag_snowballs(before.copy(), SnowballRules(sat_required_snowball=False))
    assert found == 2


def test_cores_are_masked_in_the_next_integration(ramp, refs):
    y, x = np.mgrid[:SIZE, :SIZE]
    away = np.hypot(y - 40, x - 41)
    rng = np.random.default_rng(3)
    sci = np.zeros((2, 7, SIZE, SIZE))
    sci[0, 3:] += np.where(away < 5, 6e4, 3000 * np.exp(-(away - 5) / 3))
    sci += rng.normal(0, 4, sci.shape)
    gdq = np.where(sci >= 5e4, SAT, 0)
    options = {"refs": refs(), "expand_large_events": True}
    out = jump(ramp(sci, groupdq=gdq, TGROUP=10.0), snowball_time_masked_next_int=35, **options)
    later = (out["GROUPDQ"][1] & JUMP) != 0
    core = disc(SIZE, SIZE, 40, 41, 3)
    assert later[1:3, core].all()
    assert not later[3:, core].any()
    assert not later[0].any()
    assert out.meta["EXTNCRS"] == pytest.approx(1e6 / (10.0 * 12 * SIZE * SIZE))
    out = jump(ramp(sci, groupdq=gdq, TGROUP=10.0), mask_snowball_core_next_int=False, **options)
    assert not (out["GROUPDQ"][1, 1:3, core] & JUMP).all()


def halo_ramp(rng, amplitude=800.0, scale=3.0, sky=20.0):
    """Snowball at the middle in group 4, DN; the true halo."""
    y, x = np.mgrid[:SIZE, :SIZE]
    away = np.hypot(y - 40, x - 41)
    halo = np.where(away < 4, 6e4, amplitude * np.exp(-(away - 4) / scale))
    sci = np.cumsum(rng.poisson(sky, (1, 10, SIZE, SIZE)), axis=1) + rng.normal(0, 5, (1, 10, SIZE, SIZE))
    sci[0, 4:] += halo
    return sci, np.where(sci >= 5e4, SAT, 0), halo


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_profile_masks_less_and_leaves_little(ramp, refs, seed):
    sci, gdq, halo = halo_ramp(np.random.default_rng(seed))
    noise = np.sqrt(20 + 2 * 5**2)
    options = {"refs": refs(gain=1.0, noise=7.0), "expand_large_events": True}
    areas, left = {}, {}
    for way in ("ellipse", "profile", "subtract"):
        out = jump(ramp(sci, groupdq=gdq, TGROUP=10.0), snowball_halo=way, **options)
        masked = (out["GROUPDQ"][0, 4] & (JUMP | SAT)) != 0
        areas[way] = (masked & disc(SIZE, SIZE, 40, 41, 30)).sum()
        taken = (sci - out["SCI"])[0]
        np.testing.assert_array_equal(taken[:4], 0 * taken[:4] + (sci - np.float32(sci))[0, :4])
        ring = (
            disc(SIZE, SIZE, 40, 41, 26) & ~masked & disc(SIZE, SIZE, 40, 41, np.sqrt(areas[way] / np.pi) + 3)
        )
        left[way] = ((halo - taken[4])[ring] / noise).mean() if ring.any() else 0.0
        # Other groups than that of the event are not masked.
        assert not (out["GROUPDQ"][0, [2, 3, 6, 7]] & JUMP).all(axis=0).any()
    assert areas["subtract"] < areas["profile"] < areas["ellipse"]
    assert areas["subtract"] < 0.6 * areas["ellipse"]
    assert left["profile"] < 0.6
    assert abs(left["subtract"]) < 0.3


def test_profile_falls_back_on_the_ellipse_where_nothing_is_seen():
    gdq = flags()
    ellipse = gdq.copy()
    flag_snowballs(ellipse, SnowballRules())
    sci = np.full(gdq.shape, np.nan, np.float32)
    flag_snowballs(gdq, SnowballRules(), None, Halos(sci, gdq, SnowballRules(), 0.4))
    np.testing.assert_array_equal(gdq, ellipse)


@given(arrays(np.uint8, (3, 30, 33), elements=st.sampled_from([0, 0, 0, 0, 2, 4])), st.floats(1, 3))
@settings(max_examples=60, deadline=None)
def test_flags_are_only_added_beside_grown_cores(gdq, factor):
    gdq[np.maximum.accumulate(gdq == SAT, axis=0)] = SAT
    before = gdq.copy()
    flag_snowballs(gdq, SnowballRules(expand_factor=factor, edge_size=5))
    np.testing.assert_array_equal((gdq & SAT) & (before & SAT), before & SAT)
    np.testing.assert_array_equal(gdq[0], before[0])
    changed = gdq != before
    assert ((gdq[changed] == SAT) | ((gdq[changed] & JUMP) != 0)).all()


@given(arrays(bool, st.tuples(st.integers(3, 20), st.integers(3, 20))), st.integers(1, 30))
@settings(max_examples=80, deadline=None)
def test_ellipses_have_the_moments_of_their_regions(image, least):
    from scipy import ndimage

    label, count = ndimage.label(image, np.ones((3, 3)))
    want = []
    for k in range(1, count + 1):
        y, x = np.nonzero(label == k)
        box = label[y.min() : y.max() + 1, x.min() : x.max() + 1] == k
        if ndimage.binary_fill_holes(box, np.ones((3, 3))).sum() >= least:
            both = np.cov(y, x, bias=True) if y.size > 1 else np.zeros((2, 2))
            axes = 4 * np.sqrt(np.clip(np.linalg.eigvalsh(both), 0, None)) - 1
            want.append((x.mean(), y.mean(), *axes))
    got = find_ellipses(image.astype(np.uint8), 1, least)
    assert len(got) == len(want)
    for a, b in zip(sorted(got), sorted(want), strict=True):
        np.testing.assert_allclose(a[:4], b, atol=1e-6)


def test_ellipse_turns_with_its_region():
    y, x = np.mgrid[:40, :50]
    image = (np.abs((x - 25) - (y - 20)) < 2) & (np.abs(x - 25) < 12)
    (event,) = find_ellipses(image.astype(np.uint8), 1, 5)
    box, inside = ellipse_pixels(event, expanded(event, 1.5, 100), image.shape)
    found = np.zeros(image.shape, bool)
    found[box] = inside
    assert (found & image).sum() > 0.8 * image.sum()
    assert not found[8, 37]
    assert not found[32, 13]
    assert event.contains(np.array([25.0, 37.0]), np.array([20.0, 8.0])).tolist() == [True, False]


@given(st.floats(0, 59), st.floats(0, 49), st.floats(1, 20), st.floats(1, 3), st.floats(5, 60))
@settings(max_examples=100, deadline=None)
def test_masks_stay_in_the_frame_and_below_the_largest(x, y, size, factor, largest):
    event = Ellipse(x, y, size, 1.3 * size, 30.0)
    axes = expanded(event, factor, largest)
    assert max(axes) <= largest + 1
    box, inside = ellipse_pixels(event, axes, (50, 60))
    assert inside.shape == (box[0].stop - box[0].start, box[1].stop - box[1].start)
    assert box[0].start >= 0
    assert box[0].stop <= 50
    assert inside.sum() <= np.pi / 4 * axes[0] * axes[1] * 1.2 + 8


def test_threads_and_twins_change_nothing():
    rng = np.random.default_rng(4)
    before = np.where(rng.random((6, SIZE, SIZE)) < 0.02, JUMP, 0).astype(np.uint8)
    for g, y, x, radius in ((2, 30, 30, 8), (2, 44, 40, 7), (3, 50, 30, 9), (4, 12, 66, 5)):
        before[g, disc(SIZE, SIZE, y, x, radius)] |= JUMP
        before[g:, disc(SIZE, SIZE, y, x, radius / 2)] = SAT
    sci = (np.cumsum(rng.poisson(20, before.shape), axis=0) + rng.normal(0, 5, before.shape)).astype(
        np.float32
    )
    sci[2:] += 500 * np.exp(-disc(SIZE, SIZE, 30, 30, 12).astype(np.float32))

    def both(function, items):
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(function, items))

    def masked(spread):
        gdq = before.copy()
        single = SingleHits(gdq, spread)
        rules = SnowballRules()
        found, _ = flag_snowballs(
            gdq, rules, None, Halos(sci, gdq, rules, 0.4, spread=spread), single, spread
        )
        single.drop()
        return found, gdq

    found, want = masked(None)
    assert found == 4
    np.testing.assert_array_equal(masked(both)[1], want)
    use_native(False)
    try:
        np.testing.assert_array_equal(masked(None)[1], want)
    finally:
        use_native(True)


def test_single_hits_go_but_where_events_touch():
    gdq = flags()
    gdq[1:4, 10, 10:14] = JUMP
    single = SingleHits(gdq)
    gdq[2, 70, 70] = JUMP
    single.touched[10, 12] = True
    single.drop()
    left = np.argwhere(gdq & JUMP).tolist()
    assert left == [[1, 10, 12], [2, 10, 12], [2, 70, 70], [3, 10, 12]]
    assert (gdq[3:, 40, 41] == SAT).all()


def shower_ramp(seed=1, nint=1, ngroup=12, amplitude=40.0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    sci = np.cumsum(rng.poisson(10, (nint, ngroup, SIZE, SIZE)), axis=1) + rng.normal(
        0, 2, (nint, ngroup, SIZE, SIZE)
    )
    sci[0, 6:] += amplitude * np.exp(-((y - 30) ** 2 + (x - 50) ** 2) / 150)
    return sci


def test_showers_are_masked_for_a_time(ramp, refs):
    out = jump(
        ramp(shower_ramp(), TGROUP=3.0), refs=refs(gain=1.0, noise=2.8), find_showers=True, rejection_threshold=30.0,
        max_jump_to_flag_neighbors=0.0, time_masked_after_shower=7.0,
    )  # fmt: skip
    masked = (out["GROUPDQ"][0] & JUMP) != 0
    middle = disc(SIZE, SIZE, 30, 50, 6)
    assert masked[6:9, middle].mean() > 0.9
    assert not masked[[4, 5, 9, 10]].any()
    assert not masked[:, disc(SIZE, SIZE, 65, 15, 8)].any()
    assert out.meta["EXTNCRS"] > 0


def test_showers_that_change_too_much_are_not_masked(ramp, refs):
    options = {"refs": refs(gain=1.0, noise=2.8), "find_showers": True, "rejection_threshold": 60.0}
    out = jump(ramp(shower_ramp(), TGROUP=3.0), max_shower_amplitude=0.01, **options)
    assert not (out["GROUPDQ"][0, :, disc(SIZE, SIZE, 30, 50, 4)] & JUMP).any()


def test_few_differences_show_no_showers(ramp, refs):
    out = jump(ramp(shower_ramp(ngroup=9), TGROUP=3.0), refs=refs(gain=1.0, noise=2.8), find_showers=True)
    assert out.meta["EXTNCRS"] == 0


@pytest.mark.parametrize(("instrument", "masked"), [("MIRI", True), ("NIRCAM", False)])
def test_with_both_the_instrument_decides(ramp, instrument, masked, reference):
    keys = {"INSTRUME": instrument}
    refs = {
        "gain": reference("gain", SCI=np.full((SIZE, SIZE), 1.0), keys=keys),
        "readnoise": reference("readnoise", SCI=np.full((SIZE, SIZE), 2.8), keys=keys),
    }
    out = jump(
        ramp(shower_ramp(), TGROUP=3.0, **keys), refs=refs, find_showers=True, expand_large_events=True,
        rejection_threshold=30.0,
    )  # fmt: skip
    assert (out.meta["EXTNCRS"] > 0) == masked


def test_results_do_not_depend_on_threads(ramp, refs):
    sci = shower_ramp(nint=2)
    results = [
        jump(ramp(sci, TGROUP=3.0), refs=refs(gain=1.0, noise=2.8), find_showers=True, jobs=jobs)["GROUPDQ"]
        for jobs in (1, 2, 5)
    ]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])

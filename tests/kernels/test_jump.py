"""Jump search: C against the NumPy twin, bit for bit, and known jumps in hand-made ramps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.kernels._lib import native
from jwcal.kernels.jump import METHODS, JumpRules, choose_method, flag_jumps, flag_jumps_numpy

needs_native = pytest.mark.skipif(native() is None, reason="compiled kernels are not built")
NO_GAIN = 1 << 19


def noisy(seed, shape, *, hits=0.1, flags=0.1, rounded=False):
    """Ramps with noise, jumps, saturation and every odd value a reference can have."""
    rng = np.random.default_rng(seed)
    nint, ngroup, ny, nx = shape
    rate = rng.lognormal(3, 2, (ny, nx))
    sci = np.cumsum(rng.poisson(np.broadcast_to(rate, shape)), axis=1) + rng.normal(0, 8, shape)
    sci += np.cumsum((rng.random(shape) < hits) * rng.lognormal(5, 2, shape), axis=1)
    gdq = (rng.random(shape) < flags).astype(np.uint8)
    full = rng.integers(1, 3 * ngroup, (nint, 1, ny, nx))
    gdq[np.arange(ngroup)[:, None, None] >= full] |= 2
    gdq[rng.random(shape) < 0.03] |= 4
    gain = rng.uniform(1.5, 2.2, (ny, nx)).astype(np.float32)
    rnoise = rng.uniform(8, 12, (ny, nx)).astype(np.float32)
    for array, values in ((gain, (np.nan, 0, -1, np.inf)), (rnoise, (0, np.nan, np.inf))):
        spots = rng.integers(0, ny * nx, len(values) if ny * nx > 20 else 0)
        array.flat[spots] = values[: len(spots)]
    sci = (np.round(sci) if rounded else sci).astype(np.float32)
    sci[rng.random(shape) < 0.004] = np.nan
    if ny * nx > 20:
        sci[..., 0, 0] = 7
    pdq = (rng.random((ny, nx)) < 0.05).astype(np.uint32) << 11
    return sci, gdq, pdq, gain, rnoise


def run(function, arrays, rules, core=None):
    sci, gdq, pdq, gain, rnoise = arrays
    before = sci.copy()
    gdq, pdq = gdq.copy(), pdq.copy()
    found = function(sci, gdq, pdq, gain, rnoise, rules, core)
    np.testing.assert_array_equal(sci, before)
    return found, gdq, pdq


def assert_twins(arrays, rules, core=None):
    got, want = run(flag_jumps, arrays, rules, core), run(flag_jumps_numpy, arrays, rules, core)
    assert got[0] == want[0]
    np.testing.assert_array_equal(got[1], want[1])
    np.testing.assert_array_equal(got[2], want[2])
    return got


@needs_native
@pytest.mark.parametrize("method", [*METHODS, None])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 3, 1, 1),
        (1, 4, 3, 5),
        (2, 5, 7, 9),
        (3, 10, 5, 31),
        (1, 12, 4, 64),
        (60, 3, 3, 23),
        (21, 6, 4, 17),
    ],
)
def test_native_is_twin(method, shape):
    for k, rounded in enumerate((False, True)):
        arrays = noisy(k, shape, rounded=rounded)
        found, gdq, _ = assert_twins(arrays, JumpRules(method=method, after=((30.0, 2), (500.0, 4))))
        before = np.count_nonzero(arrays[1] & 4)
        # Clipping at four deviations cannot flag one value among few.
        searched = method in ("iterative", "single-pass") or (method and shape[0] > 20)
        assert found > before if searched and shape[3] > 5 else found >= before
        assert not ((gdq & 4).astype(bool) & ((gdq & 3) != 0)).any()


@needs_native
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1 << 30), st.integers(1, 4), st.integers(3, 14), st.integers(1, 4), st.integers(1, 40),
    st.sampled_from(METHODS), st.floats(0, 0.9), st.floats(0, 0.6), st.floats(0, 8), st.booleans(), st.integers(0, 20),
)  # fmt: skip
def test_native_is_twin_anywhere(seed, nint, ngroup, ny, nx, method, hits, flags, limit, neighbours, reach):
    arrays = noisy(seed, (nint, ngroup, ny, nx), hits=hits, flags=flags, rounded=bool(seed % 2))
    rules = JumpRules(
        method=method,
        nframes=1 + seed % 8,
        limit=limit,
        neighbours=neighbours,
        min_ratio=limit,
        after=((10.0, reach), (0.0, 0)),
    )
    assert_twins(arrays, rules, (0, ny, nx // 2, nx))


def test_strided_views_and_part_of_a_buffer():
    arrays = noisy(5, (3, 8, 6, 20))
    want = run(flag_jumps, arrays, JumpRules())
    sci, gdq, *rest = arrays
    wide = np.zeros((3, 11, 9, 20), np.float32)
    flags = np.zeros((3, 9, 8, 20), np.uint8)
    wide[:, 2:10, 1:7], flags[:, 1:, 2:] = sci, gdq
    found = flag_jumps(wide[:, 2:10, 1:7], flags[:, 1:, 2:], rest[0].copy(), *rest[1:], JumpRules())
    assert found == want[0]
    np.testing.assert_array_equal(flags[:, 1:, 2:], want[1])
    assert not flags[:, 0].any()
    assert not flags[:, :, :2].any()


def flat_ramp(nint=1, ngroup=8, ny=5, nx=5, rate=10.0):
    """A straight ramp without noise: 1 electron per DN, read noise 10 electrons of a pair."""
    sci = np.broadcast_to(
        np.arange(ngroup, dtype=np.float32)[:, None, None] * rate, (nint, ngroup, ny, nx)
    ).copy()
    ones = np.ones((ny, nx), np.float32)
    return [sci, np.zeros(sci.shape, np.uint8), np.zeros((ny, nx), np.uint32), ones, 10 * ones]


def flagged(result):
    return {tuple(int(i) for i in place) for place in np.argwhere(result[1] & 4)}


@pytest.mark.parametrize("function", [flag_jumps, flag_jumps_numpy])
@pytest.mark.parametrize(
    ("method", "ngroup", "nint"),
    [("iterative", 8, 1), ("single-pass", 20, 1), ("clip-all", 50, 4), ("clip-integrations", 9, 60)],
)
def test_one_jump_is_found_where_it_is(function, method, ngroup, nint):
    arrays = flat_ramp(nint=nint, ngroup=ngroup)
    arrays[0] += np.random.default_rng(1).normal(0, 0.1, arrays[0].shape).astype(np.float32)
    arrays[0][0, 4:, 2, 2] += 100
    result = run(function, arrays, JumpRules(method=method, neighbours=False, limit=6.0))
    assert flagged(result) == {(0, 4, 2, 2)}
    assert result[0] == 1


@pytest.mark.parametrize("function", [flag_jumps, flag_jumps_numpy])
@pytest.mark.parametrize(
    ("ngroup", "sigmas", "found"),
    [(3, 5.9, False), (3, 6.1, True), (4, 4.9, False), (4, 5.1, True), (5, 3.9, False), (5, 4.1, True)],
)
def test_thresholds_by_usable_differences(function, ngroup, sigmas, found):
    """The noise is sqrt(|median| + readnoise**2): sqrt(10 + 100) electrons here."""
    arrays = flat_ramp(ngroup=ngroup)
    arrays[0][0, -1, 1, 1] += np.float32(sigmas * np.sqrt(110.0))
    assert flagged(run(function, arrays, JumpRules(neighbours=False))) == (
        {(0, ngroup - 1, 1, 1)} if found else set()
    )


@pytest.mark.parametrize("function", [flag_jumps, flag_jumps_numpy])
def test_frames_average_the_noise_down(function):
    arrays = flat_ramp()
    arrays[0][0, 5:, 1, 1] += 30
    assert flagged(run(function, arrays, JumpRules(neighbours=False))) == set()
    assert flagged(run(function, arrays, JumpRules(neighbours=False, nframes=8))) == {(0, 5, 1, 1)}


@pytest.mark.parametrize("function", [flag_jumps, flag_jumps_numpy])
def test_neighbours_of_strong_jumps_only_and_never_unusable_ones(function):
    arrays = flat_ramp()
    arrays[0][0, 3:, 2, 2] += 1000
    arrays[0][0, 3:, 0, 0] += 60
    arrays[1][0, 3, 2, 1] = 1
    arrays[1][0, 3:, 1, 2] = 2
    cross = {(0, 3, 2, 2), (0, 3, 2, 3), (0, 3, 3, 2)}
    assert flagged(run(function, arrays, JumpRules())) == cross | {(0, 3, 0, 0)}
    assert flagged(run(function, arrays, JumpRules(max_ratio=50.0))) == {(0, 3, 2, 2), (0, 3, 0, 0)}


@pytest.mark.parametrize("function", [flag_jumps, flag_jumps_numpy])
def test_groups_after_a_jump(function):
    arrays = flat_ramp(ngroup=9)
    arrays[0][0, 3:, 2, 2] += 200
    arrays[1][0, 5, 2, 2] = 1
    rules = JumpRules(neighbours=False, after=((150.0, 3), (1e4, 9)))
    assert flagged(run(function, arrays, rules)) == {(0, g, 2, 2) for g in (3, 4, 6)}
    rules = replace(rules, after=((250.0, 3), (1e4, 9)))
    assert flagged(run(function, arrays, rules)) == {(0, 3, 2, 2)}


@pytest.mark.parametrize("function", [flag_jumps, flag_jumps_numpy])
def test_bad_gain_bad_noise_and_contradictory_flags(function):
    arrays = flat_ramp()
    sci, gdq, _, gain, rnoise = arrays
    sci[0, 4:] += 1000
    gain[0, :3] = np.nan, 0, -1
    rnoise[1, 0] = np.nan
    gdq[0, 4, 2, 2] = 5
    gdq[0, 4, 2, 3] = 6
    for method in (*METHODS, None):
        found, flags, pdq = run(function, arrays, JumpRules(method=method, neighbours=False))
        np.testing.assert_array_equal(np.argwhere(pdq == (NO_GAIN | 1)), [[0, 0], [0, 1], [0, 2]])
        assert not (flags[0, :, 0, :2] & 4).any()
        assert not (flags[0, :, 1, 0] & 4).any()
        assert flags[0, 4, 2, 2] == 1
        assert flags[0, 4, 2, 3] == 2
        assert found >= 2


def test_only_the_core_is_counted():
    arrays = flat_ramp()
    arrays[0][0, 4:, 1:3] += 100
    assert flag_jumps(*[a.copy() for a in arrays], JumpRules(), (2, 5, 0, 4)) == 4


@pytest.mark.parametrize(
    ("nint", "ngroup", "flagged_groups", "kwargs", "method"),
    [
        (1, 10, 0, {}, "iterative"),
        (1, 11, 0, {}, "single-pass"),
        (2, 12, 2, {}, "iterative"),
        (2, 13, 2, {}, "single-pass"),
        (2, 5, 3, {}, None),
        (100, 5, 3, {}, "clip-integrations"),
        (20, 5, 0, {"only_use_ints": False}, "clip-all"),
        (20, 5, 1, {"only_use_ints": False}, "iterative"),
        (5, 8, 0, {"min_diffs_single_pass": 7}, "single-pass"),
    ],
)
def test_method_follows_from_usable_groups(nint, ngroup, flagged_groups, kwargs, method):
    all_dnu = np.zeros((nint, ngroup), bool)
    all_dnu[0, :flagged_groups] = True
    assert choose_method(all_dnu, **kwargs) == method


@pytest.mark.parametrize("bad", ["gdq shape", "pdq dtype", "gain layout", "sci rows"])
def test_layouts_are_checked(bad):
    sci, gdq, pdq, gain, rnoise = flat_ramp()
    if bad == "gdq shape":
        gdq = gdq[:, 1:]
    elif bad == "pdq dtype":
        pdq = pdq.astype(np.int64)
    elif bad == "gain layout":
        gain = np.ones((5, 6), np.float32)[:, :5]
    else:
        sci = np.zeros((1, 8, 5, 7), np.float32)[..., :5]
    with pytest.raises(ValueError, match=r"need|fit|contiguous"):
        flag_jumps(sci, gdq, pdq, gain, rnoise, JumpRules())


@pytest.mark.parametrize("function", [flag_jumps, flag_jumps_numpy])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_frame_searched_from_the_top_down_is_the_frame_searched_at_once(function, data):
    shape = tuple(data.draw(st.integers(1, n)) for n in (2, 6, 9, 70))
    shape = (shape[0], shape[1] + 2, *shape[2:])
    rules = JumpRules(
        method=data.draw(st.sampled_from([*METHODS, None])),
        limit=3.0,
        min_ratio=data.draw(st.sampled_from([0.5, 4.0])),
        neighbours=data.draw(st.booleans()),
        after=data.draw(st.sampled_from([((0.0, 0), (0.0, 0)), ((30.0, 2), (500.0, 4))])),
    )
    arrays = noisy(data.draw(st.integers(0, 2**32)), shape, hits=0.2)
    core = (0, shape[2], 0, max(shape[3] - 3, 1))
    found, flags, pixels = run(function, arrays, rules, core)
    sci, gdq, pdq, gain, rnoise = (a.copy() for a in arrays)
    start = seen = total = 0
    carry = {}
    while seen < shape[2]:
        stop = min(seen + data.draw(st.integers(1, 4)), shape[2])
        last = stop == shape[2] or not rules.neighbours
        ready = stop - start if last else max(stop - start - 1, 0)
        rows = slice(start, stop)
        total += function(
            sci[:, :, rows], gdq[:, :, rows], pdq[rows], gain[rows], rnoise[rows], rules,
            (seen - start, stop - start, *core[2:]), fresh=seen - start, ready=ready, carry=carry,
        )  # fmt: skip
        start, seen = start + ready, stop
    assert total == found
    np.testing.assert_array_equal(gdq, flags)
    np.testing.assert_array_equal(pdq, pixels)

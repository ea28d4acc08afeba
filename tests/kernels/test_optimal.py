"""Optimal ramp fit: C against the NumPy twin bit for bit, against dense algebra, and on known truth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.detector1.ipc import noise_covariance
from jwcal.kernels._lib import native
from jwcal.kernels.ipc import convolve
from jwcal.kernels.optimal import RampModel, fit_optimal, fit_optimal_numpy
from jwcal.simulate.effects.ipc import deconvolution

needs_native = pytest.mark.skipif(native() is None, reason="compiled kernels are not built")
BOTH = pytest.mark.parametrize("function", [fit_optimal, fit_optimal_numpy])
DNU, SAT, JUMP, PERS, LOSS = 1, 2, 4, 32, 128
OFF = dict.fromkeys(("limit", "limit_split", "limit_near", "limit_pair", "limit_negative"), math.inf)
ALONE = {"limit_near": math.inf, "limit_pair": math.inf}
QUIET = {**OFF, "unbiased": False, "small_counts": False}
GAIN, READ = 2.0, 8.0


def ramps(seed, shape, signal, *, nframes=1, groupgap=0, read=READ, hits=()):
    """Ramps in DN of pixels with `signal` electrons per group; hits are (int, read, y, x, electrons)."""
    rng = np.random.default_rng(seed)
    nint, ngroup, ny, nx = shape
    out = np.empty(shape)
    step = nframes + groupgap
    for i in range(nint):
        charge = np.zeros((ny, nx))
        for k in range(ngroup * step):
            charge = charge + rng.poisson(np.broadcast_to(np.asarray(signal) / step, (ny, nx)))
            for integration, number, y, x, electrons in hits:
                if (integration, number) == (i, k):
                    charge[y, x] += electrons
            group, frame = divmod(k, step)
            if frame == 0:
                out[i, group] = 0.0
            if frame < nframes:
                out[i, group] += (charge + rng.normal(0, read, (ny, nx))) / GAIN / nframes
    return out.astype(np.float32)


def fit(sci, model=None, *, function=fit_optimal, gdq=None, zero=None, read=READ, **change):
    ny, nx = sci.shape[2:]
    gdq = np.zeros(sci.shape, np.uint8) if gdq is None else gdq
    maps = [np.full((ny, nx), v, np.float32) for v in (GAIN, read * math.sqrt(2) / GAIN)]
    model = model or RampModel(**{"group_time": 10.0, "frame_time": 10.0, **change})
    rate, ints = function(sci, gdq, np.zeros((ny, nx), np.uint32), *maps, model, None, zero)
    return rate, ints, gdq


def messy(seed, shape, flags):
    """Ramps of every brightness with jumps and every flag, and references with odd values."""
    rng = np.random.default_rng(seed)
    nint, ngroup, ny, nx = shape
    signal = rng.lognormal(2, 2, (ny, nx)) * rng.choice([1, 1, 1, -1], (ny, nx))
    step = np.broadcast_to(signal, shape) + np.where(
        rng.random(shape) < 0.08, rng.lognormal(5, 1.5, shape), 0
    )
    sci = (np.cumsum(step, axis=1) + rng.normal(0, 5, shape)).astype(np.float32)
    gdq = rng.choice(np.array([JUMP, DNU, PERS, JUMP | PERS, LOSS | DNU], np.uint8), shape)
    gdq[rng.random(shape) > flags] = 0
    gdq[np.arange(ngroup)[:, None, None] >= rng.integers(0, 3 * ngroup + 1, (nint, 1, ny, nx))] |= SAT
    sci[rng.random(shape) < 0.01] = np.nan
    sci[rng.random(shape) < 0.003] = np.inf
    gain, rnoise = (rng.uniform(*ends, (ny, nx)).astype(np.float32) for ends in ((1.5, 2.2), (8, 12)))
    for array, values in ((gain, (np.nan, 0, -1, np.inf)), (rnoise, (0, np.nan, 1e9, np.inf))):
        array.flat[rng.integers(0, ny * nx, len(values) if ny * nx > 20 else 0)] = values[
            : 4 if ny * nx > 20 else 0
        ]
    pdq = rng.choice(np.array([0] * 20 + [1, 2, 1 << 11], np.uint32), (ny, nx))
    zero = rng.normal(3, 2, (nint, ny, nx)).astype(np.float32)
    zero[rng.random(zero.shape) < 0.3] = 0
    return (sci, gdq, pdq, gain, rnoise), rng.uniform(0, 0.1, (ny, nx)).astype(np.float32), zero


def assert_twin(arrays, model, *extra):
    flags = [arrays[1].copy() for _ in range(2)]
    results = [
        f(arrays[0], g, *arrays[2:], model, *extra)
        for f, g in zip((fit_optimal, fit_optimal_numpy), flags, strict=True)
    ]
    np.testing.assert_array_equal(*flags)
    for mine, theirs in zip(*results, strict=True):
        assert mine.keys() == theirs.keys()
        for name, plane in mine.items():
            assert plane.dtype == theirs[name].dtype
            np.testing.assert_array_equal(plane, theirs[name], err_msg=name)
            if plane.dtype.kind == "f":
                assert (np.signbit(plane) == np.signbit(theirs[name]))[~np.isnan(plane)].all(), name


@needs_native
@pytest.mark.parametrize(
    "change", [{}, {"common": False, "reset_noise": 3.0, "noise_factor": 1.1}, ALONE, OFF]
)
@pytest.mark.parametrize(
    ("shape", "nframes"),
    [((1, 2, 3, 5), 1), ((2, 3, 1, 1), 2), ((3, 5, 4, 17), 4), ((1, 10, 2, 64), 1), ((2, 18, 3, 40), 8),
     ((7, 6, 9, 33), 2)],
)  # fmt: skip
def test_native_is_twin(shape, nframes, change):
    arrays, dark, zero = messy(shape[1], shape, 0.1)
    for extra, suppress in (((None, None), True), ((dark, zero), False)):
        model = RampModel(10.7, 2.7, nframes=nframes, groupgap=1, suppress_one_group=suppress, **change)
        assert_twin(arrays, model, *extra)


@needs_native
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1 << 30), st.integers(1, 4), st.integers(2, 12), st.integers(1, 4), st.integers(1, 70),
    st.floats(0, 0.9), st.sampled_from([1, 2, 3, 4, 8]), st.booleans(), st.floats(2, 6), st.floats(1, 6),
    st.floats(3, 7),
)  # fmt: skip
def test_native_is_twin_anywhere(seed, nint, ngroup, ny, nx, flags, nframes, common, limit, near, pair):
    arrays, dark, zero = messy(seed, (nint, ngroup, ny, nx), flags)
    model = RampModel(10.7, 2.7, nframes, 1, limit, limit + 0.2, near, 5.0, pair, common=common)
    assert_twin(arrays, model, dark, zero)


@BOTH
@pytest.mark.parametrize(("nframes", "groupgap"), [(1, 0), (4, 1), (8, 12)])
def test_slope_and_variances_are_those_of_dense_algebra(function, nframes, groupgap):
    sci = ramps(1, (1, 7, 1, 40), 30.0, nframes=nframes, groupgap=groupgap)
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[0, 3, 0, 10:] = JUMP
    gdq[0, 5, 0, 20:] = DNU
    gdq[0, 6, 0, 30:] = SAT
    model = RampModel(10.0, 10.0 / (nframes + groupgap), nframes, groupgap, **QUIET, quantised=False)
    rate, _, _ = fit(sci, model, function=function, gdq=gdq)
    for x in range(40):
        good = (gdq[0, :, 0, x] & ~np.uint8(JUMP)) == 0
        use = good[1:] & good[:-1] & (gdq[0, 1:, 0, x] == 0)
        diff = np.diff(sci[0, :, 0, x].astype(float) * GAIN)[use]
        # Means of reads at their own times: the covariance of charge is that of the earlier read.
        times = (np.arange(7)[:, None] + (1 + np.arange(nframes)) / (nframes + groupgap)).ravel()
        mean = np.kron(np.eye(7), np.full(nframes, 1 / nframes))
        taken = (np.eye(7)[1:] - np.eye(7)[:-1])[use] @ mean
        photon = taken @ np.minimum.outer(times, times) @ taken.T
        read = taken @ taken.T * READ**2
        signal = _signal(diff, photon, read)
        inverse = np.linalg.inv(signal * photon + read)
        weight = inverse.sum(axis=1) / inverse.sum()
        unit = GAIN * 10.0
        np.testing.assert_allclose(rate["SCI"][0, x], weight @ diff / unit, rtol=3e-4)
        np.testing.assert_allclose(
            rate["VAR_POISSON"][0, x], weight @ photon @ weight * signal / unit**2, rtol=3e-3
        )
        np.testing.assert_allclose(rate["VAR_RNOISE"][0, x], weight @ read @ weight / unit**2, rtol=3e-3)
    np.testing.assert_allclose(rate["ERR"] ** 2, rate["VAR_POISSON"] + rate["VAR_RNOISE"], rtol=1e-6)


def _signal(diff, photon, read):
    signal = max(diff.mean(), 0.0)
    for _ in range(20):
        inverse = np.linalg.inv(signal * photon + read)
        signal = max(inverse.sum(axis=0) @ diff / inverse.sum(), 0.0)
    return signal


@BOTH
def test_a_line_without_noise_comes_back(function):
    sci = np.broadcast_to(50.0 * np.arange(8, dtype=np.float32)[:, None, None], (3, 8, 4, 5)).copy()
    rate, ints, gdq = fit(sci, function=function)
    np.testing.assert_allclose(rate["SCI"], 5.0, rtol=1e-3)
    np.testing.assert_allclose(ints["SCI"], 5.0, rtol=1e-3)
    assert not gdq.any()
    assert not rate["DQ"].any()


@pytest.mark.parametrize(
    ("signal", "nframes", "groupgap", "nint"),
    [(12, 1, 0, 1), (40, 2, 0, 2), (300, 8, 2, 1), (6, 1, 0, 20), (25, 4, 1, 6)],
)
def test_errors_are_as_large_as_said_and_have_no_bias(signal, nframes, groupgap, nint):
    shape = (nint, 8, 120, 120)
    sci = ramps(nint, shape, signal, nframes=nframes, groupgap=groupgap)
    times = {"group_time": 1.0, "frame_time": 1.0 / (nframes + groupgap)}
    rate, ints, _ = fit(sci, nframes=nframes, groupgap=groupgap, quantised=False, **times)
    for product in (rate, ints):
        error = product["SCI"] - signal / GAIN
        pull = error / product["ERR"]
        assert abs(pull.std() - 1) < 4 / math.sqrt(2 * pull.size) + 0.006
        assert abs((error / product["ERR"].mean()).mean()) < 4 / math.sqrt(pull.size) + 0.003


def test_rounding_is_in_the_variance():
    sci = ramps(3, (1, 10, 150, 150), 20.0, nframes=8, groupgap=0, read=2.0)
    times = {"group_time": 1.0, "frame_time": 0.125, "nframes": 8, **OFF, "unbiased": False}
    pulls = {}
    for rounded in (True, False):
        rate, _, _ = fit(np.floor(sci), read=2.0, quantised=rounded, **times)
        pulls[rounded] = ((rate["SCI"] - 20.0 / GAIN) / rate["ERR"]).std()
    assert abs(pulls[True] - 1) < 0.015
    assert pulls[False] > pulls[True]


def test_the_correction_of_ipc_is_in_the_variance():
    coupling, mean = 0.02, 5.0
    charge = np.cumsum(np.random.default_rng(4).poisson(mean, (1, 10, 130, 130)), axis=1).astype(float)
    seen = charge * (1 - 4 * coupling)
    for shift, axis in ((1, 2), (-1, 2), (1, 3), (-1, 3)):
        seen += coupling * np.roll(charge, shift, axis)
    sci = ((seen + np.random.default_rng(5).normal(0, READ, seen.shape)) / GAIN).astype(np.float32)
    kernel = deconvolution(coupling)
    convolve(sci, kernel.astype(np.float32), (0, 130, 0, 130))
    sci = np.ascontiguousarray(sci[..., 2:-2, 2:-2])
    pulls, model = {}, {"group_time": 1.0, "frame_time": 1.0, **OFF, "unbiased": False}
    for factor in (1.0, noise_covariance(kernel)["IPCVAR"]):
        rate, _, _ = fit(sci, noise_factor=factor, **model)
        pulls[factor == 1.0] = ((rate["SCI"] - mean / GAIN) / rate["ERR"]).std()
    assert abs(pulls[False] - 1) < 0.018
    assert pulls[True] > 1.05


@BOTH
def test_hits_are_found_at_their_group(function):
    hits = [(0, 3, 2, 2, 400), (0, 7, 2, 8, 300), (0, 4, 2, 8, 500), (0, 9, 5, 5, 350), (0, 1, 5, 11, 350)]
    sci = ramps(5, (1, 10, 8, 14), 10.0, hits=hits)
    _, ints, gdq = fit(sci, function=function)
    want = np.zeros(gdq.shape, np.uint8)
    for i, k, y, x, _ in hits:
        want[i, k, y, x] = JUMP
    np.testing.assert_array_equal(gdq, want)
    np.testing.assert_array_equal(ints["DQ"][0], np.where(want.any(axis=(0, 1)), JUMP, 0))


@BOTH
def test_a_hit_between_averaged_reads_is_one_of_two_differences(function):
    shape, hits = (1, 8, 1, 12), [(0, 4 * 3 + frame, 0, 3 * frame, 600) for frame in (1, 2, 3)]
    sci = ramps(6, shape, 10.0, nframes=4, hits=hits)
    model = RampModel(10.0, 2.5, nframes=4)
    rate, _, gdq = fit(sci, model, function=function)
    for _, _, _, x, _ in hits:
        np.testing.assert_array_equal(np.nonzero(gdq[0, :, 0, x])[0], [3, 4])
    assert (abs(rate["SCI"] - 10 / GAIN / 10) < 5 * rate["ERR"]).all()


def test_splitting_makes_weak_hits_of_averages_visible():
    shape = (1, 8, 60, 60)
    hits = [
        (0, 2 * g + 1, y, x, 60)
        for y in range(0, 60, 3)
        for x, g in zip(range(0, 60, 3), [2, 3, 4, 5] * 5, strict=True)
    ]
    sci = ramps(7, shape, 10.0, nframes=2, hits=hits)
    found = {}
    for limit in (3.95, math.inf):
        _, _, gdq = fit(
            sci, group_time=1.0, frame_time=0.5, nframes=2, limit=3.75, limit_split=limit, **ALONE
        )
        found[limit] = np.mean(
            [gdq[0, k // 2, y, x] > 0 or gdq[0, k // 2 + 1, y, x] > 0 for _, k, y, x, _ in hits]
        )
    assert found[3.95] > found[math.inf] + 0.1


def flat(ny, nx):
    """A ramp of 5 DN per group without noise, and one standard deviation of its differences."""
    sci = 5.0 * np.arange(10, dtype=np.float32)[:, None, None]
    return np.broadcast_to(sci, (1, 10, ny, nx)).copy(), math.sqrt(10 + 2 * READ**2) / GAIN


@BOTH
def test_the_neighbour_of_a_hit_is_looked_at_more_closely(function):
    # 2.7 standard deviations, in the group of the hit and in another one.
    sci, sigma = flat(5, 9)
    sci[0, 4:, 2, 4] += 10 * sigma
    sci[0, 4:, 3, 5] += 2.7 * sigma
    sci[0, 7:, 1, 3] += 2.7 * sigma
    _, _, gdq = fit(sci, function=function)
    assert np.argwhere(gdq).tolist() == [[0, 4, 2, 4], [0, 4, 3, 5]]
    _, _, gdq = fit(sci, function=function, limit_near=math.inf)
    assert np.argwhere(gdq).tolist() == [[0, 4, 2, 4]]


@BOTH
def test_small_hits_have_small_neighbours(function):
    found = []
    for size in (10, 100, 1000):
        sci, sigma = flat(3, 3)
        sci[0, 4:, 1, 1] += size * sigma
        for x, small in enumerate((2.7, 3.4, 3.9)):
            sci[0, 4:, 0, x] += small * sigma
        _, _, gdq = fit(sci, function=function, limit_pair=math.inf)
        found.append(np.count_nonzero(gdq[0, 4, 0]))
    assert found == [3, 2, 1]


@BOTH
def test_two_neighbours_are_found_together(function):
    sci, sigma = flat(6, 9)
    for y, x, group in ((1, 1, 3), (1, 2, 3), (4, 1, 5), (4, 2, 6), (1, 6, 7), (3, 6, 7)):
        sci[0, group:, y, x] += 3.6 * sigma
    _, _, gdq = fit(sci, function=function)
    assert np.argwhere(gdq).tolist() == [[0, 3, 1, 1], [0, 3, 1, 2]]
    _, _, gdq = fit(sci, function=function, limit_pair=6.5)
    assert not gdq.any()


def test_pairs_are_found_without_bias():
    sci = ramps(11, (1, 8, 250, 250), 12.0)
    moved = {}
    for limit in (3.6, math.inf):
        rate, _, gdq = fit(sci, group_time=1.0, frame_time=1.0, limit_near=math.inf, limit_pair=limit)
        moved[limit] = (rate["SCI"] - 12.0 / GAIN).mean() / rate["ERR"].mean()
    assert np.count_nonzero(gdq) < 30
    assert abs(moved[3.6] - moved[math.inf]) < 0.006


def test_other_integrations_help_to_find_hits():
    hits = [(x % 8, 1 + y % 9, y, x, 40) for y in range(1, 36, 2) for x in range(0, 36, 2)]
    sci = ramps(8, (8, 10, 36, 36), 6.0, hits=hits)
    found = {}
    for common in (True, False):
        _, _, gdq = fit(sci, group_time=1.0, frame_time=1.0, common=common, limit=3.75, **ALONE)
        found[common] = np.mean([gdq[i, g, y, x] > 0 for i, g, y, x, _ in hits])
    assert found[True] > found[False] + 0.2


def test_a_source_that_varies_is_not_a_hit():
    change = 1 + 0.2 * np.sin(np.arange(10))
    sci = np.concatenate([ramps(i, (1, 10, 40, 40), 3000.0 * c) for i, c in enumerate(change)])
    _, ints, gdq = fit(sci, group_time=1.0, frame_time=1.0)
    assert (gdq > 0).mean() < 1e-3
    np.testing.assert_allclose(ints["SCI"].mean(axis=(1, 2)), 3000.0 * change / GAIN, rtol=2e-3)


@BOTH
def test_a_fall_needs_more_than_a_rise(function):
    sci = np.broadcast_to(5.0 * np.arange(10, dtype=np.float32)[:, None, None], (1, 10, 1, 3)).copy()
    sci[0, 5:, 0, 0] += 33
    sci[0, 5:, 0, 1] -= 33
    sci[0, 5:, 0, 2] -= 300
    _, _, gdq = fit(sci, function=function)
    assert np.argwhere(gdq).tolist() == [[0, 5, 0, 0], [0, 5, 0, 2]]


@BOTH
def test_integrations_do_not_weigh_by_their_own_noise(function):
    sci = ramps(9, (40, 5, 60, 60), 3.0)
    rate, ints, _ = fit(sci, function=function, **QUIET)
    np.testing.assert_allclose(rate["SCI"], ints["SCI"].mean(axis=0), atol=2e-6)
    own, _, _ = fit(sci, function=function, common=False, **QUIET)
    error = (own["SCI"] - 3.0 / GAIN / 10) / rate["ERR"]
    assert abs(((rate["SCI"] - 3.0 / GAIN / 10) / rate["ERR"]).mean()) < 4 / 60 < abs(error.mean())


@BOTH
def test_single_readings(function):
    sci = np.full((1, 4, 1, 4), 60.0, np.float32)
    gdq = np.full(sci.shape, SAT, np.uint8)
    gdq[0, 0, 0, :2] = 0
    zero = np.array([[[0, 20, 20, 0]]], np.float32)
    model = RampModel(20.0, 5.0, nframes=2, groupgap=2, reset_noise=4.0, small_counts=False)
    rate, _, _ = fit(sci, model, function=function, gdq=gdq, zero=zero)
    # The first group is the mean of reads at 5 and 10 s.
    np.testing.assert_allclose(rate["SCI"][0, :3], [60 / 7.5, 60 / 7.5, 4.0], rtol=1e-6)
    assert np.isnan(rate["SCI"][0, 3])
    assert rate["DQ"].tolist() == [[SAT, SAT, SAT, SAT | DNU]]
    first = (60 * GAIN * (5 + 5 + 5 + 10) / 4 / 7.5) / (GAIN * 7.5) ** 2
    np.testing.assert_allclose(
        rate["VAR_POISSON"][0, :3], [first, first, 20 * GAIN / (GAIN * 5) ** 2], rtol=1e-6
    )
    read = (READ / GAIN) ** 2
    want = [(read / 2 + model.rounding + 16) / 7.5**2] * 2 + [(read + 16) / 25]
    np.testing.assert_allclose(rate["VAR_RNOISE"][0, :3], want, rtol=1e-6)
    none = RampModel(20.0, 5.0, nframes=2, groupgap=2, suppress_one_group=True)
    assert np.isnan(fit(sci, none, function=function, gdq=gdq, zero=zero)[0]["SCI"]).all()


@BOTH
def test_what_cannot_be_fitted_is_flagged(function):
    sci = np.broadcast_to(5.0 * np.arange(4, dtype=np.float32)[:, None, None], (1, 4, 1, 6)).copy()
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[0, :, 0, 1] = DNU
    sci[0, :, 0, 2] = np.nan
    gain, noise = np.full((1, 6), 2, np.float32), np.full((1, 6), 8, np.float32)
    gain[0, 3], noise[0, 4] = np.nan, np.nan
    pdq = np.zeros((1, 6), np.uint32)
    pdq[0, 5] = DNU
    rate, ints = function(sci, gdq, pdq, gain, noise, RampModel(10.0, 10.0, suppress_one_group=True))
    assert rate["DQ"].tolist() == [[0, DNU, DNU, DNU | 1 << 19, DNU, DNU]]
    np.testing.assert_array_equal(ints["DQ"][0], rate["DQ"])
    np.testing.assert_array_equal(np.isnan(rate["SCI"]), rate["DQ"] & DNU > 0)
    for name in ("ERR", "VAR_POISSON", "VAR_RNOISE"):
        assert not rate[name][0, 1:].any()


def test_layouts_that_do_not_fit():
    sci = np.zeros((1, 1, 2, 2), np.float32)
    with pytest.raises(ValueError, match="two groups"):
        fit(sci)
    with pytest.raises(ValueError, match="does not fit"):
        fit(np.zeros((1, 3, 2, 2), np.float32), gdq=np.zeros((1, 2, 2, 2), np.uint8))
    with pytest.raises(ValueError, match="zero"):
        fit(np.zeros((1, 3, 2, 2), np.float32), zero=np.zeros((2, 2, 2), np.float32))

"""Likelihood fit: C against the NumPy twin, bit for bit, and what is known beforehand of slopes and jumps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.kernels._lib import native
from jwcal.kernels.likely import (
    LIMIT_ONE,
    LikelyTimes,
    _Fit,
    even_reads,
    fit_likely,
    fit_likely_numpy,
)

needs_native = pytest.mark.skipif(native() is None, reason="compiled kernels are not built")
DNU, SAT, JUMP = 1, 2, 4
BOTH = pytest.mark.parametrize("function", [fit_likely, fit_likely_numpy])
GAIN, NOISE = 2.0, 10.0


def exposed(seed, reads, rate, nint=1, shape=(20, 50), hits=0.0):
    """Ramps as a detector makes them: Poisson signal, read noise, hits by cosmic rays; and the zero frame."""
    rng = np.random.default_rng(seed)
    flat = np.concatenate(reads)
    wait = np.diff(flat, prepend=0.0)[:, None, None]
    signal = rng.poisson(np.clip(rate, 0, None) * GAIN * wait, (nint, len(flat), *shape)) / GAIN
    signal += hits * rng.lognormal(4, 2, signal.shape) * (rng.random(signal.shape) < 0.05)
    read = np.cumsum(signal, axis=1) + rng.normal(0, NOISE / np.sqrt(2), signal.shape)
    ends = np.cumsum([len(r) for r in reads])
    groups = [read[:, e - len(r) : e].mean(axis=1) for e, r in zip(ends, reads, strict=True)]
    return np.stack(groups, axis=1).astype(np.float32), read[:, 0].astype(np.float32)


def pixels(sci, gain=GAIN, noise=NOISE):
    """Unflagged arguments for a ramp."""
    frame = sci.shape[2:]
    return [
        sci,
        np.zeros(sci.shape, np.uint8),
        np.zeros(frame, np.uint32),
        np.full(frame, gain, np.float32),
        np.full(frame, noise, np.float32),
    ]


def noisy(seed, shape, nframes, flags=0.05):
    """Ramps of every brightness with hits and every flag, and references with odd values."""
    nint, ngroup, ny, nx = shape
    rng = np.random.default_rng(seed)
    rate = rng.lognormal(1, 2, (ny, nx)) * rng.choice([1, 1, 1, 0], (ny, nx))
    reads = even_reads(ngroup, nframes, seed % 3, 10.7)
    sci, zero = exposed(seed, reads, rate, nint, (ny, nx), hits=1.0)
    arrays = pixels(sci)
    gdq = arrays[1]
    gdq[rng.random(shape) < flags] = rng.choice([1, 2, 4, 5, 32])
    full = rng.integers(0, 3 * ngroup + 1, (nint, 1, ny, nx))
    gdq[np.arange(ngroup)[:, None, None] >= full] |= SAT
    sci[rng.random(shape) < 0.002] = np.nan
    for array, values in ((arrays[3], (np.nan, 0, -1)), (arrays[4], (0, np.nan, 1e9, 1e-9))):
        spots = rng.integers(0, ny * nx, len(values) if ny * nx > 20 else 0)
        array.flat[spots] = values[: len(spots)]
    arrays[2][...] = rng.choice(np.array([0] * 20 + [1, 2, 1 << 11], np.uint32), (ny, nx))
    dark = rng.uniform(-0.01, 0.1, (ny, nx)).astype(np.float32)
    return arrays, reads, dark, zero


def assert_same(got, want):
    for mine, theirs in zip(got, want, strict=True):
        assert mine.keys() == theirs.keys()
        for name, plane in mine.items():
            assert plane.dtype == theirs[name].dtype
            np.testing.assert_array_equal(plane, theirs[name], err_msg=name)


@needs_native
@pytest.mark.parametrize(
    ("shape", "nframes", "split"),
    [((1, 2, 3, 5), 1, False), ((2, 3, 1, 1), 1, False), ((2, 4, 5, 13), 2, True), ((3, 5, 4, 17), 4, False),
     ((1, 10, 2, 64), 1, False), ((2, 10, 33, 50), 1, False), ((1, 30, 3, 50), 8, True), ((4, 70, 2, 19), 1, False),
     ((1, 1, 3, 9), 4, True), ((1, 130, 1, 40), 1, False), ((1, 25, 3, 50), 2, True)],
)  # fmt: skip
def test_native_is_twin(shape, nframes, split):
    arrays, reads, dark, zero = noisy(shape[1], shape, nframes)
    times = LikelyTimes.of(reads, split)
    before = [a.copy() for a in arrays]
    out = [np.zeros((shape[0], len(times.step), *shape[2:]), np.uint8) for _ in range(2)]
    for extra in ((None, zero), (dark, zero)):
        for chisq in (False, True):
            got = fit_likely(*arrays, times, *extra, out[0], chisq)
            assert_same(got, fit_likely_numpy(*arrays, times, *extra, out[1], chisq))
            np.testing.assert_array_equal(*out)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


@needs_native
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1 << 30), st.integers(1, 3), st.integers(2, 24), st.integers(1, 3), st.integers(1, 70),
    st.integers(1, 4), st.floats(0, 0.9), st.booleans(),
)  # fmt: skip
def test_native_is_twin_anywhere(seed, nint, ngroup, ny, nx, nframes, flags, split):
    arrays, reads, dark, zero = noisy(seed, (nint, ngroup, ny, nx), nframes, flags)
    times = LikelyTimes.of(reads, split)
    assert_same(
        fit_likely(*arrays, times, dark, zero, chisq=True),
        fit_likely_numpy(*arrays, times, dark, zero, chisq=True),
    )


@needs_native
def test_blocks_of_pixels_do_not_matter():
    """A pixel gives the same bits alone, in a row, and cut out of a larger buffer."""
    (sci, gdq, *rest), reads, dark, zero = noisy(3, (2, 12, 3, 900), 1)
    times = LikelyTimes.of(reads)
    rate, ints = fit_likely(sci, gdq, *rest, times, dark, zero)
    for x in (0, 31, 32, 899):
        one = [np.ascontiguousarray(a[..., 1:2, x : x + 1]) for a in (sci, gdq, *rest, dark, zero)]
        alone, alone_ints = fit_likely(*one[:5], times, *one[5:])
        for name in rate:
            np.testing.assert_array_equal(alone[name][0, 0], rate[name][1, x])
            np.testing.assert_array_equal(alone_ints[name][:, 0, 0], ints[name][:, 1, x])
    wide = np.zeros((2, 15, 5, 900), np.float32)
    wide[:, 2:14, 1:4] = sci
    assert_same(fit_likely(wide[:, 2:14, 1:4], gdq, *rest, times, dark, zero), (rate, ints))


def dense(reads, rate, gain, noise):
    """Covariance of the differences of resultants per second, from that of every single read."""
    flat = np.concatenate(reads)
    single = rate / gain * np.minimum.outer(flat, flat) + np.eye(len(flat)) * noise**2 / 2
    mean = np.zeros((len(reads), len(flat)))
    ends = np.cumsum([len(r) for r in reads])
    for row, end, times in zip(mean, ends, reads, strict=True):
        row[end - len(times) : end] = 1 / len(times)
    step = np.diff(mean @ flat)
    difference = (mean[1:] - mean[:-1]) / step[:, None]
    return difference @ single @ difference.T


@pytest.mark.parametrize(
    "reads",
    [even_reads(7, 1, 0, 10.0), even_reads(5, 4, 2, 2.5), [np.array(t) for t in ([1.0], [3.0, 4.0], [8.0], [9.0, 11, 13])]],
)  # fmt: skip
@pytest.mark.parametrize("dropped", [None, 0, 2])
def test_matrix_algebra(reads, dropped):
    """Rate, error, chi-square, with and without one difference or two, by inverting the whole matrix."""
    rng = np.random.default_rng(1)
    times = LikelyTimes.of(reads)
    n, guess = len(times.step), 3.0
    cov = dense(reads, guess, GAIN, NOISE)
    d = rng.normal(3, 2, (n, 4))
    use = np.ones((n, 4))
    if dropped is not None:
        use[dropped] = 0
    fit = _Fit(d, use, times, np.full(4, guess / GAIN), np.full(4, NOISE**2 / 2))
    rate, error, poisson, read, chisq = fit.results()
    with np.errstate(invalid="ignore", divide="ignore"):
        _, rate1, rate2, gain1, gain2 = fit.omit()

    def solve(pixel, *gone):
        keep = [i for i in range(n) if i not in gone and i != dropped]
        inverse = np.linalg.inv(cov[np.ix_(keep, keep)])
        best = inverse.sum(axis=0) @ d[keep, pixel] / inverse.sum()
        rest = d[keep, pixel] - best
        return best, inverse.sum() ** -0.5, rest @ inverse @ rest

    for p in range(4):
        np.testing.assert_allclose((rate[p], error[p], chisq[p]), solve(p), rtol=1e-9)
        np.testing.assert_allclose(poisson[p] + read[p], error[p] ** 2, rtol=1e-9)
        for i in range(n):
            if n - 1 - (dropped is not None) > 0:
                best, _, less = solve(p, i)
                np.testing.assert_allclose(
                    (rate1[i, p], chisq[p] - gain1[i, p]), (best, less), rtol=1e-7, atol=1e-9
                )
        for i in range(n - 1):
            if n - 2 - (dropped is not None) > 1:
                best, _, less = solve(p, i, i + 1)
                np.testing.assert_allclose(
                    (rate2[i, p], chisq[p] - gain2[i, p]), (best, less), rtol=1e-7, atol=1e-9
                )


@BOTH
@pytest.mark.parametrize("nframes", [1, 4])
@pytest.mark.parametrize("slope", [0.0, 0.5, 50.0, 1500.0])
def test_slopes_are_unbiased_and_errors_right(function, nframes, slope):
    reads = even_reads(8, nframes, nframes // 2, 10.0 / nframes)
    sci, _ = exposed(7, reads, slope, shape=(40, 100))
    rate, _ = function(*pixels(sci), LikelyTimes.of(reads), chisq=True)
    pull = (rate["SCI"] - slope) / rate["ERR"]
    # 4000 pixels: 5 sigma of the mean and of the width.
    assert abs(pull.mean()) < 0.08
    # Without light half of the rates found are above zero, and are given photon noise.
    assert (0.9 if slope == 0 else 0.944) < pull.std() < 1.056
    np.testing.assert_allclose(rate["ERR"] ** 2, rate["VAR_POISSON"] + rate["VAR_RNOISE"], rtol=1e-5)
    # Seven differences, one parameter.
    assert abs(rate["CHISQ"].mean() - 6) < 0.3
    assert (rate["DQ"] == JUMP).mean() < 0.001


@BOTH
@pytest.mark.parametrize("nframes", [1, 4])
def test_jumps_are_found_where_they_are(function, nframes):
    reads = even_reads(9, nframes, 0, 10.0 / nframes)
    times = LikelyTimes.of(reads)
    sci, _ = exposed(5, reads, 20.0)
    hit = np.random.default_rng(2).integers(1, 9, sci.shape[2:])
    sci += (np.arange(9)[:, None, None] >= hit) * np.float32(300.0)
    out = np.zeros((1, 8, *sci.shape[2:]), np.uint8)
    rate, _ = function(*pixels(sci), times, left_out=out)
    np.testing.assert_array_equal(rate["DQ"], np.where(out.any(axis=(0, 1)), JUMP, 0))
    found = np.take_along_axis(out[0], hit[None] - 1, axis=0)
    assert found.mean() > 0.99
    assert abs(((rate["SCI"] - 20) / rate["ERR"]).mean()) < 0.16
    # One difference each, or two where the group with the hit may be a mean over it.
    assert out.sum() < out[0, 0].size * (1.05 if nframes == 1 else 2.05)


@BOTH
def test_hit_within_a_mean_takes_both_differences(function):
    reads = even_reads(8, 4, 0, 2.5)
    sci, _ = exposed(5, reads, 20.0)
    sci[:, 3] += 500
    sci[:, 4:] += 1000
    out = np.zeros((1, 7, *sci.shape[2:]), np.uint8)
    function(*pixels(sci), LikelyTimes.of(reads), left_out=out)
    assert out[0, 2].all()
    assert out[0, 3].all()
    assert out[0, [0, 1, 4, 5, 6]].mean() < 0.01


@BOTH
def test_gain_below_the_limit_flags_nothing(function):
    """A jump whose omission gains just less, and just more, than the limit."""
    reads = even_reads(6, 1, 0, 10.0)
    times = LikelyTimes.of(reads)
    sci = np.zeros((1, 6, 1, 200), np.float32)
    step = np.linspace(20, 60, 200, dtype=np.float32)
    sci[0, 3:, 0] += step
    rate, _ = function(*pixels(sci), times)
    cov = dense(reads, 0.0, GAIN, NOISE)
    inverse = np.linalg.inv(cov)
    d = np.diff(sci[0, :, 0].astype(float), axis=0) / 10
    best = inverse.sum(axis=0) @ d / inverse.sum()
    chisq = np.einsum("ip,ij,jp->p", d - best, inverse, d - best)
    np.testing.assert_array_equal((rate["DQ"][0] & JUMP) != 0, chisq > LIMIT_ONE)
    assert 20 < np.count_nonzero(rate["DQ"]) < 180


@BOTH
def test_flags_decide_what_is_used(function):
    times = LikelyTimes.of(even_reads(6, 1, 0, 10.0))
    sci = np.broadcast_to(50.0 * np.arange(6)[:, None, None], (1, 6, 1, 6)).astype(np.float32)
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[0, 1, 0, 0] = DNU
    gdq[0, 4:, 0, 1] = SAT
    gdq[0, :, 0, 2] = DNU
    gdq[0, :5, 0, 3] = 32
    gdq[0, 2, 0, 4] = JUMP
    gdq[0, 1:, 0, 5] = SAT
    args = pixels(sci)
    args[1] = gdq
    rate, _ = function(*args, times)
    np.testing.assert_array_equal(rate["DQ"][0], [0, SAT, DNU, 0, JUMP, SAT])
    np.testing.assert_allclose(rate["SCI"][0, [0, 1, 4]], 5.0, rtol=1e-6)
    for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE"):
        assert np.isnan(rate[name][0, [2, 3, 5]]).all()
    # Two differences in segments of their own: read noise of one, twice.
    pair = np.linalg.inv(dense(even_reads(4, 1, 0, 10.0), 5.0, GAIN, NOISE)).sum()
    np.testing.assert_allclose(rate["ERR"][0, 1], pair**-0.5, rtol=1e-6)


@BOTH
def test_all_is_nan_without_gain_noise_or_number(function):
    times = LikelyTimes.of(even_reads(6, 1, 0, 10.0))
    sci = np.broadcast_to(50.0 * np.arange(6)[:, None, None], (2, 6, 1, 5)).astype(np.float32)
    args = pixels(sci)
    args[3][0, :3] = np.nan, 0, -1e-3
    args[4][0, 3] = np.nan
    sci[1, 2, 0, 4] = np.nan
    rate, ints = function(*args, times)
    assert np.isnan(ints["SCI"][:, 0, :4]).all()
    assert np.isnan(rate["SCI"][0, :4]).all()
    assert np.isnan(ints["SCI"][1, 0, 4])
    # The other integration alone.
    np.testing.assert_allclose(rate["SCI"][0, 4], 5.0, rtol=1e-6)
    assert not rate["DQ"].any()


@BOTH
def test_integrations_are_weighted_by_variance(function):
    reads = even_reads(8, 1, 0, 10.0)
    sci, _ = exposed(3, reads, 30.0, nint=3)
    args = pixels(sci)
    args[1][1, 4:] = SAT
    rate, ints = function(*args, LikelyTimes.of(reads))
    weight = 1 / ints["VAR_RNOISE"] + 0 * ints["SCI"]
    assert (rate["VAR_RNOISE"] < ints["VAR_RNOISE"].min(axis=0)).all()
    plain = (ints["SCI"] / ints["ERR"] ** 2).sum(axis=0) / (1 / ints["ERR"] ** 2).sum(axis=0)
    assert np.abs(rate["SCI"] - plain).max() < 0.5 * rate["ERR"].max()
    assert weight[1].mean() < weight[0].mean() / 3
    pull = (rate["SCI"] - 30) / rate["ERR"]
    assert abs(pull.mean()) < 0.16
    assert abs(pull.std() - 1) < 0.12
    np.testing.assert_array_equal(rate["DQ"], np.bitwise_or.reduce(ints["DQ"], axis=0) | SAT)


@BOTH
def test_do_not_use_needs_every_integration(function):
    times = LikelyTimes.of(even_reads(5, 1, 0, 10.0))
    args = pixels(np.zeros((2, 5, 1, 3), np.float32))
    args[1][0, :, 0, 0] = SAT
    args[1][:, :, 0, 1] = SAT | DNU
    args[2][0, 2] = DNU
    rate, ints = function(*args, times)
    np.testing.assert_array_equal(ints["DQ"][:, 0], [[SAT | DNU, SAT | DNU, DNU], [0, SAT | DNU, DNU]])
    np.testing.assert_array_equal(rate["DQ"][0], [SAT, SAT | DNU, DNU])


@BOTH
def test_zero_frame_is_a_group_of_its_own(function):
    """Splitting the first group gives what the groups would give if they had been stored apart."""
    reads = even_reads(5, 4, 1, 2.0)
    sci, zero = exposed(6, reads, 40.0)
    split = LikelyTimes.of(reads, split_zero=True)
    apart = LikelyTimes.of([reads[0][:1], reads[0][1:], *reads[1:]])
    rest = (sci[:, :1] * np.float32(4) - zero[:, None]) / np.float32(3)
    longer = np.concatenate([zero[:, None], rest, sci[:, 1:]], axis=1)
    got = function(*pixels(sci), split, zero=zero)
    assert_same(got, function(*pixels(longer), apart))
    without, _ = function(*pixels(sci), LikelyTimes.of(reads))
    assert (got[0]["ERR"] < without["ERR"]).mean() > 0.95
    np.testing.assert_allclose(((got[0]["SCI"] - 40) / got[0]["ERR"]).std(), 1, atol=0.12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([0.25, 0.5, 2.0, 8.0]), st.integers(7, 12))
def test_units_do_not_matter(seed, factor, ngroup):
    """The same electrons in another unit of DN."""
    reads = even_reads(ngroup, 1, 0, 10.0)
    times = LikelyTimes.of(reads)
    arrays = sci, gdq, pdq, gain, noise = pixels(exposed(seed, reads, 5.0, shape=(2, 40), hits=1.0)[0])
    f = np.float32(factor)
    rate, _ = fit_likely(*arrays, times)
    scaled, _ = fit_likely(sci * f, gdq, pdq, gain / f, noise * f, times)
    np.testing.assert_array_equal(scaled["DQ"], rate["DQ"])
    np.testing.assert_allclose(scaled["SCI"], rate["SCI"] * f, rtol=1e-5)
    np.testing.assert_allclose(scaled["ERR"], rate["ERR"] * f, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(4, 12), st.integers(0, 10))
def test_more_flags_never_make_the_error_smaller(seed, ngroup, group):
    reads = even_reads(ngroup, 1, 0, 10.0)
    sci, _ = exposed(seed, reads, 5.0, shape=(1, 30))
    args = pixels(sci)
    before, _ = fit_likely(*args, LikelyTimes.of(reads))
    args[1][:, group % ngroup] = DNU
    after, _ = fit_likely(*args, LikelyTimes.of(reads))
    both = ((before["DQ"] | after["DQ"]) & JUMP) == 0
    # The read part depends on the flags alone, but for the weights that the rate gives.
    assert (after["VAR_RNOISE"][both] > 0.9 * before["VAR_RNOISE"][both]).all()


def test_layouts_are_checked():
    times = LikelyTimes.of(even_reads(5, 1, 0, 10.0))
    args = pixels(np.zeros((1, 5, 2, 3), np.float32))
    for number, wrong in (
        (0, args[0].astype(np.float64)),
        (1, args[1][:, :4]),
        (3, args[3][:1]),
        (4, args[4].T),
    ):
        broken = list(args)
        broken[number] = wrong
        with pytest.raises(ValueError, match=r"need|fit"):
            fit_likely(*broken, times)
    with pytest.raises(ValueError, match="differences"):
        fit_likely(*pixels(np.zeros((1, 6, 2, 3), np.float32)), times)
    with pytest.raises(ValueError, match="zero"):
        fit_likely(*args, LikelyTimes.of(even_reads(5, 2, 0, 10.0), split_zero=True))
    with pytest.raises(ValueError, match="left_out"):
        fit_likely(*args, times, left_out=np.zeros((1, 5, 2, 3), np.uint8))


@pytest.mark.parametrize("reads", [[[1.0]], [[1.0], [1.0]], [[3.0], [2.0]], [[1.0, 2.0], [np.nan]]])
def test_times_must_increase(reads):
    with pytest.raises(ValueError, match="increase"):
        LikelyTimes.of(reads)


def test_single_first_read_is_not_split():
    assert LikelyTimes.of(even_reads(4, 1, 0, 1.0), split_zero=True).split_zero == 0
    assert len(LikelyTimes.of(even_reads(4, 2, 0, 1.0), split_zero=True).step) == 4

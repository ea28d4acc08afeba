"""Offsets of lines of a mean scene: smooth scenes, sources, and what cannot be told."""

import numpy as np
import pytest

from jwcal.detector1.clean_flicker_noise import levels
from jwcal.detector1.clean_flicker_noise.scene import Noise, constant_offsets
from jwcal.detector1.clean_flicker_noise.sky import sky_offsets
from jwcal.kernels._lib import use_native

SHAPE = (256, 384)
SIGMA = 1.3


def noise_of(nline, rms=0.6):
    return Noise(rms**2, np.eye(1, nline)[0], 10.0, False)


def striped(scene, seed=0, rms=0.6, parts=1):
    """Scene with noise of pixels and of lines, and the latter."""
    rng = np.random.default_rng(seed)
    lines = rng.normal(0, rms, (scene.shape[0], parts))
    lines -= lines.mean(axis=0)
    image = scene + rng.normal(0, SIGMA, scene.shape)
    return (image + np.repeat(lines, scene.shape[1] // parts, axis=1)).astype(np.float32), lines


def nebula():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 2 + 40 * np.exp(-np.hypot(y - 90, 0.7 * (x - 150)) / 70)


def rest_of(image, lines, parts=1):
    found, left = constant_offsets(image, noise_of(len(image)), parts)
    return (found - lines).std() / lines.std(), left


def test_a_nebula_that_fills_the_frame_hides_little():
    image, lines = striped(nebula())
    rest, left = rest_of(image, lines)
    # The noise of pixels alone leaves 0.11.
    assert rest < 0.2
    assert left == pytest.approx(rest, abs=0.07)


def test_stars_are_not_in_the_way():
    rng = np.random.default_rng(5)
    scene = np.full(SHAPE, 2.0)
    for y, x in zip(rng.integers(0, 250, 60), rng.integers(0, 370, 60), strict=True):
        scene[y : y + 5, x : x + 9] += rng.uniform(1, 300)
    image, lines = striped(scene)
    assert rest_of(image, lines)[0] < 0.17


def test_amplifiers_have_lines_of_their_own():
    image, lines = striped(nebula(), parts=4)
    assert rest_of(image, lines, 4)[0] < 0.4


def test_a_line_too_bright_for_noise_is_left_alone():
    scene = nebula()
    scene[100] += 12
    image, _ = striped(scene)
    found, _ = constant_offsets(image, noise_of(len(image)), 1)
    assert abs(found[100, 0]) < 2


@pytest.mark.parametrize(
    "shape", [(1, 8), (2, 40), (3, 3), (5, 64), (30, 7), (70, 33), (200, 16)], ids=lambda s: f"{s[0]}x{s[1]}"
)
def test_any_shape(shape):
    image, lines = striped(np.full(shape, 5.0))
    found, left = constant_offsets(image, noise_of(shape[0]), 1)
    assert np.isfinite(found).all()
    assert 0 <= left <= 1
    assert np.abs(found).max() < 4
    if min(shape) > 32:
        assert (found - lines).std() < 0.6 * lines.std()


@pytest.mark.parametrize("value", [np.nan, 0.0, 3.0, np.inf])
def test_nothing_to_tell(value):
    found, left = constant_offsets(np.full((64, 64), value, np.float32), noise_of(64), 1)
    assert not found.any()
    assert left == pytest.approx(1)


def test_no_noise_no_correction():
    image, _ = striped(nebula())
    found, left = constant_offsets(image, noise_of(len(image), 0.0), 1)
    assert not found.any()
    assert left == 1


def test_compiled_and_numpy_agree():
    image, _ = striped(nebula()[:120, :104])
    first, left = constant_offsets(image, noise_of(len(image)), 1)
    if not use_native(True):
        pytest.skip("no compiled kernels")
    use_native(False)
    try:
        second, other = constant_offsets(image, noise_of(len(image)), 1)
    finally:
        use_native(True)
    assert np.array_equal(first, second)
    assert left == other


def test_order_of_bands_does_not_matter():
    image, _ = striped(nebula())
    plain = constant_offsets(image, noise_of(len(image)), 1)[0]

    def backwards(function, items):
        return [function(item) for item in reversed(list(items))][::-1]

    assert np.array_equal(constant_offsets(image, noise_of(len(image)), 1, backwards)[0], plain)


def test_roughness_follows_the_scene():
    rng = np.random.default_rng(8)
    walk = np.cumsum(np.cumsum(rng.normal(0, 0.05, (512, 6)), axis=0), axis=0)
    data = np.concatenate([walk, np.zeros((512, 6))], axis=1) + rng.normal(0, 0.2, (512, 12))
    found = levels.roughness(data, np.full(data.shape, 25.0))
    assert 0.3 < np.median(found[:, 1:4]) / 0.05**2 < 3
    assert np.median(found[:, 8:]) < 1e-6


def slow_sky(seed=3):
    rng = np.random.default_rng(seed)
    y = np.arange(512)
    lines = 0.6 * np.sin(2 * np.pi * y / 230 + 1)
    cells = rng.normal(5, 0.2, (64, 48)) + lines[4::8, None]
    lags = 0.18 * np.cos(2 * np.pi * np.arange(512) / 230) * np.exp(-np.arange(512) / 300)
    return cells, lines, lags


def test_sky_tells_slow_noise():
    cells, lines, covariance = slow_sky()
    cells[20:30, 10:20] += 50
    cells[:, 40] = np.nan
    found, left = sky_offsets(cells, np.full(cells.shape, 0.2), covariance, 512)
    rest = found - (lines - lines.mean())
    assert rest.std() < 0.25 * lines.std()
    assert left < 0.5


def test_without_sky_slow_noise_stays():
    cells, _, covariance = slow_sky()
    cells += 200 * np.exp(-np.hypot(*(np.mgrid[:64, :48] - 30.0)) / 25)
    found, left = sky_offsets(cells, np.full(cells.shape, 0.2), covariance, 512)
    assert not found.any()
    assert left == 1

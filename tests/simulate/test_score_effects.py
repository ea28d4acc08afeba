"""Scores of effects: what was left by construction is found."""

import json

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from jwcal.core.dq import DQ
from jwcal.simulate import score_effects
from jwcal.simulate.commands import score_command
from jwcal.simulate.effects.events import CORE, EVENT, HALO
from jwcal.simulate.expose import expose
from jwcal.simulate.score import as_text, score
from jwcal.simulate.score_effects import Residual, slope_weights


def make_residual(nint=1, shape=(80, 90), ngroups=8, combined=False, seed=0):
    rng = np.random.default_rng(seed)
    error = np.full((1 if combined else nint, *shape), 0.1, np.float32)
    value = (error * rng.standard_normal(error.shape)).astype(np.float32)
    clean = np.ones(error.shape, bool)
    weights = np.stack([slope_weights(ngroups, 2.0)] * nint)
    return Residual(
        value,
        error,
        clean,
        clean.copy(),
        np.zeros(error.shape, np.uint32),
        weights,
        np.full(nint, 1 / nint),
        combined,
    )


@pytest.mark.parametrize("power", [0.0, 0.4, 1.0, 3.0, 10.0])
def test_weights_give_the_slope_of_a_line(power):
    weights = slope_weights(9, 2.5, 1, 2, power)
    assert (weights * (3.0 + 7.0 * 2.5 * np.arange(9))).sum() == pytest.approx(7.0)
    assert (weights[[0, 7, 8]] == 0).all()
    assert not slope_weights(3, 1.0, 1, 1).any()


@pytest.mark.parametrize("left", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("fast_is_x", [True, False])
@pytest.mark.parametrize("combined", [True, False])
def test_line_noise_left(left, fast_is_x, combined):
    residual = make_residual(2, (80, 90), combined=combined)
    nline, nfast = (80, 90) if fast_is_x else (90, 80)
    lines = np.random.default_rng(3).normal(0, 2.0, (2, 8, 2, nline)).astype(np.float32)
    output = (np.arange(nfast) >= nfast // 2).astype(np.int16)
    put = np.einsum("g,igol->iol", residual.weights[0], lines)
    put = put.mean(axis=0, keepdims=True) if combined else put
    plane = put[:, output].swapaxes(1, 2)
    residual.value += (left * (plane if fast_is_x else plane.swapaxes(1, 2))).astype(np.float32)
    residual.value += np.float32(0.4)
    outputs = output[None, :] if fast_is_x else output[:, None]
    row = score_effects.flicker(residual, lines, outputs)
    assert row["injected"] == pytest.approx(put.std(), rel=0.05)
    assert row["fraction"] == pytest.approx(left, abs=0.03)
    assert row["left"] == pytest.approx(left * row["injected"], abs=0.08 * row["injected"])


def test_line_noise_needs_pixels():
    residual = make_residual()
    residual.clean[:] = False
    lines = np.ones((1, 8, 1, 80), np.float32)
    assert score_effects.flicker(residual, lines, np.zeros((1, 90), np.int16)) == {}


@pytest.mark.parametrize("left", [0.0, 0.25, 1.0])
def test_interference_left(left):
    residual = make_residual(2, (64, 72))
    wave = 4 * np.sin(2 * np.pi * (np.arange(500) + 0.5) / 500)
    names = ("ROWCLOCKS", "FRAMECLOCKS", "INTCLOCKS", "NSAMPLES")
    table = np.zeros(1, [("NAME", "S8"), ("FREQ", "f8"), ("PHASE", "f8"), *((n, "i8") for n in names)])
    table[0] = (b"Hz390", 390.625, 0.3, 28, 8512, 110656, 1)
    for i in range(2):
        for g, weight in enumerate(residual.weights[i]):
            clock = i * 110656 + g * 8512 + np.arange(64)[:, None] * 28 + np.arange(72)[None] // 4
            phase = (clock * 390.625e-5 + 0.3) % 1
            residual.value[i] += (left * weight * 4 * np.sin(2 * np.pi * phase)).astype(np.float32)
    (row,) = score_effects.interference(residual, table, wave[None])
    assert row["name"] == "Hz390"
    assert row["fraction"] == pytest.approx(left, abs=0.02)


@pytest.mark.parametrize("left", [0.0, 0.2, 1.0])
def test_latents_left(left):
    residual = make_residual(2)
    latent = np.zeros(residual.value.shape, np.float32)
    latent[:, 30:40, 30:40] = 2.0
    residual.value += np.float32(left) * latent
    row = score_effects.latents(residual, latent)
    assert row["pixels"] == 200
    assert row["injected"] == pytest.approx(2.0)
    assert row["fraction"] == pytest.approx(left, abs=0.02)
    assert score_effects.latents(residual, 0 * latent) == {"pixels": 0}


def test_parts_of_events_in_slopes():
    residual = make_residual(1)
    flags = np.zeros((1, 8, 80, 90), np.uint8)
    flags[0, 2, 20:24, 20:24] = CORE
    flags[0, 3, 18:26, 18:26] |= HALO
    residual.usable[0, 20:24, 20:24] = False
    residual.value[0, 18:26, 18:26] += 0.2
    out = score_effects.events_in_slopes(residual, flags)
    assert out["core"] == {"pixels": 16, "masked": 1.0, "pull_mean": None, "pull_std": None}
    assert out["halo"]["pixels"] == 48
    assert out["halo"]["masked"] == 0
    assert out["halo"]["pull_mean"] == pytest.approx(2, abs=0.6)
    assert "shower" not in out


def test_area_of_events_in_ramps():
    flags = np.zeros((1, 6, 60, 60), np.uint8)
    flags[0, 2, 28:33, 28:33] = CORE
    flags[0, 2, 25:28, 25:36] = HALO
    dq = np.zeros(flags.shape, np.uint8)
    dq[0, 2, 28:33, 28:33] = DQ["SATURATED"]
    dq[0, 3, 25:28, 25:36] = DQ["JUMP_DET"]
    table = np.zeros(1, EVENT)
    table["GROUP"], table["Y"], table["X"], table["RADIUS"] = 2, 30, 30, 2.5
    out = score_effects.events_in_ramps(dq, flags, table)
    assert out["core"] == {"area": 25, "flagged": 1.0}
    assert out["halo"] == {"area": 33, "flagged": 1.0}
    assert out["expansion"] == pytest.approx(1.0)
    dq[0, 2, 22:39, 22:39] = DQ["JUMP_DET"]
    assert score_effects.events_in_ramps(dq, flags, table)["expansion"] > 4


def test_peaks_of_stars():
    residual = make_residual(1)
    rate = np.ones((80, 90), np.float32)
    rate[40, 45] = 1000
    table = np.zeros(1, [("X", "f8"), ("Y", "f8"), ("FLUX_E", "f8")])
    table[0] = 45, 40, 1000
    residual.value[:] = 0
    residual.value[0, 40, 45], residual.value[0, 40, 46] = -30, 30
    row = score_effects.stars(residual, rate, table)
    assert row["stars"] == 1
    assert row["peak"] == pytest.approx(-0.03)
    assert row["sum"] == pytest.approx(0, abs=1e-6)
    residual.clean[0, 41, 46] = False
    assert score_effects.stars(residual, rate, table) == {"stars": 0}


def test_neighbours_of_a_smoothed_image_are_correlated():
    residual = make_residual(1, (200, 200))
    assert abs(score_effects.neighbours(residual)["x"]) < 0.03
    residual.value[..., 1:] += 0.2 * residual.value[..., :-1]
    out = score_effects.neighbours(residual)
    assert out["x"] == pytest.approx(0.2, abs=0.04)
    assert abs(out["y"]) < 0.03


def product(folder, value=None):
    """Slopes that are the truth, as a file."""
    with fits.open(folder / "truth.fits") as h:
        rate = h["RATE"].data
        rate = rate if value is None else rate + value
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(rate.astype("f4"), name="SCI")]
        hdus.append(fits.ImageHDU(np.full(rate.shape, 0.05, "f4"), name="ERR"))
        hdus.append(fits.ImageHDU(np.zeros(rate.shape, "u4"), name="DQ"))
    path = folder / "x_rate.fits"
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def test_files_with_effects_are_scored(tmp_path):
    effects = "flicker,snowballs=3,ipc,persistence,charge-migration"
    expose(tmp_path, shape=(64, 64), corner=(501, 501), ngroups=4, effects=effects, references=False)
    result = score(product(tmp_path), tmp_path / "truth.fits")["effects"]
    assert result["flicker"]["fraction"] == pytest.approx(0, abs=1e-6)
    assert set(result) == {"flicker", "persistence", "events", "stars", "neighbours"}
    done = CliRunner().invoke(
        score_command, [str(product(tmp_path)), "--truth", str(tmp_path / "truth.fits")]
    )
    assert done.exit_code == 0
    for word in ("1/f noise", "latents", "halo", "neighbours"):
        assert word in done.output
    as_json = CliRunner().invoke(
        score_command, [str(product(tmp_path)), "--truth", str(tmp_path / "truth.fits"), "--json"]
    )
    assert json.loads(as_json.output)[0]["effects"]["flicker"]["injected"] > 0


def test_interference_in_files(tmp_path):
    pytest.importorskip("asdf")
    expose(
        tmp_path, instrument="miri", subarray="SUB64", ngroups=12, effects="emi,showers=3", references=False
    )
    result = score(product(tmp_path), tmp_path / "truth.fits")["effects"]
    assert [row["name"] for row in result["emi"]] == ["Hz390", "Hz10"]
    assert all(row["fraction"] < 0.01 for row in result["emi"])


def test_ramps_with_events_are_scored(tmp_path):
    case = expose(
        tmp_path, shape=(64, 64), corner=(501, 501), ngroups=4, effects="snowballs=4", references=False
    )
    raw = fits.getdata(tmp_path / case["uncal"])
    path = tmp_path / "x_jump.fits"
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(raw.astype("f4"), name="SCI")]
    hdus.append(fits.ImageHDU(np.zeros(raw.shape, "u1"), name="GROUPDQ"))
    fits.HDUList(hdus).writeto(path)
    result = score(path, tmp_path / "truth.fits")
    assert result["effects"]["events"]["core"]["flagged"] == 0
    assert "flagged area 0.000" in as_text(result)


def test_a_truth_without_effects_is_scored_as_before(tmp_path):
    expose(tmp_path, shape=(32, 32), corner=(501, 501), ngroups=4, references=False)
    assert "effects" not in score(product(tmp_path), tmp_path / "truth.fits")

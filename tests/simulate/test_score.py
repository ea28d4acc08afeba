"""Scores of products whose quality is known."""

import json

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from jwcal.core.errors import DataError, InputError
from jwcal.simulate.commands import score_command, sim_group
from jwcal.simulate.picture import draw
from jwcal.simulate.ramp import HIT
from jwcal.simulate.score import Truth, as_text, flag_counts, read_truth, score, score_ramp, score_rates


def make_truth(nint=1, ngroups=6, shape=(120, 130), hits=400, seed=0):
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.normal(1.0, 1.0, shape)).astype(np.float32)
    good = rng.random(shape) > 0.01
    saturated = np.full((nint, *shape), -1, np.int16)
    saturated[:, :2] = 3
    table = np.zeros(hits, HIT)
    pixel = rng.choice(shape[0] * shape[1], hits, replace=False)
    table["Y"], table["X"] = np.divmod(pixel, shape[1])
    table["INT"], table["GROUP"] = rng.integers(0, nint, hits), rng.integers(1, ngroups, hits)
    table["FRAC"] = 1
    visible = good[table["Y"], table["X"]] & (table["Y"] > 1)
    return Truth(rate, good, saturated, table, np.full(hits, 10.0), visible, ngroups)


@pytest.mark.parametrize("combined", [True, False])
@pytest.mark.parametrize(("offset", "width"), [(0.0, 1.0), (0.5, 1.0), (0.0, 1.7)])
def test_known_pulls_are_recovered(combined, offset, width):
    truth = make_truth(nint=3)
    rng = np.random.default_rng(7)
    shape = truth.rate.shape if combined else truth.saturated.shape
    error = np.full(shape, 0.05, np.float32)
    rate = (truth.rate + error * (offset + width * rng.standard_normal(shape))).astype(np.float32)
    result = score_rates(rate, error, np.zeros(shape, np.uint32), truth)
    clean = result["pulls"]["clean"]
    n = clean["n"]
    assert clean["mean"] == pytest.approx(offset, abs=5 * width / np.sqrt(n))
    assert clean["std"] == pytest.approx(width, abs=5 * width / np.sqrt(2 * n))
    assert clean["sigma68"] == pytest.approx(width, rel=0.06)
    for row in result["flux"]:
        tolerance = 6 * row["bias_error"] * row["rate"] + 1e-9
        assert row["bias"] * row["rate"] == pytest.approx(offset * 0.05, abs=tolerance)
        assert row["pull_mean"] == pytest.approx(offset, abs=6 * width / np.sqrt(row["n"]))
    assert sum(row["n"] for row in result["flux"]) == n


def test_relative_bias_is_found_in_every_bin():
    truth = make_truth()
    error = np.full(truth.rate.shape, 1e-3, np.float32)
    result = score_rates(truth.rate * np.float32(1.02), error, np.zeros(truth.rate.shape, np.uint32), truth)
    assert len(result["flux"]) == 5
    for row in result["flux"]:
        assert row["bias"] == pytest.approx(0.02, rel=1e-3)


def test_rejected_missing_and_undefined_pixels_are_counted():
    truth = make_truth()
    rate, error = truth.rate.copy(), np.ones_like(truth.rate)
    dq = np.zeros(rate.shape, np.uint32)
    y, x = np.nonzero(truth.good)
    rate[y[:7], x[:7]] = np.nan
    dq[y[7:12], x[7:12]] = 1
    rate[y[12], x[12]], dq[y[12], x[12]] = np.nan, 1
    counts = score_rates(rate, error, dq, truth)["pixels"]
    assert counts["nan_not_flagged"] == 7
    assert counts["good_rejected"] == 13
    assert counts["used"] == truth.good.sum() - 13


def test_completeness_and_false_rate_of_integrations():
    truth = make_truth(nint=2, hits=600)
    dq = np.zeros(truth.saturated.shape, np.uint32)
    hits = truth.hits
    half = np.arange(hits.size) % 2 == 0
    dq[hits["INT"][half], hits["Y"][half], hits["X"][half]] |= 4
    false = np.zeros(dq.shape, bool)
    false[0, 50, 10:40] = True
    false &= ~truth.hit & truth.good
    dq[false] |= 4
    error = np.ones(dq.shape, np.float32)
    jumps = score_rates(np.broadcast_to(truth.rate, dq.shape).copy(), error, dq, truth)["jumps"]
    assert jumps["over5"] == pytest.approx(half[truth.visible].mean())
    assert sum(row["n"] for row in jumps["by_snr"]) == truth.visible.sum()
    clean = truth.good & (truth.saturated < 0) & ~truth.hit
    assert jumps["false_rate"] == pytest.approx(false.sum() / clean.sum())


def test_group_flags():
    truth = make_truth(nint=2)
    dq = np.zeros((2, 6, *truth.rate.shape), np.uint8)
    hits = truth.hits
    dq[hits["INT"], hits["GROUP"], hits["Y"], hits["X"]] |= 4
    dq[:, 3:, :2] |= 2
    result = score_ramp(dq, truth)
    assert result["jumps"]["over5"] == 1
    assert result["jumps"]["false_rate"] == 0
    assert result["saturation"]["flagged"] == result["saturation"]["clipped"] == 2 * truth.good[:2].sum()
    shifted = score_ramp(np.roll(dq & 4, 1, axis=1), truth)
    assert shifted["jumps"]["over5"] == 0
    assert shifted["jumps"]["false_rate"] > 0


def test_flag_counts_are_named_by_rising_bit():
    dq = np.array([0, 1, 5, 4, 1 << 31], np.uint32)
    assert flag_counts(dq) == {"DO_NOT_USE": 2, "JUMP_DET": 2, "REFERENCE_PIXEL": 1}


def test_wrong_shape_is_a_data_error():
    truth = make_truth()
    plane = np.zeros((3, 4), np.float32)
    with pytest.raises(DataError):
        score_rates(plane, plane, plane.astype(np.uint32), truth)
    with pytest.raises(DataError):
        score_ramp(np.zeros((1, 2, 3, 4), np.uint8), truth)


def perfect_product(folder, info, path, ints):
    with fits.open(folder / "truth.fits") as h:
        rate = h["RATE"].data.astype("f4")
        n = h[0].header["NINTS"]
    plane = np.broadcast_to(rate, (n, *rate.shape)).copy() if ints else rate
    header = fits.getheader(folder / info["uncal"])
    header.remove("NEXTEND", ignore_missing=True)
    fits.HDUList(
        [
            fits.PrimaryHDU(header=header),
            fits.ImageHDU(plane, name="SCI"),
            fits.ImageHDU(np.full(plane.shape, 0.1, "f4"), name="ERR"),
            fits.ImageHDU(np.zeros(plane.shape, "u4"), name="DQ"),
        ]
    ).writeto(path)


def test_command_on_files(case, tmp_path):
    folder, info, _ = case
    products = []
    for suffix in ("rate", "rateints"):
        products.append(str(tmp_path / f"x_{suffix}.fits"))
        perfect_product(folder, info, products[-1], suffix == "rateints")
    picture = tmp_path / "score.png"
    truth = str(folder / "truth.fits")
    run = CliRunner().invoke(score_command, [*products, "--truth", truth, "--json", "--plot", str(picture)])
    assert run.exit_code == 0, run.output
    results = json.loads(run.stdout)
    assert [r["kind"] for r in results] == ["rate", "rateints"]
    for result in results:
        assert result["pulls"]["clean"]["std"] == 0
        assert result["pixels"]["good_rejected"] == 0
        assert draw(result).shape[2] == 3
        assert result["file"] in as_text(result)
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = CliRunner().invoke(sim_group, ["score", products[0], "--truth", truth])
    assert again.exit_code == 0
    assert "bias %" in again.output


def test_what_is_no_product_or_no_truth_is_refused(case):
    folder, info, _ = case
    truth, raw = folder / "truth.fits", folder / info["uncal"]
    with pytest.raises(InputError):
        score(raw, truth)
    with pytest.raises(InputError):
        read_truth(raw)
    with pytest.raises(InputError):
        read_truth(truth, 1, info["nints"] + 1)


def test_truth_of_a_part_of_the_integrations(tmp_path):
    from jwcal.simulate.expose import expose

    expose(
        tmp_path,
        instrument="miri",
        shape=(16, 32),
        corner=(9, 9),
        nints=4,
        ngroups=7,
        segments=2,
        cr_rate=0.2,
    )
    part = read_truth(tmp_path / "truth.fits", 3, 4)
    own = read_truth(tmp_path / "seg002" / "truth.fits", 3, 4)
    for name in ("rate", "good", "saturated", "hits", "snr", "visible"):
        assert np.array_equal(getattr(part, name), getattr(own, name)), name
    assert part.hits.size > 0

"""Interleaved readout: order of the pixels, weights that predict the noise, shapes on disk."""

import numpy as np
import pytest
from astropy.io import fits

from jwcal.core.dq import DQ
from jwcal.simulate import irs2
from jwcal.simulate.detectors import detector, region
from jwcal.simulate.effects import Setting
from jwcal.simulate.expose import expose
from jwcal.simulate.pixels import pixels
from jwcal.simulate.ramp import pink
from jwcal.simulate.readout import timing


def test_order_of_the_columns():
    normal = irs2.normal_columns()
    assert normal.size == 3200
    assert normal.sum() == 2048
    assert not normal[:640].any()
    first = normal[640:1280]
    assert first[:8].all()
    assert not first[8:12].any()
    assert first[12:28].all()
    assert first[-8:].all()
    clocks = irs2.column_clocks()
    assert clocks.shape == (5, 640)
    for k, row in enumerate(clocks):
        steps = np.diff(row[::-1] if k % 2 == 0 else row)
        assert set(steps) == {1, 2}
        assert (steps == 2).sum() == 64
        assert row.min() == 0
        # Eight clocks are left at the end of a line.
        assert row.max() == irs2.CLOCKS - 9


def test_frame_time_is_the_official_one():
    sampling = timing(region(detector("NRS1"), "FULL"), "NRSIRS2", 3)
    assert sampling.tframe == pytest.approx(14.5889, abs=1e-4)
    assert (sampling.nframes, sampling.groupgap) == (5, 0)
    assert sampling.is_interleaved
    assert not timing(region(detector("NRS1"), "FULL"), "NRSRAPID", 3).is_interleaved


def correct(noise, reference, output, alpha, beta):
    transform = alpha * np.fft.fft(reference) + beta * np.fft.fft(irs2._reference_series(output))
    return noise - np.fft.ifft(transform).real


def test_weights_remove_the_correlated_noise():
    lines, common, own, white = 96, 6.0, 2.0, 3.0
    alpha, beta = irs2.weights(common, own, white, lines=lines)
    n = lines * irs2.CLOCKS
    assert alpha.shape == beta.shape == (n,)
    # A real correction needs weights that are the same for both signs of the frequency.
    assert np.allclose(alpha[1:], alpha[:0:-1])
    assert np.allclose(beta[1:], beta[:0:-1])
    rng = np.random.default_rng(8)
    before, after, neither = [], [], []
    for _ in range(5):
        shared = pink(rng, n, common)
        noise = shared + pink(rng, n, own)
        reference = shared + pink(rng, n, own) + rng.normal(0, white, n)
        output = noise + rng.normal(0, white, n)
        left = correct(noise, reference, output, alpha, beta)
        before.append(noise.std())
        after.append(left.std())
        lines_left = left.reshape(lines, -1).mean(axis=1).std()
        neither.append(lines_left / noise.reshape(lines, -1).mean(axis=1).std())
    assert np.mean(after) < 0.45 * np.mean(before)
    assert np.mean(neither) < 0.2


def test_weights_without_correlated_noise_of_its_own_trust_the_reference_output():
    alpha, beta = irs2.weights(5.0, 1e-3, 1e-3, lines=32)
    assert alpha[200:2000].mean() + 0.3636 * beta[200:2000].mean() == pytest.approx(1, abs=0.05)


@pytest.fixture(scope="module")
def readout():
    part = region(detector("NRS2"), "FULL")
    sampling = timing(part, "NRSIRS2RAPID", 2)
    setting = Setting(part, sampling, pixels(part), None, 1, 5, 0.0, 0.0, {})
    return irs2.Interleaved(setting, 1.0)


def test_normal_pixels_come_back_from_the_interleaved_image(readout):
    rng = np.random.default_rng(2)
    image = rng.integers(0, 60000, (2048, 2048)).astype(np.uint16)
    others = rng.integers(0, 60000, (2048, 1152)).astype(np.uint16)
    whole = readout.interleave(image, others)
    assert whole.shape == (3200, 2048)
    # NRS2: turned by half a circle against the detector, rows and columns exchanged.
    lines = np.swapaxes(whole[::-1, ::-1], 0, 1)
    normal = irs2.normal_columns()
    assert np.array_equal(lines[:, ~normal], others)
    assert np.array_equal(lines[:, normal], np.swapaxes(image[::-1, ::-1], 0, 1))


def test_outputs_share_the_common_noise_and_drift(readout):
    readout.begin(0)
    readout.collect(0, 0, 1.0, None)
    plane = np.swapaxes(readout._plane[::-1, ::-1], 0, 1)
    lines = plane.reshape(2048, 4, 512).mean(axis=2)
    lines -= lines.mean(axis=0)
    correlation = np.corrcoef(lines.T)
    assert correlation[np.triu_indices(4, 1)].min() > 0.5
    kept = readout._kept[0, 0][:, ::-1].T
    assert np.allclose(kept - kept.mean(axis=0), lines, atol=1e-3)
    reference = readout.references_read[0].astype(float)
    interleaved = reference[:, 640:].reshape(2048, 4, 128).mean(axis=2)
    interleaved -= interleaved.mean(axis=0)
    for k in range(4):
        assert np.corrcoef(interleaved[:, k], lines[:, k])[0, 1] > 0.6
    noise = (reference - reference.mean(axis=0)).std(axis=0)
    noisy = {640 + (output - 1) * 128 + block * 4 + 2 * pair for output, block, pair, _ in irs2.BAD_PAIRS}
    assert {int(k) for k in np.flatnonzero(noise > 30)} == noisy | {k + 1 for k in noisy}


def test_mask_and_bias_have_the_shape_of_the_readout(readout):
    mask = readout.interleaved_reference("mask", {"DQ": np.zeros((2048, 2048), np.uint32)})["DQ"]
    assert mask.shape == (3200, 2048)
    rows = (mask & DQ["REFERENCE_PIXEL"]).any(axis=1)
    assert np.array_equal(rows[::-1], ~irs2.normal_columns())
    assert np.flatnonzero((mask & DQ["BAD_REF_PIXEL"]).any(axis=1)).size == 2
    bias = readout.interleaved_reference("superbias", {"SCI": np.ones((2048, 2048), np.float32)})["SCI"]
    assert bias.dtype == np.float32
    assert (bias[rows] > 8000).all()
    assert (bias[~rows] == 1).all()


def test_raw_file_on_disk(tmp_path):
    case = expose(
        tmp_path, instrument="nirspec", readpatt="NRSIRS2RAPID", ngroups=1, references=False, cr_rate=0.0
    )
    assert case["subarray"] == "FULL"
    with fits.open(tmp_path / case["uncal"]) as h:
        assert h["SCI"].data.shape == (1, 1, 3200, 2048)
        header = h[0].header
        assert (header["NRS_NORM"], header["NRS_REF"], header["READPATT"]) == (16, 4, "NRSIRS2RAPID")
        assert (header["SUBSIZE1"], header["SUBSIZE2"]) == (2048, 2048)
    with fits.open(tmp_path / "truth.fits") as h:
        assert h["RATE"].data.shape == (2048, 2048)
        assert h["FLICKER"].data.shape == (1, 1, 4, 2048)
        assert len(h["BADPAIRS"].data) == len(irs2.BAD_PAIRS)

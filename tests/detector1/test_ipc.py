"""Inter-pixel capacitance, as a step: borders, tiles, forms of the kernel."""

import numpy as np
import pytest

from jwcal.core import engine
from jwcal.core.errors import InputError, ReferenceFileError
from jwcal.detector1.ipc import ipc, noise_covariance, science_region
from jwcal.simulate.effects.ipc import deconvolution, kernel

KERNEL = np.array([[0, -0.01, 0.002], [-0.012, 1.05, -0.011], [0.001, -0.013, 0]])


def test_off_unless_asked_for(ramp, reference):
    path = reference("ipc", SCI=KERNEL)
    sci = np.full((1, 1, 5, 5), 100)
    out = ipc(ramp(sci), refs={"ipc": path})
    assert (out["SCI"] == 100).all()
    assert out.meta["S_IPC"] == "SKIPPED"
    out = ipc(ramp(sci), refs={"ipc": path}, skip=False)
    np.testing.assert_allclose(out["SCI"][0, 0, 2, 2], 100 * KERNEL.sum(), rtol=1e-6)
    assert out.meta["S_IPC"] == "COMPLETE"


@pytest.mark.parametrize(
    ("instrument", "corner", "frame", "region"),
    [
        ("NIRCAM", (1, 1), (2048, 2048), (4, 2044, 4, 2044)),
        ("NIRCAM", (1, 1), (64, 64), (4, 64, 4, 64)),
        ("NIRISS", (3, 2041), (8, 100), (0, 4, 2, 100)),
        ("NIRSPEC", (1000, 1000), (32, 32), (0, 32, 0, 32)),
        ("MIRI", (1, 1), (1024, 1032), (0, 1024, 4, 1028)),
        ("MIRI", (1001, 51), (256, 32), (0, 256, 0, 28)),
    ],
)
def test_reference_pixels_are_left_out(ramp, instrument, corner, frame, region):
    exposure = ramp(np.zeros((1, 1, *frame)), INSTRUME=instrument, SUBSTRT1=corner[0], SUBSTRT2=corner[1])
    assert science_region(exposure) == region


def test_tiles_do_not_show_and_a_kernel_per_pixel_can_be_given(ramp, reference, monkeypatch):
    shape = (1, 3, 40, 12)
    sci = np.random.default_rng(2).uniform(0, 1000, shape)
    keys = {"SUBSTRT1": 1, "SUBSTRT2": 1}
    one = reference("ipc", keys=keys, SCI=KERNEL)
    whole = ipc(ramp(sci, **keys), refs={"ipc": one}, jobs=1, skip=False)["SCI"].copy()
    monkeypatch.setattr(engine, "TILE_BYTES", 1)
    tiled = ipc(ramp(sci, **keys), refs={"ipc": one}, jobs=2, skip=False)["SCI"]
    np.testing.assert_array_equal(whole, tiled)
    each = reference("ipc", keys=keys, SCI=np.broadcast_to(KERNEL[:, :, None, None], (3, 3, 40, 12)))
    np.testing.assert_array_equal(
        whole, ipc(ramp(sci, **keys), refs={"ipc": each}, jobs=2, skip=False)["SCI"]
    )
    np.testing.assert_array_equal(whole[..., :4, :], sci.astype(np.float32)[..., :4, :])


def test_odd_kernels_and_frames_are_refused(ramp, reference):
    with pytest.raises(ReferenceFileError, match="kernel"):
        ipc(ramp([1]), refs={"ipc": reference("ipc", SCI=np.ones((3, 3, 3)))}, skip=False)
    with pytest.raises(InputError, match="IRS2"):
        ipc(ramp(np.ones((1, 1, 3200, 2))), refs={"ipc": reference("ipc", SCI=KERNEL)}, skip=False)


COUPLING = 0.006
INNER = (slice(None), slice(None), slice(8, -8), slice(8, -8))


def couple(image, taps):
    out = np.zeros_like(image)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            out += taps[dy + 1, dx + 1] * np.roll(image, (dy, dx), (-2, -1))
    return out


def corrected(ramp, reference, sci):
    keys = {"SUBSTRT1": 901, "SUBSTRT2": 901}
    path = reference("ipc", keys=keys, SCI=deconvolution(COUPLING))
    return ipc(ramp(sci, **keys), refs={"ipc": path}, skip=False)


def test_what_is_left_of_a_point_source(ramp, reference):
    sci = np.zeros((1, 1, 33, 33))
    sci[0, 0, 16, 16] = 1e4
    out = corrected(ramp, reference, couple(sci, kernel(COUPLING)))["SCI"]
    left = np.abs(out - sci)[0, 0] / 1e4
    # The kernel takes 4 times the coupling from the centre.
    assert left[16, 16] < 0.02 * 4 * COUPLING
    left[16, 16] = 0
    assert left.max() < 0.02 * COUPLING


def test_photon_noise_is_that_of_single_pixels_again(ramp, reference):
    photons = np.random.default_rng(1).poisson(10000, (1, 4, 256, 256)).astype(float)
    coupled = couple(photons, kernel(COUPLING))
    gain_bias = coupled[INNER].var() / coupled[INNER].mean()
    assert gain_bias < 0.96
    out = corrected(ramp, reference, coupled)["SCI"][INNER].astype(float)
    assert abs(out.var() / out.mean() - 1) < 0.01
    out -= out.mean()
    assert abs((out[..., 1:] * out[..., :-1]).mean() / out.var()) < 0.005


def test_keywords_tell_the_noise_it_makes(ramp, reference):
    read = np.random.default_rng(2).normal(0, 10, (1, 8, 300, 300))
    made = corrected(ramp, reference, read)
    out = made["SCI"][INNER].astype(float) / 10
    measured = {
        "IPCVAR": (out**2).mean(),
        "IPCCOVX": (out[..., 1:] * out[..., :-1]).mean(),
        "IPCCOVY": (out[..., 1:, :] * out[..., :-1, :]).mean(),
        "IPCCOVD": (out[..., 1:, 1:] * out[..., :-1, :-1]).mean(),
    }
    assert made.meta["IPCVAR"] > 1.04
    assert made.meta["IPCCOVX"] < -0.01
    for key, value in measured.items():
        assert abs(made.meta[key] - value) < 0.006, key


def test_noise_of_a_kernel_per_pixel_is_its_mean(ramp, reference):
    keys = {"SUBSTRT1": 901, "SUBSTRT2": 901}
    each = np.broadcast_to(deconvolution(COUPLING)[:, :, None, None], (3, 3, 40, 12))
    out = ipc(
        ramp(np.ones((1, 1, 40, 12)), **keys), refs={"ipc": reference("ipc", keys=keys, SCI=each)}, skip=False
    )
    for key, value in noise_covariance(deconvolution(COUPLING)).items():
        assert out.meta[key] == pytest.approx(value, abs=1e-6)


def test_no_convolution_no_covariance():
    assert noise_covariance([[1.0]]) == {"IPCVAR": 1, "IPCCOVX": 0, "IPCCOVY": 0, "IPCCOVD": 0}

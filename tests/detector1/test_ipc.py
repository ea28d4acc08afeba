"""Inter-pixel capacitance, as a step: borders, tiles, forms of the kernel."""

import numpy as np
import pytest

from jwcal.core import engine
from jwcal.core.errors import InputError, ReferenceFileError
from jwcal.detector1.ipc import ipc, science_region

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


def test_odd_kernels_and_irs2_are_refused(ramp, reference):
    with pytest.raises(ReferenceFileError, match="kernel"):
        ipc(ramp([1]), refs={"ipc": reference("ipc", SCI=np.ones((3, 3, 3)))}, skip=False)
    with pytest.raises(InputError, match="IRS2"):
        ipc(ramp(np.ones((1, 1, 3200, 2))), refs={"ipc": reference("ipc", SCI=KERNEL)}, skip=False)

"""Reset anomaly: the right frame of the reference for every integration of every segment."""

import numpy as np
import pytest

from jwcal.core.errors import ReferenceFileError
from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from jwcal.detector1.reset import plan_frames, reset, subtract_reset

SHAPE = (6, 8)


def exposure(nint, ngroup, instrument="MIRI", **keys):
    header = Header()
    for key, value in {
        "INSTRUME": instrument,
        "NINTS": nint,
        "NGROUPS": ngroup,
        "SUBSTRT1": 1,
        "SUBSTRT2": 1,
        **keys,
    }.items():
        header.set(key, value)
    planes = {
        "SCI": np.full((nint, ngroup, *SHAPE), 1000, np.float32),
        "PIXELDQ": np.full(SHAPE, 4, np.uint32),
        "GROUPDQ": np.zeros((nint, ngroup, *SHAPE), np.uint8),
    }
    return Exposure("ramp", header, {"SCI": Header()}, ArrayStore(planes))


def reference(path, nint, ngroup, **keys):
    """Frame of integration i and group g holds 100 i + g + 1; one pixel NaN, one flagged."""
    from astropy.io import fits

    i, g = np.arange(nint)[:, None, None, None], np.arange(ngroup)[:, None, None]
    sci = (100 * i + g + 1 + np.zeros(SHAPE)).astype(np.float32)
    sci[..., 2, 3] = np.nan
    dq = np.zeros(SHAPE, np.uint32)
    dq[1, 1] = 1 << 12
    primary = fits.PrimaryHDU()
    primary.header.update({"REFTYPE": "RESET", "INSTRUME": "MIRI", "NINTS": nint, "NGROUPS": ngroup, **keys})
    fits.HDUList([primary, fits.ImageHDU(sci, name="SCI"), fits.ImageHDU(dq, name="DQ")]).writeto(path)
    return {"reset": str(path)}


def test_each_integration_has_its_frame_and_the_last_one_serves_the_rest(tmp_path):
    refs = reference(tmp_path / "reset.fits", 2, 3)
    out = reset(exposure(4, 5), refs=refs)
    want = np.zeros((4, 5))
    want[:, :3] = [[1, 2, 3], [101, 102, 103], [101, 102, 103], [101, 102, 103]]
    np.testing.assert_array_equal(1000 - out["SCI"][:, :, 0, 0], want)
    assert (out["SCI"][:, :, 2, 3] == 1000).all()
    assert out["PIXELDQ"][1, 1] == 4 | 1 << 12
    assert out["PIXELDQ"][0, 0] == 4
    assert out.meta["S_RESET"] == "COMPLETE"
    assert out.meta["R_RESET"] == "reset.fits"


def test_a_later_segment_starts_further_on_and_a_short_ramp_uses_fewer_groups(tmp_path):
    refs = reference(tmp_path / "reset.fits", 4, 3)
    out = reset(exposure(3, 2, INTSTART=3, INTEND=5), refs=refs)
    np.testing.assert_array_equal(1000 - out["SCI"][:, :, 0, 0], [[201, 202], [301, 302], [301, 302]])
    assert plan_frames((2, 2), 7, (4, 3)).low == 3


def test_other_instruments_and_a_missing_reference_skip(tmp_path):
    assert reset(exposure(1, 3), refs={}).meta["S_RESET"] == "SKIPPED"
    refs = reference(tmp_path / "reset.fits", 1, 3)
    out = reset(exposure(1, 3, instrument="NIRCAM"), refs=refs)
    assert out.meta["S_RESET"] == "SKIPPED"
    assert (out["SCI"] == 1000).all()


def test_a_reference_that_promises_more_than_it_has_is_refused(tmp_path):
    refs = reference(tmp_path / "reset.fits", 2, 3, NGROUPS=9)
    with pytest.raises(ReferenceFileError, match="NGROUPS = 9"):
        reset(exposure(1, 3), refs=refs)


@pytest.mark.parametrize("start", [0, 1, 2])
def test_integrations_may_come_in_any_portion(start):
    rng = np.random.default_rng(1)
    frames = plan_frames((3, 4), 1, (3, 2))
    anomaly = rng.normal(0, 5, (frames.high - frames.low, 2, *SHAPE)).astype(np.float32)
    whole, part = np.zeros((3, 4, *SHAPE), np.float32), np.zeros((1, 4, *SHAPE), np.float32)
    dq = np.zeros(SHAPE, np.uint32)
    subtract_reset(whole, dq, anomaly, None, frames)
    subtract_reset(part, dq, anomaly, None, frames, start)
    np.testing.assert_array_equal(part[0], whole[start])

"""First-frame flagging of MIRI."""

import numpy as np
import pytest

from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from jwcal.detector1.firstframe import firstframe, flag_first

FLUX_ESTIMATED = 1 << 28


def exposure(ngroup, instrument="MIRI"):
    header = Header()
    for key, value in {"INSTRUME": instrument, "NINTS": 2, "NGROUPS": ngroup}.items():
        header.set(key, value)
    flags = np.zeros((2, ngroup, 3, 4), np.uint8)
    flags[1, 2:, 0, 0] = 2
    planes = {
        "SCI": np.zeros(flags.shape, np.float32),
        "PIXELDQ": np.zeros((3, 4), np.uint32),
        "GROUPDQ": flags,
    }
    return Exposure("ramp", header, {"SCI": Header()}, ArrayStore(planes))


def test_off_unless_asked_for():
    out = firstframe(exposure(6))
    assert out.meta["S_FRSTFR"] == "SKIPPED"
    assert not (out["GROUPDQ"] & 1).any()


@pytest.mark.parametrize("keep", [True, False])
def test_bright_pixels_may_keep_their_first_group(keep):
    out = firstframe(exposure(6), skip=False, bright_use_group1=keep)
    want = np.ones((2, 3, 4), np.uint8)
    want[1, 0, 0] = not keep
    np.testing.assert_array_equal(out["GROUPDQ"][:, 0], want)
    assert not (out["GROUPDQ"][:, 1:] & 1).any()
    assert out["PIXELDQ"][0, 0] == (FLUX_ESTIMATED if keep else 0)
    assert not out["PIXELDQ"][1:].any()
    assert out.meta["S_FRSTFR"] == "COMPLETE"


@pytest.mark.parametrize(("ngroup", "instrument"), [(3, "MIRI"), (6, "NIRISS")])
def test_few_groups_and_other_instruments_skip(ngroup, instrument):
    out = firstframe(exposure(ngroup, instrument), skip=False)
    assert out.meta["S_FRSTFR"] == "SKIPPED"
    assert not (out["GROUPDQ"] & 1).any()


def test_flags_that_are_set_stay():
    flags = np.full((1, 4, 1, 1), 5, np.uint8)
    flag_first(flags, np.zeros((1, 1), np.uint32), bright_use_group1=True)
    assert (flags == 5).all()

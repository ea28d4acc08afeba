"""Rescaling of on-board averages."""

import numpy as np
import pytest

from jwcal.detector1.group_scale import group_scale


def test_other_divisor_is_corrected(ramp):
    out = group_scale(ramp([100, 201], NFRAMES=5, FRMDIVSR=8))
    assert out["SCI"].ravel().tolist() == [
        np.float32(100) * np.float32(1.6),
        np.float32(201) * np.float32(1.6),
    ]
    assert out.meta["S_GRPSCL"] == "COMPLETE"


def test_zero_frame_and_flags_are_left_alone(ramp):
    out = group_scale(ramp([100, np.nan], zeroframe=[[[7]]], NFRAMES=5, FRMDIVSR=8))
    assert out["ZEROFRAME"].item() == 7
    assert np.isnan(out["SCI"][0, 1]).all()
    assert not out["GROUPDQ"].any()


@pytest.mark.parametrize(
    "keys", [{"NFRAMES": 4, "FRMDIVSR": 4}, {"NFRAMES": 8, "FRMDIVSR": None}, {"NFRAMES": 5, "FRMDIVSR": None},
             {"NFRAMES": None}]
)  # fmt: skip
def test_nothing_to_do_or_nothing_known_is_a_skip(ramp, keys):
    out = group_scale(ramp([100, 200], **keys))
    assert out["SCI"].ravel().tolist() == [100, 200]
    assert out.meta["S_GRPSCL"] == "SKIPPED"


def test_miri_averages_are_already_right(ramp):
    keys = {"INSTRUME": "MIRI", "READPATT": "FASTGRPAVG", "NFRAMES": 1, "FRMDIVSR": 4, "MIRNFRMS": 1}
    out = group_scale(ramp([100, 200], **keys))
    assert out["SCI"].ravel().tolist() == [100, 200]
    assert out.meta["S_GRPSCL"] == "SKIPPED"
    assert out.meta["NFRAMES"] == 4

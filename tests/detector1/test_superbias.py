"""Bias subtraction, as a step."""

import numpy as np
import pytest

from jwcal.core.errors import ReferenceFileError
from jwcal.detector1.superbias import superbias

BIAS = np.array([[10, np.nan], [20, 30]])


def test_every_group_and_the_zero_frame(ramp, reference):
    path = reference("superbias", SCI=BIAS, DQ=[[0, 2**22], [0, 0]])
    out = superbias(
        ramp(np.full((2, 3, 2, 2), 100), zeroframe=np.full((2, 2, 2), 50)), refs={"superbias": path}
    )
    assert out["SCI"][1, 2].tolist() == [[90, 100], [80, 70]]
    assert out["ZEROFRAME"][1].tolist() == [[40, 50], [30, 20]]
    assert out["PIXELDQ"].tolist() == [[0, 2**22], [0, 0]]
    assert out.meta["S_SUPERB"] == "COMPLETE"
    assert out.meta["R_SUPERB"] == "superbias.fits"


def test_miri_has_no_bias(ramp):
    out = superbias(ramp([5], INSTRUME="MIRI"), refs={})
    assert out["SCI"].item() == 5
    assert out.meta["S_SUPERB"] == "SKIPPED"


def test_reference_of_another_place_is_refused(ramp, reference):
    path = reference("superbias", keys={"SUBSTRT1": 300}, SCI=BIAS)
    with pytest.raises(ReferenceFileError, match="does not cover"):
        superbias(ramp(np.ones((1, 1, 2, 2))), refs={"superbias": path})

"""Last-frame flagging of MIRI."""

import numpy as np
import pytest

from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from jwcal.detector1.lastframe import lastframe


def exposure(ngroup, instrument="MIRI"):
    header = Header()
    for key, value in {"INSTRUME": instrument, "NINTS": 2, "NGROUPS": ngroup}.items():
        header.set(key, value)
    flags = np.full((2, ngroup, 3, 4), 2, np.uint8)
    planes = {
        "SCI": np.zeros(flags.shape, np.float32),
        "PIXELDQ": np.zeros((3, 4), np.uint32),
        "GROUPDQ": flags,
    }
    return Exposure("ramp", header, {"SCI": Header()}, ArrayStore(planes))


@pytest.mark.parametrize("ngroup", [3, 8])
def test_only_the_last_group_is_flagged(ngroup):
    out = lastframe(exposure(ngroup))
    assert (out["GROUPDQ"][:, -1] == 3).all()
    assert (out["GROUPDQ"][:, :-1] == 2).all()
    assert not out["PIXELDQ"].any()
    assert out.meta["S_LASTFR"] == "COMPLETE"


@pytest.mark.parametrize(("ngroup", "instrument"), [(1, "MIRI"), (2, "MIRI"), (8, "NIRCAM")])
def test_few_groups_and_other_instruments_skip(ngroup, instrument):
    out = lastframe(exposure(ngroup, instrument))
    assert (out["GROUPDQ"] == 2).all()
    assert out.meta["S_LASTFR"] == "SKIPPED"

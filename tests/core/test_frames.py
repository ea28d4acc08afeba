"""Steps on whole frames: a look at all of them first, and frames of another size."""

import numpy as np
import pytest

from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from jwcal.core.step import Param, step


@step("halve", stage="test", takes="ramp", gives="ramp", changes=("SCI",), scope="integration",
      params=[Param("wider", bool, False, "Give larger frames.")])  # fmt: skip
def halve(tile, refs, p):
    """Keep every second row, less the largest value of all integrations."""
    if p.wider:
        for name, axis in (("SCI", -2), ("GROUPDQ", -2), ("PIXELDQ", 0)):
            tile[name] = np.repeat(tile[name], 2, axis)
        return
    tile["SCI"] = tile["SCI"][:, :, ::2] - np.float32(max(tile.plan["largest"]))
    tile["PIXELDQ"] = tile["PIXELDQ"][::2]
    tile["GROUPDQ"] = tile["GROUPDQ"][:, :, ::2]


@halve.setup
def _(exposure, refs, p):
    return {"largest": []}


@halve.scan
def _(tile, refs, p):
    tile.plan["largest"].append(tile["SCI"].max())


def exposure():
    shape = (3, 2, 6, 4)
    planes = {
        "SCI": np.random.default_rng(1).normal(size=shape).astype(np.float32),
        "PIXELDQ": np.arange(24, dtype=np.uint32).reshape(6, 4),
        "GROUPDQ": np.arange(144, dtype=np.uint8).reshape(shape),
    }
    primary = Header()
    for key, value in {"INSTRUME": "NIRCAM", "SUBSTRT1": 1, "SUBSTRT2": 1}.items():
        primary.set(key, value)
    return Exposure("ramp", primary, {name: Header() for name in planes}, ArrayStore(planes))


@pytest.mark.parametrize("jobs", [1, 3])
def test_frames_may_become_smaller_after_all_have_been_seen(jobs):
    before = exposure()
    sci = before["SCI"].copy()
    out = halve(before, jobs=jobs)
    assert out.shape == (3, 2, 3, 4)
    assert out.frame == (3, 4)
    np.testing.assert_array_equal(out["SCI"], sci[:, :, ::2] - sci.max())
    np.testing.assert_array_equal(out["PIXELDQ"], before["PIXELDQ"][::2])
    np.testing.assert_array_equal(out["GROUPDQ"], before["GROUPDQ"][:, :, ::2])
    np.testing.assert_array_equal(before["SCI"], sci)


def test_frames_may_become_larger():
    before = exposure()
    sci = before["SCI"].copy()
    out = halve(before, wider=True)
    assert out.shape == (3, 2, 12, 4)
    np.testing.assert_array_equal(out["SCI"], np.repeat(sci, 2, axis=-2))

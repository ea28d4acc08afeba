"""Saturation and A/D floor flags, as a step: parameters, tiles, references."""

import numpy as np
import pytest

from jwcal.core import engine
from jwcal.core.errors import InputError
from jwcal.detector1.saturation import saturation


@pytest.fixture
def refs(reference):
    def make(shape=(1, 1), level=40000, **bias):
        full = {"saturation": reference("saturation", SCI=np.full(shape, level), DQ=np.zeros(shape))}
        if bias:
            full["superbias"] = reference("superbias", SCI=np.full(shape, bias["bias"]))
        return full

    return make


def crowded(rng, shape):
    sci = rng.uniform(1000, 9000, shape).cumsum(axis=1)
    sci[rng.random(shape) < 0.01] = 65535
    return sci


def test_flags_and_status(ramp, refs):
    out = saturation(ramp([100, 0, 50000, 100]), refs=refs())
    assert out["GROUPDQ"].ravel().tolist() == [0, 65, 2, 2]
    assert out.meta["S_SATURA"] == "COMPLETE"


def test_zero_frame_is_cleared(ramp, refs):
    sci = np.full((1, 1, 1, 5), 100)
    out = saturation(ramp(sci, zeroframe=[[[100, 100, 50000, 100, -1]]]), refs=refs((1, 5)))
    assert out["ZEROFRAME"].ravel().tolist() == [100, 0, 0, 0, 0]


@pytest.mark.parametrize(("grow", "expected"), [(0, 1), (1, 9), (2, 25)])
def test_neighbours(ramp, refs, grow, expected):
    sci = np.full((1, 2, 7, 7), 100)
    sci[0, 1, 3, 3] = 65535
    out = saturation(ramp(sci), refs=refs((7, 7)), n_pix_grow_sat=grow)
    assert np.count_nonzero(out["GROUPDQ"][0, 1] & 2) == expected


def test_averaged_groups_use_the_bias_where_there_is_one(ramp, refs):
    sci = [11000, 22000, 60000]
    plain = saturation(ramp(sci, NFRAMES=4), refs=refs())
    with_bias = saturation(ramp(sci, NFRAMES=4), refs=refs(bias=10500))
    off = saturation(ramp(sci, NFRAMES=4), refs=refs(bias=10500), use_readpatt=False)
    assert plain["GROUPDQ"].ravel().tolist() == [0, 0, 2]
    assert with_bias["GROUPDQ"].ravel().tolist() == [0, 1, 2]
    assert off["GROUPDQ"].ravel().tolist() == [0, 0, 2]


@pytest.mark.parametrize("nframes", [1, 4])
@pytest.mark.parametrize("grow", [1, 3])
def test_tiles_do_not_show(ramp, refs, monkeypatch, nframes, grow):
    shape = (2, 4, 61, 20)
    sci = crowded(np.random.default_rng(5), shape)
    given = refs(shape[2:])
    whole = saturation(ramp(sci, NFRAMES=nframes), refs=given, jobs=1, n_pix_grow_sat=grow)
    monkeypatch.setattr(engine, "TILE_BYTES", 1)
    tiled = saturation(ramp(sci, NFRAMES=nframes), refs=given, jobs=2, n_pix_grow_sat=grow)
    np.testing.assert_array_equal(whole["GROUPDQ"], tiled["GROUPDQ"])
    assert (whole["GROUPDQ"] & 2).any()
    assert nframes == 1 or (whole["GROUPDQ"] == 1).any()


def test_flags_that_grow_twice_cross_tiles(ramp, refs, monkeypatch):
    sci = np.full((1, 3, 9, 3), 1000)
    sci[0, 1:, 4, 1] = 38000, 39000
    sci[0, 2, 5, 1] = 65535
    monkeypatch.setattr(engine, "TILE_BYTES", 1)
    out = saturation(ramp(sci, NFRAMES=4), refs=refs((9, 3)), jobs=2)
    expected = np.zeros((9, 3))
    expected[3:6] = 1
    np.testing.assert_array_equal(out["GROUPDQ"][0, 1], expected)


def test_irs2_is_refused(ramp, refs):
    with pytest.raises(InputError, match="IRS2"):
        saturation(ramp(np.ones((1, 1, 3200, 2))), refs=refs((3200, 2)))


def test_reference_without_flags_will_do(ramp, reference):
    path = reference("saturation", SCI=np.full((1, 1), 40000))
    out = saturation(ramp([50000]), refs={"saturation": path})
    assert out["GROUPDQ"].item() == 2

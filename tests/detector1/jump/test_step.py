"""The jump step: when it runs, what it hands to the search, and its keywords."""

import numpy as np
import pytest

from jwcal.core.errors import DataError, JwcalError
from jwcal.detector1.jump.step import jump

JUMP = 4


def lines(nint=1, ngroup=8, ny=6, nx=9):
    return np.broadcast_to(10.0 * np.arange(ngroup)[:, None, None], (nint, ngroup, ny, nx)).copy()


@pytest.fixture
def refs(reference):
    def make(shape=(6, 9), gain=1.0, noise=10.0):
        return {
            "gain": reference("gain", SCI=np.full(shape, gain)),
            "readnoise": reference("readnoise", SCI=np.full(shape, noise)),
        }

    return make


def test_jump_neighbours_and_rate_keywords(ramp, refs):
    sci = lines(nint=2)
    sci[1, 5:, 2, 3] += 500
    out = jump(ramp(sci, TGROUP=2.0), refs=refs())
    want = np.zeros(sci.shape, np.uint8)
    want[1, 5, 1:4, 3] = want[1, 5, 2, 2:5] = JUMP
    np.testing.assert_array_equal(out["GROUPDQ"], want)
    assert out.meta["S_JUMP"] == "COMPLETE"
    assert out.meta["PRIMECRS"] == pytest.approx(1000 / (2.0 * 14 * 54))
    assert out.meta["EXTNCRS"] == 0


def test_jumps_are_counted_once_whatever_the_tiles(ramp, refs):
    sci = lines(ny=40)
    sci[0, 4:, ::5, 4] += 500
    results = [jump(ramp(sci, TGROUP=2.0), refs=refs((40, 9)), jobs=jobs) for jobs in (1, 2, 7)]
    for out in results:
        np.testing.assert_array_equal(out["GROUPDQ"], results[0]["GROUPDQ"])
        assert out.meta["PRIMECRS"] == pytest.approx(1000 * 8 / (2.0 * 7 * 360))


def test_time_after_a_jump_becomes_groups(ramp, refs):
    sci = lines()
    sci[0, 3:, 2, 3] += 500
    out = jump(
        ramp(sci, TGROUP=2.0),
        refs=refs(gain=2.0),
        flag_4_neighbors=False,
        after_jump_flag_dn1=400,
        after_jump_flag_time1=5.0,
    )
    np.testing.assert_array_equal(out["GROUPDQ"][0, :, 2, 3], [0, 0, 0, JUMP, JUMP, JUMP, 0, 0])


def test_search_follows_from_groups_unusable_everywhere(ramp, refs):
    """Twelve groups allow the single pass; with two unusable everywhere outliers go one by one."""
    sci = lines(ngroup=12)
    sci[0, 6:, 2, 3] += 37
    free = np.zeros(sci.shape, np.uint8)
    held = free.copy()
    held[:, :2] = 1
    options = {"refs": refs(), "rejection_threshold": 3.0, "three_group_rejection_threshold": 3.0}
    for gdq in (free, held):
        out = jump(ramp(sci, groupdq=gdq, TGROUP=2.0), **options)
        assert out["GROUPDQ"][0, 6, 2, 3] == JUMP
    out = jump(ramp(sci, groupdq=held, TGROUP=2.0), minimum_groups=11, **options)
    np.testing.assert_array_equal(out["GROUPDQ"], held)


def test_bad_gain_is_flagged_even_without_a_search(ramp, refs):
    gdq = np.zeros((1, 8, 6, 9), np.uint8)
    gdq[:, 2:] = 1
    gdq[0, 3, 0, 0] = 5
    gain = np.full((6, 9), -1.0)
    gain[5, 8] = 1.0
    out = jump(ramp(lines(), groupdq=gdq, TGROUP=2.0), refs=refs(gain=gain))
    assert np.array_equal(out["PIXELDQ"], np.where(gain < 0, 1 << 19 | 1, 0))
    assert out["GROUPDQ"][0, 3, 0, 0] == 1


def test_two_groups_are_skipped(ramp, refs):
    out = jump(ramp(lines(ngroup=2), TGROUP=2.0), refs=refs())
    assert out.meta["S_JUMP"] == "SKIPPED"
    assert not out["GROUPDQ"].any()


def test_group_time_must_be_positive(ramp, refs):
    with pytest.raises((DataError, JwcalError), match="TGROUP"):
        jump(ramp(lines(), TGROUP=0.0), refs=refs())

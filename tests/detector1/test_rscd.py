"""RSCD flagging: the table, the rules for few groups, the retreat before saturation, the keywords."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.core.errors import ReferenceFileError
from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from jwcal.core.step import Skip
from jwcal.detector1.rscd import Flagging, flag_groups, look_up, plan_flagging, rscd

FLUX_ESTIMATED = 1 << 28
KEYWORDS = ("INT1SKIP", "INT1UGP1", "INT1BORS", "INT2SKIP", "INT2UGP1", "INT2BORS")


def ramp_flags(saturated_from, ngroup):
    """Flags of pixels that saturate in a group (``ngroup``: never)."""
    saturated_from = np.atleast_3d(saturated_from)
    groups = np.arange(ngroup)[:, None, None]
    return np.where(groups >= saturated_from[:, None], 2, 0).astype(np.uint8)


def exposure(groupdq, **keys):
    header = Header()
    nint, ngroup = groupdq.shape[:2]
    values = {
        "INSTRUME": "MIRI",
        "SUBARRAY": "FULL",
        "READPATT": "FASTR1",
        "NINTS": nint,
        "NGROUPS": ngroup,
        "SUBSTRT1": 1,
        "SUBSTRT2": 1,
        **keys,
    }
    for key, value in values.items():
        header.set(key, value)
    planes = {
        "SCI": np.zeros(groupdq.shape, np.float32),
        "PIXELDQ": np.zeros(groupdq.shape[2:], np.uint32),
        "GROUPDQ": groupdq,
    }
    return Exposure("ramp", header, {"SCI": Header()}, ArrayStore(planes))


def reference(path, rows=(("FULL", "SLOWR1", 9, 9), ("FULL", "FASTR1", 1, 4)), columns="new"):
    from astropy.io import fits

    names = [("subarray", "S17"), ("readpatt", "S12"), ("group_skip1", "i4"), ("group_skip", "i4")]
    table = np.array(list(rows), names)
    if columns == "old":
        table = table[["subarray", "readpatt", "group_skip"]].astype([names[0], names[1], names[3]])
    primary = fits.PrimaryHDU()
    primary.header.update({"REFTYPE": "RSCD", "INSTRUME": "MIRI"})
    fits.HDUList([primary, fits.BinTableHDU(table, name="RSCD_GROUP_SKIP")]).writeto(path)
    return {"rscd": str(path)}


def flagged_groups(out):
    """Leading groups that are DO_NOT_USE, by integration and pixel."""
    return ((out["GROUPDQ"] & 1) != 0).cumprod(axis=1).sum(axis=1)


def test_first_and_later_integrations_are_flagged_differently(tmp_path):
    out = rscd(exposure(np.zeros((3, 10, 4, 5), np.uint8)), refs=reference(tmp_path / "r.fits"))
    assert (flagged_groups(out) == np.array([1, 4, 4])[:, None, None]).all()
    assert [out.meta.get(k) for k in KEYWORDS] == [1, 0, 0, 4, 0, 0]
    assert out.meta["S_RSCD"] == "COMPLETE"
    assert not out["PIXELDQ"].any()


def test_a_later_segment_has_no_first_integration(tmp_path):
    e = exposure(np.zeros((2, 10, 4, 5), np.uint8), NINTS=6, INTSTART=3, INTEND=4, EXSEGNUM=2, EXSEGTOT=3)
    out = rscd(e, refs=reference(tmp_path / "r.fits"))
    assert (flagged_groups(out) == 4).all()
    assert [out.meta.get(k) for k in KEYWORDS] == [None, None, None, 4, 0, 0]


def test_a_first_segment_of_one_integration_still_reports_the_later_ones(tmp_path):
    e = exposure(np.zeros((1, 10, 4, 5), np.uint8), NINTS=3, INTSTART=1, INTEND=1)
    out = rscd(e, refs=reference(tmp_path / "r.fits"))
    assert (flagged_groups(out) == 1).all()
    assert [out.meta.get(k) for k in KEYWORDS] == [1, 0, 0, 4, 0, 0]


def test_pixels_that_saturate_early_keep_groups(tmp_path):
    late = 10
    saturated_from = np.full((2, 4, 5), late)
    saturated_from[1, 0, :5] = [0, 1, 2, 5, 6]
    out = rscd(exposure(ramp_flags(saturated_from, 10)), refs=reference(tmp_path / "r.fits"), jobs=2)
    # Two unsaturated groups stay where there are two; hopeless and unhurt pixels are flagged in full.
    assert flagged_groups(out)[1, 0].tolist() == [4, 0, 0, 3, 4]
    assert (out["PIXELDQ"][0] == [0, FLUX_ESTIMATED, FLUX_ESTIMATED, FLUX_ESTIMATED, 0]).all()
    assert not out["PIXELDQ"][1:].any()
    assert [out.meta.get(k) for k in KEYWORDS] == [1, 0, 0, 4, 2, 3]


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 2**32 - 1), ngroup=st.integers(3, 12), data=st.data())
def test_flagged_groups_follow_the_rule(seed, ngroup, data):
    skip = data.draw(st.integers(0, ngroup - 3))
    rng = np.random.default_rng(seed)
    start = rng.integers(0, ngroup + 1, (2, 3, 4))
    flags = ramp_flags(start, ngroup)
    before = flags.copy()
    flag_groups(flags, skip)
    want = np.where(start == 0, skip, np.minimum(skip, np.maximum(start - 2, 0)))
    groups = np.arange(ngroup)[:, None, None]
    np.testing.assert_array_equal(flags, before | (groups < want[:, None]))


@pytest.mark.parametrize(
    ("ngroup", "nint", "first", "skips", "want"),
    [
        (30, 2, 1, (4, 12), Flagging(4, 12)),
        (10, 2, 1, (4, 12), Flagging(4, 7)),
        (6, 2, 1, (4, 12), Flagging(3, 3)),
        (5, 2, 1, (4, 12), Flagging(1, 1)),
        (4, 2, 1, (0, 0), Flagging(1, 1)),
        (3, 2, 1, (4, 12), Flagging(0, 0)),
        (30, 1, 1, (4, 12), Flagging(4, None)),
        (30, 4, 2, (4, 12), Flagging(None, 12)),
        (30, 2, 1, (-1, 12), Flagging(1, 12)),
    ],
)
def test_rules_for_few_groups(ngroup, nint, first, skips, want):
    assert plan_flagging(ngroup, nint, first, *skips) == want


def test_too_few_groups_skip():
    with pytest.raises(Skip, match="fewer than 3 groups"):
        plan_flagging(2, 1, 1, 1, 4)


def test_look_up_by_subarray_and_pattern():
    table = np.array(
        [(b"SLITLESSPRISM   ", b"FASTR1", 2)],
        [("SUBARRAY", "S17"), ("readpatt", "S12"), ("group_skip", "i4")],
    )
    assert look_up(table, "SUBPRISM", "FASTR1") == (-1, 2)
    assert look_up(table, "SLITLESSPRISM", "FASTR1") == (-1, 2)
    assert look_up(table, "FULL", "FASTR1") is None


def test_unknown_mode_skips_and_a_wrong_table_is_refused(tmp_path):
    flags = np.zeros((1, 8, 4, 5), np.uint8)
    out = rscd(exposure(flags.copy(), SUBARRAY="SUB64"), refs=reference(tmp_path / "r.fits"))
    assert out.meta["S_RSCD"] == "SKIPPED"
    assert not out["GROUPDQ"].any()
    old = rscd(exposure(flags.copy()), refs=reference(tmp_path / "old.fits", columns="old"))
    assert old.meta["INT1SKIP"] == 1
    bad = reference(tmp_path / "bad.fits", rows=[("FULL", "FASTR1", 1, -4)])
    with pytest.raises(ReferenceFileError, match="negative"):
        rscd(exposure(flags.copy(), NINTS=1), refs=bad)

"""Dark subtraction: which frames of the reference are taken for a group."""

import numpy as np
import pytest

from jwcal.core.errors import ReferenceFileError
from jwcal.detector1.dark_current import dark_current

RAPID = {"NFRAMES": 1, "GROUPGAP": 0}


def frames(*values):
    return np.array(values, float)[:, None, None]


@pytest.fixture
def run(ramp, reference):
    def call(nint, ngroup, dark, *, keys=RAPID, dq=None, params=None, **header):
        planes = {"SCI": dark} if dq is None else {"SCI": dark, "DQ": dq}
        path = reference("dark", keys=keys, **planes)
        sci = np.zeros((nint, ngroup, 1, 1))
        return dark_current(ramp(sci, **header), refs={"dark": path}, **(params or {}))

    return call


def test_frame_by_frame_with_nan_as_zero(run):
    out = run(2, 3, frames(1, np.nan, 3, 4), dq=[[2**23]])
    assert (-out["SCI"][1]).ravel().tolist() == [1, 0, 3]
    assert out["PIXELDQ"].item() == 2**23
    assert out.meta["S_DARK"] == "COMPLETE"
    assert out["AVDRKCUR"].item() == 0


def test_averaging_and_gaps(run):
    out = run(1, 3, frames(1, 2, 4, 8, np.nan, 32, 64, 128), NFRAMES=2, GROUPGAP=1)
    assert (-out["SCI"]).ravel().tolist() == [1.5, 4, 96]


def test_gaps_without_averaging(run):
    out = run(1, 2, frames(1, 2, 4, 8), NFRAMES=1, GROUPGAP=2)
    assert (-out["SCI"]).ravel().tolist() == [1, 8]


def test_short_dark_is_continued_by_its_last_difference(run):
    out = run(1, 5, frames(1, 2, 4))
    assert (-out["SCI"]).ravel().tolist() == [1, 2, 4, 6, 8]
    out = run(1, 2, frames(1, 2, 4), NFRAMES=2, GROUPGAP=1)
    assert (-out["SCI"]).ravel().tolist() == [1.5, 7]


def test_averaged_dark_matches_the_same_pattern(run):
    out = run(1, 2, frames(3, 5), keys={"NFRAMES": 4, "GROUPGAP": 1}, NFRAMES=4, GROUPGAP=1)
    assert (-out["SCI"]).ravel().tolist() == [3, 5]


@pytest.mark.parametrize(("first", "expected"), [(1, [1, 2, 2]), (4, [2, 2, 2])])
def test_miri_darks_go_by_integration(run, first, expected):
    dark = np.array([1, 2], float)[:, None, None, None]
    dq = np.array([1, 4], np.uint32)[:, None, None, None]
    keys = {**RAPID, "INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE"}
    out = run(
        3, 1, dark, keys=keys, dq=dq, INSTRUME="MIRI", DETECTOR="MIRIMAGE", INTSTART=first, INTEND=first + 2
    )
    assert (-out["SCI"]).ravel().tolist() == expected
    assert out["PIXELDQ"].item() == 5


def test_segments_of_averaged_miri_data_get_the_last_dark(run):
    dark = np.array([[1, 3], [10, 30]], float)[:, :, None, None]
    keys = {**RAPID, "INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE"}
    out = run(1, 1, dark, keys=keys, INSTRUME="MIRI", DETECTOR="MIRIMAGE", INTSTART=2, INTEND=2, NFRAMES=2)
    assert (-out["SCI"]).ravel().tolist() == [20]


@pytest.mark.parametrize(
    ("keys", "params", "expected"),
    [({}, {}, 0), ({"AVDRKCUR": 0.25}, {}, 0.25), ({"AVDRKCUR": 0.25}, {"average_dark_current": 0.5}, 0.5)],
)
def test_average_dark_current(run, keys, params, expected):
    out = run(1, 1, frames(1), keys={**RAPID, **keys}, params=params)
    assert out["AVDRKCUR"].dtype == np.float32
    assert out["AVDRKCUR"].item() == expected


def test_dark_that_averages_more_than_the_exposure_is_a_skip(run):
    out = run(1, 1, frames(1), keys={"NFRAMES": 4, "GROUPGAP": 0})
    assert out["SCI"].item() == 0
    assert out.meta["S_DARK"] == "SKIPPED"


@pytest.mark.parametrize(
    ("ngroup", "keys", "header", "message"),
    [
        (2, RAPID, {}, "one group"),
        (1, {"NFRAMES": 2, "GROUPGAP": 0}, {"NFRAMES": 4}, "regrouped"),
        (1, {"GROUPGAP": 0}, {}, "NFRAMES"),
        (1, {"NFRAMES": 0, "GROUPGAP": 0}, {}, "NFRAMES"),
        (1, {**RAPID, "AVDRKCUR": "much"}, {}, "AVDRKCUR"),
    ],
)
def test_unusable_references_are_refused(run, ngroup, keys, header, message):
    with pytest.raises(ReferenceFileError, match=message):
        run(1, ngroup, frames(1), keys=keys, **header)


def test_dark_without_groups_is_refused(ramp, reference):
    path = reference("dark", keys=RAPID, SCI=np.ones((1, 1)))
    with pytest.raises(ReferenceFileError, match="groups, rows"):
        dark_current(ramp([1]), refs={"dark": path})


@pytest.mark.parametrize(("mine", "theirs"), [("NRSRAPID", "NRSIRS2RAPID"), ("NRSIRS2", "NRS")])
def test_dark_of_the_other_readout_is_refused(run, mine, theirs):
    with pytest.raises(ReferenceFileError, match=f"READPATT {mine}"):
        run(1, 1, frames(1), keys={**RAPID, "READPATT": mine}, READPATT=theirs)
    run(1, 1, frames(1), keys={**RAPID, "READPATT": "ANY"}, READPATT=theirs)

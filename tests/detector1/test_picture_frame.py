"""The thermal picture frame, as a step."""

import numpy as np
import pytest

from jwcal.core.errors import InputError, OutputError, ReferenceFileError, UsageError
from jwcal.detector1.picture_frame import picture_frame, regions

SIDE = 2048
KEYS = {
    "INSTRUME": "NIRSPEC", "DETECTOR": "NRS1", "SUBARRAY": "FULL", "EXP_TYPE": "NRS_IFU", "READPATT": "NRSRAPID",
    "SUBSTRT1": 1, "SUBSTRT2": 1, "TGROUP": 10.0, "TFRAME": 10.0, "FASTAXIS": 2, "SLOWAXIS": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def frame():
    edge = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1])
    return (0.02 * np.exp(-np.minimum(edge[:, None], edge) / 40)).astype(np.float32)


@pytest.fixture
def nirspec(reference):
    """Write a reference of the frame of NRS1."""

    def write(kind, **planes):
        return reference(
            kind,
            keys={key: KEYS.get(key, 1) for key in ("INSTRUME", "DETECTOR", "SUBSTRT1", "SUBSTRT2")},
            **planes,
        )

    return write


@pytest.fixture
def mask(tmp_path):
    """Write a mask."""

    def write(array):
        from astropy.io import fits

        path = tmp_path / "mask.fits"
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(array.astype(np.float32), name="SCI")]).writeto(
            path, overwrite=True
        )
        return str(path)

    return write


def test_regions_leave_the_border_and_the_gap_out():
    centre, edge = regions(np.ones((SIDE, SIDE), bool))
    assert not (centre & edge).any()
    for line in (0, 3, 75, 1984, 2043, 2047):
        assert not edge[line, 200]
        assert not centre[line, 200]
    assert edge[4, 4]
    assert edge[74, 200]
    assert edge[200, 2042]
    assert centre[76, 76]
    assert centre[1983, 1983]
    background = np.ones((SIDE, SIDE), bool)
    background[500] = background[:, 50] = False
    centre, edge = regions(background)
    assert not centre[500].any()
    assert not edge[:, 50].any()


def test_a_drifting_frame_is_removed(ramp, nirspec, mask, frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    lit = np.zeros((SIDE, SIDE), bool)
    lit[900:1100, 300:1500] = True
    clean = rng.normal(1000, 0.2, (1, 3, SIDE, SIDE)) + np.arange(3)[:, None, None] * 50 * lit
    drift = np.array([0.0, 900.0, -400.0])[:, None, None] * frame + np.array([0.0, 12.0, 5.0])[:, None, None]
    out = picture_frame(
        ramp(clean + drift, **KEYS, FILENAME="jw1_nrs1_uncal.fits"), refs={"pictureframe": nirspec("pictureframe", SCI=frame)},
        skip=False, user_mask=mask(~lit), save_mask=True, save_correction=True,
    )  # fmt: skip
    left = out["SCI"] - clean
    assert np.abs(left).max() < 0.15
    np.testing.assert_array_equal(out["SCI"][:, 0], clean[:, 0].astype(np.float32))
    assert out.meta["S_PCTFRM"] == "COMPLETE"
    assert out.meta["R_PICTUR"] == "pictureframe.fits"
    from astropy.io import fits

    np.testing.assert_array_equal(fits.getdata("jw1_nrs1_pctfrm_mask.fits"), ~lit)
    removed = fits.getdata("jw1_nrs1_pctfrm_correction.fits")
    np.testing.assert_allclose(removed, np.broadcast_to(-drift, removed.shape), atol=0.15)
    with pytest.raises(OutputError, match="exists already"):
        picture_frame(
            ramp(clean, **KEYS, FILENAME="jw1_nrs1_uncal.fits"), refs={"pictureframe": nirspec("pictureframe", SCI=frame)},
            skip=False, user_mask=mask(~lit), save_correction=True,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "groups"), [({"SUBARRAY": "SUB512"}, 3), ({"INSTRUME": "NIRCAM"}, 3), ({}, 1)]
)
def test_skipped_where_it_does_not_apply(ramp, nirspec, keys, groups):
    exposure = ramp(np.ones((1, groups, 8, 8)), **{**KEYS, **keys})
    path = nirspec("pictureframe", SCI=np.ones((8, 8)))
    out = picture_frame(exposure, refs={"pictureframe": path}, skip=False)
    assert out.meta["S_PCTFRM"] == "SKIPPED"


def test_skipped_without_reference_and_unless_asked_for(ramp, nirspec):
    sci = np.ones((1, 3, 8, 8))
    assert picture_frame(ramp(sci, **KEYS), skip=False).meta["S_PCTFRM"] == "SKIPPED"
    path = nirspec("pictureframe", SCI=np.ones((8, 8)))
    assert picture_frame(ramp(sci, **KEYS), refs={"pictureframe": path}).meta["S_PCTFRM"] == "SKIPPED"


def test_no_background_leaves_the_data(ramp, nirspec, mask):
    sci = np.random.default_rng(1).normal(10, 1, (1, 2, 64, 64))
    out = picture_frame(
        ramp(sci, **KEYS), refs={"pictureframe": nirspec("pictureframe", SCI=np.ones((64, 64)))}, skip=False,
        user_mask=mask(np.zeros((64, 64))),
    )  # fmt: skip
    np.testing.assert_array_equal(out["SCI"], sci.astype(np.float32))
    assert out.meta["S_PCTFRM"] == "SKIPPED"


def test_slits_need_a_mask(ramp, nirspec):
    path = nirspec("pictureframe", SCI=np.ones((8, 8)))
    with pytest.raises(UsageError, match="slits of NRS_IFU"):
        picture_frame(ramp(np.ones((1, 3, 8, 8)), **KEYS), refs={"pictureframe": path}, skip=False)


def test_draft_needs_gain_and_noise(ramp, nirspec):
    path = nirspec("pictureframe", SCI=np.ones((8, 8)))
    with pytest.raises(ReferenceFileError, match="no GAIN reference"):
        picture_frame(
            ramp(np.ones((1, 3, 8, 8)), **KEYS),
            refs={"pictureframe": path},
            skip=False,
            mask_science_regions=False,
        )


def test_shapes_must_fit(ramp, nirspec, mask):
    exposure = ramp(np.ones((1, 3, 8, 8)), **KEYS)
    with pytest.raises(ReferenceFileError, match="does not cover"):
        picture_frame(
            exposure, refs={"pictureframe": nirspec("pictureframe", SCI=np.ones((4, 4)))}, skip=False
        )
    path = nirspec("pictureframe", SCI=np.ones((8, 8)))
    with pytest.raises(InputError, match="user mask has shape"):
        picture_frame(exposure, refs={"pictureframe": path}, skip=False, user_mask=mask(np.ones((4, 4))))


def test_a_reference_without_contrast_is_refused(ramp, nirspec, mask):
    exposure = ramp(np.ones((1, 2, 100, 100)), **KEYS)
    path = nirspec("pictureframe", SCI=np.ones((100, 100)))
    with pytest.raises(ReferenceFileError, match="same in centre and edge"):
        picture_frame(exposure, refs={"pictureframe": path}, skip=False, user_mask=mask(np.ones((100, 100))))

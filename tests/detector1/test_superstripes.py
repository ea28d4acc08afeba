"""Superstripe exposures: references and flags of each stripe, and frames put together by refpix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.core import engine
from jwcal.core.dq import DQ
from jwcal.core.errors import InputError, JwcalError, ReferenceFileError
from jwcal.core.exposure import ArrayStore, Exposure, open_exposure
from jwcal.core.header import Header
from jwcal.core.step import step
from jwcal.detector1.dq_init import dq_init
from jwcal.detector1.ipc import ipc
from jwcal.detector1.jump.step import jump
from jwcal.detector1.read_times import read_times
from jwcal.detector1.refpix.step import refpix
from jwcal.detector1.saturation import saturation
from jwcal.detector1.superbias import superbias

NGROUP = 3
KEYS = {
    "INSTRUME": "NIRCAM", "DETECTOR": "NRCB1", "FASTAXIS": 1, "SLOWAXIS": -2, "NOUTPUTS": 1, "NFRAMES": 1,
    "GROUPGAP": 0, "SUBARRAY": "SUB64P_SUPSTP", "SUBSTRT1": 11, "SUBSTRT2": 2047, "MSTR_RD1": 2, "MSTR_SK1": 30,
    "MSTR_RD2": 3, "MSTR_SK2": 0, "MSTR_RPT": 1, "MSTR_ILV": 0, "SSTR_STP": 3, "SSTR_NST": 4, "EXP_TYPE": "NRC_IMAGE",
}  # fmt: skip
NX = 8
# Where references of whole lines lie.
PLACE = {"SUBSTRT1": 11, "SUBSTRT2": 1, "DETECTOR": "NRCB1"}


def geometry(keys):
    """Image lines of the detector of each stripe, and of the frame."""
    first, size = keys["MSTR_RD1"], keys["MSTR_RD2"] or keys["SSTR_STP"]
    slow = keys["SLOWAXIS"]
    start = keys["SUBSTRT2" if abs(slow) == 2 else "SUBSTRT1"]
    start = 2048 - start if slow < 0 else start - 1
    at = [start + first + keys["MSTR_SK1"] + k * keys["SSTR_STP"] for k in range(keys["SSTR_NST"])]
    stripes = [[*range(start, start + first), *range(a, a + size)] for a in at]
    frame = list(range(at[0], at[-1] + size))
    if slow < 0:
        stripes = [[2047 - line for line in reversed(lines)] for lines in stripes]
        frame = [2047 - line for line in reversed(frame)]
    return stripes, frame


def whole(ramp, keys):
    """Turn an image whose rows are lines into one of the orientation of the detector."""
    return ramp if abs(keys["SLOWAXIS"]) == 2 else np.swapaxes(ramp, -1, -2)


def made(rng, nframe=2, repeats=1, zeroframe=False, **keys):
    """Exposure of a noisy scene, and the scene; what electronics add differs by stripe and group."""
    keys = {**KEYS, **keys}
    stripes, frame = geometry(keys)
    scene = rng.normal(100, 20, (nframe, NGROUP * repeats, 2048, NX)).astype(np.float32)
    dark = [line for line in range(2048) if line < 4 or line >= 2044]
    scene[:, :, dark] = 0
    # All repetitions of a group are drifted alike, as their reference pixels count together.
    shifts = rng.integers(-50, 50, (nframe, len(stripes), NGROUP, 1, 1))
    images = []
    for k in range(nframe):
        for s, lines in enumerate(stripes):
            parts = [scene[k, r::repeats][:, lines] + shifts[k, s] for r in range(repeats)]
            images.append(np.concatenate(parts[::-1] if keys["SLOWAXIS"] < 0 else parts, axis=-2))
    sci = whole(np.array(images, np.float32), keys)
    flags = np.zeros((len(stripes), *sci.shape[-2:]), np.uint32)
    for s, lines in enumerate(stripes):
        whole(flags, keys)[s, np.tile(np.isin(lines, dark), repeats)] = DQ["REFERENCE_PIXEL"]
    values = {
        **keys, "NGROUPS": NGROUP, "NINTS": len(sci), "INTSTART": 1, "INTEND": len(sci), "SUBSIZE1": sci.shape[-1],
        "SUBSIZE2": sci.shape[-2],
    }  # fmt: skip
    planes = {"SCI": sci, "PIXELDQ": flags, "GROUPDQ": np.zeros(sci.shape, np.uint8)}
    if zeroframe:
        planes["ZEROFRAME"] = sci[:, 0].copy()
    return exposure(planes, values), whole(scene[:, :, frame], keys), scene, frame


def exposure(planes, values):
    header = Header()
    for key, value in values.items():
        header.set(key, value)
    planes = {name: np.ascontiguousarray(array) for name, array in planes.items()}
    return Exposure("superstripe_ramp", header, {n: Header() for n in planes}, ArrayStore(planes), (), "test")


SIDEWAYS = {
    "FASTAXIS": -2,
    "SLOWAXIS": -1,
    "INSTRUME": "NIRISS",
    "DETECTOR": "NIS",
    "SUBSTRT1": 2047,
    "SUBSTRT2": 101,
}
UP = {"FASTAXIS": -1, "SLOWAXIS": 2, "DETECTOR": "NRCA1", "SUBSTRT2": 2}


@pytest.mark.parametrize("keys", [{}, UP, SIDEWAYS, SIDEWAYS | {"SLOWAXIS": 1, "SUBSTRT1": 2}])
@pytest.mark.parametrize("repeats", [1, 3])
def test_refpix_takes_off_the_drift_and_puts_frames_together(keys, repeats):
    before, wanted, _, frame = made(np.random.default_rng(3), repeats=repeats, **keys)
    sci = before["SCI"].copy()
    out = refpix(before)
    np.testing.assert_array_equal(before["SCI"], sci)
    np.testing.assert_allclose(out["SCI"], wanted, atol=1e-4)
    assert out.product == "ramp"
    assert not out["PIXELDQ"].any()
    meta = out.meta
    assert [meta[k] for k in ("NINTS", "INTSTART", "INTEND", "NGROUPS")] == [2, 1, 2, NGROUP * repeats]
    assert (meta["SUBSIZE2"], meta["SUBSIZE1"]) == out.frame
    along = "SUBSTRT2" if abs(meta["SLOWAXIS"]) == 2 else "SUBSTRT1"
    assert meta[along] == min(frame) + 1
    assert not any(key.startswith(("MSTR", "SSTR")) for key, _ in meta.primary.items())
    times = read_times(out)
    assert times is None if repeats == 1 else len(times) == NGROUP * repeats


def test_results_depend_neither_on_threads_nor_on_tiles(monkeypatch, reference):
    rng = np.random.default_rng(8)
    before, _, _, _ = made(rng, zeroframe=True)
    mask = reference("mask", DQ=rng.integers(0, 2, (2048, NX)), keys=PLACE)
    limit = reference(
        "saturation",
        SCI=rng.normal(150, 20, (2048, NX)),
        keys=PLACE,
    )

    def run(jobs):
        flagged = saturation(
            dq_init(before, refs={"mask": mask}, jobs=jobs), refs={"saturation": limit}, jobs=jobs
        )
        return flagged, refpix(flagged, jobs=jobs)

    large = run(1)
    monkeypatch.setattr(engine, "TILE_BYTES", 1)
    for a, b in zip(large, run(3), strict=True):
        for name in ("SCI", "PIXELDQ", "GROUPDQ", "ZEROFRAME"):
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("keys", [{}, UP, SIDEWAYS])
def test_references_are_those_of_each_stripe(keys, reference):
    rng = np.random.default_rng(4)
    before, _, _, _ = made(rng, repeats=2, zeroframe=True, **keys)
    keys = {**KEYS, **keys}
    lines = np.array([np.tile(s, 2) for s in geometry(keys)[0]])
    along = (
        {"SUBSTRT1": keys["SUBSTRT1"], "SUBSTRT2": 1}
        if abs(keys["SLOWAXIS"]) == 2
        else {"SUBSTRT1": 1, "SUBSTRT2": 101}
    )
    own = {"INSTRUME": keys["INSTRUME"], "DETECTOR": keys["DETECTOR"], **along}
    bias, bad = rng.integers(0, 900, (2048, NX)), rng.integers(0, 2, (2048, NX)) * DQ["DO_NOT_USE"]
    limit = rng.normal(130, 20, (2048, NX)).astype(np.float32)
    refs = {
        "mask": reference("mask", keys=own, DQ=whole(bad, keys)),
        "saturation": reference("saturation", keys=own, SCI=whole(limit, keys)),
        "superbias": reference("superbias", keys=own, SCI=whole(bias, keys), DQ=whole(bad * 4, keys)),
    }
    known = before["PIXELDQ"].copy()
    flagged = dq_init(before, refs=refs)
    bad_here = whole(bad[lines], keys)
    np.testing.assert_array_equal(flagged["PIXELDQ"], known | bad_here.astype(np.uint32))
    every = np.tile(bad_here, (2, 1, 1))[:, None]
    np.testing.assert_array_equal(flagged["GROUPDQ"], np.broadcast_to(every, flagged.shape))
    saturated = saturation(flagged, refs={"saturation": refs["saturation"]}, n_pix_grow_sat=0)
    over = np.maximum.accumulate(
        before["SCI"] >= np.tile(whole(limit[lines], keys), (2, 1, 1))[:, None], axis=1
    )
    np.testing.assert_array_equal((saturated["GROUPDQ"] & DQ["SATURATED"]) != 0, over)
    debiased = superbias(saturated, refs=refs)
    level = np.tile(whole(bias[lines], keys), (2, 1, 1)).astype(np.float32)
    np.testing.assert_array_equal(debiased["SCI"], before["SCI"] - level[:, None])
    zero = saturated["ZEROFRAME"]
    np.testing.assert_array_equal(debiased["ZEROFRAME"], np.where(zero == 0, 0, zero - level))
    assert ((debiased["PIXELDQ"] & 4) != 0).sum() == (bad_here != 0).sum()


def test_saturation_does_not_grow_into_the_next_stripe(reference):
    before, _, _, _ = made(np.random.default_rng(5))
    before["SCI"][:] = 1
    before["SCI"][1, 1, 0, 3] = 500
    limits = reference("saturation", keys=PLACE, SCI=np.full((2048, NX), 400))
    flags = (saturation(before, refs={"saturation": limits})["GROUPDQ"] & DQ["SATURATED"]) != 0
    assert flags[1, 1:, :2, 2:5].all()
    assert flags.sum() == 12


def test_one_plane_of_flags_of_the_user_for_each_stripe(reference, tmp_path):
    from astropy.io import fits

    before, _, _, _ = made(np.random.default_rng(6))
    known = before["PIXELDQ"].copy()
    extra = np.random.default_rng(7).integers(0, 16, known.shape).astype(np.int32)
    fits.PrimaryHDU(extra).writeto(tmp_path / "user.fits")
    mask = reference("mask", keys=PLACE, DQ=np.zeros((2048, NX)))
    out = dq_init(before, refs={"mask": mask}, user_supplied_dq=str(tmp_path / "user.fits"))
    np.testing.assert_array_equal(out["PIXELDQ"], known | extra.astype(np.uint32))
    fits.PrimaryHDU(extra[0]).writeto(tmp_path / "one.fits")
    with pytest.raises(InputError, match=r"needs integers of shape \(4, 5, 8\)"):
        dq_init(before, refs={"mask": mask}, user_supplied_dq=str(tmp_path / "one.fits"))


def test_the_flags_of_the_first_stripe_say_which_reference_pixels_count():
    first, _, _, _ = made(np.random.default_rng(9))
    other = exposure(first.store.planes, dict(first.primary.items()))
    plain = refpix(first)["SCI"]
    other["PIXELDQ"][1:] |= np.uint32(DQ["DO_NOT_USE"])
    np.testing.assert_array_equal(refpix(other)["SCI"], plain)
    other["PIXELDQ"][0] |= np.uint32(DQ["DO_NOT_USE"])
    assert (refpix(other)["SCI"] != plain).any()


def test_lines_nobody_reads_are_marked_and_of_overlaps_the_last_counts():
    gaps, _, scene, frame = made(np.random.default_rng(10), SSTR_STP=5, zeroframe=True)
    out = refpix(gaps)
    unread = np.isnan(out["SCI"]).all(axis=(0, 1, 3))
    assert out.frame == (18, NX)
    assert unread.sum() == 6
    np.testing.assert_array_equal(np.isnan(out["ZEROFRAME"]).all(axis=(0, 2)), unread)
    assert (out["PIXELDQ"][unread] == DQ["REFERENCE_PIXEL"]).all()
    assert not out["PIXELDQ"][~unread].any()
    np.testing.assert_allclose(out["SCI"][:, :, ~unread], scene[:, :, frame][:, :, ~unread], atol=1e-4)

    overlap, _, _, _ = made(np.random.default_rng(11), SSTR_STP=2)
    overlap["PIXELDQ"][:, :3] |= (np.arange(4, dtype=np.uint32) << 8)[:, None, None]
    marks = refpix(overlap)["PIXELDQ"][:, 0] >> 8
    assert marks.tolist() == [3, 3, 3, 2, 2, 1, 1, 0, 0]


def test_a_spectroscopic_subarray_gets_all_lines_of_the_detector():
    keys = SIDEWAYS | {
        "SUBARRAY": "SUB680STRIPE_SOSS", "SUBSTRT1": 2048, "MSTR_RD1": 4, "MSTR_RD2": 680, "MSTR_SK1": 0,
        "SSTR_STP": 680, "SSTR_NST": 3, "MSTR_ILV": 1,
    }  # fmt: skip
    before, wanted, _, _ = made(np.random.default_rng(12), nframe=1, **keys)
    out = refpix(before)
    assert out.frame == (NX, 2048)
    assert out.meta["SUBSTRT1"] == 1
    np.testing.assert_allclose(out["SCI"][..., 4:-4], wanted, atol=1e-4)
    assert np.isnan(out["SCI"][..., [0, 3, -4, -1]]).all()


@settings(max_examples=25, deadline=None)
@given(
    slow=st.sampled_from([-2, -1, 1, 2]),
    first=st.integers(0, 3),
    skip=st.integers(0, 40),
    size=st.integers(1, 4),
    count=st.integers(1, 6),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_frames_of_any_readout_are_put_together(slow, first, skip, size, count, repeats, seed):
    start = 2048 if slow < 0 else 1
    keys = {
        "MSTR_RD1": first, "MSTR_SK1": skip + 4, "MSTR_RD2": size, "SSTR_STP": size, "SSTR_NST": count,
        "SLOWAXIS": slow, "FASTAXIS": 3 - abs(slow), "SUBSTRT1": 5, "SUBSTRT2": 5, "DETECTOR": "NRCA1",
    } | {f"SUBSTRT{abs(slow)}": start - 3 if slow < 0 and first == 0 else start}  # fmt: skip
    before, wanted, _, _ = made(np.random.default_rng(seed), nframe=1, repeats=repeats, **keys)
    # Without flagged reference pixels nothing is subtracted, and what was put apart comes back.
    before["PIXELDQ"][:] = 0
    shifted = refpix(before)["SCI"] - wanted
    assert shifted.shape == wanted.shape
    spread = np.ptp(shifted, axis=2 if abs(slow) == 1 else 3)
    np.testing.assert_allclose(spread, 0, atol=1e-4)


def test_read_times_by_hand():
    before, _, _, _ = made(np.random.default_rng(13), repeats=2, NOUTPUTS=4, NFRAMES=2, GROUPGAP=1)
    times = read_times(refpix(before))
    # 8 columns by 4 outputs: 2 ticks and 12 of padding a line; 5 lines are read twice in a frame.
    again, reset, frame = 14 * 5e-5, (14 * 6 + 1) * 1e-5, (14 * 11 + 1) * 1e-5
    group = reset + again + 2 * frame
    wanted = [(g * group + t, g * group + t + frame) for g in range(NGROUP) for t in (reset, reset + again)]
    np.testing.assert_allclose(times, wanted, rtol=1e-12)


def written(tmp_path, change=lambda *_: None, **keys):
    from astropy.io import fits

    before, wanted, _, _ = made(np.random.default_rng(14), **keys)
    header = fits.Header(dict(before.primary.items()))
    columns = ["start_MJD_UTC", "mid_MJD_UTC", "end_MJD_UTC", "start_BJD_TDB", "mid_BJD_TDB", "end_BJD_TDB"]
    times = np.zeros(8, [("integration_number", "i4"), *((f"int_{name}", "f8") for name in columns)])
    times["integration_number"] = np.arange(8) + 1
    for k, name in enumerate(times.dtype.names[1:]):
        times[name] = 10.0 * np.arange(8) + k
    sci = fits.ImageHDU(np.round(before["SCI"] + 1000).astype(np.uint16), name="SCI")
    hdus = [sci, fits.BinTableHDU(times, name="INT_TIMES"), fits.BinTableHDU(times, name="GROUP")]
    change(header, hdus)
    path = tmp_path / "a_uncal.fits"
    fits.HDUList([fits.PrimaryHDU(header=header), *hdus]).writeto(path, overwrite=True)
    return str(path), wanted


def test_files_and_tables(tmp_path):
    path, _ = written(tmp_path, lambda header, _: header.update(INTSTART=5, INTEND=12, NINTS=16))
    assert open_exposure(path).stripes == 4
    out = refpix(path)
    out.write(str(tmp_path / "b.fits"))
    again = open_exposure(str(tmp_path / "b.fits"))
    assert again.product == "ramp"
    assert [again.meta[k] for k in ("INTSTART", "INTEND", "NINTS")] == [2, 3, 4]
    frames, stripes = again.table("INT_TIMES"), again.table("INT_TIMES_STRIPE")
    assert frames.tolist() == [(2, 0, 16, 32, 3, 19, 35), (3, 40, 56, 72, 43, 59, 75)]
    assert stripes["integration_number"].tolist() == [2] * 4 + [3] * 4
    assert stripes["stripe_number"].tolist() == [1, 2, 3, 4] * 2
    np.testing.assert_array_equal(stripes["int_end_BJD_TDB"], 10.0 * np.arange(8) + 5)
    assert again.table("GROUP") is None


def test_a_product_in_between_is_one_of_superstripes(tmp_path, reference):
    path, _ = written(tmp_path)
    bias = reference("superbias", keys=PLACE, SCI=np.zeros((2048, NX)))
    name = str(tmp_path / "c.fits")
    superbias(path, refs={"superbias": bias}).write(name)
    out = open_exposure(name)
    assert (out.product, out.primary["DATAMODL"]) == ("superstripe_ramp", "SuperstripeRampModel")
    assert out["PIXELDQ"].shape == (4, 5, NX)
    np.testing.assert_array_equal(refpix(name)["SCI"], refpix(path)["SCI"])


def _shorter(header, hdus):
    hdus[0].data = hdus[0].data[:7]
    header.update(INTEND=7, NINTS=7)


def _without(key):
    return lambda header, _hdus: header.remove(key)


def _fewer_times(_header, hdus):
    hdus[1].data = hdus[1].data[:7]


def _set(**keys):
    return lambda header, _hdus: header.update(keys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_shorter, "7 integrations are no whole frames of 4 superstripes"),
        (_set(INTSTART=3, INTEND=10), "INTSTART = 3 is not the first of the 4 superstripes"),
        (_without("MSTR_RD1"), "MSTR_RD1 is missing"),
        (_without("SSTR_STP"), "SSTR_STP is missing"),
        (_without("SLOWAXIS"), "needs the keyword SLOWAXIS"),
        (_set(MSTR_RD2=4), "do not give the 5 rows of the subarray"),
        (_set(SSTR_STP=900), "do not give the 5 rows of the subarray"),
        (_set(SSTR_NST="four"), "SSTR_NST = 'four' should be of type int"),
        (_fewer_times, "INT_TIMES of 7 rows is not for whole frames of 4"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, change, message):
    path, _ = written(tmp_path, change)
    with pytest.raises(InputError) as caught:
        refpix(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_steps_that_need_whole_frames_ask_for_refpix(reference):
    before, _, _, _ = made(np.random.default_rng(15))
    with pytest.raises(InputError, match="jump: needs whole frames"):
        jump(before, refs={})
    kernel = reference("ipc", keys={"DETECTOR": "NRCB1"}, SCI=np.ones((3, 3)))
    with pytest.raises(InputError, match="ipc: superstripe exposures"):
        ipc(before, refs={"ipc": kernel}, skip=False)


def test_references_of_the_stripes_alone_are_refused(reference):
    before, _, _, _ = made(np.random.default_rng(16))
    bias = reference(
        "superbias", keys={"SUBSTRT1": 11, "SUBSTRT2": 2044, "DETECTOR": "NRCB1"}, SCI=np.zeros((5, NX))
    )
    with pytest.raises(ReferenceFileError, match="does not cover the stripes"):
        superbias(before, refs={"superbias": bias})


@step("other", stage="test", takes="ramp", gives="ramp", changes=("SCI",))
def other(tile, refs, p):
    """Replace a plane, as steps of users may."""
    tile["SCI"] = tile["SCI"] + np.float32(tile.stripe)


@step("maker", stage="test", takes="ramp", gives="ramp", changes=("AVDRKCUR",))
def maker(tile, refs, p):
    """Make a plane."""
    tile["AVDRKCUR"] = np.zeros(tile["SCI"].shape[-2:], np.float32)


def test_steps_may_replace_planes_but_not_make_them():
    before, _, _, _ = made(np.random.default_rng(17))
    added = other(before)["SCI"] - before["SCI"]
    np.testing.assert_allclose(
        added, np.broadcast_to(np.tile(np.arange(4), 2)[:, None, None, None], added.shape), atol=1e-4
    )
    with pytest.raises(JwcalError, match="cannot make the plane AVDRKCUR"):
        maker(before)

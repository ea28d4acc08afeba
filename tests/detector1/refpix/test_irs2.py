"""Interleaved readout of NIRSpec: its noise comes off, its frame becomes an ordinary one."""

import numpy as np
import pytest

from jwcal.core.dq import DQ
from jwcal.core.errors import InputError, ReferenceFileError
from jwcal.core.stripes import IRS2_FRAME
from jwcal.detector1._shared import irs2_halo, irs2_rows, normal_box
from jwcal.detector1.dq_init import dq_init
from jwcal.detector1.ipc import ipc
from jwcal.detector1.linearity import linearity
from jwcal.detector1.refpix import irs2
from jwcal.detector1.refpix.step import refpix
from jwcal.detector1.saturation import saturation
from jwcal.detector1.superbias import superbias

COUNT = irs2.LINES * irs2.SLOTS
BAD = DQ["BAD_REF_PIXEL"]


def keys(detector="NRS1"):
    return {
        "INSTRUME": "NIRSPEC", "DETECTOR": detector, "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": 2048,
        "SUBSIZE2": 2048, "READPATT": "NRSIRS2RAPID", "NRS_NORM": 16, "NRS_REF": 4,
    }  # fmt: skip


def in_order(detector):
    """Time step of each sample of a whole frame, (3200, 2048)."""
    layout = layout_of(detector)
    step = np.empty(IRS2_FRAME, np.intp)
    lines = np.arange(2048)[::-1] if layout.reversed else np.arange(2048)
    for output in range(5):
        step[irs2._rows(layout, output)] = irs2.ORDER.slots[:, None] + lines * irs2.SLOTS
    return step


def layout_of(detector, alpha=0, beta=0, **more):
    weights = irs2.Weights(*(np.zeros((4, COUNT), np.complex64) + np.complex64(w) for w in (alpha, beta)))
    sample = np.arange(640) % 20
    normal = np.concatenate([np.zeros(640, bool), np.tile((sample < 8) | (sample > 11), 4)])
    reverse = detector == "NRS2"
    return irs2.Interleaved(normal[::-1] if reverse else normal, reverse, weights, False, **more)


def run(function, items):
    return [function(item) for item in items]


def test_normal_rows_are_those_between_the_reference_pixels(ramp):
    for detector in ("NRS1", "NRS2"):
        exposure = ramp(np.zeros((1, 1, *IRS2_FRAME)), **keys(detector))
        normal = irs2_rows(exposure, "test")
        np.testing.assert_array_equal(normal, layout_of(detector).normal)
        assert normal.sum() == 2048
        assert normal_box(normal, (0, 3200, 3, 9)) == (0, 2048, 3, 9)
    # Normal rows: never more interleaved ones between neighbours than the halo allows.
    rows = np.flatnonzero(normal)
    for near in (1, 2, 15, 16, 17, 40):
        assert (rows[near:] - rows[:-near]).max() <= irs2_halo(near)
    assert irs2_halo(0) == 0


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
@pytest.mark.parametrize("source", ["output", "interleaved"])
def test_drift_common_to_all_outputs_comes_off(detector, source):
    rng = np.random.default_rng(3)
    truth = rng.uniform(5000, 9000, IRS2_FRAME)
    step = in_order(detector)
    t = np.arange(COUNT) / COUNT
    drift = [30 * np.sin(2 * np.pi * (f * t + p)) for f, p in ((7, 0.1), (12, 0.6))]
    raw = np.array([truth + d[step] for d in drift], np.float32)
    low = (np.abs(np.fft.fftfreq(COUNT, 1 / COUNT)) < 300).astype(float)
    # The interleaved pixels stand at 8 of 22 steps: their low frequencies are weaker by that.
    share = irs2.ORDER.targets.size / irs2.SLOTS
    layout = layout_of(detector, **({"alpha": low} if source == "output" else {"beta": low / share}))
    out = irs2.correct(raw, layout, run)
    before = (raw[1] - raw[0])[layout.normal].std()
    assert before > 25
    assert (out[1] - out[0]).std() < 0.05 * before
    mean = (out[0] + out[1]) / 2
    np.testing.assert_allclose(mean, raw.mean(axis=0)[layout.normal], atol=0.01)


def test_without_weights_only_the_trend_of_each_output_comes_off():
    rng = np.random.default_rng(4)
    raw = np.empty((2, *IRS2_FRAME), np.float32)
    raw[0] = rng.integers(1000, 2000, IRS2_FRAME)
    raw[1] = raw[0] + 8
    layout = layout_of("NRS2")
    out = irs2.correct(raw, layout, run)
    np.testing.assert_allclose(out[0], raw[0][layout.normal] + 4, atol=0.01)
    np.testing.assert_allclose(out[1], out[0], atol=0.01)
    layout.preserve = True
    kept = irs2.correct(raw, layout, run)
    assert kept.shape == raw.shape
    np.testing.assert_array_equal(kept[:, layout.normal], out)
    beside = ~layout.normal
    beside[2560:] = False
    assert np.abs(kept[:, beside]).max() < 0.01


def test_odd_reference_pixels_are_found_and_replaced():
    rng = np.random.default_rng(5)
    ramp = rng.normal(9000, 5, (2, *IRS2_FRAME)).astype(np.float32)
    # Rows of two pairs in one output, of one in another, and a known one.
    ramp[:, 648:650] += rng.normal(0, 60, (2, 2, 2048)).astype(np.float32)
    ramp[:, 1308:1310] += 500
    ramp[:, 2568] += 300
    known = np.zeros(3200, bool)
    known[2888] = True
    found = irs2.find_bad(ramp, known, 5.0)
    np.testing.assert_array_equal(np.flatnonzero(found), [648, 649, 1308, 1309, 2568, 2569])
    pixeldq = np.zeros(IRS2_FRAME, np.uint32)
    pixeldq[found] |= BAD
    layout = layout_of("NRS1")
    before = ramp.copy()
    irs2.repair(ramp, pixeldq, layout)
    np.testing.assert_array_equal(ramp[:, 648], before[:, 668])
    np.testing.assert_array_equal(ramp[:, 1309], (before[:, 1289] + before[:, 1329]) / np.float32(2))
    untouched = ~found
    np.testing.assert_array_equal(ramp[:, untouched], before[:, untouched])


def test_a_pixel_without_good_neighbours_gets_the_other_pair_or_zero():
    ramp = np.arange(3200, dtype=np.float32)[None, :, None].repeat(2048, axis=2)
    bad = np.zeros(3200, bool)
    bad[[648, 668, 670, 688, 690, 708, 710]] = True
    out = ramp.copy()
    irs2.replace_bad(out, bad, [648, 668, 690], (640, 1280))
    assert out[0, 648, 0] == 650
    assert out[0, 668, 0] == 0
    assert out[0, 690, 0] == 0


def test_means_of_the_ends_come_off_by_output_and_parity():
    from types import SimpleNamespace

    p = SimpleNamespace(odd_even_columns=True, siglimit=3.0)
    for detector in ("NRS1", "NRS2"):
        layout = layout_of(detector)
        column = layout.rows(np.arange(3200))
        sample = column % 640 % 20
        pair = (sample >= 8) & (sample < 12)
        parity = np.where(pair, sample // 2 % 2, column % 2)
        ramp = np.broadcast_to((100 * (column // 640) + 10 * parity)[None, :, None], (2, *IRS2_FRAME))
        ramp = ramp.astype(np.float32).copy()
        irs2.subtract_means(ramp, np.zeros(IRS2_FRAME, np.uint32), layout, p)
        assert np.abs(ramp).max() == 0


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Write a REFPIX reference; a function of what is changed in its IRS2 and DQ tables."""
    from astropy.io import fits

    path = tmp_path_factory.mktemp("refs") / "refpix.fits"
    low = (np.abs(np.fft.fftfreq(COUNT, 1 / COUNT)) < 300).astype(np.complex64).view(np.float32)
    arrays = [low if k < 4 else np.zeros_like(low) for k in range(8)]

    def write(count=2 * COUNT, names="alpha beta", dq=((2, 2, 1 << 5),)):
        columns = [
            fits.Column(f"{name}_{k}", "E", array=arrays[4 * i + k][:count])
            for i, name in enumerate(names.split())
            for k in range(4)
        ]
        header = fits.Header({"REFTYPE": "REFPIX", "INSTRUME": "NIRSPEC", "DETECTOR": "NRS1"})
        rows = np.array(list(dq), [("OUTPUT", "i2"), ("ODD_EVEN", "i2"), ("MASK", "i4")])
        hdus = [fits.PrimaryHDU(header=header), fits.BinTableHDU.from_columns(columns, name="IRS2")]
        fits.HDUList([*hdus, fits.BinTableHDU(rows, name="DQ")]).writeto(path, overwrite=True)
        return str(path)

    return write


def test_the_step_gives_an_ordinary_frame_and_the_same_for_any_number_of_threads(ramp, weights_file):
    rng = np.random.default_rng(6)
    t = np.arange(COUNT) / COUNT
    step = in_order("NRS1")
    sci = rng.integers(8000, 9000, (1, 1, *IRS2_FRAME)).astype(np.float32).repeat(2, 0).repeat(2, 1)
    for i in range(2):
        sci[i, 1] += (20 * np.sin(2 * np.pi * (5 + i) * t)).astype(np.float32)[step]
    path = weights_file()
    outs = []
    for jobs in (1, 2):
        exposure = ramp(sci, **keys())
        exposure.store.planes["PIXELDQ"][:] = np.arange(3200)[:, None]
        exposure.store.planes["GROUPDQ"][1, 0] = (np.arange(3200) % 251)[:, None]
        exposure.store.planes["PIXELDQ"][808, 7] |= BAD
        outs.append(refpix(exposure, refs={"refpix": path}, jobs=jobs))
    one, two = outs
    assert one.shape == (2, 2, 2048, 2048)
    for name in ("SCI", "PIXELDQ", "GROUPDQ"):
        np.testing.assert_array_equal(one[name], two[name])
    rows = np.flatnonzero(layout_of("NRS1").normal)
    np.testing.assert_array_equal(one["PIXELDQ"], rows[:, None].repeat(2048, 1))
    np.testing.assert_array_equal(one["GROUPDQ"][1, 0, :, 5], rows % 251)
    assert (one["GROUPDQ"][0] == 0).all()
    assert np.abs(one["SCI"][:, 1] - one["SCI"][:, 0]).std() < 1
    assert one.meta["SUBSIZE2"] == 2048
    assert one.meta["R_REFPIX"] == "refpix.fits"
    kept = refpix(ramp(sci[:1], **keys()), refs={"refpix": path}, preserve_irs2_refpix=True)
    assert kept.shape == (1, 2, *IRS2_FRAME)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 100}, "100 rows instead of 2916352"),
        ({"names": "alpha gamma", "count": 2 * COUNT}, "no column BETA_0"),
        ({"count": 2 * COUNT, "dq": ((5, 1, 1),)}, "OUTPUT 5"),
    ],
)
def test_references_of_another_form_are_refused(ramp, weights_file, change, message):
    exposure = ramp(np.zeros((1, 1, *IRS2_FRAME)), **keys())
    with pytest.raises(ReferenceFileError, match=message):
        refpix(exposure, refs={"refpix": weights_file(**change)})


def test_exposures_and_references_of_different_readouts_are_refused(ramp, reference):
    interleaved = ramp(np.zeros((1, 1, *IRS2_FRAME)), **keys())
    with pytest.raises(ReferenceFileError, match="need a REFPIX reference"):
        refpix(interleaved)
    same = {"INSTRUME": "NIRSPEC", "DETECTOR": "NRS1", "SUBSTRT1": 1, "SUBSTRT2": 1}
    ordinary = reference("mask", keys=same, DQ=np.zeros((2048, 2048)))
    with pytest.raises(ReferenceFileError, match=r"for the traditional readout; the exposure .* is IRS2"):
        dq_init(interleaved, refs={"mask": ordinary})
    wide = reference("superbias", keys=same, SCI=np.zeros(IRS2_FRAME), DQ=np.zeros(IRS2_FRAME))
    with pytest.raises(ReferenceFileError, match=r"for the IRS2 .* readout; the exposure .* is traditional"):
        superbias(
            ramp(np.zeros((1, 1, 2048, 2048)), **keys() | {"READPATT": "NRSRAPID"}), refs={"superbias": wide}
        )
    with pytest.raises(ReferenceFileError, match="is IRS2"):
        linearity(
            interleaved,
            refs={"linearity": reference("linearity", keys=same, COEFFS=np.zeros((2, 2048, 2048)))},
        )
    wide = reference("saturation", keys=same, SCI=np.zeros(IRS2_FRAME))
    with pytest.raises(ReferenceFileError, match="is for the IRS2"):
        saturation(interleaved, refs={"saturation": wide})
    with pytest.raises(InputError, match="NRS_NORM, NRS_REF = 8, 4"):
        saturation(
            ramp(np.zeros((1, 1, *IRS2_FRAME)), **keys() | {"NRS_NORM": 8}),
            refs={"saturation": reference("saturation", keys=same, SCI=np.zeros((2048, 2048)))},
        )
    with pytest.raises(InputError, match="ZEROFRAME"):
        refpix(ramp(np.zeros((1, 1, *IRS2_FRAME)), zeroframe=np.zeros((1, *IRS2_FRAME)), **keys()))


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
def test_wide_references_are_cut_to_the_normal_rows_once_the_others_are_gone(ramp, reference, detector):
    same = {"INSTRUME": "NIRSPEC", "DETECTOR": detector, "SUBSTRT1": 1, "SUBSTRT2": 1}
    level = np.arange(3200)[:, None].repeat(2048, 1)
    path = reference("superbias", keys=same, SCI=level, DQ=np.zeros(IRS2_FRAME))
    out = superbias(ramp(np.zeros((1, 1, 2048, 2048)), **keys(detector)), refs={"superbias": path}, jobs=2)
    np.testing.assert_array_equal(-out["SCI"][0, 0], level[layout_of(detector).normal])


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
def test_saturation_and_ipc_work_as_if_the_interleaved_rows_were_not_there(ramp, reference, detector):
    rng = np.random.default_rng(7)
    normal = layout_of(detector).normal
    same = {"INSTRUME": "NIRSPEC", "DETECTOR": detector, "SUBSTRT1": 1, "SUBSTRT2": 1}
    sci = rng.uniform(1, 1000, (1, 3, 2048, 2048)).astype(np.float32)
    sci[0, 1][rng.random((2048, 2048)) < 1e-3] = 50000
    sci[0, 2][rng.random((2048, 2048)) < 1e-3] = -1
    wide = np.full((1, 3, *IRS2_FRAME), 60000, np.float32)
    wide[:, :, normal] = sci
    limits = np.full((2048, 2048), 40000.0)
    limits[5, 9] = np.nan
    path = reference("saturation", keys=same, SCI=limits, DQ=np.zeros((2048, 2048)))
    results = [
        saturation(ramp(a, **keys(detector)), refs={"saturation": path}, n_pix_grow_sat=2, use_readpatt=False)
        for a in (sci, wide)
    ]
    for name in ("GROUPDQ", "PIXELDQ"):
        np.testing.assert_array_equal(results[0][name], results[1][name][..., normal, :])
        assert not results[1][name][..., ~normal, :].any()
    assert results[0]["GROUPDQ"].any()
    kernel = np.array([[0, -0.01, 0], [-0.02, 1.05, -0.02], [0, -0.01, 0]])
    path = reference("ipc", keys=same, SCI=kernel)
    sci, wide = (
        ipc(ramp(a, **keys(detector)), refs={"ipc": path}, skip=False, jobs=2)["SCI"] for a in (sci, wide)
    )
    np.testing.assert_array_equal(sci, wide[:, :, normal])
    assert (wide[:, :, ~normal] == 60000).all()


def test_a_second_group_that_jumped_towards_saturation_is_flagged_with_its_neighbours(ramp, reference):
    sci = np.full((1, 3, *IRS2_FRAME), 100, np.float32)
    # The next normal row is five further, behind four reference pixels.
    y = 640 + 7
    sci[0, 1, y, 50], sci[0, 2, y, 50] = 20000, 60000
    # The first group explains the saturation of this one.
    sci[0, :, y, 90] = 20000, 40000, 60000
    same = {"INSTRUME": "NIRSPEC", "DETECTOR": "NRS1", "SUBSTRT1": 1, "SUBSTRT2": 1}
    path = reference("saturation", keys=same, SCI=np.full((2048, 2048), 50000.0))
    exposure = ramp(sci, **keys() | {"NFRAMES": 4})
    flags = saturation(exposure, refs={"saturation": path})["GROUPDQ"][0] & DQ["SATURATED"]
    assert set(zip(*np.nonzero(flags[1]), strict=True)) == {
        (r, c) for r in (y - 1, y, y + 5) for c in (49, 50, 51)
    }
    assert (flags[2] > 0).sum() == 18
    assert not flags[0].any()

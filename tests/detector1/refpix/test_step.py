"""Reference-pixel correction: injected drifts come off, in every orientation and readout mode."""

import numpy as np
import pytest

from jwcal.core.errors import InputError
from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from jwcal.core.step import Skip
from jwcal.detector1.refpix.readout import READOUT_AXES, describe, readout_axes
from jwcal.detector1.refpix.step import refpix

REFERENCE = 1 << 31
ORIENTATIONS = {(-1, 2): "NRCA1", (1, -2): "NRCA2", (-2, -1): "NIS", (2, -1): "GUIDER2", (2, 1): "NRS1"}
INSTRUMENT = {"NRC": "NIRCAM", "NIS": "NIRISS", "GUI": "FGS", "NRS": "NIRSPEC", "MIR": "MIRI"}


def exposure(sci, dq, detector, zeroframe=None, origin=(0, 0), **keys):
    fast, slow = READOUT_AXES[detector]
    ny, nx = sci.shape[-2:]
    header = Header()
    values = {
        "INSTRUME": INSTRUMENT[detector[:3]], "DETECTOR": detector, "FASTAXIS": fast, "SLOWAXIS": slow,
        "SUBARRAY": "FULL", "NOUTPUTS": 4, "NINTS": sci.shape[0], "NGROUPS": sci.shape[1],
        "SUBSTRT1": origin[1] + 1, "SUBSTRT2": origin[0] + 1, "SUBSIZE1": nx, "SUBSIZE2": ny,
    } | keys  # fmt: skip
    for key, value in values.items():
        header.set(key, value)
    planes = {"SCI": sci, "PIXELDQ": dq, "GROUPDQ": np.zeros(sci.shape, np.uint8)}
    if zeroframe is not None:
        planes["ZEROFRAME"] = zeroframe
    return Exposure("ramp", header, {"SCI": Header()}, ArrayStore(planes))


def border(shape=(2048, 2048), origin=(0, 0), size=2048):
    y = np.arange(origin[0], origin[0] + shape[0])[:, None]
    x = np.arange(origin[1], origin[1] + shape[1])[None, :]
    return np.where((y < 4) | (y >= size - 4) | (x < 4) | (x >= size - 4), REFERENCE, 0).astype(np.uint32)


def to_detector(image, axes):
    """View of an image with the fast axis along rows, both axes in the order of readout."""
    signs = {abs(a): np.sign(a) for a in axes}
    view = image[..., :: signs[2], :: signs[1]]
    return view if abs(axes[0]) == 1 else view.swapaxes(-1, -2)


def lines(seed, n=2048):
    """Slow drift along the lines, symmetric so that both ends have the same mean."""
    t = np.linspace(-1, 1, n)
    return 20 * np.cos((3 + seed) * t)


def drifting(axes, ngroup=2, nint=1, shape=(2048, 2048), seed=1):
    """Light on the inner pixels, plus one drift per amplifier, column parity, line and group."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((nint, ngroup, *shape), np.float32)
    truth[..., 4:-4, 4:-4] = rng.uniform(0, 50, (nint, ngroup, 1, 1))
    sci = truth.copy()
    for i in range(nint):
        for g in range(ngroup):
            columns = np.repeat(rng.normal(0, 30, (4, 2)), 256, axis=0).reshape(-1)
            view = to_detector(sci[i, g], axes)
            view += columns + lines(g)[:, None]
    return sci, truth


@pytest.mark.parametrize("axes", ORIENTATIONS, ids=ORIENTATIONS.values())
def test_drifts_of_a_full_frame_come_off(axes):
    sci, truth = drifting(axes)
    rng = np.random.default_rng(5)
    dq = border()
    hit = (dq != 0) & (rng.random(dq.shape) < 0.02)
    sci[:, :, hit] += 3000
    dead = (dq != 0) & (rng.random(dq.shape) < 0.02)
    sci[:, :, dead & ~hit] = -1e6
    dq[dead] |= 1
    out = refpix(exposure(sci, dq, ORIENTATIONS[axes]), jobs=2)
    inside = np.zeros(dq.shape, bool)
    inside[10:-10, 10:-10] = True
    error = np.abs(out["SCI"] - truth)[..., inside]
    assert error.max() < 0.5
    assert out.meta["S_REFPIX"] == "COMPLETE"


def test_tiles_and_threads_do_not_show():
    rng = np.random.default_rng(6)
    sci = rng.normal(0, 5, (3, 2, 160, 160)).astype(np.float32)
    zero = sci[:, 0] / 2
    results = []
    for jobs in (1, 2, 7):
        e = exposure(sci.copy(), border((160, 160)), "NRCA1", zero.copy(), NOUTPUTS=1, SUBARRAY="SUB160")
        out = refpix(e, jobs=jobs)
        results.append((out["SCI"].copy(), out["ZEROFRAME"].copy()))
    for sci_k, zero_k in results[1:]:
        np.testing.assert_array_equal(sci_k, results[0][0])
        np.testing.assert_array_equal(zero_k, results[0][1])


def reference_solution(sci, dq, *, first, length=11):
    """Plain computation of one group in the detector frame, with SciPy's clipping."""
    from scipy.stats import sigmaclip

    frame = sci.astype(np.float32 if first else np.float64)
    good = (dq & 1) == 0
    for amplifier in range(4):
        for parity in range(2):
            columns = slice(amplifier * 512 + parity, (amplifier + 1) * 512, 2)
            ends = [
                sigmaclip(frame[r, columns][good[r, columns]], 3, 3)[0].mean()
                for r in (slice(4), slice(-4, None))
            ]
            frame[:, columns] = frame[:, columns] - frame.dtype.type(0.5) * (ends[0] + ends[1])
    half = length // 2
    sides = []
    for columns in (slice(4), slice(-4, None)):
        side = np.pad(frame[:, columns], ((half, half), (0, 0)), mode="reflect")
        use = np.pad(good[:, columns], ((half, half), (0, 0)), mode="reflect")
        sides.append([np.median(side[k : k + length][use[k : k + length]]) for k in range(len(frame))])
    left, right = np.array(sides, np.float64)
    return (frame - (0.5 * (left + right))[:, None]).astype(np.float32)


def test_a_full_frame_equals_the_plain_computation_to_the_last_bit():
    rng = np.random.default_rng(7)
    sci = rng.normal(100, 8, (2, 1, 2048, 2048)).astype(np.float32)
    sci[rng.random(sci.shape) < 0.01] += 400
    dq = border() | (rng.random((2048, 2048)) < 0.03).astype(np.uint32)
    out = refpix(exposure(sci.copy(), dq, "GUIDER2"))
    axes = READOUT_AXES["GUIDER2"]
    for i in range(2):
        want = reference_solution(to_detector(sci[i, 0], axes), to_detector(dq, axes), first=i == 0)
        np.testing.assert_array_equal(to_detector(out["SCI"][i, 0], axes), want)


def test_single_output_uses_all_flagged_pixels_by_column_parity():
    rng = np.random.default_rng(8)
    origin, shape = (0, 1045), (80, 81)
    dq = border(shape, origin)
    # NIRISS reads along the image columns, so parity runs along y, counted from the far end.
    parity = (2047 - np.arange(80)) % 2
    sci = np.where(parity[:, None] == 0, 10.0, -4.0) * np.ones((2, 3, *shape))
    sci = (sci + rng.normal(0, 0.01, sci.shape)).astype(np.float32)
    dq[0, 0] |= 1
    sci[:, :, 0, 0] = 1e5
    out = refpix(exposure(sci.copy(), dq, "NIS", origin=origin, NOUTPUTS=1, SUBARRAY="SUB80"))
    assert np.abs(out["SCI"][:, :, 4:]).max() < 0.1
    merged = refpix(
        exposure(sci.copy(), dq, "NIS", origin=origin, NOUTPUTS=1, SUBARRAY="SUB80"), odd_even_columns=False
    )["SCI"]
    np.testing.assert_allclose(merged[:, :, 4:], sci[:, :, 4:] - 3.0, atol=0.1)


@pytest.mark.parametrize("name", ["SUB32", "SUB512", "SUB512S"])
def test_edgeless_spectrograph_subarrays_use_the_outer_image_columns(name):
    sci = np.full((1, 2, 32, 64), 50, np.float32)
    sci[:, :, :, :4] = sci[:, :, :, -4:] = 7
    keys = {"origin": (956, 1200), "NOUTPUTS": 1}
    out = refpix(exposure(sci.copy(), np.zeros((32, 64), np.uint32), "NRS1", SUBARRAY=name, **keys))
    assert (out["SCI"][..., 4:-4] == 43).all()
    other = refpix(exposure(sci.copy(), np.zeros((32, 64), np.uint32), "NRS1", SUBARRAY="SUB1024A", **keys))
    assert other.meta["S_REFPIX"] == "SKIPPED"
    np.testing.assert_array_equal(other["SCI"], sci)


def test_a_four_output_stripe_uses_the_edges_it_has():
    sci, truth = drifting((-1, 2), ngroup=1)
    sci, truth = sci[:, :, :64].copy(), truth[:, :, :64]
    out = refpix(exposure(sci, border((64, 2048)), "NRCALONG", SUBARRAY="SUBGRISM64"))
    residual = (out["SCI"] - truth)[0, 0, 10:50, 10:-10]
    assert np.ptp(residual) < 0.5


def test_zero_frame_is_corrected_like_a_group_and_its_zeros_stay():
    rng = np.random.default_rng(9)
    sci = rng.normal(100, 5, (2, 2, 64, 2048)).astype(np.float32)
    zero = sci[:, 1].copy()
    zero[:, 30, 100:110] = 0
    keys = {"SUBARRAY": "SUBGRISM64"}
    out = refpix(exposure(sci, border((64, 2048)), "NRCALONG", zero, **keys))
    corrected = out["ZEROFRAME"]
    assert (corrected[:, 30, 100:110] == 0).all()
    keep = np.ones((64, 2048), bool)
    keep[30, 100:110] = False
    np.testing.assert_array_equal(corrected[:, keep], out["SCI"][:, 1][:, keep])


def test_nan_reference_pixels_are_left_out():
    sci = np.full((1, 1, 160, 160), 5, np.float32)
    sci[0, 0, 0, ::3] = np.nan
    out = refpix(exposure(sci, border((160, 160)), "NRCA1", NOUTPUTS=1, SUBARRAY="SUB160"))
    assert (out["SCI"][0, 0, 4:] == 0).all()


@pytest.mark.parametrize(
    ("detector", "shape"), [("NRCA1", (160, 160)), ("NRCALONG", (64, 2048)), ("MIRIMAGE", (1024, 1032))]
)
def test_without_valid_reference_pixels_nothing_changes(detector, shape, caplog):
    rng = np.random.default_rng(10)
    sci = rng.normal(0, 5, (1, 2, *shape)).astype(np.float32)
    dq = np.ones(shape, np.uint32)
    keys = {"NOUTPUTS": 1 if shape == (160, 160) else 4, "SUBARRAY": "GENERIC"}
    out = refpix(exposure(sci.copy(), dq, detector, **keys))
    np.testing.assert_array_equal(out["SCI"], sci)
    assert out.meta["S_REFPIX"] == "SKIPPED"
    assert "no valid reference pixels" in caplog.text


@pytest.mark.parametrize("rows", [True, False])
def test_miri_drift_since_the_first_group_comes_off(rows):
    rng = np.random.default_rng(11)
    base = rng.uniform(1000, 2000, (1024, 1032))
    level = rng.normal(0, 20, (3, 2 if rows else 1, 4))
    level[0] = 0
    y = np.arange(1024)[:, None] % level.shape[1]
    x = np.arange(1032)[None, :] % 4
    sci = (base + level[:, y, x])[None].astype(np.float32)
    out = refpix(exposure(sci.copy(), np.zeros((1024, 1032), np.uint32), "MIRIMAGE"), odd_even_rows=rows)[
        "SCI"
    ]
    np.testing.assert_array_equal(out[0, 0], sci[0, 0])
    np.testing.assert_allclose(out[0, 1:], np.stack([sci[0, 0]] * 2), atol=1e-3)


def test_side_parameters_act():
    sci, _ = drifting((1, -2))
    plain = exposure(sci.copy(), border(), "NRCA2")
    off = refpix(exposure(sci.copy(), border(), "NRCA2"), use_side_ref_pixels=False)["SCI"]
    half = refpix(exposure(sci.copy(), border(), "NRCA2"), side_gain=0.5)["SCI"]
    full = refpix(plain)["SCI"]
    np.testing.assert_allclose(half, 0.5 * (off + full), atol=1e-3)
    assert np.ptp(off[0, 0, :, 1000]) > 10 * np.ptp(full[0, 0, 10:-10, 1000])


META = {"INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "FASTAXIS": -1, "SLOWAXIS": 2, "NOUTPUTS": 4}


def test_modes_not_built_are_refused_and_hopeless_ones_skipped():
    with pytest.raises(InputError, match="SSTR_STP is missing"):
        describe({**META, "MSTR_RD1": 1, "SSTR_NST": 2}, (256, 2048), (0, 0))
    with pytest.raises(Skip, match="does not fit"):
        describe(META, (256, 2048), (2000, 0))
    with pytest.raises(Skip, match="MIRI subarrays"):
        describe({"INSTRUME": "MIRI"}, (256, 256), (0, 0))
    with pytest.raises(Skip, match="no valid reference pixels"):
        describe(META, (256, 256), (500, 500))


def test_readout_axes_come_from_the_header_or_the_detector(caplog):
    for detector, axes in READOUT_AXES.items():
        assert readout_axes({"DETECTOR": detector}) == axes
        assert readout_axes({"DETECTOR": detector, "FASTAXIS": axes[0], "SLOWAXIS": axes[1]}) == axes
    assert not caplog.records
    assert readout_axes({"DETECTOR": "NRCA1", "FASTAXIS": 1, "SLOWAXIS": -2}) == (1, -2)
    assert "usually" in caplog.text
    with pytest.raises(InputError, match="missing"):
        readout_axes({"DETECTOR": "OTHER"})
    with pytest.raises(InputError, match="two axes"):
        readout_axes({"DETECTOR": "NRCA1", "FASTAXIS": 1, "SLOWAXIS": -1})


@pytest.mark.parametrize("size", [(2048, 2048), (64, 2048), (160, 161)])
def test_boxes_cover_every_reference_pixel_once(size):
    readout = describe({**META, "NOUTPUTS": 1}, size, (2048 - size[0], 2048 - size[1]))
    seen = np.zeros(size, int)
    for y0, y1, x0, x1 in readout.boxes():
        seen[y0:y1, x0:x1] += 1
    reference = border(size, (2048 - size[0], 2048 - size[1])) != 0
    np.testing.assert_array_equal(seen, reference.astype(int))

"""NIRISS SOSS in the flicker-noise correction: traces, background and light curve on known truth."""

import numpy as np
import pytest

from jwcal.core.errors import DataError, InputError, ReferenceFileError
from jwcal.core.reference import ReferenceFile
from jwcal.detector1.clean_flicker_noise import soss_median, soss_traces
from jwcal.detector1.clean_flicker_noise.step import clean_flicker_noise

asdf = pytest.importorskip("asdf", reason="PASTASOSS references are ASDF; pip install 'jwcal[asdf]'")

COMMANDED, PIVOT, ROW, SECOND = 245.76, 1000.0, 60.0, 25.0
SIDE = 2048
KEYS = {
    "INSTRUME": "NIRISS", "DETECTOR": "NIS", "EXP_TYPE": "NIS_SOSS", "SUBARRAY": "SUBSTRIP96", "FILTER": "CLEAR",
    "FASTAXIS": -2, "SLOWAXIS": -1, "TGROUP": 2.0, "TFRAME": 2.0, "PWCPOS": COMMANDED, "SUBSTRT1": 1,
    "SUBSTRT2": 1803, "FILENAME": "jw1_nis_uncal.fits",
}  # fmt: skip


def tree(**changes):
    """PASTASOSS tree of one straight trace; wavelengths fall from 2.8 to 0.8 along the columns."""
    x = np.arange(4.0, 2044.0)
    meta = {
        "reftype": "pastasoss", "instrument": {"name": "NIRISS"}, "pwcpos_cmd": COMMANDED,
        "pwcpos_bounds": [COMMANDED - 0.25, COMMANDED + 0.25], "soss_xdim": SIDE, "soss_ydim": 300,
        "subarray_ymin": 1792, "wavemap_nwl": 3001, "wavemap_wlmin": 0.5, "wavemap_wlmax": 3.5,
    }  # fmt: skip
    line = {
        "spectral_order": 1, "pivot_x": PIVOT, "pivot_y": ROW, "trace": np.column_stack([x, np.full(x.size, ROW)]),
    }  # fmt: skip
    model = {
        "coefficients": np.array([2.8, -2.0, 0.0]),
        "scale_extents": np.array([[0.0, -0.25], [SIDE, 0.25]]),
    }
    return {"meta": meta, "traces": [line], "wavecal_models": [model], **changes}


@pytest.fixture
def pastasoss(tmp_path):
    """Write the reference, with parts of its tree replaced."""

    def write(**changes):
        path = tmp_path / "pastasoss.asdf"
        asdf.AsdfFile(tree(**changes)).write_to(path)
        return str(path)

    return write


@pytest.fixture
def traces(pastasoss):
    return soss_traces.read_traces(ReferenceFile("pastasoss", pastasoss()))


def test_a_straight_trace_is_masked(traces):
    mask = soss_traces.trace_mask(traces, COMMANDED, "SUBSTRIP256", (256, SIDE))
    rows = np.flatnonzero(mask.any(axis=1))
    assert (rows[0], rows[-1]) == (ROW - 16, ROW + 16)
    assert mask[rows[0] : rows[-1] + 1].all()
    short = soss_traces.trace_mask(traces, COMMANDED, "SUBSTRIP96", (96, SIDE))
    assert np.flatnonzero(short.any(axis=1))[0] == ROW - 26


def test_the_trace_turns_with_the_wheel(traces):
    angle = 0.2
    mask = soss_traces.trace_mask(traces, COMMANDED + angle, "SUBSTRIP256", (256, SIDE))
    columns = np.arange(SIDE)
    middle = ROW + np.tan(np.radians(angle)) * (columns - PIVOT)
    first = np.argmax(mask, axis=0)
    last = 255 - np.argmax(mask[::-1], axis=0)
    assert np.abs((first + last) / 2 - middle).max() < 0.51
    assert set(last - first) <= {32, 33}


def test_wavelengths_of_columns(traces):
    found = soss_traces.wavelengths(traces, traces.orders[0], COMMANDED, "SUBSTRIP256")
    np.testing.assert_allclose(found[100:-100], (2.8 - 2.0 * np.arange(SIDE) / SIDE)[100:-100], atol=1e-5)


def test_a_polynomial_of_two_variables():
    coefficients = np.arange(1.0, 11.0)
    x, y = np.linspace(0, 1, 7), 0.3
    terms = [1, x, y, x**2, x * y, y**2, x**3, x**2 * y, x * y**2, y**3]
    expected = sum(c * t for c, t in zip(coefficients, terms, strict=True))
    np.testing.assert_allclose(soss_traces._polynomial(coefficients, x, y), expected, rtol=1e-14)


def test_a_wheel_out_of_range_is_refused(traces):
    with pytest.raises(DataError, match="PWCPOS"):
        soss_traces.trace_mask(traces, COMMANDED + 1, "SUBSTRIP256", (256, SIDE))


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"meta": {"reftype": "pastasoss"}}, "wavemap_wlmin"),
        ({"traces": []}, "no traces"),
        ({"wavecal_models": [{"coefficients": [1.0, 2.0]}]}, "scale_extents"),
        ({"wavecal_models": [{"coefficients": [1.0, 2.0, 3.0], "scale_extents": [[0.0, 1.0], [0.0, 2.0]]}]}, "scaled"),
        ({"traces": [{"spectral_order": 9, "trace": [[1.0, 2.0], [2.0, 2.0]]}]}, "spectral order"),
        ({"traces": [{"spectral_order": 1, "trace": [[1.0, float("nan")], [2.0, 2.0]]}]}, "no table of numbers"),
    ],
)  # fmt: skip
def test_malformed_references(pastasoss, part, text):
    with pytest.raises(ReferenceFileError, match=text):
        soss_traces.read_traces(ReferenceFile("pastasoss", pastasoss(**part)))


def scene(nint=1, ngroup=4, flux=(1.0,), sky=0.0, lines=5.0, seed=1):
    """Ramps of a strip with and without noise of columns; two traces fill most of its rows."""
    rng = np.random.default_rng(seed)
    rows = np.arange(96)[:, None]
    # The shorter strip is cut out ten rows further up.
    lit = np.minimum(np.abs(rows - ROW + 10), np.abs(rows - SECOND + 10)) < 15
    light = 300 * lit * np.linspace(1, 0.3, SIDE)
    rate = light * np.array(flux)[:, None, None] + sky
    clean = rate[:, None] * 2 * np.arange(1, ngroup + 1)[:, None, None] + rng.normal(
        0, 1, (nint, ngroup, 96, SIDE)
    )
    noise = rng.normal(0, lines, (nint, ngroup, 1, SIDE))
    return clean.astype(np.float32), (clean + noise).astype(np.float32)


@pytest.fixture
def refs(reference, pastasoss):
    keys = {"INSTRUME": "NIRISS", "DETECTOR": "NIS", "SUBSTRT1": 1, "SUBSTRT2": 1803}
    return {
        "gain": reference("gain", keys, SCI=np.full((96, SIDE), 1.6)),
        "readnoise": reference("readnoise", keys, SCI=np.full((96, SIDE), 1.5)),
        "pastasoss": pastasoss(),
    }


def test_masked_traces_leave_the_background(ramp, refs, pastasoss):
    clean, noisy = scene()
    (first,), (model,) = tree()["traces"], tree()["wavecal_models"]
    second = {**first, "spectral_order": 2, "pivot_y": SECOND, "trace": first["trace"] - [0, ROW - SECOND]}
    refs = {**refs, "pastasoss": pastasoss(traces=[first, second], wavecal_models=[model, model])}
    error = {}
    for masked in (False, True):
        out = clean_flicker_noise(
            ramp(noisy, **KEYS), refs=refs, skip=False, n_sigma=0, mask_science_regions=masked
        )
        step = np.diff(out["SCI"] - clean, axis=1)
        error[masked] = np.std(step - step.mean())
    assert error[True] < 1
    assert error[True] < 0.2 * error[False]
    assert out.meta["R_PSTSOS"] == "pastasoss.asdf"


def test_traces_need_a_reference_and_a_position(ramp, refs):
    _, noisy = scene()
    wanted = {"skip": False, "mask_science_regions": True}
    without = {kind: path for kind, path in refs.items() if kind != "pastasoss"}
    with pytest.raises(ReferenceFileError, match="--ref-pastasoss"):
        clean_flicker_noise(ramp(noisy, **KEYS), refs=without, **wanted)
    with pytest.raises(InputError, match="PWCPOS"):
        clean_flicker_noise(ramp(noisy, **(KEYS | {"PWCPOS": None})), refs=refs, **wanted)
    out = clean_flicker_noise(ramp(noisy, **KEYS), refs=without, skip=False)
    assert out.meta["S_CLNFNS"] == "COMPLETE"


def test_median_image_follows_the_light_curve(ramp, refs):
    clean, noisy = scene(nint=5, ngroup=3, flux=(1.0, 0.98, 1.02, 0.97, 1.01))
    out = clean_flicker_noise(
        ramp(noisy, **KEYS),
        refs=refs,
        skip=False,
        background_method="median_image",
        mask_science_regions=True,
    )
    before, after = (np.std((data - clean)[:, -1].mean(axis=1)) for data in (noisy, out["SCI"]))
    assert after < 0.75 * before
    assert out.meta["S_CLNFNS"] == "COMPLETE"


@pytest.mark.parametrize(
    ("keys", "gone"), [({"SUBARRAY": "FULL"}, ()), ({}, ("pastasoss",)), ({"PWCPOS": 240.0}, ())]
)
def test_median_images_the_official_step_declines(ramp, refs, keys, gone):
    _, noisy = scene(nint=2, ngroup=2, flux=(1.0, 1.0))
    given = {kind: path for kind, path in refs.items() if kind not in gone}
    out = clean_flicker_noise(
        ramp(noisy, **(KEYS | keys)), refs=given, skip=False, background_method="median_image"
    )
    assert out.meta["S_CLNFNS"] == "FAILED"
    np.testing.assert_array_equal(out["SCI"], noisy)


def test_light_curve_is_the_flux_within_limits(traces):
    rate = np.zeros((3, 96, SIDE), np.float32)
    rate[:, 50:71] = 1.0
    rate *= np.array([1, 2, 0.5], np.float32)[:, None, None]
    flux = soss_median.light_curve(rate, traces, COMMANDED, "SUBSTRIP96", (1.3, 1.8))
    np.testing.assert_allclose(flux / flux[0], [1, 2, 0.5], rtol=1e-12)
    assert flux[0] == pytest.approx(soss_median.WIDTH * 0.5 / 2.0 * SIDE, rel=2e-3)
    assert soss_median.light_curve(rate[:, :50], traces, COMMANDED, "SUBSTRIP96", (1, 2)) is None


def test_the_best_template_is_subtracted_in_two_parts():
    rng = np.random.default_rng(2)
    x = np.arange(SIDE) * np.ones((96, 1))
    right = x > 700
    shapes = [
        (1 + x / 1500 + 0.5 * right).astype(np.float32),
        (1 + x / 4000 + 0.5 * right).astype(np.float32),
    ]
    sky = shapes[1] * np.where(right, 1.2, 1.1)
    rate = (sky + rng.normal(0, 0.01, (2, 96, SIDE))).astype(np.float32)
    rate[:, 40:80] += 50
    rate[0, 3, 5:9] = np.nan
    found, rest = soss_median.split_sky(rate, np.zeros(rate.shape, np.uint32), shapes)
    away = np.abs(np.arange(SIDE) - 700) > 2
    assert np.abs(found / sky - 1)[..., away].max() < 0.01
    assert np.abs(rest[:, :36, 900:]).max() < 0.1
    assert np.isfinite(found).all()
    none, rest = soss_median.split_sky(rate, np.zeros(rate.shape, np.uint32), ())
    assert not none.any()
    np.testing.assert_array_equal(rest, rate)
    narrow, cut = rate[:, :, :500].copy(), [shape[:, :500] for shape in shapes]
    assert soss_median.split_sky(narrow, np.zeros(narrow.shape, np.uint32), cut) is None
    rate[1] = np.nan
    assert soss_median.split_sky(rate, np.zeros(rate.shape, np.uint32), shapes) is None


def test_limits_of_the_white_light(tmp_path):
    path = tmp_path / "range.asdf"

    def limits(rows, name="CLEAR"):
        asdf.AsdfFile({"meta": {"reftype": "wavelengthrange"}, "wavelengthrange": rows}).write_to(path)
        return soss_median.read_limits(ReferenceFile("wavelengthrange", str(path)), name)

    rows = [[1, "CLEAR", 0.9, 2.7], [2, "CLEAR", 0.6, 1.4]]
    assert limits(rows) == (0.9, 2.7)
    assert limits(rows, "F277W") is None
    with pytest.raises(ReferenceFileError, match="wavelengthrange"):
        limits([[1, 2]])
    assert soss_median.read_limits(None, "CLEAR")[1] > 1e9

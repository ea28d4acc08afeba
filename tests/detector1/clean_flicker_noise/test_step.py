"""Flicker noise: methods, masks, refusals, and what is left of it on simulated truth."""

import logging

import numpy as np
import pytest

from jwcal.core.errors import InputError, JwcalError, OutputError, ReferenceFileError, UsageError
from jwcal.detector1 import scene_mask
from jwcal.detector1.clean_flicker_noise import background
from jwcal.detector1.clean_flicker_noise.auto import LIMITS, Measured, decide
from jwcal.detector1.clean_flicker_noise.fft import FitError, fit_noise
from jwcal.detector1.clean_flicker_noise.step import clean_flicker_noise

READ, GAIN, SKY = 8.0, 2.0, 2.0
KEYS = {
    "EXP_TYPE": "NRC_IMAGE", "SUBARRAY": "SUB128", "FASTAXIS": -1, "SLOWAXIS": 2, "TGROUP": 1.0, "TFRAME": 1.0,
    "FILENAME": "jw00001001001_01101_00001_nrca1_uncal.fits",
}  # fmt: skip


def truth(shape=(1, 6, 128, 128), lines=4.0, axis=1, source=0.0, seed=1):
    """Ramps with and without noise of lines, and the slopes of the sources."""
    rng = np.random.default_rng(seed)
    nint, ngroup, ny, nx = shape
    y, x = np.mgrid[:ny, :nx]
    light = source * np.exp(-(np.hypot(y - 0.45 * ny, x - 0.4 * nx) / (0.07 * nx))).astype(np.float32)
    signal = rng.poisson(np.broadcast_to((light + SKY) * GAIN, shape)).cumsum(axis=1) / GAIN
    ramp = (signal + rng.normal(0, READ, shape)).astype(np.float32)
    size = (nint, ngroup, ny, 1) if axis else (nint, ngroup, 1, nx)
    return ramp, (ramp + rng.normal(0, lines, size)).astype(np.float32), light


def slopes(ramp):
    """Slope of every pixel by unweighted least squares."""
    time = np.arange(ramp.shape[1]) - (ramp.shape[1] - 1) / 2
    return np.einsum("g,igyx->yx", time, ramp.astype(float)) / (time**2).sum() / len(ramp)


def scatter(image, axis=1):
    return (np.nanmean(image, axis=axis) - np.nanmean(image)).std()


@pytest.fixture
def refs(reference):
    """Paths of GAIN and READNOISE of a frame."""

    def make(frame=(128, 128)):
        return {
            "gain": reference("gain", SCI=np.full(frame, GAIN)),
            "readnoise": reference("readnoise", SCI=np.full(frame, READ * np.sqrt(2))),
        }

    return make


def test_off_unless_asked_for(ramp, refs):
    clean, _, _ = truth()
    out = clean_flicker_noise(ramp(clean, **KEYS), refs=refs())
    assert np.array_equal(out["SCI"], clean)
    assert out.meta["S_CLNFNS"] == "SKIPPED"


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("method", ["median", "scene"])
def test_lines_are_cleaned(ramp, refs, axis, method):
    clean, noisy, _ = truth(axis=axis)
    keys = KEYS | {"SLOWAXIS": -2 if axis else 1}
    out = clean_flicker_noise(ramp(noisy, **keys), refs=refs(), skip=False, fit_method=method)
    before = scatter(slopes(noisy) - slopes(clean), axis)
    after = scatter(slopes(out["SCI"]) - slopes(clean), axis)
    assert after < {"median": 0.6, "scene": 0.4}[method] * before
    assert out.meta["S_CLNFNS"] == "COMPLETE"
    assert np.array_equal(out["SCI"][:, 0], noisy[:, 0])


def test_scene_leaves_extended_sources_alone(ramp, refs):
    lost = {}
    for method in ("median", "scene"):
        found = []
        for seed in range(3):
            clean, noisy, light = truth(shape=(1, 8, 256, 256), source=600.0, seed=seed)
            exposure = ramp(noisy, **KEYS)
            out = clean_flicker_noise(exposure, refs=refs((256, 256)), skip=False, fit_method=method)
            change = slopes(out["SCI"]) - slopes(clean)
            inside = light > 12
            found.append((change - np.median(change[light < 0.1]))[inside].sum() / light[inside].sum())
        lost[method] = abs(np.mean(found))
    assert lost["scene"] < 0.002
    assert lost["scene"] < 0.2 * lost["median"]


def test_scene_reports_and_declines(ramp, refs):
    clean, noisy, _ = truth()
    done = clean_flicker_noise(ramp(noisy, **KEYS), refs=refs(), skip=False, fit_method="scene")
    assert done.meta["FLKMETH"] == "scene"
    assert done.meta["FLKEXCES"] > 3
    assert 0 < done.meta["FLKLEFT"] < 0.5
    assert done.meta["FLKDONE"] == pytest.approx(4 * np.sqrt(2), rel=0.2)
    quiet = clean_flicker_noise(ramp(clean, **KEYS), refs=refs(), skip=False, fit_method="scene")
    assert quiet.meta["FLKMETH"] == "none"
    assert quiet.meta["FLKEXCES"] == pytest.approx(1, abs=0.15)
    assert np.array_equal(quiet["SCI"], clean)
    short = clean_flicker_noise(ramp(clean[:, :2], **KEYS), refs=refs(), skip=False, fit_method="scene")
    assert short.meta["FLKMETH"] == "none"
    assert np.array_equal(short["SCI"], clean[:, :2])


@pytest.mark.parametrize("method", ["median", "scene"])
def test_threads_do_not_show(ramp, refs, method):
    _, noisy, _ = truth(shape=(2, 7, 64, 96), source=30.0)
    paths = refs((64, 96))
    one, three = (
        clean_flicker_noise(ramp(noisy, **KEYS), refs=paths, skip=False, fit_method=method, jobs=jobs)["SCI"]
        for jobs in (1, 3)
    )
    assert np.array_equal(one, three)


@pytest.mark.parametrize("method", ["median", "scene"])
def test_nothing_usable_leaves_the_data(ramp, refs, method, caplog):
    _, noisy, _ = truth()
    flags = np.ones(noisy.shape, np.uint8)
    with caplog.at_level(logging.WARNING):
        out = clean_flicker_noise(
            ramp(noisy, groupdq=flags, **KEYS), refs=refs(), skip=False, fit_method=method
        )
    assert np.array_equal(out["SCI"], noisy)
    assert len([r for r in caplog.records if "clean_flicker_noise" in r.getMessage()]) == 1


def test_nan_stays_where_it_was(ramp, refs):
    _, noisy, _ = truth()
    noisy[0, 3, 10, 10] = np.nan
    out = clean_flicker_noise(ramp(noisy, **KEYS), refs=refs(), skip=False, fit_method="scene")
    assert np.argwhere(np.isnan(out["SCI"])).tolist() == [[0, 3, 10, 10]]


def test_user_masks(ramp, tmp_path, refs):
    from astropy.io import fits

    _, noisy, _ = truth()
    path = tmp_path / "mask.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((128, 128), np.float32), name="SCI")]).writeto(
        path
    )
    # Nothing but the mask is needed.
    out = clean_flicker_noise(ramp(noisy, **KEYS), refs={}, skip=False, user_mask=str(path))
    assert not np.array_equal(out["SCI"], noisy)
    fits.PrimaryHDU(np.zeros((128, 128), np.int16)).writeto(path, overwrite=True)
    out = clean_flicker_noise(ramp(noisy, **KEYS), refs={}, skip=False, user_mask=str(path))
    assert np.array_equal(out["SCI"], noisy)
    fits.PrimaryHDU(np.zeros((64, 128), np.int16)).writeto(path, overwrite=True)
    with pytest.raises(InputError, match="shape"):
        clean_flicker_noise(ramp(noisy, **KEYS), refs={}, skip=False, user_mask=str(path))
    fits.HDUList([fits.PrimaryHDU()]).writeto(path, overwrite=True)
    with pytest.raises(InputError, match="no image"):
        clean_flicker_noise(ramp(noisy, **KEYS), refs={}, skip=False, user_mask=str(path))
    with pytest.raises(InputError, match="no such mask"):
        clean_flicker_noise(ramp(noisy, **KEYS), refs={}, skip=False, user_mask=str(tmp_path / "none.fits"))


def test_flat_of_another_shape_is_refused(ramp, reference, refs):
    _, noisy, _ = truth()
    flat = reference("flat", SCI=np.ones((50, 128)), keys={"SUBSIZE2": 50})
    with pytest.raises(ReferenceFileError, match="does not cover"):
        clean_flicker_noise(
            ramp(noisy, **KEYS), refs={**refs(), "flat": flat}, skip=False, apply_flat_field=True
        )


def test_flat_is_divided_out_for_the_fit_alone(ramp, reference, refs):
    clean, noisy, _ = truth()
    flat = np.where(np.arange(128) % 2, 1.4, 0.6) * np.ones((128, 1))
    path = reference("flat", SCI=flat)
    scaled = (noisy * flat).astype(np.float32)
    out = clean_flicker_noise(
        ramp(scaled, **KEYS), refs={**refs(), "flat": path}, skip=False, apply_flat_field=True
    )
    assert scatter(slopes(out["SCI"]) / flat - slopes(clean)) < 0.7 * scatter(slopes(noisy) - slopes(clean))
    assert out.meta["R_FLAT"] == "flat.fits"
    unused = clean_flicker_noise(ramp(noisy, **KEYS), refs={**refs(), "flat": path}, skip=False)
    assert unused.meta.get("R_FLAT") is None


def test_missing_references(ramp):
    _, noisy, _ = truth()
    with pytest.raises(ReferenceFileError, match="GAIN"):
        clean_flicker_noise(ramp(noisy, **KEYS), refs={}, skip=False)


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        ({"INSTRUME": "MIRI", "EXP_TYPE": "MIR_MRS", "DETECTOR": "MIRIFUSHORT"}, {}),
        ({}, {"fit_method": "fft"}),
        ({}, {"background_method": "median_image"}),
    ],
)
def test_what_the_official_step_declines(ramp, keys, values, caplog):
    _, noisy, _ = truth()
    with caplog.at_level(logging.WARNING):
        out = clean_flicker_noise(ramp(noisy, **(KEYS | keys)), refs={}, skip=False, **values)
    assert out.meta["S_CLNFNS"] == "FAILED"
    assert np.array_equal(out["SCI"], noisy)
    assert "nothing done" in caplog.text


@pytest.mark.parametrize(
    ("keys", "values", "text"),
    [
        ({"EXP_TYPE": "NRS_FIXEDSLIT"}, {"mask_science_regions": True}, "user_mask"),
        ({"EXP_TYPE": "NRC_TSGRISM"}, {"background_method": "median_image"}, "light curves"),
        ({}, {"background_box_size": "32"}, "rows,columns"),
    ],
)
def test_what_cannot_be_done_is_said(ramp, refs, keys, values, text):
    _, noisy, _ = truth()
    with pytest.raises(UsageError, match=text):
        clean_flicker_noise(ramp(noisy, **(KEYS | keys)), refs=refs(), skip=False, **values)


def test_median_image_keeps_what_all_integrations_share(ramp, refs):
    clean, noisy, _ = truth(shape=(5, 3, 64, 64), source=30.0)
    out = clean_flicker_noise(
        ramp(noisy, **KEYS), refs=refs((64, 64)), skip=False, background_method="median_image"
    )
    assert scatter((out["SCI"] - clean)[0, 1]) < 0.7 * scatter((noisy - clean)[0, 1])


def test_files_beside_the_product(ramp, refs, tmp_path, monkeypatch):
    from astropy.io import fits

    monkeypatch.chdir(tmp_path)
    _, noisy, _ = truth()
    out = clean_flicker_noise(
        ramp(noisy, **KEYS), refs=refs(), skip=False, save_mask=True, save_background=True, save_noise=True
    )
    stem = KEYS["FILENAME"].removesuffix("_uncal.fits")
    mask = fits.getdata(f"{stem}_mask.fits", "SCI")
    assert mask.shape == (128, 128)
    assert 0.5 < mask.mean() < 1
    level = fits.getdata(f"{stem}_flicker_bkg.fits", "SCI")
    assert level[0, 1:].mean() == pytest.approx(SKY, abs=0.5)
    noise = fits.getdata(f"{stem}_flicker_noise.fits", "SCI")
    np.testing.assert_array_equal(noise, out["SCI"] - noisy)
    assert len(list(tmp_path.glob("jw*"))) == 3


@pytest.mark.parametrize(
    ("method", "wanted", "suffix"),
    [
        ("median", "save_mask", "mask"),
        ("median", "save_background", "flicker_bkg"),
        ("scene", "save_noise", "flicker_noise"),
    ],
)
def test_files_are_not_replaced_silently(ramp, refs, tmp_path, monkeypatch, method, wanted, suffix):
    from jwcal.kernels import flicker, flicker_scene

    monkeypatch.chdir(tmp_path)
    _, noisy, _ = truth()
    path = tmp_path / f"{KEYS['FILENAME'].removesuffix('_uncal.fits')}_{suffix}.fits"
    path.write_text("precious")
    # Refused before any work is done.
    monkeypatch.setattr(flicker, "difference", None)
    monkeypatch.setattr(flicker_scene, "line_scene", None)
    with pytest.raises(OutputError, match=f"{path.name}: exists already"):
        clean_flicker_noise(ramp(noisy, **KEYS), refs=refs(), skip=False, fit_method=method, **{wanted: True})
    assert path.read_text() == "precious"


def test_files_go_with_the_product(ramp, refs, tmp_path, monkeypatch):
    from jwcal.core.api import run_pipeline

    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    mask = out / f"{KEYS['FILENAME'].removesuffix('_uncal.fits')}_mask.fits"
    others = ("dq_init", "saturation", "superbias", "refpix", "linearity", "dark_current", "jump")
    params = {step: {"skip": True} for step in others}
    params["clean_flicker_noise"] = {"skip": False, "save_mask": True}

    def run(**options):
        made = ramp(truth()[1], **KEYS)
        run_pipeline(
            "detector1", made, refs=refs(), params=params, output=str(out / "rate.fits"),
            rateints=str(out / "rateints.fits"), **options,
        )  # fmt: skip

    run()
    assert {path.name for path in out.iterdir()} == {"rate.fits", "rateints.fits", mask.name}
    mask.write_text("precious")
    (out / "rate.fits").unlink()
    (out / "rateints.fits").unlink()
    with pytest.raises(OutputError, match="exists already"):
        run()
    assert [path.name for path in out.iterdir()] == [mask.name]
    assert mask.read_text() == "precious"
    run(overwrite=True)
    assert mask.read_bytes().startswith(b"SIMPLE")
    # What comes after the correction fails: no file of it stays.
    mask.unlink()
    params["ramp_fit"] = {"algorithm": "OLS_C"}
    monkeypatch.setattr("jwcal.detector1.ramp_fit.step.fit_ramps", None)
    with pytest.raises(JwcalError):
        run(overwrite=True)
    assert not mask.exists()


def test_scene_mask_hides_sources():
    rng = np.random.default_rng(2)
    rate = rng.normal(1, 0.1, (64, 64)).astype(np.float32)
    rate[20:24, 30:34] = 50
    rate[0, 0], rate[0, 1] = np.nan, 0
    mask = scene_mask.scene_mask(rate, 3.0)
    assert not mask[20:24, 30:34].any()
    assert not mask[0, :2].any()
    assert mask.mean() > 0.95
    assert scene_mask.scene_mask(rate, 0.0).sum() == 64 * 64 - 2
    hidden = np.zeros((64, 64), bool)
    hidden[:, 50:] = True
    assert not scene_mask.scene_mask(rate, 3.0, hidden=hidden)[:, 50:].any()


def test_histogram_finds_the_background():
    pytest.importorskip("scipy")
    rng = np.random.default_rng(3)
    image = rng.normal(5, 1, (200, 200)).astype(np.float32)
    image[:60] += 8
    mask = np.ones(image.shape, np.uint8)
    background.clip_to_background(image, mask, 3.0, 3.0, fit_histogram=True)
    assert image[mask == 1].max() == pytest.approx(8, abs=0.3)


def test_background_model_follows_a_slope():
    pytest.importorskip("photutils")
    y, x = np.mgrid[:256, :320].astype(np.float32)
    image = (x + 2 * y) / 50 + np.random.default_rng(4).normal(0, 0.1, (256, 320)).astype(np.float32)
    level, _ = background.background_level(image.astype(np.float32), np.ones(image.shape, np.uint8), "model")
    assert np.abs(level - (x + 2 * y) / 50)[96:-96, 96:-96].max() < 0.3
    assert background.box_size((128, 96)) == (32, 32)
    assert background.box_size((2048, 1032)) == (32, 24)
    assert background.box_size((37, 50), (5, 6)) == (5, 6)


def test_fit_in_frequency_space():
    rng = np.random.default_rng(5)
    image = rng.normal(0, 2, (64, 512)).astype(np.float32)
    striped = image + np.cumsum(rng.normal(0, 1, 512)).astype(np.float32)[None, :]
    mask = rng.random(image.shape) < 0.8
    cleaned = fit_noise(striped, mask, "NRS1", "SUB512", None)
    assert np.std(cleaned - image) < 0.2 * np.std(striped - image)
    with pytest.raises(FitError):
        fit_noise(striped, np.zeros(mask.shape, bool), "NRS2", "SUB512", None)


@pytest.mark.parametrize(
    ("values", "choice"),
    [
        ((0.02, 0.2, 0, 1, 0), ("median", True)),
        ((0.5, 0.0, 1e-3, 1, 1), ("model", False)),
        ((0.5, 0.2, 0, 1, 1), ("median", False)),
        ((0.02, 0.01, 0, 9, 0.5), ("median", True)),
        ((0.02, 0.0, 1e-3, 9, 0.5), ("model", False)),
    ],
)
def test_automatic_choice(values, choice):
    assert decide(Measured(*values), LIMITS["NRC_IMAGE"]) == choice


def test_scene_needs_no_references_and_writes_its_noise(ramp, tmp_path, monkeypatch, caplog):
    from astropy.io import fits

    monkeypatch.chdir(tmp_path)
    _, noisy, _ = truth()
    with caplog.at_level(logging.WARNING):
        out = clean_flicker_noise(
            ramp(noisy, **KEYS), refs={}, skip=False, fit_method="scene", save_noise=True, save_mask=True
        )
    stem = KEYS["FILENAME"].removesuffix("_uncal.fits")
    np.testing.assert_array_equal(fits.getdata(f"{stem}_flicker_noise.fits", "SCI"), out["SCI"] - noisy)
    assert "neither a mask" in caplog.text
    assert len(list(tmp_path.iterdir())) == 1

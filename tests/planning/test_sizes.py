import pytest
from astropy.io import fits

from jwcal.planning import cost, sizes
from jwcal.planning.model import Detector
from jwcal.planning.prediction import Prediction
from jwcal.planning.raw import raw_files
from tests.planning.modes import dithered, images, mrs, nirspec, observation, program

# Headers of files of flight are longer than those of simulated ones; jwcal adds what it did to its products.
HEADERS = 16 * 2880


def raw_of(instrument, detector, rows, columns, ngroups, nints, exp_type="NRC_IMAGE"):
    detectors = (Detector(detector, rows=rows, columns=columns),)
    made = observation(1, "T", dithered(1, instrument, exp_type, detectors, ngroups=ngroups, nints=nints))
    return raw_files(program(made))[0]


@pytest.mark.parametrize(
    ("words", "raw", "extra"),
    [
        ({"detector": "NRCB1", "subarray": "SUB160"}, raw_of("NIRCAM", "NRCB1", 160, 160, 4, 2), 0),
        # The reference output of MIRI is not simulated: a quarter of the ramps.
        ({"instrument": "miri", "subarray": "SUB64"}, raw_of("MIRI", "MIRIMAGE", 64, 72, 4, 2), 2 * 64 * 18 * 8),
    ],
)  # fmt: skip
def test_against_files_that_are_made(words, raw, extra, tmp_path, jwcal):
    options = [f"--{key}={value}" for key, value in words.items()]
    assert jwcal("sim", "expose", tmp_path / "made", *options, "--ngroups", 4, "--nints", 2).code == 0
    (path,) = (tmp_path / "made").glob("*_uncal.fits")
    size, note = sizes.exposure_bytes(raw, "uncal")
    assert not note
    assert 0 <= size - extra - path.stat().st_size < HEADERS
    made = {suffix: tmp_path / f"x_{suffix}.fits" for suffix in ("rate", "rateints")}
    outputs = ("-o", made["rate"], "--rateints", made["rateints"])
    assert jwcal("run", "detector1", path, *outputs, "--refs", tmp_path / "made" / "refs").code == 0
    for suffix, file in made.items():
        size, note = sizes.exposure_bytes(raw, suffix)
        assert not note
        assert abs(size - file.stat().st_size) < HEADERS


def test_against_a_file_of_flight(shared):
    path = shared / "data" / "science" / "jw01288015001_04101_00001_mirimage_i2d.fits"
    with fits.open(path) as file:
        whole = sum(
            hdu.fileinfo()["datLoc"] - hdu.fileinfo()["hdrLoc"] + hdu.fileinfo()["datSpan"] for hdu in file
        )
    raw = raw_of("MIRI", "MIRIMAGE", 128, 136, 5, 115, "MIR_IMAGE")
    size, note = sizes.exposure_bytes(raw, "i2d")
    assert size == whole
    assert "grid" in note


def test_against_a_rectified_spectrum_of_flight(shared):
    path = shared / "data" / "science" / "jw01492-o005_s00004_nirspec_f100lp-g140m-s1600a1-sub2048_s2d.fits"
    slit = nirspec(5, "NRS_FIXEDSLIT", points=6, fxd_slit="S1600A1", subarray="SUB2048")
    size, note = sizes.combined_bytes(
        [raw for raw in raw_files(program(slit)) if raw.detector.name == "NRS1"], "s2d"
    )
    assert (size, note[:5]) == (path.stat().st_size, "rough")


def test_zero_frame_of_averaged_groups():
    frame = 2 * 2048 * 2048
    plain, averaged = (raw_of("NIRCAM", "NRCA1", 2048, 2048, 5, 3) for _ in range(2))
    averaged.exposure.readpatt = "MEDIUM8"
    (size, note), (more, why) = (sizes.exposure_bytes(raw, "uncal") for raw in (plain, averaged))
    assert (note, "zero frame" in why) == ("", True)
    assert 3 * frame <= more - size < 3 * frame + HEADERS
    assert sizes.exposure_bytes(plain, "rate") == sizes.exposure_bytes(averaged, "rate")
    averaged.exposure.instrument = "NIRISS"
    assert sizes.exposure_bytes(averaged, "uncal")[0] == size


def test_cubes_have_the_points_of_their_band():
    found = {each.name: each for each in Prediction(program(mrs(2, 1))).products}
    first, last = (found[f"jw01234-o002_t001_miri_ch{n}-short_s3d.fits"] for n in "14")
    assert all(each.size_note.startswith("rough") for each in (first, last))
    alone = {found[f"jw01234002001_02101_0000{n}_mirifushort_s3d.fits"].size for n in (1, 2)}
    assert len(alone) == 1
    # Spaxels of 0.13 and 0.35 arcsec on fields of 3.2 by 3.7 and 6.6 by 7.7, and half as many points.
    assert 3 < first.size / last.size < 6
    spectra = [found[each.name.replace("s3d", "x1d")].size for each in (first, last)]
    assert spectra[0] - spectra[1] == pytest.approx(140 * (1050 - 542), abs=2880)


def test_against_a_cube_of_flight():
    # 51 by 49 by 972 are the axes of s3d of jw01409133001_02101_00001_nrs1, as a public listing has them.
    raw, *_ = raw_files(program(nirspec(133, "NRS_IFU", "PRISM", "CLEAR", points=1)))
    size, note = sizes.exposure_bytes(raw, "s3d")
    assert note.startswith("rough")
    assert size == pytest.approx(16 * 51 * 49 * 972, rel=0.1)


def test_combined_images_grow_with_the_pointings_of_a_report():
    made = program(images(points=2))
    plain = Prediction(made).products
    for at, (_, _, exposure) in enumerate(made.exposures()):
        exposure.offset = (62.0 * at, -6.2 * at)
    moved = {each.name: each for each in Prediction(made).products}
    i2d = [each for each in plain if each.suffix == "i2d" and each.stage == 3]
    assert [each.size_note for each in i2d] == ["at least: dithers make the field larger"] * 2
    for each in i2d:
        assert 1.4 < moved[each.name].size / each.size < 1.7
        assert "pointing report" in moved[each.name].size_note


def test_frames_with_interleaved_reference_pixels():
    raw, *_ = raw_files(program(nirspec(7, "NRS_MSASPEC", readpatt="NRSIRS2")))
    assert (raw.rows, raw.detector.rows) == (3200, 2048)
    assert sizes.exposure_bytes(raw, "uncal")[0] > 2 * 3200 * 2048 * raw.exposure.ngroups


def test_combined_images_cover_the_detectors():
    found = {each.name: each for each in Prediction(program(images())).products}
    short = found["jw01234-o001_t001_nircam_clear-f150w_i2d.fits"]
    long = found["jw01234-o001_t001_nircam_clear-f277w_i2d.fits"]
    # Four detectors and the gaps between them, at half the pixel scale of one.
    assert 4 < short.size / long.size < 4.5
    assert "at least" in short.size_note
    segments = found["jw01234-o001_t001_nircam_clear-f150w_segm.fits"].size
    assert 6.5 < short.size / segments < 7.1


def test_what_is_unknown_has_a_reason():
    made = program(images(1), mrs(2, 1), nirspec(7, "NRS_MSASPEC", msa_config="a", opmode="MSASPEC"))
    found = Prediction(made).products
    unknown = [each for each in found if each.size is None]
    assert {each.suffix for each in unknown} >= {"cat", "s2d", "cal"}
    assert all(each.size_note for each in unknown)
    assert all(each.size > 2880 and each.size % 2880 == 0 for each in found if each.size is not None)


def test_cost_grows_with_the_exposure():
    small, large = raw_of("NIRCAM", "NRCA1", 640, 640, 5, 1), raw_of("NIRCAM", "NRCA1", 2048, 2048, 10, 4)
    assert cost.of_run("detector1", large)[0] > 3 * cost.of_run("detector1", small)[0] > 0
    assert cost.of_run("image2", small) == (None, None)
    irs2, *_ = raw_files(program(nirspec(7, "NRS_MSASPEC", readpatt="NRSIRS2")))
    assert cost.of_run("detector1", irs2)[1] > 2e8
    assert cost.of_run("dark", irs2) == (None, None)


def test_table_says_how_it_was_measured():
    from jwcal.core.packaged import text_of

    assert "python benchmarks/prediction.py" in text_of("data/planning", "cost.toml")
    for pipeline in cost.rates().values():
        for way in pipeline.values():
            assert (len(way["seconds"]), len(way["memory"])) == (3, 4)
            assert min(*way["seconds"], *way["memory"]) >= 0
            assert way["seconds"][2] > 0

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
    assert {each.suffix for each in unknown} >= {"cat", "s3d", "s2d", "cal"}
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

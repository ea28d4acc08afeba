"""Guide-star functions: official shapes, names and tables; truth; scores."""

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from jwcal.core.errors import DataError, InputError, UsageError
from jwcal.simulate.commands import sim_group
from jwcal.simulate.detectors import detector
from jwcal.simulate.expose import expose
from jwcal.simulate.guider import MODES, simulate, strip_columns
from jwcal.simulate.score import as_text, score

SMALL = {"shape": (64, 120)}
# Source: jwst documentation, "Guide star data products"; flight headers.
OFFICIAL = {
    "FGS_ID-IMAGE": ("gs-id_1_image-uncal.fits", (2, 2, 64, 120)),
    "FGS_ID-STACK": ("gs-id_1_stacked-uncal.fits", (2, 2, 64, 128)),
    "FGS_ACQ1": ("gs-acq1_2024061000006_uncal.fits", (6, 2, 128, 128)),
    "FGS_ACQ2": ("gs-acq2_2024061000001_uncal.fits", (5, 2, 32, 32)),
    "FGS_TRACK": ("gs-track_2024061000004_uncal.fits", (64, 2, 32, 32)),
    "FGS_FINEGUIDE": ("gs-fg_2024061000004_uncal.fits", (64, 8, 8, 8)),
}
STARS = ["Flight Reference Stars", "Planned Reference Stars"]
CENTROIDS = ["Pointing", "FGS Centroid Packet"]
TABLES = {"ID": STARS, "TRACK": [*CENTROIDS, "Track subarray table"], "FINEGUIDE": CENTROIDS}


def options(exp_type):
    return {"exp_type": exp_type, **(SMALL if "_ID-" in exp_type else {})}


@pytest.fixture(scope="module", params=MODES)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guider")
    return folder, expose(folder, **options(request.param), seed=3), MODES[request.param]


def slopes(folder, info, mode):
    """Count rates as the official pipeline takes them."""
    raw = fits.getdata(folder / info["uncal"]).astype(float)
    if mode.pattern == "FINEGUIDE":
        rate = raw[:, 4:].mean(axis=1) - raw[:, :4].mean(axis=1)
    else:
        rate = raw[:, 1] - raw[:, 0]
    rate = rate / mode.tgroup
    return rate.min(axis=0)[None] if mode.is_identification else rate


def write_product(folder, info, mode, flat=True):
    rate = slopes(folder, info, mode)
    gain, noise, flat_field = (
        fits.getdata(folder / info["refs"][k], 1) for k in ("gain", "readnoise", "flat")
    )
    error = np.sqrt(2 * (noise / mode.tgroup) ** 2 + np.maximum(rate, 0) / gain / mode.tgroup)
    primary = fits.PrimaryHDU()
    if flat:
        rate, primary.header["S_FLAT"] = rate / flat_field, "COMPLETE"
    dq = fits.getdata(folder / info["refs"]["mask"], "DQ")
    hdus = [primary]
    for name, array in (("SCI", rate), ("ERR", error)):
        hdus.append(fits.ImageHDU(array.astype("f4"), name=name))
    hdus.append(fits.ImageHDU(dq, name="DQ"))
    path = folder / "product_cal.fits"
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def test_raw_file_is_as_official(case):
    folder, info, mode = case
    name, shape = OFFICIAL[mode.exp_type]
    assert info["uncal"] == f"jw01234001001_{name}"
    with fits.open(folder / info["uncal"]) as h:
        h.verify("exception")
        header = h[0].header
        assert h["SCI"].data.shape == shape
        assert h["SCI"].data.dtype == np.uint16
        assert [e.name for e in h[2:-1]] == TABLES.get(mode.pattern, [])
        assert h[-1].name == "ASDF"
        assert header["EXP_TYPE"] == mode.exp_type
        assert (header["NINTS"], header["NGROUPS"]) == shape[:2]
        assert (header["SUBSIZE2"], header["SUBSIZE1"]) == shape[2:]
        assert header["TGROUP"] == pytest.approx(header["TFRAME"] * (header["NFRAMES"] + header["GROUPGAP"]))
        for key in ("GS_RA", "GS_DEC", "GDSTARID", "PCS_MODE", "DATASTRT", "DATAEND", "DATAMODE", "GS_ORDER"):
            assert key in header
        if mode.has_centroids:
            for table in CENTROIDS:
                assert len(h[table].data) == shape[0]
            assert h["POINTING"].header["JITTRMAX"] == pytest.approx(h["POINTING"].data["jitter"].max())
            assert len(h["FGS CENTROID PACKET"].columns) == 17


def test_references_have_the_shape_of_the_data(case):
    folder, info, _ = case
    assert set(info["refs"]) == {"mask", "gain", "readnoise", "flat"}
    for name in info["refs"].values():
        with fits.open(folder / name) as h:
            h.verify("exception")
            assert h[1].data.shape == tuple(info["shape"])


def test_slopes_agree_with_the_truth(case):
    folder, info, mode = case
    rate = slopes(folder, info, mode)
    with fits.open(folder / "truth.fits") as h:
        truth, bad, hits, saturated = (h[k].data for k in ("RATE", "BAD", "CRS", "SATGRP"))
        gain, read = h["GAIN"].data, h["READ_E"].data
    truth = truth[: rate.shape[0]]
    good = np.broadcast_to(bad == 0, rate.shape) & (truth < np.quantile(truth, 0.97))
    good = good & ~(saturated >= 0).any(axis=0)
    good[:, hits["Y"], hits["X"]] = False
    reads = 4 if mode.pattern == "FINEGUIDE" else 1
    sigma = np.sqrt(2 * (read / gain) ** 2 / reads + truth * mode.tgroup / gain) / mode.tgroup
    pull = ((rate - truth) / sigma)[good]
    # The smaller of two equal normal deviates is 0.56 below their mean and scatters by 0.83.
    mean, width = (-0.56, 0.83) if mode.is_identification else (0.0, 1.0)
    assert abs(np.median(pull) - mean) < 0.2
    assert np.subtract(*np.percentile(pull, [84.13, 15.87])) / 2 == pytest.approx(width, abs=0.22)


def test_score_of_a_product(case):
    folder, info, mode = case
    result = score(write_product(folder, info, mode), folder / "truth.fits")
    assert result["kind"] == "guider"
    assert result["pulls"]["clean"]["sigma68"] < 1.1
    if mode.exp_type != "FGS_ID-STACK":
        assert result["star"]["frames"] == (1 if mode.is_identification else info["nints"])
        assert result["star"]["flux_ratio"] == pytest.approx(1, abs=0.08)
        assert result["star"]["centroid_rms_x"] < 0.05
    assert "guide star" in as_text(result)


def test_score_sees_a_forgotten_flat(case):
    folder, info, mode = case
    right = score(write_product(folder, info, mode), folder / "truth.fits")
    wrong = write_product(folder, info, mode, flat=False)
    with fits.open(wrong, mode="update") as h:
        h[0].header["S_FLAT"] = "COMPLETE"
        h["SCI"].data *= np.float32(0.9)
    assert score(wrong, folder / "truth.fits")["flux"][-1]["bias"] < right["flux"][-1]["bias"] - 0.05


def test_score_refuses_what_is_no_product(case, tmp_path):
    folder, info, mode = case
    with pytest.raises(InputError, match="not a calibrated guide-star product"):
        score(folder / info["uncal"], folder / "truth.fits")
    product = write_product(folder, info, mode)
    cut = tmp_path / "cut_cal.fits"
    with fits.open(product) as h:
        for name in ("SCI", "ERR"):
            h[name].data = h[name].data[:, 1:]
        h.writeto(cut)
    with pytest.raises(DataError, match="shape"):
        score(cut, folder / "truth.fits")


@pytest.mark.parametrize("name", ["GUIDER1", "GUIDER2"])
def test_merged_and_butted_strips_are_the_same_reads(name):
    det = detector(name)
    image, stack = (simulate(det, MODES[m], seed=9, **SMALL) for m in ("FGS_ID-IMAGE", "FGS_ID-STACK"))
    columns = strip_columns(120).ravel()
    assert stack.groups.shape[-1] == columns.size == 128
    once = np.flatnonzero(np.bincount(columns) == 1)
    where = np.searchsorted(columns[:64], once[once < 64])
    assert np.array_equal(image.groups[..., once[once < 64]], stack.groups[..., where])
    twice = np.flatnonzero(np.bincount(columns) == 2)
    assert twice.size == 8
    for x in twice:
        both = stack.groups[..., columns == x].astype(int)
        assert np.array_equal(image.groups[..., x], both.sum(axis=-1) // 2)


def test_strips_cover_the_official_image():
    columns = strip_columns(2024)
    assert columns.shape == (36, 64)
    assert np.array_equal(np.unique(columns), np.arange(2024))


def test_track_window_follows_the_star():
    seen = simulate(detector("GUIDER1"), MODES["FGS_TRACK"], nints=100, seed=2)
    assert len(np.unique(seen.corners, axis=0)) > 3
    assert np.abs(seen.path - seen.path[0]).max() < 1.0
    place = seen.path + seen.corners
    assert (place[-1] - place[0])[0] == pytest.approx(0.05 * 99, abs=1)
    bright = [np.unravel_index(plane.argmax(), plane.shape) for plane in seen.rate]
    assert np.abs(np.array(bright)[:, ::-1] - seen.path).max() < 1.6


def test_same_seed_same_exposure():
    one, two, other = (simulate(detector("GUIDER2"), MODES["FGS_ACQ2"], seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.groups, two.groups)
    assert np.array_equal(one.path, two.path)
    assert not np.array_equal(one.groups, other.groups)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"exp_type": "FGS_ACQ1", "nints": 7}, "6 integrations"),
        ({"exp_type": "FGS_ACQ1", "ngroups": 3}, "2 groups"),
        ({"exp_type": "FGS_ACQ1", "readpatt": "FGS"}, "ACQ1"),
        ({"exp_type": "FGS_ACQ1", "shape": (64, 64)}, "128"),
        ({"exp_type": "FGS_ID-IMAGE", "shape": (64, 100)}, "strips"),
        ({"exp_type": "FGS_TRACK", "detector": "NRCA1"}, "guiders"),
        ({"exp_type": "FGS_TRACK", "instrument": "miri"}, "guiders"),
        ({"exp_type": "FGS_TRACK", "segments": 2}, "segments"),
        ({"exp_type": "FGS_TRACK", "effects": "ipc"}, "effects"),
        ({"exp_type": "FGS_FINEGUIDE", "tso": True, "zeroframe": True}, "a zero frame or a time series"),
    ],
)
def test_contradictions_are_usage_errors_and_leave_nothing(tmp_path, given, message):
    with pytest.raises(UsageError, match=message):
        expose(tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_command_takes_a_corner(tmp_path):
    args = [
        "expose",
        str(tmp_path),
        "--exp-type",
        "fgs_acq2",
        "--corner",
        "300",
        "400",
        "--detector",
        "guider2",
    ]
    done = CliRunner().invoke(sim_group, args)
    assert done.exit_code == 0, done.output
    header = fits.getheader(next(tmp_path.glob("*_uncal.fits")))
    assert (header["DETECTOR"], header["SUBSTRT1"], header["SUBSTRT2"]) == ("GUIDER2", 300, 400)

"""Cases on disk: official names, complete headers, matching references, segments."""

import hashlib
import json
import shutil
import subprocess

import numpy as np
import pytest
from astropy.io import fits

from jwcal.core.errors import OutputError, UsageError
from jwcal.simulate.detectors import detector, region
from jwcal.simulate.expose import expose, segment_bounds
from jwcal.simulate.pixels import linearise

NEEDED = (
    "TELESCOP",
    "INSTRUME",
    "DETECTOR",
    "EXP_TYPE",
    "READPATT",
    "NINTS",
    "NGROUPS",
    "NFRAMES",
    "GROUPGAP",
    "FRMDIVSR",
    "TFRAME",
    "TGROUP",
    "SUBARRAY",
    "SUBSTRT1",
    "SUBSTRT2",
    "SUBSIZE1",
    "SUBSIZE2",
    "FASTAXIS",
    "SLOWAXIS",
    "NOUTPUTS",
    "TSOVISIT",
    "DATE-OBS",
    "TIME-OBS",
    "DATAMODL",
    "INTSTART",
    "INTEND",
    "ZEROFRAM",
)


def digest(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_raw_file(case):
    folder, info, given = case
    with fits.open(folder / info["uncal"]) as h:
        h.verify("exception")
        header = h[0].header
        for key in NEEDED:
            assert key in header, key
        sci = h["SCI"].data
        assert sci.dtype == np.uint16
        assert sci.shape == (info["nints"], info["ngroups"], *info["shape"])
        assert (header["SUBSIZE2"], header["SUBSIZE1"]) == tuple(info["shape"])
        assert header["FILENAME"] == info["uncal"]
        assert header["NEXTEND"] == len(h) - 1
        assert len(h["INT_TIMES"].data) == info["nints"]
        assert len(h["GROUP"].data) == info["nints"] * info["ngroups"]
        assert (np.diff(h["GROUP"].data["bary_end_time"]) > 0).all()
        assert ("ZEROFRAME" in h) == given.get("zeroframe", False) == header["ZEROFRAM"]
        assert bytes(h["ASDF"].data["ASDF_METADATA"][0]).startswith(b"#ASDF")
    assert info["uncal"].startswith("jw01234001001_02101_00001_")
    assert info["uncal"].endswith(f"_{info['detector'].lower()}_uncal.fits")


def test_references_fit_the_exposure(case):
    folder, info, given = case
    shape = tuple(info["shape"])
    expected = {"mask", "saturation", "linearity", "dark", "gain", "readnoise", "flat"}
    expected |= {"reset", "rscd"} if info["instrument"] == "miri" else {"superbias"}
    assert set(info["refs"]) == expected
    raw = fits.getheader(folder / info["uncal"])
    for kind, name in info["refs"].items():
        with fits.open(folder / name) as h:
            h.verify("exception")
            header = h[0].header
            assert header["REFTYPE"] == kind.upper()
            for key in ("INSTRUME", "DETECTOR", "SUBARRAY", "SUBSTRT1", "SUBSTRT2", "FASTAXIS", "SLOWAXIS"):
                assert header[key] == raw[key], (kind, key)
            for hdu in h[1:]:
                if isinstance(hdu, fits.ImageHDU):
                    assert hdu.data.shape[-2:] == shape
            if "DQ" in h:
                assert set(h["DQ_DEF"].data["NAME"]) >= {"DO_NOT_USE", "REFERENCE_PIXEL"}
    mask = fits.getdata(folder / info["refs"]["mask"], "DQ")
    name = info["subarray"]
    det = detector(info["detector"])
    part = region(det, name) if name != "GENERIC" else region(det, shape=shape)
    assert np.array_equal((mask & 0x80000000) != 0, part.reference_pixels())
    gain = fits.getheader(folder / info["refs"]["gain"])
    assert gain.get("GAINFACT", 1.0) == given.get("gain_factor", 1.0)


def test_truth_and_references_explain_the_raw_file(case):
    folder, info, given = case
    with fits.open(folder / "truth.fits") as h:
        rate, bad, clipped = h["RATE"].data, h["BAD"].data, h["SATGRP"].data
        hits, tgroup = h["CRS"].data, h[0].header["TGROUP"]
    raw = fits.getdata(folder / info["uncal"]).astype("f4")
    bias = fits.getdata(folder / info["refs"]["superbias"]) if "superbias" in info["refs"] else 0
    coefficients = fits.getdata(folder / info["refs"]["linearity"], "COEFFS").astype("f4")
    gain, noise = (fits.getdata(folder / info["refs"][k]) for k in ("gain", "readnoise"))
    hit = np.zeros(clipped.shape, bool)
    hit[hits["INT"], hits["Y"], hits["X"]] = True
    first = 5 if info["instrument"] == "miri" else 0
    last = raw.shape[1] - (2 if info["instrument"] == "miri" else 1)
    linear = linearise(raw[0] - bias, coefficients)
    slope = (linear[last] - linear[first]) / ((last - first) * tgroup) * given.get("gain_factor", 1.0)
    good = (bad == 0) & ~hit[0] & (clipped[0] < 0)
    time = (last - first) * tgroup * (1 / given.get("gain_factor", 1.0))
    error = np.sqrt(np.maximum(rate * time, 0) / gain + noise**2) / time
    pull = ((slope - rate) / error)[good]
    assert abs(np.median(pull)) < 0.6
    assert 0.5 < np.subtract(*np.percentile(pull, [84, 16])) / 2 < 1.6


def test_same_seed_same_files(tmp_path):
    given = {"subarray": "SUB64P", "ngroups": 3, "nints": 2, "seed": 8}
    expose(tmp_path / "a", **given)
    expose(tmp_path / "b", **given, threads=1)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    expose(tmp_path / "c", **{**given, "seed": 9})
    a, c = digest(tmp_path / "a"), digest(tmp_path / "c")
    changed = {name for name in a if a[name] != c[name]}
    assert changed == {"truth.fits", "case.json", "jw01234001001_02101_00001_nrcb1_uncal.fits"}


def test_segments_are_the_whole_cut_in_pieces(tmp_path):
    given = {"subarray": "SUB64P", "ngroups": 3, "nints": 5, "seed": 8, "tso": True, "zeroframe": True}
    whole = expose(tmp_path / "w", **given)
    parts = expose(tmp_path / "s", **given, segments=2)
    names = [part["uncal"] for part in parts["segments"]]
    assert names == [f"jw01234001001_02101_00001-seg{k:03d}_nrcb1_uncal.fits" for k in (1, 2)]
    with fits.open(tmp_path / "w" / whole["uncal"]) as w:
        a = 0
        for k, name in enumerate(names, 1):
            with fits.open(tmp_path / "s" / name) as s:
                h = s[0].header
                n = s["SCI"].data.shape[0]
                assert (h["EXSEGNUM"], h["EXSEGTOT"], h["NINTS"]) == (k, 2, 5)
                assert (h["INTSTART"], h["INTEND"]) == (a + 1, a + n)
                assert np.array_equal(s["SCI"].data, w["SCI"].data[a : a + n])
                assert np.array_equal(s["ZEROFRAME"].data, w["ZEROFRAME"].data[a : a + n])
                assert np.array_equal(s["INT_TIMES"].data, w["INT_TIMES"].data[a : a + n])
                own = json.loads((tmp_path / "s" / f"seg{k:03d}" / "case.json").read_text())
                assert (tmp_path / "s" / f"seg{k:03d}" / own["uncal"]).exists()
                assert fits.getdata(tmp_path / "s" / f"seg{k:03d}" / "truth.fits", "SATGRP").shape[0] == n
                a += n
        assert a == 5


def test_full_references_contain_those_of_the_subarray(tmp_path):
    given = {"detector": "NRCB1", "subarray": "SUB64P"}
    small = expose(tmp_path / "small", ngroups=2, **given)
    large = expose(tmp_path / "large", ngroups=2, full_references=True, **given)
    part = region(detector("NRCB1"), "SUB64P")
    cut = slice(part.y0, part.y0 + 64), slice(part.x0, part.x0 + 64)
    for kind in ("mask", "gain", "superbias", "linearity"):
        a = fits.getdata(tmp_path / "small" / small["refs"][kind])
        b = fits.getdata(tmp_path / "large" / large["refs"][kind])
        assert b.shape[-2:] == (2048, 2048)
        assert np.array_equal(a, b[(..., *cut)], equal_nan=a.dtype.kind == "f")


def test_nothing_is_replaced_unasked(tmp_path):
    given = {"subarray": "SUB64P", "ngroups": 2}
    expose(tmp_path, **given)
    before = digest(tmp_path)
    with pytest.raises(OutputError, match="overwrite"):
        expose(tmp_path, **given, seed=2)
    assert digest(tmp_path) == before
    expose(tmp_path, **given, seed=2, overwrite=True)
    assert digest(tmp_path) != before


@pytest.mark.parametrize(
    "given",
    [
        {"segments": 3, "nints": 2},
        {"exp_type": "MIR_IMAGE"},
        {"cr_rate": 2.0},
        {"nints": 0},
        {"exp_type": "NRC_NONE"},
    ],
)
def test_contradictions_are_usage_errors_and_leave_nothing(tmp_path, given):
    with pytest.raises(UsageError):
        expose(tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_segment_bounds_cover_everything_once():
    for nints in range(1, 30):
        for segments in range(1, nints + 1):
            seen = [i for a, b in segment_bounds(nints, segments) for i in range(a, b + 1)]
            assert seen == list(range(1, nints + 1))


@pytest.mark.skipif(shutil.which("fitsverify") is None, reason="fitsverify is not installed")
def test_fitsverify_has_no_complaint(case):
    folder, _, _ = case
    files = [str(p) for p in folder.rglob("*.fits")]
    done = subprocess.run(["fitsverify", "-q", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("verification OK") == len(files)

"""Bad exposures: one line, the documented exit code, nothing left behind, nothing touched."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.cli.spoil import edit, keyword, refuse, run


@pytest.mark.parametrize("keep", [1000, 2880, 2880 * 3, 2880 * 5, -2880, -1])
def test_truncated(keep, case, invoke, tmp_path):
    data = case.uncal.read_bytes()
    case.uncal.write_bytes(data[:keep])
    refuse(invoke, 3, ("x_uncal.fits", "truncated"), tmp_path, *run(case))


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"hello world\n" * 500, "not a FITS file"), (b"", "empty"), (bytes(5000), "not a FITS")],
)
def test_not_fits(data, words, case, invoke, tmp_path):
    case.uncal.write_bytes(data)
    refuse(invoke, 3, ("x_uncal.fits", words), tmp_path, *run(case))


def test_folder_and_missing_file(case, invoke, tmp_path):
    refuse(invoke, 3, "folder", tmp_path, "run", "detector1", tmp_path, "-o", tmp_path / "y.fits")
    refuse(invoke, 3, "no such file", tmp_path, "dq-init", tmp_path / "none.fits", "-o", tmp_path / "y.fits")


def test_empty_standard_input_names_it(exposure, jwcal):
    done = jwcal("run", "detector1", "--refs", exposure.refs)
    assert (done.code, done.out) == (3, b"")
    assert done.err.count("\n") == 1
    assert "standard input" in done.err


def test_no_science_extension(case, invoke, tmp_path):
    edit(case.uncal, lambda hdus: hdus.pop(1))
    refuse(invoke, 3, "no SCI extension", tmp_path, *run(case))


def test_empty_science_extension(case, invoke, tmp_path):
    edit(case.uncal, lambda hdus: setattr(hdus[1], "data", None))
    refuse(invoke, 3, ("x_uncal.fits", "SCI"), tmp_path, *run(case))


def test_wrong_product(rate, case, invoke, tmp_path):
    refs = ("--refs", case.refs, "-o", tmp_path / "y.fits")
    shutil.copy(rate, tmp_path / "x_rate.fits")
    refuse(
        invoke,
        3,
        "pipeline detector1 takes a ramp",
        tmp_path,
        "run",
        "detector1",
        tmp_path / "x_rate.fits",
        *refs,
    )
    refuse(
        invoke,
        3,
        "superbias takes a ramp, and this is a rate",
        tmp_path,
        "superbias",
        tmp_path / "x_rate.fits",
        *refs,
    )
    refuse(invoke, 3, "takes a rate, and this is a", tmp_path, "gain-scale", case.uncal, *refs)
    edit(tmp_path / "x_rate.fits", keyword("S_PHOTOM", "COMPLETE"))
    edit(tmp_path / "x_rate.fits", keyword("DATAMODL", "ImageModel"))
    for command in (("run", "detector1"), ("gain-scale",)):
        refuse(invoke, 3, ("later stage", "ImageModel"), tmp_path, *command, tmp_path / "x_rate.fits", *refs)
    refuse(invoke, 3, "DARK reference file", tmp_path, "run", "detector1", case.refs / "dark.fits", *refs)


def test_irs2_multistripe_uneven(tmp_path, invoke, case):
    from astropy.io import fits

    edit(case.uncal, keyword("MSTR_RD1", 4))
    refuse(invoke, 3, ("x_uncal.fits", "multistripe"), tmp_path, *run(case))
    edit(case.uncal, keyword("MSTR_RD1", None))
    table = fits.BinTableHDU(np.zeros(3, [("a", "f4")]), name="READTIMES")
    edit(case.uncal, lambda hdus: hdus.append(table))
    refuse(invoke, 6, ("x_uncal.fits", "not evenly spaced"), tmp_path, *run(case))


def test_interleaved_readout_needs_its_weights(tmp_path, invoke, exposure):
    from astropy.io import fits

    with fits.open(exposure.uncal) as hdus:
        primary = hdus[0].header
    primary.update(
        INSTRUME="NIRSPEC", DETECTOR="NRS1", EXP_TYPE="NRS_IFU", READPATT="NRSIRS2RAPID", NGROUPS=1, NINTS=1
    )
    primary.update(SUBARRAY="FULL", SUBSIZE1=2048, SUBSIZE2=3200, FASTAXIS=2, SLOWAXIS=1, INTEND=1)
    science = fits.ImageHDU(np.zeros((1, 1, 3200, 2048), np.uint16), name="SCI")
    fits.HDUList([fits.PrimaryHDU(header=primary), science]).writeto(tmp_path / "x_uncal.fits")
    refuse(invoke, 4, ("x_uncal.fits", "IRS2", "REFPIX"), tmp_path, "run", "detector1", "-q",
           tmp_path / "x_uncal.fits", "-o", tmp_path / "y.fits")  # fmt: skip

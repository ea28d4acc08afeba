"""Small products with known content."""

import numpy as np
import pytest

from jwcal.core.dq import DQ
from tests.conftest import make_exposure


def write(path, planes, primary=None, tables=()):
    """Write a FITS file of named planes."""
    from astropy.io import fits

    hdus = [fits.PrimaryHDU(header=fits.Header(primary or {}))]
    hdus += [fits.ImageHDU(array, name=name) for name, array in planes.items()]
    hdus += [fits.BinTableHDU(rows, name=name) for name, rows in dict(tables).items()]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def rate_planes(shape=(20, 30)):
    """Planes of a rate with three bad pixels."""
    ny, nx = shape
    sci = np.arange(ny * nx, dtype="f4").reshape(shape) / 10
    dq = np.zeros(shape, "u4")
    dq[2, 3] = DQ["DO_NOT_USE"] | DQ["SATURATED"]
    dq[4, 5:7] = DQ["JUMP_DET"]
    dq[0, 0] = DQ["REFERENCE_PIXEL"]
    sci[2, 3] = np.nan
    return {"SCI": sci, "ERR": sci * 0 + 1, "DQ": dq, "VAR_POISSON": sci * 0, "VAR_RNOISE": sci * 0 + 1}


RATE_HEADER = {
    "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "EXP_TYPE": "NRC_IMAGE", "FILTER": "F200W",
    "SUBARRAY": "SUB64", "SUBSTRT1": 101, "SUBSTRT2": 201, "SUBSIZE1": 30, "SUBSIZE2": 20, "NINTS": 2,
    "NGROUPS": 5, "READPATT": "RAPID", "TGROUP": 1.5, "CAL_VER": "1.20.0", "CRDS_CTX": "jwst_1.pmap",
    "DATAMODL": "ImageModel", "S_DQINIT": "COMPLETE", "S_IPC": "SKIPPED", "R_MASK": "crds://mask.fits",
    "R_IPC": "N/A", "S_REGION": "POLYGON ICRS 0 0",
}  # fmt: skip


@pytest.fixture
def rate(tmp_path):
    """A rate of another program, 20 rows and 30 columns."""
    return write(tmp_path / "y_rate.fits", rate_planes(), RATE_HEADER)


@pytest.fixture(scope="session")
def ramp(tmp_path_factory):
    """A ramp made by two commands, in a folder with its references."""
    from jwcal.core.api import run_step
    from jwcal.core.exposure import open_exposure
    from jwcal.core.registry import find_step

    folder = tmp_path_factory.mktemp("ramp")
    raw = make_exposure(folder, nint=2, ngroup=4)
    exposure = open_exposure(str(raw.uncal))
    done = run_step(find_step("dq_init")[0], exposure, refs=str(raw.refs))
    done = run_step(find_step("saturation")[0], done, refs=str(raw.refs), params={"n_pix_grow_sat": 0})
    path = folder / "x_ramp.fits"
    done.write(str(path))
    exposure.fits.close()
    return path

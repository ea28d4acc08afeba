"""A ramp in memory and reference files of a few pixels."""

import numpy as np
import pytest

from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header


def make_ramp(sci, *, zeroframe=None, groupdq=None, product="ramp", **keys):
    """Make an exposure in memory; a list of numbers is one pixel."""
    sci = np.asarray(sci, np.float32)
    if sci.ndim == 1:
        sci = sci[None, :, None, None]
    ny, nx = sci.shape[-2:]
    primary = Header()
    values = {
        "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "NFRAMES": 1, "FRMDIVSR": 1, "GROUPGAP": 0, "NGROUPS": sci.shape[1],
        "NINTS": sci.shape[0], "SUBSTRT1": 101, "SUBSTRT2": 51, "SUBSIZE1": nx, "SUBSIZE2": ny, "READPATT": "RAPID",
    }  # fmt: skip
    for key, value in {**values, **keys}.items():
        if value is not None:
            primary.set(key, value)
    planes = {
        "SCI": sci.copy(),
        "PIXELDQ": np.zeros((ny, nx), np.uint32),
        "GROUPDQ": np.zeros(sci.shape, np.uint8) if groupdq is None else np.array(groupdq, np.uint8),
    }
    if zeroframe is not None:
        planes["ZEROFRAME"] = np.array(zeroframe, np.float32)
    return Exposure(product, primary, {name: Header() for name in planes}, ArrayStore(planes), (), "test")


@pytest.fixture
def ramp():
    """Give the factory `make_ramp`."""
    return make_ramp


@pytest.fixture
def reference(tmp_path):
    """Write a reference file; ``reference("dark", SCI=array, keys={"NFRAMES": 1})`` gives its path."""
    from astropy.io import fits

    def write(kind, keys=None, frame=None, **planes):
        frame = frame or next(iter(planes.values())).shape[-2:]
        header = fits.Header({
            "REFTYPE": kind.upper(), "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "SUBSTRT1": 101, "SUBSTRT2": 51,
            "SUBSIZE1": frame[1], "SUBSIZE2": frame[0], **(keys or {}),
        })  # fmt: skip
        hdus = [fits.PrimaryHDU(header=header)]
        for name, array in planes.items():
            dtype = np.uint32 if name == "DQ" else np.float32
            hdus.append(fits.ImageHDU(np.asarray(array).astype(dtype), name=name))
        path = tmp_path / f"{kind}.fits"
        fits.HDUList(hdus).writeto(path, overwrite=True)
        return str(path)

    return write

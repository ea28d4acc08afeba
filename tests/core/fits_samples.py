"""FITS files and arrays that exercise the codec."""

import shutil
import subprocess
import warnings

import numpy as np

from jwcal.core.fits import create_fits

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


def pattern(shape, dtype):
    """Values that reach both ends of an integer type, and NaN, -0 and infinity."""
    dtype = np.dtype(dtype)
    n = int(np.prod(shape))
    if dtype.kind == "f":
        values = np.linspace(-1e30, 1e30, n).astype(dtype)
        values[: min(n, 3)] = [np.nan, -0.0, np.inf][:n]
        return values.reshape(shape)
    rng = np.random.default_rng(n)
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, n, dtype=dtype, endpoint=True)
    values[: min(n, 2)] = [info.min, info.max][:n]
    return values.reshape(shape)


def write(path, *planes, header=None, overwrite=False):
    """Write images given as (name, array)."""
    with create_fits(path, overwrite=overwrite) as out:
        out.add(header)
        for name, array in planes:
            out.add(None, array.shape, array.dtype, name=name).write(array)
        out.commit()
    return path


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def rich_file(path):
    """File with what passes through: a table with a heap, long and HIERARCH cards, an ASDF-like block."""
    from astropy.io import fits

    heap = np.empty(3, object)
    heap[:] = [np.arange(n, dtype="i4") for n in (3, 0, 2)]
    columns = [
        fits.Column("VAR", "PJ()", array=heap),
        fits.Column("FLAG", "L", array=[True, False, True]),
        fits.Column("BITS", "11X", array=np.ones((3, 11), bool)),
        fits.Column("COUNT", "J", bzero=2**31, array=np.array([0, 5, 2**32 - 1], "u4")),
        fits.Column("NAME", "6A", array=["a", "bb ", "cccccc"]),
        fits.Column("CUBE", "6E", dim="(3,2)", array=np.arange(18, dtype="f4").reshape(3, 2, 3)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="EVENTS")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.header["ESO DET CHIP NAME"] = "CCD-44"
        table.header["LONGSTRN"] = "OGIP 1.0"
        table.header["LONGTEXT"] = "abc'd " * 40
    asdf = fits.BinTableHDU.from_columns(
        [fits.Column("ASDF_METADATA", "119B", array=np.arange(119, dtype="u1")[None])], name="ASDF"
    )
    science = fits.ImageHDU(np.arange(2 * 3 * 40 * 50, dtype="u2").reshape(2, 3, 40, 50), name="SCI")
    primary = fits.PrimaryHDU()
    primary.header["NEXTEND"] = 3
    primary.header["TELESCOP"] = "JWST"
    fits.HDUList([primary, science, table, asdf]).writeto(path, checksum=True)
    return path


def verified(path):
    """Check a file with fitsverify, where that is installed, and with astropy."""
    from astropy.io import fits

    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        for hdu in hdus:
            assert hdu.data is None or hdu.data.size >= 0
    if shutil.which("fitsverify"):
        done = subprocess.run(["fitsverify", "-q", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert "verification OK" in done.stdout
    return path

"""Ways to spoil files, and to check that a command refuses them as it should."""

from __future__ import annotations

import hashlib

import numpy as np


def edit(path, change):
    """Change a FITS file in place: ``change(hdus)``."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as old:
        hdus = fits.HDUList([hdu.copy() for hdu in old])
    change(hdus)
    hdus.writeto(path, overwrite=True, output_verify="ignore")


def keyword(key, value):
    """Change of a primary keyword; None takes it away."""

    def change(hdus):
        if value is None:
            del hdus[0].header[key]
        else:
            hdus[0].header[key] = value

    return change


def values(function, name=1):
    """Change of the values of an extension."""

    def change(hdus):
        hdus[name].data = function(hdus[name].data)

    return change


def snapshot(folder):
    """Digest of every file below a folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def refuse(invoke, code, words, folder, *args):
    """Run a command that must fail with a code and one error line, and leave the folder as it was."""
    before = snapshot(folder)
    done = invoke(*args)
    assert done.code == code, done.err
    lines = done.err.splitlines()
    assert lines, "nothing was said"
    errors = [line for line in lines if ": skipped, " not in line and "ignored:" not in line]
    assert len(errors) == 1, done.err
    assert errors[0].startswith("jwcal ")
    for word in [words] if isinstance(words, str) else words:
        assert word in errors[0]
    assert done.out == b""
    assert snapshot(folder) == before
    return done


def run(case, *more):
    """Arguments of a whole run."""
    out = case.uncal.parent
    return (
        "run",
        "detector1",
        *case.args,
        "-o",
        out / "y_rate.fits",
        "--rateints",
        out / "y_rateints.fits",
        *more,
    )


def pixels(path):
    """Planes by name."""
    import jwcal

    product = jwcal.open(str(path))
    out = {name: np.array(product[name]) for name in ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE")}
    product.close()
    return out

"""Turn a full-frame NIRSpec case into one of the interleaved readout, with references that fit."""

from __future__ import annotations

import numpy as np

LINES, SLOTS, ROWS = 2048, 712, 3200


def normal_rows(detector):
    """Image rows that hold normal pixels, (3200,) bool."""
    sample = np.arange(640)
    one = ~np.isin(sample % 20, (8, 9, 10, 11))
    rows = np.concatenate([np.zeros(640, bool), np.tile(one, 4)])
    return rows if detector == "NRS1" else rows[::-1]


def widen(plane, detector, fill):
    """Spread an image over the normal rows; `fill` is an array or a number for the others."""
    out = np.empty((*plane.shape[:-2], ROWS, LINES), plane.dtype)
    out[...] = fill
    out[..., normal_rows(detector), :] = plane
    return out


def interleave(folder, info, detector, seed):
    """Change uncal, mask and superbias of a case in place, and write its REFPIX reference.

    Parameters
    ----------
    folder : pathlib.Path
        The case.
    info : dict
        Its case.json; the new reference is entered.
    detector : str
        NRS1 or NRS2.
    seed : int
        Of the generator.
    """
    from astropy.io import fits

    rng = np.random.default_rng(seed)
    normal = normal_rows(detector)
    level = np.where(np.arange(ROWS) % 4 < 2, 9300.0, 9700.0)[:, None] + rng.normal(0, 40, (ROWS, 1))
    with fits.open(folder / info["uncal"], mode="update") as hdus:
        sci = hdus["SCI"].data
        nint, ngroup = sci.shape[:2]
        # What all outputs share drifts along the lines, the columns of the image.
        drift = np.cumsum(rng.normal(0, 1.5, (nint, ngroup, 1, LINES)), axis=-1)
        wide = level + drift + rng.normal(0, 8, (nint, ngroup, ROWS, LINES))
        wide[..., normal, :] = sci + drift
        odd = np.flatnonzero(~normal)
        # Pixels that are unlike the others: noisy, high, and with two reads that differ.
        wide[..., odd[700:702], :] += rng.normal(0, 200, (nint, ngroup, 2, LINES))
        wide[..., odd[730:732], :] += 6000
        wide[-1, :, odd[760]] += 900
        hdus["SCI"].data = np.clip(np.rint(wide), 0, 65535).astype(np.uint16)
        hdus[0].header.update(NRS_NORM=16, NRS_REF=4, SUBSIZE1=2048, SUBSIZE2=2048)
    with fits.open(folder / info["refs"]["mask"], mode="update") as hdus:
        mask = widen(hdus["DQ"].data, detector, 0)
        bit = next(int(row["VALUE"]) for row in hdus["DQ_DEF"].data if row["NAME"] == "BAD_REF_PIXEL")
        mask[odd[[800, 801, 810, 811, 812, 813, 1100, 1101]]] |= bit
        hdus["DQ"].data = mask
    with fits.open(folder / info["refs"]["superbias"], mode="update") as hdus:
        for name, fill in (("SCI", level), ("ERR", 0), ("DQ", 0)):
            if name in hdus:
                hdus[name].data = widen(hdus[name].data, detector, fill)
        header = hdus[0].header.copy()
    info["refs"]["refpix"] = "refs/refpix.fits"
    header.update(REFTYPE="REFPIX", DATAMODL="IRS2Model", FILENAME="refpix.fits")
    fits.HDUList([fits.PrimaryHDU(header=header), weights(rng), bad_pixels()]).writeto(
        folder / info["refs"]["refpix"]
    )


def weights(rng):
    """IRS2 table: smooth complex weights of each output, not quite those of a real filter."""
    from astropy.io import fits

    frequency = np.abs(np.fft.fftfreq(LINES * SLOTS))
    columns = []
    for name, height, width in (("alpha", 0.4, 1e-4), ("beta", 0.7, 3e-3)):
        for output in range(4):
            gain = height * (1 + 0.1 * output) / (1 + (frequency / width) ** 2)
            noise = rng.normal(0, 0.01, (2, 64)).repeat(LINES * SLOTS // 64, axis=1)
            gain = gain * np.exp(1j * 0.2 * output) * (1 + noise[0] + 1j * noise[1])
            columns.append(
                fits.Column(f"{name}_{output}", "E", array=gain.astype(np.complex64).view(np.float32))
            )
    return fits.BinTableHDU.from_columns(columns, name="IRS2")


def bad_pixels():
    """DQ table: some bad pairs in outputs of both directions, two of them side by side."""
    from astropy.io import fits

    rows = [(k, p, 0) for k in (1, 2, 3, 4) for p in (1, 2)]
    rows[0] = (1, 1, 1 << 3 | 1 << 31)
    rows[3] = (2, 2, 1 | 1 << 17)
    rows[4] = (3, 1, 1 << 9)
    rows[5] = (3, 2, 1 << 9 | 1 << 10)
    array = np.array(rows, [("OUTPUT", "i4"), ("ODD_EVEN", "i4"), ("MASK", "i8")])
    columns = [
        fits.Column("OUTPUT", "I", bzero=1 << 15, array=array["OUTPUT"].astype(np.uint16)),
        fits.Column("ODD_EVEN", "I", bzero=1 << 15, array=array["ODD_EVEN"].astype(np.uint16)),
        fits.Column("MASK", "J", bzero=1 << 31, array=array["MASK"].astype(np.uint32)),
    ]
    return fits.BinTableHDU.from_columns(columns, name="DQ")

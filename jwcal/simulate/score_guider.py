"""How well a calibrated guide-star product recovers its truth."""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import DataError


def is_guider(path):
    """Whether a truth file is that of a guide-star function."""
    from jwcal.core.fits import open_fits

    with open_fits(str(path)) as f:
        return bool(f.primary.header.get("GUIDER", False))


def score_guider(header, rate, error, dq, path):
    """Score the count rates of a guide-star product.

    Parameters
    ----------
    header : Header
        Of the product.
    rate, error : numpy.ndarray
        float32 (nint, ny, nx), DN/s; one integration for the identification.
    dq : numpy.ndarray
        uint32 (ny, nx).
    path : str
        Truth file.

    Returns
    -------
    dict
        ``pixels``, ``pulls``, ``flux`` (bins) and ``flags`` as those of
        `jwcal.simulate.score.score_rates`; ``star``: ratio of its flux to the truth, rms of the
        difference of the centroids in x and y (pixels), and ``frames``.

    Raises
    ------
    DataError
        If product and truth do not fit.
    """
    from jwcal.core.fits import open_fits
    from jwcal.simulate.score import flag_counts, flux_bins, pulls

    with open_fits(str(path)) as f:
        truth, bad, saturated = (f[name].read() for name in ("RATE", "BAD", "SATGRP"))
        flat, hits, path_table = f["FLAT"].read(), f["CRS"].table(), f["PATH"].table()
        identification = "_ID-" in f.primary.header["EXP_TYPE"]
    hit: np.ndarray = np.zeros(truth.shape, bool)
    seen = hits[hits["GROUP"] > 0]
    hit[seen["INT"], seen["Y"], seen["X"]] = True
    hit |= np.asarray(saturated >= 0)
    if identification:
        truth, hit, path_table = truth[:1], np.any(hit, axis=0, keepdims=True), path_table[:1]
    if rate.shape != truth.shape:
        raise DataError(f"the product has the shape {rate.shape}, the truth {truth.shape}")
    if header.get("S_FLAT") == "COMPLETE":
        truth = truth / flat
    good = np.broadcast_to((bad == 0) & ((dq & DQ["DO_NOT_USE"]) == 0), rate.shape)
    use = good & np.isfinite(rate) & (error > 0)
    clean = use & ~hit
    pull = np.full(rate.shape, np.nan, np.float32)
    np.divide(rate - truth, error, out=pull, where=use)
    return {
        "pixels": {
            "all": int(rate.size),
            "good": int(good.sum()),
            "used": int(use.sum()),
            "good_rejected": int((good & ~use).sum()),
            "nan_not_flagged": int((~np.isfinite(rate) & ((dq & DQ["DO_NOT_USE"]) == 0)).sum()),
        },
        "flux": flux_bins(rate, truth, error, clean),
        "pulls": {"clean": pulls(pull[clean]), "hit": pulls(pull[use & hit])},
        "flags": flag_counts(dq),
        "star": _star(rate, truth, use, path_table),
    }


def _star(rate, truth, use, path):
    """Flux and centroid of the guide star in 5 x 5 pixels around its true place."""
    ratios, offsets = [], []
    ny, nx = rate.shape[1:]
    for i, where in enumerate(path):
        x, y = round(float(where["X"])), round(float(where["Y"]))
        if not (2 <= x < nx - 2 and 2 <= y < ny - 2):
            continue
        box = (i, slice(y - 2, y + 3), slice(x - 2, x + 3))
        keep = use[box]
        seen, real = np.where(keep, rate[box], 0), np.where(keep, truth[box], 0)
        if keep.sum() < 9 or seen.sum() <= 0:
            continue
        ratios.append(seen.sum() / real.sum())
        grid = np.mgrid[-2:3, -2:3]
        offsets.append([(g * seen).sum() / seen.sum() - (g * real).sum() / real.sum() for g in grid[::-1]])
    if not ratios:
        return {"frames": 0}
    rms = np.sqrt((np.array(offsets) ** 2).mean(axis=0))
    return {
        "frames": len(ratios),
        "flux_ratio": float(np.mean(ratios)),
        "centroid_rms_x": float(rms[0]),
        "centroid_rms_y": float(rms[1]),
    }


def line_of(star):
    """Readable line of the score of the guide star."""
    if not star["frames"]:
        return "  guide star  not in the data"
    return (
        f"  guide star  {star['frames']} frames: flux {star['flux_ratio']:.4f} of the truth, centroid "
        f"{star['centroid_rms_x']:.4f} and {star['centroid_rms_y']:.4f} pixels rms off"
    )

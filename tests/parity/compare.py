"""Differences between two products, as numbers."""

from __future__ import annotations

import numpy as np

# The step of the analogue-to-digital conversion: below it a relative difference of two
# nearly cancelling numbers says nothing about either.
DN = 1.0


def read(path, *names):
    """Planes of a product, None for those it lacks."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        return [np.array(hdus[n].data) if n in hdus else None for n in names]


def status(path):
    """Step status keywords of a product."""
    from astropy.io import fits

    header = fits.getheader(path)
    return {k: v for k, v in header.items() if k.startswith("S_") and isinstance(v, str)}


def planes(a, b, floor):
    """Compare two float planes.

    Parameters
    ----------
    a, b : float arrays of one shape
        The planes.
    floor : float
        Differences are relative to the larger magnitude, but at least to this.

    Returns
    -------
    dict
        ``nan`` pixels that are NaN in one only; ``max`` and ``p999`` of the relative difference over
        pixels finite in both; ``same`` fraction of equal bits.
    """
    assert a.shape == b.shape, f"shapes {a.shape} and {b.shape}"
    nan = int((np.isnan(a) != np.isnan(b)).sum())
    use = np.isfinite(a) & np.isfinite(b)
    x, y = a[use].astype(float), b[use].astype(float)
    size = np.maximum(np.maximum(np.abs(x), np.abs(y)), floor)
    size[size == 0] = 1.0
    relative = np.abs(x - y) / size
    same = float(((a == b) | (np.isnan(a) & np.isnan(b))).mean()) if a.size else 1.0
    if relative.size == 0:
        return {"nan": nan, "max": 0.0, "p999": 0.0, "same": same}
    return {
        "nan": nan,
        "max": float(relative.max()),
        "p999": float(np.percentile(relative, 99.9)),
        "same": same,
    }

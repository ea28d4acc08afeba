"""Times of the reads of each group, where they are not evenly spaced.

Exposures taken in several stripes are reassembled into ramps whose groups are not equidistant.  The
official package keeps the times with the metadata (``meta.exposure.read_times``), which its files
hold in the ASDF extension.
"""

import numpy as np

from jwcal.core.errors import InputError

_KEY = b"read_times:"


def read_times(exposure):
    """Return the times of the reads of each group, if the exposure tells them.

    Parameters
    ----------
    exposure : Exposure
        With the times as attribute ``read_times`` (a step before may have set it), or in the tree
        of its ASDF extension.

    Returns
    -------
    list of (nread,) float64 numpy.ndarray, or None
        One array per group, seconds; None for evenly spaced reads.

    Raises
    ------
    InputError
        If the times do not fit the groups of the exposure, or are not numbers that increase.
    """
    value = getattr(exposure, "read_times", None)
    if value is None:
        value = _from_tree(exposure)
    if value is None or len(value) == 0:
        return None
    label, ngroup = exposure.label, exposure.shape[1]
    if len(value) != ngroup:
        raise InputError(f"{label}: read times of {len(value)} groups, but SCI has {ngroup}")
    try:
        times = [np.atleast_1d(np.asarray(group, np.float64)) for group in value]
    except (TypeError, ValueError):
        raise InputError(f"{label}: the read times in the ASDF extension are not numbers") from None
    if any(t.ndim != 1 or t.size == 0 for t in times) or not (np.diff(np.concatenate(times)) > 0).all():
        raise InputError(f"{label}: the read times in the ASDF extension do not increase")
    return times


def _from_tree(exposure):
    hdu = next((h for h in exposure.extras if h.name == "ASDF" and h.kind == "table"), None)
    if hdu is None:
        return None
    rows = hdu.table()
    text = rows[0].tobytes() if len(rows) else b""
    # Only few trees have the times, and parsing one takes longer than looking for the word.
    if _KEY not in text:
        return None
    from jwcal.core.params import plain_tree

    tree = plain_tree(text, exposure.label, InputError)
    for name in ("meta", "exposure", "read_times"):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree

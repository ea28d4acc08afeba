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
        With the times in the tree of its ASDF extension.

    Returns
    -------
    list of (nread,) float64 numpy.ndarray, or None
        One array per group, seconds; None for evenly spaced reads.

    Raises
    ------
    InputError
        If the times do not fit the groups of the exposure, or are not numbers that increase.
    """
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
    # Groups that average several frames may overlap: stripes are read again within each of the frames.
    sound = all(t.ndim == 1 and t.size > 0 and (np.diff(t) > 0).all() for t in times)
    if not sound or not (np.diff([t.mean() for t in times]) > 0).all():
        raise InputError(f"{label}: the read times in the ASDF extension do not increase")
    return times


def _from_tree(exposure):
    rows = exposure.table("ASDF")
    if rows is None:
        return None
    text = rows[0].tobytes() if len(rows) else b""
    # Only few trees have the times, and parsing one takes longer than looking for the word.
    if _KEY not in text:
        return None
    from jwcal.core.params import plain_tree

    tree = plain_tree(text, exposure.label, InputError)
    for name in ("meta", "exposure", "read_times"):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def asdf_table(times):
    """ASDF extension that has nothing but read times in its tree.

    Parameters
    ----------
    times : list of list of float
        Times of the reads of each group, seconds.

    Returns
    -------
    numpy.ndarray
        One row, one column of bytes.
    """
    text = (
        b"#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n"
        b"meta:\n  exposure:\n    read_times: " + repr(times).encode() + b"\n...\n"
    )
    table = np.zeros(1, [("ASDF_METADATA", "u1", (len(text),))])
    table["ASDF_METADATA"][0] = np.frombuffer(text, np.uint8)
    return table

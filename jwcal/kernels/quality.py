"""Counts for the quality table."""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, ptr


def count_flags(dq, without, counts):
    """Count the pixels that have each flag.

    Parameters
    ----------
    dq : uint32 numpy.ndarray
        Flags.
    without : int
        Pixels with any of these flags are left out.
    counts : (32,) int64 numpy.ndarray
        Pixels with each bit are added here.

    Returns
    -------
    int
        Number of pixels looked at.

    Raises
    ------
    ValueError
        If dtypes or layouts differ.
    """
    if dq.dtype != np.uint32 or counts.dtype != np.int64 or counts.shape != (32,):
        raise ValueError(f"need uint32 flags and 32 int64 counters, got {dq.dtype} and {counts.dtype}")
    dq = np.ascontiguousarray(dq)
    lib = native()
    if not lib:
        return count_flags_numpy(dq, without, counts)
    lib.jw_count_flags.restype = ctypes.c_int64
    return lib.jw_count_flags(ptr(dq), ctypes.c_ssize_t(dq.size), ctypes.c_uint32(without), ptr(counts))


def count_flags_numpy(dq, without, counts):
    """NumPy twin of `count_flags`."""
    kept = dq[(dq & np.uint32(without)) == 0]
    for bit in range(32):
        counts[bit] += np.count_nonzero(kept & np.uint32(1 << bit))
    return kept.size

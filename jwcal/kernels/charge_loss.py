"""Groups that charge spilling over to or from neighbours has falsified.

``flag_charge_loss_numpy`` is the definition; the compiled version gives the same flags.
"""

import ctypes

import numpy as np

from jwcal.kernels._lib import native, ptr, ramp_layout
from jwcal.kernels.pixelwise import sizes

DO_NOT_USE = 1


def flag_charge_loss(sci, gdq, limit, flag):
    """Flag a pixel and its four neighbours from the first group above a signal on.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN; NaN is not above anything.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags, changed in place.  Groups whose only flag is DO_NOT_USE are not looked at.
    limit : float
        Signal, DN, in single precision.
    flag : int
        Bits to set.

    Raises
    ------
    ValueError
        If a layout does not fit.
    """
    nint, ngroup, ny, nx = sci.shape
    strides = ramp_layout(sci, "f4", "sci") + ramp_layout(gdq, "u1", "gdq")
    if gdq.shape != sci.shape:
        raise ValueError(f"gdq {gdq.shape} does not fit sci {sci.shape}")
    lib = native()
    if lib is None:
        flag_charge_loss_numpy(sci, gdq, limit, flag)
        return
    work = np.empty((ny + 2) * (nx + 2), np.int32)
    lib.jw_flag_charge_loss(
        ptr(sci), ptr(gdq), *sizes(nint, ngroup, ny, nx, *strides), ctypes.c_float(limit), ctypes.c_uint8(flag),
        ptr(work),
    )  # fmt: skip


def flag_charge_loss_numpy(sci, gdq, limit, flag):
    """NumPy twin of `flag_charge_loss`."""
    hit = (sci > np.float32(limit)) & (gdq != DO_NOT_USE)
    late = np.maximum.accumulate(hit, axis=1)
    padded = np.pad(late, ((0, 0), (0, 0), (1, 1), (1, 1)))
    spread = (
        late | padded[..., :-2, 1:-1] | padded[..., 2:, 1:-1] | padded[..., 1:-1, :-2] | padded[..., 1:-1, 2:]
    )
    gdq[spread] |= np.uint8(flag)

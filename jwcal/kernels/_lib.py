"""Find the compiled kernels and call them: one shared library, plain C functions, no Python objects."""

import ctypes
import importlib.util
import logging
import os

import numpy as np

log = logging.getLogger(__name__)

_DISABLED = {"0", "no", "off", "false"}
_state: dict = {"tried": False, "lib": None}


def native():
    """Return the loaded C library, or None when it is absent or switched off.

    ``JWCAL_NATIVE=0`` selects the NumPy twins.  The absence of a library that was
    not switched off is reported once, on the log.

    Returns
    -------
    ctypes.CDLL or None
    """
    if not _state["tried"]:
        _state["tried"] = True
        _state["lib"] = _load()
    return _state["lib"]


def _load():
    if os.environ.get("JWCAL_NATIVE", "1").lower() in _DISABLED:
        return None
    spec = importlib.util.find_spec("jwcal.kernels._native")
    if spec is None or spec.origin is None:
        log.warning("compiled kernels not found; using the slower NumPy versions")
        return None
    try:
        return ctypes.CDLL(spec.origin)
    except OSError as exc:
        log.warning("compiled kernels cannot be loaded (%s); using the slower NumPy versions", exc)
        return None


def use_native(flag):
    """Switch the compiled kernels on or off in this process (for tests).

    Parameters
    ----------
    flag : bool
        True loads the library again, False selects the NumPy twins.

    Returns
    -------
    bool
        Whether compiled kernels are now in use.
    """
    _state["tried"] = True
    _state["lib"] = _load() if flag else None
    return _state["lib"] is not None


def ptr(array):
    """Address of the first element, for a ``void *`` argument (None gives NULL).

    The caller vouches for dtype and layout; `ramp_layout` and `plane` check them.
    """
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


def plane(array, shape, dtype, name):
    """Check that a per-pixel array is C-contiguous and of the wanted shape and dtype.

    Parameters
    ----------
    array : numpy.ndarray
        Array to check.
    shape : tuple of int
        Required shape.
    dtype : numpy.dtype or str
        Required dtype, native byte order.
    name : str
        Name used in the message.

    Returns
    -------
    numpy.ndarray
        The same array.

    Raises
    ------
    ValueError
        If shape, dtype or layout differ.
    """
    if array.shape != tuple(shape) or array.dtype != np.dtype(dtype) or not array.flags.c_contiguous:
        raise ValueError(
            f"{name}: need a contiguous {np.dtype(dtype)} array of shape {tuple(shape)}, "
            f"got {array.dtype} {array.shape}"
        )
    return array


def ramp_layout(array, dtype, name):
    """Strides, in elements, of a ramp view ``(nint, ngroup, ny, nx)``.

    The two last axes must be contiguous; integrations and groups may be spaced.

    Parameters
    ----------
    array : (nint, ngroup, ny, nx) numpy.ndarray
        Ramp, or a view of some rows of a ramp buffer.
    dtype : numpy.dtype or str
        Required dtype, native byte order.
    name : str
        Name used in the message.

    Returns
    -------
    int_stride, group_stride : int
        Elements from one integration, and from one group, to the next.

    Raises
    ------
    ValueError
        If the dtype or the layout does not fit.
    """
    if array.ndim != 4 or array.dtype != np.dtype(dtype):
        raise ValueError(f"{name}: need a 4-D {np.dtype(dtype)} array, got {array.dtype} {array.shape}")
    size = array.itemsize
    si, sg, sy, sx = array.strides
    _, _, ny, nx = array.shape
    if (nx > 1 and sx != size) or (ny > 1 and sy != nx * size) or si % size or sg % size:
        raise ValueError(f"{name}: rows must be contiguous")
    return si // size, sg // size

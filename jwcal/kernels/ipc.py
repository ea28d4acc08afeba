"""Convolution of groups with an inter-pixel capacitance kernel.

``convolve_numpy`` is the definition; the compiled version gives the same bits.
"""

import numpy as np

from jwcal.kernels._lib import native, plane, ptr, ramp_layout
from jwcal.kernels.pixelwise import sizes


def convolve(sci, kernel, region):
    """Convolve the science pixels of every group with a kernel.

    Pixels outside `region` (reference pixels) are neither changed nor used; what lies
    beyond counts as zero.  The taps are added row by row, the middle one last.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramps, DN; changed in place.
    kernel : (ky, kx) or (ky, kx, ny, nx) float32 numpy.ndarray
        Kernel, one for all pixels or one for each.
    region : tuple of int
        (y0, y1, x0, x1), the science pixels of this array.
    """
    nint, ngroup, ny, nx = sci.shape
    strides = ramp_layout(sci, "f4", "SCI")
    plane(kernel, (*kernel.shape[:2], *(() if kernel.ndim == 2 else (ny, nx))), "f4", "kernel")
    y0, y1, x0, x1 = region
    if not (0 <= y0 <= y1 <= ny and 0 <= x0 <= x1 <= nx):
        raise ValueError(f"region {region} is not inside {ny} rows and {nx} columns")
    if y0 == y1 or x0 == x1:
        return
    lib = native()
    if lib is None:
        convolve_numpy(sci, kernel, region)
        return
    ky, kx = kernel.shape[:2]
    work = np.empty((y1 - y0 + ky - 1) * (x1 - x0 + kx - 1), np.float32)
    lib.jw_convolve(
        ptr(sci), *sizes(nint, ngroup, nx, *strides), ptr(kernel),
        *sizes(ky, kx, ny * nx if kernel.ndim == 4 else 0, y0, y1, x0, x1), ptr(work),
    )  # fmt: skip


def convolve_numpy(sci, kernel, region):
    """NumPy twin of `convolve`."""
    y0, y1, x0, x1 = region
    ny, nx = y1 - y0, x1 - x0
    ky, kx = kernel.shape[:2]
    my, mx = ky // 2, kx // 2
    taps = [(j, i) for j in range(ky) for i in range(kx) if (j, i) != (my, mx)]
    weights = kernel if kernel.ndim == 2 else kernel[:, :, y0:y1, x0:x1]
    padded = np.zeros((ny + ky - 1, nx + kx - 1), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for ramp in sci:
            for group in ramp:
                image = group[y0:y1, x0:x1]
                padded[my : my + ny, mx : mx + nx] = image
                image[...] = 0
                for j, i in [*taps, (my, mx)]:
                    top, left = ky - 1 - j, kx - 1 - i
                    image += weights[j, i] * padded[top : top + ny, left : left + nx]

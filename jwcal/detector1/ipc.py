"""Undo the coupling of signal between neighbouring pixels."""

from types import SimpleNamespace

import numpy as np

from jwcal.core.errors import InputError, ReferenceFileError
from jwcal.core.step import Ref, step
from jwcal.core.stripes import IRS2_FRAME
from jwcal.detector1._shared import irs2_halo, irs2_rows, is_irs2, normal_box
from jwcal.kernels.ipc import convolve

LARGEST_KERNEL = 31
REFERENCE_BORDER = 4
# Rows of a kernel for each pixel that its mean noise is taken from.
NOISE_ROWS = 16
# Shifts, rows and columns, of the noise keywords.
NOISE_KEYWORDS = {"IPCVAR": (0, 0), "IPCCOVX": (0, 1), "IPCCOVY": (1, 0), "IPCCOVD": (1, 1)}


def _load(ref, box, plan):
    if plan.kernel is not None:
        return {"SCI": plan.kernel}
    if plan.normal is not None:
        box = normal_box(plan.normal, box)
        if box[0] == box[1]:
            return {"SCI": None}
    return {"SCI": np.ascontiguousarray(ref.read("SCI", box, dtype="f4"))}


@step(
    "ipc",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_IPC",
    refs=[Ref("ipc", planes={"SCI": "f4"}, load=_load)],
    changes=("SCI",),
    default_skip=True,
    halo=lambda plan: plan.halo,
    keywords=tuple(NOISE_KEYWORDS),
)
def ipc(tile, refs, p):
    """Convolve every group with the kernel of the IPC reference.

    The kernel is one small image, or one for each pixel (4-D).  Reference pixels are neither
    changed nor used, pixels beyond the frame count as zero, and NaN spreads to its
    neighbours.  SCI is float32 in DN; the zero frame and the flags are untouched.  In the interleaved
    readout of NIRSpec (IRS2) the normal rows alone are an image.  Off unless asked for (``skip = false``).

    What was uncorrelated before, the read noise, is correlated between neighbours afterwards.  The products
    say so: IPCVAR is the factor of its variance; IPCCOVX, IPCCOVY and IPCCOVD are the covariances, in units
    of the variance before, with the next pixel in x, in y and diagonally.  Photon noise, which the coupling
    had smoothed, is restored to that of independent pixels and needs no factor.  The optimal ramp fit uses
    IPCVAR (its parameter ``ipc_noise``).

    Errors: exit 4 when the kernel is neither 2-D nor 4-D or larger than 31 pixels.

    Source: calibration pipeline of the observatory, package ``jwst`` 3.0.
    """
    sci, box = tile["SCI"], tile.box
    if tile.plan.normal is not None:
        rows = np.flatnonzero(tile.plan.normal[box[0] : box[1]])
        sci, box = sci.take(rows, axis=2), normal_box(tile.plan.normal, box)
    y0, y1, x0, x1 = box
    top, bottom, left, right = tile.plan.region
    region = (max(top - y0, 0), min(bottom, y1) - y0, max(left - x0, 0), min(right, x1) - x0)
    if region[0] < region[1] and region[2] < region[3]:
        convolve(sci, refs["ipc"]["SCI"], region)
        if tile.plan.normal is not None:
            tile["SCI"][:, :, rows] = sci


@ipc.setup
def _(exposure, refs, p):
    if exposure.stripes:
        raise InputError("ipc: superstripe exposures (SSTR_NST) are not supported")
    ref = refs["ipc"]
    normal = irs2_rows(exposure, "ipc") if is_irs2(exposure) else None
    shape = ref.shape("SCI")
    if len(shape) not in (2, 4) or max(shape[:2]) > LARGEST_KERNEL:
        raise ReferenceFileError(
            f"{ref.path}: SCI of shape {shape} is no kernel of at most {LARGEST_KERNEL} pixels"
        )
    kernel = ref.hdu("SCI").read().astype(np.float32) if len(shape) == 2 else None
    halo = max(shape[:2]) // 2
    if normal is not None:
        halo = irs2_halo(halo)
        ref.reframe((IRS2_FRAME[1], IRS2_FRAME[1]))
    plan = SimpleNamespace(kernel=kernel, halo=halo, region=science_region(exposure), normal=normal)
    noise = noise_covariance(kernel if kernel is not None else _mean_kernel(ref, plan.region))
    # Before any pixel: the ramp fit makes its model of the noise from them.
    for key, value in noise.items():
        exposure.meta.set(key, value)
    return plan


def _mean_kernel(ref, region):
    """Mean over some rows of a kernel that differs from pixel to pixel."""
    y0, y1, x0, x1 = region
    rows = [
        ref.read("SCI", (y, y + 1, x0, x1), dtype="f4") for y in range(y0, y1, -(-(y1 - y0) // NOISE_ROWS))
    ]
    values = np.concatenate(rows, axis=3).astype(np.float64) if rows else np.zeros((1, 1, 1, 1))
    return np.nan_to_num(values.reshape(*values.shape[:2], -1).mean(axis=2))


def noise_covariance(kernel):
    """Covariance of noise that was of unit variance and uncorrelated before a convolution.

    Parameters
    ----------
    kernel : (ky, kx) array
        What it was convolved with.

    Returns
    -------
    dict of str to float
        Variance and covariances by keyword.
    """
    kernel = np.asarray(kernel, np.float64)
    ky, kx = kernel.shape
    padded = np.zeros((ky + 1, kx + 1))
    padded[:ky, :kx] = kernel
    out = {}
    for key, (dy, dx) in NOISE_KEYWORDS.items():
        forward = (padded[dy : ky + dy, dx : kx + dx] * kernel).sum()
        # The other diagonal; the same as the first in rows and columns.
        back = (padded[dy : ky + dy, :kx] * padded[:ky, dx : kx + dx]).sum()
        out[key] = round(float((forward + back) / 2), 9)
    return out


def science_region(exposure):
    """Rows and columns of the frame that are not reference pixels.

    Parameters
    ----------
    exposure : Exposure
        Gives instrument, frame and its place on the detector.

    Returns
    -------
    (int, int, int, int)
        y0, y1, x0, x1, half-open, in the frame; for IRS2 in that of the normal rows.
    """
    (ny, nx), (y, x) = exposure.frame, exposure.substrt
    if is_irs2(exposure):
        ny = IRS2_FRAME[1]
    if exposure.meta["INSTRUME"] == "MIRI":
        rows, width = (0, ny), 1032
    else:
        rows, width = (max(REFERENCE_BORDER - y, 0), min(2048 - REFERENCE_BORDER - y, ny)), 2048
    return (*rows, max(REFERENCE_BORDER - x, 0), min(width - REFERENCE_BORDER - x, nx))

"""Undo the coupling of signal between neighbouring pixels."""

from types import SimpleNamespace

import numpy as np

from jwcal.core.errors import ReferenceFileError
from jwcal.core.step import Ref, step
from jwcal.detector1._shared import refuse_irs2
from jwcal.kernels.ipc import convolve

LARGEST_KERNEL = 31
REFERENCE_BORDER = 4


def _load(ref, box, plan):
    if plan.kernel is not None:
        return {"SCI": plan.kernel}
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
)
def ipc(tile, refs, p):
    """Convolve every group with the kernel of the IPC reference.

    The kernel is one small image, or one for each pixel (4-D).  Reference pixels are neither
    changed nor used, pixels beyond the frame count as zero, and NaN spreads to its
    neighbours.  SCI is float32 in DN; the zero frame and the flags are untouched.  Off unless
    asked for (``skip = false``).

    Errors: exit 4 when the kernel is neither 2-D nor 4-D or larger than 31 pixels.

    Source: calibration pipeline of the observatory, package ``jwst`` 3.0.
    """
    y0, y1, x0, x1 = tile.box
    top, bottom, left, right = tile.plan.region
    region = (max(top - y0, 0), min(bottom, y1) - y0, max(left - x0, 0), min(right, x1) - x0)
    if region[0] < region[1] and region[2] < region[3]:
        convolve(tile["SCI"], refs["ipc"]["SCI"], region)


@ipc.setup
def _(exposure, refs, p):
    refuse_irs2(exposure, "ipc")
    ref = refs["ipc"]
    shape = ref.shape("SCI")
    if len(shape) not in (2, 4) or max(shape[:2]) > LARGEST_KERNEL:
        raise ReferenceFileError(
            f"{ref.path}: SCI of shape {shape} is no kernel of at most {LARGEST_KERNEL} pixels"
        )
    kernel = ref.hdu("SCI").read().astype(np.float32) if len(shape) == 2 else None
    return SimpleNamespace(kernel=kernel, halo=max(shape[:2]) // 2, region=science_region(exposure))


def science_region(exposure):
    """Rows and columns of the frame that are not reference pixels.

    Parameters
    ----------
    exposure : Exposure
        Gives instrument, frame and its place on the detector.

    Returns
    -------
    (int, int, int, int)
        y0, y1, x0, x1, half-open, in the frame.
    """
    (ny, nx), (y, x) = exposure.frame, exposure.substrt
    if exposure.meta["INSTRUME"] == "MIRI":
        rows, width = (0, ny), 1032
    else:
        rows, width = (max(REFERENCE_BORDER - y, 0), min(2048 - REFERENCE_BORDER - y, ny)), 2048
    return (*rows, max(REFERENCE_BORDER - x, 0), min(width - REFERENCE_BORDER - x, nx))

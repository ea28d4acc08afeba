"""How an exposure was read out: orientation, amplifiers, and where its reference pixels are."""

import logging
from dataclasses import dataclass, field

import numpy as np

from jwcal.core.errors import InputError
from jwcal.core.step import Skip
from jwcal.core.stripes import stripe_lines

log = logging.getLogger(__name__)

NIR_SIZE = 2048
NIR_BORDER = 4
AMPLIFIER_WIDTH = 512
MIRI_SHAPE = (1024, 1032)
MIRI_REFERENCE_COLUMNS = (0, 1, 2, 3, 1028, 1029, 1030, 1031)
MIRI_OUTPUTS = 4
NO_REFERENCE_PIXELS = "no valid reference pixels"

# Subarrays of NIRSpec that no reference pixel reaches: their outermost image columns are unilluminated.
EDGELESS = ("SUB32", "SUB512", "SUB512S")

# (FASTAXIS, SLOWAXIS) by detector, for exposures that do not say.
READOUT_AXES = {
    **dict.fromkeys(("NRCA1", "NRCA3", "NRCALONG", "NRCB2", "NRCB4"), (-1, 2)),
    **dict.fromkeys(("NRCA2", "NRCA4", "NRCB1", "NRCB3", "NRCBLONG"), (1, -2)),
    **dict.fromkeys(("NIS", "GUIDER1", "NRS2"), (-2, -1)),
    "GUIDER2": (2, -1),
    "NRS1": (2, 1),
    **dict.fromkeys(("MIRIMAGE", "MIRIFULONG", "MIRIFUSHORT"), (1, 2)),
}


@dataclass
class Readout:
    """How an exposure was read, as far as its reference pixels are concerned.

    Attributes
    ----------
    mode : str
        "amplifiers": near infrared, four outputs; "single": near infrared, one output;
        "stripes": near infrared, multistripe readout; "rows": MIRI.
    frame : (int, int)
        Rows and columns of the image.
    fast, slow : (n,) int64 numpy.ndarray
        Detector position along the fast and the slow axis of each image column or row; of stripes
        position in the subarray.
    fast_is_x : bool
        Whether the fast axis runs along the image rows.
    rows, columns : (ny,), (nx,) bool numpy.ndarray
        Image rows and columns that hold reference pixels.
    edgeless : bool
        Whether the outermost image columns stand in for reference pixels.
    shift : int
        Of stripes: what takes a fast position to that on the detector.
    kernels : numpy.ndarray or None
        Filters for the side pixels (`refpix_sirs.read_kernels`).
    cached : tuple or None
        Sets of pixels of the last integration, with what they were made from.
    """

    mode: str
    frame: tuple
    fast: np.ndarray
    slow: np.ndarray
    fast_is_x: bool
    rows: np.ndarray
    columns: np.ndarray
    edgeless: bool = False
    shift: int = 0
    kernels: np.ndarray | None = None
    cached: tuple | None = field(default=None, repr=False)

    def boxes(self):
        """Boxes that cover the reference pixels without overlap."""
        nx = self.frame[1]
        out = [(a, b, 0, nx) for a, b in _runs(self.rows)]
        between = _runs(~self.rows)
        return out + [(a, b, c, d) for a, b in between for c, d in _runs(self.columns)]


def _runs(mask):
    """Half-open ranges in which a mask is set."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def readout_axes(meta):
    """Directions of the fast and the slow readout axis in the image.

    Parameters
    ----------
    meta : mapping
        Keywords FASTAXIS, SLOWAXIS, DETECTOR.

    Returns
    -------
    fast, slow : int
        1 or 2 for the x or y axis, negative when read towards falling index.

    Raises
    ------
    InputError
        If the keywords are missing for a detector of unknown orientation, or name one axis twice.
    """
    detector = str(meta.get("DETECTOR", "")).strip().upper()
    known = READOUT_AXES.get(detector)
    axes = meta.get("FASTAXIS"), meta.get("SLOWAXIS")
    if None in axes:
        if known is None:
            raise InputError(f"refpix: FASTAXIS or SLOWAXIS is missing and detector {detector!r} is unknown")
        return known
    if {abs(a) for a in axes} != {1, 2}:
        raise InputError(f"refpix: FASTAXIS = {axes[0]} and SLOWAXIS = {axes[1]} do not name two axes")
    if known not in {None, axes}:
        log.warning(
            "refpix: FASTAXIS, SLOWAXIS = %s, %s; %s is usually read along %s, %s", *axes, detector, *known
        )
    return axes


def describe(meta, frame, origin):
    """Work out how an exposure was read.

    Parameters
    ----------
    meta : mapping
        Keywords INSTRUME, DETECTOR, SUBARRAY, NOUTPUTS, FASTAXIS, SLOWAXIS; of stripes also those
        `stripe_lines` needs.
    frame : (int, int)
        Rows and columns of the image.
    origin : (int, int)
        0-based row and column of the image in the whole detector.

    Returns
    -------
    Readout

    Raises
    ------
    Skip
        If the mode has no reference pixels that can be used.
    InputError
        For readout modes this step cannot correct.
    """
    instrument = str(meta.get("INSTRUME", "")).strip().upper()
    ny, nx = frame
    if instrument == "MIRI":
        return _describe_miri(frame)
    stripes = stripe_lines(meta, frame)
    if stripes is not None and frame != (NIR_SIZE, NIR_SIZE):
        return _describe_stripes(meta, frame, origin, stripes)
    full = frame == (NIR_SIZE, NIR_SIZE)
    y0, x0 = (0, 0) if full else origin
    if min(y0, x0) < 0 or y0 + ny > NIR_SIZE or x0 + nx > NIR_SIZE:
        raise Skip("the subarray does not fit in the detector")
    fast, slow = readout_axes(meta)
    y, x = np.arange(y0, y0 + ny), np.arange(x0, x0 + nx)
    border = (y < NIR_BORDER) | (y >= NIR_SIZE - NIR_BORDER), (x < NIR_BORDER) | (x >= NIR_SIZE - NIR_BORDER)
    mode = "amplifiers" if full or meta.get("NOUTPUTS") == 4 else "single"
    edgeless = mode == "single" and str(meta.get("SUBARRAY", "")).strip() in EDGELESS
    if edgeless:
        border[1][:NIR_BORDER] = border[1][-NIR_BORDER:] = True
    if not border[0].any() and not border[1].any():
        raise Skip(NO_REFERENCE_PIXELS)
    along = (x, y) if abs(fast) == 1 else (y, x)
    position = [a if sign > 0 else NIR_SIZE - 1 - a for a, sign in zip(along, (fast, slow), strict=True)]
    return Readout(mode, frame, position[0], position[1], abs(fast) == 1, border[0], border[1], edgeless)


def _describe_stripes(meta, frame, origin, stripes):
    axis, lines = stripes
    fast, slow = readout_axes(meta)
    if abs(fast) - 1 != axis:
        raise InputError(f"refpix: FASTAXIS = {fast} is the slow axis of the multistripe readout")
    across = np.arange(frame[1 - axis])
    along = np.arange(frame[axis])
    shift = origin[1 - axis]
    marked = [(a < NIR_BORDER) | (a >= NIR_SIZE - NIR_BORDER) for a in (lines, across + shift)]
    rows, columns = marked if axis == 0 else marked[::-1]
    return Readout(
        "stripes", frame, across if fast > 0 else across[::-1], along if slow > 0 else along[::-1],
        axis == 0, rows, columns, shift=shift,
    )  # fmt: skip


def _describe_miri(frame):
    ny, nx = frame
    if ny < MIRI_SHAPE[0] or nx < MIRI_SHAPE[1]:
        raise Skip("not done for MIRI subarrays")
    if frame != MIRI_SHAPE:
        raise InputError(f"refpix: a MIRI image of {ny} x {nx} pixels is larger than the detector")
    columns = np.zeros(nx, bool)
    columns[list(MIRI_REFERENCE_COLUMNS)] = True
    return Readout("rows", frame, np.arange(nx), np.arange(ny), True, np.zeros(ny, bool), columns)


def average_ends(means, uniform, single, split):
    """Level per group, output and parity from the means at both ends; 0 where there is none.

    Parameters
    ----------
    means : (ngroup, 4 * noutput) float64 numpy.ndarray
        By output, parity and end; NaN where there is none; DN.
    uniform, single : uint8 numpy.ndarray
        From and for `jwcal.kernels.refpix.clipped_means`.
    split : bool
        Whether the parities differ; if not, the means of the second do not count.

    Returns
    -------
    (ngroup, noutput, 2) float64 numpy.ndarray
    """
    ngroup = len(means)
    low, high = means.reshape(ngroup, -1, 2).transpose(2, 0, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        total = low + high
        narrow = (single != 0)[:, None] & ~(uniform != 0).reshape(ngroup, -1, 2).any(axis=2)
        total = np.where(narrow, total.astype(np.float32), total)
    level = np.where(np.isnan(low), high, np.where(np.isnan(high), low, 0.5 * total)).reshape(ngroup, -1, 2)
    if not split:
        level[:, :, 1] = level[:, :, 0]
    level[np.isnan(level).any(axis=2)] = 0.0
    return level

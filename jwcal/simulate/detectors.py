"""Detectors and subarrays: sizes, readout directions, amplifiers and reference pixels."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np

from jwcal.core.errors import UsageError

REFERENCE_WIDTH = 4
INSTRUMENTS = ("nircam", "niriss", "fgs", "nirspec", "miri")


@cache
def catalogue():
    """Read the tables of ``data/detectors.toml``.

    Returns
    -------
    dict
        Keys ``instrument``, ``readpatt``, ``exp_type`` and ``detector``.
    """
    return tomllib.loads(files("jwcal.data").joinpath("detectors.toml").read_text())


@dataclass(frozen=True)
class Detector:
    """One detector: the values of its instrument with its own on top.

    Attributes
    ----------
    name : str
        Official name, such as ``NRCA1``.
    instrument : str
        Lower-case name of the instrument.
    shape : tuple of int
        Rows and columns of the full frame in the science frame.
    fastaxis, slowaxis : int
        Axis (1 is x, 2 is y) and sign of the fast and slow readout directions.
    values : dict
        Everything else of the catalogue.
    """

    name: str
    instrument: str
    shape: tuple
    fastaxis: int
    slowaxis: int
    values: dict = field(hash=False, compare=False)

    @property
    def is_miri(self):
        """Whether the detector is one of the mid-infrared instrument."""
        return self.instrument == "miri"

    def __getitem__(self, key):
        return self.values[key]

    def get(self, key, default=None):
        """Value of the catalogue, or `default`."""
        return self.values.get(key, default)

    @property
    def subarrays(self):
        """Names of the subarrays, as a mapping to corner, size and outputs."""
        return self.values.get("subarrays", {})


@dataclass(frozen=True)
class Region:
    """The part of a detector that is read.

    Attributes
    ----------
    detector : Detector
    name : str
        SUBARRAY.
    y0, x0 : int
        0-based corner in the full science frame.
    ny, nx : int
        Rows and columns.
    outputs : int
        Amplifiers in use (NOUTPUTS).
    """

    detector: Detector
    name: str
    y0: int
    x0: int
    ny: int
    nx: int
    outputs: int

    @property
    def shape(self):
        """Rows and columns."""
        return self.ny, self.nx

    @property
    def is_full(self):
        """Whether the whole detector is read."""
        return self.shape == self.detector.shape

    @property
    def fast_is_x(self):
        """Whether the fast readout direction runs along x."""
        return abs(self.detector.fastaxis) == 1

    def _coordinate(self, axis):
        along_x = abs(axis) == 1
        start, size = (self.x0, self.nx) if along_x else (self.y0, self.ny)
        full = self.detector.shape[1 if along_x else 0]
        index = np.arange(start, start + size)
        return index if axis > 0 else full - 1 - index

    def fast(self):
        """Readout position along the fast direction.

        Returns
        -------
        numpy.ndarray
            0-based full-frame positions, one per pixel along the science axis that is fast.
        """
        return self._coordinate(self.detector.fastaxis)

    def slow(self):
        """Readout position along the slow direction; see `fast`."""
        return self._coordinate(self.detector.slowaxis)

    def amplifiers(self):
        """Amplifier that reads each position along the fast direction.

        Returns
        -------
        numpy.ndarray
            0 to 3.  The mid-infrared detectors interleave four outputs column by column, the
            others read four strips of 512, or everything through the first output.
        """
        fast = self.fast()
        if self.detector.is_miri:
            return fast % 4
        if self.outputs == 1:
            return np.zeros(fast.size, int)
        return fast * 4 // self.detector.shape[1]

    def along_fast(self, values):
        """Shape a vector over fast positions so that it broadcasts over (y, x)."""
        return values[None, :] if self.fast_is_x else values[:, None]

    def along_slow(self, values):
        """Shape a vector over slow positions so that it broadcasts over (y, x)."""
        return values[:, None] if self.fast_is_x else values[None, :]

    def reference_pixels(self):
        """Mask of the pixels that do not see light.

        Returns
        -------
        numpy.ndarray
            bool (ny, nx).  Four pixels along every edge of the full near-infrared detector;
            only the first and last four columns of a mid-infrared one.
        """
        fy, fx = self.detector.shape
        w = REFERENCE_WIDTH
        x = np.arange(self.x0, self.x0 + self.nx)
        y = np.arange(self.y0, self.y0 + self.ny)
        columns = (x < w) | (x >= fx - w)
        rows = np.zeros(self.ny, bool) if self.detector.is_miri else (y < w) | (y >= fy - w)
        return rows[:, None] | columns[None, :]


@cache
def detector(name):
    """Look up a detector.

    Parameters
    ----------
    name : str
        Official name; case does not matter.

    Returns
    -------
    Detector

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    tables = catalogue()
    own = tables["detector"].get(name.upper())
    if own is None:
        raise UsageError(f"detector {name} is unknown; one of: {', '.join(tables['detector'])}")
    values = {**tables["instrument"][own["instrument"]], **own}
    return Detector(
        name.upper(),
        own["instrument"],
        (values["rows"], values["columns"]),
        own["fastaxis"],
        own["slowaxis"],
        values,
    )


def choose_detector(instrument=None, name=None):
    """Detector from what the user gave.

    Parameters
    ----------
    instrument, name : str or None
        An instrument alone means its default detector, nothing at all NIRCam's.

    Returns
    -------
    Detector

    Raises
    ------
    UsageError
        If they contradict each other or are unknown.
    """
    if name is None:
        instrument = (instrument or "nircam").lower()
        if instrument not in INSTRUMENTS:
            raise UsageError(f"instrument {instrument} is unknown; one of: {', '.join(INSTRUMENTS)}")
        name = catalogue()["instrument"][instrument]["detector"]
    found = detector(name)
    if instrument is not None and found.instrument != instrument.lower():
        raise UsageError(f"detector {found.name} belongs to {found.instrument}, not {instrument}")
    return found


def region(det, subarray=None, shape=None, corner=None):
    """Region to read.

    Parameters
    ----------
    det : Detector
    subarray : str or None
        Official name, or ``FULL``.
    shape : tuple of int or None
        Rows and columns; an unnamed region is called ``GENERIC``.
    corner : tuple of int or None
        1-based x and y of the first pixel in the science frame; (1, 1) if not given.

    Returns
    -------
    Region

    Raises
    ------
    UsageError
        If the name is unknown for this detector or the region does not fit.
    """
    fy, fx = det.shape
    full = Region(det, "FULL", 0, 0, fy, fx, 4)
    if subarray is not None and shape is not None:
        raise UsageError("give either a subarray name or a shape, not both")
    if subarray is not None:
        name = subarray.upper()
        if name == "FULL":
            return full
        if name not in det.subarrays:
            known = ", ".join(("FULL", *det.subarrays))
            raise UsageError(f"subarray {subarray} is unknown for {det.name}; one of: {known}")
        x, y, nx, ny, *outputs = det.subarrays[name]
        return Region(det, name, y - 1, x - 1, ny, nx, outputs[0] if outputs else 1)
    if shape is None:
        default = det["subarray"]
        return region(det, default if default in det.subarrays else "FULL")
    ny, nx = shape
    x, y = corner or (1, 1)
    if ny < 1 or nx < 1 or x < 1 or y < 1 or y - 1 + ny > fy or x - 1 + nx > fx:
        raise UsageError(
            f"a region of {ny} rows and {nx} columns at ({x}, {y}) does not fit {det.name} "
            f"({fy} rows, {fx} columns)"
        )
    if (ny, nx) == det.shape:
        return full
    outputs = 4 if det.is_miri else 1
    for name, (sx, sy, snx, sny, *_) in det.subarrays.items():
        if (sx, sy, snx, sny) == (x, y, nx, ny):
            return region(det, name)
    return Region(det, "GENERIC", y - 1, x - 1, ny, nx, outputs)

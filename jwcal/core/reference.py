"""Reference files: open, check against the exposure, cut to its frame, translate their flags."""

import copy
from typing import Any

import numpy as np

from jwcal.core import dq as dqbits
from jwcal.core.errors import InputError, JwcalError, ReferenceFileError
from jwcal.core.stripes import DETECTOR_SIZE, lines_of, runs

_WILD = {"", "N/A", "ANY", "*"}

# Planes that are one image in files of these types.
_IMAGES = {
    "mask": ("DQ",),
    "saturation": ("SCI", "DQ"),
    "superbias": ("SCI", "DQ"),
    "gain": ("SCI",),
    "readnoise": ("SCI",),
    "linearity": ("DQ",),
}


class ReferenceFile:
    """An open reference file, seen in the frame of one exposure.

    Parameters
    ----------
    kind : str
        Reference type in lower case.
    path : str
        File name.
    exposure : Exposure or None
        Gives detector, frame and offset; None opens without checks.

    Raises
    ------
    ReferenceFileError
        If it cannot be read, or is of another instrument, detector or type.
    """

    def __init__(self, kind, path, exposure=None):
        from jwcal.core.asdf_file import AsdfFile, is_asdf
        from jwcal.core.fits import open_fits

        self.kind, self.path = kind, str(path)
        try:
            self.fits: Any = (AsdfFile if is_asdf(self.path) else open_fits)(self.path)
        except InputError as exc:
            raise ReferenceFileError(f"{kind.upper()} reference: {exc}") from None
        self.header = self.fits.primary.header
        self.frame: Any = None
        self.origin: Any = None
        self.stripes: Any = None
        self._pairs = False
        self._offsets = {}
        # Which superstripe of the frame this is.
        self.number: Any = None
        self._parts = [self]
        if exposure is not None:
            self.stripes = lines_of(exposure)
            self.frame, self.origin = exposure.frame, exposure.substrt
            self._check(exposure)
            if exposure.stripes:
                self._parts = [self._part(exposure, number) for number in range(exposure.stripes)]
                self.number = 0

    def _part(self, exposure, number):
        part = copy.copy(self)
        part.stripes, part.number = lines_of(exposure, number), number
        return part

    def of_stripe(self, number):
        """Return the file as seen in the frame of a superstripe."""
        return self._parts[number]

    def _fail(self, text):
        raise ReferenceFileError(f"{self.path}: {text}")

    def _check(self, exposure):
        reftype = str(self.header.get("REFTYPE", "")).strip().lower()
        if reftype and reftype != self.kind:
            self._fail(f"is a {reftype.upper()} reference, not {self.kind.upper()}")
        for key in ("INSTRUME", "DETECTOR"):
            mine = str(self.header.get(key, "")).strip().upper()
            theirs = str(exposure.meta.get(key, "")).strip().upper()
            if mine not in _WILD and theirs and mine != theirs:
                self._fail(f"is for {key} {mine}; {exposure.label} is {theirs}")
        for name in _IMAGES.get(self.kind, ()):
            if name in self and len(self.shape(name)) != 2:
                self._fail(f"{name} has shape {self.shape(name)}; {self.kind.upper()} needs one image there")

    def get(self, key, default=None):
        """Value of a primary-header keyword."""
        return self.header.get(key, default)

    def __contains__(self, name):
        return name in self.fits

    def hdu(self, name):
        """Extension by name; a missing one is an error."""
        if name not in self.fits:
            self._fail(f"no {name} extension in this {self.kind.upper()} reference")
        return self.fits[name]

    def shape(self, name):
        """Shape of a plane as stored."""
        return self.hdu(name).shape

    def table(self, name):
        """Rows of a table extension as a structured array, or None."""
        return self.fits[name].table() if name in self.fits else None

    def reframe(self, frame):
        """See the file in a frame at the corner of the detector instead of that of the exposure.

        Parameters
        ----------
        frame : (int, int)
            Rows and columns.
        """
        self.frame, self.origin = frame, (0, 0)
        self._offsets = {}

    def tree(self):
        """Tree of an ASDF reference.

        Raises
        ------
        ReferenceFileError
            If the file is not ASDF or cannot be read.
        """
        from jwcal.core.asdf_file import AsdfFile

        if not isinstance(self.fits, AsdfFile):
            self._fail(f"is no ASDF file; {self.kind.upper()} references are")
        try:
            return self.fits.tree
        except InputError as exc:
            raise ReferenceFileError(str(exc)) from None

    def offset(self, name):
        """(y, x) of the exposure's frame in this plane.

        Raises
        ------
        ReferenceFileError
            If the plane does not cover the frame.
        """
        if name not in self._offsets:
            self._offsets[name] = self._find_offset(name)
        return self._offsets[name]

    def _find_offset(self, name):
        shape = self.shape(name)
        if len(shape) < 2:
            self._fail(f"{name} is not an image")
        ny, nx = shape[-2:]
        frame = self.frame or (ny, nx)
        if self._is_striped(name):
            return self._find_fast_offset(name)
        if (max(ny, nx) > DETECTOR_SIZE) != (max(frame) > DETECTOR_SIZE):
            kinds = "traditional", "IRS2 (interleaved)"
            self._fail(
                f"{name} of {ny} x {nx} pixels is for the {kinds[max(ny, nx) > DETECTOR_SIZE]} readout; the exposure"
                f" of {frame[0]} x {frame[1]} pixels is {kinds[max(frame) > DETECTOR_SIZE]}"
            )
        start = (self.get("SUBSTRT2"), self.get("SUBSTRT1"))
        known = all(isinstance(s, int) and s > 0 for s in start)
        if known and self.origin is not None:
            off = (self.origin[0] - (start[0] - 1), self.origin[1] - (start[1] - 1))
        elif (ny, nx) == frame:
            off = (0, 0)
        else:
            off = self.origin or (0, 0)
        if min(off) < 0 or off[0] + frame[0] > ny or off[1] + frame[1] > nx:
            self._fail(
                f"{name} of {ny} x {nx} pixels at ({start[1]}, {start[0]}) does not cover the exposure's "
                f"{frame[0]} x {frame[1]} pixels at ({(self.origin or (0, 0))[1] + 1}, {(self.origin or (0, 0))[0] + 1})"
            )
        return off

    def _is_striped(self, name):
        """Whether a plane, not being in the frame of the exposure, is put together from some of its lines."""
        return self.stripes is not None and (self.number is not None or self.shape(name)[-2:] != self.frame)

    def _find_fast_offset(self, name):
        axis, _, size = self.stripes
        shape, frame = self.shape(name)[-2:], self.frame
        start = self.get("SUBSTRT1" if axis == 0 else "SUBSTRT2")
        off = [0, 0]
        off[1 - axis] = self.origin[1 - axis] - (start - 1 if isinstance(start, int) and start > 0 else 0)
        if shape[axis] != size or not 0 <= off[1 - axis] <= shape[1 - axis] - frame[1 - axis]:
            self._fail(
                f"{name} of {shape[0]} x {shape[1]} pixels does not cover the stripes of the exposure's"
                f" {frame[0]} x {frame[1]} pixels"
            )
        return tuple(off)

    def _read_stripes(self, hdu, box, index, out):
        """Read a box piece by piece; it is shifted along the fast axis already."""
        axis, lines, _ = self.stripes
        start, stop = box[2 * axis : 2 * axis + 2]
        lines = lines[start:stop]
        parts = []
        for a, b in runs(lines):
            part = list(box)
            part[2 * axis : 2 * axis + 2] = int(lines[a]), int(lines[a]) + b - a
            parts.append(hdu.read(index=index or None, box=tuple(part)))
        array = np.concatenate(parts, axis=axis - 2)
        if out is None:
            return array
        out[...] = array
        return out

    def read(self, name, box=None, index=(), dtype=None, out=None):
        """Read a plane, cut to a box of the exposure's frame.

        Parameters
        ----------
        name : str
            Extension name.
        box : (y0, y1, x0, x1) or None
            Box in the exposure's frame; None is the whole frame.
        index : tuple
            Index of leading axes.
        dtype : str or None
            Wanted dtype; DQ extensions are also translated to the standard flags.
        out : numpy.ndarray or None
            Filled when given.

        Returns
        -------
        numpy.ndarray
            Native array.
        """
        hdu = self.hdu(name)
        dy, dx = self.offset(name)
        if box is None:
            ny, nx = self.frame or hdu.shape[-2:]
            box = (0, ny, 0, nx)
        box = (box[0] + dy, box[1] + dy, box[2] + dx, box[3] + dx)
        try:
            if self._is_striped(name):
                array = self._read_stripes(hdu, box, index, out)
            else:
                array = hdu.read(index=index or None, box=box, out=out)
        except JwcalError as exc:
            raise ReferenceFileError(str(exc)) from None
        if name.startswith("DQ") or name.endswith("DQ"):
            array = dqbits.translate(array.astype(np.uint32, copy=False), self.dq_pairs())
        if dtype is not None and array.dtype != np.dtype(dtype):
            array = array.astype(dtype)
        return array

    def dq_pairs(self):
        """Return the translation of this file's flags (see `jwcal.core.dq.translation`)."""
        if self._pairs is False:
            try:
                self._pairs = dqbits.translation(self.table("DQ_DEF"))
            except ReferenceFileError as exc:
                self._fail(exc)
        return self._pairs

    def close(self):
        """Close the file."""
        self.fits.close()

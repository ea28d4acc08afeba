"""Writing FITS: layout first, then tiles from any thread, then one commit."""

import math
import os
import re
import threading

import numpy as np

from jwcal.core.errors import OutputError
from jwcal.core.fits_layout import stored_type
from jwcal.core.fits_read import runs, scratch
from jwcal.core.handover import Piece
from jwcal.core.header import BLOCK, Header
from jwcal.core.spool import CHUNK, Gate, copy_range, output_error, pwrite_all, start_writing
from jwcal.core.target import open_target
from jwcal.kernels import swap

_STRUCTURE = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|NEXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|THEAP|TFIELDS"
    r"|CHECKSUM|DATASUM|T(TYPE|FORM|UNIT|DIM|SCAL|ZERO|NULL|DISP)\d+)\Z"
)
_COMMENTS = {
    "TTYPE": "name of the column",
    "TFORM": "format of the column",
    "TDIM": "shape of the cells",
    "TUNIT": "unit of the column",
    "TSCAL": "scale of the column",
    "TZERO": "offset of unsigned integers",
}
# Bytes after which what has been written goes to disk, so that little is left to wait for at the end.
AHEAD = 16 << 20


class Slot:
    """Place of one image in a file that is being written.

    Attributes
    ----------
    header : Header
        Values may change, and cards may be added as far as the block has room,
        until the file is committed.
    shape : tuple of int
    dtype : numpy.dtype
        Native type of the values.
    nbytes : int
        Size of the data [bytes].
    blocks : bytes
        Header as it has been written.

    Parameters
    ----------
    output : FitsOutput
        The file.
    header, shape, dtype
        As the attributes.
    start : int
        Place of the header in the file.
    over : HDU or None
        Image of another file over whose values those of this one are written.
    """

    def __init__(self, output, header, shape, dtype, start, over=None):
        self._output = output
        self.blocks = header.to_bytes()
        self._lock = threading.Lock()
        self._written = 0
        self.header = header
        self.shape = shape
        self.dtype = dtype
        self._start = start
        self._fd = None if over is None else over.fd
        self._offset = start + len(self.blocks) if over is None else over.offset
        if shape:
            self._bitpix, self._bzero = stored_type(dtype)
        self.nbytes = math.prod(shape) * dtype.itemsize if shape else 0

    def write(self, array):
        """Write the whole image.

        Parameters
        ----------
        array : numpy.ndarray
            Native array of the slot's shape and dtype.
        """
        if array.shape != self.shape:
            raise ValueError(f"array of shape {array.shape} for an image of shape {self.shape}")
        ny, nx = (1, *self.shape)[-2:]
        lead = self.shape[:-2]
        self._write((0, ny, 0, nx), array.reshape(*lead, ny, nx), lead, None)

    def write_tile(self, box, array, index=None):
        """Write a box of the last two axes; threads may write at the same time.

        Parameters
        ----------
        box : (y0, y1, x0, x1)
            Half-open range of rows and columns.
        array : (…, y1 - y0, x1 - x0) numpy.ndarray
            Native array of the slot's dtype, over all leading axes or the selected ones.
        index : int, slice or tuple of them, optional
            Selection along the leading axes.

        Raises
        ------
        OutputError
            If the disk is full or writing fails otherwise.
        """
        lead = self.shape[:-2]
        frames = None
        if index is not None:
            numbers = np.arange(math.prod(lead)).reshape(lead)[index]
            lead, frames = numbers.shape, numbers.reshape(-1).tolist()
        self._write(box, array, lead, frames)

    def _write(self, box, array, lead, frames):
        ny, nx = (1, *self.shape)[-2:]
        y0, y1, x0, x1 = box
        if not (0 <= y0 <= y1 <= ny and 0 <= x0 <= x1 <= nx) or array.shape != (*lead, y1 - y0, x1 - x0):
            raise ValueError(f"array of shape {array.shape} for box {box} of an image of shape {self.shape}")
        if array.dtype != self.dtype:
            array = array.astype(self.dtype, casting="safe")
        if not array.size:
            return
        size = self.dtype.itemsize
        numbers = range(math.prod(lead)) if frames is None else frames
        try:
            with self._output.gate:
                self._write_planes(array, list(numbers), box)
        except OSError as exc:
            raise output_error(self._output.label, exc) from None
        with self._lock:
            self._written += array.size * size
        self._output.wrote(array.size * size)

    def _write_planes(self, array, numbers, box):
        """Write planes that the leading axes count; `numbers` are their places in the image."""
        if array.ndim > 3:
            each = len(numbers) // len(array)
            for k, part in enumerate(array):
                self._write_planes(part, numbers[k * each : (k + 1) * each], box)
            return
        ny, nx = (1, *self.shape)[-2:]
        planes = array if array.ndim == 3 else array[None]
        fd = self._output.fd if self._fd is None else self._fd
        for first, last in runs(numbers, len(numbers)):
            part = planes[first:last]
            start = self._offset + numbers[first] * ny * nx * self.dtype.itemsize
            swap.write_planes(
                fd, start, ny, nx, self._bitpix, self._bzero, box, part, scratch(swap.write_buffer(part))
            )

    def close(self):
        """Write the header again if it has changed; check that the data are complete."""
        if self._written < self.nbytes:
            raise ValueError(
                f"{self._output.label}: {self._written} of {self.nbytes} bytes of an image written"
            )
        blocks = self.header.to_bytes(minimum=len(self.blocks))
        if len(blocks) > len(self.blocks):
            raise ValueError(f"{self._output.label}: a header has grown out of its blocks")
        if blocks != self.blocks:
            pwrite_all(self._output.fd, blocks, self._start)


class FitsOutput:
    """A FITS file or stream that is being written; see `create_fits`.

    Parameters
    ----------
    target : FileTarget, StreamTarget or GzipTarget
        Where the bytes go.
    """

    def __init__(self, target):
        self._target = target
        self._end = 0
        self._slots = []
        self._extensions = -1
        self._open = True
        self.gate = Gate()
        self.label = target.label
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def fd(self):
        """Descriptor to write to at positions."""
        return self._target.fd

    def wrote(self, nbytes):
        """Count bytes of images; now and then they go on their way to disk."""
        with self._lock:
            self._waiting += nbytes
            due = self._waiting >= AHEAD
            if due:
                self._waiting = 0
        if due and self._target.on_disk:
            start_writing(self.fd)

    def add(self, header=None, shape=None, dtype=None, name=None):
        """Add a header, and room for an image.

        Parameters
        ----------
        header : Header, optional
            Its structure keywords are made anew, the other cards are kept.
        shape : tuple of int, optional
            Shape of the image, NumPy order; None for no data.
        dtype : numpy.dtype or str, optional
            Native type; unsigned integers are stored with BZERO.
        name : str, optional
            Sets EXTNAME.

        Returns
        -------
        Slot
        """
        slot = self._slot(header, shape, dtype, name)
        self._append(slot.blocks, slot.nbytes)
        self._slots.append(slot)
        return slot

    def _slot(self, header, shape, dtype, name=None, over=None):
        shape = tuple(int(n) for n in shape or ())
        dtype = np.dtype(dtype if shape else "u1").newbyteorder("=")
        bitpix, bzero = stored_type(dtype)
        entries = [
            ("SIMPLE", True, "conforms to FITS standard")
            if self._extensions < 0
            else ("XTENSION", "IMAGE", "Image extension"),
            ("BITPIX", bitpix, "array data type"),
            ("NAXIS", len(shape), "number of array dimensions"),
        ]
        entries += [(f"NAXIS{i}", n, "") for i, n in enumerate(reversed(shape), 1)]
        if self._extensions < 0:
            entries += [("EXTEND", True, ""), ("NEXTEND", 0, "Number of standard extensions")]
        else:
            entries += [("PCOUNT", 0, "number of parameters"), ("GCOUNT", 1, "number of groups")]
        if bzero:
            entries += [("BSCALE", 1, ""), ("BZERO", bzero, "")]
        header = _prepared(header, entries, name)
        return Slot(self, header, shape, dtype, self._end, over)

    def add_over(self, header, hdu):
        """Add an image whose values are written over those of an open private file.

        A stream that passes through keeps its pages: taking new ones for every command of a
        pipe costs more than the work on them.

        Parameters
        ----------
        header : Header
            As for `add`.
        hdu : HDU
            Image of the same shape and stored type; its file must be `private`.

        Returns
        -------
        Slot or None
            None if this output or the image does not allow it.
        """
        if not (self._target.lends and hdu.private and hdu.kind == "image" and hdu.shape):
            return None
        if stored_type(hdu.dtype)[0] != hdu.bitpix or hdu.nbytes < CHUNK:
            return None
        slot = self._slot(header, hdu.shape, hdu.dtype, over=hdu)
        start = self._end + len(slot.blocks)
        self._append(slot.blocks, slot.nbytes)
        self._target.borrow(Piece(start, hdu.nbytes, hdu.fd, hdu.offset, private=True))
        self._slots.append(slot)
        return slot

    def add_table(self, name, rows, header=None, units=None):
        """Add a binary table.

        Parameters
        ----------
        name : str
            EXTNAME.
        rows : (nrows,) numpy.ndarray
            Structured array: bool, integers, floats, complex, text (ASCII), vectors of them.
        header : Header, optional
            Further cards; its column and structure keywords are made anew, but for the
            units of columns of the same name.
        units : dict of str to str, optional
            Unit by column.

        Returns
        -------
        callable
            Writes other rows, of the same number and dtype, in their place.

        Raises
        ------
        OutputError
            If FITS tables cannot hold a column.
        """
        from jwcal.core.fits_table import pack_table, table_columns

        if self._extensions < 0:
            raise ValueError("the primary header comes first")
        stored, columns = table_columns(rows.dtype)
        units = {**_old_units(header), **(units or {})}
        entries = [
            ("XTENSION", "BINTABLE", "binary table extension"),
            ("BITPIX", 8, "array data type"),
            ("NAXIS", 2, "number of array dimensions"),
            ("NAXIS1", stored.itemsize, "bytes in a row"),
            ("NAXIS2", len(rows), "number of rows"),
            ("PCOUNT", 0, "number of group parameters"),
            ("GCOUNT", 1, "number of groups"),
            ("TFIELDS", len(columns), "number of table fields"),
        ]
        for i, column in enumerate(columns, 1):
            unit = units.get(column[0][1])
            for key, value in column + ([("TUNIT", unit)] if unit else []):
                entries.append((f"{key}{i}", value, _COMMENTS[key]))
        blocks = _prepared(header, entries, name).to_bytes()
        start = self._end + len(blocks)
        self._append(blocks, stored.itemsize * len(rows))

        def fill(rows):
            data = pack_table(rows, stored)
            self._put(np.ascontiguousarray(data).view(np.uint8) if data.nbytes else b"", start)

        fill(rows)
        return fill

    def add_raw(self, header_bytes, file, offset, nbytes, *, private=False):
        """Add an extension as it is, byte for byte.

        Parameters
        ----------
        header_bytes : bytes
            Header blocks.
        file : int or object with ``fd``
            Open file that holds the data.
        offset, nbytes : int
            Place and size of the data, without padding.
        private : bool
            Whether those bytes are a copy of our own, which need not be kept.

        Raises
        ------
        OutputError
            If writing fails or the file is too short.
        """
        if self._extensions < 0:
            raise ValueError("the primary header comes first")
        if len(header_bytes) % BLOCK:
            raise ValueError("a header is made of whole blocks")
        source = file if isinstance(file, int) else file.fd
        start = self._end + len(header_bytes)
        self._append(header_bytes, nbytes)
        try:
            with self.gate:
                if nbytes >= CHUNK and os.fstat(source).st_size >= offset + nbytes and self._target.lends:
                    self._target.borrow(Piece(start, nbytes, source, offset, private))
                    return
                done = copy_range(source, offset, self.fd, start, nbytes)
        except OSError as exc:
            raise output_error(self.label, exc) from None
        if done < nbytes:
            raise OutputError(f"{self.label}: an extension to be copied has become shorter")

    def add_hdu(self, hdu):
        """Add an extension of an open file as it is; see `add_raw`."""
        self.add_raw(hdu.header_bytes(), hdu.fd, hdu.offset, hdu.nbytes, private=hdu.private)

    def _append(self, blocks, nbytes):
        """Write header blocks at the end and leave room for the data."""
        start = self._end
        end = start + len(blocks) + -(-nbytes // BLOCK) * BLOCK
        try:
            self.gate.exclusive(self._target.reserve, end)
        except OSError as exc:
            raise output_error(self.label, exc) from None
        self._put(blocks, start)
        self._end = end
        self._extensions += 1

    def _put(self, data, offset):
        try:
            with self.gate:
                pwrite_all(self.fd, data, offset)
        except OSError as exc:
            raise output_error(self.label, exc) from None

    def commit(self):
        """Complete the headers, bring everything to disk and give the file its name.

        Raises
        ------
        OutputError
            If writing fails, or the name has been taken meanwhile.
        BrokenPipeError
            If the output is a pipe without reader.
        """
        try:
            if self._extensions < 0:
                raise ValueError("a FITS file needs a primary header")
            self._slots[0].header.set("NEXTEND", self._extensions)
            for slot in self._slots:
                slot.close()
            os.ftruncate(self.fd, self._end)
            self._open = False
            self._target.finish(self._end)
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise output_error(self.label, exc) from None
        finally:
            self.abort()

    def abort(self):
        """Remove what has been written; after `commit` this does nothing."""
        self._open = False
        self._target.abort()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self._open:
            self.abort()


def _prepared(header, entries, name):
    keys = {key for key, _, _ in entries}
    header = Header() if header is None else header
    header = header.without(lambda key: key not in keys and _STRUCTURE.match(key) is not None)
    header.prepend(entries)
    header.announce_long_strings()
    if name is not None:
        header.set("EXTNAME", name, "extension name", after=entries[-1][0])
    return header


def _old_units(header):
    units = {}
    if header is not None:
        for key, value in header.items():
            if key.startswith("TTYPE"):
                unit = header.get("TUNIT" + key[5:])
                if unit:
                    units[value] = unit
    return units


def create_fits(path, overwrite=False):
    """Start a FITS file or stream that becomes visible only when it is complete.

    Parameters
    ----------
    path : str or os.PathLike
        Name; ``-`` is standard output.  A name in ``.gz`` is compressed.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Returns
    -------
    FitsOutput

    Raises
    ------
    OutputError
        If the file exists and may not be replaced, or cannot be made.
    UsageError
        If standard output is a terminal.
    """
    return FitsOutput(open_target(path, overwrite))

"""Reading FITS: structure checked at opening, planes read box by box with `pread`."""

import itertools
import logging
import threading

import numpy as np

from jwcal.core.errors import InputError
from jwcal.core.fits_layout import BITPIX, read_layout
from jwcal.core.header import BLOCK, CARD, Header
from jwcal.core.source import open_source
from jwcal.core.spool import CHUNK
from jwcal.kernels import swap

log = logging.getLogger(__name__)

_HEADER_STEP = 8 * BLOCK
_HEADER_LIMIT = 20000 * BLOCK
_local = threading.local()


def scratch(nbytes):
    """Byte buffer of this thread, valid until the thread asks again."""
    buffer = getattr(_local, "buffer", None)
    if buffer is None or buffer.size < nbytes:
        buffer = _local.buffer = np.empty(max(nbytes, CHUNK), np.uint8)
    return buffer[:nbytes]


class HDU:
    """One header and data unit of an open file.

    Attributes
    ----------
    name : str
        EXTNAME in capitals, "PRIMARY" for the first; empty if it has none.
    ver : int
        EXTVER, 1 if absent.
    header : Header
    kind : str
        "image", "table" or "other".
    shape : tuple of int
        NumPy order; rows of a table; empty without data.
    bitpix : int
    dtype : numpy.dtype
        Native type of the values.
    start, nbytes : int
        Place of the data in the stream and their size without padding [bytes].
    fd, offset : int
        Descriptor that holds the data, for copies of the bytes, and their place there.
    private : bool
        Whether the data are a copy of our own, which may be written over.
    label : str
        File and HDU for messages.
    """

    def __init__(self, source, header, layout, header_offset, start, label):
        self._source = source
        self._layout = layout
        self._header_offset = header_offset
        self.header = header
        self.start = start
        piece = source.place(start, layout.nbytes)
        self.fd, self.offset, self.private = piece.fd, piece.offset, piece.private
        self.label = label
        self.kind, self.shape, self.bitpix = layout.kind, layout.shape, layout.bitpix
        self.dtype, self.nbytes = layout.dtype, layout.nbytes
        self.name = _extname(header, primary=header_offset == 0)
        self.ver = _extver(header)

    def __repr__(self):
        return f"<HDU {self.name or '(no name)'} {self.kind} {self.shape} {self.dtype}>"

    def header_bytes(self):
        """Header blocks as they stand in the file."""
        buffer = np.empty(self.start - self._header_offset, np.uint8)
        self.fill(buffer, self._header_offset)
        return buffer.tobytes()

    def fill(self, buffer, offset):
        """Fill a byte buffer from a place in the stream; a lack of bytes is an `InputError`."""
        try:
            got = self._source.fill(buffer, offset)
        except OSError as exc:
            raise InputError(f"{self.label}: cannot read: {exc.strerror or exc}") from None
        if got < buffer.nbytes:
            raise InputError(f"{self.label}: the file has become shorter while it was read")

    def raw(self):
        """Bytes of the data (uint8 array), table heap included."""
        buffer = np.empty(self.nbytes, np.uint8)
        self.fill(buffer, self.start)
        return buffer

    def table(self):
        """Rows of a binary table; see `jwcal.core.fits_table.read_table`.

        Raises
        ------
        InputError
            If this is no binary table, or its columns make no sense.
        """
        from jwcal.core.fits_table import read_table

        if self.kind != "table":
            raise InputError(f"{self.label}: is not a binary table")
        if self.header.get("ZTABLE") is True:
            raise InputError(f"{self.label}: compressed tables are not supported; run funpack first")
        rows = np.empty(self.header["NAXIS1"] * self.header["NAXIS2"], np.uint8)
        self.fill(rows, self.start)
        return read_table(rows, self.header, self.label)

    def read(self, index=None, box=None, out=None):
        """Read an image, or part of it.

        Parameters
        ----------
        index : int, slice or tuple of them, optional
            Selection along the leading axes (all but the last two); an integer
            drops its axis.
        box : (y0, y1, x0, x1), optional
            Half-open range of rows and columns of the last two axes.
        out : numpy.ndarray, optional
            Native array to fill, of the resulting shape and with contiguous rows.

        Returns
        -------
        numpy.ndarray
            Native array; of `dtype` unless `out` was given.

        Raises
        ------
        InputError
            If this is no image, it holds no data, or the values do not fit the dtype of `out`.
        """
        if self.kind != "image":
            raise InputError(f"{self.label}: is not an image")
        if not self.shape:
            raise InputError(f"{self.label}: holds no data")
        lead, frames = self._frames(index)
        ny, nx = self._plane()
        y0, y1, x0, x1 = box if box is not None else (0, ny, 0, nx)
        if not (0 <= y0 <= y1 <= ny and 0 <= x0 <= x1 <= nx):
            raise ValueError(f"{self.label}: box {box} is not inside {ny} rows, {nx} columns")
        inner = (y1 - y0, x1 - x0)[2 - min(len(self.shape), 2) :]
        if out is None:
            out = np.empty(lead + inner, self.dtype)
        elif out.shape != lead + inner:
            raise ValueError(f"{self.label}: array of shape {out.shape} for data of shape {lead + inner}")
        if out.size:
            self._read_frames(frames, (y0, y1, x0, x1), out.reshape((*lead, y1 - y0, x1 - x0)), lead)
        return out

    def read_tile(self, box, out):
        """Read a box of the last two axes over all leading axes.

        Parameters
        ----------
        box : (y0, y1, x0, x1)
            Half-open range of rows and columns.
        out : (…, y1 - y0, x1 - x0) numpy.ndarray
            Native array to fill; planes contiguous, other strides free.

        Returns
        -------
        numpy.ndarray
            `out`.
        """
        if len(self.shape) < 2:
            raise InputError(f"{self.label}: has {len(self.shape)} axes, an image plane needs 2")
        return self.read(box=box, out=out)

    def _plane(self):
        return (1, 1, *self.shape)[-2:] if self.shape else (0, 0)

    def _frames(self, index):
        """Shape of the leading axes and the numbers of the selected planes."""
        lead = self.shape[:-2]
        index = () if index is None else index if isinstance(index, tuple) else (index,)
        if len(index) > len(lead):
            raise ValueError(f"{self.label}: {len(index)} indices for {len(lead)} leading axes")
        count = 1
        for n in lead:
            count *= n
        if not index:
            return lead, range(count)
        numbers = np.arange(count).reshape(lead)[index]
        return numbers.shape, numbers.reshape(-1).tolist()

    def _read_frames(self, frames, box, out, lead):
        if not out.dtype.isnative:
            raise ValueError(f"{self.label}: the array to fill is not of native byte order")
        y0, y1, x0, x1 = box
        plane = (y1 - y0) * (x1 - x0)
        if out.flags.c_contiguous:
            flat = out.reshape(len(frames), plane)
            step = max(1, CHUNK // max(plane * abs(self.bitpix) // 8, 1))
            for first, last in runs(frames, step):
                self._read_run(frames[first], last - first, box, flat[first:last].reshape(-1))
            return
        if (y1 - y0 == 1 or (x0, x1) == (0, self._plane()[1])) and self._fits_planes(out):
            parts = out if out.ndim > 3 else out[None]
            each = len(frames) // len(parts)
            for k, part in enumerate(parts):
                mine = frames[k * each : (k + 1) * each]
                for first, last in runs(mine, len(mine)):
                    self._read_planes(mine[first], box, part.reshape(-1, *part.shape[-2:])[first:last])
            return
        for number, where in zip(frames, itertools.product(*map(range, lead)), strict=True):
            target = out[where]
            if target.flags.c_contiguous:
                self._read_run(number, 1, box, target.reshape(-1))
            else:
                packed = np.empty(plane, out.dtype)
                self._read_run(number, 1, box, packed)
                target[...] = packed.reshape(target.shape)

    def _fits_planes(self, out):
        """Whether planes that lie apart can be filled in one call."""
        plain = out.dtype == self.dtype or (self.bitpix == 16 and out.dtype == np.float32)
        return (
            plain
            and not self._layout.scaled
            and 3 <= out.ndim <= 4
            and out[(0,) * (out.ndim - 2)].flags.c_contiguous
        )

    def _read_planes(self, number, box, out):
        ny, nx = self._plane()
        size = abs(self.bitpix) // 8
        offset = self.offset + ((number * ny + box[0]) * nx + box[2]) * size
        try:
            got = swap.read_planes(self.fd, offset, ny * nx * size, self.bitpix, self._layout.bzero, out)
        except OSError as exc:
            raise InputError(f"{self.label}: cannot read: {exc.strerror or exc}") from None
        if got < out.size * size:
            raise InputError(f"{self.label}: the file has become shorter while it was read")

    def _read_run(self, number, count, box, out):
        """Read the box of `count` planes that follow each other into a flat array, in pieces."""
        ny, nx = self._plane()
        y0, y1, x0, x1 = box
        size = abs(self.bitpix) // 8
        rows = max(1, CHUNK // ((x1 - x0) * size)) if count == 1 else y1 - y0
        direct = out.dtype == self.dtype and out.dtype.itemsize == size and not self._layout.scaled
        for y in range(y0, y1, rows):
            stop = min(y + rows, y1)
            part = out[(y - y0) * (x1 - x0) : (stop - y0) * (x1 - x0)] if count == 1 else out
            raw = part.view(np.uint8) if direct else scratch(part.size * size)
            offset = self.offset + number * ny * nx * size
            try:
                got = swap.read_box(
                    self.fd, offset, ny, nx, size, count, ny * nx * size, y, stop, x0, x1, raw
                )
            except OSError as exc:
                raise InputError(f"{self.label}: cannot read: {exc.strerror or exc}") from None
            if got < raw.size:
                raise InputError(f"{self.label}: the file has become shorter while it was read")
            self._decode(raw, part)

    def _decode(self, raw, out):
        layout = self._layout
        if layout.scaled:
            out[...] = _cast(self._rescale(raw), out.dtype, self.label)
        elif out.dtype == self.dtype:
            if self.bitpix != 8 or layout.bzero:
                swap.decode(raw, self.bitpix, layout.bzero, out)
            elif not np.shares_memory(raw, out):
                out[...] = raw
        elif out.dtype.kind == "f":
            swap.decode(raw, self.bitpix, layout.bzero, out)
        else:
            exact = np.empty(out.size, self.dtype)
            swap.decode(raw, self.bitpix, layout.bzero, exact)
            out[...] = _cast(exact, out.dtype, self.label)

    def _rescale(self, raw):
        layout = self._layout
        stored = raw.view(np.dtype(BITPIX[self.bitpix]).newbyteorder(">"))
        values = stored.astype("f8") * layout.bscale + layout.bzero
        if layout.blank is not None:
            values[stored == layout.blank] = np.nan
        return values.astype(self.dtype)


def runs(frames, step):
    """Split a list of numbers into pieces of at most `step` that follow each other."""
    first = 0
    for i in range(1, len(frames) + 1):
        if i == len(frames) or i - first == step or frames[i] != frames[i - 1] + 1:
            yield first, i
            first = i


def _cast(values, dtype, label):
    """Values in another dtype; equal width only changes the sign, other losses are errors."""
    same_bits = values.dtype.kind in "iu" and dtype.kind in "iu" and values.dtype.itemsize == dtype.itemsize
    if np.can_cast(values.dtype, dtype) or same_bits or dtype.kind == "f":
        return values.astype(dtype)
    with np.errstate(invalid="ignore"):
        cast = values.astype(dtype)
    if values.dtype.kind == "f" or not np.array_equal(cast, values):
        raise InputError(f"{label}: {values.dtype} values do not fit {dtype}")
    return cast


def _extname(header, primary):
    try:
        name = header.get("EXTNAME")
    except InputError:
        name = None
    if isinstance(name, str) and name.strip():
        return name.strip().upper()
    return "PRIMARY" if primary else ""


def _extver(header):
    try:
        ver = header.get("EXTVER", 1)
    except InputError:
        return 1
    return ver if isinstance(ver, int) else 1


class FitsFile:
    """An open FITS file or stream whose structure has been checked.

    Parameters
    ----------
    source : Source
        Where the bytes are; closed with the file.

    Attributes
    ----------
    hdus : list of HDU
    label : str
        File name, or "standard input".
    """

    def __init__(self, source):
        self.label = source.label
        self._source = source
        self.hdus = _scan(source)
        self._by_name: dict[str | tuple[str, int], HDU] = {}
        for hdu in self.hdus:
            self._by_name.setdefault(hdu.name, hdu)
            self._by_name.setdefault((hdu.name, hdu.ver), hdu)
        if source.stream:
            self.check_sums()

    def check_sums(self):
        """Compare the data with DATASUM where it is given: a pipe has no other witness of damage."""
        for hdu in self.hdus:
            try:
                wanted = int(hdu.header.get("DATASUM", -1))
            except (InputError, ValueError, TypeError):
                continue
            if wanted < 0:
                continue
            total = 0
            for start in range(0, hdu.nbytes, CHUNK):
                part = scratch(min(CHUNK, hdu.nbytes - start))
                hdu.fill(part, hdu.start + start)
                total = swap.datasum(part, total)
            if total != wanted:
                raise InputError(f"{hdu.label}: damaged: the data do not match their DATASUM")

    @property
    def primary(self):
        """First HDU."""
        return self.hdus[0]

    def get(self, name, ver=None):
        """HDU by name, or None; of several the first unless `ver` says which."""
        name = name.upper()
        return self._by_name.get(name if ver is None else (name, ver))

    def __contains__(self, name):
        return self.get(*name) is not None if isinstance(name, tuple) else self.get(name) is not None

    def __getitem__(self, name):
        """HDU by name, by (name, EXTVER) or by number.

        Raises
        ------
        InputError
            If there is none.
        """
        if isinstance(name, int):
            return self.hdus[name]
        hdu = self.get(*name) if isinstance(name, tuple) else self.get(name)
        if hdu is None:
            raise InputError(f"{self.label}: no {name if isinstance(name, str) else name[0]} extension")
        return hdu

    def __iter__(self):
        return iter(self.hdus)

    def __len__(self):
        return len(self.hdus)

    def close(self):
        """Close the file."""
        self._source.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _scan(source):
    hdus: list[HDU] = []
    position = 0
    while True:
        rest = source.size - position
        if hdus:
            first = _read_at(source, position, min(rest, CARD))
            if not first or b"XTENSION="[: len(first)] != first[:9]:
                if first.strip(b"\0 "):
                    log.warning("%s: %d bytes behind the last HDU are ignored", source.label, rest)
                break
        hdu = _read_hdu(source, position, len(hdus))
        hdus.append(hdu)
        position = hdu.start + -(-hdu.nbytes // BLOCK) * BLOCK
        if position > source.size:
            have = max(source.size - hdu.start, 0)
            raise InputError(
                f"{hdu.label}: truncated: the data need {position - hdu.start} bytes, the file has {have}"
            )
    if any(source.place(hdu.start, hdu.nbytes).count < hdu.nbytes for hdu in hdus):
        source.join()
        return _scan(source)
    promised = hdus[0].header.get("NEXTEND", 0)
    if isinstance(promised, bool) or not isinstance(promised, int):
        raise InputError(f"{source.label}: NEXTEND is {promised!r}, not an integer")
    if promised > len(hdus) - 1:
        raise InputError(
            f"{source.label}: truncated: {len(hdus) - 1} extensions, the header says {promised} (NEXTEND)"
        )
    return hdus


def _read_hdu(source, position, number):
    block = _read_header(source, position, number)
    label = f"{source.label}[{number}]"
    header = Header.from_bytes(block, label)
    name = _extname(header, primary=number == 0)
    label = header.label = f"{source.label}[{name}]" if name else label
    if number == 0:
        if header["SIMPLE"] is not True:
            raise InputError(f"{label}: SIMPLE is not T; not a standard FITS file")
    elif not isinstance(header["XTENSION"], str):
        raise InputError(f"{label}: XTENSION is {header['XTENSION']!r}, not a text")
    layout = read_layout(header, label, primary=number == 0)
    return HDU(source, header, layout, position, position + len(block), label)


def _read_header(source, position, number):
    """Bytes of the header that starts at a position, whole blocks."""
    where = f"{source.label}[{number}]"
    data = b""
    checked = 0
    while True:
        part = _read_at(source, position + len(data), _HEADER_STEP)
        data += part
        end = _find_end(data, checked, where)
        if end >= 0:
            size = -(-(end + CARD) // BLOCK) * BLOCK
            if size > len(data):
                data += _read_at(source, position + len(data), size - len(data))
            if size > len(data):
                raise InputError(f"{where}: truncated inside the header")
            return data[:size]
        checked = len(data) - len(data) % CARD
        if len(part) < _HEADER_STEP:
            raise InputError(f"{where}: truncated inside the header: no END in {len(data)} bytes")
        if len(data) > _HEADER_LIMIT:
            raise InputError(f"{where}: not FITS: no END in {len(data)} bytes of header")


def _find_end(data, start, where):
    """Place of the END card, or -1; a second first card means that END is damaged."""
    for at in range(start, len(data) - CARD + 1, CARD):
        key = data[at : at + 8]
        if key == b"END     ":
            return at
        if at and key in {b"XTENSION", b"SIMPLE  "} and data[at + 8 : at + 10] == b"= ":
            raise InputError(f"{where}: damaged header: another HDU starts before END")
    return -1


def _read_at(source, offset, count):
    buffer = np.empty(max(min(count, source.size - offset), 0), np.uint8)
    try:
        got = source.fill(buffer, offset) if buffer.size else 0
    except OSError as exc:
        raise InputError(f"{source.label}: cannot read: {exc.strerror or exc}") from None
    return buffer[:got].tobytes()


def _sniff(first, label):
    """Whether the first bytes are gzip; refuse what is neither that nor FITS."""
    if first[:2] == b"\x1f\x8b":
        return True
    if not first:
        if label == "standard input":
            raise InputError("standard input: no input (did the upstream command fail?)")
        raise InputError(f"{label}: is empty")
    if first[:9] != b"SIMPLE  =":
        raise InputError(f"{label}: not a FITS file")
    return False


def open_fits(path):
    """Open a FITS file or stream and check its structure.

    Parameters
    ----------
    path : str or os.PathLike
        Name; ``-`` is standard input.  Pipes are taken in whole, into memory or,
        beyond 512 MB, a temporary file.  Data compressed by gzip or by tiles
        (``.fz``) are unpacked.

    Returns
    -------
    FitsFile

    Raises
    ------
    InputError
        If there is no such file, it is not FITS, truncated or damaged.
    UsageError
        If standard input is a terminal.
    """
    source = open_source(path, _sniff)
    try:
        file = FitsFile(source)
        if any(hdu.header.get("ZIMAGE") is True for hdu in file.hdus if hdu.kind == "table"):
            from jwcal.core.fits_unpack import unpack

            file.check_sums()
            file = FitsFile(unpack(file, source))
    except BaseException:
        source.close()
        raise
    return file


def read_primary_header(path):
    """Read only the first header of a FITS file.

    Parameters
    ----------
    path : str or os.PathLike
        Name of a file; gzip-compressed files are unpacked only as far as needed.

    Returns
    -------
    Header

    Raises
    ------
    InputError
        If it is not FITS.
    """
    import os

    path = os.fspath(path)
    if path.endswith(".gz"):
        return _primary_of_gzip(path)
    source = open_source(path, _sniff)
    try:
        return _read_hdu(source, 0, 0).header
    finally:
        source.close()


def _primary_of_gzip(path):
    import gzip
    import zlib

    data = b""
    try:
        with gzip.open(path) as file:
            while part := file.read(BLOCK):
                data += part
                if _find_end(data, 0, path) >= 0:
                    header = Header.from_bytes(data, path)
                    if not data.startswith(b"SIMPLE  ="):
                        break
                    return header
                if len(data) > _HEADER_LIMIT:
                    break
    except (OSError, EOFError, zlib.error) as exc:
        raise InputError(f"{path}: cannot read: {exc}") from None
    raise InputError(f"{path}: not a FITS file")

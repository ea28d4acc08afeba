"""Big-endian FITS buffers to native arrays and back, checksums, box reads.

All functions come as C and as a NumPy twin (``*_numpy``) with the same result.
"""

import ctypes
import os

import numpy as np

from jwcal.kernels._lib import native, ptr

_RAW = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_OFFSET = {8: -128, 16: 1 << 15, 32: 1 << 31, 64: 1 << 63}
_PLAIN = {8: "u1", 16: "i2", 32: "i4", 64: "i8", -32: "f4", -64: "f8"}
# As in the compiled version: values encoded at once.
_PIECE = 1 << 16
_SHIFTED = {8: "i1", 16: "u2", 32: "u4", 64: "u8"}


def native_dtype(bitpix, bzero=0):
    """Native dtype that holds a FITS image exactly.

    Parameters
    ----------
    bitpix : int
        FITS BITPIX.
    bzero : int or float
        0, or the offset that turns signed integers into unsigned ones
        (2**15, 2**31, 2**63; -128 for signed bytes).

    Returns
    -------
    numpy.dtype

    Raises
    ------
    ValueError
        For another BITPIX or offset.
    """
    if bitpix in _PLAIN and not bzero:
        return np.dtype(_PLAIN[bitpix])
    if bitpix in _SHIFTED and bzero == _OFFSET[bitpix]:
        return np.dtype(_SHIFTED[bitpix])
    raise ValueError(f"no exact native dtype for BITPIX {bitpix} with BZERO {bzero}")


def _bytes(buffer):
    raw = np.frombuffer(buffer, dtype=np.uint8) if not isinstance(buffer, np.ndarray) else buffer
    if not raw.flags.c_contiguous:
        raise ValueError("byte buffer must be contiguous")
    return raw.reshape(-1).view(np.uint8)


def _call(name, src, dst, n, flag):
    getattr(native(), name)(ptr(src), ptr(dst), ctypes.c_ssize_t(n), ctypes.c_uint32(flag))
    return dst


def _flip(bitpix, bzero):
    return (1 << (min(abs(bitpix), 32) - 1)) if bzero and bitpix != 8 else 0


def _check(raw, bitpix, array):
    if not array.flags.c_contiguous or not array.dtype.isnative:
        raise ValueError("array must be contiguous and of native byte order")
    if raw.size != array.size * (abs(bitpix) // 8):
        raise ValueError(f"{raw.size} bytes do not hold {array.size} values of BITPIX {bitpix}")


def decode(raw, bitpix, bzero, out):
    """Fill a native array from the big-endian bytes of a FITS image.

    Parameters
    ----------
    raw : bytes-like or uint8 numpy.ndarray
        FITS data without padding.
    bitpix : int
        FITS BITPIX.
    bzero : int or float
        0 or the offset of unsigned integers; see `native_dtype`.
    out : numpy.ndarray
        C-contiguous native array to fill: the exact dtype, or any dtype the
        values can be cast to (float32 from 16-bit integers is a fast path).
        May share its memory with `raw` when the item sizes agree.

    Returns
    -------
    numpy.ndarray
        `out`.

    Raises
    ------
    ValueError
        If sizes, layout or offset do not fit.
    """
    raw = _bytes(raw)
    _check(raw, bitpix, out)
    exact = native_dtype(bitpix, bzero)
    if native() is not None and bitpix != 8:
        if out.dtype == exact:
            return _call(f"jw_decode{exact.itemsize}", raw, out, out.size, _flip(bitpix, bzero))
        if bitpix == 16 and out.dtype == np.float32 and not np.shares_memory(raw, out):
            return _call("jw_decode_i2f4", raw, out, out.size, 1 if bzero else 0)
    return decode_numpy(raw, bitpix, bzero, out)


def decode_numpy(raw, bitpix, bzero, out):
    """NumPy twin of `decode`."""
    raw = _bytes(raw)
    _check(raw, bitpix, out)
    exact = native_dtype(bitpix, bzero)
    values = raw.view(_RAW[bitpix]).astype(np.dtype(_PLAIN[bitpix])).view(exact)
    if exact.kind in "iu" and bzero:
        values ^= np.array(1 << (abs(bitpix) - 1), dtype=f"u{exact.itemsize}").view(exact)
    out.reshape(-1)[...] = values
    return out


def encode(array, bitpix, bzero, out):
    """Write a native array as the big-endian bytes of a FITS image.

    Parameters
    ----------
    array : numpy.ndarray
        C-contiguous native array; its dtype must be the one `native_dtype`
        gives for `bitpix` and `bzero`.
    bitpix : int
        FITS BITPIX.
    bzero : int or float
        0 or the offset of unsigned integers.
    out : uint8 numpy.ndarray or writable buffer
        Receives ``array.nbytes`` bytes; may be the memory of `array` itself.

    Returns
    -------
    numpy.ndarray
        `out` as a uint8 array.

    Raises
    ------
    ValueError
        If sizes, layout, dtype or offset do not fit.
    """
    out = _encode_target(array, bitpix, bzero, out)
    if native() is not None and bitpix != 8:
        return _call(f"jw_encode{array.itemsize}", array, out, array.size, _flip(bitpix, bzero))
    return encode_numpy(array, bitpix, bzero, out)


def encode_numpy(array, bitpix, bzero, out):
    """NumPy twin of `encode`."""
    out = _encode_target(array, bitpix, bzero, out)
    bits = array.reshape(-1).view(f"u{array.itemsize}")
    if array.dtype.kind in "iu" and bzero:
        bits = bits ^ np.array(1 << (abs(bitpix) - 1), dtype=bits.dtype)
    out[...] = bits.astype(f">u{array.itemsize}").view(np.uint8)
    return out


def _encode_target(array, bitpix, bzero, out):
    out = _bytes(out)
    _check(out, bitpix, array)
    if array.dtype != native_dtype(bitpix, bzero):
        raise ValueError(f"{array.dtype} cannot be stored as BITPIX {bitpix} with BZERO {bzero}")
    if not out.flags.writeable:
        raise ValueError("output buffer is read-only")
    return out


def datasum(buffer, start=0):
    """FITS ones' complement sum of 32-bit big-endian words.

    Parameters
    ----------
    buffer : bytes-like or contiguous numpy.ndarray
        Bytes to add; a length that is no multiple of 4 is padded with zeros.
    start : int
        Sum of the bytes before (whose number must be a multiple of 4).

    Returns
    -------
    int
        Sum in 0 … 2**32 - 1 (FITS standard 4.0, appendix J).
    """
    raw = _bytes(buffer)
    lib = native()
    if lib is None:
        return datasum_numpy(raw, start)
    function = lib.jw_datasum
    function.restype = ctypes.c_uint32
    return function(ptr(raw), ctypes.c_ssize_t(raw.size), ctypes.c_uint32(start))


def datasum_numpy(buffer, start=0):
    """NumPy twin of `datasum`."""
    raw = _bytes(buffer)
    whole = raw.size // 4 * 4
    total = int(start) + int(raw[:whole].view(">u4").sum(dtype=np.uint64))
    tail = raw[whole:].tobytes()
    if tail:
        total += int.from_bytes(tail.ljust(4, b"\0"), "big")
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def read_box(fd, offset, plane_ny, plane_nx, itemsize, nplanes, plane_stride, y0, y1, x0, x1, out):
    """Read the same box of many planes of a file, packed.

    Parameters
    ----------
    fd : int
        Descriptor of a seekable file; its position is neither used nor moved.
    offset : int
        Byte offset of the first plane.
    plane_ny, plane_nx : int
        Rows and columns of a plane.
    itemsize : int
        Bytes per pixel.
    nplanes : int
        Number of planes.
    plane_stride : int
        Bytes from one plane to the next.
    y0, y1, x0, x1 : int
        Half-open box in the plane.
    out : uint8 numpy.ndarray or writable buffer
        At least ``nplanes * (y1 - y0) * (x1 - x0) * itemsize`` bytes.

    Returns
    -------
    int
        Bytes read; fewer than wanted when the file ends early.

    Raises
    ------
    OSError
        If the read fails.
    ValueError
        If the box leaves the plane or `out` is too small.
    """
    out = _box_target(plane_ny, plane_nx, itemsize, nplanes, y0, y1, x0, x1, out)
    lib = native()
    if lib is None:
        return read_box_numpy(
            fd, offset, plane_ny, plane_nx, itemsize, nplanes, plane_stride, y0, y1, x0, x1, out
        )
    function = lib.jw_read_box
    function.restype = ctypes.c_ssize_t
    sizes = [ctypes.c_ssize_t(v) for v in (plane_nx, itemsize, nplanes)]
    box = [ctypes.c_ssize_t(v) for v in (y0, y1, x0, x1)]
    got = function(
        ctypes.c_int(fd), ctypes.c_int64(offset), *sizes, ctypes.c_int64(plane_stride), *box, ptr(out)
    )
    if got < 0:
        raise OSError(-got, os.strerror(-got))
    return got


def read_box_numpy(fd, offset, plane_ny, plane_nx, itemsize, nplanes, plane_stride, y0, y1, x0, x1, out):
    """Twin of `read_box` by `os.pread`."""
    out = _box_target(plane_ny, plane_nx, itemsize, nplanes, y0, y1, x0, x1, out)
    whole = x0 == 0 and x1 == plane_nx
    chunk = (x1 - x0) * itemsize * (y1 - y0 if whole else 1)
    total = 0
    for p in range(nplanes):
        for y in range(y0, y0 + 1 if whole else y1):
            at = offset + p * plane_stride + (y * plane_nx + x0) * itemsize
            done = 0
            while done < chunk:
                part = os.pread(fd, chunk - done, at + done)
                if not part:
                    return total
                out[total : total + len(part)] = np.frombuffer(part, np.uint8)
                done += len(part)
                total += len(part)
    return total


def _box_target(plane_ny, plane_nx, itemsize, nplanes, y0, y1, x0, x1, out):
    out = _bytes(out)
    if not (0 <= y0 < y1 <= plane_ny and 0 <= x0 < x1 <= plane_nx):
        raise ValueError(f"box {(y0, y1, x0, x1)} is not inside {plane_ny} rows, {plane_nx} columns")
    if out.size < nplanes * (y1 - y0) * (x1 - x0) * itemsize or not out.flags.writeable:
        raise ValueError("output buffer is too small or read-only")
    return out


def read_planes(fd, offset, plane_stride, bitpix, bzero, out):
    """Read and decode a run of pixels of many planes of a file.

    Parameters
    ----------
    fd : int
        Descriptor of a seekable file; its position is neither used nor moved.
    offset : int
        Byte offset of the run in the first plane.
    plane_stride : int
        Bytes from one plane to the next.
    bitpix : int
        FITS BITPIX.
    bzero : int or float
        0 or the offset of unsigned integers; see `native_dtype`.
    out : (nplanes, ny, nx) numpy.ndarray
        Native array to fill, each plane contiguous; the exact dtype, or float32 for 16-bit integers.

    Returns
    -------
    int
        Bytes read; fewer than wanted when the file ends early.

    Raises
    ------
    OSError
        If the read fails.
    ValueError
        If layout, dtype or offset do not fit.
    """
    exact = native_dtype(bitpix, bzero)
    to_float = bitpix == 16 and out.dtype == np.float32
    if out.ndim != 3 or not out.dtype.isnative or not (out.dtype == exact or to_float):
        raise ValueError(f"{out.dtype} array of {out.ndim} axes for planes of BITPIX {bitpix}")
    if len(out) and not out[0].flags.c_contiguous:
        raise ValueError("planes must be contiguous")
    lib = native()
    if lib is None or (bitpix == 8 and bzero):
        return read_planes_numpy(fd, offset, plane_stride, bitpix, bzero, out)
    flip = (1 if bzero else 0) if to_float else _flip(bitpix, bzero)
    function = lib.jw_read_planes
    function.restype = ctypes.c_ssize_t
    got = function(
        ctypes.c_int(fd), ctypes.c_int64(offset), *_sizes(out[0].size if len(out) else 0, exact.itemsize, len(out)),
        ctypes.c_int64(plane_stride), ctypes.c_uint32(flip), ctypes.c_int(to_float), ptr(out), *_sizes(out.strides[0]),
    )  # fmt: skip
    if got < 0:
        raise OSError(-got, os.strerror(-got))
    return got


def read_planes_numpy(fd, offset, plane_stride, bitpix, bzero, out):
    """NumPy twin of `read_planes`."""
    total = 0
    for number, plane in enumerate(out):
        raw = np.empty(plane.size * abs(bitpix) // 8, np.uint8)
        got = read_box_numpy(
            fd, offset + number * plane_stride, 1, raw.size, 1, 1, raw.size, 0, 1, 0, raw.size, raw
        )
        total += got
        if got < raw.size:
            break
        decode_numpy(raw, bitpix, bzero, plane.reshape(-1))
    return total


def write_planes(fd, offset, plane_ny, plane_nx, bitpix, bzero, box, array, buffer):
    """Encode and write the same box of successive planes of a file.

    Parameters
    ----------
    fd : int
        Descriptor of a seekable file.
    offset : int
        Byte offset of the first plane.
    plane_ny, plane_nx : int
        Rows and columns of a plane.
    bitpix, bzero : int
        What is stored; see `native_dtype`.
    box : (y0, y1, x0, x1)
        Half-open range of rows and columns.
    array : (nplanes, y1 - y0, x1 - x0) numpy.ndarray
        Native values of that exact dtype, contiguous along the last axis.
    buffer : uint8 numpy.ndarray
        Work space of at least `write_buffer` bytes.

    Raises
    ------
    OSError
        If writing fails.
    ValueError
        If layout, dtype or offset do not fit.
    """
    y0, y1, x0, x1 = box
    exact = native_dtype(bitpix, bzero)
    if array.dtype != exact or not array.dtype.isnative:
        raise ValueError(f"{array.dtype} array for planes of BITPIX {bitpix}, BZERO {bzero}")
    if array.shape[1:] != (y1 - y0, x1 - x0) or not (0 <= y0 < y1 <= plane_ny and 0 <= x0 < x1 <= plane_nx):
        raise ValueError(f"array of shape {array.shape} for box {box} of {plane_ny} rows, {plane_nx} columns")
    lib = native()
    strided = array.shape[2] == 1 or array.strides[2] == array.itemsize
    if lib is None or not strided or buffer.nbytes < write_buffer(array):
        write_planes_numpy(fd, offset, plane_ny, plane_nx, bitpix, bzero, box, array, buffer)
        return
    flip = 128 if bitpix == 8 and bzero else _flip(bitpix, bzero)
    function = lib.jw_write_planes
    function.restype = ctypes.c_ssize_t
    status = function(
        ctypes.c_int(fd), ctypes.c_int64(offset), *_sizes(plane_nx, exact.itemsize, len(array)),
        ctypes.c_int64(plane_ny * plane_nx * exact.itemsize), *_sizes(*box), ctypes.c_uint32(flip), ptr(array),
        *_sizes(*array.strides[:2]), ptr(buffer),
    )  # fmt: skip
    if status < 0:
        raise OSError(-status, os.strerror(-status))


def write_planes_numpy(fd, offset, plane_ny, plane_nx, bitpix, bzero, box, array, buffer):
    """NumPy twin of `write_planes`; it needs no work space."""
    y0, y1, x0, x1 = box
    size = array.itemsize
    for number, plane in enumerate(array):
        raw = np.empty(plane.nbytes, np.uint8)
        encode_numpy(np.ascontiguousarray(plane), bitpix, bzero, raw)
        whole = x1 - x0 == plane_nx
        rows = raw.reshape(1 if whole else y1 - y0, -1)
        for k, row in enumerate(rows):
            at = offset + (number * plane_ny * plane_nx + (y0 + k) * plane_nx + x0) * size
            done = 0
            while done < row.size:
                done += os.pwrite(fd, row[done:].tobytes(), at + done)


def write_buffer(array):
    """Bytes of work space that `write_planes` needs for an array."""
    return max(_PIECE, array.shape[-1]) * array.itemsize


def _sizes(*values):
    return [ctypes.c_ssize_t(v) for v in values]

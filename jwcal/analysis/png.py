"""A PNG writer for eight-bit colour pictures; PNG specification, third edition (W3C, 2025)."""

import struct
import zlib

import numpy as np


def encode_png(rgb, text=None):
    """Encode a picture as PNG.

    Parameters
    ----------
    rgb : (ny, nx, 3) uint8 numpy.ndarray
        Picture, first row on top.
    text : dict of str to str, optional
        Latin-1 texts to store with it, such as ``{"Title": "..."}``.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If the array is not such a picture.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ValueError(f"not a picture: {rgb.shape} {rgb.dtype}")
    ny, nx = rgb.shape[:2]
    rows = np.zeros((ny, 1 + 3 * nx), np.uint8)
    rows[:, 1:] = rgb.reshape(ny, 3 * nx)
    parts = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", struct.pack(">IIBBBBB", nx, ny, 8, 2, 0, 0, 0))]
    for key, value in (text or {}).items():
        body = key.encode("latin-1")[:79] + b"\0" + value.encode("latin-1", "replace").replace(b"\0", b"")
        parts.append(_chunk(b"tEXt", body))
    parts += [_chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

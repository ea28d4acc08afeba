"""A PNG writer for eight-bit colour pictures; PNG specification, third edition (W3C, 2025)."""

import struct
import zlib

import numpy as np

# Colours that fit into a list, with which a picture is a third as large.
_PALETTE = 256


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
    packed = (rgb.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=2, dtype=np.uint32)
    colours, numbers = np.unique(packed, return_inverse=True)
    listed = len(colours) <= _PALETTE
    samples = numbers.reshape(ny, nx).astype(np.uint8) if listed else rgb.reshape(ny, 3 * nx)
    rows = np.zeros((ny, 1 + samples.shape[1]), np.uint8)
    rows[:, 1:] = samples
    kind = 3 if listed else 2
    parts = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", struct.pack(">IIBBBBB", nx, ny, 8, kind, 0, 0, 0))]
    if listed:
        parts.append(_chunk(b"PLTE", colours.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()))
    for key, value in (text or {}).items():
        body = key.encode("latin-1")[:79] + b"\0" + value.encode("latin-1", "replace").replace(b"\0", b"")
        parts.append(_chunk(b"tEXt", body))
    parts += [_chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

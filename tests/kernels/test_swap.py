"""Byte order, checksums and box reads: C against the NumPy twin and against independent sources."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.kernels import swap
from jwcal.kernels._lib import native, use_native

COMBINATIONS = [
    (8, 0, "u1"),
    (8, -128, "i1"),
    (16, 0, "i2"),
    (16, 32768, "u2"),
    (32, 0, "i4"),
    (32, 2**31, "u4"),
    (64, 0, "i8"),
    (64, 2**63, "u8"),
    (-32, 0, "f4"),
    (-64, 0, "f8"),
]


@pytest.fixture(params=["native", "numpy"])
def backend(request):
    """Run a test with the C kernels and with the NumPy twins."""
    wanted = request.param == "native"
    have = use_native(wanted)
    if wanted and not have:
        use_native(True)
        pytest.skip("compiled kernels are not built")
    yield request.param
    use_native(True)


def samples(dtype, n=1003):
    rng = np.random.default_rng(7)
    values = rng.integers(0, 256, n * np.dtype(dtype).itemsize, dtype=np.uint8).view(dtype)
    if np.dtype(dtype).kind == "f":
        values[:4] = [np.nan, np.inf, -np.inf, -0.0]
    return values


@pytest.mark.parametrize(("bitpix", "bzero", "dtype"), COMBINATIONS)
def test_encode_writes_what_the_standard_says(backend, bitpix, bzero, dtype):
    values = samples(dtype)
    out = np.empty(values.nbytes, np.uint8)
    swap.encode(values, bitpix, bzero, out)
    if np.dtype(dtype).kind == "f":
        assert out.tobytes() == values.astype(values.dtype.newbyteorder(">")).tobytes()
    else:
        nbytes = values.itemsize
        signed = bitpix != 8
        expected = b"".join((int(v) - bzero).to_bytes(nbytes, "big", signed=signed) for v in values)
        assert out.tobytes() == expected


@pytest.mark.parametrize(("bitpix", "bzero", "dtype"), COMBINATIONS)
def test_decode_inverts_encode_also_in_place(backend, bitpix, bzero, dtype):
    values = samples(dtype)
    out = np.empty(values.nbytes, np.uint8)
    swap.encode(values, bitpix, bzero, out)
    back = swap.decode(out.tobytes(), bitpix, bzero, np.empty_like(values))
    assert back.tobytes() == values.tobytes()
    inplace = values.copy()
    swap.encode(inplace, bitpix, bzero, inplace.view(np.uint8))
    assert inplace.tobytes() == out.tobytes()
    swap.decode(inplace.view(np.uint8), bitpix, bzero, inplace)
    assert inplace.tobytes() == values.tobytes()


@pytest.mark.parametrize("bzero", [0, 32768])
def test_sixteen_bit_to_float(backend, bzero):
    stored = np.arange(-32768, 32768, dtype=np.int32)
    raw = stored.astype(">i2").tobytes()
    out = swap.decode(raw, 16, bzero, np.empty(stored.size, np.float32))
    np.testing.assert_array_equal(out, (stored + bzero).astype(np.float32))


@pytest.mark.parametrize(("bitpix", "dtype"), [(32, "f8"), (-32, "f8"), (-64, "f4"), (8, "f4")])
def test_other_targets_are_cast(backend, bitpix, dtype):
    source = swap.native_dtype(bitpix)
    values = np.array([0, 1, 2, 100], source)
    raw = np.empty(values.nbytes, np.uint8)
    swap.encode(values, bitpix, 0, raw)
    np.testing.assert_array_equal(swap.decode(raw, bitpix, 0, np.empty(4, dtype)), values.astype(dtype))


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_datasum_is_the_remainder_modulo_two_to_the_32_minus_1(data, start):
    words = int.from_bytes(data.ljust(-(-len(data) // 4) * 4, b"\0"), "big") + start
    got = swap.datasum(data, start)
    assert got == swap.datasum_numpy(data, start)
    assert got % (2**32 - 1) == words % (2**32 - 1)
    assert (got == 0) == (words == 0)


def test_datasum_agrees_with_astropy():
    fits = pytest.importorskip("astropy.io.fits")
    data = np.random.default_rng(1).normal(size=(40, 72)).astype(">f4")
    hdu = fits.ImageHDU(data)
    hdu.add_datasum()
    padded = data.tobytes().ljust(11520, b"\0")
    assert swap.datasum(padded) == int(hdu.header["DATASUM"])
    assert swap.datasum(padded[5760:], swap.datasum(padded[:5760])) == int(hdu.header["DATASUM"])


def test_datasum_does_not_overflow():
    data = np.full(80_000_000, 255, np.uint8)
    assert swap.datasum(data) == 0xFFFFFFFF


@pytest.mark.parametrize("box", [(0, 12, 0, 20), (3, 7, 0, 20), (3, 7, 5, 6), (11, 12, 19, 20)])
def test_read_box(backend, tmp_path, box):
    y0, y1, x0, x1 = box
    cube = np.random.default_rng(3).integers(0, 2**16, (5, 12, 20), dtype=np.uint16)
    path = tmp_path / "cube"
    path.write_bytes(b"x" * 17 + cube.tobytes())
    out = np.zeros(3 * (y1 - y0) * (x1 - x0) * 2, np.uint8)
    with open(path, "rb") as handle:
        got = swap.read_box(handle.fileno(), 17, 12, 20, 2, 3, 2 * 12 * 20 * 2, y0, y1, x0, x1, out)
        assert handle.tell() == 0
    assert got == out.size
    assert out.tobytes() == cube[::2, y0:y1, x0:x1].tobytes()


def test_read_box_of_a_short_file_reports_what_it_got(backend, tmp_path):
    path = tmp_path / "short"
    path.write_bytes(bytes(range(30)))
    with open(path, "rb") as handle:
        out = np.zeros(40, np.uint8)
        assert swap.read_box(handle.fileno(), 0, 4, 10, 1, 1, 40, 0, 4, 0, 10, out) == 30
    assert out[:30].tolist() == list(range(30))


def test_read_box_of_a_closed_descriptor_raises(backend, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    fd = os.open(path, os.O_RDONLY)
    os.close(fd)
    with pytest.raises(OSError, match="descriptor"):
        swap.read_box(fd, 0, 1, 3, 1, 1, 3, 0, 1, 0, 3, np.zeros(3, np.uint8))


STORED = [(8, 0, "u1"), (8, -128, "i1"), (16, 0, "i2"), (16, 1 << 15, "u2"), (16, 1 << 15, "f4"), (16, 0, "f4"),
          (32, 1 << 31, "u4"), (-32, 0, "f4"), (-64, 0, "f8")]  # fmt: skip


@pytest.mark.parametrize(("bitpix", "bzero", "dtype"), STORED)
@pytest.mark.parametrize("rows", [(0, 12), (3, 7)])
def test_read_planes_that_lie_apart(backend, tmp_path, bitpix, bzero, dtype, rows):
    raw = np.random.default_rng(4).integers(0, 120, (5, 12, 20 * abs(bitpix) // 8), dtype=np.uint8)
    path = tmp_path / "cube"
    path.write_bytes(b"x" * 17 + raw.tobytes())
    room = np.zeros((3, 20, 20), dtype)
    out = room[:, 2 : 2 + rows[1] - rows[0]]
    with open(path, "rb") as handle:
        start = 17 + rows[0] * raw.shape[2]
        got = swap.read_planes(handle.fileno(), start, 2 * raw[0].nbytes, bitpix, bzero, out)
        assert handle.tell() == 0
    want = np.zeros((3, rows[1] - rows[0], 20), dtype)
    for k in range(3):
        swap.decode_numpy(np.ascontiguousarray(raw[2 * k, rows[0] : rows[1]]), bitpix, bzero, want[k])
    assert out.tobytes() == want.tobytes()
    assert got == out.size * abs(bitpix) // 8
    assert not room[:, :2].any()
    assert not room[:, 2 + rows[1] - rows[0] :].any()


EXACT = [row for row in STORED if swap.native_dtype(*row[:2]) == row[2]]


@pytest.mark.parametrize(("bitpix", "bzero", "dtype"), EXACT)
@pytest.mark.parametrize("box", [(0, 12, 0, 20), (3, 7, 0, 20), (3, 7, 5, 6), (11, 12, 19, 20)])
def test_write_planes(backend, tmp_path, bitpix, bzero, dtype, box):
    y0, y1, x0, x1 = box
    rng = np.random.default_rng(5)
    room = rng.integers(0, 256, (3, 20, 20 * np.dtype(dtype).itemsize), dtype=np.uint8).view(dtype)
    array = room[:, y0:y1, x0:x1]
    path = tmp_path / "cube"
    path.write_bytes(b"x" * (17 + 3 * 12 * 20 * array.itemsize))
    with open(path, "r+b") as handle:
        buffer = np.empty(swap.write_buffer(array), np.uint8)
        swap.write_planes(handle.fileno(), 17, 12, 20, bitpix, bzero, box, array, buffer)
    raw = np.full(array.nbytes, 0, np.uint8)
    swap.encode_numpy(np.ascontiguousarray(array), bitpix, bzero, raw)
    want = np.full((3, 12, 20, array.itemsize), ord("x"), np.uint8)
    want[:, y0:y1, x0:x1] = raw.reshape(3, y1 - y0, x1 - x0, array.itemsize)
    assert path.read_bytes() == b"x" * 17 + want.tobytes()


def test_planes_larger_than_a_piece(backend, tmp_path):
    values = np.arange(2 * 300 * 500, dtype="u2").reshape(2, 300, 500)
    path = tmp_path / "cube"
    path.write_bytes(b"")
    with open(path, "r+b") as handle:
        swap.write_planes(
            handle.fileno(), 0, 300, 500, 16, 1 << 15, (0, 300, 0, 500), values, np.empty(1 << 20, np.uint8)
        )
        out = np.empty(values.shape, "f4")
        assert swap.read_planes(handle.fileno(), 0, values[0].nbytes, 16, 1 << 15, out) == values.nbytes
        assert np.array_equal(out, values)
        handle.truncate(values.nbytes - 100)
        assert swap.read_planes(handle.fileno(), 0, values[0].nbytes, 16, 1 << 15, out) == values.nbytes - 100


def test_planes_of_a_closed_descriptor_raise(backend, tmp_path):
    fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)
    with pytest.raises(OSError, match="descriptor"):
        swap.read_planes(fd, 0, 12, -32, 0, np.zeros((1, 1, 3), "f4"))
    with pytest.raises(OSError, match="descriptor"):
        swap.write_planes(
            fd, 0, 1, 3, -32, 0, (0, 1, 0, 3), np.zeros((1, 1, 3), "f4"), np.empty(1 << 18, np.uint8)
        )


def test_wrong_planes_are_refused():
    with pytest.raises(ValueError, match="BITPIX"):
        swap.read_planes(0, 0, 12, 16, 0, np.zeros((1, 1, 3), "f8"))
    with pytest.raises(ValueError, match="contiguous"):
        swap.read_planes(0, 0, 12, -32, 0, np.zeros((1, 2, 6), "f4")[:, :, ::2])
    with pytest.raises(ValueError, match="box"):
        swap.write_planes(1, 0, 4, 4, 16, 0, (0, 5, 0, 4), np.zeros((1, 5, 4), "i2"), np.empty(99, np.uint8))
    with pytest.raises(ValueError, match="BITPIX"):
        swap.write_planes(1, 0, 4, 4, 16, 0, (0, 1, 0, 4), np.zeros((1, 1, 4), "f4"), np.empty(99, np.uint8))


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="bytes"):
        swap.decode(b"\0" * 10, 16, 0, np.zeros(4, "i2"))
    with pytest.raises(ValueError, match="BZERO"):
        swap.encode(np.zeros(2, "u2"), 16, 0, np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match="box"):
        swap.read_box(0, 0, 4, 4, 1, 1, 16, 0, 5, 0, 4, np.zeros(99, np.uint8))


def test_empty_arrays(backend):
    assert swap.decode(b"", -32, 0, np.empty(0, "f4")).size == 0
    assert swap.datasum(b"") == 0
    assert native() is None or backend == "native"

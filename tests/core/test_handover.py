"""Streams whose memory changes hands: who gets it, and when the bytes go through the pipe instead."""

import os
import socket
import sys
import threading

import numpy as np
import pytest

from jwcal.core import handover
from jwcal.core.fits import create_fits, open_fits
from jwcal.core.handover import Piece, offer, receive
from jwcal.core.header import Header
from jwcal.core.source import Source
from jwcal.core.spool import Spool, pwrite_all

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


@pytest.fixture
def pipe():
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        os.close(fd)


def held(data):
    """Descriptor of memory that holds some bytes."""
    spool = Spool()
    pwrite_all(spool.fd, data, 0)
    return spool.fd


def meet(pipe, write):
    """Receive from a pipe into which ``write(fd)`` is called once somebody waits; gives both results."""
    got, done = [], []
    reader = threading.Thread(target=lambda: got.append(receive(pipe[0])))
    reader.start()
    address = handover._address(pipe[0])
    for _ in range(2000):
        with open("/proc/net/unix", encoding="latin-1") as table:
            if f"@{address[1:]}" in table.read():
                break
    done.append(write(pipe[1]))
    reader.join(10)
    assert not reader.is_alive()
    return got[0], done[0]


def test_the_stream_is_the_same_memory(pipe):
    one, two = held(b"0123456789"), held(b"abcdefghij")
    pieces = [Piece(0, 4, one, 2, True), Piece(4, 3, two, 0, False), Piece(7, 2, one, 8, True)]
    got, taken = meet(pipe, lambda fd: offer(fd, pieces))
    assert taken
    source = Source(got, "stream", stream=True)
    buffer = bytearray(9)
    assert source.size == 9
    assert source.fill(buffer, 0) == 9
    assert bytes(buffer) == b"2345abc89"
    assert [piece.private for piece in source.pieces] == [True, False, True]
    os.pwrite(source.place(4, 3).fd, b"XYZ", source.place(4, 3).offset)
    assert os.pread(two, 3, 0) == b"XYZ"
    assert not any(os.get_inheritable(piece.fd) for piece in got)
    source.close()
    os.close(one)
    os.close(two)


def test_nobody_waits(pipe):
    fd = held(b"data")
    assert not offer(pipe[1], [Piece(0, 4, fd, 0, True)])
    os.close(fd)


def test_bytes_in_the_pipe_come_first(pipe):
    os.write(pipe[1], b"before")
    assert receive(pipe[0]) is None
    fd = held(b"data")
    assert not offer(pipe[1], [Piece(0, 4, fd, 0, True)])
    os.close(fd)


def test_writer_that_goes_away(pipe):
    os.close(pipe[1])
    pipe[1] = os.open(os.devnull, os.O_WRONLY)
    assert receive(pipe[0]) is None


def test_what_is_not_understood_is_refused(pipe):
    def nonsense(fd):
        for message in (
            b"",
            b"{}",
            b'{"format": 99, "pieces": []}',
            b'{"format": 1, "pieces": [[0, 1, 5, 0, true]]}',
        ):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                connection.connect(handover._address(fd))
                socket.send_fds(connection, [message], [0] if message else [])
                assert connection.recv(5) == b""
        return os.write(fd, b"bytes after all")

    got, _ = meet(pipe, nonsense)
    assert got is None
    assert os.read(pipe[0], 100) == b"bytes after all"


def test_regular_files_do_not_meet(tmp_path):
    with open(tmp_path / "file", "w+b") as file:
        assert receive(file.fileno()) is None
        assert not offer(file.fileno(), [Piece(0, 0, file.fileno(), 0, False)])


def test_join_puts_pieces_together():
    one, two = held(b"0123456789"), held(b"abcdefghij")
    source = Source([Piece(3, 2, two, 1, True), Piece(0, 3, one, 0, True)], "stream", stream=True)
    assert source.place(2, 2).count == 0
    assert os.pread(source.join(), 9, 0) == b"012bc"
    assert source.place(2, 2).count == 2
    source.close()


def test_data_in_several_pieces_are_joined(tmp_path):
    values = np.arange(40, dtype="f4").reshape(5, 8)
    with create_fits(str(tmp_path / "x.fits")) as out:
        out.add(Header())
        out.add(Header(), values.shape, values.dtype, name="SCI").write(values)
        out.commit()
    data = (tmp_path / "x.fits").read_bytes()
    cut = data.index(values.astype(">f4").tobytes()) + 30
    one, two = held(data[:cut]), held(data[cut:])
    from jwcal.core.fits_read import FitsFile

    pieces = [Piece(0, cut, one, 0, True), Piece(cut, len(data) - cut, two, 0, True)]
    with FitsFile(Source(pieces, "stream", stream=True)) as file:
        assert np.array_equal(file["SCI"].read(), values)


def test_passed_on_or_copied_the_bytes_are_the_same(tmp_path, pipe):
    values = np.arange(600_000, dtype="f4").reshape(3, 400, 500)
    with create_fits(str(tmp_path / "x.fits")) as out:
        out.add(Header())
        out.add(Header(), values.shape, values.dtype, name="SCI").write(values)
        out.commit()
    fd = held((tmp_path / "x.fits").read_bytes())
    size = os.fstat(fd).st_size
    got, _ = meet(pipe, lambda end: offer(end, [Piece(0, size, fd, 0, True)]))
    os.close(fd)
    with open_fits(str(tmp_path / "x.fits")) as file:
        from jwcal.core.fits_read import FitsFile

        with FitsFile(Source(got, "stream", stream=True)) as passed:
            assert np.array_equal(passed["SCI"].read(), file["SCI"].read())
            assert passed["SCI"].private
            assert passed["SCI"].header_bytes() == file["SCI"].header_bytes()

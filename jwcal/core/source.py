"""Input from a file, a pipe or standard input, made readable at any position."""

import os
import stat

from jwcal.core.errors import InputError, UsageError
from jwcal.core.handover import Piece, receive
from jwcal.core.spool import CHUNK, Spool, copy_range, pread_into, pwrite_all, widen_pipe


class Source:
    """Input that can be read at any position.

    Attributes
    ----------
    size : int
        Bytes there are.
    label : str
        Name for messages.
    stream : bool
        Whether the bytes came through a pipe.
    """

    def __init__(self, pieces, label, stream):
        self.pieces = sorted(pieces, key=lambda piece: piece.start)
        self.size = max(piece.start + piece.count for piece in self.pieces)
        self.label = label
        self.stream = stream

    @classmethod
    def whole(cls, fd, size, label, *, stream, private):
        """Source that is one file, whose descriptor it takes over."""
        return cls([Piece(0, size, fd, 0, private)], label, stream)

    def place(self, start, count):
        """Piece that holds all of some bytes; a piece of no bytes where there is no such.

        Parameters
        ----------
        start, count : int
            Place in the stream and number of bytes.

        Returns
        -------
        Piece
        """
        for piece in self.pieces:
            into = start - piece.start
            if into >= 0 and into + count <= piece.count:
                return Piece(start, count, piece.fd, piece.offset + into, piece.private)
        return Piece(start, 0, self.pieces[0].fd, 0, private=False)

    def fill(self, buffer, start):
        """Fill a buffer from a place in the stream; returns the bytes read, fewer only at its end."""
        view = memoryview(buffer).cast("B")
        done = 0
        for piece in self.pieces:
            into = start + done - piece.start
            if done < len(view) and 0 <= into < piece.count:
                part = view[done : done + piece.count - into]
                got = pread_into(piece.fd, part, piece.offset + into)
                done += got
                if got < len(part):
                    break
        return done

    def join(self):
        """Bring all bytes behind one descriptor, and return it."""
        if len(self.pieces) > 1 or self.pieces[0].offset:
            spool = Spool()
            spool.reserve(self.size)
            for piece in self.pieces:
                copy_range(piece.fd, piece.offset, spool.fd, piece.start, piece.count)
            self.close()
            self.pieces = [Piece(0, self.size, spool.fd, 0, private=True)]
        return self.pieces[0].fd

    def close(self):
        """Close the descriptors."""
        for fd in {piece.fd for piece in self.pieces}:
            if fd >= 0:
                os.close(fd)
        self.pieces = [Piece(0, 0, -1, 0, private=False)]


def open_source(path, sniff):
    """Open a file, a pipe or standard input for reading at any position.

    Parameters
    ----------
    path : str or os.PathLike
        Name; ``-`` is standard input.
    sniff : callable
        ``sniff(first_bytes, label)`` is called with the start of the input, before
        a stream is taken in; it returns True if the bytes are gzip-compressed and
        raises if they are of no use.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        If there is no such input, or nothing in it.
    UsageError
        If standard input is a terminal.
    """
    path = os.fspath(path)
    label = "standard input" if path == "-" else path
    fd = _open_stdin() if path == "-" else _open_path(path)
    try:
        return _seekable(fd, label, sniff)
    except OSError as exc:
        raise InputError(f"{label}: cannot read: {exc.strerror or exc}") from None
    finally:
        os.close(fd)


def _open_stdin():
    try:
        if os.isatty(0):
            raise UsageError("no input: name a file, or pipe one into standard input")
        return os.dup(0)
    except OSError:
        raise UsageError("no input: standard input is closed, name a file") from None


def _open_path(path):
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as exc:
        raise InputError(f"{path!s}: cannot open: {getattr(exc, 'strerror', None) or exc}") from None


def _seekable(fd, label, sniff):
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{label}: is a folder, not a file")
    regular = stat.S_ISREG(status.st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0
    if regular:
        first = os.pread(fd, 80, 0)
        if not sniff(first, label):
            return Source.whole(os.dup(fd), status.st_size, label, stream=False, private=False)
        return _spooled(fd, b"", label, compressed=True)
    if stat.S_ISFIFO(status.st_mode):
        widen_pipe(fd)
        pieces = receive(fd)
        if pieces:
            return _received(pieces, label, sniff)
    first = b""
    while len(first) < 80 and (part := os.read(fd, 80 - len(first))):
        first += part
    return _spooled(fd, first, label, compressed=sniff(first, label))


def _received(pieces, label, sniff):
    source = Source(pieces, label, stream=True)
    try:
        first = bytearray(min(80, source.size))
        if sniff(bytes(first[: source.fill(first, 0)]), label):
            raise InputError(f"{label}: not a FITS file")
    except BaseException:
        source.close()
        raise
    return source


def _spooled(fd, first, label, compressed):
    spool = Spool()
    try:
        if compressed:
            size = _decompress(fd, first, spool, label)
        else:
            pwrite_all(spool.fd, first, 0)
            size = spool.append_pipe(fd, len(first))
    except BaseException:
        spool.close()
        raise
    return Source.whole(spool.fd, size, label, stream=not compressed, private=True)


def _decompress(fd, first, spool, label):
    import gzip
    import io
    import zlib

    class Joined(io.RawIOBase):
        def __init__(self):
            self.head = first

        def readable(self):
            return True

        def readinto(self, buffer):
            data, self.head = self.head or os.read(fd, len(buffer)), b""
            buffer[: len(data)] = data
            return len(data)

    try:
        with gzip.GzipFile(fileobj=io.BufferedReader(Joined(), CHUNK), mode="rb") as file:
            return spool.append_from(file.read)
    except EOFError:
        raise InputError(f"{label}: truncated: the compressed data end too early") from None
    except (gzip.BadGzipFile, zlib.error) as exc:
        raise InputError(f"{label}: damaged compressed data: {exc}") from None

"""Input from a file, a pipe or standard input, made readable at any position."""

import os
import stat

from jwcal.core.errors import InputError, UsageError
from jwcal.core.spool import CHUNK, Spool, pwrite_all, widen_pipe


class Source:
    """Input that can be read at any position.

    Attributes
    ----------
    fd : int
        Descriptor for `os.pread`.
    size : int
        Bytes there are.
    label : str
        Name for messages.
    stream : bool
        Whether the bytes came through a pipe.
    """

    def __init__(self, fd, size, label, stream, spool=None):
        self.fd = fd
        self.size = size
        self.label = label
        self.stream = stream
        self._spool = spool

    @property
    def private(self):
        """Whether the bytes are a copy of our own, which may be written over."""
        return self._spool is not None

    def close(self):
        """Close the descriptor."""
        if self._spool is not None:
            self._spool.close()
        elif self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


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
            return Source(os.dup(fd), status.st_size, label, stream=False)
        return _spooled(fd, b"", label, compressed=True)
    if stat.S_ISFIFO(status.st_mode):
        widen_pipe(fd)
    first = b""
    while len(first) < 80 and (part := os.read(fd, 80 - len(first))):
        first += part
    return _spooled(fd, first, label, compressed=sniff(first, label))


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
    return Source(spool.fd, size, label, stream=not compressed, spool=spool)


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

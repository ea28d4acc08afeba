"""A stream from one of our commands to the next: its memory changes hands, its bytes stay where they are.

A pipe copies every byte twice.  When the program that reads a pipe is one of ours it waits, beside
the pipe, at a local socket whose name says which pipe it reads; a writer that finds it there sends
the descriptors of the memory that holds the stream instead of the stream.  Nobody there, another
user, bytes in the pipe already: then the bytes go through the pipe as they do for any program.
"""

import contextlib
import json
import os
import select
import stat
import struct
from dataclasses import dataclass

_FORMAT = 1
_MESSAGE = 1 << 16
_MOST = 64
_TAKEN = b"taken"
_INT = struct.calcsize("i")


@dataclass(frozen=True)
class Piece:
    """A part of a stream, and where it is held.

    Attributes
    ----------
    start, count : int
        Place in the stream and number of bytes.
    fd : int
        Seekable descriptor.
    offset : int
        Place behind that descriptor.
    private : bool
        Whether whoever holds the stream may write there.
    """

    start: int
    count: int
    fd: int
    offset: int
    private: bool


def _address(pipe):
    """Abstract name of the place where the reader of a pipe waits; None if there is none."""
    import socket

    status = os.fstat(pipe)
    if not stat.S_ISFIFO(status.st_mode) or not hasattr(socket, "SO_PEERCRED"):
        return None
    return f"\0jwcal-{os.getuid()}-{status.st_dev:x}-{status.st_ino:x}"


def _socket():
    import socket

    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def _same_user(connection):
    import socket

    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", raw)[1] == os.getuid()


def receive(pipe):
    """Wait until there are bytes in a pipe, or its writer hands the stream over.

    Parameters
    ----------
    pipe : int
        Read end of the pipe.

    Returns
    -------
    list of Piece or None
        The stream, whose descriptors are now ours; None: read the pipe.
    """
    try:
        address = _address(pipe)
        if address is None:
            return None
        waiting = _socket()
    except (OSError, AttributeError):
        return None
    with waiting:
        try:
            waiting.bind(address)
            waiting.listen(1)
        except OSError:
            return None
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        poll.register(waiting.fileno(), select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if ready.get(pipe, 0) & select.POLLIN:
                return None
            if waiting.fileno() in ready:
                with contextlib.suppress(OSError):
                    connection, _ = waiting.accept()
                    with connection:
                        pieces = _take(connection)
                    if pieces:
                        return pieces
            elif pipe in ready:
                return None


def _take(connection):
    import socket

    if not _same_user(connection):
        return None
    fds: list[int] = []
    try:
        # Not recv_fds: it does not pass on the flag that keeps the descriptors from child processes.
        message, extra, flags, _ = connection.recvmsg(
            _MESSAGE, socket.CMSG_SPACE(_MOST * _INT), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, data in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds += struct.unpack(f"{len(data) // _INT}i", data[: len(data) // _INT * _INT])
        told = json.loads(message)
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or told["format"] != _FORMAT:
            raise ValueError("not to be understood")
        pieces = [
            Piece(start, count, fds[k], offset, private)
            for start, count, k, offset, private in told["pieces"]
        ]
        connection.sendall(_TAKEN)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        for fd in fds:
            os.close(fd)
        return None
    return pieces


def offer(pipe, pieces):
    """Hand a stream to the reader of a pipe, if it is one of our commands.

    Parameters
    ----------
    pipe : int
        Write end of the pipe, into which nothing has been written.
    pieces : list of Piece
        The whole stream.

    Returns
    -------
    bool
        Whether the reader has it; nothing may be written into its memory any more.
    """
    fds = sorted({piece.fd for piece in pieces})
    told = [(p.start, p.count, fds.index(p.fd), p.offset, p.private) for p in pieces]
    message = json.dumps({"format": _FORMAT, "pieces": told}).encode()
    if len(fds) > _MOST or len(message) > _MESSAGE:
        return False
    try:
        import socket

        address = _address(pipe)
        if address is None:
            return False
        with _socket() as connection:
            connection.connect(address)
            if not _same_user(connection):
                return False
            socket.send_fds(connection, [message], fds)
            return connection.recv(len(_TAKEN)) == _TAKEN
    except (OSError, AttributeError):
        return False

"""Output that appears under its name, or in the pipe, only when it is complete."""

import atexit
import contextlib
import errno
import os
import stat
from dataclasses import replace

from jwcal.core.errors import OutputError, UsageError
from jwcal.core.handover import Piece, offer
from jwcal.core.spool import CHUNK, Spool, output_error, wait_writable, widen_pipe, write_all

_temporary: dict[str, int] = {}


def cleanup_all():
    """Remove the unfinished output files of this process; for exits and signal handlers."""
    for path in list(_temporary):
        _remove(path)


def _remove(path):
    """Remove an unfinished file, unless this is a fork of the process that writes it."""
    if _temporary.pop(path, None) == os.getpid():
        with contextlib.suppress(OSError):
            os.unlink(path)


class FileTarget:
    """Output file that appears under its name only when it is complete.

    Parameters
    ----------
    path : str
        Name of the file to make.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    OutputError
        If the file exists and may not be replaced, or cannot be made.
    """

    lends = False
    on_disk = True

    def __init__(self, path, overwrite):
        self.label = path
        self.overwrite = overwrite
        self.path = os.path.realpath(path)
        self._folder, name = os.path.split(self.path)
        if os.path.isdir(self.path) or not name or path.endswith("/"):
            raise OutputError(f"{path}: is a folder, name a file")
        if not overwrite and os.path.lexists(self.path):
            raise self._exists()
        self.temporary = ""
        self.fd = self._create(name)

    def _exists(self):
        return OutputError(f"{self.label}: exists already; --overwrite replaces it")

    def _create(self, name):
        if not _temporary:
            atexit.register(cleanup_all)
        # A killed process may have left its file, and process numbers repeat in containers.
        for attempt in range(1000):
            mark = f"{os.getpid()}.{attempt}" if attempt else f"{os.getpid()}"
            self.temporary = os.path.join(self._folder, f".{name[:200]}.{mark}.tmp")
            if self.temporary in _temporary:
                continue
            _temporary[self.temporary] = os.getpid()
            try:
                return os.open(self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                del _temporary[self.temporary]
            except OSError as exc:
                del _temporary[self.temporary]
                if exc.errno in (errno.ENOENT, errno.ENOTDIR):
                    raise OutputError(f"{self.label}: the folder {self._folder} does not exist") from None
                raise output_error(self.label, exc) from None
        raise OutputError(f"{self.label}: too many unfinished files {self.temporary}; remove them")

    def reserve(self, size):
        """Refuse early what the file system has no room for."""
        missing = size - os.fstat(self.fd).st_size
        if missing > CHUNK:
            room = os.fstatvfs(self.fd)
            if room.f_bavail * room.f_frsize < missing:
                raise OutputError(
                    f"{self.label}: cannot write: {missing >> 20} MB needed, "
                    f"{room.f_bavail * room.f_frsize >> 20} MB free in {self._folder}"
                )

    def finish(self, size):
        """Bring the file to disk and give it its name."""
        try:
            os.fsync(self.fd)
            os.close(self.fd)
            self.fd = -1
            if self.overwrite:
                os.replace(self.temporary, self.path)
            else:
                self._claim()
            self._sync_folder()
        except FileExistsError:
            raise self._exists() from None
        except OSError as exc:
            raise output_error(self.label, exc) from None
        finally:
            self.abort()

    def _claim(self):
        try:
            os.link(self.temporary, self.path)
        except FileExistsError:
            raise
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            # No hard links here: an empty file made exclusively reserves the name.
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            os.replace(self.temporary, self.path)

    def _sync_folder(self):
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as exc:
            if exc.errno not in (errno.EINVAL, errno.EBADF, errno.EACCES):
                raise
        finally:
            os.close(folder)

    def abort(self):
        """Remove the unfinished file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.temporary in _temporary:
            _remove(self.temporary)


class StreamTarget:
    """Output that cannot be renamed into place: held back until complete, then sent.

    Parameters
    ----------
    fd : int
        Descriptor to send to.
    label : str
        Name for messages.
    """

    lends = True
    on_disk = False

    def __init__(self, fd, label):
        self._out = fd
        self.label = label
        self._spool = Spool()
        self.fd = self._spool.fd
        self._borrowed: list[Piece] = []

    def borrow(self, piece):
        """Send bytes of another open file at a place of the output, without keeping a copy.

        Parameters
        ----------
        piece : Piece
            Place in the output and in that file, which must not change until the output is
            complete; places must rise from call to call.
        """
        self._borrowed.append(replace(piece, fd=os.dup(piece.fd)))

    def reserve(self, size):
        """Move to disk what has become too large for memory."""
        self._spool.reserve(size)

    def finish(self, size):
        """Send everything.

        Raises
        ------
        BrokenPipeError
            If the reader has closed the pipe.
        OutputError
            For any other failure.
        """
        try:
            status = os.fstat(self._out)
            if stat.S_ISFIFO(status.st_mode):
                if offer(self._out, self._pieces(size)):
                    return
                widen_pipe(self._out)
            for piece in self._pieces(size):
                self._send(piece.fd, piece.offset, piece.offset + piece.count)
            if stat.S_ISREG(status.st_mode):
                os.fsync(self._out)
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise output_error(self.label, exc) from None
        finally:
            self.abort()

    def _pieces(self, size):
        """All of the output in order: what is borrowed, and our own bytes between."""
        pieces, done = [], 0
        for piece in self._borrowed:
            pieces += [Piece(done, piece.start - done, self.fd, done, private=True), piece]
            done = piece.start + piece.count
        pieces.append(Piece(done, size - done, self.fd, done, private=True))
        return [piece for piece in pieces if piece.count]

    def _send(self, fd, done, end):
        while done < end:
            try:
                sent = os.sendfile(self._out, fd, done, min(end - done, 1 << 30))
            except BlockingIOError:
                wait_writable(self._out)
                continue
            except OSError as exc:
                if exc.errno in (errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK):
                    break
                raise
            if not sent:
                break
            done += sent
        while done < end:
            data = os.pread(fd, min(CHUNK, end - done), done)
            if not data:
                raise OutputError(f"{self.label}: the held-back output is incomplete")
            write_all(self._out, data, self.label)
            done += len(data)

    def abort(self):
        """Forget everything."""
        self._spool.close()
        for piece in self._borrowed:
            os.close(piece.fd)
        self._borrowed = []
        if self._out > 2:
            os.close(self._out)
        self._out = -1


class GzipTarget:
    """Output file that is compressed when it is complete.

    Parameters
    ----------
    path : str
        Name of the file to make.
    overwrite : bool
        Whether a file of that name may be replaced.
    """

    lends = False
    on_disk = False

    def __init__(self, path, overwrite):
        self._file = FileTarget(path, overwrite)
        self._spool = Spool()
        self.label = path
        self.fd = self._spool.fd

    def reserve(self, size):
        """Move to disk what has become too large for memory."""
        self._spool.reserve(size)

    def finish(self, size):
        """Compress and give the file its name."""
        import gzip

        try:
            # Neither time nor name in the gzip header: equal data, equal files.
            with (
                open(self._file.fd, "wb", closefd=False) as raw,
                gzip.GzipFile("", "wb", 4, raw, mtime=0) as packed,
            ):
                for start in range(0, size, CHUNK):
                    packed.write(os.pread(self.fd, min(CHUNK, size - start), start))
            self._file.finish(size)
        except OSError as exc:
            raise output_error(self.label, exc) from None
        finally:
            self.abort()

    def abort(self):
        """Remove the unfinished file."""
        self._spool.close()
        self._file.abort()


def open_target(path, overwrite):
    """Open an output for writing at any position.

    Parameters
    ----------
    path : str or os.PathLike
        Name; ``-`` is standard output, a name in ``.gz`` is compressed.  Pipes and
        devices are streams.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    FileTarget, StreamTarget or GzipTarget

    Raises
    ------
    OutputError
        If the output cannot be made.
    UsageError
        If it would go to a terminal, or to a format that is not written.
    """
    path = os.fspath(path)
    if path == "-":
        try:
            if os.isatty(1):
                raise UsageError(
                    "standard output is a terminal: name a file with -o, or add | jwcal info to look at it"
                )
            os.fstat(1)
        except OSError:
            raise UsageError("standard output is closed: name a file with -o") from None
        return StreamTarget(1, "standard output")
    if path.endswith(".fz"):
        raise UsageError(f"{path}: tile-compressed output is not written; use .fits or .fits.gz")
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        mode = 0
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode):
        try:
            return StreamTarget(os.open(path, os.O_WRONLY | os.O_CLOEXEC), path)
        except OSError as exc:
            raise output_error(path, exc) from None
    return GzipTarget(path, overwrite) if path.endswith(".gz") else FileTarget(path, overwrite)

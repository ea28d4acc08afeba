"""Small files that are there as a whole or not at all."""

import os

from jwcal.core.asdf_file import require_asdf
from jwcal.core.spool import output_error, pwrite_all
from jwcal.core.target import FileTarget, open_target


def write_whole(path, data, overwrite):
    """Write bytes to a file, or to standard output.

    Parameters
    ----------
    path : str or os.PathLike
        Name; as for `jwcal.core.target.open_target`.
    data : bytes
        All of it.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    OutputError
        If it exists and may not be replaced, or cannot be written.
    BrokenPipeError
        If the reader has closed the pipe.
    """
    target = open_target(path, overwrite)
    try:
        target.reserve(len(data))
        pwrite_all(target.fd, data, 0)
        target.finish(len(data))
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise output_error(target.label, exc) from None
    finally:
        target.abort()


class Complete:
    """A file that is complete and waits for its name.

    Parameters
    ----------
    path : str or os.PathLike
        The name.
    overwrite : bool
        Replace an existing file.
    write : callable
        Gets the open binary file and writes all of it.

    Raises
    ------
    OutputError
        If it exists and may not be replaced, or cannot be written.
    """

    def __init__(self, path, overwrite, write):
        self.target = FileTarget(os.fspath(path), overwrite)
        try:
            with open(self.target.fd, "wb", closefd=False) as file:
                write(file)
        except OSError as exc:
            self.abort()
            raise output_error(self.target.label, exc) from None
        except BaseException:
            self.abort()
            raise

    def commit(self):
        """Bring the file to disk and give it its name."""
        self.target.finish(os.fstat(self.target.fd).st_size)

    def abort(self):
        """Remove it."""
        self.target.abort()


def asdf_writer(path, tree, **options):
    """Return the function that writes a tree as ASDF to an open file.

    Parameters
    ----------
    path : str or os.PathLike
        Name of the file, for messages.
    tree : dict
        What to write.
    **options
        Of ``asdf.AsdfFile.write_to``.

    Raises
    ------
    UsageError
        If the package asdf is not installed.
    """
    asdf = require_asdf(path)
    return lambda file: asdf.AsdfFile(tree).write_to(file, **options)

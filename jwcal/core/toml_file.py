"""Files that users write in TOML."""

import tomllib
from pathlib import Path

from jwcal.core.errors import UsageError


def read_user_toml(path, what):
    """Read a file in TOML.

    Parameters
    ----------
    path : str
        Its name.
    what : str
        What it should be, for the message: "a pipeline".

    Returns
    -------
    dict

    Raises
    ------
    UsageError
        If it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror or exc}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise UsageError(f"{path}: not {what} in TOML: {exc}") from None

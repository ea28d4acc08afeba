"""Reference files in ASDF: the tree, and what a FITS header would say about the file."""

import re
from types import SimpleNamespace

from jwcal.core.errors import InputError, UsageError

MAGIC = b"#ASDF"

# Place in the tree of what the choice and the check of references look at.
_KEYWORDS = {
    "REFTYPE": ("reftype",),
    "USEAFTER": ("useafter",),
    "INSTRUME": ("instrument", "name"),
    "DETECTOR": ("instrument", "detector"),
    "CHANNEL": ("instrument", "channel"),
    "BAND": ("instrument", "band"),
    "MODULE": ("instrument", "module"),
    "FILTER": ("instrument", "filter"),
    "PUPIL": ("instrument", "pupil"),
    "GRATING": ("instrument", "grating"),
    "EXP_TYPE": ("exposure", "type"),
    "READPATT": ("exposure", "readpatt"),
    "SUBARRAY": ("subarray", "name"),
}


class AsdfFile:
    """An open ASDF file that answers like a FITS file without extensions.

    Parameters
    ----------
    path : str
        File name.

    Raises
    ------
    InputError
        If it cannot be read.

    Attributes
    ----------
    primary : object
        With ``header``, a dict of the keywords the tree has.
    """

    def __init__(self, path):
        self.path = str(path)
        self.primary = SimpleNamespace(header=header(self.path))
        self._tree = None

    def __contains__(self, name):
        return False

    @property
    def tree(self):
        """All of the tree: dicts, lists, numbers and arrays."""
        if self._tree is None:
            self._tree = _read(self.path)
        return self._tree

    def close(self):
        """Do nothing; the file was closed once it was read."""


def is_asdf(path):
    """Whether a file begins like ASDF; False also if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def header(path):
    """Read what the ``meta`` part of the tree says, by FITS keyword.

    Parameters
    ----------
    path : str
        File name.

    Returns
    -------
    dict of str to object

    Raises
    ------
    InputError
        If the file is not ASDF or its metadata cannot be understood.
    """
    from jwcal.core.params import plain_tree

    try:
        with open(path, "rb") as file:
            text = _head(file)
    except OSError as exc:
        raise InputError(f"{path}: {exc.strerror or exc}") from None
    # Trees may hold megabytes of numbers; only this part is read.
    found = re.search(rb"^meta:.*\n(?:[ \t-].*\n|\n)*", text, re.MULTILINE)
    meta = (plain_tree(found.group(), path, InputError) or {}).get("meta") if found else {}
    out = {}
    for key, places in _KEYWORDS.items():
        value = meta
        for place in places:
            value = value.get(place) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, dict):
            out[key] = value if isinstance(value, bool | int | float) else str(value)
    return out


def _head(file):
    """Bytes up to the end of the tree."""
    text = b""
    while part := file.read(1 << 20):
        text += part
        if not text.startswith(MAGIC):
            raise InputError(f"{file.name}: not an ASDF file")
        end = text.find(b"\n...")
        if end >= 0:
            return text[: end + 1]
    if not text:
        raise InputError(f"{file.name}: not an ASDF file")
    return text


def require_asdf(label):
    """Return the module asdf.

    Parameters
    ----------
    label : str
        What needs it, for the message.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    try:
        import asdf
    except ImportError:
        raise UsageError(f"{label}: ASDF files need the package asdf; pip install 'jwcal[asdf]'") from None
    return asdf


def _read(path):
    import warnings

    asdf = require_asdf(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with asdf.open(path, lazy_load=False, memmap=False, lazy_tree=False) as file:
                return _plain(file.tree)
    except Exception as exc:  # noqa: BLE001 - whatever a damaged file makes of its reader
        raise InputError(f"{path}: cannot be read as ASDF: {' '.join(str(exc).split())}") from None


def _plain(value):
    """Copy a tree into dicts, lists, arrays and scalars."""
    import numpy as np

    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__array__"):
        return np.array(value)
    return value

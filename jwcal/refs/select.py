"""Choose reference files for an exposure from named files and a directory of official-format files."""

import datetime as dt
import logging
import re
import tomllib
from functools import cache
from pathlib import Path

from jwcal.core.errors import InputError, ReferenceFileError, UsageError
from jwcal.core.packaged import text_of

log = logging.getLogger(__name__)

_WILD = {"", "N/A", "ANY", "GENERIC", "*"}
_ISO = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?)?")
_NO_TIME = dt.datetime(1, 1, 1)  # noqa: DTZ001 - both sides of the comparison are UTC without a zone


@cache
def _parkeys():
    return tomllib.loads(text_of("data", "parkeys.toml"))


class ReferenceSource:
    """Answers "which file of this type for this exposure?".

    Parameters
    ----------
    named : dict of str to str or None
        Files given by type; they win.  "N/A" says that there is none.
    directory : str or None
        Directory of reference files, searched by their headers.
    """

    def __init__(self, named=None, directory=None):
        self.named = {k.lower(): str(v) for k, v in (named or {}).items()}
        self.directory = directory
        self._index: dict | None = None
        if directory is not None and not Path(directory).is_dir():
            raise UsageError(f"--refs {directory}: not a directory")

    @property
    def context(self):
        """Name of the reference context, or None."""
        return None

    def written(self, path):
        """Return how headers name a file this source has found."""
        return Path(path).name

    def index(self):
        """Headers of the files in the directory, by type."""
        if self._index is None:
            self._index = {}
            if self.directory is not None:
                for path in sorted(Path(self.directory).iterdir()):
                    named = path.name.endswith((".fits", ".fits.gz", ".asdf"))
                    if named and not path.name.startswith(".") and "pars-" not in path.name:
                        self._add(path, self._index)
        return self._index

    @staticmethod
    def _add(path, index):
        from jwcal.core.asdf_file import header as asdf_header
        from jwcal.core.fits import read_primary_header

        try:
            header = (asdf_header if path.suffix == ".asdf" else read_primary_header)(str(path))
        except InputError as exc:
            log.warning("ignored: %s", exc)
            return
        kind = str(header.get("REFTYPE", "")).strip().lower()
        if kind:
            index.setdefault(kind, []).append((path, header))

    def find(self, kind, meta):
        """Return the best file of a type.

        Parameters
        ----------
        kind : str
            Reference type in lower case.
        meta : mapping
            Header of the exposure (`get`).

        Returns
        -------
        path : str or None
            None when there is none.
        reason : str
            Why this one, or why none.
        """
        if kind in self.named:
            path = self.named[kind]
            if path.upper() == "N/A":
                return None, "N/A given"
            if not Path(path).is_file():
                raise ReferenceFileError(f"{path}: no such {kind.upper()} reference file")
            return path, "named"
        best, wrong = None, ""
        for path, header in self.index().get(kind, ()):
            score = self._score(kind, header, meta)
            if isinstance(score, str):
                wrong = f"{path.name} is for {score}"
                continue
            key = (score, str(header.get("USEAFTER", "")), path.name)
            if best is None or key > best[0]:
                best = (key, path)
        if best is None and self.directory is None:
            return None, "none given"
        if best is None:
            return None, f"none in {self.directory} fits" + (f": {wrong}" if wrong else "")
        return str(best[1]), f"{best[0][0]} keywords match"

    def find_pars(self, steps, meta):
        """Parameter reference files in the directory for this exposure.

        Parameters
        ----------
        steps : sequence of Step
            Steps of the run.
        meta : mapping
            Header of the exposure.

        Returns
        -------
        list of str
            At most one per step, of the names ``*pars-<step>step*.asdf``, whose
            instrument, when the file names one, is that of the exposure.
        """
        if self.directory is None:
            return []
        found = {}
        instrument = str(meta.get("INSTRUME", "")).lower()
        for path in sorted(Path(self.directory).glob("*pars-*.asdf")):
            kind = path.name.split("pars-", 1)[1].split("step")[0].split("_")[0]
            owner = path.name.split("pars-", 1)[0].strip("_").split("_")[-1]
            if owner not in ("", "jwst", instrument):
                continue
            for step in steps:
                if kind == step.name.replace("_", "") or (
                    kind == "darkcurrent" and step.name == "dark_current"
                ):
                    found[step.name] = str(path)
        return list(found.values())

    @staticmethod
    def _score(kind, header, meta):
        """Count the keywords that match, or say in words what does not."""
        instrument = str(meta.get("INSTRUME", "")).upper()
        mine = str(header.get("INSTRUME", "")).strip().upper()
        if mine not in _WILD and mine != instrument:
            return f"INSTRUME {mine}"
        table = _parkeys().get(kind, {"*": ["DETECTOR"]})
        score = 0
        for key in table.get(instrument, table["*"]):
            value = str(meta.get(key, "") or "").strip().upper()
            pattern = header.get("P_" + key[:6])
            wanted = str(header.get(key, "") if pattern is None else pattern).strip().upper()
            options = {w.strip() for w in wanted.split("|") if w.strip()}
            if not options or options & _WILD:
                continue
            if value in options:
                score += 1
            elif key == "SUBARRAY" and "FULL" in options:
                # A full-frame file can be cut to the subarray; an exact one is preferred.
                continue
            else:
                return f"{key} {wanted}, " + (f"not {value}" if value else "which the exposure does not name")
        if _time(header.get("USEAFTER")) > _taken(meta):
            return f"exposures after {header.get('USEAFTER')}"
        return score


def _taken(meta):
    date, time = meta.get("DATE-OBS"), meta.get("TIME-OBS", "00:00:00")
    if date is None:
        return dt.datetime(9999, 12, 31)  # noqa: DTZ001 - as above
    found = _time(f"{date}T{time}")
    if found == _NO_TIME:
        label = f"{meta.label}: " if hasattr(meta, "label") else ""
        raise InputError(f"{label}header keywords DATE-OBS, TIME-OBS = {date!r}, {time!r} are no time")
    return found


def _time(text):
    text = str(text or "").strip()
    # The parser of other forms takes longer to load than all references to be found.
    if _ISO.fullmatch(text):
        try:
            return dt.datetime.fromisoformat(text)
        except ValueError:
            return _NO_TIME
    for form in ("%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d", "%b %d %Y %H:%M:%S", "%b %d %Y"):
        try:
            return dt.datetime.strptime(text, form)  # noqa: DTZ007 - as above
        except ValueError:
            continue
    return _NO_TIME

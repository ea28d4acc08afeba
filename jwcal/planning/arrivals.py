"""What arrived: raw files and products in a folder, or the rows of a pool."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from jwcal.core.errors import InputError

# Keywords that say what an exposure is; a predicted value that is empty is not compared.
FACTS = (
    "instrume", "exp_type", "filter", "pupil", "grating", "channel", "module", "band", "subarray", "readpatt", "ngroups",
    "nints", "exsegtot",
)  # fmt: skip
NAME = re.compile(r"jw\d{5}[\w.{}-]+\.(?:fits(?:\.gz)?|ecsv)")
_RAW_END = "_uncal.fits"


@dataclass(slots=True)
class Arrival:
    """A file that arrived, or a row of a pool.

    Attributes
    ----------
    name : str
        File name, without folders and without ".gz".
    where : str
        Path, or name of the pool and line.
    facts : dict of str to str
        Lower-case keywords and values of a raw file that its header or row gives.
    wrong : str
        What is wrong with the file itself, "" if nothing is.
    """

    name: str
    where: str
    facts: dict = field(default_factory=dict)
    wrong: str = ""

    @property
    def raw(self):
        """Whether this is a raw file (bool)."""
        return self.name.endswith(_RAW_END)


def read_arrivals(path, program):
    """Files of a program in a folder and the folders in it, or rows of a pool.

    Parameters
    ----------
    path : str or Path
        Folder, pool, or "-" for a pool on standard input.
    program : str
        Five digits; files of other programs are left out.

    Returns
    -------
    list of Arrival
        By name.

    Raises
    ------
    InputError
        If there is neither a folder nor a pool.
    """
    start = f"jw{program}"
    if str(path) != "-" and not Path(path).exists():
        raise InputError(f"{path}: no such folder or pool")
    found = _in_folder(path, start) if Path(path).is_dir() else _in_pool(path, start)
    return sorted(found, key=lambda arrival: (arrival.name, arrival.where))


def _in_folder(path, start):
    def fail(exc):
        raise InputError(f"{exc.filename}: cannot be read: {exc.strerror}") from exc

    for folder, _, files in os.walk(path, onerror=fail):
        for name in files:
            if not (name.startswith(start) and NAME.fullmatch(name)):
                continue
            where = Path(folder) / name
            arrival = Arrival(name.removesuffix(".gz"), str(where))
            if arrival.raw and "_gs-" not in name:
                arrival.facts, arrival.wrong = _facts(where)
            yield arrival


def _facts(path):
    """Facts from a raw file, and what is wrong with it."""
    from jwcal.core.fits import open_fits

    try:
        with open_fits(path) as file:
            header = file.primary.header
            return {key: _text(header.get(key.upper(), "")) for key in FACTS if key.upper() in header}, ""
    except InputError as exc:
        return {}, str(exc).removeprefix(f"{path}: ")


def _in_pool(path, start):
    from jwcal.associations.pool import EMPTY, read_pool

    pool = read_pool(path)
    kept = [key for key in FACTS if key in pool.at]
    for index, row in enumerate(pool.rows):
        name = row[pool.at["filename"]]
        if name.startswith(start):
            facts = {key: row[pool.at[key]] for key in kept if row[pool.at[key]] not in EMPTY}
            yield Arrival(name, pool.where(index), facts)


def _text(value):
    return str(value).strip().lower()

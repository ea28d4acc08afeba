"""APT's pointing report: the visits, tiles and dithers as APT made them.

Source: reports of APT 25.4 to 2021.3 and later ("Export: pointing file").
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from jwcal.core.errors import InputError

_VISIT = re.compile(r"^\*\* Visit (\d+):(\d+)")
_FLOAT = r"[-+]?\d+\.\d*"
# Tar Tile Exp Dith Aperture, number and name of the target (cut to some characters), RA and Dec, eight
# offsets, level and type.
_ROW = re.compile(
    r"^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(\d+)\s(.*?)\s*"
    rf"({_FLOAT})\s+({_FLOAT})\s+(?:{_FLOAT}\s+){{6}}({_FLOAT})\s+({_FLOAT})\s+(\S+)\s+(\S+)"
)


@dataclass(slots=True)
class Point:
    """One line of the report: one instrument at one point of a pattern.

    Attributes
    ----------
    target : int
        Running number of the target in the observation; 0 for target acquisition.
    tile : int
        Tile of the mosaic, from 1; 0 for target acquisition.
    config : int
        Running number of the configuration in the tile ("Exp"); 0 for target acquisition.
    dither : int
        Point of the pattern, from 1 ("Dith"); 0 for target acquisition.
    aperture : str
        SIAF aperture that is placed on the target.
    target_number : int
        Number of the target in the program.
    ra, dec : float
        Degrees.
    offset : (float, float)
        IdlX and IdlY: place of the target in the Ideal frame of the aperture (arcsec).
    level : str
        What moved the telescope: TARGET, TILE, FILTER, DITHER, SUBDITHER, ...
    kind : str
        SCIENCE, PARALLEL, DIRECT, T_ACQ, CONFIRM, OUTOFFLD, ...
    parallel : bool
        A coordinated parallel of the point before it.
    """

    target: int
    tile: int
    config: int
    dither: int
    aperture: str
    target_number: int
    ra: float
    dec: float
    offset: tuple[float, float]
    level: str
    kind: str
    parallel: bool = False


@dataclass(slots=True)
class PointingVisit:
    """A visit of the report: observation and visit numbers (int), points (list of Point)."""

    observation: int
    number: int
    points: list[Point] = field(default_factory=list)


def read_pointing(path):
    """Read a pointing report.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    list of PointingVisit
        In the order of the file.

    Raises
    ------
    InputError
        If the file cannot be read, is not such a report, or a line of it is damaged.
    """
    try:
        content = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if "JWST Pointing Report" not in content:
        raise InputError(f"{path}: not a pointing report of APT; export one with File, Export, pointing file")
    visits: list[PointingVisit] = []
    for at, line in enumerate(content.splitlines(), 1):
        head = _VISIT.match(line)
        if head:
            visits.append(PointingVisit(int(head[1]), int(head[2])))
        elif not line.strip() or line[0] in "#=*" or line.startswith(("Tar ", "JWST ")):
            continue
        elif not visits:
            raise InputError(f"{path}: line {at}: a pointing before the first visit")
        else:
            _append(visits[-1].points, _point(line, f"{path}: line {at}"))
    return visits


def _append(points, point):
    """Add a point; a direct image of a parallel is told from the prime instrument by its aperture."""
    before = next((other for other in reversed(points) if not other.parallel), None)
    point.parallel = point.kind == "PARALLEL" or (
        before is not None
        and point.tile > 0
        and (before.tile, before.config, before.dither) == (point.tile, point.config, point.dither)
        and before.aperture[:3] != point.aperture[:3]
    )
    points.append(point)


def _point(line, where):
    row = _ROW.match(line)
    if row is None:
        raise InputError(f"{where}: not a line of a pointing report: {line.strip()[:60]!r}")
    target, tile, config, dither = (int(row[i]) for i in range(1, 5))
    ra, dec, x, y = (float(row[i]) for i in range(8, 12))
    return Point(target, tile, config, dither, row[5], int(row[6]), ra, dec, (x, y), row[12], row[13])

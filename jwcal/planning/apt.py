"""Observing programs as APT writes them.

APT (Astronomer's Proposal Tool) keeps a program in a .aptx file: a zip archive that holds the program as XML;
the same XML can be exported.  Names of elements are used without their name spaces: these changed their
prefixes, never their meaning, between versions.

Source: XML files of programs of schema versions 40 to 52.
"""

import gzip
import io
import re
import sys
import zipfile
import zlib
from pathlib import Path
from xml.etree import ElementTree as ET

from jwcal.core.errors import InputError
from jwcal.planning.model import Mosaic, Observation, Problem, Program, Target

_KINDS = {
    "FixedTargetType": "fixed",
    "SolarSystemTargetType": "moving",
    "GenericTargetType": "generic",
    "InternalTargetType": "internal",
}
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
# "label (Obs 12)", "Observation 12" for one without a label, or a list such as "[25][label (Obs 12)]".
_OBSERVATION_OF = re.compile(r"\(Obs (\d+)\)(?=$|[\],])|^Observation (\d+)$")
# An exported program of 500 observations has 10 MB; more than this is not a program.
_LIMIT = 200_000_000
# Tiles of a mosaic that are believed without a list of them.
_TILES = 999


def read_program(path):
    """Read a program.

    Parameters
    ----------
    path : str or Path
        .aptx or .xml file, either of them compressed with gzip, or "-" for standard input.

    Returns
    -------
    Program
        Without visits.

    Raises
    ------
    InputError
        If the file is missing, is not XML, or is not a program of APT.
    """
    name = "standard input" if str(path) == "-" else str(path)
    root = _parse(_xml_of(_bytes_of(path, name), name), name)
    if root.tag != "JwstProposal":
        raise InputError(
            f"{name}: <{root.tag}> is not a program of APT; give the .aptx file or its XML export"
        )
    about = _first(root, "ProposalInformation")
    program = Program(
        number=_program_number(text(about, "ProposalID")),
        title=text(about, "Title"),
        pi=_investigator(_first(about, "PrincipalInvestigator")),
        category=text(about, "ProposalCategory"),
        cycle=_integer(text(about, "Cycle"), 0),
        apt_version=" ".join(root.get("APTVersion", "").split()),
        prd=root.get("PRDVersion", ""),
        path=name,
    )
    if program.number == "00000":
        program.problems.append(Problem(0, "the file has no program number: names begin with jw00000"))
    _add_targets(program, _first(root, "Targets"))
    for group in root.iter("ObservationGroup"):
        for element in group.iterfind("Observation"):
            _add_observation(program, element)
    if not program.observations:
        program.problems.append(Problem(0, "the program has no observations"))
    _add_status(program, _first(root, "VisitStatuses"))
    _add_links(program, _first(root, "LinkingRequirements"))
    _add_roles(program)
    return program


def text(element, *names):
    """Text of the first child of one of the names.

    Parameters
    ----------
    element : Element or None
    *names : str
        Local names, tried in turn.

    Returns
    -------
    str
        Stripped; "" if there is no such child.
    """
    if element is not None:
        for name in names:
            child = element.find(name)
            if child is not None and child.text and child.text.strip():
                return child.text.strip()
    return ""


def number(element, *names, default=None):
    """Integer in the first child of one of the names, `default` if there is none."""
    return _integer(text(element, *names), default)


def _bytes_of(path, name):
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(_LIMIT + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(_LIMIT + 1)
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: cannot be read: {reason}") from error
    if len(data) > _LIMIT:
        raise InputError(f"{name}: more than {_LIMIT} bytes: not a program of APT")
    return data


def _xml_of(data, name):
    if data[:2] != b"PK":
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inside = [info for info in archive.infolist() if info.filename.lower().endswith(".xml")]
            for info in sorted(inside, key=lambda info: (info.filename.count("/"), info.filename)):
                if info.file_size > _LIMIT:
                    raise InputError(
                        f"{name}: {info.filename} in it has {info.file_size} bytes: not a program"
                    )
                found = archive.read(info)
                if b"JwstProposal" in found[:20_000]:
                    return found
    except (
        zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError
    ) as error:  # fmt: skip
        raise InputError(f"{name}: damaged .aptx file: {error}; export the program again from APT") from error
    raise InputError(f"{name}: no XML of a JWST program in this archive; save it as .aptx from APT")


def _parse(data, name):
    # Entities of one's own have no place in a program and can grow without bound.  UTF-16 has zeros between.
    letters = data.replace(b"\0", b"")
    if b"<!ENTITY" in letters or b"<!DOCTYPE" in letters:
        raise InputError(f"{name}: declares a document type: not a program of APT")
    try:
        root = ET.fromstring(data)  # noqa: S314 - no document types, see above
    except ET.ParseError as error:
        line, column = error.position
        what = str(error).split(":")[0]
        text_ = f"{name}: line {line}, column {column + 1}: {what}: not well-formed XML"
        raise InputError(f"{text_}; export the program again from APT") from error
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    return root


def _first(element, tag):
    found = None if element is None else element.find(tag)
    return found if found is not None else ET.Element(tag)


def _integer(cell, default):
    try:
        return int(float(cell))
    except (ValueError, OverflowError):
        return default


def _program_number(cell):
    digits = re.sub(r"\D", "", cell)
    return (digits or "0").zfill(5)


def _investigator(element):
    address = _first(element, "InvestigatorAddress")
    return " ".join(part for part in (text(address, "FirstName"), text(address, "LastName")) if part)


def _add_targets(program, element):
    for child in element.iterfind("Target"):
        at = _integer(text(child, "Number"), None)
        if at is None:
            program.problems.append(Problem(0, f"target {text(child, 'TargetName')!r} has no number"))
            continue
        kind = child.get(_TYPE, "FixedTargetType").rpartition(":")[2]
        name = text(child, "TargetName", "TargetID")
        target = Target(
            number=at,
            name=name,
            ident=f"{at} {name}",
            archive_name=text(child, "TargetArchiveName"),
            kind=_KINDS.get(kind, "fixed"),
            extended=(text(child, "Extended") or "UNKNOWN").upper(),
            background_required=text(child, "BackgroundTargetReq").lower() == "true",
        )
        place = child.find("EquatorialCoordinates")
        if place is not None:
            target.ra, target.dec = _degrees(place.get("Value", ""))
            if target.ra is None and target.kind == "fixed":
                program.problems.append(Problem(0, f"target {target.ident}: coordinates are not readable"))
        program.targets[at] = target
    for child in element.iterfind("Target"):
        own = program.targets.get(_integer(text(child, "Number"), 0))
        if own is not None:
            cells = [
                cell
                for item in child
                if item.tag.startswith("BackgroundTarget") and item.tag != "BackgroundTargetReq"
                for value in item.itertext()
                for cell in value.strip(" []\n").split(",")
            ]
            named = [_target_number(program, cell) for cell in cells if cell.strip()]
            own.backgrounds = tuple(dict.fromkeys(at for at in named if at))


def _degrees(value):
    parts = value.split()
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return None, None
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    if len(numbers) != 6:
        return None, None
    ra = 15 * (numbers[0] + numbers[1] / 60 + numbers[2] / 3600)
    dec = abs(numbers[3]) + numbers[4] / 60 + numbers[5] / 3600
    return ra, -dec if parts[3].startswith("-") else dec


def _target_number(program, cell):
    """Find the number of the target that "4 NAME" names; 0 for none."""
    head, _, rest = cell.strip().partition(" ")
    at = _integer(head, 0)
    if at in program.targets:
        return at
    for target in program.targets.values():
        if cell.strip() and target.name == (rest or head):
            return target.number
    return 0


def _add_observation(program, element):
    at = number(element, "Number")
    if at is None:
        program.problems.append(Problem(0, f"observation {text(element, 'Label')!r} has no number"))
        return
    body = _first(element, "Template")
    templates = [child for child in body if isinstance(child.tag, str)]
    observation = Observation(
        number=at,
        label=text(element, "Label"),
        instrument=text(element, "Instrument").upper(),
        template=templates[0].tag if templates else "",
        target=_target_number(program, text(element, "TargetID")),
        element=element,
        mosaic=_mosaic(program, at, element.find("MosaicParameters")),
        requirements=_requirements(element.find("SpecialRequirements")),
        visit_numbers=_visit_numbers(element),
    )
    if text(element, "CoordinatedParallel").lower() == "true":
        observation.parallel_set = text(element, "CoordinatedParallelSet") or "unnamed"
    observation.on_hold = observation.requirements.get("OnHold", "")
    for flag in ("Skipped", "Withdrawn", "Deleted"):
        if (element.get(flag) or text(element, flag)).lower() == "true":
            observation.skipped = flag.lower()
    if not templates:
        program.problems.append(Problem(at, "the observation has no template"))
    program.observations.append(observation)


def _mosaic(program, at, element):
    if element is None:
        return Mosaic()
    included: list[int] = []
    for tile in element.iterfind("MosaicTiles"):
        state = text(tile, "TileState").lower()
        if not any(word in state for word in ("exclu", "removed", "not included")):
            included.append(_integer(tile.get("TileNumber", ""), len(included) + 1))
    rows = max(number(element, "Rows", default=1), 1)
    columns = max(number(element, "Columns", default=1), 1)
    if not included and rows * columns > _TILES:
        program.problems.append(Problem(at, f"a mosaic of {rows} x {columns} tiles that lists none"))
        return Mosaic(rows, columns)
    return Mosaic(rows, columns, tuple(included) or tuple(range(1, rows * columns + 1)))


def _requirements(element):
    found = {}
    for child in element if element is not None else ():
        if not isinstance(child.tag, str):
            continue
        cells = [value.strip() for value in child.itertext() if value.strip()]
        cells += [f"{name}={value}" for name, value in child.attrib.items()]
        found[child.tag] = " ".join(cells) or "yes"
    return found


def _visit_numbers(element):
    numbers = [_integer(child.get("Number", ""), None) for child in element.iterfind("Visit")]
    return tuple(at for at in numbers if at is not None)


def _add_status(program, element):
    by_number = {observation.number: observation for observation in program.observations}
    for child in element.iterfind("VisitStatus"):
        # Program, observation and visit: 01087002004.
        found = re.fullmatch(r"\d{5}(\d{3})(\d{3})", child.get("VisitId", ""))
        if found and int(found[1]) in by_number:
            by_number[int(found[1])].visit_status[int(found[2])] = child.get("Status", "").upper()


def _named(element):
    """Find the numbers of the observations that an element names."""
    found: list[int] = []
    for value in element.itertext():
        found += [int(one or other) for one, other in _OBSERVATION_OF.findall(value.strip())]
    return tuple(dict.fromkeys(found))


def _add_links(program, element):
    by_number = {observation.number: observation for observation in program.observations}
    for child in element:
        if not isinstance(child.tag, str):
            continue
        named = _named(child)
        for at in named:
            if at in by_number:
                by_number[at].links.append((child.tag, named))


def _add_roles(program):
    """Set which observation is a reference star or background of which."""
    by_number = {observation.number: observation for observation in program.observations}
    backgrounds = {at for target in program.targets.values() for at in target.backgrounds}
    for observation in program.observations:
        element = observation.element
        for child in element.iter():
            if child.tag in ("PsfReference", "PsfReferenceObservation", "PsfReferenceObservations"):
                named = _named(child)
                observation.psf_references += tuple(
                    at for at in named if at not in observation.psf_references
                )
                if not named and (child.text or "").strip().lower() == "true":
                    observation.is_psf = True
        target = program.targets.get(observation.target)
        if target is not None:
            observation.backgrounds = tuple(
                other.number for other in program.observations if other.target in target.backgrounds
            )
        observation.is_background = observation.target in backgrounds
    for observation in program.observations:
        for at in observation.psf_references:
            if at in by_number:
                by_number[at].is_psf = True

"""Visits and exposures of a program, before the telescope moved.

A template function, one for every observing template of APT, is called once for every tile of the mosaic:

    function(observation, element, program) -> iterator of model.Exposure

`observation` is the model.Observation, `element` the element of the template (local names, no namespaces),
`program` the model.Program.  It gives the exposures of the template's own instrument in the order in which
they are taken, with what the template decides: exp_type, detectors, subarray, readpatt, ngroups, nints,
config (running number of the configuration: the column "Exp" of APT's pointing report, 0 for acquisition),
dither, target, flags, sure.  It leaves tile and order alone, and group, activity and number unless the module
lists the template in NAMED.  It raises planning.templates.UnpredictableError("one sentence") for what cannot
be predicted.

The exposures of coordinated parallels come from templates.parallel:

    coordinated(observation, primes, program, templates) -> iterator of model.Exposure

`primes` are the exposures of one tile, with `order` set; an exposure of a parallel has the order of the
prime exposure it is taken with, parallel="coordinated", and sequence "2" to "5".

Names of files are given at the end, from everything that is in a visit (planning.naming).
"""

import copy
from collections import Counter
from itertools import groupby, islice

from jwcal.planning.model import Problem, Visit
from jwcal.planning.naming import name_visit
from jwcal.planning.templates import (
    MOST,
    MOST_FRAMES,
    UnpredictableError,
    coron,
    engineering,
    fgs,
    miri,
    miri_calibration,
    nircam,
    niriss,
    nirspec,
    nirspec_calibration,
    parallel,
    timeseries,
    wfsc,
)

_MODULES = (
    engineering,
    coron,
    fgs,
    miri,
    miri_calibration,
    nircam,
    niriss,
    nirspec,
    nirspec_calibration,
    timeseries,
    wfsc,
)
TEMPLATES = {name: function for module in _MODULES for name, function in module.TEMPLATES.items()}
# Patterns with points that can be farther apart than a visit allows (30 to 80 arcsec).
_WIDE = frozenset(("FULL", "FULLBOX", "INTRAMODULEX", "FGS"))
# Status of visits that will not be taken.
_NOT_TAKEN = frozenset(("SKIPPED", "WITHDRAWN"))
# Templates whose function gives the parts of the file names itself.
NAMED = frozenset(name for module in _MODULES for name in getattr(module, "NAMED", ()))


def expand(program, pointing=None):
    """Fill the visits of every observation of a program.

    Parameters
    ----------
    program : Program
        Changed in place; what cannot be predicted is added to its problems.
    pointing : list of PointingVisit, optional
        APT's pointing report of the program: visits are then those of APT.

    Returns
    -------
    Program
        The same.
    """
    reported: dict[int, list] = {}
    for visit in pointing or ():
        reported.setdefault(visit.observation, []).append(visit)
    for observation in program.observations:
        observation.visits = []
        if observation.skipped:
            program.problems.append(Problem(observation.number, f"not observed: {observation.skipped}"))
            continue
        try:
            tile = _one_tile(observation, program)
        except UnpredictableError as error:
            program.problems.append(Problem(observation.number, f"{observation.template}: {error}"))
            continue
        tiles = _tiles(observation, tile)
        observation.visits = _visits(observation, tiles, reported.get(observation.number), program)
        for visit in observation.visits:
            _name(observation, visit, program)
        _leave_out(observation, program)
    return program


def _leave_out(observation, program):
    """Leave out the visits that the program says will not be taken."""
    for visit in observation.visits:
        status = observation.visit_status.get(visit.number, "")
        if status in _NOT_TAKEN:
            text = f"visit {visit.number} is {status.lower()}: its exposures are left out"
            program.problems.append(Problem(observation.number, text))
            visit.exposures = []


def _one_tile(observation, program):
    function = TEMPLATES.get(observation.template)
    if function is None:
        raise UnpredictableError("this template is not known: its exposures are left out")
    element = observation.element.find(f"Template/{observation.template}")
    exposures = list(islice(function(observation, element, program), MOST + 1))
    if len(exposures) > MOST:
        raise UnpredictableError(f"more than {MOST} exposures, which no visit can hold")
    _check_frames(exposures)
    if parallel.is_pure(observation):
        exposures = list(parallel.pure(exposures))
    if not exposures:
        program.problems.append(Problem(observation.number, f"{observation.template}: takes no exposures"))
    target = program.targets.get(observation.target)
    for exposure in exposures:
        exposure.target = exposure.target or observation.target
        exposure.moving = target is not None and target.kind == "moving"
        exposure.is_psf = exposure.is_psf or observation.is_psf
        exposure.bkgdtarg = exposure.bkgdtarg or observation.is_background
    return exposures


def _check_frames(exposures):
    for exposure in exposures:
        for detector in exposure.detectors:
            _, ngroups, nints = exposure.readout_of(detector)
            if max(ngroups, 1) * max(nints, 1) > MOST_FRAMES:
                raise UnpredictableError(
                    f"an exposure of {ngroups} groups and {nints} integrations, which no visit can hold"
                )


def _tiles(observation, exposures):
    """Exposures of every tile: dict of tile to list of Exposure."""
    found = {}
    for tile in observation.mosaic.included:
        own = copy.deepcopy(exposures)
        for exposure in own:
            exposure.tile = tile
        found[tile] = own
    return found


def _visits(observation, tiles, reported, program):
    if reported:
        own = _visits_of_report(observation, tiles, reported, program)
        if own:
            return own
    acquisitions = _acquisitions(tiles)
    visits = []
    for number, units, sure in _split(observation, _units(tiles)):
        visit = Visit(number, tuple(dict.fromkeys(exposure.tile for unit in units for exposure in unit)))
        visit.exposures = copy.deepcopy(acquisitions) + [exposure for unit in units for exposure in unit]
        for exposure in visit.exposures:
            exposure.tile = exposure.tile or visit.tiles[0]
            exposure.sure = exposure.sure or sure or _afar(observation, exposure)
        visits.append(visit)
    return visits


def _acquisitions(tiles):
    """Target acquisitions before the exposures (list): every visit starts with them."""
    first = next(iter(tiles.values()))
    return first[: _leading(first)]


def _leading(exposures):
    """Count the exposures of target acquisition that belong to no configuration."""
    return next((at for at, exposure in enumerate(exposures) if exposure.config), len(exposures))


def _units(tiles):
    """Exposures of each tile without the acquisitions before them: list of lists."""
    return [exposures[_leading(exposures) :] for exposures in tiles.values()]


def _split(observation, units):
    """Tell which visit holds what.

    Parameters
    ----------
    observation : Observation
    units : list of list of Exposure
        Exposures of each tile.

    Returns
    -------
    list of tuple
        Number of the visit, its units (list), why it is an estimate (str, "" if it is not).
    """
    numbers = observation.visit_numbers
    if len(numbers) <= 1 and (numbers or len(units) == 1):
        wide = "" if numbers else _wide(units)
        return [(numbers[0] if numbers else 1, units, wide)]
    if not numbers:
        why = "the program lists no visits: one visit for every tile is assumed"
        return [(at, [unit], why) for at, unit in enumerate(units, 1)]
    by_point = [
        list(run)
        for unit in units
        for _, run in groupby(unit, key=lambda exposure: (exposure.config, exposure.dither.primary))
    ]
    for finer in (units, by_point, [[exposure] for unit in units for exposure in unit]):
        if len(finer) == len(numbers):
            return [(number, [unit], "") for number, unit in zip(numbers, finer, strict=True)]
    why = "APT shares the pointings among the visits by their distance: its pointing report tells how"
    shared = units if len(units) >= len(numbers) else by_point
    size, more = divmod(len(shared), len(numbers))
    found, start = [], 0
    for at, number in enumerate(numbers):
        end = start + size + (at < more)
        if end > start:
            found.append((number, shared[start:end], why))
        start = end
    return found


def _wide(units):
    """Why one visit is only assumed where the program lists none (str): the pattern may be too wide."""
    exposures = [exposure for unit in units for exposure in unit]
    if any(exposure.dither.pattern in _WIDE and exposure.dither.primary_points > 1 for exposure in exposures):
        return "the program lists no visits: APT may split this dither pattern into several"
    return ""


def _afar(observation, exposure):
    """Why the visit of an image out of the field of a grism observation is assumed (str), "" if it is not."""
    afar = exposure.template == "NircamWfss" and exposure.direct and exposure.dither.points > 1
    if afar and not observation.visit_numbers:
        return "the program lists no visits: APT may put the images out of the field into visits of their own"
    return ""


def _visits_of_report(observation, tiles, reported, program):
    """Share the exposures among the visits of the pointing report; [] if the two do not agree."""
    predicted: dict[tuple[int, int], list] = {}
    acquisitions = _acquisitions(tiles)
    for tile, exposures in zip(tiles, _units(tiles), strict=True):
        for exposure in exposures:
            predicted.setdefault((tile, exposure.config), []).append(exposure)
    points = [
        (visit, point) for visit in reported for point in visit.points if not point.parallel and point.tile
    ]
    asked = Counter((point.tile, point.config) for _, point in points)
    wrong = [
        key
        for key in predicted.keys() | asked.keys()
        if not asked[key] or not predicted.get(key) or len(predicted[key]) % asked[key]
    ]
    if wrong:
        tile, config = min(wrong)
        text = (
            f"the pointing report has {asked[tile, config]} points for tile {tile}, configuration {config}, "
            f"where {len(predicted.get((tile, config), ()))} exposures are predicted: its visits are not used"
        )
        program.problems.append(Problem(observation.number, text))
        return []
    at_point = {key: len(exposures) // asked[key] for key, exposures in predicted.items()}
    found: dict[int, Visit] = {}
    for visit, point in points:
        own = found.setdefault(visit.number, Visit(visit.number, ()))
        if not own.exposures and any(each.kind == "T_ACQ" for each in visit.points):
            own.exposures += copy.deepcopy(acquisitions)
        key = point.tile, point.config
        taken, predicted[key] = predicted[key][: at_point[key]], predicted[key][at_point[key] :]
        for exposure in taken:
            exposure.offset = point.offset
        own.exposures += taken
        own.tiles = tuple(dict.fromkeys((*own.tiles, point.tile)))
    return list(found.values())


def _name(observation, visit, program):
    for at, exposure in enumerate(visit.exposures, 1):
        exposure.order = at
    parallels = []
    if observation.parallel_set:
        try:
            for _, run in groupby(list(visit.exposures), key=lambda exposure: exposure.tile):
                beside = list(parallel.coordinated(observation, list(run), program, TEMPLATES))
                _check_frames(beside)
                parallels += beside
        except UnpredictableError as error:
            problem = Problem(observation.number, str(error))
            if problem not in program.problems:
                program.problems.append(problem)
    visit.exposures = sorted(
        [*visit.exposures, *parallels], key=lambda exposure: (exposure.order, exposure.sequence)
    )
    if observation.template not in NAMED:
        name_visit(visit.exposures, waits=_waits(observation, visit))


def _waits(observation, visit):
    """Whether the exposures of a visit begin at a given time (bool): moving targets, phases of a period."""
    return any(exposure.moving for exposure in visit.exposures) or any(
        name.startswith("Phase") for name in observation.requirements
    )

"""Exposures of instruments that observe in parallel to another one.

A coordinated parallel has as many settings as its prime template has configurations; every exposure of the
prime instrument has one of the parallel instrument beside it, with the setting of the same number.

Source: JWST User Documentation, "Coordinated Parallel Observations", "Pure Parallel Observations"; pointing
reports of programs with coordinated parallels.
"""

from dataclasses import replace

from jwcal.planning.templates import UnpredictableError

_TEMPLATES = ("FirstCoordinatedTemplate", "SecondCoordinatedTemplate", "ThirdCoordinatedTemplate")
_FIRST_SEQUENCE = 2
_SLOTS = "how often a pure parallel observation is taken is decided when the programs beside it are scheduled"


def parallel_elements(observation):
    """Elements of the templates of coordinated parallels of an observation (list), in their order."""
    found = []
    for tag in _TEMPLATES:
        holder = observation.element.find(tag)
        if holder is not None:
            found += [child for child in holder if isinstance(child.tag, str)][:1]
    return found


def coordinated(observation, primes, program, templates):
    """Exposures of the coordinated parallels.

    Parameters
    ----------
    observation : model.Observation
    primes : list of Exposure
        Those of the prime instrument in one tile of a visit, in their order, with `order` set.
    program : model.Program
    templates : dict
        Template functions by local name of their element.

    Yields
    ------
    Exposure
        In the order of the primes, of one parallel instrument after the other.

    Raises
    ------
    UnpredictableError
        If a parallel template is not known, or has fewer settings than the prime one has configurations.
    """
    observed = [prime for prime in primes if not prime.acquisition]
    last = max((prime.config for prime in observed), default=0)
    for sequence, element in enumerate(parallel_elements(observation), _FIRST_SEQUENCE):
        if element.tag not in templates:
            raise UnpredictableError(f"{element.tag}: this parallel template is not known")
        beside = _settings(templates[element.tag](observation, element, program))
        if last > len(beside):
            raise UnpredictableError(
                f"{element.tag}: the parallel template has {len(beside)} settings, but {observation.template}"
                f" has {last} configurations: the exposures of the parallel are left out"
            )
        for prime in observed:
            for exposure in beside[prime.config - 1]:
                yield replace(
                    exposure,
                    detectors=tuple(replace(detector) for detector in exposure.detectors),
                    config=prime.config,
                    target=prime.target,
                    tile=prime.tile,
                    dither=prime.dither,
                    order=prime.order,
                    offset=prime.offset,
                    sequence=str(sequence),
                    parallel="coordinated",
                    moving=prime.moving,
                    sure=exposure.sure or prime.sure,
                )


def _settings(exposures):
    """Exposures at the first point of every configuration of a parallel template (list of list)."""
    found: dict[int, list] = {}
    for exposure in exposures:
        if exposure.acquisition:
            continue
        own = found.setdefault(exposure.config, [])
        if not own or exposure.dither.point == own[0].dither.point:
            own.append(exposure)
    return list(found.values())


def is_pure(observation):
    """Whether an observation is taken beside those of other programs (bool)."""
    if "Parallel" in observation.requirements:
        return True
    element = observation.element
    return any(
        element.find(tag) is not None for tag in ("PureParallelSlotGroupName", "PureParallelSlotGroup")
    )


def pure(exposures):
    """Mark exposures as those of a pure parallel observation.

    Parameters
    ----------
    exposures : iterable of Exposure
        One for each setting: such templates have no dithers.

    Yields
    ------
    Exposure
    """
    for exposure in exposures:
        yield replace(exposure, parallel="pure", sequence=str(_FIRST_SEQUENCE), sure=exposure.sure or _SLOTS)

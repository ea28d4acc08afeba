"""Exposures of wavefront sensing and control: NIRCam and guider images between moves of the mirror.

Source: APT's pointing reports, visit files and association pools of the programs of wavefront sensing.
"""

import re

from jwcal.planning.apt import number, text
from jwcal.planning.model import Dither, Exposure
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.common import points, single_detector, table
from jwcal.planning.templates.nircam import detectors, optics


def _image(element, parameters, config, dither, short, long, **more):
    module = text(element, "Module") or "A"
    subarray = more.pop("subarray", "FULL")
    return Exposure(
        instrument="NIRCAM",
        exp_type=more.pop("exp_type", "NRC_IMAGE"),
        template=element.tag,
        detectors=detectors(module, subarray, tuple(short), tuple(long)),
        subarray=subarray,
        readpatt=text(parameters, "ReadoutPattern") or "RAPID",
        ngroups=number(parameters, "Groups", default=0),
        nints=number(parameters, "Integrations", default=1),
        config=config,
        dither=dither,
        **more,
    )


def _filters(parameters):
    short, long = optics(parameters)
    return short, long if long[1] else table("wfsc")["long"]["commissioning"]


def commissioning(observation, element, program):
    """WfscCommissioning: an image before the first and one after every move of a group of segments."""
    moves = number(element, "ExpectedWfcGroups", default=0)
    for config, parameters in enumerate(element.iter("FilterConfig"), 1):
        for at in range(1, moves + 2):
            yield _image(
                element, parameters, config, Dither(), *_filters(parameters), activity="01", number=at
            )


def alignment(observation, element, program):
    """WfscGlobalAlignment: images of NIRCam and of the guider, as many as the iteration asks for."""
    iteration = text(element, "GaIteration").upper()
    plan = table("wfsc")["global"].get(iteration)
    if plan is None:
        raise UnpredictableError(f"global alignment iteration {iteration or 'not given'} is not known")
    parameters = element.find("NircamParameters")
    guider = re.search(r"Guider ([12])", observation.requirements.get("GuideStarID", ""))
    for config, (instrument, images, group) in enumerate(plan, 1):
        for at in range(1, images + 1):
            if instrument == "NIRCAM":
                yield _image(
                    element, parameters, config, Dither(), *_filters(parameters), group=group, number=at
                )
            else:
                yield Exposure(
                    instrument="FGS",
                    exp_type="FGS_IMAGE",
                    template=element.tag,
                    detectors=single_detector(f"GUIDER{guider[1] if guider else 1}", "FULL"),
                    subarray="FULL",
                    readpatt="FGSRAPID",
                    ngroups=number(element.find("FgsParameters"), "Groups", default=0),
                    nints=number(element.find("FgsParameters"), "Integrations", default=1),
                    config=config,
                    group=group,
                    number=at,
                    sure="" if guider else "the program does not say which guider is used",
                )


def coarse_phasing(observation, element, program):
    """WfscCoarsePhasing: in focus, four dispersed and two defocused images, each at two points."""
    plan = table("wfsc")["coarse"]
    module = text(element, "Module") or "A"
    for config, (name, pupil, filter_, activity) in enumerate(plan["configs"], 1):
        subarray = plan["subarray"].get(module, "FULL") if config == 1 else "FULL"
        for dither in points(plan["points"], 1, "WFSC"):
            yield _image(
                element,
                element.find(name),
                config,
                dither,
                (pupil, filter_),
                table("wfsc")["long"]["phasing"],
                subarray=subarray,
                activity=activity,
                number=dither.point,
            )


def fine_phasing(observation, element, program):
    """WfscFinePhasing: line-of-sight jitter, defocused images at two points, or both.

    The exposures are taken again after the correction if the observation controls the mirror.
    """
    kind = text(element, "SensingType")
    again = observation.requirements.get("WavefrontSensing", "SENSING_ONLY") != "SENSING_ONLY"
    if kind in ("LOS Jitter", "Both"):
        yield _jitter_acquisition(element)
    config = 0
    for _ in range(2 if again else 1):
        if kind in ("LOS Jitter", "Both"):
            config += 1
            yield _jitter(element, config)
        if kind in ("Fine Phasing", "Both"):
            for exposure in _diversity(element, config):
                yield exposure
                last = exposure.config
            config = last


def _diversity(element, before):
    plan = table("wfsc")["fine"]
    diversity = text(element, "Diversity")
    if diversity not in plan["diversity"]:
        raise UnpredictableError(f"diversity {diversity or 'not given'} of fine phasing is not known")
    taken = plan["configs"][: plan["diversity"][diversity]]
    for config, (name, pupil, filter_) in enumerate(taken, before + 1):
        for dither in points(plan["points"], 1, "WFSC"):
            long = table("wfsc")["long"]["phasing"]
            yield _image(element, element.find(name), config, dither, (pupil, filter_), long)


def _jitter_acquisition(element):
    plan = table("wfsc")
    exposure = _image(
        element,
        element,
        0,
        Dither(),
        plan["los"]["optics"],
        plan["long"]["los"],
        subarray=plan["los"]["acquisition"][text(element, "Module") or "A"],
        exp_type="NRC_TACQ",
        acquisition=True,
    )
    exposure.ngroups = number(element, "AcqNumGroups", default=0)
    return exposure


def _jitter(element, config):
    plan = table("wfsc")
    exposure = _image(
        element,
        element,
        config,
        Dither(),
        plan["los"]["optics"],
        plan["long"]["los"],
        subarray=plan["los"]["exposure"][text(element, "Module") or "A"],
    )
    exposure.ngroups = number(element, "LosImgNumGroups", default=0)
    exposure.nints = number(element, "LosImgNumInts", default=1)
    return exposure


NAMED = ("WfscCommissioning", "WfscGlobalAlignment", "WfscCoarsePhasing")
TEMPLATES = {
    "WfscCommissioning": commissioning,
    "WfscGlobalAlignment": alignment,
    "WfscCoarsePhasing": coarse_phasing,
    "WfscFinePhasing": fine_phasing,
}

"""Exposures of grism time series of NIRCam and of slitless spectra of NIRISS.

Source: JWST User Documentation on these templates of APT; APT's pointing reports of programs.
"""

from jwcal.planning.apt import text
from jwcal.planning.model import Dither, Exposure
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.common import single_detector
from jwcal.planning.templates.coron import niriss_acquisition
from jwcal.planning.templates.fields import acquisition_target, readout, repeats, settings
from jwcal.planning.templates.nircam import detectors, optics

_ACQUISITION = "SUB32TATSGRISM"
_FILTER = "F335M"
_RED = "which of the exposures is through F277W is an estimate"


def grism(observation, element, program):
    """NircamGrismTimeSeries: acquisition, then one long exposure or several.

    The long-wavelength detector is dispersed; the short-wavelength ones take images at the same time, with a
    weak lens or a filter, or are dispersed as well by a Hartmann sensor.
    """
    module = text(element, "Module") or "A"
    target = acquisition_target(observation, element)
    if target is not None:
        subarray = text(element, "AcqSubarray") or _ACQUISITION
        yield Exposure(
            instrument="NIRCAM",
            exp_type="NRC_TACQ",
            template=element.tag,
            detectors=detectors(
                module, subarray, ("CLEAR", ""), ("CLEAR", text(element, "AcqFilter") or _FILTER)
            ),
            subarray=subarray,
            **readout(element, "Acq"),
            config=0,
            target=target,
            acquisition=True,
        )
    for at, config in enumerate(settings(element), 1):
        subarray = text(config, "Subarray") or text(element, "Subarray") or "FULL"
        short, long = optics(config)
        for _ in range(repeats(config)):
            read = detectors(module, subarray, short, long)
            for detector in read:
                if detector.channel == "SHORT" and "DHS" not in detector.pupil:
                    detector.exp_type = "NRC_TSIMAGE"
            yield Exposure(
                instrument="NIRCAM",
                exp_type="NRC_TSGRISM",
                template=element.tag,
                detectors=read,
                subarray=subarray,
                **readout(config),
                config=at,
                target=observation.target,
                tso=True,
            )


def single_object(observation, element, program):
    """NirissSoss: acquisition, then the exposures in their order; the last of several is through F277W."""
    subarray = text(element, "Subarray") or "SUBSTRIP256"
    yield from niriss_acquisition(observation, element)
    found = settings(element)
    if not found:
        raise UnpredictableError("the NIRISS SOSS observation has no exposure with a readout")
    red = [
        at for at, config in enumerate(found) if "F277W" in f"{config.tag} {text(config, 'Filter')}".upper()
    ]
    guessed = len(found) > 1 and not red
    for at, config in enumerate(found):
        filtered = at in red or (guessed and at == len(found) - 1)
        for _ in range(repeats(config)):
            yield Exposure(
                instrument="NIRISS",
                exp_type="NIS_SOSS",
                template=element.tag,
                detectors=single_detector("NIS", subarray, "F277W" if filtered else "CLEAR", "GR700XD"),
                subarray=subarray,
                **readout(config),
                config=at + 1,
                target=observation.target,
                dither=Dither(),
                tso=True,
                sure=_RED if guessed else "",
            )


TEMPLATES = {"NircamGrismTimeSeries": grism, "NirissSoss": single_object}

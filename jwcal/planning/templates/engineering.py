"""Engineering and calibration exposures of NIRCam, NIRISS and FGS, and templates that take none.

Of these templates only NircamDark has a public program (1409).  The others are read by the fields that all
templates share, and their exposures are estimates.

Source: JWST User Documentation on engineering templates; EXP_TYPE of jwst 3.0.0.
"""

from jwcal.planning.apt import text
from jwcal.planning.model import Exposure
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.common import single_detector
from jwcal.planning.templates.fields import readout, repeats, settings
from jwcal.planning.templates.nircam import detectors, optics
from jwcal.planning.templates.niriss import wheels

_UNSEEN = "no public program has this template: its exposures are read by the fields that all templates share"
_NIRCAM = {"NircamDark": "NRC_DARK", "NircamInternalFlat": "NRC_LED", "NircamExternalFlat": "NRC_FLAT"}
_NIRISS = {"NirissDark": "NIS_DARK", "NirissInternalFlat": "NIS_LAMP", "NirissFlatSuite": "NIS_LAMP"}
_FGS = {"FgsInternalFlat": "FGS_INTFLAT"}
_SCANS = ("NircamFocus", "NirissFocus", "FgsFocus", "MiriMimf", "NircamPilImaging", "NircamIprImaging")
_PASSIVE = (
    "IsimAsicTuning",
    "IsimDictionaryFileUpdate",
    "NircamWheelExercise",
    "PointingOnly",
    "RealtimeCommanding",
    "SafeModeRecovery",
    "StationKeeping",
    "WfscControlOnly",
)


def nircam(observation, element, program):
    """Darks and flats of NIRCam: every setting in turn, as often as asked for."""
    kind = _NIRCAM[element.tag]
    for at, config in enumerate(settings(element), 1):
        subarray = text(config, "Subarray") or text(element, "Subarray") or "FULL"
        short, long = optics(config) if kind != "NRC_DARK" else (("", ""), ("", ""))
        for _ in range(repeats(config)):
            yield Exposure(
                instrument="NIRCAM",
                exp_type=kind,
                template=element.tag,
                detectors=detectors(text(element, "Module") or "ALL", subarray, short, long),
                subarray=subarray,
                **readout(config),
                config=at,
                target=observation.target,
                lamp=text(config, "Lamp") or text(element, "Lamp"),
                sure="" if kind == "NRC_DARK" else _UNSEEN,
            )


def single(observation, element, program):
    """Darks and flats of NIRISS and of the guiders: every setting in turn, as often as asked for."""
    guider = element.tag in _FGS
    for at, config in enumerate(settings(element), 1):
        subarray = text(config, "Subarray") or text(element, "Subarray") or "FULL"
        name = (
            (text(config, "Detector") or text(element, "Detector") or "GUIDER1").upper() if guider else "NIS"
        )
        filter_ = text(config, "FilterWheel", "Filter")
        wheel = ("", "") if guider or not filter_ else wheels(filter_, text(config, "PupilWheel"))
        for _ in range(repeats(config)):
            yield Exposure(
                instrument="FGS" if guider else "NIRISS",
                exp_type=(_FGS | _NIRISS)[element.tag],
                template=element.tag,
                detectors=single_detector(name, subarray, *wheel),
                subarray=subarray,
                **readout(config),
                config=at,
                target=observation.target,
                lamp=text(config, "Lamp") or text(element, "Lamp"),
                sure=_UNSEEN,
            )


def scan(observation, element, program):
    """Templates that move a mechanism or mirrors between exposures."""
    raise UnpredictableError(
        "the positions at which its exposures are repeated are not known from the program"
    )


def nothing(observation, element, program):
    """Templates that take no exposures."""
    yield from ()


TEMPLATES = {
    **dict.fromkeys(_NIRCAM, nircam),
    **dict.fromkeys((*_NIRISS, *_FGS), single),
    **dict.fromkeys(_SCANS, scan),
    **dict.fromkeys(_PASSIVE, nothing),
}

"""Calibration exposures of NIRSpec: darks, lamps, focus.

Source: JWST User Documentation on NIRSpec engineering templates; XML of program 1164; EXP_TYPE of jwst 3.0.0.
"""

from jwcal.planning.apt import text
from jwcal.planning.model import Dither
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.fields import repeats, settings
from jwcal.planning.templates.nirspec import exposure_of

_MIMF = "how many positions of the mirrors an exposure is repeated at is not in the template"
_PASSIVE = (
    "NirspecMSAAnneal",
    "NirspecFilterGratingWheelTest",
    "NirspecMSAMasking",
)
_SCANS = {
    "NirspecFocus": "the positions of the focus mechanism of NIRSpec",
    "NirspecFocusReference": "the positions of the focus mechanism of NIRSpec",
    "NirspecMSAShortDetect": "the steps of the search for shorts of the shutter array",
}


def darks(observation, element, program):
    """NirspecDark: every setting in turn, as often as asked for."""
    for at, config in enumerate(settings(element), 1):
        for _ in range(repeats(config)):
            yield exposure_of(
                observation,
                element,
                config,
                at,
                Dither(),
                "NRS_DARK",
                subarray=text(config, "Subarray") or text(element, "Subarray") or "FULL",
                optics=("OPAQUE", text(config, "Grating") or "MIRROR"),
                target=0,
            )


def lamps(observation, element, program):
    """NirspecInternalLamp: every setting in turn, with its lamp and mode."""
    for at, config in enumerate(settings(element), 1):
        mode = text(config, "OperatingMode").upper().replace("_", "-")
        for _ in range(repeats(config)):
            yield exposure_of(
                observation,
                element,
                config,
                at,
                Dither(),
                "NRS_LAMP",
                subarray=text(config, "Subarray") or "FULL",
                optics=("OPAQUE", text(config, "Grating") or "MIRROR"),
                lamp=text(config, "Lamp"),
                opmode="MSASPEC" if mode in ("MSA", "MOS") else mode,
                msa_config=text(config, "MsaConfigFile") if mode != "IMAGE" else "",
                target=0,
            )


def mirrors(observation, element, program):
    """NirspecMimf: an image for every setting; the scan of the mirrors is not in the template."""
    for at, config in enumerate(settings(element), 1):
        for _ in range(repeats(config)):
            yield exposure_of(
                observation,
                element,
                config,
                at,
                Dither(),
                "NRS_MIMF",
                optics=(text(config, "Filter"), "MIRROR"),
                sure=_MIMF,
            )


def scan(observation, element, program):
    """Templates whose number of exposures is a matter of their execution."""
    raise UnpredictableError(f"{_SCANS[element.tag]} are not in the program")


def nothing(observation, element, program):
    """Templates that take no exposures."""
    yield from ()


TEMPLATES = {
    "NirspecDark": darks,
    "NirspecInternalLamp": lamps,
    "NirspecMimf": mirrors,
    **dict.fromkeys(_SCANS, scan),
    **dict.fromkeys(_PASSIVE, nothing),
}

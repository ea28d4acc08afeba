"""Calibration exposures of MIRI: darks, flats on the sky, cross-grating spectra.

Source: XML of programs 1027, 1046 and 1050; JWST User Documentation on MIRI engineering templates; EXP_TYPE
of jwst 3.0.0.
"""

from jwcal.planning.apt import text
from jwcal.planning.model import Exposure
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.common import points, table
from jwcal.planning.templates.fields import repeats, yes
from jwcal.planning.templates.miri import dither_points, imager, set_readouts, spectrometer

_DARKS = {"IMAGER": "MIR_DARKIMG", "MRS": "MIR_DARKMRS", "ALL": "MIR_DARKALL"}
_LAMP = "where the exposures with the lamp come among those without is an estimate"


def darks(observation, element, program):
    """MiriDark: every setting in turn, as often as asked for."""
    asked = text(element, "Detector").upper() or "ALL"
    if asked not in _DARKS:
        raise UnpredictableError(f"which detectors {asked} means in a dark of MIRI is not known")
    for at, config in enumerate([*element.iter("FilterConfig"), *element.iter("Exposure")], 1):
        for _ in range(repeats(config)):
            yield _exposure(observation, element, config, at, asked, _DARKS[asked])


def sky_flats(observation, element, program):
    """MiriExternalFlat: every exposure in turn, at all points; with the lamp afterwards if asked for.

    The exposures of both kinds of detectors are taken together.
    """
    asked = text(element, "Detector").upper() or "IMAGER"
    if asked not in _DARKS:
        raise UnpredictableError(f"which detectors {asked} means in a flat of MIRI is not known")
    specification = element.find("DitherSpec")
    dithered = yes(text(element, "Dither")) and specification is not None
    pattern = dither_points(specification) if dithered else points()
    lamp = text(element, "Lamp").upper()
    on = [state for state in ("OFF", "ON") if state in lamp.replace("ONLY", "").split()] or ["OFF"]
    sure = _LAMP if "ON" in on else ""
    at = 0
    for state in on:
        for config in element.iter("Exposure"):
            at += 1
            kind = "IMAGE" if asked == "IMAGER" else "MRS"
            exp_type = f"MIR_FLAT{kind}-EXT" if state == "OFF" else f"MIR_FLAT{kind}"
            for dither in pattern:
                for _ in range(repeats(config)):
                    exposure = _exposure(observation, element, config, at, asked, exp_type)
                    exposure.dither, exposure.lamp, exposure.sure = (
                        dither,
                        "" if state == "OFF" else "ON",
                        sure,
                    )
                    if asked == "ALL":
                        exposure.detectors[-1].exp_type = exp_type.replace("MRS", "IMAGE")
                    yield exposure


def _exposure(observation, element, config, at, asked, exp_type):
    subarray = (text(config, "Subarray") or text(element, "Subarray") or "FULL") if asked != "MRS" else "FULL"
    detectors = []
    if asked != "IMAGER":
        detectors += _spectrometer(config)
    if asked != "MRS":
        detectors.append(imager(subarray, text(config, "Filter")))
    set_readouts(detectors, config)
    first = detectors[0]
    return Exposure(
        instrument="MIRI",
        exp_type=exp_type,
        template=element.tag,
        detectors=tuple(detectors),
        subarray=subarray,
        readpatt=first.readpatt,
        ngroups=first.ngroups,
        nints=first.nints,
        config=at,
        target=observation.target,
    )


def _spectrometer(config):
    """Detectors of the spectrometer that an exposure reads, each with the setting of its wheel."""
    made = []
    for name, end, field in (
        ("MIRIFULONG", "Long", "Wavelength1_4"),
        ("MIRIFUSHORT", "Short", "Wavelength2_3"),
    ):
        groups = config.find(f"Groups{end}")
        if groups is not None and not (groups.text or "").strip():
            continue
        wavelength = text(config, field, "Wavelength").upper().replace(" ", "")
        bands = table("miri")["bands"].get(wavelength, [""])
        made += spectrometer([name], bands[0])
    if not made:
        raise UnpredictableError("an exposure of the MIRI spectrometer has no groups for either detector")
    return made


def crossed(observation, element, program):
    """MiriMRSCrossGratingEngineering: the settings of the two wheels are not in the program."""
    raise UnpredictableError(
        "the order of the nine crossed settings of the MIRI wheels is not in the program, only their readouts are"
    )


def nothing(observation, element, program):
    """Templates that take no exposures."""
    yield from ()


TEMPLATES = {
    "MiriDark": darks,
    "MiriExternalFlat": sky_flats,
    "MiriMRSCrossGratingEngineering": crossed,
    "MiriAnneal": nothing,
}

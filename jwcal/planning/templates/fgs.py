"""Exposures of the guiders as science instrument.

Source: JWST User Documentation, "FGS"; APT's pointing reports of programs.
"""

from jwcal.planning.apt import number, text
from jwcal.planning.model import Exposure
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.common import count, points, single_detector

_EXP_TYPES = {"IMAGE": "FGS_IMAGE", "SKYFLAT": "FGS_SKYFLAT", "FOCUS": "FGS_FOCUS", "DARK": "FGS_DARK"}


def external(observation, element, program):
    """FgsExternalCalibration: every exposure in turn, each at all points."""
    detector = text(element, "Detector").upper()
    if detector not in ("GUIDER1", "GUIDER2"):
        raise UnpredictableError(f"guider {detector or 'not given'}: the exposures have no detector")
    pattern = points(
        count(text(element, "PrimaryDithers")),
        count(text(element, "SubpixelDithers")),
        "FGS" if count(text(element, "PrimaryDithers")) > 1 else "NONE",
    )
    kind = _EXP_TYPES.get(text(element, "TargetType").upper(), "FGS_IMAGE")
    for at, config in enumerate(element.iter("Exposure"), 1):
        subarray = text(config, "Subarray") or text(element, "Subarray") or "FULL"
        for dither in pattern:
            yield Exposure(
                instrument="FGS",
                exp_type=kind,
                template=element.tag,
                detectors=single_detector(detector, subarray),
                subarray=subarray,
                readpatt=text(config, "ReadoutPattern"),
                ngroups=number(config, "Groups", default=0),
                nints=number(config, "Integrations", default=1),
                config=at,
                dither=dither,
            )


TEMPLATES = {"FgsExternalCalibration": external}

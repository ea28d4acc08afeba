"""Exposures of NIRISS: imaging, slitless spectra and external calibration.

Source: JWST User Documentation on the NIRISS templates of APT; APT's pointing reports of programs.
"""

from jwcal.planning.apt import number, text
from jwcal.planning.model import Exposure
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.common import count, points, single_detector, table

_EXTERNAL = "the exposure type of an external calibration is an estimate"


def wheels(filter_, pupil=""):
    """Filter and pupil wheel (str, str) of a filter: the bluer filters are in the pupil wheel."""
    if pupil:
        return filter_, pupil
    return ("CLEAR", filter_) if filter_ in table("niriss")["pupil_wheel"] else (filter_, "CLEARP")


def _exposure(element, config, at, dither, exp_type, filter_, pupil, subarray="FULL", **more):
    return Exposure(
        instrument="NIRISS",
        exp_type=exp_type,
        template=element.tag,
        detectors=single_detector("NIS", subarray, filter_, pupil, table("niriss")["frames"]),
        subarray=subarray,
        readpatt=text(config, "ReadoutPattern"),
        ngroups=number(config, "Groups", default=0),
        nints=number(config, "Integrations", default=1),
        config=at,
        dither=dither,
        **more,
    )


def imaging(observation, element, program):
    """NirissImaging: every filter in turn, each at all points."""
    primary = count(text(element, "ImageDithers", "PrimaryDithers"))
    pattern = points(primary, 1, "NIRISS" if primary > 1 else "NONE", size=text(element, "DitherSize"))
    subarray = text(element, "Subarray") or "FULL"
    for at, config in enumerate(element.iter("Exposure"), 1):
        filter_, pupil = wheels(text(config, "Filter"))
        for dither in pattern:
            yield _exposure(element, config, at, dither, "NIS_IMAGE", filter_, pupil, subarray=subarray)


def wide_field(observation, element, program):
    """NirissWfss: direct image, grism exposures at all points, direct image; for one or both grisms.

    Between two grisms of one filter the direct image after the first and the one before the second are one
    configuration of two points.  With dithered direct images there are two more after every grism.
    """
    dithers = text(element, "PrimaryDithers")
    kind = text(element, "PrimaryDitherType") or (dithers if not dithers.isdigit() else "NIRISS")
    pattern = points(
        count(dithers), 1, kind if count(dithers) > 1 else "NONE", size=text(element, "DitherSize")
    )
    at = 0
    for sequence in element.iter("ExposureSequences"):
        filter_, pupil = wheels(text(sequence, "Filter"))
        grisms = (
            table("niriss")["both"] if text(sequence, "Sequence") == "BOTH" else [text(sequence, "Sequence")]
        )
        direct, dispersed = sequence.find("DiExposure"), sequence.find("GrismExposure")
        if direct is None or dispersed is None:
            raise UnpredictableError("an exposure sequence has no direct image or no grism exposure")
        more = 2 if text(direct, "ShouldDither").lower() == "true" else 0
        images = [1] + [1 + more + 1] * (len(grisms) - 1) + [1 + more]
        for before, grism in zip(images, [*grisms, None], strict=True):
            at += 1
            for dither in points(before):
                yield _exposure(element, direct, at, dither, "NIS_IMAGE", filter_, pupil, direct=True)
            if grism is not None:
                at += 1
                for dither in pattern:
                    yield _exposure(element, dispersed, at, dither, "NIS_WFSS", grism, pupil)


def external(observation, element, program):
    """NirissExternalCalibration: every exposure in turn, each at all points."""
    kind = text(element, "DitherPatternType") or "NONE"
    if kind == "NONE":
        pattern = points()
    elif kind == "AMI":
        pattern = points(
            count(text(element, "PrimaryDithers")), count(text(element, "SubpixelPositions")), kind
        )
    else:
        number_of = count(text(element, "ImageDithers", "PrimaryDithers"))
        pattern = points(number_of, 1, kind, size=text(element, "DitherSize"))
    yield from _acquisition(element)
    for at, config in enumerate(element.iter("Exposure"), 1):
        filter_, pupil = text(config, "FilterWheel"), text(config, "PupilWheel")
        if pupil == "NRM":
            exp_type = "NIS_AMI"
        elif filter_.startswith("GR150"):
            exp_type = "NIS_WFSS"
        elif pupil == "GR700XD":
            exp_type = "NIS_SOSS"
        else:
            exp_type = "NIS_EXTCAL"
        for dither in pattern:
            yield _exposure(
                element,
                config,
                at,
                dither,
                exp_type,
                filter_,
                pupil,
                subarray=text(config, "Subarray") or "FULL",
                sure=_EXTERNAL,
            )


def _acquisition(element):
    target = text(element, "AcqTarget", "AcqTargetID")
    if not target or target.upper() == "NONE":
        return
    own = table("niriss")["acquisition"]
    bright = "BRIGHT" in text(element, "AcqMode").upper()
    for dither in points(own["points"]):
        exposure = _exposure(
            element,
            element,
            0,
            dither,
            "NIS_TACQ",
            own["filter"],
            "NRM" if bright else "CLEARP",
            subarray=own["subarray"],
            target=count(target, 0),
            acquisition=True,
        )
        exposure.readpatt = text(element, "AcqReadoutPattern")
        exposure.ngroups = number(element, "AcqGroups", default=0)
        yield exposure


TEMPLATES = {
    "NirissImaging": imaging,
    "NirissWfss": wide_field,
    "NirissExternalCalibration": external,
}

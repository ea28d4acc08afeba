"""Exposures of NIRSpec: slits, integral field, shutter array, bright objects, images.

Both detectors are read whatever the grating; which of them sees light is a matter of processing.

Source: JWST User Documentation on the NIRSpec templates of APT; APT's pointing reports of programs.
"""

import re
from dataclasses import replace

from jwcal.planning.apt import number, text
from jwcal.planning.model import Detector, Dither, Exposure
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.common import count, frame_of, points, table
from jwcal.planning.templates.fields import acquisition_target, readout, repeats, yes

_MSATA = "which images of an acquisition with the shutter array are kept is an estimate"
_WATA_GROUPS = "the readout of the image that confirms an acquisition is an estimate"
_CONFIRMED = "when confirmation images are taken is an estimate"
_IMPRINT = "an exposure marked Leakcal is taken to be an imprint exposure of its own"
_AUTOCAL = "where the lamp exposures of a setting are taken is an estimate"
_SUBPIXEL = "how many subpixel points a pattern in one direction has is an estimate"
_SEVERAL = "the order of several slits is an estimate"
_SLITS = re.compile(r"S200A1|S200A2|S200B1|S400A1|S1600A1")
# Groups of a target acquisition are not in the template: they are always three.
_ACQUISITION_GROUPS = 3


def detectors(subarray, filter_, grating):
    """Detectors that are read with a subarray (tuple of Detector).

    Raises
    ------
    UnpredictableError
        If no detector has it.
    """
    own = table("nirspec")["detectors"]
    made = []
    for name in own.get(subarray, ("NRS1", "NRS2")):
        frame = frame_of(name, subarray)
        if frame is not None:
            made.append(Detector(name, filter=filter_, grating=grating, rows=frame[0], columns=frame[1]))
    if not made:
        raise UnpredictableError(f"the size of subarray {subarray} of NIRSpec is not known")
    return tuple(made)


def exposure_of(observation, element, config, at, dither, exp_type, **more):
    """Make an exposure with the optics and the readout in an element.

    Parameters
    ----------
    observation : model.Observation
    element, config : Element
        The template, and the part of it that describes the exposure.
    at : int
        Number of the configuration.
    dither : Dither
    exp_type : str
    **more
        Other fields of model.Exposure; `subarray`, `optics` (filter and grating) and `prefix` of the readout.

    Returns
    -------
    Exposure
    """
    filter_, grating = more.pop("optics", None) or (
        text(config, "Filter"),
        text(config, "Grating") or "MIRROR",
    )
    subarray = more.pop("subarray", "FULL")
    more.setdefault("target", observation.target)
    return Exposure(
        instrument="NIRSPEC",
        exp_type=exp_type,
        template=element.tag,
        detectors=detectors(subarray, filter_, grating),
        subarray=subarray,
        **readout(config, more.pop("prefix", "")),
        config=at,
        dither=dither,
        **more,
    )


def acquire(observation, element):
    """Exposures of the target acquisition of a template, or of the image that verifies the pointing.

    Parameters
    ----------
    observation : model.Observation
    element : Element

    Yields
    ------
    Exposure
    """
    method = text(element, "TaMethod").upper() or ("WATA" if text(element, "AcqTargetFilter") else "NONE")
    if "NONE" in (method, text(element, "AcqTargetID").upper()):
        return
    if method == "VERIFY_ONLY":
        image = element.find("PointingVerificationImage")
        source = image if image is not None else element
        # The archive has no NRS_VERIFY: these images are NRS_IMAGE there.
        yield exposure_of(observation, element, source, 0, Dither(), "NRS_IMAGE", acquisition=True)
        return
    kinds = table("nirspec")["acquisition"].get(method)
    if kinds is None:
        raise UnpredictableError(f"what exposures the target acquisition {method} takes is not known")
    star = next(element.iter("ReferenceStarBin"), None)
    filter_ = text(element, "AcqTargetFilter", "AcqFilter") or text(star, "AcqFilter", "Filter")
    pattern = text(element, "AcqReadoutPattern") or text(star, "AcqReadoutPattern", "ReadoutPattern")
    target = acquisition_target(observation, element)
    msata = method == "MSATA"
    for at, kind in enumerate(kinds):
        exposure = exposure_of(
            observation,
            element,
            element,
            0,
            Dither(),
            kind,
            prefix="Acq",
            subarray="FULL" if msata else text(element, "AcqSubarray") or "SUB32",
            optics=(filter_, "MIRROR"),
            target=observation.target if target is None else target,
            acquisition=True,
            sure=_MSATA if msata else _WATA_GROUPS if at else "",
        )
        exposure.readpatt = pattern or "NRSRAPID"
        exposure.ngroups = exposure.ngroups or _ACQUISITION_GROUPS
        yield exposure


def fixed_slit(observation, element, program):
    """NirspecFixedSlitSpectroscopy: every setting in turn, for each slit at all nods and subpixel points."""
    yield from acquire(observation, element)
    slits = _SLITS.findall(text(element, "Slit").upper())
    if not slits:
        raise UnpredictableError(f"slit {text(element, 'Slit') or 'without name'} of NIRSpec is not known")
    nods = int((re.findall(r"\d+", text(element, "PrimaryPositions", "DitherNodType")) or ["1"])[0])
    asked = text(element, "SubpixelPattern").upper() or "NONE"
    subpixel = table("nirspec")["slit_subpixel"].get(asked)
    if subpixel is None:
        raise UnpredictableError(f"how many points the subpixel pattern {asked} of NIRSpec has is not known")
    kind = f"{nods}-POINT-NOD" if nods > 1 else "NONE"
    pattern = points(nods, subpixel, kind, asked)
    for dither in pattern:
        dither.nod_type = kind
    sure = _SEVERAL if len(slits) > 1 else _SUBPIXEL if asked in ("SPATIAL", "SPECTRAL") else ""
    at = 0
    for slit in slits:
        for config in element.iterfind("Exposures/Exposure"):
            at += 1
            exposures = [
                exposure_of(
                    observation,
                    element,
                    config,
                    at,
                    dither,
                    "NRS_FIXEDSLIT",
                    subarray=text(config, "Subarray") or text(element, "Subarray") or "FULL",
                    fxd_slit=slit,
                    bkgdtarg=observation.is_background,
                    sure=sure,
                )
                for dither in pattern
            ]
            yield from _repeated(config, exposures)


def bright_object(observation, element, program):
    """NirspecBrightObjectTimeSeries: target acquisition, then one long exposure or several."""
    yield from acquire(observation, element)
    for at, config in enumerate(element.findall("Exposures/Exposure") or [element], 1):
        exposure = exposure_of(
            observation,
            element,
            config,
            at,
            Dither(),
            "NRS_BRIGHTOBJ",
            subarray=text(config, "Subarray") or text(element, "Subarray") or "SUB2048",
            fxd_slit="S1600A1",
            tso=True,
        )
        yield from _repeated(config, [exposure])


def integral_field(observation, element, program):
    """NirspecIFUSpectroscopy: every setting in turn, at all points if it is dithered."""
    yield from acquire(observation, element)
    pattern = _ifu_pattern(element)
    for at, config in enumerate(element.iterfind("Exposures/Exposure"), 1):
        imprint = yes(text(config, "Leakcal"))
        exposures = [
            exposure_of(
                observation,
                element,
                config,
                at,
                dither,
                "NRS_IFU",
                is_imprint=imprint,
                bkgdtarg=observation.is_background,
                sure=_IMPRINT if imprint else "",
            )
            for dither in (pattern if yes(text(config, "Dither") or "true") else pattern[:1])
        ]
        yield from _repeated(config, exposures)


def _ifu_pattern(element):
    name = text(element, "DitherType").upper().replace("_", "-").replace(" ", "-") or "NONE"
    size = text(element, "DitherSize").upper()
    if name == "CYCLING":
        found = number(element, "NumberOfPoints", default=0)
    elif name == "SPARSE-CYCLING":
        cell = text(element, "Points", "SparsePoints", "PointList")
        found = sum(
            int(part[1] or part[0]) - int(part[0]) + 1 for part in re.findall(r"(\d+)(?:-(\d+))?", cell)
        )
    else:
        found = table("nirspec")["ifu"].get(name, 0)
    if found < 1:
        raise UnpredictableError(f"how many points the IFU dither pattern {name} has is not known")
    kind = name if found > 1 else "NONE"
    made = points(found, 1, kind, size=size)
    for dither in made:
        dither.nod_type = kind
        dither.start = number(element, "StartingPoint", default=1)
    return made


def shutter_array(observation, element, program):
    """NirspecMOS: every pointing of a configuration in turn, at all nods and points of the pattern.

    The pointings are those of the MSA plan, each with its setting, configuration of shutters and nods.
    """
    yield from acquire(observation, element)
    settings = element.findall("Exposures/Exposure")
    pointings = element.findall("ConfigurationPointings/ConfigurationPointing")
    if not pointings:
        raise UnpredictableError("the NIRSpec MOS observation has no pointings yet: the MSA plan is not made")
    name = text(element, "DitherType").upper().replace(" ", "-") or "NONE"
    confirming = _confirmation(observation, element)
    before = None
    for at, pointing in enumerate(pointings, 1):
        named = re.match(r"\d+", text(pointing, "ExposureSpec"))
        if not named or not 1 <= int(named[0]) <= len(settings):
            raise UnpredictableError(f"the setting of pointing {at} of the MSA plan is not in the template")
        config = settings[int(named[0]) - 1]
        shutters = text(pointing, "Configuration")
        imprint = "ALLCLOSED" in shutters.upper().replace("_", "")
        if (
            confirming is not None
            and not imprint
            and (before is None or (confirming[1] and shutters != before))
        ):
            yield replace(confirming[0], msa_config=shutters)
        before = shutters
        nods = count(text(pointing, "NodPattern"))
        exposures = [
            exposure_of(
                observation,
                element,
                config,
                at,
                dither,
                "NRS_MSASPEC",
                opmode="MSASPEC",
                msa_config=shutters,
                is_imprint=imprint,
            )
            for dither in points(nods, count(name), name)
        ]
        yield from _repeated(config, exposures)


def _confirmation(observation, element):
    """Find the confirmation image and whether it is taken after every change of shutters; None without."""
    asked = text(element, "OptionalConfirmationImage", "ConfirmationImage")
    if asked.lower() in ("", "no", "none", "false"):
        return None
    inner = next((element.find(tag) for tag in ("ConfirmationImage", "ConfirmationExposure")), None)
    source, prefix = (inner, "") if inner is not None and len(inner) else (element, "Confirmation")
    image = exposure_of(
        observation,
        element,
        source,
        0,
        Dither(),
        "NRS_CONFIRM",
        prefix=prefix,
        optics=(text(source, f"{prefix}Filter") or text(element, "AcqTargetFilter"), "MIRROR"),
        acquisition=True,
        sure=_CONFIRMED,
    )
    return image, "config" in asked.lower()


def _repeated(config, exposures):
    """Exposures as often as a setting asks for, then its lamp exposures."""
    for exposure in exposures:
        for _ in range(repeats(config)):
            yield replace(exposure)
    asked = text(config, "Autocal").upper() or "NONE"
    kinds = table("nirspec")["autocal"].get(asked)
    if kinds is None:
        raise UnpredictableError(
            f"what exposures the automatic calibration {asked} of NIRSpec takes is not known"
        )
    for kind in kinds:
        yield replace(exposures[-1], exp_type=kind, is_imprint=False, sure=_AUTOCAL)


def images(observation, element, program):
    """NirspecImaging: every filter in turn, without dithers."""
    for at, config in enumerate(element.iterfind("Exposures/Exposure"), 1):
        for _ in range(repeats(config)):
            yield exposure_of(
                observation,
                element,
                config,
                at,
                Dither(),
                "NRS_IMAGE",
                optics=(text(config, "Filter"), "MIRROR"),
            )


TEMPLATES = {
    "NirspecFixedSlitSpectroscopy": fixed_slit,
    "NirspecBrightObjectTimeSeries": bright_object,
    "NirspecIFUSpectroscopy": integral_field,
    "NirspecMOS": shutter_array,
    "NirspecImaging": images,
}

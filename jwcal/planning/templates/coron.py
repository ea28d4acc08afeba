"""Exposures of NIRCam coronagraphy and of NIRISS aperture-masking interferometry.

Source: JWST User Documentation on these templates of APT; APT's pointing reports of programs.
"""

from jwcal.planning.apt import number, text
from jwcal.planning.model import Detector, Dither, Exposure
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.common import count, frame_of, frames, points, single_detector, table
from jwcal.planning.templates.fields import acquisition_target, readout, repeats, yes
from jwcal.planning.templates.niriss import wheels

_CONFIRMATION = "which detectors read a confirmation image is an estimate"
_FULL = "which detectors read a full frame in coronagraphy is an estimate"
_LAST = "which of the images of a target acquisition confirms it is an estimate"
_DIRECT = "the type of the direct images of interferometry is an estimate"


def coronagraph(observation, element, program):
    """NircamCoron: acquisition, two confirmation images if asked for, then every filter at all points."""
    asked = text(element, "CoronMask").upper()
    mask = table("coronagraphy")["masks"].get(asked)
    if mask is None:
        raise UnpredictableError(f"coronagraphic mask {asked or 'without name'} of NIRCam is not known")
    target = acquisition_target(observation, element)
    common = {"instrument": "NIRCAM", "template": element.tag, "is_psf": observation.is_psf}
    filter_ = text(element, "AcqFilter")
    at = 0
    if target is not None:
        yield Exposure(
            **common,
            exp_type="NRC_TACQ",
            detectors=(_acquiring(mask, filter_),),
            subarray=_acquisition_subarray(element, mask),
            **readout(element, "Acq"),
            config=0,
            target=target,
            acquisition=True,
        )
    if yes(text(element, "OptionalConfirmationImage")):
        for _ in range(2):
            at += 1
            yield Exposure(
                **common,
                exp_type="NRC_TACONFIRM",
                detectors=_detectors(mask, "FULL", {mask["channel"]: ("CLEAR", filter_)}),
                subarray="FULL",
                **readout(element, "Confirmation"),
                config=at,
                target=observation.target,
                acquisition=True,
                sure=_CONFIRMATION,
            )
    name = text(element, "DitherPattern").upper() or "NONE"
    for config in element.iter("FilterConfig"):
        at += 1
        subarray = _subarray(text(config, "Subarray") or text(element, "Subarray") or "FULL", mask)
        optics = _optics(config, mask)
        for dither in points(1, count(name), "NONE", name):
            for _ in range(repeats(config)):
                yield Exposure(
                    **common,
                    exp_type="NRC_CORON",
                    detectors=_detectors(mask, subarray, optics),
                    subarray=subarray,
                    **readout(config),
                    config=at,
                    target=observation.target,
                    dither=dither,
                    coronmsk=mask["coronmsk"],
                    bkgdtarg=observation.is_background,
                    sure=_FULL if subarray == "FULL" else "",
                )


def _acquisition_subarray(element, mask):
    bright = text(element, "AcqTargetBrightness").upper() != "FAINT"
    return mask["bright" if bright else "faint"]


def _acquiring(mask, filter_):
    """Detector of the acquisition behind a mask."""
    columns, rows = table("coronagraphy")["acquisition_frame"][mask["channel"]]
    name = mask["short"] if mask["channel"] == "SHORT" else "NRCALONG"
    return Detector(name, filter_, "CLEAR", channel=mask["channel"], module="A", rows=rows, columns=columns)


def _subarray(asked, mask):
    """SUBARRAY for the size that a program asks for."""
    if asked == "FULL":
        return asked
    # "SUB320" in a program means the subarray of that size around the mask.
    return mask["subarray"] if mask["subarray"].startswith(asked) else asked


def _optics(config, mask):
    """Pupil and filter (tuple of str) of each channel that is read (dict)."""
    found = {}
    for channel in ("SHORT", "LONG"):
        filter_ = text(config, f"{channel.title()}Filter")
        if filter_:
            found[channel] = (mask["pupil"], filter_)
    return found or {mask["channel"]: (mask["pupil"], text(config, "Filter"))}


def _detectors(mask, subarray, optics):
    """Detectors behind a mask (tuple of Detector): one of each channel, or all of it in full frames."""
    made = []
    for name, facts in frames().items():
        if facts["instrument"] != "nircam" or facts["module"] != "A" or facts["channel"] not in optics:
            continue
        if subarray != "FULL" and name not in (mask["short"], "NRCALONG"):
            continue
        frame = frame_of(name, subarray)
        if frame is None:
            continue
        pupil, filter_ = optics[facts["channel"]]
        made.append(
            Detector(
                name,
                filter=filter_,
                pupil=pupil,
                channel=facts["channel"],
                module="A",
                rows=frame[0],
                columns=frame[1],
            )
        )
    if not made:
        raise UnpredictableError(
            f"which detectors of NIRCam coronagraphy read subarray {subarray} is not known"
        )
    return tuple(made)


def interferometry(observation, element, program):
    """NirissAmi: acquisition, then every filter at all points, with its direct images if asked for."""
    subarray = text(element, "Subarray") or "SUB80"
    yield from niriss_acquisition(observation, element)
    primary, subpixel = count(text(element, "PrimaryDithers")), count(text(element, "SubpixelPositions"))
    pattern = points(
        primary, subpixel, "AMI" if primary * subpixel > 1 else "NONE", "AMI" if subpixel > 1 else ""
    )
    direct = yes(text(element, "DirectImaging"))
    at = 0
    for config in element.iterfind("ExposureList/Exposure"):
        filter_ = text(config, "Filter")
        at += 1
        for dither in pattern:
            for _ in range(repeats(config)):
                yield _niriss(observation, element, config, at, dither, "NIS_AMI", filter_, "NRM", subarray)
        if direct and number(config, "DirectGroups"):
            at += 1
            images = count(text(element, "ImageDithers"))
            wheel, pupil = wheels(filter_)
            for dither in points(images, 1, "IMAGING" if images > 1 else "NONE"):
                yield _niriss(
                    observation,
                    element,
                    config,
                    at,
                    dither,
                    "NIS_IMAGE",
                    wheel,
                    pupil,
                    subarray,
                    prefix="Direct",
                    direct=True,
                    sure=_DIRECT,
                )


def niriss_acquisition(observation, element):
    """Exposures of the target acquisition of AMI and SOSS.

    Parameters
    ----------
    observation : model.Observation
    element : Element

    Yields
    ------
    Exposure
    """
    target = acquisition_target(observation, element)
    if target is None:
        return
    own = table("coronagraphy")["niriss"]
    bright = "BRIGHT" in text(element, "AcqMode").upper()
    kinds = own["acquisition"]
    for dither, kind in zip(points(len(kinds)), kinds, strict=True):
        yield _niriss(
            observation,
            element,
            element,
            0,
            dither,
            kind,
            own["filter"],
            "NRM" if bright else "CLEARP",
            own["subarray"][element.tag],
            prefix="Acq",
            target=target,
            acquisition=True,
            sure=_LAST,
        )


def _niriss(observation, element, config, at, dither, exp_type, filter_, pupil, subarray, **more):
    prefix = more.pop("prefix", "")
    more.setdefault("target", observation.target)
    return Exposure(
        instrument="NIRISS",
        exp_type=exp_type,
        template=element.tag,
        detectors=single_detector("NIS", subarray, filter_, pupil),
        subarray=subarray,
        **readout(config, prefix),
        config=at,
        dither=dither or Dither(),
        is_psf=observation.is_psf,
        bkgdtarg=observation.is_background,
        **more,
    )


TEMPLATES = {"NircamCoron": coronagraph, "NirissAmi": interferometry}

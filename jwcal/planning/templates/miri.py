"""Exposures of MIRI: imaging, both spectrometers and coronagraphs.

Source: JWST User Documentation on the MIRI templates of APT; APT's pointing reports of programs.
"""

import re

from jwcal.planning.apt import number, text
from jwcal.planning.model import Detector, Dither, Exposure
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.common import count, frame_of, points, table
from jwcal.planning.templates.fields import acquisition_target, is_time_series, readout, repeats, yes

_NOD_OF_DIRECT = "how often the exposure beside a direct image is dithered is an estimate"
_SECOND = "how many images two target acquisitions take is an estimate"
_VERIFICATION = "the type of the pointing verification image is an estimate"


def imaging(observation, element, program):
    """MiriImaging: every filter in turn, each at all points of its pattern."""
    subarray = text(element, "Subarray") or "FULL"
    undithered = _undithered(observation, element)
    for at, config in enumerate(element.iter("FilterConfig"), 1):
        sure = _NOD_OF_DIRECT if at in undithered else ""
        for dither in points() if at in undithered else _pattern_of(element, config):
            for _ in range(repeats(config)):
                yield Exposure(
                    instrument="MIRI",
                    exp_type="MIR_IMAGE",
                    template=element.tag,
                    detectors=(imager(subarray, text(config, "Filter")),),
                    subarray=subarray,
                    **_readout(config),
                    config=at,
                    target=observation.target,
                    dither=dither,
                    bkgdtarg=observation.is_background,
                    tso=is_time_series(observation),
                    sure=sure,
                )


def imager(subarray, filter_, exp_type=""):
    """Make the imager as detector of an exposure (Detector).

    Raises
    ------
    UnpredictableError
        If it does not have the subarray.
    """
    frame = frame_of("MIRIMAGE", subarray)
    if frame is None:
        raise UnpredictableError(f"the size of subarray {subarray} of MIRIMAGE is not known")
    return Detector("MIRIMAGE", filter=filter_, rows=frame[0], columns=frame[1], exp_type=exp_type)


def spectrometer(names, band):
    """Make detectors of the spectrometer (list of Detector) with one setting of its wheels."""
    made = []
    for name in names:
        rows, columns = frame_of(name, "FULL")
        channel = "34" if name == "MIRIFULONG" else "12"
        made.append(Detector(name, channel=channel, band=band, rows=rows, columns=columns))
    return made


def dither_points(specification):
    """Points of an element that describes a pattern of the imager or the spectrometer (list of Dither).

    Raises
    ------
    UnpredictableError
        If the number of points of the pattern is not known.
    """
    name = text(specification, "DitherType").upper().replace(" ", "-")
    listed = text(specification, "Points")
    sets = number(specification, "NumberOfSets", default=1)
    start = 1
    if name == "SPARSE-CYCLING":
        found = sum(_length(part) for part in listed.split(","))
    elif name == "CYCLING":
        found = number(specification, "NumberOfPoints", default=0)
        start = number(specification, "StartingPoint", default=1)
    elif name == "4-POINT-SETS":
        found = 4 * sets
        start = number(specification, "StartingSet", default=1)
    else:
        found = table("miri")["imaging"].get(name) or count(name, 0)
    if name == "NONE":
        return points()
    if found < 1:
        raise UnpredictableError(
            f"how many points the dither pattern {name or 'without name'} has is not known"
        )
    made = points(found, 1, name, size=text(specification, "PatternSize"))
    for dither in made:
        dither.start = start
    return made


def _length(part):
    ends = [int(cell) for cell in re.findall(r"\d+", part)]
    return ends[-1] - ends[0] + 1 if ends else 0


def _pattern_of(element, config):
    """Points of the pattern that a configuration names ("Dither 2")."""
    specifications = [*element.iter("DitherSpecification"), *element.iter("MrsDitherSpecification")]
    named = re.search(r"\d+", text(config, "Dither"))
    if not named:
        return points()
    at = int(named[0])
    if not 1 <= at <= len(specifications):
        raise UnpredictableError(
            f"the pattern {text(config, 'Dither')!r} of an exposure is not in the template"
        )
    return dither_points(specifications[at - 1])


def _undithered(observation, element):
    """Find the configurations (set) not dithered as a NIRISS direct image is taken with them."""
    wanted = text(element, "DitherDirectImageParallels")
    if wanted != "NO_DITHERING" or observation.element.find("FirstCoordinatedTemplate/NirissWfss") is None:
        return set()
    return {at for at in range(1, len(list(element.iter("FilterConfig"))) + 1) if at % 3 != 2}


def _readout(config, prefix=""):
    return readout(config, prefix, table("miri")["readout"])


def _acquisition(observation, element, subarray="FULL", images=1, sure=""):
    target = acquisition_target(observation, element)
    if target is None:
        return
    for _ in range(images):
        yield Exposure(
            instrument="MIRI",
            exp_type="MIR_TACQ",
            template=element.tag,
            detectors=(imager(subarray, text(element, "AcqFilter")),),
            subarray=subarray,
            **_readout(element, "Acq"),
            config=0,
            target=target,
            acquisition=True,
            sure=sure,
        )


def medium_resolution(observation, element, program):
    """MiriMRS: every setting of the wheels in turn, each at all points; the imager beside if asked for."""
    own = table("miri")
    asked = text(element, "Detector").upper() or "ALL"
    names = own["mrs"].get(asked)
    if names is None:
        raise UnpredictableError(f"which detectors {asked} of the MIRI spectrometer means is not known")
    beside = yes(text(element, "SimultaneousImaging") or str(asked == "ALL"))
    yield from _acquisition(observation, element)
    at = 0
    for config in element.iter("Exposure"):
        wavelength = text(config, "Wavelength").upper().replace(" ", "")
        bands = own["bands"].get(wavelength)
        if bands is None:
            raise UnpredictableError(
                f"the setting {wavelength or 'without name'} of the MIRI wheels is not known"
            )
        for band in bands:
            at += 1
            for dither in _pattern_of(element, config):
                for _ in range(repeats(config)):
                    yield _mrs_exposure(observation, element, config, at, dither, names, band, beside)


def _mrs_exposure(observation, element, config, at, dither, names, band, beside):
    detectors = spectrometer(names, band)
    if beside and text(config, "Filter"):
        detectors.append(imager(text(element, "Subarray") or "FULL", text(config, "Filter"), "MIR_IMAGE"))
    set_readouts(detectors, config)
    first = detectors[0]
    return Exposure(
        instrument="MIRI",
        exp_type="MIR_MRS",
        template=element.tag,
        detectors=tuple(detectors),
        subarray="FULL",
        readpatt=first.readpatt,
        ngroups=first.ngroups,
        nints=first.nints,
        config=at,
        target=observation.target,
        dither=dither,
        bkgdtarg=observation.is_background,
        tso=is_time_series(observation),
    )


def set_readouts(detectors, config):
    """Give each detector its own readout: fields end in Long, Short or nothing for the imager.

    Parameters
    ----------
    detectors : list of Detector
        Changed in place.
    config : Element
        The exposure.
    """
    patterns = table("miri")["readout"]
    ends = {"MIRIFULONG": "Long", "MIRIFUSHORT": "Short", "MIRIMAGE": ""}
    for detector in detectors:
        end = ends[detector.name]
        # Programs before 2018 have one pattern for both detectors of the spectrometer.
        pattern = text(config, f"ReadoutPattern{end}", "ReadoutPatternLong", "ReadoutPattern")
        detector.readpatt = patterns.get(pattern, pattern)
        detector.ngroups = number(config, f"Groups{end}", "Groups", default=0)
        detector.nints = number(config, f"Integrations{end}", "Integrations", default=1)


def low_resolution(observation, element, program):
    """MiriLRS: target acquisition, verification image if asked for, then the spectra at all points."""
    subarray = text(element, "Subarray") or "FULL"
    slit = subarray == "FULL"
    yield from _acquisition(observation, element, subarray)
    yield from _verification(observation, element, subarray)
    for at, config in enumerate(element.findall("ExposureList/Exposure") or [element], 1):
        for dither in _slit_pattern(element):
            for _ in range(repeats(config)):
                yield Exposure(
                    instrument="MIRI",
                    exp_type="MIR_LRS-FIXEDSLIT" if slit else "MIR_LRS-SLITLESS",
                    template=element.tag,
                    detectors=(imager(subarray, "P750L"),),
                    subarray=subarray,
                    **_readout(config),
                    config=at,
                    target=observation.target,
                    dither=dither,
                    bkgdtarg=observation.is_background,
                    tso=is_time_series(observation),
                )


def _verification(observation, element, subarray):
    """Make the pointing verification image, if the template asks for one."""
    asked = [text(element, each.tag) for each in element if each.tag.endswith("VerificationImage")]
    own = element.find("PointingVerificationImage")
    prefix = "" if own is not None and len(own) else "Verification"
    source = own if prefix == "" else element
    if prefix and (not any(yes(cell) for cell in asked) or not text(element, "VerificationGroups")):
        return
    yield Exposure(
        instrument="MIRI",
        exp_type="MIR_TACONFIRM",
        template=element.tag,
        detectors=(imager(subarray, text(source, f"{prefix}Filter")),),
        subarray=subarray,
        **_readout(source, prefix),
        config=0,
        target=observation.target,
        acquisition=True,
        sure=_VERIFICATION,
    )


def _slit_pattern(element):
    name = text(element, "DitherType").upper().replace(" ", "-").replace("_", "-") or "NONE"
    if name == "NONE":
        return points()
    if name == "MAPPING":
        across = number(element, "NumberOfSpectralSteps", default=1)
        along = number(element, "NumberOfSpatialSteps", default=1)
        return points(max(across * along, 1), 1, name)
    known = table("miri")["lrs"].get(name)
    if known is None:
        raise UnpredictableError(f"how many points the LRS dither pattern {name} has is not known")
    return points(known[1], 1, known[0])


def coronagraph(observation, element, program):
    """MiriCoron: two images of target acquisition, then every filter in turn, each at all points."""
    configs = list(element.iter("FilterConfig"))
    second = yes(text(element, "SecondExposure"))
    if configs:
        subarray = _coronagraph_of(element, configs[0])[0]
        yield from _acquisition(observation, element, subarray, 4 if second else 2, _SECOND if second else "")
    name = text(element, "Dither").upper().replace(" ", "-") or "NONE"
    grid = points(count(name), 1, name)
    for at, config in enumerate(configs, 1):
        subarray, mask = _coronagraph_of(element, config)
        for dither in grid:
            for _ in range(repeats(config)):
                yield Exposure(
                    instrument="MIRI",
                    exp_type="MIR_LYOT" if mask.startswith("LYOT") else "MIR_4QPM",
                    template=element.tag,
                    detectors=(imager(subarray, text(config, "Filter")),),
                    subarray=subarray,
                    **_readout(config),
                    config=at,
                    target=observation.target,
                    dither=dither,
                    coronmsk=mask,
                    is_psf=observation.is_psf,
                    bkgdtarg=observation.is_background,
                )


def _coronagraph_of(element, config):
    """Subarray and CORONMSK (str, str) of a configuration."""
    known = table("miri")["coronagraphs"]
    mask, filter_ = text(config, "Mask").upper(), text(config, "Filter")
    named = re.search(r"1065|1140|1550", mask)
    if "LYOT" in mask:
        found = known["F2300C"]
    elif named:
        found = known[f"F{named[0]}C"]
    elif filter_ in known:
        found = known[filter_]
    else:
        raise UnpredictableError(
            f"which coronagraph {mask or 'without name'} with filter {filter_} is, is not known"
        )
    return text(config, "Subarray") or text(element, "Subarray") or found[0], found[1]


def coronagraph_calibration(observation, element, program):
    """MiriCpc: every filter in turn, without dithers."""
    subarray = text(element, "Subarray") or "FULL"
    masks = dict(table("miri")["coronagraphs"].values())
    for at, config in enumerate(element.iter("FilterConfig"), 1):
        for _ in range(repeats(config)):
            yield Exposure(
                instrument="MIRI",
                exp_type="MIR_CORONCAL",
                template=element.tag,
                detectors=(imager(subarray, text(config, "Filter")),),
                subarray=subarray,
                **_readout(config),
                config=at,
                target=observation.target,
                dither=Dither(),
                coronmsk=masks.get(subarray, ""),
            )


TEMPLATES = {
    "MiriImaging": imaging,
    "MiriMRS": medium_resolution,
    "MiriLRS": low_resolution,
    "MiriCoron": coronagraph,
    "MiriCpc": coronagraph_calibration,
}

"""Exposures of NIRCam: imaging, engineering imaging, grism and time series.

Source: JWST User Documentation on the NIRCam templates of APT; APT's pointing reports of programs.
"""

from jwcal.planning.apt import number, text
from jwcal.planning.model import Detector, Dither, Exposure
from jwcal.planning.templates import UnpredictableError
from jwcal.planning.templates.common import count, frame_of, frames, points, split_filter, table

_GRISMS = ("GRISMR", "GRISMC")


def detectors(module, subarray, short, long):
    """Detectors that are read together.

    Parameters
    ----------
    module : str
        "A", "B" or "ALL".
    subarray : str
        SUBARRAY.
    short, long : tuple of str
        Pupil and filter of the short- and long-wavelength channels.

    Returns
    -------
    tuple of Detector
        In the order NRCA1 to NRCA4, NRCALONG, NRCB1 to NRCB4, NRCBLONG.

    Raises
    ------
    UnpredictableError
        If no detector of the module has such a subarray.
    """
    own = table("nircam")
    found = []
    for letter in ("A", "B") if module in ("ALL", "BOTH", "") else (module,):
        named = own["detectors"].get(letter, {}).get(subarray)
        for name, facts in frames().items():
            if facts["instrument"] != "nircam" or facts["module"] != letter:
                continue
            if named is not None and name not in named:
                continue
            frame = frame_of(name, subarray, own["frames"] if named else None)
            if frame is None:
                continue
            pupil, filter_ = short if facts["channel"] == "SHORT" else long
            found.append(
                Detector(
                    name,
                    filter=filter_,
                    pupil=pupil,
                    channel=facts["channel"],
                    module=letter,
                    rows=frame[0],
                    columns=frame[1],
                )
            )
    if not found:
        raise UnpredictableError(
            f"which detectors of NIRCam module {module} read subarray {subarray} is not known"
        )
    return tuple(found)


def optics(config):
    """Pupil and filter of both channels in an element: ((pupil, filter), (pupil, filter)) of str."""
    pairs = []
    for channel in ("Short", "Long"):
        pupil, filter_ = split_filter(text(config, f"{channel}PupilFilter", f"{channel}Filter"))
        pairs.append((text(config, f"{channel}Pupil") or pupil, filter_))
    return tuple(pairs)


def pattern_of(element):
    """Dither points (list of Dither) of an imaging or grism template."""
    kind = text(element, "PrimaryDitherType") or "NONE"
    primary = 1 if kind == "NONE" else count(text(element, "PrimaryDithers"))
    with_parallel = text(element, "CoordinatedParallelSubpixelPositions")
    name = text(element, "SubpixelDitherType") or "NONE"
    for cell in (with_parallel, text(element, "SubpixelPositions"), name):
        if cell[:1].isdigit():
            subpixel = count(cell)
            break
    else:
        subpixel = 1
    size = text(element, "DitherSize")
    return points(primary, subpixel, kind, name if name != "NONE" or subpixel == 1 else with_parallel, size)


def _exposure(element, config, number_of, dither, **more):
    """Make an exposure with the parameters in `config`, module and subarray of the observation."""
    short, long = more.pop("optics", None) or optics(config)
    module = more.pop("module", None) or text(element, "Module") or "ALL"
    subarray = more.pop("subarray", None) or text(element, "Subarray") or "FULL"
    return Exposure(
        instrument="NIRCAM",
        exp_type=more.pop("exp_type", "NRC_IMAGE"),
        template=element.tag,
        detectors=detectors(module, subarray, short, long),
        subarray=subarray,
        readpatt=text(config, "ReadoutPattern"),
        ngroups=number(config, "Groups", default=0),
        nints=number(config, "Integrations", default=1),
        config=number_of,
        dither=dither,
        **more,
    )


def imaging(observation, element, program):
    """NircamImaging and NircamEngineeringImaging: every filter in turn, each at all points."""
    pattern = pattern_of(element)
    undithered = _undithered(observation, element)
    for at, config in enumerate(element.iter("FilterConfig"), 1):
        _, long = optics(config)
        kind = "NRC_GRISM" if long[0] in _GRISMS else "NRC_IMAGE"
        for dither in points() if at in undithered else pattern:
            yield _exposure(element, config, at, dither, exp_type=kind)


def _undithered(observation, element):
    """Find the configurations (set) not dithered as a NIRISS direct image is taken with them."""
    wanted = text(element, "DitherNirissWfssDirectImages")
    if not wanted or wanted not in ("NO_DITHERING", "false"):
        return set()
    parallel = observation.element.find("FirstCoordinatedTemplate/NirissWfss")
    if parallel is None:
        return set()
    configs = len(list(element.iter("FilterConfig")))
    return {at for at in range(1, configs + 1) if at % 3 != 2}


def wide_field(observation, element, program):
    """NircamWfss: for each grism, every exposure sequence and its direct image, then two out of field.

    The short-wavelength detectors take images while the long-wavelength ones are dispersed.
    """
    pattern = pattern_of(element)
    asked = text(element, "Grism")
    sequences = list(element.iter("ExposureSequences"))
    at = 0
    for grism in _GRISMS if asked == "BOTH" else (asked,):
        last = None
        for sequence in sequences:
            config = sequence.find("GrismExposure")
            if config is None:
                raise UnpredictableError("an exposure sequence has no grism exposure")
            at += 1
            short, long = optics(config)
            for dither in pattern:
                exposure = _exposure(
                    element, config, at, dither, exp_type="NRC_WFSS", optics=(short, (grism, long[1]))
                )
                for detector in exposure.detectors:
                    if detector.channel == "SHORT":
                        detector.exp_type = "NRC_IMAGE"
                yield exposure
            direct = sequence.find("DiExposure")
            if direct is not None and text(sequence, "DirectImage").lower() != "false":
                at += 1
                last = direct
                yield _exposure(element, direct, at, Dither(), direct=True)
        if last is not None:
            at += 1
            for dither in points(1, 2):
                yield _exposure(element, last, at, dither, direct=True)


def time_series(observation, element, program):
    """NircamTimeSeries: target acquisition if asked for, then one long exposure or several."""
    yield from _acquisition(element)
    for at, config in enumerate(list(element.iter("FilterConfig")) or [element], 1):
        for _ in range(number(config, "Exposures", "NumExps", default=1)):
            yield _exposure(element, config, at, Dither(), exp_type="NRC_TSIMAGE", tso=True)


def _acquisition(element):
    target = text(element, "AcqTargetID", "AcqTarget")
    if not target or target.upper() == "NONE":
        return
    at = count(target, 0)
    module = text(element, "Module") or "B"
    filter_ = text(element, "AcqFilter") or table("nircam")["acquisition"]["filter"]
    subarray = text(element, "AcqSubarray") or "SUB32TATS"
    yield Exposure(
        instrument="NIRCAM",
        exp_type="NRC_TACQ",
        template=element.tag,
        detectors=detectors(module, subarray, ("CLEAR", ""), ("CLEAR", filter_)),
        subarray=subarray,
        readpatt=text(element, "AcqReadoutPattern") or "RAPID",
        ngroups=number(element, "AcqGroups", default=0),
        nints=1,
        config=0,
        target=at,
        acquisition=True,
        tso=True,
    )


TEMPLATES = {
    "NircamImaging": imaging,
    "NircamEngineeringImaging": imaging,
    "NircamWfss": wide_field,
    "NircamTimeSeries": time_series,
}

"""Programs with one observation of a mode, as the expansion leaves them."""

from jwcal.planning.model import Detector, Dither, Exposure, Observation, Program, Target, Visit
from jwcal.planning.prediction import Prediction

TARGETS = {1: Target(1, "FIELD"), 2: Target(2, "SKY"), 3: Target(3, "STAR")}
SHORT = tuple(Detector(f"NRCA{n}", "F150W", "CLEAR", channel="SHORT", module="A") for n in (1, 2, 3, 4))
LONG = Detector("NRCALONG", "F277W", "CLEAR", channel="LONG", module="A")
NIS = Detector("NIS", "CLEAR", "F200W")


def observation(number, template, exposures, *, target=1, **more):
    """An observation of one visit."""
    made = Observation(number, f"obs {number}", exposures[0].instrument, template, target, None, **more)
    made.visits = [Visit(1, exposures=exposures)]
    return made


def dithered(points, instrument, exp_type, detectors, *, target=1, pattern="NONE", nod="", **more):
    """Exposures of a dither pattern, numbered as one activity."""
    given = {"subarray": "FULL", "readpatt": "RAPID", "ngroups": 5, "nints": 1, **more}
    return [
        Exposure(
            instrument, exp_type, "T", tuple(detectors), target=target, number=point, order=point,
            dither=Dither(pattern, points, point, nod_type=nod), **given,
        )
        for point in range(1, points + 1)
    ]  # fmt: skip


def program(*observations):
    """A program of these observations."""
    return Program(
        "01234", "A title", targets=dict(TARGETS), observations=list(observations), path="program.xml"
    )


def images(number=1, points=3, **more):
    """NIRCam images with module A."""
    return observation(
        number, "NircamImaging", dithered(points, "NIRCAM", "NRC_IMAGE", (*SHORT, LONG), **more)
    )


def mrs(number, target, **more):
    """MIRI medium-resolution spectra in two of three bands."""
    background = more.get("is_background", False)
    exposures = []
    for activity, band in (("01", "SHORT"), ("02", "LONG")):
        detectors = [
            Detector(name, channel=channel, band=band, rows=1024, columns=1032)
            for name, channel in (("MIRIFUSHORT", "12"), ("MIRIFULONG", "34"))
        ]
        exposures += dithered(
            2, "MIRI", "MIR_MRS", detectors, pattern="2-POINT", activity=activity, target=target,
            bkgdtarg=background, config=int(activity),
        )  # fmt: skip
    return observation(number, "MiriMRS", exposures, target=target, **more)


def nirspec(number, exp_type, grating="G140M", filters="F100LP", *, points=2, **more):
    """NIRSpec spectra on both detectors."""
    detectors = [Detector(name, filters, grating=grating) for name in ("NRS1", "NRS2")]
    return observation(
        number, "Nirspec", dithered(points, "NIRSPEC", exp_type, detectors, **{"readpatt": "NRSIRS2", **more})
    )


def soss(number=9, nints=280):
    """Time series of NIRISS with its acquisition."""
    small = Detector("NIS", "F480M", "NRM", rows=64, columns=64)
    strip = Detector("NIS", "CLEAR", "GR700XD", rows=256, columns=2048)
    return observation(
        number, "NirissSoss",
        [
            Exposure("NIRISS", "NIS_TACQ", "T", (small,), "SUBTASOSS", "NISRAPID", 13, 1, target=3, acquisition=True),
            Exposure(
                "NIRISS", "NIS_SOSS", "T", (strip,), "SUBSTRIP256", "NISRAPID", 14, nints, config=2, target=3,
                tso=True, group="04",
            ),
        ],
        target=3,
    )  # fmt: skip


def with_star(exp_type, template, detector, instrument, subarray):
    """A target and its reference star."""
    made = []
    for number, target, star in ((10, 1, False), (11, 3, True)):
        exposures = dithered(
            1, instrument, exp_type, (detector,), target=target, subarray=subarray, nints=3, is_psf=star
        )
        more = {"is_psf": True} if star else {"psf_references": (11,)}
        made.append(observation(number, template, exposures, target=target, **more))
    return made


def slitless(number=12):
    """NIRISS slitless spectra between two direct images."""
    exposures = []
    for activity, kind, wheel, points in (
        ("01", "NIS_IMAGE", "CLEAR", 1),
        ("02", "NIS_WFSS", "GR150R", 2),
        ("03", "NIS_IMAGE", "CLEAR", 1),
    ):
        exposures += dithered(
            points,
            "NIRISS",
            kind,
            (Detector("NIS", wheel, "F200W"),),
            activity=activity,
            config=int(activity),
        )
    return observation(number, "NirissWfss", exposures)


def names(*observations, stage=None, suffix=None, **more):
    """Names of products, guiding aside."""
    found = Prediction(program(*observations), **more).products
    return {
        each.name
        for each in found
        if "_gs-" not in each.name and stage in (None, each.stage) and suffix in (None, each.suffix)
    }

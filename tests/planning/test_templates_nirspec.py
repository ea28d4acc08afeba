"""NIRSpec: what comes of its templates, from fragments of programs."""

import pytest

from jwcal.planning.apt import read_program
from jwcal.planning.expand import expand
from tests.planning.fragments import predicted, program_of

WATA = """<TaMethod>WATA</TaMethod><AcqTargetID>2 OTHER</AcqTargetID><AcqSubarray>SUB32</AcqSubarray>
<AcqTargetFilter>F140X</AcqTargetFilter><AcqReadoutPattern>NRSRAPIDD6</AcqReadoutPattern>"""
NO_ACQUISITION = "<TaMethod>NONE</TaMethod>"
CYCLING = """<DitherType>CYCLING</DitherType><DitherSize>LARGE</DitherSize><StartingPoint>5</StartingPoint>
<NumberOfPoints>16</NumberOfPoints>"""


def _setting(grating="G235H", filter_="F170LP", more=""):
    return f"""<Exposure><Grating>{grating}</Grating><Filter>{filter_}</Filter>
<ReadoutPattern>NRSIRS2RAPID</ReadoutPattern><Groups>21</Groups><Integrations>2</Integrations>{more}</Exposure>"""


def _ifu(dithers, settings, acquisition=NO_ACQUISITION):
    return f"<NirspecIFUSpectroscopy>{acquisition}{dithers}<Exposures>{settings}</Exposures></NirspecIFUSpectroscopy>"


def _slit(slit="S200A1", nods="NONE", subpixel="NONE", subarray="SUBS200A1", settings=None, acquisition=WATA):
    return f"""<NirspecFixedSlitSpectroscopy>{acquisition}<Slit>{slit}</Slit><Subarray>{subarray}</Subarray>
<PrimaryPositions>{nods}</PrimaryPositions><SubpixelPattern>{subpixel}</SubpixelPattern>
<Exposures>{settings or _setting("G140M", "F100LP")}</Exposures></NirspecFixedSlitSpectroscopy>"""


def _pointing(setting, shutters, nods="3 Shutter Slitlet"):
    return f"""<ConfigurationPointing><ExposureSpec>{setting} (A/B)</ExposureSpec>
<Configuration>{shutters}</Configuration><NodPattern>{nods}</NodPattern></ConfigurationPointing>"""


def _shutters(pointings, dithers="NONE", confirmation="No", method="MSATA"):
    settings = _setting("G395M", "F290LP") + _setting("PRISM", "CLEAR")
    return f"""<NirspecMOS><TaMethod>{method}</TaMethod><ReferenceStars/>
<OptionalConfirmationImage>{confirmation}</OptionalConfirmationImage><DitherType>{dithers}</DitherType>
<Exposures>{settings}</Exposures><ConfigurationPointings>{pointings}</ConfigurationPointings></NirspecMOS>"""


def test_slit_after_acquisition():
    wide, confirm, spectrum = predicted(_slit())
    assert [wide.exp_type, confirm.exp_type, spectrum.exp_type] == [
        "NRS_WATA",
        "NRS_TACONFIRM",
        "NRS_FIXEDSLIT",
    ]
    assert (wide.target, wide.subarray, wide.readpatt, wide.acquisition) == (2, "SUB32", "NRSRAPIDD6", True)
    assert [(each.name, each.filter, each.grating) for each in wide.detectors] == [
        ("NRS1", "F140X", "MIRROR")
    ]
    assert [(each.name, each.rows, each.columns) for each in spectrum.detectors] == [
        ("NRS1", 64, 2048),
        ("NRS2", 64, 2048),
    ]
    assert (spectrum.fxd_slit, spectrum.target, spectrum.detectors[0].grating) == ("S200A1", 1, "G140M")


@pytest.mark.parametrize(
    ("nods", "subpixel", "points", "nod_type", "estimate"),
    [
        ("NONE", "NONE", 1, "NONE", False),
        ("P_2", "NONE", 2, "2-POINT-NOD", False),
        ("P_5", "BOTH", 20, "5-POINT-NOD", False),
        ("P_3", "SPATIAL", 6, "3-POINT-NOD", True),
    ],
)
def test_slit_nods_and_subpixel_points(nods, subpixel, points, nod_type, estimate):
    found = predicted(_slit(nods=nods, subpixel=subpixel, acquisition=NO_ACQUISITION))
    assert [each.dither.point for each in found] == list(range(1, points + 1))
    assert {(each.dither.nod_type, each.dither.points) for each in found} == {(nod_type, points)}
    assert {bool(each.sure) for each in found} == {estimate}


def test_two_slits_are_one_after_the_other():
    found = predicted(_slit("S200A1 and S200A2", "P_2", acquisition=NO_ACQUISITION, subarray="FULL"))
    assert [(each.config, each.fxd_slit) for each in found] == [(1, "S200A1")] * 2 + [(2, "S200A2")] * 2
    assert all(each.sure for each in found)


def test_lamp_exposures_follow_a_setting():
    settings = _setting(more="<Autocal>WAVECAL</Autocal>") + _setting(
        "G395H", "F290LP", "<Autocal>NONE</Autocal>"
    )
    found = predicted(_slit(nods="P_2", settings=settings, acquisition=NO_ACQUISITION))
    assert [each.exp_type for each in found] == ["NRS_FIXEDSLIT"] * 2 + ["NRS_AUTOWAVE"] + [
        "NRS_FIXEDSLIT"
    ] * 2
    assert found[2].sure
    assert found[2].config == 1


@pytest.mark.parametrize(
    ("dithers", "points", "kind"),
    [
        ("<DitherType>NONE</DitherType>", 1, "NONE"),
        ("<DitherType>4-POINT-NOD</DitherType>", 4, "4-POINT-NOD"),
        ("<DitherType>2-POINT-NOD</DitherType>", 2, "2-POINT-NOD"),
        ("<DitherType>4-POINT-DITHER</DitherType>", 4, "4-POINT-DITHER"),
        (
            CYCLING,
            16,
            "CYCLING",
        ),
        ("<DitherType>SPARSE-CYCLING</DitherType><Points>1, 4-6, 9</Points>", 5, "SPARSE-CYCLING"),
    ],
)
def test_points_of_integral_field_patterns(dithers, points, kind):
    found = predicted(_ifu(dithers, _setting()))
    assert [each.dither.point for each in found] == list(range(1, points + 1))
    assert {(each.dither.pattern, each.dither.nod_type) for each in found} == {(kind, kind)}
    assert found[0].dither.start == (5 if kind == "CYCLING" else 1)


def test_integral_field_as_in_program_1386():
    settings = "".join(
        _setting(*each) for each in (("G235H", "F170LP"), ("G395H", "F290LP"), ("G140H", "F100LP"))
    )
    found = predicted(_ifu("<DitherType>4-POINT-NOD</DitherType>", settings, WATA))
    assert [(each.config, each.dither.point) for each in found] == [
        (0, 1),
        (0, 1),
        *((config, point) for config in (1, 2, 3) for point in (1, 2, 3, 4)),
    ]
    assert {tuple(each.name for each in exposure.detectors) for exposure in found[2:]} == {("NRS1", "NRS2")}


def test_imprints_are_settings_of_their_own():
    settings = _setting(more="<Leakcal>false</Leakcal><Dither>true</Dither>") + _setting(
        more="<Leakcal>true</Leakcal><Dither>false</Dither>"
    )
    found = predicted(_ifu("<DitherType>4-POINT-DITHER</DitherType>", settings))
    assert [(each.is_imprint, each.dither.point) for each in found] == [
        (False, 1),
        (False, 2),
        (False, 3),
        (False, 4),
        (True, 1),
    ]
    assert found[-1].sure


def test_pointing_verification_image():
    image = """<TaMethod>VERIFY_ONLY</TaMethod><PointingVerificationImage><Filter>CLEAR</Filter>
    <ReadoutPattern>NRSIRS2RAPID</ReadoutPattern><Groups>10</Groups><Integrations>1</Integrations>
    <MsaAcquisitionConfigFile>ALLCLOSED</MsaAcquisitionConfigFile></PointingVerificationImage>"""
    first, second = predicted(_ifu("<DitherType>NONE</DitherType>", _setting(), image))
    assert (first.exp_type, first.ngroups, first.acquisition) == ("NRS_IMAGE", 10, True)
    assert second.exp_type == "NRS_IFU"


def test_shutters_have_nods_at_every_pointing():
    pointings = _pointing(1, "p1c0*") + _pointing(2, "p2c0*") + _pointing(2, "p2c0*", "")
    found = predicted(_shutters(pointings))
    acquisition, found = found[:4], found[4:]
    assert [each.exp_type for each in acquisition] == ["NRS_MSATA"] * 2 + ["NRS_TACONFIRM"] * 2
    assert [(each.config, each.dither.point, each.msa_config) for each in found] == [
        *((1, point, "p1c0*") for point in (1, 2, 3)),
        *((2, point, "p2c0*") for point in (1, 2, 3)),
        (3, 1, "p2c0*"),
    ]
    assert [each.detectors[0].grating for each in found] == ["G395M"] * 3 + ["PRISM"] * 4
    assert {(each.exp_type, each.opmode, len(each.detectors)) for each in found} == {
        ("NRS_MSASPEC", "MSASPEC", 2)
    }


def test_shutters_with_nods_and_points_for_a_parallel():
    found = predicted(_shutters(_pointing(1, "a"), "3-POINT-WITH-NIRCam-SIZE1", method="NONE"))
    assert [each.dither.point for each in found] == list(range(1, 10))
    assert {(each.dither.points, each.dither.subpixel_points, each.dither.pattern) for each in found} == {
        (9, 3, "3-POINT-WITH-NIRCAM-SIZE1")
    }


def test_closed_shutters_are_imprints():
    found = predicted(_shutters(_pointing(1, "a") + _pointing(1, "ALLCLOSED", ""), method="NONE"))
    assert [each.is_imprint for each in found] == [False, False, False, True]


@pytest.mark.parametrize(
    ("confirmation", "kinds"),
    [("No", "SS"), ("After target ACQ", "CSS"), ("After new MSA configuration", "CSCS")],
)
def test_confirmation_images(confirmation, kinds):
    pointings = _pointing(1, "a", "") + _pointing(2, "b", "")
    found = predicted(_shutters(pointings, confirmation=confirmation, method="NONE"))
    assert "".join("C" if each.exp_type == "NRS_CONFIRM" else "S" for each in found) == kinds
    assert all(each.sure for each in found if each.exp_type == "NRS_CONFIRM")


@pytest.mark.parametrize(
    ("subarray", "names"), [("SUB2048", ("NRS1", "NRS2")), ("SUB512", ("NRS1",)), ("SUB512S", ("NRS1",))]
)
def test_bright_objects(subarray, names):
    fields = f"""<Subarray>{subarray}</Subarray><Grating>G395H</Grating><Filter>F290LP</Filter>
    <ReadoutPattern>NRSRAPID</ReadoutPattern><Groups>70</Groups><Integrations>465</Integrations>
    <NumExps>2</NumExps>"""
    template = f"<NirspecBrightObjectTimeSeries>{WATA}{fields}</NirspecBrightObjectTimeSeries>"
    found = predicted(template, requirements="<TimeSeriesObservation/>")
    assert [each.exp_type for each in found[2:]] == ["NRS_BRIGHTOBJ"] * 2
    assert {(each.tso, each.fxd_slit, each.nints) for each in found[2:]} == {(True, "S1600A1", 465)}
    assert tuple(each.name for each in found[2].detectors) == names


def test_bright_object_without_acquisition():
    fields = """<AcqTargetID>NONE</AcqTargetID><AcqTargetFilter>CLEAR</AcqTargetFilter><Grating>PRISM</Grating>
    <Filter>CLEAR</Filter><ReadoutPattern>NRSRAPID</ReadoutPattern><Groups>5</Groups><Integrations>10</Integrations>
    <Subarray>SUB512</Subarray>"""
    (found,) = predicted(f"<NirspecBrightObjectTimeSeries>{fields}</NirspecBrightObjectTimeSeries>")
    assert found.exp_type == "NRS_BRIGHTOBJ"


def test_images_lamps_and_darks():
    settings = (
        """<Exposure><Filter>F140X</Filter><ReadoutPattern>NRSRAPID</ReadoutPattern><Groups>10</Groups>
    <Integrations>1</Integrations></Exposure>"""
        * 3
    )
    found = predicted(f"<NirspecImaging><Exposures>{settings}</Exposures></NirspecImaging>")
    assert [(each.exp_type, each.config, each.detectors[0].grating) for each in found] == [
        ("NRS_IMAGE", config, "MIRROR") for config in (1, 2, 3)
    ]
    lamp = """<ExposureList><Exposure><OperatingMode>MSA</OperatingMode><Subarray>FULL</Subarray>
    <MsaConfigFile>ALLOPEN</MsaConfigFile><ReadoutPattern>NRSIRS2RAPID</ReadoutPattern><Groups>5</Groups>
    <Integrations>1</Integrations><Lamp>FLAT4</Lamp><Grating>G140H</Grating></Exposure></ExposureList>"""
    (found,) = predicted(f"<NirspecInternalLamp>{lamp}</NirspecInternalLamp>", target="NONE")
    assert (found.exp_type, found.lamp, found.opmode, found.target) == ("NRS_LAMP", "FLAT4", "MSASPEC", 0)
    dark = """<ReadoutPattern>NRSRAPID</ReadoutPattern><Groups>10</Groups><Integrations>5</Integrations>
    <Subarray>ALLSLITS</Subarray><Exposures>2</Exposures>"""
    found = predicted(f"<NirspecDark>{dark}</NirspecDark>", target="NONE")
    assert [(each.exp_type, each.subarray) for each in found] == [("NRS_DARK", "ALLSLITS")] * 2


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (_ifu("<DitherType>SPIRAL</DitherType>", _setting()), "IFU dither pattern SPIRAL"),
        (_slit("S900"), "slit S900 of NIRSpec"),
        (_slit(subpixel="DIAGONAL"), "subpixel pattern DIAGONAL"),
        (_slit(subarray="SUB3"), "the size of subarray SUB3 of NIRSpec"),
        (_slit(settings=_setting(more="<Autocal>MOON</Autocal>")), "the automatic calibration MOON"),
        (_slit(acquisition="<TaMethod>GUESS</TaMethod>"), "the target acquisition GUESS"),
        (_shutters(""), "the MSA plan is not made"),
        (_shutters(_pointing(7, "a")), "the setting of pointing 1 of the MSA plan"),
        ("<NirspecFocus/>", "positions of the focus mechanism"),
    ],
)
def test_what_cannot_be_predicted_is_said_once(tmp_path, template, words):
    path = tmp_path / "program.xml"
    path.write_text(program_of(template))
    found = expand(read_program(path))
    assert not list(found.exposures())
    (problem,) = found.problems
    assert words in problem.text

"""NIRCam coronagraphy and grism time series, NIRISS interferometry and slitless spectra."""

import pytest

from jwcal.planning.apt import read_program
from jwcal.planning.expand import expand
from tests.planning.fragments import predicted, program_of


def _coronagraph(
    mask="MASK335R", subarray="SUB320", pattern="NONE", confirm="true", brightness="BRIGHT", filters=None
):
    configs = "".join(
        f"""<FilterConfig>{filter_}<ReadoutPattern>DEEP8</ReadoutPattern><Groups>15</Groups>
        <Integrations>4</Integrations></FilterConfig>"""
        for filter_ in filters or ("<Filter>F250M</Filter>", "<Filter>F444W</Filter>")
    )
    return f"""<NircamCoron><CoronMask>{mask}</CoronMask><AcqTargetID>Same Target as Observation</AcqTargetID>
<AcqTargetBrightness>{brightness}</AcqTargetBrightness><AcqFilter>F335M</AcqFilter>
<AcqReadoutPattern>SHALLOW4</AcqReadoutPattern><AcqGroups>65</AcqGroups>
<OptionalConfirmationImage>{confirm}</OptionalConfirmationImage>
<ConfirmationReadoutPattern>RAPID</ConfirmationReadoutPattern><ConfirmationGroups>3</ConfirmationGroups>
<ConfirmationIntegrations>1</ConfirmationIntegrations><Subarray>{subarray}</Subarray>
<DitherPattern>{pattern}</DitherPattern><Filters>{configs}</Filters><PsfReference>false</PsfReference></NircamCoron>"""


def _interferometry(primary="NONE", subpixel="NONE", direct=False):
    images = """<DirectReadoutPattern>NISRAPID</DirectReadoutPattern><DirectGroups>2</DirectGroups>
    <DirectIntegrations>1</DirectIntegrations>"""
    exposures = "".join(
        f"""<Exposure><Filter>{filter_}</Filter><ReadoutPattern>NISRAPID</ReadoutPattern><Groups>18</Groups>
        <Integrations>9490</Integrations>{images if direct else ""}</Exposure>"""
        for filter_ in ("F480M", "F380M")
    )
    return f"""<NirissAmi><AcqTarget>Same Target as Observation</AcqTarget><AcqMode>AMIBRIGHT</AcqMode>
<AcqReadoutPattern>NISRAPID</AcqReadoutPattern><AcqGroups>19</AcqGroups><PrimaryDithers>{primary}</PrimaryDithers>
<SubpixelPositions>{subpixel}</SubpixelPositions><ImageDithers>4</ImageDithers><Subarray>SUB80</Subarray>
<ExposureList>{exposures}</ExposureList><DirectImaging>{str(direct).lower()}</DirectImaging></NirissAmi>"""


def test_coronagraphy_as_in_program_1386():
    found = predicted(_coronagraph(pattern="9-POINT-CIRCLE"))
    assert [(each.config, each.dither.point) for each in found] == [
        (0, 1),
        (1, 1),
        (2, 1),
        *((3, point) for point in range(1, 10)),
        *((4, point) for point in range(1, 10)),
    ]
    kinds = [each.exp_type for each in found]
    assert kinds == ["NRC_TACQ", "NRC_TACONFIRM", "NRC_TACONFIRM"] + ["NRC_CORON"] * 18
    assert {(each.subarray, each.coronmsk) for each in found[3:]} == {("SUB320A335R", "MASKA335R")}
    assert {(each.dither.subpixel_pattern, each.dither.points) for each in found[3:]} == {
        ("9-POINT-CIRCLE", 9)
    }
    (detector,) = found[3].detectors
    assert (detector.name, detector.filter, detector.pupil, detector.rows) == (
        "NRCALONG",
        "F250M",
        "MASKRND",
        320,
    )


@pytest.mark.parametrize(
    ("mask", "subarray", "expected", "name", "pupil"),
    [
        ("MASK210R", "SUB640", "SUB640A210R", "NRCA2", "MASKRND"),
        ("MASKSWB", "SUB640", "SUB640ASWB", "NRCA4", "MASKBAR"),
        ("MASK430R", "SUB320", "SUB320A430R", "NRCALONG", "MASKRND"),
        ("MASKLWB", "SUB320", "SUB320ALWB", "NRCALONG", "MASKBAR"),
    ],
)
def test_masks(mask, subarray, expected, name, pupil):
    found = predicted(_coronagraph(mask, subarray, confirm="false"))
    assert [each.config for each in found] == [0, 1, 2]
    assert found[1].subarray == expected
    assert [(each.name, each.pupil) for each in found[1].detectors] == [(name, pupil)]
    assert found[0].subarray.startswith("SUBND")
    assert predicted(_coronagraph(mask, subarray, brightness="FAINT"))[0].subarray.startswith("SUBFS")


def test_both_channels_at_once():
    filters = ("<ShortFilter>F200W</ShortFilter><LongFilter>F444W</LongFilter>",)
    found = predicted(_coronagraph(filters=filters, confirm="false"))
    assert [(each.name, each.filter) for each in found[1].detectors] == [
        ("NRCA2", "F200W"),
        ("NRCALONG", "F444W"),
    ]


def test_full_frames_are_an_estimate():
    found = predicted(_coronagraph("MASK210R", "FULL", confirm="false"))
    assert [each.name for each in found[1].detectors] == ["NRCA1", "NRCA2", "NRCA3", "NRCA4"]
    assert found[1].sure
    assert not found[0].sure


@pytest.mark.parametrize(
    ("primary", "subpixel", "points"),
    [("NONE", "NONE", 1), ("2", "NONE", 2), ("NONE", "5", 5), ("4", "5", 20)],
)
def test_interferometry_points(primary, subpixel, points):
    found = predicted(_interferometry(primary, subpixel))
    assert [each.exp_type for each in found[:4]] == ["NIS_TACQ"] * 3 + ["NIS_TACONFIRM"]
    assert [(each.config, each.dither.point) for each in found[4:]] == [
        (config, point) for config in (1, 2) for point in range(1, points + 1)
    ]
    assert {(each.detectors[0].pupil, each.detectors[0].rows) for each in found[4:]} == {("NRM", 80)}


def test_direct_images_of_interferometry():
    found = predicted(_interferometry(direct=True))[4:]
    assert [(each.config, each.exp_type, each.direct) for each in found] == [
        (1, "NIS_AMI", False),
        *[(2, "NIS_IMAGE", True)] * 4,
        (3, "NIS_AMI", False),
        *[(4, "NIS_IMAGE", True)] * 4,
    ]
    assert (found[1].ngroups, found[1].detectors[0].pupil) == (2, "CLEARP")


def test_grism_time_series():
    template = """<NircamGrismTimeSeries><AcqTargetID>Same Target as Observation</AcqTargetID>
    <AcqReadoutPattern>RAPID</AcqReadoutPattern><AcqGroups>9</AcqGroups><Module>A</Module>
    <Subarray>SUBGRISM256</Subarray><ShortPupilFilter>WLP8+F182M</ShortPupilFilter>
    <LongPupilFilter>GRISMR+F444W</LongPupilFilter><ReadoutPattern>RAPID</ReadoutPattern><Groups>5</Groups>
    <Integrations>70</Integrations><NumExps>1</NumExps></NircamGrismTimeSeries>"""
    acquisition, series = predicted(template)
    assert [each.name for each in acquisition.detectors] == ["NRCALONG"]
    assert acquisition.exp_type == "NRC_TACQ"
    assert [(each.name, series.type_of(each), each.pupil, each.filter) for each in series.detectors] == [
        ("NRCA1", "NRC_TSIMAGE", "WLP8", "F182M"),
        ("NRCA3", "NRC_TSIMAGE", "WLP8", "F182M"),
        ("NRCALONG", "NRC_TSGRISM", "GRISMR", "F444W"),
    ]
    assert (series.tso, series.detectors[0].rows, series.detectors[0].columns) == (True, 256, 2048)


def test_slitless_spectra_of_niriss():
    exposure = (
        """<ReadoutPattern>NISRAPID</ReadoutPattern><Groups>9</Groups><Integrations>{}</Integrations>"""
    )
    template = f"""<NirissSoss><AcqTarget>Same Target as Observation</AcqTarget><AcqMode>SOSSFAINT</AcqMode>
    <AcqReadoutPattern>NISRAPID</AcqReadoutPattern><AcqGroups>5</AcqGroups><Subarray>SUBSTRIP256</Subarray>
    <Exposure>{exposure.format(537)}</Exposure><F277WExposure>{exposure.format(11)}</F277WExposure></NirissSoss>"""
    found = predicted(template)
    assert {(each.subarray, each.detectors[0].pupil) for each in found[:4]} == {("SUBTASOSS", "CLEARP")}
    assert [(each.exp_type, each.detectors[0].filter, each.nints) for each in found[4:]] == [
        ("NIS_SOSS", "CLEAR", 537),
        ("NIS_SOSS", "F277W", 11),
    ]
    unnamed = predicted(template.replace("F277WExposure", "Exposure"))[4:]
    assert [each.detectors[0].filter for each in unnamed] == ["CLEAR", "F277W"]
    assert all(each.sure for each in unnamed)
    assert not any(each.sure for each in found[4:])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (_coronagraph("MASK000"), "coronagraphic mask MASK000"),
        (_coronagraph(subarray="SUB99"), "which detectors of NIRCam coronagraphy read subarray SUB99"),
        ("<NirissSoss/>", "no exposure with a readout"),
    ],
)
def test_what_cannot_be_predicted_is_said_once(tmp_path, template, words):
    path = tmp_path / "program.xml"
    path.write_text(program_of(template))
    found = expand(read_program(path))
    assert not list(found.exposures())
    (problem,) = found.problems
    assert words in problem.text

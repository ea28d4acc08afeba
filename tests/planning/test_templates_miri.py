"""MIRI: what comes of its templates, from fragments of programs."""

import pytest

from jwcal.planning.apt import read_program
from jwcal.planning.expand import expand
from tests.planning.fragments import predicted, program_of

MRS = """<MiriMRS><AcqTargetID>{target}</AcqTargetID><AcqFilter>FND</AcqFilter>
<AcqReadoutPattern>FAST</AcqReadoutPattern><AcqGroups>6</AcqGroups><Detector>{detector}</Detector>
<Dithers><MrsDitherSpecification><DitherType>4-Point</DitherType><OptimizedFor>POINT SOURCE</OptimizedFor>
</MrsDitherSpecification><MrsDitherSpecification><DitherType>2-Point</DitherType></MrsDitherSpecification></Dithers>
<SimultaneousImaging>{imaging}</SimultaneousImaging><Subarray>FULL</Subarray><PrimaryChannel>ALL</PrimaryChannel>
<ExposureList><Exposure><Exposures>1</Exposures><Filter>F770W</Filter><Wavelength>SHORT(A)</Wavelength>
<Dither>Dither 1</Dither><ReadoutPattern>FASTR1</ReadoutPattern><ReadoutPatternLong>SLOWR1</ReadoutPatternLong>
<ReadoutPatternShort>FASTR1</ReadoutPatternShort><Groups>5</Groups><GroupsLong>20</GroupsLong>
<GroupsShort>142</GroupsShort><Integrations>4</Integrations><IntegrationsLong>1</IntegrationsLong>
<IntegrationsShort>2</IntegrationsShort></Exposure>
<Exposure><Exposures>2</Exposures><Filter>F770W</Filter><Wavelength>LONG(C)</Wavelength><Dither>{second}</Dither>
<ReadoutPattern>FASTR1</ReadoutPattern><ReadoutPatternLong>SLOWR1</ReadoutPatternLong>
<ReadoutPatternShort>FASTR1</ReadoutPatternShort><Groups>5</Groups><GroupsLong>20</GroupsLong>
<GroupsShort>142</GroupsShort><Integrations>4</Integrations><IntegrationsLong>1</IntegrationsLong>
<IntegrationsShort>2</IntegrationsShort></Exposure></ExposureList></MiriMRS>"""


def _mrs(target="NONE", detector="ALL", imaging="YES", second="Dither 2"):
    return MRS.format(target=target, detector=detector, imaging=imaging, second=second)


def _imaging(specification, subarray="FULL", exposures=1, dither="Dither 1"):
    return f"""<MiriImaging><Subarray>{subarray}</Subarray><Dithers><DitherSpecification>{specification}
</DitherSpecification></Dithers><Filters><FilterConfig><Exposures>{exposures}</Exposures><Filter>F770W</Filter>
<ReadoutPattern>FAST</ReadoutPattern><Groups>9</Groups><Integrations>2</Integrations><Dither>{dither}</Dither>
</FilterConfig></Filters></MiriImaging>"""


def _lrs(fields, subarray="FULL", target="Same Target as Observation"):
    return f"""<MiriLRS><AcqTargetID>{target}</AcqTargetID><AcqFilter>F1000W</AcqFilter>
<AcqReadoutPattern>FASTGRPAVG8</AcqReadoutPattern><AcqGroups>3</AcqGroups><Subarray>{subarray}</Subarray>
<Exposures>1</Exposures><ReadoutPattern>FASTR1</ReadoutPattern><Groups>10</Groups><Integrations>3</Integrations>
{fields}</MiriLRS>"""


def _coronagraph(mask, filter_, dither="9-POINT-SMALL-GRID", second="NO"):
    return f"""<MiriCoron><AcqTargetID>2 OTHER</AcqTargetID><AcqFilter>FND</AcqFilter>
<AcqReadoutPattern>FAST</AcqReadoutPattern><AcqGroups>44</AcqGroups><AcqQuadrant>4</AcqQuadrant>
<SecondExposure>{second}</SecondExposure><Dither>{dither}</Dither><Filters><FilterConfig><Mask>{mask}</Mask>
<Filter>{filter_}</Filter><Exposures>1</Exposures><ReadoutPattern>FASTR1</ReadoutPattern><Groups>100</Groups>
<Integrations>19</Integrations></FilterConfig></Filters><PsfReference>true</PsfReference></MiriCoron>"""


@pytest.mark.parametrize(
    ("specification", "points", "pattern"),
    [
        ("<DitherType>2-Point</DitherType>", 2, "2-POINT"),
        ("<DitherType>REULEAUX</DitherType><PatternSize>SMALL</PatternSize>", 12, "REULEAUX"),
        ("<DitherType>4-Point-Sets</DitherType><NumberOfSets>3</NumberOfSets>", 12, "4-POINT-SETS"),
        ("<DitherType>CYCLING</DitherType><NumberOfPoints>7</NumberOfPoints>", 7, "CYCLING"),
        ("<DitherType>Sparse Cycling</DitherType><Points>1,2,3-32</Points>", 32, "SPARSE-CYCLING"),
        (
            "<DitherType>3-POINT-MIRI-F2550W-WITH-NIRCam</DitherType>",
            3,
            "3-POINT-MIRI-F2550W-WITH-NIRCAM",
        ),
        ("<DitherType>NONE</DitherType>", 1, "NONE"),
    ],
)
def test_points_of_imaging_patterns(specification, points, pattern):
    found = predicted(_imaging(specification))
    assert [each.dither.point for each in found] == list(range(1, points + 1))
    assert {each.dither.pattern for each in found} == {pattern}
    assert {each.dither.points for each in found} == {points}


def test_imaging_readout_frame_and_repetitions():
    found = predicted(_imaging("<DitherType>2-Point</DitherType>", "SUB128", exposures=2))
    assert [each.dither.point for each in found] == [1, 1, 2, 2]
    (detector,) = found[0].detectors
    assert (detector.name, detector.filter, detector.rows, detector.columns) == (
        "MIRIMAGE",
        "F770W",
        128,
        136,
    )
    assert (found[0].readpatt, found[0].ngroups, found[0].nints) == ("FASTR1", 9, 2)


def test_imaging_without_pattern():
    assert len(predicted(_imaging("<DitherType>REULEAUX</DitherType>", dither="None"))) == 1


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (_imaging("<DitherType>SPIRAL</DitherType>"), "how many points the dither pattern SPIRAL has"),
        (
            _imaging("<DitherType>2-Point</DitherType>", dither="Dither 3"),
            "'Dither 3' of an exposure is not in",
        ),
        (_imaging("<DitherType>2-Point</DitherType>", "SUB77"), "the size of subarray SUB77 of MIRIMAGE"),
        (
            _lrs("<DitherType>LONG CROSS SCAN CENTER</DitherType>"),
            "LRS dither pattern LONG-CROSS-SCAN-CENTER",
        ),
        (_coronagraph("SPOT", "F770W"), "which coronagraph SPOT with filter F770W is"),
        (_mrs(detector="IMAGER"), "which detectors IMAGER of the MIRI spectrometer means"),
        (
            "<MiriMRSCrossGratingEngineering><ExposureList/></MiriMRSCrossGratingEngineering>",
            "order of the nine crossed settings",
        ),
    ],
)
def test_what_cannot_be_predicted_is_said_once(tmp_path, template, words):
    path = tmp_path / "program.xml"
    path.write_text(program_of(template))
    found = expand(read_program(path))
    assert not list(found.exposures())
    (problem,) = found.problems
    assert words in problem.text
    assert "\n" not in problem.text


def test_spectrometer_detectors_have_their_own_readouts_and_the_imager_is_beside():
    found = predicted(_mrs())
    assert [(each.config, each.dither.point) for each in found] == [
        *((1, point) for point in (1, 2, 3, 4)),
        *((2, point) for point in (1, 1, 2, 2)),
    ]
    first, last = found[0], found[-1]
    assert [each.name for each in first.detectors] == ["MIRIFULONG", "MIRIFUSHORT", "MIRIMAGE"]
    assert [first.readout_of(each) for each in first.detectors] == [
        ("SLOWR1", 20, 1),
        ("FASTR1", 142, 2),
        ("FASTR1", 5, 4),
    ]
    assert [first.type_of(each) for each in first.detectors] == ["MIR_MRS", "MIR_MRS", "MIR_IMAGE"]
    assert [each.channel for each in first.detectors] == ["34", "12", ""]
    assert [each.band for each in last.detectors] == ["LONG", "LONG", ""]


def test_spectrometer_alone():
    found = predicted(_mrs(detector="MRS", imaging="NO"))
    assert {tuple(each.name for each in exposure.detectors) for exposure in found} == {
        ("MIRIFULONG", "MIRIFUSHORT")
    }


def test_spectrometer_acquisition_comes_first():
    first, second, *_ = predicted(_mrs(target="2 OTHER"))
    assert (first.exp_type, first.target, first.acquisition, first.config) == ("MIR_TACQ", 2, True, 0)
    assert (first.detectors[0].filter, first.readpatt, first.ngroups) == ("FND", "FASTR1", 6)
    assert not second.acquisition
    assert second.target == 1


def test_slit_spectra_are_nodded_along_the_slit():
    acquisition, *found = predicted(_lrs("<DitherType>ALONG SLIT NOD</DitherType>"))
    assert acquisition.exp_type == "MIR_TACQ"
    assert acquisition.target == 1
    assert [each.dither.point for each in found] == [1, 2]
    assert {(each.exp_type, each.dither.pattern) for each in found} == {
        ("MIR_LRS-FIXEDSLIT", "ALONG-SLIT-NOD")
    }
    assert {(each.detectors[0].filter, each.subarray) for each in found} == {("P750L", "FULL")}


def test_slit_spectra_mapped():
    fields = """<DitherType>MAPPING</DitherType><NumberOfSpectralSteps>3</NumberOfSpectralSteps>
    <NumberOfSpatialSteps>5</NumberOfSpatialSteps>"""
    assert len(predicted(_lrs(fields, target="NONE"))) == 15


def test_slitless_spectra_are_a_time_series_if_asked_for():
    fields = "<DitherType>NONE</DitherType>"
    template = _lrs(fields, "SLITLESSPRISM")
    acquisition, spectrum = predicted(template, requirements="<TimeSeriesObservation/>")
    assert acquisition.subarray == "SLITLESSPRISM"
    assert (spectrum.exp_type, spectrum.tso) == ("MIR_LRS-SLITLESS", True)
    assert (spectrum.detectors[0].rows, spectrum.detectors[0].columns) == (416, 72)
    assert not predicted(template)[1].tso


def test_verification_image_of_the_slit():
    fields = """<DitherType>ALONG SLIT NOD</DitherType><OptionalVerificationImage>YES</OptionalVerificationImage>
    <VerificationFilter>F560W</VerificationFilter><VerificationReadoutPattern>FASTR1</VerificationReadoutPattern>
    <VerificationGroups>8</VerificationGroups><VerificationIntegrations>1</VerificationIntegrations>"""
    found = predicted(_lrs(fields))
    assert [each.exp_type for each in found] == ["MIR_TACQ", "MIR_TACONFIRM"] + ["MIR_LRS-FIXEDSLIT"] * 2
    assert (found[1].ngroups, found[1].detectors[0].filter) == (8, "F560W")
    assert found[1].sure


@pytest.mark.parametrize(
    ("mask", "filter_", "exp_type", "subarray", "keyword", "frame"),
    [
        ("FOUR_QPM", "F1065C", "MIR_4QPM", "MASK1065", "4QPM_1065", (224, 288)),
        ("FOUR_QPM", "F1550C", "MIR_4QPM", "MASK1550", "4QPM_1550", (224, 288)),
        ("LYOT", "F2300C", "MIR_LYOT", "MASKLYOT", "LYOT_2300", (304, 320)),
        ("FOUR_QPM_1140", "FND", "MIR_4QPM", "MASK1140", "4QPM_1140", (224, 288)),
    ],
)
def test_coronagraphs(mask, filter_, exp_type, subarray, keyword, frame):
    found = predicted(_coronagraph(mask, filter_))
    acquisitions, science = found[:2], found[2:]
    assert {(each.exp_type, each.subarray, each.target) for each in acquisitions} == {
        ("MIR_TACQ", subarray, 2)
    }
    assert [each.dither.point for each in science] == list(range(1, 10))
    assert {(each.exp_type, each.subarray, each.coronmsk) for each in science} == {
        (exp_type, subarray, keyword)
    }
    assert {(each.detectors[0].rows, each.detectors[0].columns) for each in science} == {frame}
    assert all(each.is_psf for each in science)


def test_a_second_acquisition_is_an_estimate():
    found = predicted(_coronagraph("LYOT", "F2300C", "NONE", second="YES"))
    assert [bool(each.sure) for each in found] == [True] * 5


def test_darks_and_flats():
    dark = """<MiriDark><Detector>{}</Detector><Subarray>FULL</Subarray><Filters><FilterConfig>
    <ReadoutPattern>SLOW</ReadoutPattern><Groups>6</Groups><GroupsLong>7</GroupsLong><GroupsShort>8</GroupsShort>
    <Integrations>3</Integrations><Exposures>2</Exposures></FilterConfig></Filters></MiriDark>"""
    one, two = predicted(dark.format("IMAGER"), target="NONE")
    assert (one.exp_type, one.readpatt, one.ngroups, one.target) == ("MIR_DARKIMG", "SLOWR1", 6, 0)
    assert [each.name for each in two.detectors] == ["MIRIMAGE"]
    one, _ = predicted(dark.format("ALL"), target="NONE")
    assert [(each.name, one.readout_of(each)[1]) for each in one.detectors] == [
        ("MIRIFULONG", 7),
        ("MIRIFUSHORT", 8),
        ("MIRIMAGE", 6),
    ]
    flat = """<MiriExternalFlat><Detector>IMAGER</Detector><Dither>true</Dither><DitherSpec>
    <DitherType>4-Point-Sets</DitherType><NumberOfSets>4</NumberOfSets></DitherSpec><Lamp>{}</Lamp>
    <Subarray>FULL</Subarray><ExposureList><Exposure><Exposures>1</Exposures><Filter>F2550WR</Filter>
    <ReadoutPattern>FAST</ReadoutPattern><Groups>4</Groups><Integrations>1</Integrations></Exposure></ExposureList>
    </MiriExternalFlat>"""
    found = predicted(flat.format("OFF ONLY"))
    assert {(each.exp_type, each.sure) for each in found} == {("MIR_FLATIMAGE-EXT", "")}
    assert len(found) == 16
    both = predicted(flat.format("OFF THEN ON"))
    assert [each.exp_type for each in both] == ["MIR_FLATIMAGE-EXT"] * 16 + ["MIR_FLATIMAGE"] * 16
    assert all(each.sure for each in both)

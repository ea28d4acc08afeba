import xml.etree.ElementTree as ET

import pytest

from jwcal.planning.apt import read_program
from jwcal.planning.expand import expand
from jwcal.planning.model import raw_name
from jwcal.planning.pointing import Point, PointingVisit
from tests.planning.programs import nircam, observation, program


@pytest.fixture
def predict(tmp_path):
    """Expand observations given as text; with a list of visits of a pointing report."""

    def run(*observations, pointing=None):
        path = tmp_path / "program.xml"
        path.write_text(program(*observations))
        return expand(read_program(path), pointing)

    return run


def _names(found, detector="NRCBLONG"):
    return [
        raw_name(found, own, visit, exposure, each).removeprefix("jw01234").removesuffix("_uncal.fits")
        for own, visit, exposure in found.exposures()
        for each in exposure.detectors
        if each.name == detector
    ]


def test_filters_are_the_outer_loop_and_subpixel_points_the_inner_one(predict):
    found = predict(observation(visits=(1,)))
    exposures = [exposure for _, _, exposure in found.exposures()]
    assert [(each.config, each.dither.primary, each.dither.subpixel) for each in exposures] == [
        (config, primary, subpixel) for config in (1, 2) for primary in (1, 2, 3) for subpixel in (1, 2)
    ]
    assert [each.dither.point for each in exposures] == [1, 2, 3, 4, 5, 6] * 2
    assert {each.dither.points for each in exposures} == {6}


def test_detectors_channels_and_filters(predict):
    exposure = next(predict(observation()).exposures())[2]
    assert [each.name for each in exposure.detectors] == ["NRCB1", "NRCB2", "NRCB3", "NRCB4", "NRCBLONG"]
    short, long = exposure.detectors[0], exposure.detectors[-1]
    assert (short.filter, short.pupil, short.channel, short.module) == ("F070W", "CLEAR", "SHORT", "B")
    assert (long.filter, long.pupil, long.channel, long.module) == ("F444W", "F405N", "LONG", "B")
    assert (exposure.readpatt, exposure.ngroups, exposure.nints) == ("RAPID", 3, 2)


@pytest.mark.parametrize(
    ("module", "subarray", "count", "frame"),
    [
        ("ALL", "FULL", 10, (2048, 2048)),
        ("A", "FULL", 5, (2048, 2048)),
        ("B", "SUB640", 5, (640, 640)),
        ("B", "SUB160P", 2, (160, 160)),
        ("A", "SUBGRISM64", 3, (64, 2048)),
    ],
)
def test_which_detectors_read_a_subarray(predict, module, subarray, count, frame):
    exposure = next(predict(observation(template=nircam(module, subarray))).exposures())[2]
    assert len(exposure.detectors) == count
    assert {(each.rows, each.columns) for each in exposure.detectors} == {frame}


def test_names_of_two_dithered_filters_have_a_move_between(predict):
    found = predict(observation(template=nircam(primary="2", subpixel="1"), visits=(1,)))
    assert _names(found) == [
        "001001_02101_00001_nrcblong",
        "001001_02101_00002_nrcblong",
        "001001_02103_00001_nrcblong",
        "001001_02103_00002_nrcblong",
    ]


def test_names_without_dithers_and_in_a_subarray(predict):
    found = predict(observation(template=nircam("B", "SUB160", "1", "1", "NONE"), visits=(1,)))
    assert _names(found) == ["001001_02102_00001_nrcblong", "001001_02103_00001_nrcblong"]


def test_a_visit_for_every_tile_that_is_included(predict):
    found = predict(observation(tiles="1011", visits=(1, 2, 3)))
    visits = found.observations[0].visits
    assert [(visit.number, visit.tiles, len(visit.exposures)) for visit in visits] == [
        (1, (1,), 12),
        (2, (3,), 12),
        (3, (4,), 12),
    ]
    assert {exposure.sure for _, _, exposure in found.exposures()} == {""}


def test_tiles_shared_among_fewer_visits_are_an_estimate(predict):
    found = predict(observation(tiles="1" * 5, visits=(1, 2)))
    assert [visit.tiles for visit in found.observations[0].visits] == [(1, 2, 3), (4, 5)]
    assert all("distance" in exposure.sure for _, _, exposure in found.exposures())


def test_as_many_visits_as_points(predict):
    found = predict(observation(template=nircam(primary="2", subpixel="1"), visits=(1, 2, 3, 4)))
    assert _names(found) == [f"00100{at}_02101_00001_nrcblong" for at in (1, 2, 3, 4)]


def _report(*visits):
    return [
        PointingVisit(
            1,
            number,
            [
                Point(1, tile, config, dither, "NRCBS_FULL", 1, 0.0, 0.0, (0.0, 0.0), "DITHER", "SCIENCE")
                for tile, config, dither in points
            ],
        )
        for number, points in visits
    ]


def test_visits_of_the_pointing_report(predict):
    pointing = _report((1, [(1, 1, 1)]), (2, [(1, 1, 2), (1, 2, 1), (1, 2, 2)]))
    found = predict(observation(template=nircam(primary="2", subpixel="1"), visits=(1, 2)), pointing=pointing)
    assert _names(found) == [
        "001001_02101_00001_nrcblong",
        "001002_02101_00001_nrcblong",
        "001002_02103_00001_nrcblong",
        "001002_02103_00002_nrcblong",
    ]
    assert {exposure.sure for _, _, exposure in found.exposures()} == {""}


def test_a_report_of_another_program_is_said(predict):
    found = predict(
        observation(template=nircam(primary="2", subpixel="1"), visits=(1,)),
        pointing=_report((1, [(1, 1, at) for at in (1, 2, 3)])),
    )
    assert (
        "has 3 points for tile 1, configuration 1, where 2 exposures are predicted" in found.problems[0].text
    )
    assert len(list(found.exposures())) == 4


def test_an_unknown_template_is_a_problem_and_the_rest_goes_on(predict):
    found = predict(
        observation(1, "<Novel/>"), observation(2, nircam("B", "SUB1"), visits=(1,)), observation(3)
    )
    assert [(problem.observation, problem.text) for problem in found.problems] == [
        (1, "Novel: this template is not known: its exposures are left out"),
        (2, "NircamImaging: which detectors of NIRCam module B read subarray SUB1 is not known"),
    ]
    assert {own.number for own, _, _ in found.exposures()} == {3}


def test_an_exposure_without_end_is_a_problem(predict):
    endless = nircam().replace("<nci:Integrations>2<", "<nci:Integrations>1e9<")
    found = predict(observation(1, endless), observation(2))
    assert [problem.observation for problem in found.problems] == [1]
    assert "3 groups and 1000000000 integrations" in found.problems[0].text
    assert {own.number for own, _, _ in found.exposures()} == {2}


def test_moving_target(predict):
    found = predict(observation(target="4 MARS"))
    assert all(exposure.moving and exposure.target == 4 for _, _, exposure in found.exposures())


def test_expanding_twice_gives_the_same(predict):
    found = predict(observation(tiles="11"))
    before = _names(found)
    assert _names(expand(found)) == before


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("<nci:PrimaryDithers>3<", "<nci:PrimaryDithers>999999999<", "a dither pattern of 1999999998 points"),
        ("FilterConfig>", "Config>", "NircamImaging: takes no exposures"),
        ("<Rows>1<", "<Rows>-4<", ""),
    ],
)
def test_absurd_contents_end_in_a_line(tmp_path, old, new, text):
    path = tmp_path / "program.xml"
    path.write_text(program(observation()).replace(old, new))
    found = expand(read_program(path))
    assert text in "".join(problem.text for problem in found.problems)


def test_a_program_without_one_of_its_elements_never_breaks(tmp_path):
    whole = ET.fromstring(program(observation(tiles="11", visits=(1, 2))))
    places = [(parent, child) for parent in whole.iter() for child in list(parent)]
    path = tmp_path / "program.xml"
    for parent, child in places:
        at = list(parent).index(child)
        parent.remove(child)
        path.write_bytes(ET.tostring(whole))
        parent.insert(at, child)
        found = expand(read_program(path))
        assert found.problems or list(found.exposures())


def test_visits_that_will_not_be_taken(tmp_path):
    path = tmp_path / "program.xml"
    status = (
        '<VisitStatuses><VisitStatus VisitId="01234001002" Status="WITHDRAWN"/>'
        '<VisitStatus VisitId="01234001001" Status="IMPLEMENTATION"/></VisitStatuses><Targets>'
    )
    path.write_text(program(observation(tiles="11", visits=(1, 2))).replace("<Targets>", status))
    found = expand(read_program(path))
    assert [len(visit.exposures) for visit in found.observations[0].visits] == [12, 0]
    assert [problem.text for problem in found.problems] == [
        "visit 2 is withdrawn: its exposures are left out"
    ]

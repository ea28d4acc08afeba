"""Predicted visits and exposures against what APT itself reports, for every program of the shared data."""

import os
from itertools import chain
from pathlib import Path

import pytest

from jwcal.planning.apt import read_program
from jwcal.planning.expand import expand
from jwcal.planning.pointing import read_pointing

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("JWCAL_SHARED") or ROOT.parent / "shared") / "data" / "planning" / "apt"
REPORTS = sorted(FOLDER.glob("*.pointing"))
# Observations of which the program alone does not tell how APT shares the points among the visits.
UNTOLD = {
    "obs_mode_tests__fgs_external": {2},
    "unstacked_mirror_data__OTE01-1134-reduced_mosaic": {1, 2, 3, 4, 5, 6, 7},
}

needs_reports = pytest.mark.skipif(not REPORTS, reason=f"no pointing reports in {FOLDER}")
each_report = pytest.mark.parametrize("path", REPORTS, ids=[path.stem for path in REPORTS])


INSTRUMENTS = {"NRC": "NIRCAM", "NIS": "NIRISS", "MIR": "MIRI", "NRS": "NIRSPEC", "FGS": "FGS"}


def _reported(pointing, observation):
    """Visits of an observation: tile, configuration, point of the pattern and kind of every point."""
    return [
        [
            ("acquisition",)
            if not point.tile
            else (
                point.tile,
                point.config,
                point.dither,
                point.parallel,
                point.kind in {"DIRECT", "OUTOFFLD"},
            )
            for point in visit.points
        ]
        for visit in pointing
        if visit.observation == observation
    ]


def _predicted(observation):
    return [
        [
            ("acquisition",)
            if not exposure.config
            else (
                exposure.tile,
                exposure.config,
                exposure.dither.point,
                bool(exposure.parallel),
                exposure.direct and not exposure.parallel,
            )
            for exposure in visit.exposures
        ]
        for visit in observation.visits
    ]


@needs_reports
@each_report
def test_with_the_report_visits_and_exposures_are_those_of_apt(path):
    pointing = read_pointing(path)
    program = expand(read_program(path.with_suffix(".xml")), pointing)
    assert not [problem for problem in program.problems if problem.observation]
    for observation in program.observations:
        assert _predicted(observation) == _reported(pointing, observation.number)
    assert {visit.observation for visit in pointing} == {each.number for each in program.observations}


@needs_reports
@each_report
def test_without_the_report(path):
    pointing = read_pointing(path)
    program = expand(read_program(path.with_suffix(".xml")))
    for observation in program.observations:
        expected, found = _reported(pointing, observation.number), _predicted(observation)
        assert list(chain(*found)) == list(chain(*expected))
        if observation.number in UNTOLD.get(path.stem, ()):
            assert found != expected
            assert all(exposure.sure for visit in observation.visits for exposure in visit.exposures)
        else:
            assert found == expected


@needs_reports
@each_report
def test_instruments_are_those_of_the_apertures(path):
    pointing = read_pointing(path)
    program = expand(read_program(path.with_suffix(".xml")), pointing)
    found = [exposure.instrument for _, _, exposure in program.exposures()]
    expected = [INSTRUMENTS[point.aperture[:3]] for visit in pointing for point in visit.points]
    # Guiders take images with the telescope at an aperture of NIRCam while the mirror is aligned.
    assert [one for one, other in zip(found, expected, strict=True) if one not in {other, "FGS"}] == []


@needs_reports
def test_the_archive_is_the_same_program():
    path = FOLDER / "imaging_example_data__example_imaging_program.aptx"
    one, other = expand(read_program(path)), expand(read_program(path.with_suffix(".xml")))
    assert [repr(exposure) for _, _, exposure in one.exposures()] == [
        repr(exposure) for _, _, exposure in other.exposures()
    ]

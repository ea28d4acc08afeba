"""Templates with a field missing or garbled: exposures or one sentence, never an exception."""

import copy
from xml.etree import ElementTree as ET

import pytest

from jwcal.planning.apt import read_program
from jwcal.planning.expand import expand
from tests.planning import test_templates_coron as coron
from tests.planning import test_templates_miri as miri
from tests.planning import test_templates_nirspec as nirspec
from tests.planning import test_templates_parallel as parallel
from tests.planning.fragments import program_of

FRAGMENTS = {
    "imaging": miri._imaging("<DitherType>CYCLING</DitherType><NumberOfPoints>7</NumberOfPoints>"),
    "sparse": miri._imaging("<DitherType>SPARSE-CYCLING</DitherType><Points>1,3-5</Points>"),
    "spectrometer": miri._mrs(target="2 OTHER"),
    "slit": miri._lrs("<DitherType>ALONG SLIT NOD</DitherType>"),
    "coronagraph": miri._coronagraph("FOUR_QPM", "F1065C"),
    "shutters": nirspec._shutters(nirspec._pointing(1, "a") + nirspec._pointing(2, "b"), confirmation="YES"),
    "fixed": nirspec._slit(nods="P_3", subpixel="BOTH"),
    "field": nirspec._ifu("<DitherType>4-POINT-NOD</DitherType>", nirspec._setting(), nirspec.WATA),
    "mask": coron._coronagraph(pattern="9-POINT-CIRCLE"),
    "interferometry": coron._interferometry("2", "5", direct=True),
    "beside": parallel._nircam("F090W"),
    "direct": parallel.WFSS,
}


def _damaged(fragment):
    """Copies of a fragment (list of str), each without one element or with one text garbled."""
    root = ET.fromstring(fragment)
    made = []
    for at in range(1, len(list(root.iter()))):
        for garbage in (None, "", "7x?", "-1"):
            other = copy.deepcopy(root)
            target = list(other.iter())[at]
            if garbage is None:
                next(each for each in other.iter() if target in list(each)).remove(target)
            else:
                target.text = garbage
            made.append(ET.tostring(other, encoding="unicode"))
    return made


@pytest.mark.parametrize("name", FRAGMENTS)
def test_damaged_templates_are_exposures_or_a_problem(tmp_path, name):
    path = tmp_path / "program.xml"
    beside = {"parallel": FRAGMENTS["beside"]} if name == "imaging" else {}
    for fragment in _damaged(FRAGMENTS[name]):
        path.write_text(program_of(fragment, **beside))
        found = expand(read_program(path))
        assert list(found.exposures()) or found.problems
        assert all("\n" not in problem.text for problem in found.problems)
        for _, _, exposure in found.exposures():
            assert exposure.detectors
            assert all(each.rows > 0 and each.columns > 0 for each in exposure.detectors)

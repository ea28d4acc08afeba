"""Darks, flats and templates without exposures; pure parallels."""

import pytest

from jwcal.planning.apt import read_program
from jwcal.planning.expand import expand
from tests.planning.fragments import predicted, program_of

SETTING = """<ExposureConfig><ReadoutPattern>{}</ReadoutPattern><Exposures>2</Exposures><Groups>10</Groups>
<Integrations>3</Integrations>{}</ExposureConfig>"""


def _nircam_dark(module="ALL"):
    return f"""<NircamDark><Module>{module}</Module><Subarray>FULL</Subarray><Template>Imaging</Template>
    <NumOutputs>4</NumOutputs><Exposures>{SETTING.format("BRIGHT1", "")}</Exposures></NircamDark>"""


@pytest.mark.parametrize(("module", "count"), [("ALL", 10), ("A", 5)])
def test_darks_of_nircam_as_in_program_1409(module, count):
    found = predicted(_nircam_dark(module), target="NONE")
    assert [(each.exp_type, len(each.detectors), each.ngroups) for each in found] == [
        ("NRC_DARK", count, 10)
    ] * 2
    assert not any(each.sure for each in found)


@pytest.mark.parametrize(
    ("tag", "fields", "exp_type", "detector"),
    [
        ("NirissDark", "", "NIS_DARK", "NIS"),
        ("NirissInternalFlat", "<Filter>F090W</Filter>", "NIS_LAMP", "NIS"),
        ("FgsInternalFlat", "<Detector>GUIDER2</Detector>", "FGS_INTFLAT", "GUIDER2"),
    ],
)
def test_templates_without_a_public_program_are_estimates(tag, fields, exp_type, detector):
    template = f"<{tag}><Exposures>{SETTING.format('NISRAPID', fields)}</Exposures></{tag}>"
    found = predicted(template, target="NONE")
    assert [(each.exp_type, each.detectors[0].name) for each in found] == [(exp_type, detector)] * 2
    assert all(each.sure for each in found)


@pytest.mark.parametrize("tag", ["StationKeeping", "RealtimeCommanding", "NirspecMSAAnneal", "MiriAnneal"])
def test_templates_that_take_no_exposures_are_said(tmp_path, tag):
    path = tmp_path / "program.xml"
    path.write_text(program_of(f"<{tag}/>", target="NONE"))
    found = expand(read_program(path))
    assert not list(found.exposures())
    (problem,) = found.problems
    assert problem.text == f"{tag}: takes no exposures"


def test_a_focus_sweep_cannot_be_predicted(tmp_path):
    path = tmp_path / "program.xml"
    path.write_text(program_of("<NircamFocus/>"))
    (problem,) = expand(read_program(path)).problems
    assert "positions at which its exposures are repeated" in problem.text


def test_pure_parallels_are_marked():
    asked = '<Parallel MinIterations="" MaxIterations="" MinSeparation="" SlewOnly="false"/>'
    found = predicted(_nircam_dark(), target="NONE", requirements=asked)
    assert {each.parallel for each in found} == {"pure"}
    assert all("scheduled" in each.sure for each in found)

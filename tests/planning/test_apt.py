import gzip
import io
import sys
import zipfile

import pytest

from jwcal.core.errors import InputError
from jwcal.planning.apt import read_program
from tests.planning.programs import nircam, observation, program


def _read(tmp_path, text):
    path = tmp_path / "program.xml"
    path.write_text(text)
    return read_program(path)


def test_facts_of_the_program(tmp_path):
    found = _read(tmp_path, program())
    assert (found.number, found.title, found.pi) == ("01234", "A & B", "Ada Lovelace")
    assert (found.category, found.cycle, found.prd) == ("GO", 2, "PRDOPSSOC-039")
    assert found.apt_version == "Version 2021.3 JWST PRD: PRDOPSSOC-039"
    assert not found.problems


def test_targets(tmp_path):
    targets = _read(tmp_path, program()).targets
    assert (targets[1].kind, targets[1].archive_name, targets[1].extended) == ("fixed", "M 1", "YES")
    assert (targets[1].ra, targets[1].dec) == (82.5, -69.5)
    assert (targets[4].kind, targets[4].ra) == ("moving", None)


def test_facts_of_an_observation(tmp_path):
    more = (
        "<SpecialRequirements><OnHold>until decided</OnHold><NoParallel/>"
        '<OrientRange OrientMin="1 Degrees" OrientMax="3 Degrees"/></SpecialRequirements>'
    )
    links = "<SameOrientLink><Observation>field 7 (Obs 7)</Observation><Observation>field 8 (Obs 8)</Observation></SameOrientLink>"
    one, other = _read(
        tmp_path,
        program(
            observation(7, tiles="101", more=more, visits=(1, 2)),
            observation(8, target="4 MARS"),
            links=links,
        ),
    ).observations
    assert (one.number, one.template, one.instrument, one.target) == (7, "NircamImaging", "NIRCAM", 1)
    assert one.mosaic.included == (1, 3)
    assert one.visit_numbers == (1, 2)
    assert one.on_hold == "until decided"
    assert not one.skipped
    assert one.requirements["NoParallel"] == "yes"
    assert one.requirements["OrientRange"] == "OrientMin=1 Degrees OrientMax=3 Degrees"
    assert one.links == other.links == [("SameOrientLink", (7, 8))]
    assert other.target == 4


@pytest.mark.parametrize("kind", ["xml", "gz", "aptx", "stdin"])
def test_forms_of_the_file(tmp_path, monkeypatch, kind):
    data = program().encode()
    path = tmp_path / "program"
    if kind == "gz":
        data = gzip.compress(data)
    elif kind == "aptx":
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("manifest", "x")
            file.writestr("other.xml", "<Other/>")
            file.writestr("deep/program.xml", data)
        data = archive.getvalue()
    elif kind == "stdin":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        path = "-"
    if kind != "stdin":
        path.write_bytes(data)
    assert read_program(path).number == "01234"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (program()[:900], "line 10, column 1: unclosed token"),
        (program().replace("</Title>", "</Tilte>"), "line 3, column "),
        ("<SEGMENT_UPDATE_REQUEST/>", "<SEGMENT_UPDATE_REQUEST> is not a program"),
        ("", "line 1, column 1: no element found"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + "<JwstProposal/>", "document type"),
        ("PK\x03\x04 and no more", "damaged .aptx file"),
    ],
)
def test_what_is_not_a_program_is_refused(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        _read(tmp_path, text)
    assert message in str(caught.value)
    assert "program.xml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_program(tmp_path / "none.aptx")


def test_archive_without_a_program(tmp_path):
    path = tmp_path / "a.aptx"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.xml", "<Other/>")
    with pytest.raises(InputError, match="no XML of a JWST program"):
        read_program(path)


def test_what_is_missing_is_said(tmp_path):
    found = _read(
        tmp_path,
        program(
            observation(),
            "<Observation><Label>lost</Label></Observation>",
            "<Observation><Number>9</Number><Template/></Observation>",
        ).replace('Value="05 30 00.0 -69 30 00.0"', 'Value="far away"'),
    )
    texts = [(problem.observation, problem.text) for problem in found.problems]
    assert texts == [
        (0, "target 1 FIELD: coordinates are not readable"),
        (0, "observation 'lost' has no number"),
        (9, "the observation has no template"),
    ]


def test_no_observation_is_a_problem(tmp_path):
    found = _read(tmp_path, program(" "))
    assert [problem.text for problem in found.problems] == ["the program has no observations"]


def test_reference_stars(tmp_path):
    target = nircam().replace(
        "<nci:Module>",
        "<nci:PsfReferenceObservations>[25][star (Obs 7), other (Obs 8)]</nci:PsfReferenceObservations><nci:PsfReferenceObservation>Observation 9</nci:PsfReferenceObservation><nci:Module>",
    )
    star = nircam().replace("<nci:Module>", "<nci:PsfReference>true</nci:PsfReference><nci:Module>")
    found = _read(
        tmp_path, program(observation(1, target), observation(7), observation(8, star), observation(9))
    ).observations
    assert found[0].psf_references == (7, 8, 9)
    assert [each.is_psf for each in found] == [False, True, True, True]


def test_backgrounds(tmp_path):
    text = program(observation(1), observation(2, target="4 MARS"))
    extra = "<BackgroundTargetReq>true</BackgroundTargetReq><BackgroundTargets>[4 MARS]</BackgroundTargets>"
    found = _read(tmp_path, text.replace("<Extended>YES</Extended>", extra))
    assert found.targets[1].backgrounds == (4,)
    assert [each.backgrounds for each in found.observations] == [(2,), ()]
    assert [each.is_background for each in found.observations] == [False, True]

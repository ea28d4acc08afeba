"""Coordinated and pure parallels."""

import pytest

from jwcal.planning.apt import read_program
from jwcal.planning.expand import expand
from jwcal.planning.model import raw_name
from tests.planning.fragments import predicted, program_of


def _miri(*filters, pattern="2-Point", more=""):
    configs = "".join(
        f"""<FilterConfig><Exposures>1</Exposures><Filter>{name}</Filter><ReadoutPattern>SLOWR1</ReadoutPattern>
        <Groups>9</Groups><Integrations>1</Integrations><Dither>Dither 1</Dither></FilterConfig>"""
        for name in filters
    )
    dithers = (
        f"<Dithers><DitherSpecification><DitherType>{pattern}</DitherType></DitherSpecification></Dithers>"
    )
    return f"<MiriImaging><Subarray>FULL</Subarray>{dithers}<Filters>{configs}</Filters>{more}</MiriImaging>"


def _nircam(*filters):
    configs = "".join(
        f"""<FilterConfig><ShortFilter>{name}</ShortFilter><LongFilter>F444W</LongFilter>
        <ReadoutPattern>BRIGHT1</ReadoutPattern><Groups>4</Groups><Integrations>1</Integrations></FilterConfig>"""
        for name in filters
    )
    return f"<NircamImaging><Module>B</Module><Subarray>FULL</Subarray><Filters>{configs}</Filters></NircamImaging>"


WFSS = """<NirissWfss><PrimaryDithers>4</PrimaryDithers><ExposureList><ExposureSequences>
<Sequence>GR150C</Sequence><Filter>F115W</Filter>
<DiExposure><ReadoutPattern>NIS</ReadoutPattern><Groups>2</Groups><Integrations>1</Integrations></DiExposure>
<GrismExposure><ReadoutPattern>NIS</ReadoutPattern><Groups>8</Groups><Integrations>1</Integrations></GrismExposure>
</ExposureSequences></ExposureList></NirissWfss>"""


def _by_order(found):
    pairs = {}
    for exposure in found:
        pairs.setdefault(exposure.order, []).append(exposure)
    return list(pairs.values())


def test_every_prime_exposure_has_one_of_the_setting_of_the_same_number():
    found = predicted(_miri("F770W", "F1000W"), parallel=_nircam("F090W", "F115W"))
    pairs = _by_order(found)
    assert len(pairs) == 4
    for prime, beside in pairs:
        assert (prime.parallel, beside.parallel) == ("", "coordinated")
        assert (prime.sequence, beside.sequence) == ("1", "2")
        assert (prime.group, prime.number) == (beside.group, beside.number)
        assert prime.dither == beside.dither
    assert [beside.detectors[0].filter for _, beside in pairs] == ["F090W", "F090W", "F115W", "F115W"]
    assert {len(beside.detectors) for _, beside in pairs} == {5}


def test_every_configuration_is_a_visit_group(tmp_path):
    path = tmp_path / "program.xml"
    path.write_text(program_of(_miri("F770W", "F1000W"), parallel=_nircam("F090W", "F115W")))
    program = expand(read_program(path))
    names = {
        raw_name(program, own, visit, exposure, exposure.detectors[-1])
        for own, visit, exposure in program.exposures()
    }
    assert len(names) == 8
    assert {name.split("_")[1] for name in names} == {"02101", "02201", "04101", "04201"}


def test_direct_images_beside_are_dithered_or_not():
    beside = {"parallel": WFSS}
    still = predicted(
        _miri(
            "F770W",
            "F770W",
            "F770W",
            more="<DitherDirectImageParallels>NO_DITHERING</DitherDirectImageParallels>",
        ),
        **beside,
    )
    moved = predicted(
        _miri(
            "F770W",
            "F770W",
            "F770W",
            more="<DitherDirectImageParallels>DITHER_DIRECT_IMAGES</DitherDirectImageParallels>",
        ),
        **beside,
    )
    kinds = [[each.exp_type for each in found if each.parallel] for found in (still, moved)]
    assert kinds[0] == ["NIS_IMAGE", "NIS_WFSS", "NIS_WFSS", "NIS_IMAGE"]
    assert kinds[1] == ["NIS_IMAGE"] * 2 + ["NIS_WFSS"] * 2 + ["NIS_IMAGE"] * 2
    assert [bool(each.sure) for each in still if not each.parallel] == [True, False, False, True]


def test_target_acquisition_has_no_parallel():
    mos = """<NirspecMOS><TaMethod>MSATA</TaMethod><DitherType>NONE</DitherType><Exposures><Exposure>
    <Grating>PRISM</Grating><Filter>CLEAR</Filter><ReadoutPattern>NRSIRS2</ReadoutPattern><Groups>16</Groups>
    <Integrations>1</Integrations></Exposure></Exposures><ConfigurationPointings><ConfigurationPointing>
    <ExposureSpec>1 (PRISM/CLEAR)</ExposureSpec><Configuration>c</Configuration>
    <NodPattern>3 Shutter Slitlet</NodPattern></ConfigurationPointing></ConfigurationPointings></NirspecMOS>"""
    found = predicted(mos, parallel=_nircam("F090W"))
    assert [len(pair) for pair in _by_order(found)] == [1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("parallel", "words"),
    [
        (_nircam("F090W"), "NircamImaging: the parallel template has 1 settings, but MiriImaging has 2"),
        ("<NircamMosaic/>", "NircamMosaic: this parallel template is not known"),
    ],
)
def test_without_the_parallel_the_prime_goes_on(tmp_path, parallel, words):
    path = tmp_path / "program.xml"
    path.write_text(program_of(_miri("F770W", "F1000W"), parallel=parallel))
    program = expand(read_program(path))
    assert [exposure.instrument for _, _, exposure in program.exposures()] == ["MIRI"] * 4
    (problem,) = program.problems
    assert words in problem.text

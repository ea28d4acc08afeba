"""NIRCam, NIRISS, guiders, wavefront sensing: what comes of their templates, from fragments of programs."""

import pytest

from tests.planning.fragments import predicted

READ = "<ReadoutPattern>RAPID</ReadoutPattern><Groups>3</Groups><Integrations>1</Integrations>"
FILTER = f"<ShortFilter>F200W</ShortFilter><LongFilter>F444W</LongFilter>{READ}"


def _imaging(dithers, filters=1, more=""):
    configs = f"<FilterConfig>{FILTER}</FilterConfig>" * filters
    return f"<NircamImaging><Module>A</Module><Subarray>FULL</Subarray>{more}{dithers}<Filters>{configs}</Filters></NircamImaging>"


@pytest.mark.parametrize(
    ("kind", "points", "more", "primary", "subpixel"),
    [
        ("NONE", "3", {}, 1, 1),
        ("FULL", "3TIGHT", {}, 3, 1),
        ("FULLBOX", "8NIRSPEC", {}, 8, 1),
        ("INTRAMODULE", "3", {"SubpixelDitherType": "3-POINT-WITH-MIRI-F770W"}, 3, 3),
        ("INTRASCA", "2", {"SubpixelDitherType": "SMALL-GRID-DITHER", "SubpixelPositions": "9-POINT"}, 2, 9),
        (
            "INTRAMODULE",
            "4",
            {"CoordinatedParallelSubpixelPositions": "NIRCam Only", "SubpixelPositions": "2"},
            4,
            2,
        ),
    ],
)
def test_points_of_dither_patterns(kind, points, more, primary, subpixel):
    fields = {"PrimaryDitherType": kind, "PrimaryDithers": points} | more
    found = predicted(_imaging("".join(f"<{name}>{value}</{name}>" for name, value in fields.items())))
    assert len(found) == primary * subpixel
    assert {(each.dither.primary_points, each.dither.subpixel_points) for each in found} == {
        (primary, subpixel)
    }


def _wide(grism, sequences):
    return (
        f"<NircamWfss><Module>A</Module><Subarray>FULL</Subarray><Grism>{grism}</Grism>"
        "<PrimaryDitherType>INTRAMODULEX</PrimaryDitherType><PrimaryDithers>2</PrimaryDithers>"
        f"<SubpixelPositions>NONE</SubpixelPositions><ExposureList>{sequences}</ExposureList></NircamWfss>"
    )


def _sequence(direct="true"):
    return (
        f"<ExposureSequences><DirectImage>{direct}</DirectImage><DiExposure>{FILTER}</DiExposure>"
        f"<GrismExposure>{FILTER}</GrismExposure></ExposureSequences>"
    )


def test_grism_exposures_have_images_beside_them_and_two_out_of_the_field():
    found = predicted(_wide("BOTH", _sequence()))
    grism = [each for each in found if each.exp_type == "NRC_WFSS"]
    assert [each.detectors[-1].pupil for each in grism] == ["GRISMR", "GRISMR", "GRISMC", "GRISMC"]
    assert grism[0].type_of(grism[0].detectors[0]) == "NRC_IMAGE"
    assert grism[0].type_of(grism[0].detectors[-1]) == "NRC_WFSS"
    assert [each.config for each in found] == [1, 1, 2, 3, 3, 4, 4, 5, 6, 6]
    assert [each.direct for each in found[:5]] == [False, False, True, True, True]


def test_no_images_out_of_the_field_without_a_direct_image():
    assert {each.exp_type for each in predicted(_wide("GRISMR", _sequence("false")))} == {"NRC_WFSS"}


def _niriss(sequence, dither):
    return (
        "<NirissWfss><PrimaryDithers>3</PrimaryDithers><DitherSize>SMALL</DitherSize><ExposureList>"
        f"<ExposureSequences><Sequence>{sequence}</Sequence><Filter>F200W</Filter><DiExposure>{READ}"
        f"<ShouldDither>{dither}</ShouldDither></DiExposure><GrismExposure>{READ}</GrismExposure>"
        "</ExposureSequences></ExposureList></NirissWfss>"
    )


@pytest.mark.parametrize(
    ("sequence", "dither", "counts"),
    [
        ("GR150R", "false", [1, 3, 1]),
        ("BOTH", "false", [1, 3, 2, 3, 1]),
        ("GR150C", "true", [1, 3, 3]),
        ("BOTH", "true", [1, 3, 4, 3, 3]),
    ],
)
def test_direct_images_of_niriss(sequence, dither, counts):
    found = predicted(_niriss(sequence, dither))
    assert [sum(each.config == at for each in found) for at in range(1, len(counts) + 1)] == counts
    assert {each.detectors[0].pupil for each in found} == {"F200W"}
    grisms = {"BOTH": {"GR150R", "GR150C"}}.get(sequence, {sequence})
    assert {each.detectors[0].filter for each in found} == {"CLEAR"} | grisms


@pytest.mark.parametrize(
    ("filter_", "wheels"), [("F090W", ("CLEAR", "F090W")), ("F444W", ("F444W", "CLEARP"))]
)
def test_wheels_of_niriss(filter_, wheels):
    exposure = f"<Exposure><Filter>{filter_}</Filter>{READ}</Exposure>"
    (found,) = predicted(f"<NirissImaging><ExposureList>{exposure}</ExposureList></NirissImaging>")
    assert (found.detectors[0].filter, found.detectors[0].pupil) == wheels


def test_guider():
    text = (
        "<FgsExternalCalibration><TargetType>IMAGE</TargetType><PrimaryDithers>3</PrimaryDithers>"
        f"<SubpixelDithers>2</SubpixelDithers><Detector>GUIDER2</Detector><Exposures><Exposure>{READ}</Exposure>"
        "</Exposures></FgsExternalCalibration>"
    )
    found = predicted(text)
    assert [each.dither.point for each in found] == [1, 2, 3, 4, 5, 6]
    assert {each.detectors[0].name for each in found} == {"GUIDER2"}


def _parts(exposures):
    return [(f"{each.group}{each.sequence}{each.activity}", each.number) for each in exposures]


def test_commissioning_takes_an_image_before_and_after_every_move():
    text = (
        f"<WfscCommissioning><Module>A</Module><Filters><FilterConfig>{FILTER}</FilterConfig></Filters>"
        "<ExpectedWfcGroups>3</ExpectedWfcGroups></WfscCommissioning>"
    )
    assert _parts(predicted(text)) == [("02101", at) for at in (1, 2, 3, 4)]


def test_coarse_phasing_has_the_activities_of_its_visit_file():
    parameters = "".join(
        f"<{name}Parameters>{READ}</{name}Parameters>" for name in ("InFocus", "Dhs", "Defocus")
    )
    found = predicted(f"<WfscCoarsePhasing><Module>A</Module>{parameters}</WfscCoarsePhasing>")
    assert [name for name, at in _parts(found) if at == 1] == [
        "02102", "02104", "02106", "02108", "0210a", "0210b", "0210c",
    ]  # fmt: skip
    assert [len(each.detectors) for each in found[::2]] == [1, 5, 5, 5, 5, 5, 5]


@pytest.mark.parametrize(
    ("iteration", "groups"),
    [
        ("ADJUST1", ["02", "02", "03", "05"]),
        ("BSCORRECT", ["02", "02", "03"]),
        ("CORRECT+ADJUST", ["02", "02", "03", "05", "05", "06", "08"]),
    ],
)
def test_global_alignment(iteration, groups):
    text = (
        f"<WfscGlobalAlignment><GaIteration>{iteration}</GaIteration><Module>A</Module><NircamParameters>{FILTER}"
        f"</NircamParameters><FgsParameters>{READ}</FgsParameters></WfscGlobalAlignment>"
    )
    found = predicted(text)
    assert [each.group for each in found] == groups
    assert [each.instrument for each in found if each.group in {"03", "06"}] == ["FGS"] * (len(groups) // 3)
    assert all(bool(each.sure) == (each.instrument == "FGS") for each in found)

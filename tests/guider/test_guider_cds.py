"""Count rates of guide stars."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jwcal.core.errors import DataError, InputError, ReferenceFileError
from jwcal.detector1.dq_init import dq_init
from jwcal.guider.guider_cds import guider_cds


def levels(*values, shape=(2, 3)):
    """Integrations of groups of constant level."""
    return np.array(values, np.float32)[..., None, None] * np.ones(shape, np.float32)


@pytest.mark.parametrize("kind", ["FGS_ACQ1", "FGS_ACQ2", "FGS_TRACK"])
def test_last_less_first(kind, guide, refs):
    out = guider_cds(guide(levels([10, 30], [10, 4]), kind), refs=refs())
    assert out.product == "guider_cal"
    assert out["SCI"].shape == (2, 2, 3)
    assert np.all(out["SCI"][0] == 10)
    assert np.all(out["SCI"][1] == -3)
    # Read variance of both reads; Poisson variance only of a positive signal.
    np.testing.assert_allclose(out["ERR"][0], np.sqrt(2 * 1.5**2 + 20 / 4), rtol=1e-6)
    np.testing.assert_allclose(out["ERR"][1], np.sqrt(2 * 1.5**2), rtol=1e-6)
    assert out["DQ"].shape == (2, 3)
    assert out.meta["S_GUICDS"] == "COMPLETE"


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [("FGS_TRACK", "ACQ1"), ("FGS_ACQ1", "ID"), ("FGS_ID-STACK", "ACQ2"), ("FGS_ACQ2", "TRACK")],
)
def test_header_of_another_mode_is_refused(kind, pattern, guide, refs):
    ramps = levels([10, 30], [10, 4])
    with pytest.raises(InputError, match=f"READPATT {pattern} is not that of EXP_TYPE {kind}"):
        guider_cds(guide(ramps, kind, READPATT=pattern), refs=refs())
    mode = "ID" if kind.startswith("FGS_ID") else kind.removeprefix("FGS_")
    guider_cds(guide(ramps, kind, READPATT=mode), refs=refs())


def test_fine_guiding_averages_four_reads(guide, refs):
    out = guider_cds(guide(levels([0, 2, 4, 6, 50, 10, 12, 14, 16]), "FGS_FINEGUIDE"), refs=refs())
    assert np.all(out["SCI"] == (13 - 3) / 2)


def test_identification_takes_the_smaller(guide, refs):
    sci = levels([0, 8], [0, 6])
    sci[1, 1, 0, 0] = 1000
    sci[0, 1, 0, 1] = np.nan
    out = guider_cds(guide(sci, "FGS_ID-IMAGE"), refs=refs())
    assert out["SCI"].shape == (1, 2, 3)
    assert out["SCI"][0, 0, 0] == 4
    assert np.isnan(out["SCI"][0, 0, 1])
    assert np.all(out["SCI"][0, 1] == 3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, 1000), jobs=st.sampled_from([1, 3]))
def test_an_offset_does_not_matter(offset, jobs, guide, refs):
    sci = np.random.default_rng(1).integers(0, 1000, (2, 2, 9, 7)).astype(np.float32)
    a = guider_cds(guide(sci), refs=refs((9, 7)), jobs=1)
    b = guider_cds(guide(sci + offset), refs=refs((9, 7)), jobs=jobs)
    assert np.array_equal(a["SCI"], b["SCI"])
    assert np.array_equal(a["ERR"], b["ERR"])


def test_stack_takes_the_mean_of_a_reference_that_does_not_cover_it(guide, refs):
    sci = levels([0, 8], [0, 6], shape=(8, 3))
    files = refs((2, 3), noise=[[1.0, 2.0, 3.0]] * 2)
    out = guider_cds(guide(sci, "FGS_ID-STACK"), refs=files)
    np.testing.assert_allclose(out["ERR"], np.sqrt(2 * 1 + 6 / 4), rtol=1e-6)
    with pytest.raises(ReferenceFileError, match="does not cover"):
        guider_cds(guide(sci, "FGS_ID-IMAGE"), refs=files)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("FGS_ACQ1", (2, 3)), ("FGS_TRACK", (2, 1)), ("FGS_FINEGUIDE", (2, 7)), ("FGS_ID-STACK", (1, 2))],
)
def test_mode_that_does_not_fit(kind, shape, guide, refs):
    with pytest.raises(DataError, match=f"{shape[0]} integrations of {shape[1]} groups; {kind}"):
        guider_cds(guide(np.ones((*shape, 2, 3)), kind), refs=refs())


def test_no_time(guide, refs):
    with pytest.raises(DataError, match="TGROUP"):
        guider_cds(guide(levels([1, 2]), TGROUP=0.0), refs=refs())


def test_flags_come_from_the_mask(guide, refs, reference):
    mask = reference(
        "mask", {"INSTRUME": "FGS", "DETECTOR": "GUIDER1"}, DQ=np.array([[0, 1, 0], [2048, 0, 0]])
    )
    first = dq_init(guide(levels([1, 3])), refs={"mask": mask})
    assert first.product == "guider_raw"
    assert first["DQ"].tolist() == [[0, 1, 0], [2048, 0, 0]]
    assert guider_cds(first, refs=refs())["DQ"].tolist() == [[0, 1, 0], [2048, 0, 0]]


def test_ramps_of_science_are_refused(guide, refs):
    from tests.detector1.conftest import make_ramp

    with pytest.raises(InputError, match="takes a guider_raw"):
        guider_cds(make_ramp([1, 2, 3]), refs=refs())

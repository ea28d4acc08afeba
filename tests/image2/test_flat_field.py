"""Flat field."""

import numpy as np
import pytest

from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from jwcal.image2.flat_field import flat_field

KEYS = {"INSTRUME": "FGS", "DETECTOR": "GUIDER1"}


def image(sci, err=1.0):
    """Calibrated guide-star image in memory."""
    sci = np.array(sci, np.float32)
    primary = Header()
    for key, value in {**KEYS, "EXP_TYPE": "FGS_ACQ1", "SUBSTRT1": 101, "SUBSTRT2": 51}.items():
        primary.set(key, value)
    planes = {
        "SCI": sci,
        "ERR": np.full(sci.shape, err, np.float32),
        "DQ": np.zeros(sci.shape[-2:], np.uint32),
    }
    return Exposure("guider_cal", primary, {n: Header() for n in planes}, ArrayStore(planes), (), "test")


def test_divides_and_adds_the_error(reference):
    flat = reference("flat", KEYS, SCI=np.full((2, 2), 2.0), ERR=np.full((2, 2), 0.1))
    out = flat_field(image(np.full((3, 2, 2), 8.0)), refs={"flat": flat})
    assert np.all(out["SCI"] == 4)
    np.testing.assert_allclose(out["ERR"], np.sqrt(1 + (4 / 2 * 0.1) ** 2), rtol=1e-6)
    assert not out["DQ"].any()
    assert out.meta["S_FLAT"] == "COMPLETE"


def test_bad_flat_leaves_the_pixel_and_flags_it(reference):
    flat = reference(
        "flat",
        KEYS,
        SCI=np.array([[0.0, np.nan], [2.0, 2.0]]),
        DQ=np.array([[0, 0], [1, 0]]),
        ERR=np.zeros((2, 2)),
    )
    out = flat_field(image(np.full((1, 2, 2), 8.0)), refs={"flat": flat})
    assert out["SCI"].tolist() == [[[8, 8], [8, 4]]]
    assert out["DQ"].tolist() == [[262145, 262145], [1, 0]]


def test_undone_by_its_inverse(reference):
    rng = np.random.default_rng(2)
    flat = reference("flat", KEYS, SCI=rng.uniform(0.5, 1.5, (4, 5)))
    sci = rng.normal(100, 10, (2, 4, 5))
    once = flat_field(image(sci), refs={"flat": flat})
    back = flat_field(once, refs={"flat": flat}, inverse=True)
    np.testing.assert_allclose(back["SCI"], sci, rtol=1e-6)


def test_what_is_not_a_number_stays_so(reference):
    flat = reference("flat", KEYS, SCI=np.ones((1, 3)), ERR=np.array([[0.0, np.nan, 0.0]]))
    out = flat_field(image([[[np.nan, 5.0, 5.0]]]), refs={"flat": flat})
    assert np.isnan(out["SCI"][0, 0]).tolist() == [True, True, False]
    assert np.isnan(out["ERR"][0, 0]).tolist() == [True, True, False]


def test_small_flat_is_skipped(reference):
    flat = reference("flat", KEYS, SCI=np.ones((1, 2)))
    out = flat_field(image(np.ones((1, 2, 2))), refs={"flat": flat})
    assert out.meta["S_FLAT"] == "SKIPPED"
    assert np.all(out["SCI"] == 1)


@pytest.mark.parametrize("planes", [{"SCI"}, {"SCI", "ERR"}])
def test_planes_of_the_flat_that_may_be_absent(planes, reference):
    flat = reference("flat", KEYS, **{name: np.ones((2, 2)) for name in planes})
    out = flat_field(image(np.ones((1, 2, 2))), refs={"flat": flat})
    assert np.all(out["SCI"] == 1)
    assert np.all(out["ERR"] == (np.float32(np.sqrt(2)) if "ERR" in planes else 1))

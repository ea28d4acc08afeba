"""Gain factor of rates."""

import numpy as np
import pytest

from jwcal.core.errors import ReferenceFileError
from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from jwcal.detector1.gain_scale import gain_scale

PLANES = ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE")


@pytest.fixture
def rate():
    def make(shape=(2, 2), **keys):
        primary = Header()
        for key, value in {
            "INSTRUME": "NIRCAM",
            "DETECTOR": "NRCA1",
            "SUBSTRT1": 101,
            "SUBSTRT2": 51,
            **keys,
        }.items():
            primary.set(key, value)
        planes = {name: np.ones(shape, np.float32) for name in PLANES}
        planes["DQ"] = np.zeros(shape, np.uint32)
        product = "rate" if len(shape) == 2 else "rateints"
        return Exposure(product, primary, {name: Header() for name in planes}, ArrayStore(planes), (), "test")

    return make


@pytest.mark.parametrize("shape", [(2, 2), (3, 2, 2)])
def test_factor_of_the_reference(rate, reference, shape):
    path = reference("gain", keys={"GAINFACT": 3.0}, SCI=np.ones((2, 2)))
    out = gain_scale(rate(shape), refs={"gain": path})
    assert [out[name].ravel()[-1] for name in PLANES] == [3, 3, 9, 9]
    assert out.meta["GAINFACT"] == 3
    assert out.meta["S_GANSCL"] == "COMPLETE"


def test_factor_of_the_exposure_goes_first(rate, reference):
    path = reference("gain", keys={"GAINFACT": 3.0}, SCI=np.ones((2, 2)))
    assert gain_scale(rate(GAINFACT=2.0), refs={"gain": path})["SCI"][0, 0] == 2


def test_no_factor_is_a_skip(rate, reference):
    out = gain_scale(rate(), refs={"gain": reference("gain", SCI=np.ones((2, 2)))})
    assert out["SCI"][0, 0] == 1
    assert out.meta["S_GANSCL"] == "SKIPPED"


@pytest.mark.parametrize("factor", [0.0, -1.0, "two"])
def test_nonsense_is_refused(rate, reference, factor):
    path = reference("gain", keys={"GAINFACT": factor}, SCI=np.ones((2, 2)))
    with pytest.raises(ReferenceFileError, match="GAINFACT"):
        gain_scale(rate(), refs={"gain": path})

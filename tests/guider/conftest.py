"""Guide-star exposures in memory."""

import numpy as np
import pytest

from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from tests.detector1.conftest import reference

__all__ = ["guide", "reference"]


@pytest.fixture
def guide():
    """Give a factory of raw guide-star exposures; ``dq`` makes it one that dq_init has seen."""

    def make(sci, kind="FGS_ACQ1", dq=None, **keys):
        sci = np.asarray(sci, np.float32)
        ny, nx = sci.shape[-2:]
        primary = Header()
        values = {
            "INSTRUME": "FGS", "DETECTOR": "GUIDER1", "EXP_TYPE": kind, "NGROUPS": sci.shape[1], "NINTS": sci.shape[0],
            "SUBSTRT1": 101, "SUBSTRT2": 51, "SUBSIZE1": nx, "SUBSIZE2": ny, "TGROUP": 2.0,
        }  # fmt: skip
        for key, value in (values | keys).items():
            primary.set(key, value)
        planes = {"SCI": sci} | ({} if dq is None else {"DQ": np.asarray(dq, np.uint32)})
        product = "guider_uncal" if dq is None else "guider_raw"
        return Exposure(product, primary, {name: Header() for name in planes}, ArrayStore(planes), (), "test")

    return make


@pytest.fixture
def refs(reference):
    """Give references of a gain of 2 and a read noise of 3 for a guider."""

    def make(shape=(2, 3), gain=2.0, noise=3.0):
        keys = {"INSTRUME": "FGS", "DETECTOR": "GUIDER1"}
        return {
            "gain": reference("gain", keys, SCI=np.broadcast_to(gain, shape)),
            "readnoise": reference("readnoise", keys, SCI=np.broadcast_to(noise, shape)),
        }

    return make

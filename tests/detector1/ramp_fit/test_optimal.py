"""The ramp-fit step with algorithm OPTIMAL: parameters, tiles and products."""

import numpy as np
import pytest

from jwcal.core import engine
from jwcal.core.errors import UsageError
from jwcal.detector1.ramp_fit.optimal import MANY, PARAMS, ramp_model
from jwcal.detector1.ramp_fit.step import ramp_fit

TIMES = {"TGROUP": 10.0, "TFRAME": 10.0}
OPTIMAL = {"algorithm": "OPTIMAL"}
SHAPE = (24, 30)


def noisy(nint=2, ngroup=8, *, seed=1, hits=60):
    rng = np.random.default_rng(seed)
    step = rng.normal(10, 5, (nint, ngroup, *SHAPE))
    place = tuple(rng.integers(0, n, hits) for n in step.shape)
    # Strong and weak tracks of three pixels, so that neighbours matter where tiles meet.
    for shift in range(3):
        at = (*place[:2], (place[2] + shift) % SHAPE[0], place[3])
        step[at] += [400, 18, 16][shift]
        weak = (*place[:2], (place[2] + 11 - shift) % SHAPE[0], (place[3] + 15) % SHAPE[1])
        step[weak] += [24, 24, 17][shift]
    return np.cumsum(step, axis=1).astype(np.float32)


@pytest.fixture
def refs(reference):
    return {
        "gain": reference("gain", SCI=np.full(SHAPE, 2.0), keys={"GAINFACT": 1.5}),
        "readnoise": reference("readnoise", SCI=np.full(SHAPE, 4.5)),
    }


def model_of(p=None, *, nint=1, keys=None, wanted=()):
    from types import SimpleNamespace

    values = {x.name: x.default for x in PARAMS} | {"suppress_one_group": True} | (p or {})
    meta = {**TIMES, "NFRAMES": 4, "GROUPGAP": 1, **(keys or {})}
    exposure = SimpleNamespace(wanted=wanted, meta=meta, shape=(nint, 8, 4, 4))
    return ramp_model(exposure, SimpleNamespace(**values), 1 << 19)


def test_products(ramp, refs):
    out = ramp_fit(ramp(noisy(nint=3), **TIMES), refs=refs, **OPTIMAL)
    rate, rateints = out["rate"], out["rateints"]
    assert rate.shape == SHAPE
    assert rateints.shape == (3, *SHAPE)
    for product in (rate, rateints):
        assert product.meta["S_RAMP"] == "COMPLETE"
        assert product.meta["GAINFACT"] == 1.5
        np.testing.assert_allclose(
            product["ERR"] ** 2, product["VAR_POISSON"] + product["VAR_RNOISE"], rtol=1e-5
        )
    assert abs(np.median(rate["SCI"]) - 1.0) < 0.05
    assert (rate["DQ"] & 4).any()


@pytest.mark.parametrize("tile", [1, 20_000, 60_000])
def test_result_does_not_depend_on_tiles(ramp, refs, monkeypatch, tile):
    want = ramp_fit(ramp(noisy(), **TIMES), refs=refs, **OPTIMAL)
    alone = ramp_fit(ramp(noisy(), **TIMES), refs=refs, search_neighbors=False, **OPTIMAL)
    monkeypatch.setattr(engine, "TILE_BYTES", tile)
    got = ramp_fit(ramp(noisy(), **TIMES), refs=refs, **OPTIMAL)
    for kind in ("rate", "rateints"):
        for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "DQ"):
            np.testing.assert_array_equal(got[kind][name], want[kind][name], err_msg=f"{kind} {name}")
    found, fewer = ((x["rateints"]["DQ"] & 4 > 0).sum() for x in (want, alone))
    assert found > fewer > 0


def test_jumps_flagged_before_are_used(ramp, refs):
    sci = noisy(nint=1, hits=0)
    sci[0, 5:, 3, 4] += 500
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[0, 5, 3, 4] = 4
    for found in (True, False):
        out = ramp_fit(ramp(sci, groupdq=gdq, **TIMES), refs=refs, find_jumps=found, **OPTIMAL)["rate"]
        assert abs(out["SCI"][3, 4] - 1) < 0.4
        assert out["DQ"][3, 4] == 4
    out = ramp_fit(ramp(sci, **TIMES), refs=refs, find_jumps=False, **OPTIMAL)["rate"]
    assert out["SCI"][3, 4] > 3
    assert out["DQ"][3, 4] == 0


def test_first_and_last_group(ramp, refs):
    sci = noisy(nint=1, hits=0)
    sci[:, :2] += 3000
    out = ramp_fit(ramp(sci, **TIMES), refs=refs, firstgroup=2, **OPTIMAL)["rate"]
    assert abs(np.median(out["SCI"]) - 1.0) < 0.05
    assert not (out["DQ"] & 1).any()


def test_one_group_is_left_to_least_squares(ramp, refs):
    out = ramp_fit(ramp(np.full((1, 1, *SHAPE), 30.0), **TIMES), refs=refs, **OPTIMAL)["rate"]
    np.testing.assert_allclose(out["SCI"], 3.0)


def test_limits_follow_the_exposure():
    few, many = model_of(), model_of(nint=MANY)
    assert many.limit_pair > few.limit_pair
    assert few.limit_split > few.limit
    assert model_of({"common_rate": False}, nint=MANY).limit_pair == few.limit_pair
    assert model_of({"jump_threshold_split": 5.0}).limit_split == 5.0
    alone = model_of({"search_neighbors": False})
    assert alone.limit_near == alone.limit_pair == np.inf
    assert model_of({"find_jumps": False}).limit == np.inf
    assert few.rounding > 0
    assert model_of({"quantization_noise": False}).rounding == 0
    assert model_of(keys={"NFRAMES": 1}).rounding == 0


def test_read_noise_is_that_after_ipc():
    assert model_of().noise_factor == 1
    assert model_of(keys={"IPCVAR": 1.05}).noise_factor == 1.05
    assert model_of({"ipc_noise": False}, keys={"IPCVAR": 1.05}).noise_factor == 1


def test_single_readings_of_miri_have_no_zero_point():
    assert model_of().suppress_one_group
    assert not model_of({"suppress_one_group": False}).suppress_one_group
    assert model_of({"suppress_one_group": False}, keys={"INSTRUME": "MIRI"}).suppress_one_group


def test_there_are_no_optional_results():
    with pytest.raises(UsageError, match="no optional results"):
        model_of(wanted=("fitopt",))

"""The quality table: counts, scatter, limits."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.core import quality
from jwcal.core.dq import DQ
from jwcal.kernels.quality import count_flags, count_flags_numpy


def value(rows, metric):
    """Value of a metric in a table."""
    return float(rows["VALUE"][rows["METRIC"] == metric.encode()][0])


def product(shape=(64, 64), noise=1.0, seed=1):
    """Image of unit errors with a scatter."""
    rng = np.random.default_rng(seed)
    sci = (10 + noise * rng.standard_normal(shape)).astype("f4")
    return sci, np.ones(shape, "f4"), np.zeros(shape, "u4")


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 5000),
    st.sampled_from([0, 1, DQ["REFERENCE_PIXEL"]]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 99),
)
def test_counts_equal_their_twin(n, without, mask, seed):
    dq = np.random.default_rng(seed).integers(0, 2**32, n, dtype=np.uint32) & np.uint32(mask)
    a, b = np.zeros(32, np.int64), np.ones(32, np.int64)
    assert count_flags(dq, without, a) == count_flags_numpy(dq, without, b)
    assert np.array_equal(a, b - 1)


@pytest.mark.parametrize("noise", [0.7, 1.0, 2.0])
def test_noise_ratio_is_the_scatter_over_the_error(noise):
    meter = quality.Meter({})
    meter.add((0, 512, 0, 512), *product((512, 512), noise))
    assert value(meter.rows(), "noise_ratio") == pytest.approx(noise, rel=0.02)


def test_scatter_leaves_out_what_cannot_be_used():
    sci, err, dq = product((128, 128))
    sci[:, ::2] = 1e6
    dq[:, ::2] = DQ["DO_NOT_USE"]
    meter = quality.Meter({})
    meter.add((0, 128, 0, 128), sci, err, dq)
    assert math.isnan(value(meter.rows(), "noise_ratio"))
    assert value(meter.rows(), "do_not_use") == 0.5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 63), max_size=4), st.booleans(), st.integers(1, 31))
def test_tiles_do_not_matter(cuts, cube, column):
    shape = (2, 64, 64) if cube else (64, 64)
    sci, err, dq = product(shape)
    dq[..., 5:9, 3:7] = DQ["SATURATED"] | DQ["DO_NOT_USE"]
    dq[..., :4] |= DQ["REFERENCE_PIXEL"]
    dq[..., 0] |= DQ["BAD_REF_PIXEL"]
    sci[..., 20, 20] = np.nan
    whole, parts = quality.Meter({}), quality.Meter({})
    whole.add((0, 64, 0, 64), sci, err, dq)
    edges = sorted({0, 64, *cuts})
    for y0, y1 in itertools.pairwise(edges):
        for x0, x1 in ((0, 2 * column), (2 * column, 64)):
            parts.add((y0, y1, x0, x1), *(a[..., y0:y1, x0:x1] for a in (sci, err, dq)))
    assert whole.rows().tobytes() == parts.rows().tobytes()
    assert value(whole.rows(), "saturated") == pytest.approx(4 * 3 / (64 * 60))
    assert value(whole.rows(), "reference_pixels_bad") == 0.25
    assert value(whole.rows(), "nan_not_flagged") == pytest.approx(1 / (64 * 60))


def test_keywords_and_records_count():
    meter = quality.Meter(
        {"PRIMECRS": 2.5, "ENGQLPTG": "PLANNED"},
        [
            {"STATUS": "SKIPPED", "REASON": "no DARK reference (none given)"},
            {"STATUS": "SKIPPED", "REASON": "switched off"},
        ],
    )
    rows = meter.rows()
    assert value(rows, "cosmic_ray_rate") == 2.5
    assert value(rows, "pointing_planned") == 1
    assert value(rows, "references_missing") == 1
    assert math.isnan(value(rows, "do_not_use"))


@pytest.mark.parametrize(
    ("number", "found"),
    [(0.5, "ok"), (1.0, "ok"), (1.5, "warn"), (-1, "warn"), (3.0, "fail"), (math.nan, "")],
)
def test_limits(number, found):
    assert quality.state(number, (0, 1), (-2, 2)) == found


def test_declared_limits_are_in_order():
    for name, rule in quality.metrics().items():
        assert rule["fail"][0] <= rule["warn"][0] <= rule["warn"][1] <= rule["fail"][1], name
        assert len(name) <= 24
        assert len(rule["meaning"]) <= 72
        assert "flag" not in rule or rule["flag"] in DQ


@pytest.mark.parametrize("tile", [1 << 14, 1 << 22])
def test_product_carries_it(tile, ramp_exposure, tmp_path):
    import jwcal
    from jwcal.core import engine
    from jwcal.core.fits import open_fits

    old, engine.TILE_BYTES = engine.TILE_BYTES, tile
    try:
        out = {"output": str(tmp_path / "r.fits"), "rateints": str(tmp_path / "ri.fits")}
        jwcal.run("detector1", str(ramp_exposure.uncal), refs=str(ramp_exposure.refs), **out)
        kept = jwcal.run("detector1", str(ramp_exposure.uncal), refs=str(ramp_exposure.refs))
    finally:
        engine.TILE_BYTES = old
    for name, path in (("rate", out["output"]), ("rateints", out["rateints"])):
        with open_fits(path) as fits:
            written = fits["QUALITY"].table()
            dq = fits["DQ"].read()
        in_memory = next(rows for table, rows in kept[name].tables if table == "QUALITY")
        assert np.array_equal(written["VALUE"], in_memory["VALUE"], equal_nan=True)
        seen = dq[(dq & DQ["REFERENCE_PIXEL"]) == 0]
        assert value(written, "jump_det") == np.count_nonzero(seen & DQ["JUMP_DET"]) / seen.size
        assert value(written, "cosmic_ray_rate") == kept[name].meta["PRIMECRS"]


@pytest.fixture
def ramp_exposure(tmp_path):
    """A small raw exposure on disk."""
    from tests.conftest import make_exposure

    return make_exposure(tmp_path / "in")

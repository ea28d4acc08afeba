"""Pieces cover an image once; statistics and counts equal those of the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwcal.analysis.planes import Summary, pieces


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(1, 60))
def test_pieces_cover_every_pixel_once(shape, limit):
    seen = np.zeros(shape, int)
    for index, box in pieces(tuple(shape), limit):
        view = seen[index]
        if box is not None:
            view = view[..., box[0] : box[1], box[2] : box[3]]
        view += 1
        assert view.size <= max(limit, shape[-1]) or len(shape) == 1
    assert (seen == 1).all()


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_summary_in_pieces_is_that_of_the_whole(cut):
    values = np.random.default_rng(3).normal(10, 2, (25, 40)).astype("f4")
    values[3, 4], values[5, 6] = np.nan, np.inf
    whole, parts = Summary(values.size, 40, 300), Summary(values.size, 40, 300)
    whole.add(values)
    for k in range(0, values.size, cut):
        parts.add(values.reshape(-1)[k : k + cut])
    assert whole.result() == parts.result()
    result = whole.result()
    assert (result["nan"], result["infinite"], result["sampled"]) == (1, 1, True)
    usable = values[np.isfinite(values)]
    assert (result["min"], result["max"]) == (usable.min(), usable.max())
    assert abs(result["percentiles"]["50"] - 10) < 0.5


def test_sample_takes_all_columns():
    values = np.tile(np.arange(64.0), (64, 1))
    summary = Summary(values.size, 64, 512)
    summary.add(values)
    assert len(np.unique(np.concatenate(summary.sample))) == 64

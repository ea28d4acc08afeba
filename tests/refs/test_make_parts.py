"""Parts of making references, on cases with known answers."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.core.errors import UsageError
from jwcal.refs.make.gain import pairs_of_groups, transfer
from jwcal.refs.make.linearity import fit
from jwcal.refs.make.mask import neighbours, relative, shifted, slopes
from jwcal.refs.make.saturation import ends
from jwcal.refs.make.sets import Override, Ramps
from jwcal.refs.make.write import dq_definition, useafter
from jwcal.refs.select import ReferenceSource


@given(
    st.integers(1, 70), st.integers(1, 300), st.integers(0, 60), st.integers(1, 4), st.sampled_from([1, 8, 16]),
    st.integers(1, 10**7), st.integers(1, 2000),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_boxes_cover_the_frame_once(ny, nx, corner, jobs, rows, memory, values):
    ramps = SimpleNamespace(
        frame=(ny, nx), request=SimpleNamespace(memory=memory), jobs=jobs,
        exposures=[SimpleNamespace(substrt=(corner, 0))],
    )  # fmt: skip
    seen = np.zeros((ny, nx), int)
    for y0, y1, x0, x1 in Ramps.boxes(ramps, values, rows):
        assert y1 > y0
        assert x1 > x0
        seen[y0:y1, x0:x1] += 1
        if rows > 1:
            assert (x0, x1) == (0, nx)
            assert y0 == 0 or (y0 + corner) % rows == 0
    assert (seen == 1).all()


@given(st.integers(2, 60))
def test_intervals_lie_in_the_ramp(ngroups):
    for length, places in pairs_of_groups(ngroups).items():
        assert places
        for first, last in places:
            assert 0 <= first < last < ngroups
            assert last - first == length


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_photon_transfer(gain):
    rng = np.random.default_rng(4)
    charge = rng.poisson(4000, (10, 8, 3000)).cumsum(axis=1)
    sci = (charge / gain + rng.normal(0, 6, charge.shape)).astype(np.float32)
    found, error, noise, drift = transfer(sci, pairs_of_groups(8), 4.0)
    assert error / found < 0.01
    assert abs(found - gain) < 4 * error
    assert abs(noise - 6) < 3
    assert drift < 0.01


def test_photon_transfer_of_light_that_changes():
    rng = np.random.default_rng(4)
    charge = rng.poisson(np.array([4000, 5000])[:, None, None], (2, 8, 3000)).cumsum(axis=1)
    *_, drift = transfer(charge.astype(np.float32), pairs_of_groups(8), 4.0)
    assert drift == pytest.approx(0.22, abs=0.02)


def test_photon_transfer_without_light():
    sci = np.random.default_rng(5).normal(0, 1e-3, (2, 5, 200)).astype(np.float32)
    sci[:, :, :195] = np.nan
    assert np.isnan(transfer(sci, pairs_of_groups(5), 4.0)[0])


@given(st.integers(0, 10**6))
@settings(deadline=None)
def test_slopes_of_lines(seed):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 100, 6))
    wanted = rng.uniform(-50, 50, (2, 3, 4))
    sci = (wanted[:, None] * times[:, None, None] + rng.uniform(0, 100, (2, 1, 3, 4))).astype(np.float32)
    sci[0, 3:] = np.nan
    sci[1, 1:, 0, 0] = np.nan
    found = slopes(sci, times)
    assert np.isnan(found[1, 0, 0])
    rest = np.isfinite(found)
    assert rest.sum() == found.size - 1
    scale = np.ptp(times[:3])
    np.testing.assert_allclose(found[rest], wanted[rest], atol=1e-2 + 1e-3 / scale, rtol=1e-3 + 1e-3 / scale)


def test_surroundings():
    rate = np.full((20, 30), 10, np.float32)
    rate[:, 15:] = 14
    rate[4, 4], rate[10, 10], rate[12, 12] = 0, 1000, np.nan
    usable = np.ones(rate.shape, bool)
    usable[0] = False
    found = relative(rate, usable, 5)
    assert found[4, 4] == 0
    assert found[10, 10] == pytest.approx(100)
    assert np.isnan(found[12, 12])
    assert found[6, 6] == pytest.approx(1)
    assert found[10, 15] > 1 > found[10, 14]


def test_neighbours_at_the_edge():
    image = np.arange(12.0).reshape(3, 4)
    image[1, 1] = np.nan
    found = neighbours(image)
    assert found[0, 0] == 2.5
    assert found[0, 1] == 1
    assert found[1, 2] == np.mean([2, 7, 10])
    np.testing.assert_array_equal(shifted(image[:1], 0, 1, fill=-1), [[-1, 0, 1, 2]])


def ramp(limit, slope=2000.0, bias=1000.0, groups=20):
    signal = np.minimum(bias + slope * np.arange(1, groups + 1), limit)
    return np.round(signal).astype(np.float32)[:, None, None]


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        (ramp(30000), 1000 + 0.9 * 29000),
        (ramp(1e9), np.nan),
        (ramp(30000, slope=1500, groups=20), np.nan),
        (ramp(2000), np.nan),
        (ramp(30000, slope=0), np.nan),
    ],
    ids=["ends", "never ends", "ends with its last group", "ends too early", "no light"],
)
def test_ends_of_ramps(case, wanted):
    np.testing.assert_allclose(ends(case, 0.9, None, 0.1), [[wanted]], atol=1)


def bent(groups=25, top=50000.0, noise=0.0):
    line = np.linspace(0.02, 1, groups) * top
    x = line.copy()
    for _ in range(40):
        x = line / (1 + 7e-7 * x + 2e-12 * x * x)
    return (x + np.random.default_rng(1).normal(0, noise, groups)).astype(np.float32)[:, None]


def test_linearity_of_known_ramps():
    flat = np.full((25, 1), 100, np.float32)
    falls = bent()[::-1].copy()
    short = bent()
    short[3:] = np.nan
    ramps = [np.concatenate([bent(), bent(noise=5), flat, falls * 0 + np.nan, short], axis=1)] * 3
    ramps.append(np.concatenate([bent()] * 5, axis=1))
    # A cosmic ray, in one ramp only.
    ramps[3][12:, 0] += 4000
    ramps[3][:, 2:] = np.nan
    c, top, residual, fine = fit(ramps, 3, 10000, 0.01)
    assert fine.tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(c[:, 0], [0, 1, 7e-7, 2e-12], rtol=2e-3)
    np.testing.assert_allclose(c[2, 1], 7e-7, rtol=0.05)
    np.testing.assert_array_equal(c[:, 2:], np.array([[0, 1, 0, 0]] * 3).T)
    assert residual[0] < 1e-5
    assert top[2] == 100


def test_labels():
    assert useafter("2024-01-02 03:04:05.6") == "2024-01-02T03:04:05"
    with pytest.raises(UsageError, match="no time"):
        useafter("soon")
    table = dq_definition(("HOT", "DEAD", "DO_NOT_USE"))
    assert table["NAME"].tolist() == [b"DO_NOT_USE", b"DEAD", b"HOT"]
    assert (1 << table["BIT"] == table["VALUE"]).all()


def test_one_reference_by_name(tmp_path):
    source = Override(ReferenceSource({"gain": "N/A"}), "superbias", "mine.fits")
    assert source.find("superbias", {}) == ("mine.fits", "named")
    assert source.find("gain", {})[0] is None
    assert Override(source, "superbias", "N/A").find("superbias", {})[0] is None
    assert source.context is None

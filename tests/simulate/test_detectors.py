"""Detectors: orientation, amplifiers, reference pixels, frame times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwcal.core.errors import UsageError
from jwcal.simulate.detectors import catalogue, choose_detector, detector, region
from jwcal.simulate.readout import frame_time, timing

DETECTORS = tuple(catalogue()["detector"])


def to_detector(plane, fast, slow):
    """Turn a science-frame plane so that the fast direction runs along +x and the slow one along +y."""
    if abs(fast) == 2:
        plane = plane.T
    return plane[:: np.sign(slow), :: np.sign(fast)]


@pytest.mark.parametrize("name", DETECTORS)
def test_positions_along_fast_and_slow_increase_in_the_readout_frame(name):
    full = region(detector(name), "FULL")
    fast = np.broadcast_to(full.along_fast(full.fast()), full.shape)
    slow = np.broadcast_to(full.along_slow(full.slow()), full.shape)
    turned_fast = to_detector(fast, full.detector.fastaxis, full.detector.slowaxis)
    turned_slow = to_detector(slow, full.detector.fastaxis, full.detector.slowaxis)
    assert np.array_equal(turned_fast[0], np.arange(turned_fast.shape[1]))
    assert np.array_equal(turned_slow[:, 0], np.arange(turned_slow.shape[0]))
    assert (turned_fast == turned_fast[0]).all()
    assert (turned_slow == turned_slow[:, :1]).all()


@pytest.mark.parametrize("name", DETECTORS)
def test_amplifiers_of_the_full_frame(name):
    det = detector(name)
    amplifiers = region(det, "FULL").amplifiers()
    if det.is_miri:
        assert np.array_equal(amplifiers, np.arange(1032) % 4)
    else:
        in_order = amplifiers if det.fastaxis > 0 else amplifiers[::-1]
        assert np.array_equal(in_order, np.repeat(np.arange(4), 512))


@pytest.mark.parametrize("name", DETECTORS)
@given(data=st.data())
def test_a_cutout_has_the_reference_pixels_of_the_full_frame(name, data):
    det = detector(name)
    fy, fx = det.shape
    ny, nx = data.draw(st.integers(1, fy)), data.draw(st.integers(1, fx))
    x, y = data.draw(st.integers(1, fx - nx + 1)), data.draw(st.integers(1, fy - ny + 1))
    part = region(det, shape=(ny, nx), corner=(x, y))
    whole = region(det, "FULL").reference_pixels()
    assert part.shape == (ny, nx)
    assert np.array_equal(part.reference_pixels(), whole[y - 1 : y - 1 + ny, x - 1 : x - 1 + nx])
    assert part.outputs in {1, 4}


def test_number_of_reference_pixels():
    assert region(detector("NRCA1"), "FULL").reference_pixels().sum() == 2048**2 - 2040**2
    assert region(detector("MIRIMAGE"), "FULL").reference_pixels().sum() == 8 * 1024


@pytest.mark.parametrize("name", DETECTORS)
def test_every_named_subarray_fits(name):
    det = detector(name)
    for sub in det.subarrays:
        r = region(det, sub)
        assert r.x0 >= 0
        assert r.y0 >= 0
        assert r.x0 + r.nx <= det.shape[1]
        assert r.y0 + r.ny <= det.shape[0]
        assert frame_time(r) < frame_time(region(det, "FULL"))


# Frame times published in the user documentation or found in headers of flight data.
@pytest.mark.parametrize(
    ("name", "sub", "seconds"),
    [
        ("NRCA2", "FULL", 10.73677),
        ("NRCB1", "SUB640", 4.18584),
        ("NRCB1", "SUB160", 0.27864),
        ("NRCALONG", "SUBGRISM256", 1.34669),
        ("NRCALONG", "SUBGRISM64", 0.34061),
        ("NIS", "SUB80", 0.07544),
        ("NIS", "SUBSTRIP256", 5.494),
        ("NIS", "SUBSTRIP96", 2.214),
        ("NRS1", "SUB2048", 0.90156),
        ("NRS1", "ALLSLITS", 5.49132),
        ("NRS1", "SUB512", 0.22572),
        ("GUIDER2", "SUB128LL", 0.182),
        ("MIRIMAGE", "FULL", 2.77504),
        ("MIRIMAGE", "SUB256", 0.29952),
        ("MIRIMAGE", "BRIGHTSKY", 0.86528),
        ("MIRIMAGE", "SUB64", 0.08512),
        ("MIRIMAGE", "MASK1550", 0.23968),
        ("MIRIMAGE", "SLITLESSPRISM", 0.15904),
    ],
)
def test_frame_times(name, sub, seconds):
    assert frame_time(region(detector(name), sub)) == pytest.approx(seconds, abs=1e-9)


def test_slow_mode_and_averaged_groups():
    assert timing(region(detector("MIRIMAGE"), "FULL"), "SLOWR1").tframe == pytest.approx(23.89, abs=0.005)
    t = timing(region(detector("NRCA1"), "FULL"), "DEEP8", ngroups=3)
    assert (t.nframes, t.groupgap, t.divisor, t.total_frames) == (8, 12, 8, 48)
    assert t.tgroup == pytest.approx(20 * 10.73677)


@pytest.mark.parametrize(
    "call",
    [
        lambda: detector("NRCA9"),
        lambda: choose_detector("fgs", "NRCA1"),
        lambda: choose_detector("wfpc2"),
        lambda: region(detector("NRCA1"), "SUB80"),
        lambda: region(detector("NRCA1"), shape=(2048, 2049)),
        lambda: region(detector("NRCA1"), shape=(10, 10), corner=(2040, 1)),
        lambda: region(detector("NRCA1"), "SUB640", shape=(2, 2)),
        lambda: timing(region(detector("NRCA1"), "FULL"), "NISRAPID"),
        lambda: timing(region(detector("NRCA1"), "FULL"), ngroups=0),
    ],
)
def test_impossible_requests_are_usage_errors(call):
    with pytest.raises(UsageError):
        call()

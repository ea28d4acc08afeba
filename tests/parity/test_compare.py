"""The comparison itself: it must see what differs."""

import numpy as np

from tests.parity.compare import planes


def test_equal_planes():
    a = np.array([1.0, np.nan, -3.0], np.float32)
    assert planes(a, a.copy(), 1.0) == {"nan": 0, "max": 0.0, "p999": 0.0, "same": 1.0}


def test_one_bit():
    a = np.full(1000, 100, np.float32)
    b = a.copy()
    b[7] = np.nextafter(b[7], np.float32(200))
    result = planes(a, b, 1.0)
    assert 5e-8 < result["max"] < 1e-7
    assert result["same"] == 0.999


def test_nan_in_one_only():
    a, b = np.ones(4), np.array([1, np.nan, 1, 1])
    assert planes(a, b, 1.0)["nan"] == 1


def test_floor_is_the_least_size():
    a, b = np.array([1e-9]), np.array([2e-9])
    assert planes(a, b, 1.0)["max"] < 1e-8
    assert planes(a, b, 0.0)["max"] == 0.5

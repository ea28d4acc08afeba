"""Exposures without light and to an even lamp."""

import numpy as np
import pytest

from jwcal.core.errors import UsageError
from jwcal.simulate.detectors import detector, region
from jwcal.simulate.expose import expose
from jwcal.simulate.scene import LAMP, make_scene


def test_scenes():
    area = region(detector("NRCA3"), "SUB64P")
    np.testing.assert_array_equal(make_scene(area, "dark", brightness=7.0).rate, 0)
    lamp = make_scene(area, "lamp", brightness=2.0)
    np.testing.assert_array_equal(lamp.rate, np.float32(2 * LAMP))
    assert lamp.stars.size == 0


@pytest.mark.parametrize(
    ("given", "dark", "lamp"),
    [
        ({"detector": "NRCA3", "subarray": "SUB64P"}, "NRC_DARK", "NRC_LED"),
        ({"instrument": "miri", "subarray": "SUB64"}, "MIR_DARKIMG", "MIR_FLATIMAGE"),
    ],
)
def test_exposure_types(given, dark, lamp, tmp_path):
    from jwcal.core.fits import open_fits

    rates = {}
    for name in (dark, lamp):
        case = expose(tmp_path / name, exp_type=name, ngroups=3, references=False, **given)
        assert case["exp_type"] == name
        with open_fits(str(tmp_path / name / "truth.fits")) as fits:
            rates[name] = fits["RATE"].read()[fits["BAD"].read() == 0]
    assert not rates[dark].any()
    assert rates[lamp].min() > 0
    assert rates[lamp].std() < 0.05 * rates[lamp].mean()


def test_a_type_of_another_instrument(tmp_path):
    with pytest.raises(UsageError, match="NIS_LAMP"):
        expose(tmp_path, instrument="nircam", exp_type="NIS_LAMP")

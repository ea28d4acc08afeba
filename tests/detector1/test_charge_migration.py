"""The charge-migration step: flags, when it runs, and what the slope fit makes of them."""

import numpy as np
import pytest

from jwcal.detector1.charge_migration import charge_migration
from jwcal.detector1.ramp_fit.step import ramp_fit

LOST = 128 | 1


def bright(ngroup=6, ny=7, nx=8):
    sci = np.zeros((1, ngroup, ny, nx), np.float32)
    sci += 10 * np.arange(ngroup)[:, None, None]
    sci[0, :, 3, 4] = 10000 * np.arange(ngroup)
    return sci


def test_pixel_and_neighbours_are_lost_from_the_threshold_on(ramp):
    out = charge_migration(ramp(bright()), skip=False)
    want = np.zeros((6, 7, 8), np.uint8)
    want[3:, 3, 3:6] = want[3:, 2:5, 4] = LOST
    np.testing.assert_array_equal(out["GROUPDQ"][0], want)
    assert out.meta["S_CHGMIG"] == "COMPLETE"


def test_off_unless_asked_for_and_for_few_groups(ramp):
    out = charge_migration(ramp(bright()))
    assert out.meta["S_CHGMIG"] == "SKIPPED"
    assert not out["GROUPDQ"].any()
    out = charge_migration(ramp(bright(ngroup=2)), skip=False)
    assert out.meta["S_CHGMIG"] == "SKIPPED"


@pytest.mark.parametrize("jobs", [1, 3])
def test_neighbours_across_tiles(ramp, jobs):
    sci = bright(ny=60)
    sci[0, 2:, ::7, 2] = 3e4
    out = charge_migration(ramp(sci), skip=False, jobs=jobs)["GROUPDQ"]
    hit = sci > 25000
    want = hit.copy()
    for axis in (2, 3):
        want[(slice(None),) * axis + (slice(1, None),)] |= hit[(slice(None),) * axis + (slice(None, -1),)]
        want[(slice(None),) * axis + (slice(None, -1),)] |= hit[(slice(None),) * axis + (slice(1, None),)]
    want = np.maximum.accumulate(want, axis=1)
    np.testing.assert_array_equal(out == LOST, want)


def test_read_noise_as_if_nothing_was_lost(ramp, reference):
    refs = {
        "gain": reference("gain", SCI=np.full((7, 8), 2.0)),
        "readnoise": reference("readnoise", SCI=np.full((7, 8), 10.0)),
    }
    keys = {"TGROUP": 10.0, "TFRAME": 10.0, "NINTS": 1}
    lost = charge_migration(ramp(bright(), **keys), skip=False)
    rate, whole = (ramp_fit(x, refs=refs)["rate"] for x in (lost, ramp(bright(), **keys)))
    same = rate["VAR_RNOISE"] / whole["VAR_RNOISE"]
    np.testing.assert_allclose(same, 1, rtol=1e-5)
    assert rate["SCI"][3, 4] == pytest.approx(1000, rel=1e-5)
    assert rate["VAR_POISSON"][3, 4] > 1.5 * whole["VAR_POISSON"][3, 4]

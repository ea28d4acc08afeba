"""Brighter-fatter effect: charge that a pixel holds pushes new charge to its neighbours."""

import numpy as np

from jwcal.simulate.effects.base import Effect

# Part of the light at an edge that goes over it, for each electron of difference between the
# charges of the two pixels.  Round numbers: near infrared, of the size measured for H2RG and H4RG
# detectors (Plazas et al. 2018, PASP 130 065004; Hirata & Choi 2020, PASP 132 014501); mid
# infrared, larger, where the effect is strong (Argyriou et al. 2023, A&A 680 A96).
_NEAR, _MID = 0.4e-6, 3.0e-6


class ChargeMigration(Effect):
    """Edges between pixels move towards the one that holds more charge.

    The light collected near an edge, the mean of both sides, goes over it in proportion to the
    difference of the charges.  No charge is lost, and the scene, the truth of the rates, stays.
    """

    collects = True

    def __init__(self, setting, strength):
        super().__init__(setting, strength)
        self.part = np.float32(strength * (_MID if setting.region.detector.is_miri else _NEAR))
        live = ~setting.pixels.reference
        light = setting.light
        self._rows = np.where(live[1:] & live[:-1], (light[1:] + light[:-1]) / 2, 0).astype(np.float32)
        self._columns = np.where(live[:, 1:] & live[:, :-1], (light[:, 1:] + light[:, :-1]) / 2, 0).astype(
            np.float32
        )
        self._full = setting.pixels.full_well * setting.pixels.gain
        self._moved = np.zeros(setting.region.shape, np.float32)
        self._kept = np.zeros((setting.nints, *setting.region.shape), np.float32)

    def begin(self, i):
        """Start with empty pixels."""
        self._moved[:] = 0

    def collect(self, i, frame, seconds, charge):
        """Move a part of the light of the last frames."""
        held = np.minimum(charge, self._full)
        factor = np.float32(self.part * seconds)
        down = np.clip((held[:-1] - held[1:]) * factor, -0.5 * seconds, 0.5 * seconds) * self._rows
        right = np.clip((held[:, :-1] - held[:, 1:]) * factor, -0.5 * seconds, 0.5 * seconds) * self._columns
        change = np.zeros_like(charge)
        change[:-1] -= down
        change[1:] += down
        change[:, :-1] -= right
        change[:, 1:] += right
        charge += change
        np.maximum(charge, 0, out=charge)
        self._moved += change

    def end(self, i):
        """Keep what moved."""
        self._kept[i] = self._moved

    def truth(self, first, last):
        """SPILL: charge gained by the end of every integration [electrons]."""
        return [("SPILL", self._kept[first - 1 : last], "electrons")]

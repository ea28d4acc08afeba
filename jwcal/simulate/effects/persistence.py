"""Persistence: traps that a bright pixel fills give their charge back later."""

import numpy as np

from jwcal.simulate import write
from jwcal.simulate.effects.base import Effect
from jwcal.simulate.headers import reference_header
from jwcal.simulate.pixels import smooth

_STREAM = 23
# Traps of each kind: electrons held by a pixel when all are filled, seconds to fill (by e),
# seconds to release (by e).  Round numbers, not a fit: a few electrons per second right after
# saturation and a tail of an hour.  Decays of several time constants: Leisenring et al. 2016,
# Proc. SPIE 9915.
TRAPS = ((150.0, 10.0, 30.0), (300.0, 30.0, 300.0), (600.0, 100.0, 2000.0))
# Traps fill where the charge exceeds this part of the full well.
THRESHOLD = 0.5


def _density(setting):
    """Traps of every pixel relative to the mean, float32 (ny, nx)."""
    region = setting.region
    rng = np.random.default_rng([region.detector["sca_num"], _STREAM])
    shape = region.detector.shape
    map_ = 1 + 0.2 * rng.standard_normal(shape, dtype=np.float32)
    part = map_[region.y0 : region.y0 + region.ny, region.x0 : region.x0 + region.nx]
    out = np.maximum(part + smooth(rng, region, 0.15), 0.05)
    return np.where(setting.pixels.reference, 0, out).astype(np.float32)


class Persistence(Effect):
    """Traps with several time constants, filled by what the pixels saw before.

    Where the charge of a pixel exceeds half the full well, the traps of every kind approach a
    filling proportional to the excess; everywhere else they empty into the signal.  The charge
    they catch is not missed: it is that of pixels at saturation.  Filled traps go over to the
    next integration, and with ``history`` to the next exposure of the detector.
    """

    collects = True

    def __init__(self, setting, strength):
        super().__init__(setting, strength)
        self.density = _density(setting)
        self._capacity = [np.float32(strength * count) * self.density for count, _, _ in TRAPS]
        self._full = (setting.pixels.full_well * setting.pixels.gain).astype(np.float32)
        before = setting.history.get("persistence")
        shape = setting.region.shape
        self.filled = np.zeros((len(TRAPS), *shape), np.float32)
        if before is not None:
            traps, ended = before
            if traps.shape != self.filled.shape:
                raise ValueError("the history is of another region")
            for k, (_, _, release) in enumerate(TRAPS):
                self.filled[k] = traps[k] * np.float32(np.exp(-max(setting.start - ended, 0) / release))
        self.at_start = self.filled.copy()
        self._groups = setting.timing.group_of_frames()
        self._slopes = np.zeros((setting.nints, *shape), np.float32)
        self._released = np.zeros(shape, np.float32)

    def begin(self, i):
        """Release during the reset between integrations is lost."""
        setting = self.setting
        if i:
            lost = setting.cycle - setting.timing.integration_time
            for k, (_, _, release) in enumerate(TRAPS):
                self.filled[k] *= np.float32(np.exp(-lost / release))
        self._rng = np.random.Generator(np.random.SFC64([setting.seed, _STREAM, i]))
        self._released[:] = 0
        self._seen = np.zeros((setting.timing.ngroups, *setting.region.shape), np.float32)

    def collect(self, i, frame, seconds, charge):
        """Fill and empty the traps."""
        excess = np.clip((charge / self._full - THRESHOLD) / (1 - THRESHOLD), 0, 1)
        given = np.zeros_like(charge)
        for k, (_, capture, release) in enumerate(TRAPS):
            filled = self.filled[k]
            missing = excess * self._capacity[k] - filled
            gained = np.maximum(missing, 0) * np.float32(1 - np.exp(-seconds / capture))
            given_now = np.maximum(-missing, 0) * np.float32(1 - np.exp(-seconds / release))
            filled += gained
            filled -= given_now
            given += given_now
        charge += self._rng.poisson(given)
        self._released += given
        group = self._groups[frame]
        if group >= 0:
            self._seen[group] += self._released / self.setting.timing.nframes

    def end(self, i):
        """Keep the slope of the latents; hand the traps over."""
        setting = self.setting
        n = setting.timing.ngroups
        if n > 1:
            t = (np.arange(n) - (n - 1) / 2) * setting.timing.tgroup
            weights = (t / (t**2).sum()).astype(np.float32)
            self._slopes[i] = np.tensordot(weights, self._seen, 1) / setting.pixels.gain
        else:
            self._slopes[i] = self._seen[0] / setting.timing.tgroup / setting.pixels.gain
        ended = setting.start + i * setting.cycle + setting.timing.integration_time
        setting.history["persistence"] = (self.filled.copy(), ended)

    def truth(self, first, last):
        """LATENT: slope of the latents [DN/s]; TRAPS: filled at the start [electrons]."""
        return [
            ("LATENT", self._slopes[first - 1 : last], "DN/s"),
            ("TRAPS", self.at_start, "electrons"),
        ]

    def references(self):
        """Traps of the detector, in the formats of the former official model."""
        region = self.setting.region

        def write_one(kind, model, add):
            def make(folder, overwrite):
                with write.new_file(folder / f"{kind}.fits", overwrite) as out:
                    out.add(reference_header(kind, model, region, {}))
                    add(out)
                return f"{kind}.fits"

            return kind, make

        def image(plane):
            def add(out):
                write.add_image(out, "SCI", plane.astype(np.float32))
                write.add_image(out, "DQ", np.zeros(plane.shape, np.uint32))

            return add

        def table(out):
            names = ("capture0", "capture1", "capture2", "decay_param")
            rows = np.zeros(len(TRAPS), [(name, "f8") for name in names])
            rows["capture0"] = [self.strength * count for count, _, _ in TRAPS]
            rows["capture1"] = [-1 / capture for _, capture, _ in TRAPS]
            rows["decay_param"] = [-1 / release for _, _, release in TRAPS]
            out.add_table("TRAPPARS", rows)

        level = THRESHOLD * self.setting.pixels.full_well
        return [
            write_one("trappars", "TrapParsModel", table),
            write_one("trapdensity", "TrapDensityModel", image(self.density)),
            write_one("persat", "PersistenceSatModel", image(level)),
        ]

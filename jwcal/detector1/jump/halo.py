"""Halos of snowballs, masked as far as the data show them, or subtracted.

The difference image of the group, less the usual difference of every pixel, gives the profile of the halo
along the ellipse of the event.  The mask ends where the profile, forced to fall outwards, drops below a
multiple of the noise of a pixel; it is never larger than the ellipse grown by a fixed factor.  What the
profile shows outside of the mask may be subtracted.
"""

import numpy as np

from jwcal.core.tile import in_turn
from jwcal.detector1.jump.large_events import flag_unsaturated
from jwcal.detector1.jump.shapes import ellipse_pixels, expanded
from jwcal.kernels.halo import HALO, halo_profiles, halo_radius

# The surroundings, from which noise and zero of the profile are taken, begin and end at these multiples of
# the largest mask.
INNER, OUTER = 1.15, 1.7
LEAST_PIXELS = 12
# Halos whose profiles are found in one go.
BATCH = 16


class Halos:
    """Treats the halos of the events of one integration.

    Parameters
    ----------
    sci : (ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN; with `subtract` halos are taken out of it in place.
    gdq : (ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; JUMP_DET is set in place.
    rules : SnowballRules
        Gives the largest mask.
    threshold : float
        Smallest halo that is masked, in standard deviations of the difference of a pixel.
    subtract : bool
        Subtract the profile outside of the mask.
    spread : callable or None
        ``spread(function, items)`` calls a function on items, perhaps in threads.
    """

    def __init__(self, sci, gdq, rules, threshold, subtract=False, spread=None):
        self.sci, self.gdq, self.rules = sci, gdq, rules
        self.threshold, self.subtract = threshold, subtract
        self.spread = spread or in_turn

    def __call__(self, group, events):
        """Treat the halos of the events of a group."""
        largest = 2 * self.rules.max_extended_radius
        axes = [expanded(event, self.rules.expand_factor, largest) for event in events]
        masked = [k for k, size in enumerate(axes) if self._covers(events[k], size)]
        events, axes = [events[k] for k in masked], [axes[k] for k in masked]
        # A halo that is subtracted changes what the next one is seen on; the masks of a group do not.
        batch = 1 if self.subtract else BATCH
        starts = range(0, len(events), batch)

        def profiles(k):
            return self._profiles(group, events[k : k + batch], axes[k : k + batch])

        found = map(profiles, starts) if self.subtract else self.spread(profiles, starts)
        for k, halos in zip(starts, found, strict=True):
            for event, size, halo in zip(events[k : k + batch], axes[k : k + batch], halos, strict=True):
                self._mask(group, event, size, halo)

    def _covers(self, event, axes):
        """Whether the mask has a pixel; axes of thin regions may be negative."""
        return min(axes) > 0 or ellipse_pixels(event, axes, self.sci.shape[1:])[1].any()

    def _mask(self, group, event, axes, halo):
        """Mask a halo, and subtract what its profile shows beside, where that is wanted."""
        if halo is not None:
            # What the jumps themselves cover stays masked.
            edge = min(max(halo.edge(self.threshold), max(event.major, 1.0) / 2), halo.semi)
            axes = (2 * edge * halo.ratio, 2 * edge)
            if self.subtract:
                self.sci[group:, *halo.box] -= halo.model()
        box, inside = ellipse_pixels(event, axes, self.sci.shape[1:])
        flag_unsaturated(self.gdq[group], box, inside)

    def _profiles(self, group, events, axes):
        """Profile of each halo, None where the data do not show it."""
        halos = np.zeros(len(events), HALO)
        first = 0
        ny, nx = self.sci.shape[1:]
        for k, (event, (minor, major)) in enumerate(zip(events, axes, strict=True)):
            semi = max(minor, major, 2) / 2
            margin = int(np.ceil(OUTER * semi)) + 1
            y, x = round(event.y), round(event.x)
            box = max(y - margin, 0), min(y + margin + 1, ny), max(x - margin, 0), min(x + margin + 1, nx)
            rings = int(np.ceil(INNER * semi))
            angle = np.radians(event.angle)
            halos[k] = (
                event.y, event.x, np.cos(angle), np.sin(angle), max(minor, 2) / max(major, 2), semi,
                *box, rings, first,
            )  # fmt: skip
            first += rings
        noise, value = halo_profiles(self.sci, self.gdq, group, halos, INNER, OUTER, LEAST_PIXELS)
        return [
            _Profile(halo, level, value[halo["first"] : halo["first"] + halo["rings"]]) if level > 0 else None
            for halo, level in zip(halos, noise, strict=True)
        ]


class _Profile:
    """Halo of one event: its value at the middle of rings one pixel wide."""

    def __init__(self, halo, noise, value):
        self.halo, self.noise, self.value = halo, noise, value
        self.ratio, self.semi = float(halo["ratio"]), float(halo["semi"])
        self.middle = np.arange(value.size) + 0.5

    @property
    def box(self):
        """Part of the frame."""
        return slice(self.halo["y0"], self.halo["y1"]), slice(self.halo["x0"], self.halo["x1"])

    def edge(self, threshold):
        """Radius at which the profile drops below a threshold in units of the noise."""
        below = np.flatnonzero(self.value < threshold * self.noise)
        if not below.size:
            return self.semi
        k = int(below[0])
        if k == 0:
            return 0.0
        high, low = self.value[k - 1 : k + 1]
        if not np.isfinite(high):
            return self.middle[k]
        return self.middle[k - 1] + (high - threshold * self.noise) / (high - low)

    def model(self):
        """Image of the halo in its box, DN; zero outside of the last ring."""
        seen = np.isfinite(self.value)
        out = np.interp(halo_radius(self.halo), self.middle[seen], np.maximum(self.value[seen], 0), right=0.0)
        return out.astype(np.float32)

"""Halos of snowballs, masked as far as the data show them, or subtracted.

The difference image of the group, less the usual difference of every pixel, gives the profile of the halo
along the ellipse of the event.  The mask ends where the profile, forced to fall outwards, drops below a
multiple of the noise of a pixel; it is never larger than the ellipse grown by a fixed factor.  What the
profile shows outside of the mask may be subtracted.
"""

import numpy as np

from jwcal.detector1.jump.large_events import flag_unsaturated
from jwcal.detector1.jump.shapes import ellipse_pixels, expanded

SATURATED, JUMP, DNU = 2, 4, 1
# The surroundings, from which noise and zero of the profile are taken, begin and end at these multiples of
# the largest mask.
INNER, OUTER = 1.15, 1.7
LEAST_PIXELS = 12
MAD = 1.4826


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
    """

    def __init__(self, sci, gdq, rules, threshold, subtract=False):
        self.sci, self.gdq, self.rules = sci, gdq, rules
        self.threshold, self.subtract = threshold, subtract

    def __call__(self, group, events):
        """Treat the halos of the events of a group."""
        largest = 2 * self.rules.max_extended_radius
        for event in events:
            axes = expanded(event, self.rules.expand_factor, largest)
            box, inside = ellipse_pixels(event, axes, self.sci.shape[1:])
            halo = self._profile(group, event, axes) if inside.any() else None
            if halo is not None:
                # What the jumps themselves cover stays masked.
                edge = min(max(halo.edge(self.threshold), max(event.major, 1.0) / 2), halo.semi)
                box, inside = ellipse_pixels(event, (2 * edge * halo.ratio, 2 * edge), self.sci.shape[1:])
                if self.subtract:
                    self.sci[group:, *halo.box] -= halo.model()
            flag_unsaturated(self.gdq[group], box, inside)

    def _profile(self, group, event, axes):
        """Profile of a halo, or None where the data do not show it."""
        semi = max(axes[0], axes[1], 2) / 2
        ratio = max(axes[0], 2) / max(axes[1], 2)
        margin = int(np.ceil(OUTER * semi)) + 1
        y, x = round(event.y), round(event.x)
        ny, nx = self.sci.shape[1:]
        box = (
            slice(max(y - margin, 0), min(y + margin + 1, ny)),
            slice(max(x - margin, 0), min(x + margin + 1, nx)),
        )
        excess = self._excess(group, box)
        radius = _radius(event, ratio, box)
        good = np.isfinite(excess)
        around = good & (radius > INNER * semi) & (radius <= OUTER * semi)
        if np.count_nonzero(around) < LEAST_PIXELS:
            return None
        zero = np.median(excess[around])
        noise = MAD * np.median(np.abs(excess[around] - zero))
        if not noise > 0:
            return None
        good &= radius < INNER * semi
        return _Profile(box, radius, ratio, semi, noise, _fall(radius[good], excess[good] - zero, semi))

    def _excess(self, group, box):
        """Difference of the group less the usual one of every pixel; NaN where it cannot be told."""
        sci, flags = self.sci[:, box[0], box[1]], self.gdq[:, box[0], box[1]]
        with np.errstate(invalid="ignore"):
            steps = np.diff(sci, axis=0)
        lost = (flags & (SATURATED | DNU)) != 0
        steps[lost[1:] | lost[:-1]] = np.nan
        here = steps[group - 1].copy()
        steps[group - 1] = np.nan
        steps[(flags[1:] & JUMP) != 0] = np.nan
        count = np.count_nonzero(~np.isnan(steps), axis=0)
        steps.sort(axis=0)
        low = np.take_along_axis(steps, np.maximum(count - 1, 0)[None] // 2, 0)[0]
        high = np.take_along_axis(steps, np.minimum(count // 2, len(steps) - 1)[None], 0)[0]
        return here - (low + high) / 2


def _radius(event, ratio, box):
    """Length of the major half axis of the similar ellipse through every pixel of a box."""
    y = np.arange(box[0].start, box[0].stop)[:, None] - event.y
    x = np.arange(box[1].start, box[1].stop) - event.x
    # The orientation is that between the rows and the major axis.
    angle = np.radians(event.angle)
    along = y * np.cos(angle) + x * np.sin(angle)
    across = y * np.sin(angle) - x * np.cos(angle)
    return np.hypot(along, across / ratio)


class _Profile:
    """Halo of one event: its value at the middle of rings one pixel wide."""

    def __init__(self, box, radius, ratio, semi, noise, value):
        self.box, self.radius, self.ratio, self.semi = box, radius, ratio, semi
        self.noise, self.value = noise, value
        self.middle = np.arange(value.size) + 0.5

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
        out = np.interp(self.radius, self.middle[seen], np.maximum(self.value[seen], 0), right=0.0)
        return out.astype(np.float32)


def _fall(radius, value, semi):
    """Medians in rings, forced to fall outwards; infinite inside of the first ring with a pixel."""
    count = int(np.ceil(INNER * semi))
    index = np.minimum(radius.astype(int), count - 1)
    order = np.lexsort((value, index))
    index, value = index[order], value[order]
    starts = np.searchsorted(index, np.arange(count + 1))
    size = np.diff(starts)
    level = np.zeros(count)
    for k in np.flatnonzero(size):
        part = value[starts[k] : starts[k + 1]]
        level[k] = (part[(part.size - 1) // 2] + part[part.size // 2]) / 2
    return _falling(level, size.astype(float))


def _falling(level, weight):
    """Return the closest profile that does not rise outwards (pool adjacent violators)."""
    out = np.full(level.size, np.inf)
    pools: list[list[float]] = []
    for k in range(level.size):
        if weight[k] == 0:
            continue
        pools.append([level[k], weight[k], k, k + 1])
        while len(pools) > 1 and pools[-1][0] > pools[-2][0]:
            b, a = pools.pop(), pools.pop()
            total = a[1] + b[1]
            pools.append([(a[0] * a[1] + b[0] * b[1]) / total, total, a[2], b[3]])
    for value, _, first, last in pools:
        out[int(first) : int(last)] = value
    return out

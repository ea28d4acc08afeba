"""Showers: faint extended events of the mid-infrared detectors.

Source: Regan 2023, JWST-STScI-008545 (snowballs and showers); the rules are those of the calibration
pipeline of the observatory, packages ``jwst`` 3.0 and ``stcal`` 1.20.
"""

from dataclasses import dataclass

import numpy as np

from jwcal.core.tile import in_turn
from jwcal.detector1.jump.shapes import ellipse_pixels, expanded, find_ellipses
from jwcal.kernels.events import differences, median_differences, ring_exceeds, ring_offsets

DNU, SATURATED, JUMP = 1, 2, 4
REFERENCE_PIXEL = 1 << 31
CLIP = 5.0


@dataclass(frozen=True)
class ShowerRules:
    """How showers are found and masked; the names are those of the step's parameters.

    Attributes
    ----------
    extend_snr_threshold : float
        Smallest mean signal-to-noise ratio of a difference in the ring around a pixel.
    extend_min_area : int
        Smallest area above that, pixels.
    extend_inner_radius : float
        Inner radius of the ring, pixels.
    extend_outer_radius : float
        Its width, as the official step takes it.
    extend_ellipse_expand_ratio : float
        Growth of the ellipse of a shower.
    groups_after : int
        Groups masked after that of a shower.
    max_extended_radius : int
        Largest radius of a mask, pixels.
    largest_change : float
        A pixel whose mean difference would change by more is not masked, electrons per group.
    nframes : int
        Averaged frames per group.
    clip : bool
        Compare the same group of all integrations.
    """

    extend_snr_threshold: float = 1.2
    extend_min_area: int = 90
    extend_inner_radius: float = 1.0
    extend_outer_radius: float = 2.6
    extend_ellipse_expand_ratio: float = 1.1
    groups_after: int = 0
    max_extended_radius: int = 200
    largest_change: float = np.inf
    nframes: int = 1
    clip: bool = False


def expected(sci, gdq, gain, rnoise, rules):
    """Difference to expect in every pixel, and its noise, from all integrations.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags after the search for jumps.
    gain, rnoise : (ny, nx) float32 numpy.ndarray
        Gain [e-/DN] and read noise of a pair of reads [DN].
    rules : ShowerRules
        `clip` and `nframes` matter here.

    Returns
    -------
    middle, noise : numpy.ndarray
        Electrons per group, (n, ny, nx); n is 1, or the number of differences with `clip`.
    """
    if rules.clip:
        import warnings

        from astropy.stats import sigma_clipped_stats

        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            _, middle, noise = sigma_clipped_stats(differences(sci, gdq, gain), sigma=CLIP, axis=0)
        return middle, noise
    middle = median_differences(sci, gdq, gain)
    with np.errstate(all="ignore"):
        read = (rnoise * gain) ** 2
        return middle[None], np.sqrt(np.abs(middle) + read / rules.nframes)[None]


def flag_showers(sci, gdq, pdq, gain, middle, noise, rules, spread=None):
    """Mask the showers of one integration.

    Parameters
    ----------
    sci : (ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.
    gdq : (ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; JUMP_DET is set in place.
    pdq : (ny, nx) uint32 numpy.ndarray
        Pixel flags.
    gain : (ny, nx) float32 numpy.ndarray
        Gain, electrons per DN.
    middle, noise : numpy.ndarray
        From `expected`.
    rules : ShowerRules
        What to find and how much to mask.
    spread : callable or None
        ``spread(function, items)`` calls a function on items, perhaps in threads.

    Returns
    -------
    int
        Number of showers.
    """
    ngroup, ny, nx = gdq.shape
    reference = pdq == REFERENCE_PIXEL
    unusable = np.array([(((g & DNU) != 0) | reference).all() for g in gdq])
    first = int(np.argmin(unusable)) if not unusable.all() else 0
    bad = DNU | SATURATED | JUMP
    bad_pixel = ((pdq & bad) != 0) | reference
    offsets = ring_offsets(rules.extend_inner_radius, rules.extend_inner_radius + rules.extend_outer_radius)

    def look(g):
        with np.errstate(all="ignore"):
            step = differences(sci[g - 1 : g + 1], gdq[g - 1 : g + 1], gain)[0]
            k = g - 1 if rules.clip else 0
            ratio = (np.abs(step - middle[k]) / noise[k]).astype(np.float32)
        ratio[((gdq[g] & bad) != 0) | bad_pixel] = np.nan
        return find_ellipses(
            ring_exceeds(ratio, offsets, rules.extend_snr_threshold), 1, rules.extend_min_area
        )

    groups = range(first + 1, ngroup)
    showers = list(zip(groups, (spread or in_turn)(look, groups), strict=True))
    masked = np.zeros((ngroup, ny, nx), bool)
    count = 0
    for g, found in showers:
        count += len(found)
        for shower in found:
            axes = expanded(shower, rules.extend_ellipse_expand_ratio, 2 * rules.max_extended_radius)
            box, inside = ellipse_pixels(shower, axes, (ny, nx))
            inside &= ~reference[box]
            for later in range(g, min(g + rules.groups_after + 1, ngroup)):
                # A pixel once saturated is not masked any more.
                inside &= (gdq[later][box] & SATURATED) == 0
                masked[later][box] |= inside
    if count:
        _keep_reasonable(sci, gdq, gain, masked, rules.largest_change)
        gdq[masked] |= JUMP
    return count


def _keep_reasonable(sci, gdq, gain, masked, largest):
    """Take back the masks of pixels whose mean difference they change too much."""
    import warnings

    y, x = np.nonzero(masked.any(axis=0))
    charge = sci[:, y, x] * gain[y, x]
    unusable = (gdq[:, y, x] & (DNU | SATURATED | JUMP)) != 0
    means = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for out in (unusable, unusable | masked[:, y, x]):
            means.append(np.nanmean(np.diff(np.where(out, np.float32(np.nan), charge), axis=0), axis=0))
        change = np.abs(means[0] - means[1])
    take_back = ~np.isfinite(change) | (change > largest)
    masked[:, y[take_back], x[take_back]] = False

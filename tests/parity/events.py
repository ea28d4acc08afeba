"""Large events put into raw exposures: snowballs with a saturated core, faint showers."""

from __future__ import annotations

import numpy as np


def add_events(path, kind, seed):
    """Add events to every integration of a raw exposure.

    Parameters
    ----------
    path : pathlib.Path
        Raw exposure, changed in place.
    kind : str
        "snowballs" or "showers".
    seed : int
        Seed of the places and sizes.
    """
    from astropy.io import fits

    rng = np.random.default_rng(seed)
    with fits.open(path, mode="update") as hdus:
        sci = hdus["SCI"].data
        _, ngroup, ny, nx = sci.shape
        y, x = np.mgrid[:ny, :nx]
        for ramp in sci:
            total = ramp.astype(np.float64)
            for _ in range(6):
                group = rng.integers(1, ngroup)
                cy, cx = rng.uniform(-3, ny + 3), rng.uniform(-3, nx + 3)
                distance = np.hypot(y - cy, (x - cx) * rng.uniform(0.6, 1.6))
                if kind == "snowballs":
                    radius = rng.uniform(2, 6)
                    event = 1.5e5 * np.exp(-((distance / radius) ** 2)) + 700 * np.exp(
                        -distance / (2.5 * radius)
                    )
                else:
                    event = rng.uniform(15, 60) * np.exp(-((distance / rng.uniform(6, 16)) ** 2))
                total[group:] += event
            total[:, :4] = ramp[:, :4]
            total[:, :, :4] = ramp[:, :, :4]
            ramp[...] = np.clip(np.rint(total), 0, 65535).astype(np.uint16)

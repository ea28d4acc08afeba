"""A SIRSKERNEL reference: smooth low-pass filters for the side reference pixels."""

from __future__ import annotations

import numpy as np


def write_kernels(path, detector, seed):
    """Write a SIRSKERNEL reference for one near-infrared detector.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    detector : str
        Name of the detector.
    seed : int
        Of the generator.
    """
    import asdf

    rng = np.random.default_rng(seed)
    frequency = np.fft.rfftfreq(2048)
    shapes = 0.45 / (1 + (frequency / np.array([[0.01], [0.02], [0.03], [0.05]])) ** 2)
    tree = {
        "meta": {
            "reftype": "sirskernel",
            "telescope": "JWST",
            "author": "parity suite",
            "description": "filters",
            "pedigree": "GROUND",
            "useafter": "2020-01-01T00:00:00",
            "instrument": {"name": "NIRCAM"},
        },
        detector.lower(): {
            "gamma": shapes * (1 + rng.normal(0, 0.02, shapes.shape)),
            "zeta": shapes[::-1] * (1 + rng.normal(0, 0.02, shapes.shape)),
        },
    }
    asdf.AsdfFile(tree).write_to(path)

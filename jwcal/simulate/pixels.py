"""What every pixel of a detector is like: gain, noise, dark current, defects, non-linearity."""

from dataclasses import dataclass

import numpy as np

BLOCK = 64

# Bits of the truth's BAD plane.
REFERENCE, DEAD, HOT, UNCALIBRATED, BAD_REFERENCE = 1, 2, 4, 8, 16
# Planes that hold a few undefined values, each its own pixels.
UNDEFINED = ("gain", "linearity", "saturation", "superbias", "dark", "readnoise")

_RESET_TABLE = (4, 12)
_NOISES = ("gain", "read", "qe", "dark", "bias", "curve", "well", "reset")


@dataclass
class Pixels:
    """Properties of the pixels of a region.

    Attributes
    ----------
    reference, dead, hot, bad_reference : numpy.ndarray
        bool (ny, nx).
    undefined : dict
        By reference kind, bool (ny, nx): pixels the reference file says nothing about.
    gain : numpy.ndarray
        float32 (ny, nx), electrons per DN.
    read_noise : numpy.ndarray
        float32 (ny, nx), electrons, of one frame.
    efficiency : numpy.ndarray
        float32 (ny, nx), about 1; 0 where blind.
    dark : numpy.ndarray
        float32 (ny, nx), electrons per second.
    bias : numpy.ndarray
        float32 (ny, nx), DN.
    coefficients : numpy.ndarray
        float32 (5, ny, nx): polynomial from measured to linear DN.
    full_well : numpy.ndarray
        float32 (ny, nx), measured DN above the bias where the response ends.
    reset : numpy.ndarray or None
        float32 (nint, ngroup, ny, nx), DN: decay after the reset (mid infrared).
    """

    reference: np.ndarray
    dead: np.ndarray
    hot: np.ndarray
    bad_reference: np.ndarray
    undefined: dict
    gain: np.ndarray
    read_noise: np.ndarray
    efficiency: np.ndarray
    dark: np.ndarray
    bias: np.ndarray
    coefficients: np.ndarray
    full_well: np.ndarray
    reset: np.ndarray | None

    @property
    def bad(self):
        """Bit mask (uint8) of every pixel that is not a good one."""
        out = np.zeros(self.gain.shape, np.uint8)
        for mask, bit in (
            (self.reference, REFERENCE),
            (self.dead, DEAD),
            (self.hot, HOT),
            (self.bad_reference, BAD_REFERENCE),
        ):
            out[mask] |= bit
        for mask in self.undefined.values():
            out[mask] |= UNCALIBRATED
        return out


def linearise(signal, coefficients):
    """Linear DN of a measured signal above the bias.

    Parameters
    ----------
    signal : numpy.ndarray
        float32 (..., ny, nx), DN.
    coefficients : numpy.ndarray
        float32 (5, ny, nx), the first two being 0 and 1.

    Returns
    -------
    numpy.ndarray
        float32, DN.
    """
    c = coefficients
    return signal * (1 + signal * (c[2] + signal * (c[3] + signal * c[4])))


def delinearise(linear, coefficients, limit, out=None):
    """Measured DN of a linear signal: the inverse of `linearise`.

    Parameters
    ----------
    linear : numpy.ndarray
        float32 (ny, nx), DN.
    coefficients : numpy.ndarray
        float32 (5, ny, nx).
    limit : numpy.ndarray
        float32 (ny, nx), the linear signal at which the response ends.
    out : numpy.ndarray, optional
        Where to put the result.

    Returns
    -------
    numpy.ndarray
        float32 (ny, nx).  Two Newton steps from the second-order solution: good to 1e-3 DN.
    """
    c2, c3, c4 = coefficients[2], coefficients[3], coefficients[4]
    linear = np.minimum(linear, limit)
    s = np.multiply(linear, 1 - c2 * linear, out=out)
    for _ in range(2):
        poly = s * (c2 + s * (c3 + s * c4))
        slope = 1 + s * (2 * c2 + s * (3 * c3 + s * (4 * c4)))
        s -= (s + s * poly - linear) / slope
    return s


def smooth(rng, region, amplitude, order=4):
    """Smooth random surface that belongs to the detector, not to the region.

    Parameters
    ----------
    rng : numpy.random.Generator
    region : jwcal.simulate.detectors.Region
    amplitude : float
        About the rms over the whole detector.
    order : int, optional
        Number of cosines along each axis.

    Returns
    -------
    numpy.ndarray
        float32 (ny, nx).
    """
    fy, fx = region.detector.shape
    y = np.pi * (np.arange(region.y0, region.y0 + region.ny) + 0.5) / fy
    x = np.pi * (np.arange(region.x0, region.x0 + region.nx) + 0.5) / fx
    weight = rng.standard_normal((order, order)) / (1 + np.add.outer(np.arange(order), np.arange(order)))
    weight[0, 0] = 0
    mean_square = np.where(np.arange(order) > 0, 0.5, 1)
    rms = np.sqrt(mean_square @ weight**2 @ mean_square)
    cy = np.cos(np.outer(y, np.arange(order)))
    cx = np.cos(np.outer(x, np.arange(order)))
    return (cy @ (weight * (amplitude / rms)) @ cx.T).astype(np.float32)


def _noise_maps(region, seed):
    """Draw normal deviates and uniform numbers tied to positions on the full detector."""
    ny, nx = region.shape
    maps = {name: np.empty((ny, nx), np.float32) for name in _NOISES}
    draws = {name: np.empty((ny, nx), np.float32) for name in ("defect", "hotness", "undefined")}
    for by in range(region.y0 // BLOCK, (region.y0 + ny - 1) // BLOCK + 1):
        for bx in range(region.x0 // BLOCK, (region.x0 + nx - 1) // BLOCK + 1):
            rng = np.random.Generator(np.random.SFC64([seed, 1, by, bx]))
            ya, yb = max(by * BLOCK, region.y0), min((by + 1) * BLOCK, region.y0 + ny)
            xa, xb = max(bx * BLOCK, region.x0), min((bx + 1) * BLOCK, region.x0 + nx)
            source = (slice(ya - by * BLOCK, yb - by * BLOCK), slice(xa - bx * BLOCK, xb - bx * BLOCK))
            target = (slice(ya - region.y0, yb - region.y0), slice(xa - region.x0, xb - region.x0))
            for name in _NOISES:
                maps[name][target] = rng.standard_normal((BLOCK, BLOCK), dtype=np.float32)[source]
            for plane in draws.values():
                plane[target] = rng.random((BLOCK, BLOCK), dtype=np.float32)[source]
    return maps, draws


def pixels(region, seed=11):
    """Draw the properties of the pixels of a region.

    The same seed gives the same detector whatever part of it is read, so that a full-frame
    reference file describes every subarray.

    Parameters
    ----------
    region : jwcal.simulate.detectors.Region
    seed : int, optional
        Which specimen of the detector.

    Returns
    -------
    Pixels
    """
    det = region.detector
    seed = [seed, det["sca_num"]]
    rng = np.random.default_rng([*seed, 0])
    noise, draw = _noise_maps(region, seed[0] * 1000 + seed[1])
    reference = region.reference_pixels()
    active = ~reference
    defect = draw["defect"]
    dead = active & (defect < 1e-3)
    hot = active & (defect >= 1e-3) & (defect < 3e-3)
    bad_reference = reference & (defect > 0.995)
    undefined = {}
    edge = 1e-2
    for kind in UNDEFINED:
        undefined[kind] = active & ~dead & (draw["undefined"] >= edge) & (draw["undefined"] < edge + 5e-5)
        edge += 5e-5
    if det.is_miri:
        undefined["superbias"][:] = False

    gain = (det["gain"] * (1 + smooth(rng, region, 0.01) + 0.004 * noise["gain"])).astype(np.float32)
    read_noise = (det["read_noise"] * np.exp(0.08 * noise["read"])).astype(np.float32)
    efficiency = (1 + smooth(rng, region, 0.02) + 0.01 * noise["qe"]).astype(np.float32)
    efficiency[dead | reference] = 0
    dark = (det["dark"] * np.exp(0.4 * noise["dark"])).astype(np.float32)
    dark[hot] += (10 ** (-0.5 + 2.2 * draw["hotness"][hot])).astype(np.float32)
    dark[reference] = 0
    bias = _bias(rng, region, noise["bias"])
    curve = 1 + 0.04 * noise["curve"]
    coefficients = np.zeros((5, *region.shape), np.float32)
    coefficients[1] = 1
    for k, value in enumerate(det["nonlinearity"]):
        coefficients[2 + k] = value if k == 2 else value * curve
    coefficients[2:, reference] = 0
    full_well = (det["full_well"] * (1 + 0.02 * noise["well"])).astype(np.float32)
    full_well = np.minimum(full_well, 65300 - bias)
    full_well[reference] = 60000
    reset = None
    if det.is_miri:
        base = (35 + 6 * noise["reset"]).astype(np.float32)
        base[reference] = 0
        nint, ngroup = _RESET_TABLE
        share = np.array([1.0, 0.7, 0.6, 0.6], np.float32)[:nint]
        decay = np.exp(-np.arange(ngroup, dtype=np.float32) / 3)
        reset = share[:, None, None, None] * decay[None, :, None, None] * base
    return Pixels(
        reference,
        dead,
        hot,
        bad_reference,
        undefined,
        gain,
        read_noise,
        efficiency,
        dark,
        bias,
        coefficients,
        full_well,
        reset,
    )


def _bias(rng, region, noise):
    """Offset of every pixel [DN]: amplifiers, columns, odd and even, and a smooth part."""
    det = region.detector
    if det["bias"] == 0:
        return np.zeros(region.shape, np.float32)
    fast = region.fast()
    lines = 12 * rng.standard_normal(det.shape[1])
    steps = np.array([0.0, 310.0, -180.0, 90.0])[fast * 4 // det.shape[1]] + lines[fast] + 25.0 * (fast % 2)
    bias = det["bias"] + smooth(rng, region, 120) + 45 * noise + region.along_fast(steps)
    return bias.astype(np.float32)

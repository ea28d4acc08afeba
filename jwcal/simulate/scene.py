"""What the detector looks at: stars, galaxies, spectra, background."""

from dataclasses import dataclass
from functools import cache

import numpy as np

OVERSAMPLING = 4
_DIAMETER = 6.5
_STAMP = 161
# Electrons per second and pixel from a lamp of brightness 1.
LAMP = 200.0
_DARK_END = 4


@dataclass
class Scene:
    """Light that falls on a region.

    Attributes
    ----------
    rate : numpy.ndarray
        float32 (ny, nx), electrons per second before the pixel's own efficiency.
    stars : numpy.ndarray
        Structured: X, Y (0-based, region), FLUX_E (electrons per second).
    brightness : float
        Factor the fluxes were scaled by.
    """

    rate: np.ndarray
    stars: np.ndarray
    brightness: float


def _pupil(n):
    """Eighteen hexagons with three struts, on an n x n grid over the diameter."""
    span = np.linspace(-0.54, 0.54, n)
    x, y = np.meshgrid(span, span)
    flat = 1.32 / _DIAMETER
    pupil = np.zeros((n, n))
    pitch = flat * 1.006
    for q in range(-2, 3):
        for r in range(max(-2, -q - 2), min(2, -q + 2) + 1):
            if q == r == 0:
                continue
            dx = np.abs(x - pitch * (r + q / 2))
            dy = np.abs(y - pitch * np.sqrt(3) / 2 * q)
            pupil[(dx <= flat / 2) & (np.sqrt(3) / 2 * dy + dx / 2 <= flat / 2)] = 1
    width = 0.012
    pupil[(np.abs(x) < width) & (y > 0)] = 0
    for side in (-1, 1):
        across = np.abs(x * np.cos(np.pi / 6) * side - (-y) * 0.5)
        pupil[(across < width) & (y < 0) & (x * side > 0)] = 0
    return pupil


@cache
def point_spread(wavelength, scale):
    """Point-spread function of the segmented telescope, oversampled.

    Parameters
    ----------
    wavelength : float
        Metres.
    scale : float
        Pixel size [arcsec].

    Returns
    -------
    numpy.ndarray
        float32 (161*4, 161*4), sum 1: three wavelengths, diffraction of an ideal pupil, smeared
        by one pixel.
    """
    n = 192
    pupil = _pupil(n)
    across = np.linspace(-0.54, 0.54, n)
    size = _STAMP * OVERSAMPLING
    # The trailing box of one pixel below moves the centre by (OVERSAMPLING - 1) / 2.
    offset = (np.arange(size) - size // 2 + (OVERSAMPLING - 1) / 2) / OVERSAMPLING * scale * np.pi / 648000
    total = np.zeros((size, size))
    for factor in (0.93, 1.0, 1.07):
        phase = 2 * np.pi * _DIAMETER / (wavelength * factor) * np.outer(offset, across)
        kernel = np.exp(1j * phase)
        field = kernel @ pupil @ kernel.T
        total += np.abs(field) ** 2
    running = np.cumsum(np.pad(total, ((OVERSAMPLING, 0), (0, 0))), axis=0)
    total = running[OVERSAMPLING:] - running[:-OVERSAMPLING]
    running = np.cumsum(np.pad(total, ((0, 0), (OVERSAMPLING, 0))), axis=1)
    total = running[:, OVERSAMPLING:] - running[:, :-OVERSAMPLING]
    return (total * OVERSAMPLING**2 / total.sum()).astype(np.float32) / OVERSAMPLING**2


def add_star(image, psf, x, y, flux, radius):
    """Add a point source in place.

    Parameters
    ----------
    image : numpy.ndarray
        float32 (ny, nx).
    psf : numpy.ndarray
        From `point_spread`.
    x, y : float
        0-based position; rounded to a quarter pixel.
    flux : float
        Total.
    radius : int
        Half width of the stamp in pixels.
    """
    ny, nx = image.shape
    ix, iy = round(x), round(y)
    xa, xb = max(ix - radius, 0), min(ix + radius + 1, nx)
    ya, yb = max(iy - radius, 0), min(iy + radius + 1, ny)
    if xa >= xb or ya >= yb:
        return
    centre = psf.shape[0] // 2
    rows = np.rint(centre + (np.arange(ya, yb) - y) * OVERSAMPLING).astype(int)
    columns = np.rint(centre + (np.arange(xa, xb) - x) * OVERSAMPLING).astype(int)
    rows, columns = np.clip(rows, 0, psf.shape[0] - 1), np.clip(columns, 0, psf.shape[1] - 1)
    image[ya:yb, xa:xb] += np.float32(flux * OVERSAMPLING**2) * psf[np.ix_(rows, columns)]


def _add_galaxy(image, rng, x, y, flux, scale):
    ny, nx = image.shape
    r = int(7 * scale) + 2
    ix, iy = round(x), round(y)
    xa, xb, ya, yb = max(ix - r, 0), min(ix + r + 1, nx), max(iy - r, 0), min(iy + r + 1, ny)
    ratio, angle = rng.uniform(0.25, 1.0), rng.uniform(0, np.pi)
    if xa >= xb or ya >= yb:
        return
    dx = (np.arange(xa, xb) - x)[None, :]
    dy = (np.arange(ya, yb) - y)[:, None]
    u = dx * np.cos(angle) + dy * np.sin(angle)
    v = (dy * np.cos(angle) - dx * np.sin(angle)) / ratio
    radius = np.hypot(u, v)
    arms = 1 + 0.35 * np.cos(2 * np.arctan2(v, u) - 3.5 * np.log1p(radius)) * np.minimum(radius / scale, 1)
    disc = np.exp(-radius / scale) * arms / (2 * np.pi * scale**2 * ratio)
    core = np.exp(-(dx**2 + dy**2) / (2 * 1.3**2)) / (2 * np.pi * 1.3**2)
    image[ya:yb, xa:xb] += (flux * (0.85 * disc + 0.15 * core)).astype(np.float32)


def _field(image, region, rng, dither, brightness, density):
    det = region.detector
    fy, fx = det.shape
    margin = 60
    ny, nx = region.shape
    psf = point_spread(det["wavelength"], det["pixel_scale"])
    area = (fy + 2 * margin) * (fx + 2 * margin)
    count = max(8, int(area * density))
    factor = brightness * (4.0 if det.is_miri else 1.0)
    flux = np.minimum(120.0 * rng.uniform(size=count) ** (-1 / 0.75), 4e5) * factor
    xs = rng.uniform(-margin, fx + margin, count) - region.x0 - dither[0]
    ys = rng.uniform(-margin, fy + margin, count) - region.y0 - dither[1]
    stars = []
    for f, x, y in zip(flux, xs, ys, strict=True):
        if -margin < x < nx + margin and -margin < y < ny + margin:
            bare = f / factor
            add_star(image, psf, x, y, f, 12 if bare < 1e3 else 32 if bare < 2e4 else 80)
            if 0 <= x < nx and 0 <= y < ny:
                stars.append((x, y, f))
    galaxies = max(3, count // 5)
    flux = np.minimum(300 * rng.uniform(size=galaxies) ** -0.9, 2e4) * factor
    xs = rng.uniform(-margin, fx + margin, galaxies) - region.x0 - dither[0]
    ys = rng.uniform(-margin, fy + margin, galaxies) - region.y0 - dither[1]
    for f, x, y, h in zip(flux, xs, ys, rng.uniform(1.5, 6, galaxies), strict=True):
        _add_galaxy(image, rng, x, y, f, h)
    return stars


def _spectrum(rng, n):
    """Smooth continuum with lines, mean about 1."""
    t = np.linspace(0, 1, n)
    shape = 0.35 + np.exp(-0.5 * ((t - rng.uniform(0.3, 0.7)) / 0.28) ** 2)
    for _ in range(12):
        shape = shape * (
            1 + rng.uniform(-0.5, 1.2) * np.exp(-0.5 * ((np.arange(n) - rng.uniform(0, n)) / 2.0) ** 2)
        )
    return (shape / shape.mean()).astype(np.float32)


def _trace(image, axis, rng, centre, width, flux, span=None, bend=0.0):
    """Add one spectrum running along an axis; `flux` is its mean rate per pixel of length."""
    along = image if axis == "x" else image.T
    n_cross, n = along.shape
    start, stop = span or (0, n)
    start, stop = max(start, 0), min(stop, n)
    if start >= stop:
        return
    t = np.arange(start, stop)
    middle = centre + bend * ((t - n / 2) / n) ** 2
    lo = max(int(middle.min() - 6 * width), 0)
    hi = min(int(middle.max() + 6 * width) + 2, n_cross)
    if lo >= hi:
        return
    cross = np.arange(lo, hi)[:, None] - middle[None, :]
    profile = np.exp(-0.5 * (cross / width) ** 2) / (width * np.sqrt(2 * np.pi))
    along[lo:hi, start:stop] += (profile * (flux * _spectrum(rng, t.size))).astype(np.float32)


def _dark_ends(image, axis):
    """Leave the ends of a slit spectrum dark: offsets are measured there in small subarrays."""
    along = image if axis == "x" else image.T
    along[:, :_DARK_END] = 0
    along[:, -_DARK_END:] = 0


def _star(image, region, brightness):
    ny, nx = region.shape
    det = region.detector
    psf = point_spread(det["wavelength"], det["pixel_scale"])
    x, y, flux = nx / 2 + 0.25, ny / 2 - 0.25, 6e4 * brightness
    add_star(image, psf, x, y, flux, 80)
    return [(x, y, flux)]


def make_scene(region, kind, axis="x", brightness=1.0, density=6e-4, seed=7, dither=(0.0, 0.0)):
    """Light on a region.

    Parameters
    ----------
    region : jwcal.simulate.detectors.Region
    kind : str
        ``field``, ``star``, ``trace``, ``spectra``, ``slices``, ``lamp`` or ``dark``.
    axis : str, optional
        Direction of dispersion.
    brightness : float, optional
        Factor on everything, background included.
    density : float, optional
        Stars per pixel of a field.
    seed : int, optional
        Which sky.
    dither : tuple of float, optional
        Shift of the pointing in pixels of x and y.

    Returns
    -------
    Scene
        The same seed shows the same sky in every subarray of a detector.
    """
    det = region.detector
    ny, nx = region.shape
    rng = np.random.default_rng([seed, det["sca_num"]])
    image = np.full(region.shape, det["background"] * brightness, np.float32)
    stars = []
    if det.instrument == "nirspec" and kind == "trace" and not region.reference_pixels().any():
        _dark_ends(image, axis)
        span = (_DARK_END + 8, (nx if axis == "x" else ny) - _DARK_END - 8)
    else:
        span = None
    cross = ny if axis == "x" else nx
    length = nx if axis == "x" else ny
    if kind in {"lamp", "dark"}:
        image[:] = LAMP * brightness if kind == "lamp" else 0
    elif kind == "field":
        stars = _field(image, region, rng, dither, brightness, density)
    elif kind == "star":
        stars = _star(image, region, brightness)
    elif kind == "trace":
        bend = cross * 0.3 if cross > 80 else 0.0
        _trace(image, axis, rng, cross * 0.5 - bend / 12, 1.6, 900.0 * brightness, span, bend)
        if cross > 80:
            _trace(image, axis, rng, cross * 0.78 - bend / 12, 1.6, 150.0 * brightness, span, bend)
    elif kind == "spectra":
        for centre in rng.uniform(0, cross, max(2, cross // 12)):
            start = int(rng.uniform(-0.3, 0.8) * length)
            flux = 30.0 * rng.uniform() ** -0.8 * brightness
            _trace(image, axis, rng, centre, 1.4, flux, span=(start, start + int(length * 0.45)))
    else:
        for centre in np.arange(12, cross, 24):
            _trace(image, axis, rng, centre, 3.5, rng.uniform(40, 400) * brightness, bend=10.0)
    columns = np.array(stars, dtype=float).reshape(-1, 3)
    table = np.zeros(len(stars), [("X", "f8"), ("Y", "f8"), ("FLUX_E", "f8")])
    for k, name in enumerate(("X", "Y", "FLUX_E")):
        table[name] = columns[:, k]
    return Scene(image, table, brightness)

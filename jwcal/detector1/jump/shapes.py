"""Shapes of large events: the ellipse of a region of flagged pixels, and the pixels of an ellipse.

An ellipse is that with the second moments of the region.  Which pixels fall on its edge depends
on the last bits of the arithmetic, so moments, eigenvalues and the test of a pixel are computed as
the public package does, with NumPy alone.  Source of the rules: package ``stcal`` 1.20.
"""

from functools import lru_cache
from math import atan2, pi, sqrt
from typing import NamedTuple

import numpy as np

from jwcal.kernels.regions import RUN, draw, ellipse_inside, find_regions, find_runs

ORDERS = np.arange(4, dtype=np.float64)


class Ellipse(NamedTuple):
    """Ellipse of a region.

    Attributes
    ----------
    x, y : float
        Centre, pixels (0-based).
    minor, major : float
        Axes (diameters) less one pixel; -1 for a region without extent in that direction.
    angle : float
        Orientation, degrees.
    """

    x: float
    y: float
    minor: float
    major: float
    angle: float

    def contains(self, x, y):
        """Whether points (arrays) lie inside."""
        angle = np.radians(180 - self.angle)
        cos, sin = np.cos(angle), np.sin(angle)
        dx, dy = x - self.x, y - self.y
        along, across = dx * cos - dy * sin, dx * sin + dy * cos
        a, b = np.float64(self.major * 0.5), np.float64(self.minor * 0.5)
        with np.errstate(divide="ignore", invalid="ignore"):
            return along**2 / a**2 + across**2 / b**2 <= 1


def find_ellipses(flags, mask, least):
    """Ellipses of the connected regions of flagged pixels that are large enough.

    Parameters
    ----------
    flags : (ny, nx) uint8 numpy.ndarray
        Flags.
    mask : int
        Bits looked for.
    least : float
        Smallest area, holes included, pixels.

    Returns
    -------
    list of Ellipse
        In the order of the first pixels of the regions.
    """
    return Regions(find_runs(flags, mask), least).ellipses()


class Regions:
    """Connected regions of flagged pixels; their ellipses, which are dear, are made when asked for.

    Parameters
    ----------
    runs : (n,) numpy.ndarray of dtype `jwcal.kernels.regions.RUN`
        Runs of the pixels, row by row.
    least : float
        Smallest area, holes included, pixels.

    Attributes
    ----------
    x, y : (m,) float64 numpy.ndarray
        Centres, in the order of the first pixels.
    reach : (m,) float64 numpy.ndarray
        No point farther from the centre, in a row or a column, is inside the ellipse.
    """

    def __init__(self, runs, least):
        table, self._places = find_regions(runs, least)
        area = table["area"]
        self.x = (area * table["left"] + table["columns"]) / area
        self.y = (area * table["top"] + table["rows"]) / area
        height, width = table["bottom"] - table["top"], table["right"] - table["left"]
        # The standard deviation of what lies in a box is at most half its diagonal.
        self.reach = np.hypot(height - 1, width - 1) + 1.0
        self._parts = list(zip(
            table["first"].tolist(), table["runs"].tolist(), height.tolist(), width.tolist(),
            area.tolist(), table["rows"].tolist(), table["columns"].tolist(), strict=True,
        ))  # fmt: skip

    def __len__(self):
        return len(self._parts)

    def ellipse(self, k):
        """`Ellipse` of a region."""
        first, runs, height, width, area, rows, columns = self._parts[k]
        part = self._places[first : first + runs].tobytes()
        return Ellipse(
            float(self.x[k]), float(self.y[k]), *_axes(part, (height, width), rows / area, columns / area)
        )

    def ellipses(self):
        """Ellipses of all regions."""
        return [self.ellipse(k) for k in range(len(self))]


@lru_cache(maxsize=4096)
def _axes(places, shape, row, column):
    """Axes and angle of a region; most look alike."""
    mu = _moments(draw(np.frombuffer(places, RUN), shape), (row, column)).tolist()
    total = mu[0][0]
    down, right, cross = mu[2][0], mu[0][2], -mu[1][1] / total
    both = down + right
    diagonal = (both - down) / total, (both - right) / total
    values = np.linalg.eigvalsh(np.array([[diagonal[0], cross], [cross, diagonal[1]]])).tolist()
    low, high = sorted(max(v, 0.0) for v in values)
    if diagonal[0] - diagonal[1] == 0:
        angle = pi / 4 if cross < 0 else -pi / 4
    else:
        angle = 0.5 * atan2(-2 * cross, diagonal[1] - diagonal[0])
    return 4 * sqrt(low) - 1, 4 * sqrt(high) - 1, float(np.degrees(angle))


def _moments(image, centre):
    """Moments up to the third order in each direction about a centre."""
    rows, columns = (
        (np.arange(n, dtype=np.float64) - c)[:, None] ** ORDERS
        for n, c in zip(image.shape, centre, strict=True)
    )
    # The product with the image on the left gives the bits of the public package.
    return (image.T.astype(np.float64) @ rows).T @ columns


def ellipse_pixels(ellipse, axes, shape):
    """Pixels inside an ellipse about the rounded centre of another.

    Parameters
    ----------
    ellipse : Ellipse
        Gives centre and angle.
    axes : (float, float)
        Diameters, minor and major.
    shape : (int, int)
        Rows and columns of the frame.

    Returns
    -------
    box : (slice, slice)
        Part of the frame.
    inside : bool numpy.ndarray
        Its pixels inside the ellipse.
    """
    x, y = round(ellipse.x), round(ellipse.y)
    minor, major = round(axes[0] / 2), round(axes[1] / 2)
    reach = max(minor, major) + 2
    y0, y1 = max(y - reach, 0), min(y + reach + 1, shape[0])
    x0, x1 = max(x - reach, 0), min(x + reach + 1, shape[1])
    inside = np.zeros((y1 - y0, x1 - x0), bool)
    if minor and major and inside.size:
        # The first half axis is that along the rows before the ellipse is turned.
        angle = np.radians(ellipse.angle) % np.pi
        ellipse_inside(inside, (y - y0, x - x0), (major, minor), (float(np.cos(angle)), float(np.sin(angle))))
    return (slice(y0, y1), slice(x0, x1)), inside


def expanded(ellipse, factor, largest):
    """Axes of an ellipse grown by a factor of its minor axis, rounded to even numbers of pixels.

    Parameters
    ----------
    ellipse : Ellipse
        The ellipse.
    factor : float
        Growth of the minor axis; the major axis grows by as many pixels.
    largest : float
        Upper limit of both diameters.

    Returns
    -------
    (int, int)
        Diameters, minor and major.
    """
    if ellipse.major < ellipse.minor:
        first, second = ellipse.minor + (factor - 1.0) * ellipse.major, ellipse.major * factor
    else:
        first, second = ellipse.minor * factor, ellipse.major + (factor - 1.0) * ellipse.minor
    return 2 * round(min(first, largest) / 2), 2 * round(min(second, largest) / 2)

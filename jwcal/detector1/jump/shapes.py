"""Shapes of large events: the ellipse of a region of flagged pixels, and the pixels of an ellipse.

An ellipse is that with the second moments of the region.  Which pixels fall on its edge depends
on the last bits of the arithmetic, so moments, eigenvalues and the test of a pixel are computed as
the public package does, with NumPy alone.  Source of the rules: package ``stcal`` 1.20.
"""

from functools import lru_cache
from math import atan2, pi, sqrt
from typing import NamedTuple

import numpy as np

from jwcal.kernels.events import label_runs


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


def find_ellipses(flags, mask, least, without=None):
    """Ellipses of the connected regions of flagged pixels that are large enough.

    Parameters
    ----------
    flags : (ny, nx) uint8 numpy.ndarray
        Flags.
    mask : int
        Bits looked for.
    least : float
        Smallest area, holes included, pixels.
    without : (ny, nx) uint8 numpy.ndarray or None
        Pixels with the same bits here do not belong to a region.

    Returns
    -------
    list of Ellipse
        In the order of the first pixels of the regions.
    """
    runs = label_runs(flags, mask, without)
    if not runs.size:
        return []
    label, length = runs["label"], runs["last"] - runs["first"]
    count = int(label.max()) + 1
    big = np.iinfo(np.int32).max
    top, left = np.full(count, big, np.int32), np.full(count, big, np.int32)
    bottom, right = np.zeros(count, np.int32), np.zeros(count, np.int32)
    np.minimum.at(top, label, runs["row"])
    np.maximum.at(bottom, label, runs["row"] + 1)
    np.minimum.at(left, label, runs["first"])
    np.maximum.at(right, label, runs["last"])
    area = np.bincount(label, length, count)
    box = (bottom - top).astype(np.int64) * (right - left)
    wanted = np.flatnonzero(box >= least)
    if not wanted.size:
        return []
    order = np.argsort(label, kind="stable")
    bounds = np.searchsorted(label[order], np.arange(count + 1)).tolist()
    places = np.stack(
        [runs["row"] - top[label], runs["first"] - left[label], runs["last"] - left[label]], axis=1
    )
    places = places[order]
    height, width = (bottom - top).tolist(), (right - left).tolist()
    out = []
    for k in wanted.tolist():
        part = places[bounds[k] : bounds[k + 1]].tobytes()
        filled, rows, columns, minor, major, angle = _measure(part, (height[k], width[k]))
        if filled < least:
            continue
        n = int(area[k])
        x, y = (n * int(left[k]) + columns) / n, (n * int(top[k]) + rows) / n
        out.append(Ellipse(x, y, minor, major, angle))
    return out


@lru_cache(maxsize=4096)
def _measure(runs, shape):
    """Find filled area, sums of row and column numbers, axes and angle of a region; most look alike."""
    image = np.zeros(shape, np.uint8)
    for row, first, last in np.frombuffer(runs, np.int32).reshape(-1, 3):
        image[row, first:last] = 1
    rows, columns = np.nonzero(image)
    outside = label_runs(np.pad(1 - image, 1, constant_values=1), 1)
    # The first region of the frame's complement is all that is not a hole.
    open_pixels = outside[outside["label"] == 0]
    border = (shape[0] + 2) * (shape[1] + 2) - image.size
    holes = image.size - rows.size - (int((open_pixels["last"] - open_pixels["first"]).sum()) - border)
    return rows.size + holes, int(rows.sum()), int(columns.sum()), *_axes(image)


def _axes(image):
    raw = _moments(image, (0, 0))
    mu = _moments(image, (raw[1, 0] / raw[0, 0], raw[0, 1] / raw[0, 0]))
    second = np.array([mu[2, 0], mu[0, 2]])
    diagonal = (np.sum(second) - second) / mu[0, 0]
    cross = -mu[1, 1] / mu[0, 0]
    tensor = np.array([[diagonal[0], cross], [cross, diagonal[1]]])
    values = np.clip(np.linalg.eigvalsh(tensor), 0, None)
    low, high = sorted(float(v) for v in values)
    if diagonal[0] - diagonal[1] == 0:
        angle = pi / 4 if cross < 0 else -pi / 4
    else:
        angle = 0.5 * atan2(-2 * cross, diagonal[1] - diagonal[0])
    return 4 * sqrt(low) - 1, 4 * sqrt(high) - 1, float(np.degrees(angle))


def _moments(image, centre):
    """Moments up to the third order in each direction about a centre."""
    orders = np.arange(4, dtype=np.float64)
    rows, columns = (
        (np.arange(n, dtype=np.float64) - c)[:, None] ** orders
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
        _fill(inside, (y - y0, x - x0), (major, minor), np.radians(ellipse.angle))
    return (slice(y0, y1), slice(x0, x1)), inside


def _fill(inside, centre, radii, angle):
    """Set the pixels of `inside` that lie in an ellipse with radii along rows and columns before rotation."""
    centre, radii = np.array(centre), np.array(radii)
    angle %= np.pi
    extent = np.array([
        abs(radii[0] * np.cos(angle)) + radii[1] * np.sin(angle),
        radii[0] * np.sin(angle) + abs(radii[1] * np.cos(angle)),
    ])  # fmt: skip
    low = np.maximum(np.ceil(centre - extent).astype(int), 0)
    high = np.minimum(np.floor(centre + extent).astype(int), np.array(inside.shape) - 1)
    if (high < low).any():
        return
    cos, sin = np.cos(angle), np.sin(angle)
    rows = np.arange(float(high[0] - low[0] + 1))[:, None] - (centre[0] - low[0])
    columns = np.arange(float(high[1] - low[1] + 1)) - (centre[1] - low[1])
    distance = ((rows * cos + columns * sin) / radii[0]) ** 2 + ((rows * sin - columns * cos) / radii[1]) ** 2
    inside[low[0] : high[0] + 1, low[1] : high[1] + 1] = distance < 1


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

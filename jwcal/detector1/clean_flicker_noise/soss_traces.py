"""Where the spectra of NIRISS SOSS lie, by the position of the pupil wheel.

Reference: the PASTASOSS file has, by spectral order, the trace at the commanded position of the wheel and
a polynomial for its wavelengths.  Geometry and order of the arithmetic are those of the calibration
pipeline of the observatory, package ``jwst`` 3.0.
"""

from dataclasses import dataclass

import numpy as np

from jwcal.core.errors import DataError, ReferenceFileError

ORDERS = (1, 2, 3)
# Rows that the shorter strip begins above the longer one, and the last row of that.
STRIP96_OFFSET = 10
LAST_ROW = 255.0
HALF_WIDTH = 16
ITERATIONS = 5
CLOSE = 1e-2


@dataclass(frozen=True)
class Order:
    """One spectral order of the reference.

    Attributes
    ----------
    number : int
        Spectral order.
    x, y : (n,) float64 numpy.ndarray
        Trace at the commanded position, pixels.
    pivot : (float, float)
        x and y of the point it rotates about.
    coefficients : (m,) float64 numpy.ndarray
        Of the wavelength in powers of scaled x and offset of the wheel: 1, x, o, x^2, x o, o^2 and so on.
    extents : (2, 2) float64 numpy.ndarray
        x and offset that are scaled to 0 (first row) and to 1 (second row).
    """

    number: int
    x: np.ndarray
    y: np.ndarray
    pivot: tuple
    coefficients: np.ndarray
    extents: np.ndarray


@dataclass(frozen=True)
class Traces:
    """What the reference says.

    Attributes
    ----------
    path : str
        File name, for messages.
    commanded : float
        Commanded position of the pupil wheel, degrees.
    bounds : (float, float)
        Positions the model is good for.
    grid : (n,) float64 numpy.ndarray
        Wavelengths at which traces are sampled, micrometres.
    orders : tuple of Order
    columns, rows : int
        Size of the strip that wavelengths are mapped on.
    first_row : int
        First row of the strip on the detector.
    """

    path: str
    commanded: float
    bounds: tuple
    grid: np.ndarray
    orders: tuple
    columns: int
    rows: int
    first_row: int


def read_traces(ref):
    """Read a PASTASOSS reference.

    Parameters
    ----------
    ref : ReferenceFile
        Open file.

    Returns
    -------
    Traces

    Raises
    ------
    ReferenceFileError
        If something is missing or malformed.
    """
    tree = ref.tree()
    meta = tree.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    low, high, count = (
        _array(ref, meta, key, 0, "meta") for key in ("wavemap_wlmin", "wavemap_wlmax", "wavemap_nwl")
    )
    sizes = [int(_array(ref, meta, key, 0, "meta")) for key in ("soss_xdim", "soss_ydim", "subarray_ymin")]
    bounds = _array(ref, meta, "pwcpos_bounds", 1, "meta")
    if bounds.size != 2 or not 2 <= count <= 1 << 24 or not low < high:
        raise ReferenceFileError(f"{ref.path}: the ranges in meta of this PASTASOSS reference make no sense")
    traces, models = tree.get("traces"), tree.get("wavecal_models")
    if not (isinstance(traces, list) and isinstance(models, list) and 0 < len(traces) <= len(models)):
        raise ReferenceFileError(f"{ref.path}: no traces with wavelengths in this PASTASOSS reference")
    return Traces(
        path=ref.path,
        commanded=float(_array(ref, meta, "pwcpos_cmd", 0, "meta")),
        bounds=(float(bounds[0]), float(bounds[1])),
        grid=np.linspace(float(low), float(high), int(count)),
        orders=tuple(_order(ref, *pair, k) for k, pair in enumerate(zip(traces, models, strict=False))),
        columns=sizes[0],
        rows=sizes[1],
        first_row=sizes[2],
    )


def _order(ref, trace, model, k):
    where = f"traces[{k}]"
    number = int(_array(ref, trace, "spectral_order", 0, where))
    points = _array(ref, trace, "trace", 2, where)
    if number not in ORDERS or points.shape[1] != 2 or len(points) < 2:
        raise ReferenceFileError(
            f"{ref.path}: {where} is no list of x and y of spectral order {', '.join(map(str, ORDERS))}"
        )
    pivot = tuple(float(_array(ref, trace, key, 0, where)) for key in ("pivot_x", "pivot_y"))
    where = f"wavecal_models[{k}]"
    coefficients = _array(ref, model, "coefficients", 1, where)
    extents = _array(ref, model, "scale_extents", 2, where)
    degree = _degree(coefficients.size)
    if (
        degree < 0
        or coefficients.size < (degree + 1) * (degree + 2) // 2
        or extents.shape != (2, 2)
        or (extents[0] == extents[1]).any()
    ):
        raise ReferenceFileError(f"{ref.path}: {where} is no polynomial of two scaled variables")
    return Order(number, points[:, 0].copy(), points[:, 1].copy(), pivot, coefficients, extents)


def _array(ref, table, key, ndim, where):
    try:
        value = np.array(table.get(key) if isinstance(table, dict) else None, np.float64)
    except (TypeError, ValueError):
        value = np.array(np.nan)
    if value.ndim != ndim or not np.isfinite(value).all():
        kind = ("number", "list of numbers", "table of numbers")[ndim]
        raise ReferenceFileError(f"{ref.path}: {where}.{key} is no {kind}")
    return value


def _degree(count):
    return int(np.sqrt(2 * count)) - 1


def trace(traces, order, position, subarray):
    """Trace of a spectral order, and its wavelengths.

    Parameters
    ----------
    traces : Traces
        From the reference.
    order : Order
        One of its orders.
    position : float
        Of the pupil wheel (PWCPOS), degrees.
    subarray : str
        Name of the subarray.

    Returns
    -------
    x, y : (n,) float64 numpy.ndarray
        Columns of the reference whose row is within the strip, and these rows.
    wavelength : (n,) float64 numpy.ndarray
        Micrometres.

    Raises
    ------
    DataError
        If the wheel is out of the range of the reference, or the trace out of the strip.
    """
    low, high = traces.bounds
    if not low <= position <= high:
        raise DataError(
            f"{traces.path}: PWCPOS = {position:g} is outside of the range {low:g} to {high:g} of this reference"
        )
    y = order.y - STRIP96_OFFSET if subarray == "SUBSTRIP96" else order.y
    offset = position - traces.commanded
    x, y = _turned(order.x, y, offset, order.pivot)
    if x.size < 2:
        raise DataError(f"{traces.path}: order {order.number} is not on the strip at PWCPOS = {position:g}")
    (x0, o0), (x1, o1) = order.extents
    with np.errstate(all="ignore"):
        scaled, turn = (x - x0) / (x1 - x0), (offset - o0) / (o1 - o0)
    return x, y, _polynomial(order.coefficients, scaled, turn)


def _turned(x, y, angle, pivot):
    """Trace turned about a point, at the columns it had, without rows above the strip."""
    centre = np.array([pivot], np.float64).T
    radians = np.radians(angle)
    c, s = np.cos(radians), np.sin(radians)
    at, row = np.array([[c, -s], [s, c]]) @ (np.vstack([x, y]) - centre) + centre
    order = np.argsort(at, kind="mergesort")
    at, row = at[order], row[order]
    right = np.clip(np.searchsorted(at, x), 1, at.size - 1)
    left = right - 1
    with np.errstate(all="ignore"):
        slope = (row[right] - row[left]) / (at[right] - at[left])
        row = slope * (x - at[left]) + row[left]
    inside = row <= LAST_ROW
    return x[inside], row[inside]


def _polynomial(coefficients, x, y):
    """Value of a polynomial of two variables, by Horner's scheme in x and then y."""
    degree = _degree(coefficients.size)
    total = np.zeros_like(x)
    for j in range(degree, -1, -1):
        inner = 0.0
        for i in range(degree - j, 0, -1):
            inner = x * (coefficients[_place(i, j)] + inner)
        total = (coefficients[_place(0, j)] + inner) + total
        if j:
            total = y * total
    return total


def _place(i, j):
    """Where the coefficient of x^i y^j stands."""
    return (i + j) * (i + j + 1) // 2 + j


def sampled(grid, wavelength, values):
    """Values along a trace at given wavelengths, straight on beyond its ends.

    Parameters
    ----------
    grid : (m,) float64 numpy.ndarray
        Rising wavelengths.
    wavelength, values : (n,) float64 numpy.ndarray
        Of the trace.

    Returns
    -------
    (m,) float64 numpy.ndarray
    """
    order = np.argsort(wavelength)
    w, q = wavelength[order], values[order]
    with np.errstate(all="ignore"):
        above, below = grid[grid > w[-1]], grid[grid < w[0]]
        right = q[-1] + (above - w[-1]) * ((q[-1] - q[-2]) / (w[-1] - w[-2]))
        left = q[0] + (below - w[0]) * ((q[1] - q[0]) / (w[1] - w[0]))
    return np.interp(grid, np.concatenate([below, w, above]), np.concatenate([left, q, right]))


def trace_mask(traces, position, subarray, frame):
    """Pixels on or near the trace of any order.

    Parameters
    ----------
    traces : Traces
        From the reference.
    position : float
        Of the pupil wheel (PWCPOS), degrees.
    subarray : str
        Name of the subarray; rows count from the bottom of the strip for all of them.
    frame : (int, int)
        Rows and columns.

    Returns
    -------
    (ny, nx) bool numpy.ndarray
        True within 16 pixels above and below, rounded outwards.

    Raises
    ------
    DataError
        If the wheel is out of the range of the reference, or a trace out of the strip.
    """
    ny, nx = frame
    rows, columns = np.arange(ny)[:, None], np.arange(nx)
    out = np.zeros(frame, bool)
    for order in traces.orders:
        x, y, wavelength = trace(traces, order, position, subarray)
        x, y = (sampled(traces.grid, wavelength, values) for values in (x, y))
        rising = np.argsort(x)
        centre = np.interp(columns, x[rising], y[rising])
        out |= (rows >= np.floor(centre - HALF_WIDTH)) & (rows <= np.ceil(centre + HALF_WIDTH))
    return out


def wavelengths(traces, order, position, subarray):
    """Wavelength of each column of the strip; traces are taken not to be tilted.

    Parameters
    ----------
    traces : Traces
        From the reference.
    order : Order
        One of its orders.
    position : float
        Of the pupil wheel (PWCPOS), degrees.
    subarray : str
        Name of the subarray.

    Returns
    -------
    (columns,) float64 numpy.ndarray
        Micrometres; NaN beyond the ends of the trace.
    """
    x, _, found = trace(traces, order, position, subarray)
    x = sampled(traces.grid, found, x)
    columns = np.arange(traces.columns, dtype=np.float64)
    shift = np.zeros_like(columns)
    for _ in range(ITERATIONS):
        guess = np.interp(columns - shift, x[::-1], traces.grid[::-1])
        off = np.interp(guess, traces.grid, x) - columns
        shift += off
        if (np.abs(off) < CLOSE).all():
            break
    return np.interp(columns - shift, x[::-1], traces.grid[::-1], left=np.nan, right=np.nan)

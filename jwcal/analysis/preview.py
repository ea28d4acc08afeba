"""Pictures of products: choice of frame, stretch, colours, PNG and terminal."""

import numpy as np

from jwcal.analysis import planes
from jwcal.core.dq import DQ
from jwcal.core.errors import InputError, UsageError

STRETCHES = ("asinh", "linear", "log", "zscale")
# Colours at equal steps; those of "viridis" after S. van der Walt and N. Smith (CC0).
COLOURS = {
    "gray": ((0, 0, 0), (255, 255, 255)),
    "inverse": ((255, 255, 255), (0, 0, 0)),
    "heat": ((0, 0, 0), (128, 0, 0), (255, 96, 0), (255, 208, 64), (255, 255, 255)),
    "viridis": (
        (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99),
        (170, 220, 50), (253, 231, 37),
    ),
}  # fmt: skip
BAD = {"gray": (176, 32, 32), "inverse": (255, 128, 128), "heat": (0, 80, 128), "viridis": (96, 96, 96)}
_SAMPLE = 1 << 18


def choose_frame(fits, plane=None, integration=None, group=None):
    """Frame of a file to look at, and its bad pixels.

    Parameters
    ----------
    fits : open FITS file
        Any file with an image.
    plane : str or None
        Extension; None is SCI or the first image.
    integration, group : int or None
        Counted from 1.  Without `group`, a ramp shows its last minus its first group; of
        cubes the first plane is shown.

    Returns
    -------
    image : (ny, nx) float32 numpy.ndarray
        Values.
    bad : (ny, nx) bool numpy.ndarray
        DO_NOT_USE or not finite.
    what : str
        What is shown.

    Raises
    ------
    InputError
        If there is no such image.
    UsageError
        If it has no such integration or group.
    """
    hdu = planes.choose_plane(fits, plane)
    title = planes.titles(fits)[fits.hdus.index(hdu)]
    shape = hdu.shape
    if len(shape) < 2:
        raise InputError(f"{fits.label}: {title} is not an image, it has one axis")
    lead = list(shape[:-2])
    what = title
    if group is not None and len(lead) < 2:
        raise UsageError(f"{fits.label}: {title} has no groups")
    if integration is not None and not lead:
        raise UsageError(f"{fits.label}: {title} has no integrations")
    index = [0] * len(lead)
    if lead:
        axis = -2 if len(lead) > 1 else -1
        index[axis] = _at(fits, title, "integration", integration or 1, lead[axis])
        what += f" integration {index[axis] + 1}"
    if len(lead) > 1 and group is None and lead[-1] > 1:
        last = hdu.read(index=(*index[:-1], lead[-1] - 1)).astype("f4")
        image = last - hdu.read(index=(*index[:-1], 0)).astype("f4")
        what += f" group {lead[-1]} - group 1"
    else:
        if len(lead) > 1:
            index[-1] = _at(fits, title, "group", group or 1, lead[-1])
            what += f" group {index[-1] + 1}"
        image = hdu.read(index=tuple(index) or None).astype("f4", copy=False)
    bad = ~np.isfinite(image)
    if not planes.is_flags(hdu):
        bad |= _do_not_use(fits, image.shape, index)
    return image, bad, what


def _at(fits, title, noun, number, count):
    if not 1 <= number <= count:
        raise UsageError(f"{fits.label}: {title} has {count} {noun}s, not {number}")
    return number - 1


def _do_not_use(fits, frame, index):
    for name in ("PIXELDQ", "DQ"):
        hdu = fits.get(name)
        if hdu is not None and planes.is_flags(hdu) and hdu.shape[-2:] == frame:
            lead = index[: len(hdu.shape) - 2]
            if len(lead) == len(hdu.shape) - 2 and all(k < n for k, n in zip(lead, hdu.shape, strict=False)):
                flags = planes.standard_flags(
                    hdu.read(index=tuple(lead) or None), planes.flag_translation(fits, hdu)
                )
                return (flags & flags.dtype.type(DQ["DO_NOT_USE"])) != 0
    return np.zeros(frame, bool)


def fit_into(image, bad, width, height):
    """Average an image into blocks, or repeat its pixels, so that it fills a size.

    Parameters
    ----------
    image : (ny, nx) float32 numpy.ndarray
        Values.
    bad : (ny, nx) bool numpy.ndarray
        Pixels to leave out of averages.
    width, height : int
        Largest size [pixel].

    Returns
    -------
    image : (my, mx) float32 numpy.ndarray
        Mean of the good pixels of each block; NaN where there is none.
    bad : (my, mx) bool numpy.ndarray
        Blocks without a good pixel.
    """
    ny, nx = image.shape
    factor = max(-(-ny // height), -(-nx // width))
    if factor <= 1:
        repeat = max(1, min(height // ny, width // nx))
        grow = np.ones((repeat, repeat), bool)
        image = np.where(bad, np.float32(np.nan), image)
        return np.kron(image, grow).astype("f4"), np.kron(bad, grow).astype(bool)
    my, mx = -(-ny // factor), -(-nx // factor)
    edges = np.arange(0, nx, factor)
    out = np.empty((my, mx), "f4")
    with np.errstate(invalid="ignore", over="ignore"):
        for j in range(my):
            rows = slice(j * factor, min((j + 1) * factor, ny))
            good = ~bad[rows]
            total = np.add.reduceat(np.where(good, image[rows], 0).sum(axis=0, dtype="f8"), edges)
            count = np.add.reduceat(good.sum(axis=0), edges)
            out[j] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return out, ~np.isfinite(out)


def scale(image, stretch="asinh"):
    """Map values to 0..1.

    Parameters
    ----------
    image : (ny, nx) float32 numpy.ndarray
        Values; NaN and infinite values count for nothing.
    stretch : str
        "asinh": linear around the sky, logarithmic above; "linear" and "log" between the
        0.5 and the 99.5 percentile; "zscale": linear, limits from the slope of the sorted
        values (the method of IRAF).

    Returns
    -------
    levels : (ny, nx) float32 numpy.ndarray
        0 to 1; 0 where the value is not finite.
    low, high : float
        Values that became 0 and 1.
    """
    values = _sample(image)
    if values.size == 0:
        return np.zeros(image.shape, "f4"), 0.0, 0.0
    low, median, high = (float(v) for v in np.percentile(values, (0.5, 50, 99.5)))
    if stretch == "zscale":
        low, high = zscale_limits(values)
    elif stretch == "asinh":
        noise = 1.4826 * float(np.median(np.abs(values - median)))
        low, high = max(low, median - 2 * noise), max(high, median + 5 * noise)
    if not high > low:
        high = low + max(1.0, abs(low))
    with np.errstate(invalid="ignore", over="ignore"):
        levels = np.clip(
            (np.nan_to_num(image.astype("f8"), nan=low, posinf=high, neginf=low) - low) / (high - low), 0, 1
        )
        if stretch == "asinh":
            soft = min(max(3 * noise / (high - low), 1e-4), 1.0)
            levels = np.arcsinh(levels / soft) / np.arcsinh(1 / soft)
        elif stretch == "log":
            levels = np.log1p(1000 * levels) / np.log1p(1000)
    levels = levels.astype("f4")
    levels[~np.isfinite(image)] = 0
    return levels, low, high


def _sample(image):
    flat = image.reshape(-1)
    step = max(1, flat.size // _SAMPLE)
    while step > 1 and np.gcd(step, image.shape[1]) > 1:
        step += 1
    part = flat[::step]
    part = part[np.isfinite(part)]
    return (part if part.size else flat[np.isfinite(flat)]).astype("f8")


def zscale_limits(values, contrast=0.25, reject=2.5, rounds=5):
    """Display limits from a line through the sorted values, outliers left out.

    Parameters
    ----------
    values : (n,) float64 numpy.ndarray
        Finite values.
    contrast : float
        Steepness; smaller shows more range.
    reject : float
        Clipping of values off the line [sigma].
    rounds : int
        Fits at most.

    Returns
    -------
    low, high : float
    """
    ranked = np.sort(values)
    ranked = ranked[:: max(1, ranked.size // 1000)]
    place = np.arange(ranked.size, dtype="f8")
    use = np.ones(ranked.size, bool)
    slope = 0.0
    for _ in range(rounds):
        if np.count_nonzero(use) < max(5, ranked.size // 2):
            return float(ranked[0]), float(ranked[-1])
        slope, start = np.polyfit(place[use], ranked[use], 1)
        gap = ranked - (start + slope * place)
        keep = use & (np.abs(gap) <= reject * gap[use].std() + 1e-30)
        if (keep == use).all():
            break
        use = keep
    middle = ranked.size // 2
    low = max(ranked[0], ranked[middle] - slope / contrast * middle)
    high = min(ranked[-1], ranked[middle] + slope / contrast * (ranked.size - 1 - middle))
    return float(low), float(high)


def colour(levels, bad, cmap="gray"):
    """Colours of levels.

    Parameters
    ----------
    levels : (ny, nx) float32 numpy.ndarray
        0 to 1.
    bad : (ny, nx) bool numpy.ndarray
        Pixels that get the colour of bad pixels.
    cmap : str
        A name in `COLOURS`.

    Returns
    -------
    (ny, nx, 3) uint8 numpy.ndarray
    """
    anchors = np.array(COLOURS[cmap], "f8")
    # With the colour of bad pixels 256, which a picture with a list of colours can have.
    ramp = np.linspace(0, len(anchors) - 1, 255)
    table = np.stack([np.interp(ramp, np.arange(len(anchors)), anchors[:, k]) for k in range(3)], axis=1)
    out = np.rint(table).astype(np.uint8)[(levels * 254 + 0.5).astype(np.uint8)]
    out[bad] = BAD[cmap]
    return out


def picture(image, bad, width, height, stretch="asinh", cmap="gray"):
    """Picture of a frame, first row on top (FITS has it at the bottom).

    Parameters
    ----------
    image, bad : (ny, nx) arrays
        From `choose_frame`.
    width, height : int
        Largest size [pixel].
    stretch, cmap : str
        See `scale` and `colour`.

    Returns
    -------
    rgb : (my, mx, 3) uint8 numpy.ndarray
        Picture.
    low, high : float
        Values shown as darkest and brightest.
    """
    small, holes = fit_into(image, bad, width, height)
    levels, low, high = scale(small, stretch)
    return colour(levels, holes, cmap)[::-1], low, high


def terminal_text(rgb, *, true_colour=True):
    """Picture as text of half blocks with ANSI colours, two pixels a character.

    Parameters
    ----------
    rgb : (ny, nx, 3) uint8 numpy.ndarray
        Picture, first row on top.
    true_colour : bool
        24-bit colours; else the 256 colours of older terminals.

    Returns
    -------
    str
    """
    if rgb.shape[0] % 2:
        rgb = np.concatenate([rgb, np.zeros_like(rgb[:1])])
    lines = []
    for upper, lower in zip(rgb[::2].tolist(), rgb[1::2].tolist(), strict=True):
        parts = []
        before = None
        for over, under in zip(upper, lower, strict=True):
            code = f"{_code(38, over, true_colour)};{_code(48, under, true_colour)}"
            if code != before:
                parts.append(f"\x1b[{code}m")
                before = code
            parts.append("\u2580")
        lines.append("".join(parts) + "\x1b[0m\n")
    return "".join(lines)


def _code(ground, rgb, true_colour):
    if true_colour:
        return f"{ground};2;{rgb[0]};{rgb[1]};{rgb[2]}"
    if max(rgb) - min(rgb) < 8:
        gray = round((rgb[0] - 8) / 10)
        return f"{ground};5;{16 if gray < 0 else 231 if gray > 23 else 232 + gray}"
    cube = [round(v / 51) for v in rgb]
    return f"{ground};5;{16 + 36 * cube[0] + 6 * cube[1] + cube[2]}"

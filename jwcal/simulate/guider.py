"""Raw exposures of the guide-star functions: identification, acquisition, track, fine guide."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from jwcal.core.errors import UsageError
from jwcal.simulate import guider_headers
from jwcal.simulate.detectors import Region, region
from jwcal.simulate.pixels import delinearise, linearise
from jwcal.simulate.pixels import pixels as draw_pixels
from jwcal.simulate.ramp import HIT, cosmic_rays
from jwcal.simulate.scene import add_star, make_scene, point_spread

STRIP, STEP = 64, 56
_FIRST_COLUMN = 12
_FLUX = 2.5e5
_JITTER = 0.02


@dataclass(frozen=True)
class Mode:
    """How a guide-star function reads the detector.

    Attributes
    ----------
    exp_type, name, pattern, subarray : str
        EXP_TYPE, part of the file name, READPATT, SUBARRAY.
    shape : tuple of int
        Rows and columns of the data.
    nints, ngroups : int
        Usual integrations; groups in the file.
    tframe : float
        Frame time [s].
    nframes, gap, drop_first, drop_last : int
        NFRAMES, GROUPGAP, DRPFRMS1, DRPFRMS3.
    data_mode : int
        DATAMODE.
    at : tuple of int
        Frames, counted from the end of the reset, at which the groups are read.
    cycle : float
        Time from one integration to the next [s].

    Notes
    -----
    Values of flight headers of 2022.
    """

    exp_type: str
    name: str
    pattern: str
    subarray: str
    shape: tuple
    nints: int
    ngroups: int
    tframe: float
    nframes: int
    gap: int
    drop_first: int
    drop_last: int
    data_mode: int
    at: tuple
    cycle: float

    @property
    def is_identification(self):
        """Whether strips over the whole detector are read."""
        return self.pattern == "ID"

    @property
    def is_stack(self):
        """Whether the strips are butted instead of merged."""
        return self.exp_type.endswith("STACK")

    @property
    def tgroup(self):
        """TGROUP [s]."""
        return self.tframe * (self.nframes + self.gap)

    @property
    def moves(self):
        """Whether the window follows the star."""
        return self.pattern == "TRACK"

    @property
    def has_centroids(self):
        """Whether pointing and centroids come with the data."""
        return self.pattern in {"TRACK", "FINEGUIDE"}


MODES = {
    mode.exp_type: mode
    for mode in (
        Mode("FGS_ID-IMAGE", "id_1_image", "ID", "2048X64", (2048, 2024), 2, 2, 0.3406, 1, 0, 0, 0, 75, (1, 2), 1.0218),
        Mode("FGS_ID-STACK", "id_1_stacked", "ID", "2048X64", (2048, 2304), 2, 2, 0.3406, 1, 0, 0, 0, 75, (1, 2), 1.0218),
        Mode("FGS_ACQ1", "acq1", "ACQ1", "128X128", (128, 128), 6, 2, 0.182, 1, 1, 1, 1, 76, (2, 4), 1.092),
        Mode("FGS_ACQ2", "acq2", "ACQ2", "32X32", (32, 32), 5, 2, 0.01254, 1, 3, 1, 16, 77, (2, 6), 0.3135),
        Mode("FGS_TRACK", "track", "TRACK", "32X32", (32, 32), 64, 2, 0.01254, 1, 1, 1, 1, 78, (2, 4), 0.064),
        Mode("FGS_FINEGUIDE", "fg", "FINEGUIDE", "8X8", (8, 8), 64, 8, 0.00126, 4, 39, 0, 4, 79,
             (1, 2, 3, 4, 44, 45, 46, 47), 0.064),
    )
}  # fmt: skip


@dataclass
class Exposure:
    """Everything known of a simulated guide-star exposure.

    Attributes
    ----------
    mode : Mode
    region : jwcal.simulate.detectors.Region
        What SUBARRAY, SUBSTRT and SUBSIZE describe; a stack is wider than the detector.
    nints : int
    groups : numpy.ndarray
        uint16 (nint, ngroup, ny, nx), DN.
    rate : numpy.ndarray
        float32 (nint, ny, nx), DN/s: the light of every integration.
    saturated : numpy.ndarray
        int16 (nint, ny, nx): first clipped group, -1 if none.
    hits : numpy.ndarray
        Structured like those of `jwcal.simulate.ramp.Integration`; FRAME is the group.
    pixels : jwcal.simulate.pixels.Pixels
    stars : numpy.ndarray
        Structured: X, Y (0-based in the data of the first integration), FLUX_E, INSIDE.
    path : numpy.ndarray
        float64 (nint, 2): guide star, 0-based x and y in the window of each integration.
    corners : numpy.ndarray
        int (nint, 2): 1-based detector x and y of the window of each integration.
    """

    mode: Mode
    region: Region
    nints: int
    groups: np.ndarray
    rate: np.ndarray
    saturated: np.ndarray
    hits: np.ndarray
    pixels: Any
    stars: np.ndarray
    path: np.ndarray
    corners: np.ndarray


def take(pixels, index):
    """Properties of some of the pixels.

    Parameters
    ----------
    pixels : jwcal.simulate.pixels.Pixels
    index : tuple
        Index of the last two axes.

    Returns
    -------
    jwcal.simulate.pixels.Pixels
    """
    changed = {}
    for item in fields(pixels):
        value = getattr(pixels, item.name)
        if isinstance(value, dict):
            changed[item.name] = {key: plane[index] for key, plane in value.items()}
        elif value is not None:
            changed[item.name] = value[(..., *index)]
    return replace(pixels, **changed)


def strip_columns(width):
    """Columns that the strips of the identification read.

    Parameters
    ----------
    width : int
        Columns of the merged image.

    Returns
    -------
    numpy.ndarray
        int (nstrip, 64): column of the image; neighbours share eight.

    Raises
    ------
    UsageError
        If the width is not one that strips make.
    """
    count, rest = divmod(width - (STRIP - STEP), STEP)
    if count < 1 or rest:
        raise UsageError(f"strips of 64 columns that overlap by 8 make 64, 120, 176 ... columns, not {width}")
    return np.arange(count)[:, None] * STEP + np.arange(STRIP)


def _window(det, mode, shape, corner):
    """Region of the light, and columns of the data when strips are read."""
    if mode.is_identification:
        ny, nx = shape or (mode.shape[0], 2024)
        x, y = corner or ((_FIRST_COLUMN + 1, 1) if shape is None else (1, 1))
        light = region(det, shape=(ny, nx), corner=(x, y))
        return light, strip_columns(nx)
    if shape and tuple(shape) != mode.shape:
        raise UsageError(
            f"{mode.exp_type} reads {mode.shape[0]} rows and columns, not {shape[0]} x {shape[1]}"
        )
    centre = 1024 - mode.shape[0] // 2 + 1
    return region(det, shape=mode.shape, corner=corner or (centre, centre)), None


def _settings(mode, nints, ngroups, readpatt):
    if readpatt is not None and readpatt.upper() != mode.pattern:
        raise UsageError(f"{mode.exp_type} is read out as {mode.pattern}, not {readpatt}")
    if ngroups is not None and ngroups != mode.ngroups:
        raise UsageError(f"{mode.exp_type} has {mode.ngroups} groups, not {ngroups}")
    if nints is not None and not mode.has_centroids and nints != mode.nints:
        raise UsageError(f"{mode.exp_type} has {mode.nints} integrations, not {nints}")
    return nints or mode.nints


def _jitter(rng, mode, nints, x, y):
    """Walk of the star over the exposure and the corner that follows it, pixels."""
    step = rng.normal(0, _JITTER * 0.3, (nints, 2))
    path = np.empty((nints, 2))
    offset = rng.normal(0, _JITTER, 2)
    for i in range(nints):
        offset = 0.95 * offset + step[i]
        path[i] = offset
    path += (x, y)
    shift = np.zeros((nints, 2), int)
    if mode.moves:
        path += np.arange(nints)[:, None] * np.array([0.05, -0.03])
        shift = np.rint(path - (x, y)).astype(int)
    return path, shift


class _Reader:
    """Reads integrations of a window; `pixels` describes what is read."""

    def __init__(self, det, mode, pixels, cr_rate, fast_is_x):
        self.det, self.mode, self.pixels = det, mode, pixels
        self.cr_rate, self.fast_is_x = cr_rate, fast_is_x

    def read(self, rng, light, pixels, groups):
        """Fill uint16 (ngroup, ny, nx); return first clipped group and hits."""
        mode, shape = self.mode, light.shape
        limit = linearise(pixels.full_well, pixels.coefficients)
        sensitive = ~pixels.reference
        start = rng.standard_normal(shape) * (sensitive * self.det["ktc"])
        offset = rng.normal(0, 3.0)
        charge = np.zeros(shape, np.float32)
        saturated = np.full(shape, -1, np.int16)
        fake = Region(self.det, "", 0, 0, shape[0], shape[1], 1)
        frames, ys, xs, amplitude, primary = cosmic_rays(
            rng, fake, pixels.reference, mode.at[-1], self.cr_rate
        )
        group_of = np.searchsorted(np.array(mode.at), frames + 1)
        before = 0
        for g, frame in enumerate(mode.at):
            charge += rng.poisson(light * (frame - before) * mode.tframe)
            now = group_of == g
            np.add.at(charge, (ys[now], xs[now]), amplitude[now])
            linear = charge / pixels.gain + start
            clipped = linear >= limit
            saturated[clipped & (saturated < 0)] = g
            signal = delinearise(linear.astype(np.float32), pixels.coefficients, limit) + pixels.bias
            offset = 0.98 * offset + rng.normal(0, 1.0)
            parity = rng.normal(0, 0.8, 2)
            count = shape[1] if self.fast_is_x else shape[0]
            lines = offset + parity[np.arange(count) % 2]
            signal = signal + (lines[None, :] if self.fast_is_x else lines[:, None])
            signal = signal + rng.standard_normal(shape) * (pixels.read_noise / pixels.gain)
            groups[g] = np.clip(np.rint(signal), 0, 65535)
            before = frame
        table = np.zeros(frames.size, HIT)
        table["GROUP"], table["FRAME"], table["Y"], table["X"] = group_of, frames, ys, xs
        table["AMP_E"], table["AMP_DN"] = amplitude, amplitude / pixels.gain[ys, xs]
        table["FRAC"], table["PRIMARY"] = 1.0, primary
        return saturated, table


def simulate(
    det,
    mode,
    nints=None,
    ngroups=None,
    readpatt=None,
    shape=None,
    corner=None,
    seed=1,
    scene_seed=7,
    detector_seed=11,
    cr_rate=None,
    brightness=None,
    star_density=6e-4,
):
    """Simulate a guide-star exposure.

    Parameters
    ----------
    det : jwcal.simulate.detectors.Detector
        A guider.
    mode : Mode
    nints, ngroups : int, optional
        Only track and fine guide leave the number of integrations open.
    readpatt : str, optional
        Must be the one of the mode.
    shape, corner : tuple of int, optional
        Rows and columns of the merged image (identification only); 1-based x and y.
    seed, scene_seed, detector_seed : int, optional
    cr_rate : float, optional
        Fraction of the pixels hit in an integration; 1e-4 by default.
    brightness : float, optional
        Factor on the stars.
    star_density : float, optional
        Stars per pixel of the identification.

    Returns
    -------
    Exposure

    Raises
    ------
    UsageError
        If the request does not fit the mode.
    """
    nints = _settings(mode, nints, ngroups, readpatt)
    light_region, columns = _window(det, mode, shape, corner)
    cr_rate = 1e-4 if cr_rate is None else cr_rate
    rng = np.random.default_rng([seed, det["sca_num"], mode.data_mode])
    if columns is not None:
        return _identify(
            det,
            mode,
            light_region,
            columns,
            rng,
            (scene_seed, detector_seed),
            cr_rate,
            brightness,
            star_density,
        )
    ny, nx = mode.shape
    flux = _FLUX * (brightness or 1.0)
    path, shift = _jitter(rng, mode, nints, nx / 2 - 0.35, ny / 2 - 0.6)
    low = np.maximum(np.array([light_region.x0, light_region.y0]) + shift.min(axis=0), 0)
    high = np.minimum(
        np.array([light_region.x0 + nx, light_region.y0 + ny]) + shift.max(axis=0), det.shape[::-1]
    )
    wide = Region(det, "", int(low[1]), int(low[0]), int(high[1] - low[1]), int(high[0] - low[0]), 1)
    everything = draw_pixels(wide, detector_seed)
    psf = point_spread(det["wavelength"], det["pixel_scale"])
    reader = _Reader(det, mode, everything, cr_rate, light_region.fast_is_x)
    groups = np.empty((nints, mode.ngroups, ny, nx), np.uint16)
    rate = np.empty((nints, ny, nx), np.float32)
    saturated = np.empty((nints, ny, nx), np.int16)
    corners, hits = np.empty((nints, 2), int), []
    for i in range(nints):
        corner_now = np.clip(
            np.array([light_region.x0, light_region.y0]) + shift[i], low, high - np.array([nx, ny])
        )
        corners[i] = corner_now + 1
        path[i] -= corner_now - np.array([light_region.x0, light_region.y0])
        a, b = corner_now[1] - low[1], corner_now[0] - low[0]
        pixels = take(everything, (slice(a, a + ny), slice(b, b + nx)))
        light = np.full((ny, nx), det["background"], np.float32)
        add_star(light, psf, path[i, 0], path[i, 1], flux, 60)
        light *= pixels.efficiency
        rate[i] = light / pixels.gain
        saturated[i], table = reader.read(rng, light + pixels.dark, pixels, groups[i])
        table["INT"] = i
        hits.append(table)
    a, b = corners[0, 1] - 1 - low[1], corners[0, 0] - 1 - low[0]
    stars = guider_headers.star_table([(*path[0], flux)], (ny, nx))
    first = take(everything, (slice(a, a + ny), slice(b, b + nx)))
    frame = Region(det, mode.subarray, int(corners[0, 1] - 1), int(corners[0, 0] - 1), ny, nx, 1)
    return Exposure(
        mode, frame, nints, groups, rate, saturated, np.concatenate(hits), first, stars, path, corners
    )


def _identify(det, mode, light_region, columns, rng, seeds, cr_rate, brightness, density):
    """Read the strips one after the other, then butt or merge them."""
    ny = light_region.ny
    scene = make_scene(light_region, "field", "x", brightness or 20.0, density, seeds[0])
    pixels = draw_pixels(light_region, seeds[1])
    guide = (light_region.nx * 0.5 + 0.2, ny * 0.5 - 0.3)
    image = scene.rate.copy()
    psf = point_spread(det["wavelength"], det["pixel_scale"])
    flux = _FLUX * (brightness / 20.0 if brightness else 1.0)
    add_star(image, psf, *guide, flux, 60)
    light = image * pixels.efficiency
    reader = _Reader(det, mode, pixels, cr_rate, light_region.fast_is_x)
    shape = (2, mode.ngroups, ny, columns.size)
    groups = np.empty(shape, np.uint16)
    saturated = np.empty((2, ny, columns.size), np.int16)
    hits = []
    for k, strip in enumerate(columns):
        here = slice(k * STRIP, (k + 1) * STRIP)
        part = (slice(None), slice(strip[0], strip[-1] + 1))
        piece = take(pixels, part)
        for i in range(2):
            saturated[i, :, here], table = reader.read(
                rng, light[part] + piece.dark, piece, groups[i, :, :, here]
            )
            table["INT"] = i
            table["X"] += k * STRIP
            hits.append(table)
    table = np.concatenate(hits)
    columns = columns.ravel()
    if mode.is_stack:
        pixels = take(pixels, (slice(None), columns))
        light = light[:, columns]
        frame = Region(det, mode.subarray, light_region.y0, 0, ny, columns.size, 1)
        shown = np.searchsorted(columns, guide[0])
        listed = [(shown, guide[1], flux)]
    else:
        groups, saturated = _merge(groups, columns), _latest(saturated, columns)
        table = table.copy()
        table["X"] = columns[table["X"]]
        frame = Region(det, mode.subarray, light_region.y0, light_region.x0, ny, light_region.nx, 1)
        listed = [(*guide, flux)]
        bright = np.argsort(-scene.stars["FLUX_E"], kind="stable")[:10]
        listed += [tuple(scene.stars[k]) for k in bright]
    rate = np.broadcast_to((light / pixels.gain).astype(np.float32), (2, *light.shape))
    path = np.broadcast_to(np.array(listed[0][:2], float), (2, 2))
    corners = np.broadcast_to(np.array([frame.x0 + 1, frame.y0 + 1]), (2, 2))
    stars = guider_headers.star_table(listed, light.shape)
    return Exposure(mode, frame, 2, groups, rate, saturated, table, pixels, stars, path, corners)


def _merge(stack, columns):
    """Average what two strips saw of the same column."""
    width = columns.max() + 1
    total = np.zeros((*stack.shape[:-1], width), np.uint32)
    count = np.bincount(columns, minlength=width).astype(np.uint32)
    for k in range(0, columns.size, STRIP):
        part = columns[k : k + STRIP]
        total[..., part] += stack[..., k : k + STRIP]
    return (total // count).astype(np.uint16)


def _latest(saturated, columns):
    out = np.full((*saturated.shape[:-1], columns.max() + 1), -1, np.int16)
    for k in range(0, columns.size, STRIP):
        part = columns[k : k + STRIP]
        out[..., part] = np.maximum(out[..., part], saturated[..., k : k + STRIP])
    return out

"""Grids of combined and rectified products: what they cover on the sky and in wavelength."""

import math
import tomllib
from functools import lru_cache

from jwcal.core.packaged import text_of

# A combined image has a few more rows and columns than a frame, which is not quite square on the sky.
MARGIN = 1.01
# Cubes are aligned with north: sides of a box around a field turned by any angle, on average.
_TURNED = 2 / math.pi
# Dithers of a spectrograph move a source by about this (arcsec) where no pointing report tells.
_NOD = 1.5


@lru_cache(maxsize=1)
def _table():
    return tomllib.loads(text_of("data/planning", "grids.toml"))


def image(raws):
    """Grid of a combined image.

    Parameters
    ----------
    raws : list of Raw
        Its science exposures.

    Returns
    -------
    (dict of str to int, str)
        Length of the axes Y and X; why they are an estimate.
    """
    first = raws[0].detector
    scale = _scale(raws[0])
    fields = _table()["field"]
    names = {raw.detector.name for raw in raws}
    rows, columns = first.rows * MARGIN, first.columns * MARGIN
    if len(names) > 1 and names <= fields.keys():
        boxes = [fields[name] for name in names]
        columns = (max(v2 + w for v2, _, w, _ in boxes) - min(v2 - w for v2, _, w, _ in boxes)) / scale
        rows = (max(v3 + h for _, v3, _, h in boxes) - min(v3 - h for _, v3, _, h in boxes)) / scale
    spread = _spread(raws)
    if spread:
        grid = {"Y": int(rows + spread[1] / scale), "X": int(columns + spread[0] / scale)}
        return grid, "box around the dithers and tiles of the pointing report"
    tiles = _tiles(raws)
    if tiles > 1:
        return {"Y": int(rows * tiles), "X": int(columns)}, "rough: tiles side by side, dithers not counted"
    dithered = any(raw.exposure.dither.points > 1 for raw in raws)
    why = (
        "at least: dithers make the field larger"
        if dithered
        else "the grid of the sky is not that of the detector"
    )
    return {"Y": int(rows), "X": int(columns)}, why


def cube(raws, part=None):
    """Grid of a cube.

    Parameters
    ----------
    raws : list of Raw
        Its exposures.
    part : (str, str), optional
        Channel and band, or grating and filter; default what the first exposure has.

    Returns
    -------
    (dict of str to int, str)
        Length of the axes w, Y and X; why they are an estimate.
    """
    detector, cubes = raws[0].detector, _table()["cube"]
    if raws[0].exposure.instrument == "MIRI":
        bands = [part] if part else list(zip(detector.channel, bands_of(detector), strict=False))
        known = [cubes[channel] for channel, _ in bands]
        depth = sum(own.get(band.upper(), own["LONG"]) for own, (_, band) in zip(known, bands, strict=True))
        field, spaxel = known[-1]["field"], known[0]["spaxel"]
    else:
        own = cubes["NIRSPEC"]
        field, spaxel = own["field"], own["spaxel"]
        depth = points(raws)
    spread = _spread(raws)
    if spread is None:
        many = len({raw.exposure.dither.point for raw in raws}) > 1
        spread = (_NOD, _NOD) if many else (0.0, 0.0)
    side = _TURNED * (sum(field) + sum(spread)) / spaxel
    return {"w": depth, "Y": int(side * math.sqrt(_tiles(raws))), "X": int(side)}, (
        "rough: the field turned by any angle, with the dithers"
    )


def bands_of(detector):
    """Band of each channel (list of str) of a detector of MIRI's spectrometer; crossed settings have two."""
    parts = detector.band.lower().split("-") if detector.band else [""]
    return parts * 2 if len(parts) == 1 else parts


def points(raws):
    """Points (int) along the dispersion of a rectified spectrum or cube; 0 if the disperser has no entry."""
    exposure = raws[0].exposure
    disperser = "P750L" if exposure.instrument == "MIRI" else raws[0].detector.grating.upper()
    count = _table()["points"].get(disperser, 0)
    halves = disperser.endswith("H") and len({raw.detector.name for raw in raws}) == 1
    return count // 2 if halves else count


def slit(raws):
    """Grid of a rectified spectrum of a slit: as `cube`, without the axis w, or None if nothing tells it."""
    exposure, length = raws[0].exposure, points(raws)
    slits = _table()["slit"]
    if exposure.exp_type == "MIR_LRS-FIXEDSLIT":
        return {"Y": length, "X": slits["MIRI"]}, "rough: as long as the slit"
    if exposure.exp_type != "NRS_FIXEDSLIT" or not length:
        return None
    return {
        "Y": slits.get(exposure.fxd_slit.upper(), slits["NIRSPEC"]),
        "X": length,
    }, "rough: as long as the slit"


def _scale(raw):
    scales = _table()["scale"]
    return scales.get(raw.detector.channel) or scales.get(raw.exposure.instrument, scales["SHORT"])


def _tiles(raws):
    return len({(raw.observation.number, raw.exposure.tile) for raw in raws})


def _spread(raws):
    """Extent (arcsec) of the pointings of a pointing report; None without one."""
    offsets = [raw.exposure.offset for raw in raws]
    if None in offsets:
        return None
    return tuple(max(cells) - min(cells) for cells in zip(*offsets, strict=True))

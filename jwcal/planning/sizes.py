"""Sizes of predicted products, from what they hold."""

import tomllib
from functools import lru_cache

from jwcal.core.packaged import text_of
from jwcal.planning import grids

_BLOCK = 2880
_AS_DETECTOR = "taken as long as the detector along the dispersion"
_ITEM = {"u1": 1, "u2": 2, "u4": 4, "i4": 4, "f4": 4, "f8": 8}


@lru_cache(maxsize=1)
def contents():
    """Table (dict) of what products hold, as in data/planning/products.toml."""
    return tomllib.loads(text_of("data/planning", "products.toml"))


def _padded(count):
    return -(-count // _BLOCK) * _BLOCK


def fits_bytes(suffix, axes, *more):
    """Bytes of a FITS product.

    Parameters
    ----------
    suffix : str
        Suffix of the product, such as "rate".
    axes : dict of str to int
        Length of every axis that its planes and tables have, by the letters of the table.
    *more : str
        Optional planes that it has: names of tables in the entry, such as "image".

    Returns
    -------
    int
    """
    table = contents()
    entry = table[table["same"].get(suffix, suffix)]
    header = table["header"]
    total = entry.get("primary", header["primary"])
    planes = [each for name in ("planes", *more) for each in entry.get(name, {}).values()]
    parts = [
        (header["extension"], _ITEM[kind] * _product(axes, letters))
        for kind, letters in map(str.split, planes)
    ]
    for letters, width, *own in entry.get("tables", {}).values():
        if rows := _product(axes, letters):
            parts.append((*own, width * rows) if own else (header["extension"], width * rows))
    total += header["first"] - header["extension"] if parts else 0
    total += sum(head + _padded(count) for head, count in parts)
    return total + header["extension"] + entry.get("asdf", header["asdf"])


def _product(axes, letters):
    result = 1
    for letter in letters:
        result *= axes.get(letter, 0)
    return result


def frame_axes(raw):
    """Axes of the products of a raw file.

    Parameters
    ----------
    raw : Raw

    Returns
    -------
    dict of str to int
    """
    detector = raw.detector
    return {
        "i": raw.nints,
        "g": raw.ngroups,
        "r": raw.rows,
        "y": detector.rows,
        "x": detector.columns,
        "q": detector.columns // 4,
    }


def exposure_bytes(raw, suffix, flavour=""):
    """Size of a product of one raw file.

    Parameters
    ----------
    raw : Raw
    suffix : str
        Suffix of the product.
    flavour : {"", "image", "slit", "slitless", "cut-outs"}
        What is calibrated.

    Returns
    -------
    (int or None, str)
        Bytes, None if nothing tells them; why they are an estimate or unknown, "" if they are neither.
    """
    made = _common(suffix, [raw])
    if made is not None:
        return made
    axes = frame_axes(raw)
    if suffix in ("cal", "crf", "calints", "crfints") and flavour == "cut-outs":
        return None, "it holds cut-outs of sources, as many and as large as there are"
    if suffix == "i2d":
        grid = {"Y": int(axes["y"] * grids.MARGIN), "X": int(axes["x"] * grids.MARGIN)}
        return fits_bytes(suffix, grid), "the grid of the sky differs a little from that of the detector"
    if suffix in ("x1d", "x1dints"):
        if flavour == "cut-outs":
            return None, "it holds a spectrum of every source"
        axes["w"] = grids.points([raw]) or max(axes["x"], axes["y"])
        return fits_bytes(suffix, axes), _AS_DETECTOR
    more, note = [flavour], ""
    if raw.exposure.instrument == "MIRI":
        more.append("miri")
    elif suffix in ("uncal", "dark") and _zero_frame(raw):
        more.append("zero")
        note = "with a zero frame, which NIRCam sends down beside most exposures with averaged groups"
    return fits_bytes(suffix, axes, *more), note


def _zero_frame(raw):
    patterns = contents()["zero_frame"]["patterns"]
    return raw.exposure.instrument == "NIRCAM" and raw.readpatt in patterns


def _common(suffix, raws, part=None):
    """Size of a product whose grid is not that of the detector, or that has none; None for others."""
    reason = contents()["unknown"].get(suffix)
    if reason:
        return None, reason
    if suffix in contents()["lines"]:
        lines = 20 + sum(raw.nints for raw in raws)
        return lines * contents()["lines"][suffix], "rough: text with a line for every integration"
    if suffix == "s3d":
        grid, why = grids.cube(raws, part)
        return fits_bytes(suffix, grid), why
    if suffix == "s2d":
        grid = grids.slit(raws)
        if grid is None:
            return None, "it holds rectified cut-outs, as many and as large as there are"
        return fits_bytes(suffix, {**grid[0], "m": len(raws)}), grid[1]
    return None


def combined_bytes(raws, suffix, part=None):
    """Size of a product that combines exposures.

    Parameters
    ----------
    raws : list of Raw
        Its science exposures.
    suffix : str
        Suffix of the product.
    part : (str, str), optional
        Channel and band, or grating and filter, of a product of a part of them.

    Returns
    -------
    (int or None, str)
        As from `exposure_bytes`.
    """
    made = _common(suffix, raws, part)
    if made is not None:
        return made
    if suffix in ("i2d", "segm"):
        grid, reason = grids.image(raws)
        return fits_bytes(suffix, {**grid, "m": len(raws)}), reason
    axes = frame_axes(raws[0])
    if suffix in ("x1d", "x1dints", "c1d"):
        axes["i"] = sum(raw.nints for raw in raws)
        axes["w"] = (
            grids.cube(raws, part)[0]["w"] if part else grids.points(raws) or max(axes["x"], axes["y"])
        )
        return fits_bytes(suffix, axes), "" if part else _AS_DETECTOR
    return fits_bytes(suffix, axes), ""


def stack_bytes(raw, suffix, frames):
    """Bytes (int) of a stack of `frames` images like those of a raw file."""
    return fits_bytes(suffix, {**frame_axes(raw), "p": frames})

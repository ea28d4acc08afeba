"""Sizes of predicted products, from what they hold."""

import tomllib
from functools import lru_cache

from jwcal.core.packaged import text_of

_BLOCK = 2880
# A combined image has a few more rows and columns than a frame, which is not quite square on the sky.
_MARGIN = 1.01
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
    data = [_ITEM[kind] * _product(axes, letters) for kind, letters in map(str.split, planes)]
    data += [
        width * _product(axes, letters)
        for letters, width in entry.get("tables", {}).values()
        if _product(axes, letters)
    ]
    for index, count in enumerate(data):
        total += header["extension" if index else "first"] + _padded(count)
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
    reason = contents()["unknown"].get(suffix)
    if reason:
        return None, reason
    axes = frame_axes(raw)
    if suffix in ("cal", "crf", "calints", "crfints") and flavour == "cut-outs":
        return None, "it holds cut-outs of sources, as many and as large as there are"
    if suffix == "i2d":
        grid = {"Y": int(axes["y"] * _MARGIN), "X": int(axes["x"] * _MARGIN)}
        return fits_bytes(suffix, grid), "the grid of the sky differs a little from that of the detector"
    if suffix in ("x1d", "x1dints"):
        if flavour == "cut-outs":
            return None, "it holds a spectrum of every source"
        axes["w"] = max(axes["x"], axes["y"])
        return fits_bytes(suffix, axes), "taken as long as the detector along the dispersion"
    more = ["miri"] if raw.exposure.instrument == "MIRI" else []
    return fits_bytes(suffix, axes, *more, flavour), ""


def combined_bytes(raws, suffix):
    """Size of a product that combines exposures.

    Parameters
    ----------
    raws : list of Raw
        Its science exposures.
    suffix : str
        Suffix of the product.

    Returns
    -------
    (int or None, str)
        As from `exposure_bytes`.
    """
    reason = contents()["unknown"].get(suffix)
    if reason:
        return None, reason
    if suffix in ("i2d", "segm"):
        grid, reason = _grid(raws)
        return fits_bytes(suffix, {**grid, "m": len(raws)}), reason
    axes = frame_axes(raws[0])
    if suffix in ("x1d", "x1dints", "c1d"):
        axes["i"] = sum(raw.nints for raw in raws)
        axes["w"] = max(axes["x"], axes["y"])
        return fits_bytes(suffix, axes), "taken as long as the detector along the dispersion"
    return fits_bytes(suffix, axes), ""


def stack_bytes(raw, suffix, frames):
    """Bytes (int) of a stack of `frames` images like those of a raw file."""
    return fits_bytes(suffix, {**frame_axes(raw), "p": frames})


def _grid(raws):
    """Grid of a combined image, and why it is an estimate."""
    table = contents()
    fields = table["field"]
    tiles = len({(raw.observation.number, raw.exposure.tile) for raw in raws})
    detectors = {raw.detector.name: raw.detector for raw in raws}
    first = raws[0].detector
    rows, columns = first.rows * _MARGIN, first.columns * _MARGIN
    if len(detectors) > 1 and all(name in fields for name in detectors):
        boxes = [fields[name] for name in detectors]
        scale = table["scale"].get(first.channel, table["scale"]["SHORT"])
        columns = (max(v2 + w for v2, _, w, _ in boxes) - min(v2 - w for v2, _, w, _ in boxes)) / scale
        rows = (max(v3 + h for _, v3, _, h in boxes) - min(v3 - h for _, v3, _, h in boxes)) / scale
    if tiles > 1:
        return {"Y": int(rows * tiles), "X": int(columns)}, "tiles taken side by side, dithers not counted"
    return {"Y": int(rows), "X": int(columns)}, "at least: dithers make the field larger"

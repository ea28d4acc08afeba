"""Quality of products: the table they carry, judged, in text and as a page with pictures."""

import html
import math
from pathlib import Path

import numpy as np

from jwcal.analysis import preview
from jwcal.core import quality
from jwcal.core.dq import DQ
from jwcal.core.errors import InputError, JwcalError, UsageError
from jwcal.core.suggest import instead
from jwcal.core.toml_file import read_user_toml

_PICTURE = 300
# Reasons shown in the map of flags, the most telling last, with their colours.
_REASONS = {
    "DO_NOT_USE": (90, 90, 90),
    "REFERENCE_PIXEL": (60, 70, 120),
    "HOT": (180, 120, 60),
    "DEAD": (120, 60, 60),
    "NO_GAIN_VALUE": (150, 90, 170),
    "NO_LIN_CORR": (150, 90, 170),
    "JUMP_DET": (80, 160, 90),
    "PERSISTENCE": (70, 170, 190),
    "CHARGELOSS": (230, 180, 60),
    "SATURATED": (220, 60, 50),
}
_INK = {"ok": "#1a7f37", "warn": "#9a6700", "fail": "#cf222e", "": "#6e7781"}


def assess(path, limits=None):
    """Judge a product.

    Parameters
    ----------
    path : str
        A product that carries a quality table, or any slope product, of which it is made now.
    limits : dict or None
        Limits by metric that replace the declared ones; see `read_limits`.

    Returns
    -------
    dict
        JSON-ready: file, product, state ("ok", "warn" or "fail") and the metrics, each with value,
        unit, state, limits and meaning.

    Raises
    ------
    InputError
        If it is not a product with slopes.
    """
    from jwcal.core.fits import open_fits

    with open_fits(path) as fits:
        return _assess(fits, limits)


def _assess(fits, limits):
    from jwcal.core.exposure import exposure_of

    exposure = exposure_of(fits)
    if quality.TABLE in fits and fits[quality.TABLE].kind == "table":
        values = _values(fits[quality.TABLE].table(), fits.label)
    else:
        values = _values(_measured(exposure), fits.label)
    rules = {name: dict(rule) for name, rule in quality.metrics().items()}
    for name, change in (limits or {}).items():
        rules[name] |= change
    found = []
    for row in quality.judged(values, rules):
        name = row["METRIC"].decode()
        value = float(row["VALUE"])
        found.append({
            "metric": name,
            "value": None if math.isnan(value) else value,
            "unit": row["UNIT"].decode(),
            "state": row["STATUS"].decode() or None,
            "warn": [_finite(x) for x in rules[name]["warn"]],
            "fail": [_finite(x) for x in rules[name]["fail"]],
            "meaning": row["MEANING"].decode(),
        })  # fmt: skip
    states = [f["state"] for f in found if f["state"]]
    worst = max(states, key=quality.STATES.index, default="ok")
    return {"file": fits.label, "product": exposure.product, "state": worst, "metrics": found}


def _finite(limit):
    return None if math.isinf(limit) else float(limit)


def _values(rows, label):
    if not {"METRIC", "VALUE"} <= set(rows.dtype.names or ()):
        raise InputError(f"{label}: the {quality.TABLE} table has no columns METRIC and VALUE")
    return {bytes(r["METRIC"]).decode("latin-1").rstrip("\0 "): float(r["VALUE"]) for r in rows}


def _measured(exposure):
    """Rows of the quality table of a product that does not carry one."""
    from jwcal.core import provenance
    from jwcal.core.exposure import products

    if not products()[exposure.product].get("quality"):
        raise InputError(
            f"{exposure.label}: a {exposure.product} has no quality table; give a product with slopes"
        )
    meter = quality.Meter(exposure.meta, provenance.from_table(exposure.table(provenance.TABLE)))
    ny, nx = exposure.frame
    for y in range(0, ny, 256):
        box = (y, min(y + 256, ny), 0, nx)
        meter.add(box, *(exposure.store.read(name, box) for name in quality.PLANES))
    return meter.rows()


def read_limits(path):
    """Read limits from a TOML file with one table per metric.

    Parameters
    ----------
    path : str
        Tables like ``[saturated]`` with ``warn = [least, most]`` and ``fail = [least, most]``.

    Returns
    -------
    dict of str to dict

    Raises
    ------
    UsageError
        If it cannot be read, names an unknown metric, or holds something else.
    """
    tree = read_user_toml(path, "a file of limits")
    for name, table in tree.items():
        if name not in quality.metrics():
            raise UsageError(f"{path}: no metric {name!r} ({instead(name, quality.metrics())})")
        if not isinstance(table, dict) or not table or not all(_is_range(k, v) for k, v in table.items()):
            raise UsageError(f"{path}: [{name}] needs warn = [LEAST, MOST] or fail = [LEAST, MOST]")
    return tree


def _is_range(key, value):
    numbers = isinstance(value, list) and len(value) == 2 and all(type(x) in (int, float) for x in value)
    return key in ("warn", "fail") and numbers and value[0] <= value[1]


def render(found):
    """Write what `assess` returns as text."""
    lines = [f"{found['file']}: {found['state']}"]
    for row in found["metrics"]:
        value = "-" if row["value"] is None else f"{row['value']:.4g}"
        name = row["metric"] + (f" [{row['unit']}]" if row["unit"] else "")
        lines.append(
            f"  {row['state'] or '-':4s}  {name:32s} {value:>10s}  {limits_text(row):22s} {row['meaning']}"
        )
    return "\n".join(lines) + "\n"


def limits_text(row):
    """Write the range outside of which a metric is a warning."""
    least, most = row["warn"]
    if least is None:
        return "" if most is None else f"at most {most:g}"
    return f"at least {least:g}" if most is None else f"{least:g} to {most:g}"


def page(paths, limits=None):
    """Page of several products with pictures.

    Parameters
    ----------
    paths : sequence of str
        Products.
    limits : dict or None
        See `assess`.

    Returns
    -------
    text : str
        HTML that needs no other file.
    found : list of (str, dict or JwcalError)
        Path and what `assess` gave, or why it could not.
    """
    from jwcal.core.fits import open_fits

    parts, found = [], []
    for number, path in enumerate(paths):
        try:
            with open_fits(path) as fits:
                result = _assess(fits, limits)
                section = _section(fits, result)
                found.append((path, result))
        except JwcalError as exc:
            section = f"<h2>{html.escape(str(path))}</h2><p class=fail>{html.escape(str(exc))}</p>"
            found.append((path, exc))
        parts.append(f'<section id="product{number}">{section}</section>')
    style = (
        "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;padding:0 1em;max-width:1280px;color:#1f2328}"
        "h1{font-size:22px}h2{font-size:16px;border-bottom:1px solid #d0d7de;padding-bottom:4px}"
        "table{border-collapse:collapse;margin:8px 0}td,th{padding:2px 10px 2px 0;text-align:left}"
        "td.number{text-align:right;font-variant-numeric:tabular-nums}figure{display:inline-block;vertical-align:top;margin:0 12px 8px 0}"
        "figcaption{font-size:12px;color:#57606a;max-width:300px}img,svg{border:1px solid #d0d7de}small{color:#57606a}"
        + "".join(f".{state}{{color:{ink};font-weight:600}}" for state, ink in _INK.items() if state)
    )
    body = "\n".join([_summary(found), *parts] if len(found) > 1 else parts)
    text = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Quality of products</title>'
        f"<style>{style}</style></head><body><h1>Quality of products</h1>\n{body}\n</body></html>\n"
    )
    return text, found


def _summary(found):
    """Table of all products, the worst first, with what is not as it should be."""
    rows = []
    for number, (path, result) in enumerate(found):
        state = "fail" if isinstance(result, JwcalError) else result["state"]
        why = [
            f"{row['metric']} {row['value']:.4g} ({limits_text(row)})"
            for row in ([] if isinstance(result, JwcalError) else result["metrics"])
            if row["state"] in ("fail", "warn")
        ]
        text = str(result) if isinstance(result, JwcalError) else ", ".join(why)
        row = (
            f'<tr><td class={state}>{state}</td><td><a href="#product{number}">{html.escape(Path(path).name)}</a>'
            f"</td><td><small>{html.escape(text)}</small></td></tr>"
        )
        rows.append((("", "ok", "warn", "fail").index(state), row))
    rows.sort(key=lambda pair: pair[0], reverse=True)
    return f"<table>{''.join(row for _, row in rows)}</table>"


def _section(fits, result):
    header = fits.primary.header
    words = [str(header.get(k) or "") for k in ("INSTRUME", "DETECTOR", "EXP_TYPE", "SUBARRAY", "DATE-OBS")]
    rows = []
    for row in result["metrics"]:
        value = "" if row["value"] is None else f"{row['value']:.4g}"
        rows.append(
            f"<tr><td class={row['state'] or 'none'}>{row['state'] or '-'}</td><td>{row['metric']}</td>"
            f"<td class=number>{value}</td><td><small>{html.escape(row['unit'])}</small></td>"
            f"<td>{limits_text(row)}</td><td><small>{html.escape(row['meaning'])}</small></td></tr>"
        )
    figures = []
    for name in ("SCI", "ERR"):
        image, bad, what = preview.choose_frame(fits, name)
        rgb, low, high = preview.picture(image, bad, _PICTURE, _PICTURE, "asinh", "viridis")
        figures.append(_figure(rgb, f"{what}, {low:.4g} to {high:.4g}"))
    flags, shown = _flag_map(fits)
    legend = " ".join(
        f'<span style="color:rgb{_REASONS[name]}">&#9632;</span>&nbsp;{name}'
        for name in shown
        if name in _REASONS
    )
    figures.append(_figure(flags, "flags", legend or "no flags"))
    figures.append(_noise_figure(fits))
    return (
        f"<h2>{html.escape(Path(result['file']).name)} "
        f"<span class={result['state']}>{result['state']}</span></h2>"
        f"<p>{html.escape(' '.join(w for w in words if w))}</p>"
        f"{''.join(figures)}<table><tr><th></th><th>metric</th><th>value</th><th></th><th>good</th><th></th></tr>"
        f"{''.join(rows)}</table>"
    )


def _figure(rgb, caption, legend=None):
    import base64

    from jwcal.analysis.png import encode_png

    data = base64.b64encode(encode_png(rgb)).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" width="{rgb.shape[1]}" height="{rgb.shape[0]}" '
        f'alt="{html.escape(caption)}"><figcaption>{legend or html.escape(caption)}</figcaption></figure>'
    )


def _flag_map(fits):
    """Picture of the flags of the first frame, a colour for each reason, and the reasons seen."""
    hdu = fits["DQ"]
    dq = hdu.read(index=(0,) * (len(hdu.shape) - 2) or None)
    step = max(-(-max(dq.shape) // _PICTURE), 1)
    rows, columns = (-(-n // step) for n in dq.shape)
    full = np.zeros((rows * step, columns * step), np.uint32)
    full[: dq.shape[0], : dq.shape[1]] = dq
    any_of = np.bitwise_or.reduce(full.reshape(rows, step, columns, step), axis=(1, 3))
    rgb = np.full((rows, columns, 3), 235, np.uint8)
    shown = []
    for name, ink in _REASONS.items():
        has = (any_of & DQ[name]) != 0
        if has.any():
            rgb[has] = ink
            shown.append(name)
    repeat = max(_PICTURE // max(rgb.shape[:2]), 1)
    return np.ascontiguousarray(rgb[::-1].repeat(repeat, 0).repeat(repeat, 1)), shown


def _noise_figure(fits):
    """Histogram of neighbour differences in sigma against the normal distribution, as SVG."""
    sci, bad, _ = preview.choose_frame(fits, "SCI")
    err, _, _ = preview.choose_frame(fits, "ERR")
    even = sci.shape[1] // 2 * 2
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (sci[:, :even:2] - sci[:, 1:even:2]) / np.hypot(err[:, :even:2], err[:, 1:even:2])
    ratio = ratio[np.isfinite(ratio) & ~bad[:, :even:2] & ~bad[:, 1:even:2]]
    edges = np.linspace(-5, 5, 81)
    counts, _ = np.histogram(ratio, edges)
    middle = (edges[1:] + edges[:-1]) / 2
    normal = np.exp(-(middle**2) / 2) * ratio.size * (edges[1] - edges[0]) / math.sqrt(2 * math.pi)
    top = max(float(counts.max()), float(normal.max()), 1.0)
    width, height = _PICTURE, _PICTURE

    def path(values):
        points = [
            f"{(x + 5) / 10 * width:.1f},{height - 10 - v / top * (height - 20):.1f}"
            for x, v in zip(middle, values, strict=True)
        ]
        return "M" + " L".join(points)

    return (
        f'<figure><svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">'
        f'<path d="{path(counts)}" fill="none" stroke="#0969da" stroke-width="1.5"/>'
        f'<path d="{path(normal)}" fill="none" stroke="#8c959f" stroke-dasharray="4 3"/></svg>'
        f"<figcaption>differences of neighbours in sigma (-5 to 5), dashed: normal</figcaption></figure>"
    )

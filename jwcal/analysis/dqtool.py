"""Flags for people: counts, names of a value, everything about one pixel."""

from jwcal.analysis import planes
from jwcal.core import dq
from jwcal.core.errors import InputError, UsageError


def flag_table():
    """All flags: list of dicts with ``bit``, ``value``, ``name``, ``meaning``."""
    return [
        {"bit": value.bit_length() - 1, "value": value, "name": name, "meaning": dq.MEANING[name]}
        for name, value in dq.DQ.items()
        if name in dq.MEANING
    ]


def parse_value(text):
    """Value of a flag expression.

    Parameters
    ----------
    text : str
        A number (``5``, ``0x5``, ``0b101``) or flag names joined by ``+`` or ``|``.

    Returns
    -------
    int

    Raises
    ------
    UsageError
        If it is neither, or does not fit into 32 bits.
    """
    try:
        value = int(text, 0)
    except ValueError:
        value = 0
        for word in text.upper().replace("|", "+").split("+"):
            if word.strip() not in dq.DQ:
                raise UsageError(
                    f"{text!r} is neither a number nor flag names joined by + (`jwcal dq --list` has the names)"
                ) from None
            value |= dq.DQ[word.strip()]
    if not 0 <= value < 1 << 32:
        raise UsageError(f"{text}: flags have 32 bits")
    return value


def explain(value):
    """Return the flags set in a value: dict with ``value`` and ``flags`` (see `flag_table`)."""
    return {"value": value, "flags": [f for f in flag_table() if value & f["value"]]}


def parse_pixel(text):
    """Pixel "X,Y" as two 1-based integers, or None if the text is not of that form."""
    left, comma, right = text.partition(",")
    if not comma:
        return None
    try:
        return int(left), int(right)
    except ValueError:
        raise UsageError(f"{text!r}: a pixel is X,Y in whole numbers, counted from 1") from None


def count(fits, plane=None):
    """Flag counts of a file.

    Parameters
    ----------
    fits : open FITS file
        What to count in.
    plane : str or None
        Extension; None counts in all planes of flags.

    Returns
    -------
    dict of str to dict
        See `jwcal.analysis.planes.count_flags`, by extension.

    Raises
    ------
    InputError
        If there is no such plane.
    """
    chosen = {}
    for title, hdu in zip(planes.titles(fits), fits.hdus, strict=True):
        if plane is None and planes.is_flags(hdu):
            chosen[title] = hdu
        elif plane is not None and plane.upper() in (hdu.name, title):
            if not planes.is_image(hdu) or hdu.dtype.kind not in "ui":
                raise InputError(f"{fits.label}: {title} is not an image of flags")
            chosen[title] = hdu
    if not chosen:
        known = ", ".join(h.name for h in fits.hdus if planes.is_flags(h)) or "none"
        raise InputError(
            f"{fits.label}: no flags in {plane.upper() if plane else 'this file'} (planes of flags: {known})"
        )
    return {t: planes.count_flags(h, planes.flag_translation(fits, h)) for t, h in chosen.items()}


def pixel(fits, x, y):
    """Everything a product says about one pixel.

    Parameters
    ----------
    fits : open FITS file
        A product with planes of one frame size.
    x, y : int
        Column and row in the frame, counted from 1.

    Returns
    -------
    dict
        ``x``, ``y``, ``detector`` (x and y on the detector, if the header tells),
        ``flags`` (by plane of pixel flags), ``values`` (by plane: numbers per
        integration), ``groups`` (per integration a list of value and flags per group).

    Raises
    ------
    InputError
        If there is no such pixel.
    """
    frame = planes.choose_plane(fits, fallback=("SCI", "DQ", "PIXELDQ")).shape[-2:]
    if len(frame) < 2:
        raise InputError(f"{fits.label}: holds no image of pixels")
    if not (1 <= x <= frame[1] and 1 <= y <= frame[0]):
        raise InputError(f"{fits.label}: pixel {x},{y} is outside of 1..{frame[1]},1..{frame[0]}")
    box = (y - 1, y, x - 1, x)
    out = {"x": x, "y": y, "detector": _on_detector(fits, x, y), "flags": {}, "values": {}, "groups": []}
    for title, hdu in zip(planes.titles(fits), fits.hdus, strict=True):
        if not planes.is_image(hdu) or hdu.shape[-2:] != frame:
            continue
        if len(hdu.shape) == 4:
            continue
        column = hdu.read(box=box).reshape(-1)
        if planes.is_flags(hdu):
            flags = planes.standard_flags(column, planes.flag_translation(fits, hdu))
            out["flags"][title] = [_flags(v) for v in flags.tolist()]
        else:
            out["values"][title] = [_number(v) for v in column.tolist()]
    sci, group = fits.get("SCI"), fits.get("GROUPDQ")
    if sci is not None and len(sci.shape) == 4:
        values = sci.read(box=box)[..., 0, 0].tolist()
        flags = None
        if group is not None and group.shape == sci.shape:
            flags = group.read(box=box)[..., 0, 0].tolist()
        for i, ramp in enumerate(values):
            out["groups"].append(
                [
                    {"value": _number(v), **({"flags": _flags(flags[i][g])} if flags else {})}
                    for g, v in enumerate(ramp)
                ]
            )
    return out


def _flags(value):
    return {"value": value, "names": dq.names(value)}


def _number(value):
    return value if isinstance(value, int) or value - value == 0 else None


def _on_detector(fits, x, y):
    primary = fits.primary.header
    start = [planes.keyword(primary, k) for k in ("SUBSTRT1", "SUBSTRT2")]
    if not all(isinstance(s, int) and not isinstance(s, bool) for s in start):
        return None
    return [x + start[0] - 1, y + start[1] - 1]


def render_value(explained):
    """Explanation of a value as text (see `explain`)."""
    value = explained["value"]
    lines = [
        f"{value} = 0x{value:X}: {' + '.join(f['name'] for f in explained['flags']) or 'no flag: a good pixel'}"
    ]
    lines += [_flag_line(f) for f in explained["flags"]]
    return "\n".join(lines) + "\n"


def render_table(flags):
    """All flags as text (see `flag_table`)."""
    return "\n".join(_flag_line(f) for f in flags) + "\n"


def _flag_line(flag):
    return f"  {flag['bit']:>2} {flag['value']:>10}  {flag['name']:<16} {flag['meaning']}"


def render_counts(label, counts):
    """Render counts as text (see `count`)."""
    lines = []
    for title, flags in counts.items():
        total = max(flags["pixels"], 1)
        lines.append(f"{label}: {title}, {flags['pixels']} values")
        rows = [("no flag", flags["good"]), *flags["flags"].items()]
        width = len(str(max(n for _, n in rows)))
        lines += [
            f"  {name:<16} {n:>{width}} {n / total:8.3%}  {dq.MEANING.get(name, '')}".rstrip()
            for name, n in rows
        ]
    return "\n".join(lines) + "\n"


def render_pixel(label, facts):
    """Facts about a pixel as text (see `pixel`)."""
    where = f"{label}: pixel {facts['x']},{facts['y']}"
    if facts["detector"] and facts["detector"] != [facts["x"], facts["y"]]:
        where += f" (detector {facts['detector'][0]},{facts['detector'][1]})"
    lines = [where]
    for title, values in facts["flags"].items():
        for i, flags in enumerate(values):
            name = title if len(values) == 1 else f"{title}[{i + 1}]"
            lines.append(f"  {name:<14} {_flags_text(flags)}")
    for title, values in facts["values"].items():
        for i, value in enumerate(values):
            name = title if len(values) == 1 else f"{title}[{i + 1}]"
            lines.append(f"  {name:<14} {_number_text(value)}")
    for i, ramp in enumerate(facts["groups"]):
        lines.append(f"  integration {i + 1}")
        for g, group in enumerate(ramp):
            text = f"    group {g + 1:>3} {_number_text(group['value']):>12}"
            if g and None not in (group["value"], ramp[g - 1]["value"]):
                text += f" {group['value'] - ramp[g - 1]['value']:>+12.6g}"
            else:
                text += f" {'':>12}"
            if "flags" in group:
                text += f"  {_flags_text(group['flags'])}"
            lines.append(text.rstrip())
    return "\n".join(lines) + "\n"


def _flags_text(flags):
    return f"{flags['value']} {' + '.join(flags['names'])}".rstrip()


def _number_text(value):
    return "not finite" if value is None else f"{value:.6g}"

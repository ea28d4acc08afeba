"""How well a calibrated product recovers the truth of a simulated exposure."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from jwcal.core.dq import DQ, names
from jwcal.core.errors import DataError, InputError
from jwcal.simulate import score_effects
from jwcal.simulate.score_guider import is_guider, line_of, score_guider

FLUX_QUANTILES = (0, 0.5, 0.9, 0.99, 0.999, 1)
SNR_EDGES = (0, 3, 4, 5, 6, 8, 12, 30, np.inf)
HISTOGRAM_EDGES = np.linspace(-5, 5, 51)
_DNU, _SAT, _JUMP = DQ["DO_NOT_USE"], DQ["SATURATED"], DQ["JUMP_DET"]


@dataclass
class Truth:
    """Truth of an exposure, or of the integrations a product covers.

    Attributes
    ----------
    rate : numpy.ndarray
        float32 (ny, nx), DN/s.
    good : numpy.ndarray
        bool (ny, nx): no defect, no missing calibration.
    saturated : numpy.ndarray
        int16 (nint, ny, nx): first clipped group, -1 if none.
    hits : numpy.ndarray
        Structured, see `jwcal.simulate.ramp.Integration`, INT counted from 0 here.
    snr : numpy.ndarray
        Amplitude of every hit in units of the noise of a difference of two groups.
    visible : numpy.ndarray
        bool: hits between two usable groups of a good pixel, before saturation.
    ngroups : int
    integrations : slice or None
        Which of the file's integrations these are.
    gain, read_noise : numpy.ndarray or None
        float32 (ny, nx): electrons per DN; electrons, of one frame.
    """

    rate: np.ndarray
    good: np.ndarray
    saturated: np.ndarray
    hits: np.ndarray
    snr: np.ndarray
    visible: np.ndarray
    ngroups: int
    integrations: Any = None
    gain: Any = None
    read_noise: Any = None

    @property
    def hit(self):
        """Pixels hit, bool (nint, ny, nx)."""
        out = np.zeros(self.saturated.shape, bool)
        out[self.hits["INT"], self.hits["Y"], self.hits["X"]] = True
        return out


def read_truth(path, first=None, last=None):
    """Read a truth file.

    Parameters
    ----------
    path : str
    first, last : int, optional
        1-based integrations of the exposure to keep; all by default.

    Returns
    -------
    Truth

    Raises
    ------
    InputError
        If the file is no truth file or does not hold these integrations.
    """
    from jwcal.core.fits import open_fits

    with open_fits(str(path)) as f:
        for name in ("RATE", "BAD", "SATGRP", "GAIN", "READ_E", "CRS"):
            if name not in f:
                raise InputError(
                    f"{path}: extension {name} is missing; is this the truth.fits of `jwcal sim expose`?"
                )
        header = f.primary.header
        rate, bad, saturated = (f[name].read() for name in ("RATE", "BAD", "SATGRP"))
        gain, read_noise, hits = f["GAIN"].read(), f["READ_E"].read(), f["CRS"].table()
        start, ngroups = header.get("INTSTART", 1), header["NGROUPS"]
        skip_first, skip, skip_last = (header.get(key, 0) for key in ("SKIP1", "SKIP", "SKIPLAST"))
        nframes, tgroup = max(header["NFRAMES"], 1), header["TGROUP"]
    a = 0 if first is None else first - start
    b = saturated.shape[0] if last is None else last - start + 1
    if not 0 <= a < b <= saturated.shape[0]:
        raise InputError(
            f"{path}: holds integrations {start} to {start + saturated.shape[0] - 1}, "
            f"the product {first} to {last}"
        )
    hits = hits[(hits["INT"] >= a) & (hits["INT"] < b)].copy()
    earliest = np.where(hits["INT"] == 0, skip_first, skip)
    hits["INT"] -= a
    saturated = saturated[a:b]
    y, x = hits["Y"], hits["X"]
    noise = np.sqrt(np.maximum(rate[y, x] * gain[y, x] * tgroup, 0) + 2 * read_noise[y, x] ** 2 / nframes)
    clipped = saturated[hits["INT"], y, x]
    good = bad == 0
    group = hits["GROUP"]
    visible = (
        (group > earliest)
        & (group <= ngroups - 1 - skip_last)
        & ((clipped < 0) | (group < clipped))
        & good[y, x]
    )
    return Truth(
        rate, good, saturated, hits, hits["AMP_E"] / noise, visible, ngroups, slice(a, b), gain, read_noise
    )


def pulls(pull):
    """Moments of normalised residuals.

    Parameters
    ----------
    pull : numpy.ndarray
        Any shape; NaN is left out.

    Returns
    -------
    dict
        ``n``; if not zero also ``mean``, ``std``, ``median``, ``sigma68``, ``beyond5`` and
        ``histogram`` (counts between `HISTOGRAM_EDGES`).
    """
    pull = pull[np.isfinite(pull)]
    if pull.size == 0:
        return {"n": 0}
    low, middle, high = np.percentile(pull, [15.8655, 50, 84.1345])
    return {
        "n": int(pull.size),
        "mean": float(pull.mean()),
        "std": float(pull.std()),
        "median": float(middle),
        "sigma68": float((high - low) / 2),
        "beyond5": float((np.abs(pull) >= 5).mean()),
        "histogram": np.histogram(pull, HISTOGRAM_EDGES)[0].tolist(),
    }


def flux_bins(rate, truth, error, use):
    """Bias, scatter and pulls by true flux.

    Parameters
    ----------
    rate, truth, error : numpy.ndarray
        DN/s, same shape.
    use : numpy.ndarray
        bool: pixels to take.

    Returns
    -------
    list of dict
        Bins between `FLUX_QUANTILES` of the true flux.
    """
    flux = truth[use]
    if flux.size == 0:
        return []
    residual, sigma = (rate[use] - flux).astype(float), error[use]
    edges = np.quantile(flux, FLUX_QUANTILES)
    rows = []
    for k, (low, high) in enumerate(pairwise(edges)):
        inside = (flux >= low) & ((flux < high) if k < len(edges) - 2 else (flux <= high))
        if inside.sum() < 2:
            continue
        mean = float(flux[inside].mean())
        scale = mean if mean > 0 else np.nan
        moments = pulls(residual[inside] / sigma[inside])
        rows.append(
            {
                "from": float(low),
                "to": float(high),
                "rate": mean,
                "n": int(inside.sum()),
                "bias": float(residual[inside].mean() / scale),
                "bias_error": float(residual[inside].std() / np.sqrt(inside.sum()) / scale),
                "scatter": float(residual[inside].std()),
                "error": float(np.sqrt((sigma[inside] ** 2.0).mean())),
                "pull_mean": moments["mean"],
                "pull_std": moments["std"],
                "pull_sigma68": moments["sigma68"],
            }
        )
    return rows


def _grow(mask):
    """Mask and its eight neighbours, over the last two axes."""
    out = mask.copy()
    out[..., 1:, :] |= mask[..., :-1, :]
    out[..., :-1, :] |= mask[..., 1:, :]
    rows = out.copy()
    out[..., 1:] |= rows[..., :-1]
    out[..., :-1] |= rows[..., 1:]
    return out


def _completeness(truth, select, found):
    rows = []
    for low, high in pairwise(SNR_EDGES):
        inside = select & (truth.snr >= low) & (truth.snr < high)
        if inside.any():
            rows.append(
                {
                    "from": low,
                    "to": high if np.isfinite(high) else None,
                    "n": int(inside.sum()),
                    "found": float(found[inside].mean()),
                }
            )
    strong = select & (truth.snr >= 5)
    return {
        "by_snr": rows,
        "over5": float(found[strong].mean()) if strong.any() else None,
        "n": int(select.sum()),
    }


def _jumps_of_integrations(truth, dq):
    """Cosmic rays from JUMP_DET of whole integrations, dq (nint, ny, nx)."""
    flagged = (dq & _JUMP) != 0
    hits = truth.hits
    where = hits["INT"], hits["Y"], hits["X"]
    usable = truth.good & ((dq & _DNU) == 0) & (truth.saturated < 0)
    hit = truth.hit
    out = _completeness(truth, truth.visible & usable[where], flagged[where])
    clean, away = usable & ~hit, usable & ~_grow(hit)
    out["false_rate"] = float(flagged[clean].mean()) if clean.any() else None
    out["false_rate_away"] = float(flagged[away].mean()) if away.any() else None
    return out


def _jumps_of_groups(truth, dq):
    """Cosmic rays from group flags, dq (nint, ngroup, ny, nx)."""
    flagged = (dq & _JUMP) != 0
    hits = truth.hits
    i, g, y, x = (hits[name] for name in ("INT", "GROUP", "Y", "X"))
    partial = hits["FRAC"] < 0.999
    after = np.minimum(g + 1, truth.ngroups - 1)
    found = flagged[i, g, y, x] | (partial & flagged[i, after, y, x])
    really = np.zeros(flagged.shape, bool)
    really[i, g, y, x] = True
    really[i[partial], after[partial], y[partial], x[partial]] = True
    usable = ((dq & (_DNU | _SAT)) == 0) & truth.good
    usable[:, 0] = False
    out = _completeness(truth, truth.visible & usable[i, g, y, x], found)
    clean, away = usable & ~really, usable & ~_grow(really)
    out["false_rate"] = float(flagged[clean].mean()) if clean.any() else None
    out["false_rate_away"] = float(flagged[away].mean()) if away.any() else None
    return out


def flag_counts(dq):
    """Count the pixels with each flag.

    Parameters
    ----------
    dq : numpy.ndarray
        Unsigned integer, any shape.

    Returns
    -------
    dict
        Flag name to count, rising bits, flags that occur.
    """
    present = int(np.bitwise_or.reduce(dq, axis=None)) if dq.size else 0
    return {name: int(((dq & DQ[name]) != 0).sum()) for name in names(present)}


def score_rates(rate, error, dq, truth):
    """Score count rates.

    Parameters
    ----------
    rate, error : numpy.ndarray
        float32 (ny, nx) or (nint, ny, nx), DN/s.
    dq : numpy.ndarray
        uint32, same shape.
    truth : Truth

    Returns
    -------
    dict
        ``pixels``, ``flux`` (list of bins of pixels neither hit nor saturated), ``pulls``,
        ``saturation``, ``jumps`` and ``flags``; every value is a plain Python one.

    Raises
    ------
    DataError
        If the shapes do not agree with the truth.
    """
    combined = rate.ndim == 2
    expected = truth.rate.shape if combined else truth.saturated.shape
    if rate.shape != expected:
        raise DataError(f"the product has the shape {rate.shape}, the truth {expected}")
    hit = truth.hit.any(axis=0) if combined else truth.hit
    clipped = (truth.saturated >= 0).any(axis=0) if combined else truth.saturated >= 0
    good = np.broadcast_to(truth.good, rate.shape)
    flux = np.broadcast_to(truth.rate, rate.shape)
    finite = np.isfinite(rate)
    with np.errstate(invalid="ignore"):
        use = good & ((dq & _DNU) == 0) & finite & (error > 0)
    pull = np.full(rate.shape, np.nan, np.float32)
    np.divide(rate - flux, error, out=pull, where=use)
    marked = (dq & _SAT) != 0
    clean = use & ~hit & ~clipped
    out = {
        "pixels": {
            "all": int(rate.size),
            "good": int(good.sum()),
            "used": int(use.sum()),
            "good_rejected": int((good & ~use).sum()),
            "nan_not_flagged": int((~finite & ((dq & _DNU) == 0)).sum()),
        },
        "flux": flux_bins(rate, flux, error, clean),
        "pulls": {
            "clean": pulls(pull[clean]),
            "hit": pulls(pull[use & hit & ~clipped]),
            "saturated": pulls(pull[use & clipped]),
        },
        "saturation": {
            "clipped": int((clipped & good).sum()),
            "flagged": int((clipped & good & marked).sum()),
            "flagged_not_clipped": int((~clipped & good & marked).sum()),
        },
        "flags": flag_counts(dq),
    }
    if not combined:
        out["jumps"] = _jumps_of_integrations(truth, dq)
    elif truth.saturated.shape[0] == 1:
        out["jumps"] = _jumps_of_integrations(truth, dq[None])
    return out


def score_ramp(group_dq, truth):
    """Score the flags of a ramp.

    Parameters
    ----------
    group_dq : numpy.ndarray
        uint8 (nint, ngroup, ny, nx), after jump detection.
    truth : Truth

    Returns
    -------
    dict
        ``saturation``, ``jumps`` and ``flags``, per group.

    Raises
    ------
    DataError
        If the shape does not agree with the truth.
    """
    nint, ny, nx = truth.saturated.shape
    expected = (nint, truth.ngroups, ny, nx)
    if group_dq.shape != expected:
        raise DataError(f"the product has the shape {group_dq.shape}, the truth {expected}")
    marked = (group_dq & _SAT) != 0
    first = np.where(marked.any(axis=1), marked.argmax(axis=1), -1)
    clipped = (truth.saturated >= 0) & truth.good
    in_time = clipped & (first >= 0) & (first <= truth.saturated)
    return {
        "saturation": {
            "clipped": int(clipped.sum()),
            "flagged": int(in_time.sum()),
            "flagged_not_clipped": int(((first >= 0) & (truth.saturated < 0) & truth.good).sum()),
        },
        "jumps": _jumps_of_groups(truth, group_dq),
        "flags": flag_counts(group_dq),
    }


def score(product, truth):
    """Compare a calibrated product with the truth.

    Parameters
    ----------
    product : str
        A ``_rate``, ``_rateints`` or ramp file, or a ``_cal`` file of a guide-star function.
    truth : str
        ``truth.fits`` of the exposure; products of a segment are compared with their part of it.

    Returns
    -------
    dict
        ``file``, ``kind`` (rate, rateints, ramp or guider) and what `score_rates`, `score_ramp` or
        `jwcal.simulate.score_guider.score_guider` gives; ``effects`` if the truth has any.

    Raises
    ------
    InputError
        If a file cannot be read or is not such a product.
    DataError
        If product and truth do not fit.
    """
    from jwcal.core.fits import open_fits

    with open_fits(str(product)) as f:
        header = f.primary.header
        if is_guider(truth):
            if "SCI" not in f or len(f["SCI"].shape) != 3 or "ERR" not in f or "DQ" not in f:
                raise InputError(f"{product}: not a calibrated guide-star product (needs SCI, ERR and DQ)")
            planes = [f[name].read() for name in ("SCI", "ERR", "DQ")]
            result = _named(product, score_guider, header, *planes, truth)
            return {"file": str(product), "kind": "guider", **result}
        part = read_truth(truth, header.get("INTSTART"), header.get("INTEND"))
        known = score_effects.read(truth, part.integrations)
        ndim = len(f["SCI"].shape) if "SCI" in f else 0
        if ndim == 4 and "GROUPDQ" in f:
            group_dq = f["GROUPDQ"].read()
            kind, result = "ramp", _named(product, score_ramp, group_dq, part)
            if known:
                result["effects"] = score_effects.of_ramps(known, group_dq)
        elif ndim in {2, 3} and "ERR" in f and "DQ" in f:
            planes = [f[name].read() for name in ("SCI", "ERR", "DQ")]
            kind = "rate" if ndim == 2 else "rateints"
            result = _named(product, score_rates, *planes, part)
            if known:
                result["effects"] = score_effects.of_slopes(known, planes[0], planes[1], planes[2], part)
        else:
            raise InputError(
                f"{product}: not a _rate, _rateints or ramp product (needs SCI with ERR and DQ, or GROUPDQ)"
            )
    return {"file": str(product), "kind": kind, **result}


def _named(product, function, *args):
    try:
        return function(*args)
    except DataError as exc:
        raise DataError(f"{product}: {exc}") from None


def as_text(result):
    """Readable table of a score.

    Parameters
    ----------
    result : dict
        From `score`.

    Returns
    -------
    str
        Several lines, no line break at the end.
    """
    lines = [f"{result['file']}  ({result['kind']})"]
    if "pixels" in result:
        pixels = result["pixels"]
        lines.append(
            f"  pixels  {pixels['all']}, good {pixels['good']}, used {pixels['used']}, good but rejected "
            f"{pixels['good_rejected']}, NaN not flagged {pixels['nan_not_flagged']}"
        )
        lines += [
            "",
            (
                "  true rate DN/s        pixels   bias %  +- %      scatter      error"
                "  pull: mean    std  sigma68"
            ),
        ]
        for row in result["flux"]:
            lines.append(
                f"  {row['from']:9.4g} - {row['to']:9.4g} {row['n']:8d} {100 * row['bias']:8.3f} "
                f"{100 * row['bias_error']:6.3f} {row['scatter']:11.4g} {row['error']:10.4g} "
                f"{row['pull_mean']:11.3f} {row['pull_std']:6.3f} {row['pull_sigma68']:8.3f}"
            )
        lines.append("")
        for name, moments in result["pulls"].items():
            if moments["n"]:
                lines.append(
                    f"  pulls {name:<10} {moments['n']:8d} pixels   mean {moments['mean']:7.3f}   "
                    f"std {moments['std']:6.3f}   sigma68 {moments['sigma68']:6.3f}   "
                    f"beyond 5 {moments['beyond5']:.2g}"
                )
    if "star" in result:
        lines.append(line_of(result["star"]))
    if "saturation" in result:
        saturation = result["saturation"]
        lines.append(
            f"  saturated  {saturation['clipped']} clipped, {saturation['flagged']} of them flagged in time, "
            f"{saturation['flagged_not_clipped']} others flagged"
        )
    if "jumps" in result:
        jumps = result["jumps"]
        lines += ["", "  cosmic rays by S/N    hits   found"]
        for row in jumps["by_snr"]:
            span = f"{row['from']:g} - {row['to']:g}" if row["to"] is not None else f"over {row['from']:g}"
            lines.append(f"  {span:>18} {row['n']:8d}   {row['found']:.4f}")
        for key, text in (
            ("over5", "found with S/N over 5"),
            ("false_rate", "false flags"),
            ("false_rate_away", "false flags away from hits"),
        ):
            if jumps[key] is not None:
                lines.append(f"  {text:<28} {jumps[key]:.4g}")
    if result.get("effects"):
        lines += ["", *score_effects.lines_of(result["effects"])]
    lines += ["", "  flags  " + "  ".join(f"{name} {count}" for name, count in result["flags"].items())]
    return "\n".join(lines)

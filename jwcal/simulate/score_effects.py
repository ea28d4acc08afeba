"""What is left of simulated effects in a calibrated product."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jwcal.core.dq import DQ
from jwcal.simulate.effects.events import CORE, HALO, SHOWER

KNOWN = ("FLICKER", "EMI", "LATENT", "EVENTS", "SPILL", "IPC")
_BAD = DQ["DO_NOT_USE"]
_MARKED = DQ["DO_NOT_USE"] | DQ["SATURATED"] | DQ["JUMP_DET"]


@dataclass
class Residual:
    """Difference of a product of slopes from the truth.

    Attributes
    ----------
    value, error : numpy.ndarray
        float32 (nint, ny, nx), DN/s; one integration for a combined product.
    clean : numpy.ndarray
        bool (nint, ny, nx): good pixels neither hit nor saturated.
    usable : numpy.ndarray
        bool (nint, ny, nx): good pixels not saturated, with a value.
    dq : numpy.ndarray
        uint32 (nint, ny, nx).
    weights : numpy.ndarray
        float64 (integrations of the exposure, ngroup): slope [1/s] as the official fit weights
        the groups of a pixel of median flux.
    shares : numpy.ndarray
        float64 (integrations of the exposure,): what each has in a combined product, sum 1.
    combined : bool
        Whether the product is the mean of all integrations.
    """

    value: np.ndarray
    error: np.ndarray
    clean: np.ndarray
    usable: np.ndarray
    dq: np.ndarray
    weights: np.ndarray
    shares: np.ndarray
    combined: bool

    def of_integrations(self, cube):
        """Bring (nint, ...) to the integrations of the product."""
        return np.tensordot(self.shares, cube, 1)[None] if self.combined else cube


def slope_weights(ngroups, tgroup, skip_first=0, skip_last=0, power=0.0):
    """Weights that turn groups into the slope of a straight line.

    Parameters
    ----------
    ngroups : int
    tgroup : float
        Seconds.
    skip_first, skip_last : int, optional
        Groups that are not used.
    power : float, optional
        Exponent of the weights of groups: the larger, the more the ends count.

    Returns
    -------
    numpy.ndarray
        float64 (ngroups,), 1/s; zeros if fewer than two groups are left.

    References
    ----------
    Fixsen et al. 2000, PASP 112 1350.
    """
    out = np.zeros(ngroups)
    used = np.arange(skip_first, ngroups - skip_last)
    if used.size > 1:
        middle = used.mean()
        weight = np.abs((used - middle) / (used[-1] - middle)) ** power if power else np.ones(used.size)
        t = (used - (weight * used).sum() / weight.sum()) * tgroup
        out[used] = weight * t / (weight * t**2).sum()
    return out


def _power(truth, header):
    """Exponent of the official fit for a pixel of median flux."""
    good = truth.good
    gain, read = float(np.median(truth.gain[good])), float(np.median(truth.read_noise[good]))
    signal = float(np.median(truth.rate[good])) * gain * header["TGROUP"] * (truth.ngroups - 1)
    snr = max(signal, 0) / np.sqrt(max(signal, 0) + read**2)
    limits = np.array([5, 10, 20, 50, 100])
    return (0.0, 0.4, 1.0, 3.0, 6.0, 10.0)[int(np.searchsorted(limits, snr, side="right"))]


def residual_of(rate, error, dq, truth, header):
    """Make the residual of a product of slopes.

    Parameters
    ----------
    rate, error, dq : numpy.ndarray
        (ny, nx) or (nint, ny, nx).
    truth : jwcal.simulate.score.Truth
    header : Header
        Of the truth file.

    Returns
    -------
    Residual
    """
    combined = rate.ndim == 2
    hit, clipped = truth.hit, truth.saturated >= 0
    if combined:
        rate, error, dq = rate[None], error[None], dq[None]
        hit, clipped = hit.any(axis=0)[None], clipped.any(axis=0)[None]
    value = rate - truth.rate
    usable = truth.good & ~clipped & ((dq & _BAD) == 0) & np.isfinite(value) & (error > 0)
    nint = truth.saturated.shape[0]
    first = header.get("INTSTART", 1) + (truth.integrations.start if truth.integrations else 0)
    skips = [header.get("SKIP1" if first + i == 1 else "SKIP", 0) for i in range(nint)]
    last, tgroup, power = header.get("SKIPLAST", 0), header["TGROUP"], _power(truth, header)
    weights = np.stack([slope_weights(truth.ngroups, tgroup, skip, last, power) for skip in skips])
    # The official weights of integrations are those of the read noise, groups weighted evenly.
    even = np.stack([slope_weights(truth.ngroups, tgroup, skip, last) for skip in skips])
    square = (even**2).sum(axis=1)
    shares = np.divide(1, square, out=np.zeros(nint), where=square > 0)
    shares /= max(shares.sum(), 1e-30)
    return Residual(value, error, usable & ~hit, usable, dq, weights, shares, combined)


def flicker(residual, lines, outputs):
    """Noise along lines: what was put in and what is left.

    Parameters
    ----------
    residual : Residual
    lines : numpy.ndarray
        float32 (nint, ngroup, noutput, nline), DN.
    outputs : numpy.ndarray
        int: output of every position along the fast axis; (1, nx), or (ny, 1) if y is fast.

    Returns
    -------
    dict
        ``injected`` and ``left`` (rms over the lines of an output, DN/s, of what differs from
        line to line; the scatter of the pixels is taken off) and ``fraction`` of the injected
        noise that is left, by regression.
    """
    put = residual.of_integrations(np.einsum("ig,igol->iol", residual.weights, lines.astype(float)))
    value, clean = residual.value, residual.clean
    if outputs.shape[1] == 1 and outputs.shape[0] > 1:
        value, clean = np.swapaxes(value, 1, 2), np.swapaxes(clean, 1, 2)
    output = outputs.ravel()
    if not clean.any():
        return {}
    bound = 5 * np.hypot(np.median(residual.error[residual.clean]), put.std())
    clean = clean & (np.abs(value - np.median(value[clean])) < bound)
    injected, left, product, square = [], [], 0.0, 0.0
    for k in np.unique(output):
        here = output == k
        inside, weight = value[:, :, here], clean[:, :, here]
        n = weight.sum(axis=2)
        total = np.where(weight, inside, 0).sum(axis=2, dtype=float)
        mean = total / np.maximum(n, 1)
        spread = np.where(weight, (inside - mean[..., None]) ** 2, 0).sum(axis=2, dtype=float)
        chance = spread / np.maximum(n - 1, 1) / np.maximum(n, 1)
        for i in range(mean.shape[0]):
            use = n[i] >= 8
            if use.sum() < 8:
                continue
            a = put[i, k, use] - put[i, k, use].mean()
            b = mean[i, use] - mean[i, use].mean()
            injected.append((a**2).mean())
            left.append((b**2).mean() - chance[i, use].mean())
            product += (a * b).sum()
            square += (a**2).sum()
    if not injected or square == 0:
        return {}
    return {
        "injected": float(np.sqrt(np.mean(injected))),
        "left": float(np.sqrt(max(np.mean(left), 0.0))),
        "fraction": float(product / square),
    }


def interference(residual, table, waves):
    """Periodic noise left in slopes, wave by wave.

    Parameters
    ----------
    residual : Residual
    table : numpy.ndarray
        EMI table of the truth.
    waves : numpy.ndarray
        float (nwave, nbin), DN: one period each.

    Returns
    -------
    list of dict
        ``name``, ``injected`` (rms over the pixels, DN/s) and ``fraction`` of its amplitude left.
    """
    nint = residual.value.shape[0]
    ny, nx = residual.value.shape[1:]
    out = []
    for row, wave in zip(table, waves, strict=True):
        pattern = np.zeros((2, nint, ny, nx))
        within = np.arange(ny)[:, None] * row["ROWCLOCKS"] + np.arange(nx)[None] // 4 * row["NSAMPLES"]
        for i, (share, weights) in enumerate(zip(residual.shares, residual.weights, strict=True)):
            for g, weight in enumerate(weights):
                if weight == 0:
                    continue
                clock = within + i * row["INTCLOCKS"] + g * row["FRAMECLOCKS"]
                for q in range(2):
                    phase = clock * (row["FREQ"] * 1e-5) + row["PHASE"] + 0.25 * q
                    part = weight * wave[(phase % 1 * wave.size).astype(int)]
                    if residual.combined:
                        pattern[q, 0] += share * part
                    else:
                        pattern[q, i] += part
        clean = residual.clean
        sigma = 1 / np.maximum(residual.error[clean], 1e-12)
        basis = np.stack([pattern[0][clean] * sigma, pattern[1][clean] * sigma, sigma])
        pull = residual.value[clean] * sigma
        keep = np.abs(pull) < 5 + np.abs(basis[:2]).max(axis=0)
        solution, *_ = np.linalg.lstsq(basis[:, keep].T, pull[keep], rcond=None)
        out.append(
            {
                "name": row["NAME"].decode() if isinstance(row["NAME"], bytes) else str(row["NAME"]),
                "injected": float(pattern[0][clean].std()),
                "fraction": float(np.hypot(solution[0], solution[1])),
            }
        )
    return out


def latents(residual, latent):
    """Find the persistence left in slopes.

    Parameters
    ----------
    residual : Residual
    latent : numpy.ndarray
        float32 (nint, ny, nx), DN/s.

    Returns
    -------
    dict
        ``pixels`` with a latent above its noise, ``injected`` (their mean, DN/s), ``left`` (mean
        of the residual) and ``fraction`` left, by weighted regression.
    """
    latent = residual.of_integrations(latent.astype(float))
    use = residual.clean & (latent > residual.error)
    if not use.any():
        return {"pixels": 0}
    value, put, weight = residual.value[use], latent[use], residual.error[use].astype(float) ** -2
    return {
        "pixels": int(use.sum()),
        "injected": float(put.mean()),
        "left": float(value.mean()),
        "fraction": float((value * put * weight).sum() / (put**2 * weight).sum()),
    }


def events_in_slopes(residual, flags):
    """Pull of the pixels that large events left, by part of the event.

    Parameters
    ----------
    residual : Residual
    flags : numpy.ndarray
        uint8 (nint, ngroup, ny, nx).

    Returns
    -------
    dict
        By part (``core``, ``halo``, ``shower``): ``pixels``, ``masked`` (fraction without a
        value or flagged), and of the rest ``pull_mean`` and ``pull_std``.
    """
    seen = np.bitwise_or.reduce(flags, axis=1)
    if residual.combined:
        seen = np.bitwise_or.reduce(seen, axis=0)[None]
    out = {}
    for name, bit in (("core", CORE), ("halo", HALO), ("shower", SHOWER)):
        here = (seen & bit) != 0
        if bit == HALO:
            here &= (seen & CORE) == 0
        if not here.any():
            continue
        rest = here & residual.usable
        pull = residual.value[rest] / residual.error[rest]
        out[name] = {
            "pixels": int(here.sum()),
            "masked": float(1 - rest.sum() / here.sum()),
            "pull_mean": float(pull.mean()) if pull.size else None,
            "pull_std": float(pull.std()) if pull.size else None,
        }
    return out


def events_in_ramps(group_dq, flags, table):
    """Area of large events and of what was flagged of them.

    Parameters
    ----------
    group_dq : numpy.ndarray
        uint8 (nint, ngroup, ny, nx).
    flags : numpy.ndarray
        uint8, same shape: parts of the events in the group they begin in.
    table : numpy.ndarray
        The events.

    Returns
    -------
    dict
        By part: ``area`` (pixels) and ``flagged`` (fraction flagged in that group or the next);
        ``expansion``: area flagged within three radii of the events, over their own area.
    """
    marked = (group_dq & _MARKED) != 0
    either = marked.copy()
    either[:, :-1] |= marked[:, 1:]
    out: dict[str, Any] = {}
    for name, bit in (("core", CORE), ("halo", HALO), ("shower", SHOWER)):
        here = (flags & bit) != 0
        if here.any():
            out[name] = {"area": int(here.sum()), "flagged": float(either[here].mean())}
    own = area = 0
    ny, nx = flags.shape[-2:]
    for event in table:
        i, g = int(event["INT"]), min(int(event["GROUP"]), flags.shape[1] - 1)
        r = int(3 * event["RADIUS"]) + 3
        rows = slice(max(int(event["Y"]) - r, 0), min(int(event["Y"]) + r + 1, ny))
        columns = slice(max(int(event["X"]) - r, 0), min(int(event["X"]) + r + 1, nx))
        own += int((flags[i, g, rows, columns] != 0).sum())
        area += int(either[i, g, rows, columns].sum())
    out["expansion"] = area / own if own else None
    return out


def stars(residual, truth_rate, table):
    """Peaks and sums of bright stars against the truth.

    Parameters
    ----------
    residual : Residual
    truth_rate : numpy.ndarray
        float32 (ny, nx), DN/s.
    table : numpy.ndarray
        STARS of the truth.

    Returns
    -------
    dict
        ``stars`` used, ``peak`` and ``sum`` (7 x 7 pixels): mean relative difference from the
        truth, weighted by flux.
    """
    ny, nx = truth_rate.shape
    peak, total, weight = [], [], []
    for star in table[np.argsort(-table["FLUX_E"], kind="stable")][:200]:
        x, y = round(float(star["X"])), round(float(star["Y"]))
        if not (4 <= x < nx - 4 and 4 <= y < ny - 4):
            continue
        box = slice(y - 3, y + 4), slice(x - 3, x + 4)
        for i in range(residual.value.shape[0]):
            if residual.clean[i][box].all():
                value = residual.value[i][box]
                at = np.unravel_index(truth_rate[box].argmax(), (7, 7))
                peak.append(value[at] / truth_rate[box][at])
                total.append(value.sum() / truth_rate[box].sum())
                weight.append(truth_rate[box].sum())
    if not weight:
        return {"stars": 0}
    return {
        "stars": len(weight),
        "peak": float(np.average(peak, weights=weight)),
        "sum": float(np.average(total, weights=weight)),
    }


def neighbours(residual):
    """Correlation of the pulls of neighbouring pixels, along x and y.

    Returns
    -------
    dict
        ``x``, ``y``.
    """
    pull = np.where(residual.clean, residual.value / np.maximum(residual.error, 1e-12), np.nan)
    pull[np.abs(pull) > 5] = np.nan
    out = {}
    for name, a, b in (("x", pull[..., 1:], pull[..., :-1]), ("y", pull[:, 1:], pull[:, :-1])):
        both = np.isfinite(a) & np.isfinite(b)
        known = both.sum() > 10 and a[both].std() > 0 and b[both].std() > 0
        out[name] = float(np.corrcoef(a[both], b[both])[0, 1]) if known else None
    return out


def read(path, part):
    """Read what a truth file knows of effects.

    Parameters
    ----------
    path : str
    part : slice
        Integrations of the file.

    Returns
    -------
    dict
        Extension name to array, those of `KNOWN` and what belongs to them; ``header``.  Empty
        if there are no effects.
    """
    from jwcal.core.fits import open_fits

    with open_fits(str(path)) as f:
        if not any(name in f for name in KNOWN):
            return {}
        out = {"header": f.primary.header}
        for name in ("FLICKER", "FLICKOUT", "LATENT", "EVENTS", "SPILL", "IPC", "EMIWAVES"):
            if name in f:
                cube = f[name].read()
                out[name] = cube[part] if name in {"FLICKER", "LATENT", "EVENTS", "SPILL"} else cube
        for name in ("EMI", "SNOWBALLS", "SHOWERS", "STARS"):
            if name in f:
                out[name] = f[name].table()
    for name in ("SNOWBALLS", "SHOWERS"):
        if name in out:
            table = out[name]
            inside = (table["INT"] >= part.start) & (table["INT"] < part.stop)
            out[name] = table[inside].copy()
            out[name]["INT"] -= part.start
    if "EMI" in out:
        table = out["EMI"]
        table["PHASE"] = (table["PHASE"] + part.start * table["INTCLOCKS"] * table["FREQ"] * 1e-5) % 1
    return out


def of_slopes(known, rate, error, dq, truth):
    """Score the effects in a product of slopes.

    Parameters
    ----------
    known : dict
        From `read`.
    rate, error, dq : numpy.ndarray
        (ny, nx) or (nint, ny, nx).
    truth : jwcal.simulate.score.Truth

    Returns
    -------
    dict
        By effect; only those the truth knows.
    """
    residual = residual_of(rate, error, dq, truth, known["header"])
    out: dict[str, Any] = {}
    if "FLICKER" in known:
        out["flicker"] = flicker(residual, known["FLICKER"], known["FLICKOUT"])
    if "EMI" in known:
        out["emi"] = interference(residual, known["EMI"], known["EMIWAVES"])
    if "LATENT" in known:
        out["persistence"] = latents(residual, known["LATENT"])
    if "EVENTS" in known:
        out["events"] = events_in_slopes(residual, known["EVENTS"])
    if "SPILL" in known or "IPC" in known:
        out["stars"] = stars(residual, truth.rate, known["STARS"])
        out["neighbours"] = neighbours(residual)
    return out


def of_ramps(known, group_dq):
    """Score the effects in the flags of a ramp; see `of_slopes`."""
    out: dict[str, Any] = {}
    if "EVENTS" in known:
        table = known["SNOWBALLS"] if "SNOWBALLS" in known else known["SHOWERS"]
        out["events"] = events_in_ramps(group_dq, known["EVENTS"], table)
    return out


def _percent(value):
    return "-" if value is None else f"{100 * value:.2f} %"


def _number(value):
    return "-" if value is None else f"{value:.3f}"


def lines_of(effects):
    """Readable lines of the scores of effects.

    Parameters
    ----------
    effects : dict
        From `of_slopes` or `of_ramps`.

    Returns
    -------
    list of str
    """
    out = []
    if effects.get("flicker"):
        row = effects["flicker"]
        out.append(
            f"  1/f noise   lines: injected {row['injected']:.4g} DN/s rms, left {row['left']:.4g}; "
            f"of the injected {_percent(row['fraction'])}"
        )
    for row in effects.get("emi", []):
        out.append(
            f"  EMI {row['name']:<8} injected {row['injected']:.4g} DN/s rms, amplitude left {_percent(row['fraction'])}"
        )
    if "persistence" in effects:
        row = effects["persistence"]
        text = f"  latents     {row['pixels']} pixels"
        if row["pixels"]:
            text += f", mean {row['injected']:.4g} DN/s, left {row['left']:.4g}; {_percent(row['fraction'])}"
        out.append(text)
    for name, row in effects.get("events", {}).items():
        if name == "expansion":
            out.append(f"  events      flagged area {_number(row)} times their own")
        elif "area" in row:
            out.append(f"  {name:<10}  {row['area']} pixels, flagged {_percent(row['flagged'])}")
        else:
            out.append(
                f"  {name:<10}  {row['pixels']} pixels, masked {_percent(row['masked'])}; the rest: "
                f"pull mean {_number(row['pull_mean'])} std {_number(row['pull_std'])}"
            )
    if "stars" in effects:
        row = effects["stars"]
        if row["stars"]:
            out.append(
                f"  stars       {row['stars']} used: peak {_percent(row['peak'])}, 7 x 7 sum {_percent(row['sum'])} off"
            )
        pair = effects["neighbours"]
        out.append(f"  neighbours  correlation of pulls: x {_number(pair['x'])}, y {_number(pair['y'])}")
    return out

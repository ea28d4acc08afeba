"""Trap families of a detector: reading and writing them, and fitting them to ramps."""

import tomllib

import numpy as np

from jwcal.core.errors import UsageError
from jwcal.core.packaged import text_of
from jwcal.core.toml_file import read_user_toml
from jwcal.core.whole import Complete
from jwcal.kernels.persistence import Traps

FIELDS = ("release", "capture", "amplitude", "threshold")
JUMP, SATURATED, DNU = 4, 2, 1
# Brighter pixels, as a fraction of the full well, have a curvature of their own.
BRIGHTEST = 0.2
# The families of one exposure keep together within this fraction, unless it tells otherwise.
SPREAD = 0.5
# Relative error from which on a fit is worse than the values it began with.
WORST = 0.3
MOST_FAMILIES = 12


def read_model(path, instrument, detector):
    """Read trap families.

    Parameters
    ----------
    path : str or None
        TOML file; None takes the values of the package.
    instrument, detector : str
        Whose to take where a file has several.

    Returns
    -------
    Traps

    Raises
    ------
    UsageError
        If there are none, or they are not valid.
    """
    name = path or "the persistence model of the package"
    if path is None:
        tree = tomllib.loads(text_of("data", "persistence.toml"))
    else:
        tree = read_user_toml(path, "a persistence model")
    table: dict | None = tree
    if "family" not in tree:
        own = tree.get(instrument, tree.get("HAWAII") if instrument != "MIRI" else None)
        table = own.get(detector, own) if isinstance(own, dict) else None
    if not isinstance(table, dict) or not isinstance(table.get("family"), list):
        raise UsageError(f"{name} has no trap families for {detector}; give model = FILE")
    try:
        full_well = float(table["full_well"])
        rows = [[float(row[field]) for field in FIELDS] for row in table["family"]]
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            f"{name}: needs full_well, and release, capture, amplitude and threshold of every family"
        ) from None
    good = np.isfinite([full_well, *np.ravel(rows)]).all() and full_well > 0
    if not good or not 0 < len(rows) <= MOST_FAMILIES or min(min(r) for r in rows) < 0:
        raise UsageError(f"{name}: from one to {MOST_FAMILIES} families of numbers that are not negative")
    if min(r[0] for r in rows) == 0:
        raise UsageError(f"{name}: release times must be positive")
    release, capture, amplitude, threshold = (tuple(c) for c in zip(*rows, strict=True))
    return Traps(full_well, release, capture, amplitude, tuple(t * full_well for t in threshold))


def write_model(path, overwrite, model, scale, label):
    """Write trap families as a TOML file.

    Parameters
    ----------
    path : str
        File.
    overwrite : bool
        Replace an existing file.
    model : Traps
        Families.
    scale : sequence of float
        Factors on their amplitudes.
    label : str
        What they were fitted to.

    Returns
    -------
    jwcal.core.whole.Complete
        The file, which waits for its name.

    Raises
    ------
    OutputError
        If it exists and may not be replaced, or cannot be written.
    """
    lines = [f"# Fitted to {label}", f"full_well = {model.full_well!r}", "family = ["]
    for k in range(len(model)):
        values = (
            model.release[k], model.capture[k], model.amplitude[k] * float(scale[k]),
            model.threshold[k] / model.full_well,
        )  # fmt: skip
        row = ", ".join(f"{n} = {float(v):.6g}" for n, v in zip(FIELDS, values, strict=True))
        lines.append(f"    {{ {row} }},")
    text = "\n".join([*lines, "]", ""])
    return Complete(path, overwrite, lambda file: file.write(text.encode()))


def sums(sci, gdq, bad, gain, noise, released, full_well, blank):
    """Sum the normal equations of the amplitudes, row by row.

    What a pixel adds is free of any constant and, unless the exposure is blank, of any slope.

    Parameters
    ----------
    sci : (nint, ngroup, ny, nx) float32 numpy.ndarray
        Ramp, DN.
    gdq : (nint, ngroup, ny, nx) uint8 numpy.ndarray
        Group flags; a pixel with a jump or saturation in an integration is left out.
    bad : (ny, nx) bool numpy.ndarray
        Pixels to leave out.
    gain, noise : (ny, nx) float32 numpy.ndarray
        Electrons per DN, and noise of a group in electrons.
    released : (nint, nfamily, ngroup, ny, nx) float32 numpy.ndarray
        Charge released, electrons.
    full_well : float
        Electrons.
    blank : bool
        The exposure has no light but a common one; its rate is one more unknown.

    Returns
    -------
    (ny, n, n + 1) float64 numpy.ndarray
        Matrix and right-hand side.
    """
    nint, ngroup, ny, _ = sci.shape
    nfamily = released.shape[1]
    n = nfamily + blank
    out = np.zeros((ny, n, n + 1))
    clock = np.arange(ngroup, dtype=np.float64)[:, None, None]
    usable = ~bad & np.isfinite(gain) & (gain > 0) & np.isfinite(noise)
    for i in range(nint):
        used = (gdq[i] & DNU) == 0
        level = sci[i].astype(np.float64) * gain
        ok = usable & ((gdq[i] & (JUMP | SATURATED)) == 0).all(axis=0)
        ok &= np.isfinite(level).all(axis=0) & (np.abs(level[-1]) < BRIGHTEST * full_well)
        weight = np.where(ok, 1.0 / (noise.astype(np.float64) ** 2 + np.abs(level[-1])), 0.0)
        w = np.where(used, weight, 0.0)
        basis = [released[i, k].astype(np.float64) for k in range(nfamily)]
        if blank:
            basis.append(np.broadcast_to(clock, level.shape))
        columns = [_without(x, w, None if blank else clock) for x in (*basis, np.where(w > 0, level, 0.0))]
        for a in range(n):
            for b in range(n + 1):
                out[:, a, b] += (w * columns[a] * columns[b]).sum(axis=(0, 2))
    return out


def _without(x, w, clock):
    """Take the weighted mean over the groups, and the slope if `clock` is given, out of x."""
    total = w.sum(axis=0)
    total = np.where(total > 0, total, 1.0)
    x = x - (w * x).sum(axis=0) / total
    if clock is not None:
        t = clock - (w * clock).sum(axis=0) / total
        square = (w * t * t).sum(axis=0)
        x = x - t * ((w * t * x).sum(axis=0) / np.where(square > 0, square, 1.0))
    return x


def solve(equations, model, how):
    """Solve for the factors on the amplitudes from the summed normal equations.

    Parameters
    ----------
    equations : (n, n + 1) float64 numpy.ndarray
        Sum of what `sums` gives.
    model : jwcal.kernels.persistence.Traps
        The families.
    how : str
        "scale": one factor; "families": one each, kept near the common one; "blank": one each.

    Returns
    -------
    scale : (nfamily,) float64 numpy.ndarray
        Factors; ones where the data say too little.
    error : float
        Relative standard error of the common factor.
    """
    nfamily = len(model)
    matrix, right = equations[:nfamily, :nfamily], equations[:nfamily, -1]
    known = matrix.sum()
    common = right.sum() / known if known > 0 else 1.0
    error = float(1 / np.sqrt(known) / common) if known > 0 and common > 0 else np.inf
    if not np.isfinite(error) or error > WORST:
        if how != "blank":
            return np.ones(nfamily), error
        common = 1.0
    if how == "scale":
        return np.full(nfamily, common), error
    n = len(equations)
    prior, wanted = np.zeros((n, n)), np.zeros(n)
    if how == "families":
        prior[:nfamily, :nfamily] = np.eye(nfamily)
        wanted[:nfamily] = common
    else:
        # Families that differ little, in release time alone, are alike.
        steps = np.diff(np.eye(nfamily), axis=0)[np.diff(model.threshold) == 0]
        prior[:nfamily, :nfamily] = steps.T @ steps + 1e-3 * np.eye(nfamily)
        wanted[:nfamily] = 1e-3 * common
    loose = (SPREAD * common) ** 2
    a, b = equations[:, :n] + prior / loose, equations[:, -1] + wanted / loose
    free = np.ones(n, bool)
    while True:
        x = np.zeros(n)
        x[free] = np.linalg.lstsq(a[np.ix_(free, free)], b[free], rcond=None)[0]
        below = (x[:nfamily] < 0) & free[:nfamily]
        if not below.any():
            return x[:nfamily], error
        free[:nfamily] &= ~below

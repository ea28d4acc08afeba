"""The quality table of a product: what fraction is flagged why, and whether the noise is what it should be.

All that is gathered tile by tile are counts, so the table depends on neither tiles nor threads.
"""

import math
import threading
import tomllib
from functools import cache

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.packaged import text_of
from jwcal.kernels.quality import count_flags

TABLE = "QUALITY"
STATES = ("ok", "warn", "fail")
PLANES = ("SCI", "ERR", "DQ")
# Every so many rows the scatter is looked at, in bins of these many sigma.
_ROWS = 8
_BIN, _BINS = 0.02, 1000
# Median of the absolute value of a normal deviate.
_MEDIAN = 0.6744897501960817
_DTYPE = np.dtype([
    ("METRIC", "S24"), ("VALUE", "f8"), ("UNIT", "S16"), ("STATUS", "S4"), ("WARN_MIN", "f8"), ("WARN_MAX", "f8"),
    ("FAIL_MIN", "f8"), ("FAIL_MAX", "f8"), ("MEANING", "S72"),
])  # fmt: skip


@cache
def metrics():
    """Return the metrics declared in ``data/quality.toml`` (dict by name)."""
    return tomllib.loads(text_of("data", "quality.toml"))


class Meter:
    """Gathers the counts of one product while its tiles pass.

    Parameters
    ----------
    meta : Meta
        Keywords of the product; those set until the end count.
    provenance : list of dict
        Records of the steps done.
    """

    def __init__(self, meta, provenance=()):
        self.meta, self.provenance = meta, provenance
        self.lock = threading.Lock()
        self.flags = np.zeros(32, np.int64)
        self.pixels = self.unflagged = self.reference = self.bad_reference = 0
        self.scatter = np.zeros(_BINS, np.int64)

    def add(self, box, sci, err, dq):
        """Count a box of the product; safe to call from several threads.

        Parameters
        ----------
        box : (y0, y1, x0, x1)
            Place in the frame; x0 is even.
        sci, err : (…, ny, nx) float32 numpy.ndarray
            Values and their errors.
        dq : (…, ny, nx) uint32 numpy.ndarray
            Flags, with the same axes or those of the frame.
        """
        flags = np.zeros(32, np.int64)
        pixels = count_flags(dq, DQ["REFERENCE_PIXEL"], flags)
        reference = bad = 0
        if pixels < dq.size:
            of_reference = dq[(dq & DQ["REFERENCE_PIXEL"]) != 0]
            reference = of_reference.size
            bad = int(np.count_nonzero(of_reference & DQ["BAD_REF_PIXEL"]))
        unflagged = int(np.count_nonzero(np.isnan(sci) & ((dq & DQ["DO_NOT_USE"]) == 0)))
        first = -box[0] % _ROWS
        scatter = _scatter(sci[..., first::_ROWS, :], err[..., first::_ROWS, :], dq[..., first::_ROWS, :])
        with self.lock:
            self.flags += flags
            self.scatter += scatter
            self.pixels += pixels
            self.unflagged += unflagged
            self.reference += reference
            self.bad_reference += bad

    def rows(self):
        """Rows of the table (structured array)."""
        values = {
            "do_not_use": self._fraction(self.flags[0]),
            "nan_not_flagged": self._fraction(self.unflagged),
        }
        values["noise_ratio"] = median_of(self.scatter) / _MEDIAN
        values["reference_pixels_bad"] = self.bad_reference / self.reference if self.reference else math.nan
        pointing = self.meta.get("ENGQLPTG")
        values["pointing_planned"] = (
            math.nan if pointing is None else float(str(pointing).startswith("PLANNED"))
        )
        values["references_missing"] = float(
            sum(r["STATUS"] == "SKIPPED" and " reference (" in r["REASON"] for r in self.provenance)
        )
        for name, rule in metrics().items():
            if "flag" in rule:
                values[name] = self._fraction(self.flags[DQ[rule["flag"]].bit_length() - 1])
            elif "keyword" in rule:
                value = self.meta.get(rule["keyword"])
                values[name] = math.nan if value is None else float(value)
        return judged(values)

    def _fraction(self, count):
        return float(count) / self.pixels if self.pixels else math.nan


def _scatter(sci, err, dq):
    """Histogram of differences of neighbours, in sigma, of pairs that can be used."""
    even = sci.shape[-1] // 2 * 2
    left, right = slice(0, even, 2), slice(1, even, 2)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        sigma = np.sqrt(err[..., left] ** 2 + err[..., right] ** 2)
        ratio = np.abs(sci[..., left] - sci[..., right]) / sigma
        bad = (dq[..., left] | dq[..., right]) & (DQ["DO_NOT_USE"] | DQ["REFERENCE_PIXEL"])
        good = np.isfinite(ratio) & (bad == 0)
        place = np.minimum(ratio[good] * np.float32(1 / _BIN), np.float32(_BINS - 1)).astype(np.intp)
    return np.bincount(place, minlength=_BINS)


def median_of(histogram):
    """Median of a histogram in sigma, NaN for an empty one; within a bin values count as evenly spread."""
    total = int(histogram.sum())
    if not total:
        return math.nan
    below = np.cumsum(histogram)
    k = int(np.searchsorted(below, total / 2))
    before = int(below[k] - histogram[k])
    return (k + (total / 2 - before) / int(histogram[k])) * _BIN


def state(value, warn, fail):
    """State of a value: "ok", "warn", "fail", or "" where there is none."""
    if math.isnan(value):
        return ""
    if not fail[0] <= value <= fail[1]:
        return "fail"
    return "ok" if warn[0] <= value <= warn[1] else "warn"


def judged(values, rules=None):
    """Table of values, judged by the limits.

    Parameters
    ----------
    values : dict of str to float
        Value by metric; NaN where it does not apply.
    rules : dict or None
        Limits by metric; None for those declared.

    Returns
    -------
    (nmetric,) structured numpy.ndarray
    """
    rules = rules or metrics()
    rows = np.zeros(len(rules), _DTYPE)
    for row, (name, rule) in zip(rows, rules.items(), strict=True):
        value = values.get(name, math.nan)
        row["METRIC"], row["VALUE"], row["UNIT"], row["MEANING"] = name, value, rule["unit"], rule["meaning"]
        row["STATUS"] = state(value, rule["warn"], rule["fail"])
        row["WARN_MIN"], row["WARN_MAX"] = rule["warn"]
        row["FAIL_MIN"], row["FAIL_MAX"] = rule["fail"]
    return rows

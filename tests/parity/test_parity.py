"""Every step and the whole of detector1 against the official package on the same input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.parity.cases import CASES
from tests.parity.compare import DN, planes, read, status
from tests.parity.conftest import compared, open_with_peer, product_stem

BY_NAME = {c.name: c for c in CASES}


def _names(cases):
    return [c.name for c in cases]


def _official(official, case):
    folder = official[case]
    done = json.loads((folder / "peer" / "done.json").read_text())
    assert "failed" not in done, f"the official package failed: {done['failed']}"
    return folder, done


@pytest.mark.parametrize("case", _names(CASES))
def test_steps(case, official, ours, note):
    folder, _ = _official(official, case)
    wrong = []
    for step in compared(BY_NAME[case], folder):
        theirs = folder / "peer" / f"{product_stem(folder)}_{step}.fits"
        a = read(theirs, "SCI", "ZEROFRAME", "PIXELDQ", "GROUPDQ")
        b = read(ours(BY_NAME[case], folder) / f"{step}.fits", "SCI", "ZEROFRAME", "PIXELDQ", "GROUPDQ")
        result = planes(a[0], b[0], DN)
        zero = planes(a[1], b[1], DN) if a[1] is not None else None
        flags = [int((x != y).sum()) for x, y in zip(a[2:], b[2:], strict=True) if x is not None]
        text = f"SCI max {result['max']:.1e} same bits {result['same']:.6f}"
        if zero:
            text += f"; ZEROFRAME max {zero['max']:.1e}"
        text += f"; flags differ {flags}; NaN differ {result['nan']}"
        equal = 1 - sum(flags) / sum(x.size for x in a[2:])
        note(case, step, text, max(r["max"] for r in (result, zero) if r), equal)
        same = all(r["nan"] == 0 and r["max"] <= 1e-6 for r in (result, zero) if r)
        if not same or any(flags):
            wrong.append(f"{step}: {text}")
    assert wrong == []


@pytest.mark.parametrize("case", _names(CASES))
@pytest.mark.parametrize("product", ["rate", "rateints"])
def test_product(case, product, official, ours, note):
    folder, _ = _official(official, case)
    theirs = folder / "peer" / f"{product_stem(folder)}_{product}.fits"
    out = ours(BY_NAME[case], folder)
    if not theirs.exists():
        pytest.fail(f"the official package made no {product}")
    names = ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE")
    *a, dq_a = read(theirs, *names, "DQ")
    *b, dq_b = read(out / f"{product}.fits", *names, "DQ")
    equal = dq_a == dq_b
    floors = [float(np.nanmedian(np.abs(x))) * 1e-3 if np.isfinite(x).any() else 0.0 for x in a]
    result = {
        n: planes(np.where(equal, x, np.nan), np.where(equal, y, np.nan), f)
        for n, x, y, f in zip(names, a, b, floors, strict=True)
    }
    text = "  ".join(f"{n} {r['p999']:.1e} max {r['max']:.1e}" for n, r in result.items())
    text = f"flags equal {equal.mean():.6f}; {text}; NaN differ {[r['nan'] for r in result.values()]}"
    note(case, product, text, max(r["p999"] for r in result.values()), equal.mean())
    assert equal.mean() >= 0.999
    for r in result.values():
        assert r["nan"] == 0
        assert r["p999"] <= 1e-5


@pytest.mark.parametrize("case", _names(CASES))
def test_status(case, official, ours):
    folder, _ = _official(official, case)
    theirs = status(folder / "peer" / f"{product_stem(folder)}_rate.fits")
    mine = status(ours(BY_NAME[case], folder) / "rate.fits")
    later = {k for k, v in theirs.items() if v == "SKIPPED"} - set(mine)
    expected = {k: v for k, v in theirs.items() if k not in later} | BY_NAME[case].status
    assert mine == expected


@pytest.mark.parametrize("case", ["likely"])
def test_chi_square(case, official, ours):
    folder, _ = _official(official, case)
    name = f"{product_stem(folder)}_likely_chisq.fits"
    (theirs,) = read(folder / "peer" / name, "SCI")
    (mine,) = read(ours(BY_NAME[case], folder) / name, "SCI")
    assert np.isfinite(theirs).mean() > 0.9
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("case", _names(CASES))
def test_opens(case, complaints):
    assert complaints[case] == []


def test_complaints_are_made(official, peer_python, tmp_path):
    """The reader above tells products apart: those of two exposures are not the same."""
    a, b = sorted(official)[:2] if len(official) > 1 else (None, None)
    if a is None:
        pytest.skip("one case only")
    pair = ["", *(str(official[x] / "peer" / f"{product_stem(official[x])}_rateints.fits") for x in (a, b))]
    assert open_with_peer(peer_python, [pair], tmp_path)

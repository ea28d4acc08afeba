"""Every step and the whole of detector1 against the official package on the same input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.parity.cases import BUILT, CASES
from tests.parity.compare import DN, planes, read, status
from tests.parity.conftest import compared, open_with_peer, product_stem

STEPS = [(c, s) for c in CASES for s in c.steps if s in BUILT]
BY_NAME = {c.name: c for c in CASES}


def _names(cases):
    return [c.name for c in cases]


def _official(official, case):
    folder = official[case]
    done = json.loads((folder / "peer" / "done.json").read_text())
    assert "failed" not in done, f"the official package failed: {done['failed']}"
    return folder, done


@pytest.mark.parametrize(
    ("case", "step"), [(c.name, s) for c, s in STEPS], ids=[f"{c.name}-{s}" for c, s in STEPS]
)
def test_step(case, step, official, ours, note):
    folder, _ = _official(official, case)
    theirs = folder / "peer" / f"{product_stem(folder)}_{step}.fits"
    if step not in compared(BY_NAME[case], folder):
        pytest.skip("the official pipeline skips this step on this case")
    mine = ours(BY_NAME[case], folder) / f"{step}.fits"
    a = read(theirs, "SCI", "ZEROFRAME", "PIXELDQ", "GROUPDQ")
    b = read(mine, "SCI", "ZEROFRAME", "PIXELDQ", "GROUPDQ")
    result = planes(a[0], b[0], DN)
    text = f"SCI max {result['max']:.1e} same bits {result['same']:.6f}"
    if a[1] is not None:
        zero = planes(a[1], b[1], DN)
        text += f"; ZEROFRAME max {zero['max']:.1e}"
    flags = [int((x != y).sum()) for x, y in zip(a[2:], b[2:], strict=True) if x is not None]
    note(case, step, f"{text}; flags differ {flags}")
    assert result["nan"] == 0
    assert result["max"] <= 1e-6
    assert a[1] is None or (zero["nan"] == 0 and zero["max"] <= 1e-6)
    assert flags == [0] * len(flags)


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
    note(
        case,
        product,
        f"flags equal {equal.mean():.6f}; {text}; NaN differ {[r['nan'] for r in result.values()]}",
    )
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
    assert mine == {k: v for k, v in theirs.items() if k not in later}


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

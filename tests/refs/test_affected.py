"""Affected data sets: the same as judging every header under both contexts, only faster."""

import io
import json
import random
import resource
import subprocess
import sys

import pytest

from jwcal.core.errors import ReferenceFileError
from jwcal.refs import affected
from jwcal.refs.affected import Affected, first_step
from jwcal.refs.best import Context
from jwcal.refs.deliver import deliver
from jwcal.refs.rules import FILE, NOT_APPLICABLE
from tests.refs import rulesets
from tests.refs.cachekit import Draft, make_cache


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("CRDS_PATH", raising=False)


@pytest.fixture
def cache(tmp_path):
    return make_cache(tmp_path / "cache")


def told(answer):
    if answer is None or answer.state == NOT_APPLICABLE:
        return None
    return answer.files if answer.state == FILE else f"({answer.state})"


def one_by_one(left, right, raw):
    """Changed types by judging the whole header under both contexts."""
    before, after = left.best(raw), right.best(raw)
    pairs = {kind: [told(before.get(kind)), told(after.get(kind))] for kind in {**before, **after}}
    return {kind: pair for kind, pair in pairs.items() if pair[0] != pair[1]}


def loaded(rng, folder):
    """Compare two random contexts that can be read."""
    for serial in range(1, 100, 2):
        left, right = (rulesets.context(rng, folder, serial + k) for k in (0, 1))
        found = Affected(str(folder), left, right)
        try:
            found.judge({"INSTRUME": "NIRCAM"})
        except ReferenceFileError:
            continue
        return found, Context(str(folder), left), Context(str(folder), right)
    raise AssertionError("no rules that can be read")


@pytest.mark.parametrize("seed", range(25))
def test_random_contexts_and_headers(tmp_path, seed):
    rng = random.Random(seed)
    found, old, new = loaded(rng, tmp_path)
    pools, changed = rulesets.pools_of_keys(), 0
    for _ in range(400):
        raw = rulesets.header(rng, pools)
        judged = found.judge(raw)
        expected = one_by_one(old, new, raw)
        assert (judged["types"] if judged else {}) == expected, raw
        again = dict(reversed(raw.items()))
        judged = found.judge(again)
        assert (judged["types"] if judged else {}) == one_by_one(old, new, again), again
        changed += bool(expected)
    assert found.changed >= changed
    assert found.seen == 801
    assert not found.changed or found.evaluated < found.seen


def test_times_are_judged_by_interval(cache, tmp_path):
    deliver(str(cache), [Draft("gain").write(tmp_path / "a.fits")], "x")
    found = Affected(str(cache), "jwst_0001.pmap", "jwst_0002.pmap")
    base = {"INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "EXP_TYPE": "NRC_IMAGE"}
    names = Context(str(cache), "jwst_0001.pmap"), Context(str(cache), "jwst_0002.pmap")
    rng = random.Random(4)
    dates = [
        "2024-05-06",
        "2024-05-07",
        "2023-02-30",
        "2023-02-29",
        "2024-02-29",
        "0000-01-01",
        "2024-5-6",
        "UNDEFINED",
        "N/A",
        20240506,
    ]
    times = ["07:08:09", "07:08:08.999", "07:08:09.0", "07:08:09.000001", "24:00:00", "7:08:09", "noon", ""]
    for _ in range(600):
        day = rng.choice(
            [*dates, f"20{rng.randrange(18, 28)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 32):02d}"]
        )
        raw = {**base, "DATE-OBS": day, "TIME-OBS": rng.choice(times)}
        judged = found.judge(raw)
        assert (judged["types"] if judged else {}) == one_by_one(*names, raw), raw
    regular = found.evaluated
    for k in range(600):
        found.judge(
            {**base, "DATE-OBS": f"20{18 + k % 10}-06-{1 + k % 28:02d}", "TIME-OBS": f"00:00:{k % 60:02d}"}
        )
    assert found.evaluated - regular <= 4


def test_first_step_and_pipeline(cache, tmp_path):
    paths = [
        Draft("gain").write(tmp_path / "a.fits"),
        Draft("dark").write(tmp_path / "b.fits"),
        Draft("gain", "NIS").write(tmp_path / "c.fits"),
    ]
    deliver(str(cache), paths, "x")
    found = Affected(str(cache), "jwst_0001.pmap", "jwst_0002.pmap")
    raw = {
        "INSTRUME": "NIRCAM",
        "DETECTOR": "NRCA1",
        "READPATT": "FASTR1",
        "SUBARRAY": "SUB128",
        "EXP_TYPE": "NRC_IMAGE",
    }
    raw |= {"DATE-OBS": "2025-01-01", "TIME-OBS": "00:00:00"}
    judged = found.judge(raw)
    assert judged["types"]["gain"] == ["jwst_nircam_gain_0002.fits", "jwst_nircam_gain_0005.fits"]
    assert (judged["pipeline"], judged["step"]) == ("detector1", "dark_current")
    assert found.judge({**raw, "READPATT": "RAPID"})["step"] == "jump"
    assert found.judge({**raw, "EXP_TYPE": "NRC_DARK", "READPATT": "RAPID"})["pipeline"] in ("dark", None)
    assert found.judge({**raw, "DATE-OBS": "2022-01-01", "READPATT": "RAPID"}) is None
    assert found.judge({**raw, "INSTRUME": "MIRI"}) is None


def test_first_step_follows_the_declarations():
    order = [
        ("mask", "dq_init"), ("saturation", "saturation"), ("superbias", "saturation"), ("linearity", "linearity"),
        ("dark", "dark_current"), ("gain", "jump"), ("readnoise", "jump"), ("pars-jumpstep", "jump"),
        ("pars-darkcurrentstep", "dark_current"), ("pars-detector1pipeline", "group_scale"),
    ]  # fmt: skip
    for kind, step in order:
        assert first_step("NIRCAM", ("NRC_IMAGE", False), frozenset([kind])) == (step, "detector1")
    assert first_step("NIRCAM", ("NRC_IMAGE", False), frozenset(["gain", "mask"])) == ("dq_init", "detector1")
    assert first_step("NIRCAM", ("NRC_IMAGE", False), frozenset(["reset"])) == (None, None)
    assert first_step("MIRI", ("MIR_IMAGE", False), frozenset(["reset"])) == ("reset", "detector1")
    assert first_step("NIRCAM", ("NO_SUCH", False), frozenset(["gain"])) == (None, None)
    assert first_step("FGS", ("FGS_ACQ1", False), frozenset(["gain"]))[1] == "guider"
    flicker = first_step("NIRCAM", ("NRC_IMAGE", False), frozenset(["trapdensity"]))
    with_off = first_step("NIRCAM", ("NRC_IMAGE", False), frozenset(["trapdensity"]), True)
    assert flicker == (None, None)
    assert with_off == ("persistence", "detector1")


def test_equal_numbers_of_other_type_are_not_mixed_up(cache, tmp_path):
    deliver(str(cache), [Draft("gain").write(tmp_path / "a.fits")], "x")
    found = Affected(str(cache), "jwst_0001.pmap", "jwst_0002.pmap")
    names = Context(str(cache), "jwst_0001.pmap"), Context(str(cache), "jwst_0002.pmap")
    for value in (1, True, 1.0, "1", None, ["NRCA1"], "NRCA1", " nrca1 "):
        for order in (1, -1):
            pairs = [("DETECTOR", value), ("META.INSTRUMENT.DETECTOR", "NRCB1")][::order]
            raw = {"INSTRUME": "NIRCAM", **dict(pairs), "DATE-OBS": "2025-01-01", "TIME-OBS": "00:00:00"}
            judged = found.judge(raw)
            assert (judged["types"] if judged else {}) == one_by_one(*names, raw), raw


def test_lines(cache, tmp_path, invoke):
    deliver(str(cache), [Draft("gain").write(tmp_path / "a.fits")], "x")
    good = {"FILENAME": "one.fits", "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "EXP_TYPE": "NRC_IMAGE"}
    good |= {"DATE-OBS": "2025-01-01", "TIME-OBS": "00:00:00"}
    other = {**good, "FILENAME": "two.fits", "DETECTOR": "NRCB1"}
    catalog = tmp_path / "catalog.jsonl"
    catalog.write_text("\n".join(map(json.dumps, (good, other))) + "\n\n")
    done = invoke(
        "refs", "affected", "jwst_0001.pmap", "jwst_0002.pmap", "--catalog", catalog, "--cache", cache
    )
    assert done.code == 0
    assert done.out.decode().split() == [
        "one.fits", "detector1:jump", "gain", "jwst_nircam_gain_0002.fits", "->", "jwst_nircam_gain_0005.fits",
    ]  # fmt: skip
    assert "1 of 2 data sets affected" in done.err
    catalog.write_text(json.dumps(good) + "\nnot json\n[1]\n" + json.dumps({"INSTRUME": "WFC3"}) + "\n{}\n")
    done = invoke(
        "refs",
        "affected",
        "jwst_0001.pmap",
        "jwst_0002.pmap",
        "--catalog",
        catalog,
        "--cache",
        cache,
        "--json",
    )
    assert done.code == 3
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [("error" in line) for line in lines] == [False, True, True, True, True]
    assert lines[1]["dataset"].endswith(":2")
    assert "4 of 5 data sets cannot be judged" in done.err
    assert (
        invoke(
            "refs", "affected", "jwst_0001.pmap", "jwst_0009.pmap", "--catalog", catalog, "--cache", cache
        ).code
        == 4
    )
    assert invoke("refs", "affected", "jwst_0001.pmap", "jwst_0002.pmap", "--cache", cache).code == 2


def test_processes_do_not_matter(cache, tmp_path, monkeypatch):
    deliver(str(cache), [Draft("gain").write(tmp_path / "a.fits")], "x")
    monkeypatch.setattr(affected, "_PIECE", 5000)
    rng = random.Random(7)
    lines = []
    for k in range(900):
        raw = {
            "FILENAME": f"{k}.fits",
            "INSTRUME": rng.choice(("NIRCAM", "MIRI")),
            "DETECTOR": rng.choice(("NRCA1", "NRCB1")),
        }
        raw |= {
            "DATE-OBS": f"20{rng.randrange(20, 27)}-01-01",
            "TIME-OBS": "00:00:00",
            "EXP_TYPE": "NRC_IMAGE",
        }
        lines.append(json.dumps(raw) if rng.random() > 0.02 else "no header")
    text = "\n".join(lines).encode()
    told = {}
    for jobs in (1, 2, 3):
        found = Affected(str(cache), "jwst_0001.pmap", "jwst_0002.pmap")
        out = list(found.catalog(io.BytesIO(text), affected.as_text, "x", jobs))
        told[jobs] = (out, found.numbers())
    assert told[1] == told[2] == told[3]
    assert told[1][1]["seen"] == 900
    assert told[1][1]["failed"] > 0


def test_files(cache, tmp_path, invoke, exposure):
    deliver(str(cache), [Draft("gain").write(tmp_path / "a.fits")], "x")
    done = invoke("refs", "affected", "jwst_0001.pmap", "jwst_0002.pmap", exposure.uncal, "--cache", cache)
    assert done.code == 0
    assert "of 1 data sets affected" in done.err
    bad = tmp_path / "bad.fits"
    bad.write_bytes(b"no")
    assert invoke("refs", "affected", "jwst_0001.pmap", "jwst_0002.pmap", bad, "--cache", cache).code == 3


def test_memory_is_bounded(cache, tmp_path):
    deliver(str(cache), [Draft("gain").write(tmp_path / "a.fits")], "x")
    script = (
        "import sys, json, resource\n"
        "from jwcal.refs.affected import Affected, as_text\n"
        "def lines(n):\n"
        "    for k in range(n):\n"
        "        yield json.dumps({'INSTRUME': 'NIRCAM', 'DETECTOR': f'X{k}', 'EXP_TYPE': 'NRC_IMAGE',"
        " 'DATE-OBS': '2025-01-01', 'TIME-OBS': '00:00:00'}).encode()\n"
        "import jwcal.refs.affected as module\n"
        "module._REMEMBERED = 500\n"
        "found = Affected(sys.argv[1], 'jwst_0001.pmap', 'jwst_0002.pmap')\n"
        "sizes = []\n"
        "for n in (2000, 8000):\n"
        "    for _ in found.lines(lines(n), as_text, 'x'): pass\n"
        "    sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        "print(*sizes)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(cache)], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert after - before < 4 * resource.getpagesize()

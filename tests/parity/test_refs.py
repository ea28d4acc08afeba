"""Best references are those of the official package: on real rules, mutated and random ones.

``JWCAL_REFS_TIMES`` multiplies the number of headers.
"""

import json
import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jwcal.core.errors import JwcalError
from jwcal.refs.best import Context, as_json
from tests.refs import rulesets

HERE = Path(__file__).parent
TIMES = int(os.environ.get("JWCAL_REFS_TIMES") or 1)
COUNTS = {"headers": 0, "answers": 0, "files": 0, "n/a": 0, "refused": 0, "not read": 0}
COMPARED: set[str] = set()


class Peer:
    """The official package in a process of its own."""

    def __init__(self, python):
        self.process = subprocess.Popen(
            [str(python), str(HERE / "refs_peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, folder, context, headers):
        """Answers of the official package: a list, or a dict with an error of loading."""
        job = {"path": str(folder), "context": context, "headers": headers}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the official package ended"
        return json.loads(line)


@pytest.fixture(scope="session")
def peer(peer_python):
    """Official package, ready to answer."""
    check = subprocess.run(
        [str(peer_python), "-c", "import crds, stdatamodels"], check=False, capture_output=True
    )
    if check.returncode:
        pytest.skip(f"{peer_python} has no crds: pip install crds there")
    found = Peer(peer_python)
    yield found
    found.process.stdin.close()
    found.process.wait(30)
    found.process.stdout.close()


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """Folder with the files of a real context."""
    shared = Path(os.environ.get("JWCAL_SHARED") or HERE.parents[2] / "shared")
    archive = shared / "data" / "crds" / "mappings_jwst_0061.tar.gz"
    if not archive.exists():
        pytest.skip(f"no mappings at {archive}: set JWCAL_SHARED to the folder that holds data/crds")
    folder = tmp_path_factory.mktemp("real") / "mappings" / "jwst"
    folder.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder.parents[1]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    """Keep compiled rules out of the user's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "xdg"))


def ours(folder, context, headers):
    """Answers of jwcal in the same form."""
    found, out = Context(str(folder), context), []
    for header in headers:
        try:
            out.append(as_json(found.best(header)))
        except JwcalError as exc:
            out.append({"error": str(exc)})
    return out


def plain(answer):
    """Answer without the words of refusals; None where the official client gives an internal object."""
    if "error" in answer:
        return "refused"
    out = {}
    for kind, value in answer.items():
        text = json.dumps(value)
        if value in ("n/a", "NOT FOUND n/a"):
            out[kind] = "n/a"
        elif "NOT FOUND" in text:
            out[kind] = None if "NOT FOUND object" in text else "refused"
        else:
            out[kind] = value
    return out


def compare(peer, folder, context, headers):
    """Assert that both give the same answers, and count them."""
    theirs, mine = peer.ask(folder, context, headers), ours(folder, context, headers)
    if isinstance(theirs, dict):
        theirs = [theirs] * len(headers)
    for header, one, two in zip(headers, map(plain, theirs), map(plain, mine), strict=True):
        if "refused" in (one, two):
            assert one == two, f"{context} {header}: official {theirs[0]}, here {mine[0]}"
            COUNTS["not read"] += 1
            continue
        unclear = {kind for kind in one if one[kind] is None}
        wrong = {
            kind: (one.get(kind), two.get(kind))
            for kind in {*one, *two} - unclear
            if one.get(kind) != two.get(kind)
        }
        assert not wrong, f"{context} {header}: (official, here) {wrong}"
        COUNTS["headers"] += 1
        for value in one.values():
            COUNTS["answers"] += 1
            COUNTS[value if value in ("n/a", "refused") else "files"] += 1


def real_pools(real):
    pools = {}
    for path in sorted((real / "mappings" / "jwst").glob("*.rmap")):
        mapping = rulesets.read_mapping(path)
        rulesets.add_values(mapping, pools.setdefault(mapping.instrument.upper(), {}))
    return {k: rulesets.filled(v) for k, v in pools.items()}


def test_real_context(peer, real):
    rng = random.Random(61)
    pools = real_pools(real)
    instruments = sorted(pools)
    headers = [rulesets.header(rng, pools[i], i) for _ in range(500 * TIMES) for i in instruments]
    compare(peer, real, "jwst_0061.pmap", headers)
    COMPARED.add("real")


def test_mutated_contexts(peer, real, tmp_path):
    rng = random.Random(62)
    rmaps = sorted((real / "mappings" / "jwst").glob("*.rmap"))
    for serial in range(25 * TIMES):
        some = rng.sample(rmaps, 10)
        context, pools = rulesets.mutated(rng, tmp_path, serial, some)
        headers = [rulesets.header(rng, pools[i], i) for _ in range(50) for i in sorted(pools)]
        compare(peer, tmp_path, context, headers)
    COMPARED.add("mutated")


def test_random_contexts(peer, tmp_path):
    rng = random.Random(63)
    for serial in range(60 * TIMES):
        context = rulesets.context(rng, tmp_path, serial)
        headers = [rulesets.header(rng, rulesets.pools_of_keys()) for _ in range(50)]
        compare(peer, tmp_path, context, headers)
    COMPARED.add("random")


@settings(
    max_examples=20 * TIMES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=(Phase.generate,),
)
@given(rng=st.randoms(use_true_random=False))
def test_contexts_that_hypothesis_makes(peer, tmp_path_factory, rng):
    folder = tmp_path_factory.mktemp("made")
    context = rulesets.context(rng, folder, 1, kinds=1)
    compare(peer, folder, context, [rulesets.header(rng, rulesets.pools_of_keys()) for _ in range(8)])
    COMPARED.add("hypothesis")


def test_enough_was_compared():
    if not COUNTS["headers"]:
        pytest.skip("nothing was compared")
    if all(made in COMPARED for made in ("real", "mutated", "random", "hypothesis")):
        assert COUNTS["headers"] >= 10_000, COUNTS
    assert COUNTS["files"] > 0.15 * COUNTS["answers"], COUNTS
    assert COUNTS["refused"] < 0.7 * COUNTS["answers"], COUNTS
    print(COUNTS)

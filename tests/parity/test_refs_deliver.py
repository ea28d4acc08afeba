"""What jwcal delivers is what the official package would have written, and chooses the same there."""

import json
import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from jwcal.core.errors import ReferenceFileError, UsageError
from jwcal.refs.best import Context, as_json
from jwcal.refs.cache import Cache
from jwcal.refs.certify import certify
from jwcal.refs.deliver import deliver
from jwcal.refs.insert import fits_keys, insert, keywords_of
from jwcal.refs.mapping import Mapping, parse_mapping
from tests.refs.cachekit import Draft, make_cache
from tests.refs.test_certify import mutation

HERE = Path(__file__).parent
DETECTORS = ("NRCA1", "NRCB1", "NIS", "MIRIMAGE")
KINDS = ("gain", "dark", "mask", "saturation", "superbias", "flat", "readnoise")
PATTERNS = {
    "P_READPA": ("FASTR1|SLOWR1|", "SLOW | FAST", "ANY", "SHALLOW2", ""),
    "P_SUBARR": ("FULL|SUB64|", "GENERIC", "N/A", ""),
    "P_FILTER": ("F200W|F444W|", "ANY", ""),
    "P_DETECT": ("NRCA1|NRCB1|", ""),
}
USEAFTERS = (
    "2020-01-01T00:00:00", "2024-05-06T07:08:09", "2023-06-01", "2022-07-01T12:00:00.5", "Feb 08 2022 01:02AM",
)  # fmt: skip


class Peer:
    """The official package in a process of its own."""

    def __init__(self, python):
        self.process = subprocess.Popen(
            [str(python), str(HERE / "refs_deliver_peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, root, **job):
        """Answer to a job."""
        self.process.stdin.write(json.dumps({"path": str(root), **job}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the official package ended"
        return json.loads(line)


@pytest.fixture(scope="module")
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


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def draft(rng, kind, *, valid=False):
    """Reference file with random keywords and patterns."""
    detector = rng.choice(DETECTORS)
    words = {key: rng.choice(values) for key, values in PATTERNS.items() if rng.random() < 0.4}
    words = {key: value or None for key, value in words.items()}
    if valid and not detector.startswith("NRC"):
        words["P_DETECT"] = None
    subarrays = ("SUB64", "FULL", "SUB128", "SUB7")
    if valid:
        subarrays = {"NRC": ("SUB128", "SUB320"), "NIS": ("SUB64", "SUB128"), "MIR": ("SUB64", "SUB128")}[
            detector[:3]
        ]
    return Draft(
        kind, detector, 4, seed=rng.randrange(1 << 30), USEAFTER=rng.choice(USEAFTERS),
        READPATT=rng.choice(("FASTR1", "SLOWR1", "ANY")), SUBARRAY=rng.choice(subarrays), **words,
    )  # fmt: skip


def inserted(rules, path):
    """Rules with a file, the change, and why not."""
    keys = fits_keys(rules)
    for finding in certify(path, keys=keys).findings:
        if finding["check"] in ("match", "value") and finding["where"] in keys:
            return None, None, finding["text"]
    try:
        return *insert(rules, keywords_of(path), Path(path).name), ""
    except ReferenceFileError as exc:
        return None, None, str(exc)


FAULTS = ("no USEAFTER", "no HISTORY", "telescope", "detector", "useafter", "pedigree", "cube", "corner")


def test_certify_is_no_milder(peer_python, tmp_path):
    """What the official certifier rejects is rejected here; what is right passes both."""
    cache = make_cache(tmp_path / "cache", kinds=("gain",))
    settings = {"observatory": "jwst", "operational_context": "jwst_0001.pmap", "bad_files_list": []}
    (cache / "config/jwst/server_config").write_text(repr(settings | {"force_remote_mode": False}))
    files = {}
    for name in ("plain", *FAULTS):
        made = Draft("gain", DATAMODL="GainModel")
        if name != "plain":
            mutation("gain", name)[0](made)
        files[name] = made.write(tmp_path / f"{name.replace(' ', '_')}.fits")
    done = subprocess.run(
        [str(peer_python), "-m", "crds.certify", "--comparison-context", "jwst_0001.pmap", *files.values()],
        env={
            **os.environ,
            "CRDS_PATH": str(cache),
            "CRDS_SERVER_URL": "https://127.0.0.1:9",
            "CRDS_OBSERVATORY": "jwst",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert "infos" in said, said[-500:]
    official = {name for name, path in files.items() if re.search(f"ERROR.*data='{re.escape(path)}'", said)}
    ours = {name for name, path in files.items() if certify(path).errors}
    assert official == ours == set(FAULTS)


@pytest.mark.parametrize("seed", range(6))
def test_insertions(peer, tmp_path, seed):
    """A row of insertions into the same rules: the same selectors, or refused by both."""
    rng = random.Random(seed)
    cache = make_cache(tmp_path / "cache")
    done = refused = 0
    for turn in range(25):
        kind = rng.choice(KINDS)
        made = draft(rng, kind)
        instrument = made.header["INSTRUME"].lower()
        path = made.write(tmp_path / f"file{turn}.fits")
        names = sorted((cache / "mappings/jwst").glob(f"jwst_{instrument}_{kind}_*.rmap"))
        theirs = peer.ask(cache, insert=names[-1].name, file=path)
        old = Cache(cache).read(names[-1].name)
        new, _, refusal = inserted(old, path)
        if refusal:
            refused += 1
            assert "error" in theirs, f"{made.header}: refused here: {refusal}"
            continue
        assert "error" not in theirs, f"{made.header}: refused officially: {theirs}"
        official = parse_mapping(Mapping(old.header, old.selector).format().split("selector")[0]
                                 + "selector = " + theirs["selector"] + "\n", verify=False)  # fmt: skip
        assert new.selector == official.selector
        assert new.selector.format() == theirs["selector"]
        done += 1
        new.header["name"] = f"jwst_{instrument}_{kind}_{turn + 10:04d}.rmap"
        (cache / "mappings/jwst" / new.header["name"]).write_text(new.stamp())
    assert done > 5
    print(f"{done} insertions alike, {refused} refused by both")


def headers(rng, count):
    """Random headers, complete for all rules of the cache."""
    out = []
    for _ in range(count):
        detector = rng.choice(("NRCA1", "NRCB1", "NIS", "MIRIMAGE", "NRS1"))
        instrument = {"NR": "NIRCAM", "NI": "NIRISS", "MI": "MIRI"}.get(detector[:2], "NIRSPEC")
        out.append({
            "META.INSTRUMENT.NAME": "NIRSPEC" if detector == "NRS1" else instrument,
            "META.INSTRUMENT.DETECTOR": detector,
            "META.EXPOSURE.READPATT": rng.choice(("FASTR1", "SLOWR1", "SHALLOW2", "FAST")),
            "META.SUBARRAY.NAME": rng.choice(("SUB64", "FULL", "SUB128", "GENERIC")),
            "META.INSTRUMENT.FILTER": rng.choice(("F200W", "F444W", "F115W")),
            "META.INSTRUMENT.PUPIL": rng.choice(("CLEAR", "GRISMR")),
            "META.OBSERVATION.DATE": f"20{rng.randrange(19, 27)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
            "META.OBSERVATION.TIME": f"{rng.randrange(24):02d}:{rng.randrange(60):02d}:00",
        })  # fmt: skip
    return out


def test_deliveries(peer, tmp_path):
    """Contexts are loaded, valid, and choose the same files in the official package."""
    rng = random.Random(11)
    cache = make_cache(tmp_path / "cache")
    compared = different = 0
    for turn in range(8):
        kinds = rng.sample(KINDS, 3)
        paths = [draft(rng, kind, valid=True).write(tmp_path / f"{turn}_{kind}.fits") for kind in kinds]
        try:
            made = deliver(str(cache), paths, f"delivery {turn}")
        except (ReferenceFileError, UsageError):
            continue
        if made.rejected:
            continue
        for name in made.mappings:
            checked = peer.ask(cache, check=name)
            assert "error" not in checked, f"{name}: {checked}"
        assert set(peer.ask(cache, check=made.context)["names"]) >= set(made.mappings)
        asked = headers(rng, 150)
        theirs = peer.ask(cache, context=made.context, headers=asked)["answers"]
        context = Context(str(cache), made.context)
        for header, one in zip(asked, theirs, strict=True):
            two = as_json(context.best(header))
            official = {k: v for k, v in one.items() if not v.startswith("NOT FOUND")}
            assert official == {k: v for k, v in two.items() if not v.startswith("NOT FOUND")}, header
            compared += len(two)
            different += any(name.endswith(("05.fits", "06.fits", "03.fits")) for name in official.values())
    assert compared > 1000
    assert different > 50
    print(f"{compared} choices alike")

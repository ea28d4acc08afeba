"""Delivery: what is written is right, whole or not there at all, and nobody's work is lost."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jwcal.core.errors import OutputError, ReferenceFileError, TemporaryError, UsageError
from jwcal.refs.best import Context
from jwcal.refs.cache import Cache
from jwcal.refs.deliver import deliver, digest, rollback
from jwcal.refs.insert import insert, keywords_of, remove
from jwcal.refs.mapping import read_mapping
from jwcal.refs.store import Store
from jwcal.refs.sync import collect_garbage, verify
from tests.refs.cachekit import Draft, make_cache

SCRIPT = "import sys; from jwcal.refs.deliver import deliver; deliver(sys.argv[1], sys.argv[2:], 'by a test', wait=60)"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for name in ("CRDS_PATH", "CRDS_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    return make_cache(tmp_path / "cache")


def chosen(cache, kind, detector="NRCA1", when="2025-01-01", context=None):
    raw = {
        "INSTRUME": "NIRCAM",
        "DETECTOR": detector,
        "READPATT": "FASTR1",
        "SUBARRAY": "SUB128",
        "FILTER": "F200W",
    }
    raw |= {"PUPIL": "CLEAR", "EXP_TYPE": "NRC_IMAGE", "DATE-OBS": when, "TIME-OBS": "00:00:00"}
    return Context(str(cache), context).best(raw, [kind])[kind].files


def sound(cache):
    return [(name, problem) for name, problem in verify(str(cache)) if problem] == []


def test_one_file(cache, tmp_path):
    path = Draft("gain").write(tmp_path / "gain.fits")
    done = deliver(str(cache), [path], "new gain")
    assert done.context == "jwst_0002.pmap"
    assert Cache(cache).operational()[0] == "jwst_0002.pmap"
    # From its time on the new file, before that the old one, and the old context is as it was.
    assert chosen(cache, "gain", when="2024-05-06") == "jwst_nircam_gain_0002.fits"
    assert chosen(cache, "gain", when="2024-05-07") == "jwst_nircam_gain_0005.fits"
    assert chosen(cache, "gain", when="2025-01-01", context="jwst_0001.pmap") == "jwst_nircam_gain_0002.fits"
    assert chosen(cache, "gain", "NRCB1") == "jwst_nircam_gain_0004.fits"
    assert digest(cache / "references/jwst/jwst_nircam_gain_0005.fits") == digest(path)
    assert Cache(cache).derivation("jwst_0002.pmap") == ["jwst_0001.pmap"]
    rmap = Cache(cache).read("jwst_nircam_gain_0002.rmap")
    assert rmap.header["derived_from"] == "jwst_nircam_gain_0001.rmap"
    assert sound(cache)


def test_log(cache, tmp_path):
    path = Draft("gain").write(tmp_path / "gain.fits")
    deliver(str(cache), [path], "why not")
    [entry] = Store(cache).log()
    assert entry["reason"] == "why not"
    assert entry["who"]
    assert entry["when"].endswith("Z")
    assert entry["files"][0]["source"] == path
    assert entry["files"][0]["sha1"] == digest(path)
    assert entry["mappings"] == ["jwst_nircam_gain_0002.rmap", "jwst_nircam_0002.imap", "jwst_0002.pmap"]


def test_several_files_and_instruments(cache, tmp_path):
    paths = [
        Draft("gain").write(tmp_path / "a.fits"),
        Draft("gain", "NRCB1").write(tmp_path / "b.fits"),
        Draft("dark").write(tmp_path / "c.fits"),
        Draft("gain", "NIS").write(tmp_path / "d.fits"),
    ]
    done = deliver(str(cache), paths, "many")
    assert [name for name in done.mappings if name.endswith(".imap")] == [
        "jwst_nircam_0002.imap",
        "jwst_niriss_0002.imap",
    ]
    assert chosen(cache, "gain") == "jwst_nircam_gain_0005.fits"
    assert chosen(cache, "gain", "NRCB1") == "jwst_nircam_gain_0006.fits"
    assert chosen(cache, "dark") == "jwst_nircam_dark_0005.fits"
    assert sound(cache)


def test_same_rule_and_time_replaces(cache, tmp_path):
    first = Draft("gain", USEAFTER="2020-01-01T00:00:00").write(tmp_path / "a.fits")
    done = deliver(str(cache), [first], "better")
    assert done.changes[0][1].replaced == "jwst_nircam_gain_0001.fits"
    assert chosen(cache, "gain", when="2021-01-01") == "jwst_nircam_gain_0005.fits"
    assert "jwst_nircam_gain_0001.fits" not in Cache(cache).read("jwst_nircam_gain_0002.rmap").references()


def test_pattern_keywords(cache, tmp_path):
    draft = Draft("dark", P_READPA="DEEP8 | FASTR1|")
    deliver(str(cache), [draft.write(tmp_path / "a.fits")], "patterns")
    rmap = Cache(cache).read("jwst_nircam_dark_0002.rmap")
    assert ("NRCA1", "DEEP8|FASTR1", "SUB128") in rmap.selector.entries
    assert chosen(cache, "dark") == "jwst_nircam_dark_0005.fits"


def test_dry_run_writes_nothing(cache, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in cache.rglob("*")}
    done = deliver(str(cache), [Draft("gain").write(tmp_path / "a.fits")], "try", dry_run=True)
    assert done.context == "jwst_0002.pmap"
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*")} == before


def test_rejected_file_stops_all(cache, tmp_path, invoke):
    good = Draft("gain").write(tmp_path / "a.fits")
    bad = Draft("gain", "NRCB1", PEDIGREE="GUESS").write(tmp_path / "b.fits")
    before = sorted(cache.rglob("*.*map"))
    done = invoke("refs", "deliver", good, bad, "--reason", "x", "--cache", cache)
    assert done.code == 4
    assert "1 of 2 files rejected; nothing was delivered" in done.err
    assert sorted(cache.rglob("*.*map")) == before
    assert Cache(cache).operational()[0] == "jwst_0001.pmap"


def test_refusals(cache, tmp_path):
    path = Draft("gain").write(tmp_path / "a.fits")
    deliver(str(cache), [path], "first")
    with pytest.raises(UsageError, match="delivered already"):
        deliver(str(cache), [path], "again")
    other = Draft("gain", "NRCB1").write(tmp_path / "b.fits")
    with pytest.raises(UsageError, match="is a copy of"):
        deliver(str(cache), [other, other], "twice")
    third = Draft("gain", "NRCB1", seed=5).write(tmp_path / "c.fits")
    with pytest.raises(ReferenceFileError, match="same rule and time"):
        deliver(str(cache), [other, third], "clash")
    wide = Draft("dark", P_READPA="FASTR1|DEEP8|").write(tmp_path / "d.fits")
    deliver(str(cache), [wide], "wide")
    narrow = Draft("dark", seed=3).write(tmp_path / "e.fits")
    with pytest.raises(ReferenceFileError, match="special case, of equal weight"):
        deliver(str(cache), [narrow], "narrow")
    with pytest.raises(ReferenceFileError, match="no rules for IPC"):
        deliver(str(cache), [Draft("ipc").write(tmp_path / "f.fits")], "unknown type")
    assert Cache(cache).operational()[0] == "jwst_0003.pmap"


def test_other_base_does_not_become_operational(cache, tmp_path):
    deliver(str(cache), [Draft("gain").write(tmp_path / "a.fits")], "one")
    done = deliver(
        str(cache),
        [Draft("gain", "NRCB1").write(tmp_path / "b.fits")],
        "side branch",
        context="jwst_0001.pmap",
    )
    assert (done.context, done.points) == ("jwst_0003.pmap", False)
    assert Cache(cache).operational()[0] == "jwst_0002.pmap"
    assert chosen(cache, "gain", context="jwst_0003.pmap") == "jwst_nircam_gain_0002.fits"
    # The name of the other branch's file is not used again.
    assert chosen(cache, "gain", "NRCB1", context="jwst_0003.pmap") == "jwst_nircam_gain_0006.fits"


def test_rules_for_a_new_type(cache, tmp_path):
    from jwcal.refs.mapping import Mapping, Selector

    header = dict(Cache(cache).read("jwst_nircam_gain_0001.rmap").header)
    header.update(name="mine.rmap", filekind="IPC", derived_from="generated by hand")
    (tmp_path / "ipc.rmap").write_text(Mapping(header, Selector("Match")).stamp())
    path = Draft("ipc").write(tmp_path / "ipc.fits")
    done = deliver(str(cache), [path, str(tmp_path / "ipc.rmap")], "kernels")
    assert next(iter(done.mappings)) == "jwst_nircam_ipc_0001.rmap"
    assert chosen(cache, "ipc") == "jwst_nircam_ipc_0001.fits"
    assert sound(cache)


def test_rollback(cache, tmp_path):
    path = Draft("gain").write(tmp_path / "a.fits")
    deliver(str(cache), [path], "one")
    deliver(str(cache), [Draft("gain", "NRCB1").write(tmp_path / "b.fits")], "two")
    assert rollback(str(cache), "oops")["context"] == "jwst_0002.pmap"
    assert chosen(cache, "gain", "NRCB1") == "jwst_nircam_gain_0004.fits"
    with pytest.raises(UsageError, match="not derived from it"):
        rollback(str(cache), "forward", to="jwst_0003.pmap")
    rollback(str(cache), "to the start", to="jwst_0001.pmap")
    with pytest.raises(UsageError, match="nothing to go back to"):
        rollback(str(cache), "beyond")
    done = deliver(str(cache), [path], "again")
    assert (done.base, done.context) == ("jwst_0001.pmap", "jwst_0004.pmap")
    assert [e.get("rolled_back", "") for e in Store(cache).log()].count("") == 3
    assert sound(cache)


def test_names_are_not_given_twice(cache, tmp_path):
    paths = [Draft("gain", seed=k).write(tmp_path / f"{k}.fits") for k in range(2)]
    deliver(str(cache), paths[:1], "one")
    rollback(str(cache), "oops")
    collect_garbage(str(cache), keep=["jwst_0001.pmap"], dry_run=False)
    assert Cache(cache).contexts() == ["jwst_0001.pmap"]
    done = deliver(str(cache), paths[1:], "two")
    assert list(done.mappings) == ["jwst_nircam_gain_0003.rmap", "jwst_nircam_0003.imap", "jwst_0003.pmap"]
    assert chosen(cache, "gain") == "jwst_nircam_gain_0006.fits"


def test_certify_compares_with_what_would_be_replaced(cache, tmp_path, invoke):
    deliver(str(cache), [Draft("gain").write(tmp_path / "a.fits")], "one")
    path = Draft("gain", seed=1, USEAFTER="2025-01-01T00:00:00").write(tmp_path / "b.fits")
    done = invoke("refs", "certify", path, "--cache", cache, "--json", "--picture", tmp_path / "a.png")
    assert done.code == 0
    compared = json.loads(done.out)[0]["comparison"]
    assert compared["against"].endswith("jwst_nircam_gain_0005.fits")
    assert compared["keywords"]["USEAFTER"] == {"old": "2024-05-06T07:08:09", "new": "2025-01-01T00:00:00"}
    assert compared["planes"]["SCI"]["changed"] == 64
    assert (tmp_path / "a.png").exists()


def test_circular_derivation(cache, tmp_path):
    pmap = read_mapping(cache / "mappings/jwst/jwst_0001.pmap")
    pmap.header["derived_from"] = "jwst_0001.pmap"
    (cache / "mappings/jwst/jwst_0001.pmap").write_text(pmap.stamp())
    with pytest.raises(ReferenceFileError, match="circular"):
        deliver(str(cache), [Draft("gain").write(tmp_path / "a.fits")], "round and round")


def test_damaged_mapping(cache, tmp_path, invoke):
    path = cache / "mappings/jwst/jwst_nircam_gain_0001.rmap"
    path.write_text(path.read_text().replace("gain_0001.fits", "gain_0009.fits"))
    done = invoke(
        "refs", "deliver", Draft("gain").write(tmp_path / "a.fits"), "--reason", "x", "--cache", cache
    )
    assert done.code == 4
    assert "wrong checksum" in done.err


@contextlib.contextmanager
def read_only(root, around):
    """Make a folder read-only, for the superuser too, who becomes somebody else."""
    folders = [p for p in [root, *root.rglob("*")] if p.is_dir()]
    passed = [p for p in [around, *around.parents] if p.stat().st_uid == os.getuid() and p != Path(p.anchor)]
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (*folders, *passed)}
    try:
        for p in passed:
            p.chmod(modes[p] | 0o055)
        for p in folders:
            p.chmod(0o555)
        if os.getuid() == 0:
            os.seteuid(65534)
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        for p, mode in modes.items():
            p.chmod(mode)


def test_read_only_cache(cache, tmp_path, invoke):
    path = Draft("gain").write(tmp_path / "a.fits")
    os.chmod(path, 0o644)
    with read_only(cache, tmp_path):
        done = invoke("refs", "deliver", path, "--reason", "x", "--cache", cache)
        shown = invoke("refs", "deliver", path, "--reason", "x", "--cache", cache, "--dry-run")
        back = invoke("refs", "rollback", "--reason", "x", "--cache", cache)
    assert (done.code, shown.code, back.code) == (5, 0, 5)
    assert "cannot be written (Permission denied); a delivery has to write here" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_lock_of_another_process(cache, tmp_path):
    path = Draft("gain").write(tmp_path / "a.fits")
    store = Store(cache)
    with store.locked(0), pytest.raises(TemporaryError, match="holds the lock"):
        deliver(str(cache), [path], "wait", wait=0.1)
    deliver(str(cache), [path], "now", wait=0.1)


def test_full_disk_leaves_the_old_context(cache, tmp_path, monkeypatch):
    path = Draft("gain").write(tmp_path / "a.fits")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        deliver(str(cache), [path], "full")
    monkeypatch.undo()
    assert Cache(cache).operational()[0] == "jwst_0001.pmap"
    assert sorted(p.name for p in (cache / "references/jwst").iterdir()) == []


def test_many_at_once(cache, tmp_path):
    drafts = [
        ("gain", "NRCA1"),
        ("gain", "NRCB1"),
        ("dark", "NRCA1"),
        ("gain", "NIS"),
        ("mask", "MIRIMAGE"),
        ("flat", "NRCB1"),
    ]
    paths = [Draft(kind, detector).write(tmp_path / f"{k}.fits") for k, (kind, detector) in enumerate(drafts)]
    running = [subprocess.Popen([sys.executable, "-c", SCRIPT, str(cache), path]) for path in paths]
    assert [p.wait(120) for p in running] == [0] * len(paths)
    place = Cache(cache)
    context = place.operational()[0]
    assert context == f"jwst_{1 + len(paths):04d}.pmap"
    assert place.derivation(context) == [f"jwst_{k:04d}.pmap" for k in range(len(paths), 0, -1)]
    assert {e["files"][0]["source"] for e in Store(cache).log()} == set(paths)
    sums = {digest(p) for p in (cache / "references/jwst").iterdir()}
    assert sums == {digest(p) for p in paths}
    used = set()
    for imap in place.read(context).children().values():
        for rmap in place.read(imap).children().values():
            used |= set(place.read(rmap).references())
    assert {p.name for p in (cache / "references/jwst").iterdir()} <= used
    assert sound(cache)


DYING = """
import os, sys
from pathlib import Path
count = int(sys.argv[3])
def counted(function):
    def call(*args, **more):
        global count
        count -= 1
        if count == 0:
            os._exit(9)
        return function(*args, **more)
    return call
Path.replace = counted(Path.replace)
os.fsync = counted(os.fsync)
from jwcal.refs.deliver import deliver
deliver(sys.argv[1], [sys.argv[2]], "killed")
"""


def test_killed_at_every_step(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    path = Draft("gain").write(tmp_path / "a.fits")
    states = set()
    for step in range(1, 40):
        cache = make_cache(tmp_path / f"cache{step}")
        done = subprocess.run([sys.executable, "-c", DYING, str(cache), path, str(step)], check=False)
        context, _ = Cache(cache).operational()
        states.add(context)
        files = {
            "jwst_0001.pmap": "jwst_nircam_gain_0002.fits",
            "jwst_0002.pmap": "jwst_nircam_gain_0005.fits",
        }
        assert chosen(cache, "gain") == files[context]
        assert [n for n, problem in verify(str(cache), references=False) if problem] == []
        for name in Cache(cache).contexts():
            assert chosen(cache, "gain", context=name) == files[name]
        if done.returncode == 0:
            assert step > 10
            break
        # What is left over does not stand in the way, and can be told and cleared.
        if context == "jwst_0001.pmap":
            deliver(str(cache), [path], "again")
            assert chosen(cache, "gain").startswith("jwst_nircam_gain_000")
            assert chosen(cache, "gain") != "jwst_nircam_gain_0002.fits"
        collect_garbage(str(cache), dry_run=False)
        assert sound(cache)
        assert not list(cache.rglob(".*part"))
    else:
        pytest.fail("never came to the end")
    assert states == {"jwst_0001.pmap", "jwst_0002.pmap"}


def test_killed_by_signal(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    path = Draft("gain", size=256).write(tmp_path / "a.fits")
    rng = np.random.default_rng(3)
    for turn in range(6):
        cache = make_cache(tmp_path / f"cache{turn}", kinds=("gain",))
        with subprocess.Popen([sys.executable, "-c", SCRIPT, str(cache), path]) as child:
            time.sleep(rng.uniform(0.05, 0.4))
            child.send_signal(signal.SIGKILL)
        context, _ = Cache(cache).operational()
        files = {
            "jwst_0001.pmap": "jwst_nircam_gain_0002.fits",
            "jwst_0002.pmap": "jwst_nircam_gain_0005.fits",
        }
        assert chosen(cache, "gain") == files[context]
        assert [n for n, problem in verify(str(cache), references=False) if problem] == []


def test_insert_and_remove_are_inverse(cache, tmp_path):
    rmap = Cache(cache).read("jwst_nircam_dark_0001.rmap")
    keywords = keywords_of(Draft("dark").write(tmp_path / "a.fits"))
    new, change = insert(rmap, keywords, "new.fits")
    assert change.action == "adds a rule"
    assert new.selector != rmap.selector
    assert remove(new, "new.fits").selector == rmap.selector


def test_commands(cache, tmp_path, invoke):
    path = Draft("gain").write(tmp_path / "a.fits")
    shown = invoke("refs", "deliver", path, "--reason", "x", "--cache", cache, "--dry-run")
    assert b"would become operational" in shown.out
    done = invoke("refs", "deliver", path, "--reason", "x", "--cache", cache, "--json")
    assert json.loads(done.out)["context"] == "jwst_0002.pmap"
    assert b"x" in invoke("refs", "log", "--cache", cache).out
    history = invoke("refs", "history", "gain", "--instrument", "NIRCAM", "--cache", cache, "--json")
    entries = json.loads(history.out)
    assert [e["rules"] for e in entries] == ["jwst_nircam_gain_0002.rmap", "jwst_nircam_gain_0001.rmap"]
    assert entries[0]["added"] == ["jwst_nircam_gain_0005.fits"]
    assert invoke("refs", "history", "nothing", "--cache", cache).code == 2
    assert (
        b"jwst_0001.pmap is operational again"
        in invoke("refs", "rollback", "--reason", "y", "--cache", cache).out
    )
    assert invoke("refs", "deliver", path, "--reason", " ", "--cache", cache).code == 2
    assert invoke("refs", "deliver", tmp_path / "none.fits", "--reason", "z", "--cache", cache).code == 4

"""Bringing files into a cache: from folders, archives and a mirror that breaks off."""

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from jwcal.core.errors import InputError, ReferenceFileError, TemporaryError, UsageError
from jwcal.refs import sync
from jwcal.refs.cache import Cache
from jwcal.refs.deliver import deliver
from jwcal.refs.store import Store
from jwcal.refs.sync import Sync, collect_garbage, open_source, verify
from tests.refs.cachekit import Draft, make_cache


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sync, "_PAUSE", 0.0)
    for name in ("CRDS_PATH", "CRDS_CONTEXT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def full(tmp_path):
    """Cache whose new context has two files that are there."""
    cache = make_cache(tmp_path / "full", kinds=("gain", "dark"))
    paths = [
        Draft("gain", size=64).write(tmp_path / "a.fits"),
        Draft("dark", size=64).write(tmp_path / "b.fits"),
    ]
    deliver(str(cache), paths, "x")
    for name in ("gain", "dark"):
        for k in range(1, 5):
            path = cache / f"references/jwst/jwst_nircam_{name}_{k:04d}.fits"
            Draft(name, size=16, seed=k).write(path)
    return cache


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def names(folder):
    return {p.name for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock")}


def wanted(cache, instrument="nircam"):
    place = Cache(cache)
    out = []
    for imap in place.read("jwst_0002.pmap").children().values():
        for rmap in place.read(imap).children().values():
            mapping = place.read(rmap)
            if mapping.instrument == instrument:
                out += [(name, instrument) for name in mapping.references()]
    return out


class Mirror(SimpleHTTPRequestHandler):
    """Server that knows ranges, breaks off transfers and keeps count."""

    breaks = 0
    fails = 0
    asked: ClassVar = []
    ranges = True

    def do_GET(self):
        path = self.translate_path(self.path)
        type(self).asked.append((self.path, self.headers.get("Range")))
        if type(self).fails > 0:
            type(self).fails -= 1
            self.send_error(503)
            return
        try:
            with open(path, "rb") as stream:
                data = stream.read()
        except OSError:
            self.send_error(404)
            return
        start = 0
        if self.headers.get("Range") and self.ranges:
            start = int(self.headers["Range"].split("=")[1].split("-")[0])
            if start >= len(data):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        part = data[start:]
        if type(self).breaks > 0 and len(part) > 4000:
            type(self).breaks -= 1
            part = part[: len(part) // 2]
            self.close_connection = True
        self.wfile.write(part)

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(full):
    Mirror.breaks = Mirror.fails = 0
    Mirror.asked, Mirror.ranges = [], True
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, directory=str(full)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def archive_of(full, path, kind):
    files = [p for p in full.rglob("*") if p.is_file()]
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as out:
            for p in files:
                out.write(p, p.relative_to(full))
    else:
        with tarfile.open(path, "w:gz") as out:
            for p in files:
                out.add(p, "./" + str(p.relative_to(full)))
    return str(path)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "http"])
def test_context_and_references(kind, full, empty, tmp_path, mirror):
    where = {"folder": lambda: str(full), "http": lambda: mirror}.get(
        kind, lambda: archive_of(full, tmp_path / kind, kind)
    )()
    source = open_source(where)
    done = Sync(empty, source)
    mappings = done.context("jwst_0002.pmap")
    assert len([m for m in mappings if m.kind == "rmap"]) == 8
    assert not (empty / "references").exists()
    done.references(wanted(empty))
    for name, _ in wanted(empty):
        mine, theirs = empty / "references/jwst" / name, full / "references/jwst" / name
        assert mine.read_bytes() == theirs.read_bytes()
    assert [problem for _, problem in verify(str(empty)) if problem] == []
    assert Cache(empty).operational() == (None, "")
    brought = len(done.brought)
    again = Sync(empty, source)
    again.context("jwst_0002.pmap")
    again.references(wanted(empty))
    assert (again.brought, len(again.present)) == ([], brought)
    getattr(source, "close", lambda: None)()


def test_broken_transfer_goes_on(full, empty, mirror):
    Mirror.breaks = 3
    done = Sync(empty, open_source(mirror), jobs=1)
    done.references([("jwst_nircam_dark_0005.fits", "nircam")])
    asked = [r for path, r in Mirror.asked if path.endswith("dark_0005.fits")]
    size = (full / "references/jwst/jwst_nircam_dark_0005.fits").stat().st_size
    assert asked == [None, f"bytes={size // 2}-", f"bytes={size // 2 + (size - size // 2) // 2}-", asked[3]]
    name = "references/jwst/jwst_nircam_dark_0005.fits"
    assert (empty / name).read_bytes() == (full / name).read_bytes()
    assert done.bytes == size


def test_resume_in_another_run(full, empty, mirror):
    name = "jwst_nircam_dark_0005.fits"
    data = (full / "references/jwst" / name).read_bytes()
    (empty / "references/jwst").mkdir(parents=True)
    (empty / "references/jwst" / f".{name}.part").write_bytes(data[:5000])
    Sync(empty, open_source(mirror)).references([(name, "nircam")])
    assert (f"/references/jwst/{name}", "bytes=5000-") in Mirror.asked
    assert (empty / "references/jwst" / name).read_bytes() == data
    assert names(empty / "references") == {name}


def test_server_without_ranges(full, empty, mirror):
    Mirror.ranges, Mirror.breaks = False, 1
    name = "jwst_nircam_dark_0005.fits"
    Sync(empty, open_source(mirror)).references([(name, "nircam")])
    assert (empty / "references/jwst" / name).read_bytes() == (full / "references/jwst" / name).read_bytes()


def test_mirror_that_recovers_or_not(empty, mirror):
    Mirror.fails = 2
    Sync(empty, open_source(mirror)).context("jwst_0001.pmap")
    Mirror.fails = 1000
    with pytest.raises(TemporaryError, match="503"):
        Sync(empty, open_source(mirror)).context("jwst_0002.pmap")


def test_no_server(empty):
    with pytest.raises(TemporaryError, match="cannot be had"):
        Sync(empty, open_source("http://127.0.0.1:9")).context("jwst_0002.pmap")


def test_damaged_mapping_is_not_taken(full, empty, mirror):
    path = full / "mappings/jwst/jwst_nircam_gain_0002.rmap"
    path.write_text(path.read_text().replace("gain_0005", "gain_0006"))
    for where in (str(full), mirror):
        with pytest.raises(ReferenceFileError, match="wrong checksum"):
            Sync(empty, open_source(where)).context("jwst_0002.pmap")
        assert "jwst_nircam_gain_0002.rmap" not in names(empty)
        assert ".jwst_nircam_gain_0002.rmap.part" not in names(empty)


def test_damaged_reference_is_not_taken(full, empty):
    name = "jwst_nircam_gain_0005.fits"
    path = full / "references/jwst" / name
    data = path.read_bytes()
    (full / "sha1sums").write_text(f"{hashlib.sha1(data).hexdigest()}  references/jwst/{name}\n")
    Sync(empty, open_source(str(full))).references([(name, "nircam")])
    (empty / "references/jwst" / name).unlink()
    path.write_bytes(data[:6000] + b"x" + data[6001:])
    with pytest.raises(ReferenceFileError, match="wrong checksum"):
        Sync(empty, open_source(str(full))).references([(name, "nircam")])
    (full / "sha1sums").unlink()
    path.write_bytes(data[:-2880])
    with pytest.raises(ReferenceFileError, match="damaged"):
        Sync(empty, open_source(str(full))).references([(name, "nircam")])
    assert name not in names(empty)


def test_missing_reference_does_not_stop_the_others(full, empty):
    (full / "references/jwst/jwst_nircam_gain_0005.fits").unlink()
    done = Sync(empty, open_source(str(full)))
    with pytest.raises(InputError, match=r"jwst_nircam_gain_0005\.fits: not at"):
        done.references([("jwst_nircam_gain_0005.fits", "nircam"), ("jwst_nircam_dark_0005.fits", "nircam")])
    assert done.brought == ["jwst_nircam_dark_0005.fits"]


def test_names_do_not_leave_the_cache(full, empty):
    for name in ("../evil.fits", "/etc/passwd", "a/b.fits", ""):
        with pytest.raises(ReferenceFileError, match="is not the name"):
            Sync(empty, open_source(str(full))).references([(name, "nircam")])


def test_archive_with_paths_outside(empty, tmp_path, full):
    path = tmp_path / "bad.tar"
    data = (full / "references/jwst/jwst_nircam_gain_0005.fits").read_bytes()
    with tarfile.open(path, "w") as out:
        info = tarfile.TarInfo("../../jwst_nircam_gain_0005.fits")
        info.size = len(data)
        out.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("jwst_nircam_gain_0006.fits")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
    source = open_source(str(path))
    done = Sync(empty, source)
    done.references([("jwst_nircam_gain_0005.fits", "nircam")])
    assert names(empty) == {"jwst_nircam_gain_0005.fits"}
    with pytest.raises(InputError, match="not at"):
        done.references([("jwst_nircam_gain_0006.fits", "nircam")])
    source.close()


def test_what_is_no_source(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        open_source(str(tmp_path / "nothing"))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="no readable tar or zip"):
        open_source(str(tmp_path / "text"))


def test_instrument_folders(full, empty):
    (empty / "config/jwst").mkdir(parents=True)
    (empty / "config/jwst/ref_cache_subdir_mode").write_text("instrument\n")
    Sync(empty, open_source(str(full))).references([("jwst_nircam_gain_0005.fits", "nircam")])
    assert (empty / "references/jwst/nircam/jwst_nircam_gain_0005.fits").is_file()
    other = empty.parent / "other"
    other.mkdir()
    again = Sync(other, open_source(str(empty)))
    again.references([("jwst_nircam_gain_0005.fits", "nircam")])
    assert again.brought


def test_verify(full):
    assert [p for _, p in verify(str(full), context="jwst_0002.pmap") if p] == ["not in the cache"] * 16
    path = full / "references/jwst/jwst_nircam_gain_0005.fits"
    data = path.read_bytes()
    path.write_bytes(data[:6000] + b"x" + data[6001:])
    assert ("jwst_nircam_gain_0005.fits", "wrong checksum") in list(verify(str(full)))
    mapping = full / "mappings/jwst/jwst_niriss_gain_0001.rmap"
    mapping.write_text("header = {}")
    problems = {name: problem for name, problem in verify(str(full)) if problem}
    assert set(problems) == {"jwst_nircam_gain_0005.fits", "jwst_niriss_gain_0001.rmap"}


def test_garbage(full):
    assert collect_garbage(str(full)) == []
    stray = full / "references/jwst/jwst_nircam_gain_0099.fits"
    stray.write_bytes(b"x" * 100)
    (full / "references/jwst/README").write_text("not ours")
    (full / "references/jwst/.jwst_nircam_gain_0098.fits.part").write_bytes(b"y")
    found = collect_garbage(str(full))
    assert {p.rsplit("/", 1)[-1] for p, _ in found} == {stray.name, ".jwst_nircam_gain_0098.fits.part"}
    assert stray.exists()
    with pytest.raises(UsageError, match="not in the cache"):
        collect_garbage(str(full), keep=["jwst_0007.pmap"], dry_run=False)
    collect_garbage(str(full), keep=["jwst_0002.pmap"], dry_run=False)
    assert not stray.exists()
    left = names(full / "mappings")
    assert "jwst_0002.pmap" in left
    assert "jwst_0001.pmap" not in left
    assert "jwst_nircam_gain_0001.rmap" not in left
    # It was replaced in the new context, so that only the old one used it.
    assert [p for _, p in verify(str(full), references=False) if p] == []


def test_garbage_is_not_guessed_from_damaged_rules(full):
    path = full / "mappings/jwst/jwst_nircam_gain_0002.rmap"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ReferenceFileError, match="wrong checksum"):
        collect_garbage(str(full), dry_run=False)


def test_two_syncs_wait_for_each_other(full, empty, invoke):
    with Store(empty).locked(0, "sync"):
        done = invoke("refs", "sync", "jwst_0002.pmap", "--from", full, "--cache", empty, "--wait", "0")
    assert done.code == 75
    assert invoke("refs", "sync", "jwst_0002.pmap", "--from", full, "--cache", empty).code == 0


def test_commands(full, empty, mirror, invoke, tmp_path):
    done = invoke("refs", "sync", "jwst_0002.pmap", "--from", mirror, "--cache", empty, "--json")
    assert done.code == 0
    assert len(json.loads(done.out)["brought"]) == 13
    done = invoke(
        "refs",
        "sync",
        "jwst_0002.pmap",
        "--from",
        full,
        "--cache",
        empty,
        "--types",
        "gain",
        "--instrument",
        "nircam",
    )
    assert done.code == 0
    assert {n for n in names(empty) if n.endswith(".fits")} == {
        f"jwst_nircam_gain_{k:04d}.fits" for k in (1, 2, 3, 4, 5)
    }
    header = tmp_path / "header.json"
    raw = {"INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "READPATT": "FASTR1", "SUBARRAY": "SUB128"}
    header.write_text(json.dumps({**raw, "DATE-OBS": "2025-01-01", "TIME-OBS": "00:00:00"}))
    done = invoke("refs", "prefetch", header, "--from", full, "--cache", empty, "--context", "jwst_0002.pmap")
    assert done.code == 0
    assert "jwst_nircam_dark_0005.fits" in names(empty)
    assert b"could be deleted" in invoke("refs", "gc", "--cache", empty).out
    assert invoke("refs", "verify", "--cache", empty).code == 0
    assert invoke("refs", "verify", "--cache", empty, "--context", "jwst_0002.pmap").code == 4
    assert invoke("refs", "sync", "jwst_0009.pmap", "--from", full, "--cache", empty).code == 3
    assert invoke("refs", "sync", "jwst_0009.pmap", "--from", tmp_path / "no", "--cache", empty).code == 2

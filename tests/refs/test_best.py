"""The command that chooses: files, lines, errors, speed of starting, the index."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jwcal.core.errors import InputError, ReferenceFileError, UsageError
from jwcal.refs.best import Context, as_json, moment, read_header
from jwcal.refs.cache import Cache
from jwcal.refs.mapping import Selector, read_mapping
from tests.refs.conftest import DETECTOR, rmap

ALL = {
    "dark": "dark_2.fits",
    "gain": "gain_1.fits",
    "flat": "flat_1.fits",
    "regions": "n/a",
}


def best(made, header, context="jwst_0001.pmap", **more):
    return as_json(Context(str(made.root), context).best(header, **more))


def test_all_types_and_names_of_keywords(made, header):
    assert best(made, header) == ALL
    named = {
        "meta.instrument.name": "nircam",
        "META.INSTRUMENT.DETECTOR": "nrca1",
        "Meta.Instrument.Filter": "F200W",
        "META.EXPOSURE.TYPE": "NRC_IMAGE",
        "META.OBSERVATION.DATE": "2022-07-01",
        "META.OBSERVATION.TIME": "12:00:00",
        "SOMETHING": {"else": []},
    }
    assert best(made, named) == ALL


def test_last_of_two_names_counts(made, header):
    assert best(made, {**header, "META.INSTRUMENT.DETECTOR": "NRCB2"})["dark"] == "n/a"
    assert best(made, {"META.INSTRUMENT.DETECTOR": "NRCB2", **header})["dark"] == "dark_2.fits"


def test_date_and_types(made, header):
    assert best(made, header, when=moment("2023-06-01")) | ALL == {**ALL, "dark": "dark_2.fits"}
    assert best(made, header, when=moment("2023-06-01"))["dark"] == "dark_3.fits"
    assert best(made, header, types=["dark", "nothing"])["nothing"].startswith(
        "NOT FOUND unknown reference type"
    )


def test_command_on_files(made, header, invoke, tmp_path, exposure):
    path = tmp_path / "header.json"
    path.write_text(json.dumps(header))
    found = invoke("refs", "best", path, "--cache", made.root, "--context", "jwst_0001.pmap")
    assert (found.code, found.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in found.out.decode().splitlines())
    assert lines == {
        "camera": "omitted  (omitted for NIRCAM)",
        "dark": "dark_2.fits  (DETECTOR=NRCA1 FILTER=N/A from 2022-01-01 00:00:00)",
        "flat": "flat_1.fits  (EXP_TYPE=NRC_IMAGE)",
        "gain": "gain_1.fits  (DETECTOR=NRCA1)",
        "omitted": "omitted  (the rule says so)",
        "regions": "N/A  (not applicable to NIRCAM)",
    }
    told = invoke("refs", "best", exposure.uncal, path, "--json", "--types", "dark,flat", "--cache", made.root, "--context",
                  "jwst_0001.pmap")  # fmt: skip
    rows = [json.loads(line) for line in told.out.splitlines()]
    assert [(r["type"], r["file"]) for r in rows] == [
        ("dark", "dark_3.fits"), ("flat", "flat_1.fits"), ("dark", "dark_2.fits"), ("flat", "flat_1.fits"),
    ]  # fmt: skip
    assert rows[0]["rule"] == {"DETECTOR": "NRCA1", "FILTER": "F200W"}
    assert rows[0]["context"] == "jwst_0001.pmap"


def test_explanation_names_the_next_best(made, header, invoke, tmp_path):
    path = tmp_path / "header.json"
    path.write_text(json.dumps(header))
    out = invoke("refs", "best", path, "--types", "dark,flat", "--explain", "--cache", made.root, "--context",
                 "jwst_0001.pmap").out.decode()  # fmt: skip
    assert "weight 1 of 2 fields" in out
    assert "not dark_3.fits: fits better, but has nothing for this date" in out
    assert "not dark_1.fits: from 2014-01-01 00:00:00, older than the one taken" in out
    assert "not N/A: for DETECTOR NRCB2, not NRCA1" in out
    assert "rmap_relevance (META.EXPOSURE.TYPE not in" in out


def test_lines(made, header, jwcal):
    good = json.dumps(header).encode()
    lines = [good, b"{bad", b'{"INSTRUME": "HRS"}', b"", b"[1]", b'{"DETECTOR": "NRCA1"}', good]
    done = jwcal(
        "refs",
        "best",
        "--stdin",
        "--cache",
        made.root,
        "--context",
        "jwst_0001.pmap",
        stdin=b"\n".join(lines),
    )
    out = [json.loads(line) for line in done.out.splitlines()]
    assert out[0] == out[-1] == ALL
    assert [(o["line"], o["exit_code"]) for o in out[1:5]] == [(2, 3), (3, 3), (5, 3), (6, 3)]
    assert done.code == 3
    assert done.err.count("\n") == 1
    assert "4 of 7 lines failed, first line 2" in done.err
    assert (
        jwcal("refs", "best", "--stdin", "--cache", made.root, "--context", "jwst_0001.pmap", stdin=good).code
        == 0
    )


def test_a_line_is_answered_before_the_next_is_asked(made, header):
    command = [sys.executable, "-c", "from jwcal.cli.main import main; main()", "refs", "best", "--stdin"]
    command += ["--cache", str(made.root), "--context", "jwst_0001.pmap"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for _ in range(2):
            process.stdin.write(json.dumps(header).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == ALL
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "give a FILE"),
        (("x.fits", "--stdin"), 2, "--stdin takes neither"),
        (("--types", "drak", "h.json"), 2, "no such reference type (near: dark)"),
        (("none.fits",), 3, "none.fits: No such file"),
        (("h.json", "--date", "soon"), 2, "--date soon"),
        (("--context", "jwst_0009.pmap", "h.json"), 4, "jwst_0009.pmap: not in the cache"),
        (("--context", "jwst_nircam_dark_0001.rmap", "h.json"), 2, "a context is a .pmap or .imap"),
        (("--cache", "nowhere", "h.json"), 2, "nowhere: no such reference cache"),
        (("bad.json",), 3, "bad.json: is no JSON object"),
        (("fgs.json",), 3, "instrument FGS: N/A in jwst_0001.pmap"),
        (("short.fits",), 3, "short.fits: truncated FITS header"),
    ],
)
def test_unhappy_paths(made, header, invoke, tmp_path, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h.json").write_text(json.dumps(header))
    (tmp_path / "fgs.json").write_text('{"INSTRUME": "FGS"}')
    (tmp_path / "bad.json").write_text('{"INSTRUME": ')
    (tmp_path / "short.fits").write_bytes(b"SIMPLE  =                    T".ljust(80) * 30)
    more = [] if "--cache" in arguments else ["--cache", made.root]
    more += [] if "--context" in arguments else ["--context", "jwst_0001.pmap"]
    found = invoke("refs", "best", *arguments, *more)
    assert found.code == code, found.err
    assert says in found.err
    assert found.err.count("\n") == 1


def damage(made, change):
    path = made.mappings / "jwst_nircam_dark_0001.rmap"
    text = change(path.read_text())
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("dark_1.fits", "dark_9.fits"), "wrong checksum"),
        (lambda text: text[: len(text) // 2], "not a valid mapping"),
        (lambda _: "", "needs a header and a selector"),
        (lambda _: None, "not in the cache"),
        (lambda text: text + "import os\n", "line 40|not one of header"),
    ],
)
def test_damaged_mappings_are_refused_also_after_the_index_was_made(
    made, header, invoke, tmp_path, change, says
):
    assert best(made, header) == ALL
    (tmp_path / "h.json").write_text(json.dumps(header))
    damage(made, change)
    found = invoke("refs", "best", tmp_path / "h.json", "--cache", made.root, "--context", "jwst_0001.pmap")
    assert found.code == 4
    assert "jwst_nircam_dark_0001.rmap" in found.err
    assert any(part in found.err for part in says.split("|"))
    assert found.err.count("\n") == 1


def test_index_is_made_once_and_made_again_when_damaged(made, header, tmp_path, monkeypatch):
    assert best(made, header) == ALL
    (index,) = (tmp_path / "xdg").rglob("*.index")
    raw = index.read_bytes()
    monkeypatch.setattr("jwcal.refs.index.build", None)
    assert best(made, header) == ALL
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for damaged in (raw[:-9], raw.replace(b"dark_2", b"dark_9"), b"", b"\xff\n{}", b"{}"):
        index.write_bytes(damaged)
        assert best(made, header) == ALL
        assert index.read_bytes() == raw


def test_a_changed_mapping_is_seen(made, header):
    assert best(made, header) == ALL
    made.context(rmap("dark", ((DETECTOR,),), Selector("Match", {"NRCA1": "other.fits"})))
    assert best(made, header) == {"dark": "other.fits"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_places_are_no_hindrance(made, header, tmp_path):
    for folder in (tmp_path, made.mappings):
        folder.chmod(0o500)
    try:
        assert best(made, header) == ALL
    finally:
        for folder in (tmp_path, made.mappings):
            folder.chmod(0o700)


def test_no_place_for_the_index_is_no_hindrance(made, header, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert best(made, header) == ALL


def test_contexts_in_order_of_precedence(made, header, invoke, monkeypatch):
    made.context(rmap("dark", ((DETECTOR,),), Selector("Match", {"NRCA1": "new.fits"}), serial=2), serial=2)
    root = str(made.root)
    with pytest.raises(UsageError, match=r"no operational context; it has jwst_0001.pmap, jwst_0002.pmap"):
        Context(root)
    config = made.root / "config" / "jwst"
    config.mkdir(parents=True)
    (config / "server_config").write_text(
        "{'operational_context': 'jwst_0001.pmap',\n 'bad_files_list': ['x.fits', 'y.fits']}"
    )
    assert Context(root).name == "jwst_0001.pmap"
    assert Cache(root).bad_files() == {"x.fits", "y.fits"}
    assert invoke("refs", "context", "jwst_0002.pmap", "--use", "--cache", root).code == 0
    assert (config / "operational").read_text() == "jwst_0002.pmap\n"
    assert Context(root).name == "jwst_0002.pmap"
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_0001.pmap")
    assert Context(root).origin == "CRDS_CONTEXT"
    assert Context(root, "jwst_0002.pmap").name == "jwst_0002.pmap"
    monkeypatch.setenv("CRDS_PATH", root)
    monkeypatch.delenv("CRDS_CONTEXT")
    assert Context().best(header)["dark"].files == "new.fits"
    (config / "operational").write_text("../../etc/passwd")
    with pytest.raises(ReferenceFileError, match="not the name of a context"):
        Context(root)


def test_folder_of_bare_mappings_and_paths(made, header, tmp_path):
    flat = tmp_path / "flat"
    shutil.copytree(made.mappings, flat)
    assert as_json(Context(str(flat), "jwst_0001.pmap").best(header)) == ALL
    assert as_json(Context(None, str(flat / "jwst_0001.pmap")).best(header)) == ALL
    assert as_json(Context(None, str(made.mappings / "jwst_nircam_0001.imap")).best(header)) == ALL
    with pytest.raises(InputError, match=r"instrument MIRI: jwst_nircam_0001.imap is for NIRCAM"):
        Context(None, str(flat / "jwst_nircam_0001.imap")).best({"INSTRUME": "MIRI"})


def test_check_finds_circles_and_misnomers(made, invoke):
    arguments = ("refs", "context", "jwst_0001.pmap", "--check", "--cache", made.root)
    assert b"6 mappings are sound" in invoke(*arguments).out
    path = made.mappings / "jwst_nircam_gain_0001.rmap"
    mapping = read_mapping(path)
    mapping.header["derived_from"] = "jwst_nircam_gain_0000.rmap"
    made.write(mapping)
    before = mapping.copy()
    before.header |= {"name": "jwst_nircam_gain_0000.rmap", "derived_from": "jwst_nircam_gain_0001.rmap"}
    made.write(before)
    found = invoke(*arguments)
    assert found.code == 4
    assert "circular derivation" in found.err
    mapping.header |= {"derived_from": "by hand", "name": "jwst_nircam_gain_0002.rmap"}
    path.write_text(mapping.stamp())
    assert "its header says jwst_nircam_gain_0002.rmap" in invoke(*arguments).err


def test_pointer_in_a_place_that_cannot_be_written(made, invoke):
    (made.root / "config").write_text("")
    found = invoke("refs", "context", "jwst_0001.pmap", "--use", "--cache", made.root)
    assert found.code == 5
    assert "cannot be written" in found.err


def test_headers_of_every_kind_of_file(exposure, tmp_path, shared):
    import gzip

    header = read_header(str(exposure.uncal))
    assert (header["INSTRUME"], header["NGROUPS"], header["TSOVISIT"]) == ("NIRCAM", 6, False)
    packed = tmp_path / "x.fits.gz"
    packed.write_bytes(gzip.compress(exposure.uncal.read_bytes()))
    assert read_header(str(packed)) == header
    files = sorted((shared / "data" / "level1b").glob("*.fits"))
    assert files
    assert all(read_header(str(path))["INSTRUME"] for path in files)


def test_mapping_of_one_instrument_only_is_read(made, header):
    name = "jwst_miri_0001.imap"
    pmap = read_mapping(made.mappings / "jwst_0001.pmap")
    pmap.selector["MIRI"] = name
    made.write(pmap)
    (made.mappings / name).write_text("damaged")
    assert best(made, header) == ALL
    with pytest.raises(ReferenceFileError, match=name):
        best(made, {"INSTRUME": "MIRI"})


def test_quick_enough(made, header):
    """Rules of 4000 dated files: all types of a header at once, and thousands of headers a second."""
    entries = {
        (f"NRC{i:03d}", "F200W|F150W|F115W"): Selector("UseAfter", {f"20{n:02d}-01-01 00:00:00": f"f_{i}_{n}.fits" for n in range(10)})
        for i in range(400)
    }  # fmt: skip
    keys = ((DETECTOR, "META.INSTRUMENT.FILTER"), ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME"))
    made.context(
        *(rmap(kind, keys, Selector("Match", entries)) for kind in ("dark", "flat", "gain")), serial=3
    )
    header = {**header, "DETECTOR": "NRC123"}
    assert best(made, header, "jwst_0003.pmap")["gain"] == "f_123_9.fits"
    context = Context(str(made.root), "jwst_0003.pmap")
    start = time.process_time()
    context.best(header)
    first = time.process_time() - start
    start = time.process_time()
    for number in range(3000):
        context.best({**header, "DETECTOR": f"NRC{number % 400:03d}", "TIME-OBS": f"12:{number % 60:02d}:00"})
    assert (time.process_time() - start) / 3000 < 1 / 2000
    assert first < 0.1


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=6)
    | st.just([1])
)
names = st.sampled_from(
    ["INSTRUME", "detector", "FILTER", "EXP_TYPE", "DATE-OBS", "TIME-OBS", DETECTOR]
) | st.text(max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    raw=st.dictionaries(names, values, max_size=6),
    instrument=st.sampled_from(["NIRCAM", "nircam", "../x", "A\0B", "\ud800", ""]),
)
def test_any_header_is_answered_or_refused(made, raw, instrument):
    context = Context(str(made.root), "jwst_0001.pmap")
    with contextlib.suppress(InputError):
        answers = as_json(context.best({"INSTRUME": instrument, **raw}))
        assert set(answers) <= {*ALL, "omitted"}
        json.dumps(answers)

"""The FITS codec: input damaged in every way, output that is never half there."""

import contextlib
import gzip
import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.core import spool, target
from jwcal.core.errors import InputError, OutputError, UsageError
from jwcal.core.fits import create_fits, open_fits
from jwcal.core.header import BLOCK
from tests.core.fits_samples import pattern, rich_file, same, verified, write


@pytest.fixture
def rich(tmp_path):
    return rich_file(tmp_path / "rich.fits")


def test_truncated_anywhere(rich, tmp_path):
    data = rich.read_bytes()
    cut = tmp_path / "cut.fits"
    places = {
        n for at in range(0, len(data), BLOCK) for n in (at, at + 1, at + 79, at + 80, at + 1000, at + 2879)
    }
    for size in sorted(n for n in places if n < len(data)):
        cut.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"truncated|not a FITS|is empty"):
            open_fits(cut)
    cut.write_bytes(data)
    with open_fits(cut) as f:
        assert len(f) == 4


def test_truncation_names_hdu_and_bytes(rich, tmp_path):
    data = rich.read_bytes()
    cut = tmp_path / "cut.fits"
    cut.write_bytes(data[: 3 * BLOCK])
    with pytest.raises(
        InputError, match=r"cut\.fits\[SCI\]: truncated: the data need 25920 bytes, the file has 2880"
    ):
        open_fits(cut)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"SIMPLE  =                    T", b"SIMPLE  =                    F", "SIMPLE"),
        (b"BITPIX  =                   16", b"BITPIX  =                   17", "BITPIX is 17"),
        (b"BITPIX  =                   16", b"BITPIX  =                  '6'", "BITPIX is '6'"),
        (b"NAXIS   =                    4", b"NAXIS   =                   -4", "NAXIS is -4"),
        (b"NAXIS   =                    4", b"NAXIS   =                 9999", "NAXIS is 9999"),
        (b"NAXIS1  =                   50", b"NAXIS1  =        9999999999999", "truncated"),
        (b"NAXIS1  =                   50", b"NAXISX  =                   50", "NAXIS1 is missing"),
        (b"NAXIS1  =                   50", b"NAXIS1  =                 5..0", "NAXIS1 cannot be read"),
        (b"XTENSION= 'IMAGE", b"XTENSION= 'IMBGE", None),
        (b"NEXTEND =                    3", b"NEXTEND =                    9", "NEXTEND"),
        (b"NEXTEND =                    3", b"NEXTEND =                    T", "NEXTEND"),
        (b"XTENSION= 'BIN", b"YTENSION= 'BIN", "NEXTEND"),
        (b"BZERO   =", b"BZERO   = 'x'", "BZERO"),
    ],
)
def test_broken_structure_is_named(rich, tmp_path, old, new, message):
    data = rich.read_bytes()
    at = data.index(old)
    bad = tmp_path / "bad.fits"
    bad.write_bytes(data[:at] + new + data[at + len(new) :])
    if message is None:
        with open_fits(bad) as f:
            assert f.hdus[1].kind == "other"
        return
    with pytest.raises(InputError, match=message):
        open_fits(bad)


def test_lost_end_card(rich, tmp_path):
    data = rich.read_bytes()
    bad = tmp_path / "bad.fits"
    for at in [i for i in range(0, len(data), 80) if data[i : i + 80] == b"END".ljust(80)]:
        bad.write_bytes(data[:at] + b"XND" + data[at + 3 :])
        with pytest.raises(InputError, match=r"END|truncated"):
            open_fits(bad)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"hello world\n" * 500, b"SIMPLE", b"\x1f\x8b", b"SIMPLE  =" + b"T" * 9000]
)
def test_not_fits(tmp_path, data):
    path = tmp_path / "x.fits"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"x\.fits.*(not a FITS|is empty|truncated|END)"):
        open_fits(path)


def test_missing_input_and_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_fits(tmp_path / "none.fits")
    with pytest.raises(InputError, match="folder"):
        open_fits(tmp_path)
    with pytest.raises(InputError, match="cannot open"):
        open_fits("a\0b")


def test_bytes_behind_the_last_hdu(rich, tmp_path, caplog):
    data = rich.read_bytes()
    path = tmp_path / "x.fits"
    path.write_bytes(data + b"\0" * BLOCK)
    assert len(open_fits(path)) == 4
    assert not caplog.records
    path.write_bytes(data + b"garbage" * 100)
    assert len(open_fits(path)) == 4
    assert "700 bytes behind the last HDU" in caplog.text


def test_file_that_shrinks_while_it_is_read(rich):
    with open_fits(rich) as f:
        os.truncate(rich, 3 * BLOCK)
        with pytest.raises(InputError, match="shorter"):
            f["SCI"].read()


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_mutated_bytes_never_crash(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "fuzz_rich.fits"
    if not path.exists():
        rich_file(path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255) | st.sampled_from(b" 0129-'=TFE/"))
    bad = folder / "fuzz_bad.fits"
    bad.write_bytes(raw)
    try:
        with open_fits(bad) as f, create_fits(folder / "fuzz_out.fits", overwrite=True) as out:
            out.add(f.primary.header)
            for hdu in f.hdus[1:]:
                list(hdu.header.cards())
                if hdu.kind == "table":
                    hdu.table()
                elif hdu.kind == "image" and hdu.shape:
                    hdu.read()
                out.add_hdu(hdu)
            out.commit()
    except InputError as exc:
        message = str(exc)
    else:
        message = ""
    assert "\n" not in message


def test_existing_file_is_kept(tmp_path):
    path = tmp_path / "x.fits"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        create_fits(path)
    with create_fits(path, overwrite=True) as out:
        out.add()
        assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["x.fits"]
    assert path.read_bytes() == b"precious"
    write(path, overwrite=True)
    assert len(open_fits(path)) == 1


def test_name_taken_while_writing(tmp_path):
    path = tmp_path / "x.fits"
    with create_fits(path) as out:
        out.add()
        path.write_bytes(b"theirs")
        with pytest.raises(OutputError, match="exists already"):
            out.commit()
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["x.fits"]


def test_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = write(tmp_path / "x.fits", ("SCI", np.ones((2, 2), "f4")))
    assert open_fits(path)["SCI"].read().sum() == 4
    with create_fits(tmp_path / "y.fits") as out:
        out.add()
        (tmp_path / "y.fits").write_bytes(b"theirs")
        with pytest.raises(OutputError, match="exists already"):
            out.commit()
    assert sorted(os.listdir(tmp_path)) == ["x.fits", "y.fits"]


def test_output_folder_missing_or_a_file_or_a_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path, message in [
        ("none/x.fits", "does not exist"),
        ("file/x.fits", "does not exist"),
        (".", "folder"),
    ]:
        with pytest.raises(OutputError, match=message):
            create_fits(tmp_path / path)
    with pytest.raises(UsageError, match=r"\.fits\.gz"):
        create_fits(tmp_path / "x.fits.fz")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        create_fits(folder / "x.fits")


def test_too_large_for_the_disk_is_refused_before_writing(tmp_path):
    with create_fits(tmp_path / "x.fits") as out:
        out.add()
        with pytest.raises(OutputError, match="MB needed"):
            out.add(None, (1 << 20, 1 << 30), "f8", name="SCI")
    assert os.listdir(tmp_path) == []


def test_output_may_be_the_input(rich):
    before = rich.read_bytes()
    with open_fits(rich) as f:
        with create_fits(rich, overwrite=True) as out:
            out.add(f.primary.header)
            array = f["SCI"].read()
            out.add(f["SCI"].header, array.shape, "f4").write(array.astype("f4"))
            for hdu in f.hdus[2:]:
                out.add_hdu(hdu)
            assert rich.read_bytes() == before
            out.commit()
        assert same(f["SCI"].read(), array)
    verified(rich)
    with open_fits(rich) as f:
        assert same(f["SCI"].read(), array.astype("f4"))


def test_symbolic_link_is_written_through(tmp_path):
    real = tmp_path / "far"
    real.mkdir()
    (real / "x.fits").write_bytes(b"old")
    (tmp_path / "x.fits").symlink_to(real / "x.fits")
    write(tmp_path / "x.fits", overwrite=True)
    assert (tmp_path / "x.fits").is_symlink()
    assert len(open_fits(real / "x.fits")) == 1


def test_stale_temporary_of_a_process_with_this_number(tmp_path):
    stale = tmp_path / f".x.fits.{os.getpid()}.tmp"
    stale.write_bytes(b"stale")
    write(tmp_path / "x.fits")
    assert sorted(os.listdir(tmp_path)) == [stale.name, "x.fits"]


def test_cleanup_removes_unfinished_files(tmp_path):
    out = create_fits(tmp_path / "x.fits")
    out.add()
    assert len(os.listdir(tmp_path)) == 1
    target.cleanup_all()
    assert os.listdir(tmp_path) == []
    out.abort()


def test_spool_moves_from_memory_to_disk(tmp_path, monkeypatch, rich):
    monkeypatch.setattr(spool, "MEMORY_LIMIT", 4 * BLOCK)
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe:
        thread = threading.Thread(target=lambda: (pipe.write(rich.read_bytes()), pipe.close()))
        thread.start()
        with open_fits(f"/dev/fd/{read_end}") as f, open_fits(rich) as g:
            assert same(f["SCI"].read(), g["SCI"].read())
            assert f["ASDF"].raw().tobytes() == g["ASDF"].raw().tobytes()
        thread.join()
    os.close(read_end)
    array = pattern((3, 50, 60), "f4")
    plain = write(tmp_path / "p.fits", ("SCI", array), ("ERR", array))
    packed = write(tmp_path / "p.fits.gz", ("SCI", array), ("ERR", array))
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()


def test_stream_is_compared_with_its_datasum(rich):
    data = bytearray(rich.read_bytes())
    at = 2 * BLOCK + 100
    data[at] ^= 1
    with pytest.raises(InputError, match=r"\[SCI\]: damaged"):
        through_pipe(bytes(data))
    data[at] ^= 1
    assert through_pipe(bytes(data)) == ["PRIMARY", "SCI", "EVENTS", "ASDF"]


def through_pipe(data):
    """Open bytes as a pipe; returns the HDU names."""
    read_end, write_end = os.pipe()
    thread = threading.Thread(target=feed, args=(write_end, data))
    thread.start()
    try:
        with open_fits(f"/dev/fd/{read_end}") as f:
            return [hdu.name for hdu in f]
    finally:
        os.close(read_end)
        thread.join()


def feed(fd, data):
    with os.fdopen(fd, "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
        spool.write_all(pipe.fileno(), data)


def test_short_writes_are_continued(monkeypatch):
    sink = io.BytesIO()
    monkeypatch.setattr(os, "write", lambda _, data: sink.write(bytes(data[:7])))
    spool.write_all(99, b"0123456789" * 5)
    monkeypatch.undo()
    assert sink.getvalue() == b"0123456789" * 5


def test_import_is_light():
    code = "import sys, jwcal.core.fits; print([m for m in ('astropy', 'fitsio', 'scipy', 'gzip', 'tempfile') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

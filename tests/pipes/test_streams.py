"""The FITS codec between real processes: pipes, signals, full disks, races."""

import os
import pty
import resource
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from jwcal.core.fits import create_fits, open_fits
from jwcal.core.header import BLOCK, Header

FRAME = """
import os, signal, sys
import numpy as np
from jwcal.core.errors import JwcalError
from jwcal.core.fits import cleanup_all, create_fits, open_fits
from jwcal.core import spool, target
def copy(source, out, overwrite=False):
    with open_fits(source) as f, create_fits(out, overwrite) as o:
        first = f.primary
        slot = o.add(first.header, first.shape, first.dtype)
        if first.shape:
            slot.write(first.read())
        for hdu in f.hdus[1:]:
            o.add_hdu(hdu)
        o.commit()
try:
{body}
except JwcalError as exc:
    print(exc, file=sys.stderr)
    sys.exit(exc.exit_code)
except BrokenPipeError:
    os._exit(141)
"""
COPY = "copy('-', '-')"


def command(body):
    """Arguments that run a few lines of Python with the codec at hand."""
    return [sys.executable, "-c", FRAME.format(body=textwrap.indent(textwrap.dedent(body).strip(), "    "))]


def run(body, stdin=b"", **more):
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **more}
    more["input" if isinstance(stdin, bytes) else "stdin"] = stdin
    return subprocess.run(command(body), check=False, **more)


def failed(done, code, text):
    """Check the exit code, and that there was one line with the text and nothing else."""
    assert done.returncode == code, done.stderr
    message = done.stderr.decode()
    assert message.count("\n") == 1
    assert text in message
    assert not done.stdout
    return True


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """File of 0.5 MB in the form the codec gives every stream, with its bytes."""
    path = tmp_path_factory.mktemp("streams") / "x.fits"
    with create_fits(path) as out:
        out.add()
        science = np.arange(2 * 3 * 100 * 200, dtype="u2").reshape(2, 3, 100, 200)
        out.add(None, science.shape, "u2", name="SCI").write(science)
        out.add(None, (100, 200), "u4", name="PIXELDQ").write(np.arange(20000, dtype="u4").reshape(100, 200))
        out.add_table("INT_TIMES", np.zeros(2, [("integration_number", "i4"), ("mid", "f8")]))
        out.commit()
    return path


def test_three_processes_pass_the_same_bytes(sample):
    first = subprocess.Popen(command(f"copy({str(sample)!r}, '-')"), stdout=subprocess.PIPE)
    second = subprocess.Popen(command(COPY), stdin=first.stdout, stdout=subprocess.PIPE)
    first.stdout.close()
    third = run(COPY, stdin=second.stdout)
    second.stdout.close()
    assert third.stdout == sample.read_bytes()
    assert (first.wait(), second.wait(), third.returncode) == (0, 0, 0)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_files_and_gzip_on_standard_input(sample, unbuffered):
    import gzip

    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open(sample, "rb") as file:
        assert run(COPY, stdin=file, env=env).stdout == sample.read_bytes()
    with open(sample, "rb") as file:
        os.lseek(file.fileno(), BLOCK, os.SEEK_SET)
        failed(run(COPY, stdin=file, env=env), 3, "not a FITS file")
    assert run(COPY, stdin=gzip.compress(sample.read_bytes()), env=env).stdout == sample.read_bytes()


def test_regular_standard_input_is_not_copied(sample):
    body = "f = open_fits('-'); print(os.fstat(f.hdus[0].fd).st_ino, f.hdus[1].read().sum())"
    with open(sample, "rb") as file:
        inode, total = run(body, stdin=file).stdout.split()
    assert int(inode) == sample.stat().st_ino
    with open_fits(sample) as f:
        assert int(total) == f["SCI"].read().sum()


def test_standard_output_to_a_file_and_appending(sample, tmp_path):
    body = f"copy({str(sample)!r}, '-')"
    with open(tmp_path / "o.fits", "wb") as out:
        assert run(body, stdout=out).returncode == 0
    assert (tmp_path / "o.fits").read_bytes() == sample.read_bytes()
    with open(tmp_path / "o.fits", "ab") as out:
        assert run(body, stdout=out).returncode == 0
    assert (tmp_path / "o.fits").read_bytes() == 2 * sample.read_bytes()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no input (did the upstream command fail?)"),
        (b"hello world\n" * 1000, "not a FITS file"),
        (b"SIMPLE  =", "truncated"),
        (b"\x1f\x8b\x08", "truncated"),
    ],
)
def test_useless_standard_input(data, text):
    failed(run(COPY, stdin=data), 3, text)


def test_endless_standard_input_that_is_not_fits():
    with open("/dev/zero", "rb") as zero:
        failed(run(COPY, stdin=zero), 3, "not a FITS file")
    lines = subprocess.Popen(["yes"], stdout=subprocess.PIPE)
    failed(run(COPY, stdin=lines.stdout), 3, "not a FITS file")
    lines.stdout.close()
    lines.wait(timeout=10)


def test_truncated_stream_at_every_block(sample):
    data = sample.read_bytes()
    body = """
        import threading
        data = sys.stdin.buffer.read()
        for size in [n + k for n in range(2880, len(data), 2880) for k in (0, 80)]:
            r, w = os.pipe()
            feed = threading.Thread(target=lambda: (spool.write_all(w, data[:size]), os.close(w)))
            feed.start()
            try:
                open_fits(f"/dev/fd/{r}")
            except JwcalError as exc:
                assert exc.exit_code == 3 and "truncated" in str(exc), exc
            else:
                sys.exit(f"{size} bytes taken for a whole file")
            feed.join()
            os.close(r)
        print("checked")
    """
    done = run(body, stdin=data)
    assert done.stdout == b"checked\n", done.stderr
    failed(run(COPY, stdin=data[:-BLOCK]), 3, "truncated")


def test_terminals_and_closed_descriptors_are_refused(sample):
    leader, follower = pty.openpty()
    try:
        failed(run(COPY, stdin=follower), 2, "no input")
        done = run(f"copy({str(sample)!r}, '-')", stdout=follower)
        assert done.returncode == 2
        assert b"-o" in done.stderr
        assert b"| jwcal info" in done.stderr
    finally:
        os.close(leader)
        os.close(follower)
    failed(run(COPY, stdin=None, preexec_fn=lambda: os.close(0)), 2, "standard input is closed")
    done = run(f"copy({str(sample)!r}, '-')", stdout=None, preexec_fn=lambda: os.close(1))
    assert done.returncode == 2
    assert b"standard output is closed" in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("taken", [0, 1000])
def test_closed_pipe(tmp_path, unbuffered, taken):
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    large = tmp_path / "large.fits"
    with create_fits(large) as out:
        out.add(None, (2000, 1000), "f4").write(np.zeros((2000, 1000), "f4"))
        out.commit()
    process = subprocess.Popen(
        command(f"copy({str(large)!r}, '-')"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    )
    process.stdout.read(taken)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


@pytest.mark.parametrize("how", ["stdout", "name"])
def test_full_device(sample, how):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    out = "-" if how == "stdout" else "/dev/full"
    with open("/dev/full", "wb") as full:
        done = run(f"copy({str(sample)!r}, {out!r})", stdout=full)
    assert done.returncode == 5
    assert b"No space left on device" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_devices_are_written_not_replaced(sample):
    before = os.stat("/dev/null")
    assert run(f"copy({str(sample)!r}, '/dev/null')").returncode == 0
    after = os.stat("/dev/null")
    assert (before.st_ino, before.st_rdev) == (after.st_ino, after.st_rdev)


def test_named_pipes(sample, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = subprocess.Popen(command(f"copy({str(sample)!r}, {str(fifo)!r})"))
    done = run(f"copy({str(fifo)!r}, '-')")
    assert done.stdout == sample.read_bytes()
    assert writer.wait(timeout=60) == 0


def test_nonblocking_standard_output(sample):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    process = subprocess.Popen(command(f"copy({str(sample)!r}, '-')"), stdout=write_end)
    os.close(write_end)
    time.sleep(0.5)
    with os.fdopen(read_end, "rb") as file:
        assert file.read() == sample.read_bytes()
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("limit", [1, BLOCK, 100_000, 300_000])
def test_file_size_limit_leaves_nothing(sample, tmp_path, limit):
    def restrict():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    for name in ("y.fits", "y.fits.gz"):
        body = f"copy({str(sample)!r}, {str(tmp_path / name)!r})"
        failed(run(body, preexec_fn=restrict), 5, "cannot write" if name[-1] == "s" else "")
        assert os.listdir(tmp_path) == []


def test_two_writers_do_not_mix(tmp_path):
    body = """
        fill, path, overwrite = float(sys.argv[1]), sys.argv[2], bool(int(sys.argv[3]))
        with create_fits(path, overwrite) as o:
            o.add()
            slot = o.add(None, (200, 1000), "f4", name="SCI")
            print("ready", flush=True)
            sys.stdin.readline()
            for y in range(200):
                slot.write_tile((y, y + 1, 0, 1000), np.full((1, 1000), fill, "f4"))
            o.commit()
    """
    for overwrite in (0, 1):
        path = tmp_path / f"{overwrite}.fits"
        writers = [
            subprocess.Popen(
                [*command(body), str(k), str(path), str(overwrite)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for k in range(3)
        ]  # fmt: skip
        for writer in writers:
            assert writer.stdout.readline() == b"ready\n"
        for writer in writers:
            writer.stdin.write(b"\n")
            writer.stdin.flush()
        for writer in writers:
            writer.communicate(timeout=60)
        assert sorted(w.returncode for w in writers) == ([0, 0, 0] if overwrite else [0, 5, 5])
        with open_fits(path) as f:
            winner = np.unique(f["SCI"].read())
        assert len(winner) == 1
        assert writers[int(winner[0])].returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["0.fits", "1.fits"]


@pytest.mark.parametrize("how", ["handler", "exit", "exception"])
def test_ended_writer_leaves_nothing(tmp_path, how):
    end = {
        "handler": "signal.signal(signal.SIGTERM, lambda *_: (cleanup_all(), os._exit(143)))",
        "exit": "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))",
        "exception": "signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))",
    }[how]
    body = f"""
        {end}
        outs = [create_fits(os.path.join({str(tmp_path)!r}, name)) for name in ("a.fits", "b.fits.gz")]
        for o in outs:
            o.add(None, (1000, 1000), "f4")
        print("ready", flush=True)
        while True:
            signal.pause()
    """
    process = subprocess.Popen(command(body), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"ready\n"
    assert len(os.listdir(tmp_path)) == 2
    process.terminate()
    process.stdout.close()
    assert process.wait(timeout=60) in {143, 1, 130, -signal.SIGINT}
    assert os.listdir(tmp_path) == []


def test_forked_child_does_not_clean_up_for_its_parent(tmp_path):
    body = f"""
        with create_fits({str(tmp_path / "x.fits")!r}) as o:
            o.add()
            child = os.fork()
            if child == 0:
                sys.exit(0)
            os.waitpid(child, 0)
            o.commit()
    """
    done = run(body)
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["x.fits"]


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for frames in (4, 200):
        path = tmp_path / f"{frames}.fits"
        header = Header()
        for key, value in [
            ("SIMPLE", True),
            ("BITPIX", -32),
            ("NAXIS", 3),
            ("NAXIS1", 1024),
            ("NAXIS2", 1024),
        ]:
            header.set(key, value)
        header.set("NAXIS3", frames)
        path.write_bytes(header.to_bytes())
        os.truncate(path, BLOCK + -(-frames * (1 << 22) // BLOCK) * BLOCK)
        body = f"""
            import resource
            with open_fits({str(path)!r}) as f:
                plane = np.empty((1024, 1024), "f4")
                tile = np.empty(({frames}, 4, 1024), "f4")
                for k in range({frames}):
                    f.primary.read(index=k, out=plane)
                f.primary.read_tile((8, 12, 0, 1024), tile)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        """
        done = run(body)
        peaks.append(int(done.stdout) - frames * 16)
    assert peaks[1] < peaks[0] + 8000


@pytest.mark.big
@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        "spool.write_all(1, np.zeros(SIZE, np.uint8))",
        """
        t = target.StreamTarget(1, "standard output")
        t.reserve(SIZE)
        os.ftruncate(t.fd, SIZE)
        t.finish(SIZE)
        """,
    ],
    ids=["write", "spool"],
)
def test_more_than_two_gigabytes_at_once(body):
    size = (1 << 31) + 12345
    writer = subprocess.Popen(
        command(textwrap.dedent(body).replace("SIZE", str(size))),
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    counted = subprocess.run(["wc", "-c"], stdin=writer.stdout, capture_output=True, check=True, timeout=120)
    writer.stdout.close()
    assert int(counted.stdout) == size
    assert writer.wait(timeout=60) == 0

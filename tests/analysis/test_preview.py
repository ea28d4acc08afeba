"""jwcal preview: pictures with the right pixels in the right places."""

import struct
import zlib

import numpy as np
import pytest

from jwcal.analysis import commands, preview
from jwcal.analysis.png import encode_png
from tests.analysis.conftest import RATE_HEADER, rate_planes, write


def decode(data):
    """Picture and texts of a PNG of filter 0, checksums verified."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body, text = 8, b"", {}
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        part = data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + part)
        if kind == b"IHDR":
            nx, ny, *rest = struct.unpack(">IIBBBBB", part)
            assert rest in ([8, 2, 0, 0, 0], [8, 3, 0, 0, 0])
        elif kind == b"PLTE":
            palette = np.frombuffer(part, np.uint8).reshape(-1, 3)
        elif kind == b"IDAT":
            body += part
        elif kind == b"tEXt":
            key, _, value = part.partition(b"\0")
            text[key.decode()] = value.decode("latin-1")
        at += 12 + size
    assert kind == b"IEND"
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(ny, -1)
    assert (rows[:, 0] == 0).all()
    if rest[1] == 3:
        return palette[rows[:, 1:].reshape(ny, nx)], text
    return rows[:, 1:].reshape(ny, nx, 3), text


@pytest.mark.parametrize("shape", [(13, 7), (16, 16), (1, 257), (40, 30)])
def test_png_round_trip(shape):
    """With a list of colours, and without one where there are more than 256."""
    rgb = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    back, text = decode(encode_png(rgb, {"Title": "a picture"}))
    assert np.array_equal(back, rgb)
    assert text == {"Title": "a picture"}


def test_png_of_few_colours_is_small():
    gray = np.random.default_rng(1).integers(0, 255, (200, 200, 1), dtype=np.uint8)
    assert len(encode_png(np.repeat(gray, 3, axis=2))) < 1.05 * gray.size


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 4), (0, 4, 3)])
def test_png_refuses_what_is_no_picture(shape):
    with pytest.raises(ValueError, match="not a picture"):
        encode_png(np.zeros(shape, np.uint8))


def test_rate(invoke, rate, tmp_path):
    out = tmp_path / "x.png"
    assert invoke("preview", rate, "-o", out, "--stretch", "linear").code == 0
    rgb, text = decode(out.read_bytes())
    # 20 rows and 30 columns are repeated 34 times; the first row of the file is at the bottom.
    assert rgb.shape == (20 * 34, 30 * 34, 3)
    small = rgb[17::34, 17::34][::-1]
    assert tuple(small[2, 3]) == preview.BAD["gray"]
    gray = small[..., 0].astype(int)
    assert gray[0, 0] == 0
    assert gray[-1, -1] == 255
    good = np.ones((20, 30), bool)
    good[2, 3] = False
    assert (np.diff(gray[good]) >= 0).all()
    assert "y_rate.fits: SCI, linear" in text["Title"]


def test_ramp_shows_last_minus_first(invoke, tmp_path):
    cube = np.zeros((2, 5, 16, 16), "u2")
    cube[:] = 1000 + np.arange(256).reshape(16, 16)
    cube[1, 4, 8, 9] += 500
    path = write(tmp_path / "x.fits", {"SCI": cube}, RATE_HEADER)
    out = tmp_path / "x.png"

    def bright(*args):
        done = invoke("preview", path, "-o", out, "--overwrite", "--size", "16", "--stretch", "linear", *args)
        assert done.code == 0, done.err
        rgb, text = decode(out.read_bytes())
        return np.argwhere(rgb[::-1, :, 0] == 255).tolist(), text["Title"]

    assert bright("--int", "2") == ([[8, 9]], f"{path}: SCI integration 2 group 5 - group 1, linear 0 to 1")
    assert bright()[0] == []
    where, title = bright("--int", "1", "--group", "3")
    assert "group 3" in title
    assert [15, 15] in where


def test_ramp_of_one_group(tmp_path, invoke):
    path = write(tmp_path / "x.fits", {"SCI": np.ones((1, 1, 16, 16), "u2")}, RATE_HEADER)
    assert invoke("preview", path, "-o", tmp_path / "x.png").code == 0


def test_flags_of_the_same_integration(tmp_path):
    from jwcal.core.fits import open_fits

    dq = np.zeros((2, 4, 4), "u4")
    dq[1, 2, 2] = 1
    path = write(tmp_path / "x.fits", {"SCI": np.zeros((2, 4, 4), "f4"), "DQ": dq})
    with open_fits(path) as fits:
        assert not preview.choose_frame(fits)[1].any()
        assert np.argwhere(preview.choose_frame(fits, integration=2)[1]).tolist() == [[2, 2]]


@pytest.mark.parametrize(("size", "want"), [(7, (4, 6)), (10, (7, 10)), (30, (20, 30)), (65, (40, 60))])
def test_sizes(size, want):
    image = np.arange(600, dtype="f4").reshape(20, 30)
    small, bad = preview.fit_into(image, np.zeros(image.shape, bool), size, size)
    assert small.shape == want
    assert not bad.any()
    assert np.nanmean(small) == pytest.approx(image.mean(), rel=0.1)


def test_block_average_leaves_bad_pixels_out():
    image = np.ones((6, 6), "f4")
    bad = np.zeros((6, 6), bool)
    image[0, 0], bad[0, 0] = 1e9, True
    image[0, 1], bad[0, 1] = np.nan, True
    bad[3:, 3:] = True
    small, holes = preview.fit_into(image, bad, 2, 2)
    assert small[0, 0] == small[0, 1] == small[1, 0] == 1
    assert np.isnan(small[1, 1])
    assert holes.tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize("stretch", preview.STRETCHES)
def test_stretches_are_monotonic_and_bounded(stretch):
    image = np.sort(np.random.default_rng(2).normal(100, 10, 4096)).astype("f4").reshape(64, 64)
    image[-1, -1] = 1e6
    levels, low, high = preview.scale(image, stretch)
    assert (np.diff(levels.reshape(-1)) >= 0).all()
    assert levels.min() == 0
    assert levels.max() == 1
    assert low < 100 < high


@pytest.mark.parametrize("stretch", preview.STRETCHES)
@pytest.mark.parametrize("value", [0.0, 5.0, -1e30, 3e38, np.nan, np.inf])
def test_constant_images(stretch, value):
    levels, _, _ = preview.scale(np.full((8, 8), value, "f4"), stretch)
    assert ((levels >= 0) & (levels <= 1)).all()


def test_zscale_ignores_stars():
    values = np.random.default_rng(4).normal(50, 5, 20000)
    values[:200] = 1e5
    low, high = preview.zscale_limits(values)
    assert 0 < low < 50 < high < 150


def test_choices_of_the_command_are_those_of_the_module():
    assert commands.STRETCHES == preview.STRETCHES
    assert commands.COLOUR_MAPS == tuple(preview.COLOURS) == tuple(preview.BAD)


@pytest.mark.parametrize("true_colour", [True, False])
def test_terminal_text(true_colour):
    rgb = np.zeros((5, 4, 3), np.uint8)
    rgb[0, 1] = (255, 0, 0)
    text = preview.terminal_text(rgb, true_colour=true_colour)
    assert text.count("\n") == 3
    assert text.count("\u2580") == 12
    assert all(line.endswith("\x1b[0m") for line in text.splitlines())
    assert ("38;2;255;0;0" if true_colour else "38;5;196") in text


def test_terminal(jwcal, rate):
    done = jwcal("preview", "--terminal", rate, env={"COLUMNS": "40", "LINES": "20"})
    assert done.code == 0
    text = done.out.decode()
    assert "y_rate.fits: SCI" in text.splitlines()[-1]
    assert max(line.count("\u2580") for line in text.splitlines()) <= 40
    assert len(text.splitlines()) <= 20


def test_standard_output_gets_the_png(jwcal, rate):
    done = jwcal("preview", "-", stdin=rate.read_bytes())
    assert done.code == 0
    decode(done.out)


def test_bad_input(invoke, rate, tmp_path):
    out = tmp_path / "x.png"
    for args, code in (
        ((rate, "--plane", "NONE"), 3),
        ((rate, "--int", "1"), 2),
        ((rate, "--group", "1"), 2),
        ((rate, "--stretch", "sqrt"), 2),
        ((rate, "--size", "1"), 2),
        ((rate, "--terminal"), 2),
        ((tmp_path / "none.fits",), 3),
        ((write(tmp_path / "t.fits", {}),), 3),
        ((write(tmp_path / "u.fits", {"A": np.zeros(4, "f4")}),), 3),
        ((write(tmp_path / "v.fits", {"SCI": np.zeros((2, 3, 3), "f4")}), "--int", "3"), 2),
    ):
        done = invoke("preview", *args, "-o", out)
        assert done.code == code, args
        assert done.err.count("\n") == 1
        assert not out.exists()


def test_output_is_not_overwritten(invoke, rate, tmp_path):
    out = tmp_path / "x.png"
    out.write_bytes(b"mine")
    assert invoke("preview", rate, "-o", out).code == 5
    assert out.read_bytes() == b"mine"
    assert invoke("preview", rate, "-o", out, "--overwrite").code == 0
    assert invoke("preview", rate, "-o", tmp_path / "none" / "x.png").code == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.png", "y_rate.fits"]


def test_one_axis_and_many(tmp_path, invoke):
    path = write(tmp_path / "x.fits", {"A": np.zeros((2, 2, 2, 5, 5), "f4"), "DQ": rate_planes()["DQ"]})
    assert invoke("preview", path, "-o", tmp_path / "x.png").code == 0
    assert invoke("preview", path, "--plane", "DQ", "-o", tmp_path / "y.png").code == 0

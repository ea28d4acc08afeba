"""The FITS codec: arrays, tables, headers and foreign extensions there and back; compressed input."""

import gzip
import os
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jwcal.core import fits_write
from jwcal.core.errors import InputError, OutputError
from jwcal.core.fits import create_fits, open_fits, read_primary_header
from jwcal.core.fits_table import read_table
from jwcal.core.header import Header
from jwcal.core.spool import start_writing
from tests.core.fits_samples import DTYPES, pattern, rich_file, same, verified, write


@pytest.fixture
def rich(tmp_path):
    return rich_file(tmp_path / "rich.fits")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (5, 6), (2, 3, 4, 5), (3, 0)])
def test_image_round_trip_and_astropy_agrees(tmp_path, dtype, shape):
    from astropy.io import fits

    array = pattern(shape, dtype)
    path = verified(write(tmp_path / "x.fits", ("SCI", array)))
    with open_fits(path) as f:
        assert f["SCI"].dtype == np.dtype(dtype)
        assert same(f["SCI"].read(), array)
    with fits.open(path) as hdus:
        if array.size:
            theirs = hdus["SCI"].data
            assert same(theirs.astype(theirs.dtype.newbyteorder("=")), array)


@given(
    npst.arrays(
        st.sampled_from([np.dtype(d) for d in DTYPES]),
        npst.array_shapes(min_dims=2, max_dims=4, max_side=6),
    )
)
@settings(deadline=None, max_examples=50)
def test_any_image_round_trip(tmp_path_factory, array):
    path = write(tmp_path_factory.mktemp("f") / "x.fits", ("A", array), ("B", array[..., ::-1]))
    with open_fits(path) as f:
        assert same(f["A"].read(), array)
        assert same(f["B"].read(), array[..., ::-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_reads_what_astropy_and_fitsio_write(tmp_path, dtype):
    from astropy.io import fits

    array = pattern((3, 4, 5), dtype)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(array, name="SCI")]).writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as f:
        assert same(f["SCI"].read(), array)
    fitsio = pytest.importorskip("fitsio")
    if dtype != "u8":
        array = np.nan_to_num(array, posinf=5) if dtype[0] == "f" else array
        with fitsio.FITS(str(tmp_path / "b.fits"), "rw") as out:
            out.write(array, extname="SCI")
        with open_fits(tmp_path / "b.fits") as f:
            assert same(f["SCI"].read(), array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_boxes_and_indices_are_numpy_slices(tmp_path, dtype):
    array = pattern((3, 4, 11, 13), dtype)
    with open_fits(write(tmp_path / "x.fits", ("SCI", array))) as f:
        hdu = f["SCI"]
        for box in [(0, 11, 0, 13), (2, 5, 0, 13), (3, 4, 5, 9), (0, 11, 12, 13), (4, 4, 0, 13)]:
            y0, y1, x0, x1 = box
            assert same(hdu.read(box=box), array[..., y0:y1, x0:x1])
            for index in [
                1,
                (2,),
                (slice(0, 2),),
                (1, 3),
                (slice(None, None, 2), 1),
                (slice(1, 3), slice(3, 0, -1)),
            ]:
                assert same(hdu.read(index=index, box=box), array[index][..., y0:y1, x0:x1])


@pytest.mark.parametrize("dtype", ["u2", "i2", "f4", "u1", "u4"])
def test_tiles_of_a_strided_buffer(tmp_path, dtype):
    array = pattern((2, 3, 20, 30), dtype)
    path = write(tmp_path / "x.fits", ("SCI", array))
    kind = "f4" if dtype in ("u2", "i2") else dtype
    frame = np.full((2, 5, 24, 30), 7, kind)
    tile = frame[:, :3, :6]
    with open_fits(path) as f:
        f["SCI"].read_tile((4, 10, 0, 30), tile)
        assert same(np.ascontiguousarray(tile), array[:, :, 4:10].astype(kind))
        assert (frame[:, 3:] == 7).all()
        narrow = np.empty((2, 3, 6, 9), kind)
        f["SCI"].read_tile((4, 10, 20, 29), narrow)
        assert same(narrow, array[:, :, 4:10, 20:29].astype(kind))


def test_planes_larger_than_the_buffer(tmp_path):
    array = np.arange(700 * 1100, dtype="u4").reshape(1, 700, 1100)
    with open_fits(write(tmp_path / "x.fits", ("SCI", array))) as f:
        assert same(f["SCI"].read(), array)
        assert same(f["SCI"].read(box=(1, 699, 1, 1099)), array[:, 1:699, 1:1099])
        out = np.empty((1, 700, 1100), "f8")
        assert same(f["SCI"].read(out=out), array.astype("f8"))


def test_casts_keep_values_or_fail(tmp_path):
    flags = np.array([[-(2**31), 1]], "i4")
    counts = np.array([[1, 255]], "i2")
    large = np.array([[1, 256]], "i2")
    path = write(
        tmp_path / "x.fits", ("DQ", flags), ("SMALL", counts), ("LARGE", large), ("F", flags.astype("f4"))
    )
    with open_fits(path) as f:
        assert f["DQ"].read(out=np.empty((1, 2), "u4")).tolist() == [[2**31, 1]]
        assert f["SMALL"].read(out=np.empty((1, 2), "u1")).tolist() == [[1, 255]]
        for name, kind in [("LARGE", "u1"), ("F", "i4")]:
            with pytest.raises(InputError, match=name):
                f[name].read(out=np.empty((1, 2), kind))


def test_scaled_and_blank_values(tmp_path):
    from astropy.io import fits

    hdu = fits.ImageHDU(np.array([[1, -5, 3]], "i2"), name="SCI")
    hdu.header["BLANK"] = -5
    hdu.header["BSCALE"] = 0.5
    hdu.header["BZERO"] = 10.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    raw = (tmp_path / "a.fits").read_bytes()
    with open_fits(tmp_path / "a.fits") as f:
        assert b"BLANK" in raw
        np.testing.assert_array_equal(f["SCI"].read(), np.array([[10.5, np.nan, 11.5]], "f4"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_from_threads_make_the_same_file(tmp_path, dtype):
    array = pattern((2, 3, 64, 33), dtype)
    whole = write(tmp_path / "whole.fits", ("SCI", array))
    with create_fits(tmp_path / "tiles.fits") as out:
        out.add()
        slot = out.add(None, array.shape, dtype, name="SCI")
        boxes = [(y, y + 16, x, min(x + 11, 33)) for y in range(0, 64, 16) for x in range(0, 33, 11)]
        boxes[6:9] = [(32, 48, 0, 33)]

        def work(part):
            for y0, y1, x0, x1 in part:
                slot.write_tile((y0, y1, x0, x1), array[..., y0:y1, x0:x1])

        threads = [threading.Thread(target=work, args=(boxes[i::3],)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        out.commit()
    assert (tmp_path / "tiles.fits").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("name", ["x.fits", "x.fits.gz"])
def test_files_are_on_their_way_to_disk_before_they_are_complete(tmp_path, monkeypatch, name):
    told = []

    def start(fd):
        told.append(os.fstat(fd).st_size)
        start_writing(fd)

    monkeypatch.setattr(fits_write, "start_writing", start)
    monkeypatch.setattr(fits_write, "AHEAD", 1000)
    array = pattern((4, 30, 20), "f4")
    with create_fits(tmp_path / name) as out:
        out.add()
        slot = out.add(None, array.shape, "f4", name="SCI")
        for k in range(4):
            slot.write_tile((0, 30, 0, 20), array[k], index=k)
        out.commit()
    assert len(told) == (4 if name == "x.fits" else 0)
    with open_fits(tmp_path / name) as f:
        assert same(f["SCI"].read(), array)


def test_tiles_of_single_integrations(tmp_path):
    array = pattern((3, 4, 6, 5), "f4")
    with create_fits(tmp_path / "x.fits") as out:
        out.add()
        slot = out.add(None, array.shape, "f4", name="SCI")
        slot.write_tile((0, 6, 0, 5), array[1], index=1)
        slot.write_tile((0, 6, 0, 5), array[2, 3], index=(2, 3))
        slot.write_tile((0, 6, 0, 5), array[2, :3], index=(2, slice(0, 3)))
        slot.write_tile((0, 6, 0, 5), array[:1], index=slice(0, 1))
        out.commit()
    with open_fits(tmp_path / "x.fits") as f:
        assert same(f["SCI"].read(), array)


def test_incomplete_image_is_not_committed(tmp_path):
    with create_fits(tmp_path / "x.fits") as out:
        out.add()
        slot = out.add(None, (4, 5), "f4", name="SCI")
        slot.write_tile((0, 3, 0, 5), np.zeros((3, 5), "f4"))
        with pytest.raises(ValueError, match="60 of 80 bytes"):
            out.commit()
    assert os.listdir(tmp_path) == []


def test_table_round_trip(tmp_path):
    rows = np.zeros(
        4,
        [("b", "?"), ("u1", "u1"), ("i1", "i1"), ("u2", "u2"), ("i4", "i4"), ("u4", "u4"), ("u8", "u8"), ("i8", "i8"),
         ("f4", "f4", (2, 3)), ("f8", "f8"), ("c8", "c8"), ("c16", "c16"), ("s", "S9"), ("w", "S3", (2,))],
    )  # fmt: skip
    for name in rows.dtype.names:
        base = rows.dtype[name].base
        if base.kind in "iuf":
            rows[name] = pattern(rows[name].shape, base)
    rows["b"], rows["c16"], rows["s"], rows["w"] = [True, False, True, True], 1 - 2j, b"a b", [b"x", b"yz"]
    text = np.array([("é",)], [("t", "U2")])
    header = Header()
    header.set("TUNIT1", "stale")
    header.set("MJDREF", 5.5)
    with create_fits(tmp_path / "x.fits") as out:
        out.add()
        out.add_table("TAB", rows, header, units={"f4": "DN/s"})
        out.add_table("EMPTY", rows[:0])
        with pytest.raises(OutputError, match="column t"):
            out.add_table("TEXT", text)
        out.commit()
    verified(tmp_path / "x.fits")
    with open_fits(tmp_path / "x.fits") as f:
        assert same(f["TAB"].table(), rows)
        assert same(f["EMPTY"].table(), rows[:0])
        assert f["TAB"].header["MJDREF"] == 5.5
        assert [v for k, v in f["TAB"].header.items() if k.startswith("TUNIT")] == ["DN/s"]
        with pytest.raises(InputError, match="not an image"):
            f["TAB"].read()
        with pytest.raises(InputError, match="holds no data"):
            f.primary.read()


def test_table_of_astropy(rich):
    with open_fits(rich) as f:
        rows = f["EVENTS"].table()
    assert rows["VAR"][:, 0].tolist() == [3, 0, 2]
    assert rows["FLAG"].tolist() == [True, False, True]
    assert rows["BITS"].shape == (3, 2)
    assert rows["COUNT"].tolist() == [0, 5, 2**32 - 1]
    assert rows["NAME"].tolist() == [b"a", b"bb", b"cccccc"]
    assert same(rows["CUBE"], np.arange(18, dtype="f4").reshape(3, 2, 3))


def test_scaled_column_and_old_text_arrays():
    header = Header()
    for key, value in [("NAXIS1", 10), ("NAXIS2", 2), ("TFIELDS", 4), ("TFORM1", "I"), ("TSCAL1", 0.5), ("TZERO1", 10),
                       ("TTYPE1", "A"), ("TFORM2", "6A3"), ("TTYPE2", "A"), ("TFORM3", "0J"), ("TFORM4", "0PE(3)")]:  # fmt: skip
        header.set(key, value)
    rows = read_table(b"\0\1abcde ##\xff\xfexy \0  ##", header, "x")
    assert rows.dtype.names == ("A", "A_", "col3", "col4")
    assert rows["A"].tolist() == [10.5, 9.0]
    assert rows["A_"].tolist() == [[b"abc", b"de"], [b"xy", b""]]


@pytest.mark.parametrize(
    ("key", "value"), [("TFORM1", "9Z"), ("TFORM2", "99J"), ("TFIELDS", "x"), ("TZERO4", "x")]
)
def test_bad_column_keywords(rich, tmp_path, key, value):
    data = bytearray(rich.read_bytes())
    at = data.index(b"EVENTS")
    start = data.rindex(b"XTENSION", 0, at)
    place = data.index(key.ljust(8).encode() + b"=", start)
    data[place : place + 80] = f"{key:<8}= '{value:<8}'".ljust(80).encode()
    bad = tmp_path / "bad.fits"
    bad.write_bytes(data)
    with open_fits(bad) as f, pytest.raises(InputError, match="EVENTS"):
        f["EVENTS"].table()


def test_unknown_extensions_pass_as_they_are(rich, tmp_path):
    with open_fits(rich) as f, create_fits(tmp_path / "y.fits") as out:
        out.add(f.primary.header)
        for hdu in f.hdus[1:]:
            out.add_hdu(hdu)
        out.commit()
    old, new = rich.read_bytes(), (tmp_path / "y.fits").read_bytes()
    assert new[new.index(b"XTENSION") :] == old[old.index(b"XTENSION") :]
    verified(tmp_path / "y.fits")


def test_copy_loop_gives_the_same_bytes(rich, tmp_path, monkeypatch):
    with open_fits(rich) as f:
        hdu = f["EVENTS"]
        copies = []
        for name in "ab":
            with create_fits(tmp_path / name) as out:
                out.add()
                out.add_hdu(hdu)
                out.commit()
            copies.append((tmp_path / name).read_bytes())
            monkeypatch.delattr(os, "copy_file_range", raising=False)
    assert copies[0] == copies[1]


def test_structure_keywords_are_made_anew_and_others_kept(tmp_path):
    header = Header()
    for key, value in [("SIMPLE", True), ("BITPIX", 16), ("NAXIS", 2), ("NAXIS1", 9), ("NAXIS2", 9), ("BZERO", 32768),
                       ("BLANK", 3), ("CHECKSUM", "x"), ("DATASUM", "1"), ("TARGNAME", "M 31"), ("EXTNAME", "SCI")]:  # fmt: skip
        header.set(key, value)
    with create_fits(tmp_path / "x.fits") as out:
        out.add()
        slot = out.add(header, (3, 4), "f4")
        slot.header.set("MEANRATE", None)
        slot.write(np.zeros((3, 4), "f4"))
        slot.header.set("MEANRATE", 2.5)
        out.commit()
    verified(tmp_path / "x.fits")
    with open_fits(tmp_path / "x.fits") as f:
        assert list(f["SCI"].header) == ["XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT",
                                         "TARGNAME", "EXTNAME", "MEANRATE"]  # fmt: skip
        assert f["SCI"].header["MEANRATE"] == 2.5
        assert f.primary.header["NEXTEND"] == 1


def test_lookup_by_name_version_and_number(tmp_path):
    first, second = Header(), Header()
    first.set("EXTNAME", "Sci")
    second.set("EXTNAME", "SCI")
    second.set("EXTVER", 2)
    with create_fits(tmp_path / "x.fits") as out:
        out.add()
        for k, header in enumerate((first, second)):
            out.add(header, (1, 1), "i4").write(np.full((1, 1), k, "i4"))
        out.commit()
    with open_fits(tmp_path / "x.fits") as f:
        assert f["sci"].read() == 0
        assert f["SCI", 2].read() == 1
        assert f[2].ver == 2
        assert ("SCI", 3) not in f
        assert f.get("ERR") is None
        with pytest.raises(InputError, match=r"x\.fits: no ERR extension"):
            f["ERR"]


def test_primary_header_alone(rich, tmp_path):
    packed = tmp_path / "r.fits.gz"
    packed.write_bytes(gzip.compress(rich.read_bytes()))
    for path in (rich, packed):
        assert read_primary_header(path)["TELESCOP"] == "JWST"
    packed.write_bytes(gzip.compress(b"text"))
    with pytest.raises(InputError, match="not a FITS file"):
        read_primary_header(packed)


def test_gzip_input_and_output(rich, tmp_path):
    packed = tmp_path / "r.fits.gz"
    packed.write_bytes(gzip.compress(rich.read_bytes()))
    with open_fits(packed) as a, open_fits(rich) as b:
        assert [h.name for h in a] == [h.name for h in b]
        assert same(a["SCI"].read(), b["SCI"].read())
        array = b["SCI"].read()
    plain = write(tmp_path / "p.fits", ("SCI", array))
    one, two = (write(tmp_path / name, ("SCI", array)).read_bytes() for name in ("1.fits.gz", "2.fits.gz"))
    assert one == two
    assert gzip.decompress(one) == plain.read_bytes()
    packed.write_bytes(one[:-200])
    with pytest.raises(InputError, match="truncated"):
        open_fits(packed)
    packed.write_bytes(one[:300] + b"\xff" * 50 + one[350:])
    with pytest.raises(InputError, match=r"damaged|truncated"):
        open_fits(packed)


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4"])
def test_tile_compressed_input(tmp_path, dtype):
    from astropy.io import fits

    pytest.importorskip("fitsio")
    array = np.arange(2 * 3 * 40 * 50).reshape(2, 3, 40, 50).astype(dtype)
    kind = (
        {"quantize_level": 0, "compression_type": "GZIP_2"}
        if dtype == "f4"
        else {"compression_type": "RICE_1"}
    )
    image = fits.CompImageHDU(array, name="SCI", **kind)
    image.header["BUNIT"] = "DN"
    primary = fits.PrimaryHDU()
    primary.header["TELESCOP"] = "JWST"
    path = tmp_path / "odd [name](1).fits.fz"
    fits.HDUList([primary, image, fits.ImageHDU(np.arange(3.0), name="EXTRA")]).writeto(path)
    with open_fits(path) as f:
        assert [h.name for h in f] == ["PRIMARY", "SCI", "EXTRA"]
        assert same(f["SCI"].read(), array)
        assert f["SCI"].header["BUNIT"] == "DN"
        assert f.primary.header["TELESCOP"] == "JWST"
        assert not [key for key in f["SCI"].header if key.startswith(("Z", "TFORM", "TTYPE"))]


@pytest.mark.parametrize(
    ("key", "value"),
    [("ZTILE1", 0), ("ZTILE2", 7), ("ZNAXIS", 0), ("ZNAXIS1", -5), ("ZBITPIX", 17), ("DATASUM", "'1'")],
)
def test_tile_compression_keywords_are_checked_before_cfitsio_sees_them(tmp_path, key, value):
    from astropy.io import fits

    pytest.importorskip("fitsio")
    path = tmp_path / "x.fits.fz"
    image = fits.CompImageHDU(np.arange(2000, dtype="i4").reshape(40, 50), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path, checksum=True)
    data = bytearray(path.read_bytes())
    at = data.rindex(f"{key:<8}=".encode())
    data[at : at + 30] = f"{key:<8}= {value:>20}".encode()
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"\[SCI\].*({key}|compressed tiles)"):
        open_fits(path)


def test_tile_compressed_primary(tmp_path):
    fitsio = pytest.importorskip("fitsio")
    array = np.arange(30 * 40, dtype="i4").reshape(30, 40)
    with fitsio.FITS(str(tmp_path / "p.fits.fz"), "rw") as out:
        out.write(array, compress="rice", header={"TARGNAME": "M 31"})
    with open_fits(tmp_path / "p.fits.fz") as f:
        assert len(f) == 1
        assert same(f.primary.read(), array)
        assert f.primary.header["TARGNAME"].strip() == "M 31"

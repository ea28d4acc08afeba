"""Multistripe subarrays: where their lines are, and references cut like them."""

import numpy as np
import pytest

from jwcal.core.errors import InputError, ReferenceFileError
from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.header import Header
from jwcal.core.reference import ReferenceFile
from jwcal.core.stripes import runs, stripe_lines

KEYS = {
    "MSTR_RD1": 2, "MSTR_SK1": 10, "MSTR_RD2": 3, "MSTR_SK2": 5, "MSTR_RPT": 1, "MSTR_ILV": 1, "SSTR_NST": 0,
    "SLOWAXIS": 2, "FASTAXIS": 1, "SUBSTRT1": 1, "SUBSTRT2": 1, "INSTRUME": "NIRCAM", "DETECTOR": "NRCA2",
    "NOUTPUTS": 4,
}  # fmt: skip


def exposure(frame, **keys):
    header = Header()
    for key, value in (KEYS | keys).items():
        header.set(key, value)
    planes = {
        "SCI": np.zeros((1, 1, *frame), np.float32),
        "PIXELDQ": np.zeros(frame, np.uint32),
        "GROUPDQ": np.zeros((1, 1, *frame), np.uint8),
    }
    return Exposure("ramp", header, {"SCI": Header()}, ArrayStore(planes))


def lines(count, **keys):
    keys = KEYS | keys
    axis = 0 if abs(keys["SLOWAXIS"]) == 2 else 1
    found, where = stripe_lines(keys, (count, 64) if axis == 0 else (64, count))
    assert found == axis
    return where.tolist()


def test_the_first_lines_are_repeated_and_the_stripes_advance():
    assert lines(10) == [0, 1, 12, 13, 14, 0, 1, 20, 21, 22]
    assert lines(10, MSTR_ILV=0) == [0, 1, 12, 13, 14] * 2
    assert lines(8, MSTR_RPT=0) == [0, 1, 12, 13, 14, 20, 21, 22]
    assert lines(6, MSTR_RD1=0, MSTR_RPT=0, SUBSTRT2=5) == [14, 15, 16, 22, 23, 24]
    assert runs(np.array(lines(10))) == [(0, 2), (2, 5), (5, 7), (7, 10)]


def test_lines_read_from_the_other_end_or_along_the_other_axis():
    up = lines(10)
    down = [2047 - k for k in reversed(up)]
    assert lines(10, SLOWAXIS=-2, SUBSTRT2=2048) == down
    assert lines(10, SLOWAXIS=-2, SUBSTRT2=1) == down
    assert lines(10, SLOWAXIS=-1, SUBSTRT1=2048) == down
    assert lines(10, SUBSTRT2=9) == [k + 8 for k in up]
    assert lines(10, SUBSTRT2=9, SUBARRAY="SUB40STRIPE1_DHS") == up


def lines_of(number, count, **keys):
    return lines_at(number, count, **keys)[1].tolist()


def lines_at(number, count, **keys):
    keys = KEYS | {"SSTR_NST": 10, "MSTR_ILV": 0, "MSTR_SK1": 0, "MSTR_SK2": 0} | keys
    return stripe_lines(keys, (count, 64) if abs(keys["SLOWAXIS"]) == 2 else (64, count), number)


def test_each_superstripe_advances_and_starts_with_the_same_lines():
    soss = {"MSTR_RD1": 4, "MSTR_RD2": 204, "SSTR_STP": 204, "MSTR_ILV": 1, "SLOWAXIS": -1, "SUBSTRT1": 2048}
    axis, last = lines_at(9, 208, **soss)
    assert axis == 1
    assert last.tolist() == [*range(4, 208), *range(2044, 2048)]
    assert lines_of(0, 208, **soss)[:2] == [1840, 1841]
    repeated = {"MSTR_RD1": 1, "MSTR_RD2": 1, "MSTR_SK1": 165, "SSTR_STP": 1, "SSTR_NST": 64}
    assert lines_of(0, 8, SUBSTRT2=3, **repeated) == [2, 168] * 4
    assert lines_of(63, 8, SUBSTRT2=3, **repeated) == [2, 231] * 4
    # Stripes without reference pixels of which nothing is left out.
    pure = {"MSTR_RD1": 0, "MSTR_RD2": 0, "SSTR_STP": 8, "SSTR_NST": 8, "SUBSTRT2": 101}
    assert lines_of(1, 8, **pure) == list(range(108, 116))


def test_an_ordinary_subarray_has_no_stripes():
    assert stripe_lines({"SLOWAXIS": 2}, (10, 10)) is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"SSTR_NST": 4}, "SSTR_STP is missing"),
        ({"SSTR_NST": 4, "SSTR_STP": 0, "MSTR_RD2": 0}, "MSTR_RD2 = 0"),
        ({"SSTR_NST": 4, "SSTR_STP": 2100, "MSTR_SK1": 100}, "SSTR_STP do not give the 10 rows"),
        ({"MSTR_SK1": None}, "MSTR_SK1 is missing"),
        ({"MSTR_RD2": 0}, "MSTR_RD2 = 0"),
        ({"SLOWAXIS": None}, "SLOWAXIS"),
        ({"MSTR_RD2": 4}, "do not give the 10 rows"),
        ({"MSTR_SK1": 2100}, "do not give the 10 rows"),
    ],
)
def test_keywords_that_make_no_sense_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        stripe_lines(KEYS | keys, (10, 64), number=3)


def write(path, array, **keys):
    from astropy.io import fits

    header = fits.Header({"INSTRUME": "NIRCAM", **keys})
    fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(array, name="SCI")]).writeto(
        path, overwrite=True
    )
    return str(path)


@pytest.mark.parametrize("slow", [2, -2, 1, -1])
def test_references_are_cut_like_the_exposure(tmp_path, slow):
    rng = np.random.default_rng(1)
    whole = rng.normal(size=(2, 2048, 2048)).astype(np.float32)
    path = write(tmp_path / "bias.fits", whole, SUBSTRT1=1, SUBSTRT2=1)
    start = 1 if slow > 0 else 2048
    if abs(slow) == 2:
        e = exposure((10, 300), SLOWAXIS=slow, SUBSTRT2=start, SUBSTRT1=101)
        rows = stripe_lines(e.meta, e.frame)[1]
        wanted = whole[:, rows, 100:400]
    else:
        e = exposure((300, 10), SLOWAXIS=slow, SUBSTRT1=start, SUBSTRT2=101)
        wanted = whole[:, 100:400, stripe_lines(e.meta, e.frame)[1]]
    ref = ReferenceFile("dark", path, e)
    np.testing.assert_array_equal(ref.read("SCI"), wanted)
    out = np.empty((2, 4, 6), np.float32)
    ref.read("SCI", (3, 7, 2, 8), out=out)
    np.testing.assert_array_equal(out, wanted[:, 3:7, 2:8])
    np.testing.assert_array_equal(ref.read("SCI", (1, 9, 0, 10), index=(1,)), wanted[1, 1:9, :10])
    ref.close()
    cut = write(tmp_path / "cut.fits", wanted)
    np.testing.assert_array_equal(ReferenceFile("dark", cut, e).read("SCI"), wanted)
    short = ReferenceFile("dark", write(tmp_path / "short.fits", whole[0, :1000, :1000].copy()), e)
    with pytest.raises(ReferenceFileError, match="does not cover the stripes"):
        short.read("SCI")


def test_each_output_of_stripes_gets_the_means_of_its_own_reference_pixels():
    from jwcal.detector1.refpix.step import refpix

    e = exposure((10, 2048))
    columns = np.arange(2048)
    drift = (10.0 * (columns // 512) + columns % 2).astype(np.float32)
    e.store.planes["SCI"][...] = drift
    e.store.planes["SCI"][0, 0, 2:5, 4:-4] += 50
    marked = np.zeros((10, 2048), bool)
    marked[[0, 1, 5, 6]] = True
    marked[:, [0, 1, 2, 3, -4, -3, -2, -1]] = True
    e.store.planes["PIXELDQ"][marked] = 1 << 31
    e.store.planes["SCI"][0, 0, 0, 7] = 5000
    e.store.planes["PIXELDQ"][0, 7] |= 1
    out = refpix(e)["SCI"][0, 0]
    assert np.abs(out[marked & (np.arange(10)[:, None] > 0)]).max() < 1e-4
    np.testing.assert_allclose(out[2:5, 4:-4], 50, atol=1e-4)


def test_readouts_that_make_no_sense_are_refused_before_any_reference_is_used(tmp_path):
    from jwcal.detector1.superbias import superbias

    path = write(tmp_path / "bias.fits", np.zeros((2048, 2048), np.float32))
    with pytest.raises(InputError, match="SSTR_STP is missing"):
        superbias(exposure((10, 2048), SSTR_NST=2), refs={"superbias": path})

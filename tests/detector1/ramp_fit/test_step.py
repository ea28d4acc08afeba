"""The ramp-fit step: groups used, products, keywords, and data that cannot be fitted."""

from types import SimpleNamespace

import numpy as np
import pytest

from jwcal.core.errors import DataError, InputError, OutputError
from jwcal.detector1.ramp_fit.step import jump_limit, ramp_fit, segment_limit

TIMES = {"TGROUP": 10.0, "TFRAME": 10.0}


def lines(nint=1, ngroup=8, ny=4, nx=5):
    return np.broadcast_to(20.0 * np.arange(ngroup)[:, None, None], (nint, ngroup, ny, nx)).copy()


@pytest.fixture
def refs(reference):
    return {
        "gain": reference("gain", SCI=np.full((4, 5), 2.0), keys={"GAINFACT": 1.5}),
        "readnoise": reference("readnoise", SCI=np.full((4, 5), 10.0)),
    }


def test_products_and_keywords(ramp, refs):
    out = ramp_fit(ramp(lines(nint=3), **TIMES), refs=refs)
    rate, rateints = out["rate"], out["rateints"]
    assert rate.shape == (4, 5)
    assert rateints.shape == (3, 4, 5)
    for product in (rate, rateints):
        np.testing.assert_allclose(product["SCI"], 2.0, rtol=1e-6)
        assert product.meta["S_RAMP"] == "COMPLETE"
        assert product.meta["GAINFACT"] == 1.5
    np.testing.assert_allclose(
        rateints["VAR_RNOISE"], 3 * rate["VAR_RNOISE"][None] * np.ones((3, 1, 1)), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("limits", "used"),
    [({"firstgroup": 3}, 5), ({"lastgroup": 4}, 5), ({"firstgroup": 2, "lastgroup": 5}, 4), ({"firstgroup": 5, "lastgroup": 2}, 8),
     ({"lastgroup": 99}, 8)],
)  # fmt: skip
def test_first_and_last_group(ramp, refs, limits, used):
    sci = lines()
    sci[0, : limits.get("firstgroup", 0)] += 5000 if used < 8 else 0
    out = ramp_fit(ramp(sci, **TIMES), refs=refs, **limits)["rate"]
    np.testing.assert_allclose(out["SCI"], 2.0, rtol=1e-6)
    np.testing.assert_allclose(out["VAR_RNOISE"], 12 * 50 / ((used**3 - used) * 100), rtol=1e-6)


def test_miri_drops_leading_groups_with_the_jump_after_them(ramp, refs):
    gdq = np.zeros((1, 8, 4, 5), np.uint8)
    gdq[:, :2] = 1
    gdq[:, 7] = 1
    gdq[0, 2, 1, 1] = 4
    exposure = ramp(lines(), groupdq=gdq, INSTRUME="MIRI", DETECTOR="NRCA1", **TIMES)
    for path in refs.values():
        from astropy.io import fits

        fits.setval(path, "INSTRUME", value="MIRI")
    out = ramp_fit(exposure, refs=refs)["rate"]
    assert not out["DQ"].any()
    np.testing.assert_allclose(out["VAR_RNOISE"], 12 * 50 / ((5**3 - 5) * 100), rtol=1e-6)


def test_zero_frame_needs_one_group_ramps(ramp, refs):
    gdq = np.full((1, 8, 4, 5), 2, np.uint8)
    gdq[0, 0, 0, 0] = 0
    zero = np.full((1, 4, 5), 30.0)
    exposure = {"groupdq": gdq, "zeroframe": zero, **TIMES}
    out = ramp_fit(ramp(lines(), **exposure), refs=refs, suppress_one_group=False)["rate"]
    np.testing.assert_allclose(out["SCI"][1:], 3.0)
    out = ramp_fit(ramp(lines(), **exposure), refs=refs)["rate"]
    assert np.isnan(out["SCI"]).all()


def test_optional_results_have_room_for_every_segment(ramp, refs):
    sci = lines()
    sci[0, 4:, 1, 1] += 300
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[0, 4, 1, 1] = 4
    out = ramp_fit(ramp(sci, groupdq=gdq, **TIMES), refs=refs)["rate"]
    assert out["DQ"][1, 1] == 4
    assert (segment_limit(8), jump_limit(8), jump_limit(1)) == (5, 7, 1)


def test_nothing_to_fit_is_an_error(ramp, refs):
    with pytest.raises(DataError, match="saturated"):
        ramp_fit(ramp(lines(), groupdq=np.full((1, 8, 4, 5), 2), **TIMES), refs=refs)


LIKELY = {"algorithm": "LIKELY"}


def asdf_table(text):
    """Extension with a metadata tree, as the official package writes it."""
    tree = (
        b"#ASDF 1.0.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n"
        + text.encode()
        + b"\n...\n"
    )
    rows = np.zeros(1, [("ASDF_METADATA", "u1", (len(tree),))])
    rows["ASDF_METADATA"][0] = np.frombuffer(tree, np.uint8)
    return SimpleNamespace(name="ASDF", kind="table", table=lambda: rows)


def uneven(ramp, times, ngroup=None):
    """Ramp of 2 DN/s at uneven times, which the exposure tells in its tree."""
    sci = 2.0 * np.array([np.mean([t for t in group if isinstance(t, float)] or [0]) for group in times])
    sci = np.broadcast_to(sci[None, :ngroup, None, None], (1, ngroup or len(sci), 4, 5))
    exposure = ramp(sci, **TIMES)
    listed = "".join(f"\n    - {list(group)}" for group in times)
    exposure.extras.append(asdf_table(f"meta:\n  exposure:\n    read_times:{listed}"))
    return exposure


def test_likelihood(ramp, refs):
    sci = lines(nint=2, ngroup=10)
    sci[1, 6:, 2, 3] += 5000
    gdq = np.zeros(sci.shape, np.uint8)
    gdq[0, 4:, 0, 0] = 2
    out = ramp_fit(ramp(sci, groupdq=gdq, **TIMES), refs=refs, **LIKELY)
    for product in out.values():
        np.testing.assert_allclose(product["SCI"], 2.0, rtol=1e-5)
        assert product.meta["S_RAMP"] == "COMPLETE"
        assert product.meta["GAINFACT"] == 1.5
    dq = np.zeros((2, 4, 5), np.uint32)
    dq[1, 2, 3], dq[0, 0, 0] = 4, 2
    np.testing.assert_array_equal(out["rateints"]["DQ"], dq)
    np.testing.assert_array_equal(out["rate"]["DQ"], dq[0] | dq[1])
    assert out["rate"]["ERR"][2, 3] > out["rate"]["ERR"][1, 1]


def test_likelihood_of_some_groups(ramp, refs):
    sci = lines(ngroup=10)
    sci[0, :3] += 5000
    out = ramp_fit(ramp(sci, **TIMES), refs=refs, firstgroup=3, **LIKELY)["rate"]
    np.testing.assert_allclose(out["SCI"], 2.0, rtol=1e-6)
    want = ramp_fit(ramp(lines(ngroup=7), **TIMES), refs=refs, **LIKELY)["rate"]
    np.testing.assert_allclose(out["VAR_RNOISE"], want["VAR_RNOISE"], rtol=1e-6)


@pytest.mark.parametrize("ngroup", [1, 2, 3])
def test_likelihood_of_few_groups_is_least_squares(ramp, refs, ngroup, caplog):
    got = ramp_fit(ramp(lines(ngroup=ngroup), **TIMES), refs=refs, **LIKELY)["rate"]
    want = ramp_fit(ramp(lines(ngroup=ngroup), **TIMES), refs=refs)["rate"]
    for name in ("SCI", "ERR", "DQ"):
        np.testing.assert_array_equal(got[name], want[name])
    assert "LIKELY needs 4 groups" in caplog.text


def test_likelihood_takes_the_zero_frame_out_of_the_first_group(ramp, refs):
    # Reads every 10 s at 2 DN/s, four to a group: the first at 20 DN, the first group at 50 DN.
    sci = 50.0 + 80.0 * np.arange(5)[:, None, None] * np.ones((1, 5, 4, 5))
    times = {**TIMES, "NFRAMES": 4, "TGROUP": 40.0}
    zero = np.full((1, 4, 5), 20.0)
    with_it = ramp_fit(ramp(sci, zeroframe=zero, **times), refs=refs, **LIKELY)["rate"]
    without = ramp_fit(ramp(sci, **times), refs=refs, **LIKELY)["rate"]
    for product in (with_it, without):
        np.testing.assert_allclose(product["SCI"], 2.0, rtol=1e-5)
    assert (with_it["ERR"] < without["ERR"]).all()
    single = {**TIMES, "NFRAMES": 1}
    ignored = ramp_fit(ramp(lines(), zeroframe=zero, **single), refs=refs, **LIKELY)["rate"]
    np.testing.assert_array_equal(
        ignored["SCI"], ramp_fit(ramp(lines(), **single), refs=refs, **LIKELY)["rate"]["SCI"]
    )


UNEVEN = [(1.0,), (2.0,), (3.5,), (12.0,), (13.0,), (14.5,)]


@pytest.mark.parametrize("algorithm", ["LIKELY", "OLS_C"])
def test_uneven_reads_get_the_likelihood_fit(ramp, refs, algorithm, caplog):
    out = ramp_fit(uneven(ramp, UNEVEN), refs=refs, algorithm=algorithm)["rate"]
    np.testing.assert_allclose(out["SCI"], 2.0, rtol=1e-5)
    assert ("LIKELY is used instead of OLS_C" in caplog.text) == (algorithm == "OLS_C")


@pytest.mark.parametrize("ngroup", [2, 3])
def test_few_uneven_reads_are_fitted_too(ramp, refs, ngroup):
    out = ramp_fit(uneven(ramp, UNEVEN[2 : 2 + ngroup]), refs=refs)["rate"]
    np.testing.assert_allclose(out["SCI"], 2.0, rtol=1e-5)


def test_chi_square_is_written_beside_the_product(ramp, refs, tmp_path, monkeypatch):
    from astropy.io import fits

    from jwcal.core import engine

    # A tile for every few rows.
    monkeypatch.setattr(engine, "TILE_BYTES", 1)
    monkeypatch.chdir(tmp_path)
    sci = lines(nint=2, ngroup=10)
    noise = np.random.default_rng(1).normal(0, 10 / np.sqrt(2), sci.shape)
    noise[:, :, 3, 4] *= 2.5
    exposure = ramp(sci + noise, **TIMES, FILENAME="jw1_nrca1_uncal.fits")
    ramp_fit(exposure, refs=refs, save_opt=True, **LIKELY)
    chisq = fits.getdata("jw1_nrca1_likely_chisq.fits", "SCI")
    assert chisq.shape == (4, 5)
    # Two integrations of nine differences with a slope each.
    odd = chisq == chisq[3, 4]
    assert 10 < chisq[~odd].mean() < 22
    assert chisq[3, 4] > chisq[~odd].max()
    with pytest.raises(OutputError, match="exists already"):
        ramp_fit(exposure, refs=refs, save_opt=True, **LIKELY)


def test_uneven_means(ramp, refs):
    times = [(1.0, 2.0), (3.0, 4.0), (9.0, 10.0), (11.0, 12.0), (17.0, 18.0)]
    out = ramp_fit(uneven(ramp, times), refs=refs)["rate"]
    np.testing.assert_allclose(out["SCI"], 2.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("times", "ngroup", "words"),
    [
        (UNEVEN, 5, "read times of 6 groups, but SCI has 5"),
        ([(1.0,), (3.0,), (2.0,), (4.0,)], None, "do not increase"),
        ([(1.0,), ("x",), (2.0,), (4.0,)], None, "not numbers"),
        ([(1.0,), (), (2.0,), (4.0,)], None, "do not increase"),
    ],
)
def test_wrong_read_times(ramp, refs, times, ngroup, words):
    with pytest.raises(InputError, match=words):
        ramp_fit(uneven(ramp, times, ngroup), refs=refs)


def test_unreadable_tree(ramp, refs):
    exposure = ramp(lines(), **TIMES)
    exposure.extras.append(asdf_table("meta: [read_times: {"))
    with pytest.raises(InputError, match="test: "):
        ramp_fit(exposure, refs=refs)


def test_likelihood_needs_time(ramp, refs):
    with pytest.raises(DataError, match="increase"):
        ramp_fit(ramp(lines(), TGROUP=10.0, TFRAME=0.0), refs=refs, **LIKELY)


def test_nothing_to_fit_by_likelihood(ramp, refs):
    with pytest.raises(DataError, match="saturated"):
        ramp_fit(ramp(lines(), groupdq=np.full((1, 8, 4, 5), 2), **TIMES), refs=refs, **LIKELY)

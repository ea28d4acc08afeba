"""The persistence step: windows and their map, correction from earlier exposures, and what goes wrong."""

import numpy as np
import pytest

from jwcal.core.errors import InputError, OutputError, ReferenceFileError, UsageError
from jwcal.detector1.persistence.map import MapUpdate, read_map
from jwcal.detector1.persistence.model import read_model, solve, write_model
from jwcal.detector1.persistence.step import persistence
from jwcal.kernels.persistence import Traps

NY, NX = 12, 16
STEP = 10.0
DAY = 86400.0
T0 = 60400.0
GAIN, WELL = 2.0, 1e5
MODEL = """full_well = 1.0e5
family = [
    { release = 60.0, capture = 20.0, amplitude = 2.0e-3, threshold = 0.0 },
    { release = 600.0, capture = 60.0, amplitude = 1.0e-3, threshold = 0.1 },
]
"""


@pytest.fixture
def refs(reference):
    return {"gain": reference("gain", SCI=np.full((NY, NX), GAIN))}


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.toml"
    path.write_text(MODEL)
    return str(path)


def at(seconds):
    """Keywords of an exposure that starts so long after the first."""
    return {"TGROUP": STEP, "TFRAME": STEP, "EXPSTART": T0 + seconds / DAY, "EFFINTTM": 6 * STEP, "NINTS": 1}


def truth(rates, starts):
    """Charge released up to each group of the last of some exposures, by fine steps through both families.

    Rates in electrons per second; every exposure has one integration of six groups.
    """
    families = [(60.0, 20.0, 2e-3, 0.0), (600.0, 60.0, 1e-3, 0.1 * WELL)]
    fine = 0.25
    traps, now = np.zeros((2, NY, NX)), starts[0]
    for rate, start in zip(rates, starts, strict=True):
        for k, (release, *_) in enumerate(families):
            traps[k] *= np.exp(-(start - now) / release)
        charge, gone, out = np.zeros((NY, NX)), np.zeros((NY, NX)), []
        for t in np.arange(fine, 6 * STEP + fine / 2, fine):
            charge = np.minimum(charge + rate * fine, WELL)
            for k, (release, capture, amplitude, threshold) in enumerate(families):
                full = amplitude * np.maximum(charge - threshold, 0)
                time = np.where(full > traps[k], capture, release)
                new = full + (traps[k] - full) * np.exp(-fine / time)
                gone += np.maximum(traps[k] - new, 0)
                traps[k] = new
            if abs(t / STEP - round(t / STEP)) < 1e-9:
                out.append(gone.copy())
        now = start + 6 * STEP
    return np.array(out)


def lines(rate):
    """Ramp [DN] of a rate [e/s], without noise, and its flags."""
    sci = np.minimum(rate * STEP * np.arange(1, 7)[:, None, None], WELL)
    return sci[None] / GAIN, np.where(sci >= WELL, 2, 0)[None]


def scene(seed):
    rate = np.full((NY, NX), 1.0)
    rng = np.random.default_rng(seed)
    rate[rng.integers(0, NY, 30), rng.integers(0, NX, 30)] = 10 ** rng.uniform(2, 4.5, 30)
    return rate


@pytest.fixture
def history(ramp, tmp_path):
    """Two earlier exposures on disk, and their rates and starts."""
    rates, starts, paths = [scene(1), scene(2)], [0.0, 100.0], []
    for k, (rate, start) in enumerate(zip(rates, starts, strict=True)):
        sci, gdq = lines(rate)
        paths.append(str(tmp_path / f"{k}_ramp.fits"))
        ramp(sci, groupdq=gdq, **at(start)).write(paths[-1])
    return rates, starts, paths


def test_windows_and_status(ramp):
    sci, gdq = lines(scene(1))
    out = persistence(ramp(sci, groupdq=gdq, **at(0)), skip=False, persistence_time=25, persistence_dnu=True)
    first = np.where((gdq[0] & 2).any(axis=0), (gdq[0] & 2).argmax(axis=0), 9)
    for g in range(6):
        open_now = (first <= g) & (first > g - 3)
        np.testing.assert_array_equal((out["GROUPDQ"][0, g] & 33) == 33, open_now)
    np.testing.assert_array_equal(out["SCI"], sci.astype(np.float32))
    assert out.meta["S_PERSIS"] == "COMPLETE"


def test_off_unless_asked_for(ramp):
    sci, gdq = lines(scene(1))
    assert persistence(ramp(sci, groupdq=gdq, **at(0)), persistence_time=25).meta["S_PERSIS"] == "SKIPPED"


def test_the_map_goes_on_in_the_next_exposure(ramp, tmp_path):
    sci, gdq = lines(scene(1))
    path = str(tmp_path / "map.dat")
    options = {"skip": False, "persistence_time": 200}
    persistence(ramp(sci, groupdq=gdq, **at(0)), save_persistence=path, **options)
    path = str(tmp_path / "map.asdf")
    dark = np.zeros_like(sci)
    out = persistence(ramp(dark, **at(100)), persistence_array_file=path, save_persistence=path, **options)
    first = np.where((gdq[0] & 2).any(axis=0), (gdq[0] & 2).argmax(axis=0), 99)
    for g in range(6):
        still = (first < 99) & (200 + STEP * (first + 1) >= 100 + STEP * (g + 1))
        np.testing.assert_array_equal((out["GROUPDQ"][0, g] & 32) != 0, still)
    late = persistence(ramp(dark, **at(900)), persistence_array_file=path, **options)
    assert not late["GROUPDQ"].any()
    other = persistence(ramp(dark, **at(100)), persistence_array_file=path, skip=False, persistence_time=300)
    assert not other["GROUPDQ"].any()


def test_the_map_keeps_other_detectors(tmp_path):
    path = str(tmp_path / "map.asdf")
    ends = np.zeros((3, 4))
    ends[1, 2] = 5.5e9
    for update in (
        MapUpdate(path, "NRCA1", 10, ends, "a.fits"),
        MapUpdate(path, "NRCA2", 20, 2 * ends, "b.fits"),
    ):
        update.commit()
    np.testing.assert_array_equal(read_map(path, "NRCA1", 10, (3, 4)), ends)
    np.testing.assert_array_equal(read_map(path, "NRCA2", 20, (3, 4)), 2 * ends)
    assert not read_map(path, "NRCB1", 20, (3, 4)).any()
    with pytest.raises(InputError, match="larger than the frame"):
        read_map(path, "NRCA1", 10, (2, 2))
    (tmp_path / "bad.asdf").write_text("nothing")
    with pytest.raises(InputError, match="ASDF"):
        read_map(str(tmp_path / "bad.asdf"), "NRCA1", 10, (3, 4))


def test_the_map_keeps_what_another_run_adds_meanwhile(tmp_path):
    path = str(tmp_path / "map.asdf")
    ends = np.zeros((3, 4))
    ends[1, 2] = 5.5e9
    MapUpdate(path, "NRCA1", 10, ends, "a.fits").commit()
    slow = MapUpdate(path, "NRCA2", 10, ends, "b.fits")
    MapUpdate(path, "NRCA3", 10, ends, "c.fits").commit()
    slow.commit()
    for detector in ("NRCA1", "NRCA2", "NRCA3"):
        np.testing.assert_array_equal(read_map(path, detector, 10, (3, 4)), ends)
    assert [p.name for p in tmp_path.iterdir()] == ["map.asdf"]


def test_the_map_is_left_alone_when_a_run_fails(ramp, tmp_path):
    path = tmp_path / "map.asdf"
    sci, gdq = lines(scene(1))
    e = ramp(sci, groupdq=gdq, **at(0))
    options = {"skip": False, "persistence_time": 200, "save_persistence": str(path)}
    with pytest.raises(OutputError, match="does not exist"):
        persistence(e, **(options | {"save_persistence": str(tmp_path / "none" / "map.asdf")}))
    persistence(e, **options)
    before = path.read_bytes()
    MapUpdate(str(path), "NRCA1", 10, np.zeros((3, 4)), "a.fits").abort()
    assert path.read_bytes() == before
    other_file = tmp_path / "state.asdf"
    pytest.importorskip("asdf").AsdfFile({"detector": "NRCA1"}).write_to(other_file)
    with pytest.raises(InputError, match="is not a persistence map"):
        persistence(e, **(options | {"save_persistence": str(other_file)}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.asdf", "state.asdf"]


def test_integrations_of_a_segment_have_their_own_times(ramp):
    """Without a table the second segment begins later by the integrations before it."""
    sci, gdq = lines(scene(1))
    gdq = gdq.copy()
    gdq[...] = 0
    path_ends = {}
    for first in (1, 4):
        e = ramp(sci, groupdq=gdq, **(at(0) | {"INTSTART": first, "INTEND": first}))
        from jwcal.detector1.persistence.history import clock

        path_ends[first] = clock(e)[0]
    assert path_ends[4] - path_ends[1] == pytest.approx(3 * 6 * STEP, abs=1e-4)


def test_latents_are_predicted_from_the_history(ramp, refs, model, history):
    rates, starts, paths = history
    now = scene(3)
    want = truth([*rates, now], [*starts, 200.0])
    sci, gdq = lines(now)
    sci[0] += want / GAIN
    out = persistence(
        ramp(sci, groupdq=gdq, **at(200)), refs=refs, skip=False, history=",".join(paths), model=model
    )
    got = (sci.astype(np.float32) - out["SCI"])[0, -1] * GAIN
    strong = want[-1] > 3
    assert strong.sum() > 8
    np.testing.assert_allclose(got[strong], want[-1][strong], rtol=0.1)
    np.testing.assert_allclose(got[~strong], want[-1][~strong], atol=0.5)
    np.testing.assert_array_equal(out["GROUPDQ"], gdq)


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_folder_as_history_is_the_same_as_its_files(ramp, refs, model, history, tmp_path, jobs):
    *_, paths = history
    dark = np.zeros((1, 6, NY, NX), np.float32)
    options = {"refs": refs, "skip": False, "model": model, "jobs": jobs}
    ramp(dark, **at(900)).write(str(tmp_path / "later_ramp.fits"))
    ramp(dark, **(at(0) | {"DETECTOR": "NRCA2"})).write(str(tmp_path / "other_ramp.fits"))
    a = persistence(ramp(dark, **at(200)), history=",".join(paths), **options)["SCI"]
    b = persistence(ramp(dark, **at(200)), history=str(tmp_path), **options)["SCI"]
    np.testing.assert_array_equal(a, b)
    assert (a < -1).any()


def test_an_earlier_subarray_counts_where_it_lies(ramp, refs, model, tmp_path):
    sci, gdq = lines(scene(1)[:6, :8])
    path = str(tmp_path / "sub_ramp.fits")
    ramp(sci, groupdq=gdq, **(at(0) | {"SUBSTRT1": 104, "SUBSTRT2": 53})).write(path)
    dark = np.zeros((1, 6, NY, NX), np.float32)
    out = persistence(ramp(dark, **at(100)), refs=refs, skip=False, model=model, history=path)["SCI"]
    touched = (out[0] != 0).any(axis=0)
    assert touched[2:8, 3:11].any()
    touched[2:8, 3:11] = False
    assert not touched.any()


@pytest.mark.parametrize("fit", ["scale", "families", "blank"])
def test_amplitudes_are_fitted(ramp, refs, reference, tmp_path, fit):
    """With all amplitudes of the model wrong by 2, the exposure itself brings them back."""
    bright = np.geomspace(300, 5000, NY * NX).reshape(NY, NX)
    before = str(tmp_path / "before_ramp.fits")
    ramp(lines(bright)[0], groupdq=lines(bright)[1], **at(0)).write(before)
    refs = refs | {"readnoise": reference("readnoise", SCI=np.full((NY, NX), 0.5))}
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(MODEL.replace("2.0e-3", "4.0e-3").replace("1.0e-3", "2.0e-3"))
    now = np.zeros((NY, NX))
    want = truth([bright, now], [0.0, 65.0])
    sci = want[None] / GAIN
    if fit != "blank":
        sci = sci + lines(np.full((NY, NX), 0.2))[0]
    saved = str(tmp_path / "fitted.toml")
    out = persistence(
        ramp(sci, **at(65)), refs=refs, skip=False, history=before, model=str(wrong), fit=fit,
        save_model=saved,
    )  # fmt: skip
    got = (sci.astype(np.float32) - out["SCI"])[0, -1] * GAIN
    strong = want[-1] > 10
    np.testing.assert_allclose(got[strong], want[-1][strong], rtol=0.15)
    again = read_model(saved, "NIRCAM", "NRCA1")
    assert again.release == (60.0, 600.0)
    assert again.amplitude[0] == pytest.approx(2e-3, rel=0.25)


def test_a_fit_without_information_changes_nothing():
    for how in ("scale", "families"):
        model = Traps(1e5, (10.0, 100.0), (1.0, 1.0), (1e-3, 1e-3), (0.0, 0.0))
        scale, error = solve(np.zeros((2, 3)), model, how)
        np.testing.assert_array_equal(scale, 1)
        assert error == np.inf


def test_models_are_read_as_written(tmp_path):
    before = Traps(5e4, (10.0, 100.0), (1.0, 0.0), (1e-3, 2e-3), (0.0, 2.5e4))
    path = str(tmp_path / "m.toml")
    write_model(path, False, before, (1.0, 0.5), "x").commit()
    after = read_model(path, "MIRI", "MIRIMAGE")
    assert after == Traps(5e4, (10.0, 100.0), (1.0, 0.0), (1e-3, 1e-3), (0.0, 2.5e4))


def test_the_package_has_a_model_but_not_for_miri():
    assert len(read_model(None, "NIRISS", "NIS")) >= 2
    with pytest.raises(UsageError, match="MIRIMAGE"):
        read_model(None, "MIRI", "MIRIMAGE")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("full_well = 1", "no trap families"),
        ("full_well = 1\nfamily = [{ release = 1 }]", "needs full_well"),
        ("full_well = -1\nfamily = [{release=1, capture=1, amplitude=1, threshold=0}]", "negative"),
        ("full_well = 1\nfamily = [{release=0, capture=1, amplitude=1, threshold=0}]", "positive"),
        ("x = [", "TOML"),
    ],
)
def test_a_bad_model(tmp_path, text, match):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=match):
        read_model(str(path), "NIRCAM", "NRCA1")


def test_history_that_cannot_be_used(ramp, refs, model, history, tmp_path):
    *_, paths = history
    dark = np.zeros((1, 6, NY, NX), np.float32)

    def run(text, start=200.0, **more):
        return persistence(
            ramp(dark, **at(start)),
            refs=more.pop("refs", refs),
            skip=False,
            model=model,
            history=text,
            **more,
        )

    with pytest.raises(InputError, match=r"nowhere\.fits: no such file"):
        run("nowhere.fits")
    with pytest.raises(InputError, match="not in order of time"):
        run(",".join(paths[::-1]))
    with pytest.raises(InputError, match="not in order of time"):
        run(f"{paths[0]},{paths[0]}")
    with pytest.raises(InputError, match="ends after"):
        run(",".join(paths), start=120.0)
    other = str(tmp_path / "other.fits")
    ramp(dark, **(at(0) | {"DETECTOR": "NRCB3"})).write(other)
    with pytest.raises(InputError, match="NRCB3"):
        run(other)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no earlier"):
        run(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="names no file"):
        run(" , ")
    with pytest.raises(ReferenceFileError, match="GAIN"):
        run(paths[0], refs={})


def test_nothing_to_do_is_wrong_usage(ramp):
    e = ramp(np.zeros((1, 6, NY, NX)), **at(0))
    for options in ({}, {"history": "x", "save_persistence": "m"}, {"persistence_time": 5, "fit": "scale"}):
        with pytest.raises(UsageError):
            persistence(e, skip=False, **options)


def test_exposures_long_past_do_not_count(ramp, refs, model, history):
    *_, paths = history
    dark = np.zeros((1, 6, NY, NX), np.float32)
    out = persistence(ramp(dark, **at(1e5)), refs=refs, skip=False, model=model, history=",".join(paths))
    assert not out["SCI"].any()


def test_exit_code_and_one_line(exposure, invoke, tmp_path):
    done = invoke(
        "run", "detector1", *exposure.args, "-o", tmp_path / "r.fits", "--set", "persistence.skip=false",
        "--set", "persistence.history=/nowhere/a_rate.fits",
    )  # fmt: skip
    assert done.code == 3
    errors = [line for line in done.err.splitlines() if "nowhere" in line]
    assert len(errors) == 1
    assert not (tmp_path / "r.fits").exists()


def test_trapped_charge_takes_the_place_of_the_history(ramp, refs, model, history, tmp_path):
    rates, _, paths = history
    state = str(tmp_path / "traps.asdf")
    options = {"refs": refs, "skip": False, "model": model}
    sci, gdq = lines(rates[1])
    persistence(ramp(sci, groupdq=gdq, **at(100)), history=paths[0], save_traps=state, **options)
    dark = np.zeros((1, 6, NY, NX), np.float32)
    a = persistence(ramp(dark, **at(200)), history=",".join(paths), **options)["SCI"]
    b = persistence(ramp(dark, **at(200)), traps_file=state, **options)["SCI"]
    both = persistence(ramp(dark, **at(200)), traps_file=state, history=",".join(paths), **options)["SCI"]
    # An exposure seen group by group is not quite the ramp of its mean rate.
    np.testing.assert_allclose(b, a, rtol=0.1, atol=0.2)
    assert (a < -5).any()
    np.testing.assert_array_equal(both, b)


def test_trapped_charge_is_not_replaced_unasked(ramp, refs, model, history, tmp_path):
    *_, paths = history
    state = tmp_path / "traps.asdf"
    dark = np.zeros((1, 6, NY, NX), np.float32)
    options = {"refs": refs, "skip": False, "model": model, "save_traps": str(state)}
    persistence(ramp(dark, **at(200)), history=",".join(paths), **options)
    first = state.read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        persistence(ramp(dark, **at(200)), history=",".join(paths), **options)
    assert state.read_bytes() == first
    # The file that is carried from exposure to exposure.
    persistence(ramp(dark, **at(300)), traps_file=str(state), **options)
    assert state.read_bytes() != first
    with pytest.raises(UsageError, match="is read by this run"):
        persistence(
            ramp(dark, **at(200)),
            history=",".join(paths),
            **(options | {"save_traps": paths[0], "traps_file": paths[0]}),
        )
    families = tmp_path / "families.toml"
    families.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        persistence(ramp(dark, **at(400)), save_model=str(families), traps_file=str(state), **options)
    assert families.read_text() == "mine"


LATE = """
from jwcal.core.step import step


@step("late", stage="detector1", takes="ramp", gives="ramp", changes=("SCI",))
def late(tile, refs, p):
    \"\"\"Fail after all pixels.\"\"\"


@late.finish
def _(exposure, counts, plan, p):
    raise ValueError
"""


def test_files_of_a_run_appear_together(exposure, invoke, tmp_path):
    """The map waits for the products, and is not there when they fail."""
    (tmp_path / "late.py").write_text(LATE)
    out = tmp_path / "out"
    out.mkdir()
    command = ("run", "detector1", *exposure.args, "-o", out / "y_rate.fits", "--set", "persistence.skip=false",
               "--set", "persistence.persistence_time=100", "--set",
               f"persistence.save_persistence={out}/map.asdf")  # fmt: skip
    done = invoke(*command, "--after", f"jump={tmp_path}/late.py:late")
    assert done.code == 1
    assert list(out.iterdir()) == []
    assert invoke(*command).code == 0
    assert sorted(p.name for p in out.iterdir()) == ["map.asdf", "y_rate.fits"]


def test_trapped_charge_that_cannot_be_used(ramp, refs, model, history, tmp_path):
    *_, paths = history
    state = str(tmp_path / "traps.asdf")
    dark = np.zeros((1, 6, NY, NX), np.float32)
    options = {"refs": refs, "skip": False, "model": model}
    persistence(ramp(dark, **at(200)), history=",".join(paths), save_traps=state, **options)
    with pytest.raises(InputError, match="not in order of time"):
        persistence(ramp(dark, **at(220)), traps_file=state, **options)
    with pytest.raises(InputError, match="other trap families"):
        persistence(ramp(dark, **at(300)), traps_file=state, **(options | {"model": None}))
    with pytest.raises(InputError, match="NRCA1"):
        persistence(
            ramp(dark, **(at(300) | {"DETECTOR": "NRCA2"})),
            traps_file=state,
            **(options | {"refs": other(refs)}),
        )
    with pytest.raises(InputError, match="No such file"):
        persistence(ramp(dark, **at(300)), traps_file=str(tmp_path / "none.asdf"), **options)
    MapUpdate(str(tmp_path / "map.asdf"), "NRCA1", 10, np.zeros((NY, NX)), "x").commit()
    with pytest.raises(InputError, match="not the trapped charge"):
        persistence(ramp(dark, **at(300)), traps_file=str(tmp_path / "map.asdf"), **options)


def other(refs):
    """References for every detector."""
    from astropy.io import fits

    with fits.open(refs["gain"], mode="update") as hdus:
        hdus[0].header["DETECTOR"] = "N/A"
    return refs

"""Effects: each has the declared size, is where its truth says, and is the same for the same seed."""

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from jwcal.core.errors import OutputError, UsageError
from jwcal.simulate.commands import sim_group
from jwcal.simulate.detectors import detector, region
from jwcal.simulate.effects import CHOICES, Setting, build, check, parse
from jwcal.simulate.effects.emi import WAVES, Interference, clocks, wave, write_reference
from jwcal.simulate.effects.events import CORE, HALO, SHOWER
from jwcal.simulate.effects.flicker import Flicker, amplitudes
from jwcal.simulate.effects.ipc import Coupling, deconvolution, kernel
from jwcal.simulate.effects.persistence import THRESHOLD, TRAPS, Persistence
from jwcal.simulate.effects.spill import ChargeMigration
from jwcal.simulate.pixels import linearise, pixels
from jwcal.simulate.ramp import Effects, RampMaker
from jwcal.simulate.readout import timing
from jwcal.simulate.references import inverse


def make(names, name="NRCB1", shape=(64, 72), ngroups=6, nints=1, rate=30.0, pattern=None, seed=4, **given):
    """Build a maker of ramps with the effects of a list, and the effects."""
    threads, history = given.pop("threads", 2), given.pop("history", {})
    det = detector(name)
    part = region(det, shape=shape, corner=given.pop("corner", (101, 201)), **given)
    sampling = timing(part, pattern, ngroups)
    pix = pixels(part)
    light = np.broadcast_to(np.asarray(rate, np.float32), shape) * pix.efficiency
    cycle = sampling.integration_time + sampling.tframe
    setting = Setting(part, sampling, pix, light, nints, seed, 0.0, cycle, history)
    extra = build(parse(names), setting)
    quiet = Effects(0.0, 0.0, 0.0, 0.0, False, extra)
    return RampMaker(part, sampling, pix, light, nints, quiet, seed, threads=threads), extra


def groups_of(maker, i=0):
    return maker.integration(i).groups.astype(float)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ("charge-migration,snowballs,persistence,ipc,flicker", "NRCA1"),
        ("flicker,snowballs=4", "NRS2"),
        ("charge-migration,showers,ipc,emi", "MIRIMAGE"),
    ],
)
def test_same_seed_same_bits_for_any_number_of_threads(names, name):
    corner = (1, 1)
    shape = (90, 1032) if name == "MIRIMAGE" else (90, 1024)
    given = {"name": name, "shape": shape, "ngroups": 3, "nints": 2, "rate": 800.0, "corner": corner}
    one, first = make(names, threads=1, **given)
    many, second = make(names, threads=3, **given)
    for i in range(2):
        assert np.array_equal(one.integration(i).groups, many.integration(i).groups)
    for a, b in zip(first, second, strict=True):
        for (_, x, _), (_, y, _) in zip(a.truth(1, 2), b.truth(1, 2), strict=True):
            assert np.array_equal(x, y)
    other, _ = make(names, threads=3, **{**given, "seed": 5})
    assert not np.array_equal(one.integration(0).groups, other.integration(0).groups)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rain", "unknown"),
        ("ipc,ipc=2", "twice"),
        ("ipc=0", "positive"),
        ("ipc=lots", "positive"),
        ("snowballs=-1", "positive"),
        ("emi=nan", "positive"),
    ],
)
def test_bad_lists_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse(text)


def test_a_list_keeps_the_order_of_the_light():
    assert list(parse(" flicker , ipc=2, Charge-Migration")) == ["charge-migration", "ipc", "flicker"]
    assert parse("") == {}
    assert parse("ipc")["ipc"] == CHOICES["ipc"].strength


@pytest.mark.parametrize(
    ("name", "instrument"),
    [
        ("flicker", "miri"),
        ("snowballs", "miri"),
        ("showers", "nircam"),
        ("emi", "nirspec"),
        ("persistence", "miri"),
    ],
)
def test_effects_of_other_instruments_are_refused(name, instrument):
    with pytest.raises(UsageError, match=f"{name} does not occur in {instrument}"):
        check(parse(name), instrument)


@pytest.mark.parametrize("name", ["NRCA1", "NRS1", "NIS"])
def test_flicker_has_the_declared_amplitude_and_spectrum(name):
    maker, (effect,) = make("flicker", name, (2048, 512), ngroups=1, rate=0.0, corner=(1, 1))
    assert isinstance(effect, Flicker)
    if not maker.region.fast_is_x:
        maker, (effect,) = make("flicker", name, (512, 2048), ngroups=1, rate=0.0, corner=(1, 1))
    common, own = amplitudes(maker.region.detector)
    series = effect._series(0, 0)
    expected = np.hypot(effect.common, effect.own)
    assert series.std() == pytest.approx(expected, rel=0.1)
    # The region has as many pixels as one output of a full frame reads.
    assert effect.common == pytest.approx(common, rel=0.01)
    assert effect.own == pytest.approx(own, rel=0.01)
    power = np.abs(np.fft.rfft(series[0])) ** 2
    k = np.arange(power.size)
    bands = [power[(k >= a) & (k < 2 * a)].sum() for a in (100, 1000, 10000, 100000)]
    assert max(bands) / min(bands) < 1.3
    assert 100 < effect.knee() < 50000


@pytest.mark.parametrize("name", ["NRCB1", "NRS1", "GUIDER2"])
def test_flicker_truth_is_what_lines_show(name):
    with_it, (effect,) = make("flicker", name, (96, 96), ngroups=3, rate=0.0)
    without, _ = make("", name, (96, 96), ngroups=3, rate=0.0)
    noise = groups_of(with_it) - groups_of(without)
    assert np.abs(noise).max() > 1
    lines = noise.mean(axis=2 if with_it.region.fast_is_x else 1)
    truth = effect.truth(1, 1)[0][1][0, :, 0]
    assert np.allclose(lines, truth, atol=0.3)
    assert lines.std() > 3 * np.abs(lines - truth).std()


def test_snowballs_are_where_the_maps_say():
    given = {"shape": (150, 160), "ngroups": 6, "nints": 3, "rate": 2.0}
    with_it, (effect,) = make("snowballs=4", **given)
    without, _ = make("", **given)
    table_size = 0
    for i in range(3):
        signal = groups_of(with_it, i) - groups_of(without, i)
        names = {name: array for name, array, _ in effect.truth(i + 1, i + 1)} if i == 2 else {}
        table_size += effect._tables[i].size
        flags = effect._flags[i]
        live = ~with_it.pixels.reference & ~with_it.pixels.dead
        step = np.diff(signal, axis=0, prepend=0)
        for g in range(6):
            core, halo = (flags[g] & CORE) != 0, ((flags[g] & HALO) != 0) & live
            if core.any():
                assert (with_it.integration(i).saturated[core] <= g).all()
            if halo.sum() > 50:
                assert (step[g][halo] > 0).mean() > 0.8
        none = ((flags & (CORE | HALO)).sum(axis=0) == 0) & live
        assert np.abs(step[:, none]).max() < 100
        if names:
            assert (names["SNOWBALLS"]["INT"] == 0).all()
            assert names["EVENT_E"].shape == (1, 150, 160)
    assert 4 <= table_size <= 24


def test_snowball_number_is_the_mean():
    _, (effect,) = make("snowballs=3", shape=(8, 8), nints=1)
    counts = []
    for i in range(400):
        effect.begin(i)
        counts.append(effect._tables[-1].size)
    assert np.mean(counts) == pytest.approx(3, abs=4 * np.sqrt(3 / 400))


def test_showers_leave_their_charge_and_a_tail():
    given = {"name": "MIRIMAGE", "shape": (100, 120), "ngroups": 12, "rate": 5.0}
    with_it, (effect,) = make("showers=6", **given)
    signal = groups_of(with_it) - groups_of(make("", **given)[0])
    names = {name: array for name, array, _ in effect.truth(1, 1)}
    assert names["SHOWERS"].size > 0
    gain = with_it.pixels.gain
    bright = names["EVENT_E"][0] > 60
    measured = linearise(signal[-1], with_it.pixels.coefficients)[bright] * gain[bright]
    assert measured.sum() / names["EVENT_E"][0][bright].sum() == pytest.approx(1, abs=0.05)
    first = int(names["SHOWERS"]["GROUP"].min())
    seen = (names["EVENTS"][0, first] & SHOWER) != 0
    later = signal[:, seen].mean(axis=1)
    if first < 9 and (names["SHOWERS"]["GROUP"] == first).sum() == names["SHOWERS"].size:
        assert later[first + 2] > later[first]


def test_kernels_undo_each_other():
    both = np.zeros((5, 5))
    for dy in range(3):
        for dx in range(3):
            both[dy : dy + 3, dx : dx + 3] += kernel(0.01)[dy, dx] * deconvolution(0.01)
    assert deconvolution(0.01).sum() == pytest.approx(1)
    expected = np.zeros((5, 5))
    expected[2, 2] = 1
    assert np.abs(both - expected).max() < 5e-4


def test_coupling_shares_the_signal_of_a_pixel_and_keeps_the_sum():
    _, (effect,) = make("ipc=1", shape=(20, 20))
    assert isinstance(effect, Coupling)
    signal = np.zeros((20, 20), np.float32)
    signal[7, 9] = 1000
    effect.couple(signal)
    assert np.allclose(signal[6:9, 8:11], 1000 * kernel(0.01))
    assert signal.sum() == pytest.approx(1000)
    assert (effect.truth(1, 1)[0][1] == kernel(0.01).astype(np.float32)).all()


def test_coupling_leaves_reference_pixels_alone():
    maker, (effect,) = make("ipc=1", shape=(20, 20), corner=(1, 1))
    signal = np.full((20, 20), 500.0, np.float32)
    signal[maker.pixels.reference] = 0
    before = signal.copy()
    effect.couple(signal)
    assert np.array_equal(signal, before)


def test_too_strong_coupling_is_refused():
    with pytest.raises(UsageError, match="20 per cent"):
        make("ipc=25")


def test_charge_migration_moves_light_of_bright_pixels_and_keeps_the_sum():
    rate = np.full((40, 40), 50.0)
    rate[20, 20] = 9000.0
    given = {"shape": (40, 40), "rate": rate, "ngroups": 20, "corner": (901, 901)}
    with_it, (effect,) = make("charge-migration=5", **given)
    assert isinstance(effect, ChargeMigration)
    difference = (groups_of(with_it) - groups_of(make("", **given)[0]))[-1]
    spill = effect.truth(1, 1)[0][1][0]
    assert spill[20, 20] < -10
    assert spill.sum() == pytest.approx(0, abs=0.05 * abs(float(spill[20, 20])))
    neighbours = [(19, 20), (21, 20), (20, 19), (20, 21)]
    assert all(spill[at] > 0 for at in neighbours)
    assert difference[20, 20] < -0.7 * abs(spill[20, 20]) / with_it.pixels.gain[20, 20]
    assert np.abs(difference[:18]).max() < 3


def latent_pair(history):
    rate = np.full((32, 32), 0.2)
    rate[10:14, 10:14] = 3e6
    bright, (first,) = make("persistence", shape=(32, 32), rate=rate, ngroups=8, history=history)
    bright.integration(0)
    return first


def test_latents_decay_with_the_time_constants_of_the_traps():
    history = {}
    first = latent_pair(history)
    assert isinstance(first, Persistence)
    filled, ended = history["persistence"]
    assert (filled[:, 11, 11] > 0).all()
    assert (filled[:, 20:, 20:] == 0).all()
    part = region(detector("NRCB1"), shape=(32, 32), corner=(101, 201))
    sampling = timing(part, "DEEP8", 4)
    pix = first.setting.pixels
    light = np.zeros((32, 32), np.float32)
    for pause in (0.0, 500.0):
        past = {"persistence": (filled.copy(), ended)}
        setting = Setting(part, sampling, pix, light, 1, 6, ended + pause, 0.0, past)
        late = Persistence(setting, 1.0)
        for k, (_, _, release) in enumerate(TRAPS):
            expected = filled[k, 11, 11] * np.exp(-pause / release)
            assert late.filled[k, 11, 11] == pytest.approx(expected, rel=1e-5)
        before = float(late.filled.sum())
        late.begin(0)
        charge = np.zeros((32, 32), np.float32)
        seconds = sampling.tframe
        for frame in range(sampling.total_frames):
            late.collect(0, frame, seconds, charge)
        assert late.filled.sum() < before
        given = before - float(late.filled.sum())
        assert charge.sum() == pytest.approx(given, abs=5 * np.sqrt(given) + 1)
        late.end(0)
        assert late.truth(1, 1)[0][1][0, 11, 11] > 0


def test_traps_fill_only_above_the_threshold():
    _, (effect,) = make("persistence", shape=(8, 8))
    effect.begin(0)
    full = effect._full
    effect.collect(0, 0, 5.0, full * np.float32(THRESHOLD - 0.01))
    assert (effect.filled == 0).all()
    effect.collect(0, 1, 5.0, full * np.float32(0.9))
    live = ~effect.setting.pixels.reference
    assert (effect.filled[:, live] > 0).all()


def test_a_history_of_another_region_is_refused():
    history = {}
    latent_pair(history)
    with pytest.raises(ValueError, match="region"):
        make("persistence", shape=(16, 16), history=history)


@pytest.mark.parametrize("name", WAVES)
def test_waves_have_the_declared_rms(name):
    shape = wave(name)
    assert shape.mean() == pytest.approx(0, abs=1e-12)
    assert shape.std() == pytest.approx(WAVES[name][1])


@pytest.mark.parametrize(("subarray", "row"), [("SUB256", 96), ("SUB128", 44), ("SUB64", 28), ("FULL", 271)])
def test_clocks_are_the_official_ones(subarray, row):
    part = region(detector("MIRIMAGE"), subarray)
    assert clocks(part, timing(part))[0] == row


def test_interference_is_where_the_clock_says():
    with_it, (effect,) = make("emi", "MIRIMAGE", (64, 72), ngroups=4, nints=2, rate=5.0, corner=(1, 779))
    assert isinstance(effect, Interference)
    noise = np.stack([effect.noise(i, g) for i in range(2) for g in range(4)])
    for k in range(1, 4):
        assert np.array_equal(noise[..., 0::4], noise[..., k::4])
    without, _ = make("", "MIRIMAGE", (64, 72), ngroups=4, nints=2, rate=5.0, corner=(1, 779))
    measured = np.concatenate([groups_of(with_it, i) - groups_of(without, i) for i in range(2)])
    assert (measured - noise).std() < 0.5
    expected = np.sqrt(sum(WAVES[name][1] ** 2 for name in effect.names))
    assert noise.std() == pytest.approx(expected, rel=0.15)
    # The truth of the second integration alone continues the phase.
    rows = {first: effect.truth(first, 2)[0][1] for first in (1, 2)}
    for a, b in zip(rows[1], rows[2], strict=True):
        step = (a["PHASE"] + a["INTCLOCKS"] * a["FREQ"] * 1e-5 - b["PHASE"]) % 1
        assert min(step, 1 - step) < 1e-6


def test_interference_reference_reads_as_the_official_one(tmp_path):
    asdf = pytest.importorskip("asdf")
    _, (effect,) = make("emi", "MIRIMAGE", (64, 72), corner=(1, 779))
    path = tmp_path / "emicorr.asdf"
    write_reference(path, effect)
    with asdf.open(path) as tree:
        case = tree["subarray_cases"][effect.setting.region.name]
        assert case["rowclocks"] == effect.row
        for name in case["freqs"]["FAST"]:
            entry = tree["frequencies"][name]
            assert entry["frequency"] == WAVES[name][0]
            assert np.allclose(entry["phase_amplitudes"], wave(name))
    with pytest.raises(OutputError, match="overwrite"):
        write_reference(path, effect)
    before = path.read_bytes()
    write_reference(path, effect, overwrite=True)
    assert path.read_bytes() == before


def test_interference_in_phase_with_the_frames_is_refused(monkeypatch):
    part = region(detector("MIRIMAGE"), "SUB256")
    setting = Setting(part, timing(part), None, None, 1, 1, 0.0, 0.0, {})
    monkeypatch.setattr("jwcal.simulate.effects.emi._PRESENT", {"SUB256": ("Hz10",)})
    with pytest.raises(UsageError, match="in phase"):
        Interference(setting, 1.0)


def test_inverse_polynomials_undo_the_linearity_correction():
    part = region(detector("NRCB1"), shape=(12, 12), corner=(1, 1))
    pix = pixels(part)
    back = inverse(pix)
    live = ~pix.reference & ~pix.undefined["linearity"]
    for fraction in (0.02, 0.3, 0.7, 0.99):
        measured = (fraction * pix.full_well).astype(np.float32)
        linear = linearise(measured, pix.coefficients).astype(float)
        value = sum(back[k].astype(float) * linear**k for k in range(back.shape[0]))
        assert np.abs(value - measured)[live].max() < 0.5


def run(*args):
    return CliRunner().invoke(sim_group, ["expose", *map(str, args)])


def test_command_writes_effects_and_their_references(tmp_path):
    done = run(
        tmp_path / "a",
        "--effects",
        "snowballs=3,ipc,flicker",
        "--inverse",
        "--subarray",
        "SUB64P",
        "--ngroups",
        3,
    )
    assert done.exit_code == 0, done.output
    with fits.open(tmp_path / "a" / "truth.fits") as h:
        h.verify("exception")
        assert {"SNOWBALLS", "EVENTS", "EVENT_E", "IPC", "FLICKER", "FLICKOUT"} <= {e.name for e in h}
    assert fits.getdata(tmp_path / "a" / "refs" / "ipc.fits").shape == (3, 3)
    with fits.open(tmp_path / "a" / "refs" / "linearity.fits") as h:
        assert h["INV_COEFFS"].data.shape == (7, 64, 64)
    plain = run(tmp_path / "b", "--subarray", "SUB64P", "--ngroups", 3)
    assert plain.exit_code == 0
    with fits.open(tmp_path / "b" / "truth.fits") as h:
        assert [e.name for e in h] == ["PRIMARY", "RATE", "BAD", "SATGRP", "GAIN", "READ_E", "CRS", "STARS"]
    same = run(
        tmp_path / "c",
        "--effects",
        "snowballs=3,ipc,flicker",
        "--inverse",
        "--subarray",
        "SUB64P",
        "--ngroups",
        3,
    )
    assert same.exit_code == 0
    for path in (tmp_path / "a").rglob("*.fits"):
        assert path.read_bytes() == (tmp_path / "c" / path.relative_to(tmp_path / "a")).read_bytes()


def test_segments_have_their_part_of_the_effects(tmp_path):
    given = ("--effects", "snowballs=3,flicker", "--subarray", "SUB64P", "--ngroups", 3, "--nints", 4)
    assert run(tmp_path, *given, "--segments", 2).exit_code == 0
    with fits.open(tmp_path / "truth.fits") as whole, fits.open(tmp_path / "seg002" / "truth.fits") as part:
        for name in ("FLICKER", "EVENTS", "EVENT_E"):
            assert np.array_equal(whole[name].data[2:], part[name].data)
        later = whole["SNOWBALLS"].data[whole["SNOWBALLS"].data["INT"] >= 2]
        assert np.array_equal(later["INT"] - 2, part["SNOWBALLS"].data["INT"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--instrument", "miri", "--effects", "flicker"), "does not occur"),
        (("--effects", "rain"), "unknown"),
        (("--readpatt", "NRSIRS2"), "unknown for nircam"),
        (("--instrument", "nirspec", "--readpatt", "NRSIRS2", "--subarray", "SUB32"), "whole detector"),
        (("--instrument", "nirspec", "--readpatt", "NRSIRS2RAPID", "--drift", 1), "noise of its own"),
        (("--sequence", 2, "--segments", 2, "--nints", 2), "segments"),
        (("--sequence", 2, "--exp-type", "FGS_TRACK"), "does not go with"),
        (("--instrument", "miri", "--effects", "emi", "--shape", 100, 50), "whole number"),
    ],
)
def test_contradictions_are_usage_errors_and_leave_nothing(tmp_path, args, message):
    done = run(tmp_path / "out", *args)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_sequence_hands_latents_over(tmp_path):
    args = (
        "--sequence",
        3,
        "--effects",
        "persistence=3",
        "--shape",
        64,
        64,
        "--readpatt",
        "DEEP8",
        "--ngroups",
        4,
    )
    done = run(tmp_path, *args, "--brightness", 20, "--star-density", 0.01)
    assert done.exit_code == 0, done.output
    starts = []
    for k in (1, 2, 3):
        folder = tmp_path / f"{k:05d}"
        raw = next(folder.glob("*_uncal.fits"))
        assert f"_{k:05d}_" in raw.name
        starts.append(fits.getheader(raw)["EXPSTART"])
        with fits.open(folder / "truth.fits") as h:
            assert (h["TRAPS"].data.max() > 1) == (k > 1)
            assert h["LATENT"].data.shape == (1, 64, 64)
    assert starts == sorted(starts)
    assert len(set(starts)) == 3
    assert not (tmp_path / "00002" / "refs").exists() or not list((tmp_path / "00002" / "refs").iterdir())
    with fits.open(tmp_path / "00001" / "refs" / "trappars.fits") as h:
        assert np.allclose(h["TRAPPARS"].data["decay_param"], [-1 / release for _, _, release in TRAPS])

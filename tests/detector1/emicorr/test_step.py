"""Periodic interference, as a step: what is left of it, when it is skipped, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from jwcal.core import engine
from jwcal.core.errors import ReferenceFileError, UsageError
from jwcal.detector1.emicorr.step import emicorr, frequencies

asdf = pytest.importorskip("asdf", reason="EMICORR references are ASDF; pip install 'jwcal[asdf]'")

ROW, FRAME = 28, 8512
FREQUENCIES = {"Hz390": 390.625, "Hz218": 218.52055}
KEYS = {
    "INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "SUBARRAY": "SUB64", "READPATT": "FASTR1", "NSAMPLES": 1,
    "SUBSTRT1": 1, "SUBSTRT2": 779,
}  # fmt: skip


def wave(phase):
    return np.sin(2 * np.pi * phase) + 0.3 * np.sin(4 * np.pi * phase + 1)


def interference(shape, amplitudes=(8, 5), phases=(0.3, 0.71), off=0.0):
    nint, ngroup, ny, nx = shape
    frame = ny * ROW + (1024 - ny) * 7
    start = np.arange(nint)[:, None] * (ngroup * frame + FRAME) + np.arange(ngroup) * frame
    time = start[..., None, None] + np.arange(ny)[:, None] * ROW + np.arange(nx) // 4
    return sum(
        a * wave((time * 1e-5 * (f + off) + p) % 1)
        for a, p, f in zip(amplitudes, phases, FREQUENCIES.values(), strict=True)
    )


def scene(shape, seed=1):
    rng = np.random.default_rng(seed)
    rate = rng.gamma(2, 8, (1, 1, *shape[2:]))
    sci = 6000 + rate * np.arange(1, shape[1] + 1)[:, None, None] + rng.normal(0, 4, shape)
    hit = rng.random(sci[:, :1].shape) < 0.01
    sci[:, shape[1] // 2 :] += np.where(hit, 400, 0)
    return sci


def bent_power(values):
    """Mean square of ramps less a straight line."""
    time = np.arange(values.shape[1]) - (values.shape[1] - 1) / 2
    values = values - values.mean(axis=1, keepdims=True)
    slope = np.tensordot(time, values, (0, 1)) / (time @ time)
    return np.mean((values - time[None, :, None, None] * slope[:, None]) ** 2)


@pytest.fixture
def table(tmp_path):
    """Write an EMICORR reference; keyword arguments replace parts of the tree."""

    def write(name="emicorr.asdf", **parts):
        phase = (np.arange(64) + 0.5) / 64
        known = {n: {"frequency": f, "phase_amplitudes": wave(phase)} for n, f in FREQUENCIES.items()}
        names = list(FREQUENCIES)
        case = {"rowclocks": ROW, "frameclocks": FRAME, "freqs": {"FAST": names, "SLOW": {"MIRIMAGE": names}}}
        tree = {
            "meta": {"reftype": "emicorr", "instrument": {"name": "MIRI"}, "useafter": "2020-01-01T00:00:00"},
            "frequencies": known,
            "subarray_cases": {"SUB64": case},
        }
        path = tmp_path / name
        asdf.AsdfFile({**tree, **parts}).write_to(path)
        return str(path)

    return write


SHAPE = (2, 10, 64, 72)


@pytest.mark.parametrize(
    ("algorithm", "least"), [("joint", 0.02), ("sequential", 0.10), ("simultaneous", 0.002)]
)
def test_power_left(ramp, table, algorithm, least):
    clean, added = scene(SHAPE), interference(SHAPE)
    out = emicorr(ramp(clean + added, **KEYS), refs={"emicorr": table()}, skip=False, algorithm=algorithm)
    left = bent_power(out["SCI"].astype(float) - clean)
    assert left < least * bent_power(added)
    assert out.meta["S_MIREMI"] == "COMPLETE"
    assert out.meta["R_MIREMI"] == "emicorr.asdf"


@pytest.mark.parametrize("phase", [0.0, 0.001, 0.9995])
def test_simultaneous_has_no_seam_in_phase(ramp, table, phase):
    clean, added = scene(SHAPE), interference(SHAPE, phases=(phase, phase))
    out = emicorr(
        ramp(clean + added, **KEYS), refs={"emicorr": table()}, skip=False, algorithm="simultaneous"
    )
    assert bent_power(out["SCI"].astype(float) - clean) < 0.002 * bent_power(added)


def test_simultaneous_needs_neither_the_waveform_nor_the_exact_frequency(ramp, table):
    shape = (6, 10, 64, 72)
    clean, added = scene(shape), interference(shape, off=0.02)
    fixed = emicorr(ramp(clean + added, **KEYS), refs={"emicorr": table()}, skip=False)
    out = emicorr(
        ramp(clean + added, **KEYS),
        skip=False,
        algorithm="simultaneous",
        onthefly_corr_freq="390.625,218.52055",
    )
    assert bent_power(out["SCI"].astype(float) - clean) < 0.01 * bent_power(added)
    assert bent_power(fixed["SCI"].astype(float) - clean) > 0.02 * bent_power(added)
    assert "R_MIREMI" not in out.primary


def test_each_integration_may_have_its_own_amplitude(ramp, table):
    clean, added = scene(SHAPE), interference(SHAPE)
    added[1] *= 0.2
    for algorithm, most in (("joint", 0.5), ("simultaneous", 0.01)):
        left = {}
        for separate in (False, True):
            out = emicorr(
                ramp(clean + added, **KEYS), refs={"emicorr": table()}, skip=False, algorithm=algorithm,
                fit_ints_separately=separate,
            )  # fmt: skip
            left[separate] = bent_power(out["SCI"].astype(float) - clean)
        assert left[True] < most * left[False]


@pytest.mark.parametrize("algorithm", ["joint", "sequential", "simultaneous"])
def test_neither_tiles_nor_threads_show(ramp, table, monkeypatch, algorithm):
    sci = scene(SHAPE) + interference(SHAPE)
    flags = np.zeros(SHAPE[2:], np.uint32)
    flags[5, 7:9] = 1

    def run(jobs):
        exposure = ramp(sci, **KEYS)
        exposure["PIXELDQ"][...] = flags
        return emicorr(exposure, refs={"emicorr": table()}, skip=False, algorithm=algorithm, jobs=jobs)["SCI"]

    whole = run(1).copy()
    monkeypatch.setattr(engine, "TILE_BYTES", 1)
    np.testing.assert_array_equal(whole, run(2))


def test_data_without_interference_stay(ramp, table):
    clean = scene(SHAPE)
    out = emicorr(ramp(clean, **KEYS), refs={"emicorr": table()}, skip=False, algorithm="simultaneous")
    assert np.abs(out["SCI"] - clean).max() < 0.5


def test_waveforms_can_be_written_and_used(ramp, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clean, added = scene(SHAPE), interference(SHAPE)
    exposure = {**KEYS, "FILENAME": "jw1_mirimage_uncal.fits"}
    common = {"skip": False, "use_n_cycles": 0}
    first = emicorr(
        ramp(clean + added, **exposure), onthefly_corr_freq="[390.625, 218.52055]", save_intermediate_results=True,
        **common,
    )  # fmt: skip
    assert bent_power(first["SCI"].astype(float) - clean) < 0.1 * bent_power(added)
    written = {"emicorr": str(tmp_path / "jw1_mirimage_emi_ref_waves.asdf")}
    for algorithm, least in (("sequential", 0.1), ("joint", 0.1)):
        again = emicorr(ramp(clean + added, **KEYS), refs=written, algorithm=algorithm, **common)
        assert bent_power(again["SCI"].astype(float) - clean) < least * bent_power(added)


@pytest.mark.parametrize(
    ("keys", "groups"),
    [
        ({"READPATT": "FASTGRPAVG"}, 5),
        ({"SUBARRAY": "SUB128"}, 5),
        ({}, 2),
        ({"READPATT": "SLOWR1", "DETECTOR": "MIRIFULONG"}, 5),
    ],
)
def test_skipped_where_nothing_is_known(ramp, table, keys, groups):
    sci = scene((1, groups, 8, 8))
    out = emicorr(ramp(sci, **{**KEYS, **keys}), refs={"emicorr": table()}, skip=False)
    assert out.meta["S_MIREMI"] == "SKIPPED"
    np.testing.assert_array_equal(out["SCI"], sci.astype(np.float32))


def test_skipped_without_reference_and_unless_asked_for(ramp, table):
    sci = scene((1, 4, 8, 8))
    assert emicorr(ramp(sci, **KEYS), skip=False).meta["S_MIREMI"] == "SKIPPED"
    assert emicorr(ramp(sci, **KEYS), refs={"emicorr": table()}).meta["S_MIREMI"] == "SKIPPED"
    out = emicorr(ramp(sci, **{**KEYS, "SUBARRAY": "ODD"}), skip=False, onthefly_corr_freq="10")
    assert out.meta["S_MIREMI"] == "SKIPPED"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"subarray_cases": None}, "no table subarray_cases"),
        ({"subarray_cases": {"SUB64": 3}}, "no table subarray_cases.SUB64"),
        ({"subarray_cases": {"SUB64": {"rowclocks": "x", "frameclocks": 1, "freqs": {}}}}, "rowclocks = 'x'"),
        ({"subarray_cases": {"SUB64": {"rowclocks": 1, "frameclocks": -1, "freqs": {}}}}, "frameclocks = -1"),
        (
            {"subarray_cases": {"SUB64": {"rowclocks": 1, "frameclocks": 1, "freqs": {"FAST": "Hz390"}}}},
            "no list of names",
        ),
        ({"frequencies": {}}, "no table frequencies.Hz390"),
        ({"frequencies": {"Hz390": {"frequency": 0, "phase_amplitudes": [1, 2]}}}, "frequency = 0"),
        ({"frequencies": {"Hz390": {"frequency": 1.0, "phase_amplitudes": [1]}}}, "at least 2 finite"),
        ({"frequencies": {"Hz390": {"frequency": 1.0}}}, "at least 2 finite"),
        ({"meta": {"reftype": "dark"}}, "is a DARK reference"),
        ({"meta": {"reftype": "emicorr", "instrument": {"name": "NIRCAM"}}}, "is for INSTRUME NIRCAM"),
    ],
)
def test_malformed_references_are_refused(ramp, table, parts, words):
    with pytest.raises(ReferenceFileError, match=words):
        emicorr(ramp(scene((1, 4, 8, 8)), **KEYS), refs={"emicorr": table(**parts)}, skip=False)


def test_a_fits_file_is_no_emicorr_reference(ramp, reference):
    path = reference("emicorr", keys={"INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE"}, SCI=np.zeros((8, 8)))
    with pytest.raises(ReferenceFileError, match="no ASDF file"):
        emicorr(ramp(scene((1, 4, 8, 8)), **KEYS), refs={"emicorr": path}, skip=False)


def test_a_broken_asdf_file_is_refused(ramp, table, tmp_path):
    whole = Path(table()).read_bytes()
    path = tmp_path / "cut.asdf"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReferenceFileError, match=r"cut\.asdf"):
        emicorr(ramp(scene((1, 4, 8, 8)), **KEYS), refs={"emicorr": str(path)}, skip=False)


def test_older_name_of_the_reference(ramp, table):
    clean, added = scene(SHAPE), interference(SHAPE)
    out = emicorr(ramp(clean + added, **KEYS), skip=False, user_supplied_reffile=table())
    assert bent_power(out["SCI"].astype(float) - clean) < 0.1 * bent_power(added)
    assert out.meta["R_MIREMI"] == "emicorr.asdf"


@pytest.mark.parametrize("text", ["", "390;10", "x", "-1", "0", "nan", "inf"])
def test_frequencies_must_be_numbers(text):
    with pytest.raises(UsageError, match="onthefly_corr_freq"):
        frequencies(text)


def test_frequencies():
    assert frequencies("[390.625, 10]") == [390.625, 10.0]


def test_one_is_chosen_from_a_directory(ramp, table, tmp_path):
    table()
    table(
        "other.asdf",
        meta={"reftype": "emicorr", "instrument": {"name": "MIRI"}, "useafter": "2019-01-01T00:00:00"},
    )
    (tmp_path / "broken.asdf").write_bytes(b"nothing")
    out = emicorr(ramp(scene((1, 4, 8, 8)), **KEYS), refs=str(tmp_path), skip=False)
    assert out.meta["R_MIREMI"] == "emicorr.asdf"

"""References made of simulated exposures, against the truth they were simulated from."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from jwcal.core.dq import DQ
from jwcal.core.errors import DataError, InputError, OutputError, ReferenceFileError, UsageError
from jwcal.core.fits import open_fits
from jwcal.refs.commands_make import make_group
from jwcal.refs.make.dark import make_dark
from jwcal.refs.make.flat import make_flat
from jwcal.refs.make.gain import make_gain
from jwcal.refs.make.linearity import make_linearity
from jwcal.refs.make.mask import make_mask
from jwcal.refs.make.readnoise import make_readnoise
from jwcal.refs.make.saturation import make_saturation
from jwcal.refs.make.sets import Override, Request
from jwcal.refs.make.superbias import make_superbias
from jwcal.refs.select import ReferenceSource
from jwcal.simulate.expose import expose

NEAR = {"detector": "NRCA3", "subarray": "SUB64P"}
SETS = {
    "dark": {**NEAR, "n": 10, "exp_type": "NRC_DARK", "readpatt": "BRIGHT1", "ngroups": 8},
    "slow": {**NEAR, "n": 8, "exp_type": "NRC_DARK", "readpatt": "DEEP8", "ngroups": 10},
    "lamp": {**NEAR, "n": 12, "exp_type": "NRC_LED", "ngroups": 10, "brightness": 600.0, "cr_rate": 1e-3},
    "bright": {**NEAR, "n": 6, "exp_type": "NRC_LED", "ngroups": 24, "brightness": 600.0},
    "miri": {
        "instrument": "miri", "subarray": "SUB64", "n": 6, "exp_type": "MIR_DARKIMG", "ngroups": 8, "nints": 2,
    },
}  # fmt: skip


class Simulated:
    """Exposures alike but for their noise, their references and their truth."""

    def __init__(self, folder, n, **given):
        cases = []
        for k in range(n):
            cases.append(expose(folder / str(k), seed=k + 1, exposure=k + 1, references=k == 0, **given))
        self.files = tuple(str(folder / str(k) / case["uncal"]) for k, case in enumerate(cases))
        self.folder = folder
        self.refs = folder / "0" / "refs"
        self.source = ReferenceSource(None, str(self.refs))
        self.bad = self.truth("BAD")

    def truth(self, name):
        with open_fits(str(self.folder / "0" / "truth.fits")) as fits:
            return fits[name].read()

    def reference(self, kind, name="SCI"):
        return plane(self.refs / f"{kind}.fits", name)

    def request(self, output, **given):
        return Request(**{"files": self.files, "output": str(output), "source": self.source, **given})


def plane(path, name="SCI"):
    with open_fits(str(path)) as fits:
        return fits[name].read()


def header(path):
    with open_fits(str(path)) as fits:
        return fits.primary.header.copy()


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            made[name] = Simulated(tmp_path_factory.mktemp(name), **SETS[name])
        return made[name]

    return get


def agrees(made, error, truth, good, *, tolerance=0.15):
    """The mean departure is within its error, and the scatter is the one stated."""
    off = (made - truth)[good].astype(float)
    spread = np.mean(error[good].astype(float) ** 2)
    assert abs(off.mean()) < 4 * np.sqrt(spread / off.size)
    assert abs(np.mean(off**2) / spread - 1) < tolerance


def test_dark(sets, tmp_path):
    dark = sets("dark")
    report = make_dark(dark.request(tmp_path / "dark.fits"))
    made, error, dq = (plane(tmp_path / "dark.fits", name) for name in ("SCI", "ERR", "DQ"))
    # The simulated reference has a plane for every frame; a BRIGHT1 group is every second one.
    truth = dark.reference("dark")[::2]
    assert made.shape == truth.shape == (8, 64, 64)
    good = (dark.bad == 0) & np.isfinite(truth).all(axis=0)
    for group in (0, 3, 7):
        agrees(made[group], error[group], truth[group], good)
    assert report["integrations"] == 10
    assert report["unreliable pixels"] == np.count_nonzero(dq) == 0
    keys = header(tmp_path / "dark.fits")
    wanted = {
        "REFTYPE": "DARK",
        "READPATT": "BRIGHT1",
        "NGROUPS": 8,
        "NFRAMES": 1,
        "GROUPGAP": 1,
        "SUBSIZE1": 64,
    }
    assert {key: keys[key] for key in wanted} == wanted


def test_hot_pixels_are_in_the_dark(sets, tmp_path):
    slow = sets("slow")
    make_dark(slow.request(tmp_path / "dark.fits"))
    made, error = (plane(tmp_path / "dark.fits", name)[-1] for name in ("SCI", "ERR"))
    truth = slow.reference("dark")[-8:].mean(axis=0)
    hot = (slow.bad == 4) & np.isfinite(truth)
    assert np.count_nonzero(truth[hot] > 20) > 2
    assert (np.abs(made - truth)[hot] < 5 * np.maximum(error[hot], 4)).all()


def test_dark_of_miri_has_two_integrations(sets, tmp_path):
    miri = sets("miri")
    make_dark(miri.request(tmp_path / "dark.fits"))
    made, error, dq = (plane(tmp_path / "dark.fits", name) for name in ("SCI", "ERR", "DQ"))
    truth = miri.reference("dark")
    assert made.shape == truth.shape
    assert dq.shape == (2, 1, *made.shape[2:])
    good = (miri.bad == 0) & np.isfinite(truth).all(axis=(0, 1))
    # The decay after a reset, which no reference takes out, is the same for all pixels; the pedestal stays.
    decay = np.array([[0.0] * 8, 25 * np.exp(-np.arange(8.0))])
    for k in range(2):
        for group in (3, 6):
            off = (made[k, group] - made[k, 4] - truth[k, group] + truth[k, 4])[good].astype(float)
            noise = np.sqrt(np.mean(error[k, group][good] ** 2 + error[k, 4][good] ** 2))
            assert abs(np.mean(off) - decay[k, group] + decay[k, 4]) < 5 * noise / np.sqrt(off.size) + 0.02
            assert off.std() == pytest.approx(noise, rel=0.12)
        assert abs(np.median(made[k, 4][good]) - 6500) < 500
    assert header(tmp_path / "dark.fits")["DATAMODL"] == "DarkMIRIModel"
    assert header(tmp_path / "dark.fits")["NINTS"] == 2


@pytest.mark.parametrize(
    ("make", "name", "planes"),
    [
        (make_dark, "dark", ("SCI", "ERR")),
        (make_gain, "lamp", ("SCI",)),
        (make_linearity, "bright", ("COEFFS", "DQ")),
    ],
)
def test_threads_and_memory_change_nothing(make, name, planes, sets, tmp_path):
    simulated = sets(name)
    make(simulated.request(tmp_path / "a.fits", jobs=1))
    make(simulated.request(tmp_path / "b.fits", jobs=3, memory=1_000_000))
    for part in planes:
        np.testing.assert_array_equal(plane(tmp_path / "a.fits", part), plane(tmp_path / "b.fits", part))


def test_ramps_calibrated_before_give_the_same_dark(sets, tmp_path):
    from jwcal.core.api import run_pipeline

    dark = sets("dark")
    ramps = []
    for k, path in enumerate(dark.files):
        ramps.append(str(tmp_path / f"{k}_dark.fits"))
        run_pipeline("dark", path, refs=str(dark.refs), output=ramps[-1])
    make_dark(dark.request(tmp_path / "a.fits"))
    make_dark(dark.request(tmp_path / "b.fits", files=ramps, source=ReferenceSource()))
    np.testing.assert_array_equal(plane(tmp_path / "a.fits"), plane(tmp_path / "b.fits"))


def test_superbias(sets, tmp_path):
    dark = sets("dark")
    make_superbias(dark.request(tmp_path / "bias.fits"))
    made, error, dq = (plane(tmp_path / "bias.fits", name) for name in ("SCI", "ERR", "DQ"))
    truth = dark.reference("superbias")
    agrees(made, error, truth, (dark.bad == 0) & np.isfinite(truth))
    # Drifts of the electronics, which are much larger than that, are taken out with the reference pixels.
    reference = dark.bad == 1
    assert np.sqrt(np.mean((made - truth)[reference] ** 2)) < 1.5
    noisy = dark.bad == 17
    assert noisy.any()
    assert ((dq[noisy] & DQ["UNRELIABLE_BIAS"]) != 0).all()
    assert not dq[~noisy].any()


def test_readnoise(sets, tmp_path):
    dark = sets("dark")
    report = make_readnoise(dark.request(tmp_path / "noise.fits"))
    ratio = plane(tmp_path / "noise.fits") / dark.reference("readnoise")
    ratio = ratio[(dark.bad == 0) & np.isfinite(ratio)]
    assert abs(ratio.mean() - 1) < 0.015
    assert abs(ratio.std() / report["relative error"] - 1) < 0.1


def test_readnoise_of_miri_is_without_the_decay_after_a_reset(sets, tmp_path):
    miri = sets("miri")
    report = make_readnoise(miri.request(tmp_path / "noise.fits"))
    ratio = plane(tmp_path / "noise.fits") / miri.reference("readnoise")
    ratio = ratio[(miri.bad == 0) & np.isfinite(ratio)]
    assert abs(ratio.mean() - 1) < 0.03
    assert ratio.std() < 1.2 * report["relative error"]


def test_shot_noise_is_not_read_noise(tmp_path):
    lamp = Simulated(tmp_path, **{**SETS["lamp"], "brightness": 10.0})
    make_readnoise(lamp.request(tmp_path / "with.fits"))
    make_readnoise(lamp.request(tmp_path / "without.fits", source=Override(lamp.source, "gain", "N/A")))
    truth = lamp.reference("readnoise")
    good = (lamp.bad == 0) & np.isfinite(truth)
    with_gain, without = (
        plane(tmp_path / name)[good] / truth[good] for name in ("with.fits", "without.fits")
    )
    assert np.median(without) > 1.2
    assert np.median(with_gain) == pytest.approx(1, abs=0.03)


def test_gain(sets, tmp_path):
    lamp = sets("lamp")
    report = make_gain(lamp.request(tmp_path / "gain.fits"), block=16)
    made, truth = plane(tmp_path / "gain.fits"), lamp.reference("gain")
    rows = slice(4, 52)
    blocks = (made / np.where(np.isfinite(truth), truth, made))[rows].reshape(3, 16, 4, 16).mean(
        axis=(1, 3)
    ) - 1
    assert report["blocks fitted"] == 20
    stated = report["median relative error"]
    assert abs(blocks.mean()) < 4 * stated / np.sqrt(blocks.size) + 0.003
    assert 0.5 < blocks.std() / stated < 2


def test_neighbours_that_share_charge_make_the_gain_too_high(tmp_path):
    given = {**SETS["lamp"], "n": 16, "effects": "ipc=1", "cr_rate": 0.0}
    lamp = Simulated(tmp_path, **given)
    truth = np.nanmedian(lamp.reference("gain"))
    coupled = make_gain(lamp.request(tmp_path / "a.fits"), block=64)["median gain [electrons/DN]"] / truth
    params = {"ipc": {"skip": False}}
    right = (
        make_gain(lamp.request(tmp_path / "b.fits", params=params), block=64)["median gain [electrons/DN]"]
        / truth
    )
    assert coupled == pytest.approx(1 / (1 - 8 * 0.01), abs=0.025)
    assert right == pytest.approx(1, abs=0.02)


def test_saturation(sets, tmp_path):
    bright = sets("bright")
    make_saturation(bright.request(tmp_path / "sat.fits", source=ReferenceSource()))
    made, dq = plane(tmp_path / "sat.fits"), plane(tmp_path / "sat.fits", "DQ")
    truth = bright.reference("saturation")
    good = (bright.bad == 0) & np.isfinite(truth)
    assert not dq[good].any()
    assert np.abs((made - truth)[good]).max() < 5
    blind = (bright.bad & 3) != 0
    assert ((dq[blind] & DQ["NO_SAT_CHECK"]) != 0).all()
    assert (made[blind] == 65535).all()


def test_saturation_where_the_slope_departs(sets, tmp_path):
    bright = sets("bright")
    make_saturation(bright.request(tmp_path / "sat.fits"), departure=0.05)
    made = plane(tmp_path / "sat.fits") - bright.reference("superbias")
    c = bright.reference("linearity", "COEFFS").astype(float)
    slope = 1 / (c[1] + made * (2 * c[2] + made * (3 * c[3] + made * 4 * c[4])))
    good = (bright.bad == 0) & np.isfinite(slope)
    assert np.median(slope[good]) == pytest.approx(0.95, abs=0.01)


def test_linearity(sets, tmp_path):
    bright = sets("bright")
    report = make_linearity(bright.request(tmp_path / "lin.fits"))
    made, dq = plane(tmp_path / "lin.fits", "COEFFS"), plane(tmp_path / "lin.fits", "DQ")
    truth = bright.reference("linearity", "COEFFS")
    good = (bright.bad == 0) & np.isfinite(truth).all(axis=0)
    assert not dq[good].any()
    assert (made[0] == 0).all()
    assert (made[1] == 1).all()
    signal = 40000.0 ** np.arange(5)[:, None]
    ratio = (made[:, good] * signal).sum(axis=0) / (truth[:, good] * signal).sum(axis=0) - 1
    # The correction is 3.2 %; a pixel is as good as its shot noise at the beginning of six ramps.
    assert abs(ratio.mean()) < 0.0015
    assert ratio.std() < 0.015
    assert report["median residual"] < 0.0015
    dead = bright.bad == 2
    assert ((dq[dead] & DQ["NO_LIN_CORR"]) != 0).all()
    np.testing.assert_array_equal(made[2:, dead], 0)


def test_flat(sets, tmp_path):
    lamp = sets("lamp")
    make_flat(lamp.request(tmp_path / "flat.fits"))
    made, error, dq = (plane(tmp_path / "flat.fits", name) for name in ("SCI", "ERR", "DQ"))
    # Rates are in DN, so a flat has the gain of the pixels in it.
    truth = lamp.truth("RATE")
    good = lamp.bad == 0
    assert not (dq[good] & DQ["DO_NOT_USE"]).any()
    agrees(made, error, truth / np.median(truth[good]), good)
    blind = (lamp.bad & 3) != 0
    assert ((dq[blind] & DQ["NO_FLAT_FIELD"]) != 0).all()
    assert (made[blind] == 1).all()
    assert "ramp_fit" in header(tmp_path / "flat.fits").to_bytes().decode("ascii")


def test_flat_of_rate_files(sets, tmp_path):
    from jwcal.core.api import run_pipeline

    lamp = sets("lamp")
    rates = []
    for k, path in enumerate(lamp.files[:3]):
        rates.append(str(tmp_path / f"{k}_rate.fits"))
        run_pipeline("detector1", path, refs=str(lamp.refs), output=rates[-1])
    make_flat(lamp.request(tmp_path / "a.fits", files=lamp.files[:3]))
    make_flat(lamp.request(tmp_path / "b.fits", files=rates))
    np.testing.assert_array_equal(plane(tmp_path / "a.fits"), plane(tmp_path / "b.fits"))


def test_mask(sets, tmp_path):
    slow, lamp = sets("slow"), sets("lamp")
    request = slow.request(tmp_path / "mask.fits", files=slow.files + lamp.files)
    report = make_mask(request)
    dq, truth = plane(tmp_path / "mask.fits", "DQ"), slow.reference("mask", "DQ")
    for name in ("DEAD", "BAD_REF_PIXEL", "REFERENCE_PIXEL"):
        np.testing.assert_array_equal(dq & DQ[name], truth & DQ[name])
    rate = slow.reference("dark")[-1] / 148
    hot = (truth & DQ["HOT"]) != 0
    assert (dq[hot & (rate > np.nanmedian(rate[hot]))] & DQ["HOT"]).all()
    assert np.count_nonzero((dq & DQ["HOT"])[~hot]) <= 4
    assert report["darks"] == 8
    assert report["flats"] == 12
    assert report["OPEN"] == report["LOW_QE"] == 0


def altered(source, target, change):
    """Copy of raw files with changed pixels."""
    import shutil

    from astropy.io import fits

    out = []
    for k, path in enumerate(source):
        out.append(str(target / f"{k}_{change.__name__}_uncal.fits"))
        shutil.copy(path, out[-1])
        with fits.open(out[-1], mode="update") as hdus:
            change(hdus["SCI"].data)
    return tuple(out)


def test_mask_of_open_weak_and_leaking_pixels(sets, tmp_path):
    slow, lamp = sets("slow"), sets("lamp")
    lamp_bias = np.rint(lamp.reference("superbias"))

    def weaken(sci):
        for (y, x), factor in {
            (20, 20): 0.3,
            (40, 40): 0.2,
            (39, 40): 1.25,
            (41, 40): 1.25,
            (40, 39): 1.25,
            (40, 41): 1.25,
        }.items():
            sci[..., y, x] = np.rint((sci[..., y, x] - lamp_bias[y, x]) * factor + lamp_bias[y, x])

    def leak(sci):
        ramp = np.arange(sci.shape[1])
        sci[..., 30, 30] = sci[..., 30, 30] + np.rint(3000 * (1 - np.exp(-ramp / 1.5)))

    files = altered(slow.files, tmp_path, leak) + altered(lamp.files, tmp_path, weaken)
    make_mask(slow.request(tmp_path / "mask.fits", files=files))
    dq = plane(tmp_path / "mask.fits", "DQ")
    assert dq[20, 20] == DQ["LOW_QE"]
    assert dq[40, 40] == DQ["OPEN"] | DQ["DO_NOT_USE"]
    assert all(dq[y, x] == DQ["ADJ_OPEN"] for y, x in ((39, 40), (41, 40), (40, 39), (40, 41)))
    assert dq[30, 30] & DQ["RC"]
    assert dq[30, 30] & DQ["DO_NOT_USE"]
    assert np.count_nonzero(dq & DQ["RC"]) <= 2


def test_what_is_made_calibrates(sets, tmp_path):
    """A chain: bias, saturation and linearity made here serve the flat and the gain."""
    dark, bright, lamp = sets("dark"), sets("bright"), sets("lamp")
    make_saturation(bright.request(tmp_path / "saturation.fits"))
    make_superbias(dark.request(tmp_path / "superbias.fits"))
    mine = {kind: str(tmp_path / f"{kind}.fits") for kind in ("saturation", "superbias")}
    source = ReferenceSource(mine)
    make_linearity(bright.request(tmp_path / "linearity.fits", source=source))
    source.named["linearity"] = str(tmp_path / "linearity.fits")
    report = make_gain(lamp.request(tmp_path / "gain.fits", source=source), block=32)
    assert report["median gain [electrons/DN]"] == pytest.approx(
        np.nanmedian(lamp.reference("gain")), rel=0.03
    )


# -- what goes wrong


def changed(path, target, **keys):
    import shutil

    from astropy.io import fits

    shutil.copy(path, target)
    with fits.open(target, mode="update") as hdus:
        for key, value in keys.items():
            if value is None:
                del hdus[0].header[key]
            else:
                hdus[0].header[key] = value
    return str(target)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"DETECTOR": "NRCA1"}, "DETECTOR is NRCA1"),
        ({"SUBARRAY": "SUB64"}, "SUBARRAY is SUB64"),
        ({"READPATT": "RAPID"}, "READPATT is RAPID"),
        ({"NFRAMES": None}, "NFRAMES is missing"),
        ({"DETECTOR": None}, "DETECTOR is missing"),
    ],
)
def test_exposures_that_do_not_belong_together(keys, words, sets, tmp_path):
    dark = sets("dark")
    odd = changed(dark.files[1], tmp_path / "odd_uncal.fits", **keys)
    with pytest.raises(InputError, match=words) as failed:
        make_dark(dark.request(tmp_path / "dark.fits", files=(*dark.files[:3], odd)))
    assert "odd_uncal.fits" in str(failed.value)
    assert "\n" not in str(failed.value)
    assert not (tmp_path / "dark.fits").exists()


def test_too_few_or_the_wrong_kind(sets, tmp_path):
    dark, bright = sets("dark"), sets("bright")
    out = tmp_path / "out.fits"
    ramp = _ramp(dark, tmp_path)
    unlit = [
        changed(f, tmp_path / f"{k}_led_uncal.fits", EXP_TYPE="NRC_LED") for k, f in enumerate(dark.files[:3])
    ]
    with pytest.raises(UsageError, match="at least 3 integrations"):
        make_dark(dark.request(out, files=dark.files[:2]))
    with pytest.raises(UsageError, match="given twice"):
        make_dark(dark.request(out, files=(*dark.files, dark.files[0])))
    with pytest.raises(UsageError, match="no exposures"):
        make_flat(dark.request(out, files=()))
    with pytest.raises(InputError, match="a superbias is made of uncal files"):
        make_superbias(dark.request(out, files=(ramp,)))
    with pytest.raises(ReferenceFileError, match="superbias cannot be left out"):
        make_dark(dark.request(out, source=ReferenceSource()))
    with pytest.raises(ReferenceFileError, match="saturation cannot be left out"):
        make_linearity(bright.request(out, source=Override(bright.source, "saturation", "N/A")))
    with pytest.raises(DataError, match="noise that grows with the signal"):
        make_gain(dark.request(out), block=16)
    with pytest.raises(DataError, match="needs light"):
        make_mask(dark.request(out, files=unlit))
    with pytest.raises(DataError, match="needs light"):
        make_flat(dark.request(out, files=unlit))
    with pytest.raises(UsageError, match="no superbias can be made of MIRI"):
        make_superbias(sets("miri").request(out))
    with pytest.raises(UsageError, match="without a step 'jump'"):
        make_dark(dark.request(out, params={"jump": {"skip": True}}))
    with pytest.raises(UsageError, match="no time of the form"):
        make_dark(dark.request(out, useafter="yesterday"))
    with pytest.raises(InputError, match="S_LINEAR is COMPLETE"):
        make_linearity(bright.request(out, files=(ramp,)))
    with pytest.raises(InputError, match="reference file, not an exposure"):
        make_dark(dark.request(out, files=(*dark.files, str(dark.refs / "dark.fits"))))
    assert not out.exists()
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]


def _ramp(dark, folder):
    from jwcal.core.api import run_pipeline

    path = str(folder / "one_dark.fits")
    run_pipeline("dark", dark.files[0], refs=str(dark.refs), output=path)
    return path


def test_an_existing_file_stays(sets, tmp_path):
    dark = sets("dark")
    out = tmp_path / "noise.fits"
    out.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        make_readnoise(dark.request(out))
    assert out.read_bytes() == b"precious"
    make_readnoise(dark.request(out, overwrite=True))
    assert header(out)["REFTYPE"] == "READNOISE"


# -- command line


def test_command(sets, tmp_path):
    dark = sets("dark")
    out = tmp_path / "noise.fits"
    common = [*dark.files, "-o", str(out), "--refs", str(dark.refs)]
    labels = [
        "--author",
        "A. N. Other",
        "--pedigree",
        "GROUND",
        "--useafter",
        "2022-05-01",
        "--history",
        "By hand.",
    ]
    result = CliRunner().invoke(make_group, ["readnoise", *common, *labels, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["differences"] == 70
    keys = header(out)
    assert (keys["AUTHOR"], keys["PEDIGREE"], keys["USEAFTER"]) == (
        "A. N. Other",
        "GROUND",
        "2022-05-01T00:00:00",
    )
    assert "By hand." in keys.to_bytes().decode("ascii")
    assert "Input: " in keys.to_bytes().decode("ascii")


@pytest.mark.parametrize("texts", [["--set", "refpix"], ["--set", "refpix=1"], ["--ref", "gain"]])
def test_command_with_half_an_option(texts, sets, tmp_path):
    dark = sets("dark")
    result = CliRunner().invoke(make_group, ["dark", *dark.files, "-o", str(tmp_path / "x.fits"), *texts])
    assert isinstance(result.exception, UsageError)


def test_defaults_of_labels_come_from_the_exposures(sets, tmp_path):
    dark = sets("dark")
    files = [changed(f, tmp_path / f"{k}_uncal.fits", ORIGIN="STSCI") for k, f in enumerate(dark.files)]
    make_readnoise(dark.request(tmp_path / "noise.fits", files=files))
    keys = header(tmp_path / "noise.fits")
    assert keys["PEDIGREE"] == "INFLIGHT 2024-03-01 2024-03-01"
    assert keys["USEAFTER"] == "2024-03-01T00:00:00"


def test_certified(sets, tmp_path):
    from jwcal.refs.certify import certify

    dark, lamp = sets("dark"), sets("lamp")
    make_dark(dark.request(tmp_path / "dark.fits"))
    make_flat(lamp.request(tmp_path / "flat.fits"))
    make_mask(lamp.request(tmp_path / "mask.fits"))
    for kind in ("dark", "flat", "mask"):
        assert certify(str(tmp_path / f"{kind}.fits")).findings == []

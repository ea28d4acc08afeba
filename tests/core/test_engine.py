"""The engine: tiles, halos, strips and threads must not show in the result."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.core import engine
from jwcal.core.errors import DataError, JwcalError, ReferenceFileError, UsageError
from jwcal.core.exposure import ArrayStore, Exposure
from jwcal.core.fits import create_fits
from jwcal.core.header import Header
from jwcal.core.params import Layers
from jwcal.core.pipeline import Item, Job, make_item, run
from jwcal.core.step import Param, Ref, Skip, step
from jwcal.refs.select import ReferenceSource


@step("scale", stage="test", takes="ramp", gives="ramp", status="S_SCALE", changes=("SCI",),
      params=[Param("factor", float, 2.0, "Factor.", min=0.0)])  # fmt: skip
def scale(tile, refs, p):
    """Scale the ramp."""
    tile["SCI"] *= np.float32(p.factor)


def spread(mask):
    """Grow a mask by one pixel along both image axes."""
    out = mask.copy()
    out[..., 1:, :] |= mask[..., :-1, :]
    out[..., :-1, :] |= mask[..., 1:, :]
    out[..., 1:] |= mask[..., :-1]
    out[..., :-1] |= mask[..., 1:]
    return out


@step("grow", stage="test", takes="ramp", gives="ramp", changes=("GROUPDQ",), halo=1)
def grow(tile, refs, p):
    """Flag bright readings and their neighbours."""
    tile["GROUPDQ"][spread(tile["SCI"] > 2020)] |= 2


@step("again", stage="test", takes="ramp", gives="ramp", changes=("GROUPDQ",), uses=("GROUPDQ",), halo=1)
def again(tile, refs, p):
    """Grow the flags once more."""
    tile["GROUPDQ"][spread((tile["GROUPDQ"] & 2) != 0)] |= 4


@step("once", stage="test", takes="ramp", gives="ramp", changes=("GROUPDQ",), uses=("GROUPDQ",),
      halo=2, carries=True, keywords=("PRIMECRS",))  # fmt: skip
def once(tile, refs, p):
    """Grow the flags by up to two pixels up and down, looking at every row once."""
    flags, carry = tile["GROUPDQ"], tile.carry
    flags[:, :, tile.fresh :][(flags[:, :, tile.fresh :] & 2) != 0] |= 8
    y0, y1, x0, x1 = tile.counted
    assert y0 >= tile.fresh or y0 == y1
    tile.count("flagged", np.count_nonzero(flags[..., y0:y1, x0:x1] & 8))
    marks = (flags & 8) != 0
    above = carry.get("above", np.zeros_like(marks[:, :, :2]))
    marks = np.concatenate([above, marks], axis=2)
    carry["above"] = marks[:, :, tile.ready : tile.ready + 2]
    rows = marks.shape[2]
    for d in range(5):
        stop = min(tile.ready, rows - d)
        flags[:, :, :stop][marks[:, :, d : d + stop]] |= 16


@once.finish
def _(exposure, counts, plan, p):
    exposure.meta.set("PRIMECRS", float(counts["flagged"]))


@step("border", stage="test", takes="ramp", gives="ramp", changes=("SCI",))
def border(tile, refs, p):
    """Subtract the mean of the frame's border."""
    for i in range(tile.i0, tile.i1):
        tile["SCI"][i - tile.i0] -= tile.correction(i)


@border.probe
def _(exposure, plan):
    ny, nx = exposure.frame
    return [(0, 4, 0, nx), (ny - 4, ny, 0, nx), (0, ny, 0, 4), (0, ny, nx - 4, nx)]


@border.solve
def _(strips, exposure, plan, p):
    return np.float32(np.mean([s["SCI"].mean(dtype="f8") for s in strips]))


@step("whole", stage="test", takes="ramp", gives="ramp", changes=("SCI",), scope="integration")
def whole(tile, refs, p):
    """Subtract the median of each group's frame."""
    tile["SCI"] -= np.median(tile["SCI"], axis=(-2, -1), keepdims=True)


@step("level", stage="test", takes="ramp", gives="ramp", changes=("SCI",))
def level(tile, refs, p):
    """Subtract the mean of the exposure."""
    tile["SCI"] -= np.float32(tile.plan["mean"])


@level.setup
def _(exposure, refs, p):
    return {}


@level.measure
def _(tile, refs, p):
    return {"sum": tile["SCI"].sum(axis=(0, 1, 3), dtype="f8"), "row": np.arange(tile.box[0], tile.box[1])}


@level.settle
def _(measured, exposure, plan, p):
    assert measured["row"].tolist() == list(range(exposure.frame[0]))
    plan["mean"] = measured["sum"].sum() / np.prod(exposure.shape)


@step("twice", stage="test", takes="ramp", gives="ramp", changes=("SCI",), keywords=("PRIMECRS",),
      params=[Param("frames", bool, True, "Go on with whole frames.")])  # fmt: skip
def twice(tile, refs, p):
    """Add one, then divide every frame by its largest value."""
    tile["SCI"] += np.float32(1)


@twice.setup
def _(exposure, refs, p):
    return {"on": p.frames, "seen": []}


@twice.frames(lambda plan: plan["on"])
def _(tile, refs, p):
    tile.plan["seen"].append((tile.i0, tile.i1))
    tile["SCI"] /= np.concatenate(
        tile.spread(lambda g: tile["SCI"][:, [g]].max((-2, -1), keepdims=True), range(4)), 1
    )
    tile.count("frames", 4)


@twice.finish
def _(exposure, counts, plan, p):
    exposure.meta.set("PRIMECRS", float(counts["frames"]))


@step(
    "mean",
    stage="test",
    takes="ramp",
    gives="rate",
    uses=("SCI", "GROUPDQ", "PIXELDQ"),
    keywords=("PRIMECRS",),
)
def mean(tile, refs, p):
    """Average the groups."""
    y0, y1, x0, x1 = tile.core
    tile.count("pixels", (y1 - y0) * (x1 - x0))
    each = tile["SCI"].mean(axis=1)
    zero = np.zeros_like(each)
    names = ("ERR", "VAR_POISSON", "VAR_RNOISE")
    return {
        "rate": {"SCI": each.mean(axis=0), "DQ": tile["PIXELDQ"], **dict.fromkeys(names, zero[0])},
        "rateints": {"SCI": each, "DQ": zero.astype("u4"), **dict.fromkeys(names, zero)},
    }


@mean.finish
def _(exposure, counts, plan, p):
    exposure.meta.set("PRIMECRS", float(counts["pixels"]))


def exposure(shape=(3, 4, 50, 40), seed=0, **cards):
    """Random uncal in memory."""
    header = Header()
    for key, value in {"INSTRUME": "NIRCAM", "NGROUPS": shape[1], "NINTS": shape[0], **cards}.items():
        header.set(key, value)
    sci = np.rint(np.random.default_rng(seed).normal(1000, 10, shape)).astype("f4")
    return Exposure("uncal", header, {"SCI": Header()}, ArrayStore({"SCI": sci}))


def go(steps, data, jobs=1, tile=1 << 20, **options):
    """Run steps with a forced tile size."""
    old = engine.TILE_BYTES
    engine.TILE_BYTES = tile
    try:
        outputs = {"main": None}
        if mean in steps:
            outputs["rateints"] = None
        return run(Job([Item(s.name, step=s) for s in steps], outputs=outputs, jobs=jobs, **options), data)
    finally:
        engine.TILE_BYTES = old


@settings(max_examples=25, deadline=None)
@given(tile=st.integers(1, 200_000), jobs=st.integers(1, 4), seed=st.integers(0, 99))
def test_result_depends_on_neither_tile_nor_threads(tile, jobs, seed):
    steps = [scale, grow, again, border]
    one = go(steps, exposure(seed=seed), jobs=1, tile=1 << 30)["ramp"]
    two = go(steps, exposure(seed=seed), jobs=jobs, tile=tile)["ramp"]
    for name in ("SCI", "GROUPDQ", "PIXELDQ"):
        assert np.array_equal(one[name], two[name])


def test_halo_gives_what_the_whole_frame_gives():
    data = exposure()
    mask = spread(data["SCI"] * np.float32(2) > 2020)
    want = mask * 2 + spread(mask) * 4
    assert np.array_equal(go([scale, grow, again], data, tile=1)["ramp"]["GROUPDQ"], want)


def stretched(mask):
    """Grow a mask by two rows up and down."""
    out = mask.copy()
    for d in (1, 2):
        out[..., d:, :] |= mask[..., :-d, :]
        out[..., :-d, :] |= mask[..., d:, :]
    return out


@settings(max_examples=40, deadline=None)
@given(
    tile=st.integers(1, 200_000),
    jobs=st.integers(1, 4),
    order=st.sampled_from(["grow once again", "once again", "once grow once", "grow again once once"]),
)
def test_rows_seen_once_give_what_the_whole_frame_gives(tile, jobs, order):
    known = {"grow": grow, "once": once, "again": again}
    steps = [scale, *(known[name] for name in order.split()), border]
    want, flagged = np.zeros((3, 4, 50, 40), np.uint8), 0
    bright = exposure()["SCI"] * np.float32(2) > 2020
    for name in order.split():
        if name == "grow":
            want[spread(bright)] |= 2
        elif name == "again":
            want[spread((want & 2) != 0)] |= 4
        else:
            want[(want & 2) != 0] |= 8
            flagged = np.count_nonzero(want & 8)
            want[stretched((want & 8) != 0)] |= 16
    got = go(steps, exposure(), jobs=jobs, tile=tile)["ramp"]
    assert np.array_equal(got["GROUPDQ"], want)
    assert got.meta["PRIMECRS"] == flagged
    assert np.array_equal(got["SCI"], go([scale, border], exposure(), tile=1 << 30)["ramp"]["SCI"])


def test_planes_made_on_the_way_wait_with_their_rows():
    @step("make", stage="test", takes="ramp", gives="ramp", changes=("AVDRKCUR",), uses=("SCI",))
    def make(tile, refs, p):
        """Make a plane."""
        tile["AVDRKCUR"] = tile["SCI"][0, 0] * np.float32(3)

    @step("take", stage="test", takes="ramp", gives="ramp", changes=("SCI",), uses=("SCI", "AVDRKCUR"))
    def take(tile, refs, p):
        """Subtract it."""
        tile["SCI"] -= tile["AVDRKCUR"]

    for size in (1, 40_000):
        for chain in ([grow, make, once, take], [once, make, grow, take], [make, once, once, take]):
            got = go(chain, exposure(), tile=size)["ramp"]
            assert np.array_equal(got["SCI"], exposure()["SCI"] - exposure()["SCI"][0, 0] * np.float32(3))


def test_input_is_not_touched():
    data = exposure()
    before = data["SCI"].copy(), data.primary.to_bytes()
    go([scale, grow, mean], data)
    assert np.array_equal(before[0], data["SCI"])
    assert before[1] == data.primary.to_bytes()


def test_counts_are_complete_and_set_keywords():
    made = go([grow, mean], exposure(), tile=1, jobs=3)
    assert made["rate"].meta["PRIMECRS"] == 50 * 40
    assert made["rateints"].meta["PRIMECRS"] == 50 * 40
    assert made["rateints"]["SCI"].shape == (3, 50, 40)


def test_whole_frame_step_between_tile_steps():
    data = exposure()
    got = go([scale, whole, grow], data, tile=1)["ramp"]
    want = data["SCI"] * np.float32(2)
    want -= np.median(want, axis=(-2, -1), keepdims=True)
    assert np.array_equal(got["SCI"], want)


@pytest.mark.parametrize("tile", [1 << 10, 1 << 14, 1 << 22])
@pytest.mark.parametrize("jobs", [1, 3])
def test_measured_before_it_runs(tile, jobs):
    data = exposure()
    out = go([scale, level, grow, mean], data, jobs, tile)["rate"]
    expected = np.float64(data["SCI"] * 2).mean()
    shown = (data["SCI"] * 2 - np.float32(expected)).mean(axis=1).mean(axis=0)
    assert np.array_equal(out["SCI"], shown)


@pytest.mark.parametrize("jobs", [1, 3])
def test_measured_until_settled(jobs):
    found = []

    @step("patient", stage="test", takes="ramp", gives="ramp", changes=("SCI",))
    def patient(tile, refs, p):
        """Change nothing."""

    @patient.measure
    def _(tile, refs, p):
        tile["SCI"] += np.float32(len(found))
        return {"sum": tile["SCI"].sum(axis=(0, 1, 3), dtype="f8")}

    @patient.settle
    def _(measured, exposure, plan, p):
        found.append(measured["sum"].sum() / np.prod(exposure.shape))
        return len(found) < 3

    data = exposure()
    out = go([scale, patient, grow], data, jobs, 1 << 12)["ramp"]
    want = data["SCI"] * np.float32(2)
    assert np.allclose(np.array(found) - np.arange(3), want.mean(dtype="f8"))
    assert np.array_equal(out["SCI"], want)


@pytest.mark.parametrize("jobs", [1, 3])
def test_frames_after_the_tiles(jobs):
    data = exposure()
    out = go([scale, twice, grow], data, jobs, 1 << 12)["ramp"]
    sci = data["SCI"] * 2 + 1
    assert np.array_equal(out["SCI"], sci / sci.max((-2, -1), keepdims=True))
    assert out.meta["PRIMECRS"] == 12


def test_frames_only_when_wanted():
    layers = Layers()
    layers.add("test", {"twice": {"frames": False}})
    out = go([twice], exposure(), layers=layers)["ramp"]
    assert np.array_equal(out["SCI"], exposure()["SCI"] + 1)
    assert out.meta["PRIMECRS"] == 0


def test_survey_finds_groups_flagged_everywhere():
    seen = []

    @step("flag", stage="test", takes="ramp", gives="ramp", changes=("GROUPDQ",), uses=("GROUPDQ",))
    def flag(tile, refs, p):
        """Flag the first group, and one pixel less of the second."""
        tile["GROUPDQ"][:, 0] |= 1
        tile["GROUPDQ"][1:, 1] |= 1
        if tile.box[1] == 50:
            tile["GROUPDQ"][2, 1, -1, -1] = 0

    @step("look", stage="test", takes="ramp", gives="ramp", needs_all_dnu=True)
    def look(tile, refs, p):
        """Note what the engine says."""
        seen.append(tile.all_dnu.copy())

    go([scale, flag, look], exposure(), tile=1)
    want = np.zeros((3, 4), bool)
    want[:, 0] = True
    want[1, 1] = True
    assert np.array_equal(seen[0], want)


def test_survey_reads_only_the_groups_that_can_matter(monkeypatch):
    """A pixel far from the middle decides about group 0, by its value in group 2; the last is certain."""
    read, seen = [], []
    original = ArrayStore.read

    def noted(self, name, box=None, index=(), out=None):
        read.append((name, out.shape[1] if out is not None and out.ndim == 4 else 0))
        return original(self, name, box, index, out)

    monkeypatch.setattr(ArrayStore, "read", noted)

    @step(
        "peek",
        stage="test",
        takes="ramp",
        gives="ramp",
        changes=("GROUPDQ",),
        uses=("SCI", "GROUPDQ"),
        ahead=2,
    )
    def peek(tile, refs, p):
        """Flag the first group where the third is not bright."""
        tile["GROUPDQ"][:, 0] |= np.where(tile["SCI"][:, 2] > 1e6, 0, 1).astype("u1")

    @step("end", stage="test", takes="ramp", gives="ramp", changes=("GROUPDQ",), uses=("GROUPDQ",), ahead=1)
    def end(tile, refs, p):
        """Flag the last group."""
        tile["GROUPDQ"][:, -1] |= 1

    @end.certain
    def _(exposure, plan):
        return np.tile(np.arange(exposure.shape[1]) == exposure.shape[1] - 1, (exposure.shape[0], 1))

    @step(
        "look",
        stage="test",
        takes="ramp",
        gives="ramp",
        needs_all_dnu=True,
        changes=("PIXELDQ",),
        uses=("PIXELDQ",),
    )
    def look(tile, refs, p):
        """Note what the engine says."""
        seen.append(tile.all_dnu.copy())

    rng = np.random.default_rng(3)
    sci = rng.normal(1000, 50, (3, 12, 50, 40)).astype("f4")
    sci[1, 2, 49, 39] = 2e6
    header = Header()
    header.set("INSTRUME", "NIRCAM")
    for jobs in (1, 3):
        seen.clear()
        read.clear()
        data = Exposure("uncal", header.copy(), {"SCI": Header()}, ArrayStore({"SCI": sci}))
        go([peek, end, look], data, jobs=jobs, tile=1 << 14)
        want = np.zeros((3, 12), bool)
        want[[0, 2], 0] = want[:, 11] = True
        assert np.array_equal(seen[0], want)
        # A few rows with all groups, then the frame with groups 0 to 3, then the run itself.
        depths = [n for name, n in read if name == "SCI"]
        assert set(depths) == {12, 4}
        assert depths.index(4) == 1


@pytest.mark.parametrize("hook", ["probe", "solve", "before"])
def test_failures_while_strips_are_seen_carry_the_name_of_the_step(hook):
    @step("early", stage="test", takes="ramp", gives="ramp", changes=("SCI",))
    def early(tile, refs, p):
        """Fail on strips."""
        if hook == "before" and tile.box[1] - tile.box[0] == 1:
            raise ZeroDivisionError("too narrow")

    @step("strips", stage="test", takes="ramp", gives="ramp", changes=("SCI",))
    def strips(tile, refs, p):
        """Ask for a row."""

    @strips.probe
    def _(exposure, plan):
        if hook == "probe":
            raise KeyError("no boxes")
        return [(0, 1, 0, 40)]

    @strips.solve
    def _(found, exposure, plan, p):
        if hook == "solve":
            raise IndexError("no values")

    who = "early" if hook == "before" else "strips"
    with pytest.raises(JwcalError, match=f"step {who} failed: (ZeroDivision|Key|Index)Error"):
        go([early, strips], exposure())


def test_skip_in_setup_passes_the_data_with_the_reason():
    @step("never", stage="test", takes="ramp", gives="ramp", status="S_NEVER", changes=("SCI",))
    def never(tile, refs, p):
        """Never run."""
        tile["SCI"] += 1

    @never.setup
    def _(exposure, refs, p):
        raise Skip("no such luck")

    data = exposure()
    made = go([never], data)["uncal"]
    assert np.array_equal(made["SCI"], data["SCI"])
    assert made.meta["S_NEVER"] == "SKIPPED"
    assert b"no such luck" in made.primary.to_bytes()


@pytest.mark.parametrize("jobs", [1, 3])
def test_failing_step_gives_one_clear_error(jobs):
    @step("broken", stage="test", takes="ramp", gives="ramp", changes=("SCI",))
    def broken(tile, refs, p):
        """Raise."""
        raise ZeroDivisionError("by\nzero")

    with pytest.raises(JwcalError, match="step broken failed: ZeroDivisionError: by zero"):
        go([broken], exposure(), jobs=jobs, tile=1)


def test_skip_in_the_middle_is_refused():
    @step("late", stage="test", takes="ramp", gives="ramp", changes=("SCI",))
    def late(tile, refs, p):
        """Skip too late."""
        raise Skip("too late")

    with pytest.raises(DataError, match="in the middle"):
        go([late], exposure())


def test_missing_reference_skips_or_fails_as_declared():
    @step("needy", stage="test", takes="ramp", gives="ramp", status="S_NEEDY", changes=("SCI",),
          refs=[Ref("gain", {"SCI": "f4"})])  # fmt: skip
    def needy(tile, refs, p):
        """Need a gain."""

    assert go([needy], exposure())["uncal"].meta["S_NEEDY"] == "SKIPPED"
    with pytest.raises(ReferenceFileError, match="no GAIN reference"):
        go([needy], exposure(), strict=True)


def test_products_of_a_fit_share_what_is_read_of_a_reference(tmp_path):
    read, seen = [], []

    def load(ref, box, plan):
        read.append(box[:2])
        return {"SCI": ref.read("SCI", box)}

    @step("scaled", stage="test", takes="rate", gives="rate", changes=("SCI",), refs=[Ref("gain", load=load)])
    def scaled(tile, refs, p):
        """Multiply by the gain."""
        seen.append(tile["SCI"].ndim)
        tile["SCI"] *= refs["gain"]["SCI"]

    path = tmp_path / "gain.fits"
    header = Header()
    header.set("REFTYPE", "GAIN")
    with create_fits(path) as out:
        out.add(header)
        out.add(None, (50, 40), "f4", name="SCI").write(np.full((50, 40), 2, "f4"))
        out.commit()
    source = ReferenceSource({"gain": path})
    data = exposure(SUBSTRT1=1, SUBSTRT2=1)
    made = go([mean, scaled], data, tile=1 << 14, source=source)
    want = go([mean], exposure())
    for product in ("rate", "rateints"):
        assert np.array_equal(made[product]["SCI"], 2 * want[product]["SCI"])
    assert len(read) == len(set(read)) > 1
    assert len(seen) == 2 * len(read)


def test_parameters_are_checked_before_any_work():
    layers = Layers()
    layers.add("command line", {"scale": {"factor": -1}})
    with pytest.raises(UsageError, match="at least 0"):
        go([scale], exposure(), layers=layers)
    layers = Layers()
    layers.add("command line", {"scale": {"fctor": 1}})
    with pytest.raises(UsageError, match="no parameter 'fctor'"):
        go([scale], exposure(), layers=layers)


def test_external_program_is_a_step(tmp_path):
    script = tmp_path / "copy.sh"
    script.write_text("#!/bin/sh\ncat\n")
    script.chmod(0o755)
    item = make_item({"exec": [str(script)]})
    made = run(
        Job([Item("scale", step=scale), item, Item("grow", step=grow)], outputs={"main": None}), exposure()
    )["ramp"]
    want = go([scale, grow], exposure())["ramp"]
    for name in ("SCI", "GROUPDQ"):
        assert np.array_equal(made[name], want[name])


def test_external_program_that_fails_is_named(tmp_path):
    with pytest.raises(JwcalError, match="ended with status 1"):
        run(Job([make_item({"exec": ["false"]})], outputs={"main": None}), exposure())
    with pytest.raises(UsageError, match="cannot run"):
        run(Job([make_item({"exec": [str(tmp_path / "nothing")]})], outputs={"main": None}), exposure())


def test_step_is_a_function_for_python():
    made = scale(exposure(), factor=3)
    assert np.array_equal(made["SCI"], exposure()["SCI"] * np.float32(3))
    with pytest.raises(TypeError, match="unexpected parameter"):
        scale(exposure(), power=3)

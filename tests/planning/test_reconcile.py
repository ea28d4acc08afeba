import re
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.associations.pool import pool_text
from jwcal.core.errors import InputError
from jwcal.planning.arrivals import Arrival, read_arrivals
from jwcal.planning.prediction import Prediction, predict
from jwcal.planning.reconcile import Reconciliation
from tests.planning.modes import LONG, images, mrs, program, soss, with_star


def arrivals_of(prediction, raws=None, **changes):
    """Arrivals as the prediction has them."""
    pool = prediction.pool
    at = dict(zip(pool.cells("filename"), pool.rows, strict=True))
    found = []
    for raw in prediction.raws if raws is None else raws:
        cells = dict(zip(pool.columns, at[raw.name], strict=True))
        facts = {
            key: cells[key]
            for key in ("exp_type", "filter", "pupil", "channel", "band")
            if cells[key] != "null"
        }
        found.append(Arrival(raw.name, raw.name, {**facts, **changes}))
    return found


def unsure(prediction, reason="the activity is an estimate"):
    for raw in prediction.raws:
        raw.sure = raw.exposure.sure = reason
    return prediction


def states(found):
    return {state: number for state, number in found.counts().items() if number}


def test_all_arrived():
    prediction = Prediction(program(images(1), mrs(2, 1)))
    found = Reconciliation(prediction, arrivals_of(prediction))
    assert states(found) == {"arrived": len(prediction.raws)}
    assert found.exit_code == 0
    assert [visit["state"] for visit in found.visits()] == ["complete", "complete"]


def test_some_are_still_expected():
    prediction = Prediction(program(images(1), mrs(2, 1)))
    found = Reconciliation(prediction, arrivals_of(prediction)[:13])
    assert found.exit_code == 75
    first, second = found.visits()
    assert (first["state"], first["expected"], first["arrived"], first["missing"]) == ("partial", 15, 13, 2)
    assert (second["state"], second["missing"]) == ("not begun", 8)


def test_another_filter_is_different():
    prediction = Prediction(program(images(1)))
    arrivals = arrivals_of(prediction)
    arrivals[0].facts["filter"] = "f212n"
    found = Reconciliation(prediction, arrivals)
    (entry,) = [each for each in found.entries if each.state == "different"]
    assert entry.detail == "FILTER f212n, not f150w"
    assert (found.exit_code, found.visits()[0]["state"]) == (1, "check")


def test_what_nobody_planned():
    prediction = Prediction(program(images(1)))
    more = [
        Arrival("jw01234009001_02101_00001_nis_uncal.fits", "x"),
        Arrival("jw01234001004_02101_00001_nrca1_uncal.fits", "y"),
    ]
    found = Reconciliation(prediction, arrivals_of(prediction) + more)
    assert {each.name: each.detail for each in found.entries if each.state == "unexpected"} == {
        more[0].name: "the program has no observation 9", more[1].name: "no visit 4 was predicted",
    }  # fmt: skip
    assert found.exit_code == 1


def test_an_observation_that_could_not_be_predicted_is_no_surprise():
    made = program(images(1), images(2))
    made.observations[1].visits = []
    prediction = Prediction(made)
    found = Reconciliation(
        prediction, [*arrivals_of(prediction), Arrival("jw01234002001_02101_00001_nis_uncal.fits", "x")]
    )
    assert states(found) == {"arrived": 15, "unpredicted": 1}
    assert found.exit_code == 0
    made.observations[1].skipped = "on hold"
    again = Reconciliation(prediction, [Arrival("jw01234002001_02101_00001_nis_uncal.fits", "x")])
    assert again.counts()["unexpected"] == 1


def test_estimated_names_match_by_what_the_exposures_are():
    prediction = unsure(Prediction(program(images(1))))
    arrivals = arrivals_of(prediction)
    for arrival in arrivals:
        arrival.name = arrival.name.replace("_02101_", "_04107_")
    found = Reconciliation(prediction, arrivals)
    assert states(found) == {"arrived": 15}
    assert all(each.expected == each.name.replace("_04107_", "_02101_") for each in found.entries)


def test_estimated_names_of_exposures_that_changed_places():
    two = program(mrs(2, 1))
    prediction = unsure(Prediction(two))
    arrivals = arrivals_of(prediction)
    # Long before short: every predicted name arrives, each with the other band.
    for arrival in arrivals:
        arrival.facts["band"] = {"short": "long", "long": "short"}[arrival.facts["band"]]
    found = Reconciliation(prediction, arrivals)
    assert states(found) == {"arrived": 8}
    assert {(each.name[14:19], each.expected[14:19]) for each in found.entries} == {
        ("02101", "02102"),
        ("02102", "02101"),
    }


def test_estimates_may_be_in_another_visit():
    prediction = unsure(Prediction(program(images(1))))
    arrivals = arrivals_of(prediction)
    for arrival in arrivals[10:]:
        arrival.name = arrival.name.replace("jw01234001001_", "jw01234001002_")
    found = Reconciliation(prediction, arrivals)
    assert states(found) == {"arrived": 15}
    other = [Arrival(each.name.replace("jw01234001", "jw01234002"), "x", each.facts) for each in arrivals]
    assert Reconciliation(prediction, other).counts()["arrived"] == 0


@pytest.mark.parametrize(
    "name",
    ["unstacked_mirror_data__OTE01-1134-reduced_mosaic", "obs_mode_tests__fgs_external", "NIRISS__1087"],
)
def test_the_program_alone_against_the_visits_that_apt_made(name, shared, tmp_path):
    folder = shared / "data" / "planning" / "apt"
    exact = predict(folder / f"{name}.xml", folder / f"{name}.pointing")
    path = tmp_path / "pool.csv"
    path.write_text(pool_text(exact.pool))
    found = Reconciliation(predict(folder / f"{name}.xml"), read_arrivals(path, exact.program.number))
    assert states(found) == {"arrived": len(exact.raws)}


def test_names_that_are_sure_are_not_matched_otherwise():
    prediction = Prediction(program(images(1)))
    arrivals = arrivals_of(prediction)
    arrivals[0].name = arrivals[0].name.replace("_02101_", "_04107_")
    found = Reconciliation(prediction, arrivals)
    assert states(found) == {"arrived": 14, "missing": 1, "unexpected": 1}


def test_an_estimate_that_was_taken_longer_is_found_and_different():
    prediction = unsure(Prediction(program(images(1, points=1))))
    arrivals = arrivals_of(prediction, ngroups="7")
    for arrival in arrivals:
        arrival.name = arrival.name.replace("_02101_", "_03101_")
    found = Reconciliation(prediction, arrivals)
    assert states(found) == {"different": 5}
    assert {each.detail for each in found.entries} == {"NGROUPS 7, not 5"}


def test_products_count_once_one_of_their_stage_is_there():
    prediction = Prediction(program(images(1)))
    raws = arrivals_of(prediction)
    rate = Arrival(prediction.raws[0].name.replace("uncal", "rate"), "x")
    found = Reconciliation(prediction, [*raws[:-1], rate])
    missing = [each for each in found.entries if each.state == "missing" and each.stage]
    assert {each.stage for each in missing} == {1}
    assert len(missing) == 29
    details = [each.detail for each in missing]
    assert details.count("its raw files are here") == 27
    assert details.count(f"waits for {prediction.raws[-1].name}") == 2


def test_optional_products_are_no_surprise():
    prediction = Prediction(program(images()))
    more = [
        Arrival(f"jw01234001001_02101_{number}_nrca1_{suffix}.fits", "here")
        for number, suffix in (("00001", "ramp"), ("00001", "strange"), ("00009", "ramp"))
    ]
    found = Reconciliation(prediction, [*arrivals_of(prediction), *more])
    states = {entry.name: entry.state for entry in found.entries}
    assert [states[each.name] for each in more] == ["arrived", "unexpected", "unexpected"]


def test_products_follow_the_names_their_exposures_came_under():
    prediction = unsure(Prediction(program(images(1, points=1))))
    raws = arrivals_of(prediction)
    for arrival in raws:
        arrival.name = arrival.name.replace("_02101_", "_03101_")
    crf = Arrival("jw01234001001_03101_00001_nrca1_o001_crf.fits", "x")
    found = Reconciliation(prediction, [*raws, crf])
    assert ("arrived", crf.name) in {(each.state, each.name) for each in found.entries}


def test_numbers_of_candidates_are_estimates():
    prediction = Prediction(program(*with_star("NRC_CORON", "NircamCoron", LONG, "NIRCAM", "SUB320A335R")))
    name = "jw01234-c1017_t001_nircam_clear-f277w-sub320a335r_psfstack.fits"
    found = Reconciliation(prediction, [Arrival(name, "x")])
    (entry,) = [each for each in found.entries if each.name == name]
    assert (entry.state, entry.expected) == ("arrived", name.replace("c1017", "c1000"))


def test_guiding():
    prediction = Prediction(program(soss()))
    guiding = Arrival("jw01234009001_gs-acq1_2026117003102_uncal.fits", "x")
    found = Reconciliation(prediction, [*arrivals_of(prediction), guiding])
    assert states(found) == {"arrived": 5}


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_another_number_of_segments(count):
    prediction = Prediction(program(soss()))
    assert len(prediction.raws) == 4
    first, series = prediction.raws[0].name, "jw01234009001_04101_00001{}_nis_{}.fits"
    parts = [f"-seg{n:03d}" for n in range(1, count + 1)] or [""]
    raws = [
        Arrival(first, "x"),
        *(Arrival(series.format(part, "uncal"), "x", {"exsegtot": str(count)}) for part in parts),
    ]
    rates = [Arrival(series.format(part, "rate"), "x") for part in parts]
    found = Reconciliation(prediction, raws + rates)
    assert {each.state for each in found.entries if each.stage == 0} == {"arrived"}
    assert not found.counts()["unexpected"]
    one_late = Reconciliation(prediction, raws[:-1])
    missing = [each.name for each in one_late.entries if each.state == "missing"]
    if count > 1:
        assert missing == [series.format(parts[-1], "uncal")]


def test_twice_in_a_folder():
    prediction = Prediction(program(images(1)))
    arrivals = arrivals_of(prediction)
    arrivals.append(Arrival(arrivals[0].name, "copy/of/it"))
    found = Reconciliation(prediction, arrivals)
    (entry,) = [each for each in found.entries if each.state == "different"]
    assert entry.detail == "is there again: copy/of/it"


def test_files_of_a_folder(tmp_path, exposure):
    name = "jw01234001001_02101_00001_nrca1_uncal.fits"
    (tmp_path / "deeper").mkdir()
    data = exposure.uncal.read_bytes()
    (tmp_path / "deeper" / name).write_bytes(data)
    (tmp_path / name.replace("00001", "00002")).write_bytes(data[: len(data) // 2])
    (tmp_path / name.replace("01234", "04321")).write_bytes(data)
    (tmp_path / "notes.txt").write_text("jw01234")
    whole, cut = read_arrivals(tmp_path, "01234")
    assert (whole.name, whole.facts["exp_type"], whole.facts["ngroups"], whole.wrong) == (
        name,
        "nrc_image",
        "6",
        "",
    )
    assert not cut.facts
    assert cut.wrong
    found = Reconciliation(Prediction(program(images(1))), [cut])
    assert found.counts()["different"] == 1


def test_rows_of_a_pool(tmp_path):
    prediction = Prediction(program(images(1), mrs(2, 1)))
    path = tmp_path / "pool.csv"
    path.write_text(pool_text(prediction.pool))
    found = Reconciliation(prediction, read_arrivals(path, "01234"))
    assert states(found) == {"arrived": 23}
    assert not read_arrivals(path, "04321")


def test_neither_folder_nor_pool(tmp_path):
    with pytest.raises(InputError, match="no such folder or pool"):
        read_arrivals(tmp_path / "absent", "01234")
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(InputError, match="not an association pool"):
        read_arrivals(tmp_path / "text", "01234")


@cache
def prediction_of(kind, reason):
    """A prediction that is made once for all examples."""
    made = {
        "images": [images(1, points=2)],
        "mrs": [mrs(2, 1), soss()],
        "stars": with_star("NRC_CORON", "NircamCoron", LONG, "NIRCAM", "SUB320A335R"),
    }
    return unsure(Prediction(program(*made[kind])), reason)


@given(
    kind=st.sampled_from(["images", "mrs", "stars"]),
    reason=st.sampled_from(["", "the activity is an estimate"]),
    draw=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_no_file_is_lost_or_told_twice(kind, reason, draw):
    prediction = prediction_of(kind, reason)
    arrivals = []
    for arrival in arrivals_of(prediction):
        change = draw.draw(st.sampled_from(["none", "none", "late", "renamed", "moved", "other filter"]))
        if change == "renamed":
            arrival.name = re.sub(r"_(\d\d1)\w\w_", r"_\g<1>0z_", arrival.name)
        elif change == "moved":
            arrival.name = arrival.name[:10] + "009" + arrival.name[13:]
        elif change == "other filter":
            arrival.facts["filter"] = "f999w"
        if change != "late":
            arrivals.append(arrival)
    found = Reconciliation(prediction, arrivals)
    raws = [each for each in found.entries if each.stage == 0 and "is there again" not in each.detail]
    expected = [
        each.expected or each.name for each in raws if each.state in ("arrived", "different", "missing")
    ]
    there = [each.name for each in raws if each.state != "missing"]
    assert sorted(expected) == sorted(raw.name for raw in prediction.raws)
    assert sorted(there) == sorted({arrival.name for arrival in arrivals})
    wrong = found.counts()["different"] + found.counts()["unexpected"]
    assert found.exit_code == (1 if wrong else 75 if found.counts()["missing"] else 0)

import pytest

from jwcal.associations.pool import pool_text, read_pool
from jwcal.planning.model import Exposure
from jwcal.planning.pool import COLUMNS, candidates, make_pool
from jwcal.planning.prediction import Prediction
from jwcal.planning.raw import raw_files
from tests.planning.modes import (
    LONG,
    NIS,
    dithered,
    images,
    mrs,
    nirspec,
    observation,
    program,
    slitless,
    soss,
    with_star,
)


def pool_of(*observations):
    made = program(*observations)
    return make_pool(made, raw_files(made))


def test_columns_are_those_of_official_pools(shared):
    path = shared / "data" / "associations" / "current_pools" / "jw00632_dups.csv"
    official = set(read_pool(path).columns)
    assert official <= set(COLUMNS)
    assert len(set(COLUMNS)) == len(COLUMNS)


def test_cells_of_an_image():
    pool = pool_of(images())
    cells = dict(zip(pool.columns, pool.rows[6], strict=True))
    assert len(pool) == 15
    assert cells["filename"] == "jw01234001001_02101_00002_nrca2_uncal.fits"
    assert cells["obs_id"] == "v01234001001p0000000002101"
    assert (cells["filter"], cells["pupil"], cells["channel"], cells["module"]) == (
        "f150w",
        "clear",
        "short",
        "a",
    )
    assert (cells["patt_num"], cells["numdthpt"], cells["nexposur"], cells["expcount"]) == (
        "2",
        "3",
        "3",
        "2",
    )
    assert (cells["targetid"], cells["targprop"], cells["visitype"]) == ("1", "field", "prime_targeted_fixed")
    assert cells["asn_candidate"] == "[('o001', 'observation')]"


def test_pool_is_read_back(tmp_path):
    pool = pool_of(images(), soss())
    path = tmp_path / "pool.csv"
    path.write_text(pool_text(pool))
    again = read_pool(path)
    assert (again.columns, again.rows) == (pool.columns, pool.rows)


def test_backgrounds_and_stars_make_candidates():
    stars = with_star("NIS_AMI", "NirissAmi", NIS, "NIRISS", "SUB80")
    made = program(mrs(2, 1, backgrounds=(3,)), mrs(3, 2, is_background=True), *stars, images(1))
    assert candidates(made) == {
        2: [("c1000", "background")], 3: [("c1000", "background")],
        10: [("c1001", "ami")], 11: [("c1001", "ami")], 1: [],
    }  # fmt: skip


def test_a_background_that_is_not_taken_makes_no_candidate():
    made = program(mrs(2, 1, backgrounds=(3,)))
    assert candidates(made) == {2: []}


def test_shutters():
    pool = pool_of(
        *(
            nirspec(n, "NRS_MSASPEC", msa_config=c, points=1)
            for n, c in ((1, "plan 1"), (2, "ALL_CLOSED"), (3, ""))
        )
    )
    assert pool.cells("msastate") == 2 * ["primarypark_config"] + 2 * ["primarypark_allclosed"] + 2 * [
        "primarypark_config"
    ]
    assert set(pool.cells("msametfl")) == {"t"}
    assert set(pool_of(images()).cells("msastate")) == {"null"}


def test_visit_types():
    sensing = observation(1, "WfscFinePhasing", dithered(2, "NIRCAM", "NRC_IMAGE", (LONG,), pattern="WFSC"))
    dark = observation(
        2, "NircamDark", [Exposure("NIRCAM", "NRC_DARK", "T", (LONG,), "FULL", "RAPID", 5, 1)], target=0
    )
    moving = observation(3, "NircamImaging", dithered(1, "NIRCAM", "NRC_IMAGE", (LONG,), moving=True))
    assert pool_of(sensing, dark, moving).cells("visitype") == [
        "prime_wfsc_sensing_control", "prime_wfsc_sensing_control", "prime_untargeted", "prime_targeted_moving",
    ]  # fmt: skip


def test_every_science_exposure_is_in_an_association():
    everything = program(
        images(1), mrs(2, 1, backgrounds=(3,)), mrs(3, 2, is_background=True),
        nirspec(4, "NRS_IFU", "G395H", "F290LP", nod="2-POINT-NOD"),
        nirspec(5, "NRS_FIXEDSLIT", fxd_slit="S200A1", opmode="FIXEDSLIT"),
        nirspec(6, "NRS_MSASPEC", msa_config="a", opmode="MSASPEC"),
        soss(), *with_star("NRC_CORON", "NircamCoron", LONG, "NIRCAM", "SUB320A335R"), slitless(),
    )  # fmt: skip
    found = Prediction(everything)
    # A medium grating puts no spectrum of this slit on NRS2.
    dark_side = [
        n
        for n, raw in enumerate(found.raws)
        if raw.exp_type == "NRS_FIXEDSLIT" and raw.detector.name == "NRS2"
    ]
    assert found.generator.orphans(found.associations) == dark_side


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (images(points=1), "none"),
        (nirspec(2, "NRS_IFU", points=1), "none"),
        (nirspec(2, "NRS_IFU", points=4, nod="4-POINT-NOD"), "4-point-nod"),
        (nirspec(2, "NRS_BRIGHTOBJ", points=1), "null"),
        (soss(), "null"),
    ],
    ids=["image", "cube", "nods", "bright object", "single object"],
)
def test_type_of_the_pattern(made, expected):
    pool = pool_of(made)
    assert {row[pool.at["patttype"]] for row in pool.rows} == {expected}

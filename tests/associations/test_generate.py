"""Associations of small pools whose answer is known, and what holds for every pool."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwcal.associations.generate import Generator
from tests.associations.conftest import RULES, made, plain, pool_of, row


def products(found, rule):
    return {
        name: dict(members)
        for made_by, _, parts in found
        if made_by.endswith(rule)
        for name, members in parts
    }


def test_image_dithers_give_one_product():
    found = made([row(n) for n in (1, 2, 3)])
    assert len(found) == 4
    (name,) = products(found, "Asn_Lv3Image")
    assert name == "jw01234-o001_t001_nircam_clear-f200w"
    assert len(products(found, "Asn_Lv3Image")[name]) == 3
    assert set(products(found, "Asn_Lv2Image")) == {f"jw01234001001_02101_{n:05d}_nrca1" for n in (1, 2, 3)}


def test_background_joins_science_of_its_candidate():
    both = "[('o001', 'observation'), ('c1000', 'background')]"
    other = "[('o002', 'observation'), ('c1000', 'background')]"
    rows = [
        row(1, exp_type="mir_mrs", instrume="miri", detector="mirifulong", band="short", filter="null", asn_candidate=both),
        row(2, exp_type="mir_mrs", instrume="miri", detector="mirifulong", band="short", filter="null", targetid="2",
            bkgdtarg="t", obs_num="2", asn_candidate=other),
    ]  # fmt: skip
    found = products(made(rows), "Asn_Lv2Spec")
    assert found["jw01234001001_02101_00001_nrca1"] == {
        "jw01234001001_02101_00001_nrca1_rate.fits": "science",
        "jw01234001001_02101_00002_nrca1_rate.fits": "background",
    }
    together = products(made(rows), "candidate_Asn_Lv3MIRMRS")["jw01234-c1000_t001_miri"]
    assert together["jw01234001001_02101_00002_nrca1_x1d.fits"] == "background"


def test_reference_star_makes_coronagraphy_complete():
    group = "[('c1001', 'coronagraphy')]"
    alone = [row(1, exp_type="mir_4qpm", instrume="miri", detector="mirimage", asn_candidate=group)]
    star = row(
        2,
        exp_type="mir_4qpm",
        instrume="miri",
        detector="mirimage",
        is_psf="t",
        targetid="9",
        asn_candidate=group,
    )
    assert not products(made(alone), "candidate_Asn_Lv3MIRCoron")
    (members,) = products(made([*alone, star]), "candidate_Asn_Lv3MIRCoron").values()
    assert sorted(members.values()) == ["psf", "science"]
    assert all("_calints" in file for file in members)


def test_other_nods_are_background():
    rows = [
        row(n, exp_type="nrs_msaspec", instrume="nirspec", detector="nrs1", filter="f100lp", grating="g140m",
            pupil="null", msametfl="m.fits", patt_num=str(n), numdthpt="3", subpxpts="1")
        for n in (1, 2, 3)
    ]  # fmt: skip
    found = products(made(rows), "Asn_Lv2NRSMSA")
    assert len(found) == 3
    assert all(sorted(m.values()) == ["background", "background", "science"] for m in found.values())
    rows[1]["subpxpts"] = rows[0]["subpxpts"] = rows[2]["subpxpts"] = "3"
    found = products(made(rows), "Asn_Lv2NRSMSA")
    assert all(list(m.values()) == ["science"] for m in found.values())


def test_slitless_spectrum_refers_to_the_catalogue_of_its_image():
    rows = [
        row(1, exp_type="nis_image", instrume="niriss", detector="nis", filter="clear", pupil="f115w"),
        row(
            2,
            exp_type="nis_wfss",
            instrume="niriss",
            detector="nis",
            filter="gr150r",
            pupil="f115w",
            expspcin="2",
        ),
        row(
            3,
            exp_type="nis_image",
            instrume="niriss",
            detector="nis",
            filter="clear",
            pupil="f115w",
            expspcin="3",
        ),
    ]
    (members,) = products(made(rows), "candidate_Asn_Lv2WFSSNIS").values()
    assert members == {
        "jw01234001001_02101_00002_nrca1_rate.fits": "science",
        "jw01234-o001_t001_niriss_clear-f115w_i2d.fits": "direct_image",
        "jw01234-o001_t001_niriss_clear-f115w_cat.ecsv": "sourcecat",
        "jw01234-o001_t001_niriss_clear-f115w_segm.fits": "segmap",
    }


def test_time_series_keep_integrations_and_need_no_second_exposure():
    rows = [
        row(
            1,
            exp_type="nis_soss",
            instrume="niriss",
            detector="nis",
            filter="clear",
            tsovisit="t",
            targetid="7",
        )
    ]
    found = made(rows)
    assert {rule for rule, _, _ in found} == {"candidate_Asn_Lv2SpecTSO", "candidate_Asn_Lv3TSO"}
    assert [m for _, _, parts in found for _, m in parts][1][0][0].endswith("_calints.fits")
    rows[0]["filter"] = "f277w"
    assert made(rows) == []


def test_pairs_of_wavefront_sensing():
    sensing = {"patttype": "wfsc", "visitype": "prime_wfsc_routine", "obs_id": "v1", "act_id": "2"}
    assert not products(made([row(1, **sensing)]), "Asn_Lv3WFSCMB")
    (name,) = products(made([row(1, **sensing), row(2, **sensing)]), "Asn_Lv3WFSCMB")
    assert name == "jw01234-o001_t001_nircam_clear-f200w-nrca1_{suffix}-02"


def test_mosaic_and_what_goes_beyond_candidates():
    tiles = "[('o00{0}', 'observation'), ('c1002', 'mosaic')]"
    rows = [row(n, obs_num=str(n), targetid=str(n), asn_candidate=tiles.format(n)) for n in (1, 2)]
    (members,) = products(made(rows), "candidate_Asn_Lv3ImageMosaic").values()
    assert len(members) == 2
    rows = [row(n, obs_num=str(n), asn_candidate=f"[('o00{n}', 'observation')]") for n in (1, 2)]
    (found,) = [each for each in made(rows) if each[0] == "discover_Asn_Lv3Image"]
    assert found[1] == "a3001"
    assert not [each for each in made(rows, all_candidates=True) if each[1] == "a3001"]
    assert {each[1] for each in made(rows, discover=True)} == {"a3001"}
    assert {each[1] for each in made(rows, identifiers=["o002"])} == {"o002"}


def test_acquisition_joins_its_observation():
    ta = row(1, exp_type="mir_tacq", pntgtype="target_acquisition", instrume="miri", detector="mirimage")
    lrs = row(2, exp_type="mir_mrs", instrume="miri", detector="mirifulong", band="short", filter="null")
    (members,) = products(made([ta, lrs]), "Asn_Lv3MIRMRS").values()
    assert sorted(members.values()) == ["science", "target_acquisition"]
    ta["obs_num"] = "3"
    (members,) = products(made([ta, lrs]), "Asn_Lv3MIRMRS").values()
    assert list(members.values()) == ["science"]


# -- what holds for every pool

KINDS = {
    "image": {"exp_type": "nrc_image", "instrume": "nircam", "filter": "f200w", "pupil": "clear"},
    "mrs": {"exp_type": "mir_mrs", "instrume": "miri", "filter": "null", "pupil": "null", "band": "short"},
    "ami": {"exp_type": "nis_ami", "instrume": "niriss", "filter": "f430m", "pupil": "nrm"},
    "msa": {"exp_type": "nrs_msaspec", "instrume": "nirspec", "filter": "f100lp", "pupil": "null", "grating": "g140m",
            "msametfl": "m.fits", "numdthpt": "3", "subpxpts": "1", "patttype": "3-shutter-slitlet"},
    "series": {"exp_type": "nis_soss", "instrume": "niriss", "filter": "clear", "pupil": "gr700xd", "tsovisit": "t"},
    "lamp": {"exp_type": "nrs_dark", "instrume": "nirspec", "filter": "opaque", "pupil": "null", "grating": "mirror"},
    "tacq": {"exp_type": "mir_tacq", "instrume": "miri", "filter": "f560w", "pupil": "null",
             "pntgtype": "target_acquisition"},
}  # fmt: skip


@st.composite
def pools(draw):
    rows = []
    for number in range(1, draw(st.integers(1, 14)) + 1):
        kind = draw(st.sampled_from(sorted(KINDS)))
        observation = draw(st.integers(1, 3))
        cells = {
            **KINDS[kind], "detector": draw(st.sampled_from(["d1", "d2"])), "targetid": draw(st.sampled_from("12")),
            "obs_num": str(observation), "patt_num": str(number % 3 + 1),
            "bkgdtarg": draw(st.sampled_from(["f", "f", "t"])) if kind in ("image", "mrs") else "f",
            "is_psf": draw(st.sampled_from(["f", "t"])) if kind == "ami" else "f",
        }  # fmt: skip
        more = ", ('c1000', 'background')" if draw(st.booleans()) else ""
        cells["asn_candidate"] = f"[('o00{observation}', 'observation'){more}]"
        rows.append(row(number, **cells))
    return rows


@settings(max_examples=40, deadline=None)
@given(pools(), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(rows, random):
    first = made(rows)
    random.shuffle(rows)
    assert made(rows) == first


@settings(max_examples=40, deadline=None)
@given(pools())
def test_nothing_is_lost_or_twice(rows):
    generator = Generator(pool_of(rows), RULES)
    found = generator.associations()
    used = {m.row[-1] for each in found for _, members in each.products for m in members if m.row is not None}
    assert sorted({*used, *generator.orphans(found)}) == list(range(len(rows)))
    signs = [plain(each) for each in found]
    by_members = [
        (each.rule.level, each.products[0][0], sign[2]) for each, sign in zip(found, signs, strict=True)
    ]
    assert len(set(by_members)) == len(by_members)
    for each in found:
        files = [member.file for _, members in each.products for member in members]
        assert len(files) == len(set(files))
        assert any(member.role == "science" for _, members in each.products for member in members)
    again = Generator(pool_of(rows), RULES).associations()
    assert [plain(each) for each in again] == signs


@settings(max_examples=15, deadline=None)
@given(pools())
def test_a_row_given_twice_changes_nothing(rows):
    assert made([*rows, rows[0]]) == made(rows)


@pytest.mark.parametrize("count", [400])
def test_cost_does_not_grow_with_the_square(count):
    """Tests of a row against groups, counted: as many more rows, as many more tests."""

    def tests(number):
        generator = Generator(
            pool_of([row(n, targetid=str(n % 50), obs_num=str(n % 50)) for n in range(number)]), RULES
        )
        calls = [0]
        for compiled in generator.compiled:
            compiled.test = counted(compiled.test, calls)
        generator.associations()
        return calls[0]

    def counted(test, calls):
        def counting(*given):
            calls[0] += 1
            return test(*given)

        return counting

    assert tests(4 * count) < 4.5 * tests(count)

"""Pools in every form, and pools that are wrong."""

import numpy as np
import pytest

from jwcal.associations.generate import Generator
from jwcal.associations.pool import pool_text, read_pool
from jwcal.associations.rules import load_rules
from jwcal.core.errors import InputError, UsageError
from tests.associations.conftest import COLUMNS, pool_of, row

ROWS = [row(n, asn_candidate="[('o001', 'observation'), ('c1000', 'group')]") for n in (1, 2)]


@pytest.mark.parametrize("delimiter", ["|", ",", "\t"])
def test_text_forms(tmp_path, delimiter):
    path = tmp_path / "pool.csv"
    path.write_text("# comment\n" + pool_text(pool_of(ROWS), delimiter).upper().replace("NULL", ""))
    assert read_pool(path).rows == pool_of(ROWS).rows
    assert read_pool(path, delimiter).columns == COLUMNS


def test_written_by_astropy(tmp_path):
    table = pytest.importorskip("astropy.table")
    pool = pool_of(ROWS)
    made = table.Table(rows=[list(r) for r in pool.rows], names=COLUMNS)
    for name, kind in (("p.ecsv", "ascii.ecsv"), ("p.fits", "fits"), ("p.csv", "ascii.csv")):
        made.write(tmp_path / name, format=kind)
        assert read_pool(tmp_path / name).rows == pool.rows, name


def test_logical_columns_of_fits_are_flags(tmp_path):
    table = pytest.importorskip("astropy.table")
    pool = pool_of(ROWS)
    made = table.Table(rows=[list(r) for r in pool.rows], names=COLUMNS)
    made["bkgdtarg"] = np.array([True, False])
    made.write(tmp_path / "p.fits")
    assert read_pool(tmp_path / "p.fits").cells("bkgdtarg") == ["t", "f"]


def test_cells_that_count(tmp_path):
    rows = [
        row(1, filename="@!fmt_fname(next(expnum))", obs_num="@!next(obsnum)",
            asn_candidate="@!fmt_cand([(obsnum.value, 'observation'), (acid.value + 2, 'mosaic')])"),
        row(2, filename="@!fmt_fname(next(expnum))", obs_num="@!obsnum.value", asn_candidate="[]"),
    ]  # fmt: skip
    path = tmp_path / "pool.csv"
    path.write_text(pool_text(pool_of(rows)))
    pool = read_pool(path)
    assert pool.cells("filename") == ["jw_00001_uncal.fits", "jw_00002_uncal.fits"]
    assert pool.cells("obs_num") == ["1", "1"]
    assert pool.cells("asn_candidate")[0] == "[('o001', 'observation'), ('c1001', 'mosaic')]"
    path.write_text(pool_text(pool_of([row(1, obs_num="@!__import__('os').getpid()")])))
    with pytest.raises(InputError, match="line 2, column obs_num"):
        read_pool(path)


def test_wrong_pools(tmp_path):
    path = tmp_path / "pool.csv"
    good = pool_text(pool_of(ROWS))
    lines = good.splitlines()
    for text, message in (
        ("", "empty"),
        (lines[0].replace("exp_type", "exptype") + "\n" + lines[1], "no column exp_type"),
        (good + "a|b|c\n", "line 4: 3 cells, but the header has 33 columns"),
        (good.replace("clear", '"clear', 1), "line 2: quotes that do not end"),
        ('"' + good, "line 1: quotes that do not end"),
        (lines[0] + "|program\n" + lines[1] + "|1\n", "column program twice"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_pool(path)
    path.write_bytes(good.encode() + b"\xff\xfe")
    with pytest.raises(InputError, match="line 4, byte 1: not UTF-8"):
        read_pool(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_pool(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="not one character"):
        read_pool(path, "||")


def test_going_on(tmp_path):
    path = tmp_path / "pool.csv"
    rows = [*ROWS, row(3, exp_type="nrc_imagge"), row(4, exp_type="null")]
    path.write_text(pool_text(pool_of(rows)) + "a|b\n")
    with pytest.raises(InputError, match="line 6: 2 cells"):
        read_pool(path)
    pool = read_pool(path, keep_going=True)
    with pytest.raises(InputError, match="line 4, column exp_type: nrc_imagge is no exposure type"):
        Generator(pool, load_rules())
    made = Generator(read_pool(path, keep_going=True), load_rules(), keep_going=True)
    assert len(made.pool) == 2
    assert len(made.pool.problems) == 3
    assert len(made.associations()) == len(Generator(pool_of(ROWS), load_rules()).associations())


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("[('o001', 'observation')", "is no list of pairs"),
        ("o001", "is no list of pairs"),
        ("('o001', 'observation')", "is no list of pairs"),
        ("[('o001', [('c1000', 'background')])]", "is no list of pairs"),
        ("[('o001', 'observation', 'x')]", "is no list of pairs"),
        ("{'o001': 'observation'}", "is no list of pairs"),
        ("[('o001', 'observation'), ('o001', 'mosaic')]", "o001 is there as observation and as mosaic"),
    ],
)
def test_candidates_that_cannot_be_read(cell, message):
    pool = pool_of([*ROWS, row(3, asn_candidate=cell)])
    with pytest.raises(InputError, match=f"line 3, column asn_candidate: .*{message}"):
        Generator(pool, load_rules())
    made = Generator(pool, load_rules(), keep_going=True)
    assert (len(made.pool), len(made.pool.problems)) == (2, 1)


@pytest.mark.parametrize("cell", ["null", "[]", "", "1000", "#!fmt_cand([])", "[['o001', 'observation']]"])
def test_candidates_that_can_be_read(cell):
    assert len(Generator(pool_of([*ROWS, row(3, asn_candidate=cell)]), load_rules()).pool) == 3


def test_rule_files(tmp_path):
    path = tmp_path / "mine.toml"
    mine = '[rule.Mine]\ntitle = "All darks."\nlevel = 3\ntype = "dark3"\n'
    path.write_text(mine + 'when = [{ same = "exp_type", like = "nrc_dark" }, { role = "dark" }]\n')
    assert [rule.rule for rule in load_rules([path], default=False).rules] == ["Mine"]
    assert "Mine" in [rule.rule for rule in load_rules([path]).rules]
    path.write_text("[rule.Asn_Lv3Image]\noff = true\n")
    assert "Asn_Lv3Image" not in [rule.rule for rule in load_rules([path]).rules]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (
            '[{ same = "exp_type", like = "nrc_dark" }, { has = "exp_type", like = "nrc_image" }]',
            "no exposure can match",
        ),
        ('[{ smae = "exp_type" }]', "needs exactly one of"),
        ('[{ same = "exp_type", lik = "x" }]', "unknown key lik"),
        ('[{ same = "exp_type", like = "(" }]', "pattern"),
        ('[{ use = "nothing" }]', "no block nothing"),
        ('[{ use = "loop" }]', "uses itself"),
        ("[]", "when is empty"),
        ('[{ same = "exp_type", again = "never" }]', "again = 'never' is none of"),
        ('[{ has = "is_psf" }, { lacks = "is_psf" }]', "is_psf has to be given and not to be"),
        (
            '[{ same = "bkgdtarg" }, { none = [{ has = "bkgdtarg" }] }]',
            "bkgdtarg has to be given and not to be",
        ),
        ('[{ role = "psf" }, { role = "science" }]', "role has to be psf and science"),
        ('[{ check = "nrs_ifu_path" }, { check = "nrs_ifu_path", is = false }]', "has to be True and False"),
        ('[{ role = "sience" }]', "role is none of"),
        ('[{ check = "nrs_ifu" }]', "check is none of"),
        ('[{ differs = "patt_num" }]', "no same or has of that name comes before it"),
        ("[{ rule = true }]", "is for the block named by frame"),
        ("[{ same = 1 }]", "neither a column nor a list of columns"),
        ('[{ any = { same = "x" } }]', "any is not a list of conditions"),
        ('[{ same = "exp_type", like = 1 }]', "neither a pattern nor a list of patterns"),
        ('[{ same = "x", optional = "yes" }]', "is not true or false"),
        ('"all"', "when = 'all' is not a list"),
        ('["all"]', "condition 'all' is not a table"),
    ],
)
def test_wrong_rules(tmp_path, when, message):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[block.loop]\nuse = "loop"\n[rule.Mine]\ntitle = "t"\nlevel = 3\ntype = "x3"\nwhen = ' + when + "\n"
    )
    with pytest.raises(UsageError, match=message) as caught:
        load_rules([path])
    assert "mine.toml: rule Mine" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rule.Nothing]\noff = true\n", "off, but there is no such rule"),
        ("[rule.Mine]\nbase = 'Nothing'\n", "base Nothing: no such rule before it"),
        ("[rule.Mine]\nbase = 'Asn_Lv3Image'\nlevel = 4\n", "level = 4 is none of 2, 3"),
        ("[rule.Mine]\nbase = 'Asn_Lv3Image'\nneeds = 'psf'\n", "needs = 'psf' is not a list of texts"),
        ("[rule.Mine]\nbase = 'Asn_Lv3Image'\nfinish = ['nod']\n", "finish = 'nod' is none of imprints"),
        ("[rule.Mine]\nbase = 'Asn_Lv3Image'\ncandidates = 'all'\n", "candidates is neither"),
        ("[rule.Mine]\nbase = 'Asn_Lv3Image'\nwhenn = []\n", "unknown key whenn"),
        ("[rules.Mine]\n", r"\[rules\] is neither block, rule nor tables"),
        ("rule = 1\n", "rule has to have tables"),
        ("[tables.nothing]\nx = 1\n", "no table nothing"),
        ("[tables.names]\nendings = 'x'\n", "tables.names: endings is not a list"),
    ],
)
def test_wrong_rule_files(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_rules([path])
    assert "mine.toml" in str(caught.value)


def test_a_rule_rests_on_another(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[rule.Asn_Lv3Image]\nbase = "Asn_Lv3Image"\ntype = "mine3"\n[rule.Asn_Lv2Image]\noff = true\n'
        '[rule.New]\nbase = "Asn_Lv3Image"\ntitle = "New."\n'
    )
    rules = load_rules([path])
    assert [text.split(" by ")[0] for text in rules.changes] == [
        "Asn_Lv3Image: replaced", "Asn_Lv2Image: taken out", "New: added"]  # fmt: skip
    types = {rule.rule: rule.type for rule in rules.rules}
    assert (types["Asn_Lv3Image"], types["New"], types.get("Asn_Lv2Image")) == ("mine3", "mine3", None)
    assert [rule.rule for rule in load_rules([path], default=False).rules] == ["Asn_Lv3Image", "New"]


def test_own_rule_makes_associations(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[rule.Long]\ntitle = "t"\nlevel = 3\nframe = "level3"\ntype = "long3"\n'
        'when = [{ use = "path" }, { use = "target3" }, { same = "exp_type", like = "nrc_image" }]\n'
    )
    found = Generator(pool_of(ROWS), load_rules([path], default=False)).associations()
    assert [(each.rule.rule, each.type, len(each.members)) for each in found] == [("Long", "long3", 2)]

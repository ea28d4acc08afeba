import pytest

from jwcal.core.errors import InputError
from jwcal.planning.pointing import read_pointing

HEAD = """# APT Output Product
JWST Pointing Report for JWST Approved Proposal 1 (a.aptx)

========================================
* Field (Obs 3)
** Visit 3:2
Tar Tile Exp Dith Aperture Name             Target       RA         Dec        BaseX    BaseY    DithX    DithY
"""
TAIL = "+80.48876  -69.49942   +0.000   +0.000   +0.392   +0.165 -290.491 -697.332   +0.392   +0.164"


def _row(numbers, aperture, kind, target="1 LMC-NIRI  "):
    return f"  {'    '.join(numbers.split())} {aperture:25s} {target}{TAIL} DITHER     {kind}       0      0  0.425\n"


def _read(tmp_path, text):
    path = tmp_path / "a.pointing"
    path.write_text(text)
    return read_pointing(path)


def test_points_of_a_visit(tmp_path):
    (visit,) = _read(
        tmp_path,
        HEAD
        + _row("0 0 0 0", "NIS_TAMRS", "T_ACQ")
        + _row("1 2 3 4", "NIS_CEN", "SCIENCE")
        + _row("1 2 3 4", "FGS2_FULL", "PARALLEL")
        + _row("1 2 3 5", "NIS_CEN", "DIRECT", "1 A LONG NA"),
    )
    assert (visit.observation, visit.number) == (3, 2)
    assert [point.kind for point in visit.points] == ["T_ACQ", "SCIENCE", "PARALLEL", "DIRECT"]
    assert [point.parallel for point in visit.points] == [False, False, True, False]
    last = visit.points[-1]
    assert (last.target, last.tile, last.config, last.dither, last.aperture) == (1, 2, 3, 5, "NIS_CEN")
    assert (last.target_number, last.ra, last.dec, last.level) == (1, 80.48876, -69.49942, "DITHER")


def test_a_direct_image_of_a_parallel_is_told_by_its_aperture(tmp_path):
    (visit,) = _read(
        tmp_path, HEAD + _row("1 1 1 1", "NRCBS_FULL", "SCIENCE") + _row("1 1 1 1", "NIS_CEN", "DIRECT")
    )
    assert [point.parallel for point in visit.points] == [False, True]


def test_images_between_moves_of_the_mirror_are_not_parallel(tmp_path):
    (visit,) = _read(tmp_path, HEAD + 3 * _row("1 1 1 1", "NRCA3_FULL", "SCIENCE"))
    assert [point.parallel for point in visit.points] == [False] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Tar Tile\n", "not a pointing report"),
        (HEAD + "  1    1   1\n", "line 8: not a line of a pointing report: '1    1   1'"),
        (
            HEAD.replace("** Visit 3:2\n", "") + _row("1 1 1 1", "NIS_CEN", "SCIENCE"),
            "before the first visit",
        ),
    ],
)
def test_damaged_reports(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        _read(tmp_path, text)
    assert message in str(caught.value)
    assert "a.pointing" in str(caught.value)


def test_no_report(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_pointing(tmp_path / "none.pointing")

"""Small pools, and the shared ones with what the official generator made of them."""

import os
from pathlib import Path

import pytest

from jwcal.associations.generate import Generator
from jwcal.associations.pool import Pool
from jwcal.associations.rules import load_rules

COLUMNS = (
    "filename", "program", "obs_num", "exp_type", "pntgtype", "instrume", "detector", "channel", "targetid", "filter",
    "pupil", "grating", "band", "fxd_slit", "subarray", "patttype", "patt_num", "numdthpt", "subpxpts", "mostilno",
    "dithptin", "expspcin", "obs_id", "act_id", "visitype", "dms_note", "tsovisit", "bkgdtarg", "is_imprt", "is_psf",
    "msametfl", "exposerr", "asn_candidate",
)  # fmt: skip
RULES = load_rules()
SHARED = Path(os.environ.get("JWCAL_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def row(number, **cells):
    """Cells of one exposure, a NIRCam image if nothing else is said."""
    given = {
        "filename": f"jw01234001001_02101_{number:05d}_nrca1_uncal.fits", "program": "1234", "obs_num": "1",
        "exp_type": "nrc_image", "pntgtype": "science", "instrume": "nircam", "detector": "nrca1", "targetid": "1",
        "filter": "f200w", "pupil": "clear", "subarray": "full", "mostilno": "1", "expspcin": "1",
        "asn_candidate": "[('o001', 'observation')]",
    }  # fmt: skip
    return {**given, **cells}


def pool_of(rows, name="jw01234_pool.csv"):
    """Pool of dictionaries of cells."""
    return Pool(
        COLUMNS, [tuple(cells.get(column, "null") for column in COLUMNS) for cells in rows], name=name
    )


def made(rows, **how):
    """Associations as (rule, candidate, product, members with roles), sorted."""
    generator = Generator(pool_of(rows), RULES)
    return sorted(plain(each) for each in generator.associations(**how))


def plain(association):
    """An association without order and running number."""
    return (
        f"{association.origin}_{association.rule.rule}",
        association.candidate,
        tuple((n, tuple(sorted((m.file, m.role) for m in members))) for n, members in association.products),
    )


@pytest.fixture(scope="session")
def rules():
    return RULES


@pytest.fixture(scope="session")
def expected():
    """Folder of official results."""
    folder = SHARED / "data" / "associations" / "expected_3.0.0"
    if not folder.is_dir():
        pytest.skip(f"no official associations in {folder}; set JWCAL_SHARED")
    return folder

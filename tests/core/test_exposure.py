"""Opening products: what is accepted, what is refused and why; routing."""

import numpy as np
import pytest

from jwcal.core.errors import InputError
from jwcal.core.exposure import open_exposure
from jwcal.core.fits import create_fits
from jwcal.core.header import Header
from jwcal.core.routing import route, table


def write(path, planes, **cards):
    head = Header()
    for key, value in cards.items():
        head.set(key, value)
    out = create_fits(str(path), overwrite=True)
    out.add(head)
    slots = {name: out.add(None, a.shape, a.dtype, name=name) for name, a in planes.items()}
    for name, slot in slots.items():
        slot.write(planes[name])
    out.commit()
    return str(path)


RAW = {"SCI": np.zeros((2, 3, 4, 5), "u2")}
KEYS = {"INSTRUME": "NIRCAM", "NINTS": 2, "NGROUPS": 3, "EXP_TYPE": "NRC_IMAGE"}


def test_raw_exposure(tmp_path):
    exposure = open_exposure(write(tmp_path / "x.fits", RAW, **KEYS))
    assert exposure.product == "uncal"
    assert exposure.shape == (2, 3, 4, 5)
    assert route(exposure) == "detector1"


def rate(ndim):
    shape = (2, 4, 5)[-ndim:]
    f4 = dict.fromkeys(("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE"), np.zeros(shape, "f4"))
    return {**f4, "DQ": np.zeros(shape, "u4")}


@pytest.mark.parametrize(("ndim", "name"), [(2, "rate"), (3, "rateints")])
def test_slope_products(tmp_path, ndim, name):
    assert open_exposure(write(tmp_path / "x.fits", rate(ndim), **KEYS)).product == name


@pytest.mark.parametrize(
    ("planes", "cards", "text"),
    [
        ({"ERR": np.zeros((4, 5), "f4")}, {}, "no SCI extension"),
        ({"SCI": np.zeros((4, 5), "f4")}, {}, "not a product"),
        (rate(2), {"S_PHOTOM": "COMPLETE", "DATAMODL": "ImageModel"}, "later stage"),
        (RAW, {"NGROUPS": 7}, "NGROUPS = 7 but SCI has 3"),
        (RAW, {"NINTS": 5}, "NINTS = 5 but SCI has 2 integrations"),
        (RAW, {"INTSTART": 3, "INTEND": 8}, "INTSTART, INTEND = 3, 8 but SCI has 2"),
        (RAW, {"NGROUPS": "three"}, "should be of type int"),
        (RAW, {"SUBSIZE1": 9, "SUBSIZE2": 4}, "SUBSIZE"),
        ({"SCI": RAW["SCI"], "GROUPDQ": np.zeros((2, 3, 4, 5), "u1")}, {}, "extension PIXELDQ is missing"),
        ({**RAW, "ZEROFRAME": np.zeros((2, 4, 4), "u2")}, {}, "ZEROFRAME has shape"),
    ],
)
def test_refused_with_the_reason(tmp_path, planes, cards, text):
    path = write(tmp_path / "x.fits", planes, **{**KEYS, **cards})
    with pytest.raises(InputError, match=text) as failure:
        open_exposure(path)
    assert "x.fits" in str(failure.value)


def test_missing_and_invalid_keywords_are_named(tmp_path):
    exposure = open_exposure(write(tmp_path / "x.fits", RAW, **KEYS, FASTAXIS=5))
    with pytest.raises(InputError, match="TGROUP is missing"):
        exposure.meta["TGROUP"]
    with pytest.raises(InputError, match="FASTAXIS = 5"):
        exposure.meta["FASTAXIS"]


def test_routing_covers_every_type(tmp_path):
    known = {"detector1", "dark", "guider", "image2", "tso-image2", "spec2", "tso-spec2", "image3", "spec3", "tso3", "coron3", "ami3", "wfs-image3", ""}  # fmt: skip
    assert {kind[:4] for kind in table()} == {"FGS_", "MIR_", "NIS_", "NRC_", "NRS_"}
    for entry in table().values():
        assert set(entry.values()) <= known
    for kind, tso, want in (
        ("NRC_TSIMAGE", True, "tso-image2"),
        ("MIR_IMAGE", True, "tso-image2"),
        ("MIR_IMAGE", False, "image2"),
    ):
        path = write(tmp_path / "x.fits", rate(3), **{**KEYS, "EXP_TYPE": kind, "TSOVISIT": tso})
        assert route(open_exposure(path)) == want
    with pytest.raises(InputError, match="'XYZ' is not known"):
        route(open_exposure(write(tmp_path / "x.fits", RAW, **{**KEYS, "EXP_TYPE": "XYZ"})))
    with pytest.raises(InputError, match="no pipeline follows"):
        route(open_exposure(write(tmp_path / "x.fits", rate(2), **{**KEYS, "EXP_TYPE": "NRC_LED"})))


def test_result_in_memory_can_be_written_with_its_extensions(tmp_path):
    import jwcal

    path = write(tmp_path / "x.fits", RAW, **KEYS)
    made = jwcal.steps.group_scale(path)
    made.write(tmp_path / "y.fits")
    assert np.array_equal(open_exposure(str(tmp_path / "y.fits"))["SCI"], RAW["SCI"])

import os
import re
from pathlib import Path

import pytest

from jwcal.planning.model import Detector, Exposure
from jwcal.planning.naming import base36, name_visit
from jwcal.planning.templates.common import points

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("JWCAL_SHARED") or ROOT.parent / "shared") / "data" / "planning" / "visit_files"


def _take(config, count=1, *, template="NircamImaging", instrument="NIRCAM", exp_type="NRC_IMAGE", **more):
    """Exposures of one configuration at `count` points."""
    more.setdefault("subarray", "FULL")
    return [
        Exposure(
            instrument, exp_type, template, (Detector("X"),), readpatt="", ngroups=1, nints=1, config=config,
            dither=dither, **more
        )
        for dither in points(count)
    ]  # fmt: skip


def _names(exposures, **more):
    name_visit(exposures, **more)
    return [f"{each.group}{each.sequence}{each.activity}_{each.number:05d}" for each in exposures]


def _beside(primes):
    """Put a coordinated parallel beside every exposure, as the expansion does."""
    found = []
    for order, prime in enumerate(primes, 1):
        prime.order = order
        found += [
            prime,
            *_take(prime.config, instrument="MIRI", parallel="coordinated", sequence="2", order=order),
        ]
    return found


def test_base_36():
    assert [base36(value) for value in (1, 9, 10, 35, 36)] == ["01", "09", "0a", "0z", "10"]


def test_dithered_filters():
    assert _names(_take(1, 2) + _take(2, 2) + _take(3, 2)) == [
        "02101_00001", "02101_00002", "02103_00001", "02103_00002", "02105_00001", "02105_00002",
    ]  # fmt: skip


def test_filters_without_dithers():
    assert _names(_take(1) + _take(2) + _take(3)) == ["02101_00001", "02102_00001", "02103_00001"]


def test_direct_image_between_dithered_grisms():
    assert _names(_take(1, 3) + _take(2) + _take(3, 3))[2:5] == ["02101_00003", "02103_00001", "02104_00001"]


def test_coordinated_parallels_have_a_group_for_every_configuration():
    assert _names(_beside(_take(1, 2) + _take(2, 1) + _take(3, 1))) == [
        "02101_00001", "02201_00001", "02101_00002", "02201_00002",
        "04101_00001", "04201_00001", "05101_00001", "05201_00001",
    ]  # fmt: skip


def test_moving_target_in_a_subarray():
    assert _names(_take(1, 3, subarray="SUB640"), waits=True)[0] == "03102_00001"


def test_time_series_after_its_acquisition():
    series = {"template": "NircamGrismTimeSeries"}
    exposures = _take(0, acquisition=True, exp_type="NRC_TACQ", subarray="SUB32TATSGRISM", **series)
    exposures += _take(1, exp_type="NRC_TSGRISM", subarray="SUBGRISM256", **series)
    assert _names(exposures) == ["02102_00001", "03103_00001"]
    assert _names(exposures, waits=True) == ["02102_00001", "04103_00001"]


def test_coronagraphy_with_images_that_confirm_the_acquisition():
    coron = {"template": "NircamCoron"}
    confirm = {"acquisition": True, "exp_type": "NRC_TACONFIRM", **coron}
    exposures = _take(0, acquisition=True, exp_type="NRC_TACQ", subarray="SUBNDA335R", **coron)
    exposures += _take(1, **confirm) + _take(2, **confirm)
    exposures += _take(3, 9, subarray="SUB320A335R", **coron) + _take(4, 9, subarray="SUB320A335R", **coron)
    names = _names(exposures)
    assert names[:4] == ["02102_00001", "03102_00001", "03104_00001", "03106_00001"]
    assert names[-1] == "03108_00009"


def test_interferometry_after_its_acquisition():
    ami = {"template": "NirissAmi", "instrument": "NIRISS", "exp_type": "NIS_AMI", "subarray": "SUB80"}
    acquired = [
        each for _ in range(4) for each in _take(0, **ami | {"acquisition": True, "exp_type": "NIS_TACQ"})
    ]
    assert (
        _names(acquired + _take(1, 2, **ami) + _take(2, 2, **ami) + _take(3, 2, **ami))[-1] == "03106_00002"
    )


def test_images_of_one_acquisition_of_niriss_are_one_activity():
    facts = {"acquisition": True, "instrument": "NIRISS", "template": "NirissSoss"}
    acquired = [each for _ in range(3) for each in _take(0, **facts, exp_type="NIS_TACQ")]
    acquired += _take(0, **facts, exp_type="NIS_TACONFIRM")
    # As jw01092001001_02101_00004_nis and jw01092001001_03101_00001_nis of flight.
    series = _take(1, template="NirissSoss", instrument="NIRISS", exp_type="NIS_SOSS")
    assert _names(acquired + series)[3:] == ["02101_00004", "03101_00001"]


def test_both_acquisitions_of_a_coronagraph_of_miri_are_groups():
    coron = {"template": "MiriCoron", "instrument": "MIRI"}
    acquired = [each for _ in range(2) for each in _take(0, **coron, acquisition=True, exp_type="MIR_TACQ")]
    # As jw01386004001_04101_00001_mirimage of flight.
    assert _names(acquired + _take(1, 2, **coron, exp_type="MIR_4QPM")) == [
        "02101_00001", "03101_00001", "04101_00001", "04101_00002",
    ]  # fmt: skip


def test_four_acquisitions_leave_a_doubt():
    coron = {"template": "MiriCoron", "instrument": "MIRI"}
    for count, doubt in ((2, False), (4, True)):
        images = [
            each for _ in range(count) for each in _take(0, **coron, acquisition=True, exp_type="MIR_TACQ")
        ]
        science = _take(1, **coron, exp_type="MIR_4QPM")
        _names(images + science)
        assert bool(science[0].sure) is doubt


@pytest.mark.parametrize(
    ("template", "slit", "kind", "names"),
    [
        # As jw01128004001_03102, jw01386013001_03104, jw01970001001_02102 of flight.
        ("NirspecFixedSlitSpectroscopy", "S200A1", "NRS_WATA", ["02101_00001", "03102_00001"]),
        ("NirspecFixedSlitSpectroscopy", "S1600A1", "NRS_WATA", ["02101_00001", "03101_00001"]),
        ("NirspecIFUSpectroscopy", "", "NRS_WATA", ["02101_00001", "03102_00001"]),
        ("NirspecIFUSpectroscopy", "", "NRS_IMAGE", ["02102_00001", "03101_00001"]),
        ("NirspecBrightObjectTimeSeries", "S1600A1", "NRS_WATA", ["02101_00001", "03101_00001"]),
    ],
)
def test_spectra_of_nirspec_after_their_acquisition(template, slit, kind, names):
    own = {"template": template, "instrument": "NIRSPEC"}
    acquired = _take(0, **own, acquisition=True, exp_type=kind)
    assert _names(acquired + _take(1, **own, fxd_slit=slit)) == names


def test_two_grisms_of_niriss_with_one_image_between():
    exposures = _take(1) + _take(2) + _take(3, 2) + _take(4) + _take(5)
    assert _names(exposures)[-2:] == ["02105_00001", "02106_00001"]


def test_settings_of_the_shutter_array_are_groups():
    shutters = {"template": "NirspecMOS", "instrument": "NIRSPEC", "exp_type": "NRS_MSASPEC"}
    exposures = _take(0, **shutters | {"acquisition": True, "exp_type": "NRS_MSATA"})
    exposures += _take(1, 3, **shutters) + _take(2, 3, **shutters) + _take(3, 3, **shutters)
    assert _names(exposures)[1::3] == ["03101_00001", "05101_00001", "07101_00001"]


def test_what_is_an_estimate_says_so():
    slit = {"template": "NirspecFixedSlitSpectroscopy", "instrument": "NIRSPEC"}
    exposures = _take(1, **slit) + _take(2, **slit)
    name_visit(exposures)
    assert [bool(each.sure) for each in exposures] == [False, True]


def test_more_tiles_in_a_visit_have_a_move_between():
    assert _names([each for tile in (1, 2, 3, 4) for each in _take(1, tile=tile)])[-1] == "02107_00001"


def _visit_file(path):
    """Names of the exposures that a visit file commands; groups that only wait are not counted."""
    names, pattern, group, waits, sequence = [], {}, 0, 0, ""
    text = re.sub(r"\s+", " ", re.sub(r"(?m)^#.*$", "", path.read_text()))
    for statement in text.split(";"):
        head = [cell.strip() for cell in statement.replace(":", ",").split(",")]
        word = head[0].split()[0] if head[0] else ""
        facts = dict(cell.split("=", 1) for cell in head if "=" in cell)
        if word == "DITHER":
            pattern[facts["DITHERID"]] = 1 + int(facts["NDITHERS"].split()[0])
        elif word == "GROUP":
            group = int(head[1])
        elif word == "SEQ":
            sequence = head[1].strip()
        elif word == "ACT" and "GENWAITMAIN" in head:
            waits += 1
        elif word == "ACT" and {"NRCMAIN", "FGSIMAGEMAIN"} & set(head):
            taken = pattern.get(facts.get("DITHERID", ""), 1)
            names += [
                f"{group - waits:02d}{sequence}{head[1].lower()}_{at:05d}" for at in range(1, taken + 1)
            ]
    return names


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no visit files in {FOLDER}")
@pytest.mark.parametrize(
    ("name", "exposures"),
    [
        ("V01134001002", _take(1) + _take(1, tile=2)),
        ("V01134001031", _take(1) + _take(1, tile=2)),
        ("V01135003002", _take(1)),
        ("V00739030001", _take(1, 3) + _take(2, 3)),
        ("V00744015001", _beside(_take(1))),
    ],
)
def test_names_are_those_of_the_visit_file(name, exposures):
    assert _names(exposures) == _visit_file(FOLDER / f"{name}.vst")

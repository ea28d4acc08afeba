"""jwcal dq: counts, values and pixels."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwcal.analysis.dqtool import explain, flag_table, parse_value
from jwcal.core.dq import DQ
from jwcal.core.errors import UsageError
from tests.analysis.conftest import rate_planes, write


def answer(invoke, *args):
    done = invoke("dq", "--json", *args)
    assert done.code == 0, done.err
    return json.loads(done.out)


@given(st.integers(0, 2**32 - 1))
def test_a_value_is_the_sum_of_its_flags(value):
    flags = explain(value)["flags"]
    assert sum(f["value"] for f in flags) == value
    text = "+".join(f["name"] for f in flags)
    assert not text or parse_value(text) == value
    assert parse_value(hex(value)) == value


@pytest.mark.parametrize("text", ["", "-1", "4294967296", "DO_NOT_USE+", "BAD", "1.5", "0x", "5 5"])
def test_what_is_no_value(text):
    with pytest.raises(UsageError):
        parse_value(text)


def test_explain_needs_no_file(invoke):
    found = answer(invoke, "--explain", "5")
    assert [f["name"] for f in found["flags"]] == ["DO_NOT_USE", "JUMP_DET"]
    assert answer(invoke, "--explain", "saturated|hot")["value"] == DQ["SATURATED"] | DQ["HOT"]
    assert b"good pixel" in invoke("dq", "--explain", "0").out
    done = invoke("dq", "--explain", "TERRIBLE")
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_list_has_every_bit_once(invoke):
    assert [f["bit"] for f in answer(invoke, "--list")] == list(range(32))
    assert len(invoke("dq", "--list").out.splitlines()) == 32
    assert all(f["meaning"] for f in flag_table())


def test_counts(invoke, rate):
    found = answer(invoke, rate)
    assert found == {"DQ": {"pixels": 600, "good": 596,
                            "flags": {"DO_NOT_USE": 1, "SATURATED": 1, "JUMP_DET": 2, "REFERENCE_PIXEL": 1}}}  # fmt: skip
    assert answer(invoke, rate, "--plane", "dq") == found
    assert "JUMP_DET" in invoke("dq", rate).out.decode()


def test_counts_of_a_ramp(invoke, ramp):
    found = answer(invoke, ramp)
    assert set(found) == {"PIXELDQ", "GROUPDQ"}
    assert found["GROUPDQ"]["pixels"] == 2 * 4 * 24 * 40
    # Two dead pixels in the mask of the shared factory, in all groups of all integrations.
    assert found["GROUPDQ"]["flags"]["DO_NOT_USE"] == 2 * 8
    assert found["PIXELDQ"]["flags"]["DEAD"] == 2


def test_pixel_of_a_rate(invoke, rate):
    found = answer(invoke, rate, "--explain", "4,3")
    assert found["flags"]["DQ"][0]["names"] == ["DO_NOT_USE", "SATURATED"]
    assert found["values"]["SCI"] == [None]
    assert found["detector"] == [104, 203]
    found = answer(invoke, rate, "--explain", "6,5")
    assert found["flags"]["DQ"][0]["names"] == ["JUMP_DET"]
    assert found["values"]["SCI"][0] == pytest.approx(rate_planes()["SCI"][4, 5])
    text = invoke("dq", rate, "--explain", "4,3").out.decode()
    assert "detector 104,203" in text
    assert "not finite" in text


def test_pixel_of_a_ramp(invoke, ramp):
    found = answer(invoke, ramp, "--explain", "11,11")
    assert found["flags"]["PIXELDQ"][0]["names"] == ["DO_NOT_USE", "DEAD"]
    assert [len(g) for g in found["groups"]] == [4, 4]
    assert found["groups"][1][3]["flags"]["names"] == ["DO_NOT_USE"]
    text = invoke("dq", ramp, "--explain", "11,11").out.decode()
    assert text.count("group ") == 8


def test_pixel_of_a_reference_file_is_told_in_standard_flags(invoke, tmp_path):
    rows = np.array([(1, 2, "HOT")], [("BIT", "i4"), ("VALUE", "i4"), ("NAME", "S20")])
    dq = np.zeros((4, 4), "u1")
    dq[1, 2] = 2
    found = answer(
        invoke, write(tmp_path / "m.fits", {"DQ": dq}, tables={"DQ_DEF": rows}), "--explain", "3,2"
    )
    assert found["flags"]["DQ"][0]["names"] == ["HOT"]


def test_pixel_of_a_raw_exposure_has_no_flags(invoke, exposure):
    found = answer(invoke, exposure.uncal, "--explain", "16,16")
    assert "flags" not in found["groups"][0][0]
    # The factory plants a cosmic ray in integration 1 from group 4 on.
    values = [g["value"] for g in found["groups"][0]]
    assert values[3] - values[2] > 2500


@pytest.mark.parametrize("place", ["0,1", "31,1", "1,21", "-1,5"])
def test_pixel_outside(invoke, rate, place):
    done = invoke("dq", rate, f"--explain={place}")
    assert done.code == 3
    assert "outside" in done.err


def test_usage(invoke, rate, tmp_path):
    assert invoke("dq", rate, "--explain", "a,b").code == 2
    assert invoke("dq", tmp_path / "none.fits").code == 3
    done = invoke("dq", rate, "--plane", "SCI")
    assert done.code == 3
    assert "not an image of flags" in done.err
    done = invoke("dq", rate, "--plane", "NONE")
    assert done.code == 3
    assert "planes of flags: DQ" in done.err
    assert invoke("dq", write(tmp_path / "x.fits", {})).code == 3
    assert invoke("dq", write(tmp_path / "x.fits", {}), "--explain", "1,1").code == 3


def test_stream(jwcal, ramp):
    done = jwcal("dq", "--explain", "11,11", stdin=ramp.read_bytes())
    assert done.code == 0
    assert b"standard input: pixel 11,11" in done.out

"""Small simulated cases, made once."""

import pytest

from jwcal.simulate.expose import expose

CASES = {
    "nircam": {"detector": "NRCA3", "shape": (40, 64), "readpatt": "SHALLOW4", "zeroframe": True, "nints": 2},
    "niriss": {"instrument": "niriss", "subarray": "SUB64", "nints": 2},
    "fgs": {"detector": "GUIDER2", "subarray": "SUB32LL"},
    "nirspec": {"instrument": "nirspec", "subarray": "SUB32", "gain_factor": 1.43},
    "miri": {"instrument": "miri", "subarray": "SUB64", "nints": 2, "ngroups": 8},
}


@pytest.fixture(scope="session", params=CASES)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "case"
    given = {"ngroups": 4, "seed": 3, **CASES[request.param]}
    return folder, expose(folder, **given), given

"""Every product passes fitsverify without error or warning."""

import shutil
import subprocess

import pytest

fitsverify = shutil.which("fitsverify")


@pytest.mark.skipif(fitsverify is None, reason="fitsverify is not installed (a Debian package)")
@pytest.mark.parametrize("which", ["exposure", "miri"])
def test_products(which, request, invoke, tmp_path):
    given = request.getfixturevalue(which)
    ends = ["dq-init", "saturation", "linearity", "dark-current", "jump"]
    saves = [a for s in ends for a in ("--save-after", f"{s}:{tmp_path / s}.fits")]
    done = invoke(
        "run", "detector1", *given.args, "-o", tmp_path / "rate.fits", "--rateints", tmp_path / "rateints.fits",
        "--fitopt", tmp_path / "fitopt.fits", *saves,
    )  # fmt: skip
    assert done.code == 0, done.err
    made = sorted(tmp_path.glob("*.fits"))
    assert len(made) == len(ends) + 3
    for path in made:
        said = subprocess.run([fitsverify, "-q", str(path)], capture_output=True, text=True, check=False)
        assert said.stdout.startswith("verification OK"), said.stdout


@pytest.mark.skipif(fitsverify is None, reason="fitsverify is not installed (a Debian package)")
def test_it_would_tell(exposure, tmp_path):
    path = tmp_path / "bad.fits"
    path.write_bytes(exposure.uncal.read_bytes().replace(b"NINTS   =", b"nints   =", 1))
    said = subprocess.run([fitsverify, "-q", str(path)], capture_output=True, text=True, check=False)
    assert not said.stdout.startswith("verification OK")

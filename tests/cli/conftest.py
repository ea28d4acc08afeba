"""Files a test may spoil, and a product."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def case(exposure, tmp_path):
    """A copy of the exposure and its references that a test may spoil."""
    shutil.copytree(exposure.refs, tmp_path / "refs")
    shutil.copy(exposure.uncal, tmp_path / "x_uncal.fits")
    return type(exposure)(tmp_path / "x_uncal.fits", tmp_path / "refs")


@pytest.fixture(scope="session")
def rate(exposure, tmp_path_factory):
    """A rate product."""
    from jwcal.cli.main import root
    from jwcal.cli.runner import run as call

    path = tmp_path_factory.mktemp("rate") / "x_rate.fits"
    assert call(root, ["run", "detector1", *exposure.args, "-o", str(path), "-q"]) == 0
    return path

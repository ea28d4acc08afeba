"""Files beside the product: in its folder, never replaced unasked, and there only if the run succeeds."""

import numpy as np
import pytest

from jwcal.core.beside import Beside
from jwcal.core.errors import OutputError
from jwcal.core.exposure import Meta
from jwcal.core.header import Header


@pytest.fixture
def meta():
    primary = Header()
    primary.set("FILENAME", "jw1_nrca1_uncal.fits")
    return Meta(primary, Header(), "test")


def test_folder_of_the_first_file():
    assert Beside.of_outputs({"main": "-", "rateints": "some/where/x.fits"}, False, []).folder == "some/where"
    assert Beside.of_outputs({"main": None}, False, []).folder == ""


def test_files_appear_when_the_run_is_done(meta, tmp_path):
    fits, asdf = pytest.importorskip("astropy.io.fits"), pytest.importorskip("asdf")
    waiting: list = []
    beside = Beside(str(tmp_path), False, waiting)
    image = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    beside.image(meta, "mask", image, "step")
    beside.tree(meta, "waves", {"period": 3, "samples": np.ones(5)}, "step")
    made = [tmp_path / "jw1_nrca1_mask.fits", tmp_path / "jw1_nrca1_waves.asdf"]
    assert not any(path.exists() for path in made)
    for out in waiting:
        out.commit()
    assert sorted(tmp_path.iterdir()) == made
    with fits.open(made[0]) as hdus:
        assert hdus[0].header["FILENAME"] == made[0].name
        assert hdus[0].header["DATAMODL"] == "CubeModel"
        np.testing.assert_array_equal(hdus["SCI"].data, image)
    with asdf.open(made[1]) as file:
        assert file["period"] == 3
    with pytest.raises(OutputError, match="exists already"):
        beside.image(meta, "mask", image, "step")
    with pytest.raises(OutputError, match="exists already"):
        beside.tree(meta, "waves", {}, "step")


def test_nothing_is_left_of_a_failed_run(meta, tmp_path):
    pytest.importorskip("asdf")
    waiting: list = []
    beside = Beside(str(tmp_path), True, waiting)
    beside.image(meta, "mask", np.zeros((2, 2)), "step")
    beside.tree(meta, "waves", {}, "step")
    for out in waiting:
        out.abort()
    assert list(tmp_path.iterdir()) == []


def test_replaced_when_asked_to(meta, tmp_path):
    path = tmp_path / "jw1_nrca1_mask.fits"
    path.write_text("old")
    waiting: list = []
    Beside(str(tmp_path), True, waiting).image(meta, "mask", np.zeros((2, 2)), "step")
    assert path.read_text() == "old"
    waiting[0].commit()
    assert path.read_bytes().startswith(b"SIMPLE")


def test_a_folder_must_be_there(meta, tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        Beside(str(tmp_path / "none")).image(meta, "mask", np.zeros((2, 2)), "step")

"""Filters for the side reference pixels: what they let through comes off every line of their output."""

import numpy as np
import pytest

from jwcal.core.errors import ReferenceFileError
from jwcal.detector1.refpix.sirs import read_kernels, side_templates
from jwcal.detector1.refpix.step import refpix
from tests.detector1.refpix.test_step import border, exposure, to_detector

asdf = pytest.importorskip("asdf")
FLAT = np.full((4, 1025), 0.5)


@pytest.fixture
def kernels(tmp_path):
    """Write a SIRSKERNEL reference; keywords are detectors and their (gamma, zeta)."""

    def write(**detectors):
        tree = {"meta": {"reftype": "sirskernel"}}
        for name, (gamma, zeta) in detectors.items():
            tree[name] = {"gamma": np.asarray(gamma), "zeta": np.asarray(zeta)}
        path = tmp_path / "sirskernel.asdf"
        asdf.AsdfFile(tree).write_to(path)
        return str(path)

    return write


def opened(path):
    from jwcal.core.reference import ReferenceFile

    return ReferenceFile("sirskernel", path)


def test_flat_coefficients_are_a_kernel_of_one_line(kernels):
    ref = opened(kernels(nrca1=(FLAT, 2 * FLAT)))
    made = read_kernels(ref, "NRCA1", 3, 0.0)
    assert made.shape == (2, 4, 7)
    np.testing.assert_allclose(made[0], np.tile([0, 0, 0, 0.5, 0, 0, 0], (4, 1)), atol=1e-15)
    np.testing.assert_allclose(made[1], 2 * made[0], atol=1e-15)
    smooth = read_kernels(ref, "NRCA1", 30, 2.0)
    np.testing.assert_allclose(smooth[0].sum(axis=1), 0.5)
    assert smooth[0, 0, 30] / smooth[0, 0, 32] == pytest.approx(np.exp(0.5))
    assert read_kernels(ref, "NRCA2", 3, 1.0) is None


@pytest.mark.parametrize(
    ("gamma", "halfwidth", "message"),
    [(FLAT[:3], 30, r"shape \(3, 1025\)"), (FLAT[0], 30, "one row"), (FLAT[:, :20], 30, "too few")],
)
def test_coefficients_of_another_form_are_refused(kernels, gamma, halfwidth, message):
    with pytest.raises(ReferenceFileError, match=message):
        read_kernels(opened(kernels(nrca1=(gamma, FLAT))), "NRCA1", halfwidth, 1.0)


def test_outliers_and_nan_do_not_reach_the_template():
    rng = np.random.default_rng(1)
    left, right = rng.normal(0, 1, (2, 2048, 4)) + 10 * np.sin(np.arange(2048) / 200)[:, None]
    delta = np.zeros((2, 4, 5))
    delta[:, :, 2] = 0.5
    clean = side_templates(left, right, delta, 4.0)
    np.testing.assert_allclose(clean[0], (left.mean(axis=1) + right.mean(axis=1)) / 2)
    np.testing.assert_array_equal(clean, np.broadcast_to(clean[0], clean.shape))
    left[100, 2], right[200, 1] = 1e5, np.nan
    hit = side_templates(left, right, delta, 4.0)
    assert np.abs(hit - clean).max() < 2
    np.testing.assert_allclose(hit[0, 100], left[100, [0, 1, 3]].mean() / 2 + right[100].mean() / 2)


@pytest.mark.parametrize(("axes", "detector"), [((-1, 2), "NRCA1"), ((-2, -1), "NIS")])
def test_noise_of_the_lines_comes_off_each_output_by_its_own_kernel(kernels, axes, detector):
    rng = np.random.default_rng(2)
    walk = np.cumsum(rng.normal(0, 1, (2, 2048)), axis=1)
    walk -= walk.mean(axis=1, keepdims=True)
    # What the outputs share, but each with another strength.
    strength = np.array([1.0, 0.5, 2.0, 1.0])
    sci = np.zeros((1, 2, 2048, 2048), np.float32)
    for g in range(2):
        to_detector(sci[0, g], axes)[...] = walk[g][:, None] * strength.repeat(512)
    # The side pixels are those of the first and the last output, both of strength 1.
    half = FLAT * strength[:, None]
    path = kernels(**{detector.lower(): (half, half)})
    options = {"refpix_algorithm": "sirs", "sigreject": 100.0, "gaussmooth": 0.01}
    inner = np.s_[0, :, 8:-8, 8:-8]
    outs = []
    for jobs in (1, 2):
        zero = sci[:, 0].copy()
        zero[0, 100, 100] = 0
        out = refpix(
            exposure(sci.copy(), border(), detector, zero), refs={"sirskernel": path}, jobs=jobs, **options
        )
        outs.append(out)
        assert out["ZEROFRAME"][0, 100, 100] == 0
        np.testing.assert_allclose(out["ZEROFRAME"][0, 8:-8, 200], out["SCI"][0, 0, 8:-8, 200], atol=1e-4)
    np.testing.assert_array_equal(outs[0]["SCI"], outs[1]["SCI"])
    assert sci[inner].std() > 10
    # Means at both ends of each output differ from zero: a level of the whole output stays.
    left = outs[0]["SCI"][0]
    for g in range(2):
        by_output = to_detector(left[g], axes)[8:-8].reshape(2032, 4, 512)
        assert (by_output[:, :, 8:-8].std(axis=0) < 1e-3 * walk.std()).all()
    assert outs[0].meta["R_SIRSKL"] == "sirskernel.asdf"


def test_without_kernels_the_running_median_is_used(kernels, caplog):
    sci = np.zeros((1, 1, 2048, 2048), np.float32) + (np.arange(2048, dtype=np.float32) % 7)[:, None]
    plain = refpix(exposure(sci.copy(), border(), "NRCA1"))["SCI"]
    out = refpix(exposure(sci.copy(), border(), "NRCA1"), refpix_algorithm="sirs")
    np.testing.assert_array_equal(out["SCI"], plain)
    assert "no SIRSKERNEL reference" in caplog.text
    path = kernels(nrcb1=(FLAT, FLAT))
    out = refpix(exposure(sci.copy(), border(), "NRCA1"), refs={"sirskernel": path}, refpix_algorithm="sirs")
    np.testing.assert_array_equal(out["SCI"], plain)
    assert "it is for full frames" not in caplog.text
    refpix(
        exposure(sci[..., :256, :].copy(), border((256, 2048)), "NRCA1", SUBARRAY="SUB"),
        refs={"sirskernel": path},
        refpix_algorithm="sirs",
    )
    assert "it is for full frames" in caplog.text

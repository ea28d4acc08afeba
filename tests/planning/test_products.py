import pytest

from jwcal.planning.model import Detector, Exposure
from jwcal.planning.prediction import Prediction
from tests.planning.modes import (
    LONG,
    NIS,
    dithered,
    images,
    mrs,
    names,
    nirspec,
    observation,
    program,
    slitless,
    soss,
    with_star,
)

STEM = "jw01234001001_02101_00001_nrcalong"


def one(exp_type="NRC_IMAGE", template="NircamImaging", detector=LONG, instrument="NIRCAM", **more):
    return observation(
        1, template, dithered(1, instrument, exp_type, (detector,), **more), target=more.get("target", 1)
    )


def test_image():
    assert names(one()) == {
        *(f"{STEM}_{end}.fits" for end in ("uncal", "rate", "rateints", "cal", "i2d", "o001_crf")),
        *(f"jw01234-o001_t001_nircam_clear-f277w_{end}" for end in ("i2d.fits", "cat.ecsv", "segm.fits")),
    }


def test_dark_has_a_ramp_and_no_slopes():
    dark = observation(
        1, "NircamDark", [Exposure("NIRCAM", "NRC_DARK", "T", (LONG,), "FULL", "RAPID", 5, 1)], target=0
    )
    found = Prediction(program(dark)).products
    assert {each.name for each in found} == {f"{STEM}_uncal.fits", f"{STEM}_dark.fits"}


def test_wavefront_sensing():
    pair = observation(
        1,
        "WfscFinePhasing",
        dithered(2, "NIRCAM", "NRC_IMAGE", (LONG,), pattern="WFSC", activity="0a", target=3),
        target=3,
    )
    found = names(pair)
    assert "jw01234-o001_t003_nircam_clear-f277w-nrcalong_wfscmb-0a.fits" in found
    assert not any(name.endswith("_i2d.fits") for name in found)


def test_coronagraphy():
    found = names(*with_star("NRC_CORON", "NircamCoron", LONG, "NIRCAM", "SUB320A335R"))
    science, star = "jw01234010001_02101_00001_nrcalong", "jw01234011001_02101_00001_nrcalong"
    combined = "jw01234-c1000_t001_nircam_clear-f277w-sub320a335r"
    assert {name for name in found if "c1000" in name} == {
        f"{combined}_i2d.fits", f"{combined}_psfstack.fits",
        f"{science}_c1000_crfints.fits", f"{star}_c1000_crfints.fits",
        f"{science}_c1000_psfalign.fits", f"{science}_c1000_psfsub.fits",
    }  # fmt: skip
    assert {f"{science}_calints.fits", f"{star}_calints.fits"} <= found
    assert f"{science}_cal.fits" not in found


def test_interferometry():
    found = names(*with_star("NIS_AMI", "NirissAmi", NIS, "NIRISS", "SUB80"), stage=3)
    assert found == {
        "jw01234010001_02101_00001_nis_c1000_ami-oi.fits",
        "jw01234011001_02101_00001_nis_c1000_psf-ami-oi.fits",
        "jw01234-c1000_t001_niriss_clear-f200w-sub80_aminorm-oi.fits",
    }


def test_time_series_in_segments():
    found = Prediction(program(soss()))
    stems = [f"jw01234009001_04101_00001-seg{n:03d}_nis" for n in (1, 2, 3)]
    raws = [raw for raw in found.raws if raw.exp_type == "NIS_SOSS"]
    # So many files the archive has of the same exposure of program 2734.
    assert [raw.name for raw in raws] == [f"{stem}_uncal.fits" for stem in stems]
    assert sum(raw.nints for raw in raws) == 280
    assert all("estimate" in raw.sure for raw in raws)
    mine = {each.name for each in found.products if "_gs-" not in each.name}
    for stem in stems:
        assert {
            f"{stem}_{end}.fits" for end in ("rate", "rateints", "calints", "x1dints", "o009_crfints")
        } <= mine
    combined = "jw01234-o009_t003_niriss_clear-gr700xd-substrip256"
    assert {f"{combined}_x1dints.fits", f"{combined}_whtlt.ecsv"} <= mine
    assert "jw01234009001_02101_00001-seg001_nis_cal.fits" in mine


def test_large_time_series_of_nirspec():
    # 70 groups, 465 integrations: program 1366 has three files of each detector.
    detectors = [
        Detector(name, "F290LP", grating="G395H", rows=32, columns=2048) for name in ("NRS1", "NRS2")
    ]
    exposures = dithered(
        1, "NIRSPEC", "NRS_BRIGHTOBJ", detectors, ngroups=70, nints=465, tso=True, subarray="SUB2048"
    )
    found = Prediction(program(observation(3, "NirspecBrightObject", exposures)))
    assert [(raw.segment, raw.nints) for raw in found.raws] == 2 * [(1, 155), (2, 155), (3, 155)]


def test_a_short_time_series_is_the_first_segment():
    # As jw02734001001_02101_00001-seg001_nis_uncal.fits, an acquisition.
    assert names(soss(nints=50), stage=0) == {
        f"jw01234009001_{part}_00001-seg001_nis_uncal.fits" for part in ("02101", "04101")
    }
    assert not any("-seg" in name for name in names(images(1)))


def test_slitless_star_that_is_no_time_series():
    strip = Detector("NIS", "CLEAR", "GR700XD", rows=256, columns=2048)
    found = names(one("NIS_SOSS", "NirissSoss", strip, "NIRISS", subarray="SUBSTRIP256", nints=4), stage=3)
    assert found == {
        f"jw01234-o001_t001_niriss_clear-gr700xd-substrip256_{end}.fits" for end in ("x1d", "c1d")
    }


def test_time_series_of_images():
    series = one("NRC_TSIMAGE", "NircamTimeSeries", nints=4, tso=True, subarray="SUB64P")
    assert names(series, stage=3) == {
        STEM.replace("_nrc", "-seg001_nrc") + "_o001_crfints.fits",
        "jw01234-o001_t001_nircam_clear-f277w-sub64p_phot.ecsv",
    }  # fmt: skip


def test_cubes_of_channels_and_bands():
    found = names(mrs(2, 1), stage=3)
    parts = {f"ch{channel}-{band}" for channel in "1234" for band in ("short", "long")}
    assert {name for name in found if "-o002_t001" in name} == {
        f"jw01234-o002_t001_miri_{part}_{end}.fits" for part in parts for end in ("s3d", "x1d")
    }
    assert "jw01234002001_02102_00002_mirifulong_o002_crf.fits" in found


def test_cubes_of_gratings():
    # As jw01373-o019_t001_nirspec_g395h-f290lp_x1d.fits of flight.
    found = names(nirspec(19, "NRS_IFU", "G395H", "F290LP", opmode="IFU"), stage=3)
    assert "jw01234-o019_t001_nirspec_g395h-f290lp_x1d.fits" in found
    assert "jw01234-o019_t001_nirspec_g395h-f290lp_s3d.fits" in found


@pytest.mark.parametrize(
    ("subarray", "slits"),
    [
        ("SUBS200A1", ["s000000001_nirspec_f100lp-g140m-s200a1-subs200a1"]),
        ("FULL", [
            "s000000001_nirspec_f100lp-g140m-s200a1", "s000000012_nirspec_f100lp-g140m-s200a2",
            "s000000013_nirspec_f100lp-g140m-s400a1", "s000000014_nirspec_f100lp-g140m-s1600a1",
        ]),
    ],
)  # fmt: skip
def test_fixed_slits(subarray, slits):
    slit = nirspec(
        5, "NRS_FIXEDSLIT", fxd_slit="S200A1", opmode="FIXEDSLIT", subarray=subarray, readpatt="NRSRAPID"
    )
    assert names(slit, stage=3) == {
        f"jw01234-o005_t001-{part}_{end}.fits" for part in slits for end in ("cal", "crf", "s2d", "x1d")
    }


def test_sources_of_the_msa():
    mos = nirspec(7, "NRS_MSASPEC", msa_config="a", opmode="MSASPEC")
    known = names(mos, stage=3, sources={7: ["b000000002", "s000012345"]})
    assert known == {
        f"jw01234-o007_{source}_nirspec_f100lp-g140m_{end}.fits"
        for source in ("b000000002", "s000012345")
        for end in ("cal", "crf", "s2d", "x1d")
    }
    patterns = [each for each in Prediction(program(mos)).products if each.stage == 3]
    assert {each.name for each in patterns} == {
        f"jw01234-o007_*_nirspec_f100lp-g140m_{end}.fits" for end in ("cal", "crf", "s2d", "x1d")
    }
    assert all(each.count is None and "--msa" in each.note for each in patterns)


def test_slitless_spectra():
    found = names(slitless())
    assert {
        "jw01234-o012_t001_niriss_f200w-gr150r_x1d.fits",
        "jw01234-o012_t001_niriss_f200w-gr150r_c1d.fits",
    } <= found
    assert {f"jw01234012001_02102_00002_nis_{end}.fits" for end in ("cal", "x1d")} <= found
    assert "jw01234-o012_t001_niriss_clear-f200w_cat.ecsv" in found


def test_slit_of_miri():
    lrs = Detector("MIRIMAGE", "P750L", rows=1024, columns=1032)
    nods = observation(
        1, "MiriLRS", dithered(2, "MIRI", "MIR_LRS-FIXEDSLIT", (lrs,), pattern="ALONG-SLIT-NOD")
    )
    found = names(nods)
    assert {"jw01234-o001_t001_miri_p750l_s2d.fits", "jw01234-o001_t001_miri_p750l_x1d.fits"} <= found
    assert {
        f"jw01234001001_02101_00002_mirimage_{end}.fits" for end in ("cal", "s2d", "x1d", "o001_crf")
    } <= found


@pytest.mark.parametrize(("lamp", "mode", "ends"), [("LINE1", "IFU", {"cal", "s3d", "x1d"}),
                                                     ("LINE1", "FIXEDSLIT", {"cal", "s2d", "x1d"}),
                                                     ("FLAT1", "IFU", {"cal"})])  # fmt: skip
def test_lamps(lamp, mode, ends):
    exposures = nirspec(
        1, "NRS_LAMP", filters="OPAQUE", lamp=lamp, opmode=mode, points=1, readpatt="NRSRAPID"
    )
    assert {name.split("_nrs1_")[1] for name in names(exposures, stage=2) if "_nrs1_" in name} == {
        f"{end}.fits" for end in ends
    }


def test_names_stand_once_and_costs_once_a_run():
    found = Prediction(program(mrs(2, 1, backgrounds=(3,)), mrs(3, 2, is_background=True)))
    listed = [each.name for each in found.products]
    assert len(set(listed)) == len(listed)
    rates = {each.name: each for each in found.products if each.suffix == "rateints"}
    assert all(
        each.run == each.name.replace("rateints", "rate") and each.cpu is None for each in rates.values()
    )
    assert all(each.cpu for each in found.products if each.suffix == "rate")
    combined = [each for each in found.products if "-c1000_" in each.name]
    assert combined
    assert all("numbers candidates" in each.note for each in combined)


def test_guiding_is_a_pattern_of_every_visit_with_a_target():
    guiding = {each.name: each for each in Prediction(program(images())).products if "_gs-" in each.name}
    assert "jw01234001001_gs-id_*_image-uncal.fits" in guiding
    assert "jw01234001001_gs-fg_*_cal.fits" in guiding
    assert all(each.count is None and each.size is None and each.note for each in guiding.values())


def test_whole_program_only_when_asked():
    two = (images(1), images(2))
    assert not any("-a3001" in name for name in names(*two))
    assert "jw01234-a3001_t001_nircam_clear-f277w_i2d.fits" in names(*two, discover=True)


# What make_output_path of the pipelines of jwst 3.0.0 gives for these products, members and suffixes.
OFFICIAL = {
    "image": """
        jw01234001001_02101_00001_nrcalong_cal.fits jw01234001001_02101_00001_nrcalong_i2d.fits
        jw01234-o001_t001_nircam_clear-f277w_i2d.fits jw01234-o001_t001_nircam_clear-f277w_segm.fits
        jw01234-o001_t001_nircam_clear-f277w_cat.ecsv jw01234001001_02101_00001_nrcalong_o001_crf.fits""",
    "coronagraph": """
        jw01234-c1000_t001_nircam_clear-f277w-sub320a335r_i2d.fits
        jw01234-c1000_t001_nircam_clear-f277w-sub320a335r_psfstack.fits
        jw01234010001_02101_00001_nrcalong_c1000_crfints.fits
        jw01234010001_02101_00001_nrcalong_c1000_psfalign.fits
        jw01234010001_02101_00001_nrcalong_c1000_psfsub.fits
        jw01234011001_02101_00001_nrcalong_c1000_crfints.fits""",
    "interferometry": """
        jw01234-c1000_t001_niriss_clear-f200w-sub80_aminorm-oi.fits
        jw01234010001_02101_00001_nis_c1000_ami-oi.fits jw01234011001_02101_00001_nis_c1000_psf-ami-oi.fits""",
    "time series": """
        jw01234-o009_t003_niriss_clear-gr700xd-substrip256_x1dints.fits
        jw01234-o009_t003_niriss_clear-gr700xd-substrip256_whtlt.ecsv
        jw01234009001_04101_00001-seg001_nis_o009_crfints.fits""",
    "cubes": """
        jw01234002001_02101_00001_mirifulong_cal.fits jw01234002001_02101_00001_mirifulong_s3d.fits
        jw01234002001_02101_00001_mirifulong_x1d.fits jw01234-o002_t001_miri_ch1-short_x1d.fits
        jw01234-o002_t001_miri_ch1-long_x1d.fits jw01234-o002_t001_miri_ch4-short_x1d.fits""",
    "sources": """
        jw01234-o007_s000012345_nirspec_f100lp-g140m_cal.fits jw01234-o007_s000012345_nirspec_f100lp-g140m_crf.fits
        jw01234-o007_s000012345_nirspec_f100lp-g140m_s2d.fits jw01234-o007_s000012345_nirspec_f100lp-g140m_x1d.fits
        """,
}


@pytest.mark.parametrize("kind", OFFICIAL)
def test_names_are_those_of_the_official_pipelines(kind):
    made = {
        "image": lambda: [one()],
        "coronagraph": lambda: with_star("NRC_CORON", "NircamCoron", LONG, "NIRCAM", "SUB320A335R"),
        "interferometry": lambda: with_star("NIS_AMI", "NirissAmi", NIS, "NIRISS", "SUB80"),
        "time series": lambda: [soss()],
        "cubes": lambda: [mrs(2, 1)],
        "sources": lambda: [nirspec(7, "NRS_MSASPEC", msa_config="a", opmode="MSASPEC")],
    }
    found = names(*made[kind](), sources={7: ["s000012345"]})
    assert set(OFFICIAL[kind].split()) - found == set()

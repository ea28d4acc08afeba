"""The cases of the parity suite: exposures by the neutral case maker, some re-labelled.

The neutral case maker knows NIRCam and MIRI.  Pixels and references are what a detector step sees, so the
other instruments are made by renaming a NIRCam case and giving it the orientation and the subarray
of the instrument; the references are renamed with it.  More are made by jwcal's own simulator.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field

from tests.parity.events import add_events
from tests.parity.irs2 import interleave
from tests.parity.sirs import write_kernels
from tests.parity.soss import write_references
from tests.parity.stripes import cut

PROGRAM = [sys.executable, "-c", "from jwcal.cli.main import main; main()"]
NIR_STEPS = (
    "group_scale dq_init saturation ipc superbias refpix linearity dark_current charge_migration jump "
    "picture_frame clean_flicker_noise persistence"
).split()
MIRI_STEPS = (
    "group_scale dq_init emicorr saturation ipc firstframe lastframe reset linearity rscd dark_current "
    "refpix charge_migration jump picture_frame clean_flicker_noise persistence"
).split()
BUILT = frozenset(
    "group_scale dq_init saturation ipc superbias refpix firstframe lastframe reset linearity rscd "
    "dark_current jump clean_flicker_noise emicorr picture_frame charge_migration persistence".split()
)

NIRISS = {
    "INSTRUME": "NIRISS",
    "DETECTOR": "NIS",
    "READPATT": "NISRAPID",
    "EXP_TYPE": "NIS_IMAGE",
    "FILTER": "CLEAR",
    "PUPIL": "F200W",
    "FASTAXIS": -2,
    "SLOWAXIS": -1,
    "CHANNEL": None,
    "MODULE": None,
}
SOSS = NIRISS | {"EXP_TYPE": "NIS_SOSS", "PUPIL": "GR700XD"}
FGS = {
    "INSTRUME": "FGS",
    "DETECTOR": "GUIDER2",
    "EXP_TYPE": "FGS_IMAGE",
    "FASTAXIS": 2,
    "SLOWAXIS": -1,
    "FILTER": None,
    "PUPIL": None,
    "CHANNEL": None,
    "MODULE": None,
    "READPATT": "FGSRAPID",
}
NIRSPEC = {
    "INSTRUME": "NIRSPEC",
    "EXP_TYPE": "NRS_FIXEDSLIT",
    "FILTER": "F170LP",
    "GRATING": "G235H",
    "PUPIL": None,
    "CHANNEL": None,
    "MODULE": None,
    "READPATT": "NRSRAPID",
}
NRS1 = NIRSPEC | {"DETECTOR": "NRS1", "FASTAXIS": 2, "SLOWAXIS": 1}
NRS2 = NIRSPEC | {"DETECTOR": "NRS2", "FASTAXIS": -2, "SLOWAXIS": -1}

SUPERSTRIPES = {"MSTR_SK1": 0, "MSTR_SK2": 0, "MSTR_RPT": 1, "MSTR_ILV": 0}
STRIPE_STEPS = ("dq_init", "saturation", "superbias", "refpix", "linearity", "dark_current", "jump")


@dataclass(frozen=True)
class Case:
    """One exposure and how to calibrate it.

    Attributes
    ----------
    name : str
        Name of the case.
    make : str
        Arguments of make_case.py, or after "sim" those of ``jwcal sim expose``.
    keys : dict
        Keywords changed in the exposure and, where they have them, in the references.
    only : dict
        Keywords changed in the exposure alone.
    refkeys : dict
        Reference type to keywords of that file.
    set : dict
        Parameters, step.parameter to value, for both packages.
    steps : tuple
        Steps whose output is compared.
    ipc : bool
        Give the case an IPC kernel.
    segment : int or None
        Which segment of a simulated exposure, from 0.
    status : dict
        Status keywords in which jwcal means to differ.
    irs2 : int or None
        Make the case one of the interleaved readout; seed of what is added.
    events : str
        "snowballs" or "showers" to put in, if any.
    """

    name: str
    make: str
    keys: dict = field(default_factory=dict)
    only: dict = field(default_factory=dict)
    refkeys: dict = field(default_factory=dict)
    set: dict = field(default_factory=dict)
    steps: tuple = tuple(NIR_STEPS)
    ipc: bool = False
    segment: int | None = None
    status: dict = field(default_factory=dict)
    irs2: int | None = field(default=None, repr=False)
    stripes: bool = field(default=False, repr=False)
    sirs: int | None = field(default=None, repr=False)
    soss: bool = field(default=False, repr=False)
    events: str = ""


SMALL = "--shape 128 128 --cr-fraction 0.05 --star-density 2e-3"
MIRI = "--instrument miri --shape 256 256 --cr-fraction 0.05"

CASES = [
    Case("nircam", f"{SMALL} --nints 2 --ngroups 10 --seed 3"),
    Case("nircam-long", f"{SMALL} --nints 1 --ngroups 30 --seed 4"),
    Case("nircam-clip", "--shape 64 64 --cr-fraction 0.05 --nints 1 --ngroups 110 --seed 5"),
    Case("one-group", f"{SMALL} --nints 2 --ngroups 1 --seed 6"),
    Case(
        "one-group-kept",
        f"{SMALL} --nints 2 --ngroups 1 --seed 6",
        set={"ramp_fit.suppress_one_group": False},
    ),
    Case("two-groups", f"{SMALL} --nints 3 --ngroups 2 --seed 7"),
    Case("three-groups", f"{SMALL} --nints 3 --ngroups 3 --seed 8"),
    Case("four-groups", f"{SMALL} --nints 2 --ngroups 4 --seed 9"),
    Case("five-groups", f"{SMALL} --nints 2 --ngroups 5 --seed 10"),
    Case("saturated", f"{SMALL} --nints 2 --ngroups 8 --seed 11 --rate-scale 300"),
    Case(
        "saturated-kept",
        f"{SMALL} --nints 2 --ngroups 8 --seed 11 --rate-scale 300",
        set={"ramp_fit.suppress_one_group": False},
    ),
    Case(
        "zeroframe",
        f"{SMALL} --nints 2 --ngroups 6 --readpatt BRIGHT2 --zeroframe --rate-scale 150 --seed 12",
        set={"ramp_fit.suppress_one_group": False},
    ),
    Case("averaged", f"{SMALL} --nints 2 --ngroups 6 --readpatt SHALLOW4 --seed 13"),
    Case("averaged-bright", f"{SMALL} --nints 1 --ngroups 5 --readpatt MEDIUM8 --rate-scale 60 --seed 14"),
    Case("group-scale", f"{SMALL} --nints 1 --ngroups 6 --readpatt SHALLOW4 --seed 15", only={"FRMDIVSR": 2}),
    Case(
        "segment",
        f"{SMALL} --nints 2 --ngroups 6 --seed 16",
        only={"INTSTART": 5, "INTEND": 6, "NINTS": 8, "EXSEGNUM": 3, "EXSEGTOT": 4, "TSOVISIT": True},
    ),
    Case(
        "jump-options",
        f"{SMALL} --nints 2 --ngroups 10 --seed 17",
        set={
            "jump.rejection_threshold": 3.0,
            "jump.flag_4_neighbors": False,
            "jump.after_jump_flag_dn1": 200.0,
            "jump.after_jump_flag_time1": 5.0,
            "jump.after_jump_flag_dn2": 800.0,
            "jump.after_jump_flag_time2": 10.0,
        },
    ),
    Case(
        "groups-cut",
        f"{SMALL} --nints 2 --ngroups 10 --seed 18",
        set={"ramp_fit.firstgroup": 2, "ramp_fit.lastgroup": 7},
    ),
    Case(
        "likely",
        f"{SMALL} --nints 3 --ngroups 10 --seed 31 --rate-scale 20",
        set={"ramp_fit.algorithm": "LIKELY", "ramp_fit.save_opt": True},
        steps=("jump",),
    ),
    Case(
        "likely-averaged",
        f"{SMALL} --nints 2 --ngroups 6 --readpatt SHALLOW4 --zeroframe --seed 32",
        set={"ramp_fit.algorithm": "LIKELY", "jump.skip": True, "ramp_fit.lastgroup": 4},
        steps=("dark_current",),
    ),
    Case(
        "likely-miri",
        "--instrument miri --shape 128 128 --cr-fraction 0.05 --nints 1 --ngroups 30 --seed 33",
        set={"ramp_fit.algorithm": "LIKELY"},
        steps=("jump",),
    ),
    Case("grow-two", f"{SMALL} --nints 2 --ngroups 10 --seed 19", set={"saturation.n_pix_grow_sat": 2}),
    Case("ipc", f"{SMALL} --nints 2 --ngroups 5 --seed 30", set={"ipc.skip": False}, ipc=True),
    Case(
        "niriss-sub",
        f"{SMALL} --corner 1921 1921 --nints 2 --ngroups 6 --seed 20",
        keys=NIRISS | {"SUBARRAY": "SUB128"},
    ),
    Case(
        "niriss-strip",
        "--shape 96 512 --corner 1537 1953 --nints 3 --ngroups 5 --seed 21",
        keys=NIRISS | {"SUBARRAY": "SUBSTRIP96", "EXP_TYPE": "NIS_SOSS", "PUPIL": "GR700XD"},
    ),
    Case(
        "nrcb1-sub",
        f"{SMALL} --corner 1 1921 --nints 1 --ngroups 6 --seed 22",
        keys={"DETECTOR": "NRCB1", "MODULE": "B", "FASTAXIS": 1, "SLOWAXIS": -2},
    ),
    Case("fgs-sub", f"{SMALL} --nints 1 --ngroups 6 --seed 23", keys=FGS | {"SUBARRAY": "SUB128LL"}),
    Case(
        "nirspec-512",
        "--shape 32 512 --corner 513 993 --nints 2 --ngroups 6 --seed 24",
        keys=NRS1 | {"SUBARRAY": "SUB512"},
        refkeys={"gain": {"GAINFACT": 1.97}},
    ),
    Case(
        "nirspec-allslits",
        "--shape 256 512 --corner 1 897 --nints 1 --ngroups 5 --seed 25",
        keys=NRS2 | {"SUBARRAY": "SUBS200A1"},
        refkeys={"gain": {"GAINFACT": 1.6}},
    ),
    Case(
        "snowballs",
        f"{SMALL} --nints 3 --ngroups 6 --seed 33",
        events="snowballs",
        set={
            "jump.expand_large_events": True,
            "jump.snowball_time_masked_next_int": 40,
            "jump.edge_size": 12,
            "persistence.skip": False,
            "persistence.persistence_time": 60,
            "persistence.dn_threshold": 20000.0,
            "persistence.persistence_dnu": True,
        },
    ),
    Case(
        "showers",
        f"{MIRI} --nints 2 --ngroups 12 --seed 34",
        steps=tuple(MIRI_STEPS),
        events="showers",
        set={"jump.find_showers": True, "jump.time_masked_after_shower": 30.0},
    ),
    Case(
        "charge-migration",
        f"{SMALL} --corner 1921 1921 --nints 2 --ngroups 8 --seed 35 --rate-scale 150",
        keys=NIRISS | {"SUBARRAY": "SUB128"},
        set={
            "charge_migration.skip": False,
            "charge_migration.signal_threshold": 16000.0,
            "persistence.skip": False,
            "persistence.persistence_time": 30,
        },
    ),
    Case("miri", f"{MIRI} --nints 3 --ngroups 12 --seed 3", steps=tuple(MIRI_STEPS)),
    Case("miri-short", f"{MIRI} --nints 2 --ngroups 5 --seed 4", steps=tuple(MIRI_STEPS)),
    Case("miri-two-groups", f"{MIRI} --nints 2 --ngroups 2 --seed 5", steps=tuple(MIRI_STEPS)),
    Case(
        "miri-three-groups",
        f"{MIRI} --nints 2 --ngroups 3 --seed 6",
        steps=tuple(MIRI_STEPS),
        # Too few groups are usable, nothing is searched; the official status says COMPLETE all the same.
        status={"S_JUMP": "SKIPPED"},
    ),
    Case(
        "miri-segment",
        f"{MIRI} --nints 2 --ngroups 10 --seed 7",
        steps=tuple(MIRI_STEPS),
        only={"INTSTART": 3, "INTEND": 4, "NINTS": 6, "EXSEGNUM": 2, "EXSEGTOT": 3, "TSOVISIT": True},
    ),
    Case("miri-bright", f"{MIRI} --nints 2 --ngroups 10 --seed 8 --rate-scale 60", steps=tuple(MIRI_STEPS)),
    Case(
        "miri-firstframe",
        f"{MIRI} --nints 2 --ngroups 8 --seed 9 --rate-scale 60",
        steps=tuple(MIRI_STEPS),
        set={"firstframe.skip": False, "firstframe.bright_use_group1": False},
    ),
    Case("miri-full", "--instrument miri --nints 2 --ngroups 6 --seed 10", steps=("rscd", "refpix", "jump")),
    Case("nircam-full", "--nints 1 --ngroups 3 --seed 26", steps=("saturation", "refpix", "jump")),
    Case(
        "niriss-full",
        "--nints 1 --ngroups 2 --seed 27",
        keys=NIRISS,
        steps=("refpix",),
    ),
    Case(
        "nirspec-full",
        "--nints 1 --ngroups 2 --seed 28",
        keys=NRS1 | {"SUBARRAY": "FULL"},
        steps=("refpix", "picture_frame"),
        set={
            "refpix.odd_even_columns": False,
            "picture_frame.skip": False,
            "picture_frame.mask_science_regions": False,
            "picture_frame.n_sigma": 1.5,
        },
    ),
    Case(
        "nircam-stripes",
        "--nints 1 --ngroups 4 --seed 34",
        keys={"DETECTOR": "NRCB1", "MODULE": "B", "FASTAXIS": 1, "SLOWAXIS": -2},
        only={
            "SUBARRAY": "SUB164STRIPE4_DHS",
            "SUBSTRT2": 2048,
            "SUBSIZE2": 164,
            "MSTR_RD1": 1,
            "MSTR_SK1": 300,
            "MSTR_RD2": 40,
            "MSTR_SK2": 200,
            "MSTR_RPT": 1,
            "MSTR_ILV": 1,
            "SSTR_NST": 0,
            "SSTR_STP": 0,
        },
        steps=("dq_init", "saturation", "superbias", "refpix", "linearity", "dark_current", "jump"),
        stripes=True,
    ),
    Case(
        "nircam-superstripes",
        "--shape 2048 96 --corner 465 1 --nints 2 --ngroups 4 --readpatt SHALLOW4 --zeroframe --rate-scale 60 --seed 36",
        keys={"DETECTOR": "NRCB1", "MODULE": "B", "FASTAXIS": 1, "SLOWAXIS": -2},
        only=SUPERSTRIPES
        | {"SUBARRAY": "FULL_SUPSTP120", "SUBSTRT2": 2048, "SUBSIZE2": 124, "SLOWAXIS": -2, "NOUTPUTS": 4}
        | {"MSTR_RD1": 4, "MSTR_RD2": 120, "SSTR_STP": 120, "SSTR_NST": 17},
        steps=STRIPE_STEPS,
        stripes=True,
    ),
    Case(
        "nircam-superstripes-repeated",
        "--shape 2048 64 --corner 1851 1 --nints 2 --ngroups 20 --zeroframe --rate-scale 20 --seed 37",
        keys={"DETECTOR": "NRCB1", "MODULE": "B", "FASTAXIS": 1, "SLOWAXIS": -2},
        only=SUPERSTRIPES
        | {"SUBARRAY": "SUB64P_SUPSTP002", "SUBSTRT2": 2046, "SUBSIZE2": 8, "SLOWAXIS": -2, "NOUTPUTS": 1}
        | {"MSTR_RD1": 1, "MSTR_SK1": 165, "MSTR_RD2": 1, "SSTR_STP": 1, "SSTR_NST": 64},
        steps=STRIPE_STEPS,
        stripes=True,
    ),
    Case(
        "niriss-superstripes",
        "--shape 64 2048 --corner 1 1985 --nints 2 --ngroups 5 --seed 38",
        keys=NIRISS | {"EXP_TYPE": "NIS_SOSS", "PUPIL": "GR700XD"},
        only=SUPERSTRIPES
        | {"SUBARRAY": "SUB680STRIPE_SOSS", "SUBSTRT1": 2048, "SUBSIZE1": 684, "SLOWAXIS": -1, "NOUTPUTS": 1}
        | {"MSTR_RD1": 4, "MSTR_RD2": 680, "MSTR_ILV": 1, "SSTR_STP": 680, "SSTR_NST": 3}
        | {"INTSTART": 4, "INTEND": 9, "NINTS": 12, "EXSEGNUM": 2, "EXSEGTOT": 2, "TSOVISIT": True},
        steps=STRIPE_STEPS,
        stripes=True,
    ),
    Case(
        "nircam-sirs",
        "--nints 1 --ngroups 2 --seed 33",
        keys={"DETECTOR": "NRCB1", "MODULE": "B", "FASTAXIS": 1, "SLOWAXIS": -2, "SUBARRAY": "FULL"},
        steps=("refpix",),
        set={"refpix.refpix_algorithm": "sirs", "refpix.gaussmooth": 1.5, "refpix.halfwidth": 40},
        sirs=33,
    ),
    Case(
        "nirspec-irs2",
        "--nints 2 --ngroups 3 --seed 31",
        keys=NRS1 | {"SUBARRAY": "FULL", "READPATT": "NRSIRS2RAPID"},
        steps=("dq_init", "saturation", "superbias", "refpix", "jump"),
        irs2=31,
    ),
    Case(
        "nirspec-irs2-means",
        "--nints 1 --ngroups 4 --readpatt SHALLOW4 --rate-scale 150 --seed 32",
        keys=NRS2 | {"SUBARRAY": "FULL", "READPATT": "NRSIRS2"},
        steps=("saturation", "ipc", "refpix"),
        set={"ipc.skip": False, "refpix.irs2_mean_subtraction": True, "refpix.ovr_corr_mitigation_ftr": 2.0},
        ipc=True,
        irs2=32,
    ),
    Case(
        "fgs-full",
        "--nints 1 --ngroups 2 --seed 29",
        keys=FGS,
        steps=("refpix",),
        set={"refpix.use_side_ref_pixels": False},
    ),
    Case(
        "sim-nircam",
        "sim --detector NRCB4 --subarray SUB160 --readpatt SHALLOW4 --zeroframe --nints 2 --ngroups 6 "
        "--cr-rate 0.05 --brightness 20",
    ),
    Case(
        "sim-cut-refs",
        "sim --detector NRCA3 --subarray SUB320 --full-refs --nints 1 --ngroups 6 --cr-rate 0.03",
    ),
    Case("sim-divisor", "sim --readpatt MEDIUM8 --shape 128 128 --frame-divisor 4 --nints 2 --ngroups 5"),
    Case("sim-niriss", "sim --instrument niriss --nints 2 --ngroups 8 --cr-rate 0.05"),
    Case(
        "sim-niriss-segment",
        "sim --instrument niriss --subarray SUBSTRIP96 --tso --nints 6 --ngroups 4 --segments 3",
        segment=1,
    ),
    Case(
        "sim-inverse",
        "sim --subarray SUB160 --readpatt SHALLOW4 --zeroframe --inverse --nints 2 --ngroups 5 --brightness 20 "
        "--cr-rate 0.05",
    ),
    Case(
        "sim-emi",
        "sim --instrument miri --subarray MASK1550 --effects emi --nints 3 --ngroups 6 --cr-rate 0.02",
        steps=("emicorr", "saturation", "jump"),
        set={"emicorr.skip": False},
    ),
    Case(
        "sim-emi-sequential",
        "sim --instrument miri --subarray SUB64 --effects emi=4 --nints 4 --ngroups 20 --cr-rate 0.02",
        steps=("emicorr", "saturation", "jump"),
        set={"emicorr.skip": False, "emicorr.algorithm": "sequential", "emicorr.use_n_cycles": 9},
    ),
    Case("sim-fgs", "sim --instrument fgs --nints 2 --ngroups 6 --cr-rate 0.05"),
    Case(
        "sim-nirspec",
        "sim --instrument nirspec --subarray SUB512 --gain-factor 1.97 --nints 2 --ngroups 6 --cr-rate 0.05",
    ),
    Case(
        "sim-miri-segment",
        "sim --instrument miri --subarray SLITLESSPRISM --tso --nints 6 --ngroups 8 --segments 2 --cr-rate 0.05",
        segment=1,
        steps=tuple(MIRI_STEPS),
    ),
    Case(
        "sim-miri-slow",
        "sim --instrument miri --readpatt SLOWR1 --nints 2 --ngroups 6 --cr-rate 0.05",
        steps=tuple(MIRI_STEPS),
    ),
    Case(
        "flicker-model",
        f"{SMALL} --nints 2 --ngroups 4 --one-over-f 8 --seed 31",
        set={
            "clean_flicker_noise.skip": False,
            "clean_flicker_noise.background_method": "model",
            "clean_flicker_noise.apply_flat_field": True,
            "clean_flicker_noise.fit_histogram": True,
            "clean_flicker_noise.single_mask": False,
        },
        steps=("jump", "clean_flicker_noise"),
    ),
    Case(
        "flicker-channels",
        "--nints 1 --ngroups 2 --one-over-f 8 --seed 32",
        set={"clean_flicker_noise.skip": False, "clean_flicker_noise.fit_by_channel": True},
        steps=("jump", "clean_flicker_noise"),
    ),
    Case(
        "flicker-fft",
        "--shape 64 512 --corner 513 993 --nints 2 --ngroups 4 --one-over-f 8 --seed 33",
        keys=NRS2 | {"SUBARRAY": "SUB512"},
        set={"clean_flicker_noise.skip": False, "clean_flicker_noise.fit_method": "fft"},
        steps=("jump", "clean_flicker_noise"),
    ),
    Case(
        "flicker-fft-full",
        "--nints 1 --ngroups 2 --one-over-f 8 --seed 34",
        keys=NRS1 | {"SUBARRAY": "FULL"},
        set={"clean_flicker_noise.skip": False, "clean_flicker_noise.fit_method": "fft"},
        steps=("jump", "clean_flicker_noise"),
    ),
    Case(
        "flicker-miri",
        f"{MIRI} --nints 2 --ngroups 6 --seed 35",
        set={"clean_flicker_noise.skip": False, "clean_flicker_noise.mask_science_regions": True},
        steps=("jump", "clean_flicker_noise"),
    ),
    Case(
        "flicker-soss",
        "--shape 256 2048 --corner 1 1793 --nints 1 --ngroups 3 --one-over-f 8 --seed 36",
        keys=SOSS | {"SUBARRAY": "SUBSTRIP256"},
        only={"PWCPOS": 245.9},
        set={"clean_flicker_noise.skip": False, "clean_flicker_noise.mask_science_regions": True},
        steps=("jump", "clean_flicker_noise"),
        soss=True,
    ),
    Case(
        "flicker-soss-median",
        "--shape 96 2048 --corner 1 1803 --nints 3 --ngroups 3 --one-over-f 8 --seed 37",
        keys=SOSS | {"SUBARRAY": "SUBSTRIP96"},
        only={"PWCPOS": 245.7},
        set={
            "clean_flicker_noise.skip": False,
            "clean_flicker_noise.mask_science_regions": True,
            "clean_flicker_noise.background_method": "median_image",
        },
        steps=("jump", "clean_flicker_noise"),
        soss=True,
    ),
]


def write_picture_frame(path, header):
    """Write a PICTUREFRAME reference that rises towards the edges of a full frame.

    Parameters
    ----------
    path : pathlib.Path
        Name.
    header : astropy.io.fits.Header
        To start from.
    """
    import numpy as np
    from astropy.io import fits

    edge = np.minimum(np.arange(2048), np.arange(2048)[::-1])
    image = 0.02 * np.exp(-np.minimum(edge[:, None], edge) / 40) + 0.003 * np.sin(np.arange(2048) / 300)
    image[1000, 700:705] = np.nan
    header.update(REFTYPE="PICTUREFRAME", DATAMODL="PictureFrameModel", FILENAME=path.name)
    fits.HDUList(
        [fits.PrimaryHDU(header=header), fits.ImageHDU(image.astype(np.float32), name="SCI")]
    ).writeto(path)


def build(case, folder, make_case):
    """Make the files of one case.

    Parameters
    ----------
    case : Case
        What to make.
    folder : pathlib.Path
        Where; made if it is missing.
    make_case : pathlib.Path
        The case maker.
    """
    import numpy as np
    from astropy.io import fits

    words = case.make.split()
    if words[0] == "sim":
        command = [*PROGRAM, "sim", "expose", str(folder), *words[1:], "--overwrite"]
    else:
        command = [sys.executable, str(make_case), str(folder), *words]
    subprocess.run(command, check=True, capture_output=True)
    info = json.loads((folder / "case.json").read_text())
    if case.segment is not None:
        info["uncal"] = info["segments"][case.segment]["uncal"]
    # Detector steps need neither the references of later stages nor the truth; full frames are big.
    for kind in ("area", "photom") if "clean_flicker_noise.skip" in case.set else ("flat", "area", "photom"):
        if kind in info["refs"]:
            (folder / info["refs"].pop(kind)).unlink()
    (folder / "truth.fits").unlink()
    if case.ipc:
        info["refs"]["ipc"] = "refs/ipc.fits"
        kernel = np.array([[0.0004, 0.005, 0.0004], [0.006, 0, 0.006], [0.0004, 0.005, 0.0004]], np.float32)
        kernel[1, 1] = 1 + kernel.sum()
        # The reference is the inverse of the coupling, to first order.
        kernel = np.where(np.arange(9).reshape(3, 3) == 4, kernel, -kernel)
        header = fits.getheader(folder / info["refs"]["mask"])
        header.update(REFTYPE="IPC", DATAMODL="IPCModel", FILENAME="ipc.fits")
        hdus = [fits.PrimaryHDU(header=header), fits.ImageHDU(kernel.astype(np.float32), name="SCI")]
        fits.HDUList(hdus).writeto(folder / info["refs"]["ipc"])
    if "picture_frame.skip" in case.set:
        info["refs"]["pictureframe"] = "refs/pictureframe.fits"
        write_picture_frame(
            folder / info["refs"]["pictureframe"], fits.getheader(folder / info["refs"]["mask"])
        )
    if case.irs2 is not None:
        interleave(folder, info, case.keys["DETECTOR"], case.irs2)
    if case.events:
        add_events(folder / info["uncal"], case.events, seed=41)
    if case.stripes:
        cut(folder, info, case.keys["SLOWAXIS"], case.only)
    if case.sirs is not None:
        info["refs"]["sirskernel"] = "refs/sirskernel.asdf"
        write_kernels(folder / info["refs"]["sirskernel"], case.keys["DETECTOR"], case.sirs)
    if case.soss:
        info["refs"] |= write_references(folder / "refs", fits.getheader(folder / info["refs"]["mask"]), 256)
    (folder / "case.json").write_text(json.dumps(info))
    changes = {folder / info["uncal"]: case.keys | case.only}
    for kind, path in info["refs"].items():
        if not path.endswith(".fits"):
            continue
        changes[folder / path] = case.keys | case.refkeys.get(kind, {})
    for path, keys in changes.items():
        is_uncal = path.name.endswith("_uncal.fits")
        with fits.open(path, mode="update") as hdus:
            header = hdus[0].header
            own = case.refkeys.get(path.stem, {})
            for key, value in keys.items():
                if value is None:
                    header.remove(key, ignore_missing=True)
                elif is_uncal or key in header or key in own:
                    header[key] = value

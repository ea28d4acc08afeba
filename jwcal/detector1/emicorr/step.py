"""Remove the electromagnetic interference that MIRI's electronics write into the ramps.

The interference is periodic, and every pixel is read at a known time; so its phase is known
everywhere but for one unknown offset.  Reference: the EMICORR file holds the frequencies,
their waveforms and the readout clocks of each subarray.
"""

import logging
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jwcal.core.asdf_file import require_asdf
from jwcal.core.errors import InputError, ReferenceFileError, UsageError
from jwcal.core.step import Param, Ref, Skip, step
from jwcal.detector1.emicorr.joint import Joint
from jwcal.detector1.emicorr.lsq import Simultaneous
from jwcal.detector1.emicorr.sequential import Sequential

log = logging.getLogger(__name__)

READ_PATTERNS = ("FAST", "FASTR1", "SLOW", "SLOWR1")
RESET_PATTERNS = ("FASTR1", "SLOWR1")
CLOCK = 10.0e-6
FEWEST_GROUPS = 3
FEW_GROUPS = 10
DETECTOR_ROWS = 1024.0
SAVED = "emi_ref_waves"
# Rows outside of a subarray are skipped at this cost each.
SKIP_CLOCKS = 4 + 3.0

# Clock cycles of a row and of a frame that is reset, for corrections without a reference.
CLOCKS = {
    "BRIGHTSKY": (162, 86528),
    "FULL_FAST": (271, 277504),
    "FULL_SLOW": (2333, 2388992),
    "MASK1065": (82, 23968),
    "MASK1140": (82, 23968),
    "MASK1550": (82, 23968),
    "MASKLYOT": (90, 32400),
    "SLITLESSPRISM": (28, 15904),
    "SUB128": (44, 11904),
    "SUB256": (96, 29952),
    "SUB64": (28, 8512),
}


@dataclass(frozen=True)
class Wave:
    """One periodic signal.

    Attributes
    ----------
    name : str
        As in the reference.
    frequency : float
        Hz.
    samples : (n,) float64 numpy.ndarray or None
        One period of its waveform.
    """

    name: str
    frequency: float
    samples: Any = None

    @property
    def period(self):
        """Period in clock cycles."""
        return (1.0 / self.frequency) / CLOCK


@dataclass(frozen=True)
class Timing:
    """When pixels are read, in clock cycles.

    Attributes
    ----------
    samples : int
        From one line of four columns to the next (NSAMPLES).
    row : int or float
        From one row to the next.
    skipped : float
        For the rows outside of the subarray.
    reset : int or float
        For the frame between integrations, 0 if there is none.
    frame_clocks : int or float
        Of a frame that is reset.
    late_line : bool
        Whether the last line lies on the reference pixels at the right edge.
    """

    samples: int
    row: float
    skipped: float
    reset: float
    frame_clocks: float
    late_line: bool


@dataclass
class Plan:
    """What is known before and found while the data are measured."""

    shape: tuple
    timing: Timing
    todo: list
    found: list = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)
    save: Any = None


@step(
    "emicorr",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_MIREMI",
    refs=[Ref("emicorr", missing="optional", keyword="R_MIREMI")],
    params=[
        Param(
            "algorithm",
            str,
            "joint",
            "How to find the interference.",
            choices=("joint", "sequential", "simultaneous"),
        ),
        Param("nints_to_phase", int, None, "Sequential: integrations from which the phase is found.", min=1),
        Param("nbins", int, None, "Sequential: bins of a period (none: half its clock cycles).", min=1),
        Param("scale_reference", bool, True, "Sequential: fit the amplitude of the reference waveform."),
        Param(
            "onthefly_corr_freq", str, None, "Frequencies to correct without a reference, with commas.", "Hz"
        ),
        Param(
            "use_n_cycles", int, 3, "Sequential: periods from which the phase is found (0: all data).", min=0
        ),
        Param("fit_ints_separately", bool, False, "Joint, simultaneous: fit each integration on its own."),
        Param("user_supplied_reffile", str, None, "EMICORR reference (older name of --ref-emicorr)."),
        Param("save_intermediate_results", bool, False, "Write the waveforms found without a reference."),
    ],
    changes=("SCI",),
    uses=("SCI", "PIXELDQ"),
    instruments=("MIRI",),
    default_skip=True,
    keywords=("R_MIREMI",),
)
def emicorr(tile, refs, p):
    """Subtract periodic interference at the frequencies of the EMICORR reference.

    "joint" finds amplitude and phase of each reference waveform by the straightness of the
    ramps once it is subtracted.  "sequential" folds what is left of the ramps after a line and
    a fixed pattern, and aligns the reference waveform, or takes the folded one if frequencies
    are given in ``onthefly_corr_freq``; it needs many groups.  Both go through the frequencies
    one by one, and find the same as the official package.  "simultaneous" solves for the sines
    and cosines of all frequencies and their harmonics in one robust least-squares fit.

    SCI is float32 in DN; flags are untouched.  Pixels with flags or above-average scatter are
    not used to find the interference.  The step is skipped for fewer than 3 groups, for
    read patterns other than FAST, FASTR1, SLOW and SLOWR1, and if the reference has no entry
    for subarray, read pattern and detector.  Off unless asked for (``skip = false``).

    Errors: exit 2 for frequencies that are no positive numbers, exit 4 for a malformed
    reference.

    Source: calibration pipeline of the observatory, package ``jwst`` 3.0.
    """
    for wave in tile.plan.found:
        wave.subtract(tile)


@emicorr.setup
def _(exposure, refs, p):
    meta = exposure.meta
    pattern = str(meta["READPATT"]).upper()
    if pattern not in READ_PATTERNS:
        raise Skip(f"not for read pattern {pattern}")
    ngroup = exposure.shape[1]
    if ngroup < FEWEST_GROUPS:
        raise Skip(f"needs {FEWEST_GROUPS} groups, the exposure has {ngroup}")
    algorithm = p.algorithm
    subarray = str(meta["SUBARRAY"]).upper()
    speed = "SLOW" if "SLOW" in pattern else "FAST"
    case = f"{subarray}_{speed}" if "FULL" in subarray else subarray
    if p.onthefly_corr_freq is not None:
        waves = [Wave(repr(f), f) for f in frequencies(p.onthefly_corr_freq)]
        if case not in CLOCKS:
            raise Skip(f"no readout clocks are known for subarray {subarray}")
        row, frame = CLOCKS[case]
        if algorithm == "joint":
            log.warning("emicorr: no waveforms without a reference; the algorithm is sequential")
            algorithm = "sequential"
    else:
        ref = refs["emicorr"] if p.user_supplied_reffile is None else _user_file(p, exposure)
        if ref is None:
            log.warning("%s: emicorr: no EMICORR reference", exposure.label)
            raise Skip("no EMICORR reference")
        row, frame, waves = from_reference(ref, case, speed, str(meta.get("DETECTOR", "")))
    nx, start = exposure.frame[1], exposure.substrt[1] + 1
    timing = Timing(
        samples=_samples(meta),
        row=row,
        skipped=(DETECTOR_ROWS - exposure.frame[0]) * SKIP_CLOCKS,
        reset=frame if pattern in RESET_PATTERNS else 0,
        frame_clocks=frame,
        late_line=int(nx / 4 + start - 1) == 258,
    )
    if algorithm == "sequential" and ngroup < FEW_GROUPS:
        log.warning("%s: emicorr: %d groups are few for the sequential algorithm", exposure.label, ngroup)
    plan = Plan(exposure.shape, timing, [])
    if algorithm == "simultaneous":
        plan.todo = [Simultaneous(plan, waves, p.fit_ints_separately)]
    elif algorithm == "joint":
        plan.todo = [Joint(plan, wave, p.fit_ints_separately) for wave in waves]
    else:
        state = {"nints": p.nints_to_phase}
        plan.todo = [Sequential(plan, wave, state, p) for wave in waves]
        if p.save_intermediate_results and p.onthefly_corr_freq is not None:
            require_asdf(exposure.label)
            exposure.beside.path(meta, SAVED, "asdf")
            plan.save = {"case": case, "speed": speed, "detector": str(meta.get("DETECTOR", ""))}
    log.info(
        "%s: emicorr: %s, %s", exposure.label, algorithm, ", ".join(f"{w.frequency:g} Hz" for w in waves)
    )
    return plan


@emicorr.measure
def _(tile, refs, p):
    plan = tile.plan
    for wave in plan.found:
        wave.subtract(tile)
    return plan.todo[0].measure(tile)


@emicorr.settle
def _(measured, exposure, plan, p):
    if plan.todo[0].settle(measured):
        return True
    plan.found.append(plan.todo.pop(0))
    return bool(plan.todo)


@emicorr.finish
def _(exposure, counts, plan, p):
    if p.user_supplied_reffile is not None and p.onthefly_corr_freq is None:
        exposure.meta.set("R_MIREMI", Path(p.user_supplied_reffile).name)
    elif p.onthefly_corr_freq is not None and "R_MIREMI" in exposure.primary:
        del exposure.primary["R_MIREMI"]
    for wave in plan.found:
        for text in wave.report():
            log.info("%s: emicorr: %s", exposure.label, text)
    if plan.save is not None:
        _save(exposure, plan)


def _samples(meta):
    number = meta["NSAMPLES"]
    if number < 1:
        raise InputError(f"{meta.label}: header keyword NSAMPLES = {number} is below 1")
    return number


def frequencies(text):
    """Numbers from text like ``"390.625, 10.04"``.

    Parameters
    ----------
    text : str
        With commas or spaces; brackets around are allowed.

    Returns
    -------
    list of float
        Hz.

    Raises
    ------
    UsageError
        If one is not a positive number or there is none.
    """
    out = []
    for word in re.split(r"[,\s]+", text.strip(" []()")):
        try:
            value = float(word)
        except ValueError:
            value = 0.0
        if not 0 < value < np.inf:
            raise UsageError(f"emicorr: onthefly_corr_freq = {text!r}: give frequencies in Hz, with commas")
        out.append(value)
    return out


def _user_file(p, exposure):
    from jwcal.core.reference import ReferenceFile

    log.warning("emicorr: user_supplied_reffile is out of use; give --ref-emicorr")
    return ReferenceFile("emicorr", p.user_supplied_reffile, exposure)


def from_reference(ref, case, speed, detector):
    """Clocks and waves for a readout.

    Parameters
    ----------
    ref : ReferenceFile
        EMICORR reference.
    case : str
        Subarray, for full frames with the speed.
    speed : str
        "FAST" or "SLOW".
    detector : str
        Detector name.

    Returns
    -------
    row, frame : float
        Clock cycles of a row and of a frame that is reset.
    waves : list of Wave
        In the order of the reference.

    Raises
    ------
    Skip
        If the reference has no entry for it.
    ReferenceFileError
        If an entry is malformed.
    """
    tree = ref.tree()
    cases = _table(ref, tree, "subarray_cases")
    if case not in cases:
        raise Skip(f"no entry for {case} in {ref.path}")
    entry = _table(ref, cases, case, "subarray_cases")
    row, frame = (_number(ref, entry, key, f"subarray_cases.{case}") for key in ("rowclocks", "frameclocks"))
    names = _table(ref, entry, "freqs", f"subarray_cases.{case}").get(speed)
    if speed == "SLOW" and isinstance(names, dict):
        names = names.get(detector)
    if names is None or len(names) == 0:
        raise Skip(f"no frequencies for {case}, {speed}, {detector} in {ref.path}")
    if isinstance(names, str | dict):
        raise ReferenceFileError(f"{ref.path}: the frequencies of {case}, {speed} are no list of names")
    known = _table(ref, tree, "frequencies")
    return row, frame, [_wave(ref, known, str(name)) for name in names]


def _wave(ref, known, name):
    entry = _table(ref, known, name, "frequencies")
    where = f"frequencies.{name}"
    frequency = _number(ref, entry, "frequency", where)
    try:
        samples = np.array(entry.get("phase_amplitudes"), np.float64)
    except (TypeError, ValueError):
        samples = np.empty(0)
    if samples.ndim != 1 or len(samples) < 2 or not np.isfinite(samples).all():
        raise ReferenceFileError(
            f"{ref.path}: {where}.phase_amplitudes is no list of at least 2 finite numbers"
        )
    return Wave(name, frequency, samples)


def _table(ref, tree, key, where=""):
    value = tree.get(key)
    if not isinstance(value, dict):
        raise ReferenceFileError(
            f"{ref.path}: no table {where + '.' if where else ''}{key} in this EMICORR reference"
        )
    return value


def _number(ref, tree, key, where):
    value = tree.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        raise ReferenceFileError(f"{ref.path}: {where}.{key} = {value!r} is no positive number")
    return value


def _save(exposure, plan):
    """Write the folded waveforms as an EMICORR reference, beside the product."""
    waves = {
        w.wave.name: {"frequency": w.wave.frequency, "phase_amplitudes": np.asarray(w.folded)}
        for w in plan.found
    }
    names, where = list(waves), plan.save
    entry = {
        "rowclocks": plan.timing.row,
        "frameclocks": plan.timing.frame_clocks,
        "freqs": {where["speed"]: names if where["speed"] == "FAST" else {where["detector"]: names}},
    }
    meta = {
        "reftype": "emicorr",
        "telescope": "JWST",
        "instrument": {"name": "MIRI"},
        "author": "jwcal",
        "description": "Waveforms folded from one exposure",
        "pedigree": "GROUND",
        "useafter": f"{exposure.meta.get('DATE-OBS', '2021-12-25')}T00:00:00",
    }
    tree = {"meta": meta, "frequencies": waves, "subarray_cases": {where["case"]: entry}}
    exposure.beside.tree(exposure.meta, SAVED, tree, "emicorr")

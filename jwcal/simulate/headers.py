"""Headers and tables of a raw exposure."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

MJD_START = 60370.0
_TARGET = (80.4875, -69.4978)
_TEMPLATES = {
    "nircam": "NIRCam Imaging",
    "niriss": "NIRISS Imaging",
    "fgs": "FGS External Calibration",
    "nirspec": "NIRSpec Fixed Slit Spectroscopy",
    "miri": "MIRI Imaging",
}


@dataclass(frozen=True)
class Plan:
    """Everything the headers need to know of an exposure.

    Attributes
    ----------
    region : jwcal.simulate.detectors.Region
    timing : jwcal.simulate.readout.Timing
    nints, exposure : int
        Integrations, exposure number.
    exp_type : str
        EXP_TYPE.
    elements : dict
        FILTER, PUPIL, GRATING.
    tso, zeroframe : bool
    dither : tuple of float
        Shift of the pointing in pixels.
    begin : float or None
        Start, seconds after that of the first exposure.
    """

    region: Any
    timing: Any
    nints: int
    exposure: int
    exp_type: str
    elements: dict
    tso: bool
    zeroframe: bool
    dither: tuple
    begin: float | None = None

    @property
    def start(self):
        """Start of the exposure, MJD."""
        if self.begin is not None:
            return MJD_START + self.begin / 86400
        return MJD_START + 0.02 * (self.exposure - 1)

    @property
    def cycle(self):
        """Time from one integration to the next [s]: the reset takes a frame."""
        return self.timing.integration_time + self.timing.tframe

    @property
    def duration(self):
        """Time of the whole exposure [s]."""
        return self.nints * self.cycle

    def file_name(self, segment=None):
        """Official name of the raw file."""
        part = "" if segment is None else f"-seg{segment:03d}"
        return f"jw01234001001_02101_{self.exposure:05d}{part}_{self.region.detector.name.lower()}_uncal.fits"


def _iso(mjd):
    return datetime(1858, 11, 17) + timedelta(days=mjd)  # noqa: DTZ001 - headers hold plain UTC


def fill(header, values):
    """Set keywords, with their official comments; None means no keyword."""
    from jwcal.core.exposure import keywords

    known = keywords()
    for key, value in values.items():
        if value is not None:
            header.set(key, value, known.get(key, {}).get("comment") or _COMMENTS.get(key))
    return header


def instrument_keywords(region):
    """Keywords of the detector and the part that is read.

    Returns
    -------
    dict
    """
    det = region.detector
    return {
        "TELESCOP": "JWST",
        "INSTRUME": det.instrument.upper(),
        "DETECTOR": det.name,
        "CHANNEL": det.get("channel"),
        "MODULE": det.get("module"),
        "BAND": det.get("band"),
        "SUBARRAY": region.name,
        "SUBSTRT1": region.x0 + 1,
        "SUBSTRT2": region.y0 + 1,
        "SUBSIZE1": region.nx,
        "SUBSIZE2": region.ny,
        "FASTAXIS": det.fastaxis,
        "SLOWAXIS": det.slowaxis,
    }


def primary_header(plan, segment=None):
    """Primary header of a raw file.

    Parameters
    ----------
    plan : Plan
    segment : tuple of int or None
        Segment number, number of segments, first and last integration (1-based).

    Returns
    -------
    jwcal.core.header.Header
    """
    from jwcal.core.header import Header

    region, timing = plan.region, plan.timing
    det = region.detector
    number, total, first, last = segment or (None, None, 1, plan.nints)
    t0 = plan.start
    begin, end = t0 + (first - 1) * plan.cycle / 86400, t0 + last * plan.cycle / 86400
    values = {
        "DATE": "2024-03-02T00:00:00.000",
        "ORIGIN": "SIMULATED",
        "TIMESYS": "UTC",
        "TIMEUNIT": "s",
        "FILENAME": plan.file_name(number),
        "FILETYPE": "raw",
        "SDP_VER": "2024_1a",
        "DATAMODL": "Level1bModel",
        "TITLE": "Simulated exposure",
        "PI_NAME": "Nobody",
        "CATEGORY": "CAL",
        "SUBCAT": det.instrument.upper(),
        "DATE-OBS": _iso(t0).strftime("%Y-%m-%d"),
        "TIME-OBS": _iso(t0).strftime("%H:%M:%S.%f")[:-3],
        "DATE-BEG": _iso(begin).isoformat(timespec="milliseconds"),
        "DATE-END": _iso(end).isoformat(timespec="milliseconds"),
        "OBS_ID": "V01234001001P0000000002101",
        "VISIT_ID": "01234001001",
        "PROGRAM": "01234",
        "OBSERVTN": "001",
        "VISIT": "001",
        "VISITGRP": "02",
        "SEQ_ID": "1",
        "ACT_ID": "01",
        "EXPOSURE": str(plan.exposure),
        "BKGDTARG": False,
        "TEMPLATE": _TEMPLATES[det.instrument],
        "VISITYPE": "PRIME_TARGETED_FIXED",
        "VSTSTART": _iso(t0 - 0.01).isoformat(sep=" ", timespec="milliseconds"),
        "VISITSTA": "SUCCESSFUL",
        "NEXPOSUR": 1,
        "TSOVISIT": plan.tso,
        "ENG_QUAL": "OK",
        "TARGPROP": "SIMULATED",
        "TARGNAME": "SIMULATED",
        "TARGTYPE": "FIXED",
        "TARG_RA": _TARGET[0],
        "TARG_DEC": _TARGET[1],
        "PROP_RA": _TARGET[0],
        "PROP_DEC": _TARGET[1],
        **instrument_keywords(region),
        **plan.elements,
        "EXP_TYPE": plan.exp_type,
        "EXPCOUNT": 1,
        "EXPRIPAR": "PRIME",
        "EXPSTART": t0,
        "EXPMID": t0 + plan.duration / 172800,
        "EXPEND": t0 + plan.duration / 86400,
        "MJD-BEG": begin,
        "MJD-AVG": (begin + end) / 2,
        "MJD-END": end,
        "READPATT": timing.pattern,
        "NOUTPUTS": region.outputs,
        "NINTS": plan.nints,
        "NGROUPS": timing.ngroups,
        "NFRAMES": timing.nframes,
        "FRMDIVSR": timing.divisor,
        "GROUPGAP": timing.groupgap,
        "DRPFRMS1": 0,
        "DRPFRMS3": 0,
        "NSAMPLES": timing.nsamples,
        "TSAMPLE": 10.0,
        "TFRAME": timing.tframe,
        "TGROUP": timing.tgroup,
        "EFFINTTM": timing.integration_time,
        "EFFEXPTM": plan.nints * timing.integration_time,
        "XPOSURE": plan.nints * timing.integration_time,
        "TELAPSE": plan.duration,
        "DURATION": plan.duration,
        "NRSTSTRT": 1,
        "NRESETS": 1,
        "RESETTIM": timing.tframe,
        "ZEROFRAM": plan.zeroframe,
        "DATAPROB": False,
        "SCA_NUM": det["sca_num"],
        "INTSTART": first,
        "INTEND": last,
        "EXSEGNUM": number,
        "EXSEGTOT": total,
        "PATTTYPE": "NONE",
        "PATT_NUM": plan.exposure,
        "NUMDTHPT": 1,
        "APERNAME": det["apername"],
        "PPS_APER": det["apername"],
    }
    if timing.pattern.startswith("FASTGRPAVG"):
        values["MIRNFRMS"] = timing.nframes // timing.divisor
    if timing.is_interleaved:
        values |= {"NRS_NORM": 16, "NRS_REF": 4, "NOUTPUTS": 5}
    if plan.exp_type == "NRS_FIXEDSLIT":
        values["FXD_SLIT"] = "S200A1"
    elif plan.exp_type == "NRS_BRIGHTOBJ":
        values["FXD_SLIT"] = "S1600A1"
    return fill(Header(), values)


def science_header(plan):
    """Header of the SCI extension: pointing and a simple WCS.

    Returns
    -------
    jwcal.core.header.Header
    """
    from jwcal.core.header import Header

    region = plan.region
    det = region.detector
    fy, fx = det.shape
    scale = det["pixel_scale"] / 3600
    parity, roll = det["vparity"], 0.0
    angle = math.radians(roll + det["v3i_yang"])
    dec = _TARGET[1] + plan.dither[1] * scale
    ra = _TARGET[0] - plan.dither[0] * scale / math.cos(math.radians(dec))
    return fill(
        Header(),
        {
            "EXTNAME": "SCI",
            "BUNIT": "DN",
            "RADESYS": "ICRS",
            "RA_V1": ra,
            "DEC_V1": dec,
            "PA_V3": roll,
            "WCSAXES": 2,
            "CRPIX1": (fx + 1) / 2 - region.x0,
            "CRPIX2": (fy + 1) / 2 - region.y0,
            "CRVAL1": ra,
            "CRVAL2": dec,
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "CDELT1": scale,
            "CDELT2": scale,
            "PC1_1": parity * math.cos(angle),
            "PC1_2": math.sin(angle),
            "PC2_1": -parity * math.sin(angle),
            "PC2_2": math.cos(angle),
            "V2_REF": det["v2_ref"],
            "V3_REF": det["v3_ref"],
            "VPARITY": parity,
            "V3I_YANG": det["v3i_yang"],
            "RA_REF": ra,
            "DEC_REF": dec,
            "ROLL_REF": roll,
        },
    )


def reference_header(kind, model, region, extra):
    """Primary header of a reference file.

    Returns
    -------
    jwcal.core.header.Header
    """
    from jwcal.core.header import Header

    header = fill(
        Header(),
        {
            "DATE": "2024-01-01T00:00:00.000",
            "ORIGIN": "SIMULATED",
            "FILENAME": f"{kind}.fits",
            "DATAMODL": model,
            "REFTYPE": kind.upper(),
            "DESCRIP": f"Simulated {kind} reference",
            "AUTHOR": "jwcal sim expose",
            "PEDIGREE": "GROUND",
            "USEAFTER": "2020-01-01T00:00:00",
            **instrument_keywords(region),
            **extra,
        },
    )
    header.add_history("Values of the simulated detector, without the noise of a measurement.")
    return header


def integration_times(plan, first, last):
    """INT_TIMES table of the integrations `first` to `last` (1-based, inclusive).

    Returns
    -------
    numpy.ndarray
        Structured, MJD.
    """
    names = (
        "int_start_MJD_UTC",
        "int_mid_MJD_UTC",
        "int_end_MJD_UTC",
        "int_start_BJD_TDB",
        "int_mid_BJD_TDB",
        "int_end_BJD_TDB",
    )
    number = np.arange(first, last + 1)
    table = np.zeros(number.size, [("integration_number", "i4"), *((name, "f8") for name in names)])
    table["integration_number"] = number
    start = plan.start + (number - 1) * plan.cycle / 86400
    length = plan.timing.integration_time / 86400
    for name in names:
        part = {"start": 0.0, "mid": 0.5, "end": 1.0}[name.split("_")[1]]
        table[name] = start + part * length + (0.003 if name.endswith("TDB") else 0.0)
    return table


def group_times(plan, first, last):
    """GROUP table of the integrations `first` to `last` (1-based, inclusive).

    Returns
    -------
    numpy.ndarray
        Structured, one row per group.
    """
    ngroups = plan.timing.ngroups
    integration, group = np.divmod(np.arange((last - first + 1) * ngroups), ngroups)
    table = np.zeros(
        integration.size,
        [
            ("integration_number", "i4"),
            ("group_number", "i2"),
            ("end_day", "i2"),
            ("end_milliseconds", "i4"),
            ("end_submilliseconds", "i2"),
            ("group_end_time", "S26"),
            ("number_of_columns", "i2"),
            ("number_of_rows", "i2"),
            ("number_of_gaps", "i2"),
            ("completion_code_number", "i2"),
            ("completion_code_text", "S36"),
            ("bary_end_time", "f8"),
            ("helio_end_time", "f8"),
        ],
    )
    end = (first - 1 + integration) * plan.cycle + (group + 1) * plan.timing.tgroup
    day = plan.start + end / 86400
    table["integration_number"], table["group_number"] = first + integration, group + 1
    table["end_day"] = np.floor(day) - 51544
    milliseconds = (day % 1) * 86400e3
    table["end_milliseconds"] = np.floor(milliseconds)
    table["end_submilliseconds"] = np.floor((milliseconds % 1) * 1000)
    table["group_end_time"] = [_iso(t).isoformat(timespec="microseconds") for t in day]
    table["number_of_columns"], table["number_of_rows"] = plan.region.nx, plan.region.ny
    table["completion_code_text"] = "COMPLETE"
    table["bary_end_time"], table["helio_end_time"] = day + 0.003, day + 0.003
    return table


_COMMENTS = {
    "DATE": "UTC date file created",
    "ORIGIN": "Organization responsible for creating file",
    "TIMESYS": "principal time system for time-related keywords",
    "TIMEUNIT": "unit of all time values",
    "FILETYPE": "Type of data in the file",
    "SDP_VER": "Data processing software version number",
    "TITLE": "Proposal title",
    "PI_NAME": "Principal investigator name",
    "CATEGORY": "Program category",
    "SUBCAT": "Program sub-category",
    "MODULE": "NIRCam module: A, B, or MULTIPLE",
    "DATE-OBS": "[yyyy-mm-dd] UTC date at start of exposure",
    "TIME-OBS": "[hh:mm:ss.sss] UTC time at start of exposure",
    "DATE-BEG": "Date-time start of exposure",
    "DATE-END": "Date-time end of exposure",
    "OBS_ID": "Programmatic observation identifier",
    "VISIT_ID": "Visit identifier",
    "PROGRAM": "Program number",
    "OBSERVTN": "Observation number",
    "VISIT": "Visit number",
    "VISITGRP": "Visit group identifier",
    "SEQ_ID": "Parallel sequence identifier",
    "ACT_ID": "Activity identifier",
    "EXPOSURE": "Exposure request number",
    "EXPSTART": "[d] exposure start time in MJD",
    "EXPMID": "[d] exposure mid time in MJD",
    "EXPEND": "[d] exposure end time in MJD",
    "EFFINTTM": "[s] Effective integration time",
    "EFFEXPTM": "[s] Effective exposure time",
    "DURATION": "[s] Total duration of exposure",
    "ZEROFRAM": "Zero frame was downlinked separately",
    "SCA_NUM": "Sensor Chip Assembly number",
    "APERNAME": "PRD science aperture used",
    "NRSTSTRT": "Number of resets at start of exposure",
    "NRESETS": "Number of resets between integrations",
    "RESETTIM": "[s] Time of a reset",
    "RA_V1": "[deg] RA of telescope V1 axis",
    "DEC_V1": "[deg] Dec of telescope V1 axis",
    "PA_V3": "[deg] Position angle of telescope V3 axis",
    "V2_REF": "[arcsec] Telescope V2 coord of reference point",
    "V3_REF": "[arcsec] Telescope V3 coord of reference point",
    "VPARITY": "Sense of rotation between Ideal xy and V2V3",
    "V3I_YANG": "[deg] Angle from V3 axis to Ideal y axis",
    "RA_REF": "[deg] RA of the reference point",
    "DEC_REF": "[deg] Dec of the reference point",
    "ROLL_REF": "[deg] V3 roll angle at the ref point (N over E)",
    "REFTYPE": "Kind of reference file",
    "USEAFTER": "Use after date of the reference file",
    "PEDIGREE": "Origin of the reference file",
    "DESCRIP": "Description of the reference file",
    "AUTHOR": "Author of the reference file",
    "BUNIT": "Physical units of the array values",
}

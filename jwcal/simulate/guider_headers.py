"""Headers and tables of the raw files of the guide-star functions."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from jwcal.simulate.headers import MJD_START, fill, instrument_keywords

_STAR = (81.83366240613603, -69.9550484271187)
_ID = "S0U9007717"
_STAMP = "%Y-%m-%d %H:%M:%S.%f"
STARS = np.dtype([("X", "f8"), ("Y", "f8"), ("FLUX_E", "f8"), ("INSIDE", "i2")])


@dataclass(frozen=True)
class Pattern:
    """What reference headers need to know of a readout."""

    mode: Any

    @property
    def pattern(self):
        """READPATT."""
        return self.mode.pattern


def _time(seconds):
    return datetime(1858, 11, 17, tzinfo=UTC) + timedelta(days=MJD_START, seconds=seconds)


def _duration(exposure):
    return exposure.nints * exposure.mode.cycle


def file_name(exposure):
    """Official name of the raw file: function, then attempt or time of the end.

    Parameters
    ----------
    exposure : jwcal.simulate.guider.Exposure

    Returns
    -------
    str

    Notes
    -----
    Source: jwst documentation, "Guide star data products".
    """
    if exposure.mode.is_identification:
        return f"jw01234001001_gs-{exposure.mode.name}-uncal.fits"
    end = _time(_duration(exposure)).strftime("%Y%j%H%M%S")
    return f"jw01234001001_gs-{exposure.mode.name}_{end}_uncal.fits"


def star_table(stars, shape):
    """Table of stars.

    Parameters
    ----------
    stars : list of tuple of float
        0-based x, y and electrons per second; the guide star first.
    shape : tuple of int

    Returns
    -------
    numpy.ndarray
        Structured: X, Y, FLUX_E, INSIDE (1 if the star is in the data).
    """
    table = np.zeros(len(stars), STARS)
    for row, (x, y, flux) in zip(table, stars, strict=True):
        row["X"], row["Y"], row["FLUX_E"] = x, y, flux
        row["INSIDE"] = int(0 <= x <= shape[1] - 1 and 0 <= y <= shape[0] - 1)
    return table


def path_table(exposure):
    """Where the guide star was.

    Returns
    -------
    numpy.ndarray
        Structured, one row per integration: X, Y (0-based in the window), XCORNER, YCORNER
        (1-based on the detector).
    """
    table = np.zeros(exposure.nints, [("X", "f8"), ("Y", "f8"), ("XCORNER", "i4"), ("YCORNER", "i4")])
    table["X"], table["Y"] = exposure.path.T
    table["XCORNER"], table["YCORNER"] = exposure.corners.T
    return table


def _ideal(exposure, x, y):
    """Ideal coordinates [arcsec] of 0-based positions in the data of the first integration."""
    scale = exposure.region.detector["pixel_scale"]
    return (x + exposure.region.x0 - 1023.5) * scale, (y + exposure.region.y0 - 1023.5) * scale


def primary_header(exposure, name):
    """Primary header of a raw file.

    Parameters
    ----------
    exposure : jwcal.simulate.guider.Exposure
    name : str
        FILENAME.

    Returns
    -------
    jwcal.core.header.Header
    """
    from jwcal.core.header import Header

    mode, frame = exposure.mode, exposure.region
    det = frame.detector
    duration = _duration(exposure)
    begin, end = _time(0), _time(duration)
    values = {
        "DATE": "2024-03-02T00:00:00.000",
        "ORIGIN": "SIMULATED",
        "TIMESYS": "UTC",
        "TIMEUNIT": "s",
        "FILENAME": name,
        "FILETYPE": "raw",
        "SDP_VER": "2024_1a",
        "PRD_VER": "PRDOPSSOC-068",
        "OSS_VER": "008.004.014.000",
        "GSC_VER": "GSC2431",
        "DATAMODL": "Level1bModel",
        "HGA_MOVE": False,
        "PWFSEET": 0.0,
        "NWFSEST": 0.0,
        "COMPRESS": False,
        "TITLE": "Simulated guiding",
        "PI_NAME": "Nobody",
        "CATEGORY": "CAL",
        "SUBCAT": "FGS",
        "DATE-OBS": begin.strftime("%Y-%m-%d"),
        "TIME-OBS": begin.strftime("%H:%M:%S.%f")[:-3],
        "DATE-BEG": begin.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3],
        "DATE-END": end.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3],
        "OBS_ID": "V01234001001P0000000002101",
        "VISIT_ID": "01234001001",
        "PROGRAM": "01234",
        "OBSERVTN": "001",
        "VISIT": "001",
        "ENG_QUAL": "OK",
        "VISITYPE": "PRIME_TARGETED_FIXED",
        "VSTSTART": _time(-900).strftime(_STAMP),
        "VISITSTA": "SUCCESSFUL",
        "NEXPOSUR": 0,
        "INTARGET": False,
        "TARGOOPP": False,
        "TSOVISIT": False,
        "EXP_ONLY": False,
        "CROWDFLD": False,
        **instrument_keywords(frame),
        "FOCUSPOS": 0.0,
        "EXP_TYPE": mode.exp_type,
        "READPATT": mode.pattern,
        "NINTS": exposure.nints,
        "NGROUPS": mode.ngroups,
        "NFRAMES": mode.nframes,
        "FRMDIVSR": 1,
        "GROUPGAP": mode.gap,
        "DRPFRMS1": mode.drop_first,
        "DRPFRMS3": mode.drop_last,
        "NSAMPLES": 1,
        "TSAMPLE": 10.0,
        "TFRAME": mode.tframe,
        "TGROUP": mode.tgroup,
        "EFFINTTM": mode.at[-1] * mode.tframe,
        "DURATION": duration,
        "NRSTSTRT": 1,
        "NRESETS": 1,
        "ZEROFRAM": False,
        "DATAPROB": False,
        "SCA_NUM": det["sca_num"],
        "DATAMODE": mode.data_mode,
        "DETXCOR": 0,
        "DETYCOR": 0,
        "DETXSIZ": 0,
        "DETYSIZ": 0,
        "APERNAME": det["apername"],
        "PPS_APER": "",
        "GS_ORDER": 1,
        "GSSTRTTM": _time(-120).strftime(_STAMP),
        "GSENDTIM": _time(120).strftime(_STAMP),
        "GDSTARID": _ID,
        "GS_RA": _STAR[0],
        "GS_DEC": _STAR[1],
        "GS_URA": 1e-4,
        "GS_UDEC": 1e-4,
        "GS_MAG": 13.3,
        "GS_UMAG": 0.02,
        "GS_V3_PA": 0.0,
        "PCS_MODE": "FINEGUIDE" if mode.pattern == "FINEGUIDE" else "TRACK",
        "VISITEND": _time(duration + 600).strftime(_STAMP),
        "GF_START": _time(-1).strftime(_STAMP),
        "GF_END": _time(duration + 4).strftime(_STAMP),
        "DATASTRT": MJD_START,
        "DATAEND": MJD_START + duration / 86400,
        "GSACSTAT": "SUCCESSFUL",
        "GS_EPOCH": "2016-01-01 00:00:00",
        "GS_MURA": 0.0,
        "GS_MUDEC": 0.0,
    }
    return fill(Header(), values)


def science_header(exposure):
    """Header of the SCI extension: unit, pointing and WCS.

    Returns
    -------
    jwcal.core.header.Header
    """
    from jwcal.core.header import Header

    frame = exposure.region
    det = frame.detector
    angle = math.radians(det["v3i_yang"])
    scale = det["pixel_scale"] / 3600
    return fill(
        Header(),
        {
            "EXTNAME": "SCI",
            "PA_APER": 0.0,
            "BUNIT": "DN",
            "RADESYS": "ICRS",
            "WCSAXES": 2,
            "CRPIX1": 1024.5 - frame.x0,
            "CRPIX2": 1024.5 - frame.y0,
            "CRVAL1": _STAR[0],
            "CRVAL2": _STAR[1],
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "CDELT1": scale,
            "CDELT2": scale,
            "PC1_1": -math.cos(angle),
            "PC1_2": math.sin(angle),
            "PC2_1": math.sin(angle),
            "PC2_2": math.cos(angle),
            "V2_REF": det["v2_ref"],
            "V3_REF": det["v3_ref"],
            "VPARITY": det["vparity"],
            "V3I_YANG": det["v3i_yang"],
        },
    )


def truth_header(exposure, seed):
    """Primary header of the truth of a guide-star exposure.

    Returns
    -------
    jwcal.core.header.Header
    """
    from jwcal.core.header import Header

    mode, frame = exposure.mode, exposure.region
    header = Header()
    for key, value, comment in (
        ("INSTRUME", "FGS", "Instrument"),
        ("DETECTOR", frame.detector.name, "Detector"),
        ("EXP_TYPE", mode.exp_type, "Type of data in the exposure"),
        ("GUIDER", True, "Truth of a guide-star function"),
        ("TGROUP", mode.tgroup, "[s] Time between groups"),
        ("TFRAME", mode.tframe, "[s] Time between frames"),
        ("NFRAMES", mode.nframes, "Number of frames per group"),
        ("GROUPGAP", mode.gap, "Number of frames dropped between groups"),
        ("NGROUPS", mode.ngroups, "Number of groups"),
        ("NINTS", exposure.nints, "Number of integrations"),
        ("SEED", seed, "Seed of the simulation"),
    ):
        header.set(key, value, comment)
    return header


def _planned(exposure):
    stars = exposure.stars[:11]
    rows = np.zeros(
        stars.size,
        [
            ("guide_star_order", "i4"),
            ("reference_order", "i4"),
            ("reference_star_id", "S12"),
            *((name, "f8") for name in ("ra", "dec", "id_x", "id_y")),
            *((name, "f8") for name in ("fgs_mag", "fgs_mag_uncert", "count_rate", "count_rate_uncert")),
        ],
    )
    x, y = _ideal(exposure, stars["X"], stars["Y"])
    rows["guide_star_order"], rows["reference_order"] = 1, np.arange(stars.size)
    rows["reference_star_id"] = [f"{_ID[:5]}{int(_ID[5:]) + k:06d}" for k in range(stars.size)]
    rows["id_x"], rows["id_y"] = x, y
    rows["dec"] = _STAR[1] + y / 3600
    rows["ra"] = _STAR[0] - x / 3600 / math.cos(math.radians(_STAR[1]))
    rows["count_rate"] = stars["FLUX_E"]
    rows["count_rate_uncert"] = np.sqrt(stars["FLUX_E"])
    rows["fgs_mag"] = 13.3 - 2.5 * np.log10(stars["FLUX_E"] / stars["FLUX_E"][0])
    rows["fgs_mag_uncert"] = 0.02
    return rows


def _flight(exposure, rng):
    stars = exposure.stars[:11]
    rows = np.zeros(
        stars.size, [("reference_star_id", "S2"), ("id_x", "f8"), ("id_y", "f8"), ("count_rate", "f8")]
    )
    x, y = _ideal(exposure, stars["X"], stars["Y"])
    rows["reference_star_id"] = [f"{k}" for k in range(stars.size)]
    rows["id_x"] = x + rng.normal(0, 0.01, stars.size)
    rows["id_y"] = y + rng.normal(0, 0.01, stars.size)
    rows["count_rate"] = stars["FLUX_E"] * rng.normal(1, 0.01, stars.size)
    return rows


def _stamps(exposure):
    times = [_time(i * exposure.mode.cycle) for i in range(exposure.nints)]
    return [t.strftime("%Y-%m-%d %H:%M:%S.%f")[:23] for t in times]


def _pointing(exposure):
    names = (
        "time jitter delta_ddc_ra delta_ddc_dec delta_aperture_pa delta_v1_ra delta_v1_dec delta_v3_pa "
        "delta_j1_ra delta_j1_dec delta_j3_pa"
    ).split()
    rows = np.zeros(exposure.nints, [*((name, "f8") for name in names), ("HGA_motion", "S16")])
    scale = 1000 * exposure.region.detector["pixel_scale"]
    moved = (exposure.path + exposure.corners) - (exposure.path[0] + exposure.corners[0])
    rows["time"] = np.arange(exposure.nints) * exposure.mode.cycle * 1000
    for axis, name in enumerate(("ra", "dec")):
        for frame in ("ddc", "v1", "j1"):
            rows[f"delta_{frame}_{name}"] = -moved[:, axis] * scale
    rows["jitter"] = np.hypot(rows["delta_ddc_ra"], rows["delta_ddc_dec"])
    rows["HGA_motion"] = "1"
    return rows


def _centroids(exposure, rng):
    text = (
        ("bad_pixel_flag", "S4"),
        ("bad_centroid_dq_flag", "S12"),
        ("cosmic_ray_hit_flag", "S5"),
        ("sw_subwindow_loc_change_flag", "S5"),
        ("guide_star_at_detector_subwindow_boundary_flag", "S5"),
    )
    numbers = (
        "guide_star_position_x guide_star_position_y guide_star_instrument_counts_per_sec "
        "signal_to_noise_current_frame delta_signal delta_noise"
    ).split()
    rows = np.zeros(
        exposure.nints,
        [
            ("observatory_time", "S23"),
            ("centroid_time", "S23"),
            *((name, "f8") for name in numbers),
            *((name, "i4") for name in ("psf_width_x", "psf_width_y", "data_quality")),
            *text,
            ("subwindow_out_of_FOV_flag", "S5"),
        ],
    )
    flux = exposure.stars["FLUX_E"][0] / exposure.region.detector["gain"]
    moved = exposure.corners - exposure.corners[0]
    place = exposure.path + moved + rng.normal(0, 0.02, exposure.path.shape)
    x, y = _ideal(exposure, place[:, 0], place[:, 1])
    rows["observatory_time"] = rows["centroid_time"] = _stamps(exposure)
    rows["guide_star_position_x"], rows["guide_star_position_y"] = x, y
    noise = math.sqrt(flux * exposure.mode.tgroup) / exposure.mode.tgroup
    counts = flux + rng.normal(0, noise, exposure.nints)
    rows["guide_star_instrument_counts_per_sec"] = counts
    rows["signal_to_noise_current_frame"] = counts / noise
    rows["delta_signal"] = np.diff(counts, prepend=counts[0])
    rows["delta_noise"] = 0
    rows["psf_width_x"] = rows["psf_width_y"] = 3
    rows["bad_pixel_flag"], rows["bad_centroid_dq_flag"] = "0", "GOOD"
    changed = np.any(np.diff(moved, axis=0, prepend=moved[:1]) != 0, axis=1)
    hit = np.zeros(exposure.nints, bool)
    hit[exposure.hits["INT"]] = True
    rows["cosmic_ray_hit_flag"] = np.where(hit, "YES", "NO")
    rows["sw_subwindow_loc_change_flag"] = np.where(changed, "YES", "NO")
    rows["guide_star_at_detector_subwindow_boundary_flag"] = "NO"
    rows["subwindow_out_of_FOV_flag"] = "NO"
    return rows


def _windows(exposure):
    rows = np.zeros(
        exposure.nints,
        [
            ("observatory_time", "S23"),
            ("x_corner", "f8"),
            ("y_corner", "f8"),
            ("x_size", "i2"),
            ("y_size", "i2"),
        ],
    )
    rows["observatory_time"] = _stamps(exposure)
    rows["x_corner"], rows["y_corner"] = exposure.corners.T
    rows["x_size"], rows["y_size"] = exposure.region.nx, exposure.region.ny
    return rows


def tables(exposure, rng):
    """List the tables that come with the pixels of a guide-star function.

    Parameters
    ----------
    exposure : jwcal.simulate.guider.Exposure
    rng : numpy.random.Generator
        Errors of what the flight software measured.

    Returns
    -------
    list of tuple
        EXTNAME, structured rows, header of further keywords.  None for the acquisition.

    Notes
    -----
    Columns: jwst documentation, "Guide star data products".
    """
    from jwcal.core.header import Header

    def header(**values):
        out = Header()
        for key, value in values.items():
            out.set(key, value)
        return out

    mode = exposure.mode
    if mode.is_identification:
        flight = _flight(exposure, rng)
        return [
            ("Flight Reference Stars", flight, header(NUMREFST=flight.size)),
            ("Planned Reference Stars", _planned(exposure), None),
        ]
    if not mode.has_centroids:
        return []
    pointing = _pointing(exposure)
    state = "FINE_GUIDE" if mode.pattern == "FINEGUIDE" else "TRACK"
    out = [
        (
            "Pointing",
            pointing,
            header(
                DDCFLDPT="DDC_FIELD_POINT",
                POINTTIM=_time(0).strftime(_STAMP)[:23],
                RA_DDC=_STAR[0],
                DEC_DDC=_STAR[1],
                PA_APER=0.0,
                RA_V1=_STAR[0],
                DEC_V1=_STAR[1],
                PA_V3=0.0,
                RA_J1=_STAR[0],
                DEC_J1=_STAR[1],
                PA_J3=0.0,
                JITTRAVG=float(pointing["jitter"].mean()),
                JITTRMAX=float(pointing["jitter"].max()),
                JITTRMIN=float(pointing["jitter"].min()),
            ),
        ),
        (
            "FGS Centroid Packet",
            _centroids(exposure, rng),
            header(DETECTID=exposure.region.detector.name.lower(), GUIDESTA=state),
        ),
    ]
    if mode.moves:
        out.append(("Track subarray table", _windows(exposure), None))
    return out

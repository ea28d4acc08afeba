"""Cases on disk of the guide-star functions."""

import numpy as np

from jwcal.core.errors import UsageError
from jwcal.simulate import guider_headers, headers, references, write
from jwcal.simulate.case import make_folders, write_json
from jwcal.simulate.detectors import choose_detector, region
from jwcal.simulate.guider import MODES, simulate
from jwcal.simulate.pixels import pixels as draw_pixels

REFERENCES = ("mask", "gain", "readnoise", "flat")


def expose_guider(out, exp_type, refused, which, given, want_references, full_references, overwrite):
    """Simulate a guide-star exposure and write it.

    Parameters
    ----------
    out : pathlib.Path
        Folder for the files.
    exp_type : str
        One of `jwcal.simulate.guider.MODES`.
    refused : list of str
        What was asked for that guiding does not have.
    which : dict
        ``instrument`` and ``detector``, or None; the guiders are the default.
    given : dict
        What `jwcal.simulate.guider.simulate` takes beyond detector and mode.
    want_references : bool
    full_references : bool
        Write references of the whole detector (not for a stack).
    overwrite : bool

    Returns
    -------
    dict
        Contents of ``case.json``.

    Raises
    ------
    UsageError
        If the request contradicts itself.
    OutputError
        If a file cannot be written.
    """
    mode = MODES[exp_type.upper()]
    if refused:
        raise UsageError(f"{mode.exp_type} does not go with {' or '.join(refused)}")
    instrument, name = which["instrument"], which["detector"]
    det = choose_detector(instrument or (None if name else "fgs"), name)
    if det.instrument != "fgs":
        raise UsageError(f"{mode.exp_type} is for the guiders, not for {det.instrument}")
    exposure = simulate(det, mode, **given)
    make_folders(out, 1, want_references)
    kinds = REFERENCES if want_references else ()
    case = _write_case(
        out, det, mode, exposure, given["seed"], kinds, full_references, given["detector_seed"], overwrite
    )
    write_json(out / "case.json", case)
    return case


def _write_case(out, det, mode, exposure, seed, kinds, full_references, detector_seed, overwrite):
    """Write raw file, truth and references; return the contents of case.json."""
    name = guider_headers.file_name(exposure)
    with write.new_file(out / name, overwrite) as f:
        f.add(guider_headers.primary_header(exposure, name))
        science = f.add(guider_headers.science_header(exposure), exposure.groups.shape, np.uint16)
        science.write(exposure.groups)
        for title, table, extra in guider_headers.tables(exposure, np.random.default_rng([seed, 6])):
            f.add_table(title, table, header=extra)
        f.add_table("ASDF", write.asdf_table())
    with write.new_file(out / "truth.fits", overwrite) as f:
        f.add(guider_headers.truth_header(exposure, seed))
        write.add_image(f, "RATE", np.ascontiguousarray(exposure.rate), "DN/s")
        write.add_image(f, "BAD", exposure.pixels.bad)
        write.add_image(f, "SATGRP", exposure.saturated)
        write.add_image(f, "GAIN", exposure.pixels.gain, "electrons/DN")
        write.add_image(f, "READ_E", exposure.pixels.read_noise, "electrons")
        write.add_image(f, "FLAT", references.planes("flat", exposure.region, None, exposure.pixels)["SCI"])
        f.add_table("CRS", exposure.hits)
        f.add_table("STARS", exposure.stars)
        f.add_table("PATH", guider_headers.path_table(exposure))
    made = {}
    whole = full_references and not mode.is_stack
    frame = region(det, "FULL") if whole else exposure.region
    pixels = draw_pixels(frame, detector_seed) if whole else exposure.pixels
    for kind in kinds:
        with write.new_file(out / "refs" / f"{kind}.fits", overwrite) as f:
            extra = references.extra_keywords(kind, frame, guider_headers.Pattern(mode))
            f.add(headers.reference_header(kind, references.KINDS[kind], frame, extra))
            arrays = references.planes(kind, frame, None, pixels)
            for plane, array in arrays.items():
                write.add_image(f, plane, array)
            if "DQ" in arrays:
                f.add_table("DQ_DEF", references.dq_definition())
        made[kind] = f"refs/{kind}.fits"
    return {
        "uncal": name,
        "truth": "truth.fits",
        "refs": made,
        "instrument": det.instrument,
        "detector": det.name,
        "subarray": mode.subarray,
        "exp_type": mode.exp_type,
        "shape": list(exposure.region.shape),
        "nints": exposure.nints,
        "ngroups": mode.ngroups,
        "readpatt": mode.pattern,
        "seed": seed,
        "crs": int(exposure.hits.size),
        "saturated": int((exposure.saturated >= 0).sum()),
    }

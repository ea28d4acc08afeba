"""Flat references: the relative response of the pixels."""

import tempfile
from typing import Any

import numpy as np

from jwcal.core import engine, provenance
from jwcal.core.dq import DQ
from jwcal.core.errors import DataError
from jwcal.kernels.stack import clipped_mean
from jwcal.refs.make.sets import Recipe, job_for, open_all, reference_pixels
from jwcal.refs.make.write import reference_header, write_planes

FLAGS = ("DO_NOT_USE", "NO_FLAT_FIELD", "UNRELIABLE_FLAT")
_ELEMENTS = ("FILTER", "PUPIL", "GRATING", "BAND")
RECIPE = Recipe(
    "flat",
    pipeline="detector1",
    same=(),
    alike=_ELEMENTS,
    least=2,
    groups=2,
    takes=("uncal", "ramp", "rate"),
    undone=("S_FLAT",),
)
_UNUSABLE = DQ["DO_NOT_USE"] | DQ["SATURATED"]
_ROWS = 64
# Smallest median rate in units of the error of one pixel.
_SIGNIFICANT = 3.0


def make_flat(request, sigma=4.0, lowest=0.05, unreliable=0.05):
    """Make a FLAT reference from exposures to even light.

    Raw exposures and ramps go through the detector pipeline; rate files are taken as they
    are.  Every rate image is divided by the median of its good pixels; SCI is the clipped mean of these
    images, divided by its own median, ERR the standard error of that mean from the scatter of the
    exposures.  Pixels without at least two values, below `lowest` of the median, and reference
    pixels, get SCI 1 and NO_FLAT_FIELD with DO_NOT_USE; those whose relative error is above `unreliable`
    UNRELIABLE_FLAT.

    Parameters
    ----------
    request : Request
    sigma : float, optional
        Clipping limit in standard deviations.
    lowest : float, optional
        Smallest response.
    unreliable : float, optional
        Largest relative error.

    Returns
    -------
    dict
        What was measured: exposures, median relative error, scatter of the response, number of pixels
        without a flat.

    Raises
    ------
    UsageError
        For fewer than two exposures.
    InputError
        If the exposures differ in detector, subarray or optical elements.
    DataError
        If an exposure has no light.

    Notes
    -----
    Layout: jwst documentation, "FLAT Reference File".  The rate images wait in an unnamed temporary
    file, so that memory does not grow with their number.
    """
    from jwcal.core.fits import create_fits

    with create_fits(request.output, request.overwrite) as out:
        exposures = open_all(request, RECIPE)
        try:
            ny, nx = exposures[0].frame
            first = exposures[0].frame
            with tempfile.TemporaryFile(prefix="jwcal-") as scratch:
                rates, rows = _rates(request, exposures, scratch)
                ny, nx = rates.shape[1:]
                mean, scatter = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
                count = np.empty((ny, nx), np.int32)

                def work(y, images=rates):
                    part = np.s_[y : y + _ROWS]
                    mean[part], scatter[part], count[part] = clipped_mean(
                        np.ascontiguousarray(images[:, part]), sigma
                    )

                _spread(work, range(0, ny, _ROWS), engine.worker_count(request.jobs))
            blind = reference_pixels(exposures[0]) if first == (ny, nx) else np.zeros((ny, nx), bool)
            planes, report = _finish(mean, scatter, count, blind, lowest, unreliable)
            meta = exposures[0].meta
            header = reference_header(
                request, "flat", exposures, {"EXP_TYPE": None, **{key: meta.get(key) for key in _ELEMENTS}}, rows,
                [f"Clipped mean at {sigma:g} sigma of {len(exposures)} exposures, each divided by its median"],
            )  # fmt: skip
            write_planes(out, header, planes, FLAGS)
        finally:
            for exposure in exposures:
                exposure.close()
    return {"exposures": len(exposures), **report}


def _spread(function, items, jobs):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        list(pool.map(function, items))


def _rates(request, exposures, scratch):
    """Rate images divided by their medians, in a file; NaN where they cannot be used."""
    from jwcal.core.pipeline import run

    rates: Any = None
    steps: list = []
    for k, exposure in enumerate(exposures):
        if exposure.product == "rate":
            rate = exposure
        else:
            job = job_for(request, RECIPE, exposure, {"main": None})
            rate = next(iter(run(job, exposure).values()))
            steps = steps or [
                row
                for name, table in rate.tables
                if name == provenance.TABLE
                for row in provenance.from_table(table)
            ]
            if rate.product != "rate":
                raise DataError(f"{exposure.label}: no slopes could be fitted, so no flat can be made of it")
        image = np.array(rate["SCI"], np.float32)
        image[(rate["DQ"] & _UNUSABLE) != 0] = np.nan
        if rates is None:
            rates = np.memmap(scratch, np.float32, "w+", shape=(len(exposures), *image.shape))
        level, error = (
            _median(image, exposure),
            _median(np.where(np.isnan(image), np.nan, rate["ERR"]), exposure),
        )
        if not level > _SIGNIFICANT * error:
            raise DataError(
                f"{exposure.label}: the median rate is {level:.3g} DN/s with an error of {error:.2g}; a flat needs light"
            )
        rates[k] = image / np.float32(level)
    return rates, steps


def _median(image, exposure):
    seen = np.isfinite(image)
    if image.shape == exposure.frame:
        seen &= ~reference_pixels(exposure)
    return float(np.median(image[seen])) if seen.any() else float("nan")


def _finish(mean, scatter, count, blind, lowest, unreliable):
    error = scatter / np.sqrt(np.maximum(count, 1)).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        good = (count > 1) & ~blind & (mean > 0)
        level = np.median(mean[good]) if good.any() else np.float32(1)
        mean, error = mean / level, error / level
        none = ~(good & (mean >= lowest))
        weak = ~none & (error > unreliable * mean)
    dq = np.where(none, DQ["NO_FLAT_FIELD"] | DQ["DO_NOT_USE"], 0).astype(np.uint32)
    dq[weak] |= DQ["UNRELIABLE_FLAT"]
    mean[none], error[none] = 1, 0
    kept = ~none
    report = {
        "median relative error": float(np.median((error / mean)[kept])) if kept.any() else float("nan"),
        "scatter of the response": float(mean[kept].std()) if kept.any() else float("nan"),
        "pixels without a flat": int(none.sum()),
    }
    return {"SCI": mean.astype(np.float32), "ERR": error.astype(np.float32), "DQ": dq}, report

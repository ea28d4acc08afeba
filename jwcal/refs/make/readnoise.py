"""Read-noise references: the noise of correlated double sampling."""

import logging

import numpy as np

from jwcal.kernels.stack import clipped_mean
from jwcal.refs.make.sets import Ramps, Recipe
from jwcal.refs.make.write import reference_header, write_planes

log = logging.getLogger(__name__)

RECIPE = Recipe(
    "readnoise",
    skip=("ipc", "firstframe", "lastframe", "rscd"),
    same=("READPATT", "NFRAMES", "GROUPGAP", "TFRAME"),
    groups=2,
)


def make_readnoise(request, sigma=4.0, least=10):
    """Make a READNOISE reference from the differences of successive groups.

    The exposures, without light, are corrected up to and with the linearity step.  SCI is the scatter
    [DN] of the differences between successive groups, clipped and corrected for what clipping takes,
    times the root of the frames averaged into a group: the noise of the difference of two single
    frames, as the official steps expect.  Where there is a GAIN reference the shot noise of the mean
    difference (dark current, glow) is taken out.  Pixels with fewer than `least` differences
    are NaN.

    Parameters
    ----------
    request : Request
    sigma : float, optional
        Clipping limit in standard deviations.
    least : int, optional
        Smallest number of differences.

    Returns
    -------
    dict
        What was measured: differences of a pixel, median noise [DN], its relative error, number of
        pixels without a value.

    Raises
    ------
    InputError
        If the exposures differ in detector, subarray or readout, or have a single group.
    UsageError
        If no pixel can have as many differences as it needs.

    Notes
    -----
    Layout and meaning: jwst documentation, "READNOISE Reference File".  Successive differences
    share a group, so that n of them tell the noise as well as 2 n / 3 independent ones; the
    variance of the shot noise of averaged groups is that of Robberto 2009, JWST-STScI-001853.
    """
    from jwcal.core.errors import UsageError
    from jwcal.core.fits import create_fits

    with create_fits(request.output, request.overwrite) as out, Ramps(request, RECIPE) as ramps:
        total = sum(n * (e.shape[1] - 1) for n, e in zip(ramps.nints, ramps.exposures, strict=True))
        if total < least:
            raise UsageError(
                f"a readnoise needs at least {least} differences of groups, and here are {total}; give more exposures"
            )
        meta = ramps.meta
        nframes, period = meta["NFRAMES"], meta["NFRAMES"] + meta["GROUPGAP"]
        gain = gain_plane(request, ramps)
        share = 1 - (nframes**2 - 1) / (3 * nframes * period)
        noise = np.empty(ramps.frame, np.float32)
        used = np.empty(ramps.frame, np.int32)

        def work(box):
            steps = np.concatenate(
                [np.diff(sci, axis=1).reshape(-1, *sci.shape[2:]) for sci in ramps.each(box)]
            )
            mean, scatter, count = clipped_mean(steps, sigma)
            place = np.s_[box[0] : box[1], box[2] : box[3]]
            variance = scatter.astype(float) ** 2
            if gain is not None:
                with np.errstate(invalid="ignore", divide="ignore"):
                    shot = np.maximum(mean, 0) / gain[place] * share
                variance = np.maximum(variance - np.where(np.isfinite(shot), shot, 0), 0)
            value = np.sqrt(variance * nframes)
            value[(count < least) | (value <= 0)] = np.nan
            noise[place], used[place] = value, count

        ramps.map(work, ramps.boxes(12 * total))
        missing = int(np.isnan(noise).sum())
        notes = [f"Scatter, clipped at {sigma:g} sigma, of {total} differences of groups"]
        if gain is not None:
            notes.append("Shot noise of the mean difference taken out")
        keywords = {"READPATT": meta["READPATT"], "NOUTPUTS": meta.get("NOUTPUTS"), "BUNIT": "DN"}
        header = reference_header(request, "readnoise", ramps.exposures, keywords, ramps.rows, notes)
        write_planes(out, header, {"SCI": noise}, units={"SCI": "DN"})
    return {
        "differences": total,
        "median noise [DN]": float(np.nanmedian(noise)),
        "relative error": float(np.sqrt(0.75 / max(np.median(used), 1))),
        "pixels without a value": missing,
    }


def gain_plane(request, ramps):
    """Gain [electrons/DN] of the frame from the GAIN reference, or None where there is none."""
    from jwcal.core.reference import ReferenceFile

    exposure = ramps.walks[0].exposure
    path, why = request.source.find("gain", exposure.meta)
    if path is None:
        log.info("no GAIN reference (%s)", why)
        return None
    file = ReferenceFile("gain", path, exposure)
    try:
        return file.read("SCI", dtype="f4")
    finally:
        file.close()

"""Read-noise references: the noise of correlated double sampling."""

import logging

import numpy as np

from jwcal.core.errors import InputError, UsageError
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
    Of MIRI the mean of each difference over the exposures, in which the decay after a reset is seen, does
    not count as noise.  Layout and meaning: jwst documentation, "READNOISE Reference File".  Successive
    differences share a group, so that n of them tell the noise as well as 2 n / 3 independent ones; the
    variance of the shot noise of averaged groups is that of Robberto 2009, JWST-STScI-001853.
    """
    from jwcal.core.fits import create_fits

    with create_fits(request.output, request.overwrite) as out, Ramps(request, RECIPE) as ramps:
        total = sum(n * (e.shape[1] - 1) for n, e in zip(ramps.nints, ramps.exposures, strict=True))
        if total < least:
            raise UsageError(
                f"a readnoise needs at least {least} differences of groups, and here are {total}; give more exposures"
            )
        meta = ramps.meta
        miri = meta["INSTRUME"] == "MIRI"
        if miri and len({exposure.shape[1] for exposure in ramps.exposures}) > 1:
            raise InputError("exposures of MIRI for a readnoise must have the same number of groups")
        nframes, period = meta["NFRAMES"], meta["NFRAMES"] + meta["GROUPGAP"]
        gain = gain_plane(request, ramps)
        share = 1 - (nframes**2 - 1) / (3 * nframes * period)
        noise = np.empty(ramps.frame, np.float32)
        used = np.empty(ramps.frame, np.int32)

        def work(box):
            if miri:
                steps, level = _without_transients(np.diff(ramps.read(box)[0], axis=1), ramps.alike(), sigma)
            else:
                parts = [np.diff(sci, axis=1).reshape(-1, *sci.shape[2:]) for sci in ramps.each(box)]
                steps, level = np.concatenate(parts), None
            mean, scatter, count = clipped_mean(steps, sigma)
            mean = mean if level is None else level
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


def _without_transients(steps, sets, sigma):
    """Differences of groups less their mean over alike ramps, with their scatter restored; and that mean.

    Parameters
    ----------
    steps : (nramp, nstep, ny, nx) float32 numpy.ndarray
        Changed.
    sets : list of numpy.ndarray
        Ramps that are alike; of fewer than three the differences stay as they are.
    sigma : float
        Clipping limit.

    Returns
    -------
    steps : (nramp * nstep, ny, nx) float32 numpy.ndarray
    level : (ny, nx) float32 numpy.ndarray
    """
    levels = []
    for members in sets:
        own = steps[members]
        mean, _, _ = clipped_mean(own, sigma)
        levels.append(np.where(np.isfinite(mean), mean, 0).mean(axis=0))
        if members.size > 2:
            steps[members] = (own - mean) * np.float32(np.sqrt(members.size / (members.size - 1)))
    return steps.reshape(-1, *steps.shape[2:]), np.mean(levels, axis=0)


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

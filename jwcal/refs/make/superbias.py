"""Superbias references: what the detector reads at once after a reset."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import UsageError
from jwcal.core.stripes import IRS2_FRAME
from jwcal.kernels.stack import clipped_mean
from jwcal.refs.make.sets import Override, Ramps, Recipe, open_all
from jwcal.refs.make.write import reference_header, write_planes

FLAGS = ("DO_NOT_USE", "UNRELIABLE_BIAS")
_SAME = ("READPATT", "NFRAMES", "GROUPGAP")
RAW = Recipe("superbias", only=("group_scale", "dq_init"), same=_SAME, least=3, takes=("uncal",), depth=1)
# The saturation step looks at the two groups that follow.
RECIPE = Recipe("superbias", skip=("ipc", "linearity"), same=_SAME, least=3, takes=("uncal",), depth=3)


def make_superbias(request, sigma=4.0, noisy=5.0):
    """Make a SUPERBIAS reference from the first groups of raw exposures.

    Twice: the clipped mean [DN] of the first groups over all integrations is subtracted as
    if it were the reference, the drifts that are left are removed by the reference pixels (refpix step), and
    the clipped mean of what remains is added to it.  So the level of the bias stays in the
    reference and the drifts do not.  ERR is the standard error of that last mean.  Pixels with fewer
    than two values, or that scatter more than `noisy` times the median, get UNRELIABLE_BIAS.

    Parameters
    ----------
    request : Request
    sigma : float, optional
        Clipping limit in standard deviations.
    noisy : float, optional
        Scatter, in units of the median one, from which a bias is unreliable.

    Returns
    -------
    dict
        What was measured: integrations, median error [DN], number of unreliable pixels.

    Raises
    ------
    UsageError
        For MIRI, which has no such reference, for interleaved (IRS2) exposures, and for fewer than
        three integrations.
    InputError
        If the exposures differ in detector, subarray or readout.

    Notes
    -----
    Layout: jwst documentation, "SUPERBIAS Reference File".  The signal collected until the first
    group is part of the bias: use exposures without light.  The mean drift of these exposures, a level
    for each output, stays in the reference and is without effect, for the refpix step takes it out.
    """
    from jwcal.core.fits import create_fits

    with create_fits(request.output, request.overwrite) as out:
        exposures = open_all(request, RAW)
        if exposures[0].meta["INSTRUME"] == "MIRI" or exposures[0].frame == IRS2_FRAME:
            for exposure in exposures:
                exposure.close()
            raise UsageError(
                f"{exposures[0].label}: no superbias can be made of MIRI or of interleaved (IRS2) exposures"
            )
        with Ramps(request, RAW, exposures) as ramps:
            bias, _, _ = _mean(ramps, sigma)
            header = reference_header(request, "superbias", ramps.exposures, _keywords(ramps.meta))
        with tempfile.TemporaryDirectory(prefix="jwcal-") as folder:
            path = str(Path(folder) / "superbias.fits")
            with create_fits(path) as provisional:
                planes = {"SCI": bias, "DQ": np.zeros(bias.shape, np.uint32)}
                write_planes(provisional, header, planes, FLAGS)
            again = replace(request, source=Override(request.source, "superbias", path))
            with Ramps(again, RECIPE) as ramps:
                rest, scatter, count = _mean(ramps, sigma)
                total = sum(ramps.nints)
                header = reference_header(
                    request, "superbias", ramps.exposures, _keywords(ramps.meta), ramps.rows,
                    [f"Clipped mean at {sigma:g} sigma of the first groups of {total} integrations"],
                )  # fmt: skip
        with np.errstate(invalid="ignore"):
            bad = (count < 2) | (scatter > noisy * np.nanmedian(scatter))
        bias = bias + rest
        bias[count < 1] = np.nan
        error = scatter / np.sqrt(np.maximum(count, 1)).astype(np.float32)
        dq = np.where(bad, DQ["UNRELIABLE_BIAS"], 0).astype(np.uint32)
        write_planes(out, header, {"SCI": bias, "ERR": error, "DQ": dq}, FLAGS, {"SCI": "DN", "ERR": "DN"})
    return {
        "integrations": total,
        "median error [DN]": float(np.nanmedian(error)),
        "unreliable pixels": int(bad.sum()),
    }


def _mean(ramps, sigma):
    """Clipped mean, scatter and number of the first groups, over the whole frame."""
    mean, scatter = np.empty(ramps.frame, np.float32), np.empty(ramps.frame, np.float32)
    count = np.empty(ramps.frame, np.int32)

    def work(box):
        sci, _ = ramps.read(box, groups=slice(0, 1))
        place = np.s_[box[0] : box[1], box[2] : box[3]]
        mean[place], scatter[place], count[place] = (p[0] for p in clipped_mean(sci, sigma))

    ramps.map(work, ramps.boxes(8 * sum(ramps.nints)))
    return mean, scatter, count


def _keywords(meta):
    return {"READPATT": meta["READPATT"], "NOUTPUTS": meta.get("NOUTPUTS"), "BUNIT": "DN"}

"""Dark references: the mean signal of every group without light."""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.kernels.stack import clipped_mean
from jwcal.refs.make.sets import Ramps, Recipe
from jwcal.refs.make.write import add_images, reference_header

FLAGS = ("DO_NOT_USE", "UNRELIABLE_DARK")
# The MIRI steps left out only flag groups, and a dark needs them all.
RECIPE = Recipe(
    "dark", skip=("firstframe", "lastframe", "rscd"), least=3, needs=("superbias",), undone=("S_DARK",)
)


def make_dark(request, sigma=4.0):
    """Make a DARK reference from exposures without light.

    The exposures, raw or partly calibrated, are corrected by the steps of the dark pipeline, which
    are those before the dark is subtracted.  SCI is the clipped mean [DN] over all integrations of
    every group and pixel, ERR the standard error of that mean from the scatter of the integrations;
    saturated values and those at the floor of the converter do not count.  Of MIRI, where the first
    integration differs, SCI has two integrations: the first ones, and all later ones.  Groups
    without at least two values are NaN, and their pixels get UNRELIABLE_DARK in DQ.

    Parameters
    ----------
    request : Request
    sigma : float, optional
        Clipping limit in standard deviations.

    Returns
    -------
    dict
        What was measured: integrations, median error of the last group [DN], fraction of values
        clipped, number of unreliable pixels.

    Raises
    ------
    UsageError
        For fewer than three integrations.
    InputError
        If the exposures differ in detector, subarray or sampling.

    Notes
    -----
    Layout: jwst documentation, "DARK Reference File".  Each integration has the reset noise of its own
    in all its groups, which is therefore part of ERR.
    """
    from jwcal.core.fits import create_fits

    with create_fits(request.output, request.overwrite) as out, Ramps(request, RECIPE) as ramps:
        meta = ramps.exposures[0].meta
        miri = meta["INSTRUME"] == "MIRI"
        sets = ramps.alike()
        ngroups, frame = ramps.ngroups, ramps.frame
        lead = (len(sets), ngroups) if miri else (ngroups,)
        planes = {
            "SCI": ((*lead, *frame), "f4", "DN"),
            "DQ": ((len(sets), 1, *frame) if miri else frame, "u4", None),
            "ERR": ((*lead, *frame), "f4", "DN"),
        }
        header = reference_header(
            request, "dark", ramps.exposures, _keywords(meta, ngroups, len(sets) if miri else None), ramps.rows,
            [f"Clipped mean at {sigma:g} sigma of {sum(ramps.nints)} integrations"],
        )  # fmt: skip
        slots = add_images(out, header, planes, FLAGS)

        def work(box):
            sci, _ = ramps.read(box)
            report = np.zeros(3)
            for k, members in enumerate(sets):
                mean, scatter, count = clipped_mean(sci if len(sets) == 1 else sci[members], sigma)
                short = count < 2
                error = scatter / np.sqrt(np.maximum(count, 1)).astype(np.float32)
                mean[short] = error[short] = np.nan
                dq = np.where(short.any(axis=0), DQ["UNRELIABLE_DARK"], 0).astype(np.uint32)
                slots["SCI"].write_tile(box, mean, index=(k,) if miri else None)
                slots["ERR"].write_tile(box, error, index=(k,) if miri else None)
                slots["DQ"].write_tile(box, dq[None] if miri else dq, index=(k,) if miri else None)
                values = np.isfinite(sci[members]).sum()
                report += values - count.sum(), values, np.count_nonzero(dq)
                last = error[-1][np.isfinite(error[-1])]
            return report, float(np.median(last)) if last.size else np.nan

        done = ramps.map(work, ramps.boxes(4 * 2 * sum(ramps.nints) * ngroups))
        out.commit()
    clipped, values, unreliable = sum(report for report, _ in done)
    return {
        "integrations": sum(ramps.nints),
        "median error of the last group [DN]": float(np.nanmedian([error for _, error in done])),
        "fraction clipped": float(clipped / max(values, 1)),
        "unreliable pixels": int(unreliable),
    }


def _keywords(meta, ngroups, nints):
    return {
        "EXP_TYPE": meta.get("EXP_TYPE"),
        "READPATT": meta["READPATT"],
        "NFRAMES": meta["NFRAMES"],
        "NGROUPS": ngroups,
        "GROUPGAP": meta["GROUPGAP"],
        "NOUTPUTS": None if nints else meta.get("NOUTPUTS"),
        "NINTS": nints,
    }

"""Side reference pixels with optimised filters (simple improved reference subtraction, SIRS).

Instead of a running median, the means of the left and right reference pixels of each line are each
convolved with a kernel made for the output, from the coefficients of the SIRSKERNEL reference.

Source: Rauscher et al. 2022, Proc. SPIE 12191, 121910G, and JATIS 8, 028002; the algorithm and its
rounding are those of the calibration pipeline of the observatory, package ``jwst`` 3.0.
"""

import logging

import numpy as np

from jwcal.core.errors import ReferenceFileError

log = logging.getLogger(__name__)

OUTPUTS = 4
# Standard deviations per median absolute deviation.
MAD_TO_SIGMA = 1.48


def read_kernels(ref, detector, halfwidth, gaussmooth):
    """Kernels of a detector from a SIRSKERNEL reference.

    Parameters
    ----------
    ref : ReferenceFile
        ASDF; for each detector ``gamma`` (left) and ``zeta`` (right), Fourier coefficients by output.
    detector : str
        Name of the detector.
    halfwidth : int
        Lines on each side of the middle of a kernel.
    gaussmooth : float
        Standard deviation of the Gaussian that smooths the kernels, lines; 0 leaves them.

    Returns
    -------
    (2, 4, 2 * halfwidth + 1) float64 numpy.ndarray or None
        Left and right kernels by output; None if the reference has none for the detector.

    Raises
    ------
    ReferenceFileError
        If the coefficients do not have the shape they must have.
    """
    entry = next((v for k, v in ref.tree().items() if str(k).lower() == detector.lower()), None)
    if not isinstance(entry, dict):
        log.info("%s: no kernels for %s; the running median is used", ref.path, detector)
        return None
    window = np.zeros(2 * halfwidth + 1)
    window[halfwidth] = 1.0
    if gaussmooth > 0:
        x = np.arange(-halfwidth, halfwidth + 1)
        window = np.exp(-(x**2) / (2 * gaussmooth**2))
        window /= np.sum(window)
    kernels = np.empty((2, OUTPUTS, 2 * halfwidth + 1))
    for side, name in enumerate(("gamma", "zeta")):
        coefficients = np.array(entry.get(name, ()))
        if coefficients.ndim != 2 or len(coefficients) != OUTPUTS or coefficients.dtype.kind not in "fc":
            raise ReferenceFileError(
                f"{ref.path}: {name} of {detector} has shape {coefficients.shape}; one row for each of"
                f" {OUTPUTS} outputs is needed"
            )
        middle = coefficients.shape[1] - 1
        if middle < halfwidth + 1:
            raise ReferenceFileError(
                f"{ref.path}: {name} of {detector} has {middle + 1} coefficients, too few for halfwidth = {halfwidth}"
            )
        for output, row in enumerate(coefficients):
            kernel = np.fft.fftshift(np.fft.irfft(row))[middle - halfwidth : middle + halfwidth + 1]
            kernels[side, output] = np.convolve(kernel, window, mode="same") if gaussmooth > 0 else kernel
    return kernels


def side_templates(left, right, kernels, sigreject):
    """Signal of each line and output from the side reference pixels of one group.

    Parameters
    ----------
    left, right : (nline, 4) float64 numpy.ndarray
        Side pixels, DN; NaN counts as an outlier.
    kernels : (2, 4, k) float64 numpy.ndarray
        From `read_kernels`.
    sigreject : float
        Pixels further from the median of their side, in standard deviations estimated from the
        median absolute deviation, are left out.

    Returns
    -------
    (4, nline) float64 numpy.ndarray
        By output; DN.
    """
    means, shares = [], []
    for pixels in (left, right):
        known = pixels[np.isfinite(pixels)]
        middle = np.median(known) if known.size else 0.0
        width = MAD_TO_SIGMA * np.median(np.abs(known - middle)) if known.size else 0.0
        good = 1 * (np.abs(pixels - middle) <= sigreject * width)
        means.append(np.sum(np.where(good, pixels, 0.0) * good, axis=1) / 4)
        shares.append(np.sum(good, axis=1) / 4)
    out = np.empty((OUTPUTS, len(left)))
    whole = np.ones(len(left))
    with np.errstate(all="ignore"):
        for output in range(OUTPUTS):
            parts = []
            for kernel, mean, share in zip(kernels[:, output], means, shares, strict=True):
                scale = np.convolve(whole, kernel, mode="same")
                scale /= np.convolve(share, kernel, mode="same")
                parts.append(np.convolve(mean, kernel, mode="same") * scale)
            out[output] = parts[0] + parts[1]
    return out


def subtract_templates(group, level, templates, readout, box, *, rounded, keep_zero=False):
    """Subtract, in place, the levels of columns and then the templates of lines from part of one group.

    Parameters
    ----------
    group : (ny, nx) float32 numpy.ndarray
        Box of a group; DN.
    level : (n,) float64 numpy.ndarray
        Level by position along the fast axis of the box; DN.
    templates : (4, nline) float64 numpy.ndarray
        From `side_templates`.
    readout : Readout
        Orientation.
    box : (y0, y1, x0, x1)
        Where the part is.
    rounded : bool
        Round to float32 between the two.
    keep_zero : bool
        Leave pixels that are exactly zero as they are.
    """
    y0, y1, x0, x1 = box
    across, along = ((x0, x1), (y0, y1)) if readout.fast_is_x else ((y0, y1), (x0, x1))
    output = readout.fast[slice(*across)] // (len(readout.fast) // OUTPUTS)
    lines = readout.slow[slice(*along)]
    part = group if readout.fast_is_x else group.T
    with np.errstate(all="ignore"):
        value = part.astype(np.float64) - level
        if rounded:
            value = value.astype(np.float32).astype(np.float64)
        for k in range(OUTPUTS):
            where = np.flatnonzero(output == k)
            if where.size:
                value[:, where[0] : where[-1] + 1] -= templates[k][lines][:, None]
        np.copyto(part, value, casting="same_kind", where=(part != 0) if keep_zero else True)

"""Writing raw exposures, reference files and truth."""

from contextlib import contextmanager

import numpy as np

from jwcal.simulate import headers, references
from jwcal.simulate.ramp import HIT

_TREE = (
    b"#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n"
    b"--- !core/asdf-1.1.0\nmeta: {telescope: JWST}\n...\n"
)


def asdf_table():
    """Smallest metadata tree; the official reader insists on an ASDF extension.

    Returns
    -------
    numpy.ndarray
        One row, one column of bytes.
    """
    table = np.zeros(1, [("ASDF_METADATA", "u1", (len(_TREE),))])
    table["ASDF_METADATA"][0] = np.frombuffer(_TREE, np.uint8)
    return table


@contextmanager
def new_file(path, overwrite):
    """FITS file that appears only if the block ends well."""
    from jwcal.core.fits import create_fits

    out = create_fits(str(path), overwrite=overwrite)
    try:
        yield out
        out.commit()
    except BaseException:
        out.abort()
        raise


def add_image(out, name, array, unit=None):
    """Add a whole image extension."""
    out.add(image_header(name, unit), array.shape, array.dtype).write(np.ascontiguousarray(array))


def image_header(name, unit=None):
    """Header with a name and a unit."""
    from jwcal.core.header import Header

    header = Header()
    header.set("EXTNAME", name, "Name of the extension")
    if unit:
        header.set("BUNIT", unit, "Physical units of the array values")
    return header


class RawFile:
    """One raw file: the integrations `first` to `last` of an exposure.

    Parameters
    ----------
    out : writer of `new_file`
    plan : jwcal.simulate.headers.Plan
    first, last : int
        1-based, inclusive.
    segment : tuple of int or None
        Segment number and number of segments.
    readout : jwcal.simulate.irs2.Interleaved or None
        Adds what it reads beside the pixels.
    """

    def __init__(self, out, plan, first, last, segment=None, readout=None):
        frame = plan.region.shape if readout is None else readout.raw_shape
        shape = (last - first + 1, plan.timing.ngroups, *frame)
        out.add(headers.primary_header(plan, segment and (*segment, first, last)))
        self._science = out.add(headers.science_header(plan), shape, np.uint16)
        self._zero = None
        if plan.zeroframe:
            self._zero = out.add(image_header("ZEROFRAME", "DN"), (shape[0], *shape[2:]), np.uint16)
        out.add_table("GROUP", headers.group_times(plan, first, last))
        out.add_table("INT_TIMES", headers.integration_times(plan, first, last))
        out.add_table("ASDF", asdf_table())
        self._first, self._readout = first - 1, readout
        self._box = (0, shape[2], 0, shape[3])

    def write(self, integration):
        """Write an `jwcal.simulate.ramp.Integration`."""
        k = integration.index - self._first
        groups = integration.groups
        if self._readout is not None:
            groups = self._readout.interleave(groups, self._readout.references_read)
        self._science.write_tile(self._box, groups, index=(k,))
        if self._zero is not None:
            self._zero.write_tile(self._box, integration.zeroframe, index=(k,))


class TruthFile:
    """What a calibrated product should show.

    Extensions: RATE (DN/s), BAD (bits of `jwcal.simulate.pixels`), SATGRP (first clipped group of
    every integration, -1 if none), GAIN (electrons per DN), READ_E (electrons of one frame), CRS
    (hits, see `jwcal.simulate.ramp.Integration`), STARS.

    Parameters
    ----------
    out : writer of `new_file`
    plan : jwcal.simulate.headers.Plan
    first, last : int
        1-based, inclusive integrations.
    rate, gain : numpy.ndarray
        float32 (ny, nx), in the units of the calibrated product.
    pixels : jwcal.simulate.pixels.Pixels
    stars : numpy.ndarray
    seed : int
    """

    def __init__(self, out, plan, first, last, rate, gain, pixels, stars, seed):
        from jwcal.core.header import Header

        timing, region = plan.timing, plan.region
        header = Header()
        miri = region.detector.is_miri
        skip_first, skip = references.groups_to_skip(timing) if miri else (0, 0)
        skip_first = skip_first if first == 1 else skip
        for key, value, comment in (
            ("INSTRUME", region.detector.instrument.upper(), "Instrument"),
            ("DETECTOR", region.detector.name, "Detector"),
            ("EXP_TYPE", plan.exp_type, "Type of data in the exposure"),
            ("TGROUP", timing.tgroup, "[s] Time between groups"),
            ("TFRAME", timing.tframe, "[s] Time between frames"),
            ("NFRAMES", timing.nframes, "Number of frames per group"),
            ("GROUPGAP", timing.groupgap, "Number of frames dropped between groups"),
            ("NGROUPS", timing.ngroups, "Number of groups"),
            ("NINTS", last - first + 1, "Number of integrations"),
            ("INTSTART", first, "First integration"),
            ("INTEND", last, "Last integration"),
            ("SKIP1", skip_first, "Unusable groups at the start, first integration"),
            ("SKIP", skip, "Unusable groups at the start, later integrations"),
            ("SKIPLAST", int(miri), "Unusable groups at the end"),
            ("SEED", seed, "Seed of the simulation"),
        ):
            header.set(key, value, comment)
        out.add(header)
        add_image(out, "RATE", rate, "DN/s")
        add_image(out, "BAD", pixels.bad)
        self._saturated = out.add(image_header("SATGRP"), (last - first + 1, *region.shape), np.int16)
        add_image(out, "GAIN", gain, "electrons/DN")
        add_image(out, "READ_E", pixels.read_noise, "electrons")
        self._out, self._stars, self._hits = out, stars, []
        self._first, self._box = first - 1, (0, region.ny, 0, region.nx)
        self._last = last

    def write(self, integration):
        """Note an `jwcal.simulate.ramp.Integration`."""
        k = integration.index - self._first
        self._saturated.write_tile(self._box, integration.saturated, index=(k,))
        hits = integration.hits.copy()
        hits["INT"] = k
        self._hits.append(hits)

    def finish(self, effects=()):
        """Write the tables, and what the effects know."""
        self._out.add_table("CRS", np.concatenate(self._hits) if self._hits else np.zeros(0, HIT))
        self._out.add_table("STARS", self._stars)
        for effect in effects:
            for name, array, unit in effect.truth(self._first + 1, self._last):
                if array.dtype.names:
                    self._out.add_table(name, array)
                else:
                    add_image(self._out, name, array, unit)


def write_reference(
    folder, kind, region, timing, pixels, gain_factor=1.0, overwrite=False, inverse=False, readout=None
):
    """Write one reference file of a detector.

    Parameters
    ----------
    folder : pathlib.Path
        Existing folder.
    kind : str
        One of `jwcal.simulate.references.kinds`.
    region : jwcal.simulate.detectors.Region
    timing : jwcal.simulate.readout.Timing
    pixels : jwcal.simulate.pixels.Pixels
    gain_factor : float, optional
        GAINFACT of the gain file.
    overwrite : bool, optional
    inverse : bool, optional
        Add the inverse polynomials to the linearity file.
    readout : jwcal.simulate.irs2.Interleaved or None
        Readout whose mask and bias also hold its reference pixels.

    Returns
    -------
    str
        Name of the file.
    """
    path = folder / f"{kind}.fits"
    model = "DarkMIRIModel" if kind == "dark" and region.detector.is_miri else references.KINDS[kind]
    extra = references.extra_keywords(kind, region, timing, gain_factor)
    with new_file(path, overwrite) as out:
        out.add(headers.reference_header(kind, model, region, extra))
        if kind == "rscd":
            out.add_table("RSCD_GROUP_SKIP", references.rscd_table(region, timing))
        else:
            if kind == "dark":
                _add_dark(out, region, timing, pixels)
            arrays = references.planes(kind, region, timing, pixels)
            if inverse and kind == "linearity":
                arrays = {"COEFFS": arrays["COEFFS"], "INV_COEFFS": references.inverse(pixels), **arrays}
            if readout is not None and kind in {"mask", "superbias"}:
                arrays = readout.interleaved_reference(kind, arrays)
            for name, array in arrays.items():
                add_image(out, name, array)
            if "DQ" in arrays:
                out.add_table("DQ_DEF", references.dq_definition())
    return path.name


def _add_dark(out, region, timing, pixels):
    count, _, _ = references.dark_frames(region, timing)
    miri = region.detector.is_miri
    shape = (2, count, *region.shape) if miri else (count, *region.shape)
    slot = out.add(image_header("SCI", "DN"), shape, np.float32)
    for (i, k), plane in references.dark_planes(region, timing, pixels):
        slot.write_tile((0, region.ny, 0, region.nx), plane, index=(i, k) if miri else (k,))

"""Flicker noise: stripes along the lines of a detector that change from group to group.

Sources: Willott 2022, image1overf (medians along lines); Rauscher 2024, PASP 136, 015001 (fit in
frequency space); masks, backgrounds and defaults are those of the calibration pipeline of the
observatory, package ``jwst`` 3.0.
"""

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import DataError, ReferenceFileError, UsageError
from jwcal.core.step import Param, Ref, step
from jwcal.detector1 import scene_mask
from jwcal.detector1.clean_flicker_noise import background, soss_median, soss_traces
from jwcal.detector1.clean_flicker_noise.auto import choose_parameters
from jwcal.detector1.clean_flicker_noise.fft import FitError, fit_noise
from jwcal.detector1.clean_flicker_noise.save import Extras, check
from jwcal.detector1.clean_flicker_noise.scene import clean_by_scene
from jwcal.kernels import flicker

log = logging.getLogger(__name__)

FFT_TYPES = ("NRS_MSASPEC", "NRS_IFU", "NRS_FIXEDSLIT", "NRS_BRIGHTOBJ")
AUTO_TYPES = ("NIS_IMAGE", "NRC_IMAGE")
# Their median image is scaled by a light curve that only later stages can measure.
LIGHT_CURVES = ("NRS_BRIGHTOBJ", "NRC_TSGRISM", "NRC_TSIMAGE")
SOSS = "NIS_SOSS"
FULL_SIDE = 2048
CHANNELS = 4


def _is_soss(exposure, p):
    return exposure.meta["EXP_TYPE"] == SOSS


def _is_soss_median(exposure, p):
    return _is_soss(exposure, p) and p.background_method == "median_image"


def _load_flat(ref, box, plan):
    if not plan.flat_wanted:
        return None
    return {
        "SCI": np.ascontiguousarray(ref.read("SCI", box, dtype="f4")),
        "DQ": ref.read("DQ", box, dtype="u4") if "DQ" in ref else None,
    }


@step(
    "clean_flicker_noise",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_CLNFNS",
    refs=[
        Ref("flat", load=_load_flat, missing="optional"),
        Ref("gain", planes={"SCI": "f4"}, missing="optional"),
        Ref("readnoise", planes={"SCI": "f4"}, missing="optional"),
        Ref("pastasoss", missing="optional", keyword="R_PSTSOS", when=_is_soss),
        Ref("bkg", missing="optional", when=_is_soss_median),
        Ref("wavelengthrange", missing="optional", keyword="R_WAVRAN", when=_is_soss_median),
    ],
    params=[
        Param("autoparam", bool, False, "Choose flat, background and channels from the image itself."),
        Param(
            "fit_method",
            str,
            "median",
            "Medians along lines, a fit in frequency space (NIRSpec), or what is left of each group after the "
            "mean scene of all.",
            choices=("median", "fft", "scene"),
        ),
        Param("fit_by_channel", bool, False, "Fit every amplifier alone (full near-infrared frames)."),
        Param(
            "background_method",
            str,
            "median",
            "What is taken off before the fit and put back.",
            choices=("median", "model", "median_image", "none"),
        ),
        Param("background_box_size", str, None, "Rows and columns of a box of the background model."),
        Param(
            "mask_science_regions",
            bool,
            False,
            "Mask what is known: traces of SOSS, what sees no sky in MIRI.",
        ),
        Param("apply_flat_field", bool, False, "Divide by the flat field before the fit."),
        Param("n_sigma", float, 2.0, "Mask pixels brighter than this; 0 masks none.", unit="sigma", min=0),
        Param("fit_histogram", bool, False, "Find the width of the background by a fit to its histogram."),
        Param("single_mask", bool, True, "One mask for all integrations."),
        Param("user_mask", str, None, "Image that is not zero where there is background."),
        Param("save_mask", bool, False, "Write the mask (..._mask.fits)."),
        Param("save_background", bool, False, "Write the background (..._flicker_bkg.fits)."),
        Param("save_noise", bool, False, "Write the noise that was removed (..._flicker_noise.fits)."),
    ],
    changes=("SCI",),
    uses=("SCI", "GROUPDQ", "PIXELDQ", "ZEROFRAME", "AVDRKCUR"),
    default_skip=True,
    scope="exposure",
    keywords=("S_CLNFNS",),
)
def clean_flicker_noise(tile, refs, p):
    """Take noise that is common to the lines of a detector off every group.

    A draft of the slope image tells background from sources.  Of each difference of successive groups
    the background is subtracted, the noise is found from its unmasked pixels and removed, and the
    background is put back; cleaned differences are then added up.  Pixels flagged DO_NOT_USE or JUMP_DET
    do not take part.  ``fit_method = scene`` instead takes the mean difference of all groups as the
    scene, so that nothing has to be masked, and decides by the measured noise whether to correct at all;
    see ``docs/flicker.md``.

    SCI is float32 in DN and changed in place.  Without any usable pixel a group stays as it is.  Off
    unless asked for (``skip = false``).

    ``mask_science_regions`` masks the traces of NIRISS SOSS where the PASTASOSS reference has them, and the
    parts of the MIRI imager that see no sky.  The median image of SOSS is scaled by the light curve of its
    first order, after the background is subtracted (BKG, WAVELENGTHRANGE).

    Skips what it cannot work on (status FAILED, as the official step has it): MIRI spectra, the fit in
    frequency space for anything but NIRSpec spectra, the median image of a single integration, or of SOSS
    without PASTASOSS.
    Errors: exit 2 for slits of NIRSpec to be masked, and for median images of other time series, which
    need instrument models that this package does not have yet; exit 3 for a user mask that is no image of
    the exposure's shape; exit 4 for a FLAT of another shape, or traces to be masked without PASTASOSS;
    exit 5 if a file to be saved exists; exit 6 for a pupil wheel out of the range of PASTASOSS.
    """
    plan = tile.plan
    if plan.refused:
        log.warning("%s: clean_flicker_noise: nothing done: %s", tile.meta.label, plan.refused)
        return
    if plan.settings.fit_method == "scene":
        extras = Extras(tile, plan)
        original = extras.original()
        plan.report = clean_by_scene(tile, plan)
        extras.write(tile["SCI"], original)
        return
    flat = background_flat(refs["flat"]["SCI"]) if refs["flat"] else None
    cleaner = Cleaner(tile, plan, refs, flat)
    if plan.settings.autoparam:
        choose_parameters(cleaner)
    cleaner.run()


@clean_flicker_noise.setup
def _(exposure, refs, p):
    meta = exposure.meta
    kind = meta["EXP_TYPE"]
    settings = SimpleNamespace(**vars(p))
    miri = meta["INSTRUME"] == "MIRI"
    plan = SimpleNamespace(
        settings=settings,
        beside=exposure.beside,
        kind=kind,
        refused=_refusal(exposure, settings, kind, refs),
        axis=0 if miri else abs(meta["SLOWAXIS"]) - 1,
        full=meta.get("SUBARRAY") == "FULL" and not miri,
        user=None,
        box=_box(settings.background_box_size),
        soss=None,
        traces=None,
        flat_wanted=False,
        named_flat="R_FLAT" in exposure.primary,
        report=None,
    )
    if plan.refused:
        return plan
    if settings.user_mask and settings.user_mask.lower() != "none":
        plan.user = scene_mask.read_mask(settings.user_mask, exposure)
    if settings.autoparam and kind not in AUTO_TYPES:
        log.warning("clean_flicker_noise: no automatic parameters for %s; those given are used", kind)
        settings.autoparam = False
    if settings.fit_by_channel and not plan.full:
        log.warning("clean_flicker_noise: only full near-infrared frames are fitted by channel; off")
        settings.fit_by_channel = False
    if settings.background_method == "median_image" and settings.single_mask:
        log.info("clean_flicker_noise: the median image needs a mask for each integration")
        settings.single_mask = False
    if settings.fit_method == "scene" and (settings.save_mask or settings.save_background):
        log.warning("clean_flicker_noise: fit_method scene has neither a mask nor a background to write")
        settings.save_mask = settings.save_background = False
    check(exposure, settings)
    if kind == SOSS and settings.fit_method != "scene":
        _prepare_soss(exposure, plan, refs)
    elif settings.mask_science_regions and plan.user is None:
        _require_regions(kind)
    if settings.background_method == "model" or settings.autoparam or plan.soss:
        background.require_model()
    if settings.apply_flat_field and refs["flat"] is None:
        log.warning("clean_flicker_noise: no FLAT reference for %s; no flat field is applied", kind)
        settings.apply_flat_field = False
    plan.flat_wanted = refs["flat"] is not None and (
        settings.apply_flat_field or settings.autoparam or (miri and settings.mask_science_regions)
    )
    if plan.flat_wanted:
        refs["flat"].offset("SCI")
    drafted = plan.user is None or settings.autoparam or settings.background_method == "median_image"
    for name in ("gain", "readnoise"):
        if refs[name] is None and drafted and settings.fit_method != "scene":
            raise ReferenceFileError(
                f"clean_flicker_noise: {exposure.label}: no {name.upper()} reference;"
                f" give --ref-{name} FILE, --refs DIR, or a user_mask"
            )
    return plan


def _refusal(exposure, settings, kind, refs):
    """Why the official step would leave the data alone, or None."""
    if kind.startswith("MIR") and kind != "MIR_IMAGE":
        return f"EXP_TYPE {kind} is not supported"
    if settings.fit_method == "fft" and kind not in FFT_TYPES:
        return f"fit_method fft is for spectra of NIRSpec, not {kind}"
    if settings.background_method != "median_image" or settings.fit_method == "scene":
        return None
    if kind in LIGHT_CURVES or (kind == "MIR_IMAGE" and exposure.meta.get("TSOVISIT")):
        raise UsageError(
            f"clean_flicker_noise: background_method median_image of {kind} needs light curves of later stages,"
            " which are not supported yet; use median, model or none"
        )
    if kind == SOSS and (subarray := exposure.meta["SUBARRAY"]) not in soss_median.SUBARRAYS:
        return f"no median image of SOSS on subarray {subarray}"
    if kind == SOSS and refs["pastasoss"] is None:
        return "no PASTASOSS reference for a median image of SOSS"
    if exposure.shape[0] < 2:
        return "a median image needs more than one integration"
    return None


def _require_regions(kind):
    if kind.startswith("NRS"):
        raise UsageError(
            f"clean_flicker_noise: the slits of {kind} cannot be masked yet;"
            " give a user_mask or mask_science_regions = false"
        )


def _prepare_soss(exposure, plan, refs):
    """Find the traces to be masked, and what the median image needs."""
    meta, ref = exposure.meta, refs["pastasoss"]
    wanted = plan.settings.mask_science_regions and plan.user is None
    median = plan.settings.background_method == "median_image"
    if wanted and ref is None:
        raise ReferenceFileError(
            f"clean_flicker_noise: {exposure.label}: no PASTASOSS reference to mask the traces;"
            " give --ref-pastasoss FILE, --refs DIR, a user_mask or mask_science_regions = false"
        )
    if not (wanted or median):
        return
    traces, position, subarray = soss_traces.read_traces(ref), meta["PWCPOS"], meta["SUBARRAY"]
    if wanted:
        plan.traces = soss_traces.trace_mask(traces, position, subarray, exposure.frame)
    if median:
        soss_median.require_filter()
        plan.soss = SimpleNamespace(
            traces=traces,
            position=position,
            subarray=subarray,
            templates=soss_median.Templates(refs["bkg"], exposure.frame) if refs["bkg"] else (),
            limits=soss_median.read_limits(refs["wavelengthrange"], meta["FILTER"]),
        )


def _box(text):
    if not text:
        return None
    words = text.strip("[]() ").replace(",", " ").split()
    if len(words) != 2 or not all(word.isdigit() and int(word) > 0 for word in words):
        raise UsageError(f"clean_flicker_noise: background_box_size = {text!r}: say rows,columns, as 32,32")
    return tuple(int(word) for word in words)


@clean_flicker_noise.finish
def _(exposure, counts, plan, p):
    if plan.refused:
        exposure.meta.set("S_CLNFNS", "FAILED")
    if not plan.flat_wanted and not plan.named_flat and "R_FLAT" in exposure.primary:
        del exposure.primary["R_FLAT"]
    if plan.report:
        for key, value in plan.report.items():
            exposure.meta.set(key, value)


def background_flat(flat):
    """Flat field with the level of its surroundings where it has no value; changed in place.

    Parameters
    ----------
    flat : (ny, nx) float32 numpy.ndarray
        Flat field.

    Returns
    -------
    (ny, nx) float32 numpy.ndarray
    """
    bad = (flat == 0) | ~np.isfinite(flat)
    if bad.any():
        level, _ = background.background_level(flat, np.where(bad, 0, 1).astype(np.uint8), "model")
        flat[bad] = level if np.ndim(level) == 0 else level[bad]
    return flat


class Cleaner:
    """One exposure being cleaned by medians or in frequency space.

    Parameters
    ----------
    tile : Tile
        Whole frames, all integrations.
    plan : types.SimpleNamespace
        What the setup found.
    refs : dict
        Reference arrays.
    flat : (ny, nx) float32 numpy.ndarray or None
        Flat field without gaps.
    """

    def __init__(self, tile, plan, refs, flat):
        self.tile, self.plan, self.refs, self.all_flat = tile, plan, refs, flat
        self.set = plan.settings
        self.rate: Any = None
        self.dq: Any = None
        self.median_image: Any = None
        self.scale: Any = None
        self.sky: Any = None

    @property
    def flat(self):
        """Flat field, if one is applied."""
        return self.all_flat if self.set.apply_flat_field else None

    def run(self):
        """Clean the exposure in place."""
        tile, sci = self.tile, self.tile["SCI"]
        nint = len(sci)
        masks = self._masks()
        if self.set.background_method == "median_image":
            self.scale = self._light_curve()
            if self.scale is None:
                self.plan.refused = "the median image has no level to be scaled to"
                log.warning("%s: clean_flicker_noise: %s", tile.meta.label, self.plan.refused)
                return
            self.median_image = self._median_image()
        self.rate = self.dq = None
        extras = Extras(tile, self.plan, masks)
        keep = extras.original()
        empty, total = 0, 0
        target = self._scratch() if self.set.fit_method == "fft" else sci
        for i in range(nint):
            scene = masks[min(i, len(masks) - 1)] if masks.ndim == 3 else masks
            try:
                found = self._integration(i, scene, target, extras)
            except FitError as exc:
                self.plan.refused = f"integration {i + 1}: {exc}"
                log.warning("%s: clean_flicker_noise: nothing done: %s", tile.meta.label, self.plan.refused)
                return
            empty, total = empty + found[0], total + found[1]
        if target is not sci:
            sci[...] = target
        if empty:
            rest = "the data are unchanged" if empty == total else "they stay as they are"
            log.warning(
                "%s: clean_flicker_noise: no pixel shows background in %d of %d differences; %s",
                tile.meta.label, empty, total, rest,
            )  # fmt: skip
        extras.write(sci, keep)

    # -- masks

    def draft(self):
        """Draft slopes (one image, or one per integration) divided by the flat, and their flags."""
        gain, noise = self.refs["gain"]["SCI"], self.refs["readnoise"]["SCI"]
        rate, dq = scene_mask.draft_rate(self.tile, gain, noise, not self.set.single_mask)
        return rate, dq

    def _masks(self):
        wanted = self.set.background_method == "median_image"
        if self.plan.user is not None and not wanted:
            return self.plan.user
        self.rate, self.dq = self.draft()
        if self.flat is not None:
            with np.errstate(all="ignore"):
                self.rate /= self.flat
        if self.plan.user is not None:
            return self.plan.user
        images = self.rate.reshape(-1, *self.rate.shape[-2:])
        flags = self.dq.reshape(images.shape)
        hidden = [self._hidden(part) for part in flags]
        made = self.tile.spread(
            lambda k: scene_mask.scene_mask(images[k], self.set.n_sigma, self.set.fit_histogram, hidden[k]),
            range(len(images)),
        )
        return made[0] if self.set.single_mask else np.stack(made)

    def _hidden(self, dq):
        """Pixels that are known to see no sky."""
        if self.plan.traces is not None:
            return self.plan.traces
        if not self.set.mask_science_regions or self.plan.kind != "MIR_IMAGE":
            return None
        hidden = (dq & (DQ["DO_NOT_USE"] | DQ["NON_SCIENCE"])) != 0
        flat = self.refs["flat"]
        if flat:
            bad = ~np.isfinite(flat["SCI"]) | (flat["SCI"] == 0)
            if flat["DQ"] is not None:
                bad |= (flat["DQ"] & (DQ["DO_NOT_USE"] | DQ["NON_SCIENCE"])) != 0
            hidden |= bad
        return hidden

    # -- median image

    def _light_curve(self):
        """Level of each integration relative to their median, None where there is none."""
        if self.plan.soss is None:
            level = np.array([_nanmedian(image) for image in self.rate], np.float32)
        elif (level := self._soss_flux()) is None:
            return None
        with np.errstate(all="ignore"):
            scale = level / _nanmedian(level)
        bad = ~np.isfinite(scale)
        if bad.all():
            return None
        if bad.any():
            log.warning("clean_flicker_noise: %d integrations have no level; the median is used", bad.sum())
            scale[bad] = np.median(scale[~bad])
        return scale

    def _soss_flux(self):
        """Flux of each integration of SOSS, once the background is found and subtracted."""
        soss = self.plan.soss
        parts = soss_median.split_sky(self.rate, self.dq, soss.templates)
        if parts is None or soss.limits is None:
            return None
        self.sky, rate = parts
        try:
            return soss_median.light_curve(rate, soss.traces, soss.position, soss.subarray, soss.limits)
        except DataError as exc:
            log.warning("%s: clean_flicker_noise: %s", self.tile.meta.label, exc)
            return None

    def _sky(self, j, at):
        """Background that was collected up to a group."""
        meta = self.tile.meta
        nframes = meta["NFRAMES"]
        time = (nframes + (nframes + meta.get("GROUPGAP", 0)) * j) * meta["TFRAME"]
        return self.sky[at] * time

    def _median_image(self):
        sci = self.tile["SCI"]
        _, ngroup, ny, nx = sci.shape
        out = np.empty((ngroup, ny, nx), np.float32)
        rows = max((1 << 20) // (nx * sci.shape[0]), 1)

        def work(y):
            for j in range(ngroup):
                part = sci[:, j, y : y + rows]
                if self.sky is not None:
                    part = part - self._sky(j, np.s_[:, y : y + rows])
                out[j, y : y + rows] = _nanmedian(part, axis=0)

        self.tile.spread(work, range(0, ny, rows))
        return out

    # -- one integration

    def _scratch(self):
        from jwcal.core.exposure import ArrayStore

        sci = self.tile["SCI"]
        scratch = ArrayStore().create("SCI", sci.shape, sci.dtype)
        scratch[...] = sci
        return scratch

    def _integration(self, i, scene, target, extras):
        """Clean an integration; counts differences that hold nothing usable, and all."""
        sci = self.tile["SCI"][i]
        ngroup = sci.shape[0]
        first = 0 if self.median_image is not None else 1
        batch = max(self.tile.jobs, 1)
        last = sci[0].copy()
        empty = 0
        for start in range(first, ngroup, batch):
            groups = range(start, min(start + batch, ngroup))
            before = [last if j == start else sci[j - 1] for j in groups]
            work = zip(groups, before, strict=True)
            results = self.tile.spread(lambda pair: self._clean(i, pair[0], pair[1], scene), work)
            last = sci[groups[-1]].copy()
            for j, result in zip(groups, results, strict=True):
                if result is None:
                    empty += 1
                    continue
                base = target[i, j - 1] if self.median_image is None else self._median(i, j)
                level = self._add(result, base, target[i, j])
                extras.keep_background(i, j, level if self.median_image is None else base)
        return empty, ngroup - first

    def _median(self, i, j):
        scaled = self.median_image[j] * self.scale[i]
        return scaled if self.sky is None else scaled + self._sky(j, i)

    def _add(self, result, base, out):
        """Put the cleaned difference on top of a base; one of double precision keeps its own."""
        if base.dtype == np.float32:
            return result(base, out)
        level = result(np.zeros_like(out), out)
        out[...] = base + out
        return level

    def _clean(self, i, j, before, scene):
        """Find the noise of a difference; returns what adds the cleaned one to a group, or None."""
        now, flags, settings, flat = self.tile["SCI"][i, j], None, self.set, self.flat
        if self.median_image is None:
            flags = self.tile["GROUPDQ"][i, j]
        else:
            before = self._median(i, j)
            if before.dtype != np.float32:
                now, before = (now - before).astype(np.float32), np.zeros_like(now)
        image, mask = flicker.difference(now, before, scene, flags, flat)
        if not (mask == flicker.USABLE).any():
            return None
        method = "none" if settings.background_method == "median_image" else settings.background_method
        level, values = background.background_level(image, mask, method, self.plan.box)
        if method != "none":
            np.subtract(image, level, out=image)
            if settings.n_sigma > 0:
                # One level for all pixels leaves the order of the values as it was.
                values = values - level if np.ndim(level) == 0 else None
                background.clip_to_background(
                    image, mask, settings.n_sigma, settings.n_sigma, lower_half=True, values=values
                )
        if settings.fit_method == "fft":
            return self._fit(image, mask, level, flat)
        lines = flicker.line_medians(image, mask, self.plan.axis, self._parts(image.shape))

        def finish(base, out):
            flicker.apply(image, mask, lines, self.plan.axis, level, base, out, flat)
            return level

        return finish

    def _parts(self, shape):
        by_channel = self.set.fit_by_channel and shape[self.plan.axis] == FULL_SIDE
        return CHANNELS if by_channel else 1

    def _fit(self, image, mask, level, flat):
        meta = self.tile.meta
        cleaned = fit_noise(image, mask == flicker.USABLE, meta["DETECTOR"], meta.get("SUBARRAY"), map_all)
        cleaned += level
        if flat is not None:
            cleaned *= flat
        cleaned[mask == flicker.EMPTY] = np.nan

        def finish(base, out):
            out[...] = base + cleaned
            return level

        return finish


def map_all(function, items):
    """Call a function on each item in this thread."""
    return [function(item) for item in items]


def _nanmedian(array, axis=None):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(array, axis=axis)

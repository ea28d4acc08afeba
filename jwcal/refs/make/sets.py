"""Sets of exposures of one detector, calibrated box by box as a reference file needs them."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from jwcal.core import engine
from jwcal.core.dq import DQ
from jwcal.core.errors import InputError, ReferenceFileError, UsageError
from jwcal.refs.select import ReferenceSource

log = logging.getLogger(__name__)

# Bytes that all boxes worked on at the same time may take.
MEMORY = 256 << 20
# What every exposure of a set must share.
DETECTOR = ("INSTRUME", "DETECTOR", "SUBARRAY", "SUBSTRT1", "SUBSTRT2")
SAMPLING = ("READPATT", "NFRAMES", "GROUPGAP", "NGROUPS")
UNUSABLE = DQ["SATURATED"] | DQ["JUMP_DET"] | DQ["AD_FLOOR"]


@dataclass
class Request:
    """What to make a reference file of, and how to label it.

    Attributes
    ----------
    files : sequence of str
        Exposures.
    output : str
        File to write, "-" for standard output.
    source : ReferenceSource
        References of the steps that come before the one the new file is for.
    params : dict of str to dict
        Parameter values by step.
    jobs : int or None
        Threads; the result does not depend on them.
    overwrite, strict : bool
        Replace an existing file; treat a missing reference as an error.
    author, pedigree, useafter, description : str or None
        Keywords AUTHOR, PEDIGREE, USEAFTER, DESCRIP; None is what the exposures suggest.
    history : sequence of str
        Further lines of HISTORY.
    memory : int
        Bytes of pixel values held at the same time, as far as one column of them fits.
    """

    files: tuple
    output: str
    source: ReferenceSource = field(default_factory=ReferenceSource)
    params: dict = field(default_factory=dict)
    jobs: int | None = None
    overwrite: bool = False
    strict: bool = False
    author: str | None = None
    pedigree: str | None = None
    useafter: str | None = None
    description: str | None = None
    history: tuple = ()
    memory: int = MEMORY


@dataclass(frozen=True)
class Recipe:
    """What a kind of reference needs of its exposures.

    Attributes
    ----------
    kind : str
        Reference type in lower case.
    pipeline : str or None
        Pipeline whose steps to run; None runs only `only`.
    skip, only : tuple of str
        Steps to leave out; the only ones to run, if there are any.
    same : tuple of str
        Keywords all exposures must share, beside those of the detector.
    least : int
        Smallest number of integrations.
    groups : int
        Smallest number of groups.
    takes : tuple of str
        Products it can be made of.
    depth : int or None
        Leading groups that are looked at; None is all.
    needs : tuple of str
        Steps that must not be skipped for want of a reference file.
    alike : tuple of str
        Keywords all exposures must share or lack.
    undone : tuple of str
        Status keywords of steps that must not have been run.
    """

    kind: str
    pipeline: str = "dark"
    skip: tuple = ()
    only: tuple = ()
    same: tuple = SAMPLING
    least: int = 2
    groups: int = 1
    takes: tuple = ("uncal", "ramp")
    depth: int | None = None
    needs: tuple = ()
    alike: tuple = ()
    undone: tuple = ()


class Override:
    """Reference source in which one type is given by name.

    Parameters
    ----------
    source : ReferenceSource
    kind : str
    path : str
        File of this type; "N/A" says that there is none.
    """

    def __init__(self, source, kind, path):
        self._source, self._kind, self._path = source, kind, path

    def __getattr__(self, name):
        return getattr(self._source, name)

    def find(self, kind, meta):
        """Return file (or None) and reason; see `ReferenceSource.find`."""
        if kind != self._kind:
            return self._source.find(kind, meta)
        return (None, "N/A given") if self._path == "N/A" else (self._path, "named")


def open_all(request, recipe):
    """Open the exposures of a request and check that they belong together.

    Parameters
    ----------
    request : Request
    recipe : Recipe

    Returns
    -------
    list of Exposure

    Raises
    ------
    UsageError
        If there are too few exposures, or one appears twice.
    InputError
        If one cannot be used, or differs from the first in what they must share.
    """
    from jwcal.core.exposure import open_exposure
    from jwcal.core.pipeline import identity

    if not request.files:
        raise UsageError(f"no exposures to make a {recipe.kind} of")
    _allow_files(len(request.files))
    exposures: list = []
    seen: dict = {}
    try:
        for path in request.files:
            exposures.append(open_exposure(path))
            who = identity(path)
            if who in seen:
                raise UsageError(f"{path}: is given twice, also as {seen[who]}")
            if who is not None:
                seen[who] = path
            _check(exposures[0], exposures[-1], recipe)
        total = sum(e.shape[0] if len(e.shape) > 2 else 1 for e in exposures)
        if total < recipe.least:
            raise UsageError(
                f"a {recipe.kind} needs at least {recipe.least} integrations, and here are {total}; give more exposures"
            )
    except BaseException:
        for exposure in exposures:
            exposure.close()
        raise
    return exposures


def _allow_files(count):
    """Ask the system for as many open files as the set has."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))


def _check(first, exposure, recipe):
    label = exposure.label
    if exposure.product not in recipe.takes:
        raise InputError(
            f"{label}: is a {exposure.product}; a {recipe.kind} is made of {' or '.join(recipe.takes)} files"
        )
    for key in recipe.undone:
        if exposure.meta.get(key) == "COMPLETE":
            raise InputError(
                f"{label}: {key} is COMPLETE; a {recipe.kind} is made of exposures before that step"
            )
    if len(exposure.shape) == 4 and exposure.shape[1] < recipe.groups:
        raise InputError(
            f"{label}: has {exposure.shape[1]} groups; a {recipe.kind} needs at least {recipe.groups}"
        )
    for key in (*DETECTOR, *recipe.same):
        mine, other = exposure.meta[key], first.meta[key]
        if mine != other:
            raise InputError(
                f"{label}: {key} is {mine}, that of {first.label} {other}; make one {recipe.kind} of each"
            )
    for key in recipe.alike:
        mine, other = exposure.meta.get(key), first.meta.get(key)
        if mine != other:
            raise InputError(
                f"{label}: {key} is {mine}, that of {first.label} {other}; make one {recipe.kind} of each"
            )
    if exposure.frame != first.frame:
        raise InputError(
            f"{label}: {exposure.frame[0]} x {exposure.frame[1]} pixels, {first.label} has"
            f" {first.frame[0]} x {first.frame[1]}"
        )


class Ramps:
    """Ramps of a set of exposures, corrected by the steps of a recipe when they are read.

    Nothing is kept between boxes, so that memory does not grow with the number of exposures; what a step
    needs as a whole (interleaved readout) waits in unnamed temporary files.

    Parameters
    ----------
    request : Request
    recipe : Recipe
    exposures : list of Exposure or None
        From `open_all`; None opens them.  They are closed with the set.

    Attributes
    ----------
    exposures : list of Exposure
        The inputs.
    frame : (int, int)
        Rows and columns after the steps.
    nints : list of int
        Integrations of every exposure.
    ngroups : int
        Groups of the first exposure.
    rows : list of dict
        What ran on the first exposure (`jwcal.core.provenance.record`).
    """

    def __init__(self, request, recipe, exposures=None):
        from jwcal.core.pipeline import prepare

        self.request, self.recipe = request, recipe
        self.exposures = open_all(request, recipe) if exposures is None else exposures
        self.jobs = engine.worker_count(request.jobs)
        self._opened: dict = {}
        self._local = threading.local()
        self.walks: list = []
        self.rows: list = []
        try:
            for exposure in self.exposures:
                walk, rows = prepare(self._job(exposure), exposure, self._opened)
                # Only one exposure at a time needs the buffers of a thread.
                walk.local = self._local
                if recipe.depth and exposure.shape[1] > recipe.depth and not exposure.has("ZEROFRAME"):
                    walk.depth = recipe.depth
                _park(walk.exposure.store)
                self.walks.append(walk)
                self.rows = self.rows or rows
                require(recipe, exposure, rows)
        except BaseException:
            self.close()
            raise
        self.frame = self.walks[0].frame
        self.nints = [e.shape[0] if len(e.shape) > 2 else 1 for e in self.exposures]
        self.ngroups = self.exposures[0].shape[1] if len(self.exposures[0].shape) == 4 else 1
        if self.walks[0].depth:
            self.ngroups = self.walks[0].depth

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Close exposures and references."""
        for file in (*self._opened.values(), *self.exposures):
            file.close()

    def _job(self, exposure):
        return job_for(self.request, self.recipe, exposure)

    @property
    def meta(self):
        """Keywords of the first exposure as the steps leave them."""
        return self.walks[0].exposure.meta

    def reference_pixels(self, box=None):
        """Which pixels of the frame, or of a box of it, never see light; see `reference_pixels`."""
        return reference_pixels(self.walks[0].exposure, box)

    def boxes(self, values, rows=1):
        """Divide the frame so that the values of some boxes, one for each thread, fit in memory.

        Parameters
        ----------
        values : int
            Bytes a pixel takes.
        rows : int, optional
            Rows that must stay together, counted from the first row of the detector.

        Returns
        -------
        list of (y0, y1, x0, x1)
        """
        ny, nx = self.frame
        pixels = max(self.request.memory // (self.jobs * max(values, 1)), 1)
        high = max(min(pixels // nx, -(-ny // self.jobs)) // rows * rows, rows)
        wide = min(nx, max(pixels // high, 32))
        if rows > 1:
            wide = nx
        offset = -self.exposures[0].substrt[0] % rows
        ys = sorted({0, ny, *range(offset, ny, high)})
        xs = [*range(0, nx, wide), nx]
        return [(*y, *x) for y in pairwise(ys) for x in pairwise(xs)]

    def map(self, function, boxes):
        """Call a function on every box, in threads; results come in the order of the boxes."""
        if self.jobs <= 1 or len(boxes) <= 1:
            return [function(box) for box in boxes]
        with ThreadPoolExecutor(min(self.jobs, len(boxes))) as pool:
            return list(pool.map(function, boxes))

    def read(self, box, unusable=UNUSABLE, groups=None, which=None):
        """Ramps of a box, corrected.

        Parameters
        ----------
        box : (y0, y1, x0, x1)
        unusable : int, optional
            Values with any of these flags become NaN.
        groups : slice, optional
            Groups to keep; all by default.
        which : sequence of int, optional
            Exposures to read; all by default.

        Returns
        -------
        sci : (nramp, ngroup, ny, nx) float32 numpy.ndarray
            DN; integrations of all exposures, one after the other.
        flags : (ny, nx) uint32 numpy.ndarray
            PIXELDQ, united over the exposures.
        """
        y0, y1, x0, x1 = box
        groups = slice(None) if groups is None else groups
        which = range(len(self.walks)) if which is None else which
        count = len(range(*groups.indices(self.ngroups)))
        sci = np.empty((sum(self.nints[k] for k in which), count, y1 - y0, x1 - x0), np.float32)
        flags = np.zeros((y1 - y0, x1 - x0), np.uint32)
        first = 0
        for k in which:
            walk = self.walks[k]
            self._fill(walk, box, sci[first : first + self.nints[k]], flags, unusable, groups)
            first += self.nints[k]
        return sci, flags

    def each(self, box, unusable=UNUSABLE):
        """Ramps of a box exposure by exposure, which may differ in their number of groups.

        Yields
        ------
        (nint, ngroup, ny, nx) float32 numpy.ndarray
        """
        y0, y1, x0, x1 = box
        flags = np.zeros((y1 - y0, x1 - x0), np.uint32)
        for walk, nint in zip(self.walks, self.nints, strict=True):
            sci = np.empty((nint, walk.exposure.shape[1], y1 - y0, x1 - x0), np.float32)
            self._fill(walk, box, sci, flags, unusable, slice(None))
            yield sci

    @staticmethod
    def _fill(walk, box, sci, flags, unusable, groups):
        last = len(walk.nodes)

        def deliver(k, tile, _products):
            if k != last or not tile.rows_kept:
                return
            y0, y1, x0, x1 = tile.core_box
            place = np.s_[..., y0 - box[0] : y1 - box[0], x0 - box[2] : x1 - box[2]]
            sci[place] = tile.kept("SCI")[:, groups]
            if "GROUPDQ" in tile:
                bad = (tile.kept("GROUPDQ")[:, groups] & np.uint8(unusable)) != 0
                np.copyto(sci[place], np.nan, where=bad)
            if "PIXELDQ" in tile:
                flags[place] |= tile.kept("PIXELDQ")

        walk.walk(box, ("SCI", "GROUPDQ", "PIXELDQ"), deliver)

    def alike(self):
        """Ramps whose signal without light is the same: of MIRI the first integrations, and the later ones.

        Returns
        -------
        list of numpy.ndarray
            Numbers of the ramps, as `read` gives them.
        """
        total = sum(self.nints)
        if self.exposures[0].meta["INSTRUME"] != "MIRI":
            return [np.arange(total)]
        first = np.cumsum([0, *self.nints[:-1]])
        later = np.setdiff1d(np.arange(total), first)
        return [first, later] if later.size > 1 else [first]

    def group_times(self):
        """Mean time of every group since the start of the integration [s]."""
        meta = self.exposures[0].meta
        middle = (meta["NFRAMES"] + 1) / 2
        period = meta["NFRAMES"] + meta["GROUPGAP"]
        return (np.arange(self.ngroups) * period + middle) * meta["TFRAME"]


def _park(store):
    """Put planes that a step needed in memory as a whole into an unnamed temporary file."""
    import tempfile

    for name, array in getattr(store, "planes", {}).items():
        if not isinstance(array, np.memmap) and array.nbytes > 1 << 20:
            with tempfile.TemporaryFile(prefix="jwcal-") as scratch:
                parked = np.memmap(scratch, array.dtype, "w+", shape=array.shape)
            parked[...] = array
            store.planes[name] = parked


def job_for(request, recipe, exposure, outputs=None):
    """Put the steps of a recipe together for one exposure, without those its header calls COMPLETE."""
    from jwcal.core.params import Layers
    from jwcal.core.pipeline import Job, plan_items

    instrument = exposure.meta["INSTRUME"]
    wanted = [
        item
        for item in plan_items(recipe.pipeline, instrument)
        if item.step.name not in recipe.skip and (not recipe.only or item.step.name in recipe.only)
    ]
    items = [i for i in wanted if not (i.step.status and exposure.meta.get(i.step.status) == "COMPLETE")]
    known = [item.step.name for item in wanted]
    for name in request.params:
        if name not in known:
            raise UsageError(
                f"a {recipe.kind} is made without a step {name!r} (steps: {', '.join(known) or 'none'})"
            )
    layers = Layers()
    names = {item.step.name for item in items}
    layers.add("refs make", {name: values for name, values in request.params.items() if name in names})
    return Job(items, layers, request.source, outputs or {}, jobs=request.jobs, strict=request.strict)


def require(recipe, exposure, rows):
    """Raise ReferenceFileError if a step that is needed was skipped for want of a reference."""
    for row in rows:
        if row["STEP"] in recipe.needs and row["REASON"].startswith("no ") and "reference" in row["REASON"]:
            raise ReferenceFileError(
                f"refs make {recipe.kind}: {exposure.label}: {row['STEP']} cannot be left out: {row['REASON']};"
                " give --refs DIR"
            )


def reference_pixels(exposure, box=None):
    """Which pixels never see light.

    Parameters
    ----------
    exposure : Exposure
        Gives INSTRUME and the place of its frame in the detector.
    box : (y0, y1, x0, x1), optional
        Part of the frame.

    Returns
    -------
    (ny, nx) bool numpy.ndarray
        Four pixels along every edge of a near-infrared detector; the first and last four columns
        of a MIRI one.
    """
    miri = exposure.meta["INSTRUME"] == "MIRI"
    size = (1024, 1032) if miri else (2048, 2048)
    y0, x0 = exposure.substrt
    box = box or (0, exposure.frame[0], 0, exposure.frame[1])
    y, x = np.arange(box[0], box[1]) + y0, np.arange(box[2], box[3]) + x0
    rows = np.zeros(y.size, bool) if miri else (y < 4) | (y >= size[0] - 4)
    columns = (x < 4) | (x >= size[1] - 4)
    return rows[:, None] | columns[None, :]

"""Names of the products of every pipeline stage, from raw files and associations.

Source: jwst 3.0.0 (the pipelines' names and suffixes; documentation, "File Naming Schemes" and "Data Product
Types").  Optional products that are not written by default are not listed.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

from jwcal.associations.names import file_name
from jwcal.planning import grids, sizes

_RESAMPLED = frozenset(("mir_image", "nrc_image", "nis_image", "fgs_image"))
_SLITLESS = frozenset(("nrc_wfss", "nis_wfss", "mir_wfss"))
_CUBES = frozenset(("mir_mrs", "nrs_ifu"))
_SLITS = frozenset(("nrs_fixedslit", "nrs_msaspec", "mir_lrs-fixedslit"))
_LAMPS = frozenset(("nrs_lamp", "nrs_autowave", "nrs_autoflat"))
_FIXED_SLITS = {"s200a1": 1, "s200a2": 2, "s400a1": 3, "s1600a1": 4, "s200b1": 5}
_SLIT_OF_SUBARRAY = {
    "subs200a1": "s200a1", "subs200a2": "s200a2", "subs400a1": "s400a1", "subs200b1": "s200b1", "sub2048": "s1600a1",
    "sub512": "s1600a1", "sub512s": "s1600a1", "sub1024a": "s1600a1", "sub1024b": "s1600a1",
}  # fmt: skip
_GRATINGS = frozenset(("g140m", "g235m", "g395m", "g140h", "g235h", "g395h", "prism"))
_BANDS = ("short", "medium", "long")
# Functions of guiding, the parts of their files' names, and rows, columns of a frame where they are fixed.
_GUIDING = (
    ("gs-id", "image-"), ("gs-id", "stacked-"), ("gs-acq1", ""), ("gs-acq2", ""), ("gs-track", ""), ("gs-fg", ""),
)  # fmt: skip
NUMBER_IS_ESTIMATE = "the archive numbers candidates from c1000 on in an order that a program does not tell"
_NO_SOURCES = "sources are known from the MSA plan only: give its file with --msa"
_GUIDE_NOTE = "times and number of attempts are known after guiding"


@dataclass(slots=True, eq=False)
class Product:
    """One predicted product, or a pattern that stands for an unknown number of them.

    Attributes
    ----------
    name : str
        File name; "*" stands for what is not known.
    stage : int
        0 raw, 1 slopes, 2 calibrated exposures, 3 combined.
    suffix : str
        Product type, such as "rate".
    pipeline : str
        Pipeline that writes it, "" for raw files.
    made_of : list of str
        Association files, or the raw file, that it comes from.
    raws : list of Raw
        Raw files whose data are in it.
    count : int or None
        1; None for a pattern.
    size : int or None
        Bytes; None if unknown.
    size_note : str
        Why the size is an estimate or unknown.
    cpu : float or None
        CPU seconds of the run of the pipeline, None if unknown; given once for all products of a run.
    memory : int or None
        Bytes of memory at most, likewise.
    run : str
        Name of the product of the same run that has its cost, "" for that one itself.
    note : str
        Why the name is an estimate, "" if it follows from the program.
    """

    name: str
    stage: int
    suffix: str
    pipeline: str
    made_of: list
    raws: list
    count: int | None = 1
    size: int | None = None
    size_note: str = ""
    cpu: float | None = None
    memory: int | None = None
    run: str = ""
    note: str = ""

    @property
    def observations(self):
        """Numbers (tuple of int) of the observations that it comes from."""
        return tuple(sorted({raw.observation.number for raw in self.raws}))


class Products:
    """Collects the products of a program.

    Parameters
    ----------
    program : Program
        With visits and exposures.
    raws : list of Raw
        Its raw files.
    generator : Generator
        Of the pool that has a row for each of them, in this order.
    sources : dict of int to list of str, optional
        Identifiers of the sources of NIRSpec MOS observations, such as "s000000123", by observation.
    """

    def __init__(self, program, raws, generator, sources=None):
        self.program = program
        self.raws = raws
        self.generator = generator
        self.sources = sources or {}
        self.found: dict[str, Product] = {}

    def collect(self, associations):
        """Every product (list of Product), by stage, then in the order in which its exposures are taken.

        A name that several associations give is there once.
        """
        for raw in self.raws:
            self._of_raw(raw)
        self._of_guiding()
        for association in associations:
            if association.rule.level == 2:
                self._of_level2(association)
        for association in associations:
            if association.rule.level == 3:
                self._of_level3(association)
        place = {id(raw): index for index, raw in enumerate(self.raws)}
        return sorted(self.found.values(), key=lambda product: (product.stage, place[id(product.raws[0])]))

    def _add(self, name, stage, suffix, pipeline, made_of, raws, size=(None, ""), note="", run="", count=1):
        there = self.found.get(name)
        if there is not None:
            if made_of not in there.made_of:
                there.made_of.append(made_of)
            return there
        bytes_, why = size
        made = Product(name, stage, suffix, pipeline, [made_of], raws, count, bytes_, why, note=note, run=run)
        self.found[name] = made
        return made

    # -- one exposure

    def _of_raw(self, raw):
        stem = raw.name.removesuffix("_uncal.fits")
        self._add(raw.name, 0, "uncal", "", raw.name, [raw], sizes.exposure_bytes(raw, "uncal"), raw.sure)
        dark = _is_dark(raw.exp_type)
        made = ["dark"] if dark else ["rate", "rateints"]
        first = ""
        for suffix in made:
            name = f"{stem}_{suffix}.fits"
            size = sizes.exposure_bytes(raw, suffix)
            pipeline = "dark" if dark else "detector1"
            self._add(name, 1, suffix, pipeline, raw.name, [raw], size, raw.sure, first)
            first = first or name

    def _of_guiding(self):
        from jwcal.planning.raw import guided

        first: dict[int, list] = {}
        for raw in self.raws:
            first.setdefault(id(raw.visit), [raw])
        for observation in self.program.observations:
            for visit in observation.visits:
                mine = first.get(id(visit))
                if not mine or not guided(visit):
                    continue
                start = f"jw{self.program.number}{observation.number:03d}{visit.number:03d}"
                for function, kind in _GUIDING:
                    raw_name = f"{start}_{function}_*_{kind}uncal.fits"
                    for stage, suffix in ((0, "uncal"), (2, "cal")):
                        self._add(
                            f"{start}_{function}_*_{kind}{suffix}.fits", stage, suffix, "guider" if stage else "",
                            raw_name, mine, (None, _GUIDE_NOTE), _GUIDE_NOTE, count=None,
                        )  # fmt: skip

    # -- level 2

    def _raw_of(self, member):
        return None if member.row is None else self.raws[member.row[self.generator.number]]

    def _of_level2(self, association):
        for name, members in association.products:
            science = next((member for member in members if member.role == "science"), None)
            if science is None:
                continue
            raw = self._raw_of(science)
            apart = science.file.endswith("ints.fits")
            image = association.type in ("image2", "tso-image2")
            suffixes = _image2(raw, apart) if image else _spec2(raw, apart)
            flavour = _flavour(raw, image)
            pipeline = "image2" if image else "spec2"
            stem = PurePosixPath(name).name
            first = ""
            for suffix in suffixes:
                size = sizes.exposure_bytes(raw, suffix, flavour)
                made = self._add(
                    f"{stem}_{suffix}.fits",
                    2,
                    suffix,
                    pipeline,
                    file_name(association),
                    [raw],
                    size,
                    raw.sure,
                    first,
                )
                first = first or made.name

    # -- level 3

    def _of_level3(self, association):
        maker = _Level3(self, association)
        getattr(maker, association.type.replace("-", "_"))()


class _Level3:
    """Products of one association of level 3."""

    def __init__(self, products, association):
        self.products = products
        self.asn = association
        self.file = file_name(association)
        self.science = self._members("science")
        self.raws = [raw for _, raw in self.science]
        self.name = association.name
        self.note = NUMBER_IS_ESTIMATE if association.candidate.startswith("c") else ""
        self.note = self.note or next((raw.sure for raw in self.raws if raw.sure and len(self.raws) == 1), "")
        self.kind = self.raws[0].exp_type.lower()
        self.first = ""

    def _members(self, role):
        raw_of = self.products._raw_of  # noqa: SLF001 - part of the same module
        return [(m, raw_of(m)) for m in self.asn.members if m.role == role and m.row is not None]

    def _put(self, name, suffix, pipeline, raws, size, note="", count=1):
        made = self.products._add(  # noqa: SLF001 - part of the same module
            name, 3, suffix, pipeline, self.file, raws, size, note or self.note, self.first, count
        )
        self.first = self.first or made.name

    def _named(self, root, suffix, pipeline, extension="fits", note="", count=1, part=None, raws=None):
        size = sizes.combined_bytes(raws or self.raws, suffix, part)
        if count is None:
            size = (None, note)
        self._put(f"{root}_{suffix}.{extension}", suffix, pipeline, self.raws, size, note, count)

    def _each(self, members, suffix, pipeline, flavour="", size=None):
        """Products of single exposures, which carry the identifier of the candidate."""
        endings = self.products.generator.endings
        for member, raw in members:
            name = f"{endings.stem(member.file)}_{self.asn.candidate}_{suffix}.fits"
            given = size(raw) if size else sizes.exposure_bytes(raw, suffix, flavour)
            self._put(name, suffix, pipeline, [raw], given, self.note or raw.sure)

    def image3(self):
        self._named(self.name, "i2d", "image3")
        self._named(self.name, "cat", "image3", "ecsv")
        self._named(self.name, "segm", "image3")
        self._each(self.science, "crf", "image3", "image")

    def wfs_image3(self):
        name = self.name.replace("{suffix}", "wfscmb")
        self._put(
            f"{name}.fits", "wfscmb", "wfs-image3", self.raws, sizes.exposure_bytes(self.raws[0], "wfscmb")
        )

    def coron3(self):
        stars = self._members("psf")
        frames = sum(raw.nints for _, raw in stars)
        self._named(self.name, "i2d", "coron3")
        size = sizes.stack_bytes(stars[0][1], "psfstack", frames), ""
        self._put(f"{self.name}_psfstack.fits", "psfstack", "coron3", [raw for _, raw in stars], size)
        self._each(stars + self.science, "crfints", "coron3", "image")
        self._each(
            self.science,
            "psfalign",
            "coron3",
            size=lambda raw: (sizes.stack_bytes(raw, "psfalign", frames), ""),
        )
        self._each(self.science, "psfsub", "coron3")

    def ami3(self):
        self._named(self.name, "aminorm-oi", "ami3")
        self._each(self.science, "ami-oi", "ami3")
        self._each(self._members("psf"), "psf-ami-oi", "ami3")

    def tso3(self):
        if self.kind in ("nrc_tsimage", "mir_image"):
            self._named(self.name, "phot", "tso3", "ecsv")
            flavour = "image"
        else:
            self._named(self.name, "x1dints", "tso3")
            self._named(self.name, "whtlt", "tso3", "ecsv")
            flavour = "slitless"
        self._each(self.science, "crfints", "tso3", flavour)

    def spec3(self):
        if self.kind in _SLITLESS:
            for suffix in ("x1d", "c1d"):
                size = (None, "it holds a spectrum of every source")
                self._put(f"{self.name}_{suffix}.fits", suffix, "spec3", self.raws, size)
        elif self.kind == "nis_soss":
            self._named(self.name, "x1d", "spec3")
            self._named(self.name, "c1d", "spec3")
        elif self.kind in _CUBES:
            for root, part, raws in self._cubes():
                self._named(root, "s3d", "spec3", part=part, raws=raws)
                self._named(root, "x1d", "spec3", part=part, raws=raws)
            self._each(self.science, "crf", "spec3")
        elif "{source_id}" in self.name:
            self._sources()
        else:
            self._named(self.name, "s2d", "spec3")
            self._named(self.name, "x1d", "spec3")
            self._each(self.science, "crf", "spec3", "slitless")

    def _cubes(self):
        """Cubes: for every channel and band, or grating and filter, the name, these, its raw files (list)."""
        of_part: dict[tuple[str, str], list] = {}
        for raw in self.raws:
            for part in self._parts(raw.detector):
                of_part.setdefault(part, []).append(raw)
        if self.kind == "nrs_ifu":
            head, _, last = self.name.rpartition("_")
            base = head if last in _GRATINGS else self.name
            return [
                (f"{base}_{grating}-{name}", (grating, name), raws)
                for (grating, name), raws in of_part.items()
            ]
        ordered = sorted(
            of_part.items(), key=lambda each: (each[0][0], (*_BANDS, each[0][1]).index(each[0][1]))
        )
        return [
            (f"{self.name}_ch{channel}-{band}", (channel, band), raws) for (channel, band), raws in ordered
        ]

    def _parts(self, detector):
        if self.kind == "nrs_ifu":
            return [(detector.grating.lower(), detector.filter.lower())]
        return zip(detector.channel, grids.bands_of(detector), strict=False)

    def _sources(self):
        """One set of products for every source: slitlets of the MSA, or fixed slits that are open."""
        for root, note, count in self._roots():
            for suffix in ("cal", "crf", "s2d", "x1d"):
                if count is None:
                    size = (None, note)
                elif suffix in ("cal", "crf"):
                    size = (None, "cut-outs follow the traces of the slits")
                else:
                    size = sizes.combined_bytes(self.raws, suffix)
                self._put(f"{root}_{suffix}.fits", suffix, "spec3", self.raws, size, note, count)

    def _roots(self):
        if self.kind == "nrs_msaspec":
            numbers = {raw.observation.number for raw in self.raws}
            known = [each for number in sorted(numbers) for each in self.products.sources.get(number, ())]
            if not known:
                yield self.name.replace("{source_id}", "*"), _NO_SOURCES, None
            for source in dict.fromkeys(known):
                yield self.name.replace("{source_id}", source), "", 1
            return
        slits: dict[tuple, None] = {}
        for raw in self.raws:
            primary, subarray = raw.exposure.fxd_slit.lower(), raw.exposure.subarray.lower()
            only = _SLIT_OF_SUBARRAY.get(subarray)
            for slit, number in _FIXED_SLITS.items():
                if only in (None, slit) and self._lit(slit, raw.detector):
                    source = 1 if slit == primary else 10 * _FIXED_SLITS.get(primary, 0) + number
                    slits[source, slit] = None
        by_source: dict[int, list[str]] = {}
        for source, slit in slits:
            by_source.setdefault(source, []).append(slit)
        for source, names in by_source.items():
            text = self.name.replace("{source_id}", f"s{source:09d}").replace("{slit_name}", "-".join(names))
            yield text, "", 1

    def _lit(self, slit, detector):
        """Whether the spectrum of a fixed slit falls on a detector."""
        paths = self.products.generator.rules.tables["optical_paths"]["nrs_fixedslit"]
        path = [detector.grating.lower(), detector.filter.lower(), detector.name.lower()]
        return ["s200b1" if slit == "s200b1" else "a", *path] in paths


def _is_dark(exp_type):
    kind = exp_type.lower()
    return kind.endswith("_dark") or kind.startswith("mir_dark")


def _image2(raw, apart):
    if apart:
        return ["calints"]
    sensing = raw.observation.template.lower().startswith("wfsc")
    return ["cal", "i2d"] if raw.exp_type.lower() in _RESAMPLED and not sensing else ["cal"]


def _spec2(raw, apart):
    kind = raw.exp_type.lower()
    if apart:
        return ["calints", "x1dints"]
    if kind in _LAMPS:
        if kind == "nrs_autoflat" or (kind == "nrs_lamp" and raw.exposure.lamp.lower().startswith("flat")):
            return ["cal"]
        return ["cal", "s3d" if raw.exposure.opmode.lower() == "ifu" else "s2d", "x1d"]
    if kind in _SLITLESS:
        return ["cal", "x1d"]
    if kind in _CUBES:
        return ["cal", "s3d", "x1d"]
    return ["cal", "s2d", "x1d"] if kind in _SLITS else ["cal", "x1d"]


def _flavour(raw, image):
    kind = raw.exp_type.lower()
    if image:
        return "image"
    if kind in _SLITLESS or kind in ("nrs_msaspec", "nrs_fixedslit") or kind in _LAMPS:
        return "cut-outs"
    return "" if kind in _CUBES else "slitless"

"""An exposure: headers, planes that are read when asked for, and extensions that only pass through."""

import logging
import tomllib
from functools import cache
from typing import Any

import numpy as np

from jwcal.core.errors import InputError
from jwcal.core.header import Header
from jwcal.core.packaged import text_of

log = logging.getLogger(__name__)

_FULL_FRAMES = {(2048, 2048), (1024, 1032)}
_TYPES: dict = {"int": int, "float": (int, float), "bool": bool, "str": str}


@cache
def products():
    """Product definitions of ``data/products.toml`` (dict by name)."""
    return tomllib.loads(text_of("data", "products.toml"))


def kind_of(product):
    """Kind of a product: what the steps that work on it take."""
    return products()[product]["kind"]


@cache
def keywords():
    """Keyword definitions of ``data/keywords.toml`` (dict by keyword)."""
    return tomllib.loads(text_of("data", "keywords.toml"))


class Meta:
    """Typed view of the primary and SCI headers.

    Parameters
    ----------
    primary, sci : Header
        The two headers; the primary wins.
    label : str
        Name of the file for messages.
    """

    def __init__(self, primary, sci, label):
        self.primary, self.sci, self.label = primary, sci, label

    def __contains__(self, key):
        return key in self.primary or key in self.sci

    def __getitem__(self, key):
        value = self.get(key)
        if value is None:
            raise InputError(f"{self.label}: header keyword {key} is missing")
        return value

    def get(self, key, default=None):
        """Value of a keyword, checked against its declared type, or the default."""
        header = self.primary if key in self.primary else self.sci
        value = header.get(key)
        if value is None:
            return default
        rule = keywords().get(key)
        if rule is None:
            return value
        kind = _TYPES[rule["type"]]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InputError(
                f"{self.label}: header keyword {key} = {value!r} should be of type {rule['type']}"
            )
        if rule.get("values") and value not in rule["values"]:
            raise InputError(
                f"{self.label}: header keyword {key} = {value!r} is not one of {', '.join(map(str, rule['values']))}"
            )
        if "min" in rule and value < rule["min"]:
            raise InputError(f"{self.label}: header keyword {key} = {value} is below {rule['min']}")
        if "max" in rule and value > rule["max"]:
            raise InputError(f"{self.label}: header keyword {key} = {value} is above {rule['max']}")
        return value

    def set(self, key, value):
        """Set a keyword of the output, where it stands or in the primary header."""
        header = self.sci if key in self.sci and key not in self.primary else self.primary
        comment = keywords().get(key, {}).get("comment")
        header.set(key, value, comment if key not in header else None)


class ArrayStore:
    """Planes in memory, or in an unlinked temporary file when they are large.

    Parameters
    ----------
    planes : dict or None
        Arrays by plane name.
    limit : int
        Bytes above which `create` uses a temporary file.
    """

    def __init__(self, planes=None, limit=1 << 29):
        self.planes = dict(planes or {})
        self.limit = limit

    def names(self):
        """Plane names."""
        return list(self.planes)

    def shape(self, name):
        """Shape of a plane."""
        return self.planes[name].shape

    def create(self, name, shape, dtype):
        """Add a zero-filled plane and return it."""
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if nbytes > self.limit:
            import tempfile

            with tempfile.TemporaryFile(prefix="jwcal-") as scratch:
                self.planes[name] = np.memmap(scratch, dtype=dtype, mode="w+", shape=tuple(shape))
        else:
            self.planes[name] = np.zeros(shape, dtype)
        return self.planes[name]

    def read(self, name, box=None, index=(), out=None):
        """Copy a box of a plane (all leading axes, or those of `index`) into `out`."""
        plane = self.planes[name][index]
        if box is not None:
            plane = plane[..., box[0] : box[1], box[2] : box[3]]
        if out is None:
            return np.array(plane)
        out[...] = plane
        return out

    def write(self, name, box, array, index=()):
        """Store a box of a plane."""
        self.planes[name][index][..., box[0] : box[1], box[2] : box[3]] = array


class FileStore:
    """Planes of an open FITS file."""

    def __init__(self, fits, names):
        self.fits = fits
        self.hdus = {name: fits[name] for name in names}

    def names(self):
        """Plane names."""
        return list(self.hdus)

    def shape(self, name):
        """Shape of a plane."""
        return self.hdus[name].shape

    def read(self, name, box=None, index=(), out=None):
        """Read a box of a plane (all leading axes, or those of `index`)."""
        return self.hdus[name].read(index=index or None, box=box, out=out)


class Exposure:
    """One product in memory or on disk.

    Parameters
    ----------
    product : str
        Name in ``products.toml``.
    primary : Header
        Primary header.
    headers : dict of str to Header
        Header of each plane.
    store : ArrayStore or FileStore
        Where the planes are.
    extras : list of HDU
        Other extensions, passed through as bytes.
    label : str
        File name for messages.
    """

    def __init__(self, product, primary, headers, store, extras=(), label="exposure"):
        self.product = product
        self.primary, self.headers = primary, headers
        self.store, self.extras = store, list(extras)
        self.label = label
        first = headers.get("SCI") or next(iter(headers.values()), Header())
        self.meta = Meta(primary, first, label)
        self.tables: list = []
        self.fits = None
        # Lengths of axes of products where they are not those of the input.
        self.axes: dict = {}
        # Products asked for, so that a step can leave out work nobody wants.
        self.wanted: tuple = ()
        # Files that steps write beside the product when asked to.
        self.beside: Any = None

    @property
    def kind(self):
        """What the steps that work on it take: "ramp", "rate" ..."""
        return kind_of(self.product)

    def as_product(self, touched):
        """Name of the product it is, or becomes once a step has touched it."""
        return products()[self.product].get("becomes", self.product) if touched else self.product

    @property
    def shape(self):
        """Shape of the SCI plane."""
        return tuple(self.store.shape("SCI"))

    @property
    def frame(self):
        """(ny, nx) of the planes."""
        return self.shape[-2:]

    @property
    def substrt(self):
        """0-based (y, x) of the frame in the full detector; a subarray must say where it lies."""
        if self.frame in _FULL_FRAMES or max(self.frame) > 2048:
            return self.meta.get("SUBSTRT2", 1) - 1, self.meta.get("SUBSTRT1", 1) - 1
        return self.meta["SUBSTRT2"] - 1, self.meta["SUBSTRT1"] - 1

    @property
    def stripes(self):
        """Superstripes of a frame, each an integration of its own; 0 if integrations are whole frames."""
        return self.meta["SSTR_NST"] if products()[self.product].get("striped") else 0

    def has(self, name):
        """Whether a plane is there."""
        return name in self.store.names()

    def __contains__(self, name):
        return self.has(name)

    def __getitem__(self, name):
        """Return a whole plane as a native array."""
        if not self.has(name):
            raise KeyError(name)
        if isinstance(self.store, ArrayStore):
            return self.store.planes[name]
        return self.store.read(name)

    def table(self, name):
        """Rows of a table extension as a structured array, or None."""
        for made, rows in self.tables:
            if made == name:
                return rows
        for hdu in self.extras:
            if hdu.name == name and hdu.kind == "table":
                return hdu.table()
        return None

    def close(self):
        """Close the file behind the planes, if there is one."""
        if self.fits is not None:
            self.fits.close()

    def write(self, path, *, overwrite=False):
        """Write the product as a FITS file ("-" for standard output)."""
        from jwcal.core.output import write_exposure

        write_exposure(self, path, overwrite=overwrite)


def open_exposure(path):
    """Open a FITS product.

    Parameters
    ----------
    path : str
        File name, or "-" for standard input.

    Returns
    -------
    Exposure

    Raises
    ------
    InputError
        If it is not a product jwcal knows.
    """
    from jwcal.core.fits import open_fits

    fits = open_fits(path)
    try:
        return exposure_of(fits)
    except BaseException:
        fits.close()
        raise


def exposure_of(fits):
    """Exposure of an open FITS file; see `open_exposure`."""
    label = fits.label
    if "SCI" not in fits:
        raise InputError(f"{label}: no SCI extension; not a JWST exposure")
    product = _recognise(fits)
    spec = products()[product]["planes"]
    names = [name for name in spec if name in fits]
    for name in spec:
        if name not in fits and not spec[name].get("optional"):
            raise InputError(f"{label}: extension {name} is missing")
    shape = fits["SCI"].shape
    axes = dict(zip(spec["SCI"]["axes"], shape, strict=True))
    axes["stripe"] = fits.primary.header.get("SSTR_NST")
    for name in names:
        want = tuple(axes[a] for a in spec[name]["axes"])
        if fits[name].shape != want:
            raise InputError(f"{label}: {name} has shape {fits[name].shape}, SCI needs {want}")
    extras = [hdu for hdu in fits.hdus[1:] if hdu.name not in names]
    exposure = Exposure(
        product,
        fits.primary.header.copy(),
        {name: fits[name].header.copy() for name in names},
        FileStore(fits, names),
        extras,
        label,
    )
    exposure.fits = fits
    _check_counts(exposure)
    return exposure


def _recognise(fits):
    label = fits.label
    sci = fits["SCI"]
    ndim = len(sci.shape)
    kind = str(fits.primary.header.get("REFTYPE") or "").strip()
    if kind:
        raise InputError(f"{label}: is a {kind.upper()} reference file, not an exposure")
    has = fits.__contains__
    if ndim == 0 or 0 in sci.shape:
        raise InputError(f"{label}: SCI holds no data")
    if fits.primary.header.get("EXP_TYPE") in products()["guider_uncal"]["exp_types"]:
        return _guider(ndim, has, label)
    if ndim == 4:
        stripes = fits.primary.header.get("SSTR_NST")
        ramp = "ramp" if has("GROUPDQ") or has("PIXELDQ") else "uncal"
        return f"superstripe_{ramp}" if isinstance(stripes, int) and stripes > 0 else ramp
    name = {2: "rate", 3: "rateints"}.get(ndim)
    if name is None or not has("DQ"):
        raise InputError(f"{label}: SCI has {ndim} axes and no matching flags; not a product jwcal can read")
    if str(fits.primary.header.get("S_PHOTOM", "")).strip() == "COMPLETE" or not (
        has("ERR") and has("VAR_POISSON") and has("VAR_RNOISE")
    ):
        raise InputError(
            f"{label}: a calibrated product of a later stage ({_what(fits)}); this command needs a ramp or a rate"
        )
    return name


def _guider(ndim, has, label):
    name = {4: "guider_raw" if has("DQ") else "guider_uncal", 3: "guider_cal"}.get(ndim)
    if name is None or (ndim == 4 and has("GROUPDQ")):
        raise InputError(f"{label}: EXP_TYPE is of a guide star, but the data are not those of one")
    return name


def _what(fits):
    return str(
        fits.primary.header.get("DATAMODL") or fits.primary.header.get("FILENAME") or "unknown model"
    ).strip()


def _check_stripes(exposure):
    """Refuse integrations that are not those of whole frames."""
    count, stripes, first = exposure.shape[0], exposure.stripes, exposure.meta.get("INTSTART", 1)
    if count % stripes:
        raise InputError(
            f"{exposure.label}: {count} integrations are no whole frames of {stripes} superstripes (SSTR_NST)"
        )
    if (first - 1) % stripes:
        raise InputError(
            f"{exposure.label}: INTSTART = {first} is not the first of the {stripes} superstripes of a frame"
        )


def _check_counts(exposure):
    """Refuse headers that contradict the data; every later number would be wrong."""
    meta, shape = exposure.meta, exposure.shape
    if len(shape) == 4:
        ngroups = meta.get("NGROUPS")
        if ngroups is not None and ngroups != shape[1]:
            raise InputError(f"{exposure.label}: NGROUPS = {ngroups} but SCI has {shape[1]} groups")
    if len(shape) >= 3:
        first, last, nints = meta.get("INTSTART"), meta.get("INTEND"), meta.get("NINTS")
        if first is not None and last is not None:
            count = last - first + 1
        else:
            count = nints
        if count is not None and count != shape[0]:
            said = f"NINTS = {nints}" if count is nints else f"INTSTART, INTEND = {first}, {last}"
            raise InputError(f"{exposure.label}: {said} but SCI has {shape[0]} integrations")
    if exposure.stripes:
        _check_stripes(exposure)
    sizes = meta.get("SUBSIZE2"), meta.get("SUBSIZE1")
    # The headers of interleaved (IRS2) frames count the normal rows only.
    normal = (2048, 2048) if exposure.frame == (3200, 2048) else exposure.frame
    if None not in sizes and sizes not in (exposure.frame, normal):
        raise InputError(
            f"{exposure.label}: SUBSIZE says {sizes[0]} x {sizes[1]} but SCI is {exposure.frame[0]} x {exposure.frame[1]}"
        )

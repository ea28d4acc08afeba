"""Where products go: FITS files and streams, written tile by tile, or memory."""

import os
from pathlib import Path

import numpy as np

from jwcal.core import provenance, quality
from jwcal.core.errors import UsageError
from jwcal.core.exposure import ArrayStore, Exposure, keywords, products
from jwcal.core.header import Header

_STRUCTURE = {
    "SIMPLE", "XTENSION", "BITPIX", "NAXIS", "EXTEND", "PCOUNT", "GCOUNT", "BSCALE", "BZERO",
    "CHECKSUM", "DATASUM", "NEXTEND",
}  # fmt: skip


class MemorySink:
    """Collects a product in memory.

    Parameters
    ----------
    exposure : Exposure
        Headers and extensions to start from.
    product : str
        Product made.
    planes : dict of str to (shape, dtype)
        Planes to collect.
    """

    def __init__(self, exposure, product, planes):
        self.product = product
        self.expect: tuple = ()
        self.wants = tuple(planes)
        self.meter = meter_for(exposure, product)
        self.store = ArrayStore()
        for name, (shape, dtype) in planes.items():
            self.store.create(name, shape, dtype)
        self.result = derive(exposure, product, planes, self.store)

    def write(self, name, box, array):
        """Store the box of a plane."""
        self.store.write(name, box, array)

    def finish(self, keys, meta):
        """Copy the keywords that are known only now."""
        settle(self.result.meta, keys, meta)
        if self.meter is not None:
            self.meter.meta = meta
            self.result.tables.append((quality.TABLE, self.meter.rows()))

    def commit(self):
        """Nothing is left to do."""

    def abort(self):
        """Nothing to undo."""


class TrimmedSink(MemorySink):
    """Collects a product whose second axes are only as long as the data need, and writes it at the end.

    Parameters
    ----------
    exposure, product, planes
        As for `MemorySink`; the lengths in `planes` are upper limits.
    path : str or None
        File name, "-", or None to keep the product in memory.
    overwrite : bool
        Replace an existing file.
    """

    def __init__(self, exposure, product, planes, path=None, *, overwrite=False):
        super().__init__(exposure, product, planes)
        self.path, self.overwrite = path, overwrite
        self.axes = {name: spec["axes"] for name, spec in products()[product]["planes"].items()}

    def finish(self, keys, meta):
        """Cut the axes to their used length."""
        super().finish(keys, meta)
        used: dict = {}
        for name, plane in self.store.planes.items():
            if plane.ndim == 4:
                axis = self.axes[name][1]
                nonzero = [k + 1 for k in range(plane.shape[1]) if np.any(plane[:, k])]
                used[axis] = max(used.get(axis, 1), *nonzero, 1)
        for name, plane in self.store.planes.items():
            if plane.ndim == 4:
                self.store.planes[name] = plane[:, : used[self.axes[name][1]]]

    def commit(self):
        """Write the file, if there is to be one."""
        if self.path is None:
            return
        if self.path != "-":
            self.result.primary.set("FILENAME", Path(self.path).name)
        write_exposure(self.result, self.path, overwrite=self.overwrite)


class FitsSink:
    """Writes a product to a FITS file or to standard output.

    Parameters
    ----------
    exposure : Exposure
        Headers and extensions to start from; its store serves the planes that do not change.
    product : str
        Product made.
    planes : dict of str to (shape, dtype)
        Planes in file order.
    path : str
        File name, or "-".
    changed : collection of str
        Planes that tiles deliver; the others are copied as bytes.
    overwrite : bool
        Replace an existing file.
    meter : bool
        Whether to make the quality table; else one that exists is kept.
    over_input : bool
        Nobody needs the values of the input after a tile has been read: planes of a stream may be
        written over it.
    """

    def __init__(
        self, exposure, product, planes, path, *, changed, overwrite=False, over_input=False, meter=True
    ):
        from jwcal.core.fits import create_fits

        self.product, self.path = product, path
        self.expect: tuple = ()
        self.wants = tuple(name for name in planes if name in changed)
        self.meter = meter_for(exposure, product) if meter else None
        out = derive(exposure, product, planes, exposure.store)
        if path != "-":
            out.primary.set("FILENAME", Path(path).name, "Name of the file")
        self.meta = out.meta
        self.over_input = over_input
        self.out = create_fits(path, overwrite=overwrite)
        try:
            self._lay_out(out, planes)
        except BaseException:
            self.out.abort()
            raise

    def _lay_out(self, out, planes):
        self.primary = self.out.add(out.primary)
        self.meta.primary = self.primary.header
        self.slots = {}
        for name, (shape, dtype) in planes.items():
            header = out.headers[name]
            if name in self.wants:
                slot = self._over(out.store, header, name, shape, dtype)
                self.slots[name] = slot or self.out.add(header, shape, dtype)
            else:
                hdu = out.store.hdus[name]
                self.out.add_hdu(hdu)
        for hdu in out.extras:
            self.out.add_hdu(hdu)
        for name, rows in out.tables:
            self.out.add_table(name, rows)
        if self.meter is not None:
            self.fill = self.out.add_table(quality.TABLE, self.meter.rows())

    def _over(self, store, header, name, shape, dtype):
        hdu = getattr(store, "hdus", {}).get(name) if self.over_input else None
        if hdu is None or hdu.shape != shape or hdu.dtype != dtype:
            return None
        return self.out.add_over(header, hdu)

    def write(self, name, box, array):
        """Write the box of a plane; safe to call from several threads."""
        self.slots[name].write_tile(box, array)

    def finish(self, keys, meta):
        """Fill in the keywords that are known only now."""
        settle(self.meta, keys, meta)
        if self.meter is not None:
            self.meter.meta = meta
            self.fill(self.meter.rows())

    def commit(self):
        """Put the file in its place."""
        self.out.commit()

    def abort(self):
        """Remove the unfinished file."""
        self.out.abort()


def meter_for(exposure, product):
    """Meter of the quality table of a product, None for products without one."""
    if not products()[product].get("quality"):
        return None
    table = next((rows for name, rows in exposure.tables if name == provenance.TABLE), None)
    return quality.Meter(exposure.meta, provenance.from_table(table))


def settle(target, keys, meta):
    """Copy keywords that are known only at the end; a card that got no value becomes a blank one.

    The number of cards must stay: the data behind the header are already written.
    """
    for key in keys:
        value = meta.get(key)
        if value is None:
            target.primary.blank(key)
        else:
            target.set(key, value)


def derive(exposure, product, planes, store):
    """Headers and extensions of a product made from an exposure.

    Parameters
    ----------
    exposure : Exposure
        The input, with the keywords set so far.
    product : str
        Product made.
    planes : iterable of str
        Its planes.
    store : ArrayStore or FileStore
        Store of the new exposure.

    Returns
    -------
    Exposure
    """
    spec = products()[product]
    primary = exposure.primary.copy()
    model = spec["datamodl"]
    if "datamodl_ifu" in spec and _is_ifu(exposure.meta):
        model = spec["datamodl_ifu"]
    primary.set("DATAMODL", model, keywords()["DATAMODL"]["comment"])
    primary.set("FILETYPE", spec["filetype"], keywords()["FILETYPE"]["comment"])
    stamp(primary)
    headers = {name: plane_header(exposure, name, spec["planes"].get(name, {}), product) for name in planes}
    extras = []
    for hdu in exposure.extras:
        if hdu.name in spec.get("drops", ()) or (
            spec["carries"] != ["*"] and hdu.name not in spec["carries"]
        ):
            continue
        extras.append(hdu)
    out = Exposure(product, primary, headers, store, extras, exposure.label)
    out.tables = [(name, rows) for name, rows in exposure.tables if name not in spec.get("drops", ())]
    return out


def plane_header(exposure, name, spec, product):
    """Header of a plane: that of the input if it has one, else a new one."""
    old = exposure.headers.get(name)
    header = Header()
    if old is not None:
        header = old.copy()
        for key in list(_STRUCTURE) + [f"NAXIS{k}" for k in range(1, 8)]:
            if key in header:
                del header[key]
    header.set("EXTNAME", name, "extension name")
    if spec.get("unit") and (product != exposure.product or "BUNIT" not in header):
        header.set("BUNIT", spec["unit"], "physical units of the array values")
    return header


def stamp(primary):
    """Set DATE (from SOURCE_DATE_EPOCH if given), CAL_VER and CAL_VCS."""
    import datetime as dt

    from jwcal import __version__

    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        now = dt.datetime.fromtimestamp(float(epoch), dt.UTC) if epoch else dt.datetime.now(dt.UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH = {epoch}: must be seconds since 1970") from None
    primary.set(
        "DATE", now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}", "UTC date file created"
    )
    primary.set("CAL_VER", f"jwcal {__version__}", "Calibration Software Version")
    primary.set("CAL_VCS", "RELEASE", "Calibration Software Repository Version")


def _is_ifu(meta):
    kind = meta.get("EXP_TYPE")
    return kind in ("NRS_IFU", "MIR_MRS") or (
        kind in ("NRS_AUTOWAVE", "NRS_LAMP") and meta.get("OPMODE") == "IFU"
    )


def product_planes(exposure, product, extra=()):
    """Shapes and dtypes of the planes of a product of this exposure.

    Parameters
    ----------
    exposure : Exposure
        A ramp, rate or rateints exposure.
    product : str
        Product wanted.
    extra : iterable of str
        Optional planes that will exist.

    Returns
    -------
    dict of str to (shape, dtype)
        In file order.
    """
    shape = exposure.shape
    axes = {"y": shape[-2], "x": shape[-1], "stripe": exposure.stripes}
    if len(shape) > 2:
        axes["int"] = shape[0]
    if len(shape) == 4:
        axes["group"] = shape[1]
        # At most: a segment ends at a jump and needs two groups; every group but the first can jump.
        axes["segment"] = shape[1] // 2 + 1
        axes["crhit"] = max(shape[1] - 1, 1)
    axes |= exposure.axes
    out = {}
    for name, spec in products()[product]["planes"].items():
        if spec.get("optional") and name not in extra:
            continue
        out[name] = (tuple(axes[a] for a in spec["axes"]), np.dtype(spec["dtype"]))
    return out


def write_exposure(exposure, path, *, overwrite=False):
    """Write an exposure as it is.

    Parameters
    ----------
    exposure : Exposure
        What to write.
    path : str
        File name, or "-" for standard output.
    overwrite : bool
        Replace an existing file.
    """
    in_memory = isinstance(exposure.store, ArrayStore)
    if in_memory:
        planes = {
            name: (exposure.store.planes[name].shape, exposure.store.planes[name].dtype)
            for name in products()[exposure.product]["planes"]
            if exposure.has(name)
        }
    else:
        planes = product_planes(exposure, exposure.product, exposure.store.names())
    sink = FitsSink(
        exposure,
        exposure.product,
        planes,
        path,
        changed=tuple(planes) if in_memory else (),
        overwrite=overwrite,
        meter=False,
    )
    try:
        for name in sink.wants:
            sink.slots[name].write(exposure.store.planes[name])
        sink.finish((), exposure.meta)
        sink.commit()
    except BaseException:
        sink.abort()
        raise

"""A small cache with rules for one instrument."""

import pytest

from jwcal.refs.mapping import Mapping, Selector

DETECTOR, FILTER = "META.INSTRUMENT.DETECTOR", "META.INSTRUMENT.FILTER"
WHEN = ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME")


def rmap(kind, parkey, selector, serial=1, **more):
    """Mapping of one reference type of NIRCam."""
    name = f"jwst_nircam_{kind}_{serial:04d}.rmap"
    header = {
        "mapping": "REFERENCE",
        "name": name,
        "observatory": "JWST",
        "instrument": "NIRCAM",
        "filekind": kind.upper(),
        "derived_from": f"jwst_nircam_{kind}_{serial - 1:04d}.rmap",
        "parkey": parkey,
        "sha1sum": "",
        **more,
    }
    return Mapping(header, selector, label=name)


def dated(**files):
    """Rules by date: d2014="a.fits"."""
    return Selector("UseAfter", {f"{key[1:]}-01-01 00:00:00": name for key, name in files.items()})


class MadeCache:
    """Cache that is written by tests.

    Attributes
    ----------
    root : Path
    """

    def __init__(self, root):
        self.root = root
        self.mappings = root / "mappings" / "jwst"
        self.mappings.mkdir(parents=True)

    def write(self, mapping):
        """Write a mapping under its name, with its checksum."""
        name = mapping.header["name"]
        (self.mappings / name).write_text(mapping.stamp())
        return name

    def context(self, *rmaps, serial=1, special=None):
        """Write a context with some rules; return its name."""
        names = {m.header["filekind"]: self.write(m) for m in rmaps} | (special or {})
        common = {"observatory": "JWST", "sha1sum": "", "derived_from": "generated"}
        imap = {**common, "mapping": "INSTRUMENT", "instrument": "NIRCAM", "parkey": ("REFTYPE",)}
        imap["name"] = f"jwst_nircam_{serial:04d}.imap"
        pmap = {**common, "mapping": "PIPELINE", "parkey": ("META.INSTRUMENT.NAME",)}
        pmap["name"] = f"jwst_{serial:04d}.pmap"
        below = {"NIRCAM": self.write(Mapping(imap, names)), "FGS": "N/A"}
        return self.write(Mapping(pmap, below))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Cache with one context, jwst_0001.pmap, of a few types."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for name in ("CRDS_PATH", "CRDS_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    cache = MadeCache(tmp_path / "cache")
    dark = Selector(
        "Match",
        {
            ("NRCA1", "N/A"): dated(d2014="dark_1.fits", d2022="dark_2.fits"),
            ("NRCA1", "F200W"): dated(d2023="dark_3.fits"),
            ("NRCB1|NRCB3", "ANY"): dated(d2014="dark_4.fits"),
            ("NRCB2", "N/A"): "N/A",
        },
    )
    relevance = '(META.EXPOSURE.TYPE not in ("NRC_DARK",))'
    cache.context(
        rmap("dark", ((DETECTOR, FILTER), WHEN), dark),
        rmap("gain", ((DETECTOR,),), Selector("Match", {("NRCA1",): "gain_1.fits"})),
        rmap(
            "flat",
            (("META.EXPOSURE.TYPE",),),
            Selector("Match", {"NRC_IMAGE": "flat_1.fits"}),
            rmap_relevance=relevance,
        ),
        rmap("omitted", ((DETECTOR,),), Selector("Match", {("NRCA1",): "OMIT"})),
        special={"REGIONS": "N/A", "CAMERA": "OMIT"},
    )
    return cache


@pytest.fixture
def header():
    """Header that all rules of the cache fit."""
    return {
        "INSTRUME": "NIRCAM",
        "DETECTOR": "NRCA1",
        "FILTER": "F200W",
        "EXP_TYPE": "NRC_IMAGE",
        "DATE-OBS": "2022-07-01",
        "TIME-OBS": "12:00:00.125",
    }

"""Large cosmic-ray events: snowballs, and the showers of the mid infrared."""

import numpy as np

from jwcal.simulate.effects.base import Effect

CORE, HALO, SHOWER = 1, 2, 4
EVENT = np.dtype(
    [
        ("INT", "i4"),
        ("GROUP", "i4"),
        ("FRAME", "i4"),
        ("Y", "f4"),
        ("X", "f4"),
        ("RADIUS", "f4"),
        ("SCALE", "f4"),
        ("AXISRATIO", "f4"),
        ("ANGLE", "f4"),
        ("AMP_E", "f4"),
    ]
)
_STREAM = 22
# Electrons below which an event is not worth a flag.
_FAINT = {CORE: 0.0, HALO: 8.0, SHOWER: 4.0}


def _elliptic(region, event):
    """Distance of every pixel from an event [pixels along its long axis], float32 (ny, nx)."""
    dy = np.arange(region.ny, dtype=np.float32)[:, None] - event["Y"]
    dx = np.arange(region.nx, dtype=np.float32)[None, :] - event["X"]
    c, s = np.cos(event["ANGLE"]), np.sin(event["ANGLE"])
    return np.hypot(dx * c + dy * s, (dy * c - dx * s) / event["AXISRATIO"]).astype(np.float32)


class _Events(Effect):
    """Events at random times and places; truth is a table, and maps per group."""

    collects = True
    kind = ""

    def __init__(self, setting, strength):
        super().__init__(setting, strength)
        region, timing = setting.region, setting.timing
        self._live = ~setting.pixels.reference
        self._tables, self._now = [], None
        self._flags = np.zeros((setting.nints, timing.ngroups, *region.shape), np.uint8)
        self._added = np.zeros((setting.nints, *region.shape), np.float32)
        self._tails = []

    def begin(self, i):
        """Draw the events of an integration."""
        region, timing = self.setting.region, self.setting.timing
        self._rng = np.random.Generator(np.random.SFC64([self.setting.seed, _STREAM, i]))
        rng = self._rng
        table = np.zeros(rng.poisson(self.strength), EVENT)
        n = table.size
        table["INT"] = i
        table["FRAME"] = np.sort(rng.integers(0, timing.total_frames, n))
        table["GROUP"] = [timing.group_of(int(frame)) for frame in table["FRAME"]]
        table["Y"], table["X"] = rng.uniform(0, region.ny, n), rng.uniform(0, region.nx, n)
        self.shape(rng, table)
        self._tables.append(table)
        self._tails = []
        self._seen = 0

    def collect(self, i, frame, seconds, charge):
        """Add the charge of the events up to this frame."""
        table = self._tables[-1]
        fresh = (table["FRAME"] <= frame) & (np.arange(table.size) >= self._seen)
        for event in table[fresh]:
            added, flags = self.deposit(event)
            added[~self._live] = 0
            flags[~self._live] = 0
            self._put(i, charge, added)
            group = min(int(event["GROUP"]), self.setting.timing.ngroups - 1)
            self._flags[i, group] |= flags
        self._seen += int(fresh.sum())
        for tail in self._tails:
            part = tail[0] * np.float32(1 - np.exp(-seconds / tail[1]))
            tail[0] = tail[0] - part
            self._put(i, charge, part)

    def _put(self, i, charge, added):
        charge += added
        self._added[i] += added

    def shape(self, rng, table):
        """Draw sizes and amplitudes."""
        raise NotImplementedError

    def deposit(self, event):
        """Charge of an event at once [electrons], and its flags."""
        raise NotImplementedError

    def truth(self, first, last):
        """List of events; flags of the group they begin in; charge by the end of the integration."""
        tables = [table.copy() for table in self._tables[first - 1 : last]]
        for k, table in enumerate(tables):
            table["INT"] = k
        return [
            (self.kind, np.concatenate(tables), None),
            ("EVENTS", self._flags[first - 1 : last], None),
            ("EVENT_E", self._added[first - 1 : last], "electrons"),
        ]


class Snowballs(_Events):
    """Saturated core with a halo.

    Core: RADIUS pixels, far beyond saturation.  Halo: AMP_E electrons at the edge of the core,
    falling by e every SCALE pixels.  Flags: 1 core, 2 halo above 8 electrons.
    """

    kind = "SNOWBALLS"

    def shape(self, rng, table):
        """Radii of 2 to 20 pixels, most of them small; halos as wide as the cores."""
        n = table.size
        table["RADIUS"] = np.clip(np.exp(rng.normal(np.log(4), 0.5, n)), 2, 20)
        table["SCALE"] = table["RADIUS"] * rng.uniform(0.7, 1.2, n)
        table["AXISRATIO"] = rng.uniform(0.85, 1.0, n)
        table["ANGLE"] = rng.uniform(0, np.pi, n)
        table["AMP_E"] = np.exp(rng.normal(np.log(1500), 0.4, n))

    def deposit(self, event):
        """Core and halo."""
        distance = _elliptic(self.setting.region, event) - event["RADIUS"]
        core = distance <= 0
        halo = event["AMP_E"] * np.exp(-np.maximum(distance, 0) / event["SCALE"])
        halo[halo < 0.5] = 0
        full = self.setting.pixels.full_well * self.setting.pixels.gain
        added = np.where(core, 3 * full, halo).astype(np.float32)
        flags = np.where(core, CORE, np.where(halo >= _FAINT[HALO], HALO, 0)).astype(np.uint8)
        return added, flags


class Showers(_Events):
    """Faint wide patch of light, with a tail in time.

    Peak AMP_E electrons, of which 70 per cent come at once and the rest with a decay of 10 s;
    Gaussian with a standard deviation of SCALE pixels along the long axis, patchy.
    """

    kind = "SHOWERS"
    TAIL, SECONDS = 0.3, 10.0

    def shape(self, rng, table):
        """Tens of pixels wide, tens of electrons bright."""
        n = table.size
        table["SCALE"] = np.clip(np.exp(rng.normal(np.log(18), 0.4, n)), 8, 60)
        table["RADIUS"] = 2 * table["SCALE"]
        table["AXISRATIO"] = rng.uniform(0.4, 1.0, n)
        table["ANGLE"] = rng.uniform(0, np.pi, n)
        table["AMP_E"] = np.clip(np.exp(rng.normal(np.log(45), 0.5, n)), 15, 300)

    def deposit(self, event):
        """Patchy ellipse; remembers its tail."""
        distance = _elliptic(self.setting.region, event) / event["SCALE"]
        patches = self._rng.standard_normal(tuple(-(-size // 8) for size in distance.shape))
        patches = np.repeat(np.repeat(patches, 8, 0), 8, 1)[: distance.shape[0], : distance.shape[1]]
        shape = event["AMP_E"] * np.exp(-0.5 * distance**2) * np.exp(0.3 * patches - 0.045)
        shape = np.where(shape < 0.2, 0, shape).astype(np.float32)
        shape[~self._live] = 0
        self._tails.append([shape * np.float32(self.TAIL), self.SECONDS])
        flags = np.where(shape >= _FAINT[SHOWER], SHOWER, 0).astype(np.uint8)
        return shape * np.float32(1 - self.TAIL), flags

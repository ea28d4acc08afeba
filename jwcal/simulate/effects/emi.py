"""Periodic interference in the mid-infrared readout, at known frequencies."""

import numpy as np

from jwcal.core.errors import UsageError
from jwcal.simulate.effects.base import Effect
from jwcal.simulate.readout import frame_time

_STREAM = 24
# Hz, named as in the official reference file; 164.9305 is a stand-in of the right size.  rms in DN,
# round numbers: with the white noise of the simulator together about 20 per cent above it.
WAVES = {
    "Hz390": (390.625, 1.6),
    "Hz218": (218.52055, 1.6),
    "Hz164": (164.9305, 1.6),
    "Hz10": (10.039216, 0.8),
}
# Which waves a subarray has; all others the first and the last.
_PRESENT = {"BRIGHTSKY": ("Hz164", "Hz10"), "SUB256": ("Hz218", "Hz10")}
# A wave that advances by less than this part of a period from frame to frame is as good as fixed
# and belongs to the bias; 390.625 Hz does so in full frames.
_FIXED = 0.02
_BINS = 500


def wave(name):
    """One period of a wave.

    Parameters
    ----------
    name : str

    Returns
    -------
    numpy.ndarray
        float64 (500,), DN, mean zero, rms that of `WAVES`; not a pure sine.
    """
    phase = (np.arange(_BINS) + 0.5) / _BINS * 2 * np.pi
    shape = np.sin(phase) + 0.35 * np.sin(2 * phase + 1.0) + 0.1 * np.cos(5 * phase)
    shape -= shape.mean()
    return shape * (WAVES[name][1] / shape.std())


def clocks(region, timing):
    """Clocks of 10 microseconds of a row and of a frame.

    Parameters
    ----------
    region : jwcal.simulate.detectors.Region
    timing : jwcal.simulate.readout.Timing

    Returns
    -------
    tuple of int

    Raises
    ------
    UsageError
        If the rows of the region do not take a whole number of clocks.
    """
    frame = round(frame_time(region, timing.nsamples > 1) * 1e5)
    rest = 0 if region.is_full else (region.detector.shape[0] - region.ny) * 7
    row, odd = divmod(frame - rest, region.ny)
    if odd:
        raise UsageError(
            f"effect emi: the rows of {region.name} do not take a whole number of clocks; "
            f"choose a width that is a multiple of four"
        )
    return row, frame


class Interference(Effect):
    """Waves at known frequencies; one phase each for the whole exposure."""

    adds = True

    def __init__(self, setting, strength):
        super().__init__(setting, strength)
        region, timing = setting.region, setting.timing
        self.row, self.frame = clocks(region, timing)
        self.names = tuple(
            name
            for name in _PRESENT.get(region.name, ("Hz390", "Hz10"))
            if abs((self.frame * WAVES[name][0] * 1e-5 + 0.5) % 1 - 0.5) >= _FIXED
        )
        if not self.names:
            raise UsageError(
                f"effect emi: every wave is in phase with the frames of {region.name}; choose another"
            )
        rng = np.random.default_rng([setting.seed, _STREAM])
        self.phases = dict(zip(self.names, rng.random(len(self.names)), strict=True))
        # The detector is reset for one frame between integrations.
        self._integration = (timing.total_frames + 1) * self.frame
        within = (
            np.arange(region.ny)[:, None] * self.row + np.arange(region.nx)[None, :] // 4 * timing.nsamples
        )
        self._within = within.astype(float)

    def noise(self, i, frame, rows=slice(None)):
        """Interference of the rows of a frame [DN]."""
        start = i * self._integration + frame * self.frame
        out = np.zeros(self._within[rows].shape, np.float32)
        for name in self.names:
            frequency = WAVES[name][0] * 1e-5
            phase = (self._within[rows] + start) * frequency + self.phases[name]
            position = (phase % 1) * _BINS - 0.5
            table = wave(name) * self.strength
            low = np.floor(position).astype(int)
            part = position - low
            out += (1 - part) * table[low % _BINS] + part * table[(low + 1) % _BINS]
        return out

    def add(self, i, frame, rows, signal):
        """Add the waves."""
        signal += self.noise(i, frame, rows)

    def truth(self, first, last):
        """EMI: frequency, rms and phase of every wave, and the clocks of rows and frames."""
        rows = np.zeros(
            len(self.names),
            [
                ("NAME", "S8"),
                ("FREQ", "f8"),
                ("RMS", "f8"),
                ("PHASE", "f8"),
                ("ROWCLOCKS", "i4"),
                ("FRAMECLOCKS", "i4"),
                ("NSAMPLES", "i4"),
                ("INTCLOCKS", "i8"),
            ],
        )
        rows["NAME"] = self.names
        rows["FREQ"] = [WAVES[name][0] for name in self.names]
        rows["RMS"] = [WAVES[name][1] * self.strength for name in self.names]
        rows["PHASE"] = [
            (self.phases[name] + (first - 1) * self._integration * WAVES[name][0] * 1e-5) % 1
            for name in self.names
        ]
        rows["ROWCLOCKS"], rows["FRAMECLOCKS"] = self.row, self.frame
        rows["NSAMPLES"], rows["INTCLOCKS"] = self.setting.timing.nsamples, self._integration
        return [
            ("EMI", rows, None),
            ("EMIWAVES", np.stack([wave(name) * self.strength for name in self.names]), "DN"),
        ]

    def references(self):
        """Frequencies and waves, in the official format."""

        def make(folder, overwrite):
            write_reference(folder / "emicorr.asdf", self, overwrite)
            return "emicorr.asdf"

        return [("emicorr", make)]


def write_reference(path, effect, overwrite=False):
    """Write the reference file of the interference.

    Parameters
    ----------
    path : pathlib.Path
    effect : Interference
    overwrite : bool, optional

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    UsageError
        If the asdf package is missing.
    """
    import os

    from jwcal.core.errors import OutputError

    try:
        import asdf
    except ImportError:
        raise UsageError("effect emi: its reference file needs the asdf package: pip install asdf") from None
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; use --overwrite to replace it")
    region, timing = effect.setting.region, effect.setting.timing
    speed = "SLOW" if timing.nsamples > 1 else "FAST"
    shown = list(effect.names)
    name = f"FULL_{speed}" if region.is_full else region.name
    waves = {
        key: {"frequency": WAVES[key][0], "phase_amplitudes": wave(key) * effect.strength} for key in shown
    }
    case = {
        "rowclocks": effect.row,
        "frameclocks": effect.frame,
        "freqs": {speed: shown if speed == "FAST" else {region.detector.name: shown}},
    }
    meta = {
        "author": "jwcal sim expose",
        "date": "2024-01-01T00:00:00.000",
        "description": "Simulated emicorr reference",
        "filename": path.name,
        "instrument": {"name": "MIRI", "detector": region.detector.name},
        "model_type": "EmiModel",
        "origin": "SIMULATED",
        "pedigree": "GROUND",
        "reftype": "emicorr",
        "telescope": "JWST",
        "useafter": "2020-01-01T00:00:00",
    }
    tree = {"meta": meta, "frequencies": waves, "subarray_cases": {name: case}}
    work = path.with_suffix(".asdf.part")
    try:
        asdf.AsdfFile(tree).write_to(work)
        os.replace(work, path)
    except OSError as exc:
        raise OutputError(f"{path}: cannot write: {exc.strerror}") from None
    finally:
        work.unlink(missing_ok=True)

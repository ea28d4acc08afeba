"""Noise of the readout electronics with a 1/f spectrum, along the fast axis."""

import numpy as np

from jwcal.simulate.effects.base import Effect
from jwcal.simulate.ramp import pink

_STREAM = 21
_OVERHEAD = 12
# DN, by SCA number: common to all outputs; mean of those of each output.  Pink noise that the noise
# simulator of the package pynrc (J. Leisenring, module ngNRC) lists from darks of the last cryogenic
# test (ISIM CV3); taken here as rms over the samples of one frame, without the factors (1.6, 1.4)
# that its generator multiplies them with.
_NIRCAM = {
    481: (2.0, 0.90),
    482: (2.5, 0.95),
    483: (1.9, 0.83),
    484: (2.5, 0.85),
    485: (2.1, 1.10),
    486: (2.5, 0.98),
    487: (2.5, 0.98),
    488: (3.2, 0.98),
    489: (3.0, 0.98),
    490: (2.5, 1.05),
}
# Electrons rms: values for NIRSpec of the noise generator of Rauscher 2015, PASP 127 1144.
_NIRSPEC = (3.0, 1.0)
# Electrons rms: NIRISS and FGS have the same kind of detectors and electronics as NIRCam; its mean
# stands in for values of their own.
_OTHERS = (5.1, 2.0)


def amplitudes(detector):
    """Amplitudes of the 1/f noise of a detector.

    Parameters
    ----------
    detector : jwcal.simulate.detectors.Detector

    Returns
    -------
    tuple of float
        Common and of each output, DN rms over one frame.
    """
    if detector.instrument == "nircam":
        return _NIRCAM[detector["sca_num"]]
    common, own = _NIRSPEC if detector.instrument == "nirspec" else _OTHERS
    return common / detector["gain"], own / detector["gain"]


class Flicker(Effect):
    """1/f noise: common to all outputs, and of each output.

    Every frame is one time series: pixel after pixel along the fast axis, twelve clocks between
    lines; so the noise is smooth along lines and differs from line to line.  Frames are
    independent (what is slower is in the drift of the offsets).  The knee, where it meets the
    white read noise, follows from the amplitudes: see `knee`.
    """

    collects = adds = True

    def __init__(self, setting, strength):
        super().__init__(setting, strength)
        region = setting.region
        self._output = region.amplifiers()
        fast, slow = region.fast(), region.slow()
        per_output = region.detector.shape[1] // 4 if region.outputs == 4 else fast.size
        within = fast % per_output if region.outputs == 4 else fast - fast.min()
        # Neighbouring outputs are read in opposite directions.
        turned = self._output % 2 == 1
        within = np.where(turned & (region.outputs == 4), per_output - 1 - within, within)
        self._samples = per_output + _OVERHEAD
        # The same power spectrum over a shorter frame has less variance.
        count, full = self._samples * slow.size, (512 + _OVERHEAD) * 2048
        scale = strength * np.sqrt(np.log(count / 2) / np.log(full / 2))
        self.common, self.own = (scale * value for value in amplitudes(region.detector))
        self._clock = np.argsort(np.argsort(slow))[:, None] * self._samples + within[None, :]
        self._plane = np.zeros((0, 0), np.float32)
        self._groups = setting.timing.group_of_frames()
        outputs = 4 if region.outputs == 4 else 1
        self._kept = np.zeros((setting.nints, setting.timing.ngroups, outputs, slow.size), np.float32)

    def knee(self):
        """Frequency [Hz] where the common 1/f noise equals the white noise of one read."""
        white = self.setting.region.detector["read_noise"] / self.setting.region.detector["gain"]
        samples = self._samples * self.setting.region.slow().size
        # The variance of 1/f noise is the same in every e-fold of frequency, from one frame to
        # half the sampling rate; white noise fills that rate evenly.
        return (self.common / white) ** 2 / np.log(samples / 2) * 0.5 / 1e-5

    def _series(self, i, frame):
        n = self._samples * self.setting.region.slow().size
        rng = np.random.Generator(np.random.SFC64([self.setting.seed, _STREAM, i, frame]))
        outputs = self._kept.shape[2]
        noise = np.stack([pink(rng, n, self.own) for _ in range(outputs)])
        return noise + pink(rng, n, self.common)

    def collect(self, i, frame, seconds, charge):
        """Draw the noise of a frame; the charge stays."""
        group = self._groups[frame]
        if group < 0:
            return
        noise = self._series(i, frame)
        plane = noise[self._output[None, :], self._clock]
        for k in range(noise.shape[0]):
            here = self._output == k
            if here.any():
                self._kept[i, group, k] += plane[:, here].mean(axis=1) / self.setting.timing.nframes
        self._plane = plane if self.setting.region.fast_is_x else np.ascontiguousarray(plane.T)

    def add(self, i, frame, rows, signal):
        """Add the noise of a frame."""
        signal += self._plane[rows]

    def truth(self, first, last):
        """FLICKER: mean noise (integration, group, output, line) [DN]; FLICKOUT: output of pixels.

        FLICKPAR: rms over a frame [DN] and knee [Hz].
        """
        outputs = self.setting.region.along_fast(self._output.astype(np.int16))
        rows = np.zeros(1, [("COMMON", "f4"), ("OWN", "f4"), ("KNEE", "f4")])
        rows[0] = self.common, self.own, self.knee()
        return [
            ("FLICKER", self._kept[first - 1 : last], "DN"),
            ("FLICKOUT", outputs, None),
            ("FLICKPAR", rows, None),
        ]

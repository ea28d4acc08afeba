"""Interleaved readout of NIRSpec (IRS2): reference pixels among the others, and their weights."""

import numpy as np

from jwcal.core.dq import DQ
from jwcal.core.errors import UsageError
from jwcal.simulate import write
from jwcal.simulate.effects.base import Effect
from jwcal.simulate.effects.flicker import amplitudes
from jwcal.simulate.headers import reference_header
from jwcal.simulate.ramp import pink

NORMAL, REFERENCE, OUTPUTS, LINES = 16, 4, 5, 2048
# Clocks of a line, with one to step out to and back from reference pixels and eight at the end.
PERIOD = NORMAL + REFERENCE + 2
CLOCKS = PERIOD * (512 // NORMAL) + 8
WIDTH = 640
_STREAM = 25
_LEVEL = 8600.0
# Pairs of interleaved reference pixels that are noisy: output, block, pair, and who knows it.
BAD_PAIRS = ((1, 5, 0, "mask"), (3, 20, 1, "table"), (4, 11, 0, "nobody"))
_BAD_NOISE = 60.0


def normal_columns():
    """Which of the 3200 columns, in detector orientation, are normal pixels.

    Returns
    -------
    numpy.ndarray
        bool (3200,): the reference output comes first; then in every output 8 normal pixels,
        4 reference pixels, 16 normal pixels and so on.
    """
    block = np.arange(WIDTH) % (NORMAL + REFERENCE)
    output = (block < NORMAL // 2) | (block >= NORMAL // 2 + REFERENCE)
    return np.concatenate([np.zeros(WIDTH, bool), *[output] * (OUTPUTS - 1)])


def _clocks():
    """Clock within the line at which each column of an output is read, in time order."""
    column = np.arange(WIDTH)
    block, within = np.divmod(column, NORMAL + REFERENCE)
    after_step = within >= NORMAL // 2
    after_back = within >= NORMAL // 2 + REFERENCE
    return column + 2 * block + after_step + after_back


def column_clocks():
    """Clock within the line at which each of the 3200 columns is read.

    Returns
    -------
    numpy.ndarray
        int (5, 640).  The reference output and every second other one are read from the right.
    """
    clocks = _clocks()
    return np.stack([clocks[::-1] if k % 2 == 0 else clocks for k in range(OUTPUTS)])


def _reference_series(output):
    """Series as the official correction makes it of the reference pixels of an output.

    Every four reads stand for eight clocks around them; zero elsewhere.
    """
    lines = output.reshape(-1, CLOCKS)
    blocks = lines[:, : PERIOD * (512 // NORMAL)].reshape(lines.shape[0], -1, PERIOD)
    out = np.zeros_like(lines)
    view = out[:, : PERIOD * (512 // NORMAL)].reshape(blocks.shape)
    view[..., 7:15] = blocks[..., [9, 11, 9, 11, 10, 12, 10, 12]]
    return out.ravel()


def weights(common, own, white, lines=LINES, realisations=4, seed=5):
    """Weights that predict the correlated noise of an output from its references.

    Parameters
    ----------
    common, own : float
        1/f noise common to all outputs, and of each output, rms over a frame.
    white : float
        Noise of one read.
    lines : int, optional
        Lines of a frame.
    realisations, seed : int, optional
        Simulated frames.

    Returns
    -------
    alpha, beta : numpy.ndarray
        float64 (lines * 712,), of the Fourier transforms of the reference output and of the
        series of interleaved reference pixels: least squares per band of frequency.  Beta ends
        where the reference pixels no longer sample the noise.

    References
    ----------
    Rauscher et al. 2017, PASP 129 105003.
    """
    n = lines * CLOCKS
    size = n // 2 + 1
    edges = np.unique(np.rint(np.geomspace(16, size, 70)).astype(int))
    edges[0] = 0
    sums: dict = {}
    for k in range(realisations):
        rng = np.random.Generator(np.random.SFC64([seed, _STREAM, k]))
        shared = pink(rng, n, common)
        noise = shared + pink(rng, n, own)
        series = [shared + pink(rng, n, own) + rng.normal(0, white, n), noise + rng.normal(0, white, n)]
        x = np.fft.rfft(noise)
        r = [np.fft.rfft(series[0]), np.fft.rfft(_reference_series(series[1]))]
        for a in range(2):
            for b, other in enumerate((*r, x)):
                product = (np.conj(r[a]) * other).real
                sums[a, b] = sums.get((a, b), 0) + np.add.reduceat(product, edges[:-1])
    determinant = sums[0, 0] * sums[1, 1] - sums[0, 1] ** 2
    alpha = (sums[0, 2] * sums[1, 1] - sums[1, 2] * sums[0, 1]) / determinant
    beta = (sums[1, 2] * sums[0, 0] - sums[0, 2] * sums[0, 1]) / determinant
    coarse = edges[1:] > n // (2 * PERIOD)
    alpha[coarse] = (sums[0, 2] / sums[0, 0])[coarse]
    beta[coarse] = 0
    band = np.minimum(np.searchsorted(edges, np.arange(size), side="right") - 1, alpha.size - 1)
    where = np.minimum(np.arange(n), n - np.arange(n))
    return alpha[band][where], beta[band][where]


class Interleaved(Effect):
    """Electronics of the interleaved readout, and its reference pixels.

    All outputs share a 1/f noise, each has one of its own, and drifts.  The reference pixels are
    read by the output they stand in.
    """

    collects = adds = True
    raw_shape = (WIDTH * OUTPUTS, LINES)
    DRIFT = 1.5

    def __init__(self, setting, strength):
        super().__init__(setting, strength)
        det = setting.region.detector
        if setting.region.shape != (LINES, LINES) or abs(det.fastaxis) != 2:
            raise UsageError(f"{setting.timing.pattern} reads the whole detector, not {setting.region.name}")
        self.common, self.own = (strength * value for value in amplitudes(det))
        self.white = det["read_noise"] / det["gain"]
        self._turned = det.fastaxis < 0
        clocks = column_clocks()
        normal = normal_columns().reshape(OUTPUTS, WIDTH)
        start = np.arange(LINES)[:, None] * CLOCKS
        self._science = [start + clocks[k][normal[k]] for k in range(1, OUTPUTS)]
        self._other = [start + clocks[k][~normal[k]] for k in range(OUTPUTS)]
        rng = np.random.default_rng([det["sca_num"], _STREAM])
        count = int((~normal).sum())
        self._bias = (_LEVEL + 40 * rng.standard_normal(count)).astype(np.float32)
        self._noise = np.full(count, self.white, np.float32)
        for output, block, pair, _ in BAD_PAIRS:
            at = WIDTH + (output - 1) * 128 + block * REFERENCE + 2 * pair
            self._noise[at : at + 2] = _BAD_NOISE
        self._groups = setting.timing.group_of_frames()
        self._kept = np.zeros((setting.nints, setting.timing.ngroups, OUTPUTS - 1, LINES), np.float32)
        self._offsets = self._walk()
        self._plane = np.zeros((0, 0), np.float32)
        self.references_read = np.empty((setting.timing.ngroups, LINES, count), np.uint16)

    def _walk(self):
        rng = np.random.Generator(np.random.SFC64([self.setting.seed, _STREAM]))
        out = np.empty((self.setting.nints * self.setting.timing.total_frames, OUTPUTS))
        offset = rng.normal(0, 4 * self.DRIFT, OUTPUTS)
        for k in range(len(out)):
            offset = 0.98 * offset + rng.normal(0, self.DRIFT, OUTPUTS)
            out[k] = offset
        return out

    def begin(self, i):
        """Start the sums of frames."""
        self._sum = np.zeros((LINES, self._bias.size), np.float32)

    def collect(self, i, frame, seconds, charge):
        """Draw the noise of a frame and read its reference pixels; the charge stays."""
        group = self._groups[frame]
        if group < 0:
            return
        timing = self.setting.timing
        rng = np.random.Generator(np.random.SFC64([self.setting.seed, _STREAM, i, frame]))
        n = LINES * CLOCKS
        shared = pink(rng, n, self.common)
        offsets = self._offsets[i * timing.total_frames + frame]
        science, other = [], []
        for k in range(OUTPUTS):
            series = shared + pink(rng, n, self.own) + np.float32(offsets[k])
            other.append(series[self._other[k]])
            if k:
                noise = series[self._science[k - 1]]
                science.append(noise)
                mean = noise.mean(axis=1) / timing.nframes
                self._kept[i, group, k - 1] += mean[::-1] if self._turned else mean
        plane = np.concatenate(science, axis=1)
        self._plane = self.to_image(plane)
        values = np.concatenate(other, axis=1) + self._bias
        values += rng.standard_normal(values.shape, dtype=np.float32) * self._noise
        self._sum += np.clip(np.rint(values), 0, 65535)
        last = frame + 1 == len(self._groups) or self._groups[frame + 1] != group
        if last:
            self.references_read[group] = np.minimum(np.floor(self._sum / timing.divisor), 65535)
            self._sum[:] = 0

    def add(self, i, frame, rows, signal):
        """Add the correlated noise of a frame."""
        signal += self._plane[rows]

    def to_image(self, plane):
        """Turn (..., line, column) of the detector into (..., y, x) of the file."""
        plane = np.swapaxes(plane, -1, -2)
        return plane[..., ::-1, ::-1] if self._turned else plane

    def interleave(self, normal, others):
        """Put normal and reference pixels together.

        Parameters
        ----------
        normal : numpy.ndarray
            (..., 2048, 2048), as in the file.
        others : numpy.ndarray
            (..., 2048, 1152), lines and columns of the detector.

        Returns
        -------
        numpy.ndarray
            (..., 3200, 2048).
        """
        rows = normal_columns()
        rows = rows[::-1] if self._turned else rows
        out = np.empty((*normal.shape[:-2], rows.size, LINES), normal.dtype)
        out[..., rows, :] = normal
        out[..., ~rows, :] = self.to_image(others)
        return out

    def interleaved_reference(self, kind, planes):
        """Planes of the mask or the bias in the shape of the readout."""
        count = self._bias.size
        flags = np.full(count, DQ["REFERENCE_PIXEL"] if kind == "mask" else 0, np.uint32)
        if kind == "mask":
            for output, block, pair, known in BAD_PAIRS:
                if known == "mask":
                    at = WIDTH + (output - 1) * 128 + block * REFERENCE + 2 * pair
                    flags[at : at + 2] |= DQ["BAD_REF_PIXEL"]
        others = {"SCI": self._bias, "ERR": np.full(count, 0.3, np.float32), "DQ": flags}
        return {
            name: self.interleave(plane, np.broadcast_to(others[name], (LINES, count)).astype(plane.dtype))
            for name, plane in planes.items()
        }

    def truth(self, first, last):
        """IRS2: amplitudes of the noise [DN]; noisy reference pixels; noise of lines, outputs."""
        rows = np.zeros(1, [("COMMON", "f4"), ("OWN", "f4"), ("WHITE", "f4")])
        rows[0] = self.common, self.own, self.white
        pairs = np.zeros(len(BAD_PAIRS), [("OUTPUT", "i2"), ("BLOCK", "i2"), ("PAIR", "i2"), ("KNOWN", "S8")])
        for k, pair in enumerate(BAD_PAIRS):
            pairs[k] = pair
        outputs = (np.arange(LINES) // 512).astype(np.int16)
        return [
            ("IRS2", rows, None),
            ("BADPAIRS", pairs, None),
            ("FLICKER", self._kept[first - 1 : last], "DN"),
            ("FLICKOUT", (outputs[::-1] if self._turned else outputs)[:, None], None),
        ]

    def references(self):
        """Weights, in the official format."""

        def make(folder, overwrite):
            alpha, beta = weights(self.common, self.own, self.white)
            n = alpha.size
            rows = np.zeros(2 * n, [(f"{name}_{k}", "f4") for name in ("alpha", "beta") for k in range(4)])
            for name in rows.dtype.names:
                rows[name][::2] = alpha if name.startswith("alpha") else beta
            table = [pair for pair in BAD_PAIRS if pair[3] == "table"]
            bad = np.zeros(8, [("OUTPUT", "u2"), ("ODD_EVEN", "u2"), ("MASK", "u4")])
            bad["OUTPUT"], bad["ODD_EVEN"] = np.repeat(np.arange(1, 5), 2), np.tile([1, 2], 4)
            for output, block, pair, _ in table:
                # Counted in the order of readout, which alternates from output to output.
                parity = pair + 1 if output % 2 else 2 - pair
                bad["MASK"][(bad["OUTPUT"] == output) & (bad["ODD_EVEN"] == parity)] |= np.uint32(1 << block)
            with write.new_file(folder / "refpix.fits", overwrite) as out:
                extra = {"READPATT": self.setting.timing.pattern}
                out.add(reference_header("refpix", "IRS2Model", self.setting.region, extra))
                out.add_table("IRS2", rows)
                out.add_table("DQ", bad)
            return "refpix.fits"

        return [("refpix", make)]

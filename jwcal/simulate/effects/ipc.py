"""Inter-pixel capacitance: neighbours see a part of a pixel's signal."""

import numpy as np

from jwcal.simulate import write
from jwcal.simulate.effects.base import Effect
from jwcal.simulate.headers import reference_header


def kernel(coupling):
    """Kernel of the coupling to the four neighbours.

    Parameters
    ----------
    coupling : float
        Part of the signal that each of the four neighbours sees.

    Returns
    -------
    numpy.ndarray
        float64 (3, 3), sum 1.
    """
    out = np.zeros((3, 3))
    out[0, 1] = out[1, 0] = out[1, 2] = out[2, 1] = coupling
    out[1, 1] = 1 - 4 * coupling
    return out


def deconvolution(coupling):
    """Kernel that undoes the coupling, as far as three by three pixels can.

    Parameters
    ----------
    coupling : float

    Returns
    -------
    numpy.ndarray
        float64 (3, 3), sum 1: centre of the exact inverse, rest of the sum put into the centre.
    """
    n = 64
    spectrum = np.zeros((n, n))
    spectrum[:3, :3] = kernel(coupling)
    spectrum = np.fft.fft2(np.roll(spectrum, (-1, -1), (0, 1))).real
    inverse = np.roll(np.fft.ifft2(1 / spectrum).real, (1, 1), (0, 1))[:3, :3]
    inverse[1, 1] += 1 - inverse.sum()
    return inverse


class Coupling(Effect):
    """Coupling of the signals of the light-sensitive pixels, after their non-linear response.

    The pixels just outside the region are taken to be as those at its edge.
    """

    couples = True

    def __init__(self, setting, strength):
        super().__init__(setting, strength)
        self.coupling = np.float32(strength / 100)
        if not strength < 20:
            from jwcal.core.errors import UsageError

            raise UsageError(
                f"effect ipc: the part that each neighbour sees must be below 20 per cent, not {strength}"
            )
        live = ~setting.pixels.reference
        self._rows = live[1:] & live[:-1]
        self._columns = live[:, 1:] & live[:, :-1]

    def couple(self, signal):
        """Let neighbours share their signals; their sum stays."""
        down = np.where(self._rows, signal[1:] - signal[:-1], 0) * self.coupling
        right = np.where(self._columns, signal[:, 1:] - signal[:, :-1], 0) * self.coupling
        signal[:-1] += down
        signal[1:] -= down
        signal[:, :-1] += right
        signal[:, 1:] -= right

    def truth(self, first, last):
        """IPC: the kernel."""
        return [("IPC", kernel(float(self.coupling)).astype(np.float32), None)]

    def references(self):
        """Kernel that undoes it, in the official format."""

        def make(folder, overwrite):
            with write.new_file(folder / "ipc.fits", overwrite) as out:
                out.add(reference_header("ipc", "IPCModel", self.setting.region, {}))
                write.add_image(out, "SCI", deconvolution(float(self.coupling)).astype(np.float32))
            return "ipc.fits"

        return [("ipc", make)]

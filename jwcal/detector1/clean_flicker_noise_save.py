"""Images that the flicker-noise correction writes beside its product when asked to."""

import logging
from pathlib import Path

import numpy as np

from jwcal.core.exposure import ArrayStore

log = logging.getLogger(__name__)

MODELS = {2: "ImageModel", 3: "CubeModel", 4: "RampModel"}


class Extras:
    """What is kept for ``save_mask``, ``save_background`` and ``save_noise``.

    Files go to the working directory, named after FILENAME; existing ones are replaced.

    Parameters
    ----------
    tile : Tile
        Whole frames.
    settings : types.SimpleNamespace
        Parameters of the step.
    masks : uint8 numpy.ndarray or None
        Scene mask, or one per integration.
    """

    def __init__(self, tile, settings, masks=None):
        self.meta, self.set, self.masks = tile.meta, settings, masks
        self.shape = tile["SCI"].shape
        self.sci = tile["SCI"]
        self.background = self._array("BACKGROUND") if settings.save_background else None

    def _array(self, name):
        return ArrayStore().create(name, self.shape, np.float32)

    def original(self):
        """Copy of the data, if the noise is to be written."""
        if not self.set.save_noise:
            return None
        copy = self._array("NOISE")
        copy[...] = self.sci
        return copy

    def keep_background(self, integration, group, level):
        """Remember the background of a group."""
        if self.background is not None:
            self.background[integration, group] = level

    def write(self, cleaned, original):
        """Write the files that were asked for."""
        if self.set.save_mask:
            self._write("mask", self.masks.astype(np.float32))
        if self.background is not None:
            self._write("flicker_bkg", self.background)
        if original is not None:
            np.subtract(cleaned, original, out=original)
            self._write("flicker_noise", original)

    def _write(self, suffix, array):
        from jwcal.core.fits import create_fits

        stem = Path(str(self.meta.get("FILENAME", "exposure.fits"))).name.removesuffix(".fits")
        name = f"{stem.rsplit('_', 1)[0]}_{suffix}.fits"
        header = self.meta.primary.copy()
        header.set("FILENAME", name)
        header.set("DATAMODL", MODELS[array.ndim])
        with create_fits(name, overwrite=True) as out:
            out.add(header)
            out.add(None, array.shape, np.float32, name="SCI").write(np.ascontiguousarray(array))
            out.commit()
        log.info("clean_flicker_noise: wrote %s", name)

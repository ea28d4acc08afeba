"""Images that the flicker-noise correction writes beside its product when asked to."""

import numpy as np

from jwcal.core.exposure import ArrayStore

SUFFIXES = {"save_mask": "mask", "save_background": "flicker_bkg", "save_noise": "flicker_noise"}


def check(exposure, settings):
    """Raise OutputError if one of the files cannot be replaced."""
    for name, suffix in SUFFIXES.items():
        if getattr(settings, name):
            exposure.beside.path(exposure.meta, suffix)


class Extras:
    """What is kept for ``save_mask``, ``save_background`` and ``save_noise``.

    Files go to the folder of the product, named after FILENAME.

    Parameters
    ----------
    tile : Tile
        Whole frames.
    plan : types.SimpleNamespace
        Has the parameters of the step as ``settings``, and ``beside``.
    masks : uint8 numpy.ndarray or None
        Scene mask, or one per integration.
    """

    def __init__(self, tile, plan, masks=None):
        self.meta, self.set, self.beside, self.masks = tile.meta, plan.settings, plan.beside, masks
        self.shape = tile["SCI"].shape
        self.sci = tile["SCI"]
        self.background = self._array("BACKGROUND") if self.set.save_background else None

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
            self._write("save_mask", self.masks)
        if self.background is not None:
            self._write("save_background", self.background)
        if original is not None:
            np.subtract(cleaned, original, out=original)
            self._write("save_noise", original)

    def _write(self, name, array):
        self.beside.image(self.meta, SUFFIXES[name], array, "clean_flicker_noise")

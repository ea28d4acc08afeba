"""Files that steps write beside the product when asked to: masks, backgrounds, what was subtracted."""

import logging
import os
from pathlib import Path

import numpy as np

from jwcal.core.errors import OutputError
from jwcal.core.whole import Complete, asdf_writer

log = logging.getLogger(__name__)

MODELS = {2: "ImageModel", 3: "CubeModel", 4: "RampModel"}


class Beside:
    """Where such files go, and those that wait until the run is done.

    Parameters
    ----------
    folder : str
        Folder of the product; the working directory where the product has none.
    overwrite : bool
        Replace existing files.
    waiting : list or None
        Outputs with ``commit`` and ``abort``, to which those made here are added.
    """

    def __init__(self, folder="", overwrite=False, waiting=None):
        self.folder, self.overwrite = folder, overwrite
        self.waiting = [] if waiting is None else waiting

    @classmethod
    def of_outputs(cls, outputs, overwrite, waiting):
        """Beside the first product of a run that is a file.

        Parameters
        ----------
        outputs : dict of str to str or None
            Path by product.
        overwrite, waiting
            As for the class.
        """
        paths = [path for path in outputs.values() if path not in (None, "-")]
        return cls(os.path.dirname(paths[0]) if paths else "", overwrite, waiting)

    def path(self, meta, suffix, extension="fits"):
        """Name of a file, after FILENAME.

        Parameters
        ----------
        meta : Meta
            Keywords of the exposure.
        suffix : str
            Last part of the name.
        extension : str
            Without a dot.

        Returns
        -------
        str

        Raises
        ------
        OutputError
            If it exists and may not be replaced.
        """
        stem = Path(str(meta.get("FILENAME", "exposure.fits"))).name.removesuffix(".fits")
        path = os.path.join(self.folder, f"{stem.rsplit('_', 1)[0]}_{suffix}.{extension}")
        if not self.overwrite and os.path.lexists(path):
            raise OutputError(f"{path}: exists already; --overwrite replaces it")
        return path

    def image(self, meta, suffix, array, step):
        """Write an array; the file appears when the run is done.

        Parameters
        ----------
        meta : Meta
            Header to start from.
        suffix : str
            Last part of the name.
        array : numpy.ndarray
            2-D to 4-D; written as float32.
        step : str
            Name of the step, for the log.
        """
        from jwcal.core.fits import create_fits

        path = self.path(meta, suffix)
        header = meta.primary.copy()
        header.set("FILENAME", os.path.basename(path))
        header.set("DATAMODL", MODELS[array.ndim])
        out = create_fits(path, overwrite=self.overwrite)
        self.waiting.append(out)
        out.add(header)
        out.add(None, array.shape, np.float32, name="SCI").write(np.ascontiguousarray(array, np.float32))
        log.info("%s: writes %s", step, path)

    def tree(self, meta, suffix, tree, step):
        """Write a tree as ASDF; the file appears when the run is done.

        Parameters
        ----------
        meta : Meta
            Keywords of the exposure.
        suffix : str
            Last part of the name.
        tree : dict
            What to write.
        step : str
            Name of the step, for the log.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        path = self.path(meta, suffix, "asdf")
        self.waiting.append(Complete(path, self.overwrite, asdf_writer(path, tree)))
        log.info("%s: writes %s", step, path)

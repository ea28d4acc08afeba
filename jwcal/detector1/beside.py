"""Images that a step writes beside its product when asked to."""

import logging
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

MODELS = {2: "ImageModel", 3: "CubeModel", 4: "RampModel"}


def write_image(meta, suffix, array, step):
    """Write an array to the working directory, named after FILENAME; an existing file is replaced.

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

    stem = Path(str(meta.get("FILENAME", "exposure.fits"))).name.removesuffix(".fits")
    name = f"{stem.rsplit('_', 1)[0]}_{suffix}.fits"
    header = meta.primary.copy()
    header.set("FILENAME", name)
    header.set("DATAMODL", MODELS[array.ndim])
    with create_fits(name, overwrite=True) as out:
        out.add(header)
        out.add(None, array.shape, np.float32, name="SCI").write(np.ascontiguousarray(array, np.float32))
        out.commit()
    log.info("%s: wrote %s", step, name)

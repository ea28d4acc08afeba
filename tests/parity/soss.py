"""References of NIRISS SOSS: traces, templates of the background, and the range of wavelengths."""

from __future__ import annotations

import numpy as np

COMMANDED = 245.76


def write_references(folder, header, rows):
    """Write PASTASOSS, BKG and WAVELENGTHRANGE references.

    Parameters
    ----------
    folder : pathlib.Path
        Where to.
    header : astropy.io.fits.Header
        To start the BKG reference from.
    rows : int
        Of its templates.

    Returns
    -------
    dict of str to str
        File name by reference type.
    """
    import asdf
    from astropy.io import fits

    meta = {
        "telescope": "JWST",
        "author": "parity suite",
        "description": "strips",
        "pedigree": "GROUND",
        "useafter": "2020-01-01T00:00:00",
        "instrument": {"name": "NIRISS", "detector": "NIS", "filter": "CLEAR"},
        "exposure": {"type": "NIS_SOSS"},
    }
    asdf.AsdfFile({"meta": meta | {"reftype": "pastasoss"} | STRIP, **traces()}).write_to(
        folder / "pastasoss.asdf"
    )
    ranges = {"wavelengthrange": [[1, "CLEAR", 0.9, 2.7], [2, "CLEAR", 0.6, 1.4]], "order": [1, 2]}
    asdf.AsdfFile(
        {"meta": meta | {"reftype": "wavelengthrange", "wavelength_units": "um"}, **ranges}
        | {"waverange_selector": ["CLEAR"]}
    ).write_to(folder / "wavelengthrange.asdf")
    y, x = np.mgrid[:rows, :2048]
    step = 1 + 0.8 / (1 + np.exp(-(x - 705 - 0.02 * y) / 3))
    shapes = [0.4 + x / 9000, 1.2 - x / 6000 + y / 2000]
    images = np.array([shape * step for shape in shapes], np.float32)
    header.update(REFTYPE="BKG", DATAMODL="SossBkgModel", FILENAME="bkg.fits")
    header.update(SUBARRAY="SUBSTRIP256", SUBSTRT1=1, SUBSTRT2=1793, SUBSIZE1=2048, SUBSIZE2=256)
    planes = {"SCI": images, "ERR": np.zeros_like(images), "DQ": np.zeros(images.shape, np.uint32)}
    hdus = [fits.ImageHDU(array, name=name) for name, array in planes.items()]
    fits.HDUList([fits.PrimaryHDU(header=header), *hdus]).writeto(folder / "bkg.fits")
    return {
        k: f"refs/{k}.{'fits' if k == 'bkg' else 'asdf'}" for k in ("pastasoss", "wavelengthrange", "bkg")
    }


STRIP = {
    "pwcpos_cmd": COMMANDED,
    "pwcpos_bounds": [COMMANDED - 0.25, COMMANDED + 0.25],
    "order2_separation_cutoff": [0.77, 0.95],
    "soss_xdim": 2048,
    "soss_ydim": 300,
    "subarray_ymin": 1792,
    "wavemap_nwl": 5001,
    "wavemap_wlmin": 0.5,
    "wavemap_wlmax": 5.5,
}


def traces():
    """Trees of three orders: traces that bend, the last of which leaves the strip, and wavelengths."""
    x = np.arange(4.0, 2044.0)
    shapes = {1: (40, 55, 35), 2: (90, -20, 90), 3: (130, 60, 110)}
    lines, models = [], []
    for order, (level, tilt, bend) in shapes.items():
        y = level + tilt * (x / 2048 - 0.5) + bend * (x / 2048 - 0.4) ** 2
        line = {
            "spectral_order": order,
            "pivot_x": 1200.0 - 150 * order,
            "pivot_y": float(level),
            "cutoff": 2040,
        }
        lines.append(line | {"trace": np.column_stack([x, y]), "oversampling": 1, "short_cutoff": 0.6})
        polynomial = np.array([2.83, -1.97, 0.012, -0.03, 0.004, 0.001, 0.02, 0.003, -0.002, 0.001]) / order
        models.append(
            {
                "spectral_order": order,
                "polynomial_degree": 3,
                "coefficients": polynomial,
                "coefficient_labels": "1 x o x2 xo o2 x3 x2o xo2 o3",
                "scale_extents": np.array([[0.0, -0.25], [2048.0, 0.25]]),
            }
        )
    return {"traces": lines, "wavecal_models": models, "throughputs": []}

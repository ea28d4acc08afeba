"""Cut a full-frame exposure into the stripes of a multistripe subarray; most references stay whole."""

from __future__ import annotations

import numpy as np


def cut(folder, info, slow, keys):
    """Change the exposure and its dark, which the official package does not cut, in place.

    Parameters
    ----------
    folder : pathlib.Path
        The case: full frames with the slow axis along the columns.
    info : dict
        Its case.json.
    slow : int
        2 or -2: the first lines read are at the bottom or at the top.
    keys : dict
        Keywords of the readout: repeated first lines, and stripes that advance.
    """
    from astropy.io import fits

    first, stripe = keys["MSTR_RD1"], keys["MSTR_RD2"]
    lines = []
    for k in range(keys["SUBSIZE2"] // (first + stripe)):
        start = first + keys["MSTR_SK1"] + k * (stripe + keys["MSTR_SK2"])
        lines += [*range(first), *range(start, start + stripe)]
    rows = np.array(lines) if slow > 0 else 2047 - np.array(lines)[::-1]
    for path in (info["uncal"], info["refs"]["dark"]):
        with fits.open(folder / path, mode="update") as hdus:
            for hdu in hdus[1:]:
                if hdu.is_image and hdu.data is not None and hdu.data.shape[-2:] == (2048, 2048):
                    hdu.data = np.ascontiguousarray(hdu.data[..., rows, :])
            hdus[0].header.update(SUBSTRT2=keys["SUBSTRT2"], SUBSIZE2=keys["SUBSIZE2"])

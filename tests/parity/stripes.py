"""Cut an exposure into the stripes of a multistripe subarray, or superstripes; most references stay whole."""

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
        Keywords of the readout: repeated first lines, and stripes that advance; or superstripes.
    """
    from astropy.io import fits

    if keys["SSTR_NST"]:
        restack(folder, info, keys)
        return
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


def restack(folder, info, keys):
    """Read an exposure of whole lines as superstripes instead; only the dark does not stay what it is.

    Groups of the input become repetitions within a group, if the readout has any.

    Parameters
    ----------
    folder : pathlib.Path
        The case, with all lines along the slow axis.
    info : dict
        Its case.json.
    keys : dict
        Keywords of the readout.
    """
    from astropy.io import fits

    count, slow, first = keys["SSTR_NST"], keys["SLOWAXIS"], keys["MSTR_RD1"]
    axis, number = (-2, 2) if abs(slow) == 2 else (-1, 1)
    start = keys[f"SUBSTRT{number}"]
    start = 2048 - start if slow < 0 else start - 1
    stripe = keys["MSTR_RD2"] or keys["SSTR_STP"]
    repeats = keys[f"SUBSIZE{number}"] // (first + stripe)
    begin = start + first + keys["MSTR_SK1"]
    all_lines = np.arange(begin, begin + (count - 1) * keys["SSTR_STP"] + stripe)

    def lines_of(array, lines):
        lines = 2047 - lines[::-1] if slow < 0 else lines
        return np.ascontiguousarray(np.take(array, lines, axis))

    def stripes(frames, cut):
        """Images of all stripes; `cut` takes from a frame what a repetition sees of it."""
        out = []
        for frame in frames:
            for k in range(count):
                at = begin + k * keys["SSTR_STP"]
                lines = np.array([*range(start, start + first), *range(at, at + stripe)])
                parts = [lines_of(cut(frame, repeat), lines) for repeat in range(repeats)]
                out.append(np.concatenate(parts[::-1] if slow < 0 else parts, axis))
        return np.array(out)

    with fits.open(folder / info["uncal"], mode="update") as hdus:
        hdus["SCI"].data = stripes(hdus["SCI"].data, lambda frame, k: frame[k::repeats])
        if "ZEROFRAME" in hdus:
            hdus["ZEROFRAME"].data = stripes(
                hdus["ZEROFRAME"].data, lambda frame, k: frame + frame.dtype.type(k)
            )
        rows = np.repeat(np.array(hdus["INT_TIMES"].data), count)
        part = np.tile(np.arange(count), len(rows) // count) / 86400
        for name in rows.dtype.names[1:]:
            rows[name] += part
        rows[rows.dtype.names[0]] = np.arange(len(rows)) + 1
        hdus["INT_TIMES"].data = rows
        nint, ngroup = hdus["SCI"].data.shape[:2]
        hdus[0].header.update(NINTS=nint, INTEND=nint, NGROUPS=ngroup)
    if keys["SUBARRAY"].endswith("_SOSS"):
        return
    # The frames of other subarrays end where the stripes do, and the official package cuts no dark.
    with fits.open(folder / info["refs"]["dark"], mode="update") as hdus:
        for hdu in hdus[1:]:
            if hdu.is_image and hdu.data is not None and hdu.data.shape[axis] == 2048:
                hdu.data = lines_of(hdu.data, all_lines)
        place = 2048 - all_lines[-1] if slow < 0 else all_lines[0] + 1
        hdus[0].header.update({f"SUBSTRT{number}": int(place), f"SUBSIZE{number}": len(all_lines)})

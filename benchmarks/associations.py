"""Time associations of pools of growing size: CPU seconds, memory, and seconds for each row.

Usage: python benchmarks/associations.py [ROWS...]
"""

import gc
import random
import resource
import sys
import time

from jwcal.associations.generate import Generator
from jwcal.associations.pool import Pool, _from_text, pool_text
from jwcal.associations.rules import load_rules

COLUMNS = (
    "filename", "program", "obs_num", "exp_type", "instrume", "detector", "channel", "targetid", "pntgtype", "filter",
    "pupil", "grating", "band", "subarray", "patttype", "patt_num", "numdthpt", "subpxpns", "mostilno", "dithptin",
    "expspcin", "visitype", "tsovisit", "bkgdtarg", "is_imprt", "is_psf", "exposerr", "asn_candidate",
)  # fmt: skip
MODES = {
    "nrc_image": ("nircam", ("nrca1", "nrca2", "nrca3", "nrca4", "nrcalong"), None),
    "mir_mrs": ("miri", ("mirifushort", "mirifulong"), "mir_tacq"),
    "nrs_msaspec": ("nirspec", ("nrs1", "nrs2"), "nrs_msata"),
    "nis_image": ("niriss", ("nis",), None),
}
OPTICS = {
    "nrc_image": {"filter": "f200w", "pupil": "clear"},
    "mir_mrs": {"band": "short", "patttype": "4-point"},
    "nrs_msaspec": {"filter": "f100lp", "grating": "g140m"},
    "nis_image": {"filter": "clear", "pupil": "f150w"},
}
PER_PROGRAM = 150


def observation(number, rng):
    """Cells of the exposures of one observation, a few dithers on all detectors of an instrument."""
    program, place = 1000 + number // PER_PROGRAM, number % PER_PROGRAM + 1
    kind = rng.choice(["nrc_image", *MODES])
    instrument, detectors, acquisition = MODES[kind]
    mosaic = f", ('c{1000 + place // 5}', 'mosaic')" if rng.random() < 0.3 else ""
    dithers = rng.choice((3, 4, 6))
    common = {
        "program": str(program), "obs_num": str(place), "instrume": instrument, "targetid": str(rng.randint(1, 40)),
        "subarray": "full", "mostilno": "1", "expspcin": "1", "numdthpt": str(dithers), "subpxpns": "1",
        "pntgtype": "science", "asn_candidate": f"[('o{place:03d}', 'observation'){mosaic}]",
        "bkgdtarg": "t" if kind == "mir_mrs" and place % 7 == 0 else "f",
    }  # fmt: skip
    root = f"jw{program:05d}{place:03d}001"
    if acquisition:
        yield {**common, "exp_type": acquisition, "pntgtype": "target_acquisition", "detector": detectors[0],
               "filename": f"{root}_02101_00001_{detectors[0]}_uncal.fits"}  # fmt: skip
    for dither in range(1, dithers + 1):
        for detector in detectors:
            yield {**common, **OPTICS[kind], "exp_type": kind, "detector": detector, "patt_num": str(dither),
                   "dithptin": str(dither), "filename": f"{root}_03101_{dither:05d}_{detector}_uncal.fits"}  # fmt: skip


def main(sizes):
    """Print one line a size."""
    gc.disable()
    print("rows  associations  CPU s  ms a row  MB")
    for size in sizes:
        rng = random.Random(1)
        cells, number = [], 0
        while len(cells) < size:
            cells += [tuple(row.get(c, "null") for c in COLUMNS) for row in observation(number, rng)]
            number += 1
        data = pool_text(Pool(COLUMNS, cells[:size])).encode()
        del cells
        start = time.process_time()
        pool = _from_text(data, "pool.csv", None)
        found = Generator(pool, load_rules()).associations()
        spent = time.process_time() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{size}  {len(found)}  {spent:.2f}  {1000 * spent / size:.3f}  {memory}", flush=True)
        del found, pool


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1000, 10000, 100000])

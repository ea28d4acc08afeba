"""Open products with the official data models and list what is not where it is expected.

    python open_products.py PAIRS.json

PAIRS.json is a list of [name, product, official product of the same kind].  Runs in the environment of
make_peer_env and prints a JSON list of [name, complaint], empty when all is well.
"""

import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np

META = """
instrument.name instrument.detector instrument.filter instrument.pupil instrument.grating
exposure.type exposure.readpatt exposure.nints exposure.ngroups exposure.nframes exposure.groupgap
exposure.frame_time exposure.group_time exposure.integration_start exposure.integration_end
exposure.segment_number exposure.total_segments exposure.start_time exposure.end_time
subarray.name subarray.xstart subarray.ystart subarray.xsize subarray.ysize subarray.fastaxis
subarray.slowaxis observation.program_number observation.date observation.visit_number
target.catalog_name visit.tsovisit wcsinfo.ra_ref wcsinfo.v2_ref wcsinfo.roll_ref bunit_data bunit_err
""".split()


def value(model, name):
    """Metadata by dotted name, None if absent."""
    node = model.meta
    for part in name.split("."):
        node = getattr(node, part, None)
    return node


def complaints(mine, theirs):
    """What differs in model class, planes, metadata and tables between two opened products."""
    out = []
    if type(mine) is not type(theirs):
        out.append(f"opens as {type(mine).__name__}, not {type(theirs).__name__}")
    for plane in ("data", "err", "dq", "pixeldq", "groupdq", "var_poisson", "var_rnoise", "zeroframe"):
        if not theirs.hasattr(plane):
            continue
        a, b = getattr(mine, plane, None), getattr(theirs, plane)
        if a is None or np.shape(a) != np.shape(b):
            out.append(f"{plane} has shape {np.shape(a)}, not {np.shape(b)}")
        elif np.asarray(a).dtype.newbyteorder("=") != np.asarray(b).dtype.newbyteorder("="):
            out.append(f"{plane} is {a.dtype}, not {b.dtype}")
    for name in META:
        a, b = value(mine, name), value(theirs, name)
        if a != b:
            out.append(f"meta.{name} is {a!r}, not {b!r}")
    for table in ("int_times", "group"):
        b = theirs.hasattr(table) and getattr(theirs, table)
        if b is False or b is None:
            continue
        a = getattr(mine, table, None)
        if a is None or len(a) != len(b) or any(not np.array_equal(a[n], b[n]) for n in b.dtype.names):
            out.append(f"table {table} differs")
    return out


def main(path):
    """Print the complaints about all pairs."""
    from stdatamodels.jwst import datamodels

    logging.basicConfig(level=logging.ERROR)
    found = []
    for name, mine, theirs in json.loads(Path(path).read_text()):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with datamodels.open(mine) as model:
                told = [str(w.message) for w in caught]
                with datamodels.open(theirs) as other:
                    told += complaints(model, other)
        found += [(name, f"{Path(mine).name}: {text}") for text in told]
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

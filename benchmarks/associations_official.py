"""Compare `jwcal asn generate` with the official command: associations, CPU seconds and memory, pool by pool.

Usage: python benchmarks/associations_official.py ASN_GENERATE POOL...
       python benchmarks/associations_official.py --recorded FOLDER

ASN_GENERATE is the official program.  Both are run on the same file, one after the other, as commands of
their own (start-up and writing of files count), and what they wrote is compared by `jwcal asn diff`'s rules
and by the names of the files.  --recorded compares with results of the official program that were recorded
before (FOLDER/*.json.gz, seconds and memory of then; the pool is the file that each names).
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from jwcal.associations.output import read_association
from jwcal.associations.pool import pool_text, read_pool
from jwcal.associations.tools import differences


def run(words):
    """CPU seconds and largest memory (MB) of a command; None if it fails."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return None if process.returncode else (used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def made(folder):
    """Associations (dict) of a folder by file name."""
    return {path.name: read_association(path) for path in Path(folder).glob("*.json")}


def compare(program, path):
    """Row of the table (list of str) of one pool."""
    with tempfile.TemporaryDirectory() as folder:
        pool = read_pool(path)
        # Pools of the official tests compute some of their cells, which the official command cannot.
        file = Path(folder) / Path(path).name
        file.write_text(pool_text(pool), encoding="utf-8")
        for name in ("official", "jwcal"):
            (Path(folder) / name).mkdir()
        official = run([program, str(file), "-p", f"{folder}/official"])
        ours = run([sys.executable, "-m", "jwcal", "asn", "generate", str(file), "-o", f"{folder}/jwcal"])
        for words, found in (("the official command", official), ("jwcal", ours)):
            if found is None:
                return [Path(path).stem, f"{len(pool):,}", f"{words} fails", *["-"] * 6]
        left, right = made(f"{folder}/official"), made(f"{folder}/jwcal")
        different = sum(line[0] in "+-" for line in differences(left, right)) + len(
            left.keys() ^ right.keys()
        )
    return [
        Path(path).stem, f"{len(pool):,}", f"{len(left):,}", str(different), f"{official[0]:.1f}", f"{ours[0]:.2f}",
        f"{official[0] / ours[0]:,.0f}", f"{official[1]:,.0f}", f"{ours[1]:,.0f}",
    ]  # fmt: skip


def compare_recorded(path, shared):
    """Row of the table (list of str) of one recorded result; `shared` is the folder its paths start from."""
    known = json.loads(gzip.decompress(path.read_bytes()))
    with tempfile.TemporaryDirectory() as folder:
        pool = shared / known["path"]
        ours = run([sys.executable, "-m", "jwcal", "asn", "generate", str(pool), "-o", folder])
        if ours is None:
            return [path.name.removesuffix(".json.gz"), str(known["rows"]), "jwcal fails", *["-"] * 6]
        right = made(folder)
    left = {each["file"]: recorded(each) for each in known["associations"]}
    different = sum(left[name] != recorded(right[name]) for name in left.keys() & right.keys())
    return [
        path.name.removesuffix(".json.gz"), f"{len(read_pool(pool)):,}", f"{len(left):,}",
        str(different + len(left.keys() ^ right.keys())), f"{known['seconds']:.1f}", f"{ours[0]:.2f}",
        f"{known['seconds'] / ours[0]:,.0f}", "-", f"{ours[1]:,.0f}",
    ]  # fmt: skip


def recorded(association):
    """Return what is compared of an association, as a file has it or as it was recorded."""
    products = [
        (
            product["name"],
            sorted(
                (m["expname"], m["exptype"]) if isinstance(m, dict) else tuple(m) for m in product["members"]
            ),
        )
        for product in association["products"]
    ]
    return products, [association[key] for key in ("asn_type", "asn_rule", "asn_id", "target")]


def main(program, *pools):
    """Print a table, one row a pool."""
    print(
        "| pool | rows | associations | different | official s | jwcal s | ratio | official MB | jwcal MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    if program == "--recorded":
        folder = Path(pools[0]).resolve()
        for path in sorted(folder.glob("*.json.gz")):
            print(f"| {' | '.join(compare_recorded(path, folder.parents[2]))} |", flush=True)
        return
    for path in pools:
        print(f"| {' | '.join(compare(program, path))} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])

"""Compare `jwcal asn generate` with the official command: associations, CPU seconds and memory, pool by pool.

Usage: python benchmarks/associations_official.py ASN_GENERATE POOL...

ASN_GENERATE is the official program.  Both are run on the same file, one after the other, as commands of
their own (start-up and writing of files count), and what they wrote is compared by `jwcal asn diff`'s rules
and by the names of the files.
"""

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


def main(program, *pools):
    """Print a table, one row a pool."""
    print(
        "| pool | rows | associations | different | official s | jwcal s | ratio | official MB | jwcal MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for path in pools:
        print(f"| {' | '.join(compare(program, path))} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])

"""Measure what pipelines cost, for the table jwcal/data/planning/cost.toml.

Usage: python benchmarks/prediction.py [FOLDER]

Simulates exposures of four sizes in each way a detector is read, runs the pipeline on each, fits how time and
memory grow with the size, and prints the table.
"""

import os
import platform
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

PROGRAM = [sys.executable, "-c", "from jwcal.cli.main import main; main()"]
RUNS = 3
# Pipeline and way of reading: arguments of "sim expose", rows, columns, groups, integrations.
CASES = {
    ("detector1", "nir"): (
        ("--detector NRCB1 --subarray SUB640 --ngroups 5", 640, 640, 5, 1),
        ("--detector NRCB1 --subarray SUB640 --ngroups 10 --nints 6", 640, 640, 10, 6),
        ("--detector NRCA1 --full --ngroups 8", 2048, 2048, 8, 1),
        ("--detector NRCA1 --full --ngroups 5 --nints 4", 2048, 2048, 5, 4),
    ),
    ("detector1", "miri"): (
        ("--instrument miri --subarray SUB256 --ngroups 10", 256, 256, 10, 1),
        ("--instrument miri --subarray SUB256 --ngroups 40 --nints 10", 256, 256, 40, 10),
        ("--instrument miri --full --ngroups 20", 1024, 1032, 20, 1),
        ("--instrument miri --full --ngroups 10 --nints 5", 1024, 1032, 10, 5),
    ),
    ("detector1", "irs2"): (
        ("--instrument nirspec --readpatt NRSIRS2RAPID --full --ngroups 3", 2048, 2048, 3, 1),
        ("--instrument nirspec --readpatt NRSIRS2RAPID --full --ngroups 9", 2048, 2048, 9, 1),
        ("--instrument nirspec --readpatt NRSIRS2RAPID --full --ngroups 3 --nints 8", 2048, 2048, 3, 8),
        ("--instrument nirspec --readpatt NRSIRS2RAPID --full --ngroups 5 --nints 2", 2048, 2048, 5, 2),
    ),
    ("dark", "nir"): (
        ("--detector NRCB1 --subarray SUB640 --ngroups 5 --exp-type NRC_DARK", 640, 640, 5, 1),
        ("--detector NRCB1 --subarray SUB640 --ngroups 10 --nints 6 --exp-type NRC_DARK", 640, 640, 10, 6),
        ("--detector NRCA1 --full --ngroups 8 --exp-type NRC_DARK", 2048, 2048, 8, 1),
        ("--detector NRCA1 --full --ngroups 5 --nints 4 --exp-type NRC_DARK", 2048, 2048, 5, 4),
    ),
    ("dark", "miri"): (
        ("--instrument miri --subarray SUB256 --ngroups 10 --exp-type MIR_DARKIMG", 256, 256, 10, 1),
        (
            "--instrument miri --subarray SUB256 --ngroups 40 --nints 9 --exp-type MIR_DARKIMG",
            256,
            256,
            40,
            9,
        ),
        ("--instrument miri --full --ngroups 20 --exp-type MIR_DARKIMG", 1024, 1032, 20, 1),
        ("--instrument miri --full --ngroups 10 --nints 5 --exp-type MIR_DARKIMG", 1024, 1032, 10, 5),
    ),
}


def spent(arguments, quiet=False):
    """CPU seconds and memory at most (bytes) of one run of jwcal."""
    silence = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)] if quiet else []
    process = os.posix_spawn(PROGRAM[0], [*PROGRAM, *arguments], os.environ, file_actions=silence)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"jwcal {' '.join(arguments)}: exit status {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def measure(pipeline, cases, folder):
    """Coefficients of seconds and of memory, each with the worst misfit."""
    sizes, seconds, memory = [], [], []
    for number, (text, ny, nx, ngroup, nint) in enumerate(cases):
        place = folder / f"case{number}"
        spent(["sim", "expose", str(place), "--overwrite", *text.split()], quiet=True)
        (raw,) = place.glob("*_uncal.fits")
        output = str(place / "out.fits")
        best = [
            spent(["run", pipeline, str(raw), "-o", output, "--refs", str(place / "refs"), "--overwrite"])
            for _ in range(RUNS)
        ]
        shutil.rmtree(place)
        sizes.append((ny * nx / 1e6, ngroup, nint))
        seconds.append(min(cpu for cpu, _ in best))
        memory.append(max(size for _, size in best))
        print(f"# {pipeline} {text}: {seconds[-1]:.2f} s, {memory[-1] / 1e6:.0f} MB", flush=True)
    times = [(1.0, frame, frame * ngroup * nint) for frame, ngroup, nint in sizes]
    spaces = [(1.0, frame, frame * ngroup, frame * nint) for frame, ngroup, nint in sizes]
    return fitted(np.array(times), np.array(seconds)), fitted(np.array(spaces), np.array(memory))


def fitted(design, values):
    """Coefficients of the columns of a design, none below zero, and the worst misfit."""
    used = [column for column in range(design.shape[1]) if column == 0 or np.ptp(design[:, column])]
    while True:
        # Small runs count as much as large ones.
        fit = np.linalg.lstsq(design[:, used] / values[:, None], np.ones(len(values)), rcond=None)[0]
        if fit.min() >= 0:
            break
        used.pop(int(fit.argmin()))
    result = np.zeros(design.shape[1])
    result[used] = fit
    return *result, float(np.max(np.abs(design @ result / values - 1)))


def main(folder=None):
    """Print the table."""
    print("# What a run costs, for a frame of F million pixels, G groups, I integrations:")
    print(
        "# seconds of CPU = a + b F + c F G I; bytes of memory at most = a + b F + c F G + d F I.  Measured with"
    )
    print(f"# python benchmarks/prediction.py, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores,")
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    print(f"# {system}; least CPU of {RUNS} runs.")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for (pipeline, way), cases in CASES.items():
            seconds, memory = measure(pipeline, cases, Path(place))
            print(f"[{pipeline}.{way}]")
            print("seconds = [" + ", ".join(f"{value:.5f}" for value in seconds[:-1]) + "]")
            print("memory = [" + ", ".join(f"{value:.0f}" for value in memory[:-1]) + "]")
            worst = [f"{100 * value[-1]:.0f} %" for value in (seconds, memory)]
            print(f"# worst misfit: {worst[0]} of the seconds, {worst[1]} of the memory\n", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:2])

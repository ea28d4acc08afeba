"""Measure what is left of periodic interference in MIRI ramps, on simulated truth.

    python benchmarks/emi.py [--seed N]

Interference at two frequencies is added to simulated raw ramps (coronagraphic subarray of 288 x 224 pixels,
cosmic rays and a scene of stars).  Power left is that of the difference to the truth after a straight line is
taken out of every ramp, in per cent of the power added, since a line is all a slope fit sees.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jwcal.core.exposure import ArrayStore, Exposure, open_exposure
from jwcal.detector1.emicorr.step import emicorr

ROW, FRAME = 82, 23968
FREQUENCIES = (390.625, 10.039216)
ALGORITHMS = ("joint", "sequential", "simultaneous")
# Name; integrations, groups, amplitudes in DN, phases, error of the last frequency in Hz, other waveform.
CASES = (
    ("as the reference has it", 3, 14, (8, 5), (0.30, 0.71), 0.0, 0.0),
    ("phase near 0", 2, 10, (8, 5), (0.9995, 0.001), 0.0, 0.0),
    ("weak", 4, 10, (1, 0.7), (0.30, 0.71), 0.0, 0.0),
    ("four groups", 2, 4, (8, 5), (0.30, 0.71), 0.0, 0.0),
    ("other waveform", 2, 8, (8, 5), (0.30, 0.71), 0.0, 0.3),
    ("10 Hz is 10.05 Hz", 4, 10, (3, 2), (0.30, 0.71), 0.01, 0.0),
)


def wave(phase, departure=0.0):
    """Waveform of mean zero."""
    return (
        np.sin(2 * np.pi * phase)
        + 0.35 * np.sin(4 * np.pi * phase + 1.0)
        + 0.12 * np.cos(6 * np.pi * phase + 0.3)
        + departure * np.sin(4 * np.pi * phase - 0.6)
    )


def interference(shape, amplitudes, phases, off, departure):
    """Interference in every read; its last frequency is off by so many Hz."""
    nint, ngroup, ny, nx = shape
    start = np.arange(nint)[:, None] * (ngroup * FRAME + FRAME) + np.arange(ngroup) * FRAME
    clocks = start[..., None, None] + np.arange(ny)[:, None] * ROW + np.arange(nx) // 4
    out = np.zeros(shape)
    for amplitude, phase, frequency in zip(amplitudes, phases, FREQUENCIES, strict=True):
        error = off if frequency == FREQUENCIES[-1] else 0.0
        out += amplitude * wave((clocks * 1e-5 * (frequency + error) + phase) % 1, departure)
    return out


def power(values):
    """Mean square of ramps less a straight line."""
    time = np.arange(values.shape[1]) - (values.shape[1] - 1) / 2
    values = values - values.mean(axis=1, keepdims=True)
    slope = np.tensordot(time, values, (0, 1)) / (time @ time)
    return np.mean((values - time[None, :, None, None] * slope[:, None]) ** 2)


def write_reference(path):
    """Write an EMICORR reference of the two waves."""
    import asdf

    phase = (np.arange(256) + 0.5) / 256
    names = [f"Hz{int(f)}" for f in FREQUENCIES]
    tree = {
        "meta": {"reftype": "emicorr", "instrument": {"name": "MIRI"}},
        "frequencies": {
            n: {"frequency": f, "phase_amplitudes": wave(phase)}
            for n, f in zip(names, FREQUENCIES, strict=True)
        },
        "subarray_cases": {"MASK1550": {"rowclocks": ROW, "frameclocks": FRAME, "freqs": {"FAST": names}}},
    }
    asdf.AsdfFile(tree).write_to(path)


def simulate(folder, nint, ngroup, seed):
    """Raw ramps without interference, and their header."""
    command = [
        sys.executable, "-m", "jwcal", "sim", "expose", str(folder), "--instrument", "miri", "--subarray", "MASK1550",
        "--nints", str(nint), "--ngroups", str(ngroup), "--cr-rate", "0.02", "--seed", str(seed), "--overwrite",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return open_exposure(str(next(folder.glob("*_uncal.fits"))))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=5)
    seed = parser.parse_args().seed
    print("| case | added, DN rms | " + " | ".join(f"{a}: power left" for a in ALGORITHMS) + " | seconds |")
    print("|---|---|" + "---|" * (len(ALGORITHMS) + 1))
    with tempfile.TemporaryDirectory() as name:
        reference = Path(name) / "emicorr.asdf"
        write_reference(reference)
        for title, nint, ngroup, *how in CASES:
            raw = simulate(Path(name) / "case", nint, ngroup, seed)
            clean = raw["SCI"].astype(float)
            added = interference(clean.shape, *how)
            cells, seconds = [], []
            for algorithm in ALGORITHMS:
                planes = {
                    "SCI": (clean + added).astype(np.float32),
                    "PIXELDQ": np.zeros(clean.shape[2:], np.uint32),
                    "GROUPDQ": np.zeros(clean.shape, np.uint8),
                }
                headers = {plane: raw.headers["SCI"].copy() for plane in planes}
                ramp = Exposure("ramp", raw.primary.copy(), headers, ArrayStore(planes), (), title)
                start = time.perf_counter()
                out = emicorr(ramp, refs={"emicorr": str(reference)}, skip=False, algorithm=algorithm)
                seconds.append(f"{time.perf_counter() - start:.2f}")
                cells.append(f"{100 * power(out['SCI'] - clean) / power(added):.2g} %")
            raw.close()
            rms = np.sqrt(power(added))
            print(f"| {title} | {rms:.2f} | " + " | ".join(cells) + f" | {', '.join(seconds)} |", flush=True)


if __name__ == "__main__":
    main()

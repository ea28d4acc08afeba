"""Pretend that the raw files of a program arrive, so that a reconciliation can be rehearsed.

Usage: python examples/arrival.py PROGRAM FOLDER

Writes one small file, headers and a single pixel, under every predicted name of the program but the last two,
gives one exposure another filter and adds one that nobody planned.  Then, for instance:

    jwcal predict PROGRAM --against FOLDER
"""

import sys
from pathlib import Path

import numpy as np

from jwcal.core.fits import create_fits
from jwcal.core.header import Header
from jwcal.planning.prediction import predict


def write(path, raw, program, **changes):
    """Write a raw file of one pixel with the keywords of a predicted exposure."""
    exposure, detector = raw.exposure, raw.detector
    cards = {
        "PROGRAM": program.number, "OBSERVTN": f"{raw.observation.number:03d}", "VISIT": f"{raw.visit.number:03d}",
        "INSTRUME": exposure.instrument, "DETECTOR": detector.name, "EXP_TYPE": raw.exp_type,
        "FILTER": detector.filter, "PUPIL": detector.pupil, "GRATING": detector.grating, "BAND": detector.band,
        "CHANNEL": detector.channel, "MODULE": detector.module, "SUBARRAY": exposure.subarray,
        "READPATT": raw.readpatt, "NGROUPS": raw.ngroups, "NINTS": raw.all_nints,
    }  # fmt: skip
    primary = Header()
    for keyword, value in {**cards, **changes}.items():
        if value != "":
            primary.set(keyword, value)
    with create_fits(path) as file:
        file.add(primary)
        science = Header()
        science.set("EXTNAME", "SCI")
        file.add(science, (1, 1, 1, 1), "u2").write(np.zeros((1, 1, 1, 1), "u2"))
        file.commit()


def main(program_file, folder):
    """Write the files."""
    prediction = predict(program_file)
    folder = Path(folder)
    folder.mkdir(parents=True)
    *here, _, _ = prediction.raws
    for number, raw in enumerate(here):
        changes = {"FILTER": "F999W"} if number == 1 else {}
        write(folder / raw.name, raw, prediction.program, **changes)
    stray = f"jw{prediction.program.number}990001{here[0].name[13:]}"
    write(folder / stray, here[0], prediction.program, OBSERVTN="990")
    print(f"{len(here) + 1} files in {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:])

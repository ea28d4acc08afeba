"""Compare predicted visits and exposures with the pointing reports of APT.

Usage: python benchmarks/prediction_reports.py FOLDER

FOLDER has programs (.xml) and their reports (.pointing) of the same name.  Prints, for each template of an
observation, how many observations there are, in how many the exposures are those of the report (tile,
configuration, dither and instrument of each, in this order), and in how many the visits are as well.  Target
acquisition is left out: reports have rows for it where no image is taken.
"""

import sys
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

from jwcal.planning.apt import read_program
from jwcal.planning.expand import expand
from jwcal.planning.pointing import read_pointing


def compare(folder):
    """Count observations, exposures, visits and points (dict of str to Counter) by template."""
    found = defaultdict(Counter)
    for path in sorted(Path(folder).glob("*.pointing")):
        reported = defaultdict(list)
        for visit in read_pointing(path):
            rows = [
                (each.tile, each.config, each.dither, each.parallel) for each in visit.points if each.tile
            ]
            reported[visit.observation].append(rows)
        for observation in expand(read_program(path.with_suffix(".xml"))).observations:
            expected = reported[observation.number]
            visits = [
                [
                    (each.tile, each.config, each.dither.point, bool(each.parallel))
                    for each in visit.exposures
                    if each.config
                ]
                for visit in observation.visits
            ]
            points = list(chain(*expected))
            if points:
                same = points == list(chain(*visits))
                found[observation.template].update(
                    observations=1, exposures=same, visits=visits == expected, points=len(points)
                )
    return found


def main():
    """Print the table."""
    found = compare(sys.argv[1])
    found["all"] = sum(found.values(), Counter())
    print("| template | observations | exposures as reported | visits as well | points |")
    print("|---|---|---|---|---|")
    for template, counted in found.items():
        cells = (int(counted[name]) for name in ("observations", "exposures", "visits", "points"))
        print(f"| {template} | {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()

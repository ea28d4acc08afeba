"""Compare what arrived with what a program was expected to give."""

import fnmatch
import re
from collections import Counter
from dataclasses import dataclass, replace

from jwcal.planning.arrivals import FACTS
from jwcal.planning.raw import segment_name

ARRIVED, DIFFERENT, MISSING, UNEXPECTED, UNPREDICTED = (
    "arrived",
    "different",
    "missing",
    "unexpected",
    "unpredicted",
)
STATES = (ARRIVED, DIFFERENT, MISSING, UNEXPECTED, UNPREDICTED)
_EXPOSURE = re.compile(
    r"jw\d{5}(?P<observation>\d{3})(?P<visit>\d{3})_(?P<group>\d\d)(?P<sequence>\d)(?P<activity>\w\w)"
    r"_(?P<number>\d{5})(?P<segment>-seg\d{3})?_(?P<detector>[a-z0-9]+)"
)
_VISIT = re.compile(r"jw\d{5}(\d{3})(\d{3})_")
_COMBINED = re.compile(r"jw\d{5}-[a-z](\d{3,4})_")
_SEGMENT = re.compile(r"-seg\d{3}(?=_)")
_CANDIDATE = re.compile(r"([-_]c)\d{4}(?=[-_])")
# Products of exposures that pipelines write if they are asked to.  Source: jwst documentation, pipelines
# detector1, image2, spec2, spec3.
_OPTIONAL = frozenset(("ramp", "fitopt", "trapsfilled", "bsub", "bsubints", "esec", "mbsub"))
# An exposure of the same light path is the same exposure; how long it was may have been changed.
_PATH = ("exp_type", "filter", "pupil", "grating", "channel", "band")


@dataclass(slots=True)
class Entry:
    """State of one file.

    Attributes
    ----------
    state : str
        One of `STATES`.
    name : str
        File that arrived, or that is missing.
    expected : str
        Name that was predicted for it, "" if it has that name or none was.
    observation, visit : int
        Where it belongs; 0 for products of several.
    stage : int
        0 raw file, 1 to 3 products.
    detail : str
        What differs, or why it is not here.
    """

    state: str
    name: str
    expected: str = ""
    observation: int = 0
    visit: int = 0
    stage: int = 0
    detail: str = ""


class Reconciliation:
    """Comparison of a prediction with arrivals.

    Parameters
    ----------
    prediction : Prediction
    arrivals : list of Arrival

    Attributes
    ----------
    entries : list of Entry
        Every expected and every other file once, in order of observation, visit and name.
    """

    def __init__(self, prediction, arrivals):
        self.prediction = prediction
        self.entries: list[Entry] = []
        self._stems: dict[str, str] = {}
        # Exposures that came in another number of files than predicted, by name without the segment.
        self._resplit: set[str] = set()
        arrivals, twice = _unique(arrivals)
        self._raws([each for each in arrivals if each.raw and "_gs-" not in each.name])
        self._products([each for each in arrivals if not (each.raw and "_gs-" not in each.name)])
        self.entries += [
            self._entry(DIFFERENT, each.name, detail=f"is there again: {each.where}") for each in twice
        ]
        self.entries.sort(key=lambda entry: (entry.observation, entry.visit, entry.stage, entry.name))

    # -- results

    def counts(self):
        """Count the files in each state (dict, in the order of `STATES`)."""
        counted = Counter(entry.state for entry in self.entries)
        return {state: counted.get(state, 0) for state in STATES}

    def visits(self):
        """State of every visit.

        Returns
        -------
        list of dict
            observation, visit, expected, arrived and the other states (numbers of raw files), and state:
            "complete", "partial", "not begun", or "check" if something is different or unexpected.
        """
        table: dict[tuple, Counter] = {}
        for observation in self.prediction.program.observations:
            for visit in observation.visits:
                table[observation.number, visit.number] = Counter()
        for entry in self.entries:
            if entry.stage == 0 and entry.visit:
                table.setdefault((entry.observation, entry.visit), Counter())[entry.state] += 1
        out = []
        for (observation, visit), counted in sorted(table.items()):
            here = counted[ARRIVED] + counted[DIFFERENT]
            if counted[DIFFERENT] or counted[UNEXPECTED]:
                state = "check"
            elif not counted[MISSING]:
                state = "complete"
            else:
                state = "partial" if here else "not begun"
            out.append({
                "observation": observation, "visit": visit, "expected": here + counted[MISSING],
                **{each: counted[each] for each in STATES}, "state": state,
            })  # fmt: skip
        return out

    @property
    def exit_code(self):
        """0 if all is here as predicted, 75 if something has not come yet, 1 if something else has."""
        counted = self.counts()
        if counted[DIFFERENT] or counted[UNEXPECTED]:
            return 1
        return 75 if counted[MISSING] else 0

    # -- raw files

    def _raws(self, arrivals):
        expected = {raw.name: raw for raw in self._split(arrivals)}
        left = []
        for arrival in arrivals:
            raw = expected.get(arrival.name)
            # Under a name that was an estimate there may be another exposure of the visit.
            if raw is None or (raw.sure and not arrival.wrong and not _agree(raw, arrival, _PATH)):
                left.append(arrival)
            else:
                self._pair(expected.pop(arrival.name), arrival)
        for place in (_place, _place_of_observation):
            for keys in (FACTS, _PATH):
                left = self._by_facts(expected, left, place, keys)
        for arrival in left:
            if arrival.name in expected:
                self._pair(expected.pop(arrival.name), arrival)
            else:
                self.entries.append(self._stranger(arrival))
        for raw in expected.values():
            self._add(MISSING, raw, raw.name, detail=raw.sure)

    def _split(self, arrivals):
        """Predicted raw files, large exposures split as those that arrived say."""
        told: dict[str, int] = {}
        for arrival in arrivals:
            base, number = _SEGMENT.sub("", arrival.name), arrival.facts.get("exsegtot", "")
            # 0: in segments, nobody knows how many; -1: in one file without a segment in its name.
            told[base] = -1 if base == arrival.name else int(number) if number.isdigit() else 0
        out = []
        for raw in self.prediction.raws:
            base = _SEGMENT.sub("", raw.name)
            total = told.get(base, 0)
            if total in (0, raw.segments if raw.segment else -1):
                out.append(raw)
            elif raw.segment <= 1:
                self._resplit.add(base)
                if total < 0:
                    out.append(replace(raw, name=base, segment=0, segments=1))
                for number in range(1, total + 1):
                    out.append(replace(raw, name=segment_name(base, number), segment=number, segments=total))
        return out

    def _by_facts(self, expected, arrivals, place, keys):
        """Match files whose names were estimates, in order, by where and what they are."""
        places: dict[tuple, list] = {}
        for raw in expected.values():
            if raw.sure:
                places.setdefault(place(raw.name), []).append(raw)
        left = []
        for arrival in arrivals:
            queue = [] if arrival.wrong else places.get(place(arrival.name), [])
            raw = next((raw for raw in queue if _agree(raw, arrival, keys)), None)
            if raw is None:
                left.append(arrival)
            else:
                queue.remove(raw)
                del expected[raw.name]
                self._pair(raw, arrival)
        return left

    def _pair(self, raw, arrival):
        wanted = _expected_facts(raw)
        differ = [
            f"{key.upper()} {arrival.facts[key]}, not {wanted[key]}"
            for key in FACTS
            if wanted.get(key) and arrival.facts.get(key, wanted[key]) != wanted[key]
        ]
        state = DIFFERENT if arrival.wrong or differ else ARRIVED
        detail = arrival.wrong or "; ".join(differ)
        if arrival.name != raw.name:
            self._stems[_stem(raw.name)] = _stem(arrival.name)
        self._add(state, raw, arrival.name, raw.name if arrival.name != raw.name else "", detail)

    def _add(self, state, raw, name, expected="", detail=""):
        self.entries.append(Entry(state, name, expected, raw.observation.number, raw.visit.number, 0, detail))

    # -- products

    def _products(self, arrivals):
        products = [product for product in self.prediction.products if product.stage or product.count is None]
        patterns = [product for product in products if product.count is None]
        expected = {self._renamed(product.name): product for product in products if product.count is not None}
        here = {entry.expected or entry.name for entry in self.entries if entry.state in (ARRIVED, DIFFERENT)}
        resplit = self._of_resplit(expected)
        stages, left = set(), []
        for arrival in arrivals:
            product = expected.pop(arrival.name, None) or resplit.get(_SEGMENT.sub("", arrival.name))
            if product is None:
                left.append(arrival)
                continue
            stages.add(product.stage)
            self._product(ARRIVED, product, arrival.name)
        stems = {_stem(self._renamed(raw.name)) for raw in self.prediction.raws}
        numbered: dict[str, list[str]] = {}
        for name in expected:
            if _CANDIDATE.search(name):
                numbered.setdefault(_CANDIDATE.sub(r"\g<1>*", name), []).append(name)
        for arrival in left:
            queue = numbered.get(_CANDIDATE.sub(r"\g<1>*", arrival.name), [])
            pattern = next((each for each in patterns if fnmatch.fnmatchcase(arrival.name, each.name)), None)
            if queue:
                name = queue.pop(0)
                product = expected.pop(name)
                stages.add(product.stage)
                self._product(ARRIVED, product, arrival.name, name)
            elif pattern:
                self._product(ARRIVED, pattern, arrival.name, pattern.name)
            elif _stem(arrival.name) in stems and _suffix(arrival.name) in _OPTIONAL:
                self.entries.append(self._entry(ARRIVED, arrival.name, detail="an optional product"))
            else:
                self.entries.append(self._stranger(arrival))
        # A folder of raw files is no worse for having no mosaics: a stage counts once a file of it is there.
        for name, product in expected.items():
            if product.stage in stages:
                absent = [raw.name for raw in product.raws if raw.name not in here]
                detail = (
                    f"waits for {absent[0]}" if len(absent) == 1 else f"waits for {len(absent)} raw files"
                )
                self._product(MISSING, product, name, detail=detail if absent else "its raw files are here")

    def _of_resplit(self, expected):
        """Take out products of exposures that came in another number of files; by name without segment."""
        resplit: dict = {}
        for name, product in list(expected.items()):
            first = product.raws[0].name if len(product.raws) == 1 else ""
            if first and _SEGMENT.sub("", first) in self._resplit and _EXPOSURE.match(name):
                resplit.setdefault(_SEGMENT.sub("", name), expected.pop(name))
        return resplit

    def _product(self, state, product, name, expected="", detail=""):
        visits = {(raw.observation.number, raw.visit.number) for raw in product.raws}
        observation, visit = visits.pop() if len(visits) == 1 else (0, 0)
        if visits:
            numbers = product.observations
            observation = numbers[0] if len(numbers) == 1 else 0
        self.entries.append(Entry(state, name, expected, observation, visit, product.stage, detail))

    def _renamed(self, name):
        """Name of a product after exposures that arrived under other names than predicted."""
        if not self._stems:
            return name
        stem = _stem(name)
        return self._stems[stem] + name[len(stem) :] if stem in self._stems else name

    # -- files nothing was known of

    def _stranger(self, arrival):
        entry = self._entry(UNEXPECTED, arrival.name)
        program = self.prediction.program
        observation = next((each for each in program.observations if each.number == entry.observation), None)
        if arrival.wrong:
            entry.detail = arrival.wrong
        elif observation is None:
            entry.detail = f"the program has no observation {entry.observation}" if entry.observation else ""
        elif not observation.visits and not observation.skipped:
            reasons = [
                problem.text for problem in program.problems if problem.observation == entry.observation
            ]
            entry.state, entry.detail = UNPREDICTED, reasons[0] if reasons else "nothing was predicted for it"
        elif observation.skipped:
            entry.detail = f"the observation was not to be taken: {observation.skipped}"
        elif entry.visit and entry.visit not in {visit.number for visit in observation.visits}:
            entry.detail = f"no visit {entry.visit} was predicted"
        return entry

    def _entry(self, state, name, detail=""):
        told, combined = _VISIT.match(name), _COMBINED.match(name)
        stage = 0 if name.endswith("uncal.fits") else 3 if combined else 2
        if told:
            return Entry(state, name, "", int(told[1]), int(told[2]), stage, detail)
        number = int(combined[1]) if combined and combined[0].split("-")[1].startswith("o") else 0
        return Entry(state, name, "", number, 0, stage, detail)


def _unique(arrivals):
    """Arrivals with each name once, and the others."""
    seen: set[str] = set()
    first: list = []
    again: list = []
    for arrival in arrivals:
        (again if arrival.name in seen else first).append(arrival)
        seen.add(arrival.name)
    return first, again


def _stem(name):
    told = _EXPOSURE.match(name)
    return told[0] if told else name


def _suffix(name):
    return name.rpartition("_")[2].partition(".")[0]


def _place(name):
    """Visit, prime or parallel, detector and segment of a raw file; the name itself if it is another."""
    told = _EXPOSURE.match(name)
    if told is None:
        return (name,)
    prime = told["sequence"] == "1"
    return told["observation"], told["visit"], prime, told["detector"], told["segment"]


def _place_of_observation(name):
    """Leave out the visit: APT may have shared an observation among visits otherwise."""
    place = _place(name)
    return (place[0], *place[2:]) if len(place) > 1 else place


def _expected_facts(raw):
    exposure, detector = raw.exposure, raw.detector
    facts = {
        "instrume": exposure.instrument,
        "exp_type": raw.exp_type,
        "filter": detector.filter,
        "pupil": detector.pupil,
        "grating": detector.grating,
        "channel": detector.channel,
        "module": detector.module,
        "band": detector.band,
        "subarray": exposure.subarray,
        "readpatt": raw.readpatt,
        "ngroups": exposure.readout_of(detector)[1] or "",
        "nints": exposure.readout_of(detector)[2] or "",
        "exsegtot": raw.segments if raw.segments > 1 else "",
    }
    return {key: str(value).strip().lower() for key, value in facts.items() if value}


def _agree(raw, arrival, keys):
    """Whether a file can be the one predicted, by the facts that both give."""
    wanted = _expected_facts(raw)
    return all(
        arrival.facts[key] == wanted[key] for key in keys if arrival.facts.get(key) and wanted.get(key)
    )

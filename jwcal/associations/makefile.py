"""Makefile of the runs that associations ask for: raw files to rates, level 2, level 3."""

import os
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from jwcal.core.errors import InputError, UsageError

# What the official programs are called; prefixes of a type mean the same program on other data.
OFFICIAL = {
    **{kind: f"calwebb_{kind}" for kind in ("image2", "spec2", "image3", "spec3", "coron3", "ami3", "tso3")},
    "tso-image2": "calwebb_image2", "wfs-image2": "calwebb_image2", "tso-spec2": "calwebb_spec2",
    "nrslamp-spec2": "calwebb_spec2", "wfs-image3": "calwebb_wfs-image3",
}  # fmt: skip
GOALS = {"rate": 1, "level2": 2, "level3": 3}
_PART = re.compile(r"[A-Za-z0-9_.+][A-Za-z0-9_.+@-]*")
_RATE = re.compile(r"(.+)_(rate|rateints)\.fits")
_HEAD = """\
SHELL = bash
.SHELLFLAGS = -o pipefail -euc
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all {goals}

JWCAL ?= jwcal
RAW ?= {raw}
THREADS ?= 1
DETECTOR1FLAGS ?=
"""
_STAGE = """\
# $(call stage,NAME,KIND,FILE,TARGETS): run the command of a kind in a folder of its own, so that programs which
# write files of one name do not meet and nothing that is left of a failure passes for a product.
define stage
@rm -rf work/$(1)
@$(if $(filter detector1,$(2)),mkdir -p work/$(1); ln -s $(abspath $(3)) work/$(1),\
$(JWCAL) asn gather $(3) -s . -o work/$(1) --link)
cd work/$(1); $(call run-$(2),$(notdir $(3)))
@cd work/$(1); for f in $(filter-out done/%,$(4)); do \\
  [ -f $$f ] || { echo "work/$(1): $$f was not made" >&2; exit 1; }; done
@cd work/$(1); for f in *; do \\
  [ -L $$f ] || [ ! -f $$f ] || [ $$f = $(notdir $(3)) ] || mv -f $$f ../..; done
@rm -rf work/$(1); mkdir -p done; touch $(4)
endef
"""


@dataclass
class Job:
    """One run.

    Attributes
    ----------
    name : str
        Of its folder.
    level : int
        1 (raw to rate), 2 or 3.
    kind : str
        Type of association; "detector1" for level 1.
    path : str
        Association, or exposure for level 1.
    targets, sources : list of str
        Files it makes, and those it needs.
    """

    name: str
    level: int
    kind: str
    path: str
    targets: list = field(default_factory=list)
    sources: list = field(default_factory=list)


def plan(associations, folder=".", first="raw", last="level3"):
    """Find the runs of associations, each after those that make what it needs.

    Parameters
    ----------
    associations : dict of str to dict
        Content by path.
    folder : str or Path
        Where make will run and the products will be.
    first : {"raw", "rate"}
        What there is to start from.
    last : {"rate", "level2", "level3"}
        What to make.

    Returns
    -------
    jobs : list of Job
    loose : list of str
        Files that are needed and that no run makes, raw files left out.

    Raises
    ------
    UsageError
        If a name cannot be in a Makefile, two runs make the same file, or there is nothing to make.
    InputError
        If associations need each other's products in a circle.
    """
    jobs: dict[str, Job] = {}
    needed: dict[str, None] = {}
    for path, data in associations.items():
        level, members = _level(path, data), _members(path, data)
        if level <= GOALS[last]:
            job = Job(Path(path).name.removesuffix(".json"), level, data["asn_type"], str(path))
            if jobs.setdefault(job.name, job) is not job:
                raise UsageError(f"{path} and {jobs[job.name].path}: two associations of one name")
            job.sources = [_plain(os.path.relpath(path, folder), path, folders=True), *members]
            needed.update(dict.fromkeys(members))
        elif last == "rate":
            needed.update(dict.fromkeys(file for file in members if _RATE.fullmatch(file)))
    products: dict[str, list] = {}
    for file in needed:
        if not _RATE.fullmatch(file):
            products.setdefault(file.rpartition("_")[0], []).append(file)
    for job in jobs.values():
        job.targets = _targets(job, associations[job.path], products)
    runs = [*(_rates(needed) if first == "raw" else ()), *jobs.values()]
    runs.sort(key=lambda job: (job.level, job.name))
    if not runs:
        raise UsageError(f"nothing to make up to {last} of these associations")
    makers = _makers(runs)
    return _ordered(runs, makers), [file for file in needed if file not in makers]


def _level(path, data):
    found = re.fullmatch(r"[\w-]*([23])", str(data.get("asn_type")))
    if not found:
        raise UsageError(f"{path}: asn_type {data.get('asn_type')} is neither one of level 2 nor of level 3")
    return int(found[1])


def _plain(name, path, folders=False):
    """Check that a name means itself in a Makefile and in a shell."""
    if not all(_PART.fullmatch(part) for part in (name.lstrip("/").split("/") if folders else [name])):
        raise UsageError(f"{path}: {name!r} cannot be in a Makefile: letters, digits and _.+@- only")
    return name


def _members(path, data):
    files = (member["expname"] for product in data["products"] for member in product["members"])
    return list(dict.fromkeys(_plain(file, path) for file in files))


def _rates(needed):
    """Find the runs from raw files to slopes; those of all integrations together are always made."""
    found: dict[str, Job] = {}
    for file in needed:
        match = _RATE.fullmatch(file)
        if match:
            stem = match[1]
            job = found.setdefault(stem, Job(stem, 1, "detector1", stem, [f"{stem}_rate.fits"]))
            job.targets += [file] if file not in job.targets else []
            job.sources = [f"$(RAW)/{stem}_uncal.fits"]
    return found.values()


def _targets(job, data, products):
    """Files a run makes: of level 2 the calibrated exposures, of level 3 a mark, and what others need."""
    # How many products of level 3 there will be, and their names, is known when they are there.
    out: dict[str, None] = {} if job.level == 2 else {f"done/{job.name}": None}
    for product in data["products"]:
        name = str(product.get("name"))
        if job.level == 2:
            rates = [_RATE.fullmatch(m["expname"]) for m in product["members"] if m["exptype"] == "science"]
            apart = any(rate and rate[2] == "rateints" for rate in rates)
            out[f"{_plain(name, job.path)}_{'calints' if apart else 'cal'}.fits"] = None
        out.update(dict.fromkeys(products.get(name, ())))
    return list(out)


def _makers(jobs):
    makers: dict[str, Job] = {}
    for job in jobs:
        for file in job.targets:
            other = makers.setdefault(file, job)
            if other is not job:
                raise UsageError(f"{other.path} and {job.path} both make {file}; leave one of them out")
    return makers


def _ordered(jobs, makers):
    out: list[Job] = []
    state: dict[int, str] = {}
    for start in jobs:
        stack = [(start, iter(start.sources))]
        while stack:
            job, sources = stack[-1]
            state.setdefault(id(job), "begun")
            waits_for = next(
                (
                    makers[file]
                    for file in sources
                    if file in makers and state.get(id(makers[file])) != "done"
                ),
                None,
            )
            if waits_for is None:
                stack.pop()
                if state[id(job)] != "done":
                    out.append(job)
                state[id(job)] = "done"
            elif id(waits_for) in state:
                circle = [each.path for each, _ in stack]
                circle = [*circle[circle.index(waits_for.path) :], waits_for.path]
                raise InputError(f"associations need each other in a circle: {' needs '.join(circle)}")
            else:
                stack.append((waits_for, iter(waits_for.sources)))
    return out


def stage_commands(jobs, given=(), strun=False):
    """Command lines of the stages.

    Parameters
    ----------
    jobs : list of Job
        The runs.
    given : iterable of (str, str)
        Stage (an asn_type, "level2", "level3" or "detector1") and command.
    strun : bool
        Take the official programs for stages of level 2 and 3 that have no command.

    Returns
    -------
    dict of str to str
        By kind of job; detector1 is absent if jwcal does it.

    Raises
    ------
    UsageError
        If a stage has no command, a name is no stage, or a command cannot be used.
    """
    named = dict(given)
    wrong = set(named) - {*OFFICIAL, "detector1", "level2", "level3", *(job.kind for job in jobs)}
    if wrong:
        raise UsageError(f"--command {min(wrong)}: no such stage; detector1, level2, level3 or an asn_type")
    out, without = {}, []
    for kind, level in dict.fromkeys((job.kind, job.level) for job in jobs):
        text = named.get(kind) or named.get(f"level{level}")
        if text is None and strun and kind in OFFICIAL:
            text = f"strun {OFFICIAL[kind]} {{asn}}"
        if text is not None:
            out[kind] = _command(kind, text)
        elif kind != "detector1":
            without.append(kind)
    if without:
        raise UsageError(
            f"jwcal has no program for {', '.join(without)}: name one with --command {without[0]}='PROGRAM {{asn}}', "
            "take the official ones with --strun, or make less with --to"
        )
    return out


def _command(kind, text):
    source = "{raw}" if kind == "detector1" else "{asn}"
    if "\n" in text or source not in text:
        raise UsageError(f"--command {kind}: has to be one line with {source} in it")
    text = text.replace("$", "$$").replace("#", "\\#")
    return text.replace(source, "$(1)").replace("{threads}", "$(THREADS)")


def makefile(jobs, commands, raw="."):
    """Text of the Makefile.

    Parameters
    ----------
    jobs : list of Job
        The runs.
    commands : dict of str to str
        Command lines of the stages, see `stage_commands`.
    raw : str
        Folder of the raw files, as seen from where make runs.

    Returns
    -------
    str
    """
    goals = {goal: [job for job in jobs if job.level == level] for goal, level in GOALS.items()}
    goals = {goal: found for goal, found in goals.items() if found}
    blocks = [_HEAD.format(goals=" ".join(goals), raw=_plain(raw, "--raw", folders=True))]
    if commands:
        blocks += ["".join(f"run-{kind} = {text}\n" for kind, text in commands.items()), _STAGE]
    blocks.append(f"all: {' '.join(goals)}\n")
    # All of grouped targets: make looks for those only that something names.
    blocks += [
        _wrapped(f"{goal}:", [t for job in found for t in job.targets]) for goal, found in goals.items()
    ]
    blocks += [_rule(job, commands) for job in jobs]
    return "\n".join(blocks)


def _rule(job, commands):
    # Several targets of one recipe are grouped, or make would run it for each.
    head = " ".join(job.targets) + (" &:" if len(job.targets) > 1 else ":")
    if job.kind in commands:
        recipe = f"$(call stage,{job.name},{job.kind},{job.sources[0]},{' '.join(job.targets)})"
    else:
        words = ["$(JWCAL) run detector1 $< -o", job.targets[0]]
        words += [f"--rateints {file}" for file in job.targets[1:]]
        recipe = " ".join([*words, "--overwrite -j $(THREADS) $(DETECTOR1FLAGS)"])
    return f"{_wrapped(head, job.sources)}\t{recipe}\n"


def _wrapped(head, files):
    lines = textwrap.wrap(
        " ".join([head, *files]), 106, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return " \\\n".join(lines) + "\n"

"""The declaration of a step: parameters, references, planes and hooks, from which every surface is made."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from jwcal.core.errors import UsageError
from jwcal.core.suggest import instead


class Skip(Exception):  # noqa: N818 - an outcome, not an error
    """Raised by a step's setup: the step does not apply, the data pass unchanged.

    Parameters
    ----------
    reason : str
        Why, in a few words; it goes to the log and the provenance.
    """


@dataclass(frozen=True)
class Param:
    """One parameter of a step.

    Attributes
    ----------
    name : str
        Official name, words joined by underscores.
    type : type
        float, int, bool or str.
    default : object
        Value when nothing else is said; None means "not set".
    help : str
        One line for people.
    unit : str
        Unit of the value, empty for none.
    min, max : float or None
        Closed range.
    choices : tuple or None
        Allowed values.
    per : dict or None
        Defaults by instrument (``{"MIRI": 5.0}``).
    """

    name: str
    type: type
    default: Any
    help: str
    unit: str = ""
    min: float | None = None
    max: float | None = None
    choices: tuple | None = None
    per: dict | None = None

    @property
    def option(self):
        """Command-line option name without dashes in front."""
        return self.name.replace("_", "-")

    def default_for(self, instrument=None):
        """Default value for an instrument (None: the general one)."""
        return (self.per or {}).get(instrument, self.default)

    def convert(self, value, where="parameter"):
        """Check a value and give it the declared type.

        Parameters
        ----------
        value : object
            Text from a command line, or a value from a file or a caller.
        where : str
            What to call the owner in the message.

        Returns
        -------
        object
            The typed value.

        Raises
        ------
        UsageError
            If the value is of another type, out of range or not a choice.
        """
        label = f"{where}: {self.name}"
        if value is None or (isinstance(value, str) and value.lower() == "none" and self.default is None):
            if self.default is None:
                return None
            raise UsageError(f"{label} needs a value of type {self.type.__name__}")
        out = self._typed(value, label)
        if self.choices and out not in self.choices:
            raise UsageError(f"{label} = {out!r}: choose one of {', '.join(map(str, self.choices))}")
        if isinstance(out, (int, float)) and not isinstance(out, bool):
            if math.isnan(out):
                raise UsageError(f"{label} = {value}: must be a number")
            if self.min is not None and out < self.min:
                raise UsageError(f"{label} = {out}: must be at least {self.min}")
            if self.max is not None and out > self.max:
                raise UsageError(f"{label} = {out}: must be at most {self.max}")
        return out

    def _typed(self, value, label):
        if self.type is bool:
            if isinstance(value, bool):
                return value
            text = str(value).strip().lower()
            if text in {"true", "yes", "on", "1"}:
                return True
            if text in {"false", "no", "off", "0"}:
                return False
            raise UsageError(f"{label} = {value!r}: say true or false")
        if self.type is str:
            return str(value)
        try:
            number = float("true" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            number = None
        if number is None or (self.type is int and not number.is_integer()):
            kind = "a whole number" if self.type is int else "a number"
            raise UsageError(f"{label} = {value!r}: must be {kind}")
        return int(number) if self.type is int else number


@dataclass(frozen=True)
class Ref:
    """One reference file a step needs.

    Attributes
    ----------
    kind : str
        Reference type in lower case, as the reference system names it.
    planes : dict
        Extension name to dtype of the arrays the adapter gets.
    missing : str
        "skip": the step is skipped without it; "error": it is required; "optional": the
        adapter finds None.
    optional_planes : tuple of str
        Planes that may be absent from the file (the adapter finds None).
    load : callable or None
        ``load(ref, box, plan)`` returning a dict of arrays replaces the default cut-out; it may
        return None to have that.
    keyword : str or None
        Header keyword; ``R_`` plus six letters of the type unless given.
    when : callable or None
        ``when(exposure, p)`` says whether this exposure needs it; None: always.
    """

    kind: str
    planes: dict = field(default_factory=dict)
    missing: str = "skip"
    optional_planes: tuple = ()
    load: Any = None
    keyword: str | None = None
    when: Any = None

    @property
    def header_keyword(self):
        """Keyword that names the file in products."""
        return self.keyword or "R_" + self.kind.upper()[:6]


class Step:
    """A declared step: call it with an exposure, or let the engine run it tile by tile.

    Made by `step`; see there for the meaning of the attributes.
    """

    params: tuple = ()
    refs: tuple = ()
    takes: str
    gives: str
    scope: str
    needs_all_dnu: bool

    def __init__(self, function, **declared):
        self.function = function
        self.__doc__ = function.__doc__
        self.__name__ = declared["name"]
        self.__module__ = function.__module__
        self.name = declared["name"]
        for key, value in declared.items():
            setattr(self, key, value)
        self.setup_hook = self.probe_hook = self.solve_hook = self.finish_hook = None
        self.measure_hook = self.settle_hook = self.frames_hook = self.frames_wanted = None
        self.scan_hook = self.certain_hook = None

    def __repr__(self):
        return f"<step {self.name}>"

    @property
    def command(self):
        """Name of the command."""
        return self.name.replace("_", "-")

    @property
    def summary(self):
        """First line of the description."""
        return (self.__doc__ or "").strip().split("\n")[0]

    @property
    def whole_frames(self):
        """Whether it needs more of the frame than a tile and its halo, or makes another product."""
        looks = self.measure_hook or self.probe_hook or self.frames_hook or self.needs_all_dnu
        return self.scope != "tile" or self.gives != self.takes or bool(looks)

    def param(self, name):
        """Return the declared parameter of that name, or raise UsageError."""
        for p in self.params:
            if name.replace("-", "_") == p.name:
                return p
        raise UsageError(
            f"{self.name}: no parameter {name!r} ({instead(name, [p.name for p in self.params])})"
        )

    def setup(self, hook):
        """Register ``hook(exposure, refs, p)``, run once before any pixel; returns the plan."""
        self.setup_hook = hook
        return hook

    def probe(self, hook):
        """Register ``hook(exposure, plan)`` returning the boxes `solve` must see."""
        self.probe_hook = hook
        return hook

    def solve(self, hook):
        """Register ``hook(strips, exposure, plan, p)`` returning one integration's correction."""
        self.solve_hook = hook
        return hook

    def measure(self, hook):
        """Register ``hook(tile, refs, p)``, called on whole rows of the frame before any tile of the step.

        It returns a dict of arrays whose first axis is the rows of the tile; `settle` gets them joined.
        A plan with a false attribute ``measures`` leaves it out.
        """
        self.measure_hook = hook
        return hook

    def settle(self, hook):
        """Register ``hook(measured, exposure, plan, p)``, which gets what `measure` found in all rows.

        If it returns True the frame is measured once more.
        """
        self.settle_hook = hook
        return hook

    def frames(self, wanted):
        """Register ``hook(tile, refs, p)`` that goes on with whole frames once all tiles are done.

        It is called integration by integration, in order, if ``wanted(plan)`` is true.
        """

        def register(hook):
            self.frames_wanted, self.frames_hook = wanted, hook
            return hook

        return register

    def certain(self, hook):
        """Register ``hook(exposure, plan)``: bool (nint, ngroup), groups made DO_NOT_USE in every pixel."""
        self.certain_hook = hook
        return hook

    def scan(self, hook):
        """Register ``hook(tile, refs, p)``, which looks at whole frames before any is worked on.

        It is called integration by integration, in order, and changes nothing.
        """
        self.scan_hook = hook
        return hook

    def finish(self, hook):
        """Register ``hook(exposure, counts, plan, p)``, run once after all pixels."""
        self.finish_hook = hook
        return hook

    def __call__(self, exposure, *, refs=None, jobs=None, **params):
        """Run this step alone on an exposure in memory or on a file.

        Parameters
        ----------
        exposure : jwcal.Exposure or str
            Data, or a file name.
        refs : str, dict or None
            Directory of reference files, or a mapping of type to file.
        jobs : int or None
            Threads.
        **params
            Parameters of the step.

        Returns
        -------
        jwcal.Exposure or dict
            The product; a dict of products if the step makes several.
        """
        from jwcal.core.api import run_step

        return run_step(self, exposure, refs=refs, jobs=jobs, params=params)


def step(
    name,
    *,
    stage,
    takes,
    gives,
    also=(),
    status=None,
    refs=(),
    params=(),
    changes=(),
    uses=None,
    instruments=None,
    default_skip=False,
    scope="tile",
    span="integration",
    halo=0,
    carries=False,
    keywords=(),
    needs_all_dnu=False,
    ahead=None,
    joins=False,
    version=None,
):
    """Declare a step; the decorated function becomes its adapter.

    Parameters
    ----------
    name : str
        Official name, words joined by underscores.
    stage : str
        Pipeline stage it belongs to.
    takes, gives : str
        Kind of product before and after ("ramp", "rate").
    also : sequence of str
        Other kinds it works on, which stay what they are.
    status : str
        Status keyword (``S_...``).
    refs : sequence of Ref
        Reference files.
    params : sequence of Param
        Parameters.
    changes : sequence of str
        Planes the step may modify or create.
    uses : sequence of str or None
        Planes it reads; None means the planes it changes plus SCI.
    instruments : sequence of str or None
        Instruments it is for; None means all.
    default_skip : bool
        True for a step that is off unless asked for.
    scope : str
        "tile" (any set of rows), "integration" (whole frames), "exposure" (everything).
    span : str
        "integration": may be called with any subset of integrations; "exposure": with all.
    halo : int or callable
        Neighbouring rows and columns needed; a callable gets the plan.
    carries : bool or callable
        For a step with a halo that looks at every row only once: it finishes the first ``tile.ready`` rows of
        a tile, the rest comes again in front of the next one, as it is, where ``tile.fresh`` is the first
        row it has not seen; what it must know of finished rows it puts into ``tile.carry``, a dict.
        Without, it gets the halo as it was before the step.  A callable gets the plan.
    keywords : sequence of str
        Header keywords `finish` sets.
    needs_all_dnu : bool
        The adapter reads ``tile.all_dnu``: which groups are DO_NOT_USE in the whole frame.
    ahead : int, callable or None
        For a step that only adds group flags: those of a group depend on no more than this number of later
        groups; a callable gets the plan.  None if that is not so.
    joins : bool
        Its frames hook gets superstripes, all those of a frame at a time, and puts them together.
    version : str or None
        Version of the step, by default that of its package.

    Returns
    -------
    callable
        Decorator giving a `Step`.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name.replace("-", "_")):
        raise ValueError(f"step name {name!r}")
    skip = Param("skip", bool, default_skip, "Leave this step out.")

    def decorate(function):
        if uses is None:
            used = tuple(dict.fromkeys(("SCI", *changes)))
        else:
            used = tuple(uses)
        return Step(
            function,
            name=name.replace("-", "_"),
            stage=stage,
            takes=takes,
            gives=gives,
            also=tuple(also),
            status=status,
            refs=tuple(refs),
            params=(*params, skip),
            changes=tuple(changes),
            uses=used,
            instruments=tuple(instruments) if instruments else None,
            default_skip=default_skip,
            scope=scope,
            span=span,
            halo=halo,
            carries=carries,
            keywords=tuple(keywords),
            needs_all_dnu=needs_all_dnu,
            ahead=ahead,
            joins=joins,
            version=version,
        )

    return decorate

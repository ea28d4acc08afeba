"""Run steps in order: plan, stream, write; the same code for one step and for a pipeline."""

import contextlib
import copy
import json
import logging
import os
import signal
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from jwcal import __version__
from jwcal.core import engine, provenance, quality
from jwcal.core.beside import Beside
from jwcal.core.errors import DataError, InputError, JwcalError, ReferenceFileError, UsageError
from jwcal.core.exposure import ArrayStore, Exposure, keywords, open_exposure
from jwcal.core.frames import run_frames
from jwcal.core.output import FitsSink, MemorySink, TrimmedSink, product_planes
from jwcal.core.params import Layers
from jwcal.core.plan import Item, definition, make_item, names, place_of, plan_items
from jwcal.core.reference import ReferenceFile
from jwcal.core.step import Skip
from jwcal.refs.select import ReferenceSource

__all__ = ["Item", "Job", "definition", "make_item", "names", "plan_items", "run"]

log = logging.getLogger(__name__)

# Products that a step makes beside its main one, by kind.
_BESIDE = {"rate": ("rateints", "fitopt")}


@dataclass
class Job:
    """What to run on one exposure, and where the results go.

    Attributes
    ----------
    items : list of Item
        Steps in order.
    layers : Layers
        Parameter values.
    source : ReferenceSource
        Reference files.
    outputs : dict of str to str or None
        Path by product ("-" for standard output); None keeps it in memory.
    saves : list of (str, str)
        Step name and path of products to save after that step.
    jobs : int or None
        Threads.
    strict : bool
        A missing reference is an error, not a reason to skip.
    overwrite : bool
        Replace existing files.
    progress : callable or None
        Gets the fraction done.
    """

    items: list
    layers: Layers = field(default_factory=Layers)
    source: ReferenceSource = field(default_factory=ReferenceSource)
    outputs: dict = field(default_factory=dict)
    saves: list = field(default_factory=list)
    jobs: int | None = None
    strict: bool = False
    overwrite: bool = False
    progress: object = None


def run(job, source):
    """Run a job on one exposure.

    Parameters
    ----------
    job : Job
        What to do.
    source : str or Exposure
        File name, "-" for standard input, or an exposure.

    Returns
    -------
    dict of str to Exposure
        Products kept in memory (those whose output is None).

    Raises
    ------
    JwcalError
        With the exit code of the failure; nothing is left half written.
    """
    exposure = source if isinstance(source, Exposure) else open_exposure(source)
    results: dict = {}
    try:
        results = _Run(job, exposure).execute()
    finally:
        if exposure is not source and not results:
            exposure.close()
    for result in results.values():
        # Extensions that pass through are still read from the input file.
        result.fits = exposure.fits
    return results


def prepare(job, exposure, opened):
    """Get the steps of a job ready on one exposure, for a caller that walks the frame itself.

    Parameters
    ----------
    job : Job
        What to do; outputs are not looked at.
    exposure : Exposure
        The input; not changed.
    opened : dict
        Reference files that are open, and those this opens; for exposures of the same frame of the
        same detector it may be the same.  The caller closes them.

    Returns
    -------
    walk : engine.Pass
        Ready for `engine.Pass.walk`; ``walk.exposure`` has the keywords the steps have set.
    rows : list of dict
        What ran and what was skipped (`provenance.record`).
    """
    job.layers.check_steps([item.step.name for item in job.items])
    made = _Run(job, exposure)
    made.opened = opened
    for item in job.items:
        made.add(item)
    walk = engine.Pass(made.exposure, made.nodes, [], made.jobs)
    walk.get_ready()
    return walk, made.rows


@contextlib.contextmanager
def signals_held():
    """Hold back SIGINT, SIGTERM and SIGHUP: the files of a run appear together or not at all."""
    # Not pthread_sigmask: the kernel then gives the signal to another thread, and Python acts on it here.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list = []
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    ours = [n for n, handler in before.items() if handler not in (None, signal.SIG_IGN)]
    for number in ours:
        signal.signal(number, lambda n, _frame: heard.append(n))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
        for number in heard[:1]:
            signal.raise_signal(number)


def reserve_cards(exposure):
    """Put the cards every product carries in place, so that their order never depends on the steps run."""
    for key in ("DATE", "CAL_VER", "CAL_VCS", "FILENAME", "FILETYPE", "DATAMODL"):
        if key not in exposure.primary:
            exposure.primary.set(key, "", keywords()[key]["comment"])


class _NoReference(Skip):
    """A step skipped for want of a reference file: worth a warning."""


def identity(file):
    """Device and inode of a file given by name or descriptor, None if there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def watched(step):
    """Copy of a step from outside that tells when it leaves planes nobody can go on with."""
    copied = copy.copy(step)

    def function(tile, refs, p):
        before = {name: (array.shape, array.dtype) for name, array in tile.planes.items()}
        made = step.function(tile, refs, p)
        for name, (shape, dtype) in before.items():
            array = tile.get(name)
            if getattr(array, "shape", None) != shape or array.dtype != dtype:
                raise ValueError(f"it left {name} as {_what(array)}, not {dtype} {shape}")
        if made is not None and step.gives == step.takes:
            raise ValueError(f"it returned {type(made).__name__}; planes are changed in place")
        return made

    copied.function = function
    return copied


def timed(step, seconds):
    """Copy of a step that adds the time of its calls, over all threads, to ``seconds[name]``."""
    copied = copy.copy(step)

    def function(tile, refs, p):
        start = time.perf_counter()
        try:
            return step.function(tile, refs, p)
        finally:
            seconds[step.name].append(time.perf_counter() - start)

    copied.function = function
    return copied


def _what(array):
    return f"{array.dtype} {array.shape}" if hasattr(array, "dtype") else type(array).__name__


class _Run:
    """State of one run; made, executed, dropped."""

    def __init__(self, job, exposure):
        self.job = job
        # The caller's exposure keeps its headers.
        self.exposure = Exposure(
            exposure.product,
            exposure.primary.copy(),
            {k: h.copy() for k, h in exposure.headers.items()},
            exposure.store,
            [h for h in exposure.extras if h.name not in (provenance.TABLE, quality.TABLE)],
            exposure.label,
        )
        self.rows = provenance.from_table(exposure.table(provenance.TABLE))
        if not self.rows:
            self.rows = [
                r for name, t in exposure.tables if name == provenance.TABLE for r in provenance.from_table(t)
            ]
        self.exposure.tables = [t for t in exposure.tables if t[0] not in (provenance.TABLE, quality.TABLE)]
        self.instrument = exposure.meta.get("INSTRUME")
        self.nodes, self.sinks, self.results = [], [], {}
        self.finished: list = []
        self.seconds: dict = defaultdict(list)
        self.expect, self.created = [], set()
        # Products of steps that were skipped; steps that need them are skipped too.
        self.unmade: set = set()
        self.gives = exposure.kind
        self.input = exposure.fits
        self.given = exposure.store
        reserve_cards(self.exposure)
        self._note_context()
        self.exposure.wanted = tuple(job.outputs)
        self.exposure.beside = Beside.of_outputs(job.outputs, job.overwrite, self.finished)
        self.jobs = engine.worker_count(job.jobs)
        self.opened = {}

    def _note_context(self):
        """Tell by which rules the reference files are chosen."""
        source = self.job.source
        if source.context is None:
            return
        meta = self.exposure.meta
        params, files = source.record(meta)
        meta.set("CRDS_CTX", source.context)
        meta.set("CRDS_VER", f"jwcal {__version__}")
        row = provenance.record("references", "COMPLETE", refs=files)
        row["PARAMS"] = json.dumps(params, sort_keys=True, separators=(",", ":"))
        if row not in self.rows:
            self.rows.append(row)

    def execute(self):
        job = self.job
        job.layers.check_steps([i.name if i.step is None else i.step.name for i in job.items])
        wanted = [(place_of(job.items, name, "--save-after"), path) for name, path in job.saves]
        self._check_targets()
        try:
            for place, item in enumerate(job.items):
                if item.command is not None:
                    self._flush_to_memory()
                    self._external(item)
                else:
                    made_before = self.gives
                    self.add(item)
                    if self.gives != made_before and "fitopt" in job.outputs:
                        # The optional results belong to the fit; later steps leave them alone.
                        self._open_sink(self._resolve("fitopt"), job.outputs["fitopt"])
                for where, path in wanted:
                    if where == place:
                        self._open_sink(self._current_product(), path)
            for product, path in job.outputs.items():
                if product != "fitopt" or self.gives != "rate" or self.exposure.kind == "rate":
                    self._open_sink(self._resolve(product), path)
            self._check_targets()
            self._flush()
            # Nothing is put in place before all is done, and what may go to a pipe goes last.
            with signals_held():
                while self.finished and getattr(self.finished[-1], "path", None) != "-":
                    self.finished[-1].commit()
                    self.finished.pop()
            while self.finished:
                self.finished[-1].commit()
                self.finished.pop()
        except BaseException as exc:
            for sink in (*self.finished, *(s for _, s in self.sinks)):
                sink.abort()
            if type(exc) in (JwcalError, InputError, DataError) and self.exposure.label not in str(exc):
                raise type(exc)(f"{self.exposure.label}: {exc}") from exc
            if isinstance(exc, SystemExit):
                raise JwcalError(f"{self.exposure.label}: a step asked to end the program") from exc
            raise
        finally:
            for file in self.opened.values():
                file.close()
        return self.results

    def _resolve(self, product):
        if product == "main":
            return self._current_product()
        if self.gives != self.exposure.kind and product in _BESIDE.get(self.gives, ()):
            return product
        if product != self._current_product():
            raise UsageError(f"these steps make a {self._current_product()}, not a {product}")
        return product

    def _current_product(self):
        if self.gives != self.exposure.kind:
            return self.gives
        # Where no step did anything the data pass as they are.
        return self.exposure.as_product(touched=bool(self.nodes))

    def add(self, item):
        """Decide whether a step runs, and get it ready; a skip is noted and the data pass."""
        step = item.step
        takes = self.gives if self.gives in step.also else step.takes
        if takes != self.gives and takes not in self.unmade:
            raise self._wrong_product(step)
        values, origins = self.job.layers.resolve(step, self.instrument)
        reason, declined, node, paths = None, None, None, {}
        try:
            if takes != self.gives:
                raise Skip(f"no {takes} was made")
            if values.skip:
                raise Skip("switched off")
            if step.instruments and self.instrument not in step.instruments:
                raise Skip(f"does not apply to {self.instrument}")
            if self.exposure.stripes and step.whole_frames and not step.joins:
                raise InputError(
                    f"{step.name}: needs whole frames, and these are superstripes (SSTR_NST); refpix puts them together"
                )
            paths = self._references(step, values)
            run_as = watched(step) if item.code else step
            if log.isEnabledFor(logging.INFO):
                run_as = timed(run_as, self.seconds)
            node = engine.Node(run_as, values, {k: self._open(k, p) for k, p in paths.items()})
            if step.scope != "tile":
                self._flush_to_memory()
            self._set_up(node)
        except Skip as exc:
            reason, declined = str(exc), exc
        meta = self.exposure.meta
        status = "COMPLETE" if reason is None else "SKIPPED"
        if reason is not None:
            self._tell_skip(step, declined, values, origins)
            if step.gives != step.takes:
                self.unmade.add(step.gives)
        for ref in step.refs:
            if reason is None and paths.get(ref.kind):
                meta.set(ref.header_keyword, self.job.source.written(paths[ref.kind]))
        if step.status:
            meta.set(step.status, status)
        row = provenance.record(
            step.name, status, reason or "", values if node else None, origins, paths, item.code
        )
        self.rows.append(row)
        self.exposure.primary.add_history("jwcal " + provenance.history_text(row))
        if reason is None:
            self._take(step, node)

    def _tell_skip(self, step, declined, values, origins):
        """Say that a step does nothing: loudly where it was meant to."""
        text, level = str(declined), logging.INFO
        asked = step.default_skip and not origins["skip"].startswith("recipe ")
        if values.skip:
            if origins["skip"] == "default" and len(self.job.items) == 1:
                text, level = "off by default; turn it on with skip = false (--no-skip)", logging.WARNING
        elif asked or isinstance(declined, _NoReference):
            level = logging.WARNING
        log.log(level, "%s: %s: skipped, %s", self.exposure.label, step.name, text)

    def _set_up(self, node):
        try:
            node.prepare(self.exposure)
        except (Skip, JwcalError, OSError, MemoryError):
            raise
        except Exception as exc:
            raise JwcalError(f"step {node.step.name} failed: {type(exc).__name__}: {exc}") from exc

    def _take(self, step, node):
        self.created |= set(step.changes)
        whole = step.scope != "tile"
        if (whole or node.has_frames) and step.gives != step.takes:
            raise UsageError(f"{step.name}: a step that sees whole frames cannot change the kind of product")
        if not whole:
            self.nodes.append(node)
        if node.has_frames:
            self._flush_to_memory()
        if whole or node.has_frames:
            run_frames(self.exposure, node, self.jobs, None if whole else step.frames_hook)
            self._finish_node(node)
        for key in step.keywords:
            if key not in self.exposure.meta:
                self.exposure.primary.set(key, None, keywords().get(key, {}).get("comment"))
            if key not in self.expect:
                self.expect.append(key)
        if step.gives != step.takes:
            self.gives = step.gives

    def _wrong_product(self, step):
        return InputError(
            f"{self.exposure.label}: {step.command} takes a {step.takes}, and this is a {self._current_product()}"
            f" ({self.exposure.meta.get('FILENAME', 'no FILENAME')})"
        )

    def _references(self, step, values):
        paths: dict = {}
        for ref in step.refs:
            if ref.when is not None and not ref.when(self.exposure, values):
                paths[ref.kind] = None
                continue
            path, why = self.job.source.find(ref.kind, self.exposure.meta)
            if path is None and ref.missing == "error":
                raise ReferenceFileError(
                    f"{step.command}: {self.exposure.label}: no {ref.kind.upper()} reference ({why});"
                    f" give --ref-{ref.kind} FILE or --refs DIR"
                )
            if path is None and ref.missing == "skip":
                text = f"no {ref.kind.upper()} reference ({why})"
                if self.job.strict:
                    raise ReferenceFileError(f"{step.command}: {self.exposure.label}: {text}")
                raise _NoReference(text)
            paths[ref.kind] = path
        return paths

    def _open(self, kind, path):
        if path is None:
            return None
        # A step may change the frame; what was opened before does not fit the new one.
        key = (kind, path, self.exposure.frame, self.exposure.stripes)
        if key not in self.opened:
            self.opened[key] = ReferenceFile(kind, path, self.exposure)
        return self.opened[key]

    def _check_targets(self):
        """Refuse to write over a file that is being read."""
        reads = [identity(path) for _, path, *_ in self.opened]
        if self.input is not None:
            reads += [identity(self.input.primary.fd), identity(self.input.label)]
        for path in (*self.job.outputs.values(), *(path for _, path in self.job.saves)):
            if path not in (None, "-") and identity(path) is not None and identity(path) in reads:
                raise UsageError(f"{path}: is read by this run; give the output another name")

    # -- sinks and passes

    def _planes(self, product):
        optional = set(self.exposure.store.names()) | (self.created - {"ZEROFRAME"})
        return product_planes(self.exposure, product, optional)

    def _open_sink(self, product, path):
        # A signal between a file being made and being known would leave it behind.
        with signals_held():
            self._add_sink(product, path)

    def _add_sink(self, product, path):
        planes = self._planes(product)
        self.exposure.tables = [t for t in self.exposure.tables if t[0] != provenance.TABLE]
        self.exposure.tables.append((provenance.TABLE, provenance.to_table(self.rows)))
        sink: MemorySink | FitsSink
        if product == "fitopt":
            sink = TrimmedSink(self.exposure, product, planes, path, overwrite=self.job.overwrite)
        elif path is None:
            sink = MemorySink(self.exposure, product, planes)
        else:
            changed = self._changed(product, planes)
            sink = FitsSink(
                self.exposure,
                product,
                planes,
                path,
                changed=changed,
                overwrite=self.job.overwrite,
                over_input=len(self.job.outputs) == 1
                and not self.sinks
                and not any(n.halo for n in self.nodes),
            )
        if path is None and isinstance(sink, MemorySink):
            self.results[product] = sink.result
        sink.expect = tuple(self.expect)
        self.sinks.append((len(self.nodes), sink))

    def _changed(self, product, planes):
        if product != self.exposure.product or isinstance(self.exposure.store, ArrayStore):
            return set(planes)
        touched = set()
        for node in self.nodes:
            touched |= set(node.step.changes)
        return {name for name in planes if name in touched or not self.exposure.has(name)}

    def _flush(self):
        """Walk the frame with the steps gathered so far and complete the open outputs."""
        start = time.monotonic()
        engine.Pass(self.exposure, self.nodes, self.sinks, self.jobs, self.job.progress).run()
        for node in self.nodes:
            if not node.has_frames:
                self._finish_node(node)
        for _, sink in self.sinks:
            sink.finish(sink.expect, self.exposure.meta)
        self.finished += [sink for _, sink in self.sinks]
        log.info(
            "%s: %s in %.2f s", self.exposure.label, ", ".join(n.step.name for n in self.nodes) or "copied",
            time.monotonic() - start,
        )  # fmt: skip
        self.nodes, self.sinks = [], []

    def _finish_node(self, node):
        if node.step.finish_hook is not None:
            try:
                node.step.finish_hook(self.exposure, node.counts, node.plan, node.p)
            except JwcalError:
                raise
            except Exception as exc:
                raise JwcalError(f"step {node.step.name} failed: {type(exc).__name__}: {exc}") from exc
        counted = "".join(f"{number} {name}, " for name, number in node.counts.items())
        spent = sum(self.seconds.pop(node.step.name, ()))
        log.info("%s: %s: %s%.3f s", self.exposure.label, node.step.name, counted, spent)

    def _flush_to_memory(self):
        """Materialise the ramp, for a step that needs whole frames."""
        store = self.exposure.store
        if isinstance(store, ArrayStore) and store is not self.given and not self.nodes:
            return
        if self.gives != "ramp" or self.exposure.kind != "ramp":
            raise UsageError("a step that sees whole frames can only work on a ramp")
        product = self.exposure.as_product(touched=True)
        sink = MemorySink(self.exposure, product, self._planes(product))
        sink.expect = tuple(self.expect)
        self.sinks.append((len(self.nodes), sink))
        self._flush()
        self._go_on_with(sink.result)

    def _go_on_with(self, exposure):
        """Take what was made of the exposure in its place."""
        for name in ("wanted", "tables", "beside"):
            setattr(exposure, name, getattr(self.exposure, name))
        self.exposure = exposure

    def _external(self, item):
        """Send the exposure through a program that reads and writes FITS."""
        import subprocess
        import tempfile

        with tempfile.TemporaryDirectory(prefix="jwcal-") as folder:
            before, after = Path(folder) / "in.fits", Path(folder) / "out.fits"
            self.exposure.write(str(before))
            try:
                with before.open("rb") as stdin, after.open("wb") as stdout:
                    done = subprocess.run(item.command, stdin=stdin, stdout=stdout, check=False)
            except OSError as exc:
                raise UsageError(f"{item.name}: cannot run {item.command[0]}: {exc.strerror}") from None
            if done.returncode:
                how = (
                    f"ended with status {done.returncode}"
                    if done.returncode > 0
                    else f"was ended by signal {-done.returncode}"
                )
                raise JwcalError(f"{item.name}: {' '.join(item.command)} {how}")
            try:
                result = open_exposure(str(after))
            except InputError as exc:
                why = str(exc).replace(str(after), "its output")
                raise JwcalError(f"{item.name}: {' '.join(item.command)}: {why}") from None
            if result.product != self.exposure.product or result.shape != self.exposure.shape:
                raise JwcalError(f"{item.name}: the program gave a {result.product} of shape {result.shape}")
            store = ArrayStore({name: result.store.read(name) for name in result.store.names()})
            old = self.exposure
            self._go_on_with(
                Exposure(result.product, result.primary, result.headers, store, old.extras, old.label)
            )
            result.close()
        program = Path(item.command[0])
        code = (
            f"{program.name} sha256:{provenance.digest(program)}"
            if program.is_file()
            else " ".join(item.command)
        )
        row = provenance.record(item.name, "COMPLETE", code=code)
        self.rows.append(row)
        self.exposure.primary.add_history("jwcal " + provenance.history_text(row))

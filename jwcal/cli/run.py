"""The run command: whole pipelines, on one exposure or many."""

import contextlib
import logging
from pathlib import Path
from typing import Any

import click

from jwcal.cli import options
from jwcal.cli.index import REFERENCES
from jwcal.cli.runner import say
from jwcal.core.errors import JwcalError, UsageError
from jwcal.core.suggest import instead

log = logging.getLogger(__name__)

PRODUCTS = ("rateints", "fitopt")


def _reference_options(function):
    shown, *others = REFERENCES
    for kind in reversed(REFERENCES):
        function = click.option(
            f"--ref-{kind}",
            type=options.NAME,
            metavar="FILE",
            hidden=kind != shown,
            help=f"{kind.upper()} reference file; likewise --ref- with {', '.join(others)}.",
        )(function)
    return function


@click.command("run", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("pipeline")
@click.argument("inputs", nargs=-1, type=options.NAME, metavar="[IN]...")
@options.output
@click.option(
    "--output-dir",
    type=options.NAME,
    metavar="DIR",
    help="Write products under their official names into DIR.",
)
@click.option(
    "--rateints", type=options.NAME, metavar="FILE", help="Also write the slopes of each integration."
)
@click.option(
    "--recipe",
    type=options.NAME,
    metavar="NAME",
    help="Set of parameter values: baseline (the default) equals the official pipeline, optimal is better; or a TOML file.",
)
@click.option(
    "--fitopt", type=options.NAME, metavar="FILE", help="Also write the optional results of the ramp fit."
)
@click.option(
    "--set", "assignments", multiple=True, metavar="STEP.PARAM=VALUE", help="Set a parameter (repeatable)."
)
@click.option("--skip", "skips", multiple=True, metavar="STEP", help="Leave a step out (repeatable).")
@click.option(
    "--with",
    "replacements",
    multiple=True,
    metavar="STEP=OTHER",
    help="Put another step, or file.py:object, in a step's place.",
)
@click.option(
    "--after",
    "additions",
    multiple=True,
    metavar="STEP=OTHER",
    help="Add a step, or file.py:object, after one.",
)
@click.option(
    "--save-after",
    "saves",
    multiple=True,
    metavar="STEP:FILE",
    help="Also save the data as they are after a step.",
)
@click.option(
    "--as", "show_as", type=click.Choice(["shell", "make", "json"]), help="Print what would be run, and stop."
)
@_reference_options
@options.processing
@options.common
def run_command(pipeline, inputs, **given):
    """Run a PIPELINE on one exposure or on many.

    PIPELINE is detector1 (raw ramps to slopes), dark (raw ramps to corrected ones), guider
    (guide stars), a TOML file, or auto, which chooses by EXP_TYPE; `jwcal steps` lists the steps of
    each.  One input goes to --output (or standard output); several need --output-dir, are worked on -j
    at a time, and one that fails does not stop the others: the exit code is then that of the first
    failure.

    \b
    Examples:
      jwcal run detector1 x_uncal.fits -o x_rate.fits --rateints x_rateints.fits --refs refs
      jwcal run detector1 x_uncal.fits -o x_rate.fits --refs refs --recipe optimal
      jwcal run detector1 x_uncal.fits -o x_rate.fits --refs refs --set jump.rejection_threshold=5
      jwcal run auto *_uncal.fits --output-dir products --refs refs
      jwcal run detector1 x_uncal.fits -o x_rate.fits --refs refs --as shell
    """  # noqa: D301 - click takes the backspace as it is
    program = f"jwcal run {pipeline}"
    options.set_up_logging(given["verbose"], given["quiet"], given["log_json"], program)
    inputs = list(inputs) or ["-"]
    _check_pipeline(pipeline)
    if given["show_as"] or given["print_params"]:
        return _show(pipeline, inputs[0], given)
    if len(inputs) > 1:
        return _many(pipeline, inputs, given)
    _one(pipeline, inputs[0], given)
    return 0


def _check_pipeline(name):
    """Refuse a name that is no pipeline before anything is read."""
    from jwcal.core.plan import definition

    if name.endswith((".fits", ".fits.gz", ".fits.fz")):
        raise UsageError(
            f"{name}: is a file, not a pipeline; write jwcal run PIPELINE {name}, or jwcal run auto {name}"
        )
    if name != "auto":
        definition(name)


def _sources(given):
    from jwcal.refs.source import make_source

    named = {kind: given[f"ref_{kind}"] for kind in REFERENCES if given.get(f"ref_{kind}")}
    return make_source(named, given["refs"], given["crds"], given["context"])


def _assignments(given, items):
    steps = {i.name: i.step for i in items if i.step is not None}
    out: dict = {}
    for text in given["assignments"]:
        left, value = options.split_pair(text, "=", "--set")
        step, param = options.split_pair(left, ".", "--set")
        step = step.replace("-", "_")
        if step not in steps:
            raise UsageError(f"--set {text}: no step {step!r} here ({instead(step, steps)})")
        out.setdefault(steps[step].name, {})[steps[step].param(param).name] = value
    for name in given["skips"]:
        step = name.replace("-", "_")
        if step in steps:
            out.setdefault(steps[step].name, {})["skip"] = True
    return out


def _plan(pipeline, exposure, given):
    from jwcal.core import pipeline as core
    from jwcal.core.routing import choose

    asked, pipeline = pipeline, choose(pipeline, exposure)
    if asked == "auto":
        log.info("%s: EXP_TYPE %s goes to %s", exposure.label, exposure.meta["EXP_TYPE"], pipeline)
    replace = [options.split_pair(t, "=", "--with") for t in given["replacements"]]
    add = [options.split_pair(t, "=", "--after") for t in given["additions"]]
    items = core.plan_items(pipeline, exposure.meta["INSTRUME"], replace, add)
    skips = {name.replace("-", "_") for name in given["skips"]}
    unknown = skips - {i.name for i in items}
    if unknown:
        name = min(unknown)
        raise UsageError(f"--skip: no step {name!r} here ({instead(name, [i.name for i in items])})")
    # A step that is left out is still noted in the product; a program just does not run.
    return [i for i in items if i.command is None or i.name not in skips]


def _layers(given, refs, items, exposure):
    return options.layers_from(
        given["params_file"],
        given["pars"],
        [i.step for i in items if i.step is not None],
        refs=refs,
        assignments=_assignments(given, items),
        meta=exposure.meta,
        recipe=given["recipe"],
        places={i.name: i.step.name for i in items if i.step is not None and i.step.name != i.name},
    )


def _one(pipeline, source, given, jobs=None):
    from jwcal.cli.steps import check_outputs
    from jwcal.core import pipeline as core
    from jwcal.core.exposure import open_exposure

    _check_output_options(source, given)
    saves = [options.split_pair(t, ":", "--save-after") for t in given["saves"]]
    named = [*_named(given).values()] if given["output_dir"] is None else []
    check_outputs([*named, *(p for _, p in saves)], source, given["overwrite"])
    exposure = open_exposure(source)
    try:
        refs = _sources(given)
        items = _plan(pipeline, exposure, given)
        layers = _layers(given, refs, items, exposure)
        outputs = _outputs(pipeline, exposure, items, layers, given)
        check_outputs([*outputs.values(), *(p for _, p in saves)], source, given["overwrite"])
        core.run(
            core.Job(
                items=items,
                layers=layers,
                source=refs,
                outputs=outputs,
                saves=saves,
                jobs=jobs or given["jobs"],
                strict=given["strict"],
                overwrite=given["overwrite"],
                progress=options.progress_bar(given["progress"], f"jwcal run {pipeline}"),
            ),
            exposure,
        )
    finally:
        exposure.close()


def _check_output_options(source, given):
    if given["output_dir"] is None:
        return
    if given["output"] or given["rateints"]:
        raise UsageError("--output-dir names the products itself: leave out --output and --rateints")
    if source == "-":
        raise UsageError("--output-dir needs file names as input")


def _named(given):
    """Return the outputs that the command line names."""
    return {"main": given["output"] or "-"} | {p: given[p] for p in PRODUCTS if given[p]}


def _outputs(pipeline, exposure, items, layers, given):
    """Path of every product; with --output-dir under their official names."""
    from jwcal.core.api import makes_rate
    from jwcal.core.exposure import products
    from jwcal.core.names import with_suffix
    from jwcal.core.plan import definition
    from jwcal.core.routing import choose

    if given["output_dir"] is None:
        return _named(given)
    tree = definition(choose(pipeline, exposure))
    folder, name = Path(given["output_dir"]), Path(exposure.label).name
    main, *more = tree["gives"]
    if main == "rate" and not makes_rate(items, layers, exposure.meta.get("INSTRUME")):
        # With the ramp fit off the one product is the ramp.
        main, more, tree = "ramp", [], {}
    outputs = {"main": str(folder / with_suffix(name, tree.get("suffix", products()[main]["suffix"])))}
    for product in more:
        if product not in PRODUCTS[1:] or given[product]:
            outputs[product] = str(folder / with_suffix(name, products()[product]["suffix"]))
    return outputs


def _many(pipeline, inputs, given):
    """Work through files, several at once, each in a process of its own."""
    from jwcal.core.engine import worker_count

    if given["output_dir"] is None:
        raise UsageError("several inputs need --output-dir")
    if "-" in inputs:
        raise UsageError("standard input can only be the single input")
    if given["saves"]:
        raise UsageError("--save-after is for a single input")
    for path in inputs:
        _check_output_options(path, given)
    _refuse_same_names(inputs, given)
    at_once = min(worker_count(given["jobs"]), len(inputs))
    threads = max(worker_count(given["jobs"]) // at_once, 1)
    codes = {}
    for path, code, message in _each(pipeline, inputs, {**given, "progress": False}, at_once, threads):
        codes[path] = code
        if code:
            say(message, f"jwcal run {pipeline}", code)
    failed = [codes[path] for path in inputs if codes[path]]
    if failed:
        say(f"{len(failed)} of {len(inputs)} files failed", f"jwcal run {pipeline}", failed[0])
        return failed[0]
    return 0


def _each(pipeline, inputs, given, at_once, threads):
    """Yield path, exit code and message of every file as it is done.

    A process for each file: one that dies takes no other with it.
    """
    import multiprocessing
    from multiprocessing.connection import wait

    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    waiting, running = list(reversed(inputs)), dict[Any, tuple]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                path = waiting.pop()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_worker, args=(sender, pipeline, path, given, threads))
                process.start()
                sender.close()
                running[process.sentinel] = process, receiver, path
            for sentinel in wait(list(running)):
                process, receiver, path = running.pop(sentinel)
                process.join()
                try:
                    code, message = receiver.recv()
                except EOFError:
                    code, message = 1, f"{path}: its process ended with status {process.exitcode}"
                yield path, code, message
    finally:
        for process, _, _ in running.values():
            process.terminate()
        for process, _, _ in running.values():
            process.join(10)
            process.kill()


def _worker(sender, pipeline, path, given, threads):
    from jwcal.cli.runner import Terminated

    with contextlib.suppress(Terminated, KeyboardInterrupt):
        sender.send(_guarded(pipeline, path, given, threads))


def _refuse_same_names(inputs, given):
    from jwcal.core.names import with_suffix

    seen: dict = {}
    for path in inputs:
        target = str(Path(given["output_dir"]) / with_suffix(Path(path).name, "*"))
        if target in seen:
            raise UsageError(f"{seen[target]} and {path} would both be written to {target}")
        seen[target] = path


def _guarded(pipeline, path, given, threads):
    try:
        _one(pipeline, path, given, jobs=threads)
    except JwcalError as exc:
        text = " ".join(str(exc).split())
        return exc.exit_code, text if path in text else f"{path}: {text}"
    except Exception as exc:  # noqa: BLE001 - reported with its file, the others go on
        return 1, f"{path}: internal error: {type(exc).__name__}: {' '.join(str(exc).split())}"
    return 0, ""


def _show(pipeline, source, given):
    from jwcal.cli.steps import show_params
    from jwcal.core.exposure import open_exposure

    exposure = open_exposure(source)
    try:
        items = _plan(pipeline, exposure, given)
        refs = _sources(given)
        layers = _layers(given, refs, items, exposure)
        if given["print_params"]:
            steps = [i.step for i in items if i.step is not None]
            return show_params(steps, layers, exposure.meta["INSTRUME"])
        from jwcal.cli.render import Files, render, stages
        from jwcal.core.plan import place_of

        outputs = _outputs(pipeline, exposure, items, layers, given)
        main = outputs.pop("main")
        saves = [options.split_pair(text, ":", "--save-after") for text in given["saves"]]
        places = [(place_of(items, name, "--save-after"), path) for name, path in saves]
        commands = stages(items, layers, refs, exposure, given, places)
        click.echo(
            render(given["show_as"], commands, Files(source, main, outputs, given["overwrite"])), nl=False
        )
    finally:
        exposure.close()
    return 0

"""Make the command of a step from its declaration."""

import click

from jwcal.cli import options

_TYPES = {float: "NUMBER", int: "INTEGER", str: "TEXT"}

# Additional products of steps that make slope images.
SECONDARY = {"ramp_fit": ("rateints", "fitopt")}


def param_option(param):
    """Click option of a parameter (its check is the declaration's own)."""
    text = param.help
    if param.unit:
        text += f" [{param.unit}]"
    if param.choices:
        text += f" ({', '.join(map(str, param.choices))})"
    shown = (
        "not set"
        if param.default is None
        else str(param.default).lower()
        if param.type is bool
        else param.default
    )
    notes = [f"default: {shown}"]
    notes += [f"{k}: {v}" for k, v in (param.per or {}).items()]
    if param.min is not None:
        notes.append(f"min: {param.min:g}")
    if param.max is not None:
        notes.append(f"max: {param.max:g}")
    help_text = f"{text}  [{'; '.join(map(str, notes))}]"
    if param.type is bool:
        return click.Option(
            [f"--{param.option}/--no-{param.option}", f"par_{param.name}"], default=None, help=help_text
        )
    return click.Option(
        [f"--{param.option}", f"par_{param.name}"], metavar=_TYPES[param.type], help=help_text
    )


def step_command(step, name=None, code=""):
    """Click command of a step.

    Parameters
    ----------
    step : Step
        The step.
    name : str or None
        Command name, by default the step's.
    code : str
        Origin of a plug-in.

    Returns
    -------
    click.Command
    """

    def callback(**given):
        return _call(step, code, given)

    callback = options.common(options.processing(options.output(callback)))
    base = click.command(name or step.command)(callback)
    extra = [
        click.Option([f"--{p}"], type=options.NAME, metavar="FILE", help=f"Also write the {p} product.")
        for p in SECONDARY.get(step.name, ())
    ]
    refs = [
        click.Option(
            [f"--ref-{r.kind}"],
            type=options.NAME,
            metavar="FILE",
            help=f"{r.kind.upper()} reference file; N/A for none.",
        )
        for r in step.refs
    ]
    parameters = [param_option(p) for p in step.params]
    argument = click.Argument(["source"], required=False, default="-", type=options.NAME, metavar="[IN]")
    return click.Command(
        name or step.command,
        callback=base.callback,
        params=[argument, *parameters, *refs, *extra, *base.params],
        help=step.__doc__,
        short_help=step.summary,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def _call(step, code, given):
    from jwcal.core.exposure import open_exposure
    from jwcal.core.pipeline import Item, Job, run
    from jwcal.refs.source import make_source

    program = f"jwcal {step.command}"
    options.set_up_logging(given["verbose"], given["quiet"], given["log_json"], program)
    values = {p.name: given[f"par_{p.name}"] for p in step.params if given[f"par_{p.name}"] is not None}
    values = {k: step.param(k).convert(v, "--" + step.param(k).option) for k, v in values.items()}
    named = {r.kind: given[f"ref_{r.kind}"] for r in step.refs if given[f"ref_{r.kind}"]}
    refs = make_source(named, given["refs"], given["crds"], given["context"])
    if given["print_params"]:
        return print_params([step], given, refs, {step.name: values} if values else {}, step.name)
    outputs = {"main": given["output"] or "-"}
    outputs.update({p: given[p] for p in SECONDARY.get(step.name, ()) if given[p]})
    check_outputs(outputs.values(), given["source"], given["overwrite"])
    exposure = open_exposure(given["source"])
    try:
        layers = options.layers_from(
            given["params_file"], given["pars"], [step], refs=refs,
            assignments={step.name: values} if values else {}, step=step.name, meta=exposure.meta,
        )  # fmt: skip
        run(
            Job(
                items=[Item(step.name, step=step, code=code)],
                layers=layers,
                source=refs,
                outputs=outputs,
                jobs=given["jobs"],
                strict=given["strict"],
                overwrite=given["overwrite"],
                progress=options.progress_bar(given["progress"], program),
            ),
            exposure,
        )
    finally:
        exposure.close()
    return 0


def check_outputs(paths, source, overwrite):
    """Refuse outputs that cannot work before any work is done."""
    import os
    import sys

    from jwcal.core.errors import OutputError, UsageError

    seen = set()
    for path in paths:
        if path == "-":
            if sys.stdout.isatty():
                raise UsageError("standard output is a terminal: use -o FILE, or pipe to `jwcal info`")
        elif os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            # Nothing is lost in a pipe or a device.
            continue
        elif os.path.exists(path) and not overwrite:
            raise OutputError(f"{path}: exists (use --overwrite)")
        key = os.path.realpath(path) if path != "-" else path
        if key in seen:
            raise UsageError(f"{path}: used for two products")
        seen.add(key)
    if source == "-" and sys.stdin.isatty():
        raise UsageError("no input: give a file, or pipe one in")


def print_params(steps, given, refs, assignments, step=None):
    """Print the parameters of steps as TOML."""
    meta = instrument = None
    if given.get("source") not in (None, "-"):
        from jwcal.core.exposure import open_exposure

        exposure = open_exposure(given["source"])
        meta, instrument = exposure.meta, exposure.meta.get("INSTRUME")
        exposure.close()
    layers = options.layers_from(
        given["params_file"], given["pars"], steps, refs=refs, assignments=assignments, step=step, meta=meta
    )
    return show_params(steps, layers, instrument)


def show_params(steps, layers, instrument=None):
    """Print what layers give for steps, as TOML that can be fed back."""
    from jwcal.core.params import dump

    layers.check_steps([s.name for s in steps])
    click.echo("\n".join(dump(s, *layers.resolve(s, instrument)) for s in steps), nl=False)
    return 0

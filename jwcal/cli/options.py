"""Options that mean the same in every command."""

import click

from jwcal.core.errors import UsageError

PROGRESS_WIDTH = 30


class _Name(click.ParamType):
    """Name of a file or folder: an empty one is a variable that somebody forgot to set."""

    name = "text"

    def convert(self, value, param, ctx):
        """Refuse what is empty."""
        if value == "":
            self.fail("it is empty", param, ctx)
        return value


NAME = _Name()


def common(function):
    """Add logging and progress options."""
    for option in reversed(
        (
            click.option("-v", "--verbose", count=True, help="Say more; twice for debugging."),
            click.option("-q", "--quiet", is_flag=True, help="Say errors only."),
            click.option("--log-json", is_flag=True, help="Log as one JSON object a line (for cron)."),
        )
    ):
        function = option(function)
    return function


def output(function):
    """Add the options about writing a product."""
    for option in reversed(
        (
            click.option(
                "-o", "--output", type=NAME, metavar="FILE", help="Output file; - or none is standard output."
            ),
            click.option("--overwrite", is_flag=True, help="Replace existing files."),
        )
    ):
        function = option(function)
    return function


def processing(function):
    """Add the options of everything that runs steps."""
    for option in reversed(
        (
            click.option("-p", "--params", "params_file", type=NAME, metavar="TOML", help="Parameter file."),
            click.option(
                "--pars",
                multiple=True,
                type=NAME,
                metavar="ASDF",
                help="Official parameter reference file (repeatable).",
            ),
            click.option(
                "--refs",
                type=NAME,
                metavar="DIR",
                help="Directory of reference files to choose from; crds is the cache of CRDS_PATH.",
            ),
            click.option(
                "--crds",
                type=NAME,
                metavar="DIR",
                help="Cache of the reference system to choose from by its rules.",
            ),
            click.option(
                "--context",
                metavar="NAME",
                help="Rules to choose by (.pmap); default: CRDS_CONTEXT, then the operational ones of the cache.",
            ),
            click.option(
                "--strict", is_flag=True, help="A missing reference file is an error, not a reason to skip."
            ),
            click.option(
                "-j", "--jobs", type=click.IntRange(1, 1024), help="Threads (or files at once) to use."
            ),
            click.option(
                "--progress/--no-progress", default=None, help="Progress bar; automatic on a terminal."
            ),
            click.option(
                "--print-params", is_flag=True, help="Print parameter values with unit and origin, and stop."
            ),
        )
    ):
        function = option(function)
    return function


def set_up_logging(verbose=0, quiet=False, log_json=False, program="jwcal"):
    """Send the package's log to standard error.

    Parameters
    ----------
    verbose : int
        0 warnings, 1 information, 2 everything.
    quiet : bool
        Errors only.
    log_json : bool
        One JSON object a line.
    program : str
        Name in front of plain lines.
    """
    import logging
    import sys

    class Line(logging.Formatter):
        def format(self, record):
            return f"{program}: " + " ".join(record.getMessage().split())

    class Json(logging.Formatter):
        def format(self, record):
            import json
            import time

            return json.dumps(
                {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
                    "level": record.levelname,
                    "name": record.name,
                    "message": record.getMessage(),
                }
            )

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if log_json else Line())
    logger = logging.getLogger("jwcal")
    logger.handlers[:] = [handler]
    logger.propagate = False
    level = logging.WARNING - 10 * min(verbose, 2)
    logger.setLevel(logging.ERROR if quiet else level)


def progress_bar(wanted, label):
    """Return a callback that draws a bar on standard error, or None.

    Parameters
    ----------
    wanted : bool or None
        None decides by whether standard error is a terminal.
    label : str
        Text in front.
    """
    import sys

    if wanted is None:
        wanted = sys.stderr.isatty()
    if not wanted:
        return None
    state = {"shown": -1}

    def draw(fraction):
        step = int(fraction * PROGRESS_WIDTH)
        if step != state["shown"]:
            state["shown"] = step
            end = "\n" if fraction >= 1 else ""
            sys.stderr.write(f"\r{label} [{'#' * step}{'.' * (PROGRESS_WIDTH - step)}] {fraction:4.0%}{end}")
            sys.stderr.flush()

    return draw


def split_pair(text, separator, option):
    """Split "a=b", or raise UsageError naming the option."""
    left, found, right = text.partition(separator)
    if not found or not left or not right:
        raise UsageError(f"{option} {text}: must look like NAME{separator}VALUE")
    return left, right


def layers_from(
    params_file, pars, steps, *, refs=None, assignments=(), step=None, meta=None, places=None, recipe=None
):
    """Parameter layers of a command.

    Parameters
    ----------
    params_file : str or None
        ``-p`` file.
    pars : sequence of str
        Official parameter reference files.
    steps : sequence of Step
        Steps of this run.
    refs : ReferenceSource or None
        Source of parameter reference files chosen by header.
    assignments : dict of str to dict
        Command-line values by step.
    step : str or None
        Step of a single-step command.
    meta : mapping or None
        Header of the exposure, for choosing parameter references.
    places : dict of str to str or None
        Name of the step that stands in each place of a pipeline, where it is another.
    recipe : str or None
        Recipe of the pipeline.

    Returns
    -------
    Layers
    """
    import os
    from pathlib import Path

    from jwcal.core.params import Layers, known_only, read_pars, read_toml

    layers = Layers()
    chosen = list(refs.find_pars(steps, meta)) if refs is not None and meta is not None else []
    for path in [*chosen, *pars]:
        layers.add(f"reference {Path(path).name}", known_only(read_pars(path), steps, path))
    site = os.environ.get("JWCAL_CONFIG")
    if site:
        names = {s.name for s in steps}
        layers.add(f"site {site}", {k: v for k, v in read_toml(site).items() if k in names})
    if recipe:
        from jwcal.core.recipe import read_recipe

        values = read_recipe(recipe, meta.get("INSTRUME") if meta is not None else None)
        layers.add(f"recipe {recipe}", known_only(values, steps, f"recipe {recipe}"))
    if params_file:
        tables = read_toml(params_file, step)
        for place, name in (places or {}).items():
            if place in tables:
                tables[name] = {**tables.pop(place), **tables.get(name, {})}
        layers.add(params_file, tables)
    if assignments:
        layers.add("command line", assignments)
    return layers

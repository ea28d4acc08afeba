"""Commands of the daily tools; each only reads its options and calls the module of its name."""

import os

import click

from jwcal.cli import options

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
STRETCHES = ("asinh", "linear", "log", "zscale")
COLOUR_MAPS = ("gray", "inverse", "heat", "viridis")


def _set_up(name, given):
    options.set_up_logging(given["verbose"], given["quiet"], given["log_json"], f"jwcal {name}")


def _print_json(value):
    import json

    click.echo(json.dumps(value, allow_nan=False, default=str))


@click.command("info", context_settings=SETTINGS)
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each file.")
@options.common
def info_command(files, as_json, **given):
    """Say what a file is.

    Tells the product, instrument, mode, readout and times, the extensions, statistics of the
    data and of the flags, the steps done, the references used, and what jwcal would do with it.
    Any FITS file will do; `-` or no name reads standard input.  Of an incomplete file the header
    is told, and the exit code is 3.
    """
    from jwcal.analysis import info
    from jwcal.cli.runner import say
    from jwcal.core.errors import InputError, JwcalError

    _set_up("info", given)
    files = files or ("-",)
    first = 0
    for path in files:
        try:
            facts = info.describe(path)
        except JwcalError as exc:
            if len(files) == 1:
                raise
            say(exc, "jwcal info")
            first = first or exc.exit_code
            continue
        if as_json:
            _print_json(facts)
        else:
            click.echo(info.render(facts), nl=False)
        if "error" in facts:
            first = first or InputError.exit_code
    return first


@click.command("diff", context_settings=SETTINGS)
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@click.option("--rtol", type=click.FloatRange(0), default=0.0, help="Relative tolerance.  [default: 0]")
@click.option("--atol", type=click.FloatRange(0), default=0.0, help="Absolute tolerance.  [default: 0]")
@click.option("--keywords/--no-keywords", default=True, help="Compare header keywords.  [default: yes]")
@click.option(
    "--ignore", multiple=True, metavar="NAME,...", help="Keywords or extensions to leave out (repeatable)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.common
def diff_command(left, right, rtol, atol, keywords, ignore, as_json, **given):
    """Compare two products.

    Compares images value by value (NaN equals NaN), flags by name, tables by column, and
    keywords.  Numbers agree if |A - B| <= atol + rtol * |B|; flags must be equal.  Left out
    are the keywords that only tell when and by which program a file was written (DATE, FILENAME,
    CAL_VER, CAL_VCS, CHECKSUM, DATASUM, NEXTEND, HISTORY, COMMENT) and the extensions ASDF and
    PROVENANCE.  The exit code is 0 if the products agree and 1 if they do not.
    """
    from jwcal.analysis import diff
    from jwcal.core.errors import UsageError

    _set_up("diff", given)
    if left == right == "-":
        raise UsageError("only one of the two can be standard input")
    words = [word for text in ignore for word in text.split(",")]
    result = diff.compare(left, right, rtol=rtol, atol=atol, keywords=keywords, ignore=words)
    if as_json:
        _print_json(result)
    elif not (given["quiet"] and result["same"]):
        click.echo(diff.render(result), nl=False)
    return 0 if result["same"] else 1


@click.command("history", context_settings=SETTINGS)
@click.argument("file", default="-", metavar="[FILE]")
@click.option(
    "--as",
    "show_as",
    type=click.Choice(["text", "json", "shell"]),
    default="text",
    help="Form.  [default: text]",
)
@click.option("--input", "source", metavar="FILE", help='Input of the pipe of --as shell.  [default: "$1"]')
@click.option(
    "-o", "--output", metavar="FILE", help="Output of the pipe of --as shell.  [default: standard output]"
)
@options.common
def history_command(file, show_as, source, output, **given):
    """Say how a product was made.

    Tells each step with its state, the parameters that were not the default, and the reference
    files.  `--as shell` prints a pipe of single commands that makes the product again, bit for
    bit in all planes; where a reference file is gone or has changed, a warning says so.  Of
    products made by other programs only the states and the names of references are known.
    """
    from jwcal.analysis import history
    from jwcal.core.errors import UsageError

    _set_up("history", given)
    if show_as != "shell" and (source or output):
        raise UsageError("--input and --output go with --as shell")
    record = history.read(file)
    if show_as == "json":
        _print_json(record)
    elif show_as == "shell":
        click.echo(history.shell(record, source, output), nl=False)
    else:
        click.echo(history.render(record), nl=False)
    return 0


@click.command("dq", context_settings=SETTINGS)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--plane", metavar="NAME", help="Count in this extension only.")
@click.option(
    "--explain", metavar="VALUE|X,Y", help="Explain a value or names joined by +, or the pixel X,Y (from 1)."
)
@click.option("--list", "as_list", is_flag=True, help="List all flags.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.common
def dq_command(file, plane, explain, as_list, as_json, **given):
    """Count, name and explain flags.

    Counts the flags of a FILE (or of standard input) by name.  `--explain 5`, `--explain 0x5`
    and `--explain DO_NOT_USE+JUMP_DET` need no file; `--explain 12,40` tells all that the FILE
    says about that pixel: its flags, its values, and its ramp with the flags of each group.
    """
    from jwcal.analysis import dqtool

    _set_up("dq", given)
    if as_list:
        flags = dqtool.flag_table()
        show = _print_json if as_json else lambda f: click.echo(dqtool.render_table(f), nl=False)
        show(flags)
        return 0
    place = dqtool.parse_pixel(explain) if explain is not None else None
    if explain is not None and place is None:
        result = dqtool.explain(dqtool.parse_value(explain))
        if as_json:
            _print_json(result)
        else:
            click.echo(dqtool.render_value(result), nl=False)
        return 0
    from jwcal.core.fits import open_fits

    with open_fits(file or "-") as fits:
        if place is not None:
            result, render = dqtool.pixel(fits, *place), dqtool.render_pixel
        else:
            result, render = dqtool.count(fits, plane), dqtool.render_counts
        if as_json:
            _print_json(result)
        else:
            click.echo(render(fits.label, result), nl=False)
    return 0


@click.command("qa", context_settings=SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--html", "page", metavar="FILE", help="Also write a page with pictures.")
@click.option("--limits", metavar="FILE", help="Limits that replace those declared, in TOML.")
@click.option("--strict", is_flag=True, help="A warning counts as a failure.")
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each file.")
@options.common
def qa_command(files, page, limits, strict, overwrite, as_json, **given):
    """Judge the quality of products.

    Prints the quality table a product carries: which fraction of the pixels is flagged and why, the
    scatter against that expected, the rate of cosmic rays, saturation, the health of the reference pixels,
    the origin of the pointing; each with its limits.  Slope products of other programs are measured now.
    The exit code is 0 if all is within the limits for a failure and 1 if something is not, so that cron
    tells; with --strict a warning fails too.  A file that cannot be read does not stop the others.
    """
    from jwcal.analysis import qa
    from jwcal.cli.runner import say
    from jwcal.core.errors import JwcalError

    _set_up("qa", given)
    rules = qa.read_limits(limits) if limits else None
    if page:
        from jwcal.core.errors import OutputError
        from jwcal.core.whole import write_whole

        if os.path.exists(page) and not overwrite:
            raise OutputError(f"{page}: exists (use --overwrite)")
        text, found = qa.page(files, rules)
        write_whole(page, text.encode(), overwrite)
    else:
        found = [(path, _try(qa.assess, path, rules)) for path in files]
    code = 0
    for _path, result in found:
        if isinstance(result, JwcalError):
            if len(files) == 1:
                raise result
            say(result, "jwcal qa")
            code = code if code > 1 else result.exit_code
            continue
        if as_json:
            _print_json(result)
        elif not (given["quiet"] and result["state"] == "ok"):
            click.echo(qa.render(result), nl=False)
        if result["state"] == "fail" or (strict and result["state"] == "warn"):
            code = code or 1
    return code


def _try(function, *args):
    from jwcal.core.errors import JwcalError

    try:
        return function(*args)
    except JwcalError as exc:
        return exc


@click.command("preview", context_settings=SETTINGS)
@click.argument("file", default="-", metavar="[FILE]")
@options.output
@click.option("--plane", metavar="NAME", help="Extension to draw.  [default: SCI, or the first image]")
@click.option(
    "--stretch", type=click.Choice(STRETCHES), default="asinh", help="Scale of brightness.  [default: asinh]"
)
@click.option(
    "--int", "integration", type=click.IntRange(1), metavar="N", help="Integration to draw.  [default: 1]"
)
@click.option(
    "--group", type=click.IntRange(1), metavar="N", help="Group to draw.  [default: last minus first]"
)
@click.option("--cmap", type=click.Choice(COLOUR_MAPS), default="gray", help="Colours.  [default: gray]")
@click.option(
    "--size", type=click.IntRange(16, 16384), default=1024, help="Largest side in pixels.  [default: 1024]"
)
@click.option("--terminal", is_flag=True, help="Draw in the terminal with coloured half blocks.")
@options.common
def preview_command(
    file, output, overwrite, plane, stretch, integration, group, cmap, size, terminal, **given
):
    """Draw a product as a PNG or in the terminal.

    Of a ramp the last minus the first group is drawn, of cubes the first plane.  Pixels that
    are flagged DO_NOT_USE or not finite have a colour of their own.  Without -o the picture goes to
    standard output: as half blocks if that is a terminal, else as PNG.
    """
    import sys

    from jwcal.analysis import preview
    from jwcal.core.errors import UsageError
    from jwcal.core.fits import open_fits

    _set_up("preview", given)
    if terminal and output:
        raise UsageError("give either --terminal or --output")
    terminal = terminal or (output in (None, "-") and sys.stdout.isatty())
    with open_fits(file) as fits:
        image, bad, what = preview.choose_frame(fits, plane, integration, group)
        title = f"{fits.label}: {what}"
    if terminal:
        _draw_in_terminal(image, bad, title, stretch, cmap)
        return 0
    from jwcal.analysis.png import encode_png
    from jwcal.core.whole import write_whole

    rgb, low, high = preview.picture(image, bad, size, size, stretch, cmap)
    data = encode_png(rgb, {"Title": f"{title}, {stretch} {low:.6g} to {high:.6g}"})
    write_whole(output or "-", data, overwrite)
    return 0


def _draw_in_terminal(image, bad, title, stretch, cmap):
    import os
    import shutil

    from jwcal.analysis import preview

    columns, lines = shutil.get_terminal_size()
    rgb, low, high = preview.picture(image, bad, max(columns, 8), 2 * max(lines - 3, 4), stretch, cmap)
    true_colour = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
    text = preview.terminal_text(rgb, true_colour=true_colour)
    # Colours are the picture here: they must survive a pager or a file.
    click.echo(f"{text}{title}, {stretch} {low:.6g} to {high:.6g}", color=True)


class _NameOrCommand(click.Group):
    """Group in which any other word is a name to show."""

    def resolve_command(self, ctx, args):
        if args[0] in self.commands or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        return "show", self.commands["show"], args


@click.group("steps", cls=_NameOrCommand, context_settings=SETTINGS, invoke_without_command=True)
@click.pass_context
def steps_command(ctx):
    """List and describe steps and pipelines.

    `jwcal steps NAME` is short for `jwcal steps show NAME`.
    """
    if ctx.invoked_subcommand is None:
        return ctx.invoke(steps_list)
    return 0


@steps_command.command("list", context_settings=SETTINGS)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def steps_list(as_json=False):
    """List steps, pipelines and plug-ins; a broken plug-in shows its reason."""
    from jwcal.analysis import steps

    facts = steps.listing()
    if as_json:
        _print_json(facts)
    else:
        click.echo(steps.render_listing(facts), nl=False)
    return 0


@steps_command.command("show", context_settings=SETTINGS)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def steps_show(name, as_json):
    """Describe the step or pipeline NAME: planes, references, parameters."""
    from jwcal.analysis import steps

    facts = steps.describe(name)
    if as_json:
        _print_json(facts)
    else:
        click.echo(steps.render(facts), nl=False)
    return 0

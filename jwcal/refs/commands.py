"""Command line of the reference system."""

import click

from jwcal.refs.commands_make import make_group
from jwcal.refs.commands_manage import COMMANDS
from jwcal.refs.options import SETTINGS as _SETTINGS
from jwcal.refs.options import cache_options


@click.command("best", context_settings=_SETTINGS)
@click.argument("files", nargs=-1, metavar="[FILE]...")
@cache_options
@click.option("--date", metavar="TIME", help="Date and time of the exposure, instead of the header's.")
@click.option("--types", metavar="LIST", help="Reference types, comma-separated; default: all.")
@click.option("--explain", is_flag=True, help="Say why this file and why not the next.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for every type.")
@click.option(
    "--stdin", "lines", is_flag=True, help="One header as JSON a line in, one JSON object a line out."
)
def best_command(files, cache, context, date, types, explain, as_json, lines):
    """Choose the best reference files for products.

    FILE is any product (FITS, ASDF) or a header as JSON, with FITS keywords or the names of the
    data model (META.INSTRUMENT.NAME); "-" is standard input.  A line tells type, file and the rule
    that matched, or N/A, or NOT FOUND where the rules refuse the header, and why; all of these are
    answers, and the exit code is 0.

    With --stdin every line is a header, and the answer an object of type to file name, "n/a", or
    "NOT FOUND" with the reason; types that the rules omit are left out.  A line that fails gives
    {"error": ..., "line": ...}, and the exit code at the end is that of the first failure.

    Rules are read from the cache and nothing is ever fetched.

    \b
    Examples:
      jwcal refs best jw01019001001_gs-acq1_2022117003102_uncal.fits --context jwst_1293.pmap
      jwcal refs best exposure_uncal.fits --types dark,flat --explain
      jwcal refs best --stdin < headers.jsonl > best.jsonl
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.core.errors import UsageError
    from jwcal.refs.best import Context, moment

    if lines and (files or explain):
        raise UsageError("--stdin takes neither files nor --explain")
    if not lines and not files:
        raise UsageError("give a FILE, or - for standard input, or --stdin for many headers")
    found = Context(cache, context)
    kinds = [kind.strip().lower() for kind in types.split(",") if kind.strip()] if types else None
    found.check_types(kinds)
    when = moment(date)
    if lines:
        _answer_lines(found, kinds, when)
        return
    _answer_files(found, files, kinds, when, explain, as_json)


def _answer_lines(context, kinds, when):
    import json
    import sys

    from jwcal.core.errors import JwcalError
    from jwcal.refs.best import as_json, parse_line

    encode = json.JSONEncoder(separators=(",", ":")).encode
    write, flush = sys.stdout.write, sys.stdout.flush
    first, failed, number = None, 0, 0
    for number, raw in enumerate(sys.stdin.buffer, 1):
        if not raw.strip():
            continue
        try:
            out = as_json(context.best(parse_line(raw, f"line {number}"), kinds, when))
        except JwcalError as exc:
            failed += 1
            first = first or type(exc)(f"line {number}: {str(exc).removeprefix(f'line {number}: ')}")
            out = {"error": " ".join(str(exc).split()), "line": number, "exit_code": exc.exit_code}
        write(encode(out) + "\n")
        flush()
    if first is not None:
        raise type(first)(f"{failed} of {number} lines failed, first {first}")


def _answer_files(context, files, kinds, when, explain, as_json):
    import json

    from jwcal.core.errors import JwcalError
    from jwcal.refs.best import read_header
    from jwcal.refs.explain import explain as told_of
    from jwcal.refs.explain import rule_text

    first, failed = None, 0
    for path in files:
        try:
            raw = read_header(path)
            instrument = context.instrument(raw)
        except JwcalError as exc:
            failed += 1
            text = str(exc) if path in str(exc) else f"{path}: {exc}"
            first = first or type(exc)(text)
            if len(files) > 1:
                click.echo(text, err=True)
            continue
        header = instrument.header(raw, when)
        told = [told_of(instrument, kind, header, full=explain) for kind in kinds or instrument.types]
        if as_json:
            for one in told:
                click.echo(
                    json.dumps({"source": path, "context": context.name, **one, "why": rule_text(one)})
                )
            continue
        if len(files) > 1:
            click.echo(f"# {path}")
        width = max((len(one["type"]) for one in told), default=0)
        for one in told:
            lines = [_line(one, width, rule_text(one))]
            lines += [" " * (width + 2) + text for text in (_why(one, context) if explain else ())]
            # A header may hold what no terminal can show.
            click.echo("\n".join(lines).encode("utf-8", "replace"))
    if first is not None:
        raise (
            first if len(files) == 1 else type(first)(f"{failed} of {len(files)} files failed, first {first}")
        )


def _line(one, width, rule):
    name = {"n/a": "N/A", "refused": "NOT FOUND", "omitted": "omitted"}.get(one["state"]) or _names(
        one["file"]
    )
    return f"{one['type']:{width}s}  {name}  ({rule})"


def _names(found):
    if isinstance(found, dict):
        return ", ".join(f"{k}: {v}" for k, v in found.items())
    return ", ".join(map(str, found)) if isinstance(found, list) else str(found)


def _why(one, context):
    yield f"rules {one.get('rmap', 'none')} of {context.name} ({context.origin})"
    if one.get("values"):
        yield "header " + " ".join(f"{k}={v}" for k, v in one["values"].items())
    for name, text in one.get("conditions", {}).items():
        yield f"{name} {text}"
    if one.get("rule"):
        yield f"weight {one['weight']} of {len(one['rule'])} fields"
    for other in one.get("merged", ())[1:]:
        yield "merged with " + " ".join(f"{k}={v}" for k, v in other.items())
    for other in one.get("others", ()):
        yield f"not {_names(other['file'])}: {other['why']}"


@click.command("context", context_settings=_SETTINGS)
@click.argument("name", required=False)
@click.option("--cache", metavar="DIR", help="Cache of mappings and references [CRDS_PATH].")
@click.option("--use", is_flag=True, help="Make NAME the operational context of the cache.")
@click.option("--check", is_flag=True, help="Verify checksums, rules and derivation of every mapping in it.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def context_command(name, cache, use, check, as_json):
    """Show, check or choose the context that holds.

    The operational context is the one that config/jwst/operational in the cache names; without that
    file, the one in the settings that the official client left there.  Only --use changes it.

    \b
    Examples:
      jwcal refs context
      jwcal refs context jwst_1293.pmap --check
      jwcal refs context jwst_1293.pmap --use
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.core.errors import UsageError
    from jwcal.refs.cache import find_context
    from jwcal.refs.survey import survey

    if use and not name:
        raise UsageError("--use needs the NAME of a context")
    place, found, origin = find_context(cache, name)
    facts = survey(place, found, check=check)
    facts["origin"] = "named" if name else origin
    if use:
        place.point(found)
        facts["origin"] = str(place.config / "operational")
    if as_json:
        import json

        click.echo(json.dumps(facts))
        return
    click.echo(f"{facts['context']} ({facts['origin']}), sha1 {facts['sha1sum']}, in {place.root}")
    for instrument, row in facts["instruments"].items():
        click.echo(
            f"{instrument:8s} {row['mapping']}: {row['types']} types, {row['references']} references,"
            f" {row['cached']} of them in the cache"
        )
    if check:
        click.echo(f"{facts['checked']} mappings are sound")


@click.command("diff", context_settings=_SETTINGS)
@click.argument("context_a")
@click.argument("context_b")
@click.option("--cache", metavar="DIR", help="Cache of mappings and references [CRDS_PATH].")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def diff_command(context_a, context_b, cache, as_json):
    """Tell what changed from CONTEXT_A to CONTEXT_B.

    Lists mappings, header entries and rules that were added, removed or replaced, and the reference
    files that came and went.  Two .imap or two .rmap can be compared too, and paths to mappings.
    The exit code is 0 whether or not they differ.
    """
    from jwcal.refs.cache import locate
    from jwcal.refs.diff import as_text, difference

    found = difference(*locate(cache, context_a), *locate(cache, context_b))
    if as_json:
        import json

        click.echo(json.dumps(found))
    else:
        text = as_text(found)
        click.echo(text or f"{context_a} and {context_b} have the same rules")


@click.group("refs", context_settings=_SETTINGS)
def refs_group():
    """Choose reference files by the rules of the reference system (CRDS)."""


refs_group.add_command(best_command)
refs_group.add_command(context_command)
refs_group.add_command(diff_command)
refs_group.add_command(make_group)
for _command in COMMANDS:
    refs_group.add_command(_command)

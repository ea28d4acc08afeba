"""Command line of associations: what is made of a pool, and the rules."""

import click

from jwcal.associations.commands_files import (
    SETTINGS,
    check_command,
    diff_command,
    edit_command,
    from_list_command,
    gather_command,
    make_command,
    make_pool_command,
)


def _pool_options(function):
    for option in reversed(
        (
            click.argument("pool", metavar="POOL"),
            click.option(
                "-r", "--rules", multiple=True, metavar="TOML", help="Rules to add or replace (repeatable)."
            ),
            click.option("--ignore-default", is_flag=True, help="Leave out the rules of the package."),
            click.option(
                "-d", "--delimiter", metavar="CHAR", help="Between cells [found from the header line]."
            ),
            click.option(
                "--keep-going", is_flag=True, help="Leave out rows that cannot be used, say so, and go on."
            ),
        )
    ):
        function = option(function)
    return function


def _generator(pool, rules, ignore_default, delimiter, keep_going):
    import gc

    from jwcal.associations.generate import Generator
    from jwcal.associations.pool import read_pool
    from jwcal.associations.rules import load_rules

    # Millions of small objects that stay: looking for cycles among them only costs time.
    gc.disable()
    table = read_pool(pool, delimiter, keep_going=keep_going)
    made = Generator(table, load_rules(rules, default=not ignore_default), keep_going=keep_going)
    for text in made.pool.problems:
        click.echo(f"jwcal asn: {text}: left out", err=True)
    return made


@click.command("generate", context_settings=SETTINGS)
@_pool_options
@click.option(
    "-o",
    "--output",
    default=".",
    metavar="DIR",
    help="Folder for the files [.]; -: one JSON object a line to stdout.",
)
@click.option(
    "-i",
    "--ids",
    multiple=True,
    metavar="ID",
    help="Take these candidates only (repeatable, or with commas).",
)
@click.option("--discover", is_flag=True, help="What belongs together beyond candidates only.")
@click.option("--all-candidates", is_flag=True, help="What candidates say only.")
@click.option("--level", type=click.Choice(["2", "3"]), help="Associations of this level only.")
@click.option("--merge", is_flag=True, help="One level-2 file a candidate and type, with several products.")
@click.option(
    "--version-id",
    is_flag=False,
    flag_value="now",
    metavar="STAMP",
    help="Stamp in file names; without a value, the time.",
)
@click.option(
    "--dms", is_flag=True, help="With --ids: leave out what their background candidates make better."
)
@click.option("--dry-run", is_flag=True, help="List what would be written.")
@click.option(
    "--save-orphans",
    is_flag=False,
    flag_value="orphaned.csv",
    metavar="FILE",
    help="Write rows in no association.",
)
@click.option(
    "--explain", "row", metavar="ROW", help="Say why an exposure (name or line) is or is not in associations."
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def generate_command(
    pool, output, ids, discover, all_candidates, level, merge, version_id, dms, dry_run, save_orphans, row, overwrite,
    **given,
):  # fmt: skip
    """Make association files of the exposures in POOL (- is standard input).

    A pool is a table in the official |-separated form, CSV, ECSV or FITS.  Without --ids, --discover
    and --all-candidates, candidates are taken first and then whatever else belongs together.

    \b
    Examples:
      jwcal asn generate jw01234_pool.csv -o asn
      jwcal asn generate pool.csv --dry-run --level 3
      jwcal asn generate pool.csv -i o001,c1000 --version-id
      jwcal asn generate pool.csv --explain jw01234001001_02101_00001_nrca1_uncal.fits
      jwcal asn make-pool *_uncal.fits | jwcal asn generate - -o asn
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.associations.generate import merged, resequence
    from jwcal.core.errors import UsageError

    names = [name for text in ids for name in text.split(",") if name] or None
    if sum((bool(names), discover, all_candidates)) > 1:
        raise UsageError("--ids, --discover and --all-candidates exclude each other")
    maker = _generator(pool, **given)
    found = _found(maker, names, all_candidates, discover, dms)
    if row is not None:
        from jwcal.associations.explain import explain, find_row

        for line in explain(maker, found, find_row(maker.pool, row)):
            click.echo(line)
        return
    orphans = maker.orphans(found)
    if level:
        found = [each for each in found if each.rule.level == int(level)]
    if merge:
        found = merged(found)
        resequence(found)
    _stamp(found, version_id)
    _write(found, maker, output, dry_run, overwrite)
    if save_orphans and not dry_run:
        _save_orphans(maker, orphans, output, save_orphans, overwrite)
    click.echo(f"jwcal asn: {len(found)} associations, {len(orphans)} exposures in none", err=True)


def _found(maker, names, all_candidates, discover, dms):
    if names is None:
        return maker.associations(None, all_candidates, discover)
    wanted = list(names)
    if dms:
        rows = {
            i for name in names for key, where in maker.candidates().items() if key[0] == name for i in where
        }
        for (name, kind), where in maker.candidates().items():
            if kind == "background" and name not in wanted and rows.intersection(where):
                wanted.append(name)
    for name in maker.chosen(wanted)[1]:
        click.echo(f"jwcal asn: candidate {name} is not in {maker.pool.name}", err=True)
    found = maker.associations(wanted)
    return [each for each in found if not dms or any(name in each.candidate for name in names)]


def _stamp(found, version):
    if version is None:
        return
    if version == "now":
        import time

        version = time.strftime("%Y%m%dt%H%M%S", time.gmtime())
    for association in found:
        association.version = version


def _write(found, maker, output, dry_run, overwrite):
    from jwcal.associations.names import file_name
    from jwcal.associations.output import content, save

    if dry_run:
        for each in found:
            count = sum(len(members) for _, members in each.products)
            click.echo(f"{file_name(each)}\t{each.origin}_{each.rule.rule}\t{count}\t{each.name}")
    elif output == "-":
        import json

        for each in found:
            click.echo(json.dumps({"file": file_name(each), **content(each, maker)}))
    else:
        save(found, maker, output, overwrite)


def _save_orphans(maker, orphans, output, name, overwrite):
    from pathlib import Path

    from jwcal.associations.output import emit, make_folder
    from jwcal.associations.pool import pool_text

    if output != "-":
        make_folder(output)
    path = Path(name) if output == "-" else Path(output) / name
    emit(pool_text(maker.pool.take(orphans)), path, overwrite)


@click.command("status", context_settings=SETTINGS)
@_pool_options
@click.option("--files", metavar="DIR", help="Also look for the members in this folder.")
@click.option("--raw", metavar="DIR", help="Also look for the raw files of the members in this folder.")
@click.option("--level", type=click.Choice(["2", "3"]), help="Associations of this level only.")
@click.option("--waiting", is_flag=True, help="Only those that wait for something.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def status_command(pool, files, raw, level, waiting, as_json, **given):
    """Say which associations of POOL are complete, and what the others wait for.

    A line has, between tabs: complete or waiting, candidate, type, rule, number of members, file (or product,
    if there is no association yet), time of the newest file that is there (- without --files or --raw), and
    what is missing or wrong.

    Waiting: no reference star, no direct image, one of a pair, one observation only; dither positions,
    detectors or segments that have not come; a visit with fewer exposures than planned (NEXPOSUR);
    members that are not in the folder.  Exposures with an error (EXPOSERR) do not hold an association
    up, but are told.

    \b
    Examples:
      jwcal asn status pool.csv --waiting
      jwcal asn status pool.csv --files products --level 3 --json
      jwcal asn status pool.csv --raw raw | awk -F'\\t' '$1 == "complete" {print $6}'
    """  # noqa: D301 - click takes the backspace as it is
    import json
    from collections import Counter

    from jwcal.associations.status import repeated, states
    from jwcal.core.errors import UsageError

    if files and raw:
        raise UsageError("--files and --raw exclude each other")
    maker = _generator(pool, **given)
    for text in repeated(maker.pool):
        click.echo(f"jwcal asn: {text}", err=True)
    counts: Counter[str] = Counter()
    for state in states(maker, files or raw, int(level) if level else None, raw=bool(raw)):
        counts[state["state"]] += 1
        if not waiting or state["state"] == "waiting":
            click.echo(json.dumps(state) if as_json else _state_line(state))
    click.echo(f"jwcal asn: {counts['complete']} complete, {counts['waiting']} waiting", err=True)


def _state_line(state):
    import time

    since = state["since"]
    since = "-" if since is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    told = [*state["lacks"], *(f"{name}: error: {text}" for name, text in state["errors"].items())]
    more = [f"and {len(told) - 3} more"] if len(told) > 3 else []
    parts = [state[key] for key in ("state", "candidate", "type", "rule")]
    parts += [
        str(len(state["members"])),
        state["file"] or state["product"],
        since,
        "; ".join(told[:3] + more),
    ]
    return "\t".join(parts).rstrip("\t")


@click.command("rules", context_settings=SETTINGS)
@click.argument("names", nargs=-1, metavar="[RULE...]")
@click.option(
    "-r", "--rules", "files", multiple=True, metavar="TOML", help="Rules to add or replace (repeatable)."
)
@click.option("--ignore-default", is_flag=True, help="Leave out the rules of the package.")
@click.option("--lint", is_flag=True, help="Check the rules and say how many there are.")
def rules_command(names, files, ignore_default, lint):
    """List the rules, or explain those named.

    A rule file that is wrong ends with exit code 2 and one line that names file, rule and condition.

    \b
    Examples:
      jwcal asn rules
      jwcal asn rules Asn_Lv3Image
      jwcal asn rules --lint -r mine.toml
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.associations.explain import describe
    from jwcal.associations.rules import load_rules
    from jwcal.core.errors import UsageError

    found = load_rules(files, default=not ignore_default)
    if lint:
        for text in found.changes:
            click.echo(text)
        click.echo(f"{len(found.rules)} rules, {len(found.blocks)} blocks: nothing wrong")
        return
    by_name = {rule.rule: rule for rule in found.rules}
    if not names:
        width = max(map(len, by_name))
        for rule in found.rules:
            click.echo(f"{rule.level}  {rule.rule:{width}}  {rule.type:13}  {rule.title}")
        return
    for name in names:
        if name not in by_name:
            raise UsageError(f"no rule {name}; jwcal asn rules lists them")
        rule = by_name[name]
        click.echo(
            f"{name} (level {rule.level}, {rule.type}, from {rule.source})\n  {rule.title}\n  Members:"
        )
        for condition in _opened(rule.when, found.blocks):
            click.echo(f"    - {describe(condition, found.blocks)}")
        kinds = rule.candidates if rule.candidates == "any" else ", ".join(rule.candidates)
        click.echo(f"  Candidates: {kinds}")
        for key, values in (("Needs", ["science", *rule.needs]), ("In the end", rule.finish)):
            if values:
                click.echo(f"  {key}: {', '.join(values)}")


def _opened(conditions, blocks):
    for condition in conditions:
        if "use" in condition:
            yield from _opened([blocks[condition["use"]]], blocks)
        elif "all" in condition:
            yield from _opened(condition["all"], blocks)
        else:
            yield condition


@click.group("asn", context_settings=SETTINGS)
def asn_group():
    """Make associations: which exposures of a pool are processed together."""


for _command in (
    generate_command,
    status_command,
    check_command,
    diff_command,
    from_list_command,
    make_pool_command,
    gather_command,
    edit_command,
    make_command,
    rules_command,
):
    asn_group.add_command(_command)

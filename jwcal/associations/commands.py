"""Command line of associations."""

import click

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


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


@click.command("generate", context_settings=_SETTINGS)
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

    from jwcal.associations.output import write_whole
    from jwcal.associations.pool import pool_text
    from jwcal.core.errors import OutputError

    path = Path(name) if output == "-" else Path(output) / name
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; use --overwrite")
    try:
        write_whole(path, pool_text(maker.pool.take(orphans)))
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written: {exc.strerror}") from exc


@click.command("status", context_settings=_SETTINGS)
@_pool_options
@click.option("--files", metavar="DIR", help="Also look for the members in this folder.")
@click.option("--level", type=click.Choice(["2", "3"]), help="Associations of this level only.")
@click.option("--waiting", is_flag=True, help="Only those that wait for something.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def status_command(pool, files, level, waiting, as_json, **given):
    """Say which associations of POOL are complete, and what the others wait for.

    Waiting: no reference star, no direct image, one of a pair, dither positions that the pattern has
    and no exposure does; with --files, members that are not in the folder.  The time is that of the
    newest member there.

    \b
    Examples:
      jwcal asn status pool.csv --waiting
      jwcal asn status pool.csv --files products --level 3 --json
    """  # noqa: D301 - click takes the backspace as it is
    import json
    import time

    from jwcal.associations.tools import states

    maker = _generator(pool, **given)
    for state in states(maker, files, int(level) if level else None):
        if waiting and state["state"] == "complete":
            continue
        if as_json:
            click.echo(json.dumps(state))
            continue
        since = state["since"] and time.strftime("since %Y-%m-%dT%H:%M:%SZ", time.gmtime(state["since"]))
        label = f"{state['candidate']}\t{state['type']}\t{state['rule']}\t{len(state['members'])}\t{state['state']}"
        click.echo("\t".join([label, *([since] if since else []), *state["lacks"][:3]]))


@click.command("check", context_settings=_SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="ASN...")
@click.option("--members", metavar="DIR", help="Folder in which the members have to be.")
def check_command(files, members):
    """Check association files: official schema, names, roles, duplicates, members present.

    Exit code 3 if anything is wrong.

    \b
    Example:
      jwcal asn check asn/*_asn.json --members .
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.associations.output import read_association
    from jwcal.associations.tools import findings
    from jwcal.core.errors import InputError

    wrong = 0
    for path in files:
        try:
            found = list(findings(read_association(path), path, members))
        except InputError as exc:
            found = [str(exc).removeprefix(f"{path}: ")]
        for text in found:
            click.echo(f"{path}: {text}")
        wrong += bool(found)
    if wrong:
        raise InputError(f"{wrong} of {len(files)} associations have something wrong")


@click.command("diff", context_settings=_SETTINGS)
@click.argument("left")
@click.argument("right")
@click.option(
    "--ignore",
    multiple=True,
    type=click.Choice(["type", "rule", "id"]),
    help="Leave out of the comparison (repeatable).",
)
def diff_command(left, right, ignore):
    """Compare two associations, or two folders of them; order and running numbers do not count.

    Exit code 1 if they differ.

    \b
    Example:
      jwcal asn diff mine official
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.associations.tools import differences

    found = list(differences(_side(left), _side(right), ignore))
    for line in found:
        click.echo(line)
    return 1 if found else 0


def _side(path):
    from pathlib import Path

    from jwcal.associations.output import read_association
    from jwcal.core.errors import InputError

    path = Path(path)
    files = sorted(path.glob("*_asn.json")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no *_asn.json")
    return {str(file): read_association(file) for file in files}


@click.command("from-list", context_settings=_SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="FILE[:ROLE]...")
@click.option("-o", "--output", default="-", metavar="FILE", help="File to write [standard output].")
@click.option("--product-name", metavar="NAME", help="Name of the product (level 3).")
@click.option("--level", type=click.Choice(["2", "3"]), default="3", show_default=True)
@click.option("--type", "kind", metavar="TYPE", help="asn_type, such as spec3 [image2, image3].")
@click.option("-r", "--rule", metavar="NAME", help="asn_rule [the official base rule].")
@click.option("-i", "--id", "candidate", default="o999", show_default=True, metavar="ID", help="asn_id.")
@click.option("--program", default="noprogram", show_default=True, metavar="NUMBER")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def from_list_command(files, output, level, product_name, overwrite, **given):
    """Make an association of files, in the order given; - reads names from standard input.

    \b
    Examples:
      jwcal asn from-list --product-name mosaic -o mosaic_asn.json *_cal.fits
      jwcal asn from-list --level 2 --type spec2 sci_rate.fits bkg_rate.fits:background
    """  # noqa: D301 - click takes the backspace as it is
    import json
    import sys

    from jwcal.associations.tools import from_list

    names = [n for f in files for n in (sys.stdin.read().split() if f == "-" else [f])]
    text = json.dumps(from_list(names, level=int(level), product=product_name, **given), indent=4)
    _emit(text + "\n", output, overwrite)


def _emit(text, output, overwrite):
    from pathlib import Path

    from jwcal.associations.output import write_whole
    from jwcal.core.errors import OutputError

    if output == "-":
        click.echo(text, nl=False)
        return
    if Path(output).exists() and not overwrite:
        raise OutputError(f"{output}: exists; use --overwrite")
    try:
        write_whole(output, text)
    except OSError as exc:
        raise OutputError(f"{output}: cannot be written: {exc.strerror}") from exc


@click.command("make-pool", context_settings=_SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="FITS...")
@click.option("-o", "--output", default="-", metavar="FILE", help="File to write [standard output].")
@click.option(
    "--asn-candidate", "candidates", default="", metavar="LIST", help="More candidates of all exposures."
)
@click.option("--dms-note", default="", metavar="TEXT", help="Cell dms_note.")
@click.option("--is-imprt", default="f", type=click.Choice(["t", "f"]), help="Whether they are imprints [f].")
@click.option("--pntgtype", default="science", show_default=True, metavar="KIND", help="Kind of pointing.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def make_pool_command(files, output, overwrite, **given):
    """Make a pool of raw files, from their primary headers; - reads names from standard input.

    Targets are numbered in the order of their names' first appearance; every exposure's observation
    is its candidate.

    \b
    Example:
      find . -name '*_uncal.fits' | jwcal asn make-pool - -o pool.csv
    """  # noqa: D301 - click takes the backspace as it is
    import sys

    from jwcal.associations.pool import pool_text
    from jwcal.associations.tools import make_pool

    names = [n for f in files for n in (sys.stdin.read().splitlines() if f == "-" else [f]) if n]
    _emit(pool_text(make_pool(names, **given)), output, overwrite)


@click.command("gather", context_settings=_SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="ASN...")
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder to bring them to.")
@click.option("-s", "--source", metavar="DIR", help="Folder of the members [that of the association].")
@click.option(
    "-t", "--role", "roles", multiple=True, metavar="ROLE", help="Only members of this role (repeatable)."
)
@click.option("-x", "--without", multiple=True, metavar="ROLE", help="No members of this role (repeatable).")
@click.option("--link", is_flag=True, help="Link files instead of copying them.")
def gather_command(files, output, source, roles, without, link):
    """Bring associations and the files of their members into one folder.

    \b
    Example:
      jwcal asn gather jw01234-o001_image3_00001_asn.json -s products -o work --link
    """  # noqa: D301 - click takes the backspace as it is
    import json
    from pathlib import Path

    from jwcal.associations.edit import gather
    from jwcal.associations.output import read_association, write_whole

    target = Path(output)
    for file in files:
        folder = Path(source) if source else Path(file).parent
        data = gather(read_association(file), folder, target, link=link, roles=roles, without=without)
        write_whole(target / Path(file).name, json.dumps(data, indent=4, separators=(",", ": ")))


@click.command("edit", context_settings=_SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="ASN...")
@click.option(
    "-o",
    "--output",
    default="-",
    metavar="FILE",
    help="File to write [standard output]; for --split, a folder.",
)
@click.option("--add", "added", multiple=True, metavar="FILE[:ROLE]", help="Add a member (repeatable).")
@click.option("--remove", "removed", multiple=True, metavar="FILE", help="Take a member out (repeatable).")
@click.option(
    "--ignore-suffix", is_flag=True, help="Find members to take out whatever they end in (_cal, _rate)."
)
@click.option("--product", metavar="NAME", help="In this product only.")
@click.option("--split", "apart", is_flag=True, help="One file a product.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def edit_command(files, output, added, removed, ignore_suffix, product, apart, overwrite):
    """Add members to an association or take them out; split it, or join several.

    \b
    Examples:
      jwcal asn edit a_asn.json --remove bad_cal.fits --add more_cal.fits:background -o b_asn.json
      jwcal asn edit a_asn.json b_asn.json -o both_asn.json
      jwcal asn edit merged_asn.json --split -o apart
    """  # noqa: D301 - click takes the backspace as it is
    import json
    from pathlib import Path

    from jwcal.associations.edit import add, join, remove, split
    from jwcal.associations.names import Endings
    from jwcal.associations.output import read_association
    from jwcal.associations.rules import load_rules
    from jwcal.core.errors import UsageError

    data = join([read_association(file) for file in files])
    if removed:
        endings = Endings(load_rules().tables["names"]["endings"]) if ignore_suffix else None
        data = remove(data, removed, product, endings)
    for given in added:
        name, mark, role = given.rpartition(":")
        data = add(data, [name if mark else given], role if mark else "science", product)
    if not apart:
        _emit(json.dumps(data, indent=4) + "\n", output, overwrite)
        return
    if output == "-":
        raise UsageError("--split needs --output DIR")
    Path(output).mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(split(data), 1):
        kind, program, label = (each.get(key, "none") for key in ("asn_type", "program", "asn_id"))
        name = f"jw{program}-{label}_{kind}_{number:05d}_asn.json"
        _emit(json.dumps(each, indent=4) + "\n", str(Path(output) / name), overwrite)


@click.command("rules", context_settings=_SETTINGS)
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


@click.group("asn", context_settings=_SETTINGS)
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
    rules_command,
):
    asn_group.add_command(_command)

"""Command line of associations: work with association files and the files of their members."""

import click

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.command("check", context_settings=SETTINGS)
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


@click.command("diff", context_settings=SETTINGS)
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


def _names(files):
    """Names given, those on standard input for -."""
    import sys

    return [
        name
        for file in files
        for name in (sys.stdin.read().splitlines() if file == "-" else [file])
        if name.strip()
    ]


def _side(path):
    from pathlib import Path

    from jwcal.associations.output import read_association
    from jwcal.core.errors import InputError

    path = Path(path)
    files = sorted(path.glob("*_asn.json")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no *_asn.json")
    return {str(file): read_association(file) for file in files}


@click.command("from-list", context_settings=SETTINGS)
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

    from jwcal.associations.output import emit
    from jwcal.associations.tools import from_list

    text = json.dumps(from_list(_names(files), level=int(level), product=product_name, **given), indent=4)
    emit(text + "\n", output, overwrite)


@click.command("make-pool", context_settings=SETTINGS)
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
    from jwcal.associations.output import emit
    from jwcal.associations.pool import pool_text
    from jwcal.associations.tools import make_pool

    emit(pool_text(make_pool(_names(files), **given)), output, overwrite)


@click.command("gather", context_settings=SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="ASN...")
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder to bring them to.")
@click.option("-s", "--source", metavar="DIR", help="Folder of the members [that of the association].")
@click.option(
    "-t", "--role", "roles", multiple=True, metavar="ROLE", help="Only members of this role (repeatable)."
)
@click.option("-x", "--without", multiple=True, metavar="ROLE", help="No members of this role (repeatable).")
@click.option("--link", is_flag=True, help="Link files instead of copying them.")
@click.option("--overwrite", is_flag=True, help="Replace association files that are there.")
def gather_command(files, output, source, roles, without, link, overwrite):
    """Bring associations and the files of their members into one folder.

    \b
    Example:
      jwcal asn gather jw01234-o001_image3_00001_asn.json -s products -o work --link
    """  # noqa: D301 - click takes the backspace as it is
    import json
    from pathlib import Path

    from jwcal.associations.edit import gather
    from jwcal.associations.output import emit, read_association
    from jwcal.core.errors import OutputError

    target = Path(output)
    there = next((name for name in (target / Path(file).name for file in files) if name.exists()), None)
    if there is not None and not overwrite:
        raise OutputError(f"{there}: exists; use --overwrite")
    for file in files:
        folder = Path(source) if source else Path(file).parent
        data = gather(read_association(file), folder, target, link=link, roles=roles, without=without)
        emit(json.dumps(data, indent=4, separators=(",", ": ")), target / Path(file).name, overwrite)


@click.command("edit", context_settings=SETTINGS)
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
    from jwcal.associations.output import emit, make_folder, read_association
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
        emit(json.dumps(data, indent=4) + "\n", output, overwrite)
        return
    if output == "-":
        raise UsageError("--split needs --output DIR")
    make_folder(output)
    for number, each in enumerate(split(data), 1):
        kind, program, label = (each.get(key, "none") for key in ("asn_type", "program", "asn_id"))
        name = f"jw{program}-{label}_{kind}_{number:05d}_asn.json"
        emit(json.dumps(each, indent=4) + "\n", str(Path(output) / name), overwrite)


@click.command("make", context_settings=SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="ASN...")
@click.option(
    "-o",
    "--output",
    default="-",
    metavar="FILE",
    help="Makefile [standard output]; products will be beside it.",
)
@click.option("--raw", default=".", metavar="DIR", help="Folder of the raw files [.].")
@click.option(
    "--from",
    "first",
    type=click.Choice(["raw", "rate"]),
    default="raw",
    show_default=True,
    help="What is there.",
)
@click.option(
    "--to",
    "last",
    type=click.Choice(["rate", "level2", "level3"]),
    default="level3",
    show_default=True,
    help="How far to go.",
)
@click.option(
    "--command",
    "stages",
    multiple=True,
    metavar="STAGE=COMMAND",
    help="Program of a stage: an asn_type, level2, level3 or detector1 (repeatable).",
)
@click.option("--strun", is_flag=True, help="The official programs for stages without a program.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def make_command(files, output, raw, first, last, stages, strun, overwrite):
    """Write a Makefile of the runs that associations ask for.

    A folder stands for its *_asn.json, - for names on standard input.

    Raw files become rates by `jwcal run detector1`, rates become the products of level 2 and those of
    level 3.  Run it with `make -j N`, as often as needed: what is there is not made again.  Variables:
    RAW, THREADS (of each run, 1), DETECTOR1FLAGS.

    A COMMAND is a line of shell with {asn} in it ({raw} for detector1), and {threads} if wanted.  It runs
    in a folder of its own, work/NAME, with the association and links to its members; what it writes there
    is brought beside the Makefile when all is done.  Level 3 leaves done/NAME.

    \b
    Examples:
      jwcal asn make asn --raw raw --to rate -o products/Makefile
      make -C products -j 8 DETECTOR1FLAGS='--refs crds'
      jwcal asn make asn --raw raw --strun -o products/Makefile
      jwcal asn make asn --from rate --to level2 --command level2='my-level2 {asn}' -o products/Makefile
    """  # noqa: D301 - click takes the backspace as it is
    import os
    from pathlib import Path

    from jwcal.associations.makefile import makefile, plan, stage_commands
    from jwcal.associations.output import emit, make_folder
    from jwcal.cli.options import split_pair

    folder = Path() if output == "-" else Path(output).parent
    given = {path: data for each in _names(files) for path, data in _side(each).items()}
    jobs, loose = plan(given, folder, first, last)
    commands = stage_commands(jobs, [split_pair(text, "=", "--command") for text in stages], strun)
    make_folder(folder)
    emit(makefile(jobs, commands, os.path.relpath(raw, folder)), output, overwrite)
    absent = [file for file in loose if not (folder / file).exists()]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        text = f"made by none of these runs, and not in {folder}: {', '.join(absent[:3])}{more}"
        click.echo(f"jwcal asn: {text}", err=True)

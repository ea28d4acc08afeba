"""Command line of the reference system: certify, deliver, what is affected, look after a cache."""

import click

from jwcal.refs.options import SETTINGS, cache_options

_CACHE = click.option("--cache", metavar="DIR", help="Cache of mappings and references [CRDS_PATH].")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_WAIT = click.option(
    "--wait",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for another process that writes to the cache.",
)


def _print_json(value):
    import json

    click.echo(json.dumps(value, default=str))


def _instrument_files(path):
    """Lines of a catalogue; "-" is standard input."""
    import sys

    from jwcal.core.errors import InputError

    if path == "-":
        return sys.stdin.buffer
    try:
        if path.endswith(".gz"):
            import gzip

            return gzip.open(path)
        return open(path, "rb")
    except OSError as exc:
        raise InputError(f"{path}: {exc.strerror or exc}") from None


@click.command("certify", context_settings=SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@cache_options
@click.option("--against", metavar="FILE", help="Compare with this file instead of the one it would replace.")
@click.option("--picture", metavar="PNG", help="Draw new file, old file and their difference (one FILE).")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--overwrite", is_flag=True, help="Replace an existing picture.")
@_JSON
def certify_command(files, cache, context, against, picture, strict, overwrite, as_json):
    """Check reference files before they are delivered.

    Checks the keywords that the type and instrument need and their values, USEAFTER and PEDIGREE,
    subarray, readout axes and shapes against the detector, dtypes, units, finite values, DQ against
    DQ_DEF, tables (columns, rising values, doubled rows), kernels, and that ASDF files can be read.

    With --cache or --context also that the keywords by which the rules of that context choose are
    there, and what differs from the file whose place it would take: statistics, flags, table rows.

    The exit code is 4 if a file is rejected.

    \b
    Examples:
      jwcal refs certify dark.fits gain.fits
      jwcal refs certify superbias.fits --context jwst_1293.pmap
      jwcal refs certify flat.fits --against old_flat.fits --picture flat.png
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.core.errors import ReferenceFileError, UsageError
    from jwcal.refs.certify import certify

    if (against or picture) and len(files) > 1:
        raise UsageError("--against and --picture take one FILE")
    rules = None
    if cache or context:
        from jwcal.refs.deliver import Place

        rules = Place(cache, context)
    reports = []
    for path in files:
        keys, old = rules.look(path) if rules else ((), None)
        report = certify(path, keys=keys, against=against or old)
        reports.append(report)
        if picture:
            _draw(path, against or old, picture, overwrite)
        if not as_json:
            click.echo(report.render())
    bad = [r for r in reports if r.errors or (strict and r.warnings)]
    if as_json:
        _print_json([r.as_dict() for r in reports])
    if bad:
        raise ReferenceFileError(
            f"{len(bad)} of {len(reports)} files rejected, first {bad[0].path}: "
            + (bad[0].first_error() or "warnings count as errors here")
        )


def _draw(new, old, picture, overwrite):
    from jwcal.analysis.png import encode_png
    from jwcal.analysis.refpicture import compare_picture
    from jwcal.core.errors import UsageError
    from jwcal.core.whole import write_whole

    if old is None:
        raise UsageError("--picture needs a file to compare with: give --against, or --context")
    rgb, title = compare_picture(new, str(old))
    write_whole(picture, encode_png(rgb, {"Title": title}), overwrite)


@click.command("deliver", context_settings=SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept in the log.")
@cache_options
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--compare", is_flag=True, help="Compare each file with the one whose place it takes.")
@_WAIT
@_JSON
def deliver_command(files, reason, cache, context, dry_run, compare, wait, as_json):
    """Put reference files into a new context of a cache.

    Certifies the files, copies them under new official names, and writes new versions of the rules
    (.rmap), of their instruments (.imap) and of the context (.pmap), with derivation and checksums.
    The .pmap comes last and the pointer to the operational context after it, so that readers, and a
    process that is killed, see the old context or the new one.  Deliveries wait for each other.

    The new context is derived from the operational one and becomes operational.  Derived from
    another one (--context) it does not; `jwcal refs context NAME --use` makes it so.  A FILE that
    ends in .rmap brings rules for a type that the context has none for.

    The exit code is 4 if a file is rejected or has no place in the rules, 5 if the cache cannot be
    written, 75 if another delivery does not end.

    \b
    Examples:
      jwcal refs deliver dark.fits --reason "new darks of cycle 5" --dry-run
      jwcal refs deliver gain.fits readnoise.fits --reason "anneal of 3 March"
    """  # noqa: D301 - click takes the backspace as it is
    import os

    from jwcal.core.errors import ReferenceFileError, UsageError
    from jwcal.refs.deliver import deliver

    if not reason.strip():
        raise UsageError("--reason is empty")
    context = context or os.environ.get("CRDS_CONTEXT")
    found = deliver(cache, files, reason, context=context, wait=wait, dry_run=dry_run, compare=compare)
    if as_json:
        _print_json({**found.as_dict(), "dry_run": dry_run, "reports": [r.as_dict() for r in found.reports]})
    else:
        for report in found.reports:
            click.echo(report.render())
    if found.rejected:
        raise ReferenceFileError(
            f"{len(found.rejected)} of {len(found.reports)} files rejected; nothing was delivered"
        )
    if as_json:
        return
    for path, (rules, change) in zip(found.paths, found.changes, strict=True):
        click.echo(f"{path} -> {change.file}: {rules} {change.text()}")
    verb = "would become" if dry_run else "is" if found.points else "is not"
    click.echo(f"{found.context} from {found.base}: {verb} operational")


@click.command("rollback", context_settings=SETTINGS)
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept in the log.")
@click.option("--to", metavar="NAME", help="Context to go back to [the one the operational one is from].")
@_CACHE
@_WAIT
@_JSON
def rollback_command(reason, to, cache, wait, as_json):
    """Make an earlier context operational again.

    Only the pointer moves: the later contexts and their files stay.
    """
    from jwcal.refs.deliver import rollback

    record = rollback(cache, reason, to=to, wait=wait)
    if as_json:
        _print_json(record)
    else:
        click.echo(f"{record['context']} is operational again, after {record['rolled_back']}")


@click.command("log", context_settings=SETTINGS)
@_CACHE
@_JSON
def log_command(cache, as_json):
    """List deliveries and rollbacks: who, when, why, what."""
    from jwcal.refs.store import Store

    entries = Store(cache).log()
    if as_json:
        _print_json(entries)
        return
    for e in entries:
        done = f"back from {e['rolled_back']}" if "rolled_back" in e else f"from {e['derived_from']}"
        click.echo(f"{e['when']}  {e['context']} {done}  {e['who']}@{e['host']}  {e['reason']}")
        for file in e.get("files", ()):
            replaced = f" replaces {file['replaced']}" if file["replaced"] else ""
            click.echo(f"    {file['file']}{replaced}  ({file['source']})")


@click.command("history", context_settings=SETTINGS)
@click.argument("kind", metavar="TYPE")
@cache_options
@click.option("--instrument", metavar="NAME", help="Only this instrument.")
@_JSON
def history_command(kind, cache, context, instrument, as_json):
    """Tell how the rules of a reference type came to be, the newest first.

    \b
    Example:
      jwcal refs history dark --instrument miri
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.refs.cache import find_context
    from jwcal.refs.history import history

    place, name, _ = find_context(cache, context)
    entries = list(history(place, name, kind.lower(), instrument.lower() if instrument else None))
    if as_json:
        _print_json(entries)
        return
    for e in entries:
        if not e["present"]:
            click.echo(f"{e['instrument']:8s}  {e['rules']}  (not in the cache)")
            continue
        click.echo(f"{e['instrument']:8s}  {e['rules']}")
        for sign, names in (("+", e["added"]), ("-", e["removed"])):
            for file in names or ():
                click.echo(f"            {sign} {file}")


@click.command("affected", context_settings=SETTINGS)
@click.argument("context_a")
@click.argument("context_b")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@_CACHE
@click.option("--catalog", metavar="FILE", help="Headers as JSON, one a line; - is standard input.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Processes for a long catalogue; the result does not depend on them.",
)
@click.option("--off", is_flag=True, help="Count steps that are off by default, too.")
@click.option("--summary", is_flag=True, help="Only the numbers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def affected_command(context_a, context_b, files, cache, catalog, jobs, off, summary, as_json):
    """List the data sets whose best references change from CONTEXT_A to CONTEXT_B.

    A line tells the data set, the first step whose result changes as pipeline:step, hence where
    reprocessing has to start, and the types with old and new file ("-": no step that is built uses
    them).  The numbers at the end go to standard error.

    A catalogue has one header a line as a JSON object, with FITS keywords or the names of the data
    model; FILENAME (or DATASET) names the data set.  A line that cannot be judged is reported, and
    the exit code is 3 at the end.  The memory needed does not depend on the number of headers.

    \b
    Examples:
      jwcal refs affected jwst_1292.pmap jwst_1293.pmap *_uncal.fits
      jwcal refs affected jwst_1292.pmap jwst_1293.pmap --catalog headers.jsonl --json > todo.jsonl
    """  # noqa: D301 - click takes the backspace as it is
    import sys

    from jwcal.core.errors import InputError, UsageError
    from jwcal.refs.affected import Affected, as_text, name_of
    from jwcal.refs.affected import as_json as line_of_json
    from jwcal.refs.best import read_header

    if bool(files) == bool(catalog):
        raise UsageError("give either FILEs or --catalog")
    found = Affected(cache, context_a, context_b, off=off)
    form = line_of_json if as_json else as_text
    write = (lambda _: None) if summary else (lambda line: sys.stdout.write(line + "\n"))
    for path in files:
        try:
            raw = read_header(path)
            judged = found.judge(raw)
        except InputError as exc:
            found.failed += 1
            judged, raw = {"error": str(exc)}, {}
        if judged is not None:
            write(form(name_of(raw) or path, judged))
    if catalog:
        with _instrument_files(catalog) as stream:
            for line in found.catalog(stream, form, catalog, jobs):
                write(line)
    if summary and as_json:
        click.echo(line_of_json("", found.numbers()))
    else:
        for line in found.summary():
            click.echo(line, err=not summary)
    if found.failed:
        raise InputError(f"{found.failed} of {found.seen} data sets cannot be judged")


def _progress(total=None):
    """Line of progress on a terminal, nothing elsewhere."""
    import sys

    if not sys.stderr.isatty():
        return None

    def report(name, count):
        sys.stderr.write(f"\r\x1b[K{count / 1e6:.1f} MB  {name}")
        sys.stderr.flush()

    return report


def _finish(done, as_json):
    import sys

    if done.report:
        sys.stderr.write("\r\x1b[K")
    if as_json:
        _print_json({"brought": done.brought, "present": len(done.present), "bytes": done.bytes})
    else:
        click.echo(
            f"{len(done.brought)} files brought ({done.bytes / 1e6:.1f} MB), {len(done.present)} were there already"
        )


_FROM = click.option(
    "--from",
    "where",
    required=True,
    metavar="SOURCE",
    help="Folder, tar or zip archive, or http(s) address with the official layout.",
)
_JOBS = click.option(
    "-j", "--jobs", type=click.IntRange(1, 32), default=4, show_default=True, help="Files at a time."
)


@click.command("sync", context_settings=SETTINGS)
@click.argument("context")
@_FROM
@_CACHE
@click.option("--references", is_flag=True, help="Also the reference files that its rules name.")
@click.option("--types", metavar="LIST", help="Only reference files of these types, comma-separated.")
@click.option("--instrument", metavar="NAME", help="Only reference files of this instrument.")
@_JOBS
@_WAIT
@_JSON
def sync_command(context, where, cache, references, types, instrument, jobs, wait, as_json):
    """Bring the mappings of CONTEXT, and with --references its files, into a cache.

    What is there already is not brought again.  Checksums of mappings are verified, those of
    reference files if the source has a list sha1sums; FITS files must be whole.  A transfer that
    broke goes on where it stopped.  The operational context stays what it is.

    The exit code is 3 if the source lacks a file, 4 if a file is damaged, 75 if a mirror does not
    answer.

    \b
    Examples:
      jwcal refs sync jwst_1293.pmap --from /mnt/crds_cache
      jwcal refs sync jwst_1293.pmap --from mappings.tar.gz
      jwcal refs sync jwst_1293.pmap --from https://mirror.example.org/crds --references --types dark,gain
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.refs.sync import Sync, open_source

    done = Sync(cache, open_source(where), jobs=jobs, report=_progress())
    kinds = {kind.strip().lower() for kind in types.split(",") if kind.strip()} if types else None
    with done.store.locked(wait, "sync"):
        mappings = done.context(context)
        if references or types or instrument:
            done.references(
                (name, mapping.instrument)
                for mapping in mappings
                if mapping.kind == "rmap"
                and (kinds is None or mapping.filekind in kinds)
                and (instrument is None or mapping.instrument == instrument.lower())
                for name in mapping.references()
            )
    _finish(done, as_json)


@click.command("prefetch", context_settings=SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_FROM
@cache_options
@click.option("--types", metavar="LIST", help="Only reference files of these types, comma-separated.")
@_JOBS
@_WAIT
@_JSON
def prefetch_command(files, where, cache, context, types, jobs, wait, as_json):
    """Bring the reference files that some products need into a cache.

    \b
    Example:
      jwcal refs prefetch *_uncal.fits --from /mnt/crds_cache --types dark,gain,readnoise
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.refs.best import Context, read_header
    from jwcal.refs.sync import Sync, open_source

    rules = Context(cache, context)
    kinds = [kind.strip().lower() for kind in types.split(",") if kind.strip()] if types else None
    rules.check_types(kinds)
    wanted: dict = {}
    for path in files:
        raw = read_header(path)
        instrument = rules.instrument(raw).name
        for answer in rules.best(raw, kinds).values():
            if isinstance(answer.files, str):
                wanted[answer.files] = instrument
    done = Sync(cache, open_source(where), jobs=jobs, report=_progress())
    with done.store.locked(wait, "sync"):
        done.references(wanted.items())
    _finish(done, as_json)


@click.command("verify", context_settings=SETTINGS)
@cache_options
@click.option("--mappings-only", is_flag=True, help="Leave the reference files out.")
@_JSON
def verify_command(cache, context, mappings_only, as_json):
    """Check that what a cache holds is sound.

    Mappings against their checksums and for derivation from themselves, reference files for
    damage and against the checksums noted at delivery.  With --context only what it names, all of
    which must be there.  The exit code is 4 if something is wrong.
    """
    from jwcal.core.errors import ReferenceFileError
    from jwcal.refs.sync import verify

    checked, wrong = 0, {}
    for name, problem in verify(cache, context=context, references=not mappings_only):
        checked += 1
        if problem:
            wrong[name] = problem
            if not as_json:
                click.echo(f"{name}: {problem.removeprefix(f'{name}: ')}")
    if as_json:
        _print_json({"checked": checked, "wrong": wrong})
    if wrong:
        raise ReferenceFileError(f"{len(wrong)} of {checked} files are wrong, first {next(iter(wrong))}")
    if not as_json:
        click.echo(f"{checked} files are sound")


@click.command("gc", context_settings=SETTINGS)
@_CACHE
@click.option(
    "--keep", multiple=True, metavar="CONTEXT", help="Context to keep, besides the operational one."
)
@click.option("--delete", is_flag=True, help="Delete; without it the files are only listed.")
@_WAIT
@_JSON
def gc_command(cache, keep, delete, wait, as_json):
    """List, or delete, files of a cache that no context uses.

    Without --keep all contexts count, and only left-overs go: files of deliveries that were
    interrupted, parts of transfers, references that no rules name.
    """
    from jwcal.refs.sync import collect_garbage

    found = collect_garbage(cache, keep=keep, dry_run=not delete, wait=wait)
    total = sum(size for _, size in found)
    if as_json:
        _print_json({"files": [path for path, _ in found], "bytes": total, "deleted": delete})
        return
    for path, _ in found:
        click.echo(path)
    click.echo(f"{len(found)} files, {total / 1e6:.1f} MB {'deleted' if delete else 'could be deleted'}")


COMMANDS = (
    certify_command,
    deliver_command,
    rollback_command,
    log_command,
    history_command,
    affected_command,
    sync_command,
    prefetch_command,
    verify_command,
    gc_command,
)

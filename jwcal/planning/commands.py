"""Command line of the prediction."""

import click

_LISTS = ("visits", "exposures", "raw", "pool", "associations", "products", "problems")


@click.command("predict", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("program", metavar="PROGRAM")
@click.option(
    "--pointing", metavar="FILE", help="APT's pointing report: visits and dithers as APT made them."
)
@click.option(
    "--msa", multiple=True, metavar="FILE", help="MSA metadata file, for names of sources (repeatable)."
)
@click.option("--discover", is_flag=True, help="Also associations of the whole program, beyond candidates.")
@click.option("--against", metavar="POOL|DIR", help="Compare with what arrived: a folder, or a pool (- too).")
@click.option("--list", "what", type=click.Choice(_LISTS), help="One table, instead of the summary.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "json"]),
    default="text",
    show_default=True,
    help="Form.",
)
@click.option("-o", "--output", default="-", metavar="FILE", help="File to write [standard output].")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def predict_command(program, pointing, msa, discover, against, what, form, output, overwrite):
    """Predict what comes of an observing program, before the telescope moves.

    PROGRAM is a file of APT (.aptx, .xml, either with .gz; - is standard input).  Lists visits, exposures,
    raw files, associations and the products of every pipeline, with their sizes, and with the CPU time and
    memory of the pipelines that jwcal has.  What cannot be predicted is said, and why.

    With --against, says which files are missing, unexpected or different from the program, and which visits
    are complete.  Products count once a product of the same stage is there.  The exit code is 0 if all has
    arrived as predicted, 75 if something has not come yet, 1 if something is different or unexpected.

    \b
    Examples:
      jwcal predict 1087.aptx
      jwcal predict 1087.xml --pointing 1087.pointing --list raw
      jwcal predict 1087.aptx --list products --format csv -o products.csv
      jwcal predict 1087.aptx --list pool | jwcal asn generate - -o asn
      jwcal predict 1087.aptx --against incoming --list visits
    """  # noqa: D301 - click takes the backspace as it is
    from jwcal.associations.output import emit
    from jwcal.core.errors import UsageError
    from jwcal.planning import report
    from jwcal.planning.prediction import predict

    if against == "-" == program:
        raise UsageError("PROGRAM and --against are both standard input")
    if against and what not in (None, "visits"):
        raise UsageError(f"--against has no list of {what}; --list visits, or none for every file")
    prediction = predict(program, pointing, msa, discover)
    for problem in prediction.program.problems if what or form != "text" or against else ():
        where = f"observation {problem.observation}: " if problem.observation else ""
        click.echo(f"jwcal predict: {where}{problem.text}", err=True)
    if not against:
        text = report.listing(prediction, what, form) if what else report.report(prediction, form)
        emit(text, output, overwrite)
        return 0
    from jwcal.planning.arrivals import read_arrivals
    from jwcal.planning.reconcile import Reconciliation

    found = Reconciliation(prediction, read_arrivals(against, prediction.program.number))
    emit(report.comparison(found, form, what), output, overwrite)
    return found.exit_code

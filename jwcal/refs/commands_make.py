"""Command line of the reference system: make references from exposures."""

import click

from jwcal.refs.options import SETTINGS

_SIGMA = click.option(
    "--sigma",
    type=click.FloatRange(1),
    default=4.0,
    show_default=True,
    help="Clipping limit, standard deviations.",
)


def _common(function):
    """Arguments and options of all kinds."""
    for option in reversed(
        (
            click.argument("files", nargs=-1, required=True, metavar="FILE..."),
            click.option("-o", "--output", required=True, metavar="OUT", help="Reference file; - is standard output."),
            click.option("--overwrite", is_flag=True, help="Replace an existing file."),
            click.option("--refs", metavar="DIR", help="Directory of reference files for the steps before."),
            click.option(
                "--ref", "named", multiple=True, metavar="TYPE=FILE", help="Reference file of a type, or N/A (repeatable)."
            ),
            click.option(
                "--set", "assignments", multiple=True, metavar="STEP.PARAM=VALUE", help="Parameter of a step (repeatable)."
            ),
            click.option("--strict", is_flag=True, help="A missing reference file is an error."),
            click.option("--author", metavar="TEXT", help="AUTHOR."),
            click.option(
                "--pedigree", metavar="TEXT", help="PEDIGREE; default: INFLIGHT and the dates of the exposures."
            ),
            click.option("--useafter", metavar="TIME", help="USEAFTER; default: the start of the first exposure."),
            click.option("--description", metavar="TEXT", help="DESCRIP."),
            click.option("--history", multiple=True, metavar="TEXT", help="Line of HISTORY (repeatable)."),
            click.option("-j", "--jobs", type=click.IntRange(1, 1024), help="Threads; the result does not depend on them."),
            click.option(
                "--memory", type=click.IntRange(1), default=256, show_default=True, metavar="MB",
                help="Memory for pixel values.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print what was measured as JSON."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def _request(given):
    """Take the common options out of `given` and make a request of them."""
    from jwcal.core.errors import UsageError
    from jwcal.refs.make.sets import Request
    from jwcal.refs.select import ReferenceSource

    def pairs(texts, option):
        for text in texts:
            left, equal, right = text.partition("=")
            if not equal or not left or not right:
                raise UsageError(f"{option} {text}: write it as NAME=VALUE")
            yield left.strip(), right.strip()

    params: dict = {}
    for name, value in pairs(given.pop("assignments"), "--set"):
        step, dot, param = name.partition(".")
        if not dot:
            raise UsageError(f"--set {name}={value}: write it as STEP.PARAM=VALUE")
        params.setdefault(step.replace("-", "_"), {})[param.replace("-", "_")] = value
    named = {kind.lower(): path for kind, path in pairs(given.pop("named"), "--ref")}
    source = ReferenceSource(named, given.pop("refs"))
    keys = "files output overwrite strict author pedigree useafter description history jobs".split()
    own = {key: given.pop(key) for key in keys}
    return Request(source=source, params=params, memory=given.pop("memory") << 20, **own)


def _make(function, given):
    as_json = given.pop("as_json")
    request = _request(given)
    report = function(request, **given)
    to_stdout = request.output == "-"
    if as_json:
        import json
        import math

        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in report.items()}
        click.echo(json.dumps({"file": request.output, **finite}), err=to_stdout)
        return
    facts = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in report.items()
    )
    click.echo(f"{request.output}: {facts}", err=to_stdout)


@click.command("dark", context_settings=SETTINGS)
@_common
@_SIGMA
def dark_command(**given):
    """Make a DARK reference of exposures without light.

    Clipped mean of every group over all integrations, corrected up to the step before the dark is
    subtracted; ERR is the error of that mean.  At least three integrations of the same sampling.
    """
    from jwcal.refs.make.dark import make_dark

    _make(make_dark, given)


@click.command("superbias", context_settings=SETTINGS)
@_common
@_SIGMA
@click.option(
    "--noisy", type=click.FloatRange(1), default=5.0, show_default=True,
    help="Scatter, in units of the median, from which a bias is unreliable.",
)  # fmt: skip
def superbias_command(**given):
    """Make a SUPERBIAS reference of the first groups of raw exposures.

    Clipped mean over all integrations, without the drifts that the reference pixels show.  At least
    three integrations without light; near infrared.
    """
    from jwcal.refs.make.superbias import make_superbias

    _make(make_superbias, given)


@click.command("readnoise", context_settings=SETTINGS)
@_common
@_SIGMA
@click.option(
    "--least",
    type=click.IntRange(2),
    default=10,
    show_default=True,
    help="Smallest number of differences of a pixel.",
)
def readnoise_command(**given):
    """Make a READNOISE reference of exposures without light.

    Scatter of the differences of successive groups: the noise of correlated double sampling of
    single frames [DN].  With a GAIN reference shot noise of dark current is taken out.
    """
    from jwcal.refs.make.readnoise import make_readnoise

    _make(make_readnoise, given)


@click.command("gain", context_settings=SETTINGS)
@_common
@_SIGMA
@click.option(
    "--block", type=click.IntRange(2), default=64, show_default=True, help="Side of a block, pixels."
)
def gain_command(**given):
    """Make a GAIN reference of pairs of exposures to the same light.

    Variance of the difference of a pair against signal, by block of pixels.  Successive
    integrations form pairs.  Inter-pixel capacitance makes the gain too high, by about 8 times the
    coupling to one neighbour, unless an IPC reference is given with --set ipc.skip=false.
    """
    from jwcal.refs.make.gain import make_gain

    _make(make_gain, given)


@click.command("mask", context_settings=SETTINGS)
@_common
@_SIGMA
@click.option(
    "--hot", type=click.FloatRange(0), default=0.1, show_default=True, help="Slope of a HOT pixel, DN/s."
)
@click.option(
    "--rc",
    type=click.FloatRange(1),
    default=3.0,
    show_default=True,
    help="Ratio of early to late slope of an RC pixel.",
)
@click.option(
    "--dead", type=float, default=0.05, show_default=True, help="Relative response below which one is DEAD."
)
@click.option("--low-qe", type=float, default=0.5, show_default=True, help="... below which one is LOW_QE.")
@click.option(
    "--adjacent",
    type=float,
    default=1.05,
    show_default=True,
    help="... of the neighbours from which one is OPEN.",
)
@click.option("--box", type=int, default=15, show_default=True, help="Side of the surroundings, pixels, odd.")
@click.option(
    "--noisy",
    type=click.FloatRange(1),
    default=5.0,
    show_default=True,
    help="Scatter, in units of the median, of a BAD_REF_PIXEL.",
)
@click.option(
    "--unusable", default="DEAD,OPEN,RC", show_default=True, metavar="LIST", help="Flags that come with DO_NOT_USE."
)  # fmt: skip
def mask_command(**given):
    """Make a MASK reference of darks and of exposures to even light.

    Files whose EXP_TYPE speaks of a dark are darks, all others flats.  Darks show HOT, RC and
    BAD_REF_PIXEL; flats DEAD, LOW_QE, OPEN and ADJ_OPEN.
    """
    from jwcal.refs.make.mask import make_mask

    given["unusable"] = tuple(name.strip().upper() for name in given["unusable"].split(",") if name.strip())
    _make(make_mask, given)


@click.command("saturation", context_settings=SETTINGS)
@_common
@_SIGMA
@click.option(
    "--fraction",
    type=click.FloatRange(0.1, 1),
    default=0.985,
    show_default=True,
    help="Part of the range that may be used.",
)
@click.option(
    "--departure",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Also end where the slope has fallen by this fraction.",
)
@click.option(
    "--flat", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.1, show_default=True,
    help="Relative slope of a ramp that has ended.",
)  # fmt: skip
def saturation_command(**given):
    """Make a SATURATION reference of raw ramps driven into saturation.

    The threshold [DN, with bias] is a fraction of the way from the beginning of the ramp to its hard
    limit.  Pixels that do not saturate get NO_SAT_CHECK.
    """
    from jwcal.refs.make.saturation import make_saturation

    _make(make_saturation, given)


@click.command("linearity", context_settings=SETTINGS)
@_common
@click.option("--order", type=click.IntRange(2, 8), default=4, show_default=True, help="Highest power.")
@click.option(
    "--least-signal",
    type=click.FloatRange(0),
    default=10000.0,
    show_default=True,
    help="Signal a pixel must reach, DN.",
)
@click.option(
    "--max-residual", type=click.FloatRange(0), default=0.01, show_default=True,
    help="Largest residual, relative to the signal.",
)  # fmt: skip
def linearity_command(**given):
    """Make a LINEARITY reference of ramps of constant light.

    Coefficients c0 = 0, c1 = 1, c2 ... of the polynomial that makes the ramps straight.  Pixels without
    enough signal or with a bad fit get NO_LIN_CORR.
    """
    from jwcal.refs.make.linearity import make_linearity

    _make(make_linearity, given)


@click.command("flat", context_settings=SETTINGS)
@_common
@_SIGMA
@click.option("--lowest", type=float, default=0.05, show_default=True, help="Smallest response.")
@click.option(
    "--unreliable", type=click.FloatRange(0), default=0.05, show_default=True, help="Largest relative error."
)
def flat_command(**given):
    """Make a FLAT reference of exposures to even light, raw or rate files.

    Clipped mean of the rate images, each divided by its median; ERR is the error of that mean.
    """
    from jwcal.refs.make.flat import make_flat

    _make(make_flat, given)


@click.group("make", context_settings=SETTINGS)
def make_group():
    """Make reference files of sets of exposures.

    The exposures, of one detector and subarray, are corrected in memory by the steps that come before
    the one the reference is for, box by box, so that memory does not grow with their number.  The file
    is in the official format and ready for `jwcal refs certify`.

    \b
    Examples:
      jwcal refs make dark *_dark_uncal.fits -o dark.fits --refs refs/ --author "I&T"
      jwcal refs make mask darks/*.fits lamp/*.fits -o mask.fits --refs refs/ --hot 0.05
      jwcal refs make gain lamp*_uncal.fits -o gain.fits --refs refs/ --block 128
    """  # noqa: D301 - click takes the backspace as it is


for _command in (
    dark_command,
    superbias_command,
    readnoise_command,
    gain_command,
    mask_command,
    saturation_command,
    linearity_command,
    flat_command,
):
    make_group.add_command(_command)

"""Command line of the simulator."""

import click

_INSTRUMENTS = ("nircam", "niriss", "fgs", "nirspec", "miri")
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.command("expose", context_settings=_SETTINGS)
@click.argument("out", metavar="OUT", type=click.Path(file_okay=False))
@click.option("--instrument", type=click.Choice(_INSTRUMENTS, case_sensitive=False), help="Default: nircam.")
@click.option(
    "--detector", metavar="NAME", help="Official name, such as NRCA1, NIS, GUIDER2, NRS1, MIRIMAGE."
)
@click.option(
    "--subarray", metavar="NAME", help="Official name; the default is small and depends on the instrument."
)
@click.option("--full", is_flag=True, help="Read the whole detector.")
@click.option(
    "--shape", type=int, nargs=2, metavar="NY NX", help="Rows and columns of a region without a name."
)
@click.option("--corner", type=int, nargs=2, metavar="X Y", help="1-based first pixel of that region [1 1].")
@click.option("--readpatt", metavar="NAME", help="Official readout pattern; default: the fastest.")
@click.option("--nints", type=click.IntRange(1), help="Integrations [1, or what the exposure type has].")
@click.option("--ngroups", type=click.IntRange(1), help="Groups of an integration [10, or likewise].")
@click.option(
    "--segments",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Files the integrations are split into.",
)
@click.option("--zeroframe", is_flag=True, help="Also write the first frame of every integration.")
@click.option("--tso", is_flag=True, help="Time series: sets TSOVISIT and the exposure type.")
@click.option(
    "--exp-type",
    metavar="NAME",
    help="EXP_TYPE: stars, a spectrum, slices, a lamp, a dark; FGS_ACQ1 and the like: guiding.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Noise and cosmic rays.")
@click.option("--scene-seed", type=click.IntRange(0), default=7, show_default=True, help="Which sky.")
@click.option("--detector-seed", type=click.IntRange(0), default=11, show_default=True, help="Which pixels.")
@click.option(
    "--cr-rate",
    type=click.FloatRange(0, 1),
    help="Fraction of the pixels hit by cosmic rays in an integration [0.01; guiding 1e-4].",
)
@click.option(
    "--effects",
    default="",
    metavar="LIST",
    help="What else disturbs, comma-separated, each with =STRENGTH if it is not the usual one.",
)
@click.option(
    "--sequence",
    type=click.IntRange(1),
    metavar="N",
    help="N dithered exposures in time order, each in a folder of OUT; latents go over.",
)
@click.option("--inverse", is_flag=True, help="Also write INV_COEFFS in the linearity reference.")
@click.option(
    "--one-over-f", type=click.FloatRange(0), help="Line-correlated noise, DN rms [1 in full frames]."
)
@click.option(
    "--drift",
    type=click.FloatRange(0),
    help="Step of the amplifier offsets between frames, DN rms [1.5; 0.05 without reference pixels].",
)
@click.option(
    "--brightness", type=click.FloatRange(0), help="Factor on the scene [so that short ramps have signal]."
)
@click.option(
    "--star-density", type=click.FloatRange(0, 0.1), default=6e-4, show_default=True, help="Stars per pixel."
)
@click.option(
    "--dither", type=float, nargs=2, default=(0.0, 0.0), metavar="X Y", help="Pointing shift, pixels."
)
@click.option(
    "--exposure", type=click.IntRange(1, 99999), default=1, show_default=True, help="Exposure number."
)
@click.option("--frame-divisor", type=click.IntRange(1), help="FRMDIVSR, if it is not NFRAMES.")
@click.option(
    "--gain-factor",
    type=click.FloatRange(0.01),
    default=1.0,
    show_default=True,
    help="GAINFACT of the gain reference.",
)
@click.option("--no-refs", is_flag=True, help="Do not write reference files.")
@click.option("--full-refs", is_flag=True, help="Write full-frame references for a subarray, to be cut out.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.option(
    "-j",
    "--threads",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Threads; the result does not depend on them.",
)
def expose_command(out, full, no_refs, full_refs, **given):
    """Simulate a raw exposure with known truth in the folder OUT.

    Writes the raw file under its official name (several with --segments), truth.fits,
    case.json, and the matching reference files in OUT/refs.

    Effects, what their strength is and its usual value: charge-migration (brighter-fatter, factor,
    1), snowballs and showers (mean number in an integration, 2), persistence (factor, 1), ipc (per
    cent that each neighbour sees, 0.5), flicker (1/f noise, factor on the measured amplitude, 1),
    emi (factor, 1).  NIRSpec's interleaved readout is --readpatt NRSIRS2 or NRSIRS2RAPID.

    \b
    Examples:
      jwcal sim expose demo
      jwcal sim expose deep --detector NRCA3 --subarray SUB160 --readpatt SHALLOW4 --zeroframe
      jwcal sim expose lrs --instrument miri --subarray SLITLESSPRISM --tso --nints 20 --segments 2
      jwcal sim expose guide --exp-type FGS_ACQ1
      jwcal sim expose noisy --effects snowballs=3,ipc,flicker
      jwcal sim expose irs2 --instrument nirspec --readpatt NRSIRS2RAPID --ngroups 5
      jwcal sim expose latents --sequence 4 --effects persistence --readpatt DEEP8 --brightness 1
    """  # noqa: D301 - click takes the backspace as it is
    import time

    from jwcal.core.errors import UsageError
    from jwcal.simulate.expose import expose
    from jwcal.simulate.guider import MODES

    if full:
        if given["subarray"] or given["shape"]:
            raise UsageError("--full goes neither with --subarray nor with --shape")
        given["subarray"] = "FULL"
    guiding = (given["exp_type"] or "").upper() in MODES
    if given["corner"] and not given["shape"] and not guiding:
        raise UsageError("--corner needs --shape")
    count = given.pop("sequence")
    start = time.perf_counter()
    if count is not None:
        from jwcal.simulate.sequence import expose_sequence

        whole = expose_sequence(out, count, references=not no_refs, full_references=full_refs, **given)
        for case in whole["exposures"]:
            _report(f"{out}/{case['folder']}", case, (time.perf_counter() - start) / count)
        return
    case = expose(out, references=not no_refs, full_references=full_refs, **given)
    _report(out, case, time.perf_counter() - start)


def _report(out, case, seconds):
    ny, nx = case["shape"]
    click.echo(
        f"{out}: {case['detector']} {case['subarray']} {case['exp_type']} {case['readpatt']}, "
        f"{case['nints']} x {case['ngroups']} x {ny} x {nx}, {seconds:.1f} s"
    )
    for name in (part["uncal"] for part in case.get("segments", [case])):
        click.echo(f"  {name}")
    click.echo(f"  {case['truth']}  {case['crs']} pixels hit, {case['saturated']} saturated")
    if case["refs"]:
        folder = next(iter(case["refs"].values())).rpartition("/")[0]
        click.echo(f"  {folder}/  {' '.join(case['refs'])}")


@click.command("score", context_settings=_SETTINGS)
@click.argument("products", nargs=-1, required=True, metavar="PRODUCT...")
@click.option("--truth", required=True, metavar="FITS", help="truth.fits of `jwcal sim expose`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plot", metavar="PNG", help="Also draw a picture.")
@click.option("--overwrite", is_flag=True, help="Replace an existing picture.")
def score_command(products, truth, as_json, plot, overwrite):
    """Compare calibrated products with the truth they were simulated from.

    Takes _rate, _rateints and ramp files, also of single segments, and _cal files of guiders.  For
    slopes: bias by flux with its standard error, pulls, scatter; for all: completeness and false
    rate of the cosmic-ray flags, saturation, flag counts, NaN that are not flagged.  Of simulated
    effects: line noise, periodic noise and latents left, area and residual of large events; of
    guide stars: flux and centroid.
    """
    from jwcal.simulate.score import as_text, score

    results = [score(product, truth) for product in products]
    if plot:
        from jwcal.simulate.picture import write_picture

        write_picture(plot, results, overwrite)
    if as_json:
        import json

        click.echo(json.dumps(results, indent=1))
    else:
        click.echo("\n\n".join(as_text(result) for result in results))


@click.group("sim", context_settings=_SETTINGS)
def sim_group():
    """Simulate exposures with known truth, and score what became of them."""


sim_group.add_command(expose_command)
sim_group.add_command(score_command)

"""Use from Python: the same steps and pipelines, in memory or on files."""

from jwcal.core.errors import UsageError
from jwcal.core.exposure import Exposure, open_exposure
from jwcal.core.params import Layers, known_only
from jwcal.core.recipe import read_recipe
from jwcal.refs.select import ReferenceSource


def _source(refs):
    if isinstance(refs, ReferenceSource):
        return refs
    from jwcal.refs.source import make_source

    return make_source(refs) if isinstance(refs, dict) else make_source(None, refs)


def _unpack(results):
    return next(iter(results.values())) if len(results) == 1 else results


def run_step(step, exposure, *, refs=None, jobs=None, params=None):
    """Run one step in memory; see `jwcal.core.step.Step.__call__`."""
    from jwcal.core.pipeline import Item, Job, run

    values = {}
    for name, value in (params or {}).items():
        try:
            values[step.param(name).name] = value
        except UsageError:
            raise TypeError(f"{step.name}() got an unexpected parameter {name!r}") from None
    layers = Layers()
    layers.add("call", {step.name: values} if values else {})
    outputs = {"main": None}
    if step.gives == "rate" and step.takes == "ramp":
        outputs["rateints"] = None
    job = Job([Item(step.name, step=step)], layers, _source(refs), outputs, jobs=jobs)
    return _unpack(run(job, exposure))


def makes_rate(items, layers, instrument):
    """Whether a step that turns ramps into slopes is among the items and not switched off."""
    steps = [i.step for i in items if i.step is not None]
    return any(
        (s.takes, s.gives) == ("ramp", "rate") and not layers.resolve(s, instrument)[0].skip for s in steps
    )


def run_pipeline(
    name,
    source,
    *,
    refs=None,
    params=None,
    recipe=None,
    output=None,
    rateints=None,
    jobs=None,
    overwrite=False,
    strict=False,
):
    """Run a pipeline.

    Parameters
    ----------
    name : str
        Pipeline name, or "auto" to choose by EXP_TYPE.
    source : str or Exposure
        File name or exposure.
    refs : str, dict, ReferenceSource or None
        Directory of reference files, a mapping of type to file, "crds" for the rules of the
        reference system in ``CRDS_PATH``, or a `jwcal.refs.source.ContextSource`.
    params : dict of str to dict, optional
        Parameter values by step.
    recipe : str or None
        Recipe, as for ``jwcal run --recipe``.
    output, rateints : str or None
        Files to write; None keeps the product in memory and returns it.
    jobs : int or None
        Threads.
    overwrite : bool
        Replace existing files.
    strict : bool
        A missing reference is an error.

    Returns
    -------
    dict of str to Exposure
        The products kept in memory.

    Raises
    ------
    JwcalError
        With the exit code of the failure.
    """
    from jwcal.core import pipeline
    from jwcal.core.routing import choose

    exposure = source if isinstance(source, Exposure) else open_exposure(source)
    results: dict = {}
    try:
        items = pipeline.plan_items(choose(name, exposure), exposure.meta["INSTRUME"])
        layers = Layers()
        if recipe:
            values = read_recipe(recipe, exposure.meta["INSTRUME"])
            layers.add(f"recipe {recipe}", known_only(values, [i.step for i in items], f"recipe {recipe}"))
        layers.add("call", params or {})
        outputs = {"main": output}
        if rateints is not None or makes_rate(items, layers, exposure.meta["INSTRUME"]):
            outputs["rateints"] = rateints
        job = pipeline.Job(
            items, layers, _source(refs), outputs, jobs=jobs, overwrite=overwrite, strict=strict
        )
        results = pipeline.run(job, exposure)
    finally:
        if exposure is not source and not results:
            exposure.close()
    return results

"""Reference files for steps and pipelines by the rules of a context."""

from pathlib import Path

from jwcal.core.errors import InputError, ReferenceFileError
from jwcal.refs.best import Context, path_of
from jwcal.refs.explain import explain, rule_text
from jwcal.refs.rules import FILE
from jwcal.refs.select import ReferenceSource

BY_RULES = "crds"


def make_source(named=None, refs=None, crds=None, context=None):
    """Source of reference files that a command line asks for.

    Parameters
    ----------
    named : dict of str to str or None
        Files given by type.
    refs : str or None
        Directory of reference files; "crds" is the cache that ``CRDS_PATH`` names.
    crds : str or None
        Cache of the reference system.
    context : str or None
        Context; one that is given asks for its rules.

    Returns
    -------
    ReferenceSource
    """
    if crds is None and context is None and refs != BY_RULES:
        return ReferenceSource(named, refs)
    return ContextSource(named, None if refs == BY_RULES else refs, crds, context)


class ContextSource(ReferenceSource):
    """Chooses by the rules of a context; named files and those of a directory come first.

    Parameters
    ----------
    named : dict of str to str or None
        Files given by type; they win.  "N/A" says that there is none.
    directory : str or None
        Directory of reference files that is searched before the rules are asked.
    cache : str or None
        Cache of the reference system; None takes ``CRDS_PATH``.
    context : str or None
        Context; None takes ``CRDS_CONTEXT``, then the operational one of the cache.

    Raises
    ------
    UsageError
        If there is no such cache, or nothing says which context.
    """

    def __init__(self, named=None, directory=None, cache=None, context=None):
        super().__init__(named, directory)
        self.rules = Context(cache, context)
        self._bad = self.rules.cache.bad_files()
        self._chosen: set = set()

    @property
    def context(self):
        """Name of the context."""
        return self.rules.name

    def written(self, path):
        """Return how headers name a file: one that the rules chose as the official client writes it."""
        name = Path(path).name
        return f"crds://{name}" if str(path) in self._chosen else name

    def find(self, kind, meta):
        """Return the best file of a type, and why; see `ReferenceSource.find`.

        Raises
        ------
        ReferenceFileError
            If the cache lacks the file, or the official settings call it invalid.
        """
        if kind in self.named or self.directory is not None:
            path, why = super().find(kind, meta)
            if path is not None or kind in self.named:
                return path, why
        instrument, header = self._header(meta)
        answer = instrument.answer(kind, header)
        if answer.state != FILE:
            return None, f"{self.context}: {answer.reason}"
        return str(
            self._path(answer, instrument)
        ), f"{self.context}: {rule_text(explain(instrument, kind, header))}"

    def find_pars(self, steps, meta):
        """Parameter reference files for this exposure: those of the steps, then that of the pipeline.

        Parameters
        ----------
        steps : sequence of Step
            Steps of the run; several are a pipeline.
        meta : mapping
            Header of the exposure.

        Returns
        -------
        list of str
        """
        instrument, header = self._header(meta)
        kinds = [f"pars-{step.name.replace('_', '')}step" for step in steps]
        if len(steps) > 1:
            kinds += _pipelines(steps)
        out = []
        for kind in kinds:
            if kind not in instrument.types:
                continue
            answer = instrument.answer(kind, header)
            if answer.state == FILE:
                out.append(str(self._path(answer, instrument)))
        return [*out, *super().find_pars(steps, meta)]

    def record(self, meta):
        """Parameters and files that identify the rules, for the provenance.

        Parameters
        ----------
        meta : mapping
            Header of the exposure.

        Returns
        -------
        params : dict of str to list of str
            Value and origin of the name of the context, and of the SHA-256 over the names and
            checksums of all mappings of the instrument.
        files : dict of str to str
            The context and the mapping of the instrument.
        """
        instrument, _ = self._header(meta)
        files = {}
        for name, row in instrument.files.items():
            if name.endswith((".pmap", ".imap")):
                files[name.rsplit(".", 1)[1]] = row[1]
        params = {
            "context": [self.context, self.rules.origin],
            "rules_sha256": [instrument.digest, f"{len(instrument.files)} mappings"],
        }
        return params, files

    def _header(self, meta):
        name = str(meta.get("INSTRUME") or "").strip()
        if not name:
            raise InputError(f"{getattr(meta, 'label', 'exposure')}: no INSTRUME in the header")
        instrument = self.rules.named(name)
        raw = {key: meta.get(key) for key in instrument.fits_names()}
        return instrument, instrument.header({k: v for k, v in raw.items() if v is not None})

    def _path(self, answer, instrument):
        path = path_of(self.rules, answer, instrument.name)
        if path.name in self._bad:
            raise ReferenceFileError(
                f"{path.name}: chosen by {self.context}, but declared invalid by the settings of the cache"
                f" {self.rules.cache.root}: choose another --context, or name a file"
            )
        self._chosen.add(str(path))
        return path


def _pipelines(steps):
    """Types that hold the parameters of a whole pipeline, as the official ones are called."""
    names = {step.name for step in steps}
    stages = {step.stage for step in steps}
    if "detector1" in stages:
        return ["pars-detector1pipeline" if "ramp_fit" in names else "pars-darkpipeline"]
    return [f"pars-{stage}pipeline" for stage in sorted(stages)]

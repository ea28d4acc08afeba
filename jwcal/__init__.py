"""The data management system of the James Webb Space Telescope as small Unix commands.

``jwcal.open(path)`` reads an exposure, ``jwcal.run(pipeline, path, refs=...)`` calibrates it,
``jwcal.steps.<name>`` are the single steps.
"""

__version__ = "0.3.0"

__all__ = ["__version__", "open", "run", "steps"]


def __getattr__(name):
    """Load the interface when it is first used: commands must start quickly."""
    if name == "open":
        from jwcal.core.exposure import open_exposure

        return open_exposure
    if name == "run":
        from jwcal.core.api import run_pipeline

        return run_pipeline
    if name == "steps":
        return _Steps()
    raise AttributeError(f"module 'jwcal' has no attribute {name!r}")


class _Steps:
    """Steps as attributes."""

    def __dir__(self):
        from jwcal.cli.index import STEPS

        return [name.replace("-", "_") for name in STEPS]

    def __getattr__(self, name):
        from jwcal.core.errors import UsageError
        from jwcal.core.registry import find_step

        try:
            return find_step(name)[0]
        except UsageError as exc:
            raise AttributeError(str(exc)) from None

"""Find steps by name: built-in ones, plug-ins, and files."""

import importlib
import importlib.util
import sys
from pathlib import Path

from jwcal.core.errors import UsageError
from jwcal.core.step import Step
from jwcal.core.suggest import instead

# Names of what was loaded from outside of the package in this process.
outside: list[str] = []


def find_step(name):
    """Return a step.

    Parameters
    ----------
    name : str
        Name of a built-in step, of a plug-in (entry point group ``jwcal.steps``), or
        ``file.py:object``.

    Returns
    -------
    step : Step
    code : str
        Where code outside of the package comes from, else "".

    Raises
    ------
    UsageError
        If there is no such step, or its code cannot be loaded.
    """
    from jwcal.cli.index import STEPS

    plain = name.replace("_", "-")
    if plain in STEPS:
        module, attribute, *_ = STEPS[plain]
        return getattr(importlib.import_module(module), attribute), ""
    if ".py:" in name:
        return _from_file(name)
    for entry in plugins():
        if entry.name.replace("_", "-") == plain:
            return _check(_load(entry), name), f"{entry.value} {entry.dist.name}-{entry.dist.version}"
    raise UsageError(f"no step {name!r} ({instead(name, STEPS)})")


def plugins():
    """Entry points of installed plug-in steps."""
    from importlib.metadata import entry_points

    return sorted(entry_points(group="jwcal.steps"), key=lambda e: e.name)


def _load(entry):
    outside.append(entry.name)
    try:
        return entry.load()
    except (Exception, SystemExit) as exc:
        raise UsageError(f"step {entry.name}: cannot be loaded: {type(exc).__name__}: {exc}") from exc


def _from_file(name):
    from jwcal.core.provenance import digest

    path, attribute = name.rsplit(":", 1)
    if not Path(path).is_file():
        raise UsageError(f"{path}: no such file")
    module_name = "jwcal_user_" + Path(path).stem
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    outside.append(name)
    # Nothing is left beside the user's file, which may lie in a folder of data.
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        raise UsageError(f"{path}: cannot be loaded: {type(exc).__name__}: {exc}") from exc
    finally:
        sys.dont_write_bytecode = kept
    if not hasattr(module, attribute):
        raise UsageError(f"{path}: has no {attribute}")
    return _check(getattr(module, attribute), name), f"{Path(path).name} sha256:{digest(path)}"


def _check(found, name):
    if not isinstance(found, Step):
        raise UsageError(f"{name} is not a step (use the @step declaration)")
    return found

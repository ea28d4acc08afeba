"""Fields that templates of all instruments have: readout, target acquisition, repetitions."""

from jwcal.planning.apt import number, text
from jwcal.planning.templates.common import count

_TIMES = ("Exposures", "NumExps", "NumExposures", "NumberOfExposures")


def yes(cell):
    """Whether a cell of a template says yes (bool)."""
    return cell.strip().lower() in ("true", "yes")


def readout(config, prefix="", patterns=None):
    """Read the readout of an element.

    Parameters
    ----------
    config : Element
    prefix : str
        What the names of the fields start with: "", "Acq", "Confirmation", "Direct".
    patterns : dict, optional
        READPATT for names that programs use.

    Returns
    -------
    dict
        readpatt, ngroups and nints.
    """
    pattern = text(config, f"{prefix}ReadoutPattern")
    return {
        "readpatt": (patterns or {}).get(pattern, pattern),
        "ngroups": number(config, f"{prefix}Groups", default=0),
        "nints": number(config, f"{prefix}Integrations", default=1),
    }


def settings(element):
    """Elements, below an element or itself, that have a readout of their own (list)."""
    return [each for each in element.iter() if text(each, "ReadoutPattern") and text(each, "Groups")]


def repeats(config):
    """Exposures at each point (int, at least 1)."""
    return max(number(config, *_TIMES, default=1), 1)


def acquisition_target(observation, element):
    """Find the target that is acquired; None without target acquisition.

    Parameters
    ----------
    observation : model.Observation
    element : Element
        The template.

    Returns
    -------
    int or None
        Its number.
    """
    cell = text(element, "AcqTargetID", "AcqTarget")
    if not cell or cell.upper() == "NONE":
        return None
    return count(cell, observation.target)


def is_time_series(observation):
    """Whether the observation has the special requirement of a time series (bool)."""
    return "TimeSeriesObservation" in observation.requirements

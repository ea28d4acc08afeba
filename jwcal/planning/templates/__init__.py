"""Exposures that each observing template of APT makes."""

# Exposures that file names of a visit can number.
MOST = 99_999


class UnpredictableError(Exception):
    """The exposures of an observation cannot be told from the program; the message says why."""

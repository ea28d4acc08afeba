"""Exposures that each observing template of APT makes."""


class Unpredictable(Exception):
    """The exposures of an observation cannot be told from the program; the message says why."""

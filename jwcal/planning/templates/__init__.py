"""Exposures that each observing template of APT makes."""

# Exposures that file names of a visit can number.
MOST = 99_999
# Frames of an exposure (groups times integrations): the smallest subarrays take fewer in a week.
MOST_FRAMES = 10_000_000


class UnpredictableError(Exception):
    """The exposures of an observation cannot be told from the program; the message says why."""

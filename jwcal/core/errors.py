"""Errors a user can meet, each with the exit code that workflow engines act on."""


class JwcalError(Exception):
    """A failure that is told to the user in one line.

    Attributes
    ----------
    exit_code : int
        Process exit status; the table is in ``jwcal(1)``.
    """

    exit_code = 1


class UsageError(JwcalError):
    """Wrong option, wrong parameter value, or a terminal where data should go."""

    exit_code = 2


class InputError(JwcalError):
    """Input that is missing, truncated, not FITS, or another product than the command takes."""

    exit_code = 3


class ReferenceFileError(JwcalError):
    """A reference file that is invalid, or missing where it is required."""

    exit_code = 4


class OutputError(JwcalError):
    """Output that cannot be written: it exists, the disk is full, permission is lacking."""

    exit_code = 5


class DataError(JwcalError):
    """Data from which no useful product can be made."""

    exit_code = 6


class TemporaryError(JwcalError):
    """A failure that may pass: a lock, a cache, a network."""

    exit_code = 75


INTERRUPTED = 130
TERMINATED = 143
BROKEN_PIPE = 141

EXIT_CODES = {
    0: "done (steps may be marked SKIPPED)",
    1: "internal error",
    2: "wrong usage, bad parameter, or a terminal refused",
    3: "input missing, truncated, not FITS, or the wrong product",
    4: "reference file invalid, or missing where required",
    5: "output cannot be written",
    6: "data unusable",
    75: "temporary failure: try again",
    130: "interrupted",
    141: "reader closed the pipe",
    143: "terminated",
}

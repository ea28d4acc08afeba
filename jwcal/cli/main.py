"""Entry point of the program; signals are heard before anything that takes time is loaded."""

import gc
import os

from jwcal.cli.runner import leave, open_streams, run


def root():
    """Load the root command."""
    from jwcal.cli.commands import root as command

    return command


def main(argv=None):
    """Entry point of the ``jwcal`` program."""
    open_streams()
    # Idle threads of BLAS spin and cost more than they give, and a short process never has much to collect.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(50_000, 20, 20)
    leave(run(root, argv, alone=True), at_once=argv is None)

"""Run ``python -m jwcal``."""

from jwcal.cli.main import main

main()

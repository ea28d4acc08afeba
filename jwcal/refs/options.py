"""Options that the commands of the reference system share."""

import click

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def cache_options(function):
    """Add the options that say which cache and context to use."""
    for option in reversed(
        (
            click.option("--cache", metavar="DIR", help="Cache of mappings and references [CRDS_PATH]."),
            click.option(
                "--context",
                metavar="NAME",
                help="Context (.pmap); default: CRDS_CONTEXT, then the operational one of the cache.",
            ),
        )
    ):
        function = option(function)
    return function

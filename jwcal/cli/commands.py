"""Root of the command line: finds a command in the index and loads only that."""

import importlib

import click

from jwcal import __version__
from jwcal.cli import index
from jwcal.core.suggest import near


class LazyGroup(click.Group):
    """Group whose commands are imported when they are called.

    Parameters
    ----------
    table : dict
        Command to (module, object, group, summary).
    """

    def __init__(self, *args, table=None, plug_ins=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.table = table or {}
        self.plug_ins = plug_ins

    def list_commands(self, ctx):
        """Names in the order of the index."""
        return list(self.table)

    def get_command(self, ctx, cmd_name):
        """Import one command."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return self._plug_in(cmd_name)
        module, attribute = entry[:2]
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, click.Command):
            return found
        from jwcal.cli.steps import step_command

        return step_command(found)

    def _plug_in(self, name):
        if not self.plug_ins:
            return None
        from jwcal.core.registry import find_step, plugins

        if ".py:" in name or any(e.name.replace("_", "-") == name for e in plugins()):
            from jwcal.cli.steps import step_command

            step, code = find_step(name)
            return step_command(step, name=name, code=code)
        return None

    def resolve_command(self, ctx, args):
        """Find the command of the arguments; for a name that is none say what could be meant."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            meant = near(args[0], self.table)
            ctx.fail(f"no command {args[0]!r}" + (f"; did you mean {' or '.join(meant)}?" if meant else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx, formatter):
        """Print the summaries of the index; nothing is imported."""
        groups: dict = {}
        for name, entry in self.table.items():
            groups.setdefault(entry[2], []).append((name, entry[3]))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(
    cls=LazyGroup,
    table={**index.COMMANDS, **index.STEPS},
    plug_ins=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="jwcal", message="%(prog)s %(version)s")
def root():
    """Calibrate James Webb Space Telescope data with small commands.

    Every command reads and writes FITS, from files or through pipes; `jwcal COMMAND --help`
    tells more, and `man jwcal-pipes` explains how commands are chained.
    """

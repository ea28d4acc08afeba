"""Run a command: signals, errors and exit codes; the only place that ends the process."""

import atexit
import contextlib
import os
import signal
import sys
import threading

from jwcal.core.errors import BROKEN_PIPE, INTERRUPTED, TERMINATED, JwcalError


class Terminated(BaseException):
    """Raised by SIGTERM, so that unfinished output is removed on the way out."""


def _on_sigterm(_number, _frame):
    raise Terminated


class _Style:
    """How errors are written: as plain lines or, for --log-json, as JSON objects."""

    json = False


def say(text, program="jwcal", code=None):
    """Write one line to standard error, whatever the text holds.

    Parameters
    ----------
    text : object
        What to say.
    program : str
        Name in front.
    code : int or None
        Exit code that goes with it.
    """
    text = " ".join(str(text).split())
    line = f"{program}: {text}\n"
    if _Style.json:
        import json
        import time

        record = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": "ERROR", "name": program,
                  "message": text}  # fmt: skip
        line = json.dumps({**record, "exit_code": code} if code else record) + "\n"
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line)
        sys.stderr.flush()


def run(command, argv=None, program="jwcal"):
    """Run a click command and return its exit code.

    Parameters
    ----------
    command : click.Command
        The root command.
    argv : list of str or None
        Arguments; None takes those of the process.
    program : str
        Name shown in messages.

    Returns
    -------
    int
        Exit code; see ``jwcal.core.errors.EXIT_CODES``.
    """
    import click

    argv = sys.argv[1:] if argv is None else argv
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, _on_sigterm)
    name = program
    for word in argv:
        if not word.startswith("-"):
            name = f"{program} {word}"
            break
    _Style.json = "--log-json" in argv
    verbose = sum(a.count("v") for a in argv if a.startswith("-v") and set(a[1:]) == {"v"})
    try:
        # Not command.main(): click turns a closed pipe into exit code 1 before it can be seen here.
        with command.make_context(program, list(argv)) as context:
            result = command.invoke(context)
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
    except click.exceptions.Exit as exc:
        code = exc.exit_code
    except click.Abort:
        code = INTERRUPTED
    except click.UsageError as exc:
        path = exc.ctx.command_path if exc.ctx else name
        hint = f" (see {path} --help)" if exc.ctx else ""
        say(f"{exc.format_message()}{hint}", path, 2)
        code = 2
    except click.ClickException as exc:
        say(exc.format_message(), name, 2)
        code = 2
    except JwcalError as exc:
        if verbose > 1:
            _traceback()
        say(exc, name, exc.exit_code)
        code = exc.exit_code
    except BrokenPipeError:
        code = BROKEN_PIPE
    except KeyboardInterrupt:
        say("interrupted", name, INTERRUPTED)
        code = INTERRUPTED
    except Terminated:
        say("terminated", name, TERMINATED)
        code = TERMINATED
    except MemoryError:
        say("out of memory", name, 1)
        code = 1
    except RecursionError as exc:
        say(f"internal error: {exc}", name, 1)
        code = 1
    except Exception as exc:  # noqa: BLE001 - the last resort of the process
        if verbose > 1:
            _traceback()
        say(f"internal error: {type(exc).__name__}: {exc} (run with -vv for the traceback)", name, 1)
        code = 1
    finally:
        _clean_up()
    return code


def _traceback():
    import traceback

    traceback.print_exc()


def _clean_up():
    fits = sys.modules.get("jwcal.core.fits")
    if fits is not None:
        fits.cleanup_all()


def leave(code, *, at_once=False):
    """End the process with a code; a reader that went away must not add a message.

    Parameters
    ----------
    code : int
        Exit code.
    at_once : bool
        Leave the memory to the system: taking everything down piece by piece costs a sixth of a short
        command.  Not done when code from outside was loaded, which may rely on it.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        code = code or BROKEN_PIPE
    registry = sys.modules.get("jwcal.core.registry")
    if at_once and not (registry and registry.outside) and threading.active_count() == 1:
        atexit._run_exitfuncs()  # noqa: SLF001 - what sys.exit would do
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)

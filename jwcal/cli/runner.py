"""Run a command: signals, errors and exit codes; the only place that ends the process."""

import atexit
import contextlib
import errno
import os
import signal
import sys
import threading

from jwcal.core.errors import BROKEN_PIPE, INTERRUPTED, TERMINATED, JwcalError, OutputError


class Terminated(BaseException):
    """Raised by SIGTERM and SIGHUP, so that unfinished output is removed on the way out."""


class _Signals:
    """What the handler of signals knows."""

    heard = False
    finished = False


def listen():
    """From now on SIGINT, SIGTERM and SIGHUP end this process with nothing half-made left behind.

    The first one is raised as an exception in the main thread.  Another one does not wait for that,
    and none matters once the work is done.  Signals that the caller had ignored (nohup) stay ignored.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _on_signal)
    sys.unraisablehook = _unraisable


def _on_signal(number, _frame):
    if _Signals.finished:
        return
    interrupt = number == signal.SIGINT
    if _Signals.heard:
        _end_now(INTERRUPTED if interrupt else TERMINATED)
    _Signals.heard = True
    raise KeyboardInterrupt if interrupt else Terminated


def _unraisable(failure):
    """End the process where Python would print the exception of a signal and go on."""
    if issubclass(failure.exc_type, (KeyboardInterrupt, Terminated)):
        interrupt = issubclass(failure.exc_type, KeyboardInterrupt)
        say("interrupted" if interrupt else "terminated")
        _end_now(INTERRUPTED if interrupt else TERMINATED)
    sys.__unraisablehook__(failure)


def _end_now(code):
    processes = sys.modules.get("multiprocessing")
    if processes is not None:
        for child in processes.active_children():
            child.terminate()
    _clean_up()
    os._exit(code)


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


def run(root, argv=None, program="jwcal", *, alone=False):
    """Run a click command and return its exit code.

    Parameters
    ----------
    root : callable
        Returns the root command; whatever it has to import is imported where signals are heard.
    argv : list of str or None
        Arguments; None takes those of the process.
    program : str
        Name shown in messages.
    alone : bool
        The process is there for this command and ends with it: it listens to signals.

    Returns
    -------
    int
        Exit code; see ``jwcal.core.errors.EXIT_CODES``.
    """
    argv = sys.argv[1:] if argv is None else argv
    name = next((f"{program} {word}" for word in argv if not word.startswith("-")), program)
    try:
        if alone:
            listen()
        code = _run(root, argv, program, name)
    except KeyboardInterrupt:
        say("interrupted", name, INTERRUPTED)
        code = INTERRUPTED
    except Terminated:
        say("terminated", name, TERMINATED)
        code = TERMINATED
    finally:
        _Signals.finished = alone
        _clean_up()
    return code


def _run(root, argv, program, name):
    import click

    _Style.json = "--log-json" in argv
    verbose = sum(a.count("v") for a in argv if a.startswith("-v") and set(a[1:]) == {"v"})
    try:
        command = root()
        # Not command.main(): click turns a closed pipe into exit code 1 before it can be seen here.
        with command.make_context(program, list(argv)) as context:
            result = command.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.Abort:
        return INTERRUPTED
    except click.UsageError as exc:
        path = exc.ctx.command_path if exc.ctx else name
        hint = f" (see {path} --help)" if exc.ctx else ""
        say(f"{exc.format_message()}{hint}", path, 2)
        return 2
    except click.ClickException as exc:
        say(exc.format_message(), name, 2)
        return 2
    except JwcalError as exc:
        if verbose > 1:
            _traceback()
        say(exc, name, exc.exit_code)
        return exc.exit_code
    except BrokenPipeError:
        return BROKEN_PIPE
    except MemoryError:
        say("out of memory", name, 1)
        return 1
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF):
            return _unexpected(exc, name, verbose)
        say(f"{exc.filename or 'output'}: cannot write: {exc.strerror}", name, OutputError.exit_code)
        return OutputError.exit_code
    except RecursionError as exc:
        say(f"internal error: {exc}", name, 1)
        return 1
    except Exception as exc:  # noqa: BLE001 - the last resort of the process
        return _unexpected(exc, name, verbose)
    return result if isinstance(result, int) else 0


def _unexpected(exc, name, verbose):
    if verbose > 1:
        _traceback()
    say(f"internal error: {type(exc).__name__}: {exc} (run with -vv for the traceback)", name, 1)
    return 1


def _traceback():
    import traceback

    traceback.print_exc()


def _clean_up():
    fits = sys.modules.get("jwcal.core.fits")
    if fits is not None:
        fits.cleanup_all()


def open_streams():
    """Open what the caller has closed of the standard streams.

    Otherwise the next file to be opened takes the place of one, and what is said goes into it.  In place of
    standard output and input is a file from which nothing can be read, and to which nothing can be written.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            made = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if made != fd:
                os.dup2(made, fd)
                os.close(made)
            setattr(sys, name, open(fd, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115


def leave(code, *, at_once=False):
    """End the process with a code; a reader that went away must not add a message.

    Parameters
    ----------
    code : int
        Exit code.
    at_once : bool
        Leave the memory to the system: taking everything down piece by piece costs a sixth of a short
        command.  Not done when code from outside was loaded, which may rely on it; after a signal
        nobody waits for what threads still do.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as exc:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        code = code or (BROKEN_PIPE if isinstance(exc, BrokenPipeError) else OutputError.exit_code)
    registry = sys.modules.get("jwcal.core.registry")
    alone = not (registry and registry.outside) and threading.active_count() == 1
    if at_once and (alone or code in (INTERRUPTED, TERMINATED)):
        atexit._run_exitfuncs()  # noqa: SLF001 - what sys.exit would do
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)

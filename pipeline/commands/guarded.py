"""Guard of every command: errors and SIGTERM become a sentence and an exit code, logging goes to the terminal."""

import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import NoReturn

import typer

from infra.messages import TerminalHandler, send_to
from reid_core.errors import UserError

_EXIT_USER_ERROR = 2
_EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
SECONDS_TO_CLOSE = 15.0
_BYTES = 64
# What the place of a file says, and not the program.
_NO_PLACE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE),
}


@contextmanager
def guarded(*, debug: bool) -> Iterator[None]:
    """Turn errors into a sentence and an exit code, and set up what is logged to the terminal."""
    _log_to_terminal(debug=debug)
    end_on_sigterm()
    try:
        yield
    except UserError as error:
        _fail(str(error), _EXIT_USER_ERROR, error, debug=debug)
    except KeyboardInterrupt as error:
        message = "interrupted; the same command continues where this one stopped"
        _fail(message, _EXIT_INTERRUPTED, error, debug=False)
    except SystemExit as ended:
        if ended.code == EXIT_TERMINATED:
            typer.echo("genvar: terminated; the same command continues where this one stopped", err=True)
            end_now()
        raise
    except Exception as error:
        if (sentence := _sentence(error)) is None:
            raise
        _fail(sentence, _EXIT_USER_ERROR, error, debug=debug)


def _sentence(error: Exception) -> str | None:
    """Return what the user can do about an error of the disk, of a place or of the store of runs; None for a bug."""
    from infra.tracking.address import cause_of, is_of_store

    name = getattr(error, "filename", None)
    if _is_full_disk(error):
        where = f" while writing {name}" if name else ""
        return (
            f"no space is left on the disk{where}; free some (genvar gc --dry-run shows what can go), and give the "
            "same command again to continue"
        )
    if isinstance(error, OSError) and error.errno in _NO_PLACE and name is not None:
        return f"{name} cannot be used ({error.strerror}); see to its permissions, or name another place"
    if is_of_store(error):
        return (
            f"the store of the runs failed ({cause_of(error)}); what is done is kept: see to the database or server "
            "(--debug shows more), and give the same command again to continue"
        )
    return None


def _is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, says that a disk is full; other processes say it in words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in ("No space left on device", "database or disk is full")):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fail(message: str, code: int, error: BaseException, *, debug: bool) -> NoReturn:
    if debug:
        import traceback

        traceback.print_exception(error)
    typer.echo(f"genvar: {message}", err=True)
    raise typer.Exit(code)


def _log_to_terminal(*, debug: bool) -> None:
    handler = TerminalHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    send_to(handler, logging.DEBUG if debug else logging.INFO)


def end_on_sigterm() -> None:
    """Let SIGTERM raise ``SystemExit(143)`` in the main thread, and end the process if that has not done so in time.

    The exception comes up wherever the main thread happens to be: in a callback that swallows it, or between taking a
    lock and the block that gives it back, for which other threads then wait for ever (seen with logging, while Ray
    started). A hard end loses nothing: the guard of Ray's processes acts on it as on any other end, and the same
    command continues.
    """
    # The interpreter writes the number of every signal there, also while a library has put its own handler in place.
    signal.set_wakeup_fd(_watched_pipe(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _terminated)


def end_now() -> NoReturn:
    """End the process, once everything is closed: the end of the interpreter can wait on a library's threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_TERMINATED)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(EXIT_TERMINATED)


@cache
def _watched_pipe() -> int:
    """Start the thread that ends this process some time after SIGTERM; returns where it hears of signals."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # What a forked child is told is not meant for this process.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    threading.Thread(target=_end_later, args=(reader,), name="termination", daemon=True).start()
    return writer


def _end_later(reader: int) -> None:
    while signal.SIGTERM not in os.read(reader, _BYTES):
        pass
    time.sleep(SECONDS_TO_CLOSE)
    os._exit(EXIT_TERMINATED)

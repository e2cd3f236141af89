"""What every command runs under: errors become a sentence and an exit code, logging goes to the terminal."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from infra.messages import TerminalHandler, send_to
from pipeline.commands.termination import EXIT_TERMINATED, end_now, end_on_sigterm
from reid_core.errors import UserError

_EXIT_USER_ERROR = 2
_EXIT_INTERRUPTED = 130


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
        if not _is_full_disk(error):
            raise
        name = getattr(error, "filename", None)
        where = f" while writing {name}" if name else ""
        message = f"no space is left on the disk{where}; free some, and give the same command again to continue"
        _fail(message, _EXIT_USER_ERROR, error, debug=debug)


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

import errno
import signal

import pytest
import requests
import typer
from mlflow.exceptions import MlflowException

from pipeline.commands.guarded import guarded
from reid_core.errors import UserError


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UserError("no data; give some"), 2, "genvar: no data; give some"),
        (KeyboardInterrupt(), 130, "genvar: interrupted; the same command continues where this one stopped"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            2,
            "no space is left on the disk while writing /x/y",
        ),
        (RuntimeError("task failed: OSError: [Errno 28] No space left on device"), 2, "no space is left on the disk;"),
        (RuntimeError("sqlite3.OperationalError: database or disk is full"), 2, "no space is left on the disk;"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "/x/y cannot be used (Permission denied); see"),
        (OSError(errno.EROFS, "Read-only file system", "/x/y"), 2, "/x/y cannot be used (Read-only file system); see"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/x/y"), 2, "/x/y cannot be used (File name too long)"),
        (MlflowException("database is locked"), 2, "the store of the runs failed (database is locked); what is done"),
        (requests.ConnectionError("reset by peer"), 2, "the store of the runs failed (reset by peer); what is done"),
    ],
)
def test_errors_become_sentences(
    error: BaseException, code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        _raise(error)
    assert ended.value.exit_code == code
    assert sentence in capsys.readouterr().err


def _raise(error: BaseException) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with guarded(debug=False):
            raise error
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_bug_keeps_its_traceback() -> None:
    for bug in (ZeroDivisionError, FileNotFoundError, PermissionError):  # the last one without a name
        with pytest.raises(bug):
            _raise(bug())

import errno
import signal

import pytest
import typer

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
    with pytest.raises(ZeroDivisionError):
        _raise(ZeroDivisionError())

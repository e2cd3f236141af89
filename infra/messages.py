"""Messages that the library logs, carried to the terminal of the driver."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.progress import watching

LOGGERS = ("reid_core", "stages", "infra", "pipeline")
_SECONDS_BETWEEN_LOOKS = 0.5

_log = logging.getLogger(__name__)


class TerminalHandler(logging.Handler):
    """Writes to standard error as it is at that moment: a progress bar puts itself in between while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        sys.stderr.write(self.format(record) + "\n")


def send_to(handler: logging.Handler, level: int = logging.INFO) -> None:
    """Send what the packages of genvar log to one handler, and nowhere else."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)


def send_to_file(path: Path) -> None:
    """Send what this process logs to a file that the driver follows."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(message)s"))
    send_to(handler)


@contextmanager
def follow_messages(path: Path) -> Iterator[None]:
    """Log what another process writes to ``path`` while the block runs."""
    path.unlink(missing_ok=True)
    offset = 0

    def look() -> None:
        nonlocal offset
        if not path.is_file():
            return
        with path.open("rb") as file:
            file.seek(offset)
            # A line that is being written is left for the next look.
            whole = file.read().rpartition(b"\n")[0]
        offset += len(whole) + 1 if whole else 0
        for line in whole.decode(errors="replace").splitlines():
            _log.info("%s", line)

    with watching(look, seconds=_SECONDS_BETWEEN_LOOKS):
        yield

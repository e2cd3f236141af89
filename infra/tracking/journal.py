"""Measurements that could not be sent, kept on disk until they can."""

import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measurement:
    """One number of one run.

    Attributes:
        key: Name of the metric.
        value: The number.
        timestamp_ms: When it was measured.
        step: Place on the curve.
    """

    key: str
    value: float
    timestamp_ms: int
    step: int


class Journal:
    """Append-only files of measurements, one a process, so that writers never meet.

    Args:
        folder: Seen by every process that logs to the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, measurements: Sequence[Measurement]) -> None:
        """Keep measurements until ``replay``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        with path.open("a") as file:
            file.writelines(json.dumps(asdict(measurement)) + "\n" for measurement in measurements)

    def replay(self, send: Callable[[Sequence[Measurement]], None]) -> int:
        """Send everything that was kept, and forget what was sent.

        Args:
            send: Raises when it cannot; the file at hand then stays.

        Returns:
            Number of measurements sent.
        """
        count = 0
        for path in sorted(self.folder.glob("*.jsonl")):
            # A line cut short by a kill is the last one of its file, and is lost.
            lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            measurements = [Measurement(**json.loads(line)) for line in lines]
            send(measurements)
            path.unlink()
            count += len(measurements)
        return count

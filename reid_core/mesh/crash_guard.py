"""Skip inputs that end their process: native code that crashes, or memory that runs out.

Such an end cannot be caught, so a note on disk says what is being tried, and the next attempt reads it. The first
attempt takes all inputs together. If its process dies, the next one first tries each input alone, and an input during
which the process died for the second time is skipped from then on.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")

MOST_CRASHES = 2  # of the process, before an input is skipped


@dataclass
class Note:
    """Knowledge of earlier attempts.

    Attributes:
        path: The file.
        key: What the work depends on; a note of other work is forgotten.
        run: The command that works on it. A process that died together with its command blames nobody: the whole
            command was probably killed.
        crashes: How often the process died while it tried an input.
    """

    path: Path
    key: str
    run: str
    crashes: dict[str, int] = field(default_factory=dict)

    def trying(self, names: Sequence[str]) -> None:
        """Write down what is tried next."""
        content = {"key": self.key, "run": self.run, "trying": list(names), "crashes": self.crashes}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        partial.write_text(json.dumps(content))
        partial.replace(self.path)

    def forget(self) -> None:
        """Remove the file: the work is done."""
        self.path.unlink(missing_ok=True)


def call_guarded(
    function: Callable[[Sequence[str]], R], names: Sequence[str], note_path: Path, *, key: str, run: str
) -> tuple[R, tuple[str, ...], Note]:
    """Call a function with those of its inputs that it survives.

    Args:
        function: Of several names; its result for one does not depend on the others.
        names: Inputs, all different.
        note_path: File for the note of this work and no other.
        key: What the work depends on.
        run: Name of the running command; see ``Note``.

    Returns:
        Result of the function, the skipped names, and the note, to be forgotten once the result is safe.
    """
    note, crashed = _read(note_path, key, run)
    if crashed:
        for name in names:
            if note.crashes.get(name, 0) < MOST_CRASHES:
                note.trying([name])
                function([name])
                note.crashes.pop(name, None)  # it is not the one
    skipped = tuple(name for name in names if note.crashes.get(name, 0) >= MOST_CRASHES)
    rest = [name for name in names if name not in skipped]
    note.trying(rest)
    return function(rest), skipped, note


def _read(path: Path, key: str, run: str) -> tuple[Note, bool]:
    """Return the note of an earlier attempt, and whether there was one that did not end."""
    fresh = Note(path, key, run)
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return fresh, False
    if content.get("key") != key:
        return fresh, False
    crashes = {str(name): int(count) for name, count in content["crashes"].items()}
    trying = content["trying"]
    if len(trying) == 1 or content["run"] == run:
        for name in trying:
            crashes[name] = crashes.get(name, 0) + 1
    return Note(path, key, run, crashes), True

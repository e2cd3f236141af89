"""Passing over an input that ends its process: native code that crashes, or memory that runs out.

Such an end cannot be caught, so what is being tried stands in a note on disk, and the next attempt reads it. The first
attempt takes all inputs together. If its process dies, the next one first tries each input alone, and an input during
which the process died for the second time is left out from then on.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")

DEATHS = 2  # of the process, before an input is passed over


@dataclass
class Note:
    """What is known of earlier attempts.

    Attributes:
        path: The file.
        key: What the work depends on; a note of other work is forgotten.
        run: The command that works on it. A process that died together with its command blames nobody: the whole
            command was probably killed.
        deaths: Deaths that each input is suspected of.
    """

    path: Path
    key: str
    run: str
    deaths: dict[str, int] = field(default_factory=dict)

    def trying(self, names: Sequence[str]) -> None:
        """Write down what is tried next."""
        content = {"key": self.key, "run": self.run, "trying": list(names), "deaths": self.deaths}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        partial.write_text(json.dumps(content))
        partial.replace(self.path)

    def forget(self) -> None:
        """Remove the file: the work is done."""
        self.path.unlink(missing_ok=True)


def pass_over_killers(
    function: Callable[[Sequence[str]], R], names: Sequence[str], note_path: Path, *, key: str, run: str
) -> tuple[R, tuple[str, ...], Note]:
    """Call a function with those of its inputs that let it live.

    Args:
        function: Of several names; what it returns for one does not depend on the others.
        names: Inputs, all different.
        note_path: Where this work, and no other, leaves its note.
        key: What the work depends on.
        run: Name of the running command; see ``Note``.

    Returns:
        What ``function`` returned, the names that were left out, and the note, to be forgotten once the result is safe.
    """
    note, died = _read(note_path, key, run)
    if died:
        for name in names:
            if note.deaths.get(name, 0) < DEATHS:
                note.trying([name])
                function([name])
                note.deaths.pop(name, None)  # it is not the one
    left_out = tuple(name for name in names if note.deaths.get(name, 0) >= DEATHS)
    rest = [name for name in names if name not in left_out]
    note.trying(rest)
    return function(rest), left_out, note


def _read(path: Path, key: str, run: str) -> tuple[Note, bool]:
    """Return what an earlier attempt left, and whether there was one that did not end."""
    fresh = Note(path, key, run)
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return fresh, False
    if content.get("key") != key:
        return fresh, False
    deaths = {str(name): int(count) for name, count in content["deaths"].items()}
    trying = content["trying"]
    if len(trying) == 1 or content["run"] == run:
        for name in trying:
            deaths[name] = deaths.get(name, 0) + 1
    return Note(path, key, run, deaths), True

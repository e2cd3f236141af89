"""Paths that somebody wrote: those of lists must stay below their root, those of the user are made absolute."""

import re
from collections.abc import Iterable
from pathlib import Path

from reid_core.errors import UserError

# Absolute, of a home, or with a part that goes up; backslashes count as separators, NUL ends a path for the system.
_LEAVES = re.compile(r"^[/\\~]|^[A-Za-z]:[/\\]|(?:^|[/\\])\.\.(?:[/\\]|$)|\x00")


def leaves_root(path: str) -> bool:
    """Tell whether a path that should be relative to a root may name something outside of it.

    Only the text is judged: links inside a data set are its owner's, and are followed.
    """
    return not path or _LEAVES.search(path) is not None


def first_outside(paths: Iterable[str]) -> str | None:
    """Return the first of the paths that leaves its root, or None."""
    return next((path for path in paths if leaves_root(path)), None)


def absolute(path: Path) -> Path:
    """Return a path of the user's without ``~`` and independent of the working folder; links stay."""
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise UserError(f"{path} names the home of a user that this machine does not know; write it out") from error

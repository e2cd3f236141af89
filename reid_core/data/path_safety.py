"""Paths that somebody else wrote and that must stay below their root: a list cannot name any file of the machine."""

import re
from collections.abc import Iterable

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

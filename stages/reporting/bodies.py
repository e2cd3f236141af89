"""How many images have a body, and why the others have none."""

from collections.abc import Mapping
from typing import Any

from stages.reporting.facts import StageFacts
from stages.reporting.results import Table

MEANINGS = {
    "ok": "a body was placed",
    "no_person": "nobody was recognised",
    "low_confidence": "a body was placed, but not trusted",
    "unreadable": "the file could not be decoded",
    "failed": "the worker died over it, twice",
    "no_mesh": "no body was looked for",
}


def body_table(mesh: StageFacts) -> Table | None:
    """Return images by status; None when the mesh stage counted none."""
    counts = status_counts(mesh.summary)
    total = sum(counts.values())
    if not total:
        return None
    rows = tuple(
        (status.replace("_", " "), f"{number:,}", f"{100 * number / total:.1f} %", MEANINGS[status])
        for status, number in counts.items()
    )
    return Table(("body", "images", "share", "meaning"), rows, (1, 3))


def status_counts(summary: Mapping[str, Any]) -> dict[str, int]:
    """Find the counts in a summary: at its top, or one level down."""
    for part in (summary, *(value for value in summary.values() if isinstance(value, Mapping))):
        found = {name: part[name] for name in MEANINGS if isinstance(part.get(name), int) and part[name] is not True}
        if found:
            return {name: number for name, number in found.items() if number}
    return {}

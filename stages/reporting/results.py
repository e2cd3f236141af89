"""The results as people read them: one sentence, and tables of encoders, clusters, cameras and bodies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.evaluate import ENCODERS, HEADLINE, MEASURED
from stages.reporting.curves import is_number
from stages.reporting.facts import StageFacts
from stages.training.conditions import Conditions

TITLES = {encoder.name: encoder.title for _, encoder in ENCODERS}
SCORES = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "rank20": "rank-20", "mINP": "mINP"}

# Statuses of bodies.
MEANINGS = {
    "ok": "a body was placed",
    "no_person": "nobody was recognised",
    "low_confidence": "a body was placed, but not trusted",
    "unreadable": "the file could not be decoded",
    "failed": "the worker died over it, twice",
    "no_mesh": "no body was looked for",
}


@dataclass(frozen=True)
class Table:
    """A table of words.

    Attributes:
        head: Column names.
        rows: Cells, as many in each row as there are columns.
        numbers: Columns of numbers, first and one after the last; the others are words.
        best: Positions (row, column) of the best value of each score.
        means: Rows that sum up others.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, int]
    best: frozenset[tuple[int, int]] = frozenset()
    means: frozenset[int] = frozenset()


def encoder_table(stages: Mapping[str, StageFacts]) -> Table | None:
    """Return the scores of every evaluated encoder with the conditions they hold under; None without scores."""
    rows = score_rows(stages)
    if not rows:
        return None
    head = ("encoder", *SCORES.values(), *Conditions().words())
    cells = []
    for row in rows:
        encoder = str(row.get("encoder", ""))
        scores = tuple(with_interval(row, score) for score in SCORES)
        cells.append((TITLES.get(encoder, encoder), *scores, *conditions_of(stages, encoder).values()))
    best = set()
    for column, score in enumerate(SCORES, start=1):
        values = [row.get(score) for row in rows]
        numbers = [value for value in values if is_number(value)]
        if len(numbers) > 1:
            best |= {(index, column) for index, value in enumerate(values) if value == max(numbers)}
    return Table(head, tuple(cells), (1, 1 + len(SCORES)), frozenset(best))


def conditions_of(stages: Mapping[str, StageFacts], result: str) -> dict[str, str]:
    """Return what an encoder's scores, or a stage's pseudo labels, hold under: one column each.

    Args:
        stages: Facts of every stage.
        result: As it is listed: untrained, identity, cluster or joint; "joint + re-ranking" is as "joint".
    """
    name = result.split(" ")[0]
    known = [facts.conditions[name] for facts in stages.values() if name in facts.conditions]
    return (known[0] if known else Conditions()).words()


def cluster_table(stages: Mapping[str, StageFacts]) -> Table | None:
    """Return count, outliers and agreement with truth of the pseudo labels; None when nothing was recorded."""
    rows = [row for row in listed(stages["evaluate"].metrics.get("clusters")) if row]
    if not rows:
        return None
    names = {stage.name: stage.pseudo_labels for stage in MEASURED}
    cells = tuple(
        (
            names.get(str(row.get("stage")), str(row.get("stage", ""))),
            number(row.get("num_clusters"), digits=0),
            number(row.get("num_outliers"), digits=0),
            number(row.get("ari"), digits=3),
            number(row.get("nmi"), digits=3),
            conditions_of(stages, str(row.get("stage")))["camera ids used"],
        )
        for row in rows
    )
    return Table(("pseudo labels", "clusters", "outliers", "ARI", "NMI", "camera ids used"), cells, (1, 5))


def camera_table(stages: Mapping[str, StageFacts]) -> Table | None:
    """Return mAP by camera of query and of gallery, after joint training; None where nothing was measured."""
    rows = [row for row in listed(stages["evaluate"].metrics.get("camera_pairs")) if row.get("encoder") == HEADLINE]
    pairs = {
        (row["query_camera"], row["gallery_camera"]): row.get("mAP")
        for row in rows
        if isinstance(row.get("query_camera"), int) and isinstance(row.get("gallery_camera"), int)
    }
    queries = sorted({query for query, _ in pairs})
    gallery = sorted({camera for _, camera in pairs})
    if not queries:
        return None
    head = ("query \\ gallery", *(f"camera {camera + 1}" for camera in gallery))
    cells = tuple((f"camera {one + 1}", *(number(pairs.get((one, other))) for other in gallery)) for one in queries)
    return Table(head, cells, (1, 1 + len(gallery)))


def body_table(mesh: StageFacts) -> Table | None:
    """Return images by status; None when the mesh stage counted none."""
    recorded = mesh.summary.get("status")
    recorded = recorded if isinstance(recorded, Mapping) else {}
    counts = {
        status: int(recorded[status]) for status in MEANINGS if is_number(recorded.get(status)) and recorded[status]
    }
    total = sum(counts.values())
    if not total:
        return None
    rows = tuple(
        (status.replace("_", " "), f"{count:,}", f"{100 * count / total:.1f} %", MEANINGS[status])
        for status, count in counts.items()
    )
    return Table(("body", "images", "share", "meaning"), rows, (1, 3))


def headline(stages: Mapping[str, StageFacts]) -> str:
    """Return the result in one sentence, or why there is none."""
    metrics = stages["evaluate"].metrics
    skipped = metrics.get("skipped")
    if isinstance(skipped, str) and skipped:
        return sentence(skipped)
    scores = {str(row.get("encoder")): row.get("mAP") for row in score_rows(stages)}
    known = {name: float(value) for name, value in scores.items() if is_number(value)}
    if HEADLINE not in known:
        return "The evaluation left no scores."
    others = [(name, title) for name, title in reversed(TITLES.items()) if name in known and name != HEADLINE]
    gains = [f"{signed(known[HEADLINE] - known[name])} against the {title}" for name, title in others]
    start = f"{TITLES[HEADLINE].capitalize()} reaches {known[HEADLINE]:.1f} % mAP"
    return start + (f": {', '.join(gains)}." if gains else ".")


def camera_note(stages: Mapping[str, StageFacts]) -> str:
    """Say by which settings camera ids were used; empty where none is known."""
    conditions = [one for facts in stages.values() for one in facts.conditions.values()]
    used = dict.fromkeys(setting for one in conditions for setting in one.camera_ids or ())
    return f"Camera ids were used by {', '.join(used)}." if used else ""


def query_note(stages: Mapping[str, StageFacts]) -> str:
    """Say how many queries the scores are a mean over."""
    rows = score_rows(stages)
    counted = next((row for row in rows if is_number(row.get("num_queries"))), None)
    if counted is None:
        return ""
    skipped = counted.get("skipped_queries")
    left_out = f"; {skipped} more had no match in another camera and were left out" if skipped else ""
    return f"Mean over {counted['num_queries']} queries{left_out}."


def score_rows(stages: Mapping[str, StageFacts]) -> list[Mapping[str, Any]]:
    """Return the rows of ``metrics.json``."""
    return listed(stages["evaluate"].metrics.get("rows"))


def with_interval(row: Mapping[str, Any], score: str) -> str:
    """Write a score, with its confidence interval on a second line where there is one."""
    low, high = row.get(f"{score}_low"), row.get(f"{score}_high")
    interval = f"\n{number(low)}–{number(high)}" if is_number(low) and is_number(high) else ""
    return number(row.get(score)) + interval


def has_intervals(stages: Mapping[str, StageFacts]) -> bool:
    """Tell whether any score has a confidence interval."""
    return any(name.endswith("_low") for row in score_rows(stages) for name in row)


def best_on_test(stages: Mapping[str, StageFacts]) -> str:
    """Say what choosing the epoch on the test set would have shown, as some papers do; it chose nothing here."""
    looks = [row for row in stages[HEADLINE].monitor if is_number(row.get("mAP")) and is_number(row.get("epoch"))]
    if not looks:
        return ""
    best = max(looks, key=lambda row: float(row["mAP"]))
    return f"best_on_test: {best['mAP']:.1f} % mAP after epoch {int(best['epoch']) + 1} of {TITLES[HEADLINE]}."


def listed(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a list that came from a file."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, Sequence) else []


def number(value: object, *, digits: int = 1) -> str:
    """Write a number for a table; a dash when there is none."""
    return f"{value:,.{digits}f}" if is_number(value) else "–"


def signed(value: float) -> str:
    """Write a difference with its sign."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def sentence(text: str) -> str:
    """End a text with one full stop."""
    return text.rstrip(". ") + "."

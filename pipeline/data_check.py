"""What ``genvar data check`` finds: a data set in numbers beside the published ones, or what is missing of it."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from reid_core.data.datasets.base import PUBLISHED, Counts, SplitCount, by_split, count, verify_counts
from reid_core.data.datasets.find import Found, candidates, canonical_name, locate_dataset
from reid_core.data.verify import refuse_many_unreadable
from reid_core.errors import UserError
from stages.data import find_problems

_LISTED = 20  # unreadable files that are named


def check_data_set(
    name: str, data_root: Path, *, train_split: str, decode: bool, num_cpus: int | None, console: Console
) -> None:
    """Print what was found of a data set; a UserError when it is not there, not whole or not readable.

    Args:
        name: Of the data set, in any spelling.
        data_root: Folder that holds it.
        train_split: As the setting ``data.train_split``.
        decode: Whether every image is decoded to its last byte.
        num_cpus: Processes that decode; None for all.
        console: For the tables, on standard output.
    """
    name = canonical_name(name)
    if name == "synthetic":
        raise UserError("the data set synthetic is rendered when it is needed; there is nothing to check")
    try:
        found = locate_dataset(name, data_root, train_split=train_split)
    except UserError:
        if name != "folder" and data_root.is_dir():
            console.print(_looked_for(name, data_root))
        raise
    console.print(f"{found.name}: {found.version}, {found.layout}, in {found.root}", markup=False, highlight=False)
    for note in found.notes:
        console.print(note, markup=False, highlight=False)
    console.print(_numbers(found, PUBLISHED.get((name, train_split))))
    verify_counts(name, train_split, found.records, found.root)
    if decode:
        _decode(found, num_cpus, console)


def _numbers(found: Found, published: Counts | None) -> Table:
    table = Table()
    table.add_column("split")
    for heading in ("images", "persons", "distractors", "cameras"):
        table.add_column(heading, justify="right")
    for heading in ("expected", "verdict"):
        table.add_column(heading)
    for row in by_split(found.records):
        expected, is_right = _expected(row, published)
        verdict = "not verified" if expected == "" else "right" if is_right else "WRONG"
        numbers = (f"{number:,}" if number else "–" for number in row[1:])
        table.add_row(row.split, *numbers, expected or "–", verdict)
    total = count(found.records)
    table.add_section()
    images = f"{len(found.records):,}"
    cameras = f"{published.cameras} cameras" if published else "–"
    verdict = "not verified" if published is None else "right" if total.cameras == published.cameras else "WRONG"
    table.add_row("all", images, "", "", str(total.cameras), cameras, verdict)
    return table


def _expected(row: SplitCount, published: Counts | None) -> tuple[str, bool]:
    """Return what is published of one split, in words, and whether the split agrees."""
    if published is None:
        return "", False
    images = {"train": published.train, "query": published.query, "gallery": published.gallery}[row.split]
    people = {"train": published.train_people, "query": published.query_people}.get(row.split)
    words = f"{images:,} images" + (f", {people:,} persons" if people is not None else "")
    return words, row.images == images and people in (None, row.people)


def _looked_for(name: str, data_root: Path) -> Table:
    table = Table(title=f"Looked for {name}", title_justify="left")
    for heading in ("folder", "layout", "there", "missing"):
        table.add_column(heading, overflow="fold")
    for candidate in candidates(name, data_root):
        there = ", ".join(candidate.present) or "–"
        table.add_row(str(candidate.folder), candidate.layout.name, there, ", ".join(candidate.missing) or "–")
    return table


def _decode(found: Found, num_cpus: int | None, console: Console) -> None:
    from infra.compute.local import LocalCompute

    compute = LocalCompute(num_cpus=num_cpus)
    try:
        problems = find_problems(found, compute)
    finally:
        compute.close()
    named = [f"{record.path}: {why}" for record, why in zip(found.records, problems, strict=True) if why]
    for line in named[:_LISTED]:
        console.print(f"cannot be used: {line}", markup=False, highlight=False)
    refuse_many_unreadable(named, len(found.records), found.root)
    console.print(f"{len(found.records) - len(named):,} of {len(found.records):,} images decode", highlight=False)

"""The answer of ``genvar data check``: a data set in numbers beside the published ones, or what is missing of it."""

from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reid_core.data.datasets.base import (
    Counts,
    Dataset,
    DatasetSpec,
    Naming,
    SplitCount,
    count,
    count_splits,
    verify_counts,
    why_not_ranked,
)
from reid_core.data.datasets.find import SYNTHETIC, candidates, canonical_name, find_dataset, spec_of
from reid_core.data.images import refuse_many_unreadable
from reid_core.errors import UserError, printable
from stages.data import find_problems

_LISTED = 20  # unreadable files that are named


def check_data_set(
    name: str,
    data_root: Path,
    *,
    train_split: str,
    decode: bool,
    num_cpus: int | None,
    console: Console,
    naming: Naming = Naming(),  # noqa: B008 - frozen
) -> None:
    """Print what lies there of a data set; a UserError when it is not there, not whole or not readable.

    Args:
        name: Of the data set, in any spelling.
        data_root: Folder that holds it.
        train_split: As the setting ``data.train_split``.
        decode: Whether every image is decoded to its last byte.
        num_cpus: Processes that decode; None for all.
        console: For the tables, on standard output.
        naming: How own photographs say person and camera.
    """
    name = canonical_name(name)
    if name == SYNTHETIC:
        raise UserError(f"the data set {name} is rendered when it is needed; there is nothing to check")
    spec = spec_of(name)
    try:
        dataset = find_dataset(name, data_root, train_split=train_split, verify_size=False, naming=naming)
    except UserError:
        if spec.read is None:
            with suppress(OSError):  # nothing lies there, or it may not be read: the error says so
                console.print(_list_candidates(spec, data_root))
        raise
    terms = f"terms of use: {spec.terms}" if spec.terms else ""
    for line in (f"{name}: {dataset.version}, {dataset.layout}, in {dataset.root}", terms, *dataset.notes):
        if line:
            console.print(line, markup=False, highlight=False)
    console.print(_compare_counts(dataset, spec, train_split))
    for line in _describe_lacks(dataset):
        console.print(line, markup=False, highlight=False)
    verify_counts(spec, train_split, dataset.records, dataset.root)
    if decode:
        _decode(dataset, num_cpus, console)


def _describe_lacks(dataset: Dataset) -> list[str]:
    """Say which names say nothing, and whether an evaluation is possible."""
    lines = []
    nameless = [record.path for record in dataset.records if record.person_id is None and record.camera_id is None]
    if nameless:
        lines.append(
            f"{len(nameless):,} of {len(dataset.records):,} images say neither person nor camera (first: "
            f"{printable(nameless[0])}); see --name-pattern, --camera-from and --table"
        )
    if (reason := why_not_ranked(dataset.records)) is not None:
        lines.append(f"evaluation will be skipped: {reason}")
    return lines


def _compare_counts(dataset: Dataset, spec: DatasetSpec, train_split: str) -> Table:
    published = spec.published.get(train_split)
    table = Table()
    table.add_column("split")
    for heading in ("images", "persons", "distractors", "cameras"):
        table.add_column(heading, justify="right")
    for heading in ("expected", "verdict"):
        table.add_column(heading)
    wrong = "not verified" if published is None or spec.accepts_other_sizes else "WRONG"
    for row in count_splits(dataset.records, dataset.distractors):
        numbers = (f"{number:,}" if number else "–" for number in row[1:])
        expected, is_right = _compare_split(row, published)
        table.add_row(row.split, *numbers, expected, "right" if is_right else wrong)
    cameras = count(dataset.records).cameras
    expected = f"{published.cameras} cameras" if published else "–"
    is_right = published is not None and cameras == published.cameras
    table.add_section()
    table.add_row("all", f"{len(dataset.records):,}", "", "", str(cameras), expected, "right" if is_right else wrong)
    return table


def _compare_split(row: SplitCount, published: Counts | None) -> tuple[str, bool]:
    """Return what is published of one split, in words, and whether the split agrees."""
    if published is None:
        return "–", False
    images = {"train": published.train, "query": published.query, "gallery": published.gallery}[row.split]
    people = {"train": published.train_people, "query": published.query_people}.get(row.split)
    words = f"{images:,} images" + (f", {people:,} persons" if people is not None else "")
    return words, row.images == images and people in (None, row.people)


def _list_candidates(spec: DatasetSpec, data_root: Path) -> Table:
    table = Table(title=f"Looked for {spec.name}", title_justify="left")
    for heading in ("folder", "layout", "there", "missing"):
        table.add_column(heading, overflow="fold")
    for candidate in candidates(spec, data_root):
        there = ", ".join(candidate.present) or "–"
        table.add_row(str(candidate.folder), candidate.layout.name, there, ", ".join(candidate.missing) or "–")
    return table


def _decode(dataset: Dataset, num_cpus: int | None, console: Console) -> None:
    from infra.compute.local import LocalCompute

    compute = LocalCompute(num_cpus=num_cpus)
    try:
        problems = find_problems(dataset, compute)
    finally:
        compute.close()
    named = [f"{record.path}: {why}" for record, why in zip(dataset.records, problems, strict=True) if why]
    for line in named[:_LISTED]:
        console.print(f"cannot be used: {line}", markup=False, highlight=False)
    refuse_many_unreadable(named, len(dataset.records), dataset.root)
    console.print(f"{len(dataset.records) - len(named):,} of {len(dataset.records):,} images decode", highlight=False)

"""What a stage left in its folder, read without ever failing: a report must come out of any finished pipeline."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.stage import HISTORY, MONITOR, Stage
from stages.training.conditions import Conditions, read_conditions


@dataclass(frozen=True)
class StageFacts:
    """What one stage left behind; what is missing is empty.

    Attributes:
        stage: The stage itself.
        marker: ``stage.json``: version, fingerprint, configuration, times, package versions, commit.
        summary: ``summary.json``: headline numbers and sentences.
        history: ``history.jsonl``: losses, cluster counts and speed, one row an epoch.
        monitor: ``monitor.jsonl``: what was measured against identities while training, only to be looked at.
        metrics: ``metrics.json`` of the evaluation.
        conditions: ``conditions.json``: what the stage's results hold under, by the name they are listed under.
        pictures: ``pictures/*.png``, by name.
        num_files: Files that the stage wrote.
        num_bytes: Their size.
    """

    stage: Stage
    marker: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    monitor: tuple[Mapping[str, Any], ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Conditions] = field(default_factory=dict)
    pictures: tuple[Path, ...] = ()
    num_files: int = 0
    num_bytes: int = 0

    @property
    def config(self) -> Mapping[str, Any]:
        """The stage's resolved configuration."""
        config = self.marker.get("config")
        return config if isinstance(config, dict) else {}


def read_facts(stage: Stage, directory: Path | None) -> StageFacts:
    """Read everything that a stage left for people in its folder; nothing where it has none."""
    if directory is None:
        return StageFacts(stage)
    files = [path for path in directory.rglob("*") if path.is_file()]
    return StageFacts(
        stage=stage,
        marker=read_object(directory / "stage.json"),
        summary=read_object(directory / "summary.json"),
        history=read_rows(directory / HISTORY),
        monitor=read_rows(directory / MONITOR),
        metrics=read_object(directory / "metrics.json"),
        conditions=read_conditions(directory),
        pictures=tuple(sorted((directory / "pictures").glob("*.png"))),
        num_files=len(files),
        num_bytes=sum(path.stat().st_size for path in files),
    )


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty when the file is missing or is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_rows(path: Path) -> tuple[dict[str, Any], ...]:
    """Read the JSON objects of a file, one a line; a line cut off by a kill is left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ()
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return tuple(rows)

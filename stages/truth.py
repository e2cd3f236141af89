"""What the manifest knows of people, for measuring: no training stage imports this module."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reid_core.data.datasets import base
from reid_core.data.datasets.base import Record
from reid_core.data.manifest import Manifest
from reid_core.evaluation.ranking import Side


def image_paths(rows: Manifest) -> list[Path]:
    """Return the absolute files of the rows, in order."""
    return [rows.root / path for path in rows.table["path"].to_pylist()]


def why_not_ranked(manifest: Manifest) -> str | None:
    """Return one sentence on why retrieval cannot be measured, or None when it can."""
    columns = [manifest.table[name].to_pylist() for name in ("split", "path", "person_id", "camera_id")]
    return base.why_not_ranked([Record(*row) for row in zip(*columns, strict=True)])


def train_people(manifest: Manifest) -> np.ndarray | None:
    """Return the person of each training image, (N,) int64, or None when the data set does not know them."""
    column = manifest.split("train").table["person_id"]
    return None if column.null_count or not len(column) else column.to_numpy().astype(np.int64)


def labelled_side(rows: Manifest, features: Tensor) -> Side:
    """Join features (N, D) with the people and cameras of the rows."""
    people = torch.from_numpy(rows.table["person_id"].to_numpy().astype(np.int64))
    cameras = torch.from_numpy(rows.table["camera_id"].to_numpy().astype(np.int64))
    return Side(features, people, cameras)

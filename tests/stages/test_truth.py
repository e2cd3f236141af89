from pathlib import Path

import pyarrow as pa
import torch

from reid_core.data.manifest import SCHEMA, Manifest
from stages.truth import image_paths, labelled_side, train_people, why_not_ranked


def _manifest(*rows: tuple[str, int | None, int | None]) -> Manifest:
    table = pa.Table.from_pylist(
        [
            {
                "image_id": f"{split}-{i}",
                "split": split,
                "path": f"{i}.jpg",
                "width": 1,
                "height": 1,
                "person_id": person,
                "camera_id": camera,
            }
            for i, (split, person, camera) in enumerate(rows)
        ],
        schema=SCHEMA,
    )
    return Manifest(table, Path("/data"), {})


def test_ranking_needs_both_sides_with_people_and_cameras() -> None:
    assert why_not_ranked(_manifest(("query", 1, 0), ("gallery", 1, 1))) is None
    for reason, *rows in (
        ("has no gallery images", ("query", 1, 0)),
        ("do not say person and camera", ("query", 1, 0), ("gallery", None, 1)),
        ("do not say person and camera", ("query", 1, None), ("gallery", 1, 1)),
        (
            "none of the 1 queries has a gallery image of the same person from another camera",
            ("query", 1, 0),
            ("gallery", 1, 0),
        ),
        ("none of the 2 queries", ("query", 1, 0), ("query", -1, 0), ("gallery", 2, 1), ("gallery", -1, 1)),
    ):
        assert reason in (why_not_ranked(_manifest(*rows)) or ""), rows


def test_people_of_the_training_images_or_none() -> None:
    people = train_people(_manifest(("train", 4, None), ("train", 2, None), ("query", None, None)))
    assert people is not None
    assert people.tolist() == [4, 2]
    assert train_people(_manifest(("train", 4, None), ("train", None, None))) is None
    assert train_people(_manifest(("query", 4, 0))) is None


def test_rows_and_features_stay_together() -> None:
    rows = _manifest(("query", 7, 2), ("query", 5, 1))
    side = labelled_side(rows, torch.eye(2))
    assert side.people.tolist() == [7, 5]
    assert side.cameras.tolist() == [2, 1]
    assert image_paths(rows) == [Path("/data/0.jpg"), Path("/data/1.jpg")]

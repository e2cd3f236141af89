from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reid_core.data.manifest import SCHEMA, Manifest, read_manifest, unlabelled, write_manifest
from reid_core.errors import UserError


def _manifest(root: Path, *, camera: int | None = 3) -> Manifest:
    rows = [
        {"image_id": f"{split}-00000{i}", "split": split, "path": f"{split}/{i}.jpg", "width": 4, "height": 8}
        | {"person_id": person, "camera_id": camera}
        for i, (split, person) in enumerate([("train", 7), ("train", None), ("query", 9), ("gallery", 0)])
    ]
    return Manifest(pa.Table.from_pylist(rows, schema=SCHEMA), root, {"dataset": "folder", "image_size": [8, 4]})


def test_survives_the_disk(tmp_path: Path) -> None:
    written = _manifest(tmp_path)
    write_manifest(written, tmp_path / "manifest.parquet", root="/images")
    read = read_manifest(tmp_path / "manifest.parquet")
    assert read.table.equals(written.table)
    assert read.info == written.info
    assert read.root == Path("/images")


def test_a_dot_as_root_follows_the_file(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    write_manifest(_manifest(tmp_path), tmp_path / "first" / "manifest.parquet", root=".")
    (tmp_path / "first").rename(tmp_path / "second")
    assert read_manifest(tmp_path / "second" / "manifest.parquet").root == tmp_path / "second"


def test_splits_keep_their_order(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    assert [len(manifest.split(name)) for name in ("train", "query", "gallery")] == [2, 1, 1]
    assert manifest.split("train").table["image_id"].to_pylist() == ["train-000000", "train-000001"]
    with pytest.raises(AssertionError):
        manifest.split("test")


def test_the_unlabelled_view_has_paths_and_cameras_only(tmp_path: Path) -> None:
    view = unlabelled(_manifest(tmp_path))
    assert len(view) == 2
    assert view.paths == (tmp_path / "train/0.jpg", tmp_path / "train/1.jpg")
    assert view.cameras == (3, 3)
    assert unlabelled(_manifest(tmp_path, camera=None)).cameras is None


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the data stage again"):
        read_manifest(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(UserError, match="run the data stage again"):
        read_manifest(tmp_path / "text.parquet")
    pq.write_table(pa.table({"path": ["a.jpg"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="run the data stage again"):
        read_manifest(tmp_path / "other.parquet")

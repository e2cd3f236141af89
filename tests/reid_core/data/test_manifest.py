import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reid_core.data import manifest as manifest_module
from reid_core.data.manifest import (
    MISSING,
    SCHEMA,
    Manifest,
    content_digests,
    manifest_digest,
    read_manifest,
    unlabelled,
    write_manifest,
)
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


def test_a_manifest_of_an_earlier_version_knows_no_tracklet(tmp_path: Path) -> None:
    written = _manifest(tmp_path)
    write_manifest(written, tmp_path / "manifest.parquet", root="/images")
    pq.write_table(pq.read_table(tmp_path / "manifest.parquet").drop_columns("tracklet_id"), tmp_path / "old.parquet")
    assert read_manifest(tmp_path / "old.parquet").table.equals(written.table)
    assert unlabelled(written).tracklets is None


def test_tracklets_are_in_the_unlabelled_view(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    column = pa.array([5, None, None, None], pa.int32())
    table = manifest.table.set_column(SCHEMA.get_field_index("tracklet_id"), SCHEMA.field("tracklet_id"), column)
    assert unlabelled(Manifest(table, tmp_path, {})).tracklets == (5, -1)


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the data stage again"):
        read_manifest(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(UserError, match="run the data stage again"):
        read_manifest(tmp_path / "text.parquet")
    pq.write_table(pa.table({"path": ["a.jpg"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="run the data stage again"):
        read_manifest(tmp_path / "other.parquet")


def test_files_are_named_by_their_content_alone(tmp_path: Path) -> None:
    for name, written in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(written)
    first, second, third, missing = content_digests([tmp_path / name for name in "abcd"])
    assert first == second == hashlib.blake2b(b"one", digest_size=16).hexdigest()
    assert third != first
    assert missing == MISSING


def test_a_long_reading_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "_BLOCK", 2)
    monkeypatch.setattr(manifest_module, "_SECONDS_BETWEEN_CALLS", -1.0)
    told: list[tuple[int, int]] = []
    content_digests([tmp_path] * 5, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def _train_manifest(
    root: str = "/data", *, person: int = 1, width: int = 48, names: tuple[str, ...] = ("a.jpg", "b.jpg")
) -> Manifest:
    rows = [
        {
            "image_id": f"train-{index:06d}",
            "split": "train",
            "path": name,
            "width": width,
            "height": 128,
            "person_id": person,
            "camera_id": 0,
        }
        for index, name in enumerate(names)
    ]
    rows.append({**rows[0], "split": "query", "image_id": "query-000000", "path": f"{person}.jpg"})
    return Manifest(pa.Table.from_pylist(rows, schema=SCHEMA), Path(root), {})


def test_folders_and_identities_do_not_count() -> None:
    assert manifest_digest(_train_manifest()) == manifest_digest(_train_manifest("/elsewhere", person=7))
    assert len(manifest_digest(_train_manifest())) == 16


def test_names_order_and_sizes_count() -> None:
    others = [_train_manifest(width=64), _train_manifest(names=("b.jpg", "a.jpg")), _train_manifest(names=("a.jpg",))]
    assert len({manifest_digest(each) for each in (_train_manifest(), *others)}) == 4

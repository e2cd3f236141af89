from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reid_core.errors import UserError
from reid_core.evaluation.embed import Features, read_features, write_features


def _features(root: Path) -> Features:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    return Features(("a.jpg", "b/c.jpg", "ü.jpg"), vectors, root, {"encoder": "123", "flip": False})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    features = _features(tmp_path)
    write_features(features, tmp_path / "features.parquet")
    found = read_features(tmp_path / "features.parquet")
    np.testing.assert_array_equal(found.vectors, features.vectors)
    assert (found.image_ids, found.root, found.info) == (features.image_ids, tmp_path, features.info)
    assert found.vectors.flags.writeable
    assert found.paths()[1] == tmp_path / "b" / "c.jpg"
    assert [path.name for path in tmp_path.iterdir()] == ["features.parquet"], "nothing half-written is left"


def test_others_can_read_the_table(tmp_path: Path) -> None:
    write_features(_features(tmp_path), tmp_path / "features.parquet")
    table = pq.read_table(tmp_path / "features.parquet")
    assert table.schema.field("feature").type == pa.list_(pa.float32(), 2)
    assert table.to_pylist()[1] == {"image_id": "b/c.jpg", "feature": [2.0, 3.0]}


def test_refuses_other_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a"]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    for name in ("other", "text", "missing"):
        with pytest.raises(UserError, match=f"{name}.parquet is no Parquet file of features"):
            read_features(tmp_path / f"{name}.parquet")
    empty = Features((), np.empty((0, 2), np.float32), tmp_path, {})
    write_features(empty, tmp_path / "empty.parquet")
    with pytest.raises(UserError, match="holds no features"):
        read_features(tmp_path / "empty.parquet")

from pathlib import Path

import pyarrow as pa

from reid_core.data.manifest import SCHEMA, Manifest, manifest_digest


def manifest(
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
    assert manifest_digest(manifest()) == manifest_digest(manifest("/elsewhere", person=7))
    assert len(manifest_digest(manifest())) == 16


def test_names_order_and_sizes_count() -> None:
    others = [manifest(width=64), manifest(names=("b.jpg", "a.jpg")), manifest(names=("a.jpg",))]
    assert len({manifest_digest(each) for each in (manifest(), *others)}) == 4

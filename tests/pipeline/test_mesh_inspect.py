import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from rich.console import Console

from pipeline.mesh_inspect import inspect_cache
from reid_core.data.manifest import SCHEMA, Manifest, manifest_digest, write_manifest
from reid_core.errors import UserError
from reid_core.mesh.body import no_bodies
from reid_core.mesh.cache import write_shard
from tests.reid_core.mesh.some_bodies import INFO, some_bodies, some_maps

NAMES = ("a", "b", "c")


def write_data(folder: Path) -> str:
    """Write the results of a data stage: three red pictures; returns the manifest's digest."""
    folder.mkdir(parents=True)
    empty = {"split": "train", "width": 4, "height": 6, "person_id": None, "camera_id": None}
    rows = [{"image_id": name, "path": f"{name}.png", **empty} for name in NAMES]
    for name in NAMES:
        Image.new("RGB", (4, 6), "red").save(folder / f"{name}.png")
    manifest = Manifest(pa.Table.from_pylist(rows, schema=SCHEMA), folder, {})
    write_manifest(manifest, folder / "manifest.parquet", root=".")
    return manifest_digest(manifest)


def inspected(folder: Path, out: Path, data: Path | None = None) -> str:
    console = Console(file=io.StringIO(), width=120)
    inspect_cache(folder, out, data, rows=5, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def is_red(sheet: Path) -> bool:
    """Whether the first photograph of a sheet is shown."""
    with Image.open(sheet) as picture:
        pixel = np.asarray(picture)[20, 20]
    return bool(pixel[0] > 200 > 50 > pixel[1])


def test_photographs_are_found_beside_the_results(tmp_path: Path) -> None:
    digest = write_data(tmp_path / "run1" / "artifacts")
    mesh = tmp_path / "run2" / "artifacts"
    bodies = some_bodies("ok", "low_confidence", "ok")
    write_shard(mesh / "mesh_cache" / "part-00000.parquet", NAMES, bodies, some_maps(), replace(INFO, manifest=digest))
    printed = inspected(mesh / "mesh_cache", tmp_path / "sheet.png")
    for words in (
        "estimate",
        "notoes_collapse3pc",
        "6 x 4, 8 angles",
        digest,
        "low_confidence",
        "33.3%",
        "mask_iou",
        "█",
    ):
        assert words in printed, words
    assert "bytes an image" in printed
    assert not is_red(tmp_path / "sheet.png")  # nothing says where they are

    (tmp_path / "run1" / "artifacts" / "stage.json").write_text(json.dumps({"fingerprint": "f"}))
    (mesh / "stage.json").write_text(json.dumps({"inputs": {"data": "f"}}))
    inspected(mesh, tmp_path / "sheet.png")
    assert is_red(tmp_path / "sheet.png")
    inspected(mesh, tmp_path / "again" / "sheet.png", tmp_path / "run1" / "artifacts")
    assert is_red(tmp_path / "again" / "sheet.png")


def test_other_data_is_refused(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    write_shard(tmp_path / "part-00000.parquet", NAMES, some_bodies("ok", "ok", "ok"), some_maps(), INFO)
    with pytest.raises(UserError, match="made for other images"):
        inspected(tmp_path, tmp_path / "sheet.png", tmp_path / "data")
    with pytest.raises(UserError, match="--out wants a picture file"):
        inspected(tmp_path, tmp_path / "sheet.txt")


def test_nobody_found_is_said(tmp_path: Path) -> None:
    write_shard(tmp_path / "part-00000.parquet", NAMES, no_bodies(["no_person"] * 3), some_maps(), INFO)
    assert "no image has a mesh" in inspected(tmp_path, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()

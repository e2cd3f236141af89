import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from infra.compute.local import LocalCompute
from infra.home import Home
from infra.tracking.protocol import SilentTracker
from reid_core.data.datasets.base import Naming
from reid_core.data.datasets.tree import mark_results
from reid_core.data.manifest import Manifest, read_manifest, unlabelled
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.errors import UserError
from stages.data import DataConfig, check, content_digest, run, still_serves
from tests.stages.pictures import write_crops, write_people


@pytest.fixture
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1)
    yield local
    local.close()


def _folder(root: Path) -> DataConfig:
    return DataConfig(dataset="folder", data_root=root, image_height=64, image_width=32)


def _run(config: DataConfig, out_dir: Path, compute: LocalCompute) -> Manifest:
    out_dir.mkdir(exist_ok=True)
    run(config, {}, out_dir, compute, SilentTracker())
    return read_manifest(out_dir / "manifest.parquet")


def _listing(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))}


def test_market_layout_becomes_a_manifest_and_stays_untouched(tmp_path: Path, compute: LocalCompute) -> None:
    root = write_people(tmp_path / "people")
    before = _listing(root)
    manifest = _run(_folder(root), tmp_path / "out", compute)
    assert {split: len(manifest.split(split)) for split in ("train", "query", "gallery")} == {
        "train": 24,
        "query": 8,
        "gallery": 8,
    }
    assert manifest.root == root
    assert manifest.info["image_size"] == [64, 32]
    assert manifest.info["distractors"] == [], "in own images person 0 is a person"
    assert (manifest.info["version"], manifest.info["layout"]) == ("own images", "Market-1501 folders")
    first = manifest.table.slice(0, 1).to_pylist()[0]
    assert first == {
        "image_id": "train-000000",
        "split": "train",
        "path": "bounding_box_train/0001_c1s1_000000_00.jpg",
        "width": 32,
        "height": 64,
        "person_id": 1,
        "camera_id": 0,
        "tracklet_id": None,
    }
    assert _listing(root) == before
    assert (tmp_path / "out" / "pictures" / "people.png").is_file()
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["train"] == 24


def test_image_ids_say_nothing(tmp_path: Path, compute: LocalCompute) -> None:
    manifest = _run(_folder(write_people(tmp_path / "people")), tmp_path / "out", compute)
    assert unlabelled(manifest).image_ids == tuple(f"train-{index:06d}" for index in range(24))


def test_plain_pictures_have_no_identity_and_no_camera(tmp_path: Path, compute: LocalCompute) -> None:
    manifest = _run(_folder(write_crops(tmp_path / "crops")), tmp_path / "out", compute)
    assert len(manifest) == 12
    assert manifest.table["person_id"].null_count == 12
    assert unlabelled(manifest).cameras is None
    assert (tmp_path / "out" / "pictures" / "sample.png").is_file()


def test_unreadable_files_are_named_counted_and_left_out(
    tmp_path: Path, compute: LocalCompute, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_crops(tmp_path / "crops", 60)
    (root / "text.jpg").write_text("hello")
    whole = (root / "crop 0.jpg").read_bytes()
    (root / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    manifest = _run(_folder(root), tmp_path / "out", compute)
    assert len(manifest) == 60
    assert manifest.info["unreadable"]["count"] == 2
    assert [line.split(":")[0] for line in manifest.info["unreadable"]["files"]] == ["text.jpg", "truncated.jpg"]
    assert "left out text.jpg" in caplog.text
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["unreadable"] == 2


def test_a_name_that_is_not_utf8_is_left_out(tmp_path: Path, compute: LocalCompute) -> None:
    root = write_crops(tmp_path / "crops", 40)
    os.rename(root / "crop 0.jpg", os.fsencode(root) + b"/\xff.jpg")  # noqa: PTH104
    assert len(_run(_folder(root), tmp_path / "out", compute)) == 39
    assert content_digest(_folder(root))


def test_too_many_unreadable_files_are_an_error_and_nothing_is_written(tmp_path: Path, compute: LocalCompute) -> None:
    root = write_crops(tmp_path / "crops", 12)
    (root / "text.jpg").write_text("hello")
    with pytest.raises(UserError, match="1 of 13 images"):
        _run(_folder(root), tmp_path / "out", compute)
    assert list((tmp_path / "out").iterdir()) == []


def test_too_few_images_are_an_error(tmp_path: Path, compute: LocalCompute) -> None:
    with pytest.raises(UserError, match="5 readable training images, wanted at least 8"):
        _run(_folder(write_crops(tmp_path / "crops", 5)), tmp_path / "out", compute)


def test_rendered_people_are_read_like_any_data_set(tmp_path: Path, compute: LocalCompute) -> None:
    people = SyntheticSettings(
        num_train_people=3, num_test_people=2, images_per_person=4, image_height=64, image_width=32
    )
    config = DataConfig(synthetic=people, image_height=64, image_width=32)
    check(config)
    _run(config, tmp_path / "out", compute)
    (tmp_path / "out").rename(tmp_path / "moved")
    manifest = read_manifest(tmp_path / "moved" / "manifest.parquet")
    paths = [manifest.root / path for path in manifest.table["path"].to_pylist()]
    assert len(manifest.split("train")) == 12
    assert len(manifest) == 20
    assert all(path.is_file() and tmp_path / "moved" in path.parents for path in paths)
    truth = pq.read_table(tmp_path / "moved" / "truth.parquet")["path"].to_pylist()
    assert sorted(f"images/{path}" for path in truth) == sorted(manifest.table["path"].to_pylist())


def test_the_digest_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    root = write_crops(tmp_path / "crops")
    before = content_digest(_folder(root))
    os.utime(root / "crop 0.jpg", (1, 1))
    assert content_digest(_folder(root)) == before, "a copy has other times"
    root.rename(tmp_path / "elsewhere")
    assert content_digest(_folder(tmp_path / "elsewhere")) == before
    (tmp_path / "elsewhere" / "crop 1.jpg").rename(tmp_path / "elsewhere" / "renamed.jpg")
    assert content_digest(_folder(tmp_path / "elsewhere")) != before
    (tmp_path / "elsewhere" / "renamed.jpg").rename(tmp_path / "elsewhere" / "crop 1.jpg")
    (tmp_path / "elsewhere" / "crop 0.jpg").write_bytes(b"changed")
    assert content_digest(_folder(tmp_path / "elsewhere")) != before


def test_a_table_of_images_that_moved_no_longer_serves(tmp_path: Path, compute: LocalCompute) -> None:
    root = write_crops(tmp_path / "crops")
    _run(_folder(root), tmp_path / "out", compute)
    assert still_serves(_folder(root), tmp_path / "out")
    root.rename(tmp_path / "elsewhere")
    assert not still_serves(_folder(tmp_path / "elsewhere"), tmp_path / "out")
    assert still_serves(DataConfig(), tmp_path / "out"), "rendered people lie with their table"


def test_the_digest_follows_the_rendering_settings() -> None:
    one = content_digest(DataConfig())
    assert one == content_digest(DataConfig())
    assert one != content_digest(DataConfig(synthetic=SyntheticSettings(seed=1)))


def test_check_refuses_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs DATA_ROOT"):
        check(DataConfig(dataset="folder"))
    with pytest.raises(UserError, match="does not exist"):
        check(_folder(tmp_path / "missing"))
    with pytest.raises(UserError, match="market1501 was not found"):
        check(DataConfig(dataset="market1501", data_root=tmp_path))
    check(DataConfig())


def test_configuration_is_bounded_and_names_the_nearest_data_set() -> None:
    with pytest.raises(ValidationError, match="did you mean market1501"):
        DataConfig(dataset="market1502")
    with pytest.raises(ValidationError, match="multiple of 16"):
        DataConfig(image_height=100)
    with pytest.raises(ValidationError, match="Extra inputs"):
        DataConfig.model_validate({"image_hight": 64})
    assert DataConfig(dataset="Market-1501").dataset == "market1501"
    assert DataConfig(data_root=Path("here")).data_root == Path.cwd() / "here"


def test_what_the_data_lacks_is_said_before_any_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_people(tmp_path / "people")
    check(_folder(root))
    assert caplog.text == ""
    for path in root.rglob("*_c2*"):
        path.unlink()
    (root / "film.mp4").touch()
    check(_folder(root))
    assert "evaluation will be skipped: none of the 4 queries has a gallery image of the same person" in caplog.text
    assert "does not read them as pictures: 1 .mp4" in caplog.text


def test_how_names_are_read_is_not_part_of_the_identity_but_what_they_say_is(tmp_path: Path) -> None:
    root = write_crops(tmp_path / "crops" / "hall").parent
    write_crops(root / "yard")
    plain = content_digest(_folder(root))
    by_folder = _folder(root).model_copy(update={"naming": Naming(camera_from="folder")})
    by_pattern = _folder(root).model_copy(update={"naming": Naming(pattern=r"^(?P<camera>\w+)/")})
    assert plain != content_digest(by_folder) == content_digest(by_pattern)
    relative = DataConfig(dataset="folder", naming=Naming(table=Path("table.csv")))
    assert relative.naming.table is not None
    assert relative.naming.table.is_absolute()
    with pytest.raises(UserError, match="rendered people have names of their own"):
        check(DataConfig(naming=Naming(camera_from="folder")))


def test_own_results_below_the_pictures_change_nothing(tmp_path: Path) -> None:
    root = write_crops(tmp_path / "crops")
    before = content_digest(_folder(root))
    home = Home(root / "runs")
    home.create()
    for path in (home.artifacts / "x" / "people.png", home.cache / "y.png", root / "search" / "hits.png"):
        path.parent.mkdir(parents=True)
        path.touch()
    mark_results(root / "search", ["hits.png"])
    assert content_digest(_folder(root)) == before

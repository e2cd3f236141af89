import re
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.write import finish, plan_shards, render_shard

SETTINGS = SyntheticSettings(
    num_train_people=2,
    num_test_people=1,
    images_per_person=5,
    image_height=32,
    image_width=16,
    topology="notoes_collapse3pc",
)


def render(settings: SyntheticSettings, out_dir: Path, people_per_shard: int = 2) -> dict[str, bytes]:
    shards = plan_shards(settings, out_dir, people_per_shard)
    assert sum(render_shard(shard) for shard in shards) == 15
    finish(shards, out_dir)
    root = out_dir / "images"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.jpg"))}


def test_files_do_not_depend_on_shards(tmp_path: Path) -> None:
    one = render(SETTINGS, tmp_path / "one")
    assert len(one) == 15
    assert render(SETTINGS, tmp_path / "two", 1) == one


def test_layout_is_that_of_market_1501_and_identities_are_disjoint(tmp_path: Path) -> None:
    paths = list(render(SETTINGS, tmp_path))
    people: dict[str, set[str]] = {"bounding_box_train": set(), "query": set(), "bounding_box_test": set()}
    for path in paths:
        match = re.fullmatch(r"(\w+)/(\d{4})_c([1-4])s1_\d{6}_01\.jpg", path)
        assert match is not None, path
        people[match[1]].add(match[2])
    assert people == {"bounding_box_train": {"0001", "0002"}, "query": {"0003"}, "bounding_box_test": {"0003"}}
    queries = [path for path in paths if path.startswith("query/")]
    cameras = {path.split("_c")[1][0] for path in paths if "/0003_" in path}
    assert len(queries) == len(cameras) >= 2  # one query a camera


def test_truth_names_every_file(tmp_path: Path) -> None:
    files = render(SETTINGS, tmp_path)
    truth = pq.read_table(tmp_path / "truth.parquet")
    assert truth["path"].to_pylist() == sorted(files)
    assert not (tmp_path / "truth_shards").exists()
    for path, person, camera in zip(*(truth[n].to_pylist() for n in ("path", "person_id", "camera_id")), strict=True):
        assert f"/{person:04d}_c{camera + 1}s1_" in path
    assert all(0.0 <= azimuth < 360.0 for azimuth in truth["azimuth_deg"].to_pylist())


def test_whole_shards_are_left_alone_and_broken_ones_done_again(tmp_path: Path) -> None:
    first, second = plan_shards(SETTINGS, tmp_path, 2)
    render_shard(first)
    render_shard(second)
    files = sorted((tmp_path / "images").rglob("*.jpg"))
    kept = [path for path in files if path.name[:4] in {"0001", "0002"}]
    times = [path.stat().st_mtime_ns for path in kept]
    second.truth_path.write_bytes(b"half")
    lost = next(path for path in files if path.name.startswith("0003"))
    lost.unlink()
    assert render_shard(first) == 10
    assert render_shard(second) == 5
    assert lost.is_file()
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_other_settings_render_again(tmp_path: Path) -> None:
    shard = plan_shards(SETTINGS, tmp_path, 2)[1]
    render_shard(shard)
    before = {path.name: path.read_bytes() for path in (tmp_path / "images").rglob("*.jpg")}
    render_shard(plan_shards(replace(SETTINGS, seed=9), tmp_path, 2)[1])
    after = {path.name: path.read_bytes() for path in (tmp_path / "images").rglob("*.jpg")}
    assert any(after[name] != before.get(name) for name in after)

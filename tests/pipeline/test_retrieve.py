import logging
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from infra.compute.local import LocalCompute
from infra.home import Home
from pipeline.retrieve import Search, choose_threshold, find_hits, run_search
from pipeline.trained_encoder import TrainedEncoder, find_encoder
from reid_core.errors import UserError
from reid_core.evaluation.embed import Features, write_features
from tests.pipeline.encoders import SIZE, write_encoder
from tests.stages.pictures import write_people


@pytest.fixture
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1)
    yield local
    local.close()


@pytest.fixture
def find(tmp_path: Path) -> Callable[[str | None], TrainedEncoder]:
    """Find an encoder; the newest one has weights of its own."""
    newest = write_encoder(tmp_path / "newest.safetensors", seed=3)
    return lambda name: find_encoder(name or str(newest), Home(tmp_path))


def _features(root: Path, *angles_deg: float, **info: object) -> Features:
    angles = np.deg2rad(np.array(angles_deg, dtype=np.float32))
    names = tuple(f"{index}.jpg" for index in range(len(angles)))
    facts = {"encoder": "x", "title": "one", "image_size": list(SIZE), **info}
    return Features(names, np.stack([np.cos(angles), np.sin(angles)], axis=1), root, facts)


def _run(search: Search, run: str | None, find: Callable[[str | None], TrainedEncoder], out_dir: Path) -> str:
    console = Console(file=StringIO(), width=120)
    compute = LocalCompute(num_cpus=1)
    run_search(search, run, find, compute, out_dir, console)
    compute.close()
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_hits_by_hand(tmp_path: Path) -> None:
    gallery = _features(tmp_path / "gallery", 50, 0, 20)
    hits = find_hits(_features(tmp_path / "query", 5, 60), gallery, 2)
    assert hits.indices.tolist() == [[1, 2], [0, 2]]
    np.testing.assert_allclose(hits.similarities, np.cos(np.deg2rad([[5, 15], [10, 40]])), atol=1e-6)
    assert find_hits(gallery, gallery, 9).indices.tolist() == [[2, 1, -1], [2, 0, -1], [1, 0, -1]], "never itself"


def test_people_are_found(tmp_path: Path, find: Callable[[str | None], TrainedEncoder]) -> None:
    # People of one colour each: any encoder finds the same colour again.
    people = write_people(tmp_path / "people")
    (people / "query" / "broken.jpg").write_text("no picture")
    text = _run(Search(people / "query", people / "bounding_box_test", 3, None, 5), None, find, tmp_path / "out")
    assert "newest.safetensors" in text
    hits = pq.read_table(tmp_path / "out" / "hits.parquet").to_pylist()
    assert len(hits) == 8 * 3
    assert all(hit["gallery"][:4] == hit["query"][:4] for hit in hits if hit["rank"] <= 2)
    values = [hit["similarity"] for hit in hits if hit["query"] == hits[0]["query"]]
    assert values == sorted(values, reverse=True)
    with Image.open(tmp_path / "out" / "hits.png") as picture:
        assert picture.width > 3 * 48
    assert hits[0]["query"] in text
    # The files are named by person and camera: the curve is counted, and said at the threshold.
    assert "Names      by people and cameras in the file names" in text
    curve = pq.read_table(tmp_path / "out" / "thresholds.parquet")
    assert curve.column_names == ["thresholds", "precision", "recall", "false_match_rate"]


def test_features_are_searched_with_the_encoder_that_made_them(
    tmp_path: Path, find: Callable[[str | None], TrainedEncoder]
) -> None:
    people = write_people(tmp_path / "people")
    made_by = write_encoder(tmp_path / "other.safetensors", seed=7)
    compute = LocalCompute(num_cpus=1)
    from pipeline.embed_pictures import embed_pictures

    gallery = embed_pictures(people / "bounding_box_test", find(str(made_by)), compute)
    compute.close()
    write_features(gallery, tmp_path / "gallery.parquet")
    search = Search(people / "query", tmp_path / "gallery.parquet", 2, 0.5, 0)
    assert "other.safetensors" in _run(search, None, find, tmp_path / "out")
    assert not (tmp_path / "out" / "hits.png").exists()
    with pytest.raises(UserError, match=r"cannot be compared, .* embed both with the same --run"):
        _run(search, str(tmp_path / "newest.safetensors"), find, tmp_path / "out")


def test_a_picture_needs_the_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, angles in (("query", (0.0,)), ("gallery", (1.0, 50.0))):
        write_features(_features(tmp_path / name, *angles), tmp_path / f"{name}.parquet")
    search = Search(tmp_path / "query.parquet", tmp_path / "gallery.parquet", 2, 0.9, 1)

    def never(name: str | None) -> TrainedEncoder:
        raise AssertionError("no encoder is needed")

    text = _run(search, None, never, tmp_path / "out")
    assert text.count("match?") == 1
    assert "no picture was drawn" in caplog.text


def test_a_suggestion_without_a_gap_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    query = _features(tmp_path / "query", *rng.uniform(0, 90, 30))
    gallery = _features(tmp_path / "gallery", *rng.uniform(0, 90, 200))
    with caplog.at_level(logging.WARNING):
        found = choose_threshold(query, gallery, None)
    assert "show no gap between matches and strangers" in caplog.text
    assert -1 <= found <= 1
    assert choose_threshold(query, gallery, 0.25) == 0.25


def test_a_threshold_keeps_to_the_expected_share_of_strangers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(0)
    people = random.normal(size=(60, 64))

    def features(name: str) -> Features:
        vectors = people + 0.3 * random.normal(size=people.shape)
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        facts = {"encoder": "x", "title": "one", "image_size": list(SIZE)}
        return Features(tuple(f"{index}.jpg" for index in range(60)), vectors, tmp_path / name, facts)

    for name in ("query", "gallery"):
        write_features(features(name), tmp_path / f"{name}.parquet")
    search = Search(tmp_path / "query.parquet", tmp_path / "gallery.parquet", 2, None, 0, max_false=0.05)
    text = _run(search, None, lambda name: pytest.fail("no encoder is needed"), tmp_path / "out")
    assert re.search(r"Threshold  0\.\d+; at most about [0-5]% of the pairs from there on are expected to", text)
    assert not (tmp_path / "out" / "thresholds.parquet").exists(), "the names say nothing of people"
    likely = [hit for hit in pq.read_table(tmp_path / "out" / "hits.parquet").to_pylist() if hit["above_threshold"]]
    assert sum(hit["query"] == hit["gallery"] for hit in likely) >= max(50, 0.95 * len(likely))
    assert choose_threshold(_features(tmp_path / "q", 0, 5), _features(tmp_path / "g", 9, 40), None, 0.1) == 1
    assert "no threshold can be shown to keep the expected share" in caplog.text


def test_refusals_are_one_sentence(tmp_path: Path, find: Callable[[str | None], TrainedEncoder]) -> None:
    query = _features(tmp_path, 0, 10)
    wide = Features(("a",), np.ones((1, 3), np.float32), tmp_path / "g", query.info)
    with pytest.raises(UserError, match="have 2 numbers and the gallery's 3"):
        find_hits(query, wide, 1)
    with pytest.raises(UserError, match="features of one and of two cannot be compared"):
        find_hits(query, _features(tmp_path / "g", 0, encoder="y", title="two"), 1)
    with pytest.raises(UserError, match="nothing but the query itself"):
        choose_threshold(_features(tmp_path, 0), _features(tmp_path, 0), None)
    with pytest.raises(UserError, match=r"gone\.parquet does not exist"):
        _run(Search(tmp_path / "gone.parquet", tmp_path, 1, None, 0), None, find, tmp_path / "out")
    with pytest.raises(UserError, match="wants a folder"):
        _run(Search(tmp_path, tmp_path, 1, None, 0), None, find, tmp_path / "newest.safetensors")

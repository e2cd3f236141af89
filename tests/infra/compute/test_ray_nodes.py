"""The checks of nodes, against one real node; tests/pipeline/test_node_check.py has several."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.compute import ray_nodes
from infra.compute.ray import RayCompute
from infra.compute.ray_nodes import check_nodes, look


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        compute = RayCompute(num_cpus=1)
        assert compute.num_cpus == 1  # starts it
        yield
        compute.close()


def test_a_node_that_sees_everything_passes_and_nothing_is_left(cluster: None, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "0001_c1s1_000451_03.jpg").write_text("")
    read = (data, data / "0001_c1s1_000451_03.jpg")
    check_nodes(read, written=tmp_path / "home")
    assert list((tmp_path / "home").iterdir()) == []
    check_nodes(read)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "home"]


def test_each_lack_has_its_sentence(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("token")
    data = tmp_path / "data"
    data.mkdir()
    (data / "0001_c1s1_000451_03.jpg").write_text("")
    here = look(token, (data,))
    assert here.names == (("0001_c1s1_000451_03.jpg",),)
    for report, wanted in (
        (replace(here, sees_token=False), "does not see the home"),
        (replace(here, writes=False), "cannot write into the home"),
        (replace(here, names=(None,)), f"does not see {data}"),
        (replace(here, names=(("other.jpg",),)), f"sees something else at {data}"),
        (replace(here, packages={**here.packages, "torch": None}), "lacks torch"),
    ):
        problem = ray_nodes._problem(report, here, tmp_path, (data,), "worker-1 (10.0.0.2)")
        assert problem is not None
        assert problem.startswith("the node worker-1 (10.0.0.2) ")
        assert wanted in problem
    assert ray_nodes._problem(here, here, tmp_path, (data,), "worker-1") is None


def test_where_nothing_is_written_no_home_is_looked_for(tmp_path: Path) -> None:
    report = look(None, (tmp_path / "gone",))
    assert report.sees_token
    assert report.writes
    assert report.names == (None,)
    assert list(tmp_path.iterdir()) == []

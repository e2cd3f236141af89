"""Local compute and Ray compute: the same promises, the same results."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.compute.local import LocalCompute
from infra.compute.protocol import Compute
from infra.compute.ray import RayCompute
from infra.tracking.protocol import SilentTracker
from reid_core.errors import UserError
from tests.infra.compute import loops, toys

# Four epochs by hand: x -> 1.5 x + 28 + epoch from 0 gives 28, 71, 136.5, 235.75.
_WALKED = 235.75


@pytest.fixture(scope="module", params=["local", "ray"])
def compute(request: pytest.FixtureRequest) -> Iterator[Compute]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        made = LocalCompute(num_cpus=2) if request.param == "local" else RayCompute(num_cpus=2)
        yield made
        made.close()


def _train(compute: Compute, folder: Path, settings: loops.Walk, num_ranks: int) -> str:
    workers = compute.start_workers(toys.Counter, 1)
    compute.train(
        loops.walk,
        settings,
        num_ranks=num_ranks,
        checkpoint_dir=folder / "checkpoints",
        tracker=SilentTracker(),
        description="walking",
        num_images=32,
        workers=workers,
    )
    workers.stop()
    return settings.result.read_text()


def test_shards_keep_their_order_and_their_threads(compute: Compute) -> None:
    found = compute.map_shards(toys.square, [3, 1, 2], description="squares")
    assert found == [(9, "1"), (1, "1"), (4, "1")]


def test_progress_counts_units(compute: Compute, capsys: pytest.CaptureFixture[str]) -> None:
    compute.map_shards(toys.square, [1, 2], description="squares", sizes=[10, 5])
    assert "squares: 15/15 images" in capsys.readouterr().err


def test_an_error_of_the_user_crosses_processes(compute: Compute) -> None:
    with pytest.raises(UserError, match="is not wanted; give another one"):
        compute.map_shards(toys.refuse, [7, 8], description="refused")


def test_a_shard_whose_process_is_killed_is_done_again(compute: Compute, tmp_path: Path) -> None:
    markers = [tmp_path / "a", tmp_path / "b"]
    assert compute.map_shards(toys.die_once, markers, description="dying") == ["a", "b"]


def test_a_pool_shares_arrays_and_keeps_its_processes(compute: Compute) -> None:
    workers = compute.start_workers(toys.Counter, 2)
    assert workers.num_workers == 2
    shared = np.arange(5, dtype=np.float32)
    there: list[int] = []
    tasks = [(1.0,), (2.0,), (3.0,)]
    assert workers.map("total", tasks, shared=shared, on_result=there.append) == [10.0, 20.0, 30.0]
    assert sorted(there)[-1] == 3
    assert len(there) == 3
    before = set(workers.map("process", [()] * 8))
    assert len(before | set(workers.map("process", [()] * 8))) <= 2
    assert set(workers.map("threads", [(), ()])) == {"1"}
    assert set(workers.map("has_torch", [(), ()])) == {False}  # FAISS crashes beside it
    with pytest.raises(UserError, match="the worker refuses"):
        workers.map("fail", [()])
    workers.stop()


def test_two_ranks_restart_after_a_kill_and_end_at_the_same_place(compute: Compute, tmp_path: Path) -> None:
    settings = loops.Walk(tmp_path / "result", die_in_epoch=2)
    assert _train(compute, tmp_path, settings, 2) == f"{_WALKED} from epoch 2"


def test_a_loop_may_refuse(compute: Compute, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the loss is not a number"):
        compute.train(
            loops.refuse_to_train,
            None,
            num_ranks=1,
            checkpoint_dir=tmp_path,
            tracker=SilentTracker(),
            description="refusing",
            num_images=1,
        )

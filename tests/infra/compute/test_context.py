from collections.abc import Mapping
from pathlib import Path

import torch

from infra.compute.rank import RankContext
from infra.tracking.protocol import SilentTracker


def _context(folder: Path, calls: list[tuple[int, dict[str, float]]], rank: int = 0) -> RankContext:
    def show(done: int, values: Mapping[str, float]) -> None:
        calls.append((done, dict(values)))

    return RankContext(rank, 1, torch.device("cpu"), SilentTracker(), None, folder, show)


def test_progress_continues_where_the_checkpoint_was_made(tmp_path: Path) -> None:
    calls: list[tuple[int, dict[str, float]]] = []
    first = _context(tmp_path, calls)
    first.advance(5, loss=1.0)
    first.save("epoch-0000", lambda folder: (folder / "state").touch())
    first.advance(5, loss=0.5)  # lost with the process
    second = _context(tmp_path, calls)
    checkpoint = second.latest()
    assert checkpoint is not None
    assert (checkpoint / "state").is_file()
    second.advance(1)
    assert calls == [(5, {"loss": 1.0}), (10, {"loss": 0.5}), (5, {}), (6, {})]


def test_other_ranks_neither_write_nor_show(tmp_path: Path) -> None:
    calls: list[tuple[int, dict[str, float]]] = []
    context = _context(tmp_path, calls, rank=1)
    context.advance(5)
    context.save("epoch-0000", lambda folder: (folder / "state").touch())
    assert calls == []
    assert context.latest() is None

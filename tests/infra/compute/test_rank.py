import json
from pathlib import Path

import pytest
import torch

from infra.compute.rank import TrainJob, forget_user_error, raise_user_error, run_rank, torch_mode
from infra.tracking.protocol import SilentTracker
from reid_core.errors import UserError
from tests.infra.compute import loops


def _job(folder: Path, *, refuse: bool = False) -> TrainJob:
    folder.mkdir(exist_ok=True)
    loop, argument = (loops.refuse_to_train, None) if refuse else (loops.walk, loops.Walk(folder / "result"))
    return TrainJob(loop, argument, 1, folder, SilentTracker(), None, 1, deterministic=False)


def test_a_rank_leaves_its_result_and_its_progress(tmp_path: Path) -> None:
    job = _job(tmp_path)
    run_rank(job, 0, torch.device("cpu"))
    assert (tmp_path / "result").read_text() == "235.75 from epoch 0"
    assert json.loads(job.progress_path.read_text()) == {"done": 32, "values": {"position": 235.75}}


def test_an_error_of_the_user_is_left_for_the_driver(tmp_path: Path) -> None:
    run_rank(_job(tmp_path, refuse=True), 0, torch.device("cpu"))
    with pytest.raises(UserError, match="the loss is not a number; lower the learning rate"):
        raise_user_error(tmp_path)
    forget_user_error(tmp_path)
    raise_user_error(tmp_path)


def test_torch_is_left_as_it_was_whatever_happens() -> None:
    try:
        with torch_mode(deterministic=True):
            assert torch.are_deterministic_algorithms_enabled()
            raise ZeroDivisionError
    except ZeroDivisionError:
        assert not torch.are_deterministic_algorithms_enabled()

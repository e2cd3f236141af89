import pytest
import torch

from reid_core.errors import UserError
from reid_core.learning.timer import Timer
from stages.training.log import MAX_SKIPPED_IN_A_ROW, EpochLog, peak_memory_gb

ONE = torch.tensor(1)


def test_an_epochs_row_holds_means_norms_times_and_speed() -> None:
    timer = Timer()
    with timer.span("data"):
        log = EpochLog(timer)
    for value in (1.0, 3.0):
        log.add({"image": torch.tensor(value)}, 4, norms={"encoder": torch.tensor(value + 1)})
    log.add({"cycle": torch.tensor(5.0)}, 4)
    row = log.row(2, num_clusters=7)
    assert (row["epoch"], row["image"], row["cycle"], row["num_clusters"]) == (2, 2.0, 5.0, 7)
    assert row["gradient_norm/encoder"] == 3.0
    assert row["images_per_second"] > 0
    assert row["seconds/data"] > 0
    assert row["memory_gb"] > 0.01


def test_a_skipped_update_is_counted_and_its_terms_are_not() -> None:
    log = EpochLog(Timer())
    log.add({"image": torch.tensor(2.0)}, 4)
    log.add({"image": torch.tensor(float("nan"))}, 4, skipped=ONE)
    row = log.row(0)
    assert (row["image"], row["skipped_updates"]) == (2.0, 1)


def test_many_skipped_updates_in_a_row_end_the_training() -> None:
    log = EpochLog(Timer())
    broken = {"image": torch.tensor(float("nan"))}
    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        log.add(broken, 4, skipped=ONE)
    log.add({"image": torch.tensor(1.0)}, 4)  # a good one in between: training may go on
    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        log.add(broken, 4, skipped=ONE)
    with pytest.raises(UserError, match="10 updates in a row were not numbers"):
        log.add(broken, 4, skipped=ONE)


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    log = EpochLog(Timer())
    log.add({"image": torch.tensor(float("nan"))}, 4)
    with pytest.raises(UserError, match="diverged in epoch 3: image"):
        log.row(3)


def test_a_continued_epoch_remembers_its_first_part() -> None:
    first = EpochLog(Timer())
    first.add({"image": torch.tensor(1.0)}, 4, skipped=torch.tensor(0))
    first.add({"image": torch.tensor(9.0)}, 4, skipped=ONE)
    second = EpochLog(Timer(), first.state())
    second.add({"image": torch.tensor(3.0)}, 4)
    row = second.row(0)
    assert (row["image"], row["skipped_updates"]) == (2.0, 1)


def test_memory_is_that_of_this_process() -> None:
    before = peak_memory_gb()
    held = torch.ones(40_000_000)  # 160 MB
    assert peak_memory_gb() >= before
    assert float(held[0]) == 1

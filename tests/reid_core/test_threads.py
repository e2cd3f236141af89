import numpy as np
import pytest

from reid_core.threads import in_threads


@pytest.mark.parametrize(("num_threads", "num_tasks"), [(1, None), (3, None), (2, 7), (20, 100)])
def test_every_row_is_worked_on_once_and_results_keep_their_order(num_threads: int, num_tasks: int | None) -> None:
    counts = np.zeros(10, dtype=int)

    def work(start: int, stop: int) -> int:
        counts[start:stop] += 1
        return start

    starts = in_threads(work, 10, num_threads, num_tasks=num_tasks)
    assert counts.tolist() == [1] * 10
    assert starts == sorted(starts)
    assert len(starts) == min(10, num_tasks or num_threads)


def test_what_a_task_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda start, stop: 1 // start, 4, 2, num_tasks=4)

import time

from reid_core.learning.timer import Timer


def test_spans_add_up_and_lie_inside_each_other() -> None:
    timer = Timer()
    for _ in range(2):
        with timer.span("outer"), timer.span("inner"):
            time.sleep(0.01)
    assert set(timer.seconds()) == {"outer", "inner"}
    assert timer.seconds()["outer"] >= timer.seconds()["inner"] >= 0.02


def test_a_span_that_fails_is_counted() -> None:
    timer = Timer()
    try:
        with timer.span("work"):
            raise ValueError
    except ValueError:
        pass
    assert "work" in timer.seconds()


def test_only_waiting_for_items_counts() -> None:
    timer = Timer()
    seen = []
    for item in timer.each("data", iter([3, 4])):
        before = timer.seconds()
        seen.append(item)
        assert timer.seconds() == before
    assert seen == [3, 4]
    assert set(timer.seconds()) == {"data"}

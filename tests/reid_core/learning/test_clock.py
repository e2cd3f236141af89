import time

from reid_core.learning.clock import Clock


def test_parts_add_up_and_lie_inside_each_other() -> None:
    clock = Clock()
    for _ in range(2):
        with clock.part("outer"), clock.part("inner"):
            time.sleep(0.01)
    assert set(clock.seconds) == {"outer", "inner"}
    assert clock.seconds["outer"] >= clock.seconds["inner"] >= 0.02


def test_a_part_that_fails_is_counted() -> None:
    clock = Clock()
    try:
        with clock.part("work"):
            raise ValueError
    except ValueError:
        pass
    assert "work" in clock.seconds


def test_only_waiting_for_items_counts() -> None:
    clock = Clock()
    seen = []
    for item in clock.each("data", iter([3, 4])):
        before = dict(clock.seconds)
        seen.append(item)
        assert clock.seconds == before
    assert seen == [3, 4]
    assert set(clock.seconds) == {"data"}

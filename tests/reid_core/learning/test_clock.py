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

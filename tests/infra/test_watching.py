import threading

import pytest

from infra.progress import watching


def test_it_looks_while_the_block_runs() -> None:
    seen = threading.Event()
    with watching(seen.set, seconds=0.01):
        assert seen.wait(10)


def test_it_looks_a_last_time_after_the_block_even_when_that_fails() -> None:
    events: list[str] = []
    with pytest.raises(ZeroDivisionError), watching(lambda: events.append("look"), seconds=600):
        _fail(events)
    assert events == ["block", "look"]


def test_it_does_not_look_again_when_the_block_is_left() -> None:
    before = threading.active_count()
    with watching(lambda: None, seconds=0.01):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def _fail(events: list[str]) -> None:
    events.append("block")
    raise ZeroDivisionError

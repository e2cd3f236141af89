import pytest
from numba.core.caching import CacheImpl

from reid_core.compiled import compiled


def _sum(count: int) -> int:
    total = 0
    for i in range(count):
        total += i
    return total


def test_a_loop_is_compiled_where_no_folder_takes_the_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])  # what a read-only checkout and home leave
    loop = compiled(fastmath=True)(_sum)
    assert loop(5) == 10
    assert loop.stats.cache_path is None
    monkeypatch.undo()
    assert compiled()(_sum).stats.cache_path

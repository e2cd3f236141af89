import hashlib
from pathlib import Path

import pytest

from reid_core.data import manifest as content
from reid_core.data.manifest import MISSING, content_digests


def test_files_are_named_by_their_content_alone(tmp_path: Path) -> None:
    for name, written in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(written)
    first, second, third, missing = content_digests([tmp_path / name for name in "abcd"])
    assert first == second == hashlib.blake2b(b"one", digest_size=16).hexdigest()
    assert third != first
    assert missing == MISSING


def test_a_long_reading_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_BLOCK", 2)
    monkeypatch.setattr(content, "_SECONDS_BETWEEN_CALLS", -1.0)
    told: list[tuple[int, int]] = []
    content_digests([tmp_path] * 5, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]

import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from reid_core.mesh.crash_guard import call_guarded

NAMES = ("a", "b", "c", "d")


def letters(names: Sequence[str]) -> list[str]:
    """Capital letters; c kills its process."""
    if "c" in names:
        os.kill(os.getpid(), signal.SIGKILL)
    return [name.upper() for name in names]


def attempt(folder: Path, run: str, names: Sequence[str], key: str) -> None:
    result, skipped, note = call_guarded(letters, names, folder / "note", key=key, run=run)
    (folder / "result").write_text(" ".join([*result, "without", *skipped]))
    note.forget()


def attempts(folder: Path, runs: Sequence[str], names: Sequence[str] = NAMES, key: str = "k") -> str:
    """One process an attempt, until one lives; returns the attempts and the result."""
    context = multiprocessing.get_context("fork")
    for count, run in enumerate(runs, start=1):
        process = context.Process(target=attempt, args=(folder, run, names, key))
        process.start()
        process.join()
        if process.exitcode == 0:
            return f"{count}: {(folder / 'result').read_text()}"
        assert process.exitcode == -signal.SIGKILL
    return "none"


def test_nobody_dies_and_one_attempt_is_enough(tmp_path: Path) -> None:
    assert attempts(tmp_path, ["run"], "abd") == "1: A B D without"
    assert not (tmp_path / "note").exists()


def test_the_crashing_input_is_found_in_one_retry_and_skipped(tmp_path: Path) -> None:
    # Together: dead. Alone, a, b and c: dead, for the second time. Then without c.
    assert attempts(tmp_path, ["run"] * 3) == "3: A B D without c"


def test_an_input_is_not_blamed_when_the_whole_command_was_killed(tmp_path: Path) -> None:
    # The first death is nobody's; c has to kill two commands more.
    assert attempts(tmp_path, ["one", "two", "three", "four"]) == "4: A B D without c"
    note = tmp_path / "note"
    note.write_text('{"key": "k", "run": "earlier", "trying": ["a", "b"], "crashes": {}}')
    assert attempts(tmp_path, ["later"], "ab") == "1: A B without"
    note.write_text('{"key": "k", "run": "earlier", "trying": ["b"], "crashes": {}}')
    assert attempts(tmp_path, ["later"], "ab") == "1: A B without"


def test_one_image_alone_kills_twice(tmp_path: Path) -> None:
    assert attempts(tmp_path, ["run"] * 3, "c") == "3: without c"


def test_notes_of_other_work_and_broken_ones_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / "note").write_text('{"key": "other", "run": "run", "trying": ["a"], "crashes": {"a": 2}}')
    assert attempts(tmp_path, ["run"], "ab") == "1: A B without"
    (tmp_path / "note").write_text('{"key": "k", "ru')
    assert attempts(tmp_path, ["run"], "ab") == "1: A B without"

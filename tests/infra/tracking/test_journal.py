from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.tracking.mlflow import Journal, Measurement


def test_what_was_kept_is_sent_once_and_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    first, second = Measurement("loss", 2.0, 1000, 0), Measurement("loss", 1.0, 2000, 1)
    journal.append([first])
    journal.append([second])
    sent: list[Measurement] = []
    assert journal.replay(sent.extend) == 2
    assert sent == [first, second]
    assert journal.replay(sent.extend) == 0


def test_what_could_not_be_sent_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([Measurement("loss", 2.0, 1000, 0)])

    def refuse(measurements: Sequence[Measurement]) -> None:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        journal.replay(refuse)
    sent: list[Measurement] = []
    assert journal.replay(sent.extend) == 1


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([Measurement("loss", 2.0, 1000, 0)])
    [path] = tmp_path.iterdir()
    with path.open("a") as file:
        file.write('{"key": "loss", "val')
    sent: list[Measurement] = []
    assert journal.replay(sent.extend) == 1


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert Journal(tmp_path / "missing").replay(lambda measurements: None) == 0

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.messages import LOGGERS, TerminalHandler, follow_messages, send_to, send_to_file


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    before = {name: (log := logging.getLogger(name), log.handlers, log.propagate, log.level) for name in LOGGERS}
    yield
    for log, handlers, propagate, level in before.values():
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


def test_lines_go_to_standard_error_as_it_is_now(capsys: pytest.CaptureFixture[str]) -> None:
    send_to(TerminalHandler())
    logging.getLogger("stages.data").warning("two files left out")
    assert capsys.readouterr().err == "two files left out\n"


def test_messages_of_another_process_are_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "messages.txt"
    path.write_text("of an earlier training\n")
    with caplog.at_level(logging.INFO, "infra.messages"), follow_messages(path), path.open("a") as file:
        file.write("one cluster only\n")
        file.write("cut sho")
        file.flush()
    assert caplog.messages == ["one cluster only"]


def test_a_rank_writes_to_its_file(tmp_path: Path) -> None:
    send_to_file(tmp_path / "messages.txt")
    logging.getLogger("reid_core.clustering").info("relaxed eps to %.2f", 0.6)
    assert (tmp_path / "messages.txt").read_text() == "relaxed eps to 0.60\n"

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from infra.home import Home
from infra.tracking.store import RunStore
from pipeline.commands.experiment import serve_page
from reid_core.errors import UserError


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_is_pointed_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    with pytest.raises(UserError, match="open http://server:5000 in a browser"):
        serve_page(tmp_path, 5000)


def test_a_port_that_is_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Home(tmp_path).database.touch()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(UserError, match="is taken"):
            serve_page(tmp_path, holder.getsockname()[1])


@pytest.mark.slow
def test_the_page_answers_on_this_machine_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    RunStore(home, f"sqlite:///{home.database}", "people").start("pipeline", params={}, tags={}, parent=None)
    port = _free_port()
    command = [sys.executable, "-m", "pipeline.cli", "ui", "--home", str(tmp_path), "--port", str(port)]
    server = subprocess.Popen(command, cwd=Path(__file__).parents[3], start_new_session=True)
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                time.sleep(0.5)
        pytest.fail("the page never answered")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()

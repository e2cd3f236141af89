"""SIGTERM, each time to a process of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_START = """
import os, signal, time
from pipeline.commands import guarded as guard
from pipeline.commands.guarded import guarded

guard.SECONDS_TO_CLOSE = 0.3
"""
_CLOSES = """
with guarded(debug=False):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("closed", flush=True)
"""
_SWALLOWS = """
with guarded(debug=False):
    while True:
        try:
            print("ready", flush=True)
            time.sleep(60)
        except SystemExit:
            pass
"""
_ANOTHER_HANDLER = """
with guarded(debug=False):
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("body", "said", "sentence"),
    [
        (_CLOSES, "closed\n", "genvar: terminated; the same command continues where this one stopped\n"),
        (_SWALLOWS, "ready\n", ""),  # a second time: it lives on, for a while
        (_ANOTHER_HANDLER, "", ""),
    ],
    ids=["closes what is open", "the exception is swallowed", "a library took the handler"],
)
def test_it_ends_with_143_whatever_happens(body: str, said: str, sentence: str) -> None:
    process = _started(body)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 143, errors
    assert (out, errors) == (said, sentence)


def test_the_end_of_a_forked_child_is_not_that_of_its_parent() -> None:
    body = """
with guarded(debug=False):
    child = os.fork()
    if child == 0:
        print("ready", flush=True)
        time.sleep(60)
    _, status = os.waitpid(child, 0)
    time.sleep(3 * guard.SECONDS_TO_CLOSE)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
    process = _started(body)
    [child] = [int(text) for text in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    subprocess.run(["kill", "-TERM", str(child)], check=True)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "143\n"), errors


def _started(body: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _START + body]
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process

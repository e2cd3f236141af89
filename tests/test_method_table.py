"""docs/method.md against the code: its step is the one that runs, and its tables name what is there."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.plan import STAGES

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "method.md").read_text()
FUNCTIONS = sorted(set(re.findall(r"`((?:reid_core|stages)\.[\w.]+)`", TEXT)))
SETTINGS = sorted(set(re.findall(r"`(\w+\.[\w.]+)` = (\[[^]]*\]|[^\s,;|]+)", TEXT)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_where_they_are_said_to_be(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_tests_exist() -> None:
    written = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 50
    assert named <= written, sorted(named - written)


@pytest.mark.parametrize(("setting", "written"), SETTINGS)
def test_defaults_are_as_written(setting: str, written: str) -> None:
    stage, *path = setting.split(".")
    value: Any = {each.name: each for each in STAGES}[stage].config()
    for name in path:
        value = getattr(value, name)
    assert (list(value) if isinstance(value, tuple) else value) == json.loads(written)


def test_the_printed_step_is_the_one_that_is_compared_with_ours() -> None:
    # tests/benchmarks/test_training.py runs it beside the joint step.
    plain = (ROOT / "benchmarks" / "plain_training.py").read_text()
    [block] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    imports, _, step = block.partition("TAU = ")
    assert plain.endswith(f"TAU = {step}")
    assert all(line in plain for line in imports.splitlines())
    assert len([line for line in step.splitlines() if line.strip()]) <= 65

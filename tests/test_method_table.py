"""The tables of docs/method.md against the code: functions, tests and defaults are as they say."""

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

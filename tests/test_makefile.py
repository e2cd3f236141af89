"""The entrance of a newcomer: make finds Python, installs once, and hands its settings to the command line."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

# Stands in for the interpreter of a virtual environment, so that nothing is installed: notes each call of pip.
INTERPRETER = f"""#!/bin/sh
case "$*" in
  *"pip install"*) echo "$*" >> calls; cat says; exit "$(cat ends)" ;;
  *) exec "{sys.executable}" "$@" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what make needs, and an environment that was created but not filled."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "infra" / "environment", tmp_path / "infra" / "environment")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(INTERPRETER)
    python.chmod(0o755)
    (tmp_path / "says").write_text("Collecting torch\n  Downloading torch-2.12.1-cp311.whl (532.2 MB)\n")
    (tmp_path / "ends").write_text("0")
    return tmp_path


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Settings of a make that runs these tests would reach the one under test.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    for name in ("DATASET", "DATA_ROOT", "PRESET", "SEED", "SEEDS", "EXECUTOR", "ARGS", "PYTHON"):
        inherited.pop(name, None)
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def installations(folder: Path) -> int:
    calls = folder / "calls"
    return len(calls.read_text().splitlines()) if calls.exists() else 0


def test_it_installs_once_and_says_that_it_takes_minutes(checkout: Path) -> None:
    first = make(checkout, "venv")
    assert first.returncode == 0, first.stderr
    assert "2 to 15 minutes" in first.stdout
    assert "torch 2.12.1 (532.2 MB)" in first.stdout
    assert "Collecting" not in first.stdout
    start = time.monotonic()
    assert make(checkout, "venv").stdout == ""
    assert time.monotonic() - start < 2
    assert installations(checkout) == 1
    assert "-c constraints.txt -e .[dev]" in (checkout / "calls").read_text()


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_it_installs_again_when_what_it_installs_from_changed(checkout: Path, name: str) -> None:
    make(checkout, "venv")
    (checkout / name).touch()  # a new date alone, as after a checkout, changes nothing
    make(checkout, "venv")
    assert installations(checkout) == 1
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    make(checkout, "venv")
    assert installations(checkout) == 2


def test_a_failed_installation_says_so_and_is_tried_again(checkout: Path) -> None:
    (checkout / "ends").write_text("1")
    (checkout / "says").write_text("ERROR: No matching distribution found for torch==2.12.1\n")
    failed = make(checkout, "venv")
    assert failed.returncode != 0
    assert "No matching distribution" in failed.stderr
    assert "The same command tries again" in failed.stderr
    (checkout / "ends").write_text("0")
    assert make(checkout, "venv").returncode == 0
    assert installations(checkout) == 2


def test_no_python_is_one_clear_sentence_and_leaves_nothing(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    failed = make(checkout, "venv", PYTHON="python-that-is-not-there")
    assert failed.returncode != 0
    assert "genvar needs Python 3.10, 3.11 or 3.12" in failed.stderr
    assert not (checkout / ".venv").exists()


def test_a_name_that_only_prints_an_error_is_not_taken_for_python(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    shim = tmp_path / "python-shim"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    failed = make(checkout, "venv", PYTHON=str(shim))
    assert "found none of" in failed.stderr


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ((), ""),
        (("DATASET=folder", "DATA_ROOT=/a b/c"), ' --dataset "folder" --data-root "/a b/c"'),
        (("PRESET=small", "SEED=3", "EXECUTOR=local"), ' --preset "small" --seed "3" --executor "local"'),
        (("SEEDS=0,1", "ARGS=--dry-run a.b=1"), ' --seeds "0,1" --dry-run a.b=1'),
    ],
)
def test_settings_reach_the_command_line(checkout: Path, settings: tuple[str, ...], wanted: str) -> None:
    printed = make(checkout, "--dry-run", "pipeline", *settings).stdout
    assert " ".join(printed.splitlines()[-1].split()) == f".venv/bin/genvar pipeline{wanted}"


def test_a_reproduction_takes_the_same_settings(checkout: Path) -> None:
    printed = make(checkout, "--dry-run", "reproduce", "DATASET=msmt17", "DATA_ROOT=/data", "SEEDS=0,1,2").stdout
    wanted = '.venv/bin/genvar reproduce --dataset "msmt17" --data-root "/data" --seeds "0,1,2"'
    assert " ".join(printed.splitlines()[-1].split()) == wanted


def test_help_names_every_target(checkout: Path) -> None:
    printed = make(checkout, "help").stdout
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    assert [target for target in targets[1].split() if f"make {target} " not in printed] == []


def test_every_dependency_has_a_pin_within_its_range() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            assert str(pin.specifier).startswith("=="), f"{line} is no exact pin"
            pins[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate():
            assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), text


def test_the_ci_runs_what_the_readme_tells() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert script.index("make lint") < script.index("make type") < script.index("make test")
    assert "make test" in (ROOT / "README.md").read_text()

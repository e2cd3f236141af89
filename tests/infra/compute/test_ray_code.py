from pathlib import Path

from ray._private.runtime_env.packaging import create_package

from infra.compute.ray_cluster import PACKAGES, package_folders, shipped_code

_ROOT = Path(__file__).parents[3]


def test_the_four_packages_travel_and_nothing_beside_them() -> None:
    assert [folder.name for folder in package_folders()] == list(PACKAGES)
    shipped = shipped_code()
    assert shipped["py_modules"] == [str(_ROOT / name) for name in PACKAGES]
    assert "working_dir" not in shipped  # a checkout holds runs and often data


def test_what_is_uploaded_is_small_and_whole(tmp_path: Path) -> None:
    shipped = shipped_code()
    total = 0
    for folder in shipped["py_modules"]:
        package = tmp_path / f"{Path(folder).name}.zip"
        create_package(folder, package, include_gitignore=True, include_parent_dir=True, excludes=shipped["excludes"])
        assert package.stat().st_size > 20_000, f"{folder} would arrive empty"
        total += package.stat().st_size
    assert total < 2_000_000


def test_data_in_a_package_stays_at_home(tmp_path: Path) -> None:
    folder = tmp_path / "reid_core"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    for name in ("weights.pt", "a.safetensors", "person.jpg", "memory.npy", "part.parquet"):
        (folder / "data" / name).write_bytes(b"0" * 100_000)
    package = tmp_path / "package.zip"
    excludes = shipped_code()["excludes"]
    create_package(str(folder), package, include_gitignore=True, include_parent_dir=True, excludes=excludes)
    assert package.stat().st_size < 1000


def test_no_secret_of_the_environment_travels() -> None:
    assert set(shipped_code()["env_vars"]) == {
        "GOMP_SPINCOUNT",
        "RAY_TRAIN_ENABLE_PRINT_PATCH",
        "MLFLOW_DISABLE_TELEMETRY",
    }

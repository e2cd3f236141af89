import errno
import os
import socket
import time
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import create_package

from infra.compute import ray_cluster
from infra.compute.ray import RayCompute
from infra.compute.ray_cluster import PACKAGES, package_folders, probe_address, shipped_code, started_in_time
from reid_core.errors import UserError

_ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("address", ["", "local", "auto"])
def test_addresses_without_a_place_are_not_probed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *place, **_: probed.append(place))
    monkeypatch.setenv("RAY_ADDRESS", address)
    probe_address()
    assert probed == []


def test_an_address_that_does_not_answer_is_refused_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    start = time.monotonic()
    with pytest.raises(UserError, match=f"no Ray cluster answers at RAY_ADDRESS=127.0.0.1:{port}"):
        RayCompute().check()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("address", ["somewhere", "host:port", ":"])
def test_an_address_that_is_none_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match='should be "host:port"'):
        probe_address()


def test_making_the_compute_starts_nothing() -> None:
    compute = RayCompute(num_cpus=1)
    compute.close()
    assert "_resources" not in vars(compute)


def test_the_environment_is_left_alone_until_work_starts() -> None:
    before = dict(os.environ)
    RayCompute().close()
    assert dict(os.environ) == before


def test_a_start_that_takes_too_long_is_a_sentence_and_nothing_else_is() -> None:
    with pytest.raises(UserError, match="could not start within 30 seconds"), started_in_time():
        raise Exception("The current node timed out during startup. This could happen because")  # as Ray raises it
    with pytest.raises(ValueError, match="something else"), started_in_time():
        raise ValueError("something else")


def test_a_machine_without_shared_memory_or_loopback_is_not_called_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start() -> None:
        with started_in_time():
            raise RuntimeError("The current node timed out during startup")

    def read_only(**options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def no_loopback(*arguments: object, **options: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    with monkeypatch.context() as machine:
        machine.setattr(ray_cluster, "SHARED_MEMORY", str(tmp_path))
        machine.setattr("tempfile.TemporaryFile", read_only)
        with pytest.raises(UserError, match=r"shared memory at .* cannot be written \(Read-only file system\)"):
            start()
    with monkeypatch.context() as machine:
        machine.setattr("socket.create_server", no_loopback)
        with pytest.raises(UserError, match=r"loopback 127.0.0.1 cannot be used \(Cannot assign requested address\)"):
            start()
    with pytest.raises(UserError, match="perhaps because the machine is busy"):
        start()


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

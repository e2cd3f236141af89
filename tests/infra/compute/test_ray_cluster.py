import os
import socket
import time

import pytest

from infra.compute.ray import RayCompute
from infra.compute.ray_cluster import probe_address
from reid_core.errors import UserError


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

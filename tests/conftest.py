"""What holds for all tests."""

import os
from collections.abc import Iterator

import pytest

_ADDRESSES = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")


@pytest.fixture(autouse=True)
def no_address_comes_or_goes() -> Iterator[None]:
    """Keep a test from using servers of the machine it runs on, or those of another test: MLflow writes its own."""
    before = {name: os.environ.pop(name) for name in _ADDRESSES if name in os.environ}
    yield
    for name in _ADDRESSES:
        os.environ.pop(name, None)
    os.environ.update(before)

"""The door itself; what is behind it is tested beside ``reid_core.api``."""

import subprocess
import sys

import pytest

import genvar


def test_importing_loads_no_library_before_it_is_used() -> None:
    code = (
        "import sys, genvar; assert not {'torch', 'numpy'} & set(sys.modules); "
        "assert dir(genvar) == genvar.__all__; from genvar import UserError; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_there() -> None:
    assert all(getattr(genvar, name) is not None for name in genvar.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_encode'"):
        genvar.load_encode  # noqa: B018


def test_losses_are_functions_of_the_method() -> None:
    from reid_core.losses import contrastive

    assert genvar.losses.memory_nce is contrastive.memory_nce
    assert all(callable(getattr(genvar.losses, name)) for name in genvar.losses.__all__)

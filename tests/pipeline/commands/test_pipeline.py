import pytest

from pipeline.commands.pipeline import _seeds
from reid_core.errors import UserError


def test_one_seed_or_several() -> None:
    assert _seeds(None, None) == ()
    assert _seeds(7, None) == (7,)
    assert _seeds(None, "0, 2 5") == (0, 2, 5)


@pytest.mark.parametrize("text", ["", "1,1", "one"])
def test_seeds_that_are_not_seeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--seeds wants"):
        _seeds(None, text)


def test_one_way_to_give_seeds_at_a_time() -> None:
    with pytest.raises(UserError, match="not both"):
        _seeds(1, "2,3")

import pytest

from pipeline.commands.pipeline import parse_seeds
from reid_core.errors import UserError


def test_one_seed_or_several() -> None:
    assert parse_seeds(None, None) == ()
    assert parse_seeds(7, None) == (7,)
    assert parse_seeds(None, "0, 2 5") == (0, 2, 5)


@pytest.mark.parametrize("text", ["", "1,1", "one"])
def testparse_seeds_that_are_notparse_seeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--seeds wants"):
        parse_seeds(None, text)


def test_one_way_to_giveparse_seeds_at_a_time() -> None:
    with pytest.raises(UserError, match="not both"):
        parse_seeds(1, "2,3")

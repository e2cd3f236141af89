from dataclasses import replace

import pytest

from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.errors import UserError


def test_more_people_or_other_shards_do_not_change_a_picture() -> None:
    settings = SyntheticSettings()
    assert replace(settings, num_train_people=7, people_per_shard=2).digest() == settings.digest()
    assert replace(settings, seed=1).digest() != settings.digest()
    assert replace(settings, image_height=64).digest() != settings.digest()


@pytest.mark.parametrize(
    ("name", "value"), [("num_cameras", 1), ("images_per_person", 2), ("num_train_people", 0), ("image_width", 8)]
)
def test_out_of_range_is_named(name: str, value: int) -> None:
    with pytest.raises(UserError, match=f"{name} .* got {value}"):
        replace(SyntheticSettings(), **{name: value})  # type: ignore[arg-type]


def test_unknown_topology_is_named() -> None:
    with pytest.raises(UserError, match="'cube'"):
        SyntheticSettings(topology="cube")

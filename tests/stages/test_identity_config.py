import pytest
from pydantic import ValidationError

from reid_core.data.augment import Augmentation
from stages.identity import IdentityConfig


def test_the_global_batch_is_clusters_times_images() -> None:
    assert IdentityConfig(clusters_per_batch=4, images_per_cluster=6).batch_size == 24


def test_settings_of_the_library_are_checked_here() -> None:
    assert IdentityConfig.model_validate({"augmentation": {"pad": 3}}).augmentation == Augmentation(pad=3)
    for wrong in ({"pad": -1}, {"flip_probability": 2}, {"pads": 3}):
        with pytest.raises(ValidationError):
            IdentityConfig.model_validate({"augmentation": wrong})

import pytest

from stages.joint import ContrastConfig, JointConfig


@pytest.mark.parametrize(
    ("settings", "generates"),
    [
        ({}, True),
        ({"views": "classical"}, True),  # D-mixup still needs the generator
        ({"views": "classical", "mixing": "fmixup"}, True),
        ({"views": "classical", "mixing": "image"}, False),
        ({"views": "classical", "mixing": "none"}, False),
        ({"views": "both", "mixing": "none"}, True),
    ],
)
def test_whether_anything_is_generated(settings: dict[str, str], generates: bool) -> None:
    assert JointConfig.model_validate(settings).generates is generates


def test_the_progress_bar_counts_images_where_their_number_is_fixed() -> None:
    assert JointConfig().images_per_epoch == 0
    assert JointConfig(iterations_per_epoch=25, batch_size=8).images_per_epoch == 200


def test_each_contrastive_term_has_its_weight() -> None:
    weights = ContrastConfig(rotation_weight=0.5, mixing_weight=0.25).weights_by_term()
    assert weights == {"rotation_contrast": 0.5, "mixing_contrast": 0.25}

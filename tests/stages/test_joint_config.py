import pytest

from reid_core.learning.joint_step import ContrastSettings
from stages.joint import JointConfig
from stages.training.data import GeneratorOptimConfig


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


def test_each_contrastive_term_has_its_weight() -> None:
    weights = ContrastSettings(rotation_weight=0.5, mixing_weight=0.25).by_term()
    assert weights == {"rotation_contrast": 0.5, "mixing_contrast": 0.25}


def test_all_learning_rates_fall_to_a_tenth_together() -> None:
    config = JointConfig(lr=1e-3, lr_step_epochs=10, optim=GeneratorOptimConfig(lr=2e-4, discriminator_lr=4e-4))
    assert config.learning_rates(9) == {"encoder": 1e-3, "generator": 2e-4, "discriminator": 4e-4}
    for name, rate in config.learning_rates(10).items():
        assert rate == pytest.approx(config.learning_rates(0)[name] / 10)
    assert config.learning_rates(25)["encoder"] == pytest.approx(1e-5)


def test_how_often_the_generator_and_the_discriminator_are_updated() -> None:
    def updates(every: int, discriminator_every: int = 1) -> list[tuple[bool, bool]]:
        optim = GeneratorOptimConfig(discriminator_every=discriminator_every)
        config = JointConfig(generator_every=every, optim=optim)
        return [(config.updates_generator(i), config.updates_discriminator(i)) for i in range(4)]

    assert updates(1) == [(True, True)] * 4
    assert updates(2) == [(True, True), (False, False)] * 2
    assert updates(1, 2) == [(True, True), (True, False)] * 2
    assert updates(0) == [(False, False)] * 4  # never


def test_classical_views_alone_generate_no_rotation() -> None:
    assert JointConfig().generation().rotation
    assert not JointConfig(views="classical").generation().rotation
    assert not JointConfig(rotation=False).generation().rotation

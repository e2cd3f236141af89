"""What an epoch decides by itself; whole epochs are run in test_joint.py."""

import pytest

from stages.joint import JointConfig, _settings, _turn, learning_rates
from stages.training.data import GeneratorOptimConfig


def test_all_learning_rates_fall_to_a_tenth_together() -> None:
    config = JointConfig(lr=1e-3, lr_step_epochs=10, optim=GeneratorOptimConfig(lr=2e-4, discriminator_lr=4e-4))
    assert learning_rates(config, 9) == {"encoder": 1e-3, "generator": 2e-4, "discriminator": 4e-4}
    for name, rate in learning_rates(config, 10).items():
        assert rate == pytest.approx(learning_rates(config, 0)[name] / 10)
    assert learning_rates(config, 25)["encoder"] == pytest.approx(1e-5)


def test_how_often_the_generator_is_updated() -> None:
    assert [_turn(iteration, 2) for iteration in range(4)] == [True, False, True, False]
    assert all(_turn(iteration, 1) for iteration in range(4))
    assert not any(_turn(iteration, 0) for iteration in range(4))  # 0: never


def test_classical_views_alone_generate_no_rotation() -> None:
    assert _settings(JointConfig())[0].rotation
    assert not _settings(JointConfig(views="classical"))[0].rotation
    assert not _settings(JointConfig(rotation=False))[0].rotation

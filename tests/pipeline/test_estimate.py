import logging

import pytest

from pipeline.estimate import duration, encoder_gflop, training_gflop, warn_of_cpus
from pipeline.plan import STAGES
from pipeline.presets import PRESETS
from stages.stage import Prospect, StageConfig

_MARKET = Prospect(12_936, 6, is_rendered=False, not_ranked=None, image_size=(256, 128))
_RENDERED = Prospect(800, 4, is_rendered=True, not_ranked=None, image_size=(64, 32))


def _configs(preset: str) -> dict[str, StageConfig]:
    return {stage.name: stage.config() for stage in STAGES} | PRESETS[preset]("synthetic")


def test_the_published_schedule_by_hand() -> None:
    gflop = training_gflop(_configs("paper"), _MARKET)
    assert gflop["identity"] == pytest.approx(50 * (3 * 400 * 256 + 12_936) * 8.1065, rel=1e-3)
    assert gflop["generator"] == pytest.approx(40 * 12_936 * 258)
    assert gflop["joint"] == pytest.approx(20 * 12_936 * 322)


def test_operations_of_an_encoder_fall_with_its_pixels() -> None:
    assert encoder_gflop("resnet50", (256, 128)) == pytest.approx(8.1, abs=0.05)
    assert encoder_gflop("resnet10", (64, 32)) == pytest.approx(1.865 / 16, rel=0.01)


def test_weeks_are_said_before_any_work(caplog: pytest.LogCaptureFixture) -> None:
    every = {stage.name: 1 for stage in STAGES}
    with caplog.at_level(logging.WARNING):
        warn_of_cpus(_configs("tiny"), every, _RENDERED, 2)
        warn_of_cpus(_configs("paper"), {"data": 1, "mesh": 1}, _MARKET, 2)
        assert not caplog.messages, "some ten minutes, and stages without training"
        warn_of_cpus(_configs("paper"), every, _MARKET, 2)
    [message] = caplog.messages
    assert "no GPU is usable for this: the training (identity, generator, joint) would take" in message
    assert "about 5 weeks on 2 CPUs" in message


def test_durations_in_words() -> None:
    assert [duration(hours) for hours in (5.2, 50, 900)] == ["5 hours", "2 days", "5 weeks"]

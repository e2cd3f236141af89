import re
from pathlib import Path
from typing import get_args

import pytest

from pipeline.commands.options import PresetName
from pipeline.plan import STAGES
from pipeline.presets import PRESETS, preset
from pipeline.tune.space import READY_SPACES
from reid_core.errors import UserError
from stages.cluster import ClusterStageConfig
from stages.data import DataConfig
from stages.generator import GeneratorConfig
from stages.identity import IdentityConfig
from stages.joint import JointConfig


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_configures_stages_that_exist(name: str) -> None:
    classes = {stage.name: stage.config for stage in STAGES}
    for stage, config in PRESETS[name]("synthetic").items():
        assert isinstance(config, classes[stage])


@pytest.mark.parametrize(
    ("dataset", "name", "height"),
    [("synthetic", "tiny", 64), ("folder", "tiny", 64), ("msmt17", "paper", 256), ("market1501", "paper", 256)],
)
def test_the_data_set_chooses_the_preset(dataset: str, name: str, height: int) -> None:
    chosen, configs = preset(None, dataset)
    assert chosen == name
    data = configs["data"]
    assert isinstance(data, DataConfig)
    assert (data.dataset, data.image_height, data.image_width) == (dataset, height, height // 2)


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_the_first_clustering_is_the_one_of_the_warm_up(name: str) -> None:
    configs = PRESETS[name]("synthetic")
    cluster, identity = configs["cluster"], configs["identity"]
    assert isinstance(cluster, ClusterStageConfig)
    assert isinstance(identity, IdentityConfig)
    assert cluster.clustering == identity.clustering


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UserError, match='--preset wants one of tiny, small, paper, but got "huge"'):
        preset("huge", "synthetic")


def test_help_and_makefile_name_every_preset_and_space() -> None:
    [_, option] = get_args(PresetName)
    assert re.findall(r"(\w+) \(", option.help) == list(PRESETS)
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    for names in (PRESETS, READY_SPACES):
        assert "=" + "|".join(names) in makefile


def _trainings(name: str) -> tuple[IdentityConfig, GeneratorConfig, JointConfig]:
    configs = PRESETS[name]("synthetic")
    identity, generator, joint = configs["identity"], configs["generator"], configs["joint"]
    assert isinstance(identity, IdentityConfig)
    assert isinstance(generator, GeneratorConfig)
    assert isinstance(joint, JointConfig)
    return identity, generator, joint


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_joint_training_goes_on_with_the_weights_and_clusters_of_the_warm_ups(name: str) -> None:
    identity, generator, joint = _trainings(name)
    assert joint.weights == generator.weights
    assert joint.clustering == identity.clustering


def test_the_tiny_generator_reconstructs_first_then_turns_then_meets_the_discriminator() -> None:
    _, generator, _ = _trainings("tiny")
    assert 0 < generator.rotation_from_epoch < generator.adversarial_from_epoch < generator.num_epochs


def test_the_tiny_preset_switches_nothing_of_the_method_off() -> None:
    _, generator, joint = _trainings("tiny")
    assert joint.rotation
    assert (joint.mixing, joint.views, len(joint.angles)) == ("dmixup", "both", 7)
    assert joint.generator_every > 0
    assert generator.weights.r1 > 0

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.models.discriminator import Discriminator
from reid_core.models.weights import load_discriminator, load_generator, load_identity
from stages import generator, identity, joint
from stages.training.hardware import HardwareConfig
from tests.stages.small_configs import GENERATOR, IDENTITY, JOINT

CPU = torch.device("cpu")
FAST = HardwareConfig(precision="bfloat16", channels_last=True)


@pytest.fixture(scope="module")
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1, deterministic=True)
    yield local
    local.close()


def test_batches_are_the_same_ahead_and_not() -> None:
    for prefetch in (False, True):
        assert list(HardwareConfig(prefetch=prefetch).loading(iter(range(1, 4)), CPU)) == [1, 2, 3]


def test_settings_reach_the_networks_and_leave_the_weights() -> None:
    network = Discriminator(4)
    names = list(network.state_dict())
    FAST.prepare(network)
    assert network.computes_in == torch.bfloat16
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    [first] = [module for module in network.scales[0].modules() if isinstance(module, nn.Conv2d)][:1]
    assert first.weight.is_contiguous(memory_format=torch.channels_last)
    assert list(network.state_dict()) == names
    HardwareConfig().prepare(network)
    assert network.computes_in is None


@pytest.mark.parametrize(("stage", "config"), [(identity, IDENTITY), (generator, GENERATOR), (joint, JOINT)])
def test_stages_train_in_bfloat16_and_leave_weights_in_float32(
    upstream: dict[str, Path], tmp_path: Path, compute: LocalCompute, stage: Any, config: Any
) -> None:
    fast = config.model_copy(update={"num_epochs": 1, "hardware": FAST})
    stage.run(fast, upstream, tmp_path / "out", compute, SilentTracker())
    row = json.loads((tmp_path / "out" / "history.jsonl").read_text())
    plain = upstream[stage.STAGE.name] if stage is not joint else upstream["generator"]
    wanted = json.loads((plain / "history.jsonl").read_text().splitlines()[0 if stage is not joint else 1])
    for term in {"cluster_contrast", "image_reconstruction", "image_cycle"} & wanted.keys():
        assert row[term] == pytest.approx(wanted[term], rel=0.05 if stage is not joint else 0.1), term
    loaders = {"generator": load_generator, "discriminator": load_discriminator}
    for path in (tmp_path / "out").glob("*.safetensors"):
        network = loaders.get(path.stem, load_identity)(path)
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
        assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())

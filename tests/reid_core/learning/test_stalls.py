"""Inside a step no number travels from the device to the host, or only where an optimiser has to be told."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from reid_core.learning.generated_encoder import GeneratedEncoder
from reid_core.learning.generator_step import (
    GenerationSettings,
    GenerationWeights,
    Networks,
    Optimisers,
    generator_step,
)
from reid_core.learning.identity_step import CameraContrast, CameraSettings, identity_step
from reid_core.learning.joint_step import ContrastSettings, JointBatch, joint_step
from reid_core.learning.memory import (
    EpochTargets,
    FeatureMemory,
    MomentumPrototypes,
    cluster_means,
    lay_out_proxies,
    proxy_means,
)
from reid_core.learning.timer import Timer
from stages.training.log import READ_EVERY, EpochLog
from tests.reid_core.learning.networks import draw_contrast, settings, small_batch, small_networks

LABELS, CAMERAS = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
# What makes the host wait for a GPU: reading a number, and shapes that depend on values.
WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::bincount")


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        indices = args[1] if name.startswith("aten::index") and len(args) > 1 else ()
        columns = indices if isinstance(indices, list | tuple) else ()
        masked = any(isinstance(column, Tensor) and column.dtype == torch.bool for column in columns)
        if name in WAITING or masked:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def _optimisers(networks: Networks, *, fused: bool) -> Optimisers:
    encoder = [parameter for parameter in networks.encoder.parameters() if parameter.requires_grad]
    return Optimisers(
        torch.optim.SGD(encoder, lr=1e-5, momentum=0.9, fused=fused),
        torch.optim.Adam(networks.generator.parameters(), lr=1e-5, fused=fused),
        torch.optim.Adam(networks.discriminator.parameters(), lr=1e-5, fused=fused),
    )


def _joint(how: GenerationSettings, contrast: ContrastSettings, *, fused: bool, group_size: int = 0) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    networks = small_networks()
    for network in vars(networks).values():
        network.train()
    encoder = GeneratedEncoder(networks.encoder, 4, group_size)
    memory, indices = FeatureMemory(torch.randn(4, 512, generator=generator)), torch.arange(4)
    source = small_batch(generator, [True, False, True, True])
    batch = JointBatch(source, None, indices, *draw_contrast(LABELS, indices, num_negatives=9, generator=generator))
    targets = EpochTargets(LABELS, cluster_means(memory.features, LABELS), None)
    optimisers, timer = _optimisers(networks, fused=fused), Timer()
    with Waits() as waits:
        result = joint_step(
            networks,
            optimisers,
            encoder,
            batch,
            memory,
            targets,
            how,
            contrast,
            train_generator=True,
            discriminate=True,
            timer=timer,
        )
        memory.update(batch.indices, result.features, skip=result.skipped)
    names: list[str] = waits.names
    return names


@pytest.mark.parametrize("mixing", ["dmixup", "image"])
@pytest.mark.parametrize("group_size", [0, 2])
def test_a_joint_step_with_fused_optimisers_never_waits(mixing: Any, group_size: int) -> None:
    contrast = ContrastSettings(swap_background=mixing == "image")
    assert _joint(settings(mixing=mixing), contrast, fused=True, group_size=group_size) == []


def test_other_optimisers_are_told_once_an_update() -> None:
    # Adam counts its steps on the host, where reading waits for nothing; the discriminator and the rest ask once each.
    names = _joint(settings(), ContrastSettings(), fused=False)
    assert set(names) == {"aten::_local_scalar_dense"}
    assert len(names) - _reads_of_adam() == 2


def _reads_of_adam() -> int:
    networks = small_networks()
    optimisers = _optimisers(networks, fused=False)
    for network in (networks.generator, networks.discriminator):
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
    with Waits() as waits:
        optimisers.generator.step()
        optimisers.discriminator.step()
    return len(waits.names)


def test_the_warm_ups_never_wait(generator: torch.Generator) -> None:
    networks = small_networks()
    optimisers = _optimisers(networks, fused=True)
    assert optimisers.encoder is not None
    layout, features = lay_out_proxies(LABELS, CAMERAS), torch.randn(4, 512, generator=generator)
    prototypes = MomentumPrototypes(cluster_means(features, LABELS))
    cameras = CameraContrast(
        MomentumPrototypes(proxy_means(features, layout), update_by="mean"), layout, CameraSettings(weight=0.5)
    )
    encoder = GeneratedEncoder(networks.encoder.train(), 4)
    images, source = torch.rand(4, 3, 32, 16, generator=generator), small_batch(generator, [True] * 4)
    how = GenerationSettings(rotation=True, mixing="dmixup", weights=GenerationWeights(), clip_norm=5.0)
    with Waits() as waits:
        identity_step(
            encoder,
            optimisers.encoder,
            prototypes,
            images,
            LABELS,
            temperature=0.05,
            cameras=cameras,
            proxies=layout.of_image,
        )
        networks.encoder.eval().requires_grad_(False)
        generator_step(networks, optimisers, source, how, adversarial=True, discriminate=True, timer=Timer())
    assert waits.names == []


def test_an_epochs_log_is_read_once_in_so_many_iterations() -> None:
    log = EpochLog(Timer())
    with Waits() as waits:
        for _ in range(READ_EVERY - 1):
            log.add({"image": torch.tensor(1.0)}, 4, norms={"encoder": torch.tensor(2.0)}, skipped=torch.tensor(0))
    assert waits.names == []
    assert log.newest(shown="image") == {}
    log.add({"image": torch.tensor(3.0)}, 4, norms={"encoder": torch.tensor(2.0)}, skipped=torch.tensor(0))
    assert log.newest(shown="image") == {"shown": 3.0}

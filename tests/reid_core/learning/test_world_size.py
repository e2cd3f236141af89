"""One rank or two: the same losses, the same weights, the same memory, step by step.

In double precision, so that little but a mistake could make a difference: in single precision rounding grows from
step to step, because Adam's division and contrast at a low temperature are steep. Joint training of untrained networks
is steep enough for double precision too: there the last test tells rounding from a mistake.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from reid_core.distributed import gather_batch, own_slice, synchronise_buffers, whole_mean
from reid_core.learning.generated_encoder import GeneratedEncoder
from reid_core.learning.generation import GenerationBatch, Turnable
from reid_core.learning.generator_step import Networks, Optimisers, generator_step
from reid_core.learning.identity_step import CameraContrast, CameraSettings, identity_step
from reid_core.learning.joint_step import ContrastSettings, JointBatch, joint_step
from reid_core.learning.memory import (
    EpochTargets,
    FeatureMemory,
    MomentumPrototypes,
    ProxyLayout,
    cluster_means,
    lay_out_proxies,
    proxy_means,
)
from reid_core.learning.mixing import MixingKind, draw_mixture
from reid_core.learning.timer import Timer
from tests.reid_core.learning.networks import draw_contrast, settings, small_networks

STEPS = 20  # of the slow tests
SOME = 4  # one of each kind of mesh
FEW = 2  # where only the wiring differs from a longer case
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 2, -1])
CAMERAS = torch.tensor([0, 1, 0, 1, 0, 1, 1, 0])
# Rank 1 of two has the images 1 and 3: with one mesh, with none, with all.
MESHES = ([True, True, True, False], [True, False, True, False], [True] * 4, [False] * 4)


def _networks(disturbance: float = 0.0) -> Networks:
    """Return untrained networks; ``disturbance`` moves each weight by about this share of itself."""
    networks = small_networks()
    noise = torch.Generator().manual_seed(4)
    for network in (networks.encoder, networks.generator, networks.discriminator):
        for parameter in network.double().parameters():
            factor = 1 + disturbance * torch.randn(parameter.shape, generator=noise, dtype=torch.float64)
            parameter.data.mul_(factor)
    return networks


def _optimisers(networks: Networks, eps: float = 1e-8) -> Optimisers:
    trained = [parameter for parameter in networks.encoder.parameters() if parameter.requires_grad]
    return Optimisers(
        torch.optim.SGD(trained, lr=1e-5, momentum=0.9),  # gradients of untrained networks are steep
        torch.optim.Adam(networks.generator.parameters(), lr=1e-4, eps=eps),
        torch.optim.Adam(networks.discriminator.parameters(), lr=1e-4, eps=eps),
    )


def _source(generator: torch.Generator, has_mesh: list[bool]) -> GenerationBatch:
    def draw(channels: int) -> Tensor:
        return torch.rand(4, channels, 32, 16, generator=generator, dtype=torch.float64) * 2 - 1

    mixture = draw_mixture(4, alpha=0.6, generator=generator).own()
    images, still, turned = (own_slice(draw(channels)) for channels in (3, 1, 1))
    return GenerationBatch(images, still, turned, Turnable.among(torch.tensor(has_mesh)), mixture)


def _rows(generator: torch.Generator) -> Tensor:
    return F.normalize(torch.randn(8, 512, generator=generator, dtype=torch.float64), dim=1)


def _identity(group_size: int, steps: int) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(1)
    network = _networks().encoder.train()
    encoder = GeneratedEncoder(network, 4, group_size)
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-4)
    rows = _rows(draws)
    layout = lay_out_proxies(LABELS, CAMERAS)
    prototypes = MomentumPrototypes(cluster_means(rows, LABELS))
    proxies = MomentumPrototypes(proxy_means(rows, layout), update_by="mean")
    aware = CameraContrast(proxies, ProxyLayout(*layout), CameraSettings(weight=0.5))
    curve = []
    for _ in range(steps):
        batch = torch.randperm(7, generator=draws)[:4]
        index = own_slice(batch)
        images = own_slice(torch.rand(4, 3, 32, 16, generator=draws, dtype=torch.float64))
        terms, _ = identity_step(
            encoder,
            optimiser,
            prototypes,
            images,
            LABELS[index],
            temperature=0.05,
            cameras=aware,
            proxies=layout.of_image[index],
        )
        curve.append(_means(terms))
    synchronise_buffers(network)
    moved = {"prototypes": prototypes.features, "proxies": proxies.features}
    return {"curve": torch.stack(curve), **moved, **_flat(network)}


def _generator(steps: int) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(2)
    networks = _networks()
    optimisers = _optimisers(networks)
    networks.encoder.eval().requires_grad_(False)
    curve = []
    for step in range(steps):
        source = _source(draws, MESHES[step % len(MESHES)])
        result = generator_step(
            networks, optimisers, source, settings(), adversarial=True, discriminate=step % 2 == 0, timer=Timer()
        )
        curve.append(_means({name: result.terms[name] for name in ("image_reconstruction", "adversarial")}))
    return {"curve": torch.stack(curve), **_flat(networks.generator), **_flat(networks.discriminator)}


def _joint(
    group_size: int,
    steps: int,
    mixing: MixingKind = "dmixup",
    *,
    meshes: tuple[list[bool], ...] = MESHES,
    swap_background: bool = False,
    eps: float = 1e-8,
    disturbance: float = 0.0,
) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(3)
    networks = _networks(disturbance)
    encoder = GeneratedEncoder(networks.encoder, 4, group_size)
    optimisers = _optimisers(networks, eps)
    memory = FeatureMemory(_rows(draws))
    targets = EpochTargets(LABELS, cluster_means(memory.features, LABELS), CAMERAS)
    for network in (networks.encoder, networks.generator, networks.discriminator):
        network.train()
    curve = []
    for step in range(steps):
        index = torch.randperm(7, generator=draws)[:4]
        source = _source(draws, meshes[step % len(meshes)])
        drawn = draw_contrast(LABELS, index, num_negatives=3, generator=draws, cameras=CAMERAS)
        result = joint_step(
            networks,
            optimisers,
            encoder,
            JointBatch(source, None, own_slice(index), *map(own_slice, drawn)),
            memory,
            targets,
            settings(mixing=mixing),
            ContrastSettings(temperature=0.1, swap_background=swap_background),
            train_generator=step % 3 != 2,
            discriminate=step % 3 == 0,
            timer=Timer(),
        )
        memory.update(index, gather_batch(result.features), skip=result.skipped)
        curve.append(_means({name: result.step.terms[name] for name in ("rotation_contrast", "mixing_contrast")}))
    synchronise_buffers(networks.encoder)
    return {
        "curve": torch.stack(curve),
        "memory": memory.features,
        **_flat(networks.encoder),
        **_flat(networks.generator),
    }


def _means(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([whole_mean(terms[name].reshape(1)) for name in sorted(terms)])


def _flat(network: torch.nn.Module) -> dict[str, Tensor]:
    state = [value.double().flatten() for value in network.state_dict().values()]
    return {type(network).__name__: torch.cat(state)}


CASES: dict[str, Any] = {
    "identity": lambda: _identity(0, SOME),
    "identity in groups of two": lambda: _identity(2, FEW),
    "generator": lambda: _generator(SOME),
    "joint": lambda: _joint(0, SOME),
    # All have a mesh: an image alone in its group is normalised by running statistics, which each rank has of its own.
    "joint in groups of two": lambda: _joint(2, FEW, meshes=([True] * 4,)),
    "joint before other backgrounds": lambda: _joint(0, SOME, swap_background=True),
    "joint with fmixup": lambda: _joint(0, 1, "fmixup"),
    "joint with image mixup": lambda: _joint(0, 1, "image"),
}
LONG: dict[str, Any] = {
    "long identity": lambda: _identity(0, STEPS),
    "long generator": lambda: _generator(STEPS),
    # Adam divides by the root of the second moment plus eps: with a larger eps, gradients of pure rounding stay small.
    "long joint": lambda: _joint(0, STEPS, eps=1e-3),
    "steep joint": lambda: _joint(0, STEPS),
}


def _rank(rank: int, folder: str, names: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save({name: {**CASES, **LONG}[name]() for name in names}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _on_two_ranks(folder: Path, names: list[str]) -> list[Any]:
    spawn(_rank, args=(str(folder), names), nprocs=2)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return _on_two_ranks(tmp_path_factory.mktemp("ranks"), list(CASES))


def _assert_same_on_every_rank(two_ranks: list[Any], name: str, alone: dict[str, Tensor], tolerance: float) -> None:
    for together in two_ranks:
        assert together[name].keys() == alone.keys()
        for what, value in alone.items():
            torch.testing.assert_close(together[name][what], value, atol=tolerance, rtol=tolerance)
            assert torch.equal(together[name][what], two_ranks[0][name][what])  # not one bit between the ranks
    assert all(math.isfinite(value) for value in alone["curve"].flatten().tolist())


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_do_what_one_does(two_ranks: list[Any], name: str) -> None:
    _assert_same_on_every_rank(two_ranks, name, CASES[name](), 1e-6)


def test_groups_matter_and_so_are_configuration(two_ranks: list[Any]) -> None:
    whole, halves = two_ranks[0]["identity"], two_ranks[0]["identity in groups of two"]
    assert float((whole["curve"][:FEW] - halves["curve"]).abs().max()) > 1e-3


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["long identity", "long generator", "long joint"])
def test_for_twenty_steps(tmp_path: Path, name: str) -> None:
    alone = LONG[name]()
    assert len(alone["curve"]) == STEPS
    _assert_same_on_every_rank(_on_two_ranks(tmp_path, [name]), name, alone, 1e-4 if name == "long joint" else 1e-6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_is_left_is_rounding_that_joint_training_amplifies(tmp_path: Path) -> None:
    # One rank whose weights are off by the last bits goes astray as fast as two ranks do: the dynamics are steep, and
    # nothing is drawn or averaged differently. A mistake would show in the first step, at full size.
    alone = LONG["steep joint"]()["curve"]
    disturbed = _joint(0, STEPS, disturbance=1e-15)["curve"]
    together = _on_two_ranks(tmp_path, ["steep joint"])[0]["steep joint"]["curve"]
    by_rank, by_disturbance = ((other - alone).abs().amax(dim=1) for other in (together, disturbed))
    assert float(by_rank[0]) < 1e-13
    assert float(by_disturbance[-1]) > 1e6 * float(by_disturbance[0])
    assert bool((by_rank.cummax(dim=0).values < 100 * by_disturbance.cummax(dim=0).values).all())

"""Where gradients go in joint training: what teaches the encoder, what teaches the generator, and what is stopped."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from reid_core.learning.generated_encoder import GeneratedEncoder
from reid_core.learning.generator_step import GenerationWeights, Optimisers
from reid_core.learning.joint_step import ContrastSettings, JointBatch, JointResult, joint_step
from reid_core.learning.memory import EpochTargets, FeatureMemory, cluster_means
from reid_core.learning.timer import Timer
from reid_core.losses.contrastive import memory_nce
from reid_core.losses.reconstruction import appearance_distance
from tests.reid_core.learning.networks import draw_contrast, settings, small_batch, small_networks

LABELS = torch.tensor([0, 0, 1, 1])
NOTHING = GenerationWeights(image=0.0, feature=0.0, adversarial=0.0)
NO_CONTRAST = ContrastSettings(rotation_weight=0.0, mixing_weight=0.0, temperature=0.1)


def _still(network: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.0)


def _step(weights: GenerationWeights, contrast: ContrastSettings) -> JointResult:
    """Make one step that changes nothing, so that only its gradients tell what would have been learned."""
    generator = torch.Generator().manual_seed(5)
    networks = small_networks()
    for network in (networks.encoder, networks.generator, networks.discriminator):
        network.train()
    memory = FeatureMemory(torch.randn(4, 512, generator=generator))
    source, indices = small_batch(generator, [True] * 4), torch.arange(4)
    return joint_step(
        networks,
        Optimisers(_still(networks.encoder), _still(networks.generator), _still(networks.discriminator)),
        GeneratedEncoder(networks.encoder, 4),
        JointBatch(source, None, indices, *draw_contrast(LABELS, indices, num_negatives=9, generator=generator)),
        memory,
        EpochTargets(LABELS, cluster_means(memory.features, LABELS), None),
        settings(weights=weights),
        contrast,
        train_generator=True,
        discriminate=True,
        timer=Timer(),
    )


@pytest.mark.parametrize("term", ["image", "feature"])
def test_each_generation_term_teaches_generator_and_encoder(term: str) -> None:
    norms = _step(replace(NOTHING, **{term: 1.0}), NO_CONTRAST).step.gradient_norms
    assert float(norms["generator"]) > 0
    assert float(norms["encoder"]) > 0  # through the appearance that is painted


@pytest.mark.parametrize(
    "contrast", [replace(NO_CONTRAST, rotation_weight=1.0), replace(NO_CONTRAST, mixing_weight=1.0)]
)
def test_each_contrast_teaches_the_encoder_and_through_its_images_the_generator(contrast: ContrastSettings) -> None:
    norms = _step(NOTHING, contrast).step.gradient_norms
    assert float(norms["encoder"]) > 0
    assert float(norms["generator"]) > 0


def test_weights_of_zero_switch_everything_off() -> None:
    norms = _step(NOTHING, NO_CONTRAST).step.gradient_norms
    assert float(norms["encoder"]) == 0
    assert float(norms["generator"]) == 0
    assert float(norms["discriminator"]) > 0  # its own loss has no weight to switch it off


def test_deceiving_teaches_the_generator_and_the_discriminator_only_by_its_own_step() -> None:
    with_it = _step(replace(NOTHING, adversarial=1.0), NO_CONTRAST).step
    without = _step(NOTHING, NO_CONTRAST).step
    assert float(with_it.gradient_norms["generator"]) > 0
    assert float(with_it.gradient_norms["discriminator"]) == float(without.gradient_norms["discriminator"])


def test_the_target_of_l_feat_is_a_constant(generator: torch.Generator) -> None:
    generated = torch.randn(2, 4, 3, generator=generator).requires_grad_()
    target = torch.randn(2, 4, 3, generator=generator).requires_grad_()
    appearance_distance(generated, target).sum().backward()  # type: ignore[no-untyped-call]
    assert generated.grad is not None
    assert target.grad is None


def test_the_memory_changes_by_its_update_alone() -> None:
    memory = FeatureMemory(torch.eye(4))
    before = memory.features.clone()
    query = F.normalize(torch.ones(2, 4), dim=1).requires_grad_()
    negatives = torch.ones(2, 4, dtype=torch.bool)
    loss = memory_nce(query, memory.features, torch.tensor([1, 3]), negatives, temperature=0.1)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(memory.features, before)
    assert not memory.features.requires_grad
    memory.update(torch.tensor([0]), torch.eye(4)[1:2])
    assert torch.equal(memory.features[1:], before[1:])
    assert not torch.equal(memory.features[0], before[0])

"""Where gradients go in joint training: what teaches the encoder, what teaches the generator, and what is stopped."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.learning.generated_encoder import BatchNormGroups
from reid_core.learning.generator_step import GenerationSettings, Optimisers
from reid_core.learning.joint_step import ContrastSettings, EncoderPasses, JointBatch, JointResult, joint_step
from reid_core.learning.memory import FeatureMemory, cluster_means
from reid_core.learning.timer import Timer
from reid_core.losses.contrastive import Pool, draw_rows
from reid_core.losses.reconstruction import appearance_distance
from tests.reid_core.learning.networks import WEIGHTS, small_batch, small_networks

LABELS = torch.tensor([0, 0, 1, 1])


def _still(network: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.0)


def _step(weights: dict[str, float], contrast: dict[str, float], *, passes: EncoderPasses = "by_loss") -> JointResult:
    """Make one step that changes nothing, so that only its gradients tell what would have been learned."""
    generator = torch.Generator().manual_seed(5)
    networks = small_networks()
    for network in (networks.encoder, networks.generator, networks.discriminator):
        network.train()
    rows = F.normalize(torch.randn(4, 512, generator=generator), dim=1)
    pool = Pool(rows, LABELS, cluster_means(rows, LABELS), None)
    index = torch.arange(4)
    return joint_step(
        networks,
        Optimisers(_still(networks.encoder), _still(networks.generator), _still(networks.discriminator)),
        JointBatch(
            small_batch(generator, [True] * 4),
            None,
            index,
            pool,
            draw_rows(pool, index, num_negatives=9, generator=generator),
        ),
        GenerationSettings(rotation=True, mixing="dmixup", weights=weights, r1_weight=0.01, clip_norm=5.0),
        ContrastSettings(contrast, 0.1, False, True, passes),
        train_generator=True,
        discriminate=True,
        groups=BatchNormGroups(networks.encoder, 4, 0),
        timer=Timer(),
    )


NOTHING = dict.fromkeys(WEIGHTS, 0.0)
NO_CONTRAST = {"rotation_contrast": 0.0, "mixing_contrast": 0.0}


@pytest.mark.parametrize("term", ["image_reconstruction", "image_cycle", "feature_reconstruction", "feature_cycle"])
def test_each_generation_term_teaches_generator_and_encoder(term: str) -> None:
    norms = _step({**NOTHING, term: 1.0}, NO_CONTRAST).step.gradient_norms
    assert float(norms["generator"]) > 0
    assert float(norms["encoder"]) > 0  # through the appearance that is painted


@pytest.mark.parametrize("term", ["rotation_contrast", "mixing_contrast"])
def test_each_contrast_teaches_the_encoder_and_through_its_images_the_generator(term: str) -> None:
    norms = _step(NOTHING, {**NO_CONTRAST, term: 1.0}).step.gradient_norms
    assert float(norms["encoder"]) > 0
    assert float(norms["generator"]) > 0


def test_weights_of_zero_switch_everything_off() -> None:
    norms = _step(NOTHING, NO_CONTRAST).step.gradient_norms
    assert float(norms["encoder"]) == 0
    assert float(norms["generator"]) == 0
    assert float(norms["discriminator"]) > 0  # its own loss has no weight to switch it off


def test_deceiving_teaches_the_generator_and_the_discriminator_only_by_its_own_step() -> None:
    with_it = _step({**NOTHING, "adversarial": 1.0}, NO_CONTRAST).step
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
    rows = F.normalize(torch.eye(4), dim=1)
    memory = FeatureMemory(rows)
    before = memory.rows.clone()
    pool = Pool(memory.rows, LABELS, cluster_means(memory.rows, LABELS), None)
    query = torch.eye(4)[:2].requires_grad_()
    draws = draw_rows(pool, torch.tensor([0, 2]), num_negatives=9, generator=torch.Generator().manual_seed(0))
    (query @ pool.rows.T).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(memory.rows, before)
    assert not memory.rows.requires_grad
    memory.update(torch.tensor([0]), torch.eye(4)[1:2])
    assert torch.equal(memory.rows[1:], before[1:])
    assert not torch.equal(memory.rows[0], before[0])
    assert len(draws.positive) == 2


def test_encoding_together_changes_batch_statistics_and_nothing_else_is_missing() -> None:
    contrast = {"rotation_contrast": 1.0, "mixing_contrast": 1.0}
    apart, together = _step(WEIGHTS, contrast).step, _step(WEIGHTS, contrast, passes="together").step
    assert apart.terms.keys() == together.terms.keys()
    same = ("image_reconstruction", "discriminator", "r1")  # made before the encoder looks at generated images
    for name in same:
        torch.testing.assert_close(apart.terms[name], together.terms[name])
    values: list[tuple[Tensor, Tensor]] = [(apart.terms[n], together.terms[n]) for n in contrast]
    assert any(not torch.equal(one, other) for one, other in values)

import copy

import pytest
import torch
from torch import nn

from reid_core.learning.generated_encoder import GeneratedEncoder
from reid_core.learning.generator_step import GenerationSettings, GenerationWeights, Networks
from reid_core.learning.joint_step import ContrastSettings, JointBatch, JointResult, joint_step
from reid_core.learning.memory import EpochTargets, FeatureMemory, cluster_means
from reid_core.learning.mixing import MixingKind
from reid_core.learning.timer import Timer
from tests.reid_core.learning.networks import draw_contrast, optimisers_of, settings, small_batch, small_networks

CONTRAST = ContrastSettings(temperature=0.1)
LABELS = torch.tensor([0, 0, 1, 1, 1, -1])


def _step(
    networks: Networks,
    *,
    how: GenerationSettings | None = None,
    classical: bool = False,
    contrast: ContrastSettings = CONTRAST,
    train_generator: bool = True,
    discriminate: bool = True,
    meshes: tuple[bool, ...] = (True,) * 4,
) -> JointResult:
    generator = torch.Generator().manual_seed(3)
    memory = FeatureMemory(torch.randn(6, 512, generator=generator))
    indices = torch.tensor([0, 2, 3, 4])
    source = small_batch(generator, list(meshes))
    drawn = draw_contrast(LABELS, indices, num_negatives=100, generator=generator)
    for network in (networks.encoder, networks.generator, networks.discriminator):
        network.train()
    return joint_step(
        networks,
        optimisers_of(networks, with_encoder=True),
        GeneratedEncoder(networks.encoder, 4),
        JointBatch(source, source.images.flip(3) if classical else None, indices, *drawn),
        memory,
        EpochTargets(LABELS, cluster_means(memory.features, LABELS), None),
        how or settings(),
        contrast,
        train_generator=train_generator,
        discriminate=discriminate,
        timer=Timer(),
    )


def _changed(before: nn.Module, after: nn.Module) -> bool:
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    return any(not torch.equal(old, new) for old, new in pairs)


def test_everything_trains() -> None:
    networks = small_networks()
    before = copy.deepcopy(networks)
    result = _step(networks)
    assert set(result.step.terms) == {
        "image_reconstruction",
        "feature_reconstruction",
        "image_cycle",
        "feature_cycle",
        "adversarial",
        "rotation_contrast",
        "mixing_contrast",
        "discriminator",
        "r1",
    }
    assert _changed(before.encoder, networks.encoder)
    assert _changed(before.generator, networks.generator)
    assert _changed(before.discriminator, networks.discriminator)
    torch.testing.assert_close(result.features.norm(dim=1), torch.ones(4))


def test_a_step_that_only_views_leaves_the_generator_alone() -> None:
    networks = small_networks()
    before = copy.deepcopy(networks)
    result = _step(networks, train_generator=False, discriminate=False)
    assert set(result.step.terms) == {"rotation_contrast", "mixing_contrast"}
    assert _changed(before.encoder, networks.encoder)
    assert not _changed(before.generator, networks.generator)
    assert not _changed(before.discriminator, networks.discriminator)


def test_running_statistics_are_those_of_real_images() -> None:
    networks = small_networks()
    _step(networks)
    reference = small_networks().encoder.train()
    generator = torch.Generator().manual_seed(3)
    torch.randn(6, 512, generator=generator)
    reference(small_batch(generator, [True] * 4).images)
    torch.testing.assert_close(networks.encoder.neck.running_mean, reference.neck.running_mean)
    torch.testing.assert_close(networks.encoder.backbone.bn1.running_var, reference.backbone.bn1.running_var)


@pytest.mark.parametrize("mixing", ["dmixup", "image", "fmixup", "none"])
def test_every_kind_of_mixing(mixing: MixingKind) -> None:
    terms = _step(small_networks(), how=settings(mixing=mixing)).step.terms
    assert ("mixing_contrast" in terms) == (mixing != "none")
    assert all(bool(term.isfinite()) for term in terms.values())


def test_classical_views_need_no_generator() -> None:
    networks = small_networks()
    before = copy.deepcopy(networks)
    terms = _step(
        networks,
        how=settings(rotation=False, mixing="none"),
        classical=True,
        train_generator=False,
        discriminate=False,
    ).step.terms
    assert set(terms) == {"rotation_contrast"}
    assert _changed(before.encoder, networks.encoder)
    assert not _changed(before.generator, networks.generator)


def test_without_a_mesh_mixing_still_teaches() -> None:
    terms = _step(small_networks(), meshes=(False,) * 4).step.terms
    assert "image_cycle" not in terms
    assert {"rotation_contrast", "mixing_contrast"} <= set(terms)


def test_a_single_turned_image_is_encoded_with_the_rest() -> None:
    terms = _step(small_networks(), meshes=(False, True, False, False)).step.terms
    assert all(bool(term.isfinite()) for term in terms.values())


def test_switches_change_the_contrast() -> None:
    plain = _step(small_networks()).step.terms["rotation_contrast"]
    swapped = _step(small_networks(), contrast=ContrastSettings(temperature=0.1, swap_background=True))
    assert float(plain) != float(swapped.step.terms["rotation_contrast"])


def test_contrast_can_leave_the_generator_alone() -> None:
    # Generation weighs nothing here, so any change of the generator could only come from contrast.
    networks = small_networks()
    before = copy.deepcopy(networks)
    _step(
        networks,
        how=settings(weights=GenerationWeights(0.0, 0.0, 0.0, 0.0)),
        contrast=ContrastSettings(temperature=0.1, trains_generator=False),
        discriminate=False,
    )
    assert _changed(before.encoder, networks.encoder)
    assert not _changed(before.generator, networks.generator)


def test_images_that_are_not_numbers_change_neither_networks_nor_memory() -> None:
    networks = small_networks()
    before = copy.deepcopy(networks)
    networks.encoder.neck.weight.data.fill_(float("nan"))
    result = _step(networks)
    assert bool(result.skipped)
    assert int(result.step.skipped) == 1  # the discriminator's update is one of its own
    assert not _changed(before.generator, networks.generator)
    memory = FeatureMemory(torch.eye(4))
    memory.update(torch.tensor([1]), torch.full((1, 4), float("nan")), skip=result.skipped)
    assert torch.equal(memory.features, torch.eye(4))

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reid_core.learning.generated_encoder import BatchNormGroups
from reid_core.learning.generator_step import GenerationSettings, Networks
from reid_core.learning.joint_step import ContrastSettings, JointBatch, JointResult, joint_step
from reid_core.learning.memory import cluster_means
from reid_core.learning.mixing import MixingKind
from reid_core.learning.timer import Timer
from reid_core.losses.contrastive import Pool, draw_rows
from tests.reid_core.learning.networks import optimisers_of, settings, small_batch, small_networks

CONTRAST = ContrastSettings({"rotation_contrast": 1.0, "mixing_contrast": 1.0}, 0.1, False, True)
LABELS = torch.tensor([0, 0, 1, 1, 1, -1])


def _step(
    networks: Networks,
    *,
    rotation: bool = True,
    mixing: MixingKind = "dmixup",
    classical: bool = False,
    contrast: ContrastSettings = CONTRAST,
    train_generator: bool = True,
    discriminate: bool = True,
    has_mesh: bool = True,
) -> JointResult:
    generator = torch.Generator().manual_seed(3)
    rows = F.normalize(torch.randn(6, 512, generator=generator), dim=1)
    pool = Pool(rows, LABELS, cluster_means(rows, LABELS), None)
    index = torch.tensor([0, 2, 3, 4])
    source = small_batch(generator, [has_mesh] * 4)
    for network in (networks.encoder, networks.generator, networks.discriminator):
        network.train()
    return joint_step(
        networks,
        optimisers_of(networks, with_encoder=True),
        JointBatch(
            source,
            source.images.flip(3) if classical else None,
            index,
            pool,
            draw_rows(pool, index, num_negatives=100, generator=generator),
        ),
        settings(rotation=rotation, mixing=mixing),
        contrast,
        train_generator=train_generator,
        discriminate=discriminate,
        groups=BatchNormGroups(networks.encoder, 4, 0),
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
    assert result.features is not None
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
    terms = _step(small_networks(), mixing=mixing).step.terms
    assert ("mixing_contrast" in terms) == (mixing != "none")
    assert all(bool(term.isfinite()) for term in terms.values())


def test_classical_views_need_no_generator() -> None:
    networks = small_networks()
    before = copy.deepcopy(networks)
    terms = _step(
        networks, rotation=False, mixing="none", classical=True, train_generator=False, discriminate=False
    ).step.terms
    assert set(terms) == {"rotation_contrast"}
    assert _changed(before.encoder, networks.encoder)
    assert not _changed(before.generator, networks.generator)


def test_without_a_mesh_mixing_still_teaches() -> None:
    terms = _step(small_networks(), has_mesh=False).step.terms
    assert "image_cycle" not in terms
    assert {"rotation_contrast", "mixing_contrast"} <= set(terms)


def test_switches_change_the_contrast() -> None:
    plain = _step(small_networks()).step.terms["rotation_contrast"]
    swapped = _step(small_networks(), contrast=ContrastSettings(CONTRAST.weights, 0.1, True, True))
    assert float(plain) != float(swapped.step.terms["rotation_contrast"])


def test_contrast_can_leave_the_generator_alone() -> None:
    # Generation weighs nothing here, so any change of the generator could only come from contrast.
    contrast = ContrastSettings(CONTRAST.weights, 0.1, False, False)
    networks = small_networks()
    before = copy.deepcopy(networks)
    zero = dict.fromkeys(settings().weights, 0.0)
    generator = torch.Generator().manual_seed(3)
    rows = F.normalize(torch.randn(6, 512, generator=generator), dim=1)
    pool = Pool(rows, LABELS, cluster_means(rows, LABELS), None)
    index = torch.tensor([0, 2, 3, 4])
    batch = JointBatch(
        small_batch(generator, [True] * 4),
        None,
        index,
        pool,
        draw_rows(pool, index, num_negatives=9, generator=generator),
    )
    weightless = GenerationSettings(rotation=True, mixing="dmixup", weights=zero, r1_weight=0.0, clip_norm=5.0)
    joint_step(
        networks,
        optimisers_of(networks, with_encoder=True),
        batch,
        weightless,
        contrast,
        train_generator=True,
        discriminate=False,
        groups=BatchNormGroups(networks.encoder, 4, 0),
        timer=Timer(),
    )
    assert _changed(before.encoder, networks.encoder)
    assert not _changed(before.generator, networks.generator)

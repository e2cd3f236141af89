"""How networks compute leaves their weights alone and their results nearly so, and R1 as it is."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_core.learning.generated_encoder import BatchNormGroups
from reid_core.learning.generator_step import StepResult, discriminator_step, generator_step
from reid_core.learning.timer import Timer
from reid_core.losses.gan import r1_penalty
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import adaptive_instance_norm
from reid_core.models.identity import IdentityEncoder
from reid_core.models.speed import reduced, speed_up, widened
from tests.reid_core.learning.networks import optimisers_of, settings, small_batch, small_networks

CPU = torch.device("cpu")
BF16 = torch.bfloat16


def _step(*, dtype: torch.dtype | None = None, channels_last: bool = False, compiled: bool = False) -> StepResult:
    networks = small_networks()
    networks.encoder.eval().requires_grad_(False)
    every = (networks.encoder, networks.generator, networks.discriminator)
    speed_up(every, dtype=dtype, channels_last=channels_last, compiled=compiled)
    batch = small_batch(torch.Generator().manual_seed(0), [True, True, True, False])
    optimisers = optimisers_of(networks, with_encoder=False)
    result = generator_step(networks, optimisers, batch, settings(), adversarial=True, discriminate=True, timer=Timer())
    for network, other in zip(every, vars(small_networks()).values(), strict=True):
        assert list(network.state_dict()) == list(other.state_dict())
        other.load_state_dict(network.state_dict())
        assert all(value.dtype == torch.float32 for value in network.parameters())
    return result


def _assert_near(result: StepResult, plain: StepResult, tolerance: float) -> None:
    assert int(result.skipped) == 0
    assert result.terms.keys() == plain.terms.keys()
    for name, value in plain.terms.items():
        assert result.terms[name].dtype == torch.float32
        assert float(result.terms[name]) == pytest.approx(float(value), rel=tolerance), name
    for name, norm in plain.gradient_norms.items():
        assert math.isfinite(float(result.gradient_norms[name]))
        assert float(result.gradient_norms[name]) == pytest.approx(float(norm), rel=5 * tolerance), name


def test_bfloat16_is_near_float32_and_its_gradients_are_finite() -> None:
    _assert_near(_step(dtype=BF16), _step(), 0.01)


def test_channels_last_is_the_same_to_rounding() -> None:
    _assert_near(_step(channels_last=True), _step(), 1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_compiled_is_the_same_to_rounding() -> None:
    _assert_near(_step(compiled=True), _step(), 1e-3)


def test_r1_is_that_of_float32() -> None:
    images = torch.rand(4, 3, 32, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    terms = []
    for dtype in (None, BF16):
        judge = small_networks().discriminator
        speed_up([judge], dtype=dtype)
        optimiser = torch.optim.SGD(judge.parameters(), lr=0.1)
        got, outcome = discriminator_step(judge, optimiser, images, images.flip(3), r1_weight=10.0)
        assert not bool(outcome.skipped)
        terms.append(got)
    assert torch.equal(terms[0]["r1"], terms[1]["r1"])
    torch.testing.assert_close(terms[0]["discriminator"], terms[1]["discriminator"], rtol=0.01, atol=0)
    judge = small_networks().discriminator
    real = images.clone().requires_grad_()
    torch.testing.assert_close(terms[0]["r1"], r1_penalty(judge(real), real).mean())


def test_whatever_leaves_a_network_is_float32() -> None:
    networks = small_networks()
    speed_up([networks.encoder, networks.generator, networks.discriminator], dtype=BF16)
    images = torch.rand(2, 3, 64, 32)
    encoded = networks.encoder(images)
    parts = torch.rand(2, 4, 512)
    made = [encoded.maps.last, encoded.embedding, networks.generator(images[:, :1], parts)]
    assert {tensor.dtype for tensor in (*made, *networks.discriminator(images))} == {torch.float32}
    assert encoded.maps.last.flatten().unique().numel() < encoded.maps.last.numel()  # 8 bits: values coincide


def test_double_precision_stays_double() -> None:
    encoder = IdentityEncoder("resnet10").double()
    assert encoder(torch.rand(2, 3, 32, 16, dtype=torch.float64)).embedding.dtype == torch.float64
    assert widened(torch.zeros(1, dtype=BF16)).dtype == torch.float32


def test_reduction_ends_with_its_block() -> None:
    left, right = torch.rand(2, 2), torch.rand(2, 2)
    with reduced(BF16, CPU):
        assert (left @ right).dtype == BF16
    with reduced(None, CPU):
        assert (left @ right).dtype == torch.float32


@pytest.mark.parametrize("kind", ["adaptive", "instance", "batch", "groups"])
def test_statistics_are_taken_in_float32(kind: str) -> None:
    # A mean of 100 and a deviation of 1: a mean of 8 bits would be off by up to half a deviation.
    content = (100 + torch.randn(4, 2, 64, 64, generator=torch.Generator().manual_seed(2))).to(BF16)
    norms: dict[str, nn.Module] = {"instance": nn.InstanceNorm2d(2), "batch": nn.BatchNorm2d(2)}
    if kind == "groups":
        holder = nn.Sequential(nn.BatchNorm2d(2))
        groups = BatchNormGroups(holder, 4, 2)
        with groups.of():
            got: Tensor = holder(content)
        wanted = torch.cat(
            [F.batch_norm(content.float()[rows], None, None, training=True) for rows in ([0, 2], [1, 3])]
        )
        got = got[[0, 2, 1, 3]]
    elif kind == "adaptive":
        got = adaptive_instance_norm(content, torch.zeros(4, 2), torch.zeros(4, 2))
        wanted = F.instance_norm(content.float())
    else:
        got, wanted = norms[kind](content), norms[kind](content.float())
    torch.testing.assert_close(got.float(), wanted, atol=0.06, rtol=0.01)


def test_a_network_that_cannot_be_compiled_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="Linear"):
        speed_up([nn.Linear(1, 1)], compiled=True)
    judge = Discriminator(4)
    assert judge.compilable() == [judge]

"""A plain transcription of the method's joint step, as its equations stand: what ours is compared with.

Each network is called once for each kind of image, in full precision, and the discriminator looks at each kind by
itself.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.learning.generated_encoder import running_statistics_kept
from reid_core.learning.generation import parameters_fixed
from reid_core.learning.generator_step import Networks, Optimisers
from reid_core.learning.joint_step import JointBatch
from reid_core.losses.contrastive import Draws

TEMPERATURE = 0.04


def plain_step(networks: Networks, optimisers: Optimisers, batch: JointBatch) -> float:
    """Update all three networks, one call a network and kind of image; return the loss of encoder and generator."""
    encoder, generator, judge = networks.encoder, networks.generator, networks.discriminator
    source, pool, draws = batch.generation, batch.pool, batch.draws
    x, mixture = source.images, source.mixture
    encoded = encoder(x)
    features, parts = F.normalize(encoded.embedding, dim=1), generator.appearance(encoded.maps)

    x_rec = generator(source.guidance, parts)
    x_rot = generator(source.turned, parts)
    with running_statistics_kept(encoder):
        parts_rec = generator.appearance(encoder(x_rec).maps)
        parts_rot = generator.appearance(encoder(x_rot).maps)
        x_cyc = generator(source.guidance, parts_rot)
        parts_cyc = generator.appearance(encoder(x_cyc).maps)
        share = mixture.ratio.view(-1, 1, 1)
        x_mix = generator(source.guidance, share * parts + (1 - share) * parts[mixture.partner])
        seen_rot = F.normalize(encoder(x_rot).embedding, dim=1)
        seen_mix = F.normalize(encoder(x_mix).embedding, dim=1)
    kinds = (x_rec, x_rot, x_cyc, x_mix)

    real = x.clone().requires_grad_()
    scores = judge(real)
    loss_judge = sum_of(lambda score: (score - 1).square().mean(), scores)
    for fake in kinds:
        loss_judge = loss_judge + sum_of(lambda score: score.square().mean(), judge(fake.detach())) / len(kinds)
    slope = torch.autograd.grad(sum_of(lambda score: score.mean(dim=(1, 2, 3)).sum(), scores), real, create_graph=True)
    loss_judge = loss_judge + 0.01 * slope[0].square().sum(dim=(1, 2, 3)).mean()
    optimisers.discriminator.zero_grad(set_to_none=True)
    loss_judge.backward()  # type: ignore[no-untyped-call]
    optimisers.discriminator.step()

    known = parts.detach()
    scale = known.abs().mean()
    loss = 5 * ((x_rec - x).abs().mean() + (x_cyc - x).abs().mean())
    loss = loss + 5 * ((parts_rec - known).abs().mean() + (parts_cyc - known).abs().mean()) / scale
    with parameters_fixed(judge):
        for fake in kinds:
            loss = loss + sum_of(lambda score: (score - 1).square().mean(), judge(fake)) / len(kinds)
    own = pool.labels[batch.rows]
    for query, positive in ((seen_rot, batch.rows), (seen_rot, draws.positive), (features, draws.positive)):
        loss = loss + _nce(query, pool.rows, positive, draws).mean()
    logits = features @ pool.prototypes.T / TEMPERATURE
    mixed = seen_mix @ pool.prototypes.T / TEMPERATURE
    first = F.cross_entropy(mixed, own, reduction="none")
    second = F.cross_entropy(mixed, own[mixture.partner], reduction="none")
    loss = loss + F.cross_entropy(logits, own) + (mixture.ratio * first + (1 - mixture.ratio) * second).mean()

    assert optimisers.encoder is not None
    for optimiser in (optimisers.encoder, optimisers.generator):
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(generator.parameters(), 5.0)
    optimisers.encoder.step()
    optimisers.generator.step()
    return float(loss.detach())


def sum_of(measure: Callable[[Tensor], Tensor], scores: tuple[Tensor, ...]) -> Tensor:
    """Return the sum of a measure over the scales of a discriminator."""
    return torch.stack([measure(score) for score in scores]).sum()


def _nce(query: Tensor, rows: Tensor, positive: Tensor, draws: Draws) -> Tensor:
    similarity = query @ rows.T / TEMPERATURE
    hit = similarity.gather(1, positive[:, None])
    missed = similarity.masked_fill(~draws.negatives, float("-inf"))
    return torch.cat([hit, missed], dim=1).logsumexp(dim=1) - hit.squeeze(1)

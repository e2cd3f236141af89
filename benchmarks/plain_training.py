"""One joint step as its equations stand, in the letters of docs/method.md, which prints it: ours is compared with it.

Each network is called once for each kind of image, in full precision, every image has a mesh, and the discriminator
looks at each kind by itself.
"""

# mypy: disable-error-code="no-untyped-call, union-attr, no-any-return, return-value"

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.learning.generated_encoder import running_statistics_kept
from reid_core.learning.generation import parameters_fixed
from reid_core.learning.generator_step import Networks, Optimisers
from reid_core.learning.joint_step import JointBatch
from reid_core.learning.memory import EpochTargets, FeatureMemory

# docs/method.md prints what follows.
TAU = 0.04


def plain_step(
    networks: Networks, optimisers: Optimisers, batch: JointBatch, memory: FeatureMemory, targets: EpochTargets
) -> Tensor:
    encoder, generator, dis = networks.encoder, networks.generator, networks.discriminator
    x, g, g_t = batch.generation.images, batch.generation.guidance, batch.generation.turned_guidance
    partner, ratio = batch.generation.mixture  # who is mixed in, and the share of the image itself, (B,) each

    def see(images: Tensor) -> tuple[Tensor, Tensor]:  # f, (B, D), and A, (B, P, C)
        encoded = encoder(images)
        return F.normalize(encoded.embedding, dim=1), generator.appearance(encoded.maps)

    # Generated variance: the same appearance on the own body, on the turned body, and mixed with somebody else's.
    f, a = see(x)
    x_rec = generator(g, a)
    x_rot = generator(g_t, a)
    x_mix = generator(g, ratio[:, None, None] * a + (1 - ratio[:, None, None]) * a[partner])
    with running_statistics_kept(encoder):  # they describe real images
        (_, a_rec), (f_rot, a_rot), (f_mix, _) = see(x_rec), see(x_rot), see(x_mix)
        x_cyc = generator(g, a_rot)  # turned back
        _, a_cyc = see(x_cyc)
    fakes = (x_rec, x_rot, x_cyc, x_mix)

    # The discriminator: real images score 1, generated ones 0, and the slope on real images stays small (R1).
    real = x.clone().requires_grad_()
    slope = torch.autograd.grad(sum(score.mean((1, 2, 3)).sum() for score in dis(real)), real, create_graph=True)[0]
    loss_dis = squared_distance(dis(real), 1) + sum(squared_distance(dis(fake.detach()), 0) for fake in fakes) / 4
    loss_dis = loss_dis + 0.01 * slope.square().sum((1, 2, 3)).mean()
    optimisers.discriminator.zero_grad()
    loss_dis.backward()
    optimisers.discriminator.step()

    # Generation: what was painted is the image again, in pixels and in appearance, and deceives the discriminator.
    target = a.detach()
    loss_img = (x_rec - x).abs().mean() + (x_cyc - x).abs().mean()
    loss_feat = ((a_rec - target).abs().mean() + (a_cyc - target).abs().mean()) / target.abs().mean()
    with parameters_fixed(dis):
        loss_adv = sum(squared_distance(dis(fake), 1) for fake in fakes) / 4

    # Contrast: an image and its rotation against the memory, an image and its mix against the prototypes.
    own, cluster, others, y = batch.indices, batch.positives, batch.negatives, targets.labels[batch.indices]
    loss_rot = sum(nce(*pair, others, memory.features) for pair in ((f_rot, own), (f_rot, cluster), (f, cluster)))
    logits, logits_mix = f @ targets.prototypes.T / TAU, f_mix @ targets.prototypes.T / TAU
    first, second = (F.cross_entropy(logits_mix, labels, reduction="none") for labels in (y, y[partner]))
    loss_mix = F.cross_entropy(logits, y) + (ratio * first + (1 - ratio) * second).mean()

    loss = 5 * loss_img + 5 * loss_feat + loss_adv + loss_rot + loss_mix
    optimisers.encoder.zero_grad()
    optimisers.generator.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(generator.parameters(), 5)
    optimisers.encoder.step()
    optimisers.generator.step()
    memory.update(own, f)  # M <- normalise(0.2 M + 0.8 f)
    return loss.detach()


def squared_distance(scores: tuple[Tensor, ...], target: float) -> Tensor:
    return sum((score - target).square().mean() for score in scores)  # over the scales


def nce(query: Tensor, positives: Tensor, negatives: Tensor, memory: Tensor) -> Tensor:
    similarity = query @ memory.T / TAU
    positive = similarity.gather(1, positives[:, None])
    against = similarity.masked_fill(~negatives, float("-inf"))
    return (torch.cat([positive, against], dim=1).logsumexp(dim=1) - positive.squeeze(1)).mean()
